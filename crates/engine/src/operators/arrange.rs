//! Rows arranged by key: what joins look their matches up in.
//!
//! An arrangement is a node of its own, so that all that need the same rows by the same key share
//! it. Its changes of an epoch stand beside what was there before, and readers choose: before the
//! epoch, its changes, after it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::{SortOptions, filter};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::SortField;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::PhysicalExpr;
use syncline_change::row::{self, canonical_column};
use syncline_change::{Batch, Result};

use super::map::{evaluate, without_failing};
use super::partition::{PARTITIONS, Parts, Split, sliced};
use super::{Change, Epoch, Operator, negative};
use crate::state::{
    Cut, Encoded, Group, KeyedCodec, Loader, Memory, Release, Run, RunBuilder, Saver, Spine,
};

/// One term of an order.
#[derive(Clone, Debug)]
pub(crate) struct SortTerm {
    pub(crate) expr: Arc<dyn PhysicalExpr>,
    pub(crate) data_type: DataType,
    pub(crate) options: SortOptions,
}

/// By what rows are arranged.
#[derive(Clone, Debug)]
pub(crate) struct Arrangement {
    pub(crate) keys: Vec<(Arc<dyn PhysicalExpr>, DataType)>,
    /// The order of the rows of a key; ties are broken by all other columns.
    pub(crate) order: Vec<SortTerm>,
    /// Whether the rows of a key are in order, or anyhow.
    pub(crate) ordered: bool,
    /// Whether rows with a NULL in their key are kept.
    pub(crate) keeps_null_keys: bool,
    /// What a reader will compute: a row for which that fails is not kept.
    pub(crate) computed: Vec<Arc<dyn PhysicalExpr>>,
}

impl Arrangement {
    pub(crate) fn by(keys: Vec<(Arc<dyn PhysicalExpr>, DataType)>) -> Self {
        Self { keys, order: vec![], ordered: true, keeps_null_keys: true, computed: vec![] }
    }

    /// What turns rows of `schema` into keys and the rest.
    pub(crate) fn codec(&self, schema: SchemaRef) -> Result<KeyedCodec> {
        let column = |expr: &Arc<dyn PhysicalExpr>| Some(expr.downcast_ref::<Column>()?.index());
        // A float in a key has one form, which a row's own column may not have.
        let is_exact = |of: &DataType| !of.is_floating();
        let keys = self.keys.iter().map(|(expr, key_type)| {
            (SortField::new(key_type.clone()), column(expr).filter(|_| is_exact(key_type)))
        });
        let order = self.order.iter().map(|term| {
            let field = SortField::new_with_options(term.data_type.clone(), term.options);
            (field, column(&term.expr))
        });
        KeyedCodec::new(schema, keys.collect(), order.collect(), self.ordered)
    }

    /// The columns of the key and those of the order.
    ///
    /// # Errors
    /// If one of these, or what a reader will compute, fails for a row.
    pub(crate) fn evaluate(&self, rows: &RecordBatch) -> Result<(Vec<ArrayRef>, Vec<ArrayRef>)> {
        let keys = self.keys.iter().map(|(expr, _)| Ok(canonical_column(&evaluate(expr, rows)?)));
        let order = self.order.iter().map(|term| evaluate(&term.expr, rows));
        self.computed.iter().try_for_each(|expr| evaluate(expr, rows).map(drop))?;
        Ok((keys.collect::<Result<_>>()?, order.collect::<Result<_>>()?))
    }
}

impl PartialEq for Arrangement {
    fn eq(&self, other: &Self) -> bool {
        let keys = |of: &Self| of.keys.iter().map(|(key, _)| Arc::clone(key)).collect::<Vec<_>>();
        let order = |of: &Self| {
            let terms = of.order.iter().map(|term| (Arc::clone(&term.expr), term.options));
            terms.collect::<Vec<_>>()
        };
        keys(self) == keys(other)
            && order(self) == order(other)
            && self.ordered == other.ordered
            && self.keeps_null_keys == other.keeps_null_keys
            && self.computed == other.computed
    }
}

/// Keeps its input's rows by key.
pub(crate) struct Arrange {
    by: Arrangement,
    rows: Arranged,
    /// What no reader will look up again, and no later change has.
    release: Option<Release>,
    /// Whether more can go since the last step.
    has_moved: bool,
    name: String,
    /// Whose rows these are, for reports.
    view: String,
}

impl Arrange {
    pub(crate) fn new(
        (name, view): (String, String),
        by: Arrangement,
        schema: SchemaRef,
        memory: &Arc<Memory>,
    ) -> Result<Self> {
        let codec = by.codec(schema)?;
        let parts = (0..PARTITIONS)
            .map(|_| Part { spine: Spine::new(memory.clone()), latest: None })
            .collect();
        Ok(Self {
            by,
            rows: Arranged { codec, parts, batch: None },
            release: None,
            has_moved: false,
            name,
            view,
        })
    }
}

impl Operator for Arrange {
    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let Some(first) = inputs[0].batches.first() else { return Ok(vec![]) };
        let batch = epoch.workers.concat(&first.schema(), inputs[0].batches)?;
        let (mut batch, (mut keys, mut order)) =
            without_failing(epoch, &self.view, &batch, |batch| self.by.evaluate(batch.rows()))?;
        let mut null_keys = null_keys(&keys, batch.num_rows());
        if let Some(nulls) = null_keys.as_ref().filter(|_| !self.by.keeps_null_keys) {
            let keep = arrow::compute::not(nulls)?;
            batch = batch.filter(&keep)?;
            for column in keys.iter_mut().chain(&mut order) {
                *column = filter(column, &keep)?;
            }
            null_keys = None;
        }
        let codec = &self.rows.codec;
        let encoded = epoch.workers.by_parts(batch.num_rows(), |part| {
            let keys = codec.encode_keys(&sliced(&keys, &part))?;
            let rows = batch.rows().slice(part.start, part.len());
            let rest = codec.encode_rest(&sliced(&order, &part), &rows)?;
            let hashes = (0..part.len()).map(|row| row::hash(keys.get(row))).collect();
            Ok(Changed { keys, rest, hashes })
        })?;
        let hashes: Vec<u64> = encoded.iter().flat_map(|part| &part.hashes).copied().collect();
        let changes = Changes { epoch: epoch.number, encoded, null_keys, batch: &batch };
        let split = Split::new(&hashes);
        let name = &self.name;
        // As of the last step: this epoch's changes may be from before what it passes.
        let cut = self.release.as_ref().and_then(Release::cut);
        if let Some(cut) = cut.filter(|_| self.has_moved) {
            self.rows.parts.iter_mut().for_each(|part| part.forget(cut));
        }
        epoch.workers.run(&split, &mut self.rows.parts, |part, rows| {
            let rows = rows.iter().map(|&row| (hashes[row as usize], row));
            part.take_in(name, &changes, rows, cut)
        })?;
        if let Some(release) = &mut self.release {
            self.has_moved = release.advance(epoch.passed);
        }
        self.rows.batch = Some(batch.clone());
        Ok(vec![batch])
    }

    fn arranged(&self) -> Option<&Arranged> {
        Some(&self.rows)
    }

    fn let_go(&mut self, release: Release) {
        self.release = Some(release);
    }

    fn save(&mut self, to: &mut Saver<'_>) -> Result<()> {
        for (number, part) in self.rows.parts.iter().enumerate() {
            let latest = part.latest.as_ref().map(|delta| &delta.run).filter(|run| run.len() > 0);
            to.runs(number, part.spine.runs().chain(latest).cloned());
        }
        Ok(())
    }

    fn load(&mut self, from: &Loader<'_>) -> Result<()> {
        for (number, part) in self.rows.parts.iter_mut().enumerate() {
            part.spine.load(from.runs(number)?);
        }
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.rows.parts.iter().map(Part::len).sum()
    }

    fn state_bytes(&self) -> usize {
        self.rows.parts.iter().map(Part::bytes).sum()
    }
}

/// Which rows have a NULL in their key; `None` if none has.
fn null_keys(keys: &[ArrayRef], rows: usize) -> Option<BooleanArray> {
    if keys.iter().all(|key| key.logical_null_count() == 0) {
        return None;
    }
    let nulls: Vec<_> = keys.iter().filter_map(|key| key.logical_nulls()).collect();
    Some((0..rows).map(|row| Some(nulls.iter().any(|nulls| nulls.is_null(row)))).collect())
}

/// The changes of an epoch, encoded.
struct Changes<'a> {
    epoch: u64,
    encoded: Parts<Changed>,
    null_keys: Option<BooleanArray>,
    batch: &'a Batch,
}

/// A part of the changes.
struct Changed {
    keys: Encoded,
    rest: Encoded,
    hashes: Vec<u64>,
}

impl Changes<'_> {
    fn key(&self, row: u32) -> &[u8] {
        let (part, row) = self.encoded.of(row as usize);
        part.keys.get(row)
    }

    fn rest(&self, row: u32) -> &[u8] {
        let (part, row) = self.encoded.of(row as usize);
        part.rest.get(row)
    }
}

/// Rows by key, to be read by others.
pub(crate) struct Arranged {
    codec: KeyedCodec,
    parts: Vec<Part>,
    /// The changes of the last epoch that had any.
    batch: Option<Batch>,
}

impl Arranged {
    pub(crate) fn codec(&self) -> &KeyedCodec {
        &self.codec
    }

    /// What `epoch` changes in a partition.
    pub(crate) fn delta(&self, epoch: u64, partition: usize) -> Option<&Delta> {
        self.parts[partition].latest.as_ref().filter(|delta| delta.epoch == epoch)
    }

    /// What `work` makes of each partition that this epoch changes, in the order of partitions.
    pub(crate) fn each_delta(
        &self,
        epoch: &Epoch<'_>,
        work: impl Fn(usize, &Delta) -> Result<Vec<Batch>> + Sync,
    ) -> Result<Vec<Batch>> {
        let mut nothing = [(); PARTITIONS];
        self.each_delta_with(epoch, &mut nothing, |(), partition, delta| work(partition, delta))
    }

    /// The same, where `work` has a state of its own for each partition.
    pub(crate) fn each_delta_with<S: Send>(
        &self,
        epoch: &Epoch<'_>,
        states: &mut [S],
        work: impl Fn(&mut S, usize, &Delta) -> Result<Vec<Batch>> + Sync,
    ) -> Result<Vec<Batch>> {
        let deltas: Vec<_> =
            (0..PARTITIONS).map(|partition| self.delta(epoch.number, partition)).collect();
        let changes = self.batch.as_ref().map_or(0, Batch::num_rows);
        let done = epoch.workers.run_all(changes, states, |partition, state| {
            deltas[partition].map_or(Ok(vec![]), |delta| work(state, partition, delta))
        })?;
        Ok(done.into_iter().flatten().collect())
    }

    /// The rows of a key before `epoch`.
    pub(crate) fn before(&self, epoch: u64, partition: usize, hash: u64, key: &[u8]) -> Group<'_> {
        let part = &self.parts[partition];
        let mut group = Group::default();
        part.spine.add_to(&mut group, hash, key);
        if let Some(delta) = part.latest.as_ref().filter(|delta| delta.epoch != epoch) {
            group.add(&delta.run, hash, key);
        }
        group
    }

    /// The rows of a key after this epoch.
    pub(crate) fn after(&self, partition: usize, hash: u64, key: &[u8]) -> Group<'_> {
        self.parts[partition].group(hash, key)
    }

    /// The rows that `epoch` changed, which the origins of its deltas are numbers of.
    pub(crate) fn changed(&self) -> &[ArrayRef] {
        self.batch.as_ref().map_or(&[], |batch| batch.rows().columns())
    }

    /// The same as a batch; `None` if nothing has changed yet.
    pub(crate) fn changed_rows(&self) -> Option<&RecordBatch> {
        self.batch.as_ref().map(Batch::rows)
    }

    /// Every run of a partition, that of `epoch` excepted unless `with_epoch`.
    pub(crate) fn runs(
        &self,
        epoch: u64,
        partition: usize,
        with_epoch: bool,
    ) -> impl Iterator<Item = &Run> {
        let part = &self.parts[partition];
        let latest = part.latest.as_ref().filter(|delta| with_epoch || delta.epoch != epoch);
        part.spine.runs().chain(latest.map(|delta| &delta.run)).map(Arc::as_ref)
    }
}

/// The rows of one partition.
struct Part {
    spine: Spine,
    /// The last changes, which the spine does not have yet.
    latest: Option<Delta>,
}

/// What one epoch changes in one partition.
pub(crate) struct Delta {
    epoch: u64,
    /// The sum of the changes; may take rows away.
    pub(crate) run: Arc<Run>,
    /// Of each row of the run, a row of the epoch's changes that is equal to it.
    pub(crate) origins: Vec<u32>,
    /// Which groups of the run have a NULL in their key; `None` if none has.
    null_keys: Option<Vec<bool>>,
}

impl Delta {
    pub(crate) fn has_null_key(&self, group: usize) -> bool {
        self.null_keys.as_ref().is_some_and(|nulls| nulls[group])
    }
}

impl Part {
    fn take_in(
        &mut self,
        name: &str,
        changes: &Changes<'_>,
        rows: impl Iterator<Item = (u64, u32)>,
        cut: Option<&Cut>,
    ) -> Result<()> {
        if let Some(delta) = self.latest.take() {
            self.spine.insert(delta.run, cut)?;
        }
        let delta = Delta::new(changes, rows)?;
        if delta.run.takes_away() {
            self.check(name, &delta.run)?;
        }
        self.latest = Some(delta);
        Ok(())
    }

    /// # Errors
    /// `Bug` if more of a row is taken away than there is.
    fn check(&self, name: &str, run: &Run) -> Result<()> {
        for group in 0..run.groups() {
            let mut before = None;
            for row in run.rows_of(group).filter(|&row| run.weight(row) < 0) {
                let before = before.get_or_insert_with(|| {
                    let mut found = Group::default();
                    self.spine.add_to(&mut found, run.hash(group), run.key(group));
                    found
                });
                if before.weight(run.row(row)) + run.weight(row) < 0 {
                    return Err(negative(name, "a row"));
                }
            }
        }
        Ok(())
    }

    /// Drops what is past as a whole, also where no row comes any more that would have runs merged.
    fn forget(&mut self, cut: &Cut) {
        self.spine.forget(cut, self.latest.as_ref().map(|delta| &delta.run));
        if self.latest.as_ref().is_some_and(|delta| self.spine.is_past(cut, &delta.run)) {
            self.latest = None;
        }
    }

    fn group(&self, hash: u64, key: &[u8]) -> Group<'_> {
        let mut group = Group::default();
        self.spine.add_to(&mut group, hash, key);
        if let Some(delta) = &self.latest {
            group.add(&delta.run, hash, key);
        }
        group
    }

    fn len(&self) -> usize {
        self.spine.len() + self.latest.as_ref().map_or(0, |delta| delta.run.len())
    }

    fn bytes(&self) -> usize {
        let latest = self
            .latest
            .as_ref()
            .map_or(0, |delta| delta.run.bytes() + delta.origins.capacity() * size_of::<u32>());
        self.spine.bytes() + latest
    }
}

impl Delta {
    fn new(changes: &Changes<'_>, rows: impl Iterator<Item = (u64, u32)>) -> Result<Self> {
        let mut sorted: Vec<(u64, u32)> = rows.collect();
        sorted.sort_unstable_by(|&(a_hash, a), &(b_hash, b)| {
            (a_hash.cmp(&b_hash))
                .then_with(|| changes.key(a).cmp(changes.key(b)))
                .then_with(|| changes.rest(a).cmp(changes.rest(b)))
                .then(a.cmp(&b))
        });
        let mut builder = RunBuilder::default();
        let (mut origins, mut null_keys) = (Vec::with_capacity(sorted.len()), Vec::new());
        let same_key =
            |a: &(u64, u32), b: &(u64, u32)| a.0 == b.0 && changes.key(a.1) == changes.key(b.1);
        for group in sorted.chunk_by(same_key) {
            let (hash, first) = group[0];
            builder.open_group(hash, changes.key(first));
            let rows_before = origins.len();
            let same = |a: &(u64, u32), b: &(u64, u32)| changes.rest(a.1) == changes.rest(b.1);
            for equal in group.chunk_by(same) {
                let weight = equal.iter().map(|&(_, row)| changes.batch.weight(row as usize)).sum();
                if weight != 0 {
                    builder.push(changes.rest(equal[0].1), weight);
                    origins.push(equal[0].1);
                }
            }
            if let Some(nulls) = &changes.null_keys
                && origins.len() > rows_before
            {
                null_keys.push(nulls.value(first as usize));
            }
        }
        Ok(Self {
            epoch: changes.epoch,
            run: Arc::new(builder.finish()?),
            origins,
            null_keys: changes.null_keys.as_ref().map(|_| null_keys),
        })
    }
}

/// The key that all rows have together where there is none.
pub(super) const NO_KEY: &[u8] = &[];

/// Rows without a key, each with its weight.
pub(super) fn unkeyed(codec: &KeyedCodec, rows: &[(&[u8], i64)]) -> Result<Batch> {
    let columns = codec.decode(rows.iter().map(|(row, _)| (NO_KEY, *row)))?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let batch = RecordBatch::try_new_with_options(codec.schema().clone(), columns, &options)?;
    Batch::new(batch, Int64Array::from_iter_values(rows.iter().map(|(_, count)| *count)))
}
