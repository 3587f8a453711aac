#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{Int64Array, StringArray};

use crate::decode::tests::{complaints, schema, shown};

use super::*;

fn rows() -> RecordBatch {
    RecordBatch::try_from_iter([
        ("n", Arc::new(StringArray::from(vec![Some("1"), Some("x"), None])) as ArrayRef),
        ("id", Arc::new(Int64Array::from(vec![Some(7), Some(8), None]))),
    ])
    .unwrap()
}

#[test]
fn rows_are_cast_to_the_columns_of_the_source() {
    let decoder = ParquetDecoder::new(schema("id INT; n BIGINT"), &[]).unwrap();
    let decoded = decoder.decode(&rows(), 11, "f").unwrap();
    assert_eq!(shown(&decoded.rows), "[7,1]\n[null,null]\n");
    assert_eq!(
        complaints(&decoded),
        "f:12 wrong-type: column `n`: expected BIGINT, found `x` [{\"n\":\"x\",\"id\":8}]\n"
    );
    assert_eq!((decoded.row_ends, decoded.rejected_ends), (vec![1, 3], vec![2]));
}

#[test]
fn a_key_must_have_a_value() {
    let decoder = ParquetDecoder::new(schema("id INT"), &["id".to_owned()]).unwrap();
    let decoded = decoder.decode(&rows(), 1, "f").unwrap();
    assert_eq!(shown(&decoded.rows), "[7]\n[8]\n");
    assert_eq!(decoded.rejected[0].class, RejectClass::MissingKey);
}

#[test]
fn a_missing_column_names_the_nearest() {
    let decoder = ParquetDecoder::new(schema("idd INT"), &[]).unwrap();
    let error = decoder.decode(&rows(), 1, "f").unwrap_err();
    assert_eq!(error.hint_text(), Some("did you mean `id`?"));
}

#[test]
fn what_is_no_parquet_is_said_to_be_corrupt() {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, b"PAR1 and no more").unwrap();
    let error = ParquetFile::open(file, "f").err().unwrap();
    assert_eq!(error.kind(), syncline_change::ErrorKind::Corrupt);
}
