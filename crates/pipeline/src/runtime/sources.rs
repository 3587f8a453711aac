//! Tasks that read sources and hand their chunks to the sequencer.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use syncline_change::source::{Chunk, Decode, FileRange, Position, Rejected, Source};
use syncline_change::{Batch, Error, Result};
use syncline_connect::config::OnError;
use syncline_store::dead_letters::{RetryRequest, Stage, State};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::retry::Backoff;
use super::state::Shared;
use super::status::{RunState, SourceState};
use crate::clock;

/// How often retry requests are looked for.
const RETRY_POLL: Duration = Duration::from_millis(250);
/// How often it is looked whether the journal has been replayed.
const READY_POLL: Duration = Duration::from_millis(10);
/// How often it is looked whether time alone has changed a view, and so how many epochs it makes at
/// the most.
const TIME_POLL: Duration = Duration::from_millis(100);

/// A source that is about to be read.
pub(super) struct SourceTask {
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) schema: SchemaRef,
    pub(super) source: Box<dyn Source>,
    /// It was read to its end in an earlier run; what was added since is still read.
    pub(super) has_ended: bool,
    /// Whether its end is the end of its rows for good.
    pub(super) ends: bool,
    pub(super) decode: Arc<dyn Decode>,
    pub(super) on_error: OnError,
    pub(super) bounded: bool,
}

/// What the sequencer is handed.
pub(super) struct Arrival {
    /// `None`: nothing has come but the time at which a view changes.
    pub(super) source: Option<usize>,
    pub(super) rows: Batch,
    pub(super) rejected: Vec<Rejected>,
    /// Rejects that are only counted.
    pub(super) skipped: u64,
    pub(super) position: Option<Position>,
    pub(super) bytes: u64,
    /// Where exactly these rows can be read again.
    pub(super) origin: Option<FileRange>,
    pub(super) finished: bool,
    /// The dead letter whose mended rows these are.
    pub(super) retried: Option<String>,
    /// When the source gave it, by the stopwatch.
    pub(super) read_at_nanos: u64,
}

/// What is durable of a source: the epoch, and how far that reaches.
pub(super) type Ack = watch::Sender<(u64, Option<Position>)>;

/// Starts a task for every source. With `once`, sources without an end are stopped when those with
/// one have come to it.
pub(super) fn spawn(
    sources: Vec<SourceTask>,
    once: bool,
    shared: &Arc<Shared>,
    to: mpsc::Sender<Arrival>,
    stopped: &watch::Receiver<bool>,
    tasks: &mut Vec<JoinHandle<()>>,
) -> Vec<Ack> {
    let mut acks = Vec::new();
    let decoders: Vec<_> = sources
        .iter()
        .map(|task| (task.name.clone(), task.number, task.schema.clone(), task.decode.clone()))
        .collect();
    let mut bounded = Vec::new();
    let (endless_stop, endless_stopped) = watch::channel(false);
    for task in sources {
        let (ack, acked) = watch::channel((0, None));
        acks.push(ack);
        let (shared, to) = (shared.clone(), to.clone());
        let (is_bounded, stopped) = (task.bounded, stopped.clone());
        let endless = endless_stopped.clone();
        let handle = tokio::spawn(async move {
            let name = task.name.clone();
            tokio::select! {
                biased;
                () = until(stopped) => {}
                () = until(endless), if !task.bounded => {}
                result = read(task, &shared, &to, acked) => match result {
                    Ok(()) => shared.set_source(&name, SourceState::Finished, None),
                    Err(error) => {
                        tracing::error!(source = name, "{}", error.report());
                        shared.set_source(&name, SourceState::Failed, Some(error.to_string()));
                    }
                },
            }
        });
        if is_bounded {
            bounded.push(handle);
        } else {
            tasks.push(handle);
        }
    }
    let shared = shared.clone();
    let stopped = stopped.clone();
    tasks.push(tokio::spawn(async move {
        // The channel to the sequencer stays open for as long as this task has an end of it.
        let mut under_way = HashSet::new();
        // A replay may have to meet a letter again before it can be retried.
        while shared.state() == RunState::Starting {
            tokio::time::sleep(READY_POLL).await;
        }
        if let Err(error) = take_retries(&decoders, &shared, &to, &mut under_way).await {
            tracing::warn!("{}", error.report());
        }
        let poll = async {
            loop {
                tokio::time::sleep(RETRY_POLL).await;
                if let Err(error) = take_retries(&decoders, &shared, &to, &mut under_way).await {
                    tracing::warn!("{}", error.report());
                }
            }
        };
        let ticks = async {
            loop {
                tokio::time::sleep(TIME_POLL).await;
                if shared.take_due(shared.now_us()) && to.send(tick()).await.is_err() {
                    break;
                }
            }
        };
        let ended = async {
            for task in bounded {
                let _ = task.await;
            }
            if once {
                // Posts that are under way are taken in before the door closes.
                let _ = endless_stop.send(true);
            } else {
                until(stopped).await;
            }
        };
        tokio::select! {
            () = poll => {}
            () = ticks => {}
            () = ended => {}
        }
    }));
    acks
}

/// Waits until the flag is set, or can never be.
pub(super) async fn until(mut flag: watch::Receiver<bool>) {
    let _ = flag.wait_for(|set| *set).await;
}

async fn read(
    task: SourceTask,
    shared: &Shared,
    to: &mpsc::Sender<Arrival>,
    mut acked: watch::Receiver<(u64, Option<Position>)>,
) -> Result<()> {
    let mut source = task.source;
    shared.set_source(&task.name, SourceState::Running, None);
    let mut backoff = Backoff::unlimited();
    loop {
        let next = tokio::select! {
            // Once the sequencer is gone, nothing will be acknowledged any more.
            Ok(()) = acked.changed() => {
                let (epoch, position) = acked.borrow_and_update().clone();
                if let Some(position) = position {
                    source.acknowledge(epoch, &position).await?;
                }
                continue;
            }
            next = source.next() => next,
        };
        match next {
            Ok(Some(chunk)) => {
                backoff.reset();
                shared.set_source(&task.name, SourceState::Running, None);
                let arrival = arrival(task.number, &task.name, task.on_error, chunk)?;
                if to.send(arrival).await.is_err() {
                    return Ok(());
                }
            }
            Ok(None) => {
                if task.ends && !task.has_ended {
                    // A sequencer that is gone wants no more.
                    let _ = to.send(finished(task.number, &task.schema)).await;
                }
                return Ok(());
            }
            Err(error) if error.kind().is_transient() => {
                shared.count_error(error.kind());
                tracing::warn!(source = task.name, "{}", error.report());
                shared.set_source(&task.name, SourceState::Retrying, Some(error.to_string()));
                backoff.wait().await;
            }
            Err(error) => {
                shared.count_error(error.kind());
                return Err(error);
            }
        }
    }
}

/// An epoch is wanted, though there are no rows for it.
pub(super) fn tick() -> Arrival {
    Arrival { source: None, finished: false, ..finished(0, &SchemaRef::new(Schema::empty())) }
}

fn finished(source: usize, schema: &SchemaRef) -> Arrival {
    Arrival {
        source: Some(source),
        rows: Batch::empty(schema.clone()),
        rejected: vec![],
        skipped: 0,
        position: None,
        bytes: 0,
        origin: None,
        finished: true,
        retried: None,
        read_at_nanos: clock::stopwatch_nanos(),
    }
}

pub(super) fn arrival(
    source: usize,
    name: &str,
    on_error: OnError,
    chunk: Chunk,
) -> Result<Arrival> {
    let (rejected, skipped) = match (on_error, chunk.rejected.first()) {
        (OnError::Fail, Some(first)) => {
            return Err(Error::input(format!("source `{name}` has a row that cannot be taken"))
                .detail(format!("{}: {}", first.position, first.message))
                .hint("mend the row, or say `on_error: dead-letter` to keep such rows aside"));
        }
        (OnError::Skip, _) => (vec![], chunk.rejected.len() as u64),
        _ => (chunk.rejected, 0),
    };
    Ok(Arrival {
        source: Some(source),
        rows: chunk.rows,
        rejected,
        skipped,
        position: Some(chunk.position),
        bytes: chunk.bytes,
        origin: chunk.origin,
        finished: false,
        retried: None,
        read_at_nanos: clock::stopwatch_nanos(),
    })
}

pub(super) type Decoders = [(String, usize, SchemaRef, Arc<dyn Decode>)];

/// Hands mended dead letters to the sequencer as if they had just arrived. Their requests stay
/// until the journal has the rows, and are `under_way` meanwhile.
pub(super) async fn take_retries(
    decoders: &Decoders,
    shared: &Shared,
    to: &mpsc::Sender<Arrival>,
    under_way: &mut HashSet<String>,
) -> Result<()> {
    let requests = shared.letters.take_retries()?;
    under_way.retain(|id| requests.iter().any(|request| request.id == *id));
    for request in requests {
        let id = request.id.clone();
        if !under_way.insert(id.clone()) {
            continue;
        }
        match retried(decoders, shared, request) {
            Ok(arrival) => {
                if to.send(arrival).await.is_err() {
                    return Ok(());
                }
            }
            Err(error) if error.kind().is_transient() => {
                under_way.remove(&id);
                return Err(error);
            }
            Err(error) => {
                tracing::warn!("dead letter {id} cannot be retried: {}", error.report());
                shared.letters.finish_retry(&id)?;
            }
        }
    }
    Ok(())
}

fn retried(decoders: &Decoders, shared: &Shared, request: RetryRequest) -> Result<Arrival> {
    let letter = shared
        .letters
        .get(&request.id)?
        .ok_or_else(|| Error::config(format!("there is no dead letter {}", request.id)))?;
    if letter.state != State::Open {
        return Err(Error::config(format!(
            "dead letter {} is {:?} already",
            letter.id, letter.state
        )));
    }
    let found = decoders.iter().find(|(name, ..)| *name == letter.source);
    let Some((name, number, schema, decode)) = found else {
        return Err(Error::unsupported(format!(
            "its source `{}` is no source of this pipeline",
            letter.source
        ))
        .hint("mend what refused it, and let the rows come again from where they came"));
    };
    let bytes = request.text.unwrap_or(letter.rejected.bytes);
    let decoded = match letter.stage {
        Stage::Source => decode.decode(&bytes, letter.rejected.context.as_deref()),
        // What a view turned away is kept as JSON, whatever its source's format.
        Stage::View | Stage::Sink => {
            syncline_connect::decode::json::JsonDecode::new(schema.clone(), &[])
                .and_then(|decode| decode.decode(&bytes, None))
        }
    };
    let (rows, rejected) = decoded.map_err(|error| error.within(format!("source `{name}`")))?;
    Ok(Arrival {
        source: Some(*number),
        rows,
        rejected,
        skipped: 0,
        position: None,
        bytes: 0,
        origin: None,
        finished: false,
        retried: Some(request.id),
        read_at_nanos: clock::stopwatch_nanos(),
    })
}
