//! `sum` and `avg`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, Float64Array, PrimitiveArray,
};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, UInt64Type};
use syncline_change::Result;

use super::{Accumulate, Update};
use crate::functions::aggregates::float_result;
use crate::functions::exact_sum::ExactSum;

/// `sum` of integers or decimals, which wraps as the batch engine's does.
struct WrappingSum<T: ArrowPrimitiveType> {
    sums: Vec<T::Native>,
    counts: Vec<i64>,
    result: DataType,
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

impl<T: ArrowPrimitiveType> WrappingSum<T> {
    fn new(result: DataType) -> Self {
        Self { sums: Vec::new(), counts: Vec::new(), result }
    }
}

/// A weight as a number to multiply with, wrapping.
trait FromWeight {
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

    fn update(&mut self, rows: &Update<'_>) -> Result<()> {
        let column = rows.arguments[0].as_primitive::<T>();
        let values = column.values();
        rows.each(column.nulls(), |row, group, weight| {
            let term = match weight {
                1 => values[row],
                _ => values[row].mul_wrapping(T::Native::from_weight(weight)),
            };
            self.sums[group] = self.sums[group].add_wrapping(term);
            self.counts[group] += weight;
        });
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

    fn bytes(&self) -> usize {
        self.sums.capacity() * size_of::<T::Native>() + self.counts.capacity() * size_of::<i64>()
    }
}

/// `sum` or `avg` of doubles, exact.
pub(crate) struct FloatSum {
    mean: bool,
    groups: Vec<Terms>,
}

/// The terms of one sum. Whole numbers, which most averages are of, need no large accumulator.
#[derive(Clone, Default)]
struct Terms {
    whole: i128,
    others: Option<Box<ExactSum>>,
    count: i64,
}

/// Below this, whole numbers times any weight and any number of them stay far from overflow.
const WHOLE_MAX: f64 = (1_u64 << 62) as f64;

impl Terms {
    fn add(&mut self, value: f64, weight: i64) {
        self.count += weight;
        if value.abs() < WHOLE_MAX && value as i64 as f64 == value {
            self.whole += i128::from(value as i64) * i128::from(weight);
        } else {
            self.others.get_or_insert_default().add(value, weight);
        }
    }

    fn result(&self, mean: bool) -> Option<f64> {
        let Some(others) = &self.others else {
            let divisor = if mean { self.count as f64 } else { 1.0 };
            return (self.count > 0).then(|| self.whole as f64 / divisor);
        };
        let mut sum = others.as_ref().clone();
        sum.add_integer(self.whole);
        float_result(&sum, self.count, mean)
    }
}

impl FloatSum {
    pub(crate) fn new(mean: bool) -> Self {
        Self { mean, groups: Vec::new() }
    }
}

impl Accumulate for FloatSum {
    fn grow(&mut self, groups: usize) {
        self.groups.resize(groups, Terms::default());
    }

    fn update(&mut self, rows: &Update<'_>) -> Result<()> {
        let column = rows.arguments[0].as_primitive::<Float64Type>();
        let values = column.values();
        rows.each(column.nulls(), |row, group, weight| self.groups[group].add(values[row], weight));
        Ok(())
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        let results = groups.iter().map(|&group| self.groups[group as usize].result(self.mean));
        Ok(Arc::new(Float64Array::from_iter(results)))
    }

    fn reset(&mut self, group: u32) {
        self.groups[group as usize] = Terms::default();
    }

    fn bytes(&self) -> usize {
        let large = self.groups.iter().filter(|terms| terms.others.is_some()).count();
        self.groups.capacity() * size_of::<Terms>() + large * size_of::<ExactSum>()
    }
}
