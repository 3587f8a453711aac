//! Lines that are read by the shape of others give what the parser gives.

use proptest::prelude::*;

use super::*;
use crate::decode::tests::whole;

const COLUMNS: &str = "id BIGINT; small SMALLINT; u BIGINT UNSIGNED; d DOUBLE; r REAL; ok BOOLEAN; \
                       t TEXT; at TIMESTAMP; day DATE; time TIME; sum DECIMAL(10,2); bin BYTEA; \
                       list BIGINT[]";

const LINE_BYTES_MAX: usize = 300;

/// Reads every line by the parser.
struct ByParser(Fields);

impl ReadLine for ByParser {
    fn read_alike(&mut self, _: &mut Rows, _: &[u8]) -> Option<usize> {
        None
    }

    fn read(&mut self, rows: &mut Rows, line: &str) -> Result<(), Fault> {
        read_object(rows, &mut self.0, line)
    }
}

/// What the decoder makes of `text`, which must be what the parser alone makes of it.
fn check_alike(columns: &str, text: &[u8], rows_max: usize) -> Decoded {
    let key = &["id".to_owned()];
    let input = Input { rows_max, ..whole(text) };
    let mut decoder = JsonDecoder::new(schema(columns), key, LINE_BYTES_MAX).unwrap();
    let decoded = decoder.decode_front(&input).unwrap();
    let mut rows = Rows::new(schema(columns), key).unwrap();
    let mut by_parser = ByParser(Fields::new(rows.schema()));
    let expect = each_line(&input, &mut rows, LINE_BYTES_MAX, &mut by_parser).unwrap();
    let shown_text = String::from_utf8_lossy(text);
    assert_eq!(decoded.rows.rows(), expect.rows.rows(), "{shown_text}");
    assert_eq!(decoded.rows.weights(), expect.rows.weights(), "{shown_text}");
    assert_eq!(decoded.rejected, expect.rejected, "{shown_text}");
    assert_eq!(decoded.row_ends, expect.row_ends, "{shown_text}");
    assert_eq!(decoded.rejected_ends, expect.rejected_ends, "{shown_text}");
    assert_eq!((decoded.bytes, decoded.lines), (expect.bytes, expect.lines), "{shown_text}");
    decoded
}

/// Good and bad values of all types, written in all ways.
const VALUES: [&str; 74] = [
    "0",
    "1",
    "-1",
    "-0",
    "00",
    "01",
    "-01",
    "12345678",
    "123456789",
    "-32768",
    "32768",
    "999999999999999999",
    "1000000000000000000",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1.0",
    "-0.0",
    "0.1",
    "1.50",
    "3.141592653589793",
    "0.30000000000000004",
    "9007199254740993.0",
    "123456789012345678.5",
    "1e3",
    "1E-7",
    "2.5e+10",
    "1e999",
    "3.5e38",
    "1.",
    ".5",
    "1.e5",
    "1e",
    "+1",
    "--1",
    "1-",
    "0x10",
    "1 ",
    "true",
    "false",
    "null",
    "True",
    "nul",
    "tru",
    "\"\"",
    "\"a\"",
    "\"a longer text, of more than thirty-two bytes\"",
    "\"\u{e9}\u{1f600}\"",
    "\"\\n\"",
    "\"\\u00e9\"",
    "\"\\ud800\"",
    "\"\t\"",
    "\"\u{7f}\"",
    "\"a",
    "a\"",
    "\"NaN\"",
    "\"-Infinity\"",
    "NaN",
    "\"2026-01-01 00:00:00.000\"",
    "\"2026-01-01T01:02:03Z\"",
    "\"2026-02-28T23:59:59.123456789+01:00\"",
    "\"2026-02-30\"",
    "\"2024-02-29\"",
    "\"12:30:00.5\"",
    "\"12.34\"",
    "\"AP8=\"",
    "[]",
    "[1,2]",
    "{}",
    "{\"x\":1}",
    "",
    " ",
];

const NAMES: [&str; 15] = [
    "id",
    "small",
    "u",
    "d",
    "r",
    "ok",
    "t",
    "at",
    "day",
    "time",
    "sum",
    "bin",
    "list",
    "other",
    "n\\u0061me",
];

/// A value that fits each of `NAMES`.
const FITTING: [&str; 15] = [
    "12",
    "-3",
    "18446744073709551615",
    "2.75",
    "0.5",
    "true",
    "\"text\"",
    "\"2026-01-01 00:00:00.000\"",
    "\"2026-01-01\"",
    "\"10:00:00\"",
    "12.34",
    "\"AA==\"",
    "null",
    "\"skipped\"",
    "1",
];

#[derive(Clone, Debug)]
enum Change {
    None,
    /// The value of a field becomes one of `VALUES`.
    Value(usize, usize),
    Truncate(usize),
    Insert(usize, u8),
    Remove(usize),
    /// A field is there twice.
    Twice(usize),
    Swap(usize, usize),
    Carriage,
    Blank,
    Long,
}

fn any_change() -> impl Strategy<Value = Change> {
    let place = 0..400usize;
    prop_oneof![
        8 => Just(Change::None),
        8 => (0..15usize, 0..VALUES.len()).prop_map(|(field, value)| Change::Value(field, value)),
        1 => place.clone().prop_map(Change::Truncate),
        1 => (place.clone(), prop_oneof![any::<u8>(), Just(b'"'), Just(b' '), Just(b'0'), Just(b',')])
            .prop_map(|(at, byte)| Change::Insert(at, byte)),
        1 => place.prop_map(Change::Remove),
        1 => (0..15usize).prop_map(Change::Twice),
        1 => (0..15usize, 0..15usize).prop_map(|(a, b)| Change::Swap(a, b)),
        1 => Just(Change::Carriage),
        1 => Just(Change::Blank),
        1 => Just(Change::Long),
    ]
}

/// A line with `names`, each with the value that fits it, and `spaces` in it, changed.
fn line(names: &[usize], spaces: &[&str; 4], change: &Change) -> Vec<u8> {
    let mut fields: Vec<(usize, String)> =
        names.iter().map(|&name| (name, FITTING[name].to_owned())).collect();
    let count = fields.len();
    match change {
        Change::Value(field, value) => fields[field % count].1 = VALUES[*value].to_owned(),
        Change::Twice(field) => fields.push(fields[field % count].clone()),
        Change::Swap(a, b) => fields.swap(a % count, b % count),
        Change::Long => fields[0].1 = format!("\"{}\"", "x".repeat(LINE_BYTES_MAX)),
        _ => {}
    }
    let [open, before, after, close] = spaces;
    let fields =
        fields.iter().map(|(name, value)| format!("\"{}\"{before}:{after}{value}", NAMES[*name]));
    let fields: Vec<String> = fields.collect();
    let mut line = format!("{open}{{{}}}{close}", fields.join(&format!(",{after}"))).into_bytes();
    match change {
        Change::Truncate(at) => line.truncate(*at % line.len()),
        Change::Insert(at, byte) => line.insert(*at % line.len(), *byte),
        Change::Remove(at) => drop(line.remove(*at % line.len())),
        Change::Carriage => line.push(b'\r'),
        Change::Blank => line = b" \t".to_vec(),
        _ => {}
    }
    line
}

proptest! {
    #[test]
    fn shapes_and_parser_agree(
        names in Just((0..15usize).collect::<Vec<_>>()).prop_shuffle(),
        count in 1..15usize,
        spaces in prop::sample::select(vec![["", "", "", ""], ["", "", " ", ""], [" ", "\t", "  ", " "], ["", "", "\r", ""]]),
        changes in prop::collection::vec((any_change(), 0..2usize), 1..30),
        ends_in_newline: bool,
        rows_max in prop_oneof![Just(usize::MAX), 1..30usize],
    ) {
        // Every line is there unchanged once more after a changed one, so that there are shapes.
        let mut text = Vec::new();
        for (change, again) in &changes {
            text.extend_from_slice(&line(&names[..count], &spaces, change));
            text.push(b'\n');
            for _ in 0..*again {
                text.extend_from_slice(&line(&names[..count], &spaces, &Change::None));
                text.push(b'\n');
            }
        }
        if !ends_in_newline {
            text.pop();
        }
        check_alike(COLUMNS, &text, rows_max);
    }
}

/// Rows of `text` that are read by a shape.
fn rows_read_alike(columns: &str, text: &str) -> usize {
    let mut rows = Rows::new(schema(columns), &[]).unwrap();
    let mut objects = JsonDecoder::new(schema(columns), &[], LINE_BYTES_MAX).unwrap().objects;
    let mut count = 0;
    for line in text.split_inclusive('\n') {
        rows.begin_record(0, line.len());
        match objects.read_alike(&mut rows, line.as_bytes()) {
            Some(length) => {
                assert_eq!(length, line.len());
                rows.add_row(1);
                count += 1;
            }
            None => objects.read(&mut rows, line.trim_end()).unwrap(),
        }
    }
    count
}

#[test]
fn only_the_first_line_of_each_shape_needs_the_parser() {
    let columns = "id BIGINT; t TEXT; at TIMESTAMP; d DOUBLE";
    let shapes = [
        "{\"id\":1,\"t\":\"x\",\"at\":\"2026-01-01 00:00:00.000\",\"d\":0.5,\"other\":[]}\n",
        "{\"id\": 1, \"t\": null, \"d\": 1.2345678901234567}\r\n",
        "{\"at\":null,\"other\":-1.5e3,\"more\":true}\n",
        "{\"t\":\"\"}\n",
    ];
    let plain = &shapes[1..].concat();
    assert_eq!(rows_read_alike(columns, &plain.repeat(10)), 27);
    assert_eq!(rows_read_alike(columns, &shapes[0].repeat(10)), 0, "it is not flat");
    let text = shapes.concat().repeat(10);
    let decoded = check_alike(columns, text.as_bytes(), usize::MAX);
    assert_eq!(decoded.rows.num_rows() + decoded.rejected.len(), 40);
}

#[test]
fn where_all_lines_differ_learning_gives_up_but_not_for_good() {
    let chaos: String = (0..2000).map(|i| format!("{{\"f{i}\":1}}\n")).collect();
    let order = "{\"id\":1}\n".repeat(2000);
    assert_eq!(rows_read_alike("id BIGINT", &chaos), 0);
    assert!(rows_read_alike("id BIGINT", &(chaos + &order)) > 900);
}

#[test]
fn a_stretch_that_is_not_text_does_not_spoil_the_next() {
    let good = format!("{{\"id\":1,\"t\":\"{}\"}}\n", "\u{e9}".repeat(100)).repeat(1000);
    let text = [good.as_bytes(), b"{\"id\":2,\"t\":\"\xff\"}\n", good.as_bytes()].concat();
    let decoded = check_alike("id BIGINT; t TEXT", &text, usize::MAX);
    assert_eq!((decoded.rows.num_rows(), decoded.rejected.len()), (2000, 1));
    assert_eq!(decoded.rejected[0].position, "f:1001");
}
