//! Work split by key.
//!
//! Rows go to one of a fixed number of partitions by the hash of their key, and every partition's
//! state is its own. Workers take partitions; results are put together in the order of partitions,
//! so the number of workers does not show.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::concat;
use arrow::datatypes::SchemaRef;
use rayon::prelude::*;
use syncline_change::{Batch, Result};

/// How many partitions work is split into, whatever the number of workers. Fixed, because the
/// order in which results leave an operator depends on it.
pub const PARTITIONS: usize = 64;
pub(crate) const PARTITION_BITS: u32 = PARTITIONS.trailing_zeros();
/// Below this many rows, waking other threads costs more than it gains.
const PARALLEL_ROWS_MIN: usize = 2_048;
/// How many rows are computed at a time: they fit into a processor's cache.
pub(super) const PART_ROWS: usize = 8_192;

/// The threads that an operator may use; the circuit's owner owns them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workers {
    pool: Option<Arc<rayon::ThreadPool>>,
}

impl Workers {
    pub(crate) fn new(pool: Option<Arc<rayon::ThreadPool>>) -> Self {
        Self { pool: pool.filter(|pool| pool.current_num_threads() > 1) }
    }

    /// Runs `work` on every partition that `split` has rows for, and returns the results in the
    /// order of partitions.
    pub(crate) fn run<S: Send, R: Send>(
        &self,
        split: &Split,
        states: &mut [S],
        work: impl Fn(&mut S, &[u32]) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let busy = states.iter_mut().enumerate().filter(|(i, _)| !split.rows(*i).is_empty());
        match &self.pool {
            Some(pool) if split.order.len() >= PARALLEL_ROWS_MIN => {
                let busy: Vec<_> = busy.collect();
                pool.install(|| {
                    busy.into_par_iter().map(|(i, state)| work(state, split.rows(i))).collect()
                })
            }
            _ => busy.map(|(i, state)| work(state, split.rows(i))).collect(),
        }
    }

    /// What `work` makes of each of `items`, in their order.
    pub(crate) fn map<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> R + Send + Sync,
    ) -> Vec<R> {
        match &self.pool {
            Some(pool) if items.len() > 1 => pool.install(|| items.par_iter().map(work).collect()),
            _ => items.iter().map(work).collect(),
        }
    }

    /// Runs `work` on every partition, for `rows` rows in all, and returns the results in the order
    /// of partitions.
    pub(crate) fn run_all<S: Send, R: Send>(
        &self,
        rows: usize,
        states: &mut [S],
        work: impl Fn(usize, &mut S) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        match &self.pool {
            Some(pool) if rows >= PARALLEL_ROWS_MIN => pool.install(|| {
                states.par_iter_mut().enumerate().map(|(i, state)| work(i, state)).collect()
            }),
            _ => states.iter_mut().enumerate().map(|(i, state)| work(i, state)).collect(),
        }
    }
}

impl Workers {
    /// What `work` makes of each part of `rows` rows.
    pub(crate) fn by_parts<T: Send>(
        &self,
        rows: usize,
        work: impl Fn(Range<usize>) -> Result<T> + Send + Sync,
    ) -> Result<Parts<T>> {
        let starts = (0..rows).step_by(PART_ROWS);
        let parts: Vec<_> = starts.map(|start| start..rows.min(start + PART_ROWS)).collect();
        self.map(&parts, |part| work(part.clone())).into_iter().collect::<Result<_>>().map(Parts)
    }

    /// All of `batches` after one another.
    pub(crate) fn concat(&self, schema: &SchemaRef, batches: &[Batch]) -> Result<Batch> {
        let rows = batches.iter().map(Batch::num_rows).sum();
        if batches.len() < 2 || self.pool.is_none() || rows < PARALLEL_ROWS_MIN {
            return Batch::concat(schema, batches);
        }
        let numbers: Vec<usize> = (0..schema.fields().len()).collect();
        let columns = self.map(&numbers, |&number| -> Result<ArrayRef> {
            let columns = batches.iter().map(|batch| batch.rows().column(number).as_ref());
            Ok(concat(&columns.collect::<Vec<&dyn Array>>())?)
        });
        let columns = columns.into_iter().collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let together = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
        if batches.iter().all(Batch::is_append_only) {
            return Ok(Batch::inserts(together));
        }
        let weights = batches.iter().flat_map(|of| (0..of.num_rows()).map(|row| of.weight(row)));
        Batch::new(together, weights.collect::<Int64Array>())
    }
}

/// Runs `work` on each of `items`, by the threads of a pool if there is one.
///
/// # Errors
/// The first of `work`.
pub fn in_parallel<T: Send, R: Send>(
    pool: Option<&Arc<rayon::ThreadPool>>,
    items: &mut [T],
    work: impl Fn(&mut T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let workers = Workers::new(pool.cloned());
    workers.run_all(usize::MAX, items, |_, item| work(item))
}

/// What was made of each part of some rows.
pub(crate) struct Parts<T>(Vec<T>);

impl<T> Parts<T> {
    /// What was made of the part that a row is in, and the row's number there.
    pub(crate) fn of(&self, row: usize) -> (&T, usize) {
        (&self.0[row / PART_ROWS], row % PART_ROWS)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

/// Part of each of some columns.
pub(crate) fn sliced(columns: &[ArrayRef], rows: &Range<usize>) -> Vec<ArrayRef> {
    columns.iter().map(|column| column.slice(rows.start, rows.len())).collect()
}

/// Which rows of a batch belong to which partition.
pub(crate) struct Split {
    /// Row numbers, partition after partition, in their order within each.
    order: Vec<u32>,
    /// Where each partition's rows begin in `order`; one more than there are partitions.
    starts: Vec<usize>,
}

impl Split {
    /// Splits rows by the hashes of their keys.
    pub(crate) fn new(hashes: &[u64]) -> Self {
        let mut starts = vec![0; PARTITIONS + 1];
        for &hash in hashes {
            starts[partition(hash) + 1] += 1;
        }
        for i in 0..PARTITIONS {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut order = vec![0; starts[PARTITIONS]];
        for (row, &hash) in hashes.iter().enumerate() {
            let slot = &mut next[partition(hash)];
            order[*slot] = row as u32;
            *slot += 1;
        }
        Self { order, starts }
    }

    pub(crate) fn rows(&self, partition: usize) -> &[u32] {
        &self.order[self.starts[partition]..self.starts[partition + 1]]
    }
}

/// The partition of a key, by the high bits of its hash (hash tables use the low ones).
pub(crate) fn partition(hash: u64) -> usize {
    (hash >> (u64::BITS - PARTITION_BITS)) as usize
}
