//! Rows as JSON, the same everywhere: sinks, queries, the page.
//!
//! Integers and floats are numbers (floats in shortest round-trip form; NaN and infinities are the
//! strings `"NaN"`, `"Infinity"`, `"-Infinity"`), decimals are strings, timestamps are RFC 3339 with
//! as many fractional digits as needed (one without a time zone counts as UTC), dates are
//! `YYYY-MM-DD`, binary is base64, lists and structs are JSON, intervals ISO 8601 durations.

use arrow::array::cast::AsArray;
use arrow::array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal128Type, Float16Type, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::array::{Array, ArrayRef, PrimitiveArray, RecordBatch};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};

use crate::{Error, Result};

/// Writes the rows of one record batch.
pub struct RowWriter {
    /// What stands before each value in an object, the comma included.
    names: Vec<Vec<u8>>,
    columns: Vec<Box<dyn WriteValue>>,
}

impl RowWriter {
    /// # Errors
    /// `Unsupported` if a column's type has no JSON form.
    pub fn new(rows: &RecordBatch) -> Result<Self> {
        let schema = rows.schema_ref();
        let names = schema.fields().iter().enumerate().map(|(i, field)| {
            let mut name = if i == 0 { vec![] } else { vec![b','] };
            write_text(field.name(), &mut name);
            name.push(b':');
            name
        });
        let columns = schema.fields().iter().zip(rows.columns()).map(|(field, column)| {
            writer(column).map_err(|e| e.within(format!("column `{}`", field.name())))
        });
        Ok(Self { names: names.collect(), columns: columns.collect::<Result<_>>()? })
    }

    /// Row `row` as an object, columns in order.
    pub fn object(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        for (name, column) in self.names.iter().zip(&self.columns) {
            out.extend_from_slice(name);
            column.write(row, out);
        }
        out.push(b'}');
    }

    /// Row `row` as an array of its values.
    pub fn array(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'[');
        for (i, column) in self.columns.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            column.write(row, out);
        }
        out.push(b']');
    }

    /// The value of one column in row `row`.
    pub fn value(&self, row: usize, column: usize, out: &mut Vec<u8>) {
        self.columns[column].write(row, out);
    }
}

/// Every row of `rows` as a JSON array of values.
pub fn arrays(rows: &RecordBatch) -> Result<Vec<serde_json::Value>> {
    parsed(rows, RowWriter::array)
}

/// Every row of `rows` as a JSON object.
pub fn objects(rows: &RecordBatch) -> Result<Vec<serde_json::Value>> {
    parsed(rows, RowWriter::object)
}

fn parsed(
    rows: &RecordBatch,
    write: impl Fn(&RowWriter, usize, &mut Vec<u8>),
) -> Result<Vec<serde_json::Value>> {
    let writer = RowWriter::new(rows)?;
    let mut text = Vec::new();
    let values = (0..rows.num_rows()).map(|row| {
        text.clear();
        write(&writer, row, &mut text);
        serde_json::from_slice(&text)
            .map_err(|error| Error::bug("a row was written as broken JSON").source(error))
    });
    values.collect()
}

trait WriteValue: Send + Sync {
    fn write(&self, row: usize, out: &mut Vec<u8>);
}

/// One column and how its non-null values are written.
struct Column<A, F> {
    array: A,
    write: F,
}

impl<A: Array, F: Fn(&A, usize, &mut Vec<u8>) + Send + Sync> WriteValue for Column<A, F> {
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.array.is_null(row) {
            out.extend_from_slice(b"null");
        } else {
            (self.write)(&self.array, row, out);
        }
    }
}

fn column<A: Array + Clone + 'static>(
    array: &A,
    write: impl Fn(&A, usize, &mut Vec<u8>) + Send + Sync + 'static,
) -> Box<dyn WriteValue> {
    Box::new(Column { array: array.clone(), write })
}

fn integers<T: ArrowPrimitiveType>(array: &ArrayRef) -> Box<dyn WriteValue>
where
    T::Native: itoa::Integer,
{
    column(array.as_primitive::<T>(), |a, row, out| {
        out.extend_from_slice(itoa::Buffer::new().format(a.value(row)).as_bytes());
    })
}

fn writer(array: &ArrayRef) -> Result<Box<dyn WriteValue>> {
    Ok(match array.data_type() {
        DataType::Null => column(array, |_, _, out| out.extend_from_slice(b"null")),
        DataType::Boolean => column(array.as_boolean(), |a, row, out| {
            out.extend_from_slice(if a.value(row) { b"true" } else { b"false" });
        }),
        DataType::Int8 => integers::<Int8Type>(array),
        DataType::Int16 => integers::<Int16Type>(array),
        DataType::Int32 => integers::<Int32Type>(array),
        DataType::Int64 => integers::<Int64Type>(array),
        DataType::UInt8 => integers::<UInt8Type>(array),
        DataType::UInt16 => integers::<UInt16Type>(array),
        DataType::UInt32 => integers::<UInt32Type>(array),
        DataType::UInt64 => integers::<UInt64Type>(array),
        DataType::Float16 => column(array.as_primitive::<Float16Type>(), |a, row, out| {
            write_f32(a.value(row).to_f32(), out);
        }),
        DataType::Float32 => {
            column(array.as_primitive::<Float32Type>(), |a, row, out| write_f32(a.value(row), out))
        }
        DataType::Float64 => {
            column(array.as_primitive::<Float64Type>(), |a, row, out| write_f64(a.value(row), out))
        }
        DataType::Decimal128(_, _) => {
            column(array.as_primitive::<Decimal128Type>(), |a, row, out| {
                write_text(&a.value_as_string(row), out);
            })
        }
        DataType::Utf8 => {
            column(array.as_string::<i32>(), |a, row, out| write_text(a.value(row), out))
        }
        DataType::LargeUtf8 => {
            column(array.as_string::<i64>(), |a, row, out| write_text(a.value(row), out))
        }
        DataType::Utf8View => {
            column(array.as_string_view(), |a, row, out| write_text(a.value(row), out))
        }
        DataType::Binary => {
            column(array.as_binary::<i32>(), |a, row, out| write_base64(a.value(row), out))
        }
        DataType::LargeBinary => {
            column(array.as_binary::<i64>(), |a, row, out| write_base64(a.value(row), out))
        }
        DataType::BinaryView => {
            column(array.as_binary_view(), |a, row, out| write_base64(a.value(row), out))
        }
        DataType::FixedSizeBinary(_) => {
            column(array.as_fixed_size_binary(), |a, row, out| write_base64(a.value(row), out))
        }
        DataType::Date32 => column(array.as_primitive::<Date32Type>(), |a, row, out| {
            write_date(i64::from(a.value(row)), out);
        }),
        DataType::Date64 => column(array.as_primitive::<Date64Type>(), |a, row, out| {
            write_date(a.value(row).div_euclid(86_400_000), out);
        }),
        DataType::Timestamp(TimeUnit::Second, _) => timestamps::<TimestampSecondType>(array),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            timestamps::<TimestampMillisecondType>(array)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            timestamps::<TimestampMicrosecondType>(array)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            timestamps::<TimestampNanosecondType>(array)
        }
        DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano) => {
            column(array.as_primitive::<IntervalMonthDayNanoType>(), |a, row, out| {
                let v = a.value(row);
                write_text(&iso_duration(v.months, v.days, v.nanoseconds), out);
            })
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            lists(array, writer(list.values())?, {
                let offsets = list.offsets().clone();
                move |row| offsets[row] as usize..offsets[row + 1] as usize
            })
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            lists(array, writer(list.values())?, {
                let offsets = list.offsets().clone();
                move |row| offsets[row] as usize..offsets[row + 1] as usize
            })
        }
        DataType::Struct(fields) => {
            let parts = array.as_struct();
            let rows = RecordBatch::try_new_with_options(
                std::sync::Arc::new(arrow::datatypes::Schema::new(fields.clone())),
                parts.columns().to_vec(),
                &arrow::array::RecordBatchOptions::new().with_row_count(Some(parts.len())),
            );
            // The fields of a struct may be null where their schema says otherwise.
            let inner = rows.map_err(Error::from).and_then(|rows| RowWriter::new(&rows))?;
            column(array, move |_, row, out| inner.object(row, out))
        }
        DataType::Dictionary(_, value) => writer(&arrow::compute::cast(array, value)?)?,
        DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Duration(_)
        | DataType::Interval(_) => column(array, |a, row, out| {
            let text = ArrayFormatter::try_new(a, &FormatOptions::new())
                .and_then(|f| f.value(row).try_to_string())
                .unwrap_or_default();
            write_text(&text, out);
        }),
        other => {
            return Err(Error::unsupported(format!("{other} has no JSON form"))
                .hint("cast it to TEXT in the view"));
        }
    })
}

fn lists(
    array: &ArrayRef,
    items: Box<dyn WriteValue>,
    range: impl Fn(usize) -> std::ops::Range<usize> + Send + Sync + 'static,
) -> Box<dyn WriteValue> {
    column(array, move |_, row, out| {
        out.push(b'[');
        for (i, item) in range(row).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            items.write(item, out);
        }
        out.push(b']');
    })
}

fn must_be_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// `text` as a JSON string.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    // Most texts have nothing to escape, and to look at all bytes first is the quicker way to know.
    if !bytes.iter().fold(false, |is_any, &byte| is_any | must_be_escaped(byte)) {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    let mut written = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        if !must_be_escaped(byte) {
            continue;
        }
        out.extend_from_slice(&bytes[written..i]);
        written = i + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

fn write_f64(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        write_not_finite(value, out);
    }
}

fn write_f32(value: f32, out: &mut Vec<u8>) {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        write_not_finite(f64::from(value), out);
    }
}

fn write_not_finite(value: f64, out: &mut Vec<u8>) {
    let text: &[u8] = match value {
        v if v.is_nan() => b"\"NaN\"",
        v if v > 0.0 => b"\"Infinity\"",
        _ => b"\"-Infinity\"",
    };
    out.extend_from_slice(text);
}

fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

fn write_date(days: i64, out: &mut Vec<u8>) {
    match days.checked_mul(86_400).and_then(|s| DateTime::from_timestamp(s, 0)) {
        Some(at) => write_text(&NaiveDate::to_string(&at.date_naive()), out),
        // Past the year 262143: no calendar date, but still a value.
        None => write_text(&format!("{days} days"), out),
    }
}

fn timestamps<T: arrow::datatypes::ArrowTimestampType>(array: &ArrayRef) -> Box<dyn WriteValue> {
    column(array.as_primitive::<T>(), |a: &PrimitiveArray<T>, row, out| {
        match timestamp(a.value(row), T::UNIT) {
            Some(at) => write_text(&rfc3339(at), out),
            None => write_text(&format!("{} {:?}", a.value(row), T::UNIT), out),
        }
    })
}

/// The instant that `value` `unit`s after 1970 is; `None` outside of the calendar.
pub fn timestamp(value: i64, unit: TimeUnit) -> Option<DateTime<Utc>> {
    match unit {
        TimeUnit::Second => DateTime::from_timestamp(value, 0),
        TimeUnit::Millisecond => DateTime::from_timestamp_millis(value),
        TimeUnit::Microsecond => DateTime::from_timestamp_micros(value),
        TimeUnit::Nanosecond => Some(DateTime::from_timestamp_nanos(value)),
    }
}

/// RFC 3339 in UTC with no, three, six or nine fractional digits, whichever loses nothing.
pub fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn iso_duration(months: i32, days: i32, nanoseconds: i64) -> String {
    if (months, days, nanoseconds) == (0, 0, 0) {
        return "PT0S".to_owned();
    }
    let mut text = String::from("P");
    let mut part = |value: i64, unit: &str| {
        if value != 0 {
            text.push_str(&format!("{value}{unit}"));
        }
    };
    part(i64::from(months), "M");
    part(i64::from(days), "D");
    if nanoseconds != 0 {
        let sign = if nanoseconds < 0 { "-" } else { "" };
        let (seconds, rest) = (
            nanoseconds.unsigned_abs() / 1_000_000_000,
            nanoseconds.unsigned_abs() % 1_000_000_000,
        );
        let fraction = format!("{rest:09}");
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        text.push_str(&format!("T{sign}{seconds}{point}{fraction}S"));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::*;
    use arrow::datatypes::Int64Type;

    use super::*;

    fn check(array: ArrayRef, expect: &[&str]) {
        let rows = RecordBatch::try_from_iter_with_nullable([("v", array, true)]).unwrap();
        let writer = RowWriter::new(&rows).unwrap();
        for (row, expect) in expect.iter().enumerate() {
            let mut out = Vec::new();
            writer.value(row, 0, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), *expect);
        }
        assert_eq!(objects(&rows).unwrap().len(), expect.len());
    }

    #[test]
    fn values() {
        check(
            Arc::new(Int64Array::from(vec![Some(i64::MIN), None])),
            &["-9223372036854775808", "null"],
        );
        check(
            Arc::new(Float64Array::from(vec![0.1, 15.0, 1e300, f64::NAN, f64::INFINITY])),
            &["0.1", "15.0", "1e+300", "\"NaN\"", "\"Infinity\""],
        );
        check(
            Arc::new(Float32Array::from(vec![0.1, f32::NEG_INFINITY])),
            &["0.1", "\"-Infinity\""],
        );
        check(
            Arc::new(Decimal128Array::from(vec![1234]).with_precision_and_scale(10, 2).unwrap()),
            &["\"12.34\""],
        );
        check(
            Arc::new(StringArray::from(vec!["a\"b\\c\n\u{1}é"])),
            &["\"a\\\"b\\\\c\\n\\u0001é\""],
        );
        check(Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..]])), &["\"AP8=\""]);
        check(Arc::new(Date32Array::from(vec![15744])), &["\"2013-02-08\""]);
        check(
            Arc::new(TimestampMicrosecondArray::from(vec![1_360_281_600_000_000, 1_500_000])),
            &["\"2013-02-08T00:00:00Z\"", "\"1970-01-01T00:00:01.500Z\""],
        );
    }

    #[test]
    fn nested_values() {
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
        ]);
        check(Arc::new(list), &["[1,null]", "null", "[]"]);
        let point = StructArray::from(vec![(
            Arc::new(arrow::datatypes::Field::new("x", DataType::Int64, true)),
            Arc::new(Int64Array::from(vec![Some(7)])) as ArrayRef,
        )]);
        check(Arc::new(point), &["{\"x\":7}"]);
    }

    #[test]
    fn durations() {
        assert_eq!(iso_duration(1, 2, 1_500_000_000), "P1M2DT1.5S");
        assert_eq!(iso_duration(0, 0, 0), "PT0S");
    }
}
