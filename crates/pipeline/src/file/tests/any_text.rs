//! Whatever is in a file, reading it ends with a pipeline or with problems.

use proptest::prelude::*;

use super::*;

/// Pieces that mean something to YAML, to the schema or to variables.
const PIECES: [&str; 40] = [
    "\n",
    "  ",
    "\t",
    ": ",
    ":",
    "- ",
    "? ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "#",
    "&a ",
    "*a",
    "!t ",
    "%",
    "@",
    "`",
    "---\n",
    "...\n",
    "<<: ",
    "${A}",
    "${",
    "$$",
    "${file:x}",
    "null",
    "~",
    "1e999",
    "-0",
    ".nan",
    "type",
    "from",
    "\u{feff}",
    "\u{0}",
    "日本",
];

/// Reads `text` and shows what is wrong with it.
fn read(text: &str) {
    match parse(text, &[("A", "x: [1")]) {
        Ok(pipeline) => {
            let _ = pipeline.position_in("views.v", 3, 7);
        }
        Err(error) => {
            let shown = error.to_string();
            assert!(shown.starts_with("syncline.yaml:"), "a bug was found:\n{shown}\nin\n{text}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_characters(text in any::<String>()) {
        read(&text);
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        read(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn pieces_of_yaml(pieces in proptest::collection::vec(0..PIECES.len(), 0..60)) {
        read(&pieces.iter().map(|i| PIECES[*i]).collect::<String>());
    }

    #[test]
    fn a_good_file_with_mistakes(
        mistakes in proptest::collection::vec((any::<proptest::sample::Index>(), 0..4u8, 0..PIECES.len()), 1..6),
    ) {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        for (at, kind, piece) in mistakes {
            if text.is_empty() {
                break;
            }
            let at = at.index(text.len());
            match kind {
                0 => drop(text.remove(at)),
                1 => drop(text.splice(at..at, PIECES[piece].chars())),
                2 => text.truncate(at.max(1)),
                _ => {
                    let end = (at + 40).min(text.len());
                    let copy = text[at..end].to_vec();
                    drop(text.splice(at..at, copy));
                }
            }
        }
        read(&text.into_iter().collect::<String>());
    }
}

#[test]
fn depth_is_a_limit_and_no_overflow() {
    for deep in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000)] {
        let error = parse(&deep, &[]).unwrap_err().to_string();
        assert!(error.contains("nested too deeply"), "{error}");
    }
}

#[test]
fn many_problems_are_cut_off() {
    let keys: String = (0..100).map(|i| format!("zz{i}: 1\n")).collect();
    let error = parse(&keys, &[]).unwrap_err().to_string();
    assert_eq!(error.matches("unknown key").count() + error.matches("has no").count(), 20);
    assert!(error.ends_with("... and 82 more"), "{error}");
}
