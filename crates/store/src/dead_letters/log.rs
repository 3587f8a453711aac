//! The dead letters of one stage: a log of their bodies, and in memory a small entry for each.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use syncline_change::source::{RejectClass, Rejected};
use syncline_change::{Error, Result};

use super::id::Id;
use super::{DeadLetter, Stage, State};
use crate::disk::Disk;
use crate::frame::{Cut, FrameReader, FrameWriter, Kind, Next, corrupt};

/// A letter as it stands in the log.
#[derive(Serialize, Deserialize)]
struct Stored {
    id: String,
    source: String,
    epoch: u64,
    at_us: i64,
    rejected: Rejected,
}

/// What the index needs of a [`Stored`] letter, read without the original bytes.
#[derive(Deserialize)]
struct Head {
    id: String,
    source: String,
    epoch: u64,
    at_us: i64,
    rejected: RejectedHead,
}

#[derive(Deserialize)]
struct RejectedHead {
    class: RejectClass,
}

/// A letter in memory. There may be millions.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    offset: u64,
    pub(super) at_us: i64,
    pub(super) source: SourceId,
    pub(super) class: RejectClass,
    pub(super) state: State,
}

/// The name of a source or sink, which many letters share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SourceId(u32);

#[derive(Debug, Default)]
pub(super) struct SourceNames {
    names: Vec<String>,
    ids: HashMap<String, SourceId>,
}

impl SourceNames {
    pub(super) fn id(&self, name: &str) -> Option<SourceId> {
        self.ids.get(name).copied()
    }

    pub(super) fn name(&self, id: SourceId) -> &str {
        self.names.get(id.0 as usize).map_or("", String::as_str)
    }

    fn add(&mut self, name: &str) -> SourceId {
        if let Some(id) = self.id(name) {
            return id;
        }
        let id = SourceId(self.names.len() as u32);
        self.names.push(name.to_owned());
        self.ids.insert(name.to_owned(), id);
        id
    }
}

#[derive(Debug)]
pub(super) struct StageLog {
    stage: Stage,
    path: PathBuf,
    pub(super) entries: Vec<Entry>,
    /// Where the last letter that counts ends; `None`: there is no file.
    end: Option<u64>,
    writer: Option<FrameWriter>,
}

impl StageLog {
    /// Reads the log up to the first letter of an epoch after `last_epoch`. Changes nothing.
    pub(super) fn read(
        folder: &Path,
        stage: Stage,
        last_epoch: u64,
        names: &mut SourceNames,
    ) -> Result<(Self, Option<Cut>)> {
        let path = folder.join(format!("{}.log", stage.name()));
        let mut log = Self { stage, path, entries: Vec::new(), end: None, writer: None };
        if !log.path.exists() {
            return Ok((log, None));
        }
        let mut reader = FrameReader::open(&log.path, Kind::Letters)?;
        let mut cut = None;
        loop {
            log.end = Some(reader.offset());
            let frame = match reader.next()? {
                Next::Frame(frame) => frame,
                Next::End => break,
                Next::Damaged(damage) => {
                    cut = Some(reader.torn(&damage)?);
                    break;
                }
            };
            let head: Head = serde_json::from_slice(&frame.payload).map_err(|error| {
                corrupt(&log.path, frame.offset, format!("not a dead letter: {error}"))
            })?;
            if head.epoch > last_epoch {
                break;
            }
            if head.id != log.next_id().to_string() {
                let what = format!("letter {} stands where {} should", head.id, log.next_id());
                return Err(corrupt(&log.path, frame.offset, what));
            }
            log.entries.push(Entry {
                offset: frame.offset,
                at_us: head.at_us,
                source: names.add(&head.source),
                class: head.rejected.class,
                state: State::Open,
            });
        }
        Ok((log, cut))
    }

    /// Makes the log ready for appending; what was not read goes.
    pub(super) fn open_writer(&mut self, disk: &dyn Disk) -> Result<()> {
        let writer = match self.end {
            Some(end) => FrameWriter::open(disk, &self.path, end)?,
            None => {
                let none = None::<fn(&mut Vec<u8>) -> Result<()>>;
                FrameWriter::create(disk, &self.path, Kind::Letters, none)?
            }
        };
        self.writer = Some(writer);
        Ok(())
    }

    /// Appends letters; durable on return. On an error none of them is in the log. Returns the
    /// index of the first one.
    pub(super) fn append(
        &mut self,
        source: &str,
        epoch: u64,
        at_us: i64,
        letters: Vec<Rejected>,
        names: &mut SourceNames,
    ) -> Result<usize> {
        let first = self.entries.len();
        let writer = self.writer.as_mut().ok_or_else(super::read_only)?;
        let source_id = names.add(source);
        let mut added = Vec::with_capacity(letters.len());
        for rejected in letters {
            let class = rejected.class;
            let id = Id::at(self.stage, first + added.len()).to_string();
            let stored = Stored { id, source: source.to_owned(), epoch, at_us, rejected };
            let staged = writer.stage(|out| {
                serde_json::to_writer(out, &stored)
                    .map_err(|error| Error::bug("a dead letter has no JSON form").source(error))
            });
            let offset = staged.inspect_err(|_| writer.unstage())?;
            added.push(Entry { offset, at_us, source: source_id, class, state: State::Open });
        }
        writer.write_durably()?;
        self.entries.append(&mut added);
        Ok(first)
    }

    /// Reads bodies; one after another is cheap.
    pub(super) fn bodies(&self) -> Result<Bodies> {
        Ok(Bodies { reader: FrameReader::open(&self.path, Kind::Letters)?, stage: self.stage })
    }

    fn next_id(&self) -> Id {
        Id::at(self.stage, self.entries.len())
    }
}

/// Reads letters whole.
pub(super) struct Bodies {
    reader: FrameReader,
    stage: Stage,
}

impl Bodies {
    pub(super) fn read(&mut self, entry: &Entry) -> Result<DeadLetter> {
        self.reader.seek(entry.offset)?;
        let next = self.reader.next()?;
        let damaged = |reason: String| corrupt(self.reader.path(), entry.offset, reason);
        let frame = match next {
            Next::Frame(frame) => frame,
            Next::End => return Err(damaged("a dead letter is cut off".to_owned())),
            Next::Damaged(damage) => return Err(damaged(damage.reason.to_owned())),
        };
        let stored: Stored = serde_json::from_slice(&frame.payload)
            .map_err(|error| damaged(format!("not a dead letter: {error}")))?;
        let Stored { id, source, epoch, at_us, rejected } = stored;
        Ok(DeadLetter { id, source, stage: self.stage, rejected, epoch, at_us, state: entry.state })
    }
}
