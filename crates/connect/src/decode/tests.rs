//! What the decoders' tests share, and what holds for all of them.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use syncline_change::{json, types};

use super::csv::CsvDecoder;
use super::debezium::DebeziumDecoder;
use super::json::JsonDecoder;
use super::*;
use crate::file::CsvConfig;

/// `"id BIGINT, name TEXT"` as a schema; commas in brackets do not count.
pub(crate) fn schema(columns: &str) -> SchemaRef {
    let fields = columns.split("; ").map(|column| {
        let (name, type_name) = column.split_once(' ').unwrap();
        Field::new(name, types::parse(type_name).unwrap(), true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Rows as JSON arrays, one a line, with a sign before those that are deleted.
pub(crate) fn shown(rows: &Batch) -> String {
    let values = json::arrays(rows.rows()).unwrap();
    let lines = values.iter().enumerate().map(|(row, value)| match rows.weight(row) {
        1 => format!("{value}\n"),
        -1 => format!("-{value}\n"),
        weight => format!("{weight}x{value}\n"),
    });
    lines.collect()
}

/// Rejects as `position class: message [bytes]`, one a line.
pub(crate) fn complaints(decoded: &Decoded) -> String {
    let lines = decoded.rejected.iter().map(|r| {
        let bytes = String::from_utf8_lossy(&r.bytes);
        format!("{} {}: {} [{bytes}]\n", r.position, r.class.name(), r.message)
    });
    lines.collect()
}

pub(crate) fn whole(text: &[u8]) -> Input<'_> {
    Input { bytes: text, first_line: 1, label: "f", at_end: true, rows_max: usize::MAX }
}

/// One column of one row.
pub(crate) fn cell(rows: &RecordBatch) -> serde_json::Value {
    json::arrays(rows).unwrap()[0][0].clone()
}

/// Reads `text` with at most `step` more bytes in sight each time that the decoder asks for more,
/// and at most `rows_max` rows at a time. Returns rows, rejects.
fn in_steps(
    decoder: &mut dyn RowDecoder,
    text: &[u8],
    step: usize,
    rows_max: usize,
) -> (String, String) {
    let (mut start, mut end, mut line) = (0, 0, 1);
    let (mut rows, mut rejects) = (String::new(), String::new());
    let input = |start: usize, end: usize, line: u64| Input {
        bytes: &text[start..end],
        first_line: line,
        label: "f",
        at_end: end == text.len(),
        rows_max,
    };
    loop {
        match decoder.begin_file(&input(start, end, line)).unwrap() {
            Some(head) => {
                start += head;
                line += text[..head].iter().filter(|&&b| b == b'\n').count() as u64;
                break;
            }
            None => end = (end + step).min(text.len()),
        }
    }
    while start < text.len() {
        let decoded = decoder.decode_front(&input(start, end, line)).unwrap();
        assert_eq!(decoded.row_ends.len(), decoded.rows.num_rows());
        assert_eq!(decoded.rejected_ends.len(), decoded.rejected.len());
        rows.push_str(&shown(&decoded.rows));
        rejects.push_str(&complaints(&decoded));
        start += decoded.bytes;
        line += decoded.lines;
        if decoded.bytes == 0 {
            assert!(end < text.len(), "at the end nothing is left over");
            end = (end + step).min(text.len());
        }
    }
    (rows, rejects)
}

fn decoder(format: usize) -> Box<dyn RowDecoder> {
    let schema = schema("a BIGINT; b TEXT; c TEXT[]");
    match format {
        0 => {
            let config = CsvConfig::default();
            Box::new(CsvDecoder::new(schema, &["a".to_owned()], &config, 40).unwrap())
        }
        1 => Box::new(JsonDecoder::new(schema, &["a".to_owned()], 40).unwrap()),
        _ => Box::new(DebeziumDecoder::new(schema, &["a".to_owned()], 40).unwrap()),
    }
}

/// Pieces that good and broken input of all three formats is made of.
const PIECES: [&str; 24] = [
    "\n",
    "\r\n",
    "\r",
    ",",
    "\"",
    "\"\"",
    "1",
    "x y",
    "{",
    "}",
    "[]",
    ":",
    "{\"a\":1}\n",
    "{\"a\":2,\"b\":3}\n",
    "{\"a\":3,\"b\":\"z\",\"c\":[\"q\"]}\n",
    "4,b,[]\n",
    "5,\"b\nb\",\n",
    "{\"op\":\"c\",\"after\":{\"a\":1}}\n",
    "\u{e9}",
    "\"a\"",
    "null",
    "0123456789012345678901234567",
    "\u{feff}",
    "7,,\n",
];

proptest! {
    /// What is decoded does not depend on where the input was cut, whatever the input is.
    #[test]
    fn cuts_do_not_matter(
        pieces in prop::collection::vec(0..PIECES.len(), 0..40),
        broken_utf8 in prop::option::of(0..100usize),
        step in 1..20usize,
        rows_max in 1..4usize,
        format in 0..3usize,
    ) {
        let mut text: Vec<u8> = pieces.iter().flat_map(|&p| PIECES[p].bytes()).collect();
        if let Some(at) = broken_utf8 && at < text.len() {
            text[at] = 0xff;
        }
        let head: &[u8] = if format == 0 { b"b,a,c\n" } else { b"" };
        let text = [head, &text].concat();
        let once = in_steps(&mut *decoder(format), &text, text.len(), usize::MAX);
        let stepwise = in_steps(&mut *decoder(format), &text, step, rows_max);
        prop_assert_eq!(once, stepwise);
    }
}
