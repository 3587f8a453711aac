//! The operators of the circuit: each turns changes of its inputs into changes of its output.
//!
//! All of them are pure: the output depends on the state, the input and the epoch's time alone, and
//! comes in an order that neither the number of workers nor a hash map decides.

mod accumulate;
mod aggregate;
mod anew;
mod arrange;
mod each;
mod groups;
mod input;
mod join;
mod map;
mod nearby;
mod partition;
mod recompute;
mod recursion;
mod regroup;
mod running;
mod scalars;
mod session;
mod settle;
mod temporal;
mod top;
mod union;
mod unnest;

use arrow::datatypes::SchemaRef;
use syncline_change::source::Rejected;
use syncline_change::{Batch, Error, Result};

pub(crate) use accumulate::Pick;
pub(crate) use aggregate::{Aggregate, AggregateCall, Function};
pub(crate) use anew::{Anew, PlanOver};
pub(crate) use arrange::{Arrange, Arranged, Arrangement, SortTerm};
pub(crate) use each::Each;
pub(crate) use groups::unreadable;
pub(crate) use input::Input;
pub(crate) use join::{Condition, Join, JoinKind, JoinSpec, Limit, Range, Which};
pub(crate) use map::Map;
pub(crate) use nearby::{Nearby, Reach};
pub(crate) use partition::{PARTITION_BITS, Split, Workers, partition};
pub use partition::{PARTITIONS, in_parallel};
pub(crate) use recompute::Recompute;
pub(crate) use recursion::{ITERATION_ROWS_MAX, ITERATIONS_MAX, Origin, Part, PartNode, Recursion};
pub(crate) use regroup::Regroup;
pub(crate) use running::{Frames, Running};
pub(crate) use scalars::Scalars;
pub(crate) use session::Session;
pub(crate) use settle::{Consolidate, Settle, micros, watermark_of};
pub(crate) use temporal::{Temporal, When};
pub(crate) use top::{Numbering, ROWS_MAX, Top, TopAppended};
pub(crate) use union::Union;
pub(crate) use unnest::Unnest;

use crate::state::{Loader, Release, Saver};

/// What an operator is told of the epoch that it computes.
pub(crate) struct Epoch<'a> {
    pub(crate) number: u64,
    /// The epoch's time, microseconds since 1970: what `now()` is.
    pub(crate) time_us: i64,
    /// How far event time has come in each table, by table number.
    pub(crate) watermarks: &'a [i64],
    /// Which tables have had no rows for so long that nothing waits for them, by table number.
    pub(crate) idle: &'a [bool],
    /// Of each table, the event time from before which rows are turned away from now on.
    pub(crate) passed: &'a [i64],
    pub(crate) workers: &'a Workers,
    /// Rows that an operator could not take, with the table or view that they belong to.
    pub(crate) rejected: &'a mut Vec<(String, Rejected)>,
}

/// What an epoch changes in one input of an operator.
#[derive(Clone, Copy)]
pub(crate) struct Change<'a> {
    pub(crate) batches: &'a [Batch],
    /// The input's rows by key, where it is an arrangement.
    pub(crate) arranged: Option<&'a Arranged>,
}

impl<'a> Change<'a> {
    /// The rows by key.
    ///
    /// # Errors
    /// `Bug` if the input is no arrangement: the compiler should have made it one.
    pub(crate) fn arranged(&self, operator: &str) -> Result<&'a Arranged> {
        let missing = || Error::bug(format!("{operator}: an input is not arranged"));
        self.arranged.ok_or_else(missing)
    }
}

/// What a block of `bytes` takes of the heap, with what common allocators add to it.
pub(crate) fn heap_bytes(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) }
}

/// What a hash table with room for `capacity` entries takes.
pub(crate) fn table_bytes<T>(capacity: usize) -> usize {
    // An eighth of the slots stays free, and each has a byte of its own.
    heap_bytes((capacity * 8).div_ceil(7) * (size_of::<T>() + 1))
}

/// What an ordered map of `entries` takes, without what these point to.
pub(crate) fn tree_bytes<T>(entries: usize) -> usize {
    // A node has room for eleven entries, and one of many is some two thirds full. What stands above
    // others has a pointer to each.
    let (leaf, inner) =
        (11 * size_of::<T>() + 12, 11 * size_of::<T>() + 12 + 12 * size_of::<usize>());
    let mut nodes = if entries <= 11 { entries.min(1) } else { (entries * 2).div_ceil(15) };
    let mut bytes = nodes * heap_bytes(leaf);
    while nodes > 1 {
        nodes = if nodes <= 12 { 1 } else { nodes.div_ceil(8) };
        bytes += nodes * heap_bytes(inner);
    }
    bytes
}

/// The most rows that operators which take state apart put together at a time.
pub(crate) const OUTPUT_ROWS_MAX: usize = 1 << 13;

/// One operator of the circuit.
pub(crate) trait Operator: Send {
    /// The changes of the output that the changes of the inputs, in order, make.
    ///
    /// # Errors
    /// `Bug` if a row were there fewer than zero times, and for defects alike.
    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>>;

    /// The rows that it keeps by key for others to read, if it does.
    fn arranged(&self) -> Option<&Arranged> {
        None
    }

    /// Whether it has something to do though no input changed.
    fn is_due(&self, _epoch: &Epoch<'_>) -> bool {
        false
    }

    /// The time, in microseconds since 1970, at which time alone gives it something to do.
    fn due_at(&self) -> Option<i64> {
        None
    }

    /// Tells it which of its state no later change can reach.
    fn let_go(&mut self, _release: Release) {}

    /// From now on takes note of what changes in its state, if it can say so.
    fn begin_saving(&mut self) {}

    /// Bytes of what has changed since it was last saved, as far as it is handed over as cells.
    fn unsaved(&self) -> usize {
        0
    }

    /// Hands over all that later steps depend on.
    fn save(&mut self, _to: &mut Saver<'_>) -> Result<()> {
        Ok(())
    }

    /// Takes back what another of its kind handed over; it has no state before.
    fn load(&mut self, _from: &Loader<'_>) -> Result<()> {
        Ok(())
    }

    /// Rows (or groups) kept between epochs.
    fn state_rows(&self) -> usize {
        0
    }

    /// Bytes of memory that these take.
    fn state_bytes(&self) -> usize {
        0
    }
}

/// Gives batches the schema that the plan promises; names and nullability may differ underneath.
pub(crate) fn relabel(batch: &Batch, schema: &SchemaRef) -> Result<Batch> {
    if batch.rows().schema_ref() == schema {
        return Ok(batch.clone());
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let rows = arrow::array::RecordBatch::try_new_with_options(
        schema.clone(),
        batch.rows().columns().to_vec(),
        &options,
    )?;
    Ok(batch.with_rows(rows))
}

/// The loud error of a row that would be there fewer than zero times.
pub(crate) fn negative(operator: &str, what: &str) -> Error {
    Error::bug(format!("{operator}: {what} would be there fewer than zero times"))
        .detail("more of it was taken away than was ever added")
        .hint("this is a defect of Syncline or of the journal: please report it")
}
