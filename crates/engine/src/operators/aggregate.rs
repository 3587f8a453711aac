//! GROUP BY, and DISTINCT as the one without aggregates.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array,
};
use arrow::compute::{concat, filter, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_plan::PhysicalExpr;
use hashbrown::HashTable;
use syncline_change::row::{self, RowCodec};
use syncline_change::{Batch, Error, Result};

use super::accumulate::{Accumulate, Count, CountDistinct, Extreme, FloatSum, wrapping_sum};
use super::map::{evaluate, truths, without_failing};
use super::partition::{PARTITIONS, Split};
use super::{Change, Epoch, Operator, negative};

/// An aggregate function that can be kept up to date by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
}

/// One call of an aggregate function.
pub(crate) struct AggregateCall {
    pub(crate) function: Function,
    pub(crate) arguments: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) argument_type: Option<DataType>,
    pub(crate) result: DataType,
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
}

impl AggregateCall {
    /// Whether the call's types are among those that can be kept up to date.
    pub(crate) fn is_supported(&self) -> bool {
        self.accumulator(true).is_ok()
    }

    fn accumulator(&self, append_only: bool) -> Result<Box<dyn Accumulate>> {
        let unsupported = || Error::unsupported(format!("{:?} of these types", self.function));
        let codec = || {
            let argument = self.argument_type.clone().ok_or_else(unsupported)?;
            if argument.is_nested() || matches!(argument, DataType::Interval(_)) {
                return Err(unsupported());
            }
            RowCodec::new(Arc::new(Schema::new(vec![Field::new("value", argument, true)])))
        };
        Ok(match self.function {
            Function::Count => Box::new(Count::default()),
            Function::CountDistinct => Box::new(CountDistinct::new(codec()?)),
            Function::Sum if self.result == DataType::Float64 => Box::new(FloatSum::new(false)),
            Function::Sum => wrapping_sum(&self.result).ok_or_else(unsupported)?,
            Function::Avg if self.result == DataType::Float64 => Box::new(FloatSum::new(true)),
            Function::Avg => return Err(unsupported()),
            Function::Min => Box::new(Extreme::new(false, append_only, codec()?)),
            Function::Max => Box::new(Extreme::new(true, append_only, codec()?)),
        })
    }
}

/// Groups rows by key and keeps the aggregates of every group.
pub(crate) struct Aggregate {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    calls: Vec<AggregateCall>,
    /// Encodes group keys; the output's first columns.
    codec: RowCodec,
    partitions: Vec<Partition>,
    schema: SchemaRef,
    /// Without keys there is one group, and it is there even when it has no rows.
    shows_empty_group: bool,
    name: String,
    /// Whose rows these are, for reports.
    view: String,
}

/// The groups whose keys hash into one partition.
#[derive(Default)]
struct Partition {
    index: HashTable<u32>,
    keys: Vec<Box<[u8]>>,
    /// Rows in each group; a group without rows is none.
    counts: Vec<i64>,
    /// Numbers of groups that have gone, to be given out again.
    free: Vec<u32>,
    accumulators: Vec<Box<dyn Accumulate>>,
    /// In which step a group was last touched, and as which of that step's groups.
    touched_in: Vec<u64>,
}

impl Aggregate {
    pub(crate) fn new(
        (name, view): (String, String),
        keys: Vec<Arc<dyn PhysicalExpr>>,
        calls: Vec<AggregateCall>,
        append_only: bool,
        schema: SchemaRef,
    ) -> Result<Self> {
        let key_fields = schema.fields().iter().take(keys.len()).cloned().collect::<Vec<_>>();
        let codec = RowCodec::new(Arc::new(Schema::new(key_fields)))?;
        let partitions = (0..PARTITIONS).map(|_| {
            let accumulators = calls.iter().map(|call| call.accumulator(append_only));
            Ok(Partition {
                accumulators: accumulators.collect::<Result<_>>()?,
                ..Default::default()
            })
        });
        Ok(Self {
            partitions: partitions.collect::<Result<_>>()?,
            shows_empty_group: keys.is_empty(),
            codec,
            keys,
            calls,
            schema,
            name,
            view,
        })
    }

    /// The columns that the groups need of a batch: keys, then for each call its arguments and
    /// which rows count.
    fn evaluate(&self, rows: &RecordBatch) -> Result<Evaluated> {
        let keys = self.keys.iter().map(|key| evaluate(key, rows)).collect::<Result<Vec<_>>>()?;
        let calls = self.calls.iter().map(|call| {
            let arguments = call.arguments.iter().map(|argument| evaluate(argument, rows));
            let only = call.filter.as_ref().map(|only| truths(&evaluate(only, rows)?));
            Ok((arguments.collect::<Result<Vec<_>>>()?, only.transpose()?))
        });
        Ok(Evaluated { keys, calls: calls.collect::<Result<_>>()? })
    }
}

struct Evaluated {
    keys: Vec<ArrayRef>,
    calls: Vec<(Vec<ArrayRef>, Option<BooleanArray>)>,
}

impl Operator for Aggregate {
    fn is_due(&self, epoch: &Epoch<'_>) -> bool {
        self.shows_empty_group
            && epoch.number > 0
            && self.partitions.iter().all(|p| p.keys.is_empty())
    }

    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let appears = self.is_due(epoch);
        let Some(first) = inputs[0].batches.first() else {
            return if appears { self.show_empty_group() } else { Ok(vec![]) };
        };
        let batch = Batch::concat(&first.schema(), inputs[0].batches)?;
        let (batch, evaluated) =
            without_failing(epoch, &self.view, &batch, |batch| self.evaluate(batch.rows()))?;
        let weights: Vec<i64> = (0..batch.num_rows()).map(|row| batch.weight(row)).collect();
        let encoded = match self.keys.is_empty() {
            true => None,
            false => Some(self.codec.encode(&evaluated.keys)?),
        };
        let key = |row: usize| encoded.as_ref().map_or(&[][..], |rows| rows.row(row).data());
        let hashes: Vec<u64> = (0..batch.num_rows()).map(|row| row::hash(key(row))).collect();
        let split = Split::new(&hashes);
        let step = Step {
            number: epoch.number,
            name: &self.name,
            codec: &self.codec,
            schema: &self.schema,
            shows_empty_group: self.shows_empty_group,
            appears,
        };
        let changed = epoch.workers.run(&split, &mut self.partitions, |partition, rows| {
            let groups = partition.find_groups(rows, &key, &hashes, step.number);
            partition.update(&step, rows, &groups, &evaluated, &weights)
        })?;
        let changed: Vec<Batch> = changed.into_iter().filter(|batch| !batch.is_empty()).collect();
        if changed.is_empty() {
            return Ok(vec![]);
        }
        Ok(vec![Batch::concat(&self.schema, &changed)?])
    }

    fn state_rows(&self) -> usize {
        self.partitions.iter().map(|partition| partition.index.len()).sum()
    }
}

impl Aggregate {
    /// The one group of a global aggregate over no rows at all.
    fn show_empty_group(&mut self) -> Result<Vec<Batch>> {
        let hash = row::hash(&[]);
        let partition = &mut self.partitions[super::partition::partition(hash)];
        let group = partition.group(&[], hash);
        let columns = partition.output(&[group])?;
        Ok(vec![Batch::inserts(RecordBatch::try_new(self.schema.clone(), columns)?)])
    }
}

/// What a partition is told of the step.
struct Step<'a> {
    number: u64,
    name: &'a str,
    codec: &'a RowCodec,
    schema: &'a SchemaRef,
    shows_empty_group: bool,
    /// Whether this is the first step of a global aggregate: there is no old row to take away.
    appears: bool,
}

/// The groups of a step: of each row, and each once in the order in which they were met.
struct Groups {
    of_rows: Vec<u32>,
    touched: Vec<u32>,
}

impl Partition {
    fn find_groups<'a>(
        &mut self,
        rows: &[u32],
        key: &impl Fn(usize) -> &'a [u8],
        hashes: &[u64],
        step: u64,
    ) -> Groups {
        let mut groups = Groups { of_rows: Vec::with_capacity(rows.len()), touched: Vec::new() };
        for &row in rows {
            let group = self.group(key(row as usize), hashes[row as usize]);
            groups.of_rows.push(group);
            if self.touched_in[group as usize] != step {
                self.touched_in[group as usize] = step;
                groups.touched.push(group);
            }
        }
        groups
    }

    /// The number of the group with this key, which is made if there is none.
    fn group(&mut self, key: &[u8], hash: u64) -> u32 {
        let Self { index, keys, .. } = self;
        if let Some(&group) = index.find(hash, |&group| *keys[group as usize] == *key) {
            return group;
        }
        let group = match self.free.pop() {
            Some(group) => {
                self.keys[group as usize] = key.into();
                group
            }
            None => {
                self.keys.push(key.into());
                self.counts.push(0);
                self.touched_in.push(u64::MAX);
                self.accumulators.iter_mut().for_each(|a| a.grow(self.keys.len()));
                (self.keys.len() - 1) as u32
            }
        };
        self.index.insert_unique(hash, group, |&group| row::hash(&self.keys[group as usize]));
        group
    }

    fn output(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.accumulators.iter().map(|accumulator| accumulator.output(groups)).collect()
    }

    /// Takes the rows in and returns what that changes: groups' old results out, new ones in.
    fn update(
        &mut self,
        step: &Step<'_>,
        rows: &[u32],
        groups: &Groups,
        evaluated: &Evaluated,
        weights: &[i64],
    ) -> Result<Batch> {
        let touched = &groups.touched;
        let is_shown = |count: i64| count > 0 || step.shows_empty_group;
        let was_shown: Vec<bool> = touched
            .iter()
            .map(|&group| is_shown(self.counts[group as usize]) && !step.appears)
            .collect();
        let old = self.output(touched)?;

        let indices = UInt32Array::from(rows.to_vec());
        let weights: Vec<i64> = rows.iter().map(|&row| weights[row as usize]).collect();
        for (&group, weight) in groups.of_rows.iter().zip(&weights) {
            self.counts[group as usize] += weight;
        }
        for (accumulator, (arguments, only)) in self.accumulators.iter_mut().zip(&evaluated.calls) {
            let arguments = arguments.iter().map(|a| Ok(take(a, &indices, None)?));
            let arguments = arguments.collect::<Result<Vec<_>>>()?;
            match only {
                None => accumulator.update(&groups.of_rows, &arguments, &weights)?,
                Some(only) => {
                    let chosen = Chosen::new(only, rows, &groups.of_rows, &weights, &arguments)?;
                    accumulator.update(&chosen.groups, &chosen.arguments, &chosen.weights)?;
                }
            }
        }
        if touched.iter().any(|&group| self.counts[group as usize] < 0) {
            return Err(negative(step.name, "a row"));
        }

        let is_now: Vec<bool> =
            touched.iter().map(|&group| is_shown(self.counts[group as usize])).collect();
        let new = self.output(touched)?;
        let changes = self.changes(step, touched, (&was_shown, &old), (&is_now, &new))?;
        for &group in touched {
            if self.counts[group as usize] == 0 && !step.shows_empty_group {
                self.forget(group);
            }
        }
        Ok(changes)
    }

    /// Old rows out and new rows in, group by group in the order of keys.
    fn changes(
        &self,
        step: &Step<'_>,
        touched: &[u32],
        (was_shown, old): (&[bool], &[ArrayRef]),
        (is_now, new): (&[bool], &[ArrayRef]),
    ) -> Result<Batch> {
        let differs = differing(old, new, touched.len())?;
        let mut order: Vec<usize> = (0..touched.len()).collect();
        order.sort_unstable_by(|&a, &b| {
            self.keys[touched[a] as usize].cmp(&self.keys[touched[b] as usize])
        });
        let (mut from, mut keys, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for i in order {
            if was_shown[i] && is_now[i] && !differs[i] {
                continue;
            }
            // Old results come first in the concatenated columns, new ones behind them.
            for (shown, at, weight) in [(was_shown[i], i, -1), (is_now[i], touched.len() + i, 1)] {
                if shown {
                    from.push(at as u32);
                    keys.push(&*self.keys[touched[i] as usize]);
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

    fn forget(&mut self, group: u32) {
        let hash = row::hash(&self.keys[group as usize]);
        if let Ok(found) = self.index.find_entry(hash, |&other| other == group) {
            found.remove();
        }
        self.keys[group as usize] = Box::default();
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.reset(group));
        self.free.push(group);
    }
}

/// The rows that a FILTER lets through.
struct Chosen {
    groups: Vec<u32>,
    weights: Vec<i64>,
    arguments: Vec<ArrayRef>,
}

impl Chosen {
    fn new(
        only: &BooleanArray,
        rows: &[u32],
        groups: &[u32],
        weights: &[i64],
        arguments: &[ArrayRef],
    ) -> Result<Self> {
        let mask: BooleanArray = rows.iter().map(|&row| Some(only.value(row as usize))).collect();
        let pass = |i: &usize| mask.value(*i);
        let arguments = arguments.iter().map(|argument| Ok(filter(argument, &mask)?));
        Ok(Self {
            groups: (0..rows.len()).filter(pass).map(|i| groups[i]).collect(),
            weights: (0..rows.len()).filter(pass).map(|i| weights[i]).collect(),
            arguments: arguments.collect::<Result<_>>()?,
        })
    }
}

/// Which of `count` results differ between `old` and `new`, NULL being equal to NULL.
fn differing(old: &[ArrayRef], new: &[ArrayRef], count: usize) -> Result<Vec<bool>> {
    let mut differs = vec![false; count];
    for (old, new) in old.iter().zip(new) {
        let distinct = arrow::compute::kernels::cmp::distinct(old, new)?;
        for (i, differs) in differs.iter_mut().enumerate() {
            *differs |= distinct.value(i);
        }
    }
    Ok(differs)
}
