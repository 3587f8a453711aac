//! What stands in for the outside: sources, targets, the clock, chance.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use arrow::util::pretty::pretty_format_batches;
use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use syncline_change::sink::{Delivery, EpochChanges, Progress, Shape, Sink, Snapshot};
use syncline_change::source::{Chunk, Decode, RejectClass, Rejected};
use syncline_change::{Batch, Error, Result};
use syncline_connect::decode::json::JsonDecode;
use syncline_store::disk::FaultyDisk;

use super::super::state::Shared;
use crate::clock::Clock;
use crate::prepare::Prepared;

/// A run that waits more often than this will never end.
const PAUSES_MAX: usize = 1_000;

/// What a wait takes, whatever its jitter.
const PAUSE_US: i64 = 500_000;

/// All that is left to chance, from one seed.
#[derive(Clone)]
pub(super) struct Chance(Arc<Mutex<StdRng>>);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.0.lock().unwrap().random_range(0..bound)
    }

    pub(super) fn one_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// A clock that goes only when it is told to, or waited by.
pub(super) struct FakeClock {
    pub(super) disk: FaultyDisk,
    pub(super) now_us: AtomicI64,
    pub(super) pauses: AtomicUsize,
    /// The pipeline that waits, and what it said meanwhile.
    pub(super) shared: Mutex<Weak<Shared>>,
    pub(super) troubles: Mutex<Vec<String>>,
}

impl Clock for FakeClock {
    fn wall_us(&self) -> i64 {
        self.now_us.load(Relaxed)
    }

    fn pause(&self, _: Duration) -> Option<Duration> {
        assert!(self.pauses.fetch_add(1, Relaxed) < PAUSES_MAX, "this waits for ever");
        if let Some(shared) = self.shared.lock().unwrap().upgrade() {
            self.troubles.lock().unwrap().extend(shared.troubles());
        }
        self.now_us.fetch_add(PAUSE_US, Relaxed);
        // The dead do not wait.
        (!self.disk.is_dead()).then_some(Duration::ZERO)
    }
}

/// What a sink's target holds. It outlives processes.
#[derive(Default)]
pub(super) struct Target {
    pub(super) epochs: Vec<EpochChanges>,
    /// How many of them a power loss leaves.
    durable: usize,
    pub(super) snapshot: Option<Snapshot>,
    /// What was given for each epoch once progress had been noted: it stays the same.
    given: BTreeMap<u64, Vec<String>>,
}

impl Target {
    /// Whoever heeds that a request was made before must not miss anything.
    fn note_given(&mut self, epochs: &[EpochChanges]) {
        for EpochChanges { epoch, changes } in epochs {
            let mut lines: Vec<String> = changes.iter().flat_map(lines).collect();
            lines.sort();
            let given = self.given.entry(*epoch).or_insert_with(|| lines.clone());
            assert_eq!(*given, lines, "epoch {epoch} has become another");
        }
    }

    pub(super) fn lose_power(&mut self, chance: &Chance) {
        let unsure = self.epochs.len() - self.durable;
        self.epochs.truncate(self.durable + chance.below(unsure as u64 + 1) as usize);
    }
}

/// The rows of a change with their weights.
fn lines(batch: &Batch) -> Vec<String> {
    let table = pretty_format_batches(std::slice::from_ref(batch.rows())).unwrap().to_string();
    let rows = table.lines().skip(3).take(batch.num_rows()).enumerate();
    let cells = |line: &str| line.split('|').map(str::trim).collect::<Vec<_>>().join("|");
    rows.map(|(row, line)| format!("{}{}", batch.weight(row), cells(line))).collect()
}

/// How a write to a target goes.
enum Outcome {
    Done,
    /// Nothing was written.
    FailBefore,
    /// It was written and is not durable.
    FailBetween,
    /// It is durable, and nobody hears of it.
    FailAfter,
    KillBefore,
    KillBetween,
    KillAfter,
}

/// Writes to a [`Target`].
pub(super) struct FakeSink {
    pub(super) delivery: Delivery,
    pub(super) target: Arc<Mutex<Target>>,
    pub(super) disk: FaultyDisk,
    /// `None`: nothing goes wrong.
    pub(super) chance: Option<Chance>,
    /// What was durable when last heard of.
    pub(super) done: u64,
    /// A sink of which no progress is noted starts anew with what its view means then.
    pub(super) has_progress: bool,
}

impl FakeSink {
    fn outcome(&self) -> Outcome {
        match self.chance.as_ref().map_or(u64::MAX, |chance| chance.below(80)) {
            0 | 1 => Outcome::FailBefore,
            2 | 3 => Outcome::FailBetween,
            4 | 5 => Outcome::FailAfter,
            6 => Outcome::KillBefore,
            7 => Outcome::KillBetween,
            8 => Outcome::KillAfter,
            _ => Outcome::Done,
        }
    }

    fn fail<T>(&self, outcome: &Outcome) -> Result<T> {
        if matches!(outcome, Outcome::KillBefore | Outcome::KillBetween | Outcome::KillAfter) {
            self.disk.kill();
        }
        Err(Error::unavailable("the target does not answer"))
    }
}

#[async_trait]
impl Sink for FakeSink {
    fn delivery(&self) -> Delivery {
        self.delivery
    }

    async fn open(&mut self, _: &Shape, progress: Option<&Progress>) -> Result<()> {
        let done = progress.map_or(0, |progress| progress.epoch);
        self.has_progress = progress.is_some();
        let mut target = self.target.lock().unwrap();
        self.done = done;
        match self.delivery {
            Delivery::Changes => {
                assert!(target.epochs.len() as u64 >= done, "progress is ahead of its target");
                target.epochs.truncate(done as usize);
                target.durable = done as usize;
            }
            Delivery::Snapshot => {
                let there = target.snapshot.as_ref().map_or(0, |snapshot| snapshot.epoch);
                assert!(there >= done, "progress is ahead of its target");
            }
        }
        Ok(())
    }

    async fn write(&mut self, epochs: &[EpochChanges]) -> Result<Progress> {
        let outcome = self.outcome();
        if matches!(outcome, Outcome::FailBefore | Outcome::KillBefore) {
            return self.fail(&outcome);
        }
        let mut target = self.target.lock().unwrap();
        if self.has_progress {
            target.note_given(epochs);
        }
        // A write that failed may have left these.
        target.epochs.truncate(self.done as usize);
        target.epochs.extend_from_slice(epochs);
        target.durable = target.durable.min(self.done as usize);
        if matches!(outcome, Outcome::FailBetween | Outcome::KillBetween) {
            return self.fail(&outcome);
        }
        target.durable = target.epochs.len();
        if matches!(outcome, Outcome::FailAfter | Outcome::KillAfter) {
            return self.fail(&outcome);
        }
        self.done = epochs.last().map_or(self.done, |last| last.epoch);
        Ok(Progress { epoch: self.done, token: json!(null) })
    }

    async fn replace(&mut self, snapshot: &Snapshot) -> Result<Progress> {
        let outcome = self.outcome();
        let happens = matches!(outcome, Outcome::Done | Outcome::FailAfter | Outcome::KillAfter);
        if happens {
            self.target.lock().unwrap().snapshot = Some(snapshot.clone());
        }
        match outcome {
            Outcome::Done => Ok(Progress { epoch: snapshot.epoch, token: json!(null) }),
            other => self.fail(&other),
        }
    }

    fn give_up(&mut self, _: &[EpochChanges], _: &Error) -> Option<(Progress, Vec<Rejected>)> {
        None
    }
}

/// All that a source will ever give: the position after a chunk is the chunk's number, from 1.
pub(super) fn chunks(prepared: &Prepared, table: usize, count: u64, chance: &Chance) -> Vec<Chunk> {
    let schema = &prepared.tables[table].schema;
    let decode = JsonDecode::new(schema.clone(), &[]).unwrap();
    let chunk = |number: u64| {
        let lines: Vec<String> =
            (0..chance.below(4)).map(|i| row(table, number * 10 + i, chance)).collect();
        let (rows, wrong) = decode.decode(lines.join("\n").as_bytes(), None).unwrap();
        assert!(wrong.is_empty(), "{wrong:?}");
        // What is kept of these is how they should have been, for whoever retries them.
        let rejected = (table == 1 && chance.one_in(3)).then(|| Rejected {
            bytes: format!(r#"{{"item": "m{number}", "price": {number}}}"#).into_bytes(),
            context: None,
            position: format!("stock:{number}"),
            class: RejectClass::Unparsable,
            message: "it was made so".to_owned(),
        });
        Chunk {
            rows,
            rejected: rejected.into_iter().collect(),
            position: json!({ "at": number }),
            bytes: 1,
            origin: None,
        }
    };
    (1..=count).map(chunk).collect()
}

fn row(table: usize, id: u64, chance: &Chance) -> String {
    let (item, number) = (chance.below(4), chance.below(100));
    if table == 1 {
        return format!(r#"{{"item": "i{item}", "price": {number}}}"#);
    }
    // One in five is late.
    let second = if chance.one_in(5) { id / 2 } else { id + 100 };
    let (minute, second) = (second / 60, second % 60);
    let at = format!("2026-01-01T00:{minute:02}:{second:02}");
    format!(r#"{{"id": {id}, "item": "i{item}", "n": {number}, "at": "{at}"}}"#)
}
