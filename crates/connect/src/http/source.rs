//! Rows that are posted to Syncline.
//!
//! A request is answered when its rows are durable in the journal. Many small requests are decoded
//! and journalled together, so that each of them costs little; the rows of one request are never
//! torn apart.

mod body;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use syncline_change::source::{Chunk, Position, Source};
use syncline_change::{Error, Result, types};
use tokio::sync::{Notify, oneshot};

use super::SourceConfig;
use crate::blocking::lock;
use crate::decode::json::JsonDecoder;
use crate::decode::{CHUNK_BYTES_MAX, CHUNK_ROWS_MAX, Decoded};

/// How long a client is asked to wait when the queue is full: a few epochs.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a request costs in memory beside its body: so that many tiny ones are bounded as well.
const POST_BYTES: u64 = 256;

/// The columns of an HTTP source, which has no data to find them in.
///
/// # Errors
/// `Config` if there are none, or one has no such type.
pub fn schema(config: &SourceConfig) -> Result<SchemaRef> {
    let columns = &config.common.columns;
    if columns.is_empty() {
        return Err(Error::config("an HTTP source has no columns")
            .detail("there is no data to find them in before the first request")
            .hint("name them: columns: {id: BIGINT, name: TEXT}"));
    }
    let fields = columns.iter().map(|(name, type_name)| {
        let data_type =
            types::parse(type_name).map_err(|error| error.within(format!("column `{name}`")))?;
        Ok(Field::new(name, data_type, true))
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
}

/// A source of rows of `schema` that goes on after `position`, and the handle to give rows to it.
///
/// # Errors
/// `Config` if the schema lacks a column of the primary key, `Corrupt` if the position is not one
/// of an HTTP source.
pub fn source(
    config: &SourceConfig,
    schema: SchemaRef,
    position: Option<&Position>,
) -> Result<(HttpSource, Ingest)> {
    let seq = match position {
        None => 0,
        Some(position) => seq_of(position)?,
    };
    let body_max = config.max_body.0.min(config.max_queue.0);
    let row_max = usize::try_from(body_max).unwrap_or(usize::MAX);
    let decoder = JsonDecoder::new(schema, &config.common.primary_key, row_max)?;
    let queue = Arc::new(Queue {
        body_max,
        queue_max: config.max_queue.0,
        state: Mutex::new(State { last_seq: seq, ..State::default() }),
        arrived: Notify::new(),
    });
    let source = HttpSource { queue: queue.clone(), decoder, in_flight: VecDeque::new() };
    Ok((source, Ingest { queue }))
}

/// The way into an HTTP source, for any number of requests at once.
#[derive(Clone)]
pub struct Ingest {
    queue: Arc<Queue>,
}

/// What became of the rows of a request that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The epoch that the rows are a part of.
    pub epoch: u64,
    pub accepted: u64,
    /// Rows that became dead letters.
    pub rejected: u64,
}

/// Why the rows of a request were not taken, none of them.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("the request body is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("too much waits to become durable")]
    Full {
        /// When to try again.
        retry_after: Duration,
    },
    #[error(transparent)]
    Malformed(Error),
    /// The rows may have been taken, or not: the source stopped before it could say.
    #[error("the source is not running")]
    Closed,
}

struct Queue {
    body_max: u64,
    queue_max: u64,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Post>,
    /// Bytes of requests that are not durable yet, whether they wait or were handed over.
    bytes: u64,
    last_seq: u64,
    closed: bool,
}

/// A request that waits to be decoded.
struct Post {
    seq: u64,
    lines: Bytes,
    rows: usize,
    /// What it counts for in [`State::bytes`].
    bytes: u64,
    answer: oneshot::Sender<Receipt>,
}

/// A request whose rows were handed over and are not known to be durable.
struct InFlight {
    seq: u64,
    bytes: u64,
    accepted: u64,
    rejected: u64,
    answer: oneshot::Sender<Receipt>,
}

impl Ingest {
    /// Hands the rows of `body` to the source and waits until they are durable. Dropping the future
    /// does not take them back.
    pub async fn submit(&self, body: Bytes) -> Result<Receipt, IngestError> {
        let bytes = body.len() as u64;
        if bytes > self.queue.body_max {
            return Err(IngestError::TooLarge { limit: self.queue.body_max });
        }
        let (lines, rows) = body::lines(&body).map_err(IngestError::Malformed)?;
        let (answer, answered) = oneshot::channel();
        {
            let mut state = lock(&self.queue.state);
            if state.closed {
                return Err(IngestError::Closed);
            }
            let bytes = bytes + POST_BYTES;
            // A request alone always fits: no body is larger than the queue.
            if state.bytes > 0 && state.bytes + bytes > self.queue.queue_max {
                return Err(IngestError::Full { retry_after: RETRY_AFTER });
            }
            state.bytes += bytes;
            state.last_seq += 1;
            let seq = state.last_seq;
            state.waiting.push_back(Post { seq, lines, rows, bytes, answer });
        }
        self.queue.arrived.notify_one();
        answered.await.map_err(|_| IngestError::Closed)
    }

    /// The largest body that [`submit`](Self::submit) takes.
    pub fn body_bytes_max(&self) -> u64 {
        self.queue.body_max
    }
}

/// Decodes what was posted. When it is dropped, whoever waits for an answer gets
/// [`IngestError::Closed`].
pub struct HttpSource {
    queue: Arc<Queue>,
    decoder: JsonDecoder,
    /// In the order of their numbers.
    in_flight: VecDeque<InFlight>,
}

#[async_trait]
impl Source for HttpSource {
    /// Never ends. Holds more than a few thousand rows only if a single request does.
    async fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            let posts = self.take_waiting();
            if !posts.is_empty() {
                return self.decode(posts).map(Some);
            }
            self.queue.arrived.notified().await;
        }
    }

    async fn acknowledge(&mut self, epoch: u64, position: &Position) -> Result<()> {
        let durable = seq_of(position)?;
        let mut bytes = 0;
        while self.in_flight.front().is_some_and(|post| post.seq <= durable) {
            let Some(post) = self.in_flight.pop_front() else { break };
            bytes += post.bytes;
            let InFlight { accepted, rejected, .. } = post;
            // Whoever asked may have gone; the rows are here all the same.
            let _ = post.answer.send(Receipt { epoch, accepted, rejected });
        }
        let mut state = lock(&self.queue.state);
        state.bytes = state.bytes.saturating_sub(bytes);
        Ok(())
    }
}

impl HttpSource {
    /// The requests of the next chunk: the first and those that fit beside it.
    fn take_waiting(&self) -> Vec<Post> {
        let mut state = lock(&self.queue.state);
        let (mut rows, mut bytes) = (0, 0);
        let mut taken = Vec::new();
        while let Some(post) = state.waiting.front() {
            rows += post.rows;
            bytes += post.lines.len();
            if !taken.is_empty() && (rows > CHUNK_ROWS_MAX || bytes > CHUNK_BYTES_MAX) {
                break;
            }
            taken.extend(state.waiting.pop_front());
        }
        taken
    }

    fn decode(&mut self, posts: Vec<Post>) -> Result<Chunk> {
        let mut lines = BytesMut::new();
        let mut ends = Vec::with_capacity(posts.len());
        for post in &posts {
            lines.extend_from_slice(&post.lines);
            if !lines.is_empty() && lines.last() != Some(&b'\n') {
                lines.extend_from_slice(b"\n");
            }
            ends.push(lines.len());
        }
        let mut decoded = self.decoder.decode(&lines, 1, "POST")?;
        let last_seq = posts.last().map_or(0, |post| post.seq);
        let mut counts = Counts { row: 0, rejected: 0 };
        for (post, end) in posts.into_iter().zip(ends) {
            let (accepted, rejected) = counts.of_post(&mut decoded, &post, end);
            let Post { seq, bytes, answer, .. } = post;
            self.in_flight.push_back(InFlight { seq, bytes, accepted, rejected, answer });
        }
        Ok(Chunk {
            rows: decoded.rows,
            rejected: decoded.rejected,
            position: serde_json::json!({ "seq": last_seq }),
            bytes: lines.len() as u64,
            origin: None,
        })
    }
}

/// How many rows and rejects belong to the requests that were looked at.
struct Counts {
    row: usize,
    rejected: usize,
}

impl Counts {
    /// The rows and rejects of the next request, whose text ends at `end`. Names the request in the
    /// rejects' positions.
    fn of_post(&mut self, decoded: &mut Decoded, post: &Post, end: usize) -> (u64, u64) {
        let up_to = |ends: &[usize]| ends.partition_point(|&row_end| row_end <= end);
        let rows = up_to(&decoded.row_ends);
        let rejected = up_to(&decoded.rejected_ends);
        for reject in &mut decoded.rejected[self.rejected..rejected] {
            reject.position = format!("POST #{}", post.seq);
        }
        let counted = ((rows - self.row) as u64, (rejected - self.rejected) as u64);
        (self.row, self.rejected) = (rows, rejected);
        counted
    }
}

impl Drop for HttpSource {
    fn drop(&mut self) {
        let mut state = lock(&self.queue.state);
        state.closed = true;
        // Their answers are dropped with them.
        state.waiting.clear();
    }
}

/// [`Chunk::position`] of this source.
#[derive(Deserialize)]
struct At {
    seq: u64,
}

fn seq_of(position: &Position) -> Result<u64> {
    let at = At::deserialize(position).map_err(|error| {
        Error::corrupt("the position is not one of an HTTP source").detail(error.to_string())
    })?;
    Ok(at.seq)
}

#[cfg(test)]
mod tests;
