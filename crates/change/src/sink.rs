//! Where rows go.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::source::Rejected;
use crate::{Batch, Result};

/// What a sink is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Every change, epoch by epoch, in order.
    Changes,
    /// The view's whole content as of some epoch; epochs may be passed over, the last one is not.
    Snapshot,
}

/// How far a sink has got. Moves only when the target has it durably.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The last epoch that is durable in the target.
    pub epoch: u64,
    /// The sink's own note on where in the target that is (a file's length, say).
    pub token: serde_json::Value,
}

/// What the view that feeds a sink looks like.
#[derive(Clone, Debug)]
pub struct Shape {
    pub schema: SchemaRef,
    /// Columns that are unique in the view, if the engine knows any: a deletion and an insertion
    /// with the same key in one epoch are an update.
    pub key: Option<Vec<usize>>,
}

/// The changes of one epoch.
#[derive(Clone, Debug)]
pub struct EpochChanges {
    pub epoch: u64,
    /// In order; may be empty.
    pub changes: Vec<Batch>,
}

/// The content of a view after an epoch, in the view's order.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub epoch: u64,
    pub rows: Vec<RecordBatch>,
}

/// A running writer into one target. The runtime owns retries: a sink reports an error and can be
/// called again with the same input.
#[async_trait]
pub trait Sink: Send {
    fn delivery(&self) -> Delivery;

    /// Gets ready to go on after `progress`: whatever the target holds beyond it, written before a
    /// crash, is removed or will be recognised. `None`: nothing was ever written.
    async fn open(&mut self, shape: &Shape, progress: Option<&Progress>) -> Result<()>;

    /// Writes consecutive epochs and returns only when all of them are durable in the target.
    async fn write(&mut self, epochs: &[EpochChanges]) -> Result<Progress>;

    /// Replaces the target's content and returns only when that is durable.
    async fn replace(&mut self, snapshot: &Snapshot) -> Result<Progress>;

    /// After the last try: what was not delivered, as dead letters; the sink then counts `epochs`
    /// as done. `None`: this sink gives nothing up, it is tried again for ever.
    fn give_up(
        &mut self,
        epochs: &[EpochChanges],
        error: &crate::Error,
    ) -> Option<(Progress, Vec<Rejected>)>;
}
