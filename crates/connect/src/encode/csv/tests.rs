#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{
    Decimal128Array, Float64Array, Int64Array, ListArray, StringArray, StringViewArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{Field, Int64Type};
use syncline_change::Batch;
use syncline_change::sink::Shape;

use super::*;

fn records(columns: Vec<(&str, ArrayRef)>) -> String {
    let mut out = Vec::new();
    rows(&RecordBatch::try_from_iter(columns).unwrap(), &mut out, &mut |_| Ok(())).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn texts_are_quoted_where_they_must_be() {
    for (text, expect) in [
        ("plain", "plain"),
        ("a,b", "\"a,b\""),
        ("say \"hi\"", "\"say \"\"hi\"\"\""),
        ("two\nlines", "\"two\nlines\""),
        ("cr\r", "\"cr\r\""),
        (" padded", "\" padded\""),
        ("", "\"\""),
        ("é", "é"),
    ] {
        for column in [
            Arc::new(StringArray::from(vec![text])) as ArrayRef,
            Arc::new(StringViewArray::from(vec![text])) as ArrayRef,
        ] {
            assert_eq!(records(vec![("a", column)]), format!("{expect}\n"), "{text:?}");
        }
    }
}

#[test]
fn every_kind_of_value_has_its_form() {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), Some(2)])]);
    let decimal = Decimal128Array::from(vec![1234]).with_precision_and_scale(10, 2).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("i", Arc::new(Int64Array::from(vec![-5]))),
        ("f", Arc::new(Float64Array::from(vec![f64::INFINITY]))),
        ("d", Arc::new(decimal)),
        ("t", Arc::new(TimestampMillisecondArray::from(vec![1_360_281_600_000]))),
        ("l", Arc::new(list)),
        ("n", Arc::new(Int64Array::from(vec![None]))),
    ];
    assert_eq!(records(columns), "-5,Infinity,12.34,2013-02-08T00:00:00Z,\"[1,2]\",\n");
}

#[test]
fn a_record_is_never_an_empty_line() {
    assert_eq!(records(vec![("a", Arc::new(Int64Array::from(vec![None])))]), "\"\"\n");
}

#[test]
fn the_header_names_the_columns() {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("a,b", DataType::Utf8, true),
    ]);
    let mut out = Vec::new();
    header(&["op", "epoch"], &schema, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), "op,epoch,id,\"a,b\"\n");
}

#[test]
fn an_update_is_a_deletion_and_a_creation() {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![1, 1, 2]))),
        ("name", Arc::new(StringArray::from(vec![Some("b"), Some("a"), None]))),
    ];
    let rows = RecordBatch::try_from_iter(columns).unwrap();
    let order = ChangeOrder::new(&Shape { schema: rows.schema(), key: Some(vec![0]) }).unwrap();
    let batch = Batch::new(rows, Int64Array::from(vec![1, -1, 1])).unwrap();
    let mut out = Vec::new();
    changes(&order, &EpochChanges { epoch: 3, changes: vec![batch] }, &mut out, &mut |_| Ok(()))
        .unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "d,3,1,a\nc,3,1,b\nc,3,2,\n");
}
