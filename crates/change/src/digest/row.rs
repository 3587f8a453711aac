//! A row as bytes that say its values and nothing of their layout.
//!
//! Each value is a tag and what follows from it; numbers are little-endian.
//!
//! | tag | value | bytes |
//! |---|---|---|
//! | 0 | NULL of any type | |
//! | 1 | boolean | 1 |
//! | 2 | integer, signed or up to 2^63 - 1 | 8 |
//! | 3 | integer of 2^63 and more | 8 |
//! | 4 | float of any width, as 64 bits; one NaN, no -0 | 8 |
//! | 5 | decimal: scale, then 128 bits | 1 + 16 |
//! | 6 | decimal that needs 256 bits | 1 + 32 |
//! | 7 | text: length, UTF-8 | 8 + n |
//! | 8 | binary: length, bytes | 8 + n |
//! | 9 | date: days since 1970 | 8 |
//! | 10 | time of day: nanoseconds | 8 |
//! | 11 | timestamp without a zone: nanoseconds since 1970 | 16 |
//! | 12 | timestamp with a zone: nanoseconds since 1970 (UTC) | 16 |
//! | 13 | duration: nanoseconds | 16 |
//! | 14 | interval: months, days, nanoseconds | 4 + 4 + 8 |
//! | 15 | list: length, its values; a map is a list of structs | 8 + .. |
//! | 16 | struct: number of fields, their values | 8 + .. |

use arrow::array::{Array, ArrayRef, AsArray, MapArray, RecordBatch, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, Decimal256Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float64Type, Int64Type,
    IntervalMonthDayNanoType, IntervalUnit, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt64Type,
};

use crate::{Error, Result};

const NULL: u8 = 0;
const BOOLEAN: u8 = 1;
const INTEGER: u8 = 2;
const LARGE_INTEGER: u8 = 3;
const FLOAT: u8 = 4;
const DECIMAL: u8 = 5;
const LARGE_DECIMAL: u8 = 6;
const TEXT: u8 = 7;
const BINARY: u8 = 8;
const DATE: u8 = 9;
const TIME: u8 = 10;
const TIMESTAMP: u8 = 11;
const INSTANT: u8 = 12;
const DURATION: u8 = 13;
const INTERVAL: u8 = 14;
const LIST: u8 = 15;
const STRUCT: u8 = 16;

const MILLIS_A_DAY: i64 = 86_400_000;

/// The rows of a batch as bytes, one at a time.
pub struct RowBytes {
    columns: Vec<Writer>,
}

/// Appends the value of a row.
type Writer = Box<dyn Fn(usize, &mut Vec<u8>) + Send + Sync>;

impl RowBytes {
    /// # Errors
    /// `Unsupported` if a column's type has no bytes (a union).
    pub fn new(rows: &RecordBatch) -> Result<Self> {
        let columns = rows.columns().iter().map(writer).collect::<Result<_>>()?;
        Ok(Self { columns })
    }

    /// Appends the bytes of a row.
    pub fn write(&self, row: usize, to: &mut Vec<u8>) {
        self.columns.iter().for_each(|column| column(row, to));
    }
}

fn tagged<const N: usize>(tag: u8, bytes: [u8; N], to: &mut Vec<u8>) {
    to.push(tag);
    to.extend_from_slice(&bytes);
}

fn counted(tag: u8, bytes: &[u8], to: &mut Vec<u8>) {
    tagged(tag, (bytes.len() as u64).to_le_bytes(), to);
    to.extend_from_slice(bytes);
}

fn integer(value: i64, to: &mut Vec<u8>) {
    tagged(INTEGER, value.to_le_bytes(), to);
}

/// One that leaves NULLs to `value`'s caller.
fn nullable(
    column: &ArrayRef,
    value: impl Fn(usize, &mut Vec<u8>) + Send + Sync + 'static,
) -> Writer {
    let Some(nulls) = column.logical_nulls() else { return Box::new(value) };
    Box::new(move |row, to| if nulls.is_null(row) { to.push(NULL) } else { value(row, to) })
}

macro_rules! scaled {
    ($column:expr, $type:ty, $tag:expr, $nanos:expr) => {{
        let values = $column.as_primitive::<$type>().clone();
        nullable($column, move |row, to| {
            let nanos = i128::from(values.value(row)) * $nanos;
            tagged($tag, nanos.to_le_bytes(), to);
        })
    }};
}

fn writer(column: &ArrayRef) -> Result<Writer> {
    use DataType::{
        Binary, BinaryView, Boolean, Date32, Date64, Decimal32, Decimal64, Decimal128, Decimal256,
        Dictionary, Duration, FixedSizeBinary, FixedSizeList, Float16, Float32, Float64, Int8,
        Int16, Int32, Int64, Interval, LargeBinary, LargeList, LargeListView, LargeUtf8, List,
        ListView, Map, Null, RunEndEncoded, Struct, Time32, Time64, Timestamp, UInt8, UInt16,
        UInt32, UInt64, Union, Utf8, Utf8View,
    };
    let as_type = |to: &DataType| Ok::<_, Error>(cast(column, to)?);
    Ok(match column.data_type() {
        Null => Box::new(|_, to| to.push(NULL)),
        Boolean => {
            let values = column.as_boolean().clone();
            nullable(column, move |row, to| tagged(BOOLEAN, [u8::from(values.value(row))], to))
        }
        Int64 => {
            let values = column.as_primitive::<Int64Type>().clone();
            nullable(column, move |row, to| integer(values.value(row), to))
        }
        UInt64 => {
            let values = column.as_primitive::<UInt64Type>().clone();
            nullable(column, move |row, to| match i64::try_from(values.value(row)) {
                Ok(value) => integer(value, to),
                Err(_) => tagged(LARGE_INTEGER, values.value(row).to_le_bytes(), to),
            })
        }
        Int8 | Int16 | Int32 | UInt8 | UInt16 | UInt32 => writer(&as_type(&Int64)?)?,
        Float64 => {
            let values = column.as_primitive::<Float64Type>().clone();
            nullable(column, move |row, to| {
                let value = values.value(row);
                let value = if value.is_nan() { f64::NAN } else { value + 0.0 };
                tagged(FLOAT, value.to_bits().to_le_bytes(), to);
            })
        }
        Float16 | Float32 => writer(&as_type(&Float64)?)?,
        Decimal128(_, scale) => decimal(column, *scale),
        Decimal32(precision, scale) | Decimal64(precision, scale) => {
            writer(&as_type(&Decimal128(*precision, *scale))?)?
        }
        Decimal256(_, scale) => large_decimal(column, *scale),
        Utf8 => {
            let values = column.as_string::<i32>().clone();
            nullable(column, move |row, to| counted(TEXT, values.value(row).as_bytes(), to))
        }
        LargeUtf8 => {
            let values = column.as_string::<i64>().clone();
            nullable(column, move |row, to| counted(TEXT, values.value(row).as_bytes(), to))
        }
        Utf8View => writer(&as_type(&LargeUtf8)?)?,
        Binary => {
            let values = column.as_binary::<i32>().clone();
            nullable(column, move |row, to| counted(BINARY, values.value(row), to))
        }
        LargeBinary | BinaryView | FixedSizeBinary(_) => writer(&as_type(&Binary)?)?,
        Date32 => {
            let values = column.as_primitive::<Date32Type>().clone();
            nullable(column, move |row, to| {
                tagged(DATE, i64::from(values.value(row)).to_le_bytes(), to);
            })
        }
        Date64 => {
            let values = column.as_primitive::<Date64Type>().clone();
            nullable(column, move |row, to| {
                tagged(DATE, values.value(row).div_euclid(MILLIS_A_DAY).to_le_bytes(), to);
            })
        }
        Time64(TimeUnit::Nanosecond) => {
            let values = column.as_primitive::<Time64NanosecondType>().clone();
            nullable(column, move |row, to| tagged(TIME, values.value(row).to_le_bytes(), to))
        }
        Time32(_) | Time64(_) => writer(&as_type(&Time64(TimeUnit::Nanosecond))?)?,
        Timestamp(unit, zone) => {
            let tag = if zone.is_some() { INSTANT } else { TIMESTAMP };
            match unit {
                TimeUnit::Second => scaled!(column, TimestampSecondType, tag, 1_000_000_000),
                TimeUnit::Millisecond => scaled!(column, TimestampMillisecondType, tag, 1_000_000),
                TimeUnit::Microsecond => scaled!(column, TimestampMicrosecondType, tag, 1_000),
                TimeUnit::Nanosecond => scaled!(column, TimestampNanosecondType, tag, 1),
            }
        }
        Duration(unit) => match unit {
            TimeUnit::Second => scaled!(column, DurationSecondType, DURATION, 1_000_000_000),
            TimeUnit::Millisecond => scaled!(column, DurationMillisecondType, DURATION, 1_000_000),
            TimeUnit::Microsecond => scaled!(column, DurationMicrosecondType, DURATION, 1_000),
            TimeUnit::Nanosecond => scaled!(column, DurationNanosecondType, DURATION, 1),
        },
        Interval(IntervalUnit::MonthDayNano) => {
            let values = column.as_primitive::<IntervalMonthDayNanoType>().clone();
            nullable(column, move |row, to| {
                let value = values.value(row);
                tagged(INTERVAL, value.months.to_le_bytes(), to);
                to.extend_from_slice(&value.days.to_le_bytes());
                to.extend_from_slice(&value.nanoseconds.to_le_bytes());
            })
        }
        Interval(_) => writer(&as_type(&Interval(IntervalUnit::MonthDayNano))?)?,
        List(_) => {
            let lists = column.as_list::<i32>();
            list(column, lists.values(), lists.offsets().iter().map(|&o| o as usize).collect())?
        }
        LargeList(_) => {
            let lists = column.as_list::<i64>();
            list(column, lists.values(), lists.offsets().iter().map(|&o| o as usize).collect())?
        }
        FixedSizeList(field, _) | ListView(field) | LargeListView(field) => {
            writer(&as_type(&LargeList(field.clone()))?)?
        }
        Map(..) => map(column, column.as_map())?,
        Struct(_) => structure(column, column.as_struct())?,
        Dictionary(_, value) => writer(&as_type(value)?)?,
        RunEndEncoded(_, value) => writer(&as_type(value.data_type())?)?,
        other @ Union(..) => {
            return Err(Error::unsupported(format!("values of type {other} have no digest")));
        }
    })
}

fn decimal(column: &ArrayRef, scale: i8) -> Writer {
    let values = column.as_primitive::<Decimal128Type>().clone();
    nullable(column, move |row, to| {
        tagged(DECIMAL, scale.to_le_bytes(), to);
        to.extend_from_slice(&values.value(row).to_le_bytes());
    })
}

/// A number that fits 128 bits has the bytes of one that is stored so.
fn large_decimal(column: &ArrayRef, scale: i8) -> Writer {
    let values = column.as_primitive::<Decimal256Type>().clone();
    nullable(column, move |row, to| match values.value(row).to_i128() {
        Some(value) => {
            tagged(DECIMAL, scale.to_le_bytes(), to);
            to.extend_from_slice(&value.to_le_bytes());
        }
        None => {
            tagged(LARGE_DECIMAL, scale.to_le_bytes(), to);
            to.extend_from_slice(&values.value(row).to_le_bytes());
        }
    })
}

fn list(column: &ArrayRef, values: &ArrayRef, offsets: Vec<usize>) -> Result<Writer> {
    let value = writer(values)?;
    Ok(nullable(column, move |row, to| {
        let (start, end) = (offsets[row], offsets[row + 1]);
        tagged(LIST, ((end - start) as u64).to_le_bytes(), to);
        (start..end).for_each(|at| value(at, to));
    }))
}

fn map(column: &ArrayRef, maps: &MapArray) -> Result<Writer> {
    let entries: ArrayRef = std::sync::Arc::new(maps.entries().clone());
    list(column, &entries, maps.offsets().iter().map(|&offset| offset as usize).collect())
}

fn structure(column: &ArrayRef, fields: &StructArray) -> Result<Writer> {
    let fields = fields.columns().iter().map(writer).collect::<Result<Vec<_>>>()?;
    Ok(nullable(column, move |row, to| {
        tagged(STRUCT, (fields.len() as u64).to_le_bytes(), to);
        fields.iter().for_each(|field| field(row, to));
    }))
}
