//! Filter and projection in one: what needs no state.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array,
};
use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::PhysicalExpr;
use syncline_change::source::{RejectClass, Rejected};
use syncline_change::{Batch, Error, Result, json};

use super::partition::PART_ROWS;
use super::{Change, Epoch, Operator};

/// Keeps the rows for which `predicate` is true, then computes `columns` of them.
///
/// A row for which an expression fails (a division by zero, a cast that does not fit) is taken out
/// and reported, the same whether it is added or taken away; the others go on.
pub(crate) struct Map {
    /// Whose rows these are, for reports: the view.
    pub(crate) view: String,
    pub(crate) predicate: Option<Arc<dyn PhysicalExpr>>,
    /// `None`: the input's columns as they are.
    pub(crate) columns: Option<Vec<Arc<dyn PhysicalExpr>>>,
    pub(crate) schema: SchemaRef,
}

impl Operator for Map {
    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let parts: Vec<Batch> = inputs[0].batches.iter().flat_map(parts).collect();
        let done = epoch.workers.map(&parts, |part| self.apply(part));
        let mut output = Vec::with_capacity(parts.len());
        for (part, done) in parts.iter().zip(done) {
            output.push(match done {
                Ok(done) => done,
                Err(_) => without_failing(epoch, &self.view, part, |part| self.apply(part))?.1,
            });
        }
        output.retain(|batch| !batch.is_empty());
        Ok(output)
    }
}

impl Map {
    pub(super) fn apply(&self, batch: &Batch) -> Result<Batch> {
        let kept = match &self.predicate {
            None => batch.clone(),
            Some(predicate) => {
                let keep = evaluate(predicate, batch.rows())?;
                let keep = truths(&keep)?;
                if keep.true_count() == batch.num_rows() {
                    batch.clone()
                } else {
                    batch.filter(&keep)?
                }
            }
        };
        let rows = kept.rows();
        let columns = match &self.columns {
            None => rows.columns().to_vec(),
            Some(columns) => {
                columns.iter().map(|column| evaluate(column, rows)).collect::<Result<Vec<_>>>()?
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let mapped = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Ok(kept.with_rows(mapped))
    }
}

/// A batch in parts that workers can share and that fit into a processor's cache.
pub(super) fn parts(batch: &Batch) -> impl Iterator<Item = Batch> {
    let rows = batch.num_rows();
    let starts = (0..rows).step_by(PART_ROWS);
    starts.map(move |start| batch.slice(start, PART_ROWS.min(rows - start)))
}

/// What `compute` makes of a batch, and the batch itself; without the rows for which it fails, each
/// of which is reported as a row that `view` cannot take.
///
/// # Errors
/// Whatever is not the fault of single rows.
pub(crate) fn without_failing<T>(
    epoch: &mut Epoch<'_>,
    view: &str,
    batch: &Batch,
    compute: impl Fn(&Batch) -> Result<T>,
) -> Result<(Batch, T)> {
    if let Ok(made) = compute(batch) {
        return Ok((batch.clone(), made));
    }
    let mut good = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let one = batch.slice(row, 1);
        match compute(&one) {
            Ok(_) => good.push(row as u32),
            Err(error) => {
                let rejected = rejected(epoch.number, &one, RejectClass::Expression, &error)?;
                epoch.rejected.push((view.to_owned(), rejected));
            }
        }
    }
    let good = batch.take(&UInt32Array::from(good))?;
    let made = compute(&good)?;
    Ok((good, made))
}

/// A row that a view cannot take, written as JSON because its original bytes are long gone.
pub(crate) fn rejected(
    epoch: u64,
    row: &Batch,
    class: RejectClass,
    error: &Error,
) -> Result<Rejected> {
    let mut bytes = Vec::new();
    json::RowWriter::new(row.rows())?.object(0, &mut bytes);
    Ok(Rejected {
        bytes,
        context: None,
        position: format!("epoch {epoch}"),
        class,
        message: error.detail_text().unwrap_or(error.message()).to_owned(),
    })
}

/// That a view cannot show what it should, for no fault of one row.
pub(crate) fn rejected_as_a_whole(epoch: u64, message: String) -> Rejected {
    Rejected {
        bytes: vec![],
        context: None,
        position: format!("epoch {epoch}"),
        class: RejectClass::Expression,
        message,
    }
}

/// The values of an expression, one for each row.
pub(crate) fn evaluate(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    expr.evaluate(rows).and_then(|value| value.into_array(rows.num_rows())).map_err(|error| {
        Error::input(format!("cannot compute {expr}")).detail(error.strip_backtrace())
    })
}

/// A predicate's values with NULL as false.
pub(crate) fn truths(values: &ArrayRef) -> Result<BooleanArray> {
    let values = values
        .as_boolean_opt()
        .ok_or_else(|| Error::bug("a predicate gave something else than true or false"))?;
    Ok(match values.nulls() {
        None => values.clone(),
        Some(_) => arrow::compute::prep_null_mask_filter(values),
    })
}
