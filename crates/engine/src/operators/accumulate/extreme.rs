//! `min` and `max`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema};
use syncline_change::row::RowCodec;
use syncline_change::{Error, Result};

use super::super::{negative, tree_bytes};
use super::ends::EndsOfGroups;
use super::ordered_bits::OrderedBits;
use super::{Accumulate, Update};
use crate::state::{put_i64, put_option, take_i64, take_option};

/// `min` or `max` of a type. Where rows can be taken away every value is kept, in order; otherwise
/// the best.
///
/// # Errors
/// `Unsupported` if the type has no order.
pub(crate) fn extreme(of: &DataType, max: bool, append_only: bool) -> Result<Box<dyn Accumulate>> {
    if of.is_nested() || matches!(of, DataType::Interval(_)) {
        return Err(Error::unsupported("min or max of this type"));
    }
    Ok(match OrderedBits::new(of) {
        Some(bits) if append_only => Box::new(Best { max, bits, groups: Vec::new() }),
        Some(bits) => Box::new(Ordered { max, bits, groups: Vec::new() }),
        None => {
            let schema = Schema::new(vec![Field::new("value", of.clone(), true)]);
            let codec = RowCodec::new(Arc::new(schema))?;
            Box::new(Encoded { max, codec, groups: EndsOfGroups::new(append_only) })
        }
    })
}

/// The best value of each group so far: rows only ever come.
struct Best {
    max: bool,
    bits: OrderedBits,
    groups: Vec<Option<u64>>,
}

impl Accumulate for Best {
    fn grow(&mut self, groups: usize) {
        self.groups.resize(groups, None);
    }

    fn update(&mut self, rows: &Update<'_>) -> Result<()> {
        let max = self.max;
        each_value(&self.bits, rows, |value, group, _| {
            let best = &mut self.groups[group];
            if best.is_none_or(|best| if max { value > best } else { value < best }) {
                *best = Some(value);
            }
        })
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        self.bits.array(groups.iter().map(|&group| self.groups[group as usize]))
    }

    fn reset(&mut self, group: u32) {
        self.groups[group as usize] = None;
    }

    fn write(&self, group: u32, bytes: &mut Vec<u8>) {
        put_option(bytes, self.groups[group as usize].map(u64::cast_signed));
    }

    fn read(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.groups[group as usize] = take_option(bytes)?.map(i64::cast_unsigned);
        Some(())
    }

    fn bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Option<u64>>()
    }
}

/// Every value of each group, in order.
struct Ordered {
    max: bool,
    bits: OrderedBits,
    groups: Vec<BTreeMap<u64, i64>>,
}

impl Accumulate for Ordered {
    fn grow(&mut self, groups: usize) {
        self.groups.resize_with(groups, BTreeMap::new);
    }

    fn update(&mut self, rows: &Update<'_>) -> Result<()> {
        each_value(&self.bits, rows, |value, group, weight| {
            let counts = &mut self.groups[group];
            let count = counts.entry(value).or_insert(0);
            *count += weight;
            if *count == 0 {
                counts.remove(&value);
            }
        })?;
        // Only the ends can become a result, and looking at all would cost more than the update.
        check_ends(rows, |group| {
            let counts = &self.groups[group];
            [counts.first_key_value(), counts.last_key_value()].map(|end| end.map(|(_, &n)| n))
        })
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        self.bits.array(groups.iter().map(|&group| {
            let counts = &self.groups[group as usize];
            let end = if self.max { counts.last_key_value() } else { counts.first_key_value() };
            end.map(|(&value, _)| value)
        }))
    }

    fn reset(&mut self, group: u32) {
        self.groups[group as usize].clear();
    }

    fn write(&self, group: u32, bytes: &mut Vec<u8>) {
        let counts = &self.groups[group as usize];
        put_i64(bytes, counts.len() as i64);
        for (value, count) in counts {
            put_i64(bytes, value.cast_signed());
            put_i64(bytes, *count);
        }
    }

    fn read(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        for _ in 0..take_i64(bytes)? {
            let value = take_i64(bytes)?.cast_unsigned();
            self.groups[group as usize].insert(value, take_i64(bytes)?);
        }
        Some(())
    }

    fn bytes(&self) -> usize {
        let trees = self.groups.iter().map(|group| tree_bytes::<(u64, i64)>(group.len()));
        self.groups.capacity() * size_of::<BTreeMap<u64, i64>>() + trees.sum::<usize>()
    }
}

/// Calls `take` with value, group and weight of each row whose value is not NULL.
fn each_value(
    bits: &OrderedBits,
    rows: &Update<'_>,
    mut take: impl FnMut(u64, usize, i64),
) -> Result<()> {
    let values = bits.of_rows(&rows.arguments[0], rows.rows)?;
    let nulls = rows.arguments[0].logical_nulls().filter(|nulls| nulls.null_count() > 0);
    for ((&row, &group), value) in rows.rows.iter().zip(rows.groups).zip(values) {
        let row = row as usize;
        if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
            take(value, group as usize, rows.weights.map_or(1, |weights| weights[row]));
        }
    }
    Ok(())
}

/// Values of types that are not primitive, as encoded rows.
struct Encoded {
    max: bool,
    codec: RowCodec,
    groups: EndsOfGroups,
}

impl Accumulate for Encoded {
    fn grow(&mut self, groups: usize) {
        self.groups.grow(groups);
    }

    fn update(&mut self, rows: &Update<'_>) -> Result<()> {
        let own = take(&rows.arguments[0], &UInt32Array::from(rows.rows.to_vec()), None)?;
        let encoded = self.codec.encode(std::slice::from_ref(&own))?;
        for (i, (&row, &group)) in rows.rows.iter().zip(rows.groups).enumerate() {
            if own.is_valid(i) {
                let weight = rows.weights.map_or(1, |weights| weights[row as usize]);
                self.groups.change(group as usize, encoded.row(i).data(), weight, self.max);
            }
        }
        self.groups.check("min/max", rows.groups)
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        // NULL is encoded like any value, and is what an empty group gives.
        let null = new_null_array(self.codec.schema().field(0).data_type(), 1);
        let null = self.codec.encode(&[null])?;
        let null = null.row(0);
        let best = groups.iter().map(|&group| self.groups.end(group as usize, self.max));
        let best = best.map(|end| end.unwrap_or(null.as_ref()));
        Ok(self.codec.decode(best)?.remove(0))
    }

    fn reset(&mut self, group: u32) {
        self.groups.reset(group as usize);
    }

    fn write(&self, group: u32, bytes: &mut Vec<u8>) {
        self.groups.write(group as usize, bytes);
    }

    fn read(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.groups.read(group as usize, bytes)
    }

    fn bytes(&self) -> usize {
        self.groups.bytes()
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
