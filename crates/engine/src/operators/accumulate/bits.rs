//! `bit_and`, `bit_or`, `bit_xor`, `bool_and`, `bool_or`: how often each bit is set.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use syncline_change::Result;

use super::{Accumulate, Update};
use crate::state::{put_i64, take_i64};

/// What becomes of a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bitwise {
    And,
    Or,
    Xor,
}

impl Bitwise {
    /// The result of `rows` bits of which `set` are 1.
    fn of(self, set: i64, rows: i64) -> bool {
        match self {
            Self::And => set == rows,
            Self::Or => set > 0,
            Self::Xor => set % 2 != 0,
        }
    }
}

/// The accumulator for an argument of integers or truth values.
pub(crate) fn bitwise(argument: &DataType, operation: Bitwise) -> Option<Box<dyn Accumulate>> {
    Some(match argument {
        DataType::Boolean => Box::new(Truths { operation, counts: Vec::new() }),
        DataType::Int8 => Bits::<Int8Type>::boxed(operation),
        DataType::Int16 => Bits::<Int16Type>::boxed(operation),
        DataType::Int32 => Bits::<Int32Type>::boxed(operation),
        DataType::Int64 => Bits::<Int64Type>::boxed(operation),
        DataType::UInt8 => Bits::<UInt8Type>::boxed(operation),
        DataType::UInt16 => Bits::<UInt16Type>::boxed(operation),
        DataType::UInt32 => Bits::<UInt32Type>::boxed(operation),
        DataType::UInt64 => Bits::<UInt64Type>::boxed(operation),
        _ => return None,
    })
}

/// Truth values.
struct Truths {
    operation: Bitwise,
    /// How many are true, and how many there are.
    counts: Vec<(i64, i64)>,
}

impl Accumulate for Truths {
    fn grow(&mut self, groups: usize) {
        self.counts.resize(groups, (0, 0));
    }

    fn update(&mut self, rows: &Update<'_>) -> Result<()> {
        let column = rows.arguments[0].as_boolean();
        rows.each(column.nulls(), |row, group, weight| {
            let (set, all) = &mut self.counts[group];
            *set += if column.value(row) { weight } else { 0 };
            *all += weight;
        });
        Ok(())
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        let results = groups.iter().map(|&group| {
            let (set, all) = self.counts[group as usize];
            (all > 0).then(|| self.operation.of(set, all))
        });
        Ok(Arc::new(results.collect::<BooleanArray>()))
    }

    fn reset(&mut self, group: u32) {
        self.counts[group as usize] = (0, 0);
    }

    fn write(&self, group: u32, bytes: &mut Vec<u8>) {
        let (set, all) = self.counts[group as usize];
        put_i64(bytes, set);
        put_i64(bytes, all);
    }

    fn read(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.counts[group as usize] = (take_i64(bytes)?, take_i64(bytes)?);
        Some(())
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<(i64, i64)>()
    }
}

/// Integers.
struct Bits<T> {
    operation: Bitwise,
    counts: Vec<i64>,
    /// For each group how often each bit of a value is set, the lowest first.
    set: Vec<i64>,
    of: PhantomData<fn() -> T>,
}

/// An integer as its bits, whatever its sign.
trait Image: Sized {
    fn image(self) -> u64;
    fn from_image(image: u64) -> Self;
}

macro_rules! image {
    ($($native:ty),*) => {
        $(impl Image for $native {
            fn image(self) -> u64 {
                self as u64
            }

            fn from_image(image: u64) -> Self {
                image as Self
            }
        })*
    };
}
image!(i8, i16, i32, i64, u8, u16, u32, u64);

impl<T: ArrowPrimitiveType> Bits<T>
where
    T::Native: Image,
{
    const WIDTH: usize = 8 * size_of::<T::Native>();

    fn boxed(operation: Bitwise) -> Box<dyn Accumulate> {
        Box::new(Self { operation, counts: Vec::new(), set: Vec::new(), of: PhantomData })
    }

    fn result(&self, group: usize) -> Option<T::Native> {
        let rows = self.counts[group];
        let set = &self.set[group * Self::WIDTH..][..Self::WIDTH];
        let bits = set.iter().enumerate().filter(|(_, set)| self.operation.of(**set, rows));
        let image = bits.fold(0, |image, (bit, _)| image | 1 << bit);
        (rows > 0).then(|| T::Native::from_image(image))
    }
}

impl<T: ArrowPrimitiveType> Accumulate for Bits<T>
where
    T::Native: Image,
{
    fn grow(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
        self.set.resize(groups * Self::WIDTH, 0);
    }

    fn update(&mut self, rows: &Update<'_>) -> Result<()> {
        let column = rows.arguments[0].as_primitive::<T>();
        let values = column.values();
        rows.each(column.nulls(), |row, group, weight| {
            self.counts[group] += weight;
            let image = values[row].image();
            let set = &mut self.set[group * Self::WIDTH..][..Self::WIDTH];
            for (bit, set) in set.iter_mut().enumerate() {
                *set += weight * (image >> bit & 1) as i64;
            }
        });
        Ok(())
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        let results = groups.iter().map(|&group| self.result(group as usize));
        Ok(Arc::new(results.collect::<PrimitiveArray<T>>()))
    }

    fn reset(&mut self, group: u32) {
        let group = group as usize;
        self.counts[group] = 0;
        self.set[group * Self::WIDTH..][..Self::WIDTH].fill(0);
    }

    fn write(&self, group: u32, bytes: &mut Vec<u8>) {
        let group = group as usize;
        put_i64(bytes, self.counts[group]);
        self.set[group * Self::WIDTH..][..Self::WIDTH].iter().for_each(|set| put_i64(bytes, *set));
    }

    fn read(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        let group = group as usize;
        self.counts[group] = take_i64(bytes)?;
        for set in &mut self.set[group * Self::WIDTH..][..Self::WIDTH] {
            *set = take_i64(bytes)?;
        }
        Some(())
    }

    fn bytes(&self) -> usize {
        (self.counts.capacity() + self.set.capacity()) * size_of::<i64>()
    }
}
