//! Times that encoded rows begin with: columns of 64 bits in the encoding of `arrow::row`, ascending.

/// Bytes of an encoded time: whether it is there, then the number.
pub(crate) const TIME_BYTES: usize = 9;
const IS_THERE: u8 = 1;

/// The time that an encoded row begins with; `None` if it is NULL.
pub(crate) fn time(row: &[u8]) -> Option<i64> {
    let (&is_there, rest) = row.split_first()?;
    let bytes: [u8; 8] = rest.get(..TIME_BYTES - 1)?.try_into().ok()?;
    (is_there == IS_THERE).then_some((u64::from_be_bytes(bytes) ^ 1 << 63).cast_signed())
}

/// What rows of this time begin with: before all of them, and behind those of earlier times.
pub(crate) fn encode(time: i64) -> [u8; TIME_BYTES] {
    let mut bytes = [IS_THERE; TIME_BYTES];
    bytes[1..].copy_from_slice(&(time.cast_unsigned() ^ 1 << 63).to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, TimestampMillisecondArray};
    use arrow::row::{RowConverter, SortField};

    use super::*;

    #[test]
    fn times_are_read_from_encoded_rows() {
        let times = vec![Some(i64::MIN), Some(-1), Some(0), Some(1), Some(i64::MAX), None];
        let column = Arc::new(TimestampMillisecondArray::from(times.clone())) as ArrayRef;
        let options = arrow::compute::SortOptions { descending: false, nulls_first: false };
        let field = SortField::new_with_options(column.data_type().clone(), options);
        let rows = RowConverter::new(vec![field]).unwrap().convert_columns(&[column]).unwrap();
        let read: Vec<Option<i64>> = rows.iter().map(|row| time(row.data())).collect();
        assert_eq!(read, times);
        for (row, time) in rows.iter().zip(times) {
            assert!(time.is_none_or(|time| encode(time) == row.data()));
        }
    }
}
