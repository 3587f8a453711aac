//! One column while its rows are being read.

mod finish;

use arrow::array::builder::NullBufferBuilder;
use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use serde::de::IgnoredAny;
use syncline_change::types;

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
    /// About how many bytes a value had, when the column was last finished.
    value_bytes: usize,
    moments: time::Moments,
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
        Self {
            field,
            kind,
            slots,
            nulls: NullBufferBuilder::new(0),
            value_bytes: 0,
            moments: time::Moments::default(),
        }
    }

    #[inline]
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn name(&self) -> &str {
        self.field.name()
    }

    #[inline]
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

    /// Makes room for `rows` more values.
    pub(crate) fn reserve(&mut self, rows: usize) {
        match &mut self.slots {
            Slots::Booleans(values) => values.reserve(rows),
            Slots::Integers(values) => values.reserve(rows),
            Slots::Unsigned(values) => values.reserve(rows),
            Slots::Floats(values) => values.reserve(rows),
            Slots::Decimals(values) => values.reserve(rows),
            Slots::Bytes { bytes, ends } => {
                bytes.reserve(rows.saturating_mul(self.value_bytes));
                ends.reserve(rows);
            }
        }
    }

    /// Forgets the values behind the first `rows`.
    pub(crate) fn truncate(&mut self, rows: usize) {
        if self.len() <= rows {
            return;
        }
        match &mut self.slots {
            Slots::Booleans(values) => values.truncate(rows),
            Slots::Integers(values) => values.truncate(rows),
            Slots::Unsigned(values) => values.truncate(rows),
            Slots::Floats(values) => values.truncate(rows),
            Slots::Decimals(values) => values.truncate(rows),
            Slots::Bytes { bytes, ends } => {
                ends.truncate(rows);
                bytes.truncate(ends.last().map_or(0, |&end| end as usize));
            }
        }
        self.nulls.truncate(rows);
    }

    #[inline]
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
    #[inline]
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
    #[inline]
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
    #[inline]
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
        let moments = &mut self.moments;
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
                    let moment = moments.moment(t).ok_or(Misfit::Form)?;
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
    mut read: impl FnMut(&[u8]) -> Result<T, Misfit>,
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
