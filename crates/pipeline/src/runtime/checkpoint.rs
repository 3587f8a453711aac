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
use syncline_store::journal::{EpochInput, Standing};
use syncline_store::merkle::{self, MerkleLog};

use super::plans::Plans;
use super::state::Shared;
use crate::clock;

/// How often a checkpoint is taken, if there was anything new.
const INTERVAL: Duration = Duration::from_secs(10);

/// The circuit's side.
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    /// All epochs so far.
    input: MerkleLog,
    sources: BTreeMap<String, Standing>,
    /// The last epoch and its time, and the last epoch that a checkpoint was taken of.
    last: (u64, i64),
    taken: u64,
    taken_at_nanos: u64,
    is_busy: Arc<AtomicBool>,
    to: SyncSender<Job>,
    thread: JoinHandle<Result<()>>,
}

/// What there is to hash and write.
struct Job {
    epoch: u64,
    time_us: i64,
    chain: String,
    input: MerkleLog,
    sources: BTreeMap<String, Standing>,
    /// Of each view whose content is there to be read, what has changed since the last job, and how
    /// many rows it has.
    views: Vec<(usize, Touched, u64)>,
}

impl Checkpointer {
    pub(super) fn start(shared: Arc<Shared>, plans: &Plans) -> Result<Self> {
        let (to, jobs) = sync_channel(1);
        let views = shared.views().iter().map(|view| Digested {
            name: view.name.clone(),
            schema: view.schema.clone(),
            plan: plans.fingerprint(&view.name).to_owned(),
            digest: SetDigest::new(&view.name),
        });
        let is_busy = Arc::new(AtomicBool::new(false));
        let mut writer =
            Writer { shared: shared.clone(), views: views.collect(), is_busy: is_busy.clone() };
        let thread = std::thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || writer.run(&jobs))
            .map_err(|error| Error::bug("cannot start a thread").source(error))?;
        Ok(Self {
            shared,
            input: MerkleLog::new(),
            sources: BTreeMap::new(),
            last: (0, 0),
            taken: 0,
            taken_at_nanos: clock::stopwatch_nanos(),
            is_busy,
            to,
            thread,
        })
    }

    /// An epoch has been computed.
    ///
    /// # Errors
    /// `Bug` if it was not journalled before.
    pub(super) fn note(&mut self, input: &EpochInput) -> Result<()> {
        let digest = input.digest.ok_or_else(|| Error::bug("an epoch was not journalled"))?;
        self.input.push(merkle::leaf_hash(digest.as_bytes()));
        for part in &input.inputs {
            let standing = self.sources.entry(part.source.clone()).or_default();
            standing.advance(part.position.as_ref(), part.finished);
        }
        self.last = (input.epoch, input.time_us);
        Ok(())
    }

    /// Takes a checkpoint of the last epoch, whose record has the hash `chain`, if it is time for one
    /// and the one before is written.
    pub(super) fn take_if_due(&mut self, chain: blake3::Hash) {
        let since = clock::stopwatch_nanos() - self.taken_at_nanos;
        let is_due = self.last.0 > self.taken && u128::from(since) >= INTERVAL.as_nanos();
        if is_due && !self.is_busy.swap(true, Ordering::AcqRel) {
            self.take(chain);
        }
    }

    /// Takes the last checkpoint, and waits until it is written.
    ///
    /// # Errors
    /// `Storage` if the disk refuses.
    pub(super) fn finish(mut self, chain: blake3::Hash) -> Result<()> {
        if self.last.0 > self.taken {
            self.take(chain);
        }
        drop(self.to);
        self.thread.join().unwrap_or_else(|_| Err(Error::bug("taking a checkpoint panicked")))
    }

    fn take(&mut self, chain: blake3::Hash) {
        let (epoch, time_us) = self.last;
        let job = Job {
            epoch,
            time_us,
            chain: chain.to_hex().to_string(),
            input: self.input.clone(),
            sources: self.sources.clone(),
            views: self.shared.take_touched(),
        };
        // A writer that has failed says so when it is joined.
        let _ = self.to.send(job);
        self.taken = epoch;
        self.taken_at_nanos = clock::stopwatch_nanos();
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
    fn run(&mut self, jobs: &Receiver<Job>) -> Result<()> {
        while let Ok(job) = jobs.recv() {
            let started = clock::stopwatch_nanos();
            self.write(job)?;
            let seconds = (clock::stopwatch_nanos() - started) as f64 / 1e9;
            self.shared.metrics.checkpoint_duration.observe(seconds);
            self.is_busy.store(false, Ordering::Release);
        }
        Ok(())
    }

    fn write(&mut self, job: Job) -> Result<()> {
        let mut views = BTreeMap::new();
        for (number, touched, rows) in job.views {
            let view = &mut self.views[number];
            touched.apply(&view.schema, &mut view.digest)?;
            let state = ViewState { rows, digest: view.digest.hex(), plan: view.plan.clone() };
            views.insert(view.name.clone(), state);
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
        })
    }
}
