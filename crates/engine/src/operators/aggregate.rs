//! GROUP BY, and DISTINCT as the one without aggregates.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array,
    make_comparator,
};
use arrow::compute::{SortOptions, concat, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_plan::PhysicalExpr;
use hashbrown::HashSet;
use syncline_change::row::{self, RowCodec};
use syncline_change::{Batch, Error, Result};

use super::accumulate::{
    Accumulate, Bitwise, Count, DecimalAverage, Distinct, Ends, FloatSum, PairCount, Pick,
    Statistics, Update, bitwise, extreme, median, percentile, wrapping_sum,
};
use super::groups::{self, Grouped, Groups};
use super::map::{evaluate, truths};
use super::partition::{PARTITION_BITS, PARTITIONS, Split, partition, sliced};
use super::{Change, Epoch, Operator, negative};
use crate::functions::moments::Statistic;
use crate::state::{Extent, Loader, Release, Saver, Sweep, put_i64, take_i64};

/// An aggregate function that can be kept up to date by itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Function {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    Median,
    /// `percentile_cont`, counted from the least value.
    Percentile(f64),
    /// `first_value` and `last_value`: what they are ordered by are further arguments.
    Pick(Pick),
    /// Variance, covariance, correlation and regression.
    Statistic(Statistic),
    /// `regr_count`: rows of which both arguments are there.
    PairCount,
    /// `bit_and`, `bit_or`, `bit_xor`; the first two of truth values are `bool_and` and `bool_or`.
    Bitwise(Bitwise),
}

impl Function {
    /// By DataFusion's name and the number of arguments; `None` for what is not kept up to date, or
    /// takes more than arguments.
    pub(crate) fn named(name: &str, arguments: usize) -> Option<Self> {
        Some(match (name, arguments) {
            ("count", _) => Self::Count,
            ("sum", 1) => Self::Sum,
            ("avg", 1) => Self::Avg,
            ("min", 1) => Self::Min,
            ("max", 1) => Self::Max,
            ("median", 1) => Self::Median,
            ("regr_count", 2) => Self::PairCount,
            ("bit_and" | "bool_and", 1) => Self::Bitwise(Bitwise::And),
            ("bit_or" | "bool_or", 1) => Self::Bitwise(Bitwise::Or),
            ("bit_xor", 1) => Self::Bitwise(Bitwise::Xor),
            _ => {
                let statistic = Statistic::named(name)?;
                let wanted = if statistic.is_of_pairs() { 2 } else { 1 };
                (arguments == wanted).then_some(Self::Statistic(statistic))?
            }
        })
    }
}

/// One call of an aggregate function.
pub(crate) struct AggregateCall {
    pub(crate) function: Function,
    /// Whether equal arguments count once.
    pub(crate) distinct: bool,
    pub(crate) arguments: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) argument_types: Vec<DataType>,
    pub(crate) result: DataType,
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
}

impl AggregateCall {
    /// All that is computed of a row.
    pub(crate) fn expressions(&mut self) -> impl Iterator<Item = &mut Arc<dyn PhysicalExpr>> {
        self.arguments.iter_mut().chain(&mut self.filter)
    }

    /// Whether the call's types are among those that can be kept up to date.
    pub(crate) fn is_supported(&self) -> bool {
        self.accumulator(true).is_ok() && self.values().is_ok()
    }

    /// What is computed of a batch.
    pub(super) fn evaluate(&self, rows: &RecordBatch) -> Result<Call> {
        let arguments = self.arguments.iter().map(|argument| evaluate(argument, rows));
        let only = self.filter.as_ref().map(|only| truths(&evaluate(only, rows)?));
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        Ok(Call { arguments, only: only.transpose()?, weights: None })
    }

    pub(super) fn accumulator(&self, append_only: bool) -> Result<Box<dyn Accumulate>> {
        let unsupported = || Error::unsupported(format!("{:?} of these types", self.function));
        let argument = || self.argument_types.first().ok_or_else(unsupported);
        Ok(match &self.function {
            Function::Count => Box::new(Count::default()),
            Function::Sum if self.result == DataType::Float64 => Box::new(FloatSum::new(false)),
            Function::Sum => wrapping_sum(&self.result).ok_or_else(unsupported)?,
            Function::Avg if self.result == DataType::Float64 => Box::new(FloatSum::new(true)),
            Function::Avg => {
                let average = DecimalAverage::new(argument()?, &self.result);
                Box::new(average.ok_or_else(unsupported)?)
            }
            Function::Min => extreme(argument()?, false, append_only)?,
            Function::Max => extreme(argument()?, true, append_only)?,
            Function::Median => median(argument()?).ok_or_else(unsupported)?,
            Function::Percentile(place) => {
                percentile(argument()?, *place).ok_or_else(unsupported)?
            }
            Function::Pick(_) if self.distinct => return Err(unsupported()),
            Function::Pick(pick) => Box::new(Ends::new(pick, &self.argument_types, append_only)?),
            Function::Statistic(statistic)
                if self.argument_types.iter().all(|of| *of == DataType::Float64) =>
            {
                Box::new(Statistics::new(*statistic))
            }
            Function::Statistic(_) => return Err(unsupported()),
            Function::PairCount if self.distinct => return Err(unsupported()),
            Function::PairCount => Box::new(PairCount::default()),
            Function::Bitwise(operation) => {
                bitwise(argument()?, *operation).ok_or_else(unsupported)?
            }
        })
    }

    /// The values that are there, where that matters.
    fn values(&self) -> Result<Option<Distinct>> {
        if !self.distinct || matches!(self.function, Function::Min | Function::Max) {
            return Ok(None);
        }
        if self
            .argument_types
            .iter()
            .any(|of| of.is_nested() || matches!(of, DataType::Interval(_)))
        {
            return Err(Error::unsupported("DISTINCT values of this type"));
        }
        let fields = self.argument_types.iter().map(|of| Field::new("value", of.clone(), true));
        let codec = RowCodec::new(Arc::new(Schema::new(fields.collect::<Vec<_>>())))?;
        Ok(Some(Distinct::new(codec)))
    }
}

/// Groups rows by key and keeps the aggregates of every group.
pub(crate) struct Aggregate {
    /// Keys and what calls are of are columns of the input: nothing is computed that could fail.
    keys: Vec<Arc<dyn PhysicalExpr>>,
    calls: Vec<AggregateCall>,
    /// Of each call, the values that are there if it is of distinct ones.
    distinct: Vec<Option<Distinct>>,
    /// Encodes group keys; the output's first columns.
    codec: RowCodec,
    partitions: Vec<Partition>,
    schema: SchemaRef,
    /// Without keys there is one group, and it is there even when it has no rows.
    shows_empty_group: bool,
    /// Which groups no later change has a row of. What they showed stays shown.
    sweep: Option<Sweep>,
    name: String,
}

/// The groups whose keys hash into one partition.
#[derive(Default)]
struct Partition {
    groups: Groups,
    /// Rows in each group; a group without rows is none.
    counts: Vec<i64>,
    /// Different values in each group, of all calls that are of distinct ones; empty without such.
    values: Vec<usize>,
    /// Of each group a number that no other group in any partition has had, by which its distinct
    /// values are told from others'.
    ids: Vec<u64>,
    next_id: u64,
    accumulators: Vec<Box<dyn Accumulate>>,
    /// In which step a group was last touched.
    touched_in: Vec<u64>,
    met: Met,
}

/// The groups of a step: of each row, and each once in the order in which they were met.
#[derive(Default)]
struct Met {
    of_rows: Vec<u32>,
    once: Vec<u32>,
}

impl Aggregate {
    pub(crate) fn new(
        name: String,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        calls: Vec<AggregateCall>,
        append_only: bool,
        schema: SchemaRef,
    ) -> Result<Self> {
        let key_fields = schema.fields().iter().take(keys.len()).cloned().collect::<Vec<_>>();
        let codec = RowCodec::new(Arc::new(Schema::new(key_fields)))?;
        let distinct = calls.iter().map(AggregateCall::values).collect::<Result<Vec<_>>>()?;
        let partitions = (0..PARTITIONS as u64).map(|number| {
            let accumulators = calls.iter().map(|call| call.accumulator(append_only));
            Ok(Partition {
                accumulators: accumulators.collect::<Result<_>>()?,
                next_id: number << (u64::BITS - PARTITION_BITS),
                ..Default::default()
            })
        });
        Ok(Self {
            partitions: partitions.collect::<Result<_>>()?,
            shows_empty_group: keys.is_empty(),
            distinct,
            codec,
            keys,
            calls,
            schema,
            sweep: None,
            name,
        })
    }

    /// The columns that the groups need of a batch: keys, then for each call its arguments and
    /// which rows count.
    fn evaluate(&self, rows: &RecordBatch) -> Result<Evaluated> {
        let keys = self.keys.iter().map(|key| evaluate(key, rows)).collect::<Result<Vec<_>>>()?;
        let calls = self.calls.iter().map(|call| call.evaluate(rows)).collect::<Result<_>>()?;
        Ok(Evaluated { keys, calls })
    }
}

struct Evaluated {
    keys: Vec<ArrayRef>,
    calls: Vec<Call>,
}

/// What one call needs of a batch.
pub(super) struct Call {
    arguments: Vec<ArrayRef>,
    /// The rows that count; `None`: all.
    only: Option<BooleanArray>,
    /// Weights of the rows as distinct values.
    weights: Option<Vec<i64>>,
}

impl Operator for Aggregate {
    fn is_due(&self, epoch: &Epoch<'_>) -> bool {
        self.shows_empty_group
            && epoch.number > 0
            && self.partitions.iter().all(|p| p.groups.numbers() == 0)
    }

    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let appears = self.is_due(epoch);
        let Some(first) = inputs[0].batches.first() else {
            return if appears { self.show_empty_group() } else { Ok(vec![]) };
        };
        let batch = epoch.workers.concat(&first.schema(), inputs[0].batches)?;
        let mut evaluated = self.evaluate(batch.rows())?;
        let encoded = match self.keys.is_empty() {
            true => None,
            false => Some(epoch.workers.by_parts(batch.num_rows(), |part| {
                let keys = self.codec.encode(&sliced(&evaluated.keys, &part))?;
                let hashes: Vec<u64> = keys.iter().map(|key| row::hash(key.data())).collect();
                Ok((keys, hashes))
            })?),
        };
        let key = |row: usize| {
            encoded.as_ref().map_or(&[][..], |encoded| {
                let ((keys, _), row) = encoded.of(row);
                keys.row(row).data()
            })
        };
        let hashes: Vec<u64> = match &encoded {
            Some(encoded) => encoded.iter().flat_map(|(_, hashes)| hashes).copied().collect(),
            None => vec![row::hash(&[]); batch.num_rows()],
        };
        let split = Split::new(&hashes);
        let number = epoch.number;
        epoch.workers.run(&split, &mut self.partitions, |partition, rows| {
            partition.find_groups(rows, &key, &hashes, number)
        })?;
        self.weigh_distinct(epoch, &batch, &split, &mut evaluated.calls)?;
        let step = Step {
            name: &self.name,
            codec: &self.codec,
            schema: &self.schema,
            shows_empty_group: self.shows_empty_group,
            appears,
            calls: &evaluated.calls,
            weights: batch.weights().map(|weights| &weights.values()[..]),
        };
        let changed = epoch.workers.run(&split, &mut self.partitions, |partition, rows| {
            let met = std::mem::take(&mut partition.met);
            let changes = partition.update(&step, rows, &met)?;
            partition.met = met;
            Ok(changes)
        })?;
        self.sweep(epoch);
        let changed: Vec<Batch> = changed.into_iter().filter(|batch| !batch.is_empty()).collect();
        if changed.is_empty() {
            return Ok(vec![]);
        }
        Ok(vec![epoch.workers.concat(&self.schema, &changed)?])
    }

    fn let_go(&mut self, release: Release) {
        self.sweep = Some(Sweep::new(release));
    }

    fn begin_saving(&mut self) {
        self.partitions.iter_mut().for_each(|partition| partition.groups.begin_saving());
        self.distinct.iter_mut().flatten().for_each(Distinct::begin_saving);
    }

    fn unsaved(&self) -> usize {
        let groups: usize = self.partitions.iter().map(|of| of.groups.unsaved()).sum();
        groups + self.distinct.iter().flatten().map(Distinct::unsaved).sum::<usize>()
    }

    fn save(&mut self, to: &mut Saver<'_>) -> Result<()> {
        to.within("groups").parts(&mut self.partitions, Partition::take_unsaved)?;
        to.value("next-ids", |bytes| {
            self.partitions.iter().for_each(|of| put_i64(bytes, of.next_id.cast_signed()));
        });
        let distinct = self.distinct.iter_mut().enumerate();
        for (number, distinct) in distinct.filter_map(|(i, of)| Some((i, of.as_mut()?))) {
            distinct.save(&mut to.within(format_args!("distinct-{number}")))?;
        }
        Ok(())
    }

    fn load(&mut self, from: &Loader<'_>) -> Result<()> {
        // What goes by time is looked through as a whole, and the one group of all is asked for.
        let at_once = self.sweep.is_some() || self.shows_empty_group;
        groups::load(&from.within("groups"), &mut self.partitions, at_once)?;
        let partitions = &mut self.partitions;
        from.value("next-ids", |bytes| {
            partitions.iter_mut().try_for_each(|of| {
                of.next_id = take_i64(bytes)?.cast_unsigned();
                Some(())
            })
        })?;
        let distinct = self.distinct.iter_mut().enumerate();
        for (number, distinct) in distinct.filter_map(|(i, of)| Some((i, of.as_mut()?))) {
            distinct.load(&from.within(format_args!("distinct-{number}")), at_once)?;
        }
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.partitions.iter().map(|partition| partition.groups.len()).sum()
    }

    fn state_bytes(&self) -> usize {
        let values: usize = self.distinct.iter().flatten().map(Distinct::bytes).sum();
        values + self.partitions.iter().map(Partition::bytes).sum::<usize>()
    }
}

impl Aggregate {
    /// Has each call of distinct values say what the rows weigh in it.
    fn weigh_distinct(
        &mut self,
        epoch: &Epoch<'_>,
        batch: &Batch,
        split: &Split,
        calls: &mut [Call],
    ) -> Result<()> {
        if self.distinct.iter().all(Option::is_none) {
            return Ok(());
        }
        let mut groups = vec![0; batch.num_rows()];
        for (number, partition) in self.partitions.iter().enumerate() {
            let rows = split.rows(number).iter();
            for (&row, &group) in rows.zip(&partition.met.of_rows) {
                groups[row as usize] = partition.ids[group as usize];
            }
        }
        for (distinct, call) in self.distinct.iter_mut().zip(calls) {
            let Some(distinct) = distinct else { continue };
            let only = call.only.take();
            let passes = |row: usize| only.as_ref().is_none_or(|only| only.value(row));
            let weight = |row: usize| batch.weight(row);
            let arguments = &call.arguments;
            call.weights =
                Some(distinct.weights(epoch.workers, &groups, arguments, passes, weight)?);
        }
        Ok(())
    }

    /// Forgets groups that no later change can reach, if there may be many of them.
    fn sweep(&mut self, epoch: &Epoch<'_>) {
        let Some(sweep) = &mut self.sweep else { return };
        let distinct = &mut self.distinct;
        let extent = |partitions: &[Partition], distinct: &[Option<Distinct>]| {
            let groups: Extent = partitions.iter().map(|of| of.groups.extent()).sum();
            let values = distinct.iter().flatten().map(Distinct::len).sum::<usize>();
            Extent { kept: groups.kept + values, ..groups }
        };
        let Some(cut) = sweep.start(epoch.passed, extent(&self.partitions, distinct)) else {
            return;
        };
        let mut gone = HashSet::new();
        for partition in &mut self.partitions {
            for group in partition.groups.past(|key| cut.is_past(key)) {
                gone.insert(partition.ids[group as usize]);
                partition.remove(group);
            }
        }
        if !gone.is_empty() {
            distinct.iter_mut().flatten().for_each(|distinct| distinct.forget(&gone));
        }
        let kept = self.partitions.iter().flat_map(|partition| {
            let groups = partition.groups.keys();
            groups.map(|(group, key)| (key, 1 + partition.values_of(group)))
        });
        sweep.finish(&cut, extent(&self.partitions, distinct), kept);
    }

    /// The one group of a global aggregate over no rows at all.
    fn show_empty_group(&mut self) -> Result<Vec<Batch>> {
        let hash = row::hash(&[]);
        let partition = &mut self.partitions[partition(hash)];
        let group = partition.group(hash, &[])?;
        partition.groups.touch(group);
        let columns = partition.output(&[group])?;
        Ok(vec![Batch::inserts(RecordBatch::try_new(self.schema.clone(), columns)?)])
    }
}

/// What stands in the place of a group's id where there is no group.
const NO_ID: u64 = u64::MAX;

/// What a partition is told of the step.
struct Step<'a> {
    name: &'a str,
    codec: &'a RowCodec,
    schema: &'a SchemaRef,
    shows_empty_group: bool,
    /// Whether this is the first step of a global aggregate: there is no old row to take away.
    appears: bool,
    calls: &'a [Call],
    /// `None`: every row comes once.
    weights: Option<&'a [i64]>,
}

impl Grouped for Partition {
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
            self.touched_in.push(u64::MAX);
            self.ids.push(NO_ID);
            self.accumulators.iter_mut().for_each(|accumulator| accumulator.grow(numbers));
        }
        self.ids[group as usize] = self.next_id;
        self.next_id += 1;
    }

    fn write(&self, group: u32, bytes: &mut Vec<u8>) {
        put_i64(bytes, self.counts[group as usize]);
        put_i64(bytes, self.values_of(group) as i64);
        put_i64(bytes, self.ids[group as usize].cast_signed());
        self.accumulators.iter().for_each(|accumulator| accumulator.write(group, bytes));
    }

    fn read(&mut self, group: u32, mut bytes: &[u8]) -> Option<()> {
        let at = group as usize;
        self.counts[at] = take_i64(&mut bytes)?;
        let values = usize::try_from(take_i64(&mut bytes)?).ok()?;
        if values > 0 {
            self.values.resize(self.counts.len(), 0);
            self.values[at] = values;
        }
        self.ids[at] = take_i64(&mut bytes)?.cast_unsigned();
        for accumulator in &mut self.accumulators {
            accumulator.read(group, &mut bytes)?;
        }
        bytes.is_empty().then_some(())
    }

    fn remove(&mut self, group: u32) {
        self.groups.remove(group);
        self.counts[group as usize] = 0;
        self.ids[group as usize] = NO_ID;
        if let Some(values) = self.values.get_mut(group as usize) {
            *values = 0;
        }
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.reset(group));
    }
}

impl Partition {
    /// Notes the group of each row in `met`.
    fn find_groups<'a>(
        &mut self,
        rows: &[u32],
        key: &impl Fn(usize) -> &'a [u8],
        hashes: &[u64],
        step: u64,
    ) -> Result<()> {
        let mut met = std::mem::take(&mut self.met);
        met.of_rows.clear();
        met.once.clear();
        for &row in rows {
            let group = self.group(hashes[row as usize], key(row as usize))?;
            met.of_rows.push(group);
            if self.touched_in[group as usize] != step {
                self.touched_in[group as usize] = step;
                self.groups.touch(group);
                met.once.push(group);
            }
        }
        self.met = met;
        self.load_some(rows.len())
    }

    fn output(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.accumulators.iter().map(|accumulator| accumulator.output(groups)).collect()
    }

    /// Takes the rows in and returns what that changes: groups' old results out, new ones in.
    fn update(&mut self, step: &Step<'_>, rows: &[u32], met: &Met) -> Result<Batch> {
        let is_shown = |count: i64| count > 0 || step.shows_empty_group;
        let shown = |counts: &[i64]| -> Vec<bool> {
            met.once.iter().map(|&group| is_shown(counts[group as usize])).collect()
        };
        let mut was_shown = shown(&self.counts);
        if step.appears {
            was_shown.fill(false);
        }
        let old = self.output(&met.once)?;
        for (&row, &group) in rows.iter().zip(&met.of_rows) {
            self.counts[group as usize] += step.weights.map_or(1, |w| w[row as usize]);
        }
        for (accumulator, call) in self.accumulators.iter_mut().zip(step.calls) {
            call.update(accumulator.as_mut(), rows, &met.of_rows, step.weights)?;
            let Some(weights) = &call.weights else { continue };
            self.values.resize(self.counts.len(), 0);
            for (&row, &group) in rows.iter().zip(&met.of_rows) {
                let values = &mut self.values[group as usize];
                *values = values.saturating_add_signed(weights[row as usize] as isize);
            }
        }
        if met.once.iter().any(|&group| self.counts[group as usize] < 0) {
            return Err(negative(step.name, "a row"));
        }
        let is_now = shown(&self.counts);
        let new = self.output(&met.once)?;
        let changes = self.changes(step, &met.once, (&was_shown, &old), (&is_now, &new))?;
        for &group in &met.once {
            if self.counts[group as usize] == 0 && !step.shows_empty_group {
                self.remove(group);
            }
        }
        Ok(changes)
    }

    fn values_of(&self, group: u32) -> usize {
        self.values.get(group as usize).copied().unwrap_or(0)
    }

    /// Old rows out and new rows in, group by group in the order in which they were met.
    fn changes(
        &self,
        step: &Step<'_>,
        groups: &[u32],
        (was_shown, old): (&[bool], &[ArrayRef]),
        (is_now, new): (&[bool], &[ArrayRef]),
    ) -> Result<Batch> {
        let differs = differing(old, new, groups.len())?;
        let (mut from, mut keys, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for (i, &group) in groups.iter().enumerate() {
            if was_shown[i] && is_now[i] && !differs[i] {
                continue;
            }
            // Old results come first in the concatenated columns, new ones behind them.
            for (shown, at, weight) in [(was_shown[i], i, -1), (is_now[i], groups.len() + i, 1)] {
                if shown {
                    from.push(at as u32);
                    keys.push(self.groups.key(group));
                    weights.push(weight);
                }
            }
        }
        let from = UInt32Array::from(from);
        let mut columns = if step.shows_empty_group { vec![] } else { step.codec.decode(keys)? };
        for (old, new) in old.iter().zip(new) {
            let both = concat(&[old.as_ref(), new.as_ref()])?;
            columns.push(take(&both, &from, None)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(from.len()));
        let rows = RecordBatch::try_new_with_options(step.schema.clone(), columns, &options)?;
        Batch::new(rows, Int64Array::from(weights))
    }

    fn bytes(&self) -> usize {
        let accumulators: usize = self.accumulators.iter().map(|of| of.bytes()).sum();
        let numbers = self.counts.capacity() * size_of::<i64>()
            + self.values.capacity() * size_of::<usize>()
            + (self.touched_in.capacity() + self.ids.capacity()) * size_of::<u64>();
        let met = (self.met.of_rows.capacity() + self.met.once.capacity()) * size_of::<u32>();
        self.groups.memory() + accumulators + numbers + met
    }
}

impl Call {
    pub(super) fn update(
        &self,
        accumulator: &mut dyn Accumulate,
        rows: &[u32],
        groups: &[u32],
        weights: Option<&[i64]>,
    ) -> Result<()> {
        let weights = self.weights.as_deref().or(weights);
        let Some(only) = &self.only else {
            return accumulator.update(&Update {
                rows,
                groups,
                arguments: &self.arguments,
                weights,
            });
        };
        let passing = rows.iter().zip(groups).filter(|(row, _)| only.value(**row as usize));
        let (rows, groups): (Vec<u32>, Vec<u32>) = passing.unzip();
        let arguments = &self.arguments;
        accumulator.update(&Update { rows: &rows, groups: &groups, arguments, weights })
    }
}

/// Which of `count` results differ between `old` and `new`, NULL being equal to NULL.
pub(super) fn differing(old: &[ArrayRef], new: &[ArrayRef], count: usize) -> Result<Vec<bool>> {
    let mut differs = vec![false; count];
    for (old, new) in old.iter().zip(new) {
        if old.data_type().is_nested() {
            let compare = make_comparator(old, new, SortOptions::default())?;
            for (i, differs) in differs.iter_mut().enumerate() {
                *differs |= compare(i, i).is_ne();
            }
            continue;
        }
        let distinct = arrow::compute::kernels::cmp::distinct(old, new)?;
        for (i, differs) in differs.iter_mut().enumerate() {
            *differs |= distinct.value(i);
        }
    }
    Ok(differs)
}
