//! Any line: an object's fields into a row, through a parser that knows all of JSON.

use std::collections::HashMap;
use std::fmt;

use arrow::datatypes::SchemaRef;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use sonic_rs::LazyValue;
use syncline_change::source::RejectClass;

use super::super::column::{Column, Kind, quoted};
use super::super::rows::{Fault, Rows};
use super::super::text::Misfit;

fn unparsable(error: &sonic_rs::Error) -> Fault {
    // The parser adds an excerpt on further lines.
    let message = error.to_string();
    let message = message.lines().next().unwrap_or_default();
    Fault::new(RejectClass::Unparsable, format!("not a JSON object: {message}"))
}

/// Which column a field goes to.
pub(in crate::decode) struct Fields {
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
    pub(in crate::decode) fn new(schema: &SchemaRef) -> Self {
        let names = schema.fields().iter().map(|field| field.name().clone());
        Self {
            columns: names.enumerate().map(|(i, name)| (name, i)).collect(),
            predicted: Vec::new(),
            takes_json: vec![false; schema.fields().len()],
        }
    }

    pub(super) fn columns(&self) -> usize {
        self.takes_json.len()
    }

    pub(super) fn column_named(&self, name: &str) -> Option<usize> {
        self.columns.get(name).copied()
    }

    /// The column of the `at`th field of an object, which is called `name`.
    fn column(&mut self, at: usize, name: &str) -> Option<usize> {
        if let Some((predicted, column)) = self.predicted.get(at)
            && predicted == name
        {
            return *column;
        }
        let column = self.column_named(name);
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
pub(in crate::decode) enum Stop {
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
pub(in crate::decode) struct Target<'a> {
    pub(in crate::decode) rows: &'a mut Rows,
    pub(in crate::decode) fields: &'a mut Fields,
    pub(in crate::decode) stop: &'a mut Option<Stop>,
}

/// Reads the text of one record with `read`, again if it turns out that a text column takes JSON.
pub(in crate::decode) fn read_record<T>(
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
pub(in crate::decode) type Parser<'a> = sonic_rs::Deserializer<sonic_rs::Read<'a>>;

/// An object as one row that does `weight`; null as no row. On an error the row, or what there is
/// of it, does nothing.
pub(in crate::decode) struct ObjectSeed<'a> {
    pub(in crate::decode) rows: &'a mut Rows,
    pub(in crate::decode) fields: &'a mut Fields,
    pub(in crate::decode) stop: &'a mut Option<Stop>,
    pub(in crate::decode) weight: i64,
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
        let pushed = push_text_value(self.column, text.as_bytes());
        self.check(pushed, || quoted(&format!("\"{text}\"")))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.not_a_text(|_| Err(Misfit::Form), || "a list".to_owned())
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.not_a_text(|_| Err(Misfit::Form), || "an object".to_owned())
    }
}

/// A text of JSON into a column of any type but those whose values are taken as JSON.
pub(super) fn push_text_value(column: &mut Column, text: &[u8]) -> Result<(), Misfit> {
    match column.kind() {
        Kind::Text => column.push_bytes(text),
        Kind::Binary => match BASE64.decode(text) {
            Ok(bytes) => column.push_bytes(&bytes),
            Err(_) => Err(Misfit::Form),
        },
        Kind::Date | Kind::Time(_) | Kind::Timestamp(_) | Kind::Cast => column.push_text(text),
        Kind::Real | Kind::Double => match text {
            b"NaN" => column.push_float(f64::NAN),
            b"Infinity" => column.push_float(f64::INFINITY),
            b"-Infinity" => column.push_float(f64::NEG_INFINITY),
            _ => Err(Misfit::Form),
        },
        _ => Err(Misfit::Form),
    }
}

/// Base64 with the standard alphabet, with or without the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
