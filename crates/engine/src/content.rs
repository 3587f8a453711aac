//! The content of a table or view: which rows there are, and how often each.

use arrow::array::RecordBatch;
use arrow::compute::{SortColumn, SortOptions, lexsort_to_indices, take_record_batch};
use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;
use syncline_change::row::RowCodec;
use syncline_change::{Batch, Error, Result};

use crate::operators::{heap_bytes, table_bytes};

/// The most rows in one batch of [`Content::batches`].
const BATCH_ROWS_MAX: usize = 1 << 16;

/// By which columns a view's rows are shown in order: column number, and how.
pub type Order = Vec<(usize, SortOptions)>;

/// A multiset of rows that changes are applied to.
#[derive(Debug)]
pub struct Content {
    codec: RowCodec,
    rows: HashMap<Box<[u8]>, i64>,
    /// Rows with how often they are there counted in.
    total: i64,
    order: Order,
}

impl Content {
    /// No rows of `schema`; shown in `order`, ties and all else in the order of whole rows.
    ///
    /// # Errors
    /// `Unsupported` if a column's type cannot be compared.
    pub fn new(schema: SchemaRef, order: Order) -> Result<Self> {
        Ok(Self { codec: RowCodec::new(schema)?, rows: HashMap::new(), total: 0, order })
    }

    pub fn schema(&self) -> &SchemaRef {
        self.codec.schema()
    }

    /// How many rows there are, repeated ones counted each time.
    pub fn len(&self) -> usize {
        usize::try_from(self.total).unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Bytes that the rows take in memory.
    #[allow(clippy::disallowed_methods, reason = "a sum has no order")]
    pub fn bytes(&self) -> usize {
        let blocks = self.rows.keys().map(|row| heap_bytes(row.len()));
        table_bytes::<(Box<[u8]>, i64)>(self.rows.capacity()) + blocks.sum::<usize>()
    }

    /// # Errors
    /// `Bug` if a row were there fewer than zero times afterwards.
    pub fn apply(&mut self, change: &Batch) -> Result<()> {
        let encoded = self.codec.encode_batch(change.rows())?;
        for i in 0..change.num_rows() {
            let (row, weight) = (encoded.row(i), change.weight(i));
            let count = self.rows.get(row.as_ref()).copied().unwrap_or(0) + weight;
            match count {
                ..0 => {
                    return Err(Error::bug("a view holds a row fewer than zero times")
                        .detail(format!("row {i} of the change, weight {weight}")));
                }
                0 => {
                    self.rows.remove(row.as_ref());
                }
                _ => match self.rows.get_mut(row.as_ref()) {
                    Some(have) => *have = count,
                    None => {
                        self.rows.insert(row.data().into(), count);
                    }
                },
            }
            self.total += weight;
        }
        Ok(())
    }

    /// Every row, repeated ones repeated, in order.
    pub fn batches(&self) -> Result<Vec<RecordBatch>> {
        let whole = self.sorted(usize::MAX)?;
        let starts = (0..whole.num_rows()).step_by(BATCH_ROWS_MAX);
        Ok(starts
            .map(|start| whole.slice(start, BATCH_ROWS_MAX.min(whole.num_rows() - start)))
            .collect())
    }

    /// `limit` rows in order after the first `offset`.
    pub fn page(&self, offset: usize, limit: usize) -> Result<RecordBatch> {
        let end = offset.saturating_add(limit);
        let rows = self.sorted(end)?;
        let offset = offset.min(rows.num_rows());
        Ok(rows.slice(offset, limit.min(rows.num_rows() - offset)))
    }

    /// All rows in one batch, in order.
    pub fn all(&self) -> Result<RecordBatch> {
        self.sorted(usize::MAX)
    }

    /// The first `limit` rows in order (or more, where that is as cheap).
    #[allow(clippy::disallowed_methods, reason = "sorted before anyone sees them")]
    fn sorted(&self, limit: usize) -> Result<RecordBatch> {
        let mut rows: Vec<(&[u8], i64)> = self.rows.iter().map(|(row, &n)| (&**row, n)).collect();
        if self.order.is_empty() && limit < rows.len() {
            // Only the rows that are wanted need be in order.
            rows.select_nth_unstable(limit);
            rows.truncate(limit);
        }
        rows.sort_unstable();
        let repeated = rows
            .iter()
            .flat_map(|(row, n)| std::iter::repeat_n(*row, usize::try_from(*n).unwrap_or(0)));
        let batch = self.codec.decode_batch(repeated)?;
        if self.order.is_empty() || batch.num_rows() < 2 {
            return Ok(batch);
        }
        // The order of whole rows breaks ties, as the columns after the named ones.
        let named = self.order.iter().map(|(column, options)| SortColumn {
            values: batch.column(*column).clone(),
            options: Some(*options),
        });
        let rest = (0..batch.num_columns())
            .filter(|column| !self.order.iter().any(|(named, _)| named == column))
            .filter(|column| !batch.column(*column).data_type().is_nested())
            .map(|column| SortColumn { values: batch.column(column).clone(), options: None });
        let indices = lexsort_to_indices(&named.chain(rest).collect::<Vec<_>>(), None)?;
        Ok(take_record_batch(&batch, &indices)?)
    }
}
