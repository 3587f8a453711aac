//! Reads the journal again: the folders' frames merged by epoch, one epoch in memory at a time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use arrow::buffer::Buffer;
use syncline_change::{Error, Result};

use super::codec::{self, Head, RowDecoder};
use super::segment::{self, Folder};
use super::{EpochInput, SourceInput, epoch_digest, retention};
use crate::frame::{Damage, FrameReader, Next, corrupt};

/// Epochs in order. Ends after the last whole one, or after the one that [`Replay::through`] names;
/// the journal may grow meanwhile. After an error it ends.
///
/// Its errors are `Corrupt` (with file and offset) where the journal is not what was written, and
/// `Storage`.
#[derive(Debug)]
pub struct Replay {
    journal: PathBuf,
    cursors: Vec<Cursor>,
    /// The folders that have a cursor.
    known: BTreeSet<PathBuf>,
    next_epoch: u64,
    through: Option<u64>,
    at_least: u64,
    is_over: bool,
}

impl Replay {
    pub(super) fn open(journal: &Path, from_epoch: u64) -> Result<Self> {
        retention::require(journal, from_epoch.max(1))?;
        let mut replay = Self {
            journal: journal.to_owned(),
            cursors: Vec::new(),
            known: BTreeSet::new(),
            next_epoch: from_epoch.max(1),
            through: None,
            at_least: 0,
            is_over: false,
        };
        replay.look_for_folders()?;
        Ok(replay)
    }

    /// Ends after `epoch`; that the journal ends before it is an error.
    pub fn through(mut self, epoch: u64) -> Self {
        self.through = Some(epoch);
        self
    }

    /// That the journal ends before `epoch` is an error: it is known to have been there.
    pub fn at_least(mut self, epoch: u64) -> Self {
        self.at_least = epoch;
        self
    }

    fn look_for_folders(&mut self) -> Result<()> {
        for folder in segment::folders(&self.journal)? {
            if self.known.insert(folder.path.clone()) {
                self.cursors.push(Cursor::new(folder));
            }
        }
        Ok(())
    }

    fn read_epoch(&mut self) -> Result<Option<EpochInput>> {
        let epoch = self.next_epoch;
        if self.through.is_some_and(|through| epoch > through) {
            return Ok(None);
        }
        let mut look = self.look_at(epoch)?;
        if !look.is_complete() {
            // A writer may have come further between one folder and the next. Whatever a frame of
            // a later epoch proves to be durable is there when looked at again.
            self.look_for_folders()?;
            look = self.look_at(epoch)?;
        }
        if look.is_complete() {
            let input = self.take(epoch)?;
            self.next_epoch += 1;
            return Ok(Some(input));
        }
        let is_owed = epoch <= self.through.unwrap_or(0).max(self.at_least);
        if look.is_later || is_owed {
            return Err(self.missing(epoch, &look));
        }
        Ok(None)
    }

    /// What the folders have of `epoch`.
    fn look_at(&mut self, epoch: u64) -> Result<Look> {
        let mut look = Look::default();
        for cursor in &mut self.cursors {
            let Some(entry) = cursor.peek(epoch)? else { continue };
            if entry.head.epoch > epoch {
                look.is_later = true;
                continue;
            }
            let frames = *look.frames.get_or_insert(entry.head.frames);
            if entry.head.frames != frames {
                return Err(corrupt(
                    &entry.path,
                    entry.offset,
                    format!("what it says about epoch {epoch} differs from other segments"),
                ));
            }
            look.found += 1;
        }
        Ok(look)
    }

    /// The epoch, of which all frames have been looked at.
    fn take(&mut self, epoch: u64) -> Result<EpochInput> {
        let (mut inputs, mut frames) = (Vec::new(), Vec::new());
        let mut close = None;
        for cursor in &mut self.cursors {
            let Some((source, entry)) = cursor.take(epoch) else { continue };
            let damaged = |reason: String| corrupt(&entry.path, entry.offset, reason);
            let closed = (entry.head.time_us, entry.head.reason);
            if *close.get_or_insert(closed) != closed {
                return Err(damaged(format!(
                    "what it says about epoch {epoch} differs from other segments"
                )));
            }
            frames.push((entry.head.index, entry.digest));
            let Some(source) = source else { continue };
            let decoder =
                entry.rows.as_ref().ok_or_else(|| damaged("the segment has no schema".into()))?;
            let rows = vec![decoder.read(&entry.head, &entry.message).map_err(damaged)?];
            let Head { index, position, finished, rejected, bytes, origin, retried, .. } =
                entry.head;
            let input =
                SourceInput { source, rows, origin, position, finished, rejected, bytes, retried };
            inputs.push((index, input));
        }
        inputs.sort_by_key(|(index, _)| *index);
        frames.sort_unstable_by_key(|(index, _)| *index);
        let digest = Some(epoch_digest(frames.into_iter().map(|(_, digest)| digest)));
        let (time_us, reason) =
            close.ok_or_else(|| Error::bug("an epoch without frames was to be read"))?;
        let inputs = inputs.into_iter().map(|(_, input)| input).collect();
        Ok(EpochInput { epoch, time_us, reason, inputs, digest })
    }

    /// Names the place where the rest of `epoch` should be: a damaged end of a segment if there is
    /// one.
    fn missing(&self, epoch: u64, look: &Look) -> Error {
        let damage = self.cursors.iter().find_map(Cursor::damage);
        if let Some((path, damage)) = damage {
            let what = format!("{}, and epoch {epoch} should be there", damage.reason);
            return corrupt(path, damage.offset, what);
        }
        let (found, frames) = (look.found, look.frames.unwrap_or(1));
        let ends = self.cursors.iter().filter_map(Cursor::last);
        let ends: Vec<_> = ends.map(|(path, last)| format!("{path} ends with {last}")).collect();
        Error::corrupt(format!("{} lacks a part of epoch {epoch}", self.journal.display()))
            .detail(format!("{found} of {frames} parts are there; {}", ends.join(", ")))
            .hint("restore the data directory from a backup; nothing was changed")
    }
}

impl Iterator for Replay {
    type Item = Result<EpochInput>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let read = self.read_epoch().transpose();
        self.is_over = matches!(read, Some(Err(_)));
        read
    }
}

/// What there is of an epoch.
#[derive(Debug, Default)]
struct Look {
    found: u64,
    /// How many there should be, if one was found.
    frames: Option<u64>,
    /// There is a frame of a later epoch.
    is_later: bool,
}

impl Look {
    fn is_complete(&self) -> bool {
        self.frames == Some(self.found)
    }
}

/// One frame, rows not decoded yet.
#[derive(Debug)]
struct Entry {
    head: Head,
    message: Buffer,
    rows: Option<RowDecoder>,
    path: PathBuf,
    offset: u64,
    /// Of the frame's payload.
    digest: blake3::Hash,
}

/// Reads the frames of one folder.
#[derive(Debug)]
struct Cursor {
    folder: Folder,
    segment: Option<Segment>,
    /// The first frame that was not taken.
    entry: Option<Entry>,
    last_epoch: u64,
    damage: Option<Damage>,
}

#[derive(Debug)]
struct Segment {
    reader: FrameReader,
    rows: Option<RowDecoder>,
    /// The epoch in its name.
    first_epoch: u64,
    /// How many frames the folder has up to here.
    number: u64,
    /// The segment after this one: if it is there, this one grows no more.
    next: Option<(u64, PathBuf)>,
}

impl Cursor {
    fn new(folder: Folder) -> Self {
        Self { folder, segment: None, entry: None, last_epoch: 0, damage: None }
    }

    /// The first frame that belongs to `epoch` or a later one, if there is one yet.
    fn peek(&mut self, epoch: u64) -> Result<Option<&Entry>> {
        while self.entry.as_ref().is_none_or(|entry| entry.head.epoch < epoch) {
            if !self.open(epoch)? {
                return Ok(None);
            }
            let Some(segment) = &mut self.segment else { return Ok(None) };
            self.damage = None;
            match segment.reader.next()? {
                Next::Frame(frame) => {
                    self.entry = Some(segment.entry(frame, self.last_epoch)?);
                    self.last_epoch = self.entry.as_ref().map_or(0, |entry| entry.head.epoch);
                }
                Next::End => {
                    if !self.advance()? {
                        return Ok(None);
                    }
                }
                Next::Damaged(damage) => {
                    if segment.next.is_some() {
                        let path = segment.reader.path();
                        return Err(corrupt(path, damage.offset, damage.reason));
                    }
                    if !self.advance()? {
                        self.pass_over(damage)?;
                        return Ok(None);
                    }
                }
            }
        }
        Ok(self.entry.as_ref())
    }

    /// The frame last looked at, if it belongs to `epoch`.
    fn take(&mut self, epoch: u64) -> Option<(Option<String>, Entry)> {
        let entry = self.entry.take_if(|entry| entry.head.epoch == epoch)?;
        Some((self.folder.source.clone(), entry))
    }

    fn damage(&self) -> Option<(&Path, &Damage)> {
        Some((self.segment.as_ref()?.reader.path(), self.damage.as_ref()?))
    }

    /// The segment that was read last, and what it ends with.
    fn last(&self) -> Option<(std::path::Display<'_>, String)> {
        let path = self.segment.as_ref()?.reader.path().display();
        Some((path, format!("epoch {}", self.last_epoch)))
    }

    /// Opens the first segment that can hold `epoch`. `false`: there is none yet.
    fn open(&mut self, epoch: u64) -> Result<bool> {
        if self.segment.is_some() {
            return Ok(true);
        }
        let segments = segment::list(&self.folder.path)?;
        let behind = segments.partition_point(|(first_epoch, _)| *first_epoch <= epoch);
        let Some((first_epoch, path)) = segments.into_iter().nth(behind.saturating_sub(1)) else {
            return Ok(false);
        };
        self.segment = Some(Segment::open(&self.folder, first_epoch, &path)?);
        Ok(true)
    }

    /// Called at the end of a segment: goes to the next one if this one is known to be final, and
    /// finds out whether it is. `false`: it is the last one, and there is nothing more yet.
    fn advance(&mut self) -> Result<bool> {
        let Some(segment) = &mut self.segment else { return Ok(false) };
        let Some((first_epoch, path)) = segment.next.take() else {
            let mut segments = segment::list(&self.folder.path)?.into_iter();
            segment.next = segments.find(|(first_epoch, _)| *first_epoch > segment.first_epoch);
            // Frames may have been appended just before the next segment was begun.
            return Ok(segment.next.is_some());
        };
        let number = segment.number;
        let next = Segment::open(&self.folder, first_epoch, &path)?;
        if next.number != number {
            return Err(corrupt(next.reader.path(), 0, "the segment before this one is missing"));
        }
        self.segment = Some(next);
        Ok(true)
    }

    /// Takes `damage` at the end of the last segment for a write that is under way or was
    /// interrupted.
    fn pass_over(&mut self, damage: Damage) -> Result<()> {
        if let Some(segment) = &mut self.segment {
            segment.reader.torn(&damage)?;
        }
        self.damage = Some(damage);
        Ok(())
    }
}

impl Segment {
    fn open(folder: &Folder, first_epoch: u64, path: &Path) -> Result<Self> {
        let (reader, head, rows) = segment::open(path, folder.source.as_deref())?;
        Ok(Self { reader, rows, first_epoch, number: head.number, next: None })
    }

    fn entry(&mut self, frame: crate::frame::Frame, last_epoch: u64) -> Result<Entry> {
        let path = self.reader.path();
        let (head, message): (Head, Buffer) = codec::read_head(&frame.payload)
            .map_err(|reason| corrupt(path, frame.offset, reason))?;
        if head.number != self.number.saturating_add(1) || head.epoch <= last_epoch {
            return Err(corrupt(path, frame.offset, "an entry is out of order"));
        }
        self.number = head.number;
        Ok(Entry {
            head,
            message,
            rows: self.rows.clone(),
            path: path.to_owned(),
            offset: frame.offset,
            digest: blake3::hash(&frame.payload),
        })
    }
}
