//! A source that reads files.
//!
//! A thread of its own reads, decompresses and decodes (large files with the help of others,
//! [`parallel`]); [`FileSource`] receives what it makes over a short channel. The position ([`position`]) says for each file how far it was read.

mod follow;
mod infer;
mod listing;
mod outlet;
mod parallel;
mod position;
mod reader;
mod replay;
mod reread;
mod text;

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use syncline_change::source::{Chunk, Decode, FileRange, Position, Rejected, Source};
use syncline_change::{Batch, Error, Result};
use tokio::sync::mpsc;

use self::outlet::{Message, Outlet, Stop};
use self::position::Marks;
use self::reader::{Job, Reader, text_decoder};
use self::replay::{Pace, Pacer};
use super::config::{Format, SourceConfig};
use crate::decode::csv::CsvDecoder;
use crate::decode::{CHUNK_ROWS_MAX, Input, RowDecoder};
use crate::open::SourceEnv;

pub(crate) use self::infer::infer;
pub use self::replay::ReplayClock;

/// Chunks that wait for the source to be asked.
const QUEUED_CHUNKS_MAX: usize = 4;

/// Reads files in a thread.
pub(crate) struct FileSource {
    name: String,
    job: Job,
    pace: Option<(Pace, Arc<ReplayClock>)>,
    /// The part in the replay that was taken when the source was opened, for the first thread.
    pacer: Option<Pacer>,
    /// Where to go on after an error.
    position: Option<Position>,
    state: State,
}

enum State {
    /// No thread runs; the next call starts one.
    Idle,
    Running(mpsc::Receiver<Message>),
    Ended,
}

/// The source `name`, to go on at `position`. Nothing is read before the first call of `next`.
///
/// # Errors
/// `Config` if the settings cannot be meant; `Corrupt` if the position is not one of a file source.
pub(crate) fn open(
    name: &str,
    config: &SourceConfig,
    schema: SchemaRef,
    position: Option<Position>,
    env: &SourceEnv,
) -> Result<(Box<dyn Source>, Arc<dyn Decode>)> {
    Marks::from_position(position.as_ref())?;
    let pace = Pace::new(config, &schema)?.map(|pace| (pace, env.replay.clone()));
    let pacer = pace.as_ref().map(|(pace, clock)| pace.join(clock));
    let rows_max = usize::try_from(env.chunk_rows_max).unwrap_or(usize::MAX);
    let job = Job {
        config: config.clone(),
        schema,
        base_dir: env.base_dir.clone(),
        chunk_rows_max: rows_max.clamp(1, CHUNK_ROWS_MAX),
        decode_threads: env.decode_threads,
    };
    let decode = FileDecode::new(&job)?;
    let name = name.to_owned();
    let source = FileSource { name, job, pace, pacer, position, state: State::Idle };
    Ok((Box::new(source), Arc::new(decode)))
}

/// How many bytes a source has to read to its end, as far as that can be told: `None` for what is
/// compressed, what is not text, and what has no end.
pub fn input_bytes(config: &SourceConfig, base_dir: &Path) -> Option<u64> {
    if config.follow || config.format == Format::Parquet {
        return None;
    }
    let files = listing::list(&config.path, base_dir).ok()?;
    let sizes = files.iter().map(|found| match found.compression() {
        listing::Compression::None => std::fs::metadata(&found.path).ok().map(|m| m.len()),
        _ => None,
    });
    sizes.sum()
}

impl FileSource {
    fn start(&mut self) -> Result<mpsc::Receiver<Message>> {
        let (to, from) = mpsc::channel(QUEUED_CHUNKS_MAX);
        let marks = Marks::from_position(self.position.as_ref())?;
        let pacer = match (self.pacer.take(), &self.pace) {
            (None, Some((pace, clock))) => Some(pace.join(clock)),
            (pacer, _) => pacer,
        };
        let nothing = Batch::empty(self.job.schema.clone());
        let outlet = Outlet::new(to.clone(), marks, pacer, nothing);
        let job = self.job.clone();
        let read = move || {
            let mut reader = match Reader::new(job, outlet) {
                Ok(reader) => reader,
                Err(error) => return drop(to.blocking_send(Message::Failed(error))),
            };
            let last = match reader.run() {
                Ok(()) => Message::End,
                Err(Stop::Dropped) => return,
                Err(Stop::Failed(error)) => Message::Failed(error),
            };
            // Whoever is gone need not know.
            drop(to.blocking_send(last));
        };
        std::thread::Builder::new().name(format!("source {}", self.name)).spawn(read).map_err(
            |error| Error::unavailable("no thread can be started").detail(error.to_string()),
        )?;
        Ok(from)
    }
}

#[async_trait]
impl Source for FileSource {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        if let State::Idle = self.state {
            self.state = State::Running(self.start()?);
        }
        let State::Running(from) = &mut self.state else { return Ok(None) };
        match from.recv().await {
            Some(Message::Chunk(chunk)) => {
                self.position = Some(chunk.position.clone());
                Ok(Some(*chunk))
            }
            Some(Message::End) => {
                self.state = State::Ended;
                Ok(None)
            }
            Some(Message::Failed(error)) => {
                self.state = if error.kind().is_transient() { State::Idle } else { State::Ended };
                Err(error)
            }
            None => {
                self.state = State::Ended;
                Err(Error::bug(format!("the thread that reads `{}` died", self.name)))
            }
        }
    }

    async fn acknowledge(&mut self, _: u64, _: &Position) -> Result<()> {
        // Files stay where they are; the position in the journal is all there is to keep.
        Ok(())
    }
}

/// Decodes rows of files that were rejected once, or that the journal refers to.
struct FileDecode {
    job: Job,
}

impl FileDecode {
    /// # Errors
    /// `Config` if the settings cannot be meant.
    fn new(job: &Job) -> Result<Self> {
        text_decoder(job)?;
        Ok(Self { job: job.clone() })
    }

    fn decoder(&self, context: Option<&str>) -> Result<Box<dyn RowDecoder>> {
        let SourceConfig { common, csv, max_row, format, .. } = &self.job.config;
        let (Format::Csv, Some(header)) = (format, context) else {
            return text_decoder(&self.job);
        };
        let row_bytes_max = usize::try_from(max_row.0).unwrap_or(usize::MAX);
        let schema = self.job.schema.clone();
        let mut decoder = CsvDecoder::new(schema, &common.primary_key, csv, row_bytes_max)?;
        decoder.set_header(header)?;
        Ok(Box::new(decoder))
    }
}

impl Decode for FileDecode {
    fn decode(&self, bytes: &[u8], context: Option<&str>) -> Result<(Batch, Vec<Rejected>)> {
        let label = "dead letter";
        let input = Input { bytes, first_line: 1, label, at_end: true, rows_max: usize::MAX };
        let decoded = self.decoder(context)?.decode_front(&input)?;
        Ok((decoded.rows, decoded.rejected))
    }

    fn read_again(&self, range: &FileRange) -> Result<Batch> {
        reread::rows(&self.job, range)
    }
}

#[cfg(test)]
mod tests;
