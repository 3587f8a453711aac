//! Parquet, compressed with zstd: a view's rows, and its changes with `op` and `epoch` columns.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use syncline_change::sink::EpochChanges;
use syncline_change::{Batch, Error, Result};

use super::order::{At, Change, ChangeOrder};

/// Rows in a row group: enough to compress well, few enough to read a part of a file.
const ROW_GROUP_ROWS_MAX: usize = 1 << 20;

/// Encoded bytes that wait in memory for their row group to be full; a group ends early at it.
const ROW_GROUP_BYTES_MAX: usize = 64 << 20;

/// Rows of changes that are put together for the writer at a time.
const CHANGES_AT_A_TIME: usize = 8192;

/// Writes record batches of one schema as a Parquet file.
pub struct ParquetWriter<W: Write + Send> {
    writer: ArrowWriter<W>,
}

impl<W: Write + Send> ParquetWriter<W> {
    /// # Errors
    /// `Unsupported` if a column's type has no Parquet form.
    pub fn new(to: W, schema: SchemaRef) -> Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
            .build();
        let writer = ArrowWriter::try_new(to, schema, Some(properties)).map_err(failed)?;
        Ok(Self { writer })
    }

    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.writer.write(rows).map_err(failed)?;
        if self.writer.in_progress_size() > ROW_GROUP_BYTES_MAX {
            self.writer.flush().map_err(failed)?;
        }
        Ok(())
    }

    /// Writes the footer and hands back what was written to.
    pub fn finish(self) -> Result<W> {
        self.writer.into_inner().map_err(failed)
    }
}

/// The schema of a view's changes: `op` (`c` or `d`) and `epoch` before the view's columns.
pub fn changes_schema(schema: &Schema) -> SchemaRef {
    let mut fields = vec![
        Arc::new(Field::new("op", DataType::Utf8, false)),
        Arc::new(Field::new("epoch", DataType::UInt64, false)),
    ];
    fields.extend(schema.fields().iter().cloned());
    Arc::new(Schema::new(fields))
}

/// Hands an epoch's changes to `write` as record batches of [`changes_schema`]; an update is a `d`
/// and a `c`.
pub fn changes(
    order: &ChangeOrder,
    epoch: &EpochChanges,
    schema: &SchemaRef,
    mut write: impl FnMut(&RecordBatch) -> Result<()>,
) -> Result<()> {
    let batches = epoch.changes.iter().map(Batch::rows).collect();
    let mut pending = Pending { epoch: epoch.epoch, batches, schema, ops: vec![], rows: vec![] };
    order.visit(&epoch.changes, |change| {
        match change {
            Change::Create(after) => pending.push("c", after),
            Change::Delete(before) => pending.push("d", before),
            Change::Update { before, after } => {
                pending.push("d", before);
                pending.push("c", after);
            }
        }
        if pending.rows.len() < CHANGES_AT_A_TIME {
            return Ok(());
        }
        write(&pending.take()?)
    })?;
    if pending.rows.is_empty() { Ok(()) } else { write(&pending.take()?) }
}

/// Changes on their way into one record batch.
struct Pending<'a> {
    epoch: u64,
    batches: Vec<&'a RecordBatch>,
    schema: &'a SchemaRef,
    ops: Vec<&'static str>,
    rows: Vec<(usize, usize)>,
}

impl Pending<'_> {
    fn push(&mut self, op: &'static str, at: At) {
        self.ops.push(op);
        self.rows.push((at.batch, at.row));
    }

    fn take(&mut self) -> Result<RecordBatch> {
        let rows = interleave_record_batch(&self.batches, &self.rows)?;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(std::mem::take(&mut self.ops))),
            Arc::new(UInt64Array::from_value(self.epoch, self.rows.len())),
        ];
        self.rows.clear();
        columns.extend(rows.columns().iter().cloned());
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

fn failed(error: ParquetError) -> Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<std::io::Error>() {
            Ok(error) => Error::io("write", "the Parquet file", *error),
            Err(cause) => {
                Error::bug("a Parquet file could not be written").detail(cause.to_string())
            }
        },
        ParquetError::NYI(detail) | ParquetError::ArrowError(detail) => {
            Error::unsupported("a column's type has no Parquet form")
                .detail(detail)
                .hint("cast it to TEXT in the view")
        }
        other => Error::bug("a Parquet file could not be written").detail(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
