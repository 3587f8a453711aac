//! Debezium change envelopes: one a line, with or without the wrapper
//! `{"schema": .., "payload": ..}`.
//!
//! | `op` | without a primary key | with one |
//! |---|---|---|
//! | `c`, `r` | `after` is added | `after` replaces the row with its key |
//! | `u` | `before` is deleted, `after` added | `after` replaces it; `before` is deleted if it has another key |
//! | `d` | `before` is deleted | the same, by its key |
//!
//! A line that is empty or `null` is a tombstone and means nothing here.

use std::borrow::Cow;
use std::fmt;

use arrow::datatypes::SchemaRef;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use syncline_change::Result;
use syncline_change::source::RejectClass;

use super::json::{Fields, ObjectSeed, ReadLine, Target, each_line, read_record};
use super::rows::{Fault, Rows};
use super::{Decoded, Input, RowDecoder, byte_order_mark, column_index};

/// Decodes Debezium envelopes into rows with weights.
pub struct DebeziumDecoder {
    rows: Rows,
    envelopes: Envelopes,
    row_bytes_max: usize,
}

impl DebeziumDecoder {
    /// # Errors
    /// `Config` if a column of the primary key is not in the schema.
    pub fn new(schema: SchemaRef, primary_key: &[String], row_bytes_max: usize) -> Result<Self> {
        let fields = Fields::new(&schema);
        let key = primary_key.iter().map(|name| column_index(&schema, name));
        let key = key.collect::<Result<_>>()?;
        let rows = Rows::new(schema, primary_key)?;
        Ok(Self { rows, envelopes: Envelopes { fields, key }, row_bytes_max })
    }
}

impl RowDecoder for DebeziumDecoder {
    fn begin_file(&mut self, input: &Input<'_>) -> Result<Option<usize>> {
        Ok(byte_order_mark(input))
    }

    fn decode_front(&mut self, input: &Input<'_>) -> Result<Decoded> {
        each_line(input, &mut self.rows, self.row_bytes_max, &mut self.envelopes)
    }

    fn fork(&self) -> Box<dyn RowDecoder> {
        let fields = Fields::new(self.rows.schema());
        let envelopes = Envelopes { fields, key: self.envelopes.key.clone() };
        Box::new(Self { rows: self.rows.fork(), envelopes, row_bytes_max: self.row_bytes_max })
    }
}

/// Reads an envelope a line.
struct Envelopes {
    fields: Fields,
    /// The primary key's columns; empty: there is none.
    key: Vec<usize>,
}

impl ReadLine for Envelopes {
    fn read_alike(&mut self, _: &mut Rows, _: &[u8]) -> Option<usize> {
        None
    }

    fn read(&mut self, rows: &mut Rows, line: &str) -> Result<(), Fault> {
        let envelope = read_record(rows, &mut self.fields, line, |target, parser| {
            EnvelopeSeed { target }.deserialize(parser)
        })?;
        match envelope {
            Some(envelope) => envelope.apply(rows, &self.key),
            None => Ok(()),
        }
    }
}

/// What an envelope said; its rows are there, and do nothing yet.
#[derive(Debug, Default)]
struct Envelope {
    op: Option<String>,
    before: Option<usize>,
    after: Option<usize>,
}

impl Envelope {
    /// Gives the rows the weights that the operation means.
    fn apply(self, rows: &mut Rows, key: &[usize]) -> Result<(), Fault> {
        let missing = |what: &str| Fault::new(RejectClass::MissingKey, what);
        match (self.op.as_deref(), self.before, self.after) {
            (Some("c" | "r"), _, Some(after)) => rows.set_weight(after, 1),
            (Some("u"), Some(before), Some(after)) => {
                if key.is_empty() || !rows.is_same_key(key, before, after) {
                    rows.set_weight(before, -1);
                }
                rows.set_weight(after, 1);
            }
            (Some("u"), None, Some(after)) if !key.is_empty() => rows.set_weight(after, 1),
            (Some("u"), None, Some(_)) => {
                return Err(missing(
                    "an update without `before` needs the source's `primary_key` to say which row \
                     it replaces",
                ));
            }
            (Some("d"), Some(before), _) => rows.set_weight(before, -1),
            (Some("d"), None, _) => {
                return Err(missing("a deletion without `before` does not say which row goes"));
            }
            (Some("c" | "r" | "u"), _, None) => {
                return Err(unparsable("the envelope has no `after`".to_owned()));
            }
            // A message in the database's log: it has no row.
            (Some("m"), ..) => {}
            (Some(op), ..) => return Err(unparsable(format!("operation `{op}` is not known"))),
            (None, ..) => return Err(unparsable("not a change envelope: no `op`".to_owned())),
        }
        Ok(())
    }
}

fn unparsable(message: String) -> Fault {
    Fault::new(RejectClass::Unparsable, message)
}

struct EnvelopeSeed<'a, 'b> {
    target: &'a mut Target<'b>,
}

impl<'de> DeserializeSeed<'de> for EnvelopeSeed<'_, '_> {
    /// `None`: a tombstone.
    type Value = Option<Envelope>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeSeed<'_, '_> {
    type Value = Option<Envelope>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a change envelope")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Target { rows, fields, stop } = self.target;
        let mut envelope = Envelope::default();
        let mut payload = None;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            match name.as_ref() {
                "op" => envelope.op = map.next_value()?,
                "before" => {
                    envelope.before =
                        map.next_value_seed(ObjectSeed { rows, fields, stop, weight: 0 })?;
                }
                "after" => {
                    envelope.after =
                        map.next_value_seed(ObjectSeed { rows, fields, stop, weight: 0 })?;
                }
                "payload" => {
                    let target = &mut Target { rows, fields, stop };
                    payload = Some(map.next_value_seed(EnvelopeSeed { target })?);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(payload.unwrap_or(Some(envelope)))
    }
}

#[cfg(test)]
mod tests;
