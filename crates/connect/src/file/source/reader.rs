//! The thread that reads: file after file, or whatever grows.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use syncline_change::{Batch, Error, Result};

use super::super::config::{Format, Journal, SourceConfig};
use super::follow::Followed;
use super::listing::{Compression, Found, list, nothing_found};
use super::outlet::{Outlet, Stop, count_lines};
use super::position::{Mark, Place};
use super::text::{self, TextBuffer};
use crate::decode::csv::CsvDecoder;
use crate::decode::debezium::DebeziumDecoder;
use crate::decode::json::JsonDecoder;
use crate::decode::parquet::{ParquetDecoder, ParquetFile, unreadable};
use crate::decode::{Decoded, Input, REJECTED_BYTES_MAX, RowDecoder, overlong};

/// How often a follower looks for new files and lines.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What is to be read, and how.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) config: SourceConfig,
    pub(super) schema: SchemaRef,
    pub(super) base_dir: PathBuf,
    /// The most rows in a chunk.
    pub(super) chunk_rows_max: usize,
    /// Threads that decode a large file.
    pub(super) decode_threads: usize,
}

/// The decoder of a text format.
pub(super) fn text_decoder(job: &Job) -> Result<Box<dyn RowDecoder>> {
    let Job { config, schema, .. } = job;
    let key = &config.common.primary_key;
    let row_bytes_max = row_bytes_max(config);
    Ok(match config.format {
        Format::Csv => Box::new(CsvDecoder::new(schema.clone(), key, &config.csv, row_bytes_max)?),
        Format::DebeziumJson => Box::new(DebeziumDecoder::new(schema.clone(), key, row_bytes_max)?),
        // The rejected rows of Parquet files are kept as JSON.
        Format::Json | Format::Parquet => {
            Box::new(JsonDecoder::new(schema.clone(), key, row_bytes_max)?)
        }
    })
}

fn row_bytes_max(config: &SourceConfig) -> usize {
    usize::try_from(config.max_row.0).unwrap_or(usize::MAX)
}

/// Reads everything there is to read for `job`.
pub(super) struct Reader {
    pub(super) job: Job,
    pub(super) outlet: Outlet,
    pub(super) decoder: Box<dyn RowDecoder>,
    /// The file whose head the decoder has read; `None`: it has read none to its end.
    decoder_at: Option<String>,
    pub(super) followed: HashMap<String, Followed>,
}

impl Reader {
    pub(super) fn new(job: Job, outlet: Outlet) -> Result<Self> {
        let decoder = text_decoder(&job)?;
        Ok(Self { job, outlet, decoder, decoder_at: None, followed: HashMap::new() })
    }

    pub(super) fn outlet(&mut self) -> &mut Outlet {
        &mut self.outlet
    }

    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.job.base_dir.join(name)
    }

    fn row_bytes_max(&self) -> usize {
        row_bytes_max(&self.job.config)
    }

    pub(super) fn run(&mut self) -> Result<(), Stop> {
        if self.job.config.follow {
            return self.follow();
        }
        let files = list(&self.job.config.path, &self.job.base_dir)?;
        if files.is_empty() {
            return Err(nothing_found(&self.job.config.path).into());
        }
        for found in &files {
            self.read_once(found)?;
        }
        Ok(())
    }

    /// Reads what matches, again and again.
    fn follow(&mut self) -> Result<(), Stop> {
        loop {
            let mut has_read = false;
            let files = list(&self.job.config.path, &self.job.base_dir)?;
            for found in &files {
                self.adopt_renamed(found)?;
            }
            for found in &files {
                let is_read_once = self.job.config.format == Format::Parquet
                    || found.compression() != Compression::None;
                has_read |= match is_read_once {
                    true => self.read_once(found)?,
                    false => self.read_appended(found)?,
                };
            }
            if self.outlet.is_closed() {
                return Err(Stop::Dropped);
            }
            if !has_read {
                std::thread::sleep(POLL_INTERVAL);
            }
        }
    }

    /// Reads a file to its end, from where its mark is. Returns whether there was anything to read.
    fn read_once(&mut self, found: &Found) -> Result<bool, Stop> {
        let size = |found: &Found| {
            let metadata = std::fs::metadata(&found.path);
            metadata.map(|m| m.len()).map_err(|e| Error::io("read", &found.path, e))
        };
        if let Some(Mark { size: Some(read), .. }) = self.outlet.marks().files.get(&found.name) {
            let now = size(found)?;
            let is_plain_text = found.compression() == Compression::None
                && self.job.config.format != Format::Parquet;
            if now > *read && is_plain_text {
                // What was appended since an earlier run is read from where that ended.
                self.read_text_file(found, now)?;
                self.outlet.mark_mut(&found.name, Mark::start_of_text).size = Some(now);
                self.outlet.send_position()?;
                return Ok(true);
            }
            if now != *read && !self.job.config.follow {
                tracing::warn!(
                    file = found.name,
                    size_read = read,
                    size_now = now,
                    "a file has changed since it was read; it is not read again"
                );
            }
            return Ok(false);
        }
        let size = size(found)?;
        match self.job.config.format {
            Format::Parquet => self.read_parquet(found)?,
            Format::Csv | Format::Json | Format::DebeziumJson => {
                self.read_text_file(found, size)?;
            }
        }
        self.outlet.mark_mut(&found.name, Mark::start_of_text).size = Some(size);
        self.outlet.send_position()?;
        Ok(true)
    }

    fn read_text_file(&mut self, found: &Found, size: u64) -> Result<(), Stop> {
        let (offset, _) = self.text_place(found)?;
        self.outlet.referred = None;
        if found.compression() == Compression::None {
            if offset > size {
                return Err(text::shorter(&found.name).into());
            }
            self.outlet.referred = (self.job.config.journal == Journal::Reference).then_some(size);
            let file = File::open(&found.path).map_err(|e| Error::io("open", &found.path, e))?;
            self.read_stretch(found, file, u64::MAX, false)?;
        } else {
            let text = text::decompress(found)?;
            let mut buffer = TextBuffer::new(text, &found.name, self.row_bytes_max());
            self.read_head(&mut buffer, found, false)?;
            let (offset, _) = self.text_place(found)?;
            buffer.skip(offset)?;
            self.read_text(&mut buffer, found, false)?;
        }
        Ok(())
    }

    /// Reads whole rows from the mark to `length`, or the end of `file`. Returns whether there were
    /// any.
    pub(super) fn read_stretch<R: Read + Seek>(
        &mut self,
        found: &Found,
        file: R,
        length: u64,
        grows: bool,
    ) -> Result<bool, Stop> {
        let (offset, _) = self.text_place(found)?;
        let mut buffer = TextBuffer::new(file, &found.name, self.row_bytes_max());
        if offset == 0 || self.decoder_at.as_ref() != Some(&found.name) {
            buffer.seek(0, length)?;
            self.read_head(&mut buffer, found, grows)?;
            if self.decoder_at.is_none() {
                // Not even the head is complete.
                return Ok(false);
            }
        }
        let (offset, _) = self.text_place(found)?;
        buffer.seek(offset, length)?;
        self.read_text(&mut buffer, found, grows)
    }

    /// Has the decoder read the head of a file, with `buffer` at the file's start, and nothing taken
    /// from it. If nothing else of the file was read yet, the mark is moved behind the head.
    fn read_head<R: Read>(
        &mut self,
        buffer: &mut TextBuffer<R>,
        found: &Found,
        grows: bool,
    ) -> Result<(), Stop> {
        self.decoder_at = None;
        buffer.fill()?;
        let input = Input {
            bytes: buffer.unread(),
            first_line: 1,
            label: &found.name,
            at_end: buffer.is_at_end() && !grows,
            rows_max: 1,
        };
        let within = |error: Error| error.within(format!("file {}", found.name));
        let head = match self.decoder.begin_file(&input).map_err(within)? {
            Some(head) => head,
            None if grows && !buffer.is_full() => return Ok(()),
            None => {
                let error = Error::input(format!("{}: the header line has no end", found.name))
                    .hint("is this file text, and of the source's `format`?");
                return Err(error.into());
            }
        };
        let lines = count_lines(&buffer.unread()[..head]);
        self.decoder_at = Some(found.name.clone());
        let mark = self.outlet.mark_mut(&found.name, Mark::start_of_text);
        if mark.place == (Place::Text { offset: 0, line: 0 }) {
            mark.place.advance(head as u64, lines);
        }
        Ok(())
    }

    /// Reads whole rows until the text ends. In a file that `grows`, a last line without a newline
    /// is left for later. Returns whether there were any.
    fn read_text<R: Read>(
        &mut self,
        buffer: &mut TextBuffer<R>,
        found: &Found,
        grows: bool,
    ) -> Result<bool, Stop> {
        let mut has_read = false;
        loop {
            has_read |= self.read_in_parallel(buffer, found)?;
            let (_, line) = self.text_place(found)?;
            let input = Input {
                bytes: buffer.unread(),
                first_line: line + 1,
                label: &found.name,
                at_end: buffer.is_at_end() && !grows,
                rows_max: self.job.chunk_rows_max,
            };
            let mut decoded = self.decoder.decode_front(&input)?;
            let length = decoded.bytes;
            if self.outlet.referred.is_some() {
                decoded.hash = Some(blake3::hash(&input.bytes[..length]));
            }
            if length > 0 {
                self.outlet.send(&found.name, decoded, Some(&buffer.unread()[..length]))?;
                buffer.take(length);
                has_read = true;
            } else if buffer.is_full() {
                if !self.read_overlong(buffer, found, line + 1, grows)? {
                    return Ok(has_read);
                }
                has_read = true;
            } else if buffer.is_at_end() {
                return Ok(has_read);
            } else {
                buffer.fill()?;
            }
        }
    }

    /// Rejects a row that the buffer does not hold. Returns false if its end is not there yet.
    fn read_overlong<R: Read>(
        &mut self,
        buffer: &mut TextBuffer<R>,
        found: &Found,
        line: u64,
        grows: bool,
    ) -> Result<bool, Stop> {
        let kept = buffer.unread().len().min(REJECTED_BYTES_MAX);
        let head = buffer.unread()[..kept].to_vec();
        let (length, has_end) = buffer.skip_line()?;
        if grows && !has_end {
            return Ok(false);
        }
        let rejected = overlong(&head, self.row_bytes_max(), &found.name, line);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let decoded = Decoded {
            rows: Batch::empty(self.job.schema.clone()),
            rejected: vec![rejected],
            bytes: length,
            lines: u64::from(has_end),
            row_ends: Vec::new(),
            rejected_ends: vec![length],
            hash: None,
        };
        self.outlet.send(&found.name, decoded, None)?;
        Ok(true)
    }

    pub(super) fn text_place(&mut self, found: &Found) -> Result<(u64, u64)> {
        match self.outlet.mark_mut(&found.name, Mark::start_of_text).place {
            Place::Text { offset, line } => Ok((offset, line)),
            Place::Rows { .. } => Err(another_format(found)),
        }
    }

    fn read_parquet(&mut self, found: &Found) -> Result<(), Stop> {
        let decoder =
            ParquetDecoder::new(self.job.schema.clone(), &self.job.config.common.primary_key)?;
        let file = File::open(&found.path).map_err(|e| Error::io("open", &found.path, e))?;
        let file = ParquetFile::open(file, &found.name)?;
        let groups = file.row_groups();
        let mark = self.outlet.mark_mut(&found.name, Mark::start_of_rows);
        let Place::Rows { row_group, mut row } = mark.place else {
            return Err(another_format(found).into());
        };
        for (group, &rows) in groups.iter().enumerate().skip(row_group) {
            let before: u64 = groups[..group].iter().sum();
            if row >= rows {
                row = 0;
                continue;
            }
            self.outlet.mark_mut(&found.name, Mark::start_of_rows).place =
                Place::Rows { row_group: group, row };
            for batch in file.read(group, row, self.job.chunk_rows_max)? {
                let batch = batch.map_err(|e| unreadable(&found.name, &e.to_string()))?;
                let decoded = decoder
                    .decode(&batch, before + row + 1, &found.name)
                    .map_err(|error| error.within(format!("file {}", found.name)))?;
                row += batch.num_rows() as u64;
                self.outlet.send(&found.name, decoded, None)?;
            }
            row = 0;
        }
        Ok(())
    }
}

fn another_format(found: &Found) -> Error {
    Error::conflict(format!("{} was read in another format before", found.name))
        .hint("put the source's `format` back, or start with a new data directory")
}
