//! A plan that treats every row by itself: computed by DataFusion for the rows that come and go.

use std::collections::BTreeMap;

use arrow::array::{Int64Array, UInt32Array};
use arrow::datatypes::SchemaRef;
use syncline_change::{Batch, Result};

use super::anew::PlanOver;
use super::map::without_failing;
use super::{Change, Epoch, Operator, relabel};

/// Keeps nothing.
pub(crate) struct Each {
    pub(crate) plan: PlanOver,
    pub(crate) schema: SchemaRef,
    /// Whose rows these are, for reports.
    pub(crate) view: String,
}

impl Operator for Each {
    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let mut output = Vec::new();
        for batch in inputs[0].batches {
            // What a row becomes has the row's weight, so rows of one weight go together.
            let mut by_weight: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
            for row in 0..batch.num_rows() {
                by_weight.entry(batch.weight(row)).or_default().push(row as u32);
            }
            for (weight, rows) in by_weight {
                let rows = batch.take(&UInt32Array::from(rows))?;
                let time_us = epoch.time_us;
                let compute = |rows: &Batch| self.plan.run(rows.rows().clone(), time_us);
                for made in without_failing(epoch, &self.view, &rows, compute)?.1 {
                    let weights = Int64Array::from_value(weight, made.num_rows());
                    output.push(relabel(&Batch::new(made, weights)?, &self.schema)?);
                }
            }
        }
        output.retain(|batch| !batch.is_empty());
        Ok(output)
    }
}
