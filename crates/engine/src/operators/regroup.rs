//! A plan whose result for each group depends on that group's rows alone: computed anew by
//! DataFusion for the groups that an epoch touches, before and after, and compared.

use syncline_change::{Batch, Result};

use super::anew::{Anew, repeated};
use super::partition::PARTITIONS;
use super::{Change, Epoch, Operator};
use crate::state::Group;

/// Keeps nothing but the arrangement that is its input, which is by group.
pub(crate) struct Regroup {
    pub(crate) anew: Anew,
    pub(crate) name: String,
}

impl Operator for Regroup {
    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let rows = inputs[0].arranged(&self.name)?;
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for partition in 0..PARTITIONS {
            let Some(delta) = rows.delta(epoch.number, partition) else { continue };
            for group in 0..delta.run.groups() {
                let (hash, key) = (delta.run.hash(group), delta.run.key(group));
                before.push((key, rows.before(epoch.number, partition, hash, key)));
                after.push((key, rows.after(partition, hash, key)));
            }
        }
        let rows_of = |groups: &[(&[u8], Group<'_>)]| {
            let entries = groups
                .iter()
                .flat_map(|(key, group)| group.clone().map(move |(row, count)| (*key, row, count)));
            repeated(rows, entries)
        };
        self.anew.differences(epoch, (&before, &after), rows_of, |_, result| Ok(result))
    }
}
