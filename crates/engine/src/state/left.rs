//! What is left of a group when state is let go: all of it, nothing, or the rows from some time on.

use std::ops::Range;
use std::sync::Arc;

use super::times::{TIME_BYTES, encode, time};
use super::{Cut, Group, Run};

/// To find where a session begins, so many steps are taken whatever the group.
const STEPS_MIN: usize = 64;

/// A cut of groups of which several runs have rows.
pub(super) struct Cutting<'a> {
    cut: &'a Cut,
    /// All runs that may have rows of a group, where it takes these to tell what goes.
    runs: Vec<Arc<Run>>,
}

/// What is left of a group.
pub(super) enum Left {
    All,
    Nothing,
    /// The rows that do not come before this time.
    From([u8; TIME_BYTES]),
}

impl Left {
    /// The numbers of the rows that are left of a group of `run`.
    pub(super) fn rows_of(&self, run: &Run, group: usize) -> Range<usize> {
        let rows = run.rows_of(group);
        match self {
            Self::All => rows,
            Self::Nothing => rows.end..rows.end,
            Self::From(first) => run.first_not_before(rows.clone(), first)..rows.end,
        }
    }
}

impl<'a> Cutting<'a> {
    pub(super) fn new<'r>(cut: &'a Cut, runs: impl Iterator<Item = &'r Arc<Run>>) -> Self {
        let runs = match cut {
            Cut::Keys(_) | Cut::Rows { .. } => vec![],
            Cut::Sessions { .. } => runs.cloned().collect(),
        };
        Self { cut, runs }
    }

    /// Whether nothing is left of a group of `run`, as far as that is quickly told.
    pub(super) fn is_past(&self, run: &Run, group: usize) -> bool {
        match *self.cut {
            Cut::Keys(_) => self.cut.is_past(run.key(group)),
            Cut::Rows { from } => last_time(run, group).is_some_and(|last| last < from),
            Cut::Sessions { end, gap } => {
                let is_old = last_time(run, group).is_some_and(|last| ends_by(last, gap, end));
                is_old && self.left_of(&[(run, group)], STEPS_MIN).rows_of(run, group).is_empty()
            }
        }
    }

    /// What is left of a group, of which `parts` are in runs that are merged.
    pub(super) fn left(&self, parts: &[(&Run, usize)]) -> Left {
        // Beyond the rows that are copied anyway it would not be worth it.
        let rows = parts.iter().map(|(run, group)| run.rows_of(*group).len());
        self.left_of(parts, STEPS_MIN + rows.sum::<usize>())
    }

    fn left_of(&self, parts: &[(&Run, usize)], steps: usize) -> Left {
        let Some(&(run, group)) = parts.first() else { return Left::All };
        match *self.cut {
            Cut::Keys(_) if self.cut.is_past(run.key(group)) => Left::Nothing,
            Cut::Keys(_) => Left::All,
            Cut::Rows { from } => Left::From(encode(from)),
            Cut::Sessions { end, gap } => {
                let is_old = |&(run, group): &(&Run, usize)| {
                    let first = run.row(run.rows_of(group).start);
                    time(first).is_some_and(|first| ends_by(first, gap, end))
                };
                if !parts.iter().any(is_old) {
                    return Left::All;
                }
                let first = self.first_open((run.hash(group), run.key(group)), (end, gap), steps);
                first.map_or(Left::All, |first| Left::From(encode(first)))
            }
        }
    }

    /// The time of the first row of the first session that ends after `end`, or before it any time
    /// behind those that end by then. `None` if that takes more steps.
    fn first_open(
        &self,
        (hash, key): (u64, &[u8]),
        (end, gap): (i64, i64),
        steps: usize,
    ) -> Option<i64> {
        let mut rows = Group::default();
        self.runs.iter().for_each(|run| rows.add(run, hash, key));
        // A later row, which is at `end` or after, can be near one from here on.
        let reached = end.checked_sub(gap)?.checked_add(1)?;
        let next = rows.since(&encode(reached)).next().and_then(|(row, _)| time(row));
        let Some(mut first) = next else { return Some(reached) };
        for (step, (row, _)) in rows.until(&encode(first)).rev().enumerate() {
            let before = time(row)?;
            if first.saturating_sub(before) >= gap {
                break;
            }
            if step == steps {
                return None;
            }
            first = before;
        }
        Some(first.min(reached))
    }
}

fn last_time(run: &Run, group: usize) -> Option<i64> {
    run.rows_of(group).next_back().and_then(|last| time(run.row(last)))
}

/// Whether a session with this last time would end at `end` or before.
fn ends_by(last: i64, gap: i64, end: i64) -> bool {
    last.checked_add(gap).is_some_and(|its_end| its_end <= end)
}
