//! `UNION ALL`: the changes of all inputs, one input after another.

use arrow::datatypes::SchemaRef;
use syncline_change::{Batch, Result};

use super::{Epoch, Operator, relabel};

pub(crate) struct Union {
    pub(crate) schema: SchemaRef,
}

impl Operator for Union {
    fn step(&mut self, _: &mut Epoch<'_>, inputs: &[&[Batch]]) -> Result<Vec<Batch>> {
        inputs.iter().copied().flatten().map(|batch| relabel(batch, &self.schema)).collect()
    }
}
