//! Variance, covariance, correlation and regression.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, UInt64Array};
use arrow::datatypes::Float64Type;
use syncline_change::Result;

use super::{Accumulate, Count, Update, any_null};
use crate::functions::moments::{Moments, Statistic};
use crate::state::{put_bytes, take_bytes};

/// A statistic of doubles, or of pairs of them.
pub(crate) struct Statistics {
    statistic: Statistic,
    groups: Vec<Moments>,
}

impl Statistics {
    pub(crate) fn new(statistic: Statistic) -> Self {
        Self { statistic, groups: Vec::new() }
    }
}

impl Accumulate for Statistics {
    fn grow(&mut self, groups: usize) {
        self.groups.resize_with(groups, Moments::default);
    }

    fn update(&mut self, rows: &Update<'_>) -> Result<()> {
        let nulls = any_null(rows.arguments);
        let values = |of: &ArrayRef| of.as_primitive::<Float64Type>().values().clone();
        match rows.arguments {
            [y, x] => {
                let (y, x) = (values(y), values(x));
                rows.each(nulls.as_ref(), |row, group, weight| {
                    self.groups[group].add_pair(y[row], x[row], weight);
                });
            }
            [x, ..] => {
                let x = values(x);
                rows.each(nulls.as_ref(), |row, group, weight| {
                    self.groups[group].add(x[row], weight);
                });
            }
            [] => {}
        }
        Ok(())
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        let results =
            groups.iter().map(|&group| self.groups[group as usize].result(self.statistic));
        Ok(Arc::new(Float64Array::from_iter(results)))
    }

    fn reset(&mut self, group: u32) {
        self.groups[group as usize] = Moments::default();
    }

    fn write(&self, group: u32, bytes: &mut Vec<u8>) {
        put_bytes(bytes, &self.groups[group as usize].to_bytes());
    }

    fn read(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.groups[group as usize] = Moments::from_bytes(take_bytes(bytes)?)?;
        Some(())
    }

    fn bytes(&self) -> usize {
        let large: usize = self.groups.iter().map(Moments::heap_bytes).sum();
        self.groups.capacity() * size_of::<Moments>() + large
    }
}

/// `regr_count`: `count` of two arguments with another type.
#[derive(Default)]
pub(crate) struct PairCount(Count);

impl Accumulate for PairCount {
    fn grow(&mut self, groups: usize) {
        self.0.grow(groups);
    }

    fn update(&mut self, rows: &Update<'_>) -> Result<()> {
        self.0.update(rows)
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        let counts = groups.iter().map(|&group| self.0.counts[group as usize]);
        let counts = counts.map(|count| u64::try_from(count).unwrap_or(0));
        Ok(Arc::new(UInt64Array::from_iter_values(counts)))
    }

    fn reset(&mut self, group: u32) {
        self.0.reset(group);
    }

    fn write(&self, group: u32, bytes: &mut Vec<u8>) {
        self.0.write(group, bytes);
    }

    fn read(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.0.read(group, bytes)
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }
}
