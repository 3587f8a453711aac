//! Tasks that write epochs to sinks, try again, and give up what a target will not take.

use std::sync::Arc;
use std::time::Duration;

use syncline_change::sink::{Delivery, EpochChanges, Progress, Shape, Sink, Snapshot};
use syncline_change::{Batch, Error, Result};
use syncline_connect::http;
use syncline_store::DataDir;
use syncline_store::dead_letters::Stage;
use syncline_store::progress::{self, SinkProgress, Span};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::SINK_EPOCHS_QUEUED_MAX;
use super::feeds::{Feed, Origin};
use super::retry::Backoff;
use super::state::Shared;
use super::status::SinkState;
use crate::prepare::Relation;
use crate::{clock, edit};

/// The most rows that are written in one go.
const WRITE_ROWS_MAX: usize = 1 << 17;
/// How often a snapshot is written at most, unless it is the last one.
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(100);

/// A sink that is about to be written to.
pub(super) struct OpenSink {
    pub(super) name: String,
    pub(super) sink: Box<dyn Sink>,
    pub(super) relation: Relation,
    pub(super) shape: Shape,
    pub(super) progress: Option<Progress>,
    /// What the target is given changes of, as it is noted with the progress.
    pub(super) spans: Vec<Span>,
    /// The same, as it is computed.
    pub(super) origins: Vec<(u64, Origin)>,
    pub(super) retry: Option<http::Retry>,
}

/// What a sink's task is fed.
pub(super) struct Job {
    pub(super) epoch: u64,
    pub(super) changes: Vec<Batch>,
    pub(super) read_at_nanos: Option<u64>,
}

/// A sink's writer, and the queue that it takes from.
///
/// # Errors
/// As for [`Feed::new`].
pub(super) fn writer(
    open: OpenSink,
    shared: Arc<Shared>,
    dir: Arc<DataDir>,
    stopped: watch::Receiver<bool>,
) -> Result<(Feed, Writer, mpsc::Receiver<Job>)> {
    let (to, jobs) = mpsc::channel(SINK_EPOCHS_QUEUED_MAX);
    let durable = open.progress.as_ref().map_or(0, |progress| progress.epoch);
    let schema = open.shape.schema.clone();
    let feed = Feed::new(open.relation, schema, durable, open.origins.clone(), to)?;
    Ok((feed, Writer { open, shared, dir, stopped }, jobs))
}

/// Starts the task of a sink.
pub(super) fn spawn(
    open: OpenSink,
    shared: Arc<Shared>,
    dir: Arc<DataDir>,
    stopped: watch::Receiver<bool>,
) -> Result<(Feed, JoinHandle<()>)> {
    let (feed, mut writer, jobs) = writer(open, shared.clone(), dir, stopped)?;
    let task = tokio::spawn(async move {
        let name = writer.open.name.clone();
        match writer.run(jobs).await {
            Ok(()) => shared.set_sink(&name, SinkState::Finished, None),
            Err(error) if error.kind().is_transient() && shared.is_stopping() => {
                tracing::warn!(sink = name, "what it lacks is written at the next run: {error}");
            }
            Err(error) => {
                tracing::error!(sink = name, "{}", error.report());
                shared.count_error(error.kind());
                shared.set_sink(&name, SinkState::Failed, Some(error.to_string()));
            }
        }
    });
    Ok((feed, task))
}

pub(super) struct Writer {
    open: OpenSink,
    shared: Arc<Shared>,
    dir: Arc<DataDir>,
    stopped: watch::Receiver<bool>,
}

impl Writer {
    async fn run(&mut self, jobs: mpsc::Receiver<Job>) -> Result<()> {
        self.open().await?;
        match self.open.sink.delivery() {
            Delivery::Changes => self.write_changes(jobs).await,
            Delivery::Snapshot => self.write_snapshots(jobs).await,
        }
    }

    pub(super) async fn open(&mut self) -> Result<()> {
        let OpenSink { sink, shape, progress, .. } = &mut self.open;
        sink.open(shape, progress.as_ref()).await?;
        if let Some(epoch) = progress.as_ref().map(|progress| progress.epoch) {
            self.shared.set_sink_epoch(&self.open.name, epoch);
        }
        self.shared.set_sink(&self.open.name, SinkState::Running, None);
        Ok(())
    }

    async fn write_changes(&mut self, mut jobs: mpsc::Receiver<Job>) -> Result<()> {
        while let Some(first) = jobs.recv().await {
            self.write_waiting(first, &mut jobs).await?;
        }
        Ok(())
    }

    /// Writes `first` and what waits behind it.
    pub(super) async fn write_waiting(
        &mut self,
        first: Job,
        jobs: &mut mpsc::Receiver<Job>,
    ) -> Result<()> {
        let mut rows = count(&first.changes);
        let mut taken = vec![first];
        while rows < WRITE_ROWS_MAX
            && let Ok(next) = jobs.try_recv()
        {
            rows += count(&next.changes);
            taken.push(next);
        }
        let read_at: Vec<u64> = taken.iter().filter_map(|job| job.read_at_nanos).collect();
        let epochs: Vec<EpochChanges> = taken
            .into_iter()
            .map(|job| EpochChanges { epoch: job.epoch, changes: job.changes })
            .collect();
        let progress = self.write(&epochs).await?;
        self.keep(progress, rows, jobs.len(), &read_at).await
    }

    /// Writes until it is done, or until this sink's patience or the pipeline's run ends.
    async fn write(&mut self, epochs: &[EpochChanges]) -> Result<Progress> {
        let mut backoff = Backoff::new(self.open.retry.as_ref());
        loop {
            let started = clock::stopwatch_nanos();
            match self.open.sink.write(epochs).await {
                Ok(progress) => {
                    self.shared.observe_write(&self.open.name, clock::stopwatch_nanos() - started);
                    return Ok(progress);
                }
                Err(error) => {
                    let may_try = error.kind().is_transient() && backoff.may_try_again();
                    if !may_try {
                        return self.give_up(epochs, error).await;
                    }
                    self.wait(&mut backoff, error).await?;
                }
            }
        }
    }

    async fn wait(&mut self, backoff: &mut Backoff, error: Error) -> Result<()> {
        let name = &self.open.name;
        tracing::warn!(sink = name, "{}", error.report());
        self.shared.count_error(error.kind());
        self.shared.count_retry(name);
        self.shared.set_sink(name, SinkState::Retrying, Some(error.to_string()));
        let Some(delay) = self.shared.pause(backoff.delay()) else { return Err(error) };
        tokio::select! {
            () = tokio::time::sleep(delay) => Ok(()),
            // What is not written now is written at the next run.
            _ = self.stopped.wait_for(|stopped| *stopped) => Err(error),
        }
    }

    async fn give_up(&mut self, epochs: &[EpochChanges], error: Error) -> Result<Progress> {
        let Some((progress, rejected)) = self.open.sink.give_up(epochs, &error) else {
            return Err(error);
        };
        tracing::warn!(sink = self.open.name, "given up: {}", error.report());
        self.shared.count_error(error.kind());
        self.shared.count_undelivered(&rejected);
        let now = self.shared.now_us();
        let (mut backoff, name) = (Backoff::unlimited(), self.open.name.clone());
        while let Err(error) =
            self.shared.add_letters(Stage::Sink, &name, progress.epoch, now, rejected.clone())
        {
            if !error.kind().is_transient() {
                return Err(error);
            }
            self.wait(&mut backoff, error).await?;
        }
        Ok(progress)
    }

    async fn write_snapshots(&mut self, mut jobs: mpsc::Receiver<Job>) -> Result<()> {
        let mut is_open = true;
        // What comes after a quiet while is written at once.
        let mut until = tokio::time::Instant::now();
        while is_open {
            let Some(first) = jobs.recv().await else { break };
            let mut pending = first.epoch;
            let mut read_at: Vec<u64> = first.read_at_nanos.into_iter().collect();
            loop {
                match tokio::time::timeout_at(until, jobs.recv()).await {
                    Ok(Some(job)) => {
                        pending = job.epoch;
                        read_at.extend(job.read_at_nanos);
                    }
                    Ok(None) => {
                        is_open = false;
                        break;
                    }
                    Err(_) => break,
                }
            }
            self.replace(pending, &read_at, jobs.len()).await?;
            until = tokio::time::Instant::now() + SNAPSHOT_INTERVAL;
        }
        Ok(())
    }

    pub(super) async fn replace(
        &mut self,
        epoch: u64,
        read_at: &[u64],
        pending: usize,
    ) -> Result<()> {
        let shared = self.shared.clone();
        let relation = self.open.relation;
        let content = tokio::task::spawn_blocking(move || shared.content(relation)).await;
        let (at, rows) = content.map_err(|_| Error::bug("a snapshot could not be taken"))??;
        let snapshot = Snapshot { epoch: at.max(epoch), rows };
        let rows = snapshot.rows.iter().map(|rows| rows.num_rows()).sum();
        let mut backoff = Backoff::unlimited();
        loop {
            let started = clock::stopwatch_nanos();
            match self.open.sink.replace(&snapshot).await {
                Ok(progress) => {
                    self.shared.observe_write(&self.open.name, clock::stopwatch_nanos() - started);
                    return self.keep(progress, rows, pending, read_at).await;
                }
                Err(error) if error.kind().is_transient() => {
                    self.wait(&mut backoff, error).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What is durable in the target is noted, so that it is never written again.
    async fn keep(
        &mut self,
        done: Progress,
        rows: usize,
        pending: usize,
        read_at: &[u64],
    ) -> Result<()> {
        let mut backoff = Backoff::unlimited();
        edit::leave_behind(&mut self.open.spans, done.epoch);
        let done = SinkProgress { progress: done, spans: self.open.spans.clone() };
        while let Err(error) = progress::write(&self.dir, &self.open.name, &done) {
            if !error.kind().is_transient() {
                return Err(error);
            }
            self.wait(&mut backoff, error).await?;
        }
        self.shared.sink_wrote(&self.open.name, done.progress.epoch, rows as u64, pending);
        for &read_at in read_at {
            self.shared.observe_latency(read_at);
        }
        self.shared.set_sink(&self.open.name, SinkState::Running, None);
        Ok(())
    }
}

fn count(changes: &[Batch]) -> usize {
    changes.iter().map(Batch::num_rows).sum()
}
