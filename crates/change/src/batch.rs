//! Change batches: Arrow rows with a signed weight each.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array,
};
use arrow::compute::{concat, concat_batches, filter_record_batch, take};
use arrow::datatypes::SchemaRef;

use crate::Result;

/// A Z-set: rows, and for each how many of it are added (positive) or taken away (negative).
///
/// "All +1" is stored as no weights at all, which is what an append-only input looks like. Rows may
/// repeat, and a row may stand in one batch with weights that cancel: the meaning of a batch is the
/// sum over equal rows. A weight is never zero.
#[derive(Clone, Debug)]
pub struct Batch {
    rows: RecordBatch,
    weights: Option<Int64Array>,
}

impl Batch {
    /// All of `rows` added once.
    pub fn inserts(rows: RecordBatch) -> Self {
        Self { rows, weights: None }
    }

    /// `rows` with a weight each. Rows of weight zero are left out.
    ///
    /// # Panics
    /// If there is not exactly one non-null weight for each row; that is the caller's defect.
    pub fn new(rows: RecordBatch, weights: Int64Array) -> Result<Self> {
        assert_eq!(rows.num_rows(), weights.len(), "one weight for each row");
        assert_eq!(weights.null_count(), 0, "weights are never null");
        if weights.values().iter().all(|&w| w == 1) {
            return Ok(Self { rows, weights: None });
        }
        if weights.values().iter().all(|&w| w != 0) {
            return Ok(Self { rows, weights: Some(weights) });
        }
        let keep = BooleanArray::from_iter(weights.values().iter().map(|&w| Some(w != 0)));
        Self { rows, weights: Some(weights) }.filter(&keep)
    }

    /// No rows, of `schema`.
    pub fn empty(schema: SchemaRef) -> Self {
        Self::inserts(RecordBatch::new_empty(schema))
    }

    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// `None`: every weight is +1.
    pub fn weights(&self) -> Option<&Int64Array> {
        self.weights.as_ref()
    }

    pub fn weight(&self, row: usize) -> i64 {
        self.weights.as_ref().map_or(1, |weights| weights.value(row))
    }

    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    pub fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.num_rows() == 0
    }

    /// Whether every row is added once, none taken away.
    pub fn is_append_only(&self) -> bool {
        self.weights.is_none()
    }

    /// The same weights over other rows, one for one: what a projection makes.
    ///
    /// # Panics
    /// If the number of rows differs; that is the caller's defect.
    pub fn with_rows(&self, rows: RecordBatch) -> Self {
        assert_eq!(rows.num_rows(), self.num_rows(), "a projection keeps the number of rows");
        Self { rows, weights: self.weights.clone() }
    }

    /// The rows where `keep` is true (null counts as false).
    pub fn filter(&self, keep: &BooleanArray) -> Result<Self> {
        let rows = filter_record_batch(&self.rows, keep)?;
        match &self.weights {
            None => Ok(Self::inserts(rows)),
            Some(weights) => {
                let kept = arrow::compute::filter(weights, keep)?;
                Ok(Self::normal(rows, &kept))
            }
        }
    }

    /// The rows at `indices`, in that order.
    pub fn take(&self, indices: &UInt32Array) -> Result<Self> {
        // Rows without columns are no more than their number, which Arrow's own `take` forgets.
        let columns = self.rows.columns().iter().map(|column| take(column, indices, None));
        let options = RecordBatchOptions::new().with_row_count(Some(indices.len()));
        let (schema, columns) = (self.rows.schema(), columns.collect::<Result<_, _>>()?);
        let rows = RecordBatch::try_new_with_options(schema, columns, &options)?;
        match &self.weights {
            None => Ok(Self::inserts(rows)),
            Some(weights) => {
                let taken = take(weights, indices, None)?;
                Ok(Self::normal(rows, &taken))
            }
        }
    }

    /// `length` rows from `offset`, without copying.
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        let rows = self.rows.slice(offset, length);
        match &self.weights {
            None => Self::inserts(rows),
            Some(weights) => {
                let part: ArrayRef = Arc::new(weights.slice(offset, length));
                Self::normal(rows, &part)
            }
        }
    }

    /// All of `batches` after one another.
    pub fn concat(schema: &SchemaRef, batches: &[Self]) -> Result<Self> {
        if let [one] = batches {
            return Ok(one.clone());
        }
        let rows = concat_batches(schema, batches.iter().map(|batch| &batch.rows))?;
        if batches.iter().all(Self::is_append_only) {
            return Ok(Self::inserts(rows));
        }
        let weights: Vec<ArrayRef> = batches.iter().map(Self::weight_column).collect();
        let weights = concat(&weights.iter().map(|w| w.as_ref()).collect::<Vec<_>>())?;
        Ok(Self::normal(rows, &weights))
    }

    /// The same rows in the same order, in batches of about `rows_min` rows or more.
    pub fn coalesce(schema: &SchemaRef, batches: Vec<Self>, rows_min: usize) -> Result<Vec<Self>> {
        let (mut done, mut small, mut rows) = (Vec::new(), Vec::new(), 0);
        for batch in batches {
            rows += batch.num_rows();
            small.push(batch);
            if rows >= rows_min {
                done.push(Self::concat(schema, &small)?);
                small.clear();
                rows = 0;
            }
        }
        if rows > 0 {
            done.push(Self::concat(schema, &small)?);
        }
        Ok(done)
    }

    fn weight_column(&self) -> ArrayRef {
        match &self.weights {
            Some(weights) => Arc::new(weights.clone()),
            None => Arc::new(Int64Array::from_value(1, self.num_rows())),
        }
    }

    /// Puts weights that a kernel returned as a plain array back, "all +1" as nothing.
    fn normal(rows: RecordBatch, weights: &ArrayRef) -> Self {
        use arrow::array::AsArray;
        let weights = weights.as_primitive::<arrow::datatypes::Int64Type>();
        let weights = (!weights.values().iter().all(|&w| w == 1)).then(|| weights.clone());
        Self { rows, weights }
    }
}
