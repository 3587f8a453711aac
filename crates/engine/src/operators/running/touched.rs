//! Which rows an epoch touches: those that change, and those behind the first change of their key.

use std::ops::Range;

use syncline_change::Result;

use super::super::arrange::Delta;
use crate::state::{Group, KeyedCodec};

/// What an epoch touches in one partition of the work.
#[derive(Default)]
pub(super) struct Touched<'a> {
    pub(super) keys: Vec<Key<'a>>,
    /// In order, the entries that have one result together.
    pub(super) places: Vec<Range<usize>>,
    is_first: Vec<bool>,
    pub(super) entries: Vec<Entry<'a>>,
}

/// One key, and its number, with its places from the first change on.
pub(super) struct Key<'a> {
    pub(super) key: &'a [u8],
    pub(super) number: u32,
    pub(super) places: Range<usize>,
    /// All rows that were at the first place. Of these only such as change are entries: for the
    /// others it is enough to know whether the result is another.
    first: Group<'a>,
}

/// A row, how often it was there, and how often it is.
pub(super) struct Entry<'a> {
    pub(super) key: &'a [u8],
    pub(super) row: &'a [u8],
    pub(super) was: i64,
    pub(super) is: i64,
}

impl<'a> Touched<'a> {
    /// Adds a key that changes, of which `before` are all rows that were there.
    pub(super) fn add(
        &mut self,
        by_rows: bool,
        codec: &KeyedCodec,
        number: u32,
        (delta, group): (&'a Delta, usize),
        before: Group<'a>,
    ) -> Result<()> {
        let (key, run) = (delta.run.key(group), &delta.run);
        let changed: Vec<(&[u8], i64)> =
            run.rows_of(group).map(|row| (run.row(row), run.weight(row))).collect();
        let Some(&(at, _)) = changed.first() else { return Ok(()) };
        let start = self.places.len();
        let first = match by_rows {
            true => self.add_rows(key, at, before, &changed),
            false => self.add_peers(codec, key, at, before, &changed)?,
        };
        self.is_first[start] = true;
        self.keys.push(Key { key, number, places: start..self.places.len(), first });
        Ok(())
    }

    fn add_rows(
        &mut self,
        key: &'a [u8],
        first: &'a [u8],
        before: Group<'a>,
        changed: &[(&'a [u8], i64)],
    ) -> Group<'a> {
        for (at, (row, was, is)) in merged(before.since(first), changed).into_iter().enumerate() {
            // Copies in front of those that come or go keep their results.
            let kept = if at == 0 { was.min(is) } else { 0 };
            for copy in kept..was.max(is) {
                let (was, is) = (i64::from(copy < was), i64::from(copy < is));
                self.add_place([Entry { key, row, was, is }]);
            }
        }
        Group::default()
    }

    fn add_peers(
        &mut self,
        codec: &KeyedCodec,
        key: &'a [u8],
        first: &'a [u8],
        before: Group<'a>,
        changed: &[(&'a [u8], i64)],
    ) -> Result<Group<'a>> {
        // What rows are ordered by is what their bytes begin with.
        let order = codec.order_of(&[first])?.get(0).to_vec();
        let (here, later) =
            changed.split_at(changed.partition_point(|(row, _)| row.starts_with(&order)));
        self.add_place(here.iter().map(|&(row, weight)| {
            let was = before.weight(row);
            Entry { key, row, was, is: was + weight }
        }));
        let Some(end) = behind(&order) else { return Ok(before.since(&order)) };
        let rows = merged(before.since(&end), later);
        let orders = codec.order_of(&rows.iter().map(|(row, ..)| *row).collect::<Vec<_>>())?;
        let mut rows = rows.into_iter().enumerate().peekable();
        while let Some(&(first, _)) = rows.peek() {
            let is_peer = |at: usize| orders.get(at) == orders.get(first);
            self.add_place(std::iter::from_fn(|| {
                let (_, (row, was, is)) = rows.next_if(|(at, _)| is_peer(*at))?;
                Some(Entry { key, row, was, is })
            }));
        }
        Ok(before.since(&order).until(&end))
    }

    fn add_place(&mut self, entries: impl IntoIterator<Item = Entry<'a>>) {
        let start = self.entries.len();
        self.entries.extend(entries);
        self.places.push(start..self.entries.len());
        self.is_first.push(false);
    }

    /// Whether the place is the first one of its key.
    pub(super) fn is_first(&self, place: usize) -> bool {
        self.is_first[place]
    }

    /// Whether there are rows at a place, by how often an entry is taken to be there. At the first
    /// one there may be others than are entries.
    pub(super) fn has(&self, place: usize, count: impl Fn(&Entry<'a>) -> i64) -> bool {
        let mut entries = self.entries[self.places[place].clone()].iter();
        self.is_first(place) || entries.any(|entry| count(entry) != 0)
    }

    /// The rows at the first place of a key that stay as they are, and how often each is there.
    pub(super) fn others(&self, key: &Key<'a>) -> impl Iterator<Item = (&'a [u8], i64)> {
        let entries = self.entries[self.places[key.places.start].clone()].iter();
        let mut entries = entries.map(|entry| entry.row).peekable();
        key.first.clone().filter(move |(row, _)| {
            while entries.next_if(|entry| entry < row).is_some() {}
            entries.peek() != Some(row)
        })
    }
}

/// Rows that were there and changes, both in order, as rows with how often each was and is there.
fn merged<'a>(before: Group<'a>, changed: &[(&'a [u8], i64)]) -> Vec<(&'a [u8], i64, i64)> {
    let mut rows = Vec::new();
    let mut changed = changed.iter().copied().peekable();
    for (row, was) in before {
        while let Some((new, weight)) = changed.next_if(|(other, _)| *other < row) {
            rows.push((new, 0, weight));
        }
        let weight = changed.next_if(|(other, _)| *other == row).map_or(0, |(_, weight)| weight);
        rows.push((row, was, was + weight));
    }
    rows.extend(changed.map(|(row, weight)| (row, 0, weight)));
    rows
}

/// The least bytes that come behind all that begin with `bytes`; `None` if all bytes do.
fn behind(bytes: &[u8]) -> Option<Vec<u8>> {
    let last = bytes.iter().rposition(|&byte| byte < u8::MAX)?;
    let mut end = bytes[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
