#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    Float64Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, LargeStringArray, ListArray,
    NullArray, RecordBatch, StringArray, StructArray, Time64NanosecondArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int8Type, Int64Type, IntervalMonthDayNano};
use proptest::prelude::*;

use super::*;
use crate::Batch;

fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
    let named = columns.into_iter().enumerate().map(|(i, column)| (format!("c{i}"), column, true));
    RecordBatch::try_from_iter_with_nullable(named).unwrap()
}

/// A row of every kind of value, and one of NULLs.
fn all_kinds() -> RecordBatch {
    let field = |name, data_type| Arc::new(Field::new(name, data_type, true));
    let parts: Vec<(Arc<Field>, ArrayRef)> = vec![
        (field("a", DataType::Int64), Arc::new(Int64Array::from(vec![Some(7), None]))),
        (field("b", DataType::Utf8), Arc::new(StringArray::from(vec![None, Some("x")]))),
    ];
    let interval = IntervalMonthDayNano::new(1, -2, 3);
    let list = |values: Vec<Option<i64>>| Some(values);
    batch(vec![
        Arc::new(NullArray::new(2)),
        Arc::new(BooleanArray::from(vec![Some(true), None])),
        Arc::new(Int32Array::from(vec![Some(-5), None])),
        Arc::new(UInt64Array::from(vec![Some(u64::MAX), None])),
        Arc::new(Float64Array::from(vec![Some(1.5), None])),
        Arc::new(
            Decimal128Array::from(vec![Some(-12345), None])
                .with_precision_and_scale(20, 3)
                .unwrap(),
        ),
        Arc::new(StringArray::from(vec![Some("größer"), None])),
        Arc::new(BinaryArray::from(vec![Some(&b"\0\xff"[..]), None])),
        Arc::new(Date32Array::from(vec![Some(-1), None])),
        Arc::new(Time64NanosecondArray::from(vec![Some(5), None])),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(-7), None])),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(7), None]).with_timezone("UTC")),
        Arc::new(IntervalMonthDayNanoArray::from(vec![Some(interval), None])),
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
            list(vec![Some(1), None]),
            None,
        ])),
        Arc::new(StructArray::from(parts)),
    ])
}

fn row_bytes(rows: &RecordBatch, row: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    RowBytes::new(rows).unwrap().write(row, &mut bytes);
    bytes
}

fn changes_hex(batches: &[Batch]) -> String {
    let mut digest = ChangeDigest::new(&batches[0].schema());
    batches.iter().for_each(|batch| digest.update(batch).unwrap());
    digest.hex()
}

fn set_hex(name: &str, rows: &[(&[u8], u64)]) -> String {
    let mut set = SetDigest::new(name);
    rows.iter().for_each(|(row, count)| set.add(row, *count));
    set.hex()
}

/// These are in files that people keep: they do not change.
#[test]
fn digests_are_what_they_were() {
    let rows = all_kinds();
    let hex: String = row_bytes(&rows, 0).iter().map(|byte| format!("{byte:02x}")).collect();
    insta::assert_snapshot!(hex);
    let nulls = row_bytes(&rows, 1);
    assert_eq!(nulls[..14], [0; 14]);
    let (first, second) = (row_bytes(&rows, 0), row_bytes(&rows, 1));
    insta::assert_snapshot!(set_hex("v", &[(&first, 1), (&second, 3)]));
    let weighted = Batch::new(rows, Int64Array::from(vec![-1, 3])).unwrap();
    insta::assert_snapshot!(changes_hex(&[weighted]));
}

#[test]
fn layout_does_not_matter_to_rows() {
    let check = |a: ArrayRef, b: ArrayRef| {
        for row in 0..a.len() {
            let (a, b) = (batch(vec![a.clone()]), batch(vec![b.clone()]));
            assert_eq!(row_bytes(&a, row), row_bytes(&b, row), "{row} of {a:?} and {b:?}");
        }
    };
    let texts = vec![Some("a"), None, Some("")];
    let plain: ArrayRef = Arc::new(StringArray::from(texts.clone()));
    check(plain.clone(), Arc::new(LargeStringArray::from(texts.clone())));
    check(plain, Arc::new(texts.into_iter().collect::<DictionaryArray<Int8Type>>()));
    check(Arc::new(Int32Array::from(vec![1, -1])), Arc::new(Int64Array::from(vec![1, -1])));
    check(
        Arc::new(TimestampMillisecondArray::from(vec![1, i64::MAX / 1000])),
        Arc::new(TimestampMicrosecondArray::from(vec![1000, i64::MAX / 1000 * 1000])),
    );
    let odd_nan = f64::from_bits(f64::NAN.to_bits() | 1);
    check(
        Arc::new(Float64Array::from(vec![0.0, f64::NAN])),
        Arc::new(Float64Array::from(vec![-0.0, odd_nan])),
    );
}

#[test]
fn a_set_tells_rows_names_and_counts_apart() {
    let of = |rows: &[(&[u8], u64)]| set_hex("v", rows);
    assert_eq!(of(&[(b"a", 1), (b"b", 2)]), of(&[(b"b", 2), (b"a", 1)]));
    let others = [
        of(&[]),
        of(&[(b"a", 1)]),
        of(&[(b"a", 2)]),
        of(&[(b"a", 65_537)]),
        of(&[(b"b", 1)]),
        of(&[(b"a", 1), (b"b", 1)]),
        set_hex("w", &[(b"a", 1)]),
    ];
    for (i, a) in others.iter().enumerate() {
        assert!(!others[..i].contains(a), "{i}");
    }
    let mut set = SetDigest::new("v");
    set.add(b"a", 1);
    set.add(b"b", 2);
    set.remove(b"b", 2);
    assert_eq!(set.hex(), of(&[(b"a", 1)]));
    set.add(b"c", 0);
    let mut other = SetDigest::new("v");
    other.add(b"b", 1);
    set.merge(&other);
    assert_eq!(set.hex(), of(&[(b"a", 1), (b"b", 1)]));
}

type Row = (Option<i64>, Option<String>, Option<bool>, Option<f64>, Option<Vec<Option<i64>>>, i64);

fn any_row() -> impl Strategy<Value = Row> {
    (
        prop::option::of(-2..3_i64),
        prop::option::of("[ab]{0,2}"),
        any::<Option<bool>>(),
        prop::option::of(prop::sample::select(vec![0.0, 1.5, f64::NAN])),
        prop::option::of(prop::collection::vec(prop::option::of(0..2_i64), 0..3)),
        prop::sample::select(vec![1, 1, 1, -1, 2]),
    )
}

fn changes(rows: &[Row]) -> Batch {
    let lists = rows.iter().map(|row| row.4.clone());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.1.clone()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|row| row.3).collect::<Float64Array>()),
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
    ];
    let weights = rows.iter().map(|row| row.5).collect::<Int64Array>();
    Batch::new(batch(columns), weights).unwrap()
}

proptest! {
    /// Equal changes have equal digests however they are cut, and other changes have others.
    #[test]
    fn changes_are_told_apart_and_cuts_are_not(
        rows in prop::collection::vec(any_row(), 1..12),
        others in prop::collection::vec(any_row(), 1..12),
        cut in 0..12_usize,
    ) {
        let whole = changes(&rows);
        let cut = cut % rows.len();
        let parts = [whole.slice(0, cut), whole.slice(cut, rows.len() - cut)];
        prop_assert_eq!(changes_hex(std::slice::from_ref(&whole)), changes_hex(&parts));
        let same = format!("{rows:?}") == format!("{others:?}");
        prop_assert_eq!(changes_hex(&[whole]) == changes_hex(&[changes(&others)]), same);
    }
}
