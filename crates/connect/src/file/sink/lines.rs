//! What a file sink's target holds, read back as lines.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use syncline_change::{Error, Result, json};

use crate::config::Mode;
use crate::decode::parquet::unreadable;
use crate::file::{SinkConfig, SinkFormat};

/// Lines of text; a row of Parquet is a line of JSON.
pub type Lines = Box<dyn Iterator<Item = Result<String>>>;

/// The lines of a target as configured, with relative paths in `base_dir`, in its order.
///
/// # Errors
/// `Storage` if a file is missing or cannot be read, `Corrupt` if one is not Parquet that should be.
pub fn lines(config: &SinkConfig, base_dir: &Path) -> Result<Lines> {
    let path = base_dir.join(&config.path);
    match (config.format, config.mode) {
        (SinkFormat::Parquet, Mode::Changes) => {
            let files = parquet_files(&path)?;
            let files = files.into_iter().map(|file| rows(&file));
            Ok(Box::new(files.flat_map(|lines| match lines {
                Ok(lines) => lines,
                Err(error) => Box::new(std::iter::once(Err(error))) as Lines,
            })))
        }
        (SinkFormat::Parquet, Mode::Snapshot) => rows(&path),
        (SinkFormat::Json | SinkFormat::Csv, _) => text(path),
    }
}

fn text(path: PathBuf) -> Result<Lines> {
    let file = File::open(&path).map_err(|error| Error::io("open", &path, error))?;
    let mut file = BufReader::new(file);
    Ok(Box::new(std::iter::from_fn(move || {
        let mut line = Vec::new();
        match file.read_until(b'\n', &mut line) {
            Ok(0) => None,
            // A last line without an end is another line than one with it.
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                let line =
                    text.strip_suffix('\n').map_or_else(|| format!("{text}…"), str::to_owned);
                Some(Ok(line))
            }
            Err(error) => Some(Err(Error::io("read", &path, error))),
        }
    })))
}

fn rows(path: &Path) -> Result<Lines> {
    let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
    let label = path.display().to_string();
    let damaged = |error: String| unreadable(&label, &error);
    let reader = ParquetRecordBatchReaderBuilder::try_new(file);
    let reader = reader.and_then(|builder| builder.build());
    let reader = reader.map_err(|error| damaged(error.to_string()))?;
    let mut lines = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| damaged(error.to_string()))?;
        lines.extend(json::objects(&batch)?.into_iter().map(|row| Ok(row.to_string())));
    }
    Ok(Box::new(lines.into_iter()))
}

fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| Error::io("read", folder, error))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Error::io("read", folder, error))?.path();
        if path.extension().is_some_and(|end| end == "parquet") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
