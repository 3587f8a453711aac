#![allow(clippy::unwrap_used)]

use syncline_change::types;

use crate::decode::tests::whole;

use super::*;

fn shown(schema: &Schema) -> String {
    let columns = schema.fields().iter();
    let columns = columns.map(|f| format!("{} {}", f.name(), types::name(f.data_type())));
    columns.collect::<Vec<_>>().join("; ")
}

fn check_csv(values: &[&str], expect: &str) {
    let text: String = values.iter().map(|value| format!("x,{value}\n")).collect();
    let text = format!("k,v\n{text}");
    let (schema, rows) = csv(&whole(text.as_bytes()), &CsvConfig::default()).unwrap();
    assert_eq!(shown(&schema), format!("k TEXT; v {expect}"), "{values:?}");
    assert_eq!(rows, values.len());
}

#[test]
fn fields_of_csv() {
    for (values, expect) in [
        (&["1", "-2", ""][..], "BIGINT"),
        (&["1", "2.5"], "DOUBLE"),
        (&["1e5", ".5"], "DOUBLE"),
        (&["9223372036854775808"], "DOUBLE"),
        (&["007", "1"], "TEXT"),
        (&["0", "0.5"], "DOUBLE"),
        (&["nan"], "TEXT"),
        (&["true", "FALSE"], "BOOLEAN"),
        (&["true", "1"], "TEXT"),
        (&["2013-02-08", "2013-02-09"], "DATE"),
        (&["2013-02-08", "2013-02-09 10:00:00"], "TIMESTAMP"),
        (&["2013-02-08T10:00:00.5"], "TIMESTAMP"),
        (&["2013-02-08T10:00:00.123456789"], "TIMESTAMP(9)"),
        (&["2013-02-08T10:00:00Z", "2013-02-08 10:00:00+01:00"], "TIMESTAMP WITH TIME ZONE"),
        (&["2013-02-08T10:00:00Z", "2013-02-08 10:00:00"], "TEXT"),
        (&["", ""], "TEXT"),
        (&["1", "one"], "TEXT"),
        (&["10:00"], "TEXT"),
    ] {
        check_csv(values, expect);
    }
}

#[test]
fn heads_of_csv() {
    let columns = |text: &str, header: bool| {
        let config = CsvConfig { header, ..Default::default() };
        csv(&whole(text.as_bytes()), &config).map(|(schema, rows)| (shown(&schema), rows))
    };
    assert_eq!(columns("\u{feff}b, a\n1,2\n", true).unwrap(), ("b BIGINT; a BIGINT".to_owned(), 1));
    assert_eq!(columns("b,a\n", true).unwrap(), ("b TEXT; a TEXT".to_owned(), 0));
    assert_eq!(columns("", true).unwrap(), (String::new(), 0));
    assert_eq!(
        columns("1,x\n2,y", false).unwrap(),
        ("column_1 BIGINT; column_2 TEXT".to_owned(), 2)
    );
    assert_eq!(columns("a\n1\n2,3\n", true).unwrap(), ("a BIGINT".to_owned(), 2));
    assert!(columns("a,b,a\n", true).is_err());
}

#[test]
fn an_unfinished_last_row_does_not_count() {
    let input = Input { at_end: false, ..whole(b"a\n1\n2x") };
    assert_eq!(shown(&csv(&input, &CsvConfig::default()).unwrap().0), "a BIGINT");
    let input = Input { at_end: false, ..whole(b"{\"a\":1}\n{\"a\":\"x\"}") };
    assert_eq!(shown(&json(&input)), "a BIGINT");
}

fn check_json(values: &[&str], expect: &str) {
    let text: String = values.iter().map(|value| format!("{{\"v\":{value}}}\n")).collect();
    assert_eq!(shown(&json(&whole(text.as_bytes()))), format!("v {expect}"), "{values:?}");
}

#[test]
fn values_of_json() {
    for (values, expect) in [
        (&["1", "null", "-3"][..], "BIGINT"),
        (&["1", "1.5"], "DOUBLE"),
        (&["1.5", "1"], "DOUBLE"),
        (&["18446744073709551615"], "TEXT"),
        (&["true", "false"], "BOOLEAN"),
        (&["true", "1"], "TEXT"),
        (&["\"1\""], "TEXT"),
        (&["\"2013-02-08\""], "DATE"),
        (&["\"2013-02-08 10:00:00.000\""], "TIMESTAMP"),
        (&["\"2013-02-08T10:00:00Z\""], "TIMESTAMP WITH TIME ZONE"),
        (&["\"2013-02-08T10:00:00Z\"", "\"x\""], "TEXT"),
        (&["\"2013-02-08T10:00:00Z\"", "5"], "TEXT"),
        (&["null"], "TEXT"),
        (&["[1,2]", "[]", "null"], "BIGINT[]"),
        (&["[1,\"a\"]"], "TEXT"),
        (&["[]"], "TEXT[]"),
        (&["[[1],[2.5]]"], "DOUBLE[][]"),
        (&["{\"x\":1}", "{\"y\":\"a\"}"], "STRUCT(x BIGINT, y TEXT)"),
        (&["{\"x\":1}", "{\"x\":[]}"], "TEXT"),
        (&["{\"x\":1}", "[]"], "TEXT"),
        (&["{}"], "TEXT"),
    ] {
        check_json(values, expect);
    }
}

#[test]
fn columns_are_in_the_order_in_which_they_are_seen() {
    let text = b"{\"b\":1}\nbroken\n[1]\n{\"a\":1,\"b\":2}\n";
    assert_eq!(shown(&json(&whole(text))), "b BIGINT; a BIGINT");
}

#[test]
fn envelopes() {
    let text = concat!(
        "{\"op\":\"d\",\"before\":{\"id\":1},\"after\":null}\n",
        "{\"schema\":{},\"payload\":{\"op\":\"c\",\"before\":null,\"after\":{\"id\":1,\"n\":\"a\"}}}\n",
        "null\n",
    );
    assert_eq!(shown(&debezium(&whole(text.as_bytes()))), "id BIGINT; n TEXT");
}

#[test]
fn deep_nesting_is_passed_over() {
    let text = format!("{{\"v\":{}{}}}\n{{\"v\":1}}\n", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(shown(&json(&whole(text.as_bytes()))), "v BIGINT");
}
