//! `median` and `percentile_cont`.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, PrimitiveArray,
};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, ToByteSlice};
use syncline_change::Result;

use super::super::{heap_bytes, negative};
use super::{Accumulate, Update};
use crate::state::{put_i64, take_i64};

/// The accumulator for floats or decimals; integers come here as doubles.
pub(crate) fn median(of: &DataType) -> Option<Box<dyn Accumulate>> {
    Some(match of {
        DataType::Float32 => Box::new(Middle::<Float32Type>::new(of, Place::Median)),
        DataType::Float64 => Box::new(Middle::<Float64Type>::new(of, Place::Median)),
        DataType::Decimal128(_, _) => Box::new(Middle::<Decimal128Type>::new(of, Place::Median)),
        _ => return None,
    })
}

/// The accumulator of `percentile_cont` for floats; `percentile` is from 0 to 1.
pub(crate) fn percentile(of: &DataType, percentile: f64) -> Option<Box<dyn Accumulate>> {
    Some(match of {
        DataType::Float32 => {
            let between = |low: f32, high: f32, weight: f64| {
                interpolated(f64::from(low), f64::from(high), weight) as f32
            };
            Box::new(Middle::<Float32Type>::new(of, Place::Percentile { percentile, between }))
        }
        DataType::Float64 => {
            let place = Place::Percentile { percentile, between: interpolated };
            Box::new(Middle::<Float64Type>::new(of, place))
        }
        _ => return None,
    })
}

/// A value of each group by its place among all of them.
struct Middle<T: ArrowPrimitiveType> {
    groups: Vec<Multiset<T::Native>>,
    place: Place<T::Native>,
    data_type: DataType,
}

/// Which value.
#[derive(Clone, Copy)]
enum Place<N> {
    /// The one in the middle, or the mean of the two that are.
    Median,
    /// The one with this share of the others before it; where that falls between two, what
    /// `between` makes of them and of how far it is from the first.
    Percentile { percentile: f64, between: fn(N, N, f64) -> N },
}

/// In how many steps a percentile moves from one value to the next.
const INTERPOLATION_STEPS: f64 = 1_000_000.0;

fn interpolated(low: f64, high: f64, weight: f64) -> f64 {
    low + (high - low) * weight
}

/// Values in order, with how often each is there, in chunks that know how many values they hold:
/// a value is found by its place without walking over those before it one by one.
struct Multiset<N> {
    chunks: Vec<Chunk<N>>,
    count: i64,
    /// How many values are there fewer than zero times, which may only be so within a step.
    missing: usize,
}

struct Chunk<N> {
    values: Vec<(N, i64)>,
    count: i64,
}

/// Where a chunk is split: short enough to insert into, long enough that there are few.
const CHUNK_VALUES_MAX: usize = 512;

impl<N> Default for Multiset<N> {
    fn default() -> Self {
        Self { chunks: Vec::new(), count: 0, missing: 0 }
    }
}

impl<N: ArrowNativeTypeOp> Multiset<N> {
    fn change(&mut self, value: N, weight: i64) {
        if self.chunks.is_empty() {
            self.chunks.push(Chunk { values: Vec::new(), count: 0 });
        }
        let ends_below = |chunk: &Chunk<N>| {
            chunk.values.last().is_some_and(|(last, _)| last.compare(value) == Ordering::Less)
        };
        let at = self.chunks.partition_point(ends_below).min(self.chunks.len() - 1);
        let chunk = &mut self.chunks[at];
        let (before, after) = match chunk.values.binary_search_by(|(have, _)| have.compare(value)) {
            Ok(place) => {
                let before = chunk.values[place].1;
                chunk.values[place].1 += weight;
                if before + weight == 0 {
                    chunk.values.remove(place);
                }
                (before, before + weight)
            }
            Err(place) => {
                chunk.values.insert(place, (value, weight));
                (0, weight)
            }
        };
        self.missing += usize::from(after < 0);
        self.missing -= usize::from(before < 0);
        self.count += weight;
        chunk.count += weight;
        if chunk.values.is_empty() {
            self.chunks.remove(at);
        } else if chunk.values.len() > CHUNK_VALUES_MAX {
            let values = chunk.values.split_off(CHUNK_VALUES_MAX / 2);
            let count = values.iter().map(|(_, count)| count).sum();
            chunk.count -= count;
            self.chunks.insert(at + 1, Chunk { values, count });
        }
    }

    /// The value with `before` others in front of it.
    fn nth(&self, mut before: i64) -> Option<N> {
        for chunk in &self.chunks {
            if before >= chunk.count {
                before -= chunk.count;
                continue;
            }
            for (value, count) in &chunk.values {
                if before < *count {
                    return Some(*value);
                }
                before -= count;
            }
        }
        None
    }

    fn at(&self, place: Place<N>) -> Option<N> {
        match place {
            Place::Median => self.median(),
            Place::Percentile { percentile, between } => self.percentile(percentile, between),
        }
    }

    /// As DataFusion has it, to the bit.
    fn percentile(&self, percentile: f64, between: fn(N, N, f64) -> N) -> Option<N> {
        if self.count == 0 {
            return None;
        }
        let place = percentile * (self.count - 1) as f64;
        let low = self.nth(place.floor() as i64)?;
        if place.floor() == place.ceil() {
            return Some(low);
        }
        let steps = ((place - place.floor()) * INTERPOLATION_STEPS) as u64;
        Some(between(low, self.nth(place.ceil() as i64)?, steps as f64 / INTERPOLATION_STEPS))
    }

    fn median(&self) -> Option<N> {
        let high = self.nth(self.count / 2)?;
        if self.count % 2 == 1 {
            return Some(high);
        }
        Some(mean(self.nth(self.count / 2 - 1)?, high))
    }
}

/// Half of the sum; where that is out of range, the sum of the halves and of half of the rests.
fn mean<N: ArrowNativeTypeOp>(low: N, high: N) -> N {
    let two = N::usize_as(2);
    if let Ok(sum) = low.add_checked(high) {
        return sum.div_wrapping(two);
    }
    let rests = low.mod_wrapping(two).add_wrapping(high.mod_wrapping(two)).div_wrapping(two);
    low.div_wrapping(two).add_wrapping(high.div_wrapping(two)).add_wrapping(rests)
}

impl<T: ArrowPrimitiveType> Middle<T> {
    fn new(of: &DataType, place: Place<T::Native>) -> Self {
        Self { groups: Vec::new(), place, data_type: of.clone() }
    }
}

impl<T: ArrowPrimitiveType> Accumulate for Middle<T>
where
    T::Native: ArrowNativeTypeOp,
{
    fn grow(&mut self, groups: usize) {
        self.groups.resize_with(groups, Multiset::default);
    }

    fn update(&mut self, rows: &Update<'_>) -> Result<()> {
        let column = rows.arguments[0].as_primitive::<T>();
        let values = column.values();
        rows.each(column.nulls(), |row, group, weight| {
            // A row of distinct values that was there before weighs nothing.
            if weight != 0 {
                self.groups[group].change(values[row], weight);
            }
        });
        match rows.groups.iter().any(|&group| self.groups[group as usize].missing > 0) {
            true => Err(negative("median or percentile_cont", "a value")),
            false => Ok(()),
        }
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        let values = groups.iter().map(|&group| self.groups[group as usize].at(self.place));
        let values: PrimitiveArray<T> = values.collect();
        Ok(Arc::new(values.with_data_type(self.data_type.clone())))
    }

    fn reset(&mut self, group: u32) {
        self.groups[group as usize] = Multiset::default();
    }

    fn write(&self, group: u32, bytes: &mut Vec<u8>) {
        let chunks = &self.groups[group as usize].chunks;
        put_i64(bytes, chunks.iter().map(|chunk| chunk.values.len() as i64).sum());
        for (value, count) in chunks.iter().flat_map(|chunk| &chunk.values) {
            bytes.extend_from_slice(value.to_byte_slice());
            put_i64(bytes, *count);
        }
    }

    fn read(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        for _ in 0..take_i64(bytes)? {
            let value = Buffer::from(bytes.split_off(..size_of::<T::Native>())?);
            let value = ScalarBuffer::<T::Native>::from(value)[0];
            self.groups[group as usize].change(value, take_i64(bytes)?);
        }
        Some(())
    }

    fn bytes(&self) -> usize {
        let values = |chunk: &Chunk<T::Native>| {
            heap_bytes(chunk.values.capacity() * size_of::<(T::Native, i64)>())
        };
        let group = |group: &Multiset<T::Native>| {
            heap_bytes(group.chunks.capacity() * size_of::<Chunk<T::Native>>())
                + group.chunks.iter().map(values).sum::<usize>()
        };
        self.groups.capacity() * size_of::<Multiset<T::Native>>()
            + self.groups.iter().map(group).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far more values than a chunk holds come in a scrambled order and go again in another.
    #[test]
    fn many_chunks() {
        let mut set = Multiset::<f64>::default();
        let mut there: Vec<f64> = Vec::new();
        for i in 0..5_000_u64 {
            let value = (i * 2_654_435_761 % 3_001) as f64;
            set.change(value, 1);
            there.push(value);
        }
        for i in 0..4_000 {
            let value = there.swap_remove(i * 7_919 % there.len());
            set.change(value, -1);
            if i % 250 == 0 {
                there.sort_by(f64::total_cmp);
                let (low, high) = (there[(there.len() - 1) / 2], there[there.len() / 2]);
                assert_eq!(set.median(), Some((low + high) / 2.0));
            }
        }
        assert_eq!((set.count, set.missing), (1_000, 0));
    }

    #[test]
    fn a_value_may_go_before_it_comes() {
        let mut set = Multiset::<i128>::default();
        set.change(5, -1);
        assert_eq!(set.missing, 1);
        set.change(5, 2);
        assert_eq!((set.missing, set.median()), (0, Some(5)));
        set.change(i128::MAX, 1);
        assert_eq!(set.median(), Some(i128::MAX / 2 + 3));
        set.change(5, -1);
        set.change(i128::MAX, -1);
        assert_eq!((set.median(), set.chunks.len()), (None, 0));
    }
}
