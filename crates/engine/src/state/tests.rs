//! A spine against a model that is plainly right.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::buffer::Buffer;
use proptest::prelude::*;
use syncline_change::spill::{Spill, SpillWriter};
use syncline_change::{Result, row};

use super::{Cut, Group, Memory, RunBuilder, Spine, times};
use crate::operators::PARTITION_BITS;

type Model = BTreeMap<(Vec<u8>, Vec<u8>), i64>;

/// Changes of rows, each a key and the rest.
fn any_changes(rows: usize) -> impl Strategy<Value = Vec<(u8, u8, i64)>> {
    prop::collection::vec((0..12_u8, 0..20_u8, -2..3_i64), 0..rows)
}

/// Keys of several lengths, the empty one among them.
fn key(number: u8) -> Vec<u8> {
    vec![number; usize::from(number % 4)]
}

/// A hash as keys of the first partition have them.
fn hash(key: &[u8]) -> u64 {
    row::hash(key) >> PARTITION_BITS
}

fn build(changes: &[(u8, u8, i64)]) -> super::Run {
    let mut sum: BTreeMap<(u64, Vec<u8>), BTreeMap<Vec<u8>, i64>> = BTreeMap::new();
    for &(k, row, weight) in changes {
        let rows = sum.entry((hash(&key(k)), key(k))).or_default();
        *rows.entry(vec![row]).or_default() += weight;
    }
    let mut builder = RunBuilder::default();
    for ((hash, key), rows) in sum {
        builder.open_group(hash, &key);
        rows.iter().for_each(|(row, &weight)| builder.push(row, weight));
    }
    builder.finish().unwrap()
}

fn check(spine: &Spine, model: &Model) {
    for k in 0..12 {
        let key = key(k);
        let mut group = Group::default();
        spine.add_to(&mut group, hash(&key), &key);
        let expect: Vec<(&[u8], i64)> = (model.iter())
            .filter(|((of, _), weight)| *of == key && **weight != 0)
            .map(|((_, row), weight)| (row.as_slice(), *weight))
            .collect();
        assert_eq!(group.clone().collect::<Vec<_>>(), expect);
        assert_eq!(group.clone().rev().collect::<Vec<_>>(), {
            let mut backwards = expect.clone();
            backwards.reverse();
            backwards
        });
        assert_eq!(group.is_empty(), expect.is_empty());
        for row in 0..20 {
            let weight = model.get(&(key.clone(), vec![row])).copied().unwrap_or(0);
            assert_eq!(group.weight(&[row]), weight);
        }
    }
}

/// Long runs, of which some cancel altogether, in partitions that begin their largest merges at once and later.
#[test]
fn a_spine_of_which_nothing_was_left_goes_on() {
    for partition in [0, 1, 31, 63] {
        let hash = |i: u64| partition << (u64::BITS - PARTITION_BITS) | i;
        let run = |rows: std::ops::Range<u64>, weight| {
            let mut builder = RunBuilder::default();
            for i in rows {
                builder.open_group(hash(i), &i.to_be_bytes());
                builder.push(b"row", weight);
            }
            builder.finish().unwrap()
        };
        let memory = Arc::new(Memory::default());
        let mut spine = Spine::new(memory.clone());
        for (rows, weight) in [(0..1_000, 1), (0..400, -1), (400..700, -1), (700..1_000, -1)] {
            spine.insert(run(rows, weight), None).unwrap();
        }
        for epoch in 0..400 {
            spine.insert(run(epoch * 10..epoch * 10 + 10, 1), None).unwrap();
            assert!(memory.used() >= spine.bytes());
            assert!(spine.runs().count() <= 20, "{} runs", spine.runs().count());
        }
        for i in 0..4_010 {
            let mut group = Group::default();
            spine.add_to(&mut group, hash(i), &i.to_be_bytes());
            assert_eq!(group.weight(b"row"), i64::from(i < 4_000), "{i} in {partition}");
        }
        drop(spine);
        assert_eq!(memory.used(), 0);
    }
}

/// What is spilled, in memory after all.
#[derive(Debug)]
pub(super) struct Elsewhere;

#[derive(Debug)]
struct Piece(Vec<(usize, Vec<u8>)>);

impl Spill for Elsewhere {
    fn begin(&self, sizes: &[usize]) -> Result<Box<dyn SpillWriter>> {
        Ok(Box::new(Piece(sizes.iter().map(|&size| (size, vec![])).collect())))
    }
}

impl SpillWriter for Piece {
    fn append(&mut self, part: usize, bytes: &[u8]) -> Result<()> {
        let (size, have) = &mut self.0[part];
        have.extend_from_slice(bytes);
        assert!(have.len() <= *size, "part {part} has {} bytes of {size}", have.len());
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Buffer>> {
        Ok(self.0.into_iter().map(|(_, bytes)| Buffer::from_slice_ref(&bytes)).collect())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is inserted, a spine shows the sum, and does so with few runs.
    #[test]
    fn a_spine_is_the_sum_of_what_was_inserted(
        epochs in prop::collection::vec(any_changes(60), 1..40),
        limit in prop::option::of(0..4000_usize),
    ) {
        let memory = Arc::new(Memory::default());
        if let Some(limit) = limit {
            memory.limit(limit, Arc::new(Elsewhere));
        }
        let (mut spine, mut model) = (Spine::new(memory.clone()), Model::new());
        for changes in &epochs {
            spine.insert(build(changes), None).unwrap();
            for &(k, row, weight) in changes {
                *model.entry((key(k), vec![row])).or_default() += weight;
            }
            check(&spine, &model);
            prop_assert_eq!(memory.used(), spine.bytes());
        }
        drop(spine);
        prop_assert_eq!(memory.used(), 0);
    }
}

/// Long runs are merged over many insertions, and never many runs wait.
#[test]
fn merges_keep_up() {
    let mut spine = Spine::default();
    let mut rows = 0_u64;
    for epoch in 0..3_000_u64 {
        // Most epochs are small and some are large.
        let count = if epoch % 97 == 0 { 700 } else { 1 + epoch % 5 };
        let mut keys: Vec<(u64, Vec<u8>)> =
            (rows..rows + count).map(|n| n.to_be_bytes()).map(|k| (hash(&k), k.to_vec())).collect();
        keys.sort_unstable();
        let mut builder = RunBuilder::default();
        for (hash, key) in keys {
            builder.open_group(hash, &key);
            builder.push(b"row", 1);
        }
        rows += count;
        spine.insert(builder.finish().unwrap(), None).unwrap();
        assert!(spine.runs().count() <= 28, "{} runs after epoch {epoch}", spine.runs().count());
    }
    assert_eq!(spine.len() as u64, rows);
    for n in (0..rows).step_by(501) {
        let mut group = Group::default();
        spine.add_to(&mut group, hash(&n.to_be_bytes()), &n.to_be_bytes());
        assert_eq!(group.collect::<Vec<_>>(), [(&b"row"[..], 1)]);
    }
}

/// Rows of sessions with times around `now`, by key.
fn any_times(rows: usize) -> impl Strategy<Value = Vec<(u8, i64)>> {
    prop::collection::vec((0..4_u8, -40..10_i64), 0..rows)
}

/// The rows of a key from the first on that a row at `end` or later could join, by small steps.
fn open(times: &BTreeMap<i64, i64>, end: i64, gap: i64) -> Vec<(i64, i64)> {
    let mut first = end - gap + 1;
    for (&time, _) in times.iter().rev() {
        // A row beyond is one that comes; a row before is joined by the one behind it.
        let next = times.range(time + 1..).next().map(|(&next, _)| next);
        if time < first && next.is_some_and(|next| next - time < gap && next >= first) {
            first = time;
        }
    }
    times.range(first..).map(|(&time, &count)| (time, count)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Sessions that have ended go, and of those that a row can still join every row is there.
    #[test]
    fn sessions_go_when_they_have_ended(
        epochs in prop::collection::vec(any_times(60), 1..60),
        gap in prop::sample::select(vec![1_i64, 4, 15, 60]),
        limit in prop::option::of(0..4000_usize),
    ) {
        let memory = Arc::new(Memory::default());
        if let Some(limit) = limit {
            memory.limit(limit, Arc::new(Elsewhere));
        }
        let mut spine = Spine::new(memory.clone());
        let mut model: BTreeMap<u8, BTreeMap<i64, i64>> = BTreeMap::new();
        let mut cut = None;
        for (epoch, rows) in epochs.iter().enumerate() {
            let (now, end) = (epoch as i64 * 7, epoch as i64 * 7 - 40);
            let mut sum: BTreeMap<(u64, Vec<u8>), BTreeMap<i64, i64>> = BTreeMap::new();
            for &(k, time) in rows {
                *model.entry(k).or_default().entry(now + time).or_default() += 1;
                let rows = sum.entry((hash(&key(k)), key(k))).or_default();
                *rows.entry(now + time).or_default() += 1;
            }
            let mut builder = RunBuilder::default();
            for ((hash, key), rows) in sum {
                builder.open_group(hash, &key);
                rows.iter().for_each(|(time, &count)| builder.push(&times::encode(*time), count));
            }
            // As of the epoch before.
            spine.insert(builder.finish().unwrap(), cut.as_ref()).unwrap();
            let next = Cut::Sessions { end, gap };
            spine.forget(&next, None);
            cut = Some(next);
            for (&k, times) in &model {
                let mut group = Group::default();
                spine.add_to(&mut group, hash(&key(k)), &key(k));
                let expect = open(times, end, gap);
                let from = expect.first().map_or(end - gap + 1, |(first, _)| *first);
                let rows = group.since(&times::encode(from.min(end - gap + 1)));
                let rows: Vec<(i64, i64)> =
                    rows.map(|(row, count)| (times::time(row).unwrap(), count)).collect();
                prop_assert_eq!(rows, expect);
            }
        }
        let cut = Cut::Sessions { end: i64::MAX - gap, gap };
        spine.forget(&cut, None);
        prop_assert_eq!((spine.len(), memory.used()), (0, 0));
    }
}

/// A merge of runs that are not the newest may be done at once, because a key that one run has is copied
/// as a whole. The newer run stays as it is.
#[test]
fn a_merge_before_the_newest_run_loses_nothing() {
    let mut keys: Vec<(u64, Vec<u8>)> = (0..5_u64)
        .map(|number| number.to_be_bytes())
        .map(|key| (hash(&key), key.to_vec()))
        .collect();
    keys.sort_unstable();
    let (mut spine, mut expect) = (Spine::default(), vec![]);
    // The third run merges with the second at once, and these with the first over two insertions; the
    // last one finishes that, and what came of it is then merged with the oldest at once.
    for (key, rows) in [(4, 900_u64), (0, 300), (1, 100), (2, 60), (3, 120)] {
        let (hash, key) = &keys[key];
        let mut builder = RunBuilder::default();
        builder.open_group(*hash, key);
        (0..rows).for_each(|row| builder.push(&row.to_be_bytes(), 1));
        spine.insert(builder.finish().unwrap(), None).unwrap();
        expect.push((*hash, key, rows as usize));
        for (hash, key, rows) in &expect {
            let mut group = Group::default();
            spine.add_to(&mut group, *hash, key);
            assert_eq!(group.count(), *rows);
        }
    }
    assert_eq!(spine.runs().map(|run| run.len()).collect::<Vec<_>>(), [1360, 120]);
}
