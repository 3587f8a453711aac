//! A view's content in a file that is replaced as a whole.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use syncline_change::sink::{Delivery, Progress, Shape, Snapshot};
use syncline_change::{Error, Result};

use super::{BUFFER_BYTES, disk};
use crate::blocking::BlockingSink;
use crate::encode::parquet::ParquetWriter;
use crate::encode::{csv, json};
use crate::file::SinkFormat;

/// Readers see the content as of one epoch or of another, never a part.
pub(super) struct SnapshotFile {
    path: PathBuf,
    format: SinkFormat,
    /// Of the view; known once the sink is open.
    schema: Option<SchemaRef>,
}

impl SnapshotFile {
    pub(super) fn new(path: PathBuf, format: SinkFormat) -> Self {
        Self { path, format, schema: None }
    }
}

impl BlockingSink for SnapshotFile {
    const DELIVERY: Delivery = Delivery::Snapshot;

    fn open(&mut self, shape: &Shape, _: Option<&Progress>) -> Result<()> {
        if self.path.is_dir() {
            return Err(Error::config(format!("{} is a folder", self.path.display()))
                .hint("end `path` with the name of a file, or remove the folder"));
        }
        disk::create_folder(disk::folder_of(&self.path))?;
        self.schema = Some(shape.schema.clone());
        Ok(())
    }

    fn replace(&mut self, snapshot: &Snapshot) -> Result<Progress> {
        let Some(schema) = &self.schema else {
            return Err(Error::bug("a file sink was written to before it was opened"));
        };
        disk::replace(&self.path, |file, path| match self.format {
            SinkFormat::Parquet => write_parquet(snapshot, schema, file),
            SinkFormat::Json => write_text(snapshot, Vec::new(), json::rows, file, path),
            SinkFormat::Csv => {
                let mut header = Vec::new();
                csv::header(&[], schema, &mut header);
                write_text(snapshot, header, csv::rows, file, path)
            }
        })?;
        Ok(Progress { epoch: snapshot.epoch, token: serde_json::Value::Null })
    }
}

fn write_parquet(snapshot: &Snapshot, schema: &SchemaRef, file: &mut File) -> Result<()> {
    let mut writer = ParquetWriter::new(file, schema.clone())?;
    for rows in &snapshot.rows {
        writer.write(rows)?;
    }
    writer.finish().map(|_| ())
}

/// Encodes the rows of one record batch as text.
type EncodeRows =
    fn(&arrow::array::RecordBatch, &mut Vec<u8>, crate::encode::AfterLine<'_>) -> Result<()>;

fn write_text(
    snapshot: &Snapshot,
    mut out: Vec<u8>,
    encode: EncodeRows,
    file: &mut File,
    path: &Path,
) -> Result<()> {
    let mut flush = |out: &mut Vec<u8>| {
        file.write_all(out).map_err(|error| Error::io("write to", path, error))?;
        out.clear();
        Ok(())
    };
    for rows in &snapshot.rows {
        encode(rows, &mut out, &mut |out| {
            if out.len() < BUFFER_BYTES { Ok(()) } else { flush(out) }
        })?;
    }
    flush(&mut out)
}
