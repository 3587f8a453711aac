//! The operators of one iteration: a small circuit inside of an operator.

use smallvec::SmallVec;
use syncline_change::{Batch, Result};

use super::super::{Change, Epoch, Operator};
use crate::state::{Loader, Saver};

/// Where an operator of a part reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The rows of the iteration.
    Relation,
    /// What the recursive term reads beside the recursion, by number.
    Outside(usize),
    /// Another operator of the part, by number.
    Node(usize),
}

/// One operator of a part.
pub(crate) struct PartNode {
    pub(crate) work: Box<dyn Operator>,
    pub(crate) inputs: Vec<Origin>,
}

/// Operators in an order in which inputs come first, and which of them has the result.
pub(crate) struct Part {
    pub(crate) nodes: Vec<PartNode>,
    pub(crate) result: Origin,
}

impl Part {
    pub(super) fn state_bytes(&self) -> usize {
        self.nodes.iter().map(|node| node.work.state_bytes()).sum()
    }

    pub(super) fn begin_saving(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.work.begin_saving());
    }

    pub(super) fn unsaved(&self) -> usize {
        self.nodes.iter().map(|node| node.work.unsaved()).sum()
    }

    pub(super) fn save(&mut self, to: &mut Saver<'_>) -> Result<()> {
        let mut nodes = self.nodes.iter_mut().enumerate();
        nodes.try_for_each(|(number, node)| node.work.save(&mut to.within(number)))
    }

    pub(super) fn load(&mut self, from: &Loader<'_>) -> Result<()> {
        let mut nodes = self.nodes.iter_mut().enumerate();
        nodes.try_for_each(|(number, node)| node.work.load(&from.within(number)))
    }

    /// What the changes of the rows, and of what is outside, make of the result.
    pub(super) fn step(
        &mut self,
        epoch: &mut Epoch<'_>,
        relation: &[Batch],
        outside: &[Change<'_>],
    ) -> Result<Vec<Batch>> {
        let mut outputs: Vec<Vec<Batch>> = Vec::with_capacity(self.nodes.len());
        for number in 0..self.nodes.len() {
            let (before, rest) = self.nodes.split_at_mut(number);
            let output = {
                let change = |origin: &Origin| match *origin {
                    Origin::Relation => Change { batches: relation, arranged: None },
                    Origin::Outside(input) => outside[input],
                    Origin::Node(node) => {
                        Change { batches: &outputs[node], arranged: before[node].work.arranged() }
                    }
                };
                let inputs: SmallVec<[Change<'_>; 2]> = rest[0].inputs.iter().map(change).collect();
                step(rest[0].work.as_mut(), epoch, &inputs)?
            };
            outputs.push(output);
        }
        Ok(match self.result {
            Origin::Relation => relation.to_vec(),
            Origin::Outside(input) => outside[input].batches.to_vec(),
            Origin::Node(node) => outputs.swap_remove(node),
        })
    }
}

fn step(
    work: &mut dyn Operator,
    epoch: &mut Epoch<'_>,
    inputs: &[Change<'_>],
) -> Result<Vec<Batch>> {
    let is_idle = inputs.iter().all(|input| input.batches.is_empty());
    if is_idle && !work.is_due(epoch) { Ok(vec![]) } else { work.step(epoch, inputs) }
}
