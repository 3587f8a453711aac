#![allow(clippy::unwrap_used)]

use crate::decode::tests::{complaints, schema, shown, whole};

use super::*;

fn check(key: &[&str], text: &str, rows: &str, rejected: &str) {
    let key: Vec<String> = key.iter().map(|&name| name.to_owned()).collect();
    let mut decoder = DebeziumDecoder::new(schema("id BIGINT; n TEXT"), &key, 1000).unwrap();
    let decoded = decoder.decode_front(&whole(text.as_bytes())).unwrap();
    assert_eq!(shown(&decoded.rows), rows, "{text}");
    assert_eq!(complaints(&decoded), rejected, "{text}");
}

const A: &str = r#"{"id":1,"n":"a"}"#;
const B: &str = r#"{"id":1,"n":"b"}"#;
const C: &str = r#"{"id":2,"n":"c"}"#;

fn change(op: &str, before: &str, after: &str) -> String {
    format!(r#"{{"before":{before},"after":{after},"source":{{"lsn":1}},"op":"{op}","ts_ms":1}}"#)
}

#[test]
fn without_a_key_whole_rows_come_and_go() {
    for (op, before, after, rows) in [
        ("c", "null", A, "[1,\"a\"]\n"),
        ("r", "null", A, "[1,\"a\"]\n"),
        ("u", A, B, "-[1,\"a\"]\n[1,\"b\"]\n"),
        ("d", A, "null", "-[1,\"a\"]\n"),
        ("m", "null", "null", ""),
    ] {
        check(&[], &change(op, before, after), rows, "");
    }
}

#[test]
fn with_a_key_rows_are_replaced() {
    for (op, before, after, rows) in [
        ("c", "null", A, "[1,\"a\"]\n"),
        ("u", A, B, "[1,\"b\"]\n"),
        ("u", "null", B, "[1,\"b\"]\n"),
        ("u", A, C, "-[1,\"a\"]\n[2,\"c\"]\n"),
        ("u", r#"{"id":1}"#, C, "-[1,null]\n[2,\"c\"]\n"),
        ("d", r#"{"id":1}"#, "null", "-[1,null]\n"),
    ] {
        check(&["id"], &change(op, before, after), rows, "");
    }
}

#[test]
fn the_wrapper_and_tombstones_are_passed_over() {
    let wrapped =
        format!(r#"{{"schema":{{"type":"struct"}},"payload":{}}}"#, change("c", "null", A));
    check(&[], &wrapped, "[1,\"a\"]\n", "");
    check(&[], &format!("null\n\n{}\n", change("c", "null", A)), "[1,\"a\"]\n", "");
    check(&[], r#"{"schema":null,"payload":null}"#, "", "");
    // The operation may stand before or behind the rows.
    check(&[], &format!(r#"{{"op":"d","after":null,"before":{A}}}"#), "-[1,\"a\"]\n", "");
}

#[test]
fn what_is_no_change_is_rejected_as_a_whole() {
    for (line, complaint) in [
        (
            change("u", "null", A),
            "missing-key: an update without `before` needs the source's \
          `primary_key` to say which row it replaces",
        ),
        (
            change("d", "null", "null"),
            "missing-key: a deletion without `before` does not say which \
          row goes",
        ),
        (change("c", "null", "null"), "unparsable: the envelope has no `after`"),
        (change("t", "null", "null"), "unparsable: operation `t` is not known"),
        (A.to_owned(), "unparsable: not a change envelope: no `op`"),
        (
            change("u", A, r#"{"id":"x"}"#),
            "wrong-type: column `id`: expected BIGINT, found `\"x\"`",
        ),
    ] {
        check(&[], &line, "", &format!("f:1 {complaint} [{line}]\n"));
    }
    let line = change("d", r#"{"n":"a"}"#, "null");
    let complaint = "missing-key: column `id`: a key must have a value, and this is null";
    check(&["id"], &line, "", &format!("f:1 {complaint} [{line}]\n"));
}

#[test]
fn text_that_is_json_is_found_out_in_the_middle_of_an_envelope() {
    let line = change("u", A, r#"{"id":1,"n":{"x":1}}"#);
    check(&[], &line, "-[1,\"a\"]\n[1,\"{\\\"x\\\":1}\"]\n", "");
}
