#![allow(clippy::unwrap_used)]

use arrow::array::{AsArray, Int64Array};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, UInt64Type};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use syncline_change::sink::Shape;

use super::*;

fn table(ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    let ids: Vec<i64> = ids.into_iter().collect();
    let names: StringArray = ids.iter().map(|id| (id % 3 != 0).then(|| format!("n{id}"))).collect();
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(ids)) as ArrayRef),
        ("name", Arc::new(names) as ArrayRef),
    ])
    .unwrap()
}

fn read(bytes: Vec<u8>) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

#[test]
fn rows_read_back_as_they_were_written() {
    let rows = table(0..20_000);
    let mut writer = ParquetWriter::new(Vec::new(), rows.schema()).unwrap();
    writer.write(&rows.slice(0, 12_000)).unwrap();
    writer.write(&rows.slice(12_000, 8_000)).unwrap();
    let read = read(writer.finish().unwrap());
    assert_eq!(read.columns(), rows.columns());
}

#[test]
fn changes_carry_their_operation_and_epoch() {
    let rows = table(0..3 * CHANGES_AT_A_TIME as i64);
    let order = ChangeOrder::new(&Shape { schema: rows.schema(), key: Some(vec![0]) }).unwrap();
    let schema = changes_schema(&rows.schema());
    // One batch takes away what the next adds: each row is an update.
    let minus = Int64Array::from_value(-1, rows.num_rows());
    let gone = Batch::new(rows.clone(), minus).unwrap();
    let epoch = EpochChanges { epoch: 9, changes: vec![gone, Batch::inserts(rows.clone())] };
    let mut written = Vec::new();
    changes(&order, &epoch, &schema, |batch| {
        written.push(batch.clone());
        Ok(())
    })
    .unwrap();
    assert!(written.len() > 1, "handed over in pieces");
    let all = concat_batches(&schema, &written).unwrap();
    assert_eq!(all.num_rows(), 2 * rows.num_rows());
    for row in [0, 1, all.num_rows() - 1] {
        let op = if row % 2 == 0 { "d" } else { "c" };
        assert_eq!(all.column(0).as_string::<i32>().value(row), op);
        assert_eq!(all.column(1).as_primitive::<UInt64Type>().value(row), 9);
        assert_eq!(all.column(2).as_primitive::<Int64Type>().value(row), row as i64 / 2);
    }
}
