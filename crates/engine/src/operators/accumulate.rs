//! Aggregates of many groups at once, with rows taken away as well as added.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, Float64Array, Int64Array,
    PrimitiveArray,
};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, UInt64Type};
use syncline_change::Result;
use syncline_change::row::RowCodec;

use super::negative;
use crate::functions::aggregates::float_result;
use crate::functions::exact_sum::ExactSum;

/// One aggregate function over the groups of one partition, numbered from 0.
pub(crate) trait Accumulate: Send {
    /// Makes room for groups below `groups`.
    fn grow(&mut self, groups: usize);

    /// Row `i` adds its `arguments` to group `groups[i]`, `weights[i]` times.
    fn update(&mut self, groups: &[u32], arguments: &[ArrayRef], weights: &[i64]) -> Result<()>;

    /// The results of `groups`.
    fn output(&self, groups: &[u32]) -> Result<ArrayRef>;

    /// Forgets a group, whose number may be given to another.
    fn reset(&mut self, group: u32);
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

    fn update(&mut self, groups: &[u32], arguments: &[ArrayRef], weights: &[i64]) -> Result<()> {
        let nulls = arguments.iter().filter_map(|argument| argument.logical_nulls());
        let nulls =
            nulls.reduce(|a, b| arrow::buffer::NullBuffer::union(Some(&a), Some(&b)).unwrap_or(a));
        for (row, &group) in groups.iter().enumerate() {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                self.counts[group as usize] += weights[row];
            }
        }
        Ok(())
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        let counts = groups.iter().map(|&group| self.counts[group as usize]);
        Ok(Arc::new(Int64Array::from_iter_values(counts)))
    }

    fn reset(&mut self, group: u32) {
        self.counts[group as usize] = 0;
    }
}

/// `sum` of integers or decimals, which wraps as the batch engine's does.
pub(crate) struct WrappingSum<T: ArrowPrimitiveType> {
    sums: Vec<T::Native>,
    counts: Vec<i64>,
    result: DataType,
}

impl<T: ArrowPrimitiveType> WrappingSum<T> {
    pub(crate) fn new(result: DataType) -> Self {
        Self { sums: Vec::new(), counts: Vec::new(), result }
    }
}

/// A weight as a number to multiply with, wrapping.
pub(crate) trait FromWeight {
    fn from_weight(weight: i64) -> Self;
}

impl FromWeight for i64 {
    fn from_weight(weight: i64) -> Self {
        weight
    }
}

impl FromWeight for u64 {
    fn from_weight(weight: i64) -> Self {
        weight as u64
    }
}

impl FromWeight for i128 {
    fn from_weight(weight: i64) -> Self {
        weight.into()
    }
}

impl<T: ArrowPrimitiveType> Accumulate for WrappingSum<T>
where
    T::Native: FromWeight + ArrowNativeTypeOp,
{
    fn grow(&mut self, groups: usize) {
        self.sums.resize(groups, T::Native::ZERO);
        self.counts.resize(groups, 0);
    }

    fn update(&mut self, groups: &[u32], arguments: &[ArrayRef], weights: &[i64]) -> Result<()> {
        let values = arguments[0].as_primitive::<T>();
        for (row, &group) in groups.iter().enumerate() {
            if values.is_valid(row) {
                let (group, weight) = (group as usize, weights[row]);
                let term = values.value(row).mul_wrapping(T::Native::from_weight(weight));
                self.sums[group] = self.sums[group].add_wrapping(term);
                self.counts[group] += weight;
            }
        }
        Ok(())
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        let sums: PrimitiveArray<T> = groups
            .iter()
            .map(|&group| (self.counts[group as usize] > 0).then(|| self.sums[group as usize]))
            .collect();
        Ok(Arc::new(sums.with_data_type(self.result.clone())))
    }

    fn reset(&mut self, group: u32) {
        self.sums[group as usize] = T::Native::ZERO;
        self.counts[group as usize] = 0;
    }
}

/// `sum` or `avg` of doubles, exact.
pub(crate) struct FloatSum {
    pub(crate) mean: bool,
    groups: Vec<(ExactSum, i64)>,
}

impl FloatSum {
    pub(crate) fn new(mean: bool) -> Self {
        Self { mean, groups: Vec::new() }
    }
}

impl Accumulate for FloatSum {
    fn grow(&mut self, groups: usize) {
        self.groups.resize_with(groups, Default::default);
    }

    fn update(&mut self, groups: &[u32], arguments: &[ArrayRef], weights: &[i64]) -> Result<()> {
        let values = arguments[0].as_primitive::<Float64Type>();
        for (row, &group) in groups.iter().enumerate() {
            if values.is_valid(row) {
                let (sum, count) = &mut self.groups[group as usize];
                sum.add(values.value(row), weights[row]);
                *count += weights[row];
            }
        }
        Ok(())
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        let results = groups.iter().map(|&group| {
            let (sum, count) = &self.groups[group as usize];
            float_result(sum, *count, self.mean)
        });
        Ok(Arc::new(Float64Array::from_iter(results)))
    }

    fn reset(&mut self, group: u32) {
        self.groups[group as usize] = Default::default();
    }
}

/// `min` or `max`. Where rows can be taken away every value is kept, in order; otherwise the best.
pub(crate) struct Extreme {
    max: bool,
    append_only: bool,
    codec: RowCodec,
    groups: Vec<BTreeMap<Box<[u8]>, i64>>,
}

impl Extreme {
    pub(crate) fn new(max: bool, append_only: bool, codec: RowCodec) -> Self {
        Self { max, append_only, codec, groups: Vec::new() }
    }

    fn best(&self, group: u32) -> Option<&[u8]> {
        let values = &self.groups[group as usize];
        let best = if self.max { values.last_key_value() } else { values.first_key_value() };
        best.map(|(value, _)| &**value)
    }
}

impl Accumulate for Extreme {
    fn grow(&mut self, groups: usize) {
        self.groups.resize_with(groups, Default::default);
    }

    fn update(&mut self, groups: &[u32], arguments: &[ArrayRef], weights: &[i64]) -> Result<()> {
        let rows = self.codec.encode(&arguments[..1])?;
        for (row, &group) in groups.iter().enumerate() {
            if arguments[0].is_null(row) {
                continue;
            }
            let value = rows.row(row);
            let value = value.as_ref();
            if self.append_only {
                let better = self
                    .best(group)
                    .is_none_or(|best| if self.max { value > best } else { value < best });
                if better {
                    let values = &mut self.groups[group as usize];
                    values.clear();
                    values.insert(value.into(), 1);
                }
            } else {
                change_count(&mut self.groups[group as usize], value, weights[row]);
            }
        }
        check_counts("min/max", groups, &self.groups)
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        // NULL is encoded like any value, and is what an empty group gives.
        let null = self
            .codec
            .encode(&[arrow::array::new_null_array(self.codec.schema().field(0).data_type(), 1)])?;
        let null = null.row(0);
        let best = groups.iter().map(|&group| self.best(group).unwrap_or(null.as_ref()));
        Ok(self.codec.decode(best)?.remove(0))
    }

    fn reset(&mut self, group: u32) {
        self.groups[group as usize].clear();
    }
}

/// `count(DISTINCT ..)`.
pub(crate) struct CountDistinct {
    codec: RowCodec,
    groups: Vec<BTreeMap<Box<[u8]>, i64>>,
}

impl CountDistinct {
    pub(crate) fn new(codec: RowCodec) -> Self {
        Self { codec, groups: Vec::new() }
    }
}

impl Accumulate for CountDistinct {
    fn grow(&mut self, groups: usize) {
        self.groups.resize_with(groups, Default::default);
    }

    fn update(&mut self, groups: &[u32], arguments: &[ArrayRef], weights: &[i64]) -> Result<()> {
        let rows = self.codec.encode(&arguments[..1])?;
        for (row, &group) in groups.iter().enumerate() {
            if arguments[0].is_valid(row) {
                let value = rows.row(row);
                change_count(&mut self.groups[group as usize], value.as_ref(), weights[row]);
            }
        }
        check_counts("count(DISTINCT)", groups, &self.groups)
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        let counts = groups.iter().map(|&group| self.groups[group as usize].len() as i64);
        Ok(Arc::new(Int64Array::from_iter_values(counts)))
    }

    fn reset(&mut self, group: u32) {
        self.groups[group as usize].clear();
    }
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

fn check_counts(what: &str, touched: &[u32], groups: &[BTreeMap<Box<[u8]>, i64>]) -> Result<()> {
    let mut before = None;
    for &group in touched {
        // Rows of a group often stand together; each group need be looked at once.
        if before == Some(group) {
            continue;
        }
        before = Some(group);
        let values = &groups[group as usize];
        // Only the ends can become a result, and looking at all would cost more than the update.
        let ends = [values.first_key_value(), values.last_key_value()];
        if ends.into_iter().flatten().any(|(_, &count)| count < 0) {
            return Err(negative(what, "a value"));
        }
    }
    Ok(())
}

/// The wrapping sum for a result type, if there is one.
pub(crate) fn wrapping_sum(result: &DataType) -> Option<Box<dyn Accumulate>> {
    Some(match result {
        DataType::Int64 => Box::new(WrappingSum::<Int64Type>::new(result.clone())),
        DataType::UInt64 => Box::new(WrappingSum::<UInt64Type>::new(result.clone())),
        DataType::Decimal128(_, _) => Box::new(WrappingSum::<Decimal128Type>::new(result.clone())),
        _ => return None,
    })
}
