//! Queries over constants, by our session and by DataFusion as it comes.

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Float64Type;
use datafusion::prelude::SessionContext;
use syncline_change::Result;

pub(super) fn try_ours(sql: &str) -> Result<RecordBatch> {
    let (schema, rows) = crate::batch::query(sql, &[], 0, 0)?;
    let schema = rows.first().map_or(schema, RecordBatch::schema);
    Ok(concat_batches(&schema, &rows)?)
}

pub(super) fn ours(sql: &str) -> RecordBatch {
    try_ours(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
}

pub(super) fn plain(sql: &str) -> RecordBatch {
    let run = async {
        let rows = SessionContext::new().sql(sql).await?.collect().await?;
        let schema = rows[0].schema();
        Ok::<_, datafusion::common::DataFusionError>(concat_batches(&schema, &rows)?)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let done = runtime.map(|runtime| runtime.block_on(run));
    done.map_or_else(|e| panic!("{e}"), |done| done.unwrap_or_else(|e| panic!("{sql}: {e}")))
}

/// The only value of a result.
pub(super) fn value(rows: &RecordBatch) -> Option<f64> {
    assert_eq!((rows.num_rows(), rows.num_columns()), (1, 1));
    rows.column(0).as_primitive::<Float64Type>().iter().next().flatten()
}

/// All values of two results, those in the same place together.
pub(super) fn pairs(a: &RecordBatch, b: &RecordBatch) -> Vec<(Option<f64>, Option<f64>)> {
    assert_eq!((a.num_rows(), a.num_columns()), (b.num_rows(), b.num_columns()));
    let columns = a.columns().iter().zip(b.columns());
    let pairs = columns.flat_map(|(a, b)| {
        let (a, b) = (a.as_primitive::<Float64Type>(), b.as_primitive::<Float64Type>());
        a.iter().zip(b).collect::<Vec<_>>()
    });
    pairs.collect()
}
