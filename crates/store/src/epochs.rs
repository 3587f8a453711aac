//! The epoch log: a record of each epoch's input and output, chained by hash, so that a replay can
//! be compared with the run that wrote it.
//!
//! A record is written after its epoch is durable in the journal and computed. It is handed to the
//! operating system at once, so that it survives the process, and synced now and then: what a power
//! loss takes away is computed again from the journal.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use syncline_change::source::Position;
use syncline_change::{Error, Result};

use crate::DataDir;
use crate::disk::Disk;
use crate::frame::{Cut, Frame, FrameReader, FrameWriter, Kind, Next, corrupt, scan};

/// What the first record has in place of the hash of the record before it.
const NO_RECORD: [u8; blake3::OUT_LEN] = [0; blake3::OUT_LEN];

/// What an epoch took in and what came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// From 1, without gaps.
    pub epoch: u64,
    /// The epoch's logical time, in microseconds since 1970 (UTC).
    pub time_us: i64,
    /// The hash of what the journal has of the epoch, in hex. Records of older versions lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Those that took part.
    pub sources: BTreeMap<String, SourceRecord>,
    /// Those that changed.
    pub views: BTreeMap<String, ViewRecord>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceRecord {
    pub rows: u64,
    pub rejected: u64,
    /// Where the source stood after the epoch, if it moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewRecord {
    /// Rows in the epoch's change batches.
    pub rows: u64,
    /// The change digest, in hex.
    pub digest: String,
}

/// A record as it stands in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChainedRecord {
    #[serde(flatten)]
    pub record: EpochRecord,
    /// BLAKE3 of the record before it as it is in the file, in hex; zeros in the first one.
    pub prev: String,
}

/// A place in the log, behind some record.
#[derive(Clone, Debug)]
pub struct Mark {
    end: u64,
    last: Option<EpochRecord>,
    hash: blake3::Hash,
}

/// `epochs.log`, open for appending.
#[derive(Debug)]
pub struct EpochLog {
    disk: Arc<dyn Disk>,
    log: FrameWriter,
    last: Option<EpochRecord>,
    /// The hash of the last record.
    hash: blake3::Hash,
    /// Both, of the last record that is durable.
    durable: (Option<EpochRecord>, blake3::Hash),
    /// The epoch before the first that the log has: of a slice, not 0.
    before: u64,
}

impl EpochLog {
    /// Opens the log, or starts one. Returns its last record, and what was cut off its end.
    ///
    /// The chain is checked by [`EpochLog::records`], not here.
    ///
    /// # Errors
    /// `Corrupt` if the log is damaged where a crash cannot have done it.
    pub fn open(dir: &DataDir) -> Result<(Self, Option<EpochRecord>, Option<Cut>)> {
        dir.require_lock()?;
        let (path, disk) = (dir.epochs(), dir.disk().clone());
        if !path.exists() {
            let none = None::<fn(&mut Vec<u8>) -> Result<()>>;
            let log = FrameWriter::create(&*disk, &path, Kind::Epochs, none)?;
            return Ok((Self::new(disk, log, None, NO_RECORD.into(), 0), None, None));
        }
        let mut last_frame = None;
        let (end, cut) = scan(&path, Kind::Epochs, |frame| {
            last_frame = Some(frame);
            Ok(())
        })?;
        if let Some(cut) = &cut {
            tracing::warn!(%cut, "an unfinished write was taken back");
        }
        let writer = FrameWriter::open(&*disk, &path, end)?;
        let (last, hash) = match last_frame {
            Some(frame) => (Some(read(&path, &frame)?.record), blake3::hash(&frame.payload)),
            None => (None, NO_RECORD.into()),
        };
        Ok((Self::new(disk, writer, last.clone(), hash, 0), last, cut))
    }

    /// Starts the log of a slice, whose first record follows that of the epoch `before` with the hash
    /// `head`.
    ///
    /// # Errors
    /// `Conflict` if there is a log already.
    pub fn begin_after(dir: &DataDir, before: u64, head: blake3::Hash) -> Result<Self> {
        if dir.epochs().exists() {
            return Err(Error::conflict("there is an epoch log already"));
        }
        let (log, ..) = Self::open(dir)?;
        Ok(Self { hash: head, durable: (None, head), before, ..log })
    }

    fn new(
        disk: Arc<dyn Disk>,
        log: FrameWriter,
        last: Option<EpochRecord>,
        hash: blake3::Hash,
        before: u64,
    ) -> Self {
        let durable = (last.clone(), hash);
        Self { disk, log, last, hash, durable, before }
    }

    /// Appends a record, which outlives this process; it is durable after [`EpochLog::sync`].
    ///
    /// # Errors
    /// `Storage` if the disk refuses: the record is not in the log and can be appended again. `Bug`
    /// if its epoch does not follow the last one.
    pub fn append(&mut self, record: &EpochRecord) -> Result<()> {
        let last = self.last_epoch();
        if record.epoch != last + 1 {
            let epoch = record.epoch;
            return Err(Error::bug(format!("the record of epoch {epoch} was to follow {last}")));
        }
        let chained =
            ChainedRecord { record: record.clone(), prev: self.hash.to_hex().to_string() };
        let payload = serde_json::to_vec(&chained)
            .map_err(|e| Error::bug("an epoch record has no JSON form").source(e))?;
        self.log.stage(|out| {
            out.extend_from_slice(&payload);
            Ok(())
        })?;
        self.log.write()?;
        self.hash = blake3::hash(&payload);
        self.last = Some(chained.record);
        Ok(())
    }

    /// Makes all records durable.
    ///
    /// # Errors
    /// `Storage` if the disk refuses: records that it leaves in doubt are taken out of the log, and
    /// are computed again when it is next opened.
    pub fn sync(&mut self) -> Result<()> {
        match self.log.sync() {
            Ok(()) => self.durable = (self.last.clone(), self.hash),
            Err(error) => {
                self.log.roll_back_unsynced();
                (self.last, self.hash) = self.durable.clone();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Where the log ends.
    pub fn mark(&self) -> Mark {
        Mark { end: self.log.end(), last: self.last.clone(), hash: self.hash }
    }

    /// Records up to there were made durable by [`sync`], and are not taken back any more.
    pub fn note_durable(&mut self, mark: Mark) {
        let epoch = |record: &Option<EpochRecord>| record.as_ref().map_or(0, |last| last.epoch);
        if epoch(&mark.last) > epoch(&self.durable.0) {
            self.log.note_synced(mark.end);
            self.durable = (mark.last, mark.hash);
        }
    }

    /// The epoch of the last record; 0: there is none.
    pub fn last_epoch(&self) -> u64 {
        self.last.as_ref().map_or(self.before, |record| record.epoch)
    }

    /// The hash of the last record, which the next one will name; zeros: there is none.
    pub fn head(&self) -> blake3::Hash {
        self.hash
    }

    /// Drops the records of all epochs after `epoch`; durable on return.
    ///
    /// # Errors
    /// `Corrupt` if the records up to there cannot be read, or their chain is broken.
    pub fn truncate_after(&mut self, epoch: u64) -> Result<()> {
        if epoch >= self.last_epoch() {
            return Ok(());
        }
        let mut records = self.records()?;
        let mut last = None;
        let mut end = records.reader.offset();
        while last.as_ref().map_or(0, |record: &EpochRecord| record.epoch) < epoch {
            let Some(chained) = records.next().transpose()? else { break };
            last = Some(chained.record);
            end = records.reader.offset();
        }
        let path = self.log.path().to_owned();
        let log = FrameWriter::open(&*self.disk, &path, end)?;
        *self = Self::new(self.disk.clone(), log, last, records.hash, self.before);
        Ok(())
    }

    /// All records, oldest first.
    pub fn records(&self) -> Result<Records> {
        Records::open(self.log.path().to_owned(), 0, NO_RECORD.into())
    }
}

/// The records of a data directory, oldest first, also while a process appends to them. `None`: no
/// epoch was ever recorded.
pub fn records(dir: &DataDir) -> Result<Option<Records>> {
    let path = dir.epochs();
    records_from(path, 0, NO_RECORD.into())
}

/// The records of a slice, as [`EpochLog::begin_after`] has begun it.
pub fn records_after(dir: &DataDir, before: u64, head: blake3::Hash) -> Result<Option<Records>> {
    records_from(dir.epochs(), before, head)
}

fn records_from(path: PathBuf, before: u64, head: blake3::Hash) -> Result<Option<Records>> {
    if path.exists() { Records::open(path, before, head).map(Some) } else { Ok(None) }
}

/// Makes the records that were appended so far durable, also while another thread appends.
///
/// # Errors
/// `Storage` if the disk refuses.
pub fn sync(dir: &DataDir) -> Result<()> {
    dir.require_lock()?;
    let path = dir.epochs();
    let file = dir.disk().append(&path).map_err(|error| Error::io("open", &path, error))?;
    let mut file = file;
    file.sync().map_err(|error| Error::io("sync", &path, error))
}

/// Records in order; ends after the last whole one. After an error it ends.
///
/// Its errors are `Corrupt` where the log is damaged, or where a record is not the one that was
/// written after the one before it: that names the epoch.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    reader: FrameReader,
    last_epoch: u64,
    hash: blake3::Hash,
    is_over: bool,
}

impl Records {
    fn open(path: PathBuf, last_epoch: u64, hash: blake3::Hash) -> Result<Self> {
        let reader = FrameReader::open(&path, Kind::Epochs)?;
        Ok(Self { path, reader, last_epoch, hash, is_over: false })
    }

    fn read(&mut self) -> Result<Option<ChainedRecord>> {
        let frame = match self.reader.next()? {
            Next::Frame(frame) => frame,
            Next::End => return Ok(None),
            Next::Damaged(damage) => {
                self.reader.torn(&damage)?;
                return Ok(None);
            }
        };
        let chained = read(&self.path, &frame)?;
        let epoch = chained.record.epoch;
        if epoch != self.last_epoch + 1 {
            let what = format!("the record of epoch {epoch} follows epoch {}", self.last_epoch);
            return Err(corrupt(&self.path, frame.offset, what));
        }
        if chained.prev != self.hash.to_hex().as_str() {
            let what = format!(
                "the hash chain is broken at epoch {epoch}: the record before it is not the one that it was written after"
            );
            return Err(corrupt(&self.path, frame.offset, what));
        }
        self.last_epoch = epoch;
        self.hash = blake3::hash(&frame.payload);
        Ok(Some(chained))
    }
}

impl Records {
    /// The records up to that of `epoch`, to be passed over.
    pub fn take_while_before(
        &mut self,
        epoch: u64,
    ) -> impl Iterator<Item = Result<ChainedRecord>> + '_ {
        std::iter::from_fn(move || if self.last_epoch < epoch { self.next() } else { None })
    }

    /// The hash of the record that was read last; zeros before the first.
    pub fn head(&self) -> blake3::Hash {
        self.hash
    }
}

impl Iterator for Records {
    type Item = Result<ChainedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let read = self.read().transpose();
        self.is_over = matches!(read, Some(Err(_)));
        read
    }
}

fn read(path: &std::path::Path, frame: &Frame) -> Result<ChainedRecord> {
    serde_json::from_slice(&frame.payload)
        .map_err(|error| corrupt(path, frame.offset, format!("not an epoch record: {error}")))
}

#[cfg(test)]
mod tests;
