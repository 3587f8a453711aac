//! Rows arranged by key: what a join looks its matches up in.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use syncline_change::Result;
use syncline_change::row;

use super::accumulate::change_count;
use super::negative;

/// Encoded rows to how often each is there.
type Counts = BTreeMap<Box<[u8]>, i64>;

/// Encoded rows and how often each is there, by key. The rows of a key come in their own order.
#[derive(Default)]
pub(crate) struct Arrangement {
    keys: HashTable<(Box<[u8]>, Counts)>,
    rows: usize,
}

impl Arrangement {
    /// The rows with this key, in order.
    pub(crate) fn rows(&self, key: &[u8]) -> impl Iterator<Item = (&[u8], i64)> {
        let found = self.keys.find(row::hash(key), |(have, _)| **have == *key);
        found.into_iter().flat_map(|(_, rows)| rows.iter().map(|(row, &count)| (&**row, count)))
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.keys.find(row::hash(key), |(have, _)| **have == *key).is_some()
    }

    /// Adds `row` under `key` `weight` times.
    pub(crate) fn change(&mut self, key: &[u8], row: &[u8], weight: i64) {
        let hash = row::hash(key);
        let entry = self.keys.entry(hash, |(have, _)| **have == *key, |(key, _)| row::hash(key));
        let mut entry = match entry {
            hashbrown::hash_table::Entry::Occupied(entry) => entry,
            hashbrown::hash_table::Entry::Vacant(entry) => {
                entry.insert((key.into(), Counts::new()))
            }
        };
        let rows = &mut entry.get_mut().1;
        let before = rows.len();
        change_count(rows, row, weight);
        self.rows = self.rows + rows.len() - before;
        if rows.is_empty() {
            entry.remove();
        }
    }

    /// # Errors
    /// `Bug` if a row with this key is there fewer than zero times.
    pub(crate) fn check(&self, operator: &str, key: &[u8]) -> Result<()> {
        if self.rows(key).any(|(_, count)| count < 0) {
            return Err(negative(operator, "a row"));
        }
        Ok(())
    }

    /// How many different rows there are.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }
}
