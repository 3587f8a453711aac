//! A pipeline that runs: sources -> sequencer -> journal -> circuit -> sinks.
//!
//! Each stage has a thread or task of its own and hands epochs on through bounded queues, in order;
//! so epoch n+1 is journalled while n is computed and n-1 written, and whatever cannot keep up slows
//! down what is before it instead of filling the memory.
//!
//! In the order of the data: `sources` (tasks that read), `sequencer` (cuts epochs and journals
//! them), `compute` (steps the circuit), `checkpoint` (writes down what it held, and at the end a
//! `manifest`), `feeds` (what of it each sink is given, also after an edit; `targets` finds out where
//! they stand), `sinks` (tasks that write), `alerts`; [`state`] is what all of them show of
//! themselves, in the words of [`status`]; [`stats`] turns that into figures.

pub mod alerts;
mod checkpoint;
mod compute;
mod feeds;
mod manifest;
mod memory;
pub mod metrics;
mod plans;
mod retry;
mod sequencer;
#[cfg(test)]
mod simulation;
mod sinks;
mod sources;
mod spill;
pub mod state;
pub mod stats;
pub mod status;
mod targets;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use syncline_change::sink::Delivery;
use syncline_change::spill::Spill;
use syncline_change::{Error, Result};
use syncline_connect::config::SinkConfig;
use syncline_connect::file::ReplayClock;
use syncline_connect::{SourceEnv, decode_threads, open_sink, open_source};
use syncline_engine::Circuit;
use syncline_store::checkpoints::Checkpoint;
use syncline_store::dead_letters::DeadLetters;
use syncline_store::epochs::EpochLog;
use syncline_store::journal::{self, Journal};
use syncline_store::{DataDir, SpillDir};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::clock::{Clock, MachineClock};
use crate::meaning::Meanings;
use crate::prepare::{Prepared, is_bounded};
use crate::reread::Reread;
pub(crate) use checkpoint::resume::{oldest_state, read_state};
pub(crate) use compute::record_of;
pub(crate) use plans::{Recorded, copy_plans};
pub(crate) use state::view_held;

use checkpoint::resume::{self, Resumed};
use feeds::{Feeds, Pasts};
use plans::Plans;
use spill::PatientSpill;
use state::Shared;
use status::RunState;
use targets::{Connect, Targets};

/// How many chunks wait for the sequencer at most.
const CHUNKS_QUEUED_MAX: usize = 32;
/// How many epochs wait for a sink at most before the circuit waits for it.
const SINK_EPOCHS_QUEUED_MAX: usize = 256;

/// Into so many segments, at least, a journal is cut that is kept for some time.
const SEGMENTS_RETAINED: i64 = 4;
/// State that is kept by key may take one part in so many of the memory; queues, rows on their way
/// and all other state have the rest.
const STATE_SHARE: u64 = 2;

/// How to run, beyond what the pipeline file says.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Stop when all bounded input is processed and every sink is durable.
    pub once: bool,
    pub data_dir: Option<PathBuf>,
    pub workers: Option<usize>,
}

/// A pipeline that is running.
pub struct Running {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    threads: Vec<std::thread::JoinHandle<Result<()>>>,
    /// Goes to true when the circuit and all sinks have done everything.
    done: watch::Receiver<bool>,
}

impl Running {
    /// Opens the data directory, makes the state anew from the journal, and starts every stage.
    /// Blocks while the journal is replayed; call it from a blocking thread, within a tokio runtime.
    ///
    /// # Errors
    /// `Conflict` if another process or another pipeline has the data directory, `Corrupt` if it is
    /// damaged, `Config` and others from sources and sinks that cannot be opened.
    pub fn start(prepared: Prepared, options: &RunOptions) -> Result<Self> {
        let data_dir = options.data_dir.clone().unwrap_or_else(|| prepared.pipeline.data_dir());
        let dir = Arc::new(DataDir::open(&data_dir)?);
        let workers = options.workers.or(prepared.pipeline.spec.run.workers);
        let workers = workers.unwrap_or_else(available_cores).max(1);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(workers)
            .thread_name(|i| format!("worker-{i}"))
            .build()
            .map_err(|error| Error::bug("cannot start worker threads").source(error))?;
        let pool = Arc::new(pool);
        let circuit = prepared.circuit(Some(pool.clone()))?;
        let limit = memory::limit(&prepared);
        let for_state = usize::try_from(limit / STATE_SHARE).unwrap_or(usize::MAX);
        for line in prepared.write_lock()? {
            tracing::info!("lock: {line}");
        }
        let connect = |name: &str, config: &SinkConfig| {
            open_sink(name, config, &prepared.pipeline.base_dir, &prepared.pipeline.spec.name)
        };
        let clock = Arc::new(MachineClock);
        let mut opened =
            Opened::new(&dir, &prepared, circuit, Some(pool.clone()), clock, &connect)?;
        let shared = opened.shared.clone();
        let spill: Arc<dyn Spill> =
            Arc::new(PatientSpill::new(SpillDir::open(dir.state())?, shared.clone()));
        let for_each = for_state / (1 + opened.pasts.len());
        opened.circuit.limit_memory(for_each, spill.clone());
        opened.pasts.limit_memory(for_each, &spill);
        let from = opened.go_on(&dir, Some(&pool))?;

        let (stop, stopped) = watch::channel(false);
        let (done_tx, done) = watch::channel(false);
        let (chunks_tx, chunks) = mpsc::channel(CHUNKS_QUEUED_MAX);
        let (epochs_tx, epochs) = std::sync::mpsc::sync_channel(1);
        let (mut tasks, mut sink_feeds) = (Vec::new(), Vec::new());
        for sink in opened.sinks {
            let (feed, task) = sinks::spawn(sink, shared.clone(), dir.clone(), stopped.clone())?;
            sink_feeds.push(feed);
            tasks.push(task);
        }
        let sources = open_sources(&prepared, options, &opened.journal, &shared)?;
        let decoders =
            sources.iter().map(|task| (task.name.clone(), task.decode.clone())).collect();
        let replay = Reread::new(opened.journal.replay(from + 1)?, decoders);
        let acks = sources::spawn(sources, options.once, &shared, chunks_tx, &stopped, &mut tasks);
        tasks.push(alerts::spawn(&prepared, &shared, done.clone()));
        tasks.push(stats::spawn(shared.clone(), stopped.clone()));

        let parts = compute::Parts {
            circuit: opened.circuit,
            shared: shared.clone(),
            log: opened.epochs,
            recorded: opened.recorded,
            plans: opened.plans,
            feeds: Feeds::new(sink_feeds, opened.pasts),
            resumed: opened.resumed,
        };
        let compute = compute::Compute::new(parts, &prepared)?;
        let sequencer = sequencer::Sequencer::new(
            opened.journal,
            shared.clone(),
            acks,
            &prepared.pipeline.spec.run.epoch,
            opened.at_least,
        );
        let threads = vec![
            spawn_thread("sequencer", shared.clone(), move || sequencer.run(chunks, &epochs_tx))?,
            spawn_thread("circuit", shared.clone(), move || {
                let result = compute.run(replay, &epochs);
                // Sinks end when their feeds do, and say so to whoever waits.
                let _ = done_tx.send(true);
                result
            })?,
        ];
        Ok(Self { shared, stop, tasks, threads, done })
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns when all input has been processed, or when the pipeline cannot go on.
    pub async fn finished(&mut self) {
        // An error means that the sender is gone, which is the end as well.
        let _ = self.done.wait_for(|done| *done).await;
    }

    /// Finishes the epoch that is under way, waits for the sinks, and closes everything.
    ///
    /// # Errors
    /// Whatever kept a stage from going on.
    pub async fn stop(self) -> Result<()> {
        self.shared.set_stopping();
        let _ = self.stop.send(true);
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            let results: Vec<Result<()>> = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(panicked())))
                .collect();
            results.into_iter().collect::<Result<Vec<()>>>()
        });
        let result = joined.await.map_err(|_| panicked())?;
        for task in self.tasks {
            // A sink that cannot reach its target does not hold up the end for ever.
            let _ = tokio::time::timeout(Duration::from_secs(30), task).await;
        }
        result?;
        self.shared.failure().map_or(Ok(()), Err)
    }
}

fn panicked() -> Error {
    Error::bug("a stage of the pipeline has panicked").hint("see the log for where, and report it")
}

fn spawn_thread(
    name: &str,
    shared: Arc<Shared>,
    work: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<std::thread::JoinHandle<Result<()>>> {
    let named = name.to_owned();
    std::thread::Builder::new()
        .name(named.clone())
        .spawn(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
                .unwrap_or_else(|_| Err(panicked()));
            if let Err(error) = &result {
                tracing::error!(stage = named, "{}", error.report());
                shared.set_state(RunState::Failed, Some(error.to_string()));
            }
            result
        })
        .map_err(|error| Error::bug(format!("cannot start the {name} thread")).source(error))
}

fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What the stages work on: all that is on disk, opened and repaired.
struct Opened {
    circuit: Circuit,
    shared: Arc<Shared>,
    journal: Journal,
    epochs: EpochLog,
    /// The last epoch in the epoch log.
    recorded: u64,
    plans: Plans,
    sinks: Vec<sinks::OpenSink>,
    /// What sinks read before an edit, as far as some target has yet to follow it.
    pasts: Pasts,
    /// Up to which epoch there must be any before input comes.
    at_least: u64,
    /// The checkpoint that the circuit's state is from, if it is from one.
    resumed: Option<Resumed>,
}

impl Opened {
    fn new(
        dir: &Arc<DataDir>,
        prepared: &Prepared,
        circuit: Circuit,
        pool: Option<Arc<rayon::ThreadPool>>,
        clock: Arc<dyn Clock>,
        connect: Connect<'_>,
    ) -> Result<Self> {
        let (epochs, last, _) = EpochLog::open(dir)?;
        let (recorded, time_us) = last.map_or((0, 0), |last| (last.epoch, last.time_us));
        let sources: Vec<_> =
            prepared.tables.iter().map(|t| (t.name.clone(), t.schema.clone())).collect();
        let (mut journal, recovery) = Journal::open(dir, &sources, recorded)?;
        if let Some(retention) = prepared.pipeline.spec.run.journal_retention {
            // What is kept is longer than that by one segment.
            journal.set_segment_age_max(checkpoint::micros(retention.0) / SEGMENTS_RETAINED);
        }
        let (letters, _) = DeadLetters::open(dir, recovery.last_epoch, recorded)?;
        let meanings = Meanings::of(prepared, &circuit)?;
        let plans = Plans::compare(dir, prepared, &circuit, &meanings, recorded)?;
        let workers = pool.as_ref().map_or(1, |pool| pool.current_num_threads());
        let shared = Shared::new(prepared, &circuit, dir.clone(), clock, workers, letters)?;
        // The sequencer does not wait until the replay has found out.
        shared.set_last_time_us(time_us);
        // A crash may have come before these were noted.
        for id in &recovery.retried {
            shared.finish_retry(id)?;
        }
        let targets = Targets {
            dir,
            prepared,
            circuit: &circuit,
            meanings: &meanings,
            plans: &plans,
            pool,
            last_epoch: journal.last_epoch(),
        };
        let targets::Opened { sinks, pasts, at_least } = targets.open(connect)?;
        let shared = Arc::new(shared);
        let resumed = None;
        Ok(Self {
            circuit,
            shared,
            journal,
            epochs,
            recorded,
            plans,
            sinks,
            pasts,
            at_least,
            resumed,
        })
    }

    /// Takes the state from the newest checkpoint that there is to go on from, and returns its epoch; 0:
    /// from none.
    ///
    /// # Errors
    /// `Corrupt` if the state is not one that this circuit saved.
    fn go_on(&mut self, dir: &DataDir, pool: Option<&rayon::ThreadPool>) -> Result<u64> {
        self.circuit.begin_saving();
        let layout = self.shared.layout(&self.circuit);
        let through = self.given_to_all();
        let Some(resumed) = resume::find(dir, &layout, through, pool)? else {
            self.check_journal(dir)?;
            self.plans.write(dir)?;
            return Ok(0);
        };
        self.plans.write(dir)?;
        let Checkpoint { epoch, time_us, .. } = resumed.checkpoint;
        self.circuit.load(&resumed.state)?;
        self.shared.load(&self.circuit, (epoch, time_us), &resumed.state)?;
        tracing::info!(epoch, "going on from a checkpoint");
        self.resumed = Some(resumed);
        Ok(epoch)
    }

    /// # Errors
    /// `Conflict` if the state cannot be made anew, because the journal does not have all that it takes.
    fn check_journal(&self, dir: &DataDir) -> Result<()> {
        let first = journal::first(dir)?;
        if first == 1 {
            return Ok(());
        }
        let changed = match self.plans.changed() {
            [] => {
                "no checkpoint that all sinks have passed fits the pipeline as it is now".to_owned()
            }
            views => format!("views that have changed: {}", views.join(", ")),
        };
        let message = "the state would have to be made anew, and the journal lacks what that takes";
        Err(Error::conflict(message)
            .detail(format!("{changed}; epochs before {first} were let go (run.journal_retention)"))
            .hint("put the pipeline back as it was, or begin anew with another --data-dir"))
    }

    /// The last epoch that is recorded and of which no target needs the changes any more.
    fn given_to_all(&self) -> u64 {
        let durable = self.sinks.iter().filter_map(|open| match open.sink.delivery() {
            // What a target is given after an edit depends on all that was there before.
            Delivery::Changes if open.origins.len() > 1 => Some(0),
            Delivery::Changes => Some(open.progress.as_ref().map_or(0, |progress| progress.epoch)),
            Delivery::Snapshot => None,
        });
        durable.fold(self.recorded, u64::min)
    }
}

fn open_sources(
    prepared: &Prepared,
    options: &RunOptions,
    journal: &Journal,
    shared: &Shared,
) -> Result<Vec<sources::SourceTask>> {
    let env = SourceEnv {
        base_dir: prepared.pipeline.base_dir.clone(),
        replay: Arc::new(ReplayClock::new()),
        chunk_rows_max: prepared.pipeline.spec.run.epoch.max_rows,
        decode_threads: decode_threads(),
    };
    let mut tasks = Vec::new();
    for (i, (name, config)) in prepared.pipeline.spec.sources.iter().enumerate() {
        let standing = journal.last_positions().get(name).cloned().unwrap_or_default();
        // A followed file has no end, even when a run reads only what is there.
        let ends = is_bounded(config);
        let mut config = config.clone();
        if options.once
            && let syncline_connect::config::SourceConfig::File(file) = &mut config
        {
            file.follow = false;
        }
        let schema = prepared.tables[i].schema.clone();
        let opened = open_source(name, &config, schema.clone(), standing.position.clone(), &env)?;
        if let Some(ingest) = opened.ingest {
            shared.add_ingest(name, ingest);
        }
        tasks.push(sources::SourceTask {
            number: i,
            name: name.clone(),
            schema,
            source: opened.source,
            has_ended: standing.finished,
            ends,
            decode: opened.decode,
            on_error: config.common().on_error,
            bounded: is_bounded(&config),
        });
    }
    Ok(tasks)
}
