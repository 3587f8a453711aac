//! `UNION ALL`: the changes of all inputs, one input after another.

use arrow::datatypes::SchemaRef;
use syncline_change::{Batch, Result};

use super::{Change, Epoch, Operator, relabel};

pub(crate) struct Union {
    pub(crate) schema: SchemaRef,
}

impl Operator for Union {
    fn step(&mut self, _: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let batches = inputs.iter().flat_map(|input| input.batches);
        batches.map(|batch| relabel(batch, &self.schema)).collect()
    }
}
