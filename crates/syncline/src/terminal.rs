//! What goes to the terminal: results to standard output, everything else to standard error.

use std::io::{IsTerminal, Write};

use chrono::{DateTime, SecondsFormat};

/// Prints a line of a command's result. A reader that has gone (`| head`) ends the program quietly.
pub(crate) fn say(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").is_err() {
        std::process::exit(0);
    }
}

/// Prints what went wrong.
pub(crate) fn complain(text: &str) {
    let mark = if std::io::stderr().is_terminal() { "\x1b[31;1merror:\x1b[0m" } else { "error:" };
    // If standard error is gone there is nobody to tell.
    let _ = writeln!(std::io::stderr().lock(), "{mark} {text}");
}

/// Prints something that its reader should know and that is no result.
pub(crate) fn note(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Microseconds since 1970 as people read them.
pub(crate) fn moment(us: i64) -> String {
    DateTime::from_timestamp_micros(us)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The bar that is on the terminal, if one is: log lines go above it.
static BAR: std::sync::Mutex<Option<indicatif::ProgressBar>> = std::sync::Mutex::new(None);

/// A line that says how a long piece of work stands: one that changes on a terminal, plain lines
/// elsewhere.
pub(crate) struct Status {
    bar: Option<indicatif::ProgressBar>,
}

impl Status {
    /// With `total` known, the line begins with a bar.
    pub(crate) fn start(total: Option<u64>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { bar: None };
        }
        let (bar, template) = match total.filter(|&total| total > 0) {
            Some(total) => {
                (indicatif::ProgressBar::new(total), "{bar:24} {percent:>3} %  {wide_msg}")
            }
            None => (indicatif::ProgressBar::new_spinner(), "{spinner} {wide_msg}"),
        };
        if let Ok(style) = indicatif::ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        *BAR.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(bar.clone());
        Self { bar: Some(bar) }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.bar.is_some()
    }

    /// Says how it stands; `done` counts towards the total.
    pub(crate) fn show(&self, line: &str, done: u64) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(line.to_owned());
                if bar.length().is_some() {
                    bar.set_position(done);
                }
            }
            None => note(line),
        }
    }

    pub(crate) fn finish(self, line: &str) {
        if let Some(bar) = &self.bar {
            *BAR.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
            bar.finish_and_clear();
        }
        note(line);
    }
}

/// Standard error for the log, which does not write over a status line.
pub(crate) struct AboveStatus;

impl Write for AboveStatus {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let bar = BAR.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        match bar {
            Some(bar) => bar.suspend(|| std::io::stderr().write(bytes)),
            None => std::io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_in_utc() {
        assert_eq!(moment(1_360_281_600_000_000), "2013-02-08T00:00:00Z");
    }
}
