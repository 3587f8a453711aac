//! Finds the end of the journal after a crash, and cuts off an epoch that is not whole.
//!
//! Only the last segment of each source is read, and the one before if it has no frame yet. That is
//! enough: an epoch was durable before the next one was begun, so at most the last epoch is
//! incomplete; and the number of frames that each folder holds must add up to what the last epoch
//! says that all epochs have together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use syncline_change::{Error, Result};

use super::codec::{self, Head, RowDecoder, SegmentHead};
use super::reader::Replay;
use super::segment::{self, Folder};
use super::{Recovery, Standing, retention};
use crate::disk::Disk;
use crate::frame::{Cut, FrameWriter, Next, corrupt};
use crate::fs;

/// What recovery hands to the writers.
pub(super) struct Found {
    pub(super) sources: BTreeMap<String, Tail>,
    pub(super) ticks: Option<Tail>,
    /// How many frames all epochs have together.
    pub(super) frames: u64,
    pub(super) recovery: Recovery,
}

/// The end of a folder: its last segment.
pub(super) struct Tail {
    path: PathBuf,
    rows: Option<RowDecoder>,
    folder_bytes: u64,
    /// After the last frame.
    state: State,
    /// The last frame, and what was there before it.
    last: Option<Last>,
    /// What has to be cut off for the segment to end with a whole frame.
    cut: Option<Cut>,
    retried: Vec<String>,
}

/// What a folder's frames up to some point come to.
#[derive(Clone)]
struct State {
    /// Where the frames end in the file.
    end: u64,
    number: u64,
    /// Whether one of them stands in this segment.
    has_frames: bool,
    standing: Standing,
}

struct Last {
    head: Head,
    /// `None`: it stands in an earlier segment, so that its epoch was whole when the last one began.
    before: Option<State>,
}

impl Tail {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn end(&self) -> u64 {
        self.state.end
    }

    pub(super) fn number(&self) -> u64 {
        self.state.number
    }

    pub(super) fn has_frames(&self) -> bool {
        self.state.has_frames
    }

    pub(super) fn standing(&self) -> &Standing {
        &self.state.standing
    }

    /// The time of the last frame's epoch.
    pub(super) fn last_time_us(&self) -> Option<i64> {
        self.last.as_ref().map(|last| last.head.time_us)
    }

    pub(super) fn into_standing(self) -> Standing {
        self.state.standing
    }

    pub(super) fn schema(&self) -> Option<&SchemaRef> {
        self.rows.as_ref().map(RowDecoder::schema)
    }

    /// The size of all segments of the folder.
    pub(super) fn folder_bytes(&self) -> u64 {
        self.folder_bytes
    }

    fn is_at(&self, epoch: u64) -> bool {
        self.last.as_ref().is_some_and(|last| last.head.epoch == epoch)
    }

    /// Takes the last frame off, because its epoch is not whole.
    fn drop_last(&mut self, reason: &str) -> Result<()> {
        let Some(last) = self.last.take() else { return Ok(()) };
        let before = last.before.ok_or_else(|| corrupt(&self.path, 0, reason))?;
        let torn_bytes = self.cut.as_ref().map_or(0, |cut| cut.bytes);
        self.cut = Some(Cut {
            file: self.path.clone(),
            offset: before.end,
            bytes: self.state.end - before.end + torn_bytes,
            reason: reason.to_owned(),
        });
        self.retried.retain(|id| !last.head.retried.contains(id));
        self.state = before;
        Ok(())
    }
}

/// Reads the ends of all folders of `journal` and mends what a crash left. Nothing is changed if
/// anything is `Corrupt`.
pub(super) fn recover(disk: &dyn Disk, journal: &Path, durable_epoch: u64) -> Result<Found> {
    let mut sources = BTreeMap::new();
    let mut ticks = None;
    for folder in segment::folders(journal)? {
        fs::remove_unfinished(disk, &folder.path)?;
        let Some(tail) = read_tail(&folder)? else { continue };
        match folder.source {
            Some(source) => {
                sources.insert(source, tail);
            }
            None => ticks = Some(tail),
        }
    }
    let mut tails: Vec<&mut Tail> = sources.values_mut().chain(&mut ticks).collect();
    let end = find_end(&mut tails)?;
    check_complete(journal, &tails, &end, durable_epoch)?;

    let mut recovery = Recovery { last_epoch: end.epoch, ..Recovery::default() };
    for tail in tails {
        recovery.retried.append(&mut tail.retried);
        if let Some(cut) = tail.cut.take() {
            tracing::warn!(%cut, "an unfinished write was taken back");
            tail.folder_bytes = tail.folder_bytes.saturating_sub(cut.bytes);
            // Cuts also where no writer follows, because the source left the pipeline.
            FrameWriter::open(disk, &tail.path, tail.state.end)?;
            recovery.cuts.push(cut);
        }
    }
    Ok(Found { sources, ticks, frames: end.frames, recovery })
}

/// Where the journal ends.
struct End {
    epoch: u64,
    /// How many frames the epochs up to there have together.
    frames: u64,
}

/// Drops the last epoch's frames if it lacks some.
fn find_end(tails: &mut [&mut Tail]) -> Result<End> {
    let last = tails.iter().filter_map(|tail| tail.last.as_ref()).max_by_key(|l| l.head.epoch);
    let Some(Head { epoch, frames, frames_before, .. }) = last.map(|last| last.head.clone()) else {
        return Ok(End { epoch: 0, frames: 0 });
    };
    let mut found = 0;
    for tail in tails.iter().filter(|tail| tail.is_at(epoch)) {
        let head = tail.last.as_ref().map(|last| (last.head.frames, last.head.frames_before));
        if head != Some((frames, frames_before)) {
            return Err(corrupt(
                &tail.path,
                tail.state.end,
                format!("what it says about epoch {epoch} differs from other sources' segments"),
            ));
        }
        found += 1;
    }
    if found == frames {
        return Ok(End { epoch, frames: frames_before.saturating_add(frames) });
    }
    let reason = format!("epoch {epoch} has only {found} of its {frames} parts");
    for tail in tails.iter_mut().filter(|tail| tail.is_at(epoch)) {
        tail.drop_last(&reason)?;
    }
    Ok(End { epoch: epoch.saturating_sub(1), frames: frames_before })
}

/// Whether all is there up to `end`, and `end` is not before what was known to be durable.
fn check_complete(
    journal: &Path,
    tails: &[&mut Tail],
    end: &End,
    durable_epoch: u64,
) -> Result<()> {
    let frames = tails.iter().fold(0u64, |sum, tail| sum.saturating_add(tail.state.number));
    if frames == end.frames && end.epoch >= durable_epoch {
        return Ok(());
    }
    let expected = end.epoch.max(durable_epoch);
    if let Some(cut) = tails.iter().find_map(|tail| tail.cut.as_ref()) {
        let what = format!("{}, and it was whole when epoch {expected} was recorded", cut.reason);
        return Err(corrupt(&cut.file, cut.offset, what));
    }
    // Reading it all says which part of which epoch is missing.
    for input in Replay::open(journal, retention::of(journal)?)?.through(expected) {
        input?;
    }
    Err(Error::corrupt(format!("{} does not add up", journal.display()))
        .detail(format!("it has {frames} frames and should have {}", end.frames))
        .hint("restore the data directory from a backup; nothing was changed"))
}

fn read_tail(folder: &Folder) -> Result<Option<Tail>> {
    let segments = segment::list(&folder.path)?;
    let Some(((_, path), earlier)) = segments.split_last() else { return Ok(None) };
    let mut tail = read_segment(folder, path)?;
    for (_, path) in earlier.iter().rev() {
        if tail.last.is_none() {
            tail.last = last_of_earlier(folder, path, tail.state.number)?;
        }
        tail.folder_bytes += path.metadata().map_err(|e| Error::io("read", path, e))?.len();
    }
    Ok(Some(tail))
}

/// The last frame of a segment that another one follows, which begins after `number` frames.
fn last_of_earlier(folder: &Folder, path: &Path, number: u64) -> Result<Option<Last>> {
    let earlier = read_segment(folder, path)?;
    if let Some(cut) = earlier.cut {
        return Err(corrupt(path, cut.offset, cut.reason));
    }
    if earlier.state.number != number {
        return Err(corrupt(path, earlier.state.end, "the segment after this one is missing"));
    }
    Ok(earlier.last.map(|last| Last { before: None, ..last }))
}

/// Reads a segment as if it were the only one.
fn read_segment(folder: &Folder, path: &Path) -> Result<Tail> {
    let (mut reader, head, rows) = segment::open(path, folder.source.as_deref())?;
    let SegmentHead { number, standing, .. } = head;
    let mut tail = Tail {
        path: path.to_owned(),
        rows,
        folder_bytes: path.metadata().map_err(|e| Error::io("read", path, e))?.len(),
        state: State { end: reader.offset(), number, has_frames: false, standing },
        last: None,
        cut: None,
        retried: Vec::new(),
    };
    loop {
        let frame = match reader.next()? {
            Next::Frame(frame) => frame,
            Next::End => return Ok(tail),
            Next::Damaged(damage) => {
                tail.cut = Some(reader.torn(&damage)?);
                return Ok(tail);
            }
        };
        let (head, _): (Head, _) = codec::read_head(&frame.payload)
            .map_err(|reason| corrupt(path, frame.offset, reason))?;
        let epoch_before = tail.last.as_ref().map_or(0, |last| last.head.epoch);
        if head.number != tail.state.number.saturating_add(1) || head.epoch <= epoch_before {
            return Err(corrupt(path, frame.offset, "an entry is out of order"));
        }
        tail.retried.extend_from_slice(&head.retried);
        let before = tail.state.clone();
        tail.state.standing.advance(head.position.as_ref(), head.finished);
        tail.state.number = head.number;
        tail.state.has_frames = true;
        tail.state.end = reader.offset();
        tail.last = Some(Last { head, before: Some(before) });
    }
}
