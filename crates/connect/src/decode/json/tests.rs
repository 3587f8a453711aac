#![allow(clippy::unwrap_used)]

mod alike;

use crate::decode::REJECTED_BYTES_MAX;
use crate::decode::tests::{cell, complaints, schema, shown};

use super::*;

fn check(columns: &str, text: &str, rows: &str, rejected: &str) {
    let mut decoder = JsonDecoder::new(schema(columns), &[], 1000).unwrap();
    let decoded = decoder.decode(text.as_bytes(), 1, "f").unwrap();
    assert_eq!(shown(&decoded.rows), rows, "{text:?}");
    assert_eq!(complaints(&decoded), rejected, "{text:?}");
    assert_eq!(decoded.bytes, text.len());
}

#[test]
fn rows() {
    let columns = "id BIGINT; name TEXT";
    check(columns, "{\"id\":1,\"name\":\"a\"}\n", "[1,\"a\"]\n", "");
    check(columns, " { \"name\" : \"a\" , \"id\" : 1 } \r\n\n\n{}", "[1,\"a\"]\n[null,null]\n", "");
    check(columns, "{\"x\":{\"id\":[2]},\"id\":1}\n{\"id\":null}\n", "[1,null]\n[null,null]\n", "");
    check(columns, "{\"n\\u0061me\":\"\\u00e9\\n\"}", "[null,\"\u{e9}\\n\"]\n", "");
}

#[test]
fn the_order_of_fields_may_change() {
    let lines =
        "{\"a\":1,\"b\":2,\"c\":3}\n{\"c\":3,\"a\":1}\n{\"b\":2}\n{\"a\":1,\"b\":2,\"c\":3}\n";
    check("a INT; b INT; c INT", lines, "[1,2,3]\n[1,null,3]\n[null,2,null]\n[1,2,3]\n", "");
}

#[test]
fn broken_rows() {
    let columns = "id BIGINT; name TEXT";
    let mut decoder = JsonDecoder::new(schema(columns), &["id".to_owned()], 100).unwrap();
    let long = format!("{{\"id\":1,\"name\":\"{}\"}}", "x".repeat(100));
    let lines: Vec<(&[u8], RejectClass, &str)> = vec![
        (b"{\"id\":1", RejectClass::Unparsable, "not a JSON object: "),
        (b"{\"id\":1} x", RejectClass::Unparsable, "not a JSON object: "),
        (b"[1]", RejectClass::Unparsable, "not a JSON object: "),
        (b"null", RejectClass::Unparsable, "not a JSON object: null"),
        (b"\"\"", RejectClass::Unparsable, "not a JSON object: "),
        (b"{\"id\":01}", RejectClass::Unparsable, "not a JSON object: "),
        (b"{\"id\":1,\"id\":2}", RejectClass::Unparsable, "field `id` stands there twice"),
        (b"{\"id\":\"1\"}", RejectClass::WrongType, "column `id`: expected BIGINT, found `\"1\"`"),
        (b"{\"name\":\"a\"}", RejectClass::MissingKey, "column `id`: a key must have a value"),
        (b"{\"id\":1,\"name\":\"\xff\"}", RejectClass::Unparsable, "not UTF-8 text"),
        (long.as_bytes(), RejectClass::TooLong, "longer than 100B, the most that a row may have"),
    ];
    let mut text = Vec::new();
    for (line, ..) in &lines {
        text.extend_from_slice(line);
        text.extend_from_slice(b"\n{\"id\":7}\n");
    }
    let decoded = decoder.decode(&text, 1, "f").unwrap();
    assert_eq!(decoded.rows.num_rows(), lines.len());
    assert_eq!(decoded.rejected.len(), lines.len(), "{}", complaints(&decoded));
    for ((i, (line, class, message)), rejected) in lines.iter().enumerate().zip(&decoded.rejected) {
        assert_eq!(rejected.bytes, *line);
        assert_eq!(rejected.class, *class, "{rejected:?}");
        assert_eq!(rejected.position, format!("f:{}", 2 * i + 1));
        assert!(rejected.message.starts_with(message), "{rejected:?}");
    }
}

#[test]
fn no_more_than_a_part_of_a_monstrous_row_is_kept() {
    let mut decoder = JsonDecoder::new(schema("id BIGINT"), &[], 1000).unwrap();
    let line = vec![b'x'; REJECTED_BYTES_MAX + 1];
    let decoded = decoder.decode(&line, 1, "f").unwrap();
    assert_eq!(decoded.rejected[0].bytes.len(), REJECTED_BYTES_MAX);
    assert!(decoded.rejected[0].message.ends_with("(the first 64 KiB are kept)"));
}

/// `json` as a value of a column of `column_type`: the value as JSON, or the complaint.
fn check_value(column_type: &str, json: &str, expect: Result<&str, &str>) {
    let mut decoder = JsonDecoder::new(schema(&format!("v {column_type}")), &[], 1000).unwrap();
    let decoded = decoder.decode(format!("{{\"v\":{json}}}").as_bytes(), 1, "f").unwrap();
    match expect {
        Ok(value) => {
            assert_eq!(decoded.rejected, [], "{column_type} {json}");
            assert_eq!(cell(decoded.rows.rows()).to_string(), value, "{column_type} {json}");
        }
        Err(complaint) => {
            assert_eq!(decoded.rejected.len(), 1, "{column_type} {json}");
            assert_eq!(decoded.rejected[0].class, RejectClass::WrongType);
            let message = &decoded.rejected[0].message;
            assert_eq!(message, &format!("column `v`: expected {complaint}"));
        }
    }
}

#[test]
fn values() {
    for (column_type, json, expect) in [
        ("BIGINT", "-5", Ok("-5")),
        ("BIGINT", "1.0", Ok("1")),
        ("BIGINT", "1.5", Err("BIGINT, found `1.5`")),
        ("BIGINT", "9007199254740994.0", Err("BIGINT, found `9007199254740994`: out of range")),
        ("BIGINT", "9223372036854775808", Err("BIGINT, found `9223372036854775808`: out of range")),
        ("BIGINT", "true", Err("BIGINT, found `true`")),
        ("BIGINT", "[1]", Err("BIGINT, found a list")),
        ("BIGINT", "{}", Err("BIGINT, found an object")),
        ("SMALLINT", "40000", Err("SMALLINT, found `40000`: out of range")),
        ("BIGINT UNSIGNED", "18446744073709551615", Ok("18446744073709551615")),
        ("BIGINT UNSIGNED", "-1", Err("BIGINT UNSIGNED, found `-1`: out of range")),
        ("DOUBLE", "3", Ok("3.0")),
        ("DOUBLE", "-0.0", Ok("0.0")),
        ("DOUBLE", "\"NaN\"", Ok("\"NaN\"")),
        ("DOUBLE", "\"1.5\"", Err("DOUBLE, found `\"1.5\"`")),
        ("BOOLEAN", "true", Ok("true")),
        ("BOOLEAN", "1", Err("BOOLEAN, found `1`")),
        ("DECIMAL(10,2)", "\"12.34\"", Ok("\"12.34\"")),
        ("DECIMAL(30,2)", "1234567890123456789012345.67", Ok("\"1234567890123456789012345.67\"")),
        ("DECIMAL(10,2)", "true", Err("DECIMAL(10,2), found `true`")),
        ("TEXT", "\"a\\\"b\"", Ok("\"a\\\"b\"")),
        ("TEXT", "1.50", Ok("\"1.50\"")),
        ("TEXT", "true", Ok("\"true\"")),
        ("TEXT", "{\"a\": [1]}", Ok("\"{\\\"a\\\": [1]}\"")),
        ("TEXT", "null", Ok("null")),
        ("BYTEA", "\"AP8=\"", Ok("\"AP8=\"")),
        ("BYTEA", "\"AP8\"", Ok("\"AP8=\"")),
        ("BYTEA", "\"?\"", Err("BYTEA, found `\"?\"`")),
        ("DATE", "\"2024-02-29\"", Ok("\"2024-02-29\"")),
        ("DATE", "15744", Ok("\"2013-02-08\"")),
        ("DATE", "1.5", Err("DATE, found `1.5`")),
        ("TIME", "\"10:30:00\"", Ok("\"10:30:00\"")),
        ("TIME", "86400000000", Err("TIME, found `86400000000`: out of range")),
        ("TIMESTAMP(3)", "1360281600000", Ok("\"2013-02-08T00:00:00Z\"")),
        ("TIMESTAMP", "\"2013-02-08T01:00:00+01:00\"", Ok("\"2013-02-08T00:00:00Z\"")),
        ("TIMESTAMP", "\"\"", Err("TIMESTAMP, found `\"\"`")),
        ("BIGINT[]", "[1,null]", Ok("[1,null]")),
        ("BIGINT[][]", "[[1],[]]", Ok("[[1],[]]")),
        ("TEXT[]", "null", Ok("null")),
    ] {
        check_value(column_type, json, expect);
    }
}

#[test]
fn a_text_column_takes_json_whatever_came_before() {
    check(
        "a TEXT; b TEXT",
        "{\"a\":\"x\",\"b\":\"y\"}\n{\"a\":\"\\\"q\\\"\",\"b\":2.50}\n{\"a\":[1, 2],\"b\":\"\\u00e9\"}\n",
        "[\"x\",\"y\"]\n[\"\\\"q\\\"\",\"2.50\"]\n[\"[1, 2]\",\"\u{e9}\"]\n",
        "",
    );
}

#[test]
fn a_wrong_nested_value_rejects_its_row_alone() {
    let mut decoder = JsonDecoder::new(schema("v BIGINT[]"), &[], 1000).unwrap();
    let lines = b"{\"v\":[1]}\n{\"v\":[\"x\"]}\n{\"v\":{}}\n{}\n{\"v\":[2]}\n";
    let decoded = decoder.decode(lines, 1, "f").unwrap();
    assert_eq!(shown(&decoded.rows), "[[1]]\n[null]\n[[2]]\n");
    let positions: Vec<_> = decoded.rejected.iter().map(|r| r.position.as_str()).collect();
    assert_eq!(positions, ["f:2", "f:3"]);
    assert!(decoded.rejected[0].message.starts_with("column `v`: expected BIGINT[], found "));
}

#[test]
fn deep_nesting_is_only_data() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let open = "{\"a\":".repeat(100_000);
    for (columns, field) in
        [("v TEXT", "x"), ("v TEXT", "v"), ("v BIGINT[]", "v"), ("v DECIMAL", "v"), ("v INT", "v")]
    {
        let mut decoder = JsonDecoder::new(schema(columns), &[], 1 << 20).unwrap();
        let lines = format!("{{\"{field}\":{}}}\n{open}\n{{}}\n", deep(200_000));
        let decoded = decoder.decode(lines.as_bytes(), 1, "f").unwrap();
        assert_eq!(decoded.rows.num_rows(), 1, "{columns} {field}");
        assert_eq!(decoded.rejected[0].class, RejectClass::Unparsable);
        assert!(decoded.rejected[0].message.starts_with("nested more than 128 levels deep"));
    }
    // The limit is on levels, not on brackets, and brackets in a text are none.
    let mut decoder = JsonDecoder::new(schema("v TEXT"), &[], 1 << 20).unwrap();
    let (flat, text) = ("[1],".repeat(500), "\\\"[".repeat(500));
    for (value, rows) in
        [(deep(127), 1), (deep(128), 0), (format!("[{flat}1]"), 1), (format!("\"{text}\""), 1)]
    {
        let decoded = decoder.decode(format!("{{\"v\":{value}}}").as_bytes(), 1, "f").unwrap();
        assert_eq!(decoded.rows.num_rows(), rows, "{value}");
    }
}
