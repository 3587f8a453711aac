//! Rows as bytes that are quick to make and to read: equal rows have equal bytes, and that is all
//! that their order says.
//!
//! A row is a bit for each column that says whether it is NULL, the columns of fixed width, the
//! lengths of the others, and their bytes. What is NULL is all zeros.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BinaryArray, BooleanArray, LargeBinaryArray,
    LargeStringArray, NullArray, OffsetSizeTrait, StringArray, make_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::DataType;
use syncline_change::{Error, Result};

/// How rows of some types are laid out.
#[derive(Debug)]
pub(crate) struct Layout {
    columns: Vec<Column>,
    /// Bytes of the NULL bits.
    null_bytes: usize,
    /// Where the lengths begin, and behind them the bytes that they are of.
    lengths_at: usize,
    bytes_at: usize,
}

#[derive(Debug)]
struct Column {
    data_type: DataType,
    slot: Slot,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    /// Always NULL.
    Nothing,
    Fixed {
        at: usize,
        width: usize,
    },
    /// The number of the length.
    Bytes(usize),
}

/// Rows, one after the other.
#[derive(Debug)]
pub(crate) struct CompactRows {
    /// Where each row begins, and where the last one ends.
    starts: Vec<usize>,
    bytes: Vec<u8>,
}

impl CompactRows {
    pub(crate) fn get(&self, row: usize) -> &[u8] {
        &self.bytes[self.starts[row]..self.starts[row + 1]]
    }
}

impl Layout {
    /// The layout of rows of these types; `None` if one of them is not laid out here.
    pub(crate) fn new(types: &[DataType]) -> Option<Self> {
        let null_bytes = types.len().div_ceil(8);
        let (mut at, mut lengths) = (null_bytes, 0);
        let mut columns = Vec::with_capacity(types.len());
        for data_type in types {
            let slot = match fixed_width(data_type) {
                Some(0) => Slot::Nothing,
                Some(width) => {
                    at += width;
                    Slot::Fixed { at: at - width, width }
                }
                None if is_bytes(data_type) => {
                    lengths += 1;
                    Slot::Bytes(lengths - 1)
                }
                None => return None,
            };
            columns.push(Column { data_type: data_type.clone(), slot });
        }
        let bytes_at = at + lengths * size_of::<u32>();
        Some(Self { columns, null_bytes, lengths_at: at, bytes_at })
    }

    /// # Errors
    /// `Unsupported` if a value has 4 GiB or more.
    pub(crate) fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<CompactRows> {
        let mut ends = vec![self.bytes_at; rows];
        for (column, array) in self.columns.iter().zip(columns) {
            if let Slot::Bytes(_) = column.slot {
                each_length(array, |row, length| ends[row] += length)?;
            }
        }
        let mut starts = Vec::with_capacity(rows + 1);
        let mut total = 0;
        for length in &ends {
            starts.push(total);
            total += length;
        }
        starts.push(total);
        let mut bytes = vec![0; total];
        // Where the next bytes of each row go.
        let mut next: Vec<usize> =
            starts[..rows].iter().map(|start| start + self.bytes_at).collect();
        for (i, (column, array)) in self.columns.iter().zip(columns).enumerate() {
            let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
            if let Some(nulls) = &nulls {
                for row in (0..rows).filter(|&row| nulls.is_null(row)) {
                    bytes[starts[row] + i / 8] |= 1 << (i % 8);
                }
            }
            match column.slot {
                Slot::Nothing => {}
                Slot::Fixed { at, width } => {
                    let mut target = Fixed { bytes: &mut bytes, starts: &starts, at };
                    target.write(array, width, nulls.as_ref())?;
                }
                Slot::Bytes(number) => {
                    let length_at = self.lengths_at + number * size_of::<u32>();
                    each_value(array, |row, value| {
                        let at = starts[row] + length_at;
                        bytes[at..at + 4].copy_from_slice(&(value.len() as u32).to_le_bytes());
                        bytes[next[row]..next[row] + value.len()].copy_from_slice(value);
                        next[row] += value.len();
                    });
                }
            }
        }
        Ok(CompactRows { starts, bytes })
    }

    /// The columns of encoded rows.
    ///
    /// # Errors
    /// `Bug` if the bytes were not made by an equal layout.
    pub(crate) fn decode(&self, rows: &[&[u8]]) -> Result<Vec<ArrayRef>> {
        if rows.iter().any(|row| row.len() < self.bytes_at) {
            return Err(Error::bug("an encoded row is too short"));
        }
        // Where the next bytes of each row are.
        let mut next: Vec<usize> = vec![self.bytes_at; rows.len()];
        let column = |(i, column): (usize, &Column)| {
            let nulls = self.nulls(rows, i);
            Ok(match column.slot {
                Slot::Nothing => Arc::new(NullArray::new(rows.len())) as ArrayRef,
                Slot::Fixed { at, width } => fixed(&column.data_type, rows, (at, width), nulls)?,
                Slot::Bytes(number) => {
                    let length_at = self.lengths_at + number * size_of::<u32>();
                    variable(&column.data_type, rows, length_at, &mut next, nulls)?
                }
            })
        };
        self.columns.iter().enumerate().map(column).collect()
    }

    fn nulls(&self, rows: &[&[u8]], column: usize) -> Option<NullBuffer> {
        debug_assert!(column / 8 < self.null_bytes);
        let is_null = |row: &&[u8]| row[column / 8] >> (column % 8) & 1 == 1;
        if !rows.iter().any(is_null) {
            return None;
        }
        Some(NullBuffer::new(BooleanBuffer::from_iter(rows.iter().map(|row| !is_null(row)))))
    }
}

/// Bytes that every value of a type takes; 0 where there is nothing but NULL.
fn fixed_width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::Null => Some(0),
        DataType::Boolean => Some(1),
        other => other.primitive_width(),
    }
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary
    )
}

/// Calls `take` with the bytes of each value that is not NULL.
fn each_value(array: &ArrayRef, mut take: impl FnMut(usize, &[u8])) {
    macro_rules! each {
        ($array:expr, $bytes:expr) => {
            for row in 0..$array.len() {
                if $array.is_valid(row) {
                    take(row, $bytes($array.value(row)));
                }
            }
        };
    }
    match array.data_type() {
        DataType::Utf8 => each!(array.as_string::<i32>(), str::as_bytes),
        DataType::LargeUtf8 => each!(array.as_string::<i64>(), str::as_bytes),
        DataType::Binary => each!(array.as_binary::<i32>(), std::convert::identity),
        _ => each!(array.as_binary::<i64>(), std::convert::identity),
    }
}

fn each_length(array: &ArrayRef, mut take: impl FnMut(usize, usize)) -> Result<()> {
    let mut longest = 0;
    each_value(array, |row, value| {
        longest = longest.max(value.len());
        take(row, value.len());
    });
    if longest > u32::MAX as usize {
        return Err(Error::unsupported("a value of 4 GiB or more"));
    }
    Ok(())
}

/// Where values of one fixed width go.
struct Fixed<'a> {
    bytes: &'a mut [u8],
    starts: &'a [usize],
    at: usize,
}

impl Fixed<'_> {
    fn write(&mut self, array: &ArrayRef, width: usize, nulls: Option<&NullBuffer>) -> Result<()> {
        if let Some(values) = array.as_boolean_opt() {
            for row in (0..values.len()).filter(|&row| values.is_valid(row)) {
                self.bytes[self.starts[row] + self.at] = u8::from(values.value(row));
            }
            return Ok(());
        }
        let values = image(array, width)?;
        let values = values.as_slice();
        match width {
            1 => self.write_each::<1>(values, nulls),
            2 => self.write_each::<2>(values, nulls),
            4 => self.write_each::<4>(values, nulls),
            8 => self.write_each::<8>(values, nulls),
            16 => self.write_each::<16>(values, nulls),
            _ => self.write_each::<32>(values, nulls),
        }
        Ok(())
    }

    fn write_each<const WIDTH: usize>(&mut self, values: &[u8], nulls: Option<&NullBuffer>) {
        let (values, _) = values.as_chunks::<WIDTH>();
        for (row, value) in values.iter().enumerate() {
            if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                let at = self.starts[row] + self.at;
                self.bytes[at..at + WIDTH].copy_from_slice(value);
            }
        }
    }
}

/// The values of an array of fixed width, as they are in memory.
///
/// # Errors
/// `Bug` if the array has no values of that width.
pub(crate) fn image(array: &ArrayRef, width: usize) -> Result<Buffer> {
    let data = array.to_data();
    let wrong = || Error::bug(format!("{} is not {width} bytes wide", array.data_type()));
    let values = data.buffers().first().ok_or_else(wrong)?;
    let (start, length) = (data.offset() * width, array.len() * width);
    if array.data_type().primitive_width() != Some(width) || values.len() < start + length {
        return Err(wrong());
    }
    Ok(values.slice_with_length(start, length))
}

/// An array of fixed width of values as they are in memory.
pub(crate) fn of_image(
    data_type: &DataType,
    values: Buffer,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let width = data_type.primitive_width().unwrap_or(1);
    let data = ArrayData::builder(data_type.clone()).len(values.len() / width);
    Ok(make_array(data.add_buffer(values).nulls(nulls).build()?))
}

fn fixed(
    data_type: &DataType,
    rows: &[&[u8]],
    (at, width): (usize, usize),
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    if *data_type == DataType::Boolean {
        let values = BooleanBuffer::from_iter(rows.iter().map(|row| row[at] != 0));
        return Ok(Arc::new(BooleanArray::new(values, nulls)));
    }
    let mut values = MutableBuffer::with_capacity(rows.len() * width);
    rows.iter().for_each(|row| values.extend_from_slice(&row[at..at + width]));
    of_image(data_type, values.into(), nulls)
}

fn variable(
    data_type: &DataType,
    rows: &[&[u8]],
    length_at: usize,
    next: &mut [usize],
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef> {
    let short = || Error::bug("an encoded row is too short");
    let (mut lengths, mut bytes) = (Vec::with_capacity(rows.len()), Vec::new());
    for (row, next) in rows.iter().zip(next) {
        let length = row[length_at..].first_chunk::<4>().ok_or_else(short)?;
        let length = u32::from_le_bytes(*length) as usize;
        bytes.extend_from_slice(row.get(*next..*next + length).ok_or_else(short)?);
        lengths.push(length);
        *next += length;
    }
    if bytes.len() > i32::MAX as usize && matches!(data_type, DataType::Utf8 | DataType::Binary) {
        return Err(Error::unsupported("more than 2 GiB of text in one batch")
            .hint("make run.epoch.max_rows smaller"));
    }
    let bytes = Buffer::from_vec(bytes);
    Ok(match data_type {
        DataType::Utf8 => Arc::new(StringArray::try_new(offsets(lengths), bytes, nulls)?),
        DataType::LargeUtf8 => Arc::new(LargeStringArray::try_new(offsets(lengths), bytes, nulls)?),
        DataType::Binary => Arc::new(BinaryArray::try_new(offsets(lengths), bytes, nulls)?),
        _ => Arc::new(LargeBinaryArray::try_new(offsets(lengths), bytes, nulls)?),
    })
}

fn offsets<O: OffsetSizeTrait>(lengths: Vec<usize>) -> OffsetBuffer<O> {
    OffsetBuffer::from_lengths(lengths)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{Decimal128Array, Float64Array, Int16Array, Int64Array};
    use arrow::array::{TimestampMicrosecondArray, UInt32Array};
    use arrow::compute::take;
    use proptest::prelude::*;

    use super::*;

    type Row = (Option<bool>, Option<i64>, Option<String>, Option<Vec<u8>>, Option<f64>, i16);

    fn columns(rows: &[Row]) -> Vec<ArrayRef> {
        let decimals = rows.iter().map(|row| row.1.map(i128::from));
        let decimals: Decimal128Array = decimals.collect();
        let times: TimestampMicrosecondArray = rows.iter().map(|row| row.1).collect();
        vec![
            Arc::new(rows.iter().map(|row| row.0).collect::<BooleanArray>()),
            Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
            Arc::new(NullArray::new(rows.len())),
            Arc::new(rows.iter().map(|row| row.2.clone()).collect::<StringArray>()),
            Arc::new(rows.iter().map(|row| row.3.as_deref()).collect::<BinaryArray>()),
            Arc::new(rows.iter().map(|row| row.4).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|row| row.5).collect::<Int16Array>()),
            Arc::new(decimals.with_precision_and_scale(20, 3).unwrap()),
            Arc::new(times.with_timezone("UTC")),
            Arc::new(rows.iter().map(|row| row.2.clone()).collect::<LargeStringArray>()),
        ]
    }

    fn any_row() -> impl Strategy<Value = Row> {
        (
            any::<Option<bool>>(),
            prop::option::of(-2..3_i64),
            prop::option::of("[a-bé]{0,3}"),
            prop::option::of(prop::collection::vec(0..2_u8, 0..3)),
            prop::option::of(prop::sample::select(vec![0.0, 1.5, f64::NAN])),
            0..2_i16,
        )
    }

    proptest! {
        /// What was encoded comes back, from a slice too, and rows are equal where their bytes are.
        #[test]
        fn rows_come_back(rows in prop::collection::vec(any_row(), 1..20), from in 0..20_usize) {
            let all = columns(&rows);
            let layout = Layout::new(
                &all.iter().map(|column| column.data_type().clone()).collect::<Vec<_>>(),
            ).unwrap();
            let from = from % rows.len();
            let part: Vec<ArrayRef> =
                all.iter().map(|column| column.slice(from, rows.len() - from)).collect();
            let encoded = layout.encode(&part, rows.len() - from).unwrap();
            // Backwards, so that a row's place does not matter.
            let order: Vec<u32> = (0..(rows.len() - from) as u32).rev().collect();
            let bytes: Vec<&[u8]> = order.iter().map(|&row| encoded.get(row as usize)).collect();
            let indices = UInt32Array::from(order);
            let expect: Vec<ArrayRef> =
                part.iter().map(|column| take(column, &indices, None).unwrap()).collect();
            let decoded = layout.decode(&bytes).unwrap();
            for (got, expect) in decoded.iter().zip(&expect) {
                prop_assert_eq!(format!("{got:?}"), format!("{expect:?}"));
            }
            let rows = &rows[from..];
            for (i, a) in rows.iter().enumerate() {
                for (j, b) in rows.iter().enumerate() {
                    let same = format!("{a:?}") == format!("{b:?}");
                    prop_assert_eq!(encoded.get(i) == encoded.get(j), same);
                }
            }
        }
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let layout = Layout::new(&[DataType::Int64, DataType::Utf8]).unwrap();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![1])), Arc::new(StringArray::from(vec!["text"]))];
        let rows = layout.encode(&columns, 1).unwrap();
        for length in 0..rows.get(0).len() {
            assert!(layout.decode(&[&rows.get(0)[..length]]).is_err());
        }
    }
}
