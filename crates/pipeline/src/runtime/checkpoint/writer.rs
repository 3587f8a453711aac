//! The thread that hashes and writes checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use syncline_change::digest::SetDigest;
use syncline_change::{Error, ErrorKind, Result};
use syncline_engine::{SavedState, StateChanges, Touched};
use syncline_store::checkpoints::{self, Checkpoint, State, ViewState};
use syncline_store::epochs::{self, Mark};
use syncline_store::journal::{self, Standing};
use syncline_store::merkle::MerkleLog;

use super::pieces::{self, Pieces};
use super::resume::Resumed;
use crate::clock;
use crate::runtime::plans::Plans;
use crate::runtime::state::{Held, Shared};

/// What there is to take in, and maybe to write down.
pub(super) struct Job {
    pub(super) state: StateChanges,
    /// What has changed in what is there to be read.
    pub(super) held: Vec<(Held, Touched)>,
    /// `None`: there is more to come before a checkpoint is written.
    pub(super) moment: Option<Moment>,
    /// Bytes of memory that it takes while it waits.
    pub(super) bytes: usize,
}

impl Job {
    pub(super) fn new(
        state: StateChanges,
        held: Vec<(Held, Touched)>,
        moment: Option<Moment>,
    ) -> Self {
        let bytes_held: usize = held.iter().map(|(_, touched)| touched.bytes()).sum();
        Self { bytes: state.bytes() + bytes_held, state, held, moment }
    }
}

/// What the pipeline was at the end of an epoch, but for its state.
pub(super) struct Moment {
    pub(super) epoch: u64,
    pub(super) time_us: i64,
    pub(super) chain: String,
    pub(super) input: MerkleLog,
    pub(super) sources: BTreeMap<String, Standing>,
    pub(super) changes: BTreeMap<String, blake3::Hash>,
    /// Of each view whose content is there to be read, how many rows it has.
    pub(super) rows: BTreeMap<usize, u64>,
    /// The end of the epoch log.
    pub(super) mark: Mark,
    pub(super) layout: String,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    views: Vec<Digested>,
    state: SavedState,
    pieces: Pieces,
    /// How long the journal is kept; `None`: for ever.
    retention_us: Option<i64>,
    is_busy: Arc<AtomicBool>,
    /// Bytes of jobs that wait.
    queued: Arc<AtomicUsize>,
    /// What of the epoch log is known to be durable.
    durable: Arc<Mutex<Option<Mark>>>,
    #[cfg(test)]
    refuses: bool,
}

/// A view and the digest of what it held at the last checkpoint.
struct Digested {
    name: String,
    schema: SchemaRef,
    plan: String,
    digest: SetDigest,
}

/// So many states are kept of the time for which the journal is.
const PINNED: i64 = 4;

/// Which checkpoints to keep the state of while the journal is kept that far back, given the epochs and
/// times of those that have it, the oldest first: the first one of each part of the time. And the one
/// that the journal may begin behind: all after it can be made again from there, and all sinks are
/// `through` with it.
fn pins(
    times: &[(u64, i64)],
    through: u64,
    limit_us: i64,
    retention_us: i64,
) -> (BTreeSet<u64>, Option<u64>) {
    let part_us = (retention_us / PINNED).max(1);
    let is_past = |(epoch, time_us): &&(u64, i64)| *time_us <= limit_us && *epoch <= through;
    let base = times.iter().rev().find(is_past).map(|(epoch, _)| *epoch);
    let since = times.iter().filter(|(epoch, _)| Some(*epoch) >= base);
    let mut firsts: BTreeMap<i64, u64> = BTreeMap::new();
    for (epoch, time_us) in since {
        firsts.entry(time_us.div_euclid(part_us)).or_insert(*epoch);
    }
    (firsts.into_values().chain(base).collect(), base)
}

/// The name of the lanes of a view's digest among the state.
fn digest_name(view: &str) -> String {
    format!("digest/{view}")
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        plans: &Plans,
        retention_us: Option<i64>,
        (is_busy, queued, durable): (Arc<AtomicBool>, Arc<AtomicUsize>, Arc<Mutex<Option<Mark>>>),
        resumed: Option<Resumed>,
    ) -> Result<Self> {
        let views = shared.views().iter().map(|view| {
            let mut digest = SetDigest::new(&view.name);
            if let Some(resumed) = &resumed {
                let name = digest_name(&view.name);
                let lanes = resumed.state.value(&name)?;
                digest.set_lanes(lanes).ok_or_else(|| {
                    Error::corrupt(format!("the state in a checkpoint is unreadable: {name}"))
                })?;
            }
            let plan = plans.fingerprint(&view.name).to_owned();
            Ok(Digested { name: view.name.clone(), schema: view.schema.clone(), plan, digest })
        });
        let views = views.collect::<Result<_>>()?;
        let (state, pieces) =
            resumed.map(|resumed| (resumed.state, resumed.pieces)).unwrap_or_default();
        Ok(Self {
            shared,
            views,
            state,
            pieces,
            retention_us,
            is_busy,
            queued,
            durable,
            #[cfg(test)]
            refuses: false,
        })
    }

    /// From now on there is state that cannot be written.
    #[cfg(test)]
    pub(super) fn refuse(&mut self) {
        self.refuses = true;
    }

    /// Returns the last checkpoint, when there are no more jobs, or when there is state that no checkpoint can
    /// have.
    pub(super) fn run(&mut self, jobs: &Receiver<Job>) -> Result<Option<Checkpoint>> {
        let mut last = None;
        while let Ok(job) = jobs.recv() {
            let (started, bytes) = (clock::stopwatch_nanos(), job.bytes);
            let taken_in = match self.take_in(job) {
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    self.shared.count_error(error.kind());
                    tracing::error!(
                        "no more checkpoints are taken until the next start, which replays the journal from the last one on: {}",
                        error.report()
                    );
                    return Ok(last);
                }
                taken_in => taken_in?,
            };
            self.queued.fetch_sub(bytes, Ordering::AcqRel);
            if let Some(checkpoint) = taken_in {
                let seconds = (clock::stopwatch_nanos() - started) as f64 / 1e9;
                self.shared.metrics.checkpoint_duration.observe(seconds);
                self.is_busy.store(false, Ordering::Release);
                last = Some(checkpoint);
            }
        }
        Ok(last)
    }

    /// Returns the checkpoint, if one is to be written.
    pub(super) fn take_in(&mut self, job: Job) -> Result<Option<Checkpoint>> {
        #[cfg(test)]
        if self.refuses {
            return Err(Error::unsupported("a test wants no state to be written"));
        }
        let Job { mut state, held, moment, .. } = job;
        for (of, touched) in held {
            touched.save(&of.name, &mut state);
            if let Some(view) = of.view {
                let view = &mut self.views[view];
                touched.apply(&view.schema, &mut view.digest)?;
            }
        }
        let Some(moment) = moment else {
            self.state.apply(state)?;
            return Ok(None);
        };
        for view in &self.views {
            state.put(&digest_name(&view.name), &view.digest.lanes());
        }
        self.state.apply(state)?;
        self.write(moment).map(Some)
    }

    fn write(&mut self, moment: Moment) -> Result<Checkpoint> {
        let none = blake3::Hash::from([0; blake3::OUT_LEN]);
        let views = self.views.iter().enumerate().map(|(number, view)| {
            let changes = moment.changes.get(&view.name).unwrap_or(&none).to_hex().to_string();
            let rows = moment.rows.get(&number).copied();
            let digest = rows.map(|_| view.digest.hex());
            (view.name.clone(), ViewState { rows, digest, changes, plan: view.plan.clone() })
        });
        let sinks = self.shared.sinks();
        let shared = self.shared.clone();
        let dir = shared.data_dir();
        let (state, pieces) = (&mut self.state, &mut self.pieces);
        let pack = shared.stubbornly("the state of a checkpoint", || pieces.write(dir, state))?;
        let checkpoint = Checkpoint {
            epoch: moment.epoch,
            time_us: moment.time_us,
            chain: moment.chain,
            input: moment.input,
            sources: moment.sources,
            sinks: sinks.into_iter().map(|(name, status)| (name, status.epoch)).collect(),
            views: views.collect(),
            state: Some(State { pack, layout: moment.layout }),
        };
        shared.stubbornly("a checkpoint", || {
            // Whoever goes on from here does not compute again what the log has before.
            epochs::sync(dir)?;
            let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
            *durable = Some(moment.mark.clone());
            drop(durable);
            checkpoints::write(dir, &checkpoint)
        })?;
        let through = checkpoint.sinks.values().copied().fold(checkpoint.epoch, u64::min);
        shared.stubbornly("what is kept no longer", || self.let_go(through))?;
        Ok(checkpoint)
    }

    /// Removes checkpoints, their state and the journal, as far as they are not kept any more. Epochs
    /// after `through` are needed by a sink.
    fn let_go(&self, through: u64) -> Result<()> {
        let dir = self.shared.data_dir();
        let Some(retention_us) = self.retention_us else {
            checkpoints::retain(dir, &BTreeSet::new())?;
            return self.pieces.retain(dir, &BTreeSet::new());
        };
        let limit_us = self.shared.now_us().saturating_sub(retention_us);
        let times = pieces::with_state(dir)?;
        let (pinned, base) = pins(&times, through, limit_us, retention_us);
        checkpoints::retain(dir, &pinned)?;
        self.pieces.retain(dir, &pinned)?;
        if let Some(base) = base {
            let freed = journal::let_go(dir, base)?;
            self.shared.count_freed(freed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_kept_as_far_back_as_the_journal() {
        // One a minute for ten hours; the journal is kept for four.
        let minute = 60_000_000;
        let mut times: Vec<(u64, i64)> = Vec::new();
        let (mut firsts, mut bases): (Vec<u64>, Vec<u64>) = (vec![], vec![]);
        for now in 1..=600_i64 {
            times.push((now as u64, now * minute));
            let (pinned, base) = pins(&times, u64::MAX, (now - 240) * minute, 240 * minute);
            assert!(pinned.len() <= 7, "{pinned:?}");
            let expect = pinned.first().copied().filter(|first| *first as i64 <= now - 240);
            assert_eq!(base, expect);
            // Others lose their state, but for the newest.
            times.retain(|(epoch, _)| pinned.contains(epoch) || *epoch as i64 > now - 3);
            firsts.extend(pinned.first());
            bases.extend(base);
        }
        assert!(bases.is_sorted() && firsts.is_sorted());
        let last = *bases.last().unwrap_or(&0);
        assert!((240..=360).contains(&last), "what is left begins at {last}");
        // A sink that is behind keeps what it needs.
        let (pinned, base) = pins(&times, last + 10, 600 * minute, 240 * minute);
        assert_eq!((base, pinned.first()), (Some(last), Some(&last)));
        assert_eq!(pins(&times, last - 1, 600 * minute, 240 * minute).1, None);
    }
}
