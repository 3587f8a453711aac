//! Which iteration every row belongs to under UNION: the first that derives it.

use std::collections::{BTreeMap, BTreeSet};

use syncline_change::Result;

use super::super::recompute::Rows;
use super::super::{heap_bytes, negative, tree_bytes};
use crate::state::{put_bytes, put_i64, take_bytes, take_i64};

type Row = Box<[u8]>;

/// By row, how often each iteration derives it.
pub(super) struct FirstDerived {
    rows: BTreeMap<Row, BTreeMap<usize, i64>>,
    name: String,
}

/// What is known while the iterations of an epoch are gone through in their order.
#[derive(Default)]
pub(super) struct Pass {
    /// Of every row that is touched, the iteration that it belonged to before the epoch.
    before: BTreeMap<Row, Option<usize>>,
    /// Rows that may come to belong, or cease to, to iterations that are yet to come.
    waiting: BTreeMap<usize, BTreeSet<Row>>,
}

impl Pass {
    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl FirstDerived {
    pub(super) fn new(name: String) -> Self {
        Self { rows: BTreeMap::new(), name }
    }

    /// Appends all that it knows.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        put_i64(bytes, self.rows.len() as i64);
        for (row, counts) in &self.rows {
            put_bytes(bytes, row);
            put_i64(bytes, counts.len() as i64);
            for (iteration, count) in counts {
                put_i64(bytes, *iteration as i64);
                put_i64(bytes, *count);
            }
        }
    }

    /// Takes what [`write`](Self::write) appended from the front; `None` if it is not that.
    pub(super) fn read(&mut self, bytes: &mut &[u8]) -> Option<()> {
        for _ in 0..take_i64(bytes)? {
            let row = take_bytes(bytes)?;
            let mut counts = BTreeMap::new();
            for _ in 0..take_i64(bytes)? {
                let iteration = usize::try_from(take_i64(bytes)?).ok()?;
                counts.insert(iteration, take_i64(bytes)?);
            }
            self.rows.insert(row.into(), counts);
        }
        Some(())
    }

    pub(super) fn bytes(&self) -> usize {
        let row = |(row, counts): (&Row, &BTreeMap<usize, i64>)| {
            heap_bytes(row.len()) + tree_bytes::<(usize, i64)>(counts.len())
        };
        tree_bytes::<(Row, BTreeMap<usize, i64>)>(self.rows.len())
            + self.rows.iter().map(row).sum::<usize>()
    }

    /// Takes in how often an iteration derives rows more than before, and returns which rows come to
    /// belong to it and which cease to.
    ///
    /// # Errors
    /// `Bug` if a row were derived fewer than zero times.
    pub(super) fn enter(
        &mut self,
        pass: &mut Pass,
        iteration: usize,
        derived: Rows,
    ) -> Result<Rows> {
        let mut touched = pass.waiting.remove(&iteration).unwrap_or_default();
        for (row, weight) in derived {
            let counts = self.rows.entry(row.clone()).or_default();
            let first = counts.keys().next().copied();
            pass.before.entry(row.clone()).or_insert(first);
            let count = counts.entry(iteration).or_default();
            *count += weight;
            if *count < 0 {
                return Err(negative(&self.name, "a row of an iteration"));
            }
            if *count == 0 {
                counts.remove(&iteration);
            }
            touched.insert(row);
        }
        let mut change = Rows::new();
        for row in touched {
            let before = pass.before.get(&row).copied().flatten();
            let counts = self.rows.get(&row);
            // Iterations up to this one are final.
            let now = counts.and_then(|counts| counts.keys().next().copied());
            let weight = i64::from(now == Some(iteration)) - i64::from(before == Some(iteration));
            let next = counts.and_then(|of| of.range(iteration + 1..).next().map(|(at, _)| *at));
            let later = before.filter(|before| *before > iteration);
            for at in next.into_iter().chain(later) {
                pass.waiting.entry(at).or_default().insert(row.clone());
            }
            if now.is_none() {
                self.rows.remove(&row);
            }
            if weight != 0 {
                change.insert(row, weight);
            }
        }
        Ok(change)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(name: u8) -> Row {
        Box::new([name])
    }

    fn rows(changes: &[(u8, i64)]) -> Rows {
        changes.iter().map(|(name, weight)| (row(*name), *weight)).collect()
    }

    /// What each of some iterations gains and loses, given what they derive more and less.
    fn pass(first: &mut FirstDerived, derived: &[&[(u8, i64)]]) -> Vec<Rows> {
        let mut pass = Pass::default();
        let changes = derived
            .iter()
            .enumerate()
            .map(|(at, derived)| first.enter(&mut pass, at, rows(derived)).unwrap());
        let changes = changes.collect();
        assert!(pass.is_done());
        changes
    }

    #[test]
    fn a_row_moves_to_the_next_iteration_that_derives_it_and_back() {
        let mut first = FirstDerived::new("test".to_owned());
        let got = pass(&mut first, &[&[(1, 2)], &[(1, 1), (2, 1)], &[], &[(1, 1)]]);
        assert_eq!(got, [rows(&[(1, 1)]), rows(&[(2, 1)]), rows(&[]), rows(&[])]);
        let got = pass(&mut first, &[&[(1, -2)], &[(1, -1)], &[], &[]]);
        assert_eq!(got, [rows(&[(1, -1)]), rows(&[]), rows(&[]), rows(&[(1, 1)])]);
        let got = pass(&mut first, &[&[], &[(1, 1)], &[], &[(1, -1)]]);
        assert_eq!(got, [rows(&[]), rows(&[(1, 1)]), rows(&[]), rows(&[(1, -1)])]);
        let got = pass(&mut first, &[&[], &[(1, -1), (2, -1)], &[], &[]]);
        assert_eq!(got, [rows(&[]), rows(&[(1, -1), (2, -1)]), rows(&[]), rows(&[])]);
        assert!(first.rows.is_empty());
    }
}
