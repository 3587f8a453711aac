//! Appends one epoch to all the segments that it touches, so that it is there as a whole or not.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use syncline_change::{Batch, Error, Result};

use super::codec::{self, Head, RowEncoder, SegmentHead};
use super::recovery::Tail;
use super::{EpochInput, Journal, Standing, epoch_digest, frames_of, segment};
use crate::disk::Disk;
use crate::frame::{FrameWriter, Kind};
use crate::fs;

/// Appends to the segments of one source, or to the ticks.
#[derive(Debug)]
pub(super) struct SourceWriter {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// `None`: the ticks.
    rows: Option<Rows>,
    /// `None` before the first frame.
    segment: Option<Segment>,
    /// The segments before that one.
    closed_bytes: u64,
    /// How many frames there are, in all segments.
    number: u64,
    standing: Standing,
}

#[derive(Debug)]
struct Rows {
    source: String,
    schema: SchemaRef,
    encoder: RowEncoder,
}

#[derive(Debug)]
struct Segment {
    log: FrameWriter,
    has_frames: bool,
    /// The time of the first epoch that this process writes to it, or of the last one before.
    since_us: Option<i64>,
}

/// When a segment is followed by another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) bytes: u64,
    pub(super) age_us: i64,
}

impl Segment {
    fn is_full(&self, time_us: i64, limits: Limits) -> bool {
        let age_us = time_us.saturating_sub(self.since_us.unwrap_or(time_us));
        self.has_frames && (self.log.end() >= limits.bytes || age_us >= limits.age_us)
    }
}

impl SourceWriter {
    /// For a source, or the ticks, that the journal has nothing of.
    pub(super) fn new(
        disk: &Arc<dyn Disk>,
        folder: PathBuf,
        source: Option<(String, SchemaRef)>,
    ) -> Result<Self> {
        let rows = match source {
            Some((source, schema)) => {
                Some(Rows { source, encoder: RowEncoder::new(&schema)?, schema })
            }
            None => None,
        };
        let standing = Standing::default();
        let disk = disk.clone();
        Ok(Self { disk, folder, rows, segment: None, closed_bytes: 0, number: 0, standing })
    }

    /// Goes on where `tail` ends.
    ///
    /// # Errors
    /// `Conflict` if the rows in the journal have other columns than `schema`.
    pub(super) fn resume(
        disk: &Arc<dyn Disk>,
        folder: PathBuf,
        source: &str,
        schema: &SchemaRef,
        tail: Tail,
    ) -> Result<Self> {
        if let Some(difference) = tail.schema().and_then(|before| difference(before, schema)) {
            return Err(Error::conflict(format!(
                "source `{source}` has other columns than its rows in the journal"
            ))
            .detail(difference)
            .hint("name another directory with --data-dir, or restore the old columns"));
        }
        let mut writer = Self::new(disk, folder, Some((source.to_owned(), schema.clone())))?;
        writer.take_over(tail)?;
        Ok(writer)
    }

    pub(super) fn resume_ticks(disk: &Arc<dyn Disk>, folder: PathBuf, tail: Tail) -> Result<Self> {
        let mut writer = Self::new(disk, folder, None)?;
        writer.take_over(tail)?;
        Ok(writer)
    }

    /// Counts on from frames that are elsewhere.
    pub(super) fn begin_at(&mut self, frames: u64, standing: Standing) {
        (self.number, self.standing) = (frames, standing);
    }

    fn take_over(&mut self, tail: Tail) -> Result<()> {
        let log = FrameWriter::open(&*self.disk, tail.path(), tail.end())?;
        self.closed_bytes = tail.folder_bytes().saturating_sub(log.end());
        self.number = tail.number();
        let since_us = tail.last_time_us();
        self.segment = Some(Segment { log, has_frames: tail.has_frames(), since_us });
        self.standing = tail.into_standing();
        Ok(())
    }

    /// How the columns of `rows` differ from those of the journal, if they do.
    pub(super) fn difference(&self, rows: &SchemaRef) -> Option<String> {
        let before = &self.rows.as_ref()?.schema;
        if std::sync::Arc::ptr_eq(before, rows) { None } else { difference(before, rows) }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.closed_bytes + self.end()
    }

    fn end(&self) -> u64 {
        self.segment.as_ref().map_or(0, |segment| segment.log.end())
    }

    /// Makes sure that there is a segment with room for a frame of `epoch`.
    fn prepare(&mut self, epoch: u64, time_us: i64, limits: Limits) -> Result<()> {
        if let Some(segment) = &mut self.segment
            && !segment.is_full(time_us, limits)
        {
            segment.since_us.get_or_insert(time_us);
            return Ok(());
        }
        let disk = &*self.disk;
        fs::create_dir(disk, &self.folder)?;
        // A process that was killed may have created it without a sync.
        fs::sync_parent(disk, &self.folder)?;
        let head = SegmentHead {
            source: self.rows.as_ref().map(|rows| rows.source.clone()),
            number: self.number,
            standing: self.standing.clone(),
        };
        let schema = self.rows.as_ref().map(|rows| &rows.schema);
        let path = segment::path(&self.folder, epoch);
        let log = FrameWriter::create(
            disk,
            &path,
            Kind::Journal,
            Some(|out: &mut Vec<u8>| codec::write_segment_head(&head, schema, out)),
        )?;
        self.closed_bytes += self.end();
        self.segment = Some(Segment { log, has_frames: false, since_us: Some(time_us) });
        Ok(())
    }

    /// Writes a frame; durable on return. Returns the hash of its payload.
    fn write(&mut self, head: &Head, batches: Option<&[Batch]>) -> Result<blake3::Hash> {
        let segment = self
            .segment
            .as_mut()
            .ok_or_else(|| Error::bug("a journal frame was to be written without a segment"))?;
        let mut digest = None;
        segment.log.stage(|out| {
            let start = out.len();
            match (&mut self.rows, batches) {
                (Some(rows), Some(batches)) => rows.encoder.write(head, batches, out)?,
                (None, None) => codec::write_head(head, out)?,
                (Some(_), None) | (None, Some(_)) => return Err(Error::bug("ticks have no rows")),
            }
            digest = Some(blake3::hash(&out[start..]));
            Ok(())
        })?;
        segment.log.write_durably()?;
        digest.ok_or_else(|| Error::bug("a journal frame was not staged"))
    }

    /// The frame that was written counts, because all of its epoch were.
    fn commit(&mut self, head: &Head) {
        self.number = head.number;
        self.standing.advance(head.position.as_ref(), head.finished);
        if let Some(segment) = &mut self.segment {
            segment.has_frames = true;
        }
    }

    /// Takes back what was written at `end` and behind it.
    fn roll_back(&mut self, end: u64) {
        if let Some(segment) = &mut self.segment {
            segment.log.roll_back(end);
        }
    }

    #[cfg(test)]
    pub(super) fn refuse_writes(&mut self, refuse: bool) {
        self.segment.as_mut().expect("a segment").log.refuse_writes(refuse);
    }
}

/// A frame to be written.
struct Job<'a> {
    writer: &'a mut SourceWriter,
    head: Head,
    rows: Option<&'a [Batch]>,
    /// Where the frame will begin.
    end: u64,
}

impl Job<'_> {
    fn write(&mut self) -> Result<blake3::Hash> {
        self.writer.write(&self.head, self.rows)
    }
}

/// Appends `input`, which follows the journal's last epoch and fits its sources.
pub(super) fn append(journal: &mut Journal, input: &EpochInput) -> Result<blake3::Hash> {
    let is_parallel = journal.disk.is_parallel();
    let mut jobs = prepare(journal, input)?;
    let written = if is_parallel { write_at_once(&mut jobs) } else { write_in_order(&mut jobs) };
    for job in &mut jobs {
        match &written {
            Ok(_) => job.writer.commit(&job.head),
            Err(_) => job.writer.roll_back(job.end),
        }
    }
    // In the order in which a reader has them.
    let mut frames: Vec<_> = jobs.iter().map(|job| job.head.index).zip(written?).collect();
    frames.sort_unstable_by_key(|(index, _)| *index);
    Ok(epoch_digest(frames.into_iter().map(|(_, digest)| digest)))
}

fn write_in_order(jobs: &mut [Job<'_>]) -> Result<Vec<blake3::Hash>> {
    // All are tried, also if one has failed.
    let written: Vec<_> = jobs.iter_mut().map(Job::write).collect();
    written.into_iter().collect()
}

/// Writes all frames, each in a thread of its own, because each waits for the disk. Returns their
/// hashes.
fn write_at_once(jobs: &mut [Job<'_>]) -> Result<Vec<blake3::Hash>> {
    let Some((first, others)) = jobs.split_first_mut() else { return Ok(vec![]) };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            others.iter_mut().map(|job| scope.spawn(move || job.write())).collect();
        let first = first.write();
        // All have to be waited for, also if one has failed.
        let others = threads.into_iter().map(|thread| match thread.join() {
            Ok(written) => written,
            Err(_) => Err(Error::bug("a journal writer panicked")),
        });
        let others: Vec<_> = others.collect();
        std::iter::once(first).chain(others).collect()
    })
}

fn prepare<'a>(journal: &'a mut Journal, input: &'a EpochInput) -> Result<Vec<Job<'a>>> {
    let mut head = Head {
        epoch: input.epoch,
        time_us: input.time_us,
        reason: input.reason,
        frames: frames_of(input),
        index: 0,
        frames_before: journal.frames,
        number: 0,
        rows: 0,
        has_weights: false,
        position: None,
        finished: false,
        rejected: 0,
        bytes: 0,
        origin: Vec::new(),
        retried: Vec::new(),
    };
    if input.inputs.is_empty() {
        let writer = &mut journal.ticks;
        writer.prepare(input.epoch, input.time_us, journal.limits)?;
        head.number = writer.number + 1;
        return Ok(vec![Job { end: writer.end(), writer, head, rows: None }]);
    }
    let mut jobs = Vec::with_capacity(input.inputs.len());
    for (source, writer) in &mut journal.sources {
        let part = input.inputs.iter().enumerate().find(|(_, part)| part.source == *source);
        let Some((index, part)) = part else { continue };
        writer.prepare(input.epoch, input.time_us, journal.limits)?;
        let head = Head {
            index: index as u64,
            number: writer.number + 1,
            rows: part.row_count() as u64,
            has_weights: part.rows.iter().any(|rows| rows.weights().is_some() && !rows.is_empty()),
            origin: part.origin.clone(),
            position: part.position.clone(),
            finished: part.finished,
            rejected: part.rejected,
            bytes: part.bytes,
            retried: part.retried.clone(),
            ..head.clone()
        };
        jobs.push(Job { end: writer.end(), writer, head, rows: Some(&part.rows) });
    }
    Ok(jobs)
}

/// What is different between the columns of two schemas, for people; `None` if nothing is.
///
/// Metadata does not count: it is not part of a row.
fn difference(before: &Schema, now: &Schema) -> Option<String> {
    use syncline_change::types::name as type_name;
    for (position, (old, new)) in before.fields().iter().zip(now.fields()).enumerate() {
        let position = position + 1;
        let name = old.name();
        if name != new.name() {
            return Some(format!("column {position} is `{}`, it was `{name}`", new.name()));
        }
        if old.data_type() != new.data_type() {
            let (old_name, new_name) = (type_name(old.data_type()), type_name(new.data_type()));
            return Some(if old_name == new_name {
                let (old, new) = (old.data_type(), new.data_type());
                format!("column `{name}` is stored as {new}, it was stored as {old}")
            } else {
                format!("column `{name}` is {new_name}, it was {old_name}")
            });
        }
        if old.is_nullable() != new.is_nullable() {
            let was = if old.is_nullable() { "could" } else { "could not" };
            let is = if new.is_nullable() { "may" } else { "may not" };
            return Some(format!("column `{name}` {is} be null, it {was} before"));
        }
    }
    let shorter = before.fields().len().min(now.fields().len());
    if let Some(added) = now.fields().get(shorter) {
        return Some(format!("column `{}` is new", added.name()));
    }
    before.fields().get(shorter).map(|gone| format!("column `{}` is gone", gone.name()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn differences_are_named() {
        let columns = |columns: &[(&str, DataType, bool)]| {
            let field = |(name, data_type, nullable): &(&str, DataType, bool)| {
                Field::new(*name, data_type.clone(), *nullable)
            };
            Schema::new(columns.iter().map(field).collect::<Vec<_>>())
        };
        let before = columns(&[("id", DataType::Int64, true), ("name", DataType::Utf8, true)]);
        let check = |now: &[(&str, DataType, bool)], expected: Option<&str>| {
            assert_eq!(difference(&before, &columns(now)).as_deref(), expected);
        };
        let (id, name) = (("id", DataType::Int64, true), ("name", DataType::Utf8, true));
        check(&[id.clone(), name.clone()], None);
        check(&[name.clone(), id.clone()], Some("column 1 is `name`, it was `id`"));
        check(
            &[("id", DataType::Int32, true), name.clone()],
            Some("column `id` is INT, it was BIGINT"),
        );
        check(
            &[id.clone(), ("name", DataType::LargeUtf8, true)],
            Some("column `name` is stored as LargeUtf8, it was stored as Utf8"),
        );
        check(
            &[("id", DataType::Int64, false), name.clone()],
            Some("column `id` may not be null, it could before"),
        );
        check(std::slice::from_ref(&id), Some("column `name` is gone"));
        check(&[id, name, ("age", DataType::Int8, true)], Some("column `age` is new"));
    }
}
