//! Groups of rows, numbered by key.

use hashbrown::HashTable;

use syncline_change::{Error, Result};

use crate::state::{Cells, Cut, Extent, HINT, KeyLog, Loader, Sweep, Unloaded};

/// The groups of one partition: each key has a number, which is given out again after the group has
/// gone.
#[derive(Default)]
pub(crate) struct Groups {
    index: HashTable<u32>,
    entries: Vec<Entry>,
    /// Keys that are too long for their entries.
    bytes: Vec<u8>,
    /// Bytes of keys of groups that have gone.
    garbage: usize,
    free: Vec<u32>,
    /// Numbers of groups that have changed since they were last saved, repeated or not; those of groups that
    /// have gone may be among them.
    touched: Vec<u32>,
    /// Keys of groups that have gone since then. Others may have come again.
    gone: KeyLog,
    /// Groups from a checkpoint that were not needed yet.
    unloaded: Option<Box<Unloaded>>,
}

/// A key and its hash, close together: to look elsewhere for each would be what takes most time.
#[derive(Clone, Copy, Default)]
struct Entry {
    hash: u64,
    length: u32,
    /// A short key, zeros behind it; or else where the key begins in `bytes`.
    place: [u8; SHORT],
}

/// Bytes that a key may have to stand in its entry: those of two numbers, and a little more.
const SHORT: usize = 20;

/// Garbage below this is not worth a look.
const GARBAGE_MIN: usize = 4096;

impl Entry {
    /// Of a key that, if it is long, begins at `start`.
    fn new(hash: u64, key: &[u8], start: usize) -> Self {
        let mut place = [0; SHORT];
        match place.get_mut(..key.len()) {
            Some(short) => short.copy_from_slice(key),
            None => place[..size_of::<usize>()].copy_from_slice(&start.to_le_bytes()),
        }
        Self { hash, length: key.len() as u32, place }
    }

    fn is_long(&self) -> bool {
        self.length as usize > SHORT
    }

    fn start(&self) -> usize {
        self.place.first_chunk().map_or(0, |start| usize::from_le_bytes(*start))
    }
}

impl Groups {
    /// The number of the group with this key, which is made if there is none.
    #[cfg(test)]
    pub(crate) fn find_or_add(&mut self, hash: u64, key: &[u8]) -> u32 {
        match self.find(hash, key) {
            Some(group) => group,
            None => self.add(hash, key),
        }
    }

    /// The number of a new group with this key.
    fn add(&mut self, hash: u64, key: &[u8]) -> u32 {
        let entry = Entry::new(hash, key, self.bytes.len());
        if entry.is_long() {
            self.bytes.extend_from_slice(key);
        }
        let group = match self.free.pop() {
            Some(group) => {
                self.entries[group as usize] = entry;
                group
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        self.index.insert_unique(hash, group, |&group| self.entries[group as usize].hash);
        group
    }

    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let wanted = Entry::new(hash, key, 0);
        let is_it = |&group: &u32| {
            let entry = &self.entries[group as usize];
            let may_be = entry.hash == hash && entry.length == wanted.length;
            may_be
                && if wanted.is_long() {
                    self.key(group) == key
                } else {
                    entry.place == wanted.place
                }
        };
        self.index.find(hash, is_it).copied()
    }

    pub(crate) fn key(&self, group: u32) -> &[u8] {
        let entry = &self.entries[group as usize];
        let length = entry.length as usize;
        entry.place.get(..length).unwrap_or_else(|| &self.bytes[entry.start()..][..length])
    }

    pub(crate) fn remove(&mut self, group: u32) {
        if self.gone.is_on() {
            let mut gone = std::mem::take(&mut self.gone);
            gone.note(&[self.key(group)]);
            self.gone = gone;
        }
        let entry = std::mem::take(&mut self.entries[group as usize]);
        if let Ok(found) = self.index.find_entry(entry.hash, |&other| other == group) {
            found.remove();
        }
        self.free.push(group);
        if entry.is_long() {
            self.garbage += entry.length as usize;
        }
        if self.garbage > GARBAGE_MIN.max(self.bytes.len() / 2) {
            self.collect_garbage();
        }
    }

    fn collect_garbage(&mut self) {
        let mut bytes = Vec::with_capacity(self.bytes.len() - self.garbage);
        for entry in self.entries.iter_mut().filter(|entry| entry.is_long()) {
            let key = &self.bytes[entry.start()..][..entry.length as usize];
            *entry = Entry::new(entry.hash, key, bytes.len());
            bytes.extend_from_slice(key);
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
        self.entries.len()
    }

    /// How many groups there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len() + self.unloaded.as_ref().map_or(0, |unloaded| unloaded.left())
    }

    /// From now on takes note of what changes.
    pub(crate) fn begin_saving(&mut self) {
        self.gone.begin();
    }

    /// What is kept of a group changes.
    pub(crate) fn touch(&mut self, group: u32) {
        if self.gone.is_on() {
            self.touched.push(group);
        }
    }

    /// Bytes of what has changed since it was last saved.
    pub(crate) fn unsaved(&self) -> usize {
        self.touched.len() * size_of::<u32>() + self.gone.bytes()
    }

    /// The groups that have changed, by key and with what `write` has of each.
    fn take_unsaved(&mut self, write: impl Fn(u32, &mut Vec<u8>)) -> Cells {
        let mut cells = Cells::default();
        let (mut touched, gone) = (std::mem::take(&mut self.touched), self.gone.take());
        let has_gone = gone.bytes() > 0;
        gone.keys().into_iter().for_each(|key| cells.remove(key));
        touched.sort_unstable();
        touched.dedup();
        for group in touched {
            // One that has gone is no more in the index; one that came again counts as it is now.
            let hash = self.entries[group as usize].hash;
            if !has_gone || self.index.find(hash, |&other| other == group).is_some() {
                cells.put(self.key(group), |bytes| write(group, bytes));
            }
        }
        cells
    }

    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        self.index.allocation_size()
            + self.entries.capacity() * size_of::<Entry>()
            + self.bytes.capacity()
            + self.free.capacity() * size_of::<u32>()
    }
}

/// What is kept by group in one partition.
pub(crate) trait Grouped: Send {
    fn groups(&self) -> &Groups;

    fn groups_mut(&mut self) -> &mut Groups;

    /// Makes room for a group with this number.
    fn grow(&mut self, group: u32);

    /// Appends all that is known of a group.
    fn write(&self, group: u32, bytes: &mut Vec<u8>);

    /// Takes what [`write`](Self::write) appended, for a new group; `None` if it is not that.
    fn read(&mut self, group: u32, bytes: &[u8]) -> Option<()>;

    /// The number of the group with this key, which is made if there is none.
    fn group(&mut self, hash: u64, key: &[u8]) -> Result<u32> {
        if let Some(group) = self.groups().find(hash, key) {
            return Ok(group);
        }
        let group = self.groups_mut().add(hash, key);
        self.grow(group);
        if let Some(mut unloaded) = self.groups_mut().unloaded.take() {
            let read = unloaded.take(hash, key, |bytes| self.read(group, bytes));
            self.groups_mut().unloaded = Some(unloaded);
            if read == Some(None) {
                return Err(unreadable());
            }
        }
        Ok(group)
    }

    /// Takes some more groups from the checkpoint, if there are any left there.
    fn load_some(&mut self, count: usize) -> Result<()> {
        let Some(mut unloaded) = self.groups_mut().unloaded.take() else { return Ok(()) };
        let more = unloaded.rest(count, |hash, key, bytes| {
            let group = self.groups_mut().add(hash, key);
            self.grow(group);
            self.read(group, bytes)
        });
        if more.ok_or_else(unreadable)? {
            self.groups_mut().unloaded = Some(unloaded);
        }
        Ok(())
    }

    /// The groups that have changed since they were last saved.
    fn take_unsaved(&mut self) -> Cells
    where
        Self: Sized,
    {
        let mut groups = std::mem::take(self.groups_mut());
        let cells = groups.take_unsaved(|group, bytes| self.write(group, bytes));
        *self.groups_mut() = groups;
        cells
    }

    /// Forgets a group.
    fn remove(&mut self, group: u32);

    /// Forgets the groups that are past `cut`.
    fn forget(&mut self, cut: &Cut) {
        self.groups().past(|key| cut.is_past(key)).into_iter().for_each(|group| self.remove(group));
    }
}

/// Has the groups of every part come from a checkpoint: when they are needed, or if `at_once` now.
pub(crate) fn load<P: Grouped>(from: &Loader<'_>, parts: &mut [P], at_once: bool) -> Result<()> {
    for (number, part) in parts.iter_mut().enumerate() {
        part.groups_mut().unloaded = Unloaded::new(from, number)?.map(Box::new);
    }
    if !at_once {
        return Ok(());
    }
    from.workers.run_all(usize::MAX, parts, |_, part| part.load_some(usize::MAX)).map(drop)
}

/// What is hashed as it was written, and yet is not what was written.
pub(crate) fn unreadable() -> Error {
    Error::corrupt("a group in the state of a checkpoint is unreadable").hint(HINT)
}

/// Forgets groups that no later change can reach, if there may be many of them.
pub(crate) fn sweep<P: Grouped>(sweep: &mut Sweep, passed: &[i64], parts: &mut [P]) {
    let extent = |parts: &[P]| parts.iter().map(|part| part.groups().extent()).sum();
    let Some(cut) = sweep.start(passed, extent(parts)) else { return };
    parts.iter_mut().for_each(|part| part.forget(&cut));
    let kept = parts.iter().flat_map(|part| part.groups().keys());
    sweep.finish(&cut, extent(parts), kept.map(|(_, key)| (key, 1)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_groups_that_went_are_given_out_again() {
        let mut groups = Groups::default();
        // Some are short, and some are long.
        let key = |i: u64| format!("{}key {i}", "long ".repeat(i as usize % 5)).into_bytes();
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
