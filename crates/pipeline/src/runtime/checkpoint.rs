//! Takes checkpoints beside the circuit: what has changed is handed over in a moment, and hashed and
//! written by a thread of its own, so that no epoch waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use syncline_change::digest::SetDigest;
use syncline_change::{Error, Result};
use syncline_engine::Touched;
use syncline_store::checkpoints::{self, Checkpoint, ViewState};
use syncline_store::epochs::ViewRecord;
use syncline_store::journal::{EpochInput, Standing};
use syncline_store::merkle::{self, MerkleLog};

use super::manifest::Account;
use super::plans::Plans;
use super::state::Shared;
use crate::clock;
use crate::prepare::Prepared;

/// How often a checkpoint is taken, if there was anything new.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);

/// The circuit's side.
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    /// All epochs so far.
    input: MerkleLog,
    sources: BTreeMap<String, Standing>,
    /// Of each view, the digest of all of its changes.
    changes: BTreeMap<String, blake3::Hash>,
    /// Of the epochs of this run.
    account: Account,
    /// The last epoch and its time, and the last epoch that a checkpoint was taken of.
    last: (u64, i64),
    taken: u64,
    taken_at_nanos: u64,
    is_busy: Arc<AtomicBool>,
    writing: Writing,
}

/// The thread that writes, begun with the first checkpoint.
enum Writing {
    NotYet(Option<Writer>),
    Thread { to: SyncSender<Job>, thread: JoinHandle<Result<Option<Checkpoint>>> },
}

/// What there is to hash and write.
struct Job {
    epoch: u64,
    time_us: i64,
    chain: String,
    input: MerkleLog,
    sources: BTreeMap<String, Standing>,
    changes: BTreeMap<String, blake3::Hash>,
    /// Of each view whose content is there to be read, what has changed since the last job, and how
    /// many rows it has.
    views: Vec<(usize, Touched, u64)>,
}

impl Checkpointer {
    pub(super) fn new(shared: Arc<Shared>, plans: &Plans, prepared: &Prepared) -> Result<Self> {
        let views = shared.views().iter().map(|view| Digested {
            name: view.name.clone(),
            schema: view.schema.clone(),
            plan: plans.fingerprint(&view.name).to_owned(),
            digest: SetDigest::new(&view.name),
        });
        let is_busy = Arc::new(AtomicBool::new(false));
        let writer =
            Writer { shared: shared.clone(), views: views.collect(), is_busy: is_busy.clone() };
        Ok(Self {
            shared,
            input: MerkleLog::new(),
            sources: BTreeMap::new(),
            changes: BTreeMap::new(),
            account: Account::new(prepared)?,
            last: (0, 0),
            taken: 0,
            taken_at_nanos: clock::stopwatch_nanos(),
            is_busy,
            writing: Writing::NotYet(Some(writer)),
        })
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
            let standing = self.sources.entry(part.source.clone()).or_default();
            standing.advance(part.position.as_ref(), part.finished);
        }
        self.last = (input.epoch, input.time_us);
        Ok(())
    }

    /// Takes a checkpoint of the last epoch, whose record has the hash `chain`, if it is time for one
    /// and the one before is written.
    ///
    /// # Errors
    /// `Bug` if no thread can be started.
    pub(super) fn take_if_due(&mut self, chain: blake3::Hash) -> Result<()> {
        let since = clock::stopwatch_nanos() - self.taken_at_nanos;
        let is_due = self.last.0 > self.taken && u128::from(since) >= INTERVAL.as_nanos();
        if is_due && !self.is_busy.swap(true, Ordering::AcqRel) {
            self.take(chain)?;
        }
        Ok(())
    }

    /// Takes the last checkpoint, waits until it is written, and writes the run's manifest.
    ///
    /// # Errors
    /// `Storage` if the disk refuses, `Config` if the manifest cannot be signed.
    pub(super) fn finish(mut self, chain: blake3::Hash) -> Result<()> {
        if self.last.0 > self.taken {
            self.take(chain)?;
        }
        let Writing::Thread { to, thread } = self.writing else { return Ok(()) };
        drop(to);
        let joined = thread.join();
        let last = joined.unwrap_or_else(|_| Err(Error::bug("taking a checkpoint panicked")))?;
        match last {
            Some(last) => self.account.write(self.shared.data_dir(), &last),
            None => Ok(()),
        }
    }

    fn take(&mut self, chain: blake3::Hash) -> Result<()> {
        let (epoch, time_us) = self.last;
        let job = Job {
            epoch,
            time_us,
            chain: chain.to_hex().to_string(),
            input: self.input.clone(),
            sources: self.sources.clone(),
            changes: self.changes.clone(),
            views: self.shared.take_touched(),
        };
        // A writer that has failed says so when it is joined.
        let _ = self.writer()?.send(job);
        self.taken = epoch;
        self.taken_at_nanos = clock::stopwatch_nanos();
        Ok(())
    }

    fn writer(&mut self) -> Result<&SyncSender<Job>> {
        if let Writing::NotYet(writer) = &mut self.writing {
            let writer = writer.take();
            let mut writer = writer.ok_or_else(|| Error::bug("checkpoints have no writer"))?;
            let (to, jobs) = sync_channel(1);
            let thread = std::thread::Builder::new()
                .name("checkpoints".to_owned())
                .spawn(move || writer.run(&jobs))
                .map_err(|error| Error::bug("cannot start a thread").source(error))?;
            self.writing = Writing::Thread { to, thread };
        }
        match &self.writing {
            Writing::Thread { to, .. } => Ok(to),
            Writing::NotYet(_) => Err(Error::bug("the writer of checkpoints did not start")),
        }
    }
}

/// The thread that hashes and writes.
struct Writer {
    shared: Arc<Shared>,
    views: Vec<Digested>,
    is_busy: Arc<AtomicBool>,
}

/// A view and the digest of what it held at the last checkpoint.
struct Digested {
    name: String,
    schema: SchemaRef,
    plan: String,
    digest: SetDigest,
}

impl Writer {
    /// Returns the last checkpoint.
    fn run(&mut self, jobs: &Receiver<Job>) -> Result<Option<Checkpoint>> {
        let mut last = None;
        while let Ok(job) = jobs.recv() {
            let started = clock::stopwatch_nanos();
            last = Some(self.write(job)?);
            let seconds = (clock::stopwatch_nanos() - started) as f64 / 1e9;
            self.shared.metrics.checkpoint_duration.observe(seconds);
            self.is_busy.store(false, Ordering::Release);
        }
        Ok(last)
    }

    fn write(&mut self, job: Job) -> Result<Checkpoint> {
        let none = blake3::Hash::from([0; blake3::OUT_LEN]);
        let states = self.views.iter().map(|view| {
            let changes = job.changes.get(&view.name).unwrap_or(&none).to_hex().to_string();
            let state = ViewState { rows: None, digest: None, changes, plan: view.plan.clone() };
            (view.name.clone(), state)
        });
        let mut views: BTreeMap<String, ViewState> = states.collect();
        for (number, touched, rows) in job.views {
            let view = &mut self.views[number];
            touched.apply(&view.schema, &mut view.digest)?;
            if let Some(state) = views.get_mut(&view.name) {
                (state.rows, state.digest) = (Some(rows), Some(view.digest.hex()));
            }
        }
        let sinks = self.shared.sinks();
        let checkpoint = Checkpoint {
            epoch: job.epoch,
            time_us: job.time_us,
            chain: job.chain,
            input: job.input,
            sources: job.sources,
            sinks: sinks.into_iter().map(|(name, status)| (name, status.epoch)).collect(),
            views,
        };
        let dir = self.shared.data_dir();
        self.shared.stubbornly("a checkpoint", || {
            checkpoints::write(dir, &checkpoint)?;
            checkpoints::retain(dir)
        })?;
        Ok(checkpoint)
    }
}
