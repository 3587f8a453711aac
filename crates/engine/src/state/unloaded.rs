//! What a start leaves where a checkpoint has it.

use std::fmt::Display;
use std::sync::Arc;

use syncline_change::Result;

use super::cells::THERE;
use super::{Loader, Run};

/// Cells that stay where they were saved until they are needed, so that a start does not read them.
#[derive(Debug)]
pub(crate) struct Unloaded {
    /// The oldest first: of several cells with a key, the newest counts.
    runs: Vec<Arc<Run>>,
    /// Of each run, a bit for each group that was taken.
    taken: Vec<Vec<u64>>,
    /// Up to where [`Self::rest`] has gone through each run.
    heads: Vec<usize>,
    left: usize,
}

impl Unloaded {
    /// # Errors
    /// `Corrupt` if there is no such table.
    pub(crate) fn new(from: &Loader<'_>, name: impl Display) -> Result<Option<Self>> {
        let runs: Vec<Arc<Run>> = from.runs(name)?.collect();
        let left = runs.iter().map(|run| run.groups()).sum();
        let taken = runs.iter().map(|run| vec![0; run.groups().div_ceil(64)]).collect();
        Ok((left > 0).then(|| Self { heads: vec![0; runs.len()], runs, taken, left }))
    }

    /// At most how many cells there are that were not taken yet.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// Takes the value of a cell, which is not here afterwards; `None`: there is none.
    pub(crate) fn take<T>(
        &mut self,
        hash: u64,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        let runs = self.runs.iter().enumerate().rev();
        let (number, group) =
            runs.filter_map(|(number, run)| Some((number, run.find(hash, key)?))).next()?;
        if !self.mark(number, group) {
            return None;
        }
        let (run, row) = (&self.runs[number], self.runs[number].rows_of(group).start);
        (run.weight(row) == THERE).then(|| read(run.row(row)))
    }

    /// Notes that a cell is taken; `false`: it was.
    fn mark(&mut self, run: usize, group: usize) -> bool {
        let (word, bit) = (&mut self.taken[run][group / 64], 1 << (group % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        self.left -= usize::from(is_new);
        is_new
    }

    /// Calls `take` with hash, key and value of `count` cells that were not taken yet, if there are so
    /// many. `false`: there are no more.
    pub(crate) fn rest(
        &mut self,
        count: usize,
        mut take: impl FnMut(u64, &[u8], &[u8]) -> Option<()>,
    ) -> Option<bool> {
        let runs = self.runs.clone();
        for _ in 0..count {
            let head = |number: usize, at: &[usize]| {
                let (run, head): (&Run, usize) = (&runs[number], at[number]);
                (head < run.groups()).then(|| (run.hash(head), run.key(head)))
            };
            let least = (0..runs.len()).filter_map(|number| head(number, &self.heads)).min();
            let Some((hash, key)) = least else { return Some(false) };
            let mut is_first = true;
            for number in (0..runs.len()).rev() {
                if head(number, &self.heads) != Some((hash, key)) {
                    continue;
                }
                let group = self.heads[number];
                self.heads[number] += 1;
                let is_new = self.mark(number, group);
                let row = runs[number].rows_of(group).start;
                if is_first && is_new && runs[number].weight(row) == THERE {
                    take(hash, key, runs[number].row(row))?;
                }
                is_first = false;
            }
        }
        Some(true)
    }
}
