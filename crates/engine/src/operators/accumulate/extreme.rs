//! `min` and `max`.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, PrimitiveArray, UInt32Array,
    downcast_primitive, new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema};
use syncline_change::row::RowCodec;
use syncline_change::{Error, Result};

use super::super::negative;
use super::{Accumulate, Update, change_count};

/// `min` or `max` of a type. Where rows can be taken away every value is kept, in order; otherwise
/// the best.
///
/// # Errors
/// `Unsupported` if the type has no order.
pub(crate) fn extreme(of: &DataType, max: bool, append_only: bool) -> Result<Box<dyn Accumulate>> {
    macro_rules! of_primitives {
        ($t:ty) => {
            match append_only {
                true => Box::new(Best::<$t> { max, best: vec![], data_type: of.clone() }) as _,
                false => {
                    Box::new(Ordered::<$t> { max, groups: vec![], data_type: of.clone() }) as _
                }
            }
        };
    }
    if of.is_nested() || matches!(of, DataType::Interval(_)) {
        return Err(Error::unsupported("min or max of this type"));
    }
    let bytes = || -> Result<Box<dyn Accumulate>> {
        let codec = RowCodec::new(Arc::new(Schema::new(vec![Field::new("v", of.clone(), true)])))?;
        Ok(Box::new(Encoded { max, append_only, codec, groups: Vec::new() }))
    };
    Ok(downcast_primitive! {
        of => (of_primitives),
        _ => bytes()?
    })
}

/// The best value of each group so far: rows only ever come.
struct Best<T: ArrowPrimitiveType> {
    max: bool,
    best: Vec<Option<T::Native>>,
    data_type: DataType,
}

impl<T: ArrowPrimitiveType> Accumulate for Best<T>
where
    T::Native: ArrowNativeTypeOp,
{
    fn grow(&mut self, groups: usize) {
        self.best.resize(groups, None);
    }

    fn update(&mut self, rows: &Update<'_>) -> Result<()> {
        let column = rows.arguments[0].as_primitive::<T>();
        let (values, max) = (column.values(), self.max);
        rows.each(column.nulls(), |row, group, _| {
            let (value, best) = (values[row], &mut self.best[group]);
            let is_better =
                best.is_none_or(|best| if max { value.is_gt(best) } else { value.is_lt(best) });
            if is_better {
                *best = Some(value);
            }
        });
        Ok(())
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        let best = groups.iter().map(|&group| self.best[group as usize]);
        let best: PrimitiveArray<T> = best.collect();
        Ok(Arc::new(best.with_data_type(self.data_type.clone())))
    }

    fn reset(&mut self, group: u32) {
        self.best[group as usize] = None;
    }

    fn bytes(&self) -> usize {
        self.best.capacity() * size_of::<Option<T::Native>>()
    }
}

/// Every value of each group, in order.
struct Ordered<T: ArrowPrimitiveType> {
    max: bool,
    groups: Vec<BTreeMap<Total<T::Native>, i64>>,
    data_type: DataType,
}

/// A value in the total order, which floats have too.
#[derive(Clone, Copy)]
struct Total<N>(N);

impl<N: ArrowNativeTypeOp> PartialEq for Total<N> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<N: ArrowNativeTypeOp> Eq for Total<N> {}

impl<N: ArrowNativeTypeOp> PartialOrd for Total<N> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<N: ArrowNativeTypeOp> Ord for Total<N> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.compare(other.0)
    }
}

impl<T: ArrowPrimitiveType> Accumulate for Ordered<T>
where
    T::Native: ArrowNativeTypeOp,
{
    fn grow(&mut self, groups: usize) {
        self.groups.resize_with(groups, BTreeMap::new);
    }

    fn update(&mut self, rows: &Update<'_>) -> Result<()> {
        let column = rows.arguments[0].as_primitive::<T>();
        let values = column.values();
        rows.each(column.nulls(), |row, group, weight| {
            let counts = &mut self.groups[group];
            let count = counts.entry(Total(values[row])).or_insert(0);
            *count += weight;
            if *count == 0 {
                counts.remove(&Total(values[row]));
            }
        });
        // Only the ends can become a result, and looking at all would cost more than the update.
        check_ends(rows, |group| {
            let counts = &self.groups[group];
            [counts.first_key_value(), counts.last_key_value()].map(|end| end.map(|(_, &n)| n))
        })
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        let best = groups.iter().map(|&group| {
            let counts = &self.groups[group as usize];
            let end = if self.max { counts.last_key_value() } else { counts.first_key_value() };
            end.map(|(value, _)| value.0)
        });
        let best: PrimitiveArray<T> = best.collect();
        Ok(Arc::new(best.with_data_type(self.data_type.clone())))
    }

    fn reset(&mut self, group: u32) {
        self.groups[group as usize].clear();
    }

    fn bytes(&self) -> usize {
        let entries: usize = self.groups.iter().map(BTreeMap::len).sum();
        self.groups.capacity() * size_of::<BTreeMap<u8, u8>>()
            + entries * size_of::<(T::Native, i64)>() * 4 / 3
    }
}

/// Values of types that are not primitive, as encoded rows.
struct Encoded {
    max: bool,
    append_only: bool,
    codec: RowCodec,
    groups: Vec<BTreeMap<Box<[u8]>, i64>>,
}

impl Encoded {
    fn best(&self, group: usize) -> Option<&[u8]> {
        let values = &self.groups[group];
        let best = if self.max { values.last_key_value() } else { values.first_key_value() };
        best.map(|(value, _)| &**value)
    }
}

impl Accumulate for Encoded {
    fn grow(&mut self, groups: usize) {
        self.groups.resize_with(groups, BTreeMap::new);
    }

    fn update(&mut self, rows: &Update<'_>) -> Result<()> {
        let own = take(&rows.arguments[0], &UInt32Array::from(rows.rows.to_vec()), None)?;
        let encoded = self.codec.encode(std::slice::from_ref(&own))?;
        for (i, (&row, &group)) in rows.rows.iter().zip(rows.groups).enumerate() {
            if own.is_null(i) {
                continue;
            }
            let (value, group) = (encoded.row(i), group as usize);
            let value = value.as_ref();
            if !self.append_only {
                let weight = rows.weights.map_or(1, |weights| weights[row as usize]);
                change_count(&mut self.groups[group], value, weight);
            } else if self
                .best(group)
                .is_none_or(|best| if self.max { value > best } else { value < best })
            {
                let values = &mut self.groups[group];
                values.clear();
                values.insert(value.into(), 1);
            }
        }
        check_ends(rows, |group| {
            let counts = &self.groups[group];
            [counts.first_key_value(), counts.last_key_value()].map(|end| end.map(|(_, &n)| n))
        })
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        // NULL is encoded like any value, and is what an empty group gives.
        let null = new_null_array(self.codec.schema().field(0).data_type(), 1);
        let null = self.codec.encode(&[null])?;
        let null = null.row(0);
        let best = groups.iter().map(|&group| self.best(group as usize).unwrap_or(null.as_ref()));
        Ok(self.codec.decode(best)?.remove(0))
    }

    fn reset(&mut self, group: u32) {
        self.groups[group as usize].clear();
    }

    fn bytes(&self) -> usize {
        let values = self.groups.iter().flatten();
        let values: usize = values.map(|(value, _)| value.len() + 32).sum();
        self.groups.capacity() * size_of::<BTreeMap<u8, u8>>() + values
    }
}

/// # Errors
/// `Bug` if the least or the greatest value of a group that changed is there fewer than zero times.
fn check_ends(rows: &Update<'_>, ends: impl Fn(usize) -> [Option<i64>; 2]) -> Result<()> {
    let mut before = None;
    for &group in rows.groups {
        // Rows of a group often stand together; each group need be looked at once.
        if before == Some(group) {
            continue;
        }
        before = Some(group);
        if ends(group as usize).into_iter().flatten().any(|count| count < 0) {
            return Err(negative("min/max", "a value"));
        }
    }
    Ok(())
}
