//! The columns of files that nobody described, from the first one that has rows.

use std::fs::File;
use std::path::Path;

use arrow::datatypes::Schema;
use syncline_change::{Error, Result};

use super::super::config::{Format, SourceConfig};
use super::listing::{Found, list};
use super::text::{TextBuffer, decompress};
use crate::decode::infer::{SAMPLE_BYTES_MAX, SAMPLE_ROWS_MAX};
use crate::decode::parquet::ParquetFile;
use crate::decode::{Input, infer as columns};

/// The columns of the files that `config` names; `None`: there is nothing yet to tell them from.
///
/// # Errors
/// As [`list`] and reading have them; `Input` if a file is not of the source's format.
pub(crate) fn infer(config: &SourceConfig, base_dir: &Path) -> Result<Option<Schema>> {
    let mut without_rows = None;
    for found in list(&config.path, base_dir)? {
        let sample = sample(config, &found)?;
        if sample.has_rows {
            return Ok(Some(sample.schema));
        }
        // A header without rows says at least how the columns are called.
        if without_rows.is_none() && !sample.schema.fields().is_empty() {
            without_rows = Some(sample.schema);
        }
    }
    Ok(without_rows)
}

struct Sample {
    schema: Schema,
    has_rows: bool,
}

fn sample(config: &SourceConfig, found: &Found) -> Result<Sample> {
    if config.format == Format::Parquet {
        let file = File::open(&found.path).map_err(|e| Error::io("open", &found.path, e))?;
        let file = ParquetFile::open(file, &found.name)?;
        let schema = file.schema().as_ref().clone();
        return Ok(Sample { schema, has_rows: file.row_groups().iter().any(|&rows| rows > 0) });
    }
    let mut buffer = TextBuffer::new(decompress(found)?, &found.name, SAMPLE_BYTES_MAX);
    buffer.fill()?;
    let input = Input {
        bytes: buffer.unread(),
        first_line: 1,
        label: &found.name,
        at_end: buffer.is_at_end(),
        rows_max: SAMPLE_ROWS_MAX,
    };
    Ok(match config.format {
        Format::Csv => {
            let (schema, rows) = columns::csv(&input, &config.csv)?;
            Sample { schema, has_rows: rows > 0 }
        }
        Format::DebeziumJson => of_lines(columns::debezium(&input)),
        Format::Json | Format::Parquet => of_lines(columns::json(&input)),
    })
}

fn of_lines(schema: Schema) -> Sample {
    let has_rows = !schema.fields().is_empty();
    Sample { schema, has_rows }
}
