//! One column while its rows are being read.

use std::sync::Arc;

use arrow::array::builder::NullBufferBuilder;
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
use serde::de::IgnoredAny;
use syncline_change::{Error, Result, types};

use super::text::{self, Misfit};
use super::time;

/// How much of a value a message shows.
const SHOWN_CHARS_MAX: usize = 80;

/// How values get into a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean,
    Integer {
        min: i64,
        max: i64,
    },
    Unsigned,
    Real,
    Double,
    Decimal {
        precision: u8,
        scale: i8,
    },
    Text,
    Binary,
    Date,
    Time(TimeUnit),
    Timestamp(TimeUnit),
    /// Lists and structs: kept as JSON text, which arrow-json reads when the column is finished.
    Nested,
    /// Anything else that Arrow can make of a text, when the column is finished.
    Cast,
}

/// The values so far, in one of few forms; [`Column::finish`] narrows them to the column's type.
#[derive(Debug)]
enum Slots {
    Booleans(Vec<bool>),
    Integers(Vec<i64>),
    Unsigned(Vec<u64>),
    Floats(Vec<f64>),
    Decimals(Vec<i128>),
    Bytes { bytes: Vec<u8>, ends: Vec<i32> },
}

/// A value that turned out wrong only when its whole column was read.
pub(crate) struct LateFault {
    pub(crate) row: usize,
    pub(crate) message: String,
}

#[derive(Debug)]
pub(crate) struct Column {
    field: FieldRef,
    kind: Kind,
    slots: Slots,
    nulls: NullBufferBuilder,
}

impl Column {
    pub(crate) fn new(field: FieldRef) -> Self {
        let kind = kind_of(field.data_type());
        let slots = match kind {
            Kind::Boolean => Slots::Booleans(Vec::new()),
            Kind::Integer { .. } | Kind::Date | Kind::Time(_) | Kind::Timestamp(_) => {
                Slots::Integers(Vec::new())
            }
            Kind::Unsigned => Slots::Unsigned(Vec::new()),
            Kind::Real | Kind::Double => Slots::Floats(Vec::new()),
            Kind::Decimal { .. } => Slots::Decimals(Vec::new()),
            Kind::Text | Kind::Binary | Kind::Nested | Kind::Cast => {
                Slots::Bytes { bytes: Vec::new(), ends: Vec::new() }
            }
        };
        Self { field, kind, slots, nulls: NullBufferBuilder::new(0) }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn name(&self) -> &str {
        self.field.name()
    }

    pub(crate) fn len(&self) -> usize {
        match &self.slots {
            Slots::Booleans(values) => values.len(),
            Slots::Integers(values) => values.len(),
            Slots::Unsigned(values) => values.len(),
            Slots::Floats(values) => values.len(),
            Slots::Decimals(values) => values.len(),
            Slots::Bytes { ends, .. } => ends.len(),
        }
    }

    pub(crate) fn push_null(&mut self) {
        match &mut self.slots {
            Slots::Booleans(values) => values.push(false),
            Slots::Integers(values) => values.push(0),
            Slots::Unsigned(values) => values.push(0),
            Slots::Floats(values) => values.push(0.0),
            Slots::Decimals(values) => values.push(0),
            Slots::Bytes { bytes, ends } => ends.push(end_of(bytes)),
        }
        self.nulls.append_null();
    }

    /// A value of a boolean column.
    pub(crate) fn push_boolean(&mut self, value: bool) -> Result<(), Misfit> {
        let Slots::Booleans(values) = &mut self.slots else { return Err(Misfit::Form) };
        values.push(value);
        self.nulls.append_non_null();
        Ok(())
    }

    /// An integer, or what an integer stands for: days for a date, `unit`s for a time.
    pub(crate) fn push_integer(&mut self, value: i64) -> Result<(), Misfit> {
        match (&mut self.slots, self.kind) {
            (Slots::Integers(values), Kind::Integer { min, max }) => {
                if value < min || value > max {
                    return Err(Misfit::Range);
                }
                values.push(value);
            }
            (Slots::Integers(values), Kind::Date) => {
                values.push(i64::from(i32::try_from(value).map_err(|_| Misfit::Range)?));
            }
            (Slots::Integers(values), Kind::Time(unit)) => {
                if value < 0 || value >= day_length(unit) {
                    return Err(Misfit::Range);
                }
                values.push(value);
            }
            (Slots::Integers(values), _) => values.push(value),
            (Slots::Unsigned(values), _) => {
                values.push(u64::try_from(value).map_err(|_| Misfit::Range)?);
            }
            (Slots::Floats(values), _) => values.push(value as f64),
            _ => return Err(Misfit::Form),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    pub(crate) fn push_unsigned(&mut self, value: u64) -> Result<(), Misfit> {
        match &mut self.slots {
            Slots::Unsigned(values) => values.push(value),
            Slots::Floats(values) => values.push(value as f64),
            Slots::Integers(_) => {
                return self.push_integer(i64::try_from(value).map_err(|_| Misfit::Range)?);
            }
            _ => return Err(Misfit::Form),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// A float; in a column of integers, the integer that it is.
    pub(crate) fn push_float(&mut self, value: f64) -> Result<(), Misfit> {
        match &mut self.slots {
            Slots::Floats(values) => {
                values.push(if self.kind == Kind::Real { real(value)? } else { value });
                self.nulls.append_non_null();
                Ok(())
            }
            Slots::Integers(_) if !matches!(self.kind, Kind::Integer { .. }) => Err(Misfit::Form),
            Slots::Integers(_) | Slots::Unsigned(_) => {
                self.push_integer(text::integer_of_float(value)?)
            }
            _ => Err(Misfit::Form),
        }
    }

    /// Bytes as they are: the content of a text or binary column, JSON for a nested one.
    pub(crate) fn push_bytes(&mut self, value: &[u8]) -> Result<(), Misfit> {
        let Slots::Bytes { bytes, ends } = &mut self.slots else { return Err(Misfit::Form) };
        bytes.extend_from_slice(value);
        ends.push(end_of(bytes));
        self.nulls.append_non_null();
        Ok(())
    }

    /// A value from its text, as a field of CSV has it.
    pub(crate) fn push_text(&mut self, value: &[u8]) -> Result<(), Misfit> {
        let mut fault = Ok(());
        self.extend_texts(std::iter::once(Some(value)), |_, misfit| fault = Err(misfit));
        fault
    }

    /// Values from their texts, null for `None`; a value that does not fit is reported with its
    /// place among `texts`, and null is put in its stead.
    pub(crate) fn extend_texts<'a>(
        &mut self,
        texts: impl Iterator<Item = Option<&'a [u8]>>,
        misfit: impl FnMut(usize, Misfit),
    ) {
        let nulls = &mut self.nulls;
        match (&mut self.slots, self.kind) {
            (Slots::Booleans(values), _) => extend(values, nulls, texts, text::boolean, misfit),
            (Slots::Integers(values), Kind::Integer { min, max }) => {
                extend(values, nulls, texts, |t| text::integer(t, min, max), misfit);
            }
            (Slots::Integers(values), Kind::Date) => {
                let read = |t: &[u8]| time::date(t).map(i64::from).ok_or(Misfit::Form);
                extend(values, nulls, texts, read, misfit);
            }
            (Slots::Integers(values), Kind::Time(unit)) => {
                let nanos_each = day_length(TimeUnit::Nanosecond) / day_length(unit);
                let read = |t: &[u8]| {
                    time::time_of_day(t).map(|nanos| nanos / nanos_each).ok_or(Misfit::Form)
                };
                extend(values, nulls, texts, read, misfit);
            }
            (Slots::Integers(values), kind) => {
                let unit = match kind {
                    Kind::Timestamp(unit) => unit,
                    _ => TimeUnit::Microsecond,
                };
                let read = |t: &[u8]| {
                    let moment = time::moment(t).ok_or(Misfit::Form)?;
                    moment.since_epoch(unit).ok_or(Misfit::Range)
                };
                extend(values, nulls, texts, read, misfit);
            }
            (Slots::Unsigned(values), _) => extend(values, nulls, texts, text::unsigned, misfit),
            (Slots::Floats(values), Kind::Real) => {
                extend(values, nulls, texts, |t| real(text::float(t)?), misfit);
            }
            (Slots::Floats(values), _) => extend(values, nulls, texts, text::float, misfit),
            (Slots::Decimals(values), kind) => {
                let (precision, scale) = match kind {
                    Kind::Decimal { precision, scale } => (precision, scale),
                    _ => (38, 0),
                };
                extend(values, nulls, texts, |t| text::decimal(t, precision, scale), misfit);
            }
            (Slots::Bytes { bytes, ends }, kind) => {
                let check = kind == Kind::Nested;
                extend_bytes(bytes, ends, nulls, texts, check, misfit);
            }
        }
    }

    /// Whether two rows have the same value.
    pub(crate) fn is_same(&self, a: usize, b: usize) -> bool {
        if !self.nulls.is_valid(a) || !self.nulls.is_valid(b) {
            return self.nulls.is_valid(a) == self.nulls.is_valid(b);
        }
        match &self.slots {
            Slots::Booleans(values) => values[a] == values[b],
            Slots::Integers(values) => values[a] == values[b],
            Slots::Unsigned(values) => values[a] == values[b],
            Slots::Floats(values) => values[a] == values[b],
            Slots::Decimals(values) => values[a] == values[b],
            Slots::Bytes { bytes, ends } => range(bytes, ends, a) == range(bytes, ends, b),
        }
    }

    /// "column `x`: expected BIGINT, found `abc`".
    pub(crate) fn complaint(&self, found: &str, misfit: Misfit) -> String {
        let expected = types::name(self.field.data_type());
        format!("column `{}`: expected {expected}, found {found}{}", self.name(), misfit.reason())
    }

    /// The column as an array, and what of it turned out wrong (and is null). The column is empty
    /// after it.
    pub(crate) fn finish(&mut self) -> Result<(ArrayRef, Vec<LateFault>)> {
        let nulls = self.nulls.finish();
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

/// The kind of column that holds `data_type`.
fn kind_of(data_type: &DataType) -> Kind {
    let within = |min: i64, max: i64| Kind::Integer { min, max };
    match data_type {
        DataType::Boolean => Kind::Boolean,
        DataType::Int8 => within(i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => within(i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => within(i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => within(i64::MIN, i64::MAX),
        DataType::UInt8 => within(0, u8::MAX.into()),
        DataType::UInt16 => within(0, u16::MAX.into()),
        DataType::UInt32 => within(0, u32::MAX.into()),
        DataType::UInt64 => Kind::Unsigned,
        DataType::Float32 => Kind::Real,
        DataType::Float64 => Kind::Double,
        DataType::Decimal128(precision, scale) => {
            Kind::Decimal { precision: *precision, scale: *scale }
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Kind::Binary,
        DataType::Date32 => Kind::Date,
        DataType::Time32(unit) | DataType::Time64(unit) => Kind::Time(*unit),
        DataType::Timestamp(unit, _) => Kind::Timestamp(*unit),
        DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_) => Kind::Nested,
        _ => Kind::Cast,
    }
}

/// A float that single precision can hold, if not exactly.
fn real(value: f64) -> Result<f64, Misfit> {
    let overflows = value.is_finite() && (value as f32).is_infinite();
    if overflows { Err(Misfit::Range) } else { Ok(value) }
}

fn day_length(unit: TimeUnit) -> i64 {
    let per_second = match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    };
    86_400 * per_second
}

/// Input comes in chunks of a few MiB, far from where 32-bit offsets end; beyond that,
/// [`Column::finish`] refuses the whole.
fn end_of(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).unwrap_or(i32::MAX)
}

fn range<'a>(bytes: &'a [u8], ends: &[i32], row: usize) -> &'a [u8] {
    let start = if row == 0 { 0 } else { ends[row - 1] as usize };
    &bytes[start..ends[row] as usize]
}

fn extend<'a, T: Default>(
    values: &mut Vec<T>,
    nulls: &mut NullBufferBuilder,
    texts: impl Iterator<Item = Option<&'a [u8]>>,
    read: impl Fn(&[u8]) -> Result<T, Misfit>,
    mut misfit: impl FnMut(usize, Misfit),
) {
    for (i, text) in texts.enumerate() {
        let value = match text {
            None => None,
            // Blanks around a value are looked at only if it does not fit as it is.
            Some(text) => match read(text).or_else(|_| read(text.trim_ascii())) {
                Ok(value) => Some(value),
                Err(fault) => {
                    misfit(i, fault);
                    None
                }
            },
        };
        nulls.append(value.is_some());
        values.push(value.unwrap_or_default());
    }
}

fn extend_bytes<'a>(
    bytes: &mut Vec<u8>,
    ends: &mut Vec<i32>,
    nulls: &mut NullBufferBuilder,
    texts: impl Iterator<Item = Option<&'a [u8]>>,
    must_be_json: bool,
    mut misfit: impl FnMut(usize, Misfit),
) {
    for (i, text) in texts.enumerate() {
        let is_json = |json: &[u8]| {
            !text::is_too_deep(json) && sonic_rs::from_slice::<IgnoredAny>(json).is_ok()
        };
        let text = match text {
            Some(text) if must_be_json && !is_json(text) => {
                misfit(i, Misfit::Form);
                None
            }
            text => text,
        };
        nulls.append(text.is_some());
        bytes.extend_from_slice(text.unwrap_or_default());
        ends.push(end_of(bytes));
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

/// A value as a message shows it: in backticks, not all of it if it is long.
pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", shorten(text))
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
