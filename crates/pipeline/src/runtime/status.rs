//! How a running pipeline and its parts stand, and what happens to them.

use std::sync::Arc;

use syncline_change::Batch;
use syncline_store::dead_letters::DeadLetter;

/// Where a pipeline as a whole stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// The state is being made anew from the journal.
    Starting,
    Running,
    /// All input is processed and every sink is durable.
    Finished,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    Running,
    Retrying,
    Finished,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkState {
    Running,
    Retrying,
    Finished,
    Failed,
}

/// Something that happened, for whoever listens.
#[derive(Clone, Debug)]
pub enum Event {
    /// The changes of a kept view or of a source in an epoch.
    Changes {
        relation: String,
        epoch: u64,
        total: usize,
        changes: Arc<Vec<Batch>>,
    },
    Alert {
        name: String,
        fired: bool,
        row: serde_json::Value,
        at_us: i64,
    },
    DeadLetter(Box<DeadLetter>),
    /// New figures.
    Stats,
    /// A verification has begun or ended.
    Verification,
}

/// What is known of a source while it runs.
#[derive(Clone, Debug)]
pub struct SourceStatus {
    pub state: SourceState,
    pub error: Option<String>,
    pub rows: u64,
    pub bytes: u64,
    pub rejected: u64,
    pub watermark_us: Option<i64>,
    /// Whether the circuit has seen its end.
    pub complete: bool,
    /// When it last gave anything, by the stopwatch.
    pub last_nanos: u64,
}

/// What is known of a sink while it runs.
#[derive(Clone, Debug)]
pub struct SinkStatus {
    pub state: SinkState,
    pub error: Option<String>,
    pub rows: u64,
    pub epoch: u64,
    pub pending: usize,
}
