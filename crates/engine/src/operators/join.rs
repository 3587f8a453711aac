//! Joins: rows of two arrangements with the same key.
//!
//! With A and B what is there before an epoch, A' and B' after it, dA and dB the changes, the pairs
//! of a join change by A x dB + dA x B'. Outer, semi, anti and mark joins depend on whether a row
//! has a match: that changes where the first row of a key comes on the other side or the last one
//! goes, or, under a further condition, where a row's count of matches leaves zero or comes back.

mod counted;
mod pairs;
mod range;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::array::{UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::PhysicalExpr;
use syncline_change::source::Rejected;
use syncline_change::{Batch, Result};

use self::counted::Counted;
use self::range::Spans;
pub(crate) use self::range::{Limit, Range};
use super::arrange::Arranged;
use super::partition::PARTITIONS;
use super::{Change, Epoch, OUTPUT_ROWS_MAX, Operator};
use crate::state::{Cut, Loader, Memory, Release, Saver, put_i64, take_i64};

/// What a join puts out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinKind {
    /// Pairs of rows that match; and of the sides that are kept, rows without a match, with NULLs.
    Pairs { kept: [bool; 2] },
    /// Rows of one side alone, by whether they have a match.
    Rows { of: usize, which: Which },
}

/// Which rows of a side are put out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Matched,
    Unmatched,
    /// All, with a last column that says whether there is a match.
    Marked,
    /// As `Unmatched`, with the rules of NOT IN: nothing while the other side has a NULL, everything
    /// while it is empty, and otherwise no row whose own key is NULL.
    NotIn,
}

impl JoinKind {
    /// Whether rows of `side` are put out though nothing matches them.
    pub(crate) fn shows_unmatched(self, side: usize) -> bool {
        match self {
            Self::Pairs { kept } => kept[side],
            // NOT IN asks both sides for NULLs.
            Self::Rows { which: Which::NotIn, .. } => true,
            Self::Rows { of, which } => of == side && which != Which::Matched,
        }
    }

    /// Whether rows of `side` come out depending on whether they have a match.
    pub(crate) fn shows_rows_of(self, side: usize) -> bool {
        match self {
            Self::Pairs { kept } => kept[side],
            Self::Rows { of, .. } => of == side,
        }
    }
}

/// What a join is made of.
pub(crate) struct JoinSpec {
    pub(crate) name: String,
    pub(crate) view: String,
    pub(crate) kind: JoinKind,
    /// Whether NULL equals NULL in keys.
    pub(crate) nulls_match: bool,
    /// A condition beyond the equal keys, over the columns of both sides.
    pub(crate) condition: Option<Condition>,
    /// Of each side that is arranged in the order of a time, what the condition asks of that.
    pub(crate) ranges: [Option<Range>; 2],
    pub(crate) schema: SchemaRef,
}

/// A predicate over the columns of both sides, with the schema that these have together.
pub(crate) struct Condition {
    pub(crate) predicate: Arc<dyn PhysicalExpr>,
    pub(crate) schema: SchemaRef,
}

pub(crate) struct Join {
    spec: JoinSpec,
    /// Of each partition, how many matches rows have, where a condition makes that a matter of rows.
    counts: Vec<[Counted; 2]>,
    /// Of the other side of a NOT IN: rows, and rows with a NULL.
    others: Others,
    /// Of each side, the rows whose matches change no more.
    releases: [Option<Release>; 2],
}

/// What NOT IN must know of its other side.
#[derive(Clone, Copy, Default)]
struct Others {
    rows: i64,
    nulls: i64,
}

impl Join {
    /// The inputs are arrangements of both sides by the join's key.
    pub(crate) fn new(
        spec: JoinSpec,
        releases: [Option<Release>; 2],
        memory: &Arc<Memory>,
    ) -> Self {
        let counts = (0..PARTITIONS).map(|_| [0, 1].map(|_| Counted::new(memory.clone())));
        let counts = counts.collect();
        Self { spec, counts, others: Others::default(), releases }
    }
}

impl Operator for Join {
    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let name = &self.spec.name;
        let (left, right) = (inputs[0].arranged(name)?, inputs[1].arranged(name)?);
        let sides = [left, right];
        let cuts = self.releases.each_ref().map(|release| release.as_ref()?.cut());
        let mut spans = [None, None];
        for (side, range) in self.spec.ranges.iter().enumerate() {
            let Some(range) = range.as_ref().filter(|_| !inputs[1 - side].batches.is_empty())
            else {
                continue;
            };
            spans[side] = Some(range.spans(sides[1 - side])?);
        }
        let spans = &spans;
        let view = View { spec: &self.spec, sides, spans, epoch: epoch.number, cuts };
        if let JoinKind::Rows { of, which: Which::NotIn } = self.spec.kind {
            let before = self.others;
            self.others = view.others(1 - of, before)?;
            if let Some(output) = view.turn(of, before, self.others)? {
                return Ok(output);
            }
        }
        let others = self.others;
        let rows: usize = inputs.iter().flat_map(|input| input.batches).map(Batch::num_rows).sum();
        let done = epoch.workers.run_all(rows, &mut self.counts, |partition, counts| {
            if view.deltas(partition).iter().all(Option::is_none) {
                return Ok(Output::default());
            }
            view.step(partition, counts, others)
        })?;
        for (side, release) in self.releases.iter_mut().enumerate() {
            let Some(release) = release.as_mut().filter(|_| self.spec.condition.is_some()) else {
                continue;
            };
            let moved = release.advance(epoch.passed);
            if let Some(cut) = release.cut().filter(|_| moved) {
                self.counts.iter_mut().for_each(|counted| counted[side].forget(cut));
            }
        }
        let mut output = Vec::new();
        for part in done {
            output.extend(part.batches);
            let rejected = part.rejected.into_iter();
            epoch.rejected.extend(rejected.map(|row| (self.spec.view.clone(), row)));
        }
        Batch::coalesce(&self.spec.schema, output, OUTPUT_ROWS_MAX)
    }

    fn save(&mut self, to: &mut Saver<'_>) -> Result<()> {
        for (number, counts) in self.counts.iter().enumerate() {
            let mut to = to.within(number);
            counts.iter().enumerate().for_each(|(side, of)| to.runs(side, of.runs()));
        }
        to.value("others", |bytes| {
            put_i64(bytes, self.others.rows);
            put_i64(bytes, self.others.nulls);
        });
        Ok(())
    }

    fn load(&mut self, from: &Loader<'_>) -> Result<()> {
        for (number, counts) in self.counts.iter_mut().enumerate() {
            let from = from.within(number);
            for (side, counted) in counts.iter_mut().enumerate() {
                counted.load(from.runs(side)?);
            }
        }
        let others =
            |bytes: &mut &[u8]| Some(Others { rows: take_i64(bytes)?, nulls: take_i64(bytes)? });
        self.others = from.value("others", others)?;
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.counts.iter().flatten().map(Counted::len).sum()
    }

    fn state_bytes(&self) -> usize {
        self.counts.iter().flatten().map(Counted::bytes).sum()
    }
}

/// What one partition puts out.
#[derive(Default)]
struct Output {
    batches: Vec<Batch>,
    /// Pairs for which the condition could not be computed.
    rejected: Vec<Rejected>,
}

/// The two sides as of an epoch.
#[derive(Clone, Copy)]
struct View<'a> {
    spec: &'a JoinSpec,
    sides: [&'a Arranged; 2],
    /// Of each side that has a range, what of it the rows match that the other side changes.
    spans: &'a [Option<Spans>; 2],
    epoch: u64,
    /// Of each side, what no later change reaches, as of the last step.
    cuts: [Option<&'a Cut>; 2],
}

/// A row of one side, its key and the rest, and how often it comes or goes.
#[derive(Clone, Copy)]
struct Entry<'a> {
    key: &'a [u8],
    row: &'a [u8],
    weight: i64,
    mark: bool,
}

impl<'a> View<'a> {
    fn deltas(&self, partition: usize) -> [Option<&'a super::arrange::Delta>; 2] {
        self.sides.map(|side| side.delta(self.epoch, partition))
    }

    fn step(&self, partition: usize, counts: &mut [Counted; 2], others: Others) -> Result<Output> {
        let mut output = Output::default();
        let counted = self.counted_sides();
        let is_pairs = matches!(self.spec.kind, JoinKind::Pairs { .. });
        let mut contributions = match is_pairs || counted != [false, false] {
            true => self.pairs(partition, counted, &mut output)?,
            false => [vec![], vec![]],
        };
        for side in [0, 1] {
            if !self.spec.kind.shows_rows_of(side) {
                continue;
            }
            let entries = if counted[side] {
                let touched = std::mem::take(&mut contributions[side]);
                counts[side].apply(self, partition, side, touched)?
            } else {
                self.by_key(partition, side, others)
            };
            self.emit(side, &entries, &mut output)?;
        }
        Ok(output)
    }

    /// Of which sides the matches of every row are counted.
    fn counted_sides(&self) -> [bool; 2] {
        [0, 1].map(|side| self.spec.condition.is_some() && self.spec.kind.shows_rows_of(side))
    }

    /// Whether a row that has a match, or has none, is shown.
    fn shows(&self, matched: bool) -> bool {
        match self.spec.kind {
            JoinKind::Pairs { .. } => !matched,
            JoinKind::Rows { which: Which::Matched, .. } => matched,
            JoinKind::Rows { which: Which::Marked, .. } => true,
            JoinKind::Rows { .. } => !matched,
        }
    }

    /// The rows of `side` that come and go, where all rows of a key have the same matches.
    fn by_key(&self, partition: usize, side: usize, others: Others) -> Vec<Entry<'a>> {
        let mut entries = Vec::new();
        let deltas = self.deltas(partition);
        for (changed, delta) in deltas.iter().enumerate() {
            let Some(delta) = delta else { continue };
            for group in 0..delta.run.groups() {
                let (hash, key) = (delta.run.hash(group), delta.run.key(group));
                if changed == 1
                    && deltas[0].is_some_and(|first| first.run.find(hash, key).is_some())
                {
                    continue; // Seen with the first side.
                }
                let is_null = delta.has_null_key(group) && !self.spec.nulls_match;
                if is_null && self.hides_null_keys(others) {
                    continue;
                }
                let other = self.sides[1 - side];
                let matched = [
                    !is_null && !other.before(self.epoch, partition, hash, key).is_empty(),
                    !is_null && !other.after(partition, hash, key).is_empty(),
                ];
                self.change_of_key(partition, side, (hash, key), matched, &mut entries);
            }
        }
        entries
    }

    /// The rows of one key that come and go as it had and now has a match.
    fn change_of_key(
        &self,
        partition: usize,
        side: usize,
        (hash, key): (u64, &'a [u8]),
        [before, after]: [bool; 2],
        entries: &mut Vec<Entry<'a>>,
    ) {
        let own = self.sides[side];
        if before == after {
            let delta = own.delta(self.epoch, partition).filter(|_| self.shows(after));
            let changed = delta.and_then(|delta| Some((delta, delta.run.find(hash, key)?)));
            if let Some((delta, group)) = changed {
                entries.extend(delta.run.rows_of(group).map(|row| {
                    let (row, weight) = (delta.run.row(row), delta.run.weight(row));
                    Entry { key, row, weight, mark: after }
                }));
            }
            return;
        }
        let rows = own.before(self.epoch, partition, hash, key).filter(|_| self.shows(before));
        entries.extend(rows.map(|(row, n)| Entry { key, row, weight: -n, mark: before }));
        let rows = own.after(partition, hash, key).filter(|_| self.shows(after));
        entries.extend(rows.map(|(row, n)| Entry { key, row, weight: n, mark: after }));
    }

    fn hides_null_keys(&self, others: Others) -> bool {
        matches!(self.spec.kind, JoinKind::Rows { which: Which::NotIn, .. }) && others.rows > 0
    }

    /// Puts out rows of one side, with NULLs for the other or a mark.
    fn emit(&self, side: usize, entries: &[Entry<'_>], output: &mut Output) -> Result<()> {
        for part in entries.chunks(OUTPUT_ROWS_MAX) {
            let own = self.sides[side].codec().decode(part.iter().map(|e| (e.key, e.row)))?;
            let columns = match self.spec.kind {
                JoinKind::Pairs { .. } => {
                    let fields = self.sides[1 - side].codec().schema().fields();
                    let nulls = fields.iter().map(|f| new_null_array(f.data_type(), part.len()));
                    joined(side, own, nulls.collect())
                }
                JoinKind::Rows { which: Which::Marked, .. } => {
                    let marks = BooleanArray::from_iter(part.iter().map(|e| Some(e.mark)));
                    own.into_iter().chain([Arc::new(marks) as ArrayRef]).collect()
                }
                JoinKind::Rows { .. } => own,
            };
            let weights = part.iter().map(|entry| entry.weight).collect();
            output.batches.push(batch(&self.spec.schema, columns, weights)?);
        }
        Ok(())
    }

    /// What NOT IN knows of its other side after this epoch.
    fn others(&self, side: usize, mut known: Others) -> Result<Others> {
        for partition in 0..PARTITIONS {
            let Some(delta) = self.sides[side].delta(self.epoch, partition) else { continue };
            for group in 0..delta.run.groups() {
                let rows: i64 = delta.run.rows_of(group).map(|row| delta.run.weight(row)).sum();
                known.rows += rows;
                known.nulls += if delta.has_null_key(group) { rows } else { 0 };
            }
        }
        Ok(known)
    }

    /// Where the other side of a NOT IN has become empty, or has got its first NULL, or the reverse
    /// of these, everything is put out anew. `None` if the change is one of single keys.
    fn turn(&self, of: usize, before: Others, after: Others) -> Result<Option<Vec<Batch>>> {
        let phase = |others: Others| (others.rows == 0, others.nulls > 0);
        if phase(before) == phase(after) {
            return Ok((after.nulls > 0).then(Vec::new));
        }
        let mut output = Output::default();
        for (others, is_after, sign) in [(before, false, -1), (after, true, 1)] {
            if others.nulls > 0 {
                continue;
            }
            for partition in 0..PARTITIONS {
                let entries = self.unmatched(partition, of, others, is_after, sign)?;
                self.emit(of, &entries, &mut output)?;
            }
        }
        Batch::coalesce(&self.spec.schema, output.batches, OUTPUT_ROWS_MAX).map(Some)
    }

    /// All rows of a partition that NOT IN shows, before or after this epoch.
    fn unmatched(
        &self,
        partition: usize,
        side: usize,
        others: Others,
        is_after: bool,
        sign: i64,
    ) -> Result<Vec<Entry<'a>>> {
        let of = |side: &'a Arranged, hash, key| match is_after {
            true => side.after(partition, hash, key),
            false => side.before(self.epoch, partition, hash, key),
        };
        let (own, other) = (self.sides[side], self.sides[1 - side]);
        let mut keys: Vec<(u64, &[u8])> = own
            .runs(self.epoch, partition, is_after)
            .flat_map(|run| (0..run.groups()).map(|group| (run.hash(group), run.key(group))))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let mut entries = Vec::new();
        for (hash, key) in keys {
            let hidden = others.rows > 0 && own.codec().has_null_key(key)?;
            if !hidden && of(other, hash, key).is_empty() {
                let rows = of(own, hash, key);
                entries.extend(rows.map(|(row, n)| Entry {
                    key,
                    row,
                    weight: sign * n,
                    mark: false,
                }));
            }
        }
        Ok(entries)
    }
}

/// The columns of both sides, the left one's first.
fn joined(side: usize, own: Vec<ArrayRef>, other: Vec<ArrayRef>) -> Vec<ArrayRef> {
    let (left, right) = if side == 0 { (own, other) } else { (other, own) };
    left.into_iter().chain(right).collect()
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, weights: Vec<i64>) -> Result<Batch> {
    let options = RecordBatchOptions::new().with_row_count(Some(weights.len()));
    let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
    Batch::new(rows, Int64Array::from(weights))
}

fn gather(columns: &[ArrayRef], indices: &UInt32Array) -> Result<Vec<ArrayRef>> {
    columns.iter().map(|column| Ok(take(column, indices, None)?)).collect()
}
