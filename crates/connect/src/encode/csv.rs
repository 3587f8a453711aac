//! CSV as RFC 4180 quotes it, with a line feed after each record.
//!
//! NULL is an empty field, and the empty text is `""`, so that the two stay apart for readers that
//! look. Values are written as in JSON, without the quotes.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use syncline_change::Result;
use syncline_change::json::RowWriter;
use syncline_change::sink::EpochChanges;

use super::AfterLine;
use super::order::{At, Change, ChangeOrder};

/// The header line, with `leading` columns before those of `schema`.
pub fn header(leading: &[&str], schema: &Schema, out: &mut Vec<u8>) {
    let names = leading.iter().copied().chain(schema.fields().iter().map(|f| f.name().as_str()));
    for (i, name) in names.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_field(name, out);
    }
    out.push(b'\n');
}

/// One record a row, without a header.
pub fn rows(rows: &RecordBatch, out: &mut Vec<u8>, after_line: AfterLine<'_>) -> Result<()> {
    let writer = RecordWriter::new(rows)?;
    for row in 0..rows.num_rows() {
        writer.record(row, out);
        after_line(out)?;
    }
    Ok(())
}

/// One record a change, with `op` (`c` or `d`; an update is a `d` and a `c`) and `epoch` before the
/// view's columns.
pub fn changes(
    order: &ChangeOrder,
    epoch: &EpochChanges,
    out: &mut Vec<u8>,
    after_line: AfterLine<'_>,
) -> Result<()> {
    let writers = epoch.changes.iter().map(|changes| RecordWriter::new(changes.rows()));
    let writers: Vec<RecordWriter> = writers.collect::<Result<_>>()?;
    let (created, deleted) = (format!("c,{},", epoch.epoch), format!("d,{},", epoch.epoch));
    let write = |op: &str, at: At, out: &mut Vec<u8>| {
        out.extend_from_slice(op.as_bytes());
        writers[at.batch].record(at.row, out);
    };
    order.visit(&epoch.changes, |change| {
        match change {
            Change::Create(after) => write(&created, after, out),
            Change::Update { before, after } => {
                write(&deleted, before, out);
                write(&created, after, out);
            }
            Change::Delete(before) => write(&deleted, before, out),
        }
        after_line(out)
    })
}

/// Writes the rows of one record batch.
struct RecordWriter {
    values: RowWriter,
    columns: Vec<Column>,
}

/// A column by how its values get into a field.
struct Column {
    array: ArrayRef,
    kind: ColumnKind,
}

#[derive(Clone, Copy)]
enum ColumnKind {
    /// Any text: quoted where it must be.
    Text,
    /// Written as JSON and quoted like a text, since JSON has quotes and commas.
    Nested,
    /// Written as JSON without quotes or commas inside; quotes around it are taken off.
    Plain,
}

impl RecordWriter {
    fn new(rows: &RecordBatch) -> Result<Self> {
        let columns = rows.columns().iter().map(|column| {
            let array = match column.data_type() {
                DataType::Dictionary(_, value) => arrow::compute::cast(column, value)?,
                DataType::LargeUtf8 | DataType::Utf8View => {
                    arrow::compute::cast(column, &DataType::Utf8)?
                }
                _ => column.clone(),
            };
            let kind = match array.data_type() {
                DataType::Utf8 => ColumnKind::Text,
                DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_) => {
                    ColumnKind::Nested
                }
                _ => ColumnKind::Plain,
            };
            Ok(Column { array, kind })
        });
        let columns = columns.collect::<Result<_>>()?;
        Ok(Self { values: RowWriter::new(rows)?, columns })
    }

    fn record(&self, row: usize, out: &mut Vec<u8>) {
        for i in 0..self.columns.len() {
            if i > 0 {
                out.push(b',');
            }
            self.field(row, i, out);
        }
        out.push(b'\n');
    }

    fn field(&self, row: usize, column: usize, out: &mut Vec<u8>) {
        let Column { array, kind } = &self.columns[column];
        if array.is_null(row) {
            // A record of one empty field would be an empty line, which readers pass over.
            if self.columns.len() == 1 {
                out.extend_from_slice(b"\"\"");
            }
            return;
        }
        match kind {
            ColumnKind::Text => write_field(array.as_string::<i32>().value(row), out),
            ColumnKind::Nested => {
                let mut text = Vec::new();
                self.values.value(row, column, &mut text);
                write_field(&String::from_utf8_lossy(&text), out);
            }
            ColumnKind::Plain => {
                let start = out.len();
                self.values.value(row, column, out);
                if out.get(start) == Some(&b'"') {
                    out.remove(start);
                    out.pop();
                }
            }
        }
    }
}

fn write_field(text: &str, out: &mut Vec<u8>) {
    let must_quote = |byte: u8| matches!(byte, b',' | b'"' | b'\n' | b'\r');
    let padded = text.starts_with(' ') || text.ends_with(' ');
    if !text.is_empty() && !padded && !text.bytes().any(must_quote) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for (i, part) in text.split('"').enumerate() {
        if i > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests;
