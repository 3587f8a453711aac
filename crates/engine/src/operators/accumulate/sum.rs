//! `sum` and `avg`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, Float64Array, PrimitiveArray,
};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, ToByteSlice, UInt64Type};
use syncline_change::Result;

use super::{Accumulate, Update};
use crate::functions::floats::sum_result;
use crate::functions::terms::Terms;
use crate::state::{put_i64, take_i64};

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

/// What sums are kept as.
trait Whole: Sized {
    /// A weight as a number to multiply with, wrapping.
    fn from_weight(weight: i64) -> Self;

    fn of_bytes(bytes: &[u8]) -> Option<Self>;
}

macro_rules! whole {
    ($($native:ty),*) => {
        $(impl Whole for $native {
            fn from_weight(weight: i64) -> Self {
                weight as Self
            }

            fn of_bytes(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_ne_bytes(bytes.try_into().ok()?))
            }
        })*
    };
}
whole!(i64, u64, i128);

impl<T: ArrowPrimitiveType> Accumulate for WrappingSum<T>
where
    T::Native: Whole + ArrowNativeTypeOp,
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

    fn write(&self, group: u32, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.sums[group as usize].to_byte_slice());
        put_i64(bytes, self.counts[group as usize]);
    }

    fn read(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        let sum = bytes.split_off(..size_of::<T::Native>())?;
        self.sums[group as usize] = T::Native::of_bytes(sum)?;
        self.counts[group as usize] = take_i64(bytes)?;
        Some(())
    }

    fn bytes(&self) -> usize {
        self.sums.capacity() * size_of::<T::Native>() + self.counts.capacity() * size_of::<i64>()
    }
}

/// `sum` or `avg` of doubles, exact.
pub(crate) struct FloatSum {
    mean: bool,
    /// The sum and the number of terms of each group.
    groups: Vec<(Terms, i64)>,
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

    fn update(&mut self, rows: &Update<'_>) -> Result<()> {
        let column = rows.arguments[0].as_primitive::<Float64Type>();
        let values = column.values();
        rows.each(column.nulls(), |row, group, weight| {
            let (terms, count) = &mut self.groups[group];
            terms.add(values[row], weight);
            *count += weight;
        });
        Ok(())
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        let results = groups.iter().map(|&group| {
            let (terms, count) = &self.groups[group as usize];
            sum_result(terms, *count, self.mean)
        });
        Ok(Arc::new(Float64Array::from_iter(results)))
    }

    fn reset(&mut self, group: u32) {
        self.groups[group as usize] = Default::default();
    }

    fn write(&self, group: u32, bytes: &mut Vec<u8>) {
        let (terms, count) = &self.groups[group as usize];
        terms.write(bytes);
        put_i64(bytes, *count);
    }

    fn read(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.groups[group as usize] = (Terms::read(bytes)?, take_i64(bytes)?);
        Some(())
    }

    fn bytes(&self) -> usize {
        let large: usize = self.groups.iter().map(|(terms, _)| terms.heap_bytes()).sum();
        self.groups.capacity() * size_of::<(Terms, i64)>() + large
    }
}

/// `avg` of decimals: the sum in units of the result's scale over the count, cut off behind the last
/// digit, as the batch engine has it.
pub(crate) struct DecimalAverage {
    sums: WrappingSum<Decimal128Type>,
    /// What a unit of the argument is in units of the result.
    factor: i128,
}

/// Of decimals with no more digits than this, no sum overflows: 38 digits less those of the factor,
/// and of more rows than there will ever be.
const AVERAGED_DIGITS_MAX: u8 = 20;

impl DecimalAverage {
    /// `None` if the types are not decimals whose average is always right.
    pub(crate) fn new(argument: &DataType, result: &DataType) -> Option<Self> {
        match (argument, result) {
            (DataType::Decimal128(digits, from), DataType::Decimal128(_, to))
                if *digits <= AVERAGED_DIGITS_MAX && *from >= 0 && to >= from =>
            {
                let factor = 10_i128.checked_pow(u32::try_from(to - from).ok()?)?;
                Some(Self { sums: WrappingSum::new(result.clone()), factor })
            }
            _ => None,
        }
    }
}

impl Accumulate for DecimalAverage {
    fn grow(&mut self, groups: usize) {
        self.sums.grow(groups);
    }

    fn update(&mut self, rows: &Update<'_>) -> Result<()> {
        self.sums.update(rows)
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        let averages = groups.iter().map(|&group| {
            let (sum, count) = (self.sums.sums[group as usize], self.sums.counts[group as usize]);
            (count > 0).then(|| sum.wrapping_mul(self.factor) / i128::from(count))
        });
        let averages: PrimitiveArray<Decimal128Type> = averages.collect();
        Ok(Arc::new(averages.with_data_type(self.sums.result.clone())))
    }

    fn reset(&mut self, group: u32) {
        self.sums.reset(group);
    }

    fn write(&self, group: u32, bytes: &mut Vec<u8>) {
        self.sums.write(group, bytes);
    }

    fn read(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.sums.read(group, bytes)
    }

    fn bytes(&self) -> usize {
        self.sums.bytes()
    }
}
