//! The columns of data that nobody described, from a sample of it.
//!
//! | in the data | column |
//! |---|---|
//! | whole numbers | BIGINT |
//! | numbers | DOUBLE |
//! | `true`, `false` | BOOLEAN |
//! | `2026-01-31` | DATE |
//! | `2026-01-31 12:00:00.5` | TIMESTAMP; TIMESTAMP(9) with more than six digits |
//! | the same with `Z` or an offset | TIMESTAMP WITH TIME ZONE |
//! | JSON objects, lists of one type | STRUCT, a list |
//! | anything else, a mixture, nothing but nulls | TEXT |
//!
//! Numbers with leading zeros are codes, and so TEXT; so is an integer that 64 bits do not hold.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use indexmap::IndexMap;
use serde_json::Value;
use syncline_change::{Error, Result};

use super::text::Looks;
use super::{Input, byte_order_mark, csv};
use crate::file::CsvConfig;

/// Rows that are looked at.
pub const SAMPLE_ROWS_MAX: usize = 10_000;

/// Bytes that are looked at.
pub const SAMPLE_BYTES_MAX: usize = 4 << 20;

/// The columns of the CSV at the front of `sample`, in the order of its header, and how many rows
/// were looked at.
///
/// # Errors
/// `Input` if there is no header to be made out, or it names a column twice.
pub fn csv(sample: &Input<'_>, config: &CsvConfig) -> Result<(Schema, usize)> {
    let mut names: Option<Vec<String>> = None;
    let mut columns: Vec<TextColumn> = Vec::new();
    let mut rows = 0;
    let mark = byte_order_mark(sample).unwrap_or(0);
    let sample = Input {
        bytes: &sample.bytes[mark..],
        rows_max: SAMPLE_ROWS_MAX + usize::from(config.header),
        ..*sample
    };
    csv::each_record(&sample, config, |fields| match &names {
        None if config.header => {
            let header = fields.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned());
            names = Some(header.collect());
            columns.resize_with(fields.len(), TextColumn::default);
        }
        None => {
            names = Some((1..=fields.len()).map(|i| format!("column_{i}")).collect());
            columns.resize_with(fields.len(), TextColumn::default);
            see_record(&mut columns, fields, config);
            rows += 1;
        }
        Some(_) => {
            see_record(&mut columns, fields, config);
            rows += 1;
        }
    })?;
    let names = names.unwrap_or_default();
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) {
            return Err(Error::input(format!("{}: two columns are called `{name}`", sample.label))
                .hint("give each column of the header its own name"));
        }
    }
    let fields = names.into_iter().zip(columns);
    let fields = fields.map(|(name, column)| Field::new(name, column.data_type(), true));
    Ok((Schema::new(fields.collect::<Vec<_>>()), rows))
}

fn see_record(columns: &mut [TextColumn], fields: &[&[u8]], config: &CsvConfig) {
    // A ragged row will be a dead letter and says nothing about columns.
    if fields.len() != columns.len() {
        return;
    }
    for (column, field) in columns.iter_mut().zip(fields) {
        if !config.null_values.iter().any(|null| null.as_bytes() == *field) {
            column.see(field);
        }
    }
}

/// What all texts of a column so far look like; `None`: there was none.
#[derive(Clone, Debug, Default)]
struct TextColumn(Option<Looks>);

impl TextColumn {
    fn see(&mut self, text: &[u8]) {
        let seen = Looks::of(text.trim_ascii());
        self.0 = Some(match self.0 {
            None => seen,
            Some(so_far) => so_far.and(seen),
        });
    }

    fn data_type(&self) -> DataType {
        match self.0 {
            Some(looks) if looks.boolean => DataType::Boolean,
            Some(looks) if looks.integer => DataType::Int64,
            Some(looks) if looks.float => DataType::Float64,
            Some(looks) => time_or_text(looks),
            None => DataType::Utf8,
        }
    }
}

fn time_or_text(looks: Looks) -> DataType {
    let unit = if looks.nanoseconds { TimeUnit::Nanosecond } else { TimeUnit::Microsecond };
    if looks.date {
        DataType::Date32
    } else if looks.timestamp {
        DataType::Timestamp(unit, None)
    } else if looks.zoned {
        DataType::Timestamp(unit, Some("UTC".into()))
    } else {
        DataType::Utf8
    }
}

/// The columns of lines of JSON objects at the front of `sample`, in the order in which they are
/// first seen.
pub fn json(sample: &Input<'_>) -> Schema {
    let mut columns = IndexMap::new();
    for object in objects(sample) {
        see_object(&mut columns, object);
    }
    schema_of(&columns)
}

/// The columns of the rows in lines of Debezium envelopes.
pub fn debezium(sample: &Input<'_>) -> Schema {
    let mut columns = IndexMap::new();
    for mut envelope in objects(sample) {
        if let Some(Value::Object(payload)) = envelope.get_mut("payload").map(Value::take) {
            envelope = payload;
        }
        // `before` may be no more than the key; whatever comes first has the columns' order.
        for part in ["after", "before"] {
            if let Some(Value::Object(row)) = envelope.get_mut(part).map(Value::take) {
                see_object(&mut columns, row);
            }
        }
    }
    schema_of(&columns)
}

type Object = serde_json::Map<String, Value>;

fn objects<'a>(sample: &Input<'a>) -> impl Iterator<Item = Object> + use<'a> {
    let mark = byte_order_mark(sample).unwrap_or(0);
    let bytes = &sample.bytes[mark..];
    let whole = match memchr::memrchr(b'\n', bytes) {
        _ if sample.at_end => bytes,
        Some(last) => &bytes[..last],
        None => &[],
    };
    let lines = whole.split(|&b| b == b'\n').take(SAMPLE_ROWS_MAX);
    lines.filter_map(|line| serde_json::from_slice(line).ok())
}

fn see_object(columns: &mut IndexMap<String, Seen>, object: Object) {
    for (name, value) in object {
        columns.entry(name).or_insert(Seen::Nothing).see(value);
    }
}

fn schema_of(columns: &IndexMap<String, Seen>) -> Schema {
    let fields = columns.iter().map(|(name, seen)| Field::new(name, seen.data_type(), true));
    Schema::new(fields.collect::<Vec<_>>())
}

/// What all JSON values of a column so far have in common.
#[derive(Clone, Debug)]
enum Seen {
    Nothing,
    Boolean,
    Integer,
    Float,
    Text(Looks),
    List(Box<Seen>),
    Object(IndexMap<String, Seen>),
    Mixture,
}

impl Seen {
    fn see(&mut self, value: Value) {
        let so_far = std::mem::replace(self, Self::Nothing);
        *self = match (so_far, value) {
            (so_far, Value::Null) => so_far,
            (Self::Nothing | Self::Boolean, Value::Bool(_)) => Self::Boolean,
            (so_far, Value::Number(number)) => match (so_far, number.is_i64(), number.is_u64()) {
                (Self::Nothing | Self::Integer, true, _) => Self::Integer,
                (Self::Nothing | Self::Integer | Self::Float, false, false) => Self::Float,
                (Self::Float, true, _) => Self::Float,
                _ => Self::Mixture,
            },
            (Self::Nothing, Value::String(text)) => Self::Text(Looks::of(text.as_bytes())),
            (Self::Text(looks), Value::String(text)) => {
                Self::Text(looks.and(Looks::of(text.as_bytes())))
            }
            (Self::Nothing, Value::Array(items)) => Self::list(Self::Nothing, items),
            (Self::List(item), Value::Array(items)) => Self::list(*item, items),
            (Self::Nothing, Value::Object(object)) => Self::object(IndexMap::new(), object),
            (Self::Object(fields), Value::Object(object)) => Self::object(fields, object),
            _ => Self::Mixture,
        };
    }

    fn list(mut item: Self, items: Vec<Value>) -> Self {
        for value in items {
            item.see(value);
        }
        // A list of this and that is kept as the JSON that it is.
        if matches!(item, Self::Mixture) { Self::Mixture } else { Self::List(Box::new(item)) }
    }

    fn object(mut fields: IndexMap<String, Self>, object: Object) -> Self {
        see_object(&mut fields, object);
        Self::Object(fields)
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Text(looks) => time_or_text(*looks),
            Self::List(item) if !self.has_mixture() => {
                DataType::List(Arc::new(Field::new_list_field(item.data_type(), true)))
            }
            Self::Object(fields) if !fields.is_empty() && !self.has_mixture() => {
                let fields =
                    fields.iter().map(|(name, seen)| Field::new(name, seen.data_type(), true));
                DataType::Struct(Fields::from_iter(fields))
            }
            Self::List(_) | Self::Object(_) | Self::Nothing | Self::Mixture => DataType::Utf8,
        }
    }

    /// Whether something within is of no one type; then the whole is kept as JSON text.
    fn has_mixture(&self) -> bool {
        match self {
            Self::Mixture => true,
            Self::List(item) => item.has_mixture(),
            Self::Object(fields) => fields.is_empty() || fields.values().any(Self::has_mixture),
            Self::Nothing | Self::Boolean | Self::Integer | Self::Float | Self::Text(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
