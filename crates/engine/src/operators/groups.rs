//! Groups of rows, numbered by key.

use hashbrown::HashTable;

use crate::state::Extent;

/// The groups of one partition: each key has a number, which is given out again after the group has
/// gone.
#[derive(Default)]
pub(crate) struct Groups {
    index: HashTable<u32>,
    hashes: Vec<u64>,
    /// Where each key is in `bytes`.
    keys: Vec<Span>,
    bytes: Vec<u8>,
    /// Bytes of keys of groups that have gone.
    garbage: usize,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Default)]
struct Span {
    start: usize,
    length: u32,
}

/// Garbage below this is not worth a look.
const GARBAGE_MIN: usize = 4096;

impl Groups {
    /// The number of the group with this key, which is made if there is none.
    pub(crate) fn find_or_add(&mut self, hash: u64, key: &[u8]) -> u32 {
        if let Some(group) = self.find(hash, key) {
            return group;
        }
        let span = Span { start: self.bytes.len(), length: key.len() as u32 };
        self.bytes.extend_from_slice(key);
        let group = match self.free.pop() {
            Some(group) => {
                self.keys[group as usize] = span;
                self.hashes[group as usize] = hash;
                group
            }
            None => {
                self.keys.push(span);
                self.hashes.push(hash);
                (self.keys.len() - 1) as u32
            }
        };
        self.index.insert_unique(hash, group, |&group| self.hashes[group as usize]);
        group
    }

    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let is_it = |&group: &u32| self.hashes[group as usize] == hash && self.key(group) == key;
        self.index.find(hash, is_it).copied()
    }

    pub(crate) fn key(&self, group: u32) -> &[u8] {
        let Span { start, length } = self.keys[group as usize];
        &self.bytes[start..start + length as usize]
    }

    pub(crate) fn remove(&mut self, group: u32) {
        let hash = self.hashes[group as usize];
        if let Ok(found) = self.index.find_entry(hash, |&other| other == group) {
            found.remove();
        }
        let span = std::mem::take(&mut self.keys[group as usize]);
        self.garbage += span.length as usize;
        self.free.push(group);
        if self.garbage > GARBAGE_MIN.max(self.bytes.len() / 2) {
            self.collect_garbage();
        }
    }

    fn collect_garbage(&mut self) {
        let mut bytes = Vec::with_capacity(self.bytes.len() - self.garbage);
        for span in &mut self.keys {
            let start = bytes.len();
            bytes.extend_from_slice(&self.bytes[span.start..span.start + span.length as usize]);
            span.start = start;
        }
        self.bytes = bytes;
        self.garbage = 0;
    }

    /// The groups whose keys `is_past` says are gone for good. No key may be empty.
    pub(crate) fn past(&self, is_past: impl Fn(&[u8]) -> bool) -> Vec<u32> {
        self.keys().filter(|(_, key)| is_past(key)).map(|(group, _)| group).collect()
    }

    /// The numbers and keys of all groups. No key may be empty.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let all = (0..self.numbers() as u32).map(|group| (group, self.key(group)));
        all.filter(|(_, key)| !key.is_empty())
    }

    /// What a look through all groups is at.
    pub(crate) fn extent(&self) -> Extent {
        Extent { kept: self.len(), empty: self.numbers() - self.len() }
    }

    /// Numbers that were given out, those of groups that have gone among them.
    pub(crate) fn numbers(&self) -> usize {
        self.keys.len()
    }

    /// How many groups there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        self.index.allocation_size()
            + self.hashes.capacity() * size_of::<u64>()
            + self.keys.capacity() * size_of::<Span>()
            + self.bytes.capacity()
            + self.free.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_groups_that_went_are_given_out_again() {
        let mut groups = Groups::default();
        let key = |i: u64| format!("key {i}").into_bytes();
        // Few hashes, so that keys share them.
        let hash = |i: u64| i % 7;
        for round in 0..50_u64 {
            let range = round * 100..(round + 1) * 100;
            let numbers: Vec<u32> =
                range.clone().map(|i| groups.find_or_add(hash(i), &key(i))).collect();
            for (i, &number) in range.clone().zip(&numbers) {
                assert_eq!(groups.key(number), key(i));
                assert_eq!(groups.find_or_add(hash(i), &key(i)), number);
            }
            assert_eq!(groups.len(), 100);
            numbers.iter().for_each(|&number| groups.remove(number));
            assert_eq!(groups.find(hash(round * 100), &key(round * 100)), None);
        }
        assert_eq!(groups.numbers(), 100);
        assert!(groups.bytes.len() <= 2 * GARBAGE_MIN, "{}", groups.bytes.len());
    }
}
