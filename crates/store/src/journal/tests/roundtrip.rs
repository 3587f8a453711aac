//! Rows of any type come back bit for bit.

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int8Array,
    IntervalMonthDayNanoArray, ListBuilder, NullArray, RecordBatchOptions, StringBuilder,
    StringViewArray, StructArray, TimestampMicrosecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{Fields, IntervalMonthDayNano};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

/// One row: a value of each type that a source can have.
type Row = (
    (Option<i8>, Option<u64>, Option<u64>, Option<bool>),
    (Option<String>, Option<Vec<u8>>, Option<i128>, Option<i64>),
    (Option<Vec<Option<String>>>, Option<i32>, (i32, i32, i64), i64),
);

fn row() -> impl Strategy<Value = Row> {
    let text = || option::of(".{0,20}");
    (
        any::<(Option<i8>, Option<u64>, Option<u64>, Option<bool>)>(),
        (text(), option::of(vec(any::<u8>(), 0..9)), any::<Option<i128>>(), any::<Option<i64>>()),
        (
            option::of(vec(text(), 0..4)),
            any::<Option<i32>>(),
            any::<(i32, i32, i64)>(),
            prop_oneof![3 => Just(1i64), 1 => -3i64..=3],
        ),
    )
}

fn lists(rows: &[Row]) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in rows {
        match &row.2.0 {
            Some(items) => {
                items.iter().for_each(|item| lists.values().append_option(item.as_deref()));
                lists.append(true);
            }
            None => lists.append(false),
        }
    }
    Arc::new(lists.finish())
}

fn columns(rows: &[Row]) -> Vec<(&'static str, ArrayRef)> {
    let texts = || rows.iter().map(|r| r.1.0.as_deref());
    let times = || rows.iter().map(|r| r.1.3);
    // Any bits: every NaN and every zero comes back as it was.
    let floats = Float64Array::from_iter(rows.iter().map(|r| r.0.2.map(f64::from_bits)));
    let decimals = Decimal128Array::from_iter(
        rows.iter().map(|r| r.1.2.map(|unscaled| unscaled % 10i128.pow(38))),
    );
    let days = Date32Array::from_iter(rows.iter().map(|r| r.2.1));
    let intervals = IntervalMonthDayNanoArray::from_iter_values(
        rows.iter().map(|r| IntervalMonthDayNano::new(r.2.2.0, r.2.2.1, r.2.2.2)),
    );
    let fields = Fields::from(vec![
        Field::new("day", DataType::Date32, true),
        Field::new("yes", DataType::Boolean, true),
    ]);
    let flags: ArrayRef = Arc::new(BooleanArray::from_iter(rows.iter().map(|r| r.0.3)));
    let nulls = rows.iter().map(|r| r.0.0.is_some()).collect::<Vec<_>>().into();
    let structs =
        StructArray::new(fields, vec![Arc::new(days.clone()), flags.clone()], Some(nulls));
    vec![
        ("tiny", Arc::new(Int8Array::from_iter(rows.iter().map(|r| r.0.0)))),
        ("large", Arc::new(UInt64Array::from_iter(rows.iter().map(|r| r.0.1)))),
        ("float", Arc::new(floats)),
        ("flag", flags),
        ("text", Arc::new(StringArray::from_iter(texts()))),
        ("view", Arc::new(StringViewArray::from_iter(texts()))),
        ("bytes", Arc::new(BinaryArray::from_iter(rows.iter().map(|r| r.1.1.as_deref())))),
        ("decimal", Arc::new(decimals.with_precision_and_scale(38, 7).unwrap())),
        ("local", Arc::new(TimestampMicrosecondArray::from_iter(times()))),
        ("utc", Arc::new(TimestampNanosecondArray::from_iter(times()).with_timezone("UTC"))),
        ("list", lists(rows)),
        ("day", Arc::new(days)),
        ("span", Arc::new(intervals)),
        ("both", Arc::new(structs)),
        ("nothing", Arc::new(NullArray::new(rows.len()))),
    ]
}

fn record_batch(rows: &[Row]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns(rows).into_iter().map(|(name, column)| (name, column, name != "span")),
    )
    .unwrap()
}

/// What `assert_eq!` on arrays does not see: the bits of floats.
fn float_bits(batch: &RecordBatch) -> Vec<Option<u64>> {
    use arrow::array::AsArray;
    use arrow::datatypes::Float64Type;
    let floats = batch.column_by_name("float").unwrap().as_primitive::<Float64Type>();
    floats.iter().map(|float| float.map(f64::to_bits)).collect()
}

fn check(rows: &[Row], cut: usize) {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let batch = record_batch(rows);
    let weights = Int64Array::from_iter_values(rows.iter().map(|r| r.2.3));
    let whole = Batch::new(batch.clone(), weights).unwrap();
    // Slices, because their buffers begin anywhere.
    let cut = cut % (whole.num_rows() + 1);
    let (front, back) = (whole.slice(0, cut), whole.slice(cut, whole.num_rows() - cut));
    let parts = [
        vec![front.clone()],
        vec![back.clone()],
        vec![whole.clone()],
        vec![Batch::inserts(batch.clone())],
        vec![front, back],
        vec![whole.clone(), Batch::inserts(batch.clone())],
    ];
    let names = vec![("a".to_owned(), batch.schema())];
    let (mut journal, _) = Journal::open(&data, &names, 0).unwrap();
    let mut written = Vec::new();
    for (n, rows) in (1..).zip(&parts) {
        let part = SourceInput { rows: rows.clone(), ..input("a", n, 0) };
        let reason = CloseReason::Flush;
        let inputs = vec![part];
        let input = EpochInput { epoch: n, time_us: -1, reason, inputs, digest: None };
        written.push(journal.append(&input).unwrap());
    }
    let read: Vec<_> = journal.replay(1).unwrap().map(Result::unwrap).collect();
    assert_eq!(read.len(), parts.len());
    let digests: Vec<_> = read.iter().filter_map(|input| input.digest).collect();
    assert_eq!(digests, written);
    for (read, part) in read.iter().zip(&parts) {
        let part = Batch::concat(&batch.schema(), part).unwrap();
        let [rows] = read.inputs[0].rows.as_slice() else { panic!("not in one batch") };
        rows.rows().columns().iter().for_each(|column| column.to_data().validate_full().unwrap());
        assert_eq!(float_bits(rows.rows()), float_bits(part.rows()));
        assert_eq!(rows.weights(), part.weights());
        for (read, written) in rows.rows().columns().iter().zip(part.rows().columns()) {
            if read.data_type() != &DataType::Float64 {
                assert_eq!(read, written);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_rows_come_back(rows in vec(row(), 0..40), cut in any::<usize>()) {
        check(&rows, cut);
    }
}

#[test]
fn rows_without_columns_are_counted() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let schema = Arc::new(Schema::empty());
    let options = RecordBatchOptions::new().with_row_count(Some(7));
    let rows = RecordBatch::try_new_with_options(schema.clone(), vec![], &options).unwrap();
    let (mut journal, _) = Journal::open(&data, &[("a".to_owned(), schema)], 0).unwrap();
    for (n, rows) in [
        (1, Batch::inserts(rows.clone())),
        (2, Batch::new(rows, Int64Array::from(vec![2; 7])).unwrap()),
    ] {
        let part = SourceInput { rows: vec![rows], ..input("a", n, 0) };
        journal.append(&EpochInput { inputs: vec![part], ..epoch(n, &[]) }).unwrap();
    }
    let read: Vec<_> = journal.replay(1).unwrap().map(|input| input.unwrap().inputs).collect();
    assert_eq!(read[0][0].row_count(), 7);
    assert_eq!(read[1][0].rows[0].weights(), Some(&Int64Array::from(vec![2; 7])));
}

#[test]
fn a_part_of_shared_text_is_written_alone() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(
        (0..10_000).map(|i| format!("a text that is too long to stand inline, number {i}")),
    ));
    let rows = RecordBatch::try_from_iter([("text", texts)]).unwrap();
    let names = vec![("a".to_owned(), rows.schema())];
    let (mut journal, _) = Journal::open(&data, &names, 0).unwrap();
    let part = SourceInput { rows: vec![Batch::inserts(rows.slice(17, 3))], ..input("a", 1, 0) };
    journal.append(&EpochInput { inputs: vec![part], ..epoch(1, &[]) }).unwrap();
    assert!(journal.bytes() < 4000, "{}", journal.bytes());
    let read = journal.replay(1).unwrap().next().unwrap().unwrap();
    assert_eq!(read.inputs[0].rows[0].rows(), &rows.slice(17, 3));
}

#[test]
fn a_null_position_is_a_position() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let (mut journal, _) = Journal::open(&data, &sources(&["a"]), 0).unwrap();
    let mut input = epoch(1, &["a"]);
    input.inputs[0].position = Some(json!(null));
    journal.append(&input).unwrap();
    assert_replays(journal.replay(1).unwrap(), &[input]);
    drop(journal);
    let (journal, _) = Journal::open(&data, &sources(&["a"]), 1).unwrap();
    assert_eq!(journal.last_positions()["a"].position, Some(json!(null)));
}
