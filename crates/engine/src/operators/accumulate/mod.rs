//! Aggregates of many groups at once, with rows taken away as well as added.

mod bits;
mod distinct;
mod ends;
mod extreme;
mod median;
mod moments;
mod ordered_bits;
mod sum;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::buffer::NullBuffer;
use syncline_change::Result;

use crate::state::{put_bytes, put_i64, take_bytes, take_i64};

pub(crate) use bits::{Bitwise, bitwise};
pub(crate) use distinct::Distinct;
pub(crate) use ends::{Ends, Pick};
pub(crate) use extreme::extreme;
pub(crate) use median::{median, percentile};
pub(crate) use moments::{PairCount, Statistics};
pub(crate) use sum::{DecimalAverage, FloatSum, wrapping_sum};

/// One aggregate function over the groups of one partition, numbered from 0.
pub(crate) trait Accumulate: Send {
    /// Makes room for groups below `groups`.
    fn grow(&mut self, groups: usize);

    /// Takes rows in, and takes them away.
    fn update(&mut self, rows: &Update<'_>) -> Result<()>;

    /// The results of `groups`.
    fn output(&self, groups: &[u32]) -> Result<ArrayRef>;

    /// Forgets a group, whose number may be given to another.
    fn reset(&mut self, group: u32);

    /// Appends all that it knows of a group.
    fn write(&self, group: u32, bytes: &mut Vec<u8>);

    /// Takes what [`write`](Self::write) appended from the front, for a group of which it knows
    /// nothing; `None` if it is not that.
    fn read(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()>;

    /// Bytes of memory that it takes.
    fn bytes(&self) -> usize;
}

/// Rows of a batch that an aggregate is updated with.
pub(crate) struct Update<'a> {
    /// The rows' numbers in the batch, and the group of each.
    pub(crate) rows: &'a [u32],
    pub(crate) groups: &'a [u32],
    /// The arguments for the whole batch.
    pub(crate) arguments: &'a [ArrayRef],
    /// How often each row of the whole batch comes or goes; `None`: all come once.
    pub(crate) weights: Option<&'a [i64]>,
}

impl Update<'_> {
    /// Calls `take` with row, group and weight of each row that is not among `nulls`.
    fn each(&self, nulls: Option<&NullBuffer>, mut take: impl FnMut(usize, usize, i64)) {
        let pairs = self.rows.iter().zip(self.groups).map(|(&r, &g)| (r as usize, g as usize));
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        match (nulls, self.weights) {
            (None, None) => pairs.for_each(|(row, group)| take(row, group, 1)),
            (None, Some(weights)) => pairs.for_each(|(row, group)| take(row, group, weights[row])),
            (Some(nulls), weights) => {
                let weight = |row: usize| weights.map_or(1, |weights| weights[row]);
                let valid = pairs.filter(|&(row, _)| nulls.is_valid(row));
                valid.for_each(|(row, group)| take(row, group, weight(row)));
            }
        }
    }
}

/// `count(..)`: rows of which no argument is NULL.
#[derive(Default)]
pub(crate) struct Count {
    counts: Vec<i64>,
}

impl Accumulate for Count {
    fn grow(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
    }

    fn update(&mut self, rows: &Update<'_>) -> Result<()> {
        let nulls = any_null(rows.arguments);
        rows.each(nulls.as_ref(), |_, group, weight| self.counts[group] += weight);
        Ok(())
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        let counts = groups.iter().map(|&group| self.counts[group as usize]);
        Ok(Arc::new(Int64Array::from_iter_values(counts)))
    }

    fn reset(&mut self, group: u32) {
        self.counts[group as usize] = 0;
    }

    fn write(&self, group: u32, bytes: &mut Vec<u8>) {
        put_i64(bytes, self.counts[group as usize]);
    }

    fn read(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.counts[group as usize] = take_i64(bytes)?;
        Some(())
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }
}

/// Where any of the columns is NULL.
pub(super) fn any_null(columns: &[ArrayRef]) -> Option<NullBuffer> {
    let nulls = columns.iter().filter_map(|column| column.logical_nulls());
    nulls.reduce(|a, b| NullBuffer::union(Some(&a), Some(&b)).unwrap_or(a))
}

/// Adds `weight` to how often `value` is there; what is there no more is forgotten.
pub(crate) fn change_count(counts: &mut BTreeMap<Box<[u8]>, i64>, value: &[u8], weight: i64) {
    match counts.get_mut(value) {
        Some(count) => {
            *count += weight;
            if *count == 0 {
                counts.remove(value);
            }
        }
        None => {
            counts.insert(value.into(), weight);
        }
    }
}

/// Appends values with how often each is there.
pub(crate) fn put_counts(bytes: &mut Vec<u8>, counts: &BTreeMap<Box<[u8]>, i64>) {
    put_i64(bytes, counts.len() as i64);
    for (value, count) in counts {
        put_bytes(bytes, value);
        put_i64(bytes, *count);
    }
}

/// What [`put_counts`] put, taken from the front.
pub(crate) fn take_counts(bytes: &mut &[u8]) -> Option<BTreeMap<Box<[u8]>, i64>> {
    let mut counts = BTreeMap::new();
    for _ in 0..take_i64(bytes)? {
        let value = take_bytes(bytes)?;
        counts.insert(value.into(), take_i64(bytes)?);
    }
    Some(counts)
}
