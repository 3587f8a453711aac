//! Lines of JSON: one object a line.
//!
//! A field that is missing is NULL, one that no column is named after is passed over. A number in
//! quotes is not a number; a decimal may be either. A column of type TEXT takes any value that is
//! not a text as the JSON that it is written as.

mod lines;
mod object;
mod scan;
mod shape;

use arrow::datatypes::SchemaRef;
use serde::de::DeserializeSeed;
use syncline_change::source::{Decode, RejectClass, Rejected};
use syncline_change::{Batch, Result};

use self::shape::Shapes;
use super::rows::{Fault, Rows};
use super::{Decoded, Input, RowDecoder, byte_order_mark};

pub(super) use self::lines::{ReadLine, each_line};
pub(super) use self::object::{Fields, ObjectSeed, Target, read_record};

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
    objects: Objects,
    row_bytes_max: usize,
}

impl JsonDecoder {
    /// # Errors
    /// `Config` if a column of the primary key is not in the schema.
    pub fn new(schema: SchemaRef, primary_key: &[String], row_bytes_max: usize) -> Result<Self> {
        Ok(Self::of(Rows::new(schema, primary_key)?, row_bytes_max))
    }

    fn of(rows: Rows, row_bytes_max: usize) -> Self {
        let objects = Objects {
            fields: Fields::new(rows.schema()),
            shapes: Shapes::default(),
            line_bytes_max: row_bytes_max,
        };
        Self { rows, objects, row_bytes_max }
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
        each_line(input, &mut self.rows, self.row_bytes_max, &mut self.objects)
    }

    fn fork(&self) -> Box<dyn RowDecoder> {
        Box::new(Self::of(self.rows.fork(), self.row_bytes_max))
    }
}

/// Reads an object a line.
struct Objects {
    fields: Fields,
    shapes: Shapes,
    line_bytes_max: usize,
}

impl ReadLine for Objects {
    fn read_alike(&mut self, rows: &mut Rows, text: &[u8]) -> Option<usize> {
        self.shapes.read(rows, text, self.line_bytes_max)
    }

    fn read(&mut self, rows: &mut Rows, line: &str) -> Result<(), Fault> {
        read_object(rows, &mut self.fields, line)?;
        self.shapes.learn(line.as_bytes(), &self.fields);
        Ok(())
    }
}

/// Reads `line` by the parser that knows all of JSON.
fn read_object(rows: &mut Rows, fields: &mut Fields, line: &str) -> Result<(), Fault> {
    let row = read_record(rows, fields, line, |target, parser| {
        let Target { rows, fields, stop } = target;
        ObjectSeed { rows, fields, stop, weight: 1 }.deserialize(parser)
    })?;
    let null = || Fault::new(RejectClass::Unparsable, "not a JSON object: null");
    row.map(drop).ok_or_else(null)
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

#[cfg(test)]
mod tests;
