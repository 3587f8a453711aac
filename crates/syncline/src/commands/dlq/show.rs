//! One dead letter, with all that is known of it.

use std::io::Write;

use syncline_store::DeadLetter;
use syncline_store::dead_letters::State;

use crate::terminal::{moment, say};

/// Bytes on a line of a hex dump.
const DUMP_BYTES: usize = 16;

/// The fields, a line each, then what was rejected.
pub(super) fn show(letter: &DeadLetter) {
    let rejected = &letter.rejected;
    let fields = [
        ("id", letter.id.clone()),
        ("source", letter.source.clone()),
        ("stage", letter.stage.name().to_owned()),
        ("class", rejected.class.name().to_owned()),
        ("position", rejected.position.clone()),
        ("epoch", letter.epoch.to_string()),
        ("when", moment(letter.at_us)),
        ("state", state_name(letter.state).to_owned()),
        ("message", rejected.message.clone()),
        ("bytes", rejected.bytes.len().to_string()),
    ];
    for (name, value) in fields {
        say(format_args!("{name:<9} {value}"));
    }
    if let Some(context) = &rejected.context {
        say(format_args!("{:<9} {context}", "context"));
    }
    say("");
    match std::str::from_utf8(&rejected.bytes) {
        Ok(text) => say(shown(text)),
        Err(_) => dump(&rejected.bytes).iter().for_each(say),
    }
}

/// The bytes as they were, and nothing else.
pub(super) fn raw(letter: &DeadLetter) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone wants no more.
    let _ = out.write_all(&letter.rejected.bytes).and_then(|()| out.flush());
}

pub(super) fn state_name(state: State) -> &'static str {
    match state {
        State::Open => "open",
        State::Retried => "retried",
        State::Dropped => "dropped",
    }
}

/// Text with its lines, and without anything else that a terminal would act on.
fn shown(text: &str) -> String {
    let safe = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().map(|c| if safe(c) { c } else { '·' }).collect()
}

fn dump(bytes: &[u8]) -> Vec<String> {
    let lines = bytes.chunks(DUMP_BYTES).enumerate().map(|(i, line)| {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let graphic =
            |&byte: &u8| if (b' '..=b'~').contains(&byte) { char::from(byte) } else { '.' };
        let text: String = line.iter().map(graphic).collect();
        let width = 3 * DUMP_BYTES - 1;
        format!("{:08x}  {:<width$}  |{text}|", i * DUMP_BYTES, hex.join(" "))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_dumped() {
        let bytes: Vec<u8> = (b'a'..=b'p').chain([0xff, 0]).collect();
        assert_eq!(
            dump(&bytes),
            [
                "00000000  61 62 63 64 65 66 67 68 69 6a 6b 6c 6d 6e 6f 70  |abcdefghijklmnop|",
                "00000010  ff 00                                            |..|",
            ]
        );
    }

    #[test]
    fn text_cannot_command_the_terminal() {
        assert_eq!(shown("a\tb\n\x1b[31mc\r"), "a\tb\n·[31mc·");
    }
}
