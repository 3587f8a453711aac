#![allow(clippy::unwrap_used)]

use crate::decode::tests::{cell, complaints, schema, shown, whole};

use super::*;

/// Decodes `text`, the first line of which is its header.
fn decode(columns: &str, text: &[u8]) -> Decoded {
    decode_with(columns, text, &CsvConfig::default())
}

fn decode_with(columns: &str, text: &[u8], config: &CsvConfig) -> Decoded {
    let mut decoder = CsvDecoder::new(schema(columns), &[], config, 1000).unwrap();
    let head = decoder.begin_file(&whole(text)).unwrap().unwrap();
    let mut input = whole(&text[head..]);
    input.first_line += text[..head].iter().filter(|&&b| b == b'\n').count() as u64;
    let decoded = decoder.decode_front(&input).unwrap();
    assert_eq!(decoded.bytes, text.len() - head, "all is taken");
    decoded
}

fn check(columns: &str, text: &str, rows: &str, rejected: &str) {
    let decoded = decode(columns, text.as_bytes());
    assert_eq!(shown(&decoded.rows), rows, "{text:?}");
    assert_eq!(complaints(&decoded), rejected, "{text:?}");
}

#[test]
fn rows() {
    let columns = "id BIGINT; name TEXT";
    check(columns, "id,name\n1,a\n2,b\n", "[1,\"a\"]\n[2,\"b\"]\n", "");
    check(columns, "id,name\n1,a\n2,b", "[1,\"a\"]\n[2,\"b\"]\n", "");
    check(columns, "id,name\r\n1,a\r\n\r\n2,b\r\n\r\n", "[1,\"a\"]\n[2,\"b\"]\n", "");
    check(columns, "\u{feff}id,name\n1,\n", "[1,null]\n", "");
    check(columns, "x,name,id\n?,a,1\n", "[1,\"a\"]\n", "");
    check(columns, "id,name\n", "", "");
    check(columns, "id,name", "", "");
}

#[test]
fn quotes() {
    let columns = "id BIGINT; name TEXT";
    check(columns, "id,name\n1,\"a,b\"\n", "[1,\"a,b\"]\n", "");
    check(columns, "id,name\n1,\"say \"\"hi\"\"\"\n", "[1,\"say \\\"hi\\\"\"]\n", "");
    check(
        columns,
        "id,name\n\"1\",\"two\r\nlines\"\n2,x\n",
        "[1,\"two\\r\\nlines\"]\n[2,\"x\"]\n",
        "",
    );
    check(columns, "\"id\",\"name\"\n1,a\n", "[1,\"a\"]\n", "");
}

#[test]
fn a_line_number_counts_the_lines_in_quotes() {
    check(
        "id BIGINT; name TEXT",
        "id,name\n1,\"a\nb\nc\"\n\nx,d\n",
        "[1,\"a\\nb\\nc\"]\n",
        "f:6 wrong-type: column `id`: expected BIGINT, found `x` [x,d]\n",
    );
}

#[test]
fn broken_rows() {
    let columns = "id BIGINT; name TEXT";
    check(
        columns,
        "id,name\n1\n2,b\n3,c,d\n",
        "[2,\"b\"]\n",
        "f:2 unparsable: expected 2 fields, found 1 [1]\n\
         f:4 unparsable: expected 2 fields, found 3 [3,c,d]\n",
    );
    check(
        columns,
        "id,name\n1,\"open\n2,b\n",
        "[2,\"b\"]\n",
        "f:2 unparsable: a quote is not closed within 1000B, or before the end [1,\"open]\n",
    );
    let decoded = decode(columns, b"id,name\n1,\xff\n2,b\n");
    assert_eq!(shown(&decoded.rows), "[2,\"b\"]\n");
    assert_eq!(complaints(&decoded), "f:2 unparsable: not UTF-8 text [1,\u{fffd}]\n");
    assert_eq!(decoded.rejected[0].bytes, b"1,\xff", "the bytes are as they were");
    assert_eq!(decoded.rejected[0].context.as_deref(), Some("id,name"));
}

#[test]
fn long_rows() {
    let long = "y".repeat(1000);
    let decoded = decode("id BIGINT; name TEXT", format!("id,name\n1,{long}\n2,b\n").as_bytes());
    assert_eq!(shown(&decoded.rows), "[2,\"b\"]\n");
    assert_eq!(decoded.rejected[0].class, RejectClass::TooLong);
    // A stray quote takes no more with it than its own line.
    let lines = "2,b\n".repeat(400);
    let decoded = decode("id BIGINT; name TEXT", format!("id,name\n1,\"a\n{lines}").as_bytes());
    assert_eq!(decoded.rows.num_rows(), 400);
    assert_eq!(decoded.rejected.len(), 1);
    assert_eq!(decoded.rejected[0].bytes, b"1,\"a");
}

#[test]
fn what_is_binary_need_not_be_text() {
    let decoded = decode("id BIGINT; data BYTEA", b"id,data\n1,\xff\x01\n");
    assert_eq!(shown(&decoded.rows), "[1,\"/wE=\"]\n");
}

#[test]
fn a_key_must_have_a_value() {
    let key = ["id".to_owned()];
    let config = CsvConfig::default();
    let mut decoder = CsvDecoder::new(schema("id BIGINT; n INT"), &key, &config, 1000).unwrap();
    decoder.set_header("id,n").unwrap();
    let decoded = decoder.decode_front(&whole(b"1,1\n,2\nx,y\n")).unwrap();
    assert_eq!(shown(&decoded.rows), "[1,1]\n");
    assert_eq!(
        complaints(&decoded),
        "f:2 missing-key: column `id`: a key must have a value, and this is null [,2]\n\
         f:3 wrong-type: column `id`: expected BIGINT, found `x` [x,y]\n"
    );
}

#[test]
fn settings() {
    let config =
        CsvConfig { null_values: vec!["NA".to_owned(), "-".to_owned()], ..Default::default() };
    let decoded = decode_with("a BIGINT; b TEXT", b"a,b\nNA,-\n1,\n", &config);
    assert_eq!(shown(&decoded.rows), "[null,null]\n[1,\"\"]\n");
    let config = CsvConfig { delimiter: ';', header: false, ..Default::default() };
    let decoded = decode_with("a BIGINT; b TEXT", b"1;x,y\n", &config);
    assert_eq!(shown(&decoded.rows), "[1,\"x,y\"]\n");
    assert_eq!(decoded.rejected.len(), 0);
    let config = CsvConfig { delimiter: '\u{2192}', ..Default::default() };
    assert!(CsvDecoder::new(schema("a BIGINT"), &[], &config, 1000).is_err());
}

#[test]
fn a_header_without_a_column_names_the_nearest() {
    let config = CsvConfig::default();
    let mut decoder = CsvDecoder::new(schema("carrier TEXT"), &[], &config, 1000).unwrap();
    let error = decoder.set_header("id,carier,dest").unwrap_err();
    assert_eq!(error.message(), "the header has no column `carrier`");
    assert_eq!(error.hint_text(), Some("did you mean `carier`?"));
}

/// `text` as a field of a column of `column_type`: the value as JSON, or the complaint.
fn check_value(column_type: &str, text: &str, expect: Result<&str, &str>) {
    let quoted = text.replace('"', "\"\"");
    let decoded = decode(&format!("v {column_type}"), format!("v\n\"{quoted}\"\n").as_bytes());
    match expect {
        Ok(value) => {
            assert_eq!(decoded.rejected, [], "{column_type} {text}");
            assert_eq!(cell(decoded.rows.rows()).to_string(), value, "{column_type} {text}");
        }
        Err(complaint) => {
            assert_eq!(decoded.rejected.len(), 1, "{column_type} {text}");
            assert_eq!(decoded.rejected[0].class, RejectClass::WrongType);
            let message = &decoded.rejected[0].message;
            assert_eq!(message, &format!("column `v`: expected {complaint}"));
        }
    }
}

#[test]
fn numbers() {
    for (column_type, text, expect) in [
        ("BIGINT", "-9223372036854775808", Ok("-9223372036854775808")),
        ("BIGINT", "9223372036854775808", Err("BIGINT, found `9223372036854775808`: out of range")),
        ("BIGINT", " +7 ", Ok("7")),
        ("BIGINT", "12.0", Ok("12")),
        ("BIGINT", "12.5", Err("BIGINT, found `12.5`")),
        ("BIGINT", "-", Err("BIGINT, found `-`")),
        ("TINYINT", "127", Ok("127")),
        ("TINYINT", "128", Err("TINYINT, found `128`: out of range")),
        ("TINYINT UNSIGNED", "-1", Err("TINYINT UNSIGNED, found `-1`: out of range")),
        ("INT UNSIGNED", "4294967295", Ok("4294967295")),
        ("BIGINT UNSIGNED", "18446744073709551615", Ok("18446744073709551615")),
        ("DOUBLE", "1e3", Ok("1000.0")),
        ("DOUBLE", "-0", Ok("0.0")),
        ("DOUBLE", "nan", Ok("\"NaN\"")),
        ("DOUBLE", "-inf", Ok("\"-Infinity\"")),
        ("DOUBLE", "1e999", Err("DOUBLE, found `1e999`: out of range")),
        ("DOUBLE", "1,5", Err("DOUBLE, found `1,5`")),
        ("REAL", "0.1", Ok("0.1")),
        ("REAL", "1e39", Err("REAL, found `1e39`: out of range")),
        ("DECIMAL(5,2)", "-123.45", Ok("\"-123.45\"")),
        ("DECIMAL(5,2)", "1.5e1", Ok("\"15.00\"")),
        ("DECIMAL(5,2)", "1.230", Ok("\"1.23\"")),
        ("DECIMAL(5,2)", "1000", Err("DECIMAL(5,2), found `1000`: out of range")),
        (
            "DECIMAL(5,2)",
            "1.234",
            Err("DECIMAL(5,2), found `1.234`: more digits after the point than the column keeps"),
        ),
        ("DECIMAL(5,2)", "1e99999999999", Err("DECIMAL(5,2), found `1e99999999999`: out of range")),
        ("DECIMAL(5,2)", ".", Err("DECIMAL(5,2), found `.`")),
        ("BOOLEAN", "TRUE", Ok("true")),
        ("BOOLEAN", "f", Ok("false")),
        ("BOOLEAN", "2", Err("BOOLEAN, found `2`")),
    ] {
        check_value(column_type, text, expect);
    }
}

#[test]
fn times() {
    for (column_type, text, expect) in [
        ("DATE", "2024-02-29", Ok("\"2024-02-29\"")),
        ("DATE", "1969-12-31", Ok("\"1969-12-31\"")),
        ("DATE", "0001-01-01", Ok("\"0001-01-01\"")),
        ("DATE", "2023-02-29", Err("DATE, found `2023-02-29`")),
        ("DATE", "2023-2-9", Err("DATE, found `2023-2-9`")),
        ("TIME", "23:59:59.5", Ok("\"23:59:59.500\"")),
        ("TIME", "24:00:00", Err("TIME, found `24:00:00`")),
        ("TIMESTAMP", "2013-02-08 10:00:00", Ok("\"2013-02-08T10:00:00Z\"")),
        ("TIMESTAMP", "2013-02-08T10:00:00.123456789", Ok("\"2013-02-08T10:00:00.123456Z\"")),
        ("TIMESTAMP(9)", "2013-02-08T10:00:00.123456789", Ok("\"2013-02-08T10:00:00.123456789Z\"")),
        ("TIMESTAMP(3)", "1969-12-31 23:59:59.9999", Ok("\"1969-12-31T23:59:59.999Z\"")),
        ("TIMESTAMP(0)", "2013-02-08 10:00", Ok("\"2013-02-08T10:00:00Z\"")),
        ("TIMESTAMP", "2013-02-08", Ok("\"2013-02-08T00:00:00Z\"")),
        ("TIMESTAMP", "2013-02-08T12:00:00+02:00", Ok("\"2013-02-08T10:00:00Z\"")),
        ("TIMESTAMP WITH TIME ZONE", "2013-02-08 05:00:00-0500", Ok("\"2013-02-08T10:00:00Z\"")),
        (
            "TIMESTAMP(9)",
            "9999-01-01 00:00:00",
            Err("TIMESTAMP(9), found `9999-01-01 00:00:00`: out of range"),
        ),
        ("TIMESTAMP", "yesterday", Err("TIMESTAMP, found `yesterday`")),
        ("TIMESTAMP", "2013-02-08 10:00:00 +2", Err("TIMESTAMP, found `2013-02-08 10:00:00 +2`")),
        ("INTERVAL", "1 day", Ok("\"P1D\"")),
        ("INTERVAL", "soon", Err("INTERVAL, found `soon`")),
    ] {
        check_value(column_type, text, expect);
    }
}

#[test]
fn nested_values_are_json() {
    check_value("BIGINT[]", "[1,null,3]", Ok("[1,null,3]"));
    let deep = "[".repeat(900);
    for text in ["[1", "1 2", "[\"x\"]", &deep] {
        let decoded = decode(
            "v BIGINT[]",
            format!("v\n\"{}\"\n\"[7]\"\n", text.replace('"', "\"\"")).as_bytes(),
        );
        assert_eq!(shown(&decoded.rows), "[[7]]\n", "{text}");
        assert_eq!(decoded.rejected[0].class, RejectClass::WrongType, "{text}");
    }
}
