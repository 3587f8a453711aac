//! Rows of Parquet files, cast to the columns that the source has.

use std::fs::File;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use syncline_change::source::{RejectClass, Rejected};
use syncline_change::{Batch, Error, Result, json, row, types};

use super::column::quoted;
use super::rows::{Fault, rejected_row};
use super::{Decoded, column_index, unknown_name};

/// Casts the rows of Parquet files to one schema. A row with a value that cannot be cast is
/// rejected as the JSON object that it is.
pub struct ParquetDecoder {
    schema: SchemaRef,
    /// Columns of the primary key, and those that are never null.
    required: Vec<usize>,
}

impl ParquetDecoder {
    /// # Errors
    /// `Config` if a column of the primary key is not in the schema.
    pub fn new(schema: SchemaRef, primary_key: &[String]) -> Result<Self> {
        let key = primary_key.iter().map(|name| column_index(&schema, name));
        let mut required = key.collect::<Result<Vec<_>>>()?;
        let never_null = schema.fields().iter().enumerate().filter(|(_, f)| !f.is_nullable());
        required.extend(never_null.map(|(i, _)| i));
        Ok(Self { schema, required })
    }

    /// The rows of `from`, of which the first is number `first_row` (from 1) of the file `label`.
    ///
    /// # Errors
    /// `Config` if the file lacks a column.
    pub fn decode(&self, from: &RecordBatch, first_row: u64, label: &str) -> Result<Decoded> {
        let mut faults: Vec<Option<Fault>> = (0..from.num_rows()).map(|_| None).collect();
        let columns = (0..self.schema.fields().len())
            .map(|column| self.cast(from, column, &mut faults))
            .collect::<Result<Vec<_>>>()?;
        let good: Vec<bool> = faults.iter().map(Option::is_none).collect();
        let row_ends = (1..).zip(&good).filter(|(_, good)| **good).map(|(end, _)| end).collect();
        let rows = self.good_rows(columns, &good)?;
        let (rejected, rejected_ends) = rejects(from, faults, first_row, label)?;
        Ok(Decoded {
            rows: Batch::inserts(row::canonical(rows)?),
            rejected,
            bytes: from.num_rows(),
            lines: from.num_rows() as u64,
            row_ends,
            rejected_ends,
            hash: None,
        })
    }

    fn cast(
        &self,
        from: &RecordBatch,
        column: usize,
        faults: &mut [Option<Fault>],
    ) -> Result<ArrayRef> {
        let field = self.schema.field(column);
        let source = from.column_by_name(field.name()).ok_or_else(|| {
            let known = from.schema();
            let known = known.fields().iter().map(|field| field.name().as_str());
            unknown_name(format!("the file has no column `{}`", field.name()), field.name(), known)
        })?;
        let options = CastOptions { safe: true, ..CastOptions::default() };
        let cast = cast_with_options(source, field.data_type(), &options).map_err(|error| {
            let from = types::name(source.data_type());
            let to = types::name(field.data_type());
            Error::config(format!("column `{}`: {from} cannot be cast to {to}", field.name()))
                .detail(error.to_string())
        })?;
        if cast.null_count() > 0 {
            let expected = types::name(field.data_type());
            for row in (0..cast.len()).filter(|&row| cast.is_null(row)) {
                let fault = if source.is_valid(row) {
                    let found = quoted(&arrow::util::display::array_value_to_string(source, row)?);
                    let name = field.name();
                    let message = format!("column `{name}`: expected {expected}, found {found}");
                    Fault::new(RejectClass::WrongType, message)
                } else if self.required.contains(&column) {
                    let message = format!(
                        "column `{}`: a key must have a value, and this is null",
                        field.name()
                    );
                    Fault::new(RejectClass::MissingKey, message)
                } else {
                    continue;
                };
                faults[row].get_or_insert(fault);
            }
        }
        Ok(cast)
    }

    fn good_rows(&self, columns: Vec<ArrayRef>, good: &[bool]) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(good.len()));
        if good.iter().all(|&good| good) {
            return Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?);
        }
        let fields = self.schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
        let lenient = Schema::new(fields.collect::<Vec<_>>());
        let rows = RecordBatch::try_new_with_options(lenient.into(), columns, &options)?;
        let rows = filter_record_batch(&rows, &BooleanArray::from(good.to_vec()))?;
        Ok(rows.with_schema(self.schema.clone())?)
    }
}

fn rejects(
    from: &RecordBatch,
    faults: Vec<Option<Fault>>,
    first_row: u64,
    label: &str,
) -> Result<(Vec<Rejected>, Vec<usize>)> {
    if faults.iter().all(Option::is_none) {
        return Ok((Vec::new(), Vec::new()));
    }
    let writer = json::RowWriter::new(from)?;
    let faults = faults.into_iter().enumerate().filter_map(|(row, fault)| Some((row, fault?)));
    Ok(faults
        .map(|(row, fault)| {
            let mut text = Vec::new();
            writer.object(row, &mut text);
            (rejected_row(&text, fault, label, first_row + row as u64, None), row + 1)
        })
        .unzip())
}

/// An open Parquet file.
pub struct ParquetFile {
    file: File,
    metadata: ArrowReaderMetadata,
    label: String,
}

impl ParquetFile {
    /// # Errors
    /// `Corrupt` if it is not a Parquet file, `Storage` if it cannot be read. `label` is what to
    /// call it.
    pub fn open(file: File, label: &str) -> Result<Self> {
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
            .map_err(|error| failed(error, label))?;
        Ok(Self { file, metadata, label: label.to_owned() })
    }

    /// The columns that the file has.
    pub fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// Rows in each row group.
    pub fn row_groups(&self) -> Vec<u64> {
        let groups = self.metadata.metadata().row_groups().iter();
        groups.map(|group| u64::try_from(group.num_rows()).unwrap_or(0)).collect()
    }

    /// Row group `group` from its row `row` on, `rows_max` rows at a time.
    pub fn read(
        &self,
        group: usize,
        row: u64,
        rows_max: usize,
    ) -> Result<ParquetRecordBatchReader> {
        let failed = |error| failed(error, &self.label);
        let file = self.file.try_clone().map_err(|e| Error::io("read", &self.label, e))?;
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_row_groups(vec![group])
            .with_offset(usize::try_from(row).unwrap_or(usize::MAX))
            .with_batch_size(rows_max)
            .build()
            .map_err(failed)
    }
}

fn failed(error: ParquetError, label: &str) -> Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<std::io::Error>() {
            Ok(error) => Error::io("read", label, *error),
            Err(cause) => unreadable(label, &cause.to_string()),
        },
        error => unreadable(label, &error.to_string()),
    }
}

/// That a Parquet file is not one, or is damaged.
pub(crate) fn unreadable(label: &str, detail: &str) -> Error {
    Error::corrupt(format!("{label} cannot be read as Parquet"))
        .detail(detail)
        .hint("check that the file was written to its end, and is a Parquet file")
}

#[cfg(test)]
mod tests;
