//! Lines of JSON: one object a line.
//!
//! A field that is missing is NULL, one that no column is named after is passed over. A number in
//! quotes is not a number; a decimal may be either. A column of type TEXT takes any value that is
//! not a text as the JSON that it is written as.

use std::collections::HashMap;
use std::fmt;

use arrow::datatypes::SchemaRef;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use sonic_rs::LazyValue;
use syncline_change::source::{Decode, RejectClass, Rejected};
use syncline_change::{Batch, Result};

use super::column::{Column, Kind, quoted};
use super::rows::{Fault, Rows, too_long, trim_line_end};
use super::text::{Misfit, NESTING_MAX, is_too_deep};
use super::{Decoded, Input, RowDecoder, byte_order_mark};

/// Decodes JSON lines into rows of one schema.
///
/// ```
/// # use std::sync::Arc;
/// # use arrow::datatypes::{DataType, Field, Schema};
/// # use syncline_connect::decode::json::JsonDecoder;
/// let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
/// let mut decoder = JsonDecoder::new(schema, &["id".to_owned()], 1 << 20)?;
/// let decoded = decoder.decode(b"{\"id\": 1}\n{\"id\": \"one\"}\n", 1, "request")?;
/// assert_eq!(decoded.rows.num_rows(), 1);
/// assert_eq!(decoded.rejected[0].position, "request:2");
/// # Ok::<(), syncline_change::Error>(())
/// ```
pub struct JsonDecoder {
    rows: Rows,
    fields: Fields,
    row_bytes_max: usize,
}

impl JsonDecoder {
    /// # Errors
    /// `Config` if a column of the primary key is not in the schema.
    pub fn new(schema: SchemaRef, primary_key: &[String], row_bytes_max: usize) -> Result<Self> {
        let fields = Fields::new(&schema);
        Ok(Self { rows: Rows::new(schema, primary_key)?, fields, row_bytes_max })
    }

    /// All of `lines`, of which the first is number `first_line` of `label`. The last line may end
    /// without a newline; empty ones are passed over.
    pub fn decode(&mut self, lines: &[u8], first_line: u64, label: &str) -> Result<Decoded> {
        let input = Input { bytes: lines, first_line, label, at_end: true, rows_max: usize::MAX };
        self.decode_front(&input)
    }
}

impl RowDecoder for JsonDecoder {
    fn begin_file(&mut self, input: &Input<'_>) -> Result<Option<usize>> {
        Ok(byte_order_mark(input))
    }

    fn decode_front(&mut self, input: &Input<'_>) -> Result<Decoded> {
        let Self { rows, fields, row_bytes_max } = self;
        each_line(input, rows, *row_bytes_max, |rows, line| {
            let row = read_record(rows, fields, line, |target, parser| {
                let Target { rows, fields, stop } = target;
                ObjectSeed { rows, fields, stop, weight: 1 }.deserialize(parser)
            })?;
            let null = || Fault::new(RejectClass::Unparsable, "not a JSON object: null");
            row.map(drop).ok_or_else(null)
        })
    }
}

/// Decodes mended rows of any source of JSON.
pub struct JsonDecode {
    schema: SchemaRef,
    primary_key: Vec<String>,
}

impl JsonDecode {
    /// # Errors
    /// `Config` if a column of the primary key is not in the schema.
    pub fn new(schema: SchemaRef, primary_key: &[String]) -> Result<Self> {
        Rows::new(schema.clone(), primary_key)?;
        Ok(Self { schema, primary_key: primary_key.to_vec() })
    }
}

impl Decode for JsonDecode {
    fn decode(&self, bytes: &[u8], _: Option<&str>) -> Result<(Batch, Vec<Rejected>)> {
        let mut decoder = JsonDecoder::new(self.schema.clone(), &self.primary_key, usize::MAX)?;
        let decoded = decoder.decode(bytes, 1, "dead letter")?;
        Ok((decoded.rows, decoded.rejected))
    }
}

/// Calls `read` for each line that is text and not too long, and refuses the record if it fails.
pub(super) fn each_line(
    input: &Input<'_>,
    rows: &mut Rows,
    row_bytes_max: usize,
    mut read: impl FnMut(&mut Rows, &str) -> Result<(), Fault>,
) -> Result<Decoded> {
    let all_text = std::str::from_utf8(input.bytes).ok();
    let mut start = 0;
    while start < input.bytes.len() && rows.records() < input.rows_max {
        let end = match memchr::memchr(b'\n', &input.bytes[start..]) {
            Some(newline) => start + newline + 1,
            None if input.at_end => input.bytes.len(),
            None => break,
        };
        let line = trim_line_end(&input.bytes[start..end]);
        let text = match all_text {
            // A newline is never inside of a character.
            Some(all) => all.get(start..start + line.len()),
            None => std::str::from_utf8(line).ok(),
        };
        if line.len() > row_bytes_max {
            rows.begin_record(start, end);
            rows.refuse(too_long(row_bytes_max));
        } else if let Some(text) = text {
            if !text.trim_ascii().is_empty() {
                rows.begin_record(start, end);
                let read = if is_too_deep(line) { Err(too_deep()) } else { read(rows, text) };
                if let Err(fault) = read {
                    rows.refuse(fault);
                }
            }
        } else {
            rows.begin_record(start, end);
            rows.refuse(Fault::new(RejectClass::Unparsable, "not UTF-8 text"));
        }
        start = end;
    }
    rows.finish(input, start, None)
}

fn too_deep() -> Fault {
    Fault::new(RejectClass::Unparsable, format!("nested more than {NESTING_MAX} levels deep"))
}

fn unparsable(error: &sonic_rs::Error) -> Fault {
    // The parser adds an excerpt on further lines.
    let message = error.to_string();
    let message = message.lines().next().unwrap_or_default();
    Fault::new(RejectClass::Unparsable, format!("not a JSON object: {message}"))
}

/// Which column a field goes to.
pub(super) struct Fields {
    columns: HashMap<String, usize>,
    /// The fields of the object before this one, in its order: most objects look like it, and then
    /// a comparison is all that a name costs.
    predicted: Vec<(String, Option<usize>)>,
    /// Columns of type TEXT that have had a value that is not a text: only their values are looked
    /// at as JSON before they are taken.
    takes_json: Vec<bool>,
}

/// Fields of an object whose order is remembered.
const PREDICTED_FIELDS_MAX: usize = 1024;

impl Fields {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let names = schema.fields().iter().map(|field| field.name().clone());
        Self {
            columns: names.enumerate().map(|(i, name)| (name, i)).collect(),
            predicted: Vec::new(),
            takes_json: vec![false; schema.fields().len()],
        }
    }

    /// The column of the `at`th field of an object, which is called `name`.
    fn column(&mut self, at: usize, name: &str) -> Option<usize> {
        if let Some((predicted, column)) = self.predicted.get(at)
            && predicted == name
        {
            return *column;
        }
        let column = self.columns.get(name).copied();
        if at < PREDICTED_FIELDS_MAX {
            self.predicted.truncate(at);
            if self.predicted.len() == at {
                self.predicted.push((name.to_owned(), column));
            }
        }
        column
    }
}

/// Why reading an object stopped, where the parser's own error does not say it.
pub(super) enum Stop {
    /// The column does not take what was found.
    Misfit { column: usize, found: String, misfit: Misfit },
    /// Two fields of the object go to the column.
    Twice { column: usize },
    /// A text was expected in the column, and something else was found: it has to be read as JSON.
    TakesJson { column: usize },
}

impl Stop {
    fn into_fault(self, rows: &Rows) -> Fault {
        match self {
            Self::Misfit { column, found, misfit } => {
                let message = rows.column(column).complaint(&found, misfit);
                Fault::new(RejectClass::WrongType, message)
            }
            Self::Twice { column } | Self::TakesJson { column } => {
                let name = rows.column(column).name();
                Fault::new(RejectClass::Unparsable, format!("field `{name}` stands there twice"))
            }
        }
    }
}

/// What the objects of one line are read into.
pub(super) struct Target<'a> {
    pub(super) rows: &'a mut Rows,
    pub(super) fields: &'a mut Fields,
    pub(super) stop: &'a mut Option<Stop>,
}

/// Reads the text of one record with `read`, again if it turns out that a text column takes JSON.
pub(super) fn read_record<T>(
    rows: &mut Rows,
    fields: &mut Fields,
    text: &str,
    mut read: impl FnMut(&mut Target<'_>, &mut Parser<'_>) -> sonic_rs::Result<T>,
) -> Result<T, Fault> {
    let first_row = rows.len();
    loop {
        let mut stop = None;
        let mut parser = sonic_rs::Deserializer::from_str(text);
        let mut target = Target { rows, fields, stop: &mut stop };
        let done = read(&mut target, &mut parser).and_then(|done| {
            parser.end()?;
            Ok(done)
        });
        match (done, stop) {
            (Ok(done), _) => return Ok(done),
            (Err(_), Some(Stop::TakesJson { column })) if !fields.takes_json[column] => {
                fields.takes_json[column] = true;
                (first_row..rows.len()).for_each(|row| rows.set_weight(row, 0));
            }
            (Err(_), Some(stop)) => return Err(stop.into_fault(rows)),
            (Err(error), None) => return Err(unparsable(&error)),
        }
    }
}

/// The parser of one line.
pub(super) type Parser<'a> = sonic_rs::Deserializer<sonic_rs::Read<'a>>;

/// An object as one row that does `weight`; null as no row. On an error the row, or what there is
/// of it, does nothing.
pub(super) struct ObjectSeed<'a> {
    pub(super) rows: &'a mut Rows,
    pub(super) fields: &'a mut Fields,
    pub(super) stop: &'a mut Option<Stop>,
    pub(super) weight: i64,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    /// The row, if there is one.
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        let Self { rows, fields, stop, weight } = self;
        let visitor = ObjectVisitor { rows: &mut *rows, fields, stop };
        match from.deserialize_any(visitor) {
            Ok(true) => Ok(Some(rows.end_row(weight))),
            Ok(false) => Ok(None),
            Err(error) => {
                rows.end_row(0);
                Err(error)
            }
        }
    }
}

struct ObjectVisitor<'a> {
    rows: &'a mut Rows,
    fields: &'a mut Fields,
    stop: &'a mut Option<Stop>,
}

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    /// Whether there was an object.
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let row = self.rows.len();
        let mut at = 0;
        while let Some(column) = map.next_key_seed(KeySeed { fields: self.fields, at })? {
            at += 1;
            let Some(index) = column else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let column = &mut self.rows.columns_mut()[index];
            if column.len() > row {
                *self.stop = Some(Stop::Twice { column: index });
                return Err(A::Error::custom("a field stands there twice"));
            }
            let takes_json = self.fields.takes_json[index];
            map.next_value_seed(ValueSeed { column, index, takes_json, stop: self.stop })?;
        }
        Ok(true)
    }
}

/// The name of a field: the column that it goes to.
struct KeySeed<'a> {
    fields: &'a mut Fields,
    at: usize,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.fields.column(self.at, name))
    }
}

/// The value of a field, into its column.
struct ValueSeed<'a> {
    column: &'a mut Column,
    index: usize,
    takes_json: bool,
    stop: &'a mut Option<Stop>,
}

impl ValueSeed<'_> {
    fn check<E: serde::de::Error>(
        self,
        pushed: Result<(), Misfit>,
        found: impl FnOnce() -> String,
    ) -> Result<(), E> {
        pushed.map_err(|misfit| {
            *self.stop = Some(Stop::Misfit { column: self.index, found: found(), misfit });
            E::custom("a value does not have its column's type")
        })
    }

    /// Something that is not a text, and that the column may not take.
    fn not_a_text<E: serde::de::Error>(
        self,
        push: impl FnOnce(&mut Column) -> Result<(), Misfit>,
        found: impl FnOnce() -> String,
    ) -> Result<(), E> {
        if self.column.kind() == Kind::Text {
            *self.stop = Some(Stop::TakesJson { column: self.index });
            return Err(E::custom("a text column takes JSON"));
        }
        let pushed = push(self.column);
        self.check(pushed, found)
    }

    /// A value by the JSON that it is written as.
    fn take_json<E: serde::de::Error>(self, json: &str) -> Result<(), E> {
        if json == "null" {
            self.column.push_null();
            return Ok(());
        }
        let inside = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let pushed = match (self.column.kind(), inside) {
            (Kind::Decimal { .. }, Some(text)) => self.column.push_text(text.as_bytes()),
            (Kind::Decimal { .. }, None) => self.column.push_text(json.as_bytes()),
            (Kind::Text, Some(text)) if text.contains('\\') => {
                let text: String = sonic_rs::from_str(json).map_err(E::custom)?;
                self.column.push_bytes(text.as_bytes())
            }
            (Kind::Text, Some(text)) => self.column.push_bytes(text.as_bytes()),
            _ => self.column.push_bytes(json.as_bytes()),
        };
        self.check(pushed, || quoted(json))
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        let takes_json = match self.column.kind() {
            Kind::Nested | Kind::Decimal { .. } => true,
            _ => self.takes_json,
        };
        if takes_json {
            let value: LazyValue<'de> = serde::Deserialize::deserialize(from)?;
            self.take_json(value.as_raw_str())
        } else {
            from.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.column.push_null();
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.not_a_text(|column| column.push_boolean(value), || quoted(&value.to_string()))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.not_a_text(|column| column.push_integer(value), || quoted(&value.to_string()))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.not_a_text(|column| column.push_unsigned(value), || quoted(&value.to_string()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.not_a_text(|column| column.push_float(value), || quoted(&value.to_string()))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let pushed = match self.column.kind() {
            Kind::Text => self.column.push_bytes(text.as_bytes()),
            Kind::Binary => match BASE64.decode(text) {
                Ok(bytes) => self.column.push_bytes(&bytes),
                Err(_) => Err(Misfit::Form),
            },
            Kind::Date | Kind::Time(_) | Kind::Timestamp(_) | Kind::Cast => {
                self.column.push_text(text.as_bytes())
            }
            Kind::Real | Kind::Double => match text {
                "NaN" => self.column.push_float(f64::NAN),
                "Infinity" => self.column.push_float(f64::INFINITY),
                "-Infinity" => self.column.push_float(f64::NEG_INFINITY),
                _ => Err(Misfit::Form),
            },
            _ => Err(Misfit::Form),
        };
        self.check(pushed, || quoted(&format!("\"{text}\"")))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.not_a_text(|_| Err(Misfit::Form), || "a list".to_owned())
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.not_a_text(|_| Err(Misfit::Form), || "an object".to_owned())
    }
}

/// Base64 with the standard alphabet, with or without the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests;
