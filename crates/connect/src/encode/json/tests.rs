#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, StringArray};
use syncline_change::Batch;
use syncline_change::sink::Shape;

use super::*;

fn table(ids: Vec<i64>, names: Vec<Option<&str>>, values: Vec<f64>) -> RecordBatch {
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(ids)) as _),
        ("na\"me", Arc::new(StringArray::from(names)) as _),
        ("value", Arc::new(Float64Array::from(values)) as _),
    ])
    .unwrap()
}

fn envelopes_of(epoch: u64, changes: Vec<Batch>, key: Option<Vec<usize>>) -> String {
    let shape = Shape { schema: table(vec![], vec![], vec![]).schema(), key };
    let order = ChangeOrder::new(&shape).unwrap();
    let mut out = Vec::new();
    let mut lines = 0;
    envelopes(&order, &EpochChanges { epoch, changes }, &mut out, &mut |_| {
        lines += 1;
        Ok(())
    })
    .unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), lines, "a call after each line");
    text
}

#[test]
fn envelopes_say_what_happened() {
    let rows = table(vec![1, 1, 2], vec![Some("old"), Some("new\n"), None], vec![0.5, 1.0, 2.0]);
    let changes = Batch::new(rows, Int64Array::from(vec![-1, 1, -1])).unwrap();
    let expect = concat!(
        r#"{"op":"u","before":{"id":1,"na\"me":"old","value":0.5},"#,
        r#""after":{"id":1,"na\"me":"new\n","value":1.0},"epoch":7}"#,
        "\n",
        r#"{"op":"d","before":{"id":2,"na\"me":null,"value":2.0},"after":null,"epoch":7}"#,
        "\n",
    );
    assert_eq!(envelopes_of(7, vec![changes], Some(vec![0])), expect);
}

#[test]
fn inserts_are_one_line_each() {
    let rows = table(vec![1, 2], vec![Some("a"), Some("b")], vec![1.0, f64::NAN]);
    let expect = concat!(
        r#"{"op":"c","before":null,"after":{"id":1,"na\"me":"a","value":1.0},"epoch":1}"#,
        "\n",
        r#"{"op":"c","before":null,"after":{"id":2,"na\"me":"b","value":"NaN"},"epoch":1}"#,
        "\n",
    );
    assert_eq!(envelopes_of(1, vec![Batch::inserts(rows)], None), expect);
}

#[test]
fn rows_are_one_object_each() {
    let mut out = Vec::new();
    rows(&table(vec![1], vec![None], vec![15.0]), &mut out, &mut |_| Ok(())).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "{\"id\":1,\"na\\\"me\":null,\"value\":15.0}\n");
}
