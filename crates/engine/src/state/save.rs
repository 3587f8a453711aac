//! State on its way into a checkpoint and back.
//!
//! Operators hand over tables of two kinds, each under a name of its own. Rows by key are handed over
//! as the runs that they are: a run never changes, so it is written once. What is in hash tables and
//! trees is handed over as *cells*, a key and a value as bytes: those that have changed since the last
//! time, as a run that says more than the ones before it. So what a checkpoint costs depends on what has
//! changed. Loading goes through the cells, but rows by key stay where they are.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use syncline_change::{Error, Result};

use super::cells::THERE;
use super::{Cells, Memory, Run, RunBuilder};
use crate::operators::Workers;

/// The only cell of a table that is one value.
const ONLY: &[u8] = &[];

/// Two runs of cells become one when the older has at most three halves as many as the newer: so there are
/// O(log n) runs, and those of one length become one in pairs.
const MERGED: (usize, usize) = (2, 3);

/// What has changed in the state of a circuit.
#[derive(Debug, Default)]
pub struct StateChanges {
    tables: BTreeMap<String, Change>,
    /// Whether all tables are there; otherwise some have more changes to come.
    is_complete: bool,
    pinned: Option<Pinned>,
    /// Where memory is counted.
    memory: Option<Arc<Memory>>,
}

/// Memory that runs take for as long as they are on their way to the disk, whether the circuit still has
/// them or not. (Then they count twice, and less than the limit is used.)
#[derive(Debug)]
struct Pinned {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.memory.change(self.bytes, 0);
    }
}

#[derive(Debug)]
enum Change {
    /// All runs of a table of rows by key, the oldest first.
    Runs(Vec<Arc<Run>>),
    /// Cells that have changed.
    Cells(Cells),
    /// All cells.
    Whole(Cells),
}

impl StateChanges {
    /// Adds one value that is not the circuit's.
    pub fn put(&mut self, name: &str, value: &[u8]) {
        let mut cells = Cells::default();
        cells.put(ONLY, |bytes| bytes.extend_from_slice(value));
        self.tables.insert(name.to_owned(), Change::Whole(cells));
    }

    /// None yet, to be counted where the circuit's are.
    pub(crate) fn none(memory: &Arc<Memory>) -> Self {
        Self { memory: Some(memory.clone()), ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Bytes of memory that cells take.
    pub fn bytes(&self) -> usize {
        let of = |change: &Change| match change {
            Change::Runs(_) => 0,
            Change::Cells(cells) | Change::Whole(cells) => cells.memory(),
        };
        self.tables.values().map(of).sum()
    }

    pub(crate) fn put_cells(&mut self, name: &str, cells: Cells) {
        self.tables.insert(name.to_owned(), Change::Cells(cells));
    }
}

/// Collects tables while one operator after another hands over its state.
pub(crate) struct Saver<'a> {
    pub(crate) workers: &'a Workers,
    memory: &'a Arc<Memory>,
    changes: &'a mut StateChanges,
    path: String,
}

impl<'a> Saver<'a> {
    /// Of all state, or, unless `is_complete`, only of cells, so that fewer are left for later.
    pub(crate) fn new(
        changes: &'a mut StateChanges,
        workers: &'a Workers,
        memory: &'a Arc<Memory>,
        is_complete: bool,
    ) -> Self {
        changes.is_complete = is_complete;
        changes.memory = Some(memory.clone());
        Self { workers, memory, changes, path: String::new() }
    }

    /// Whether values and rows by key are asked for, too.
    pub(crate) fn is_complete(&self) -> bool {
        self.changes.is_complete
    }

    /// The same for something that is within: its tables' names begin with `name`.
    pub(crate) fn within(&mut self, name: impl Display) -> Saver<'_> {
        let path = format!("{}{name}/", self.path);
        Saver { workers: self.workers, memory: self.memory, changes: self.changes, path }
    }

    pub(crate) fn runs(&mut self, name: impl Display, runs: impl Iterator<Item = Arc<Run>>) {
        if self.is_complete() {
            let runs: Vec<Arc<Run>> = runs.collect();
            let bytes: usize = runs.iter().map(|run| run.bytes()).sum();
            let memory = self.memory;
            let none = || Pinned { memory: memory.clone(), bytes: 0 };
            let pinned = self.changes.pinned.get_or_insert_with(none);
            memory.change(pinned.bytes, pinned.bytes + bytes);
            pinned.bytes += bytes;
            self.put(name, Change::Runs(runs));
        }
    }

    /// Cells that have changed since this was last called; to be called also if none have.
    pub(crate) fn cells(&mut self, name: impl Display, cells: Cells) {
        self.put(name, Change::Cells(cells));
    }

    /// The same for each of some parts, in tables that are numbered.
    pub(crate) fn parts<P: Send>(
        &mut self,
        parts: &mut [P],
        cells: impl Fn(&mut P) -> Cells + Sync,
    ) -> Result<()> {
        let made = self.workers.run_all(usize::MAX, parts, |_, part| Ok(cells(part)))?;
        made.into_iter().enumerate().for_each(|(i, cells)| self.cells(i, cells));
        Ok(())
    }

    /// All cells of a table.
    pub(crate) fn whole(&mut self, name: impl Display, cells: Cells) {
        if self.is_complete() {
            self.put(name, Change::Whole(cells));
        }
    }

    /// A table that is one value.
    pub(crate) fn value(&mut self, name: impl Display, write: impl FnOnce(&mut Vec<u8>)) {
        if self.is_complete() {
            let mut cells = Cells::default();
            cells.put(ONLY, write);
            self.whole(name, cells);
        }
    }

    fn put(&mut self, name: impl Display, change: Change) {
        self.changes.tables.insert(format!("{}{name}", self.path), change);
    }
}

/// The state of a circuit as of some epoch, as immutable runs.
#[derive(Debug, Default)]
pub struct SavedState {
    tables: BTreeMap<String, Vec<Piece>>,
    pinned: Option<Pinned>,
    counted: Counted,
}

/// Memory that the cells of some tables take.
#[derive(Debug, Default)]
struct Counted {
    memory: Arc<Memory>,
    tables: BTreeMap<String, usize>,
}

impl Counted {
    /// A table takes so many bytes now.
    fn set(&mut self, table: &str, bytes: usize) {
        let before = self.tables.get(table).copied().unwrap_or(0);
        self.memory.change(before, bytes);
        match self.tables.get_mut(table) {
            Some(counted) => *counted = bytes,
            None => {
                self.tables.insert(table.to_owned(), bytes);
            }
        }
    }

    /// Where to count from now on.
    fn move_to(&mut self, memory: Arc<Memory>) {
        if !Arc::ptr_eq(&self.memory, &memory) {
            let tables = std::mem::take(&mut self.tables);
            *self = Self { memory, tables: BTreeMap::new() };
            tables.iter().for_each(|(table, bytes)| self.set(table, *bytes));
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.memory.change(self.tables.values().sum(), 0);
    }
}

/// An immutable part of the state, to be written once.
#[derive(Clone, Debug)]
pub struct Piece(Arc<Run>);

/// How many parts a piece is written as.
pub const PIECE_PARTS: usize = super::run::PARTS;

impl Piece {
    /// The bytes that it is made of. Whoever reads them again gives them an alignment of 64.
    pub fn parts(&self) -> [&[u8]; PIECE_PARTS] {
        self.0.parts()
    }

    /// # Errors
    /// `Corrupt` if these are not the parts of a piece.
    pub fn of_parts(parts: [arrow::buffer::Buffer; PIECE_PARTS]) -> Result<Self> {
        let run = Run::of_parts(parts);
        let run =
            run.ok_or_else(|| Error::corrupt("a piece of state has parts that do not fit"))?;
        Ok(Self(Arc::new(run)))
    }

    /// Where it was written, as whoever wrote it has noted.
    pub fn place(&self) -> Option<u64> {
        self.0.place()
    }

    /// Notes where it was written: not 0.
    pub fn set_place(&self, place: u64) {
        self.0.set_place(place);
    }
}

impl SavedState {
    /// Of the pieces of every table, in their order.
    pub fn of_tables(tables: BTreeMap<String, Vec<Piece>>) -> Self {
        Self { tables, ..Self::default() }
    }

    /// The pieces of every table, by name and in an order that must be kept.
    pub fn tables(&self) -> &BTreeMap<String, Vec<Piece>> {
        &self.tables
    }

    /// Takes in what has changed. Work is that of the changes, and now and then of merging them with
    /// older ones, outside of memory where it has no room.
    ///
    /// # Errors
    /// `Unsupported` if a value has more than 4 GiB, `Storage` if what is outside of memory refuses.
    pub fn apply(&mut self, changes: StateChanges) -> Result<()> {
        if let Some(memory) = changes.memory {
            self.counted.move_to(memory);
        }
        if changes.is_complete {
            self.tables.retain(|name, _| changes.tables.contains_key(name));
            let gone = |(name, _): &(&String, &usize)| !self.tables.contains_key(*name);
            let gone = self.counted.tables.iter().filter(gone);
            let gone: Vec<String> = gone.map(|(name, _)| name.clone()).collect();
            gone.iter().for_each(|name| self.counted.set(name, 0));
            self.pinned = changes.pinned;
        }
        for (name, change) in changes.tables {
            let table = self.tables.entry(name.clone()).or_default();
            match change {
                Change::Runs(runs) => {
                    *table = runs.into_iter().map(Piece).collect();
                    // They are the circuit's, which counts them.
                    continue;
                }
                Change::Whole(cells) => {
                    *table = cells.finish()?.into_iter().map(Arc::new).map(Piece).collect();
                }
                Change::Cells(cells) if cells.is_empty() => continue,
                Change::Cells(cells) => {
                    for run in cells.finish()? {
                        table.push(Piece(Arc::new(run)));
                        merge_newest(table, &self.counted.memory)?;
                    }
                }
            }
            self.counted.set(&name, bytes_of(table));
        }
        Ok(())
    }

    /// The value of a table that is one.
    ///
    /// # Errors
    /// `Corrupt` if there is none.
    pub fn value(&self, name: &str) -> Result<&[u8]> {
        let pieces = self.tables.get(name).map_or(&[][..], Vec::as_slice);
        let run = pieces.last().map(|piece| &*piece.0).filter(|run| run.len() == 1);
        run.map(|run| run.row(0)).ok_or_else(|| missing(name))
    }
}

/// Bytes of memory that the runs of a table take.
fn bytes_of(table: &[Piece]) -> usize {
    table.iter().map(|piece| piece.0.bytes()).sum()
}

/// What to do about state that cannot be taken.
pub(crate) const HINT: &str =
    "remove the folder `state` of the data directory: it is made anew from the journal";

fn missing(name: &str) -> Error {
    Error::corrupt(format!("the state in a checkpoint has no table {name}")).hint(HINT)
}

/// Merges the newest runs of cells as long as they are of like length.
fn merge_newest(table: &mut Vec<Piece>, memory: &Memory) -> Result<()> {
    while let [.., older, newer] = &table[..]
        && MERGED.0 * older.0.len() <= MERGED.1 * newer.0.len()
        && older.0.fits_with(&newer.0)
    {
        let is_oldest = table.len() == 2;
        let merged = merge_cells(&older.0, &newer.0, is_oldest, memory)?;
        table.truncate(table.len() - 2);
        if merged.len() > 0 {
            table.push(Piece(Arc::new(merged)));
        }
    }
    Ok(())
}

/// The cells of both, of those in both the newer. `is_oldest`: there are no older ones, so what is
/// gone need not be remembered.
fn merge_cells(older: &Run, newer: &Run, is_oldest: bool, memory: &Memory) -> Result<Run> {
    let mut builder = RunBuilder::for_both(older, newer, memory)?;
    each_cell(&[older, newer], |run, group| {
        let rows = run.rows_of(group);
        if !is_oldest || run.weight(rows.start) == THERE {
            builder.copy_group(run, group, rows);
        }
        builder.spill()
    })?;
    builder.finish()
}

/// Calls `take` with every key's newest cell: its run and group.
fn each_cell<'a>(
    runs: &[&'a Run],
    mut take: impl FnMut(&'a Run, usize) -> Result<()>,
) -> Result<()> {
    let mut heads = vec![0; runs.len()];
    loop {
        let mut newest: Option<(u64, &[u8], usize)> = None;
        for (number, run) in runs.iter().enumerate().filter(|(at, run)| heads[*at] < run.groups()) {
            let (hash, key) = (run.hash(heads[number]), run.key(heads[number]));
            if newest.is_none_or(|(least, least_key, _)| (hash, key) <= (least, least_key)) {
                newest = Some((hash, key, number));
            }
        }
        let Some((hash, key, newest)) = newest else { return Ok(()) };
        take(runs[newest], heads[newest])?;
        for (head, run) in heads.iter_mut().zip(runs) {
            let is_same = *head < run.groups() && (run.hash(*head), run.key(*head)) == (hash, key);
            *head += usize::from(is_same);
        }
    }
}

/// Gives operators back what they handed over.
pub(crate) struct Loader<'a> {
    pub(crate) workers: &'a Workers,
    state: &'a SavedState,
    path: String,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(state: &'a SavedState, workers: &'a Workers) -> Self {
        Self { workers, state, path: String::new() }
    }

    pub(crate) fn within(&self, name: impl Display) -> Self {
        let path = format!("{}{name}/", self.path);
        Self { workers: self.workers, state: self.state, path }
    }

    fn pieces(&self, name: impl Display) -> Result<&'a [Piece]> {
        let name = format!("{}{name}", self.path);
        let found = self.state.tables.get(&name);
        found.map(Vec::as_slice).ok_or_else(|| missing(&name))
    }

    /// The runs of a table.
    ///
    /// # Errors
    /// `Corrupt` if there is no such table.
    pub(crate) fn runs(&self, name: impl Display) -> Result<impl Iterator<Item = Arc<Run>>> {
        Ok(self.pieces(name)?.iter().map(|piece| piece.0.clone()))
    }

    /// Calls `take` with the key and the value of every cell; `None` from it: they are not what was
    /// handed over.
    ///
    /// # Errors
    /// `Corrupt` if they are not, or if there is no such table.
    pub(crate) fn cells(
        &self,
        name: impl Display,
        mut take: impl FnMut(&'a [u8], &'a [u8]) -> Option<()>,
    ) -> Result<()> {
        let runs: Vec<&Run> = self.pieces(&name)?.iter().map(|piece| &*piece.0).collect();
        each_cell(&runs, |run, group| {
            let row = run.rows_of(group).start;
            let taken = match run.weight(row) {
                THERE => take(run.key(group), run.row(row)),
                _ => Some(()),
            };
            taken.ok_or_else(|| self.unreadable(&name))
        })
    }

    /// The same for each of some parts, from tables that are numbered.
    pub(crate) fn parts<P: Send>(
        &self,
        parts: &mut [P],
        take: impl Fn(&mut P, &[u8], &[u8]) -> Option<()> + Sync,
    ) -> Result<()> {
        let load = |i: usize, part: &mut P| self.cells(i, |key, value| take(part, key, value));
        self.workers.run_all(usize::MAX, parts, load).map(drop)
    }

    /// Has `read` take the value of a table that is one.
    ///
    /// # Errors
    /// `Corrupt` if it cannot, or leaves something, or if there is no such table.
    pub(crate) fn value<T>(
        &self,
        name: impl Display,
        read: impl FnOnce(&mut &[u8]) -> Option<T>,
    ) -> Result<T> {
        let mut bytes = self.state.value(&format!("{}{name}", self.path))?;
        let value = read(&mut bytes).filter(|_| bytes.is_empty());
        value.ok_or_else(|| self.unreadable(name))
    }

    pub(crate) fn unreadable(&self, name: impl Display) -> Error {
        Error::corrupt(format!(
            "the state in a checkpoint is unreadable: table {}{name}",
            self.path
        ))
        .hint(HINT)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use syncline_change::row;

    use super::super::tests::Elsewhere;
    use super::super::{Unloaded, put_i64, take_bytes, take_i64};
    use super::*;

    /// What a table holds when it is read.
    fn table(state: &SavedState) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let workers = Workers::default();
        let mut found = BTreeMap::new();
        let loader = Loader::new(state, &workers);
        let taken = loader.cells("cells", |key, value| {
            found.insert(key.to_vec(), value.to_vec()).is_none().then_some(())
        });
        taken.unwrap();
        found
    }

    /// The same by looking up every key, and some of them first while others are read.
    fn looked_up(state: &SavedState) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let workers = Workers::default();
        let mut found = BTreeMap::new();
        let unloaded = Unloaded::new(&Loader::new(state, &workers), "cells").unwrap();
        let Some(mut unloaded) = unloaded else { return found };
        for key in (0..40_u32).map(|i| [(i * 7 % 40) as u8]) {
            if key[0] % 3 == 0 {
                let value = unloaded.take(row::hash(&key), &key, <[u8]>::to_vec);
                found.extend(value.map(|value| (key.to_vec(), value)));
                assert_eq!(unloaded.take(row::hash(&key), &key, <[u8]>::to_vec), None);
            }
            let more = unloaded.rest(1, |hash, key, value| {
                assert_eq!(hash, row::hash(key));
                found.insert(key.to_vec(), value.to_vec()).is_none().then_some(())
            });
            assert!(more.is_some());
        }
        while unloaded.rest(3, |_, _, _| None) == Some(true) {}
        assert_eq!(unloaded.left(), 0);
        found
    }

    proptest! {
        /// Whatever comes and goes in whatever order, the newest cells are there, and no more runs
        /// than there should be.
        #[test]
        fn the_newest_cells_count(
            saves in prop::collection::vec(
                prop::collection::vec((0..40_u8, prop::option::of(any::<u16>())), 0..30), 1..30),
            is_tight in any::<bool>(),
        ) {
            let (mut state, mut expect) = (SavedState::default(), BTreeMap::new());
            for save in saves {
                let mut cells = Cells::default();
                let has_cells = !save.is_empty();
                for (key, value) in save {
                    cells.set(&[key], value.map(|value| {
                        move |bytes: &mut Vec<u8>| bytes.extend_from_slice(&value.to_le_bytes())
                    }));
                    match value {
                        Some(value) => expect.insert(vec![key], value.to_le_bytes().to_vec()),
                        None => expect.remove(&vec![key]),
                    };
                }
                let mut changes = StateChanges::default();
                changes.put_cells("cells", cells);
                let memory: Arc<Memory> = Arc::default();
                if is_tight {
                    memory.limit(0, Arc::new(Elsewhere));
                }
                changes.memory = Some(memory.clone());
                state.apply(changes).unwrap();
                let pieces = state.tables.get("cells").unwrap();
                // 40, 26, 17, 11, 7, 4, 2 and 1 are as many as there can be.
                prop_assert!(pieces.len() <= 8);
                // It was counted where anything changed.
                prop_assert!(!has_cells || memory.used() == bytes_of(pieces));
                prop_assert_eq!(&looked_up(&state), &expect);
                // A piece is the same when it was written and read again.
                let read = |piece: &Piece| {
                    Piece::of_parts(piece.parts().map(arrow::buffer::Buffer::from)).unwrap()
                };
                let tables = state.tables().iter().map(|(name, pieces)| {
                    (name.clone(), pieces.iter().map(read).collect())
                });
                state = SavedState::of_tables(tables.collect());
                prop_assert_eq!(&table(&state), &expect);
            }
        }
    }

    /// What one run has no room for becomes several, and one value that has none is refused by itself.
    #[test]
    fn cells_that_no_run_can_have_are_several_runs() {
        let mut state = SavedState::default();
        let save = |state: &mut SavedState, keys: std::ops::Range<u32>, length: usize| {
            let mut cells = Cells::default();
            for key in keys {
                cells.put(&key.to_be_bytes(), |bytes| {
                    bytes.extend(std::iter::repeat_n(key as u8, length));
                });
            }
            let mut changes = StateChanges::default();
            changes.put_cells("cells", cells);
            state.apply(changes)
        };
        save(&mut state, 0..40, 100).unwrap();
        save(&mut state, 20..60, 90).unwrap();
        let found = table(&state);
        assert_eq!(found.len(), 60);
        for (number, (_, value)) in found.iter().enumerate() {
            assert_eq!((value[0], value.len()), (number as u8, if number < 20 { 100 } else { 90 }));
        }
        let error = save(&mut state, 0..1, 2_000).unwrap_err();
        assert_eq!(error.kind(), syncline_change::ErrorKind::Unsupported);
        assert!(error.to_string().contains("more than 4 GiB"), "{error}");
    }

    #[test]
    fn tables_that_are_there_no_more_go() {
        let mut state = SavedState::default();
        let (workers, memory) = (Workers::default(), Arc::default());
        let mut save = |names: &[&str], is_complete| {
            let mut changes = StateChanges::default();
            let mut saver = Saver::new(&mut changes, &workers, &memory, is_complete);
            for name in names {
                let mut cells = Cells::default();
                cells.put(b"key", |bytes| bytes.push(1));
                saver.within("node").cells(name, cells);
            }
            state.apply(changes).unwrap();
            state.tables.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(save(&["a", "b"], true), ["node/a", "node/b"]);
        assert_eq!(save(&["a"], false), ["node/a", "node/b"]);
        assert_eq!(save(&["b"], true), ["node/b"]);
    }

    #[test]
    fn what_was_not_handed_over_is_refused() {
        let (workers, memory) = (Workers::default(), Arc::default());
        let mut changes = StateChanges::default();
        let mut saver = Saver::new(&mut changes, &workers, &memory, true);
        saver.value("value", |bytes| put_i64(bytes, 7));
        let mut state = SavedState::default();
        state.apply(changes).unwrap();
        let loader = Loader::new(&state, &workers);
        assert_eq!(loader.value("value", take_i64).unwrap(), 7);
        assert!(loader.value("value", |_| Some(())).is_err());
        assert!(loader.value("value", take_bytes_of_nothing).is_err());
        assert!(loader.value("other", take_i64).is_err());
        assert!(loader.runs("other").is_err());
        assert!(loader.cells("value", |_, _| None).is_err());
    }

    fn take_bytes_of_nothing(bytes: &mut &[u8]) -> Option<()> {
        take_bytes(bytes).map(drop)
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let mut cells = Cells::default();
        (0..10_u8).for_each(|i| cells.put(&[i], |bytes| bytes.push(i)));
        cells.remove(&[3]);
        let piece = Piece(Arc::new(cells.finish().unwrap().pop().unwrap()));
        for part in 0..PIECE_PARTS {
            let mut parts = piece.parts().map(arrow::buffer::Buffer::from);
            assert!(Piece::of_parts(parts.clone()).is_ok());
            parts[part] = arrow::buffer::Buffer::from(&piece.parts()[part][1..]);
            assert!(Piece::of_parts(parts).is_err(), "part {part}");
        }
    }
}
