//! The runs of one partition, merged as they grow in number.

use std::cmp::Ordering;
use std::sync::Arc;

use syncline_change::Result;

use super::left::{Cutting, Left};
use super::{Cut, Group, Memory, Run, RunBuilder};
use crate::operators::{PARTITIONS, partition};

/// Two runs are merged when the older is at most this many times as long as the newer.
const MERGE_RATIO: usize = 2;
/// For every row that comes, each merge under way takes this many steps. Two runs of the same
/// length are one when half of a run more has come: before there is a third to merge with.
const STEPS_PER_ROW: usize = 4;
/// Within a group, after so many rows what was merged may be spilled.
const STEPS_AT_A_TIME: usize = 1024;
/// Merges up to this length are done at once.
const STEPS_MIN: usize = 256;

/// Runs from the oldest to the newest, each at least [`MERGE_RATIO`] times as long as the next
/// except where a merge is under way. So there are O(log n) runs, every row is copied O(log n)
/// times, and what one insertion costs is bounded by its own length.
#[derive(Debug, Default)]
pub(crate) struct Spine {
    levels: Vec<Level>,
    memory: Arc<Memory>,
    /// Bytes of memory.
    bytes: usize,
    /// What `memory` was told of: that, with all the room that merges under way will come to.
    told: usize,
}

#[derive(Debug)]
enum Level {
    Run(Aging),
    Merge(Box<Merge>),
}

impl Level {
    fn of(run: impl Into<Arc<Run>>) -> Self {
        Self::Run(Aging { run: run.into(), past: 0 })
    }

    /// Whether a cut leaves nothing of it.
    fn is_past(&mut self, cutting: &Cutting<'_>) -> bool {
        match self {
            Self::Run(run) => run.is_past(cutting),
            Self::Merge(merge) => merge.older.is_past(cutting) && merge.newer.is_past(cutting),
        }
    }
}

/// A run, and how many of its first groups are known to be past.
#[derive(Clone, Debug)]
struct Aging {
    run: Arc<Run>,
    past: usize,
}

impl Aging {
    /// What is past once stays so: every group is looked at once.
    fn is_past(&mut self, cutting: &Cutting<'_>) -> bool {
        while self.past < self.run.groups() && cutting.is_past(&self.run, self.past) {
            self.past += 1;
        }
        self.past == self.run.groups()
    }
}

impl Spine {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self { memory, levels: Vec::new(), bytes: 0, told: 0 }
    }

    /// Takes the runs that another spine had in place of its own.
    pub(crate) fn load(&mut self, runs: impl Iterator<Item = Arc<Run>>) {
        self.levels = runs.map(Level::of).collect();
        self.note_bytes();
    }

    /// Takes in a run. What is past `cut` is left out of what is merged: nobody will look it up, so it
    /// does not matter that other runs still have rows of it.
    pub(crate) fn insert(&mut self, run: impl Into<Arc<Run>>, cut: Option<&Cut>) -> Result<()> {
        let run = run.into();
        let cutting = cut.map(|cut| Cutting::new(cut, self.runs().chain([&run])));
        let cutting = cutting.as_ref();
        let steps = STEPS_MIN.max(run.len() * STEPS_PER_ROW);
        for level in &mut self.levels {
            if let Level::Merge(merge) = level
                && merge.work(steps, cutting)?
            {
                *level = Level::of(std::mem::take(&mut merge.builder).finish()?);
            }
        }
        if run.len() > 0 {
            self.levels.push(Level::of(run));
        }
        self.begin_merges(steps, cutting)?;
        self.note_bytes();
        Ok(())
    }

    /// Drops the runs, and the merges of runs, of which nothing is left that is not past `cut`. There
    /// may be a `latest` run beside them.
    pub(crate) fn forget(&mut self, cut: &Cut, latest: Option<&Arc<Run>>) {
        let cutting = Cutting::new(cut, self.runs().chain(latest));
        let levels = self.levels.len();
        self.levels.retain_mut(|level| !level.is_past(&cutting));
        if self.levels.len() < levels {
            self.note_bytes();
        }
    }

    /// Whether nothing is left of a run beside these.
    pub(crate) fn is_past(&self, cut: &Cut, latest: &Arc<Run>) -> bool {
        let cutting = Cutting::new(cut, self.runs().chain([latest]));
        (0..latest.groups()).all(|group| cutting.is_past(latest, group))
    }

    fn note_bytes(&mut self) {
        self.bytes = self.count_bytes(RunBuilder::bytes);
        let told = self.count_bytes(RunBuilder::room);
        self.memory.change(self.told, told);
        self.told = told;
    }

    /// Merges neighbours of like length, the newest first: at once where that is quick.
    fn begin_merges(&mut self, steps: usize, cutting: Option<&Cutting<'_>>) -> Result<()> {
        let mut newer = self.levels.len();
        while newer >= 2 {
            newer -= 1;
            let (Level::Run(a), Level::Run(b)) = (&self.levels[newer - 1], &self.levels[newer])
            else {
                continue;
            };
            if a.run.len() > b.run.len() * MERGE_RATIO || !a.run.fits_with(&b.run) {
                continue;
            }
            if newer == 1 && self.waits(b.run.len(), a.run.len() + b.run.len() > steps) {
                continue;
            }
            let mut merge = Merge::new(a.clone(), b.clone(), &self.memory)?;
            let is_done = merge.work(steps, cutting)?;
            let level = match is_done {
                true => Level::of(merge.builder.finish()?),
                false => Level::Merge(Box::new(merge)),
            };
            self.levels[newer - 1] = level;
            self.levels.remove(newer);
            if is_done {
                // What is newer may fit with it.
                newer = self.levels.len();
            }
        }
        // What cancelled altogether is gone.
        self.levels.retain(|level| !matches!(level, Level::Run(of) if of.run.len() == 0));
        Ok(())
    }

    /// Whether the merge of the two oldest runs, of which the newer has so many rows, is to begin later. All
    /// partitions have about as many rows, and would come to their largest merges, and to the room that these
    /// take, at the same time: so each waits until its share of half a run more has come.
    fn waits(&self, newer: usize, is_long: bool) -> bool {
        // Of what has cancelled altogether, nothing says the partition.
        let Some(any) = self.runs().find(|run| run.groups() > 0) else { return false };
        let since: usize = self.runs().skip(2).map(|run| run.len()).sum();
        is_long && since * 2 * PARTITIONS < newer * partition(any.hash(0))
    }

    /// Every run, the oldest first.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.levels
            .iter()
            .flat_map(|level| match level {
                Level::Run(of) => [Some(&of.run), None],
                Level::Merge(merge) => [Some(&merge.older.run), Some(&merge.newer.run)],
            })
            .flatten()
    }

    /// Adds to `group` what there is of its key.
    pub(crate) fn add_to<'a>(&'a self, group: &mut Group<'a>, hash: u64, key: &[u8]) {
        self.runs().for_each(|run| group.add(run, hash, key));
    }

    /// Rows in all runs; one that is added in one and taken away in another counts twice.
    pub(crate) fn len(&self) -> usize {
        self.runs().map(|run| run.len()).sum()
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn count_bytes(&self, of_builder: impl Fn(&RunBuilder) -> usize) -> usize {
        let merging = self.levels.iter().map(|level| match level {
            Level::Run(..) => 0,
            Level::Merge(merge) => of_builder(&merge.builder),
        });
        self.runs().map(|run| run.bytes()).sum::<usize>() + merging.sum::<usize>()
    }
}

impl Drop for Spine {
    fn drop(&mut self) {
        self.memory.change(self.told, 0);
    }
}

/// Two runs becoming one, a few steps at a time.
#[derive(Debug)]
struct Merge {
    older: Aging,
    newer: Aging,
    /// The next group of each, and within a group that both have, the next row.
    groups: [usize; 2],
    rows: Option<[usize; 2]>,
    builder: RunBuilder,
}

impl Merge {
    fn new(older: Aging, newer: Aging, memory: &Memory) -> Result<Self> {
        let builder = RunBuilder::for_both(&older.run, &newer.run, memory)?;
        Ok(Self { older, newer, groups: [0, 0], rows: None, builder })
    }

    /// Takes about `steps` steps, and says whether all is done.
    fn work(&mut self, mut steps: usize, cutting: Option<&Cutting<'_>>) -> Result<bool> {
        while steps > 0 {
            let taken = match self.rows {
                Some(rows) => self.work_in_group(rows, steps.min(STEPS_AT_A_TIME)),
                None => match self.next_group(cutting) {
                    Some(taken) => taken,
                    None => return Ok(true),
                },
            };
            self.builder.spill()?;
            steps = steps.saturating_sub(taken);
        }
        Ok(self.rows.is_none() && self.groups == [self.older.run.groups(), self.newer.run.groups()])
    }

    /// Copies a group that only one run has, or begins one that both have; `None` at the end.
    fn next_group(&mut self, cutting: Option<&Cutting<'_>>) -> Option<usize> {
        let [a, b] = self.groups;
        let (older, newer) = (&*self.older.run, &*self.newer.run);
        let order = match (a < older.groups(), b < newer.groups()) {
            (false, false) => return None,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (true, true) => {
                (older.hash(a).cmp(&newer.hash(b))).then_with(|| older.key(a).cmp(newer.key(b)))
            }
        };
        let both = [(older, a), (newer, b)];
        let parts = match order {
            Ordering::Less => &both[..1],
            Ordering::Greater => &both[1..],
            Ordering::Equal => &both[..],
        };
        let left = cutting.map_or(Left::All, |cutting| cutting.left(parts));
        if let &[(run, group)] = parts {
            let rows = left.rows_of(run, group);
            let taken = rows.len().max(1);
            self.builder.copy_group(run, group, rows);
            self.groups[usize::from(order == Ordering::Greater)] += 1;
            return Some(taken);
        }
        let [rows_a, rows_b] = both.map(|(run, group)| left.rows_of(run, group));
        self.builder.open_group(older.hash(a), older.key(a));
        self.rows = Some([rows_a.start, rows_b.start]);
        Some(1)
    }

    /// Merges rows of the group that both have.
    fn work_in_group(&mut self, [mut a, mut b]: [usize; 2], steps: usize) -> usize {
        let (older, newer) = (&*self.older.run, &*self.newer.run);
        let ends = [older.rows_of(self.groups[0]).end, newer.rows_of(self.groups[1]).end];
        let mut taken = 0;
        while taken < steps && (a < ends[0] || b < ends[1]) {
            let order = match (a < ends[0], b < ends[1]) {
                (true, false) => Ordering::Less,
                (false, _) => Ordering::Greater,
                (true, true) => older.row(a).cmp(newer.row(b)),
            };
            let (row, mut weight) = match order {
                Ordering::Greater => (newer.row(b), newer.weight(b)),
                _ => (older.row(a), older.weight(a)),
            };
            if order == Ordering::Equal {
                weight += newer.weight(b);
            }
            self.builder.push(row, weight);
            a += usize::from(order != Ordering::Greater);
            b += usize::from(order != Ordering::Less);
            taken += 1;
        }
        if a == ends[0] && b == ends[1] {
            self.rows = None;
            self.groups = [self.groups[0] + 1, self.groups[1] + 1];
        } else {
            self.rows = Some([a, b]);
        }
        taken
    }
}
