//! How many matches each row has, for joins with a condition beyond the key.

use std::sync::Arc;

use syncline_change::Result;

use super::super::negative;
use super::pairs::Contribution;
use super::{Entry, View};
use crate::state::{Cut, Group, Memory, Run, RunBuilder, Spine};

/// Of the rows of one side and partition that have matches, how many; by key, and once for equal
/// rows.
pub(super) struct Counted {
    matches: Spine,
}

impl Counted {
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        Self { matches: Spine::new(memory) }
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = Arc<Run>> {
        self.matches.runs().cloned()
    }

    pub(super) fn load(&mut self, runs: impl Iterator<Item = Arc<Run>>) {
        self.matches.load(runs);
    }

    pub(super) fn len(&self) -> usize {
        self.matches.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.matches.bytes()
    }

    pub(super) fn forget(&mut self, cut: &Cut) {
        self.matches.forget(cut, None);
    }

    /// Takes in how the matches of rows change, and returns the rows of `side` that come and go.
    ///
    /// # Errors
    /// `Bug` if a row had fewer than zero matches.
    pub(super) fn apply<'a>(
        &mut self,
        view: &View<'a>,
        partition: usize,
        side: usize,
        mut touched: Vec<Contribution<'a>>,
    ) -> Result<Vec<Entry<'a>>> {
        let own = view.sides[side];
        if let Some(delta) = own.delta(view.epoch, partition) {
            for group in 0..delta.run.groups() {
                let (hash, key) = (delta.run.hash(group), delta.run.key(group));
                let rows = delta.run.rows_of(group).map(|row| delta.run.row(row));
                touched.extend(rows.map(|row| Contribution { hash, key, row, matches: 0 }));
            }
        }
        touched.sort_unstable_by_key(|of| (of.hash, of.key, of.row));
        let mut builder = RunBuilder::default();
        let mut entries = Vec::new();
        for group in touched.chunk_by(|a, b| a.hash == b.hash && a.key == b.key) {
            let (hash, key) = (group[0].hash, group[0].key);
            let rows =
                [own.before(view.epoch, partition, hash, key), own.after(partition, hash, key)];
            let mut matches = Group::default();
            self.matches.add_to(&mut matches, hash, key);
            builder.open_group(hash, key);
            for of in group.chunk_by(|a, b| a.row == b.row) {
                let row = of[0].row;
                let there = [rows[0].weight(row), rows[1].weight(row)];
                let before = matches.weight(row);
                let gained: i64 = of.iter().map(|of| of.matches).sum();
                let after = if there[1] == 0 { 0 } else { before + gained };
                if after < 0 {
                    return Err(negative(&view.spec.name, "the match of a row"));
                }
                builder.push(row, after - before);
                view.change_of_row((key, row), there, [before > 0, after > 0], &mut entries);
            }
        }
        self.matches.insert(builder.finish()?, view.cuts[side])?;
        Ok(entries)
    }
}

impl<'a> View<'a> {
    /// How one row comes and goes, given how often it was and is there and whether it was and is
    /// matched.
    fn change_of_row(
        &self,
        (key, row): (&'a [u8], &'a [u8]),
        there: [i64; 2],
        matched: [bool; 2],
        entries: &mut Vec<Entry<'a>>,
    ) {
        let [before, after] = [0, 1].map(|i| if self.shows(matched[i]) { there[i] } else { 0 });
        let mut entry = |weight, mark| {
            if weight != 0 {
                entries.push(Entry { key, row, weight, mark });
            }
        };
        if matched[0] == matched[1] {
            entry(after - before, matched[1]);
        } else {
            entry(-before, matched[0]);
            entry(after, matched[1]);
        }
    }
}
