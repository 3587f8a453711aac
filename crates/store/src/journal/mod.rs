//! The journal: all input, epoch by epoch, in the one order in which it was taken.
//!
//! Each source has a folder of segments, and an epoch puts one frame into the folder of each source
//! that it touches. A frame says how many the epoch has, so that after a crash an epoch is there as
//! a whole or not at all. An epoch that no source takes part in (the clock ticked) puts its frame
//! into a folder of its own.
//!
//! In the order of the data: `codec` (an entry as bytes), `segment` (the files), `writer`, `recovery`
//! (what a crash left), `reader` (all of it again, by epoch), `retention` (what is let go).

mod codec;
mod reader;
mod recovery;
mod retention;
mod segment;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use syncline_change::source::{FileRange, Position};
use syncline_change::{Batch, Error, Result};

use crate::disk::Disk;
use crate::frame::Cut;
use crate::{DataDir, fs};

pub use reader::Replay;
pub use retention::{first, let_go};
use writer::{Limits, SourceWriter};

/// A segment that has grown to this size is followed by another one.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// Why the sequencer closed an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloseReason {
    /// It held as many rows as an epoch may.
    Full,
    /// The circuit was free.
    Idle,
    /// The longest delay had passed.
    Delay,
    /// Somebody asked for it.
    Flush,
    /// All input was at its end.
    End,
}

/// All input of one epoch.
#[derive(Clone, Debug)]
pub struct EpochInput {
    /// From 1, without gaps.
    pub epoch: u64,
    /// The epoch's logical time (`now()`), in microseconds since 1970 (UTC).
    pub time_us: i64,
    pub reason: CloseReason,
    /// In order, each source at most once. May be empty: then only time passes.
    pub inputs: Vec<SourceInput>,
    /// The hash of what the journal has of it; `None` before it has anything.
    pub digest: Option<blake3::Hash>,
}

/// What one source adds to an epoch.
#[derive(Clone, Debug)]
pub struct SourceInput {
    pub source: String,
    /// In their order, of the schema the journal was opened with; there may be none. The journal gives
    /// them back in one batch.
    pub rows: Vec<Batch>,
    /// Where all of these rows can be read again: the journal then keeps this instead of them, and
    /// gives none back. Empty: it keeps the rows.
    pub origin: Vec<FileRange>,
    /// Where the source stands after these rows; `None`: where it stood before.
    pub position: Option<Position>,
    /// The source is bounded and at its end.
    pub finished: bool,
    /// How many pieces of input became dead letters.
    pub rejected: u64,
    /// Input bytes read for these rows, after decompression.
    pub bytes: u64,
    /// The dead letters whose mended rows are among `rows`.
    pub retried: Vec<String>,
}

impl SourceInput {
    pub fn row_count(&self) -> usize {
        self.rows.iter().map(Batch::num_rows).sum()
    }
}

/// Where a source stood at the end of the journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The last position that it gave.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "codec::there")]
    pub position: Option<Position>,
    /// It had come to its end.
    pub finished: bool,
}

/// Where a journal stands between two epochs: from what the frames of the next one count on.
#[derive(Clone, Debug, Default)]
pub struct Place {
    last_epoch: u64,
    frames: u64,
    /// How many frames each source has, and how it stands.
    sources: BTreeMap<String, (u64, Standing)>,
    ticks: u64,
}

impl Place {
    /// Goes on behind `input`, the next epoch.
    pub fn pass(&mut self, input: &EpochInput) {
        self.last_epoch = input.epoch;
        self.frames += frames_of(input);
        if input.inputs.is_empty() {
            self.ticks += 1;
        }
        for part in &input.inputs {
            let (frames, standing) = self.sources.entry(part.source.clone()).or_default();
            *frames += 1;
            standing.advance(part.position.as_ref(), part.finished);
        }
    }
}

/// What [`Journal::open`] found.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// The last whole epoch; 0: none yet.
    pub last_epoch: u64,
    /// Dead letters that were retried in the last epochs: all of the last epoch's and maybe some
    /// older ones. Their retry may not have been noted elsewhere before the crash.
    pub retried: Vec<String>,
    /// What was cut off.
    pub cuts: Vec<Cut>,
}

/// The journal of a data directory, open for appending.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// One for each source of the pipeline.
    sources: BTreeMap<String, SourceWriter>,
    /// For epochs without sources.
    ticks: SourceWriter,
    /// Also of sources that are in the journal and no longer in the pipeline.
    standings: BTreeMap<String, Standing>,
    /// The bytes of sources that are no longer in the pipeline.
    foreign_bytes: u64,
    last_epoch: u64,
    /// How many frames all epochs have together.
    frames: u64,
    limits: Limits,
}

impl Journal {
    /// Opens the journal, or starts one, and cuts off what a crash left unfinished.
    ///
    /// `sources` are those of the pipeline with the schema of their rows. `durable_epoch` is the
    /// last epoch that is known to have been in the journal as a whole (the last one in the epoch
    /// log); 0 if nothing is known.
    ///
    /// # Errors
    /// `Corrupt` if the journal does not reach `durable_epoch` or is damaged where a crash cannot
    /// have done it (only the ends of the files are looked at here; [`Replay`] looks at the rest);
    /// `Conflict` if a source's rows had another schema so far; `Unsupported` if a schema has
    /// dictionary columns; `Config` if a source's name cannot be a folder's.
    pub fn open(
        dir: &DataDir,
        sources: &[(String, SchemaRef)],
        durable_epoch: u64,
    ) -> Result<(Self, Recovery)> {
        dir.require_lock()?;
        let (folder, disk) = (dir.journal(), dir.disk());
        for (source, schema) in sources {
            fs::check_name("source", source)?;
            codec::check_schema(schema).map_err(|e| e.within(format!("source `{source}`")))?;
        }
        let mut found = recovery::recover(&**disk, &folder, durable_epoch)?;
        let mut standings = BTreeMap::new();
        for (source, tail) in &found.sources {
            standings.insert(source.clone(), tail.standing().clone());
        }
        let mut writers = BTreeMap::new();
        for (source, schema) in sources {
            let path = folder.join(source);
            let writer = match found.sources.remove(source) {
                Some(tail) => SourceWriter::resume(disk, path, source, schema, tail)?,
                None => SourceWriter::new(disk, path, Some((source.clone(), schema.clone())))?,
            };
            writers.insert(source.clone(), writer);
        }
        let ticks = match found.ticks {
            Some(tail) => SourceWriter::resume_ticks(disk, segment::ticks(&folder), tail)?,
            None => SourceWriter::new(disk, segment::ticks(&folder), None)?,
        };
        let journal = Self {
            disk: disk.clone(),
            folder,
            sources: writers,
            ticks,
            standings,
            foreign_bytes: found.sources.values().map(|tail| tail.folder_bytes()).sum(),
            last_epoch: found.recovery.last_epoch,
            frames: found.frames,
            limits: Limits { bytes: SEGMENT_BYTES_MAX, age_us: i64::MAX },
        };
        Ok((journal, found.recovery))
    }

    /// Starts a journal that has the epochs behind `place` alone: they get the bytes that they have in the
    /// whole one.
    ///
    /// # Errors
    /// As for [`open`](Self::open); `Conflict` if there is a journal already.
    pub fn begin_at(dir: &DataDir, sources: &[(String, SchemaRef)], place: &Place) -> Result<Self> {
        let (mut journal, found) = Self::open(dir, sources, 0)?;
        if found.last_epoch > 0 {
            return Err(Error::conflict("there is a journal already"));
        }
        for (source, (frames, standing)) in &place.sources {
            if let Some(writer) = journal.sources.get_mut(source) {
                writer.begin_at(*frames, standing.clone());
            }
            journal.standings.insert(source.clone(), standing.clone());
        }
        journal.ticks.begin_at(place.ticks, Standing::default());
        (journal.last_epoch, journal.frames) = (place.last_epoch, place.frames);
        Ok(journal)
    }

    /// Lets segments grow to about `bytes` instead of 64 MiB.
    pub fn set_segment_bytes_max(&mut self, bytes: u64) {
        self.limits.bytes = bytes;
    }

    /// Has segments followed by others after that time, by the times of epochs, so that old ones can go.
    pub fn set_segment_age_max(&mut self, age_us: i64) {
        self.limits.age_us = age_us.max(1);
    }

    /// Appends an epoch; when this returns, it is durable as a whole. Returns the hash of what was
    /// written, which [`EpochInput::digest`] is when it is read.
    ///
    /// # Errors
    /// `Storage` if the disk refuses: the epoch is not in the journal and can be appended again.
    /// `Unsupported` if a source's rows take more than 1 GiB. `Bug` if the epoch does not follow the
    /// last one, or an input does not fit the sources that the journal was opened with.
    pub fn append(&mut self, input: &EpochInput) -> Result<blake3::Hash> {
        self.check(input)?;
        let digest = writer::append(self, input)?;
        self.last_epoch = input.epoch;
        self.frames += frames_of(input);
        for part in &input.inputs {
            let standing = self.standings.entry(part.source.clone()).or_default();
            standing.advance(part.position.as_ref(), part.finished);
        }
        Ok(digest)
    }

    /// The last epoch appended; 0: none yet.
    pub fn last_epoch(&self) -> u64 {
        self.last_epoch
    }

    /// Where each source stands that was ever in the journal.
    pub fn last_positions(&self) -> &BTreeMap<String, Standing> {
        &self.standings
    }

    /// The size of all segments.
    pub fn bytes(&self) -> u64 {
        let sources: u64 = self.sources.values().map(SourceWriter::bytes).sum();
        sources + self.ticks.bytes() + self.foreign_bytes
    }

    /// The epochs from `from_epoch` (1 or 0: all) to the last one appended so far.
    pub fn replay(&self, from_epoch: u64) -> Result<Replay> {
        Ok(Replay::open(&self.folder, from_epoch)?.through(self.last_epoch))
    }

    fn check(&self, input: &EpochInput) -> Result<()> {
        if input.epoch != self.last_epoch + 1 {
            let (epoch, last) = (input.epoch, self.last_epoch);
            return Err(Error::bug(format!("epoch {epoch} was to follow epoch {last}")));
        }
        for (index, part) in input.inputs.iter().enumerate() {
            let Some(writer) = self.sources.get(&part.source) else {
                return Err(Error::bug(format!("source `{}` has no journal", part.source)));
            };
            if input.inputs[..index].iter().any(|other| other.source == part.source) {
                return Err(Error::bug(format!("source `{}` is twice in an epoch", part.source)));
            }
            let differences = part.rows.iter().map(|rows| writer.difference(&rows.schema()));
            if let Some(difference) = differences.flatten().next() {
                return Err(Error::bug(format!("source `{}` changed its columns", part.source))
                    .detail(difference));
            }
        }
        Ok(())
    }
}

/// The epochs of a data directory from `from_epoch` (1 or 0: all), also while a process appends to
/// it: ends after the last epoch that is there as a whole.
pub fn replay(dir: &DataDir, from_epoch: u64) -> Result<Replay> {
    Replay::open(&dir.journal(), from_epoch)
}

impl Standing {
    /// Takes in what an epoch says of the source.
    pub fn advance(&mut self, position: Option<&Position>, finished: bool) {
        match position {
            Some(position) => *self = Self { position: Some(position.clone()), finished },
            None => self.finished |= finished,
        }
    }
}

/// The hash of an epoch, from those of its frames' payloads in their order.
fn epoch_digest(frames: impl IntoIterator<Item = blake3::Hash>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("syncline 1 journal epoch");
    for frame in frames {
        hasher.update(frame.as_bytes());
    }
    hasher.finalize()
}

/// How many frames an epoch has: one for each source, one if there is none.
fn frames_of(input: &EpochInput) -> u64 {
    input.inputs.len().max(1) as u64
}

#[cfg(test)]
pub(crate) mod tests;
