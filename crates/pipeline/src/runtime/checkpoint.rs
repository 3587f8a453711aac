//! Takes checkpoints beside the circuit: what has changed is handed over in a moment, and hashed and
//! written by a thread of its own (`writer`), so that no epoch waits for it.
//!
//! Where a lot changes between two checkpoints, part of it is handed over before, so that the moment
//! stays short. A start goes on from a checkpoint (`resume`).

mod pieces;
pub(super) mod resume;
mod writer;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use syncline_change::{Error, Result};
use syncline_engine::Circuit;
use syncline_store::checkpoints::{self, Checkpoint};
use syncline_store::epochs::{EpochLog, Mark, ViewRecord};
use syncline_store::journal::{EpochInput, Standing};
use syncline_store::merkle::{self, MerkleLog};

use self::resume::Resumed;
use self::writer::{Job, Moment, Writer};
use super::manifest::Account;
use super::memory;
use super::plans::Plans;
use super::state::{Shared, Tally};
use crate::clock;
use crate::prepare::Prepared;

/// More often than this, checkpoints would be all that is done.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// After so many rows of input it is seen whether much has changed that was not handed over.
const ROWS_BETWEEN_LOOKS: usize = 1 << 14;
/// What is much: some milliseconds' work.
const UNSAVED_BYTES: usize = 1 << 18;
/// Changes that wait for the thread may take one part in so many of the limit of memory; while they do, no more
/// are handed over.
const QUEUED_SHARE: u64 = 8;
/// Less than this would be too little for a few epochs.
const QUEUED_BYTES_MIN: u64 = 16 << 20;

/// The circuit's side.
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    /// All epochs so far.
    input: MerkleLog,
    sources: BTreeMap<String, Standing>,
    /// Rows and bytes of each source.
    tally: Tally,
    /// Of each view, the digest of all of its changes.
    changes: BTreeMap<String, blake3::Hash>,
    /// Of the epochs of this run.
    account: Account,
    layout: String,
    /// The last epoch and its time, and the last epoch that a checkpoint was taken of.
    last: (u64, i64),
    taken: u64,
    taken_at_nanos: u64,
    interval: Duration,
    rows_since_look: usize,
    is_busy: Arc<AtomicBool>,
    queued: Arc<AtomicUsize>,
    queued_max: usize,
    durable: Arc<Mutex<Option<Mark>>>,
    writing: Writing,
}

/// The thread that writes, begun with the first checkpoint.
enum Writing {
    NotYet(Option<Writer>),
    Thread {
        to: Sender<Job>,
        thread: JoinHandle<Result<Option<Checkpoint>>>,
    },
    /// There is state that no checkpoint can have: the pipeline goes on without.
    Over,
}

impl Checkpointer {
    /// Of a pipeline that begins, or goes on from a checkpoint.
    pub(super) fn new(
        shared: Arc<Shared>,
        plans: &Plans,
        prepared: &Prepared,
        layout: String,
        resumed: Option<Resumed>,
    ) -> Result<Self> {
        let (is_busy, queued) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let from = resumed.as_ref().map(|resumed| &resumed.checkpoint);
        let hash = |hex: &String| blake3::Hash::from_hex(hex).ok();
        let changes = from.into_iter().flat_map(|from| &from.views);
        let changes =
            changes.filter_map(|(view, state)| Some((view.clone(), hash(&state.changes)?)));
        let last = from.map_or((0, 0), |from| (from.epoch, from.time_us));
        let queued_max = (memory::limit(prepared) / QUEUED_SHARE).max(QUEUED_BYTES_MIN);
        let made = Self {
            input: from.map_or_else(MerkleLog::new, |from| from.input.clone()),
            sources: from.map(|from| from.sources.clone()).unwrap_or_default(),
            changes: changes.collect(),
            tally: shared.tally(),
            account: Account::new(prepared)?,
            layout,
            last,
            taken: last.0,
            taken_at_nanos: clock::stopwatch_nanos(),
            interval: prepared.pipeline.spec.run.checkpoint_interval.0.max(INTERVAL_MIN),
            rows_since_look: 0,
            writing: Writing::NotYet(None),
            is_busy,
            queued,
            queued_max: usize::try_from(queued_max).unwrap_or(usize::MAX),
            durable: Arc::default(),
            shared,
        };
        let writer = Writer::new(
            made.shared.clone(),
            plans,
            prepared.pipeline.spec.run.journal_retention.map(|time| micros(time.0)),
            (made.is_busy.clone(), made.queued.clone(), made.durable.clone()),
            resumed,
        )?;
        Ok(Self { writing: Writing::NotYet(Some(writer)), ..made })
    }

    /// How often a checkpoint is taken, if there was anything new.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// An epoch has been computed, for the first time or again; `views` are those that changed.
    ///
    /// # Errors
    /// `Bug` if it was not journalled before.
    pub(super) fn note(
        &mut self,
        input: &EpochInput,
        views: &BTreeMap<String, ViewRecord>,
        is_new: bool,
    ) -> Result<()> {
        let digest = input.digest.ok_or_else(|| Error::bug("an epoch was not journalled"))?;
        self.input.push(merkle::leaf_hash(digest.as_bytes()));
        if is_new {
            self.account.note(input, &self.sources);
        }
        for (view, record) in views {
            let none = blake3::Hash::from([0; blake3::OUT_LEN]);
            let all = self.changes.entry(view.clone()).or_insert(none);
            *all = checkpoints::chained(all, input.epoch, &record.digest);
        }
        for part in &input.inputs {
            let (rows, bytes) = self.tally.entry(part.source.clone()).or_default();
            *rows += part.row_count() as u64;
            *bytes += part.bytes;
            let standing = self.sources.entry(part.source.clone()).or_default();
            standing.advance(part.position.as_ref(), part.finished);
        }
        self.last = (input.epoch, input.time_us);
        Ok(())
    }

    /// What of the epoch log is known to be durable.
    pub(super) fn durable(&self) -> Option<Mark> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Hands over what has changed, if it is much and a checkpoint is not due yet.
    ///
    /// # Errors
    /// `Bug` if no thread can be started.
    pub(super) fn relieve(&mut self, circuit: &mut Circuit, rows: usize) -> Result<()> {
        self.rows_since_look += rows;
        if self.rows_since_look < ROWS_BETWEEN_LOOKS {
            return Ok(());
        }
        if self.queued.load(Ordering::Acquire) >= self.queued_max {
            return if self.has_ended() { self.end() } else { Ok(()) };
        }
        self.rows_since_look = 0;
        let started = clock::stopwatch_nanos();
        let held = self.shared.take_touched(UNSAVED_BYTES);
        let state = match circuit.unsaved() {
            UNSAVED_BYTES.. => circuit.save(false)?,
            _ => circuit.no_changes(),
        };
        if held.is_empty() && state.is_empty() {
            return Ok(());
        }
        self.note_pause(started);
        self.send(Job::new(state, held, None))
    }

    /// Takes a checkpoint of the last epoch, whose record is the last of the log, if it is time for one and
    /// the one before is written.
    ///
    /// # Errors
    /// `Bug` if no thread can be started.
    pub(super) fn take_if_due(&mut self, circuit: &mut Circuit, log: &EpochLog) -> Result<()> {
        let since = clock::stopwatch_nanos() - self.taken_at_nanos;
        let is_due = self.last.0 > self.taken && u128::from(since) >= self.interval.as_nanos();
        if is_due && self.has_ended() {
            return self.end();
        }
        if is_due
            && !matches!(self.writing, Writing::Over)
            && !self.is_busy.swap(true, Ordering::AcqRel)
        {
            let job = self.job(circuit, log)?;
            self.send(job)?;
        }
        Ok(())
    }

    /// Takes the last checkpoint, waits until it is written, and writes the run's manifest.
    ///
    /// # Errors
    /// `Storage` if the disk refuses, `Config` if the manifest cannot be signed.
    pub(super) fn finish(mut self, circuit: &mut Circuit, log: &EpochLog) -> Result<()> {
        // What the disk did not take of the epoch log is computed again at the next start.
        let is_recorded = log.last_epoch() == self.last.0;
        if self.last.0 > self.taken && is_recorded {
            let job = self.job(circuit, log)?;
            self.send(job)?;
        }
        let Writing::Thread { to, thread } = self.writing else { return Ok(()) };
        drop(to);
        let last = joined(thread)?.filter(|last| is_recorded && last.epoch == self.last.0);
        match last {
            Some(last) => self.account.write(self.shared.data_dir(), &last),
            None => Ok(()),
        }
    }

    /// Whether the thread has come to its end by itself.
    fn has_ended(&self) -> bool {
        matches!(&self.writing, Writing::Thread { thread, .. } if thread.is_finished())
    }

    /// Takes note of that.
    fn end(&mut self) -> Result<()> {
        self.queued.store(0, Ordering::Release);
        match std::mem::replace(&mut self.writing, Writing::Over) {
            Writing::Thread { thread, .. } => joined(thread).map(drop),
            Writing::NotYet(_) | Writing::Over => Ok(()),
        }
    }

    #[cfg(test)]
    pub(super) fn has_news(&self) -> bool {
        self.last.0 > self.taken
    }

    /// Takes a checkpoint and waits until it is written.
    #[cfg(test)]
    pub(super) fn take_and_wait(&mut self, circuit: &mut Circuit, log: &EpochLog) -> Result<()> {
        let job = self.job(circuit, log)?;
        match &mut self.writing {
            Writing::NotYet(Some(writer)) => writer.take_in(job).map(drop),
            Writing::NotYet(None) | Writing::Thread { .. } | Writing::Over => {
                Err(Error::bug("a test of checkpoints has no writer"))
            }
        }
    }

    /// Has the thread meet state that no checkpoint can have, and waits for what it does.
    #[cfg(test)]
    pub(super) fn meet_too_much(&mut self, circuit: &mut Circuit, log: &EpochLog) -> Result<()> {
        if let Writing::NotYet(Some(writer)) = &mut self.writing {
            writer.refuse();
        }
        let job = self.job(circuit, log)?;
        self.send(job)?;
        while let Writing::Thread { thread, .. } = &self.writing
            && !thread.is_finished()
        {
            std::thread::yield_now();
        }
        Ok(())
    }

    /// What there is to hash and write of this moment.
    fn job(&mut self, circuit: &mut Circuit, log: &EpochLog) -> Result<Job> {
        let (epoch, time_us) = self.last;
        let started = clock::stopwatch_nanos();
        let mut state = circuit.save(true)?;
        self.shared.save(&mut state, &self.tally)?;
        let moment = Moment {
            epoch,
            time_us,
            chain: log.head().to_hex().to_string(),
            input: self.input.clone(),
            sources: self.sources.clone(),
            changes: self.changes.clone(),
            rows: self.shared.rows_held(),
            mark: log.mark(),
            layout: self.layout.clone(),
        };
        let job = Job::new(state, self.shared.take_touched(0), Some(moment));
        self.taken = epoch;
        self.taken_at_nanos = clock::stopwatch_nanos();
        self.note_pause(started);
        Ok(job)
    }

    fn note_pause(&self, started: u64) {
        let seconds = (clock::stopwatch_nanos() - started) as f64 / 1e9;
        self.shared.metrics.checkpoint_pause.observe(seconds);
    }

    fn send(&mut self, job: Job) -> Result<()> {
        if let Writing::NotYet(writer) = &mut self.writing {
            let writer = writer.take();
            let mut writer = writer.ok_or_else(|| Error::bug("checkpoints have no writer"))?;
            let (to, jobs) = channel();
            let thread = std::thread::Builder::new()
                .name("checkpoints".to_owned())
                .spawn(move || writer.run(&jobs))
                .map_err(|error| Error::bug("cannot start a thread").source(error))?;
            self.writing = Writing::Thread { to, thread };
        }
        let Writing::Thread { to, .. } = &self.writing else {
            // What changes must not be remembered without an end.
            return Ok(());
        };
        self.queued.fetch_add(job.bytes, Ordering::AcqRel);
        match to.send(job) {
            Ok(()) => Ok(()),
            Err(_) => self.end(),
        }
    }
}

/// The last checkpoint that the thread wrote.
fn joined(thread: JoinHandle<Result<Option<Checkpoint>>>) -> Result<Option<Checkpoint>> {
    thread.join().unwrap_or_else(|_| Err(Error::bug("taking a checkpoint panicked")))
}

pub(super) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
