//! Events as files that other engines can read as well.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, TimestampMillisecondType};
use chrono::DateTime;
use syncline_change::{Error, Result};

use super::{Generator, Table};
use crate::encode::json;

/// Events that are written at a time.
const EVENTS_AT_A_TIME: u64 = 8192;

const TABLES: [(Table, &str); 3] =
    [(Table::Person, "person"), (Table::Auction, "auction"), (Table::Bid, "bid")];

/// Writes the first `events` events of the story of `seed` as `TABLE/part-N.jsonl` in `folder`, for
/// each table `parts` files from 0, each with its share of the events in order. Times are written
/// as `2026-01-01 00:00:00.000`. Parts that are there already are replaced. Calls `progress` now
/// and then with the number of events that are written.
///
/// # Errors
/// `Storage` if the files cannot be written, `Config` if there are to be no parts.
pub fn write_jsonl(
    folder: &Path,
    seed: u64,
    events: u64,
    parts: u32,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    if parts == 0 {
        return Err(Error::config("events cannot be written into no files")
            .hint("write them into one part or more"));
    }
    let mut generators = TABLES.map(|(table, _)| Generator::new(table, seed));
    for (_, name) in TABLES {
        clear(&folder.join(name))?;
    }
    let mut event = 0;
    for part in 0..parts {
        let end = share(events, part + 1, parts);
        let mut files = Vec::new();
        for (_, name) in TABLES {
            files.push(PartFile::create(folder.join(name).join(format!("part-{part}.jsonl")))?);
        }
        while event < end {
            let until = (event + EVENTS_AT_A_TIME).min(end);
            for (generator, file) in generators.iter_mut().zip(&mut files) {
                file.write(&generator.rows(event..until)?)?;
            }
            event = until;
            progress(event);
        }
    }
    Ok(())
}

/// How many of `events` are in the first `part` of `parts` files.
fn share(events: u64, part: u32, parts: u32) -> u64 {
    (u128::from(events) * u128::from(part) / u128::from(parts)) as u64
}

/// Makes the folder of a table, without the parts of an earlier time: read with the new ones, they
/// would tell two stories at once.
fn clear(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| Error::io("create the folder", folder, error))?;
    let entries =
        fs::read_dir(folder).map_err(|error| Error::io("read the folder", folder, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| Error::io("read the folder", folder, error))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix("part-")?.strip_suffix(".jsonl"));
        if number.is_some_and(|number| number.parse::<u32>().is_ok()) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
        }
    }
    Ok(())
}

struct PartFile {
    path: PathBuf,
    file: File,
    text: Vec<u8>,
}

impl PartFile {
    fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).map_err(|error| Error::io("create", &path, error))?;
        Ok(Self { path, file, text: Vec::new() })
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.text.clear();
        json::rows(&with_times_as_text(rows)?, &mut self.text, &mut |_| Ok(()))?;
        self.file.write_all(&self.text).map_err(|error| Error::io("write to", &self.path, error))
    }
}

fn with_times_as_text(rows: &RecordBatch) -> Result<RecordBatch> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        if matches!(field.data_type(), DataType::Timestamp(..)) {
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            columns.push(times_as_text(column));
        } else {
            fields.push(field.clone());
            columns.push(column.clone());
        }
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn times_as_text(column: &ArrayRef) -> ArrayRef {
    let times = column.as_primitive::<TimestampMillisecondType>();
    let mut texts = StringBuilder::with_capacity(times.len(), 23 * times.len());
    // Times are ordered, so the date is nearly always that of the row before.
    let (mut day, mut date) = (i64::MIN, String::new());
    for &time in times.values() {
        let (of_day, millis) = (time.div_euclid(86_400_000), time.rem_euclid(86_400_000));
        if of_day != day {
            let at = DateTime::from_timestamp_millis(time).unwrap_or_default();
            (day, date) = (of_day, at.date_naive().to_string());
        }
        let (seconds, millis) = (millis / 1000, millis % 1000);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        texts.append_value(format!("{date} {hours:02}:{minutes:02}:{seconds:02}.{millis:03}"));
    }
    Arc::new(texts.finish())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::compute::concat_batches;
    use tempfile::TempDir;

    use super::super::{generate, schema};
    use super::*;
    use crate::decode::json::JsonDecoder;

    #[test]
    fn files_hold_what_is_generated() {
        let folder = TempDir::new().unwrap();
        let mut written = 0;
        write_jsonl(folder.path(), 7, 999, 3, &mut |_| ()).unwrap();
        write_jsonl(folder.path(), 7, 20_001, 2, &mut |events| written = events).unwrap();
        assert_eq!(written, 20_001);
        for (table, name) in TABLES {
            let files = fs::read_dir(folder.path().join(name)).unwrap().count();
            assert_eq!(files, 2, "the third part of the first time is gone");
            let mut decoder = JsonDecoder::new(schema(table), &[], 1 << 20).unwrap();
            let parts = (0..2).map(|part| {
                let path = folder.path().join(name).join(format!("part-{part}.jsonl"));
                let decoded = decoder.decode(&fs::read(path).unwrap(), 1, "file").unwrap();
                assert_eq!(decoded.rejected, []);
                decoded.rows.rows().clone()
            });
            let parts: Vec<RecordBatch> = parts.collect();
            assert_eq!(
                concat_batches(&schema(table), &parts).unwrap(),
                generate(table, 7, 0..20_001).unwrap()
            );
        }
        let first = fs::read_to_string(folder.path().join("bid/part-0.jsonl")).unwrap();
        assert!(first.contains("\"dateTime\":\"2026-01-01 00:00:00.000\""), "{first:.500}");
    }
}
