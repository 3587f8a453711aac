//! Which values of a group are there: what DISTINCT inside of an aggregate asks.

use arrow::array::{Array, ArrayRef};
use arrow::row::Rows;
use hashbrown::hash_table::Entry;
use hashbrown::{HashSet, HashTable};
use syncline_change::Result;
use syncline_change::row::{self, RowCodec};

use crate::state::{Cells, KeyLog, Loader, Saver, Unloaded, take_i64};

use super::super::groups::unreadable;
use super::super::negative;
use super::super::partition::{PARTITIONS, Split, Workers};
use super::any_null;
use super::ordered_bits::OrderedBits;

/// How often each value of each group is there.
///
/// Split by group and value, so that a single large group keeps all workers busy. What it gives for
/// the rows of a step are weights: +1 where a value comes that was not there, -1 where it goes. An
/// aggregate of distinct values is the plain one with these weights.
pub(crate) struct Distinct {
    codec: RowCodec,
    parts: Vec<Part>,
}

#[derive(Default)]
struct Part {
    /// Values of at most 64 bits, as they are.
    small: HashTable<(u64, u64, i64)>,
    /// All others, as encoded rows.
    large: HashTable<(u64, Box<[u8]>, i64)>,
    large_bytes: usize,
    /// Groups and values that were touched since they were last saved.
    unsaved: KeyLog,
    /// Values from a checkpoint that were not needed yet.
    unloaded: Option<Unloaded>,
}

/// The values of a batch.
enum Values {
    Small(Vec<u64>),
    Large(Rows),
}

impl Distinct {
    pub(crate) fn new(codec: RowCodec) -> Self {
        Self { codec, parts: (0..PARTITIONS).map(|_| Part::default()).collect() }
    }

    /// The weights of a batch's rows as distinct values. `groups` numbers the group of each row over
    /// all partitions; rows that do not pass or have a NULL argument weigh nothing.
    pub(crate) fn weights(
        &mut self,
        workers: &Workers,
        groups: &[u64],
        arguments: &[ArrayRef],
        passes: impl Fn(usize) -> bool,
        weight: impl Fn(usize) -> i64 + Sync,
    ) -> Result<Vec<i64>> {
        let nulls = any_null(arguments);
        let is_valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        let rows: Vec<u32> = (0..groups.len())
            .filter(|&row| passes(row) && is_valid(row))
            .map(|row| row as u32)
            .collect();
        let values = match small_values(arguments)? {
            Some(values) => Values::Small(values),
            None => Values::Large(self.codec.encode(arguments)?),
        };
        let hashes: Vec<u64> = rows.iter().map(|&row| values.hash(groups, row as usize)).collect();
        let split = Split::new(&hashes);
        let done = workers.run(&split, &mut self.parts, |part, of| {
            let changes = of.iter().map(|&i| (hashes[i as usize], rows[i as usize] as usize));
            part.count(changes, groups, &values, &weight)
        })?;
        let mut weights = vec![0; groups.len()];
        for (row, weight) in done.into_iter().flatten() {
            weights[row] = weight;
        }
        Ok(weights)
    }

    /// Forgets the values of groups, whose numbers may be given to others.
    pub(crate) fn forget(&mut self, groups: &HashSet<u64>) {
        for Part { small, large, large_bytes, unsaved, unloaded: _ } in &mut self.parts {
            let mut stays = |group: u64, value: &[u8]| {
                let stays = !groups.contains(&group);
                if !stays {
                    unsaved.note(&[&group.to_le_bytes(), value]);
                }
                stays
            };
            small.retain(|(group, value, _)| stays(*group, &value.to_le_bytes()));
            large.retain(|(group, value, _)| {
                let stays = stays(*group, value);
                *large_bytes -= if stays { 0 } else { value.len() };
                stays
            });
        }
    }

    /// From now on takes note of what changes.
    pub(crate) fn begin_saving(&mut self) {
        self.parts.iter_mut().for_each(|part| part.unsaved.begin());
    }

    /// Bytes of what has changed since it was last saved.
    pub(crate) fn unsaved(&self) -> usize {
        self.parts.iter().map(|part| part.unsaved.bytes()).sum()
    }

    pub(crate) fn save(&mut self, to: &mut Saver<'_>) -> Result<()> {
        let is_small = self.is_small();
        to.parts(&mut self.parts, |part| part.take_unsaved(is_small))
    }

    /// Has the values come from a checkpoint: when they are needed, or if `at_once` now.
    pub(crate) fn load(&mut self, from: &Loader<'_>, at_once: bool) -> Result<()> {
        let is_small = self.is_small();
        if !at_once {
            for (number, part) in self.parts.iter_mut().enumerate() {
                part.unloaded = Unloaded::new(from, number)?;
            }
            return Ok(());
        }
        from.parts(&mut self.parts, |part, mut key, mut count| {
            let group = take_i64(&mut key)?.cast_unsigned();
            part.insert(is_small, group, key, take_i64(&mut count)?)
        })
    }

    /// Whether values are kept as they are.
    fn is_small(&self) -> bool {
        let [column] = &self.codec.schema().fields()[..] else { return false };
        OrderedBits::new(column.data_type()).is_some()
    }

    /// How many values there are, over all groups.
    pub(crate) fn len(&self) -> usize {
        let of = |part: &Part| {
            let unloaded = part.unloaded.as_ref().map_or(0, Unloaded::left);
            part.small.len() + part.large.len() + unloaded
        };
        self.parts.iter().map(of).sum()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(Part::bytes).sum()
    }
}

impl Values {
    fn hash(&self, groups: &[u64], row: usize) -> u64 {
        match self {
            Self::Small(values) => mix(groups[row], values[row]),
            Self::Large(rows) => mix(groups[row], row::hash(rows.row(row).data())),
        }
    }
}

/// A hash of two numbers: the high and the low bits of a product, as in wyhash.
fn mix(a: u64, b: u64) -> u64 {
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        (product as u64) ^ (product >> 64) as u64
    };
    let first = fold(a ^ 0x9e37_79b9_7f4a_7c15, b ^ 0xd6e8_feb8_6659_fd93);
    fold(first ^ b, 0xa076_1d64_78bd_642f)
}

impl Part {
    /// Counts values, and returns the rows that bring a new one or take the last one away.
    fn count(
        &mut self,
        changes: impl Iterator<Item = (u64, usize)>,
        groups: &[u64],
        values: &Values,
        weight: &impl Fn(usize) -> i64,
    ) -> Result<Vec<(usize, i64)>> {
        let mut changed = Vec::new();
        // Within a step a value may go before it comes; what is still missing then is an error.
        let mut missing = Vec::new();
        for (hash, row) in changes {
            let (group, weight) = (groups[row], weight(row));
            if self.unloaded.is_some() {
                match values {
                    Values::Small(values) => self.need(true, group, &values[row].to_le_bytes())?,
                    Values::Large(rows) => self.need(false, group, rows.row(row).data())?,
                }
            }
            if self.unsaved.is_on() {
                match values {
                    Values::Small(values) => {
                        self.unsaved.note(&[&group.to_le_bytes(), &values[row].to_le_bytes()]);
                    }
                    Values::Large(rows) => {
                        self.unsaved.note(&[&group.to_le_bytes(), rows.row(row).data()]);
                    }
                }
            }
            let (before, after) = match values {
                Values::Small(values) => self.change_small(hash, (group, values[row]), weight),
                Values::Large(rows) => self.change_large(hash, group, rows.row(row).data(), weight),
            };
            if (before > 0) != (after > 0) {
                changed.push((row, if after > 0 { 1 } else { -1 }));
            }
            if after < 0 {
                missing.push((hash, row));
            }
        }
        let is_missing = missing.into_iter().any(|(hash, row)| match values {
            Values::Small(values) => {
                let found = self.small.find(hash, |e| (e.0, e.1) == (groups[row], values[row]));
                found.is_some_and(|entry| entry.2 < 0)
            }
            Values::Large(rows) => {
                let value = rows.row(row);
                let found = self.large.find(hash, |e| e.0 == groups[row] && *e.1 == *value.data());
                found.is_some_and(|entry| entry.2 < 0)
            }
        });
        if is_missing { Err(negative("an aggregate of DISTINCT", "a value")) } else { Ok(changed) }
    }

    fn change_small(&mut self, hash: u64, of: (u64, u64), weight: i64) -> (i64, i64) {
        let entry = self.small.entry(hash, |e| (e.0, e.1) == of, |e| mix(e.0, e.1));
        match entry {
            Entry::Vacant(vacant) => {
                vacant.insert((of.0, of.1, weight));
                (0, weight)
            }
            Entry::Occupied(mut found) => {
                let before = found.get().2;
                found.get_mut().2 += weight;
                if before + weight == 0 {
                    found.remove();
                }
                (before, before + weight)
            }
        }
    }

    fn change_large(&mut self, hash: u64, group: u64, value: &[u8], weight: i64) -> (i64, i64) {
        let is_same = |e: &(u64, Box<[u8]>, i64)| e.0 == group && *e.1 == *value;
        match self.large.entry(hash, is_same, |e| mix(e.0, row::hash(&e.1))) {
            Entry::Vacant(vacant) => {
                self.large_bytes += value.len();
                vacant.insert((group, value.into(), weight));
                (0, weight)
            }
            Entry::Occupied(mut found) => {
                let before = found.get().2;
                found.get_mut().2 += weight;
                if before + weight == 0 {
                    self.large_bytes -= value.len();
                    found.remove();
                }
                (before, before + weight)
            }
        }
    }

    /// Takes a value from the checkpoint, if it is still there, and another one so that there will be
    /// none left.
    fn need(&mut self, is_small: bool, group: u64, value: &[u8]) -> Result<()> {
        let Some(mut unloaded) = self.unloaded.take() else { return Ok(()) };
        let key = [&group.to_le_bytes(), value].concat();
        let mut read = Some(());
        if self.find(is_small, &key).is_none() {
            let taken = unloaded.take(row::hash(&key), &key, |mut count| {
                self.insert(is_small, group, value, take_i64(&mut count)?)
            });
            read = taken.unwrap_or(read);
        }
        let more = unloaded.rest(1, |_, mut key, mut count| {
            let group = take_i64(&mut key)?.cast_unsigned();
            self.insert(is_small, group, key, take_i64(&mut count)?)
        });
        if more == Some(true) {
            self.unloaded = Some(unloaded);
        }
        read.and(more).map(drop).ok_or_else(unreadable)
    }

    /// How often the values that were touched are there.
    fn take_unsaved(&mut self, is_small: bool) -> Cells {
        let mut log = std::mem::take(&mut self.unsaved);
        let cells = log.take_counts(|key| self.find(is_small, key));
        self.unsaved = log;
        cells
    }

    /// How often the value of a group is there.
    fn find(&self, is_small: bool, mut key: &[u8]) -> Option<i64> {
        let group = take_i64(&mut key)?.cast_unsigned();
        if is_small {
            let value = u64::from_le_bytes(key.try_into().ok()?);
            let found = self.small.find(mix(group, value), |e| (e.0, e.1) == (group, value));
            return found.map(|entry| entry.2);
        }
        let hash = mix(group, row::hash(key));
        self.large.find(hash, |e| e.0 == group && *e.1 == *key).map(|entry| entry.2)
    }

    fn insert(&mut self, is_small: bool, group: u64, value: &[u8], count: i64) -> Option<()> {
        if is_small {
            let value = u64::from_le_bytes(value.try_into().ok()?);
            let hash = mix(group, value);
            self.small.insert_unique(hash, (group, value, count), |e| mix(e.0, e.1));
        } else {
            let hash = mix(group, row::hash(value));
            let rehash = |e: &(u64, Box<[u8]>, i64)| mix(e.0, row::hash(&e.1));
            self.large.insert_unique(hash, (group, value.into(), count), rehash);
            self.large_bytes += value.len();
        }
        Some(())
    }

    fn bytes(&self) -> usize {
        self.small.allocation_size() + self.large.allocation_size() + self.large_bytes
    }
}

/// The values of one column of at most 64 bits, equal where the column's values are.
fn small_values(arguments: &[ArrayRef]) -> Result<Option<Vec<u64>>> {
    let [column] = arguments else { return Ok(None) };
    let Some(bits) = OrderedBits::new(column.data_type()) else { return Ok(None) };
    let rows: Vec<u32> = (0..column.len() as u32).collect();
    bits.of_rows(column, &rows).map(Some)
}
