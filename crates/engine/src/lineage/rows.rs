//! Sets of rows by their values: what is wanted of a node, and what of its input has a part in it.

use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use hashbrown::HashSet;
use syncline_change::Result;
use syncline_change::row::{RowCodec, canonical};

/// Rows of one schema, to be asked whether others are among them.
pub(crate) struct Keys {
    codec: RowCodec,
    rows: HashSet<Box<[u8]>>,
}

impl Keys {
    /// No rows, of `schema`.
    pub(super) fn new(schema: &SchemaRef) -> Result<Self> {
        Ok(Self { codec: RowCodec::new(schema.clone())?, rows: HashSet::new() })
    }

    /// `rows`, as rows of `schema`.
    pub(crate) fn of(rows: &RecordBatch, schema: &SchemaRef) -> Result<Self> {
        let mut keys = Self::new(schema)?;
        keys.add(rows)?;
        Ok(keys)
    }

    /// Adds rows; returns which of them were not there before.
    pub(super) fn add(&mut self, rows: &RecordBatch) -> Result<BooleanArray> {
        let encoded = self.codec.encode_batch(&self.fitted(rows)?)?;
        Ok(encoded.iter().map(|row| Some(self.rows.insert(row.data().into()))).collect())
    }

    /// Which of `rows` are among these.
    pub(crate) fn which(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        let encoded = self.codec.encode_batch(&self.fitted(rows)?)?;
        Ok(encoded.iter().map(|row| Some(self.rows.contains(row.data()))).collect())
    }

    /// Those of `batches` that are among these.
    pub(super) fn select(&self, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
        let kept = batches.iter().map(|batch| Ok(filter_record_batch(batch, &self.which(batch)?)?));
        kept.collect()
    }

    /// `rows` with the types of these and canonical floats, so that what is equal has equal bytes.
    fn fitted(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        canonical(fit(rows, self.codec.schema())?)
    }
}

/// `rows` by the names of `schema` and in its types; all columns may be NULL.
fn fit(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let fields = schema.fields().iter();
    let columns = rows.columns().iter().zip(fields.clone()).map(|(column, field)| {
        Ok(match column.data_type() == field.data_type() {
            true => column.clone(),
            false => cast(column, field.data_type())?,
        })
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

/// The columns of `rows` from number `start` to before `end`.
pub(super) fn columns(rows: &RecordBatch, start: usize, end: usize) -> Result<RecordBatch> {
    Ok(rows.project(&(start..end.max(start)).collect::<Vec<_>>())?)
}

/// The different rows among all of `batches`, each once, by the names of `schema`. Their types are those
/// that they have: a plan may say another.
pub(super) fn distinct(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch> {
    let Some(first) = batches.iter().find(|batch| batch.num_rows() > 0) else {
        return Ok(RecordBatch::new_empty(schema.clone()));
    };
    let typed = schema.fields().iter().zip(first.columns()).map(|(field, column)| {
        field.as_ref().clone().with_data_type(column.data_type().clone()).with_nullable(true)
    });
    let schema = Arc::new(Schema::new(typed.collect::<Vec<_>>()));
    let mut keys = Keys::new(&schema)?;
    let mut kept = Vec::with_capacity(batches.len());
    for batch in batches {
        let batch = fit(batch, &schema)?;
        kept.push(filter_record_batch(&batch, &keys.add(&batch)?)?);
    }
    Ok(concat_batches(&schema, &kept)?)
}

/// Which rows have NULL in every column.
pub(super) fn all_null(rows: &RecordBatch) -> BooleanArray {
    let is_null = |row| rows.columns().iter().all(|column| column.is_null(row));
    (0..rows.num_rows()).map(|row| Some(is_null(row))).collect()
}
