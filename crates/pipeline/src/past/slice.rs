//! A few epochs of a past, to be verified without those before them.
//!
//! What the circuit knows of earlier epochs follows from the content of tables almost always; so one epoch with
//! that content stands for all of them. Where something else matters, such as the time of a row that was
//! the newest and is gone, views may change otherwise over such a base. So whoever makes a slice computes it as
//! others will, and leaves out the views that this happens to, once it is sure that the run itself is
//! right.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::compute::{SortOptions, sort_to_indices, take_record_batch};
use arrow::datatypes::SchemaRef;
use syncline_change::{Batch, Error, Result};
use syncline_store::checkpoints;
use syncline_store::epochs::{EpochRecord, Records};
use syncline_store::journal::{self, Journal, Place};
use syncline_store::manifests::{self, statement::digest_of};
use syncline_store::merkle::{self, Hash};
use syncline_store::slices::{self, Anchor, Slice};
use syncline_store::{CloseReason, DataDir, EpochInput, EpochLog, MerkleLog, SourceInput};

use super::{Keep, Past, Replayed, Tables};
use crate::file::LoadError;
use crate::reread::Reread;
use crate::verify::report::Mismatch;
use crate::verify::{self, Options};

/// Why a view is left out.
const LOOKS_BACK: &str = "its changes depend on more of the past than what tables held";

impl Past<'_> {
    /// What tables held before the first epoch of a slice, as one epoch.
    pub(super) fn base(&self) -> Result<EpochInput> {
        let Some((slice, dir)) = &self.slice else {
            return Err(Error::bug("only a slice has a base"));
        };
        let mut inputs: BTreeMap<String, SourceInput> = BTreeMap::new();
        let mut time_us = None;
        for input in journal::replay(dir, 1)? {
            let input = input?;
            time_us = Some(input.time_us);
            for part in input.inputs {
                match inputs.get_mut(&part.source) {
                    Some(whole) => {
                        whole.rows.extend(part.rows);
                        whole.finished |= part.finished;
                    }
                    None => drop(inputs.insert(part.source.clone(), part)),
                }
            }
        }
        let missing = || Error::corrupt("the slice has no base, and does not begin with epoch 1");
        Ok(EpochInput {
            epoch: slice.before(),
            time_us: time_us.ok_or_else(missing)?,
            reason: CloseReason::Flush,
            inputs: inputs.into_values().collect(),
            digest: None,
        })
    }

    /// Writes the epochs `from` to `to` as a slice into `folder`, which is there and has none yet.
    ///
    /// # Errors
    /// `Config` if there are no such epochs, or nothing was written down at their end or later that they could
    /// be held against; `Corrupt` if the run is not what it recorded.
    pub fn write_slice(
        &self,
        folder: &Path,
        (from, to): (u64, u64),
        progress: &dyn Fn(u64),
    ) -> Result<(), LoadError> {
        if from > to || to > self.recorded || from == 0 {
            return Err(Error::config(format!("there are no epochs {from} to {to}"))
                .detail(format!("the last recorded epoch is {}", self.recorded))
                .into());
        }
        let (anchor, run) = self.anchor(to)?;
        let mut slice = Making::new(self, (from, to), anchor)?.write(folder, progress)?;
        let dir = DataDir::open(slices::data(folder))?;
        for epoch in [slice.before(), to] {
            if let Some(checkpoint) = checkpoints::read(&self.dir, epoch)? {
                checkpoints::write(&dir, &checkpoint)?;
            }
        }
        if let Some(manifest) = run.map(|run| manifests::read(&self.dir, &run)).transpose()? {
            manifest.map(|manifest| manifests::write(&dir, &manifest)).transpose()?;
        }
        crate::runtime::copy_plans(&self.dir, &dir)?;
        drop(dir);
        self.leave_out(folder, &mut slice)
    }

    /// What the slice is held against: a manifest under the lock as it is, which may be signed, if there is one,
    /// or else a checkpoint; and the run that the manifest is of.
    fn anchor(&self, to: u64) -> Result<(Anchor, Option<String>)> {
        let lock = self.prepared.found_lock.as_ref();
        let lock = lock.map(|lock| digest_of(lock.to_text().as_bytes()));
        let mut first: Option<(u64, String)> = None;
        for run in manifests::list(&self.dir)? {
            let Some(manifest) = manifests::read(&self.dir, &run)? else { continue };
            let parameters = manifest.unverified()?.predicate.parameters;
            let last = parameters.epochs.last;
            let is_of_it = (to..=self.recorded).contains(&last)
                && lock.as_ref() == Some(&parameters.lock.digest);
            if is_of_it && first.as_ref().is_none_or(|(epoch, _)| last < *epoch) {
                first = Some((last, run));
            }
        }
        if let Some((epoch, run)) = first {
            return Ok((Anchor { epoch, checkpoint: None }, Some(run)));
        }
        let epochs = checkpoints::list(&self.dir)?;
        let epoch = epochs.iter().copied().find(|epoch| (to..=self.recorded).contains(epoch));
        let checkpoint = epoch.map(|epoch| checkpoints::read(&self.dir, epoch)).transpose()?;
        let Some(checkpoint) = checkpoint.flatten() else {
            return Err(Error::config(format!("there is no checkpoint of epoch {to} or later"))
                .detail("a slice is held against what the run wrote down of itself then")
                .hint(match epochs.last() {
                    Some(last) => format!("let it end with epoch {last} or before (--at)"),
                    None => "run the pipeline a little longer: checkpoints are written every ten seconds, and at the end of a run".to_owned(),
                }));
        };
        Ok((Anchor { epoch: checkpoint.epoch, checkpoint: Some(Box::new(checkpoint)) }, None))
    }

    /// Computes the slice as others will, and leaves out views that differ though the run is right.
    fn leave_out(&self, folder: &Path, slice: &mut Slice) -> Result<(), LoadError> {
        let mut is_run_right = false;
        loop {
            let report = verify::verify_slice(self.prepared, folder, &Options::default(), &|_| ())?;
            let Some(mismatch) = report.mismatches.into_iter().next() else { return Ok(()) };
            let view = mismatch.what.strip_prefix("view ").filter(|_| mismatch.epoch.is_some());
            let Some(view) = view else { return Err(not_as_recorded(mismatch).into()) };
            if !is_run_right {
                let whole = Options {
                    at: Some(slice.to),
                    replay: true,
                    goes_on: true,
                    ..Options::default()
                };
                let report = verify::verify(self.prepared, self.dir.path(), &whole, &|_| ())?;
                if let Some(mismatch) = report.mismatches.into_iter().next() {
                    return Err(not_as_recorded(mismatch).into());
                }
                is_run_right = true;
            }
            if slice.left_out.insert(view.to_owned(), LOOKS_BACK.to_owned()).is_some() {
                return Err(Error::bug(format!("view {view} was left out of the slice")).into());
            }
            slice.write(folder)?;
        }
    }
}

fn not_as_recorded(mismatch: Mismatch) -> Error {
    let at = mismatch.epoch.map(|epoch| format!(", epoch {epoch}")).unwrap_or_default();
    Error::corrupt("the run is not what it recorded")
        .detail(format!("{}{at}: {}", mismatch.what, mismatch.message))
        .hint("`syncline verify --replay` says more")
}

/// A slice that is being written.
struct Making<'a> {
    past: &'a Past<'a>,
    sources: Vec<(String, SchemaRef)>,
    slice: Slice,
    records: Records,
    /// Of all epochs up to the anchor.
    leaves: Vec<Hash>,
}

/// What was gone through before the first epoch of a slice.
struct Before {
    state: Replayed,
    tables: Tables,
    place: Place,
    finished: BTreeSet<String>,
}

impl<'a> Making<'a> {
    fn new(past: &'a Past<'a>, (from, to): (u64, u64), anchor: Anchor) -> Result<Self> {
        let tables = past.prepared.tables.iter();
        let nothing = || Error::corrupt("there is no epoch log");
        let records = past.records()?.ok_or_else(nothing)?;
        let slice = Slice {
            from,
            to,
            input_before: MerkleLog::new(),
            chain_before: records.head().to_hex().to_string(),
            base_rows: 0,
            anchor,
            consistency: vec![],
            left_out: BTreeMap::new(),
        };
        let sources = tables.map(|table| (table.name.clone(), table.schema.clone())).collect();
        Ok(Self { past, sources, slice, records, leaves: vec![] })
    }

    fn write(mut self, folder: &Path, progress: &dyn Fn(u64)) -> Result<Slice, LoadError> {
        let prepared = self.past.prepared;
        let (from, to) = (self.slice.from, self.slice.to);
        let mut before = Before {
            state: Replayed::new(prepared, &[], None, |_| Keep::Rows)?,
            tables: Tables::new(prepared),
            place: Place::default(),
            finished: BTreeSet::new(),
        };
        let inputs = journal::replay(&self.past.dir, 1)?.through(to);
        let mut inputs = Reread::of(prepared, inputs)?;
        for input in inputs.by_ref().take(usize::try_from(from - 1).unwrap_or(usize::MAX)) {
            let input = input?;
            self.record_of(&input)?;
            progress(input.epoch);
            before.pass(self.past, input)?;
        }
        self.slice.input_before.extend(self.leaves.iter().copied());
        self.slice.chain_before = self.records.head().to_hex().to_string();
        self.slice.base_rows = before.write(self.past, &self.sources, &slices::base(folder))?;

        let dir = DataDir::open(slices::data(folder))?;
        let mut journal = Journal::begin_at(&dir, &self.sources, &before.place)?;
        let mut log = EpochLog::begin_after(&dir, from - 1, self.records.head())?;
        for input in inputs {
            let input = input?;
            let record = self.record_of(&input)?;
            let written = journal.append(&input)?;
            if input.digest != Some(written) {
                return Err(other_input(input.epoch).into());
            }
            log.append(&record)?;
            progress(input.epoch);
        }
        for input in journal::replay(&self.past.dir, to + 1)?.through(self.slice.anchor.epoch) {
            let record = self.record_of(&input?)?;
            log.append(&record)?;
        }
        log.sync()?;
        let first = usize::try_from(to).unwrap_or(usize::MAX);
        let proof = merkle::consistency_proof(&self.leaves, first).into_iter();
        self.slice.consistency = proof.map(|hash| blake3::Hash::from(hash).to_string()).collect();
        self.slice.write(folder)?;
        Ok(self.slice)
    }

    /// The record of the next epoch, whose input is that of the journal.
    fn record_of(&mut self, input: &EpochInput) -> Result<EpochRecord> {
        let epoch = input.epoch;
        let missing = || Error::corrupt(format!("the epoch log has no record of epoch {epoch}"));
        let record = self.records.next().ok_or_else(missing)??.record;
        let digest =
            input.digest.ok_or_else(|| Error::bug("an epoch that was read has no hash"))?;
        if record.input.as_ref().is_some_and(|recorded| recorded != digest.to_hex().as_str()) {
            return Err(other_input(epoch));
        }
        let is_gone =
            |part: &&SourceInput| !self.sources.iter().any(|(name, _)| *name == part.source);
        if let Some(part) = input.inputs.iter().find(is_gone).filter(|_| epoch >= self.slice.from) {
            return Err(super::copy::no_longer_there(&part.source));
        }
        self.leaves.push(merkle::leaf_hash(digest.as_bytes()));
        Ok(record)
    }
}

fn other_input(epoch: u64) -> Error {
    Error::corrupt(format!("the journal has something else of epoch {epoch} than was recorded"))
        .hint("`syncline verify` says more")
}

impl Before {
    fn pass(&mut self, past: &Past<'_>, input: EpochInput) -> Result<()> {
        self.place.pass(&input);
        let finished = input.inputs.iter().filter(|part| part.finished);
        self.finished.extend(finished.map(|part| part.source.clone()));
        let output = self.state.step(past.prepared, input)?;
        self.tables.apply(&output)
    }

    /// Writes what tables hold that some view reads; returns how many rows these are.
    fn write(
        &self,
        past: &Past<'_>,
        sources: &[(String, SchemaRef)],
        path: &Path,
    ) -> Result<u64, LoadError> {
        let dir = DataDir::open(path)?;
        if self.state.epoch == 0 {
            return Ok(0);
        }
        let prepared = past.prepared;
        let circuit = prepared.circuit(None)?;
        let read: BTreeSet<usize> =
            circuit.views().iter().flat_map(|view| view.tables.iter().copied()).collect();
        let mut held = Vec::new();
        for (number, (name, mut rows)) in self.tables.contents()?.into_iter().enumerate() {
            if !read.contains(&number) {
                rows.clear();
            } else if let (false, Some(time)) =
                (self.tables.is_appended(number), &prepared.tables[number].event_time)
            {
                // None of them may come later than it was allowed to.
                rows = in_time(&prepared.tables[number].schema, &rows, time.column)?;
            }
            held.push((name, rows));
        }
        let (mut journal, _) = Journal::open(&dir, sources, 0)?;
        let epochs = held.iter().map(|(_, rows)| rows.len()).max().unwrap_or(0).max(1);
        for number in 0..epochs {
            let is_last = number + 1 == epochs;
            let parts = held.iter().filter_map(|(name, rows)| {
                let finished = is_last && self.finished.contains(name);
                let rows = rows.get(number).cloned().map(Batch::inserts);
                (finished || rows.is_some()).then(|| base_part(name, rows, finished))
            });
            journal.append(&EpochInput {
                epoch: number as u64 + 1,
                time_us: self.state.time_us,
                reason: CloseReason::Flush,
                inputs: parts.collect(),
                digest: None,
            })?;
        }
        let rows = held.iter().flat_map(|(_, rows)| rows).map(RecordBatch::num_rows);
        Ok(rows.sum::<usize>() as u64)
    }
}

fn base_part(source: &str, rows: Option<Batch>, finished: bool) -> SourceInput {
    SourceInput {
        source: source.to_owned(),
        rows: rows.into_iter().collect(),
        origin: vec![],
        position: None,
        finished,
        rejected: 0,
        bytes: 0,
        retried: vec![],
    }
}

/// Rows by a column of times, those without one first.
fn in_time(schema: &SchemaRef, rows: &[RecordBatch], column: usize) -> Result<Vec<RecordBatch>> {
    let rows_max = rows.iter().map(RecordBatch::num_rows).max().unwrap_or(0).max(1);
    let all = arrow::compute::concat_batches(schema, rows)?;
    let options = Some(SortOptions { descending: false, nulls_first: true });
    let sorted = take_record_batch(&all, &sort_to_indices(all.column(column), options, None)?)?;
    let starts = (0..sorted.num_rows()).step_by(rows_max);
    Ok(starts.map(|at| sorted.slice(at, rows_max.min(sorted.num_rows() - at))).collect())
}
