//! Aggregates over frames that begin with the partition and end with each row, or with those that tie
//! with it: only what comes from the first row that changes on is computed.
//!
//! The accumulators hold all rows of each partition. The rows behind the first change are taken away,
//! the last first, which on the way gives what was put out for each; then they are added again as they
//! are now, which gives what is put out. Rows that are appended cost no more than themselves.

#[cfg(test)]
mod tests;
mod touched;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat, take};
use arrow::datatypes::SchemaRef;
use syncline_change::{Batch, Result};

use self::touched::{Key, Touched};
use super::accumulate::Accumulate;
use super::aggregate::{Call, differing};
use super::arrange::{Arranged, Delta};
use super::groups::{self, Grouped, Groups, sweep};
use super::partition::PARTITIONS;
use super::{AggregateCall, Change, Epoch, OUTPUT_ROWS_MAX, Operator, negative};
use crate::state::{Loader, Release, Saver, Sweep, put_i64, take_i64};

/// What is computed, over which frames.
pub(crate) struct Frames {
    pub(crate) calls: Vec<AggregateCall>,
    /// Whether each row has a result of its own, every copy of it too; otherwise rows that tie in the
    /// order of the arrangement have one together.
    pub(crate) by_rows: bool,
    /// The input's columns and a column for each call.
    pub(crate) schema: SchemaRef,
    pub(crate) name: String,
}

/// Keeps the aggregates of all rows of each partition.
pub(crate) struct Running {
    frames: Frames,
    parts: Vec<Part>,
    /// Which partitions no later change has a row of.
    sweep: Option<Sweep>,
}

/// The keys that hash into one partition of the work.
#[derive(Default)]
struct Part {
    groups: Groups,
    /// Rows of each key; a key without rows is none.
    counts: Vec<i64>,
    accumulators: Vec<Box<dyn Accumulate>>,
}

impl Running {
    pub(crate) fn new(frames: Frames) -> Result<Self> {
        let parts = (0..PARTITIONS).map(|_| {
            let accumulators = frames.calls.iter().map(|call| call.accumulator(false));
            Ok(Part { accumulators: accumulators.collect::<Result<_>>()?, ..Default::default() })
        });
        Ok(Self { parts: parts.collect::<Result<_>>()?, frames, sweep: None })
    }
}

impl Operator for Running {
    /// The input is an arrangement by partition, in order.
    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let frames = &self.frames;
        let (rows, number) = (inputs[0].arranged(&frames.name)?, epoch.number);
        let done = rows.each_delta_with(epoch, &mut self.parts, |part, partition, delta| {
            let mut touched = Touched::default();
            part.load_some(delta.run.groups())?;
            for group in 0..delta.run.groups() {
                let (hash, key) = (delta.run.hash(group), delta.run.key(group));
                let before = rows.before(number, partition, hash, key);
                let number = part.count(frames, delta, group)?;
                touched.add(frames.by_rows, rows.codec(), number, (delta, group), before)?;
            }
            part.step(frames, rows, &touched)
        })?;
        if let Some(of) = &mut self.sweep {
            sweep(of, epoch.passed, &mut self.parts);
        }
        Batch::coalesce(&self.frames.schema, done, OUTPUT_ROWS_MAX)
    }

    fn let_go(&mut self, release: Release) {
        self.sweep = Some(Sweep::new(release));
    }

    fn begin_saving(&mut self) {
        self.parts.iter_mut().for_each(|part| part.groups.begin_saving());
    }

    fn unsaved(&self) -> usize {
        self.parts.iter().map(|part| part.groups.unsaved()).sum()
    }

    fn save(&mut self, to: &mut Saver<'_>) -> Result<()> {
        to.parts(&mut self.parts, Part::take_unsaved)
    }

    fn load(&mut self, from: &Loader<'_>) -> Result<()> {
        groups::load(from, &mut self.parts, self.sweep.is_some())
    }

    fn state_rows(&self) -> usize {
        self.parts.iter().map(|part| part.groups.len()).sum()
    }

    fn state_bytes(&self) -> usize {
        self.parts.iter().map(Part::bytes).sum()
    }
}

impl Part {
    /// Counts the changes of a key, and returns its number.
    fn count(&mut self, frames: &Frames, delta: &Delta, group: usize) -> Result<u32> {
        let number = self.group(delta.run.hash(group), delta.run.key(group))?;
        self.groups.touch(number);
        let changes = delta.run.rows_of(group).map(|row| delta.run.weight(row));
        let count = &mut self.counts[number as usize];
        *count += changes.sum::<i64>();
        if *count < 0 { Err(negative(&frames.name, "a row")) } else { Ok(number) }
    }

    /// Takes the changes in, and returns what they change in the results.
    fn step(
        &mut self,
        frames: &Frames,
        rows: &Arranged,
        touched: &Touched<'_>,
    ) -> Result<Vec<Batch>> {
        if touched.keys.is_empty() {
            return Ok(vec![]);
        }
        let entries = touched.entries.iter().map(|entry| (entry.key, entry.row));
        let columns = rows.codec().decode(entries)?;
        let options = RecordBatchOptions::new().with_row_count(Some(touched.entries.len()));
        let schema = rows.codec().schema().clone();
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let calls = frames.calls.iter().map(|call| call.evaluate(&batch));
        let calls = calls.collect::<Result<Vec<_>>>()?;
        let old = self.walk_back(&calls, touched)?;
        let new = self.walk_forth(&calls, touched)?;
        for key in &touched.keys {
            if self.counts[key.number as usize] == 0 {
                self.remove(key.number);
            }
        }
        put_out(frames, rows, touched, &old, &new)
    }

    /// Goes from the last place of each key to the first one, and returns the results that places
    /// had. The accumulators then hold all rows up to the first place, as they were.
    ///
    /// The keys go side by side, so that accumulators are called for many at a time.
    fn walk_back(&mut self, calls: &[Call], touched: &Touched<'_>) -> Result<Results> {
        let mut results = Results::new(calls.len(), touched.places.len());
        let weights: Vec<i64> = touched.entries.iter().map(|entry| -entry.was).collect();
        let mut open: Vec<&Key<'_>> = touched.keys.iter().collect();
        for round in 0.. {
            open.retain(|key| round < key.places.len());
            if open.is_empty() {
                break;
            }
            let at = open.iter().map(|key| (key.number, key.places.end - 1 - round));
            let mut at: Vec<(u32, usize)> = at.collect();
            at.retain(|&(_, place)| touched.has(place, |entry| entry.was));
            self.note(&at, &mut results)?;
            at.retain(|&(_, place)| !touched.is_first(place));
            self.update(calls, touched, &at, &weights)?;
        }
        results.finish()
    }

    /// Goes from the first place of each key to the last one, and returns the results that places
    /// have. The accumulators then hold all rows, as they are.
    fn walk_forth(&mut self, calls: &[Call], touched: &Touched<'_>) -> Result<Results> {
        let mut results = Results::new(calls.len(), touched.places.len());
        let mut weights: Vec<i64> = touched.entries.iter().map(|entry| entry.is).collect();
        for key in &touched.keys {
            for entry in touched.places[key.places.start].clone() {
                weights[entry] -= touched.entries[entry].was;
            }
        }
        let mut open: Vec<&Key<'_>> = touched.keys.iter().collect();
        for round in 0.. {
            open.retain(|key| round < key.places.len());
            if open.is_empty() {
                break;
            }
            let at = open.iter().map(|key| (key.number, key.places.start + round));
            let mut at: Vec<(u32, usize)> = at.collect();
            self.update(calls, touched, &at, &weights)?;
            at.retain(|&(_, place)| touched.has(place, |entry| entry.is));
            self.note(&at, &mut results)?;
        }
        results.finish()
    }

    /// Has the accumulators take in, or take away, the rows of places, each of another key.
    fn update(
        &mut self,
        calls: &[Call],
        touched: &Touched<'_>,
        at: &[(u32, usize)],
        weights: &[i64],
    ) -> Result<()> {
        let (mut rows, mut groups) = (Vec::new(), Vec::new());
        for &(number, place) in at {
            let changed = touched.places[place].clone().filter(|&entry| weights[entry] != 0);
            rows.extend(changed.map(|entry| entry as u32));
            groups.resize(rows.len(), number);
        }
        if rows.is_empty() {
            return Ok(());
        }
        for (accumulator, call) in self.accumulators.iter_mut().zip(calls) {
            call.update(accumulator.as_mut(), &rows, &groups, Some(weights))?;
        }
        Ok(())
    }

    /// Notes the results that keys have now as those of places.
    fn note(&self, at: &[(u32, usize)], results: &mut Results) -> Result<()> {
        let groups: Vec<u32> = at.iter().map(|(number, _)| *number).collect();
        if groups.is_empty() {
            return Ok(());
        }
        for (column, accumulator) in results.columns.iter_mut().zip(&self.accumulators) {
            column.push(accumulator.output(&groups)?)?;
        }
        for &(_, place) in at {
            results.of_places[place] = Some(results.count);
            results.count += 1;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let accumulators: usize = self.accumulators.iter().map(|of| of.bytes()).sum();
        self.groups.memory() + self.counts.capacity() * size_of::<i64>() + accumulators
    }
}

impl Grouped for Part {
    fn groups(&self) -> &Groups {
        &self.groups
    }

    fn groups_mut(&mut self) -> &mut Groups {
        &mut self.groups
    }

    fn grow(&mut self, group: u32) {
        let numbers = group as usize + 1;
        if numbers > self.counts.len() {
            self.counts.push(0);
            self.accumulators.iter_mut().for_each(|accumulator| accumulator.grow(numbers));
        }
    }

    fn write(&self, group: u32, bytes: &mut Vec<u8>) {
        put_i64(bytes, self.counts[group as usize]);
        self.accumulators.iter().for_each(|accumulator| accumulator.write(group, bytes));
    }

    fn read(&mut self, group: u32, mut bytes: &[u8]) -> Option<()> {
        self.counts[group as usize] = take_i64(&mut bytes)?;
        for accumulator in &mut self.accumulators {
            accumulator.read(group, &mut bytes)?;
        }
        bytes.is_empty().then_some(())
    }

    fn remove(&mut self, number: u32) {
        self.groups.remove(number);
        self.counts[number as usize] = 0;
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.reset(number));
    }
}

/// Results of places, in the order in which they were found.
struct Results {
    columns: Vec<Pieces>,
    /// Which result is that of each place, if one is.
    of_places: Vec<Option<u32>>,
    count: u32,
}

impl Results {
    fn new(calls: usize, places: usize) -> Self {
        let columns = (0..calls).map(|_| Pieces::default()).collect();
        Self { columns, of_places: vec![None; places], count: 0 }
    }

    fn finish(mut self) -> Result<Self> {
        self.columns.iter_mut().try_for_each(Pieces::join)?;
        Ok(self)
    }

    /// The column of a call; `None` if there are no results.
    fn column(&self, call: usize) -> Option<&dyn Array> {
        self.columns[call].joined.first().map(|column| column.as_ref())
    }
}

/// A column that grows by small arrays, of which there are never many.
#[derive(Default)]
struct Pieces {
    joined: Vec<ArrayRef>,
    small: Vec<ArrayRef>,
}

/// An array of a few values takes many times what they do.
const PIECES_MAX: usize = 1024;

impl Pieces {
    fn push(&mut self, piece: ArrayRef) -> Result<()> {
        self.small.push(piece);
        if self.small.len() == PIECES_MAX {
            self.joined.push(joined(&self.small)?);
            self.small.clear();
        }
        Ok(())
    }

    /// Makes one array of all, if there is any.
    fn join(&mut self) -> Result<()> {
        self.joined.append(&mut self.small);
        if self.joined.len() > 1 {
            self.joined = vec![joined(&self.joined)?];
        }
        Ok(())
    }
}

fn joined(arrays: &[ArrayRef]) -> Result<ArrayRef> {
    Ok(concat(&arrays.iter().map(AsRef::as_ref).collect::<Vec<_>>())?)
}

/// A row that comes or goes, with the number of its result among old and then new ones.
struct Shown<'a> {
    key: &'a [u8],
    row: &'a [u8],
    result: u32,
    weight: i64,
}

/// What turns the old results of what was there into the new ones of what is.
fn put_out(
    frames: &Frames,
    rows: &Arranged,
    touched: &Touched<'_>,
    old: &Results,
    new: &Results,
) -> Result<Vec<Batch>> {
    let differs = differing_places(frames.calls.len(), old, new)?;
    let mut shown = Vec::new();
    let mut show = |(key, row), result: Option<u32>, weight| {
        if let Some(result) = result.filter(|_| weight != 0) {
            shown.push(Shown { key, row, result, weight });
        }
    };
    for key in &touched.keys {
        for place in key.places.clone() {
            let [was, is] = [old.of_places[place], new.of_places[place].map(|n| n + old.count)];
            for entry in &touched.entries[touched.places[place].clone()] {
                let row = (entry.key, entry.row);
                if differs[place] {
                    show(row, was, -entry.was);
                    show(row, is, entry.is);
                } else {
                    show(row, is.or(was), entry.is - entry.was);
                }
            }
            if differs[place] && touched.is_first(place) {
                for (row, count) in touched.others(key) {
                    show((key.key, row), was, -count);
                    show((key.key, row), is, count);
                }
            }
        }
    }
    let results = (0..frames.calls.len()).map(|call| {
        let both: Vec<&dyn Array> = [old, new].iter().filter_map(|of| of.column(call)).collect();
        Ok(concat(&both)?)
    });
    let results = results.collect::<Result<Vec<ArrayRef>>>()?;
    let batch = |part| batch(frames, rows, &results, part);
    shown.chunks(OUTPUT_ROWS_MAX).map(batch).collect()
}

/// Whether each place has had and has results that differ; NULL is equal to NULL.
fn differing_places(calls: usize, old: &Results, new: &Results) -> Result<Vec<bool>> {
    let both = old.of_places.iter().zip(&new.of_places).enumerate();
    let both: Vec<(usize, u32, u32)> =
        both.filter_map(|(place, (old, new))| Some((place, (*old)?, (*new)?))).collect();
    let olds: UInt32Array = both.iter().map(|(_, old, _)| *old).collect();
    let news: UInt32Array = both.iter().map(|(_, _, new)| *new).collect();
    let chosen = |of: &Results, which: &UInt32Array| {
        let columns = (0..calls).filter_map(|call| of.column(call));
        columns.map(|column| Ok(take(column, which, None)?)).collect::<Result<Vec<_>>>()
    };
    let found = differing(&chosen(old, &olds)?, &chosen(new, &news)?, both.len())?;
    let mut differs = vec![false; old.of_places.len()];
    for ((place, ..), found) in both.into_iter().zip(found) {
        differs[place] = found;
    }
    Ok(differs)
}

fn batch(
    frames: &Frames,
    rows: &Arranged,
    results: &[ArrayRef],
    shown: &[Shown<'_>],
) -> Result<Batch> {
    let mut columns = rows.codec().decode(shown.iter().map(|of| (of.key, of.row)))?;
    let which = UInt32Array::from_iter_values(shown.iter().map(|of| of.result));
    for result in results {
        columns.push(take(result, &which, None)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(shown.len()));
    let batch = RecordBatch::try_new_with_options(frames.schema.clone(), columns, &options)?;
    Batch::new(batch, Int64Array::from_iter_values(shown.iter().map(|of| of.weight)))
}
