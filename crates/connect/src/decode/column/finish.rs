//! From the values of a column to its array.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, Decimal128Array, Float32Array,
    Float64Array, Int64Array, PrimitiveArray, StringArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, FieldRef, Int8Type, Int16Type, Int32Type, Time32MillisecondType,
    Time32SecondType, TimeUnit, UInt8Type, UInt16Type, UInt32Type,
};
use arrow::json::ReaderBuilder;
use syncline_change::{Error, Result, types};

use super::super::text::Misfit;
use super::{Column, Kind, LateFault, Slots, quoted, range, shorten};

impl Column {
    /// The column as an array, and what of it turned out wrong (and is null). The column is empty
    /// after it.
    pub(crate) fn finish(&mut self) -> Result<(ArrayRef, Vec<LateFault>)> {
        // Nulls may have been forgotten again.
        let nulls = self.nulls.finish().filter(|nulls| nulls.null_count() > 0);
        let array: ArrayRef = match &mut self.slots {
            Slots::Booleans(values) => {
                let array = BooleanArray::new(std::mem::take(values).into(), nulls);
                Arc::new(array)
            }
            Slots::Integers(values) => {
                let values = std::mem::take(values);
                integers(values, nulls, self.field.data_type())?
            }
            Slots::Unsigned(values) => {
                Arc::new(UInt64Array::try_new(std::mem::take(values).into(), nulls)?)
            }
            Slots::Floats(values) => {
                let values = std::mem::take(values);
                floats(values, nulls, self.field.data_type())?
            }
            Slots::Decimals(values) => {
                let array = Decimal128Array::try_new(std::mem::take(values).into(), nulls)?;
                Arc::new(array.with_data_type(self.field.data_type().clone()))
            }
            Slots::Bytes { bytes, ends } => {
                let (bytes, ends) = (std::mem::take(bytes), std::mem::take(ends));
                if !ends.is_empty() {
                    self.value_bytes = bytes.len() / ends.len() + 1;
                }
                if i32::try_from(bytes.len()).is_err() {
                    let name = self.field.name();
                    return Err(Error::unsupported(format!(
                        "column `{name}` has more than 2 GiB in one chunk of input"
                    )));
                }
                if self.kind == Kind::Nested {
                    return nested(&self.field, &bytes, &ends, nulls.as_ref());
                }
                return self.finish_bytes(bytes, &ends, nulls);
            }
        };
        Ok((array, Vec::new()))
    }

    fn finish_bytes(
        &self,
        bytes: Vec<u8>,
        ends: &[i32],
        nulls: Option<NullBuffer>,
    ) -> Result<(ArrayRef, Vec<LateFault>)> {
        let offsets: Vec<i32> = std::iter::once(0).chain(ends.iter().copied()).collect();
        let offsets = OffsetBuffer::new(offsets.into());
        if self.kind == Kind::Binary {
            let array: ArrayRef = Arc::new(BinaryArray::try_new(offsets, bytes.into(), nulls)?);
            return Ok((arrow::compute::cast(&array, self.field.data_type())?, Vec::new()));
        }
        let text = StringArray::try_new(offsets, bytes.into(), nulls)?;
        if *self.field.data_type() == DataType::Utf8 {
            return Ok((Arc::new(text), Vec::new()));
        }
        let options = CastOptions { safe: true, ..CastOptions::default() };
        let cast = cast_with_options(&text, self.field.data_type(), &options)?;
        let wrong = (0..text.len()).filter(|&row| text.is_valid(row) && cast.is_null(row));
        let faults = wrong.map(|row| LateFault {
            row,
            message: self.complaint(&quoted(text.value(row)), Misfit::Form),
        });
        let faults = faults.collect();
        Ok((cast, faults))
    }
}

/// Integers in the width and meaning of `data_type`.
fn integers(values: Vec<i64>, nulls: Option<NullBuffer>, data_type: &DataType) -> Result<ArrayRef> {
    let wide = Int64Array::try_new(values.into(), nulls)?;
    // Each value was checked against its column's range when it was pushed.
    Ok(match data_type {
        DataType::Int8 => narrow::<Int8Type>(&wide, |v| v as i8),
        DataType::Int16 => narrow::<Int16Type>(&wide, |v| v as i16),
        DataType::Int32 => narrow::<Int32Type>(&wide, |v| v as i32),
        DataType::UInt8 => narrow::<UInt8Type>(&wide, |v| v as u8),
        DataType::UInt16 => narrow::<UInt16Type>(&wide, |v| v as u16),
        DataType::UInt32 => narrow::<UInt32Type>(&wide, |v| v as u32),
        DataType::Date32 => narrow::<Date32Type>(&wide, |v| v as i32),
        DataType::Time32(TimeUnit::Second) => narrow::<Time32SecondType>(&wide, |v| v as i32),
        DataType::Time32(_) => narrow::<Time32MillisecondType>(&wide, |v| v as i32),
        DataType::Int64 => Arc::new(wide),
        // Times and timestamps are 64-bit integers underneath.
        other => arrow::compute::cast(&wide, other)?,
    })
}

fn narrow<T: ArrowPrimitiveType>(wide: &Int64Array, of: impl Fn(i64) -> T::Native) -> ArrayRef {
    let array: PrimitiveArray<T> = wide.unary(of);
    Arc::new(array)
}

fn floats(values: Vec<f64>, nulls: Option<NullBuffer>, data_type: &DataType) -> Result<ArrayRef> {
    let wide = Float64Array::try_new(values.into(), nulls)?;
    if *data_type == DataType::Float64 {
        return Ok(Arc::new(wide));
    }
    let single: Float32Array = wide.unary(|v| v as f32);
    Ok(Arc::new(single))
}

/// JSON texts as lists or structs: all at once, or one by one if there is a wrong one among them.
fn nested(
    field: &FieldRef,
    bytes: &[u8],
    ends: &[i32],
    nulls: Option<&NullBuffer>,
) -> Result<(ArrayRef, Vec<LateFault>)> {
    let is_null = |row: usize| nulls.is_some_and(|nulls| nulls.is_null(row));
    let mut text = Vec::with_capacity(bytes.len() + 5 * ends.len());
    for row in 0..ends.len() {
        text.extend_from_slice(if is_null(row) { b"null" } else { range(bytes, ends, row) });
        text.push(b'\n');
    }
    if let Ok(array) = read_nested(field, &text, ends.len()) {
        return Ok((array, Vec::new()));
    }
    let mut faults = Vec::new();
    let mut rows = Vec::with_capacity(ends.len());
    for row in 0..ends.len() {
        let value = if is_null(row) { b"null".as_slice() } else { range(bytes, ends, row) };
        rows.push(match read_nested(field, value, 1) {
            Ok(array) => array,
            Err(error) => {
                let found = shorten(&String::from_utf8_lossy(value));
                let expected = types::name(field.data_type());
                let message = format!(
                    "column `{}`: expected {expected}, found {found}: {}",
                    field.name(),
                    error.detail_text().unwrap_or_default()
                );
                faults.push(LateFault { row, message });
                arrow::array::new_null_array(field.data_type(), 1)
            }
        });
    }
    let rows: Vec<&dyn Array> = rows.iter().map(AsRef::as_ref).collect();
    Ok((arrow::compute::concat(&rows)?, faults))
}

fn read_nested(field: &FieldRef, text: &[u8], rows: usize) -> Result<ArrayRef> {
    let nullable = field.as_ref().clone().with_nullable(true);
    let wrong = |error: arrow::error::ArrowError| {
        Error::input("a nested value does not have its type").detail(error.to_string())
    };
    let mut decoder = ReaderBuilder::new_with_field(nullable)
        .with_batch_size(rows)
        .build_decoder()
        .map_err(wrong)?;
    let mut read = 0;
    while read < text.len() {
        match decoder.decode(&text[read..]).map_err(wrong)? {
            0 => break,
            more => read += more,
        }
    }
    let batch = decoder.flush().map_err(wrong)?;
    match batch {
        Some(batch) if batch.num_rows() == rows => Ok(batch.column(0).clone()),
        _ if rows == 0 => Ok(arrow::array::new_empty_array(field.data_type())),
        _ => Err(Error::input("a nested value does not have its type").detail("not one value")),
    }
}
