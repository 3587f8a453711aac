//! Window functions that look only so many rows back and ahead: computed anew by DataFusion around
//! the rows that change, before and after, and compared.

use std::collections::BTreeMap;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use syncline_change::{Batch, Result};

use super::anew::{Anew, repeated};
use super::arrange::{Arranged, Delta};
use super::partition::PARTITIONS;
use super::{Arrangement, Change, Epoch, Operator};
use crate::state::Group;

/// How many rows a window function looks back and ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) back: u64,
    pub(crate) ahead: u64,
}

/// Keeps nothing but the arrangement that is its input, which is by partition and in order.
pub(crate) struct Nearby {
    pub(crate) anew: Anew,
    pub(crate) by: Arrangement,
    pub(crate) reach: Reach,
    pub(crate) name: String,
}

/// Rows of a key of which those from `first` to `last` may have another result than before; the
/// others are there to be looked at.
struct Stretch<'a> {
    key: &'a [u8],
    first: &'a [u8],
    last: &'a [u8],
    rows: Vec<(&'a [u8], i64)>,
}

impl Operator for Nearby {
    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let rows = inputs[0].arranged(&self.name)?;
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for partition in 0..PARTITIONS {
            let Some(delta) = rows.delta(epoch.number, partition) else { continue };
            for group in 0..delta.run.groups() {
                let (hash, key) = (delta.run.hash(group), delta.run.key(group));
                let states = [
                    rows.before(epoch.number, partition, hash, key),
                    rows.after(partition, hash, key),
                ];
                let [was, is] = self.stretches(delta, group, &states);
                before.push(was);
                after.push(is);
            }
        }
        let rows_of = |stretches: &[Stretch<'_>]| {
            let entries = stretches.iter().flat_map(|stretch| {
                stretch.rows.iter().map(|&(row, count)| (stretch.key, row, count))
            });
            repeated(rows, entries)
        };
        let shown = |stretches: &[Stretch<'_>], result| self.shown(rows, stretches, &result);
        self.anew.differences(epoch, (&before, &after), rows_of, shown)
    }
}

impl Nearby {
    /// Around the changes of a key, what was there before and what is there after.
    fn stretches<'a>(
        &self,
        delta: &'a Delta,
        group: usize,
        states: &[Group<'a>; 2],
    ) -> [Stretch<'a>; 2] {
        let changed = delta.run.rows_of(group);
        let (first, last) = (delta.run.row(changed.start), delta.run.row(changed.end - 1));
        // A row that looks ahead feels what comes after it, and the reverse.
        let firsts = states.each_ref().map(|state| back_from(state, first, self.reach.ahead));
        let lasts = states.each_ref().map(|state| ahead_of(state, last, self.reach.back));
        let (first, last) = (firsts[0].min(firsts[1]), lasts[0].max(lasts[1]));
        states.each_ref().map(|state| {
            let start = back_from(state, first, self.reach.back);
            let end = ahead_of(state, last, self.reach.ahead);
            let rows = state.since(start).take_while(|(row, _)| *row <= end).collect();
            Stretch { key: delta.run.key(group), first, last, rows }
        })
    }

    /// The rows of a result that are not only there to be looked at.
    fn shown(
        &self,
        rows: &Arranged,
        stretches: &[Stretch<'_>],
        batch: &RecordBatch,
    ) -> Result<RecordBatch> {
        let by_key: BTreeMap<&[u8], &Stretch<'_>> =
            stretches.iter().map(|stretch| (stretch.key, stretch)).collect();
        let schema = rows.codec().schema();
        let columns = batch.columns()[..schema.fields().len()].to_vec();
        let options =
            arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let input = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
        let (keys, order) = self.by.evaluate(&input)?;
        let keys = rows.codec().encode_keys(&keys)?;
        let rest = rows.codec().encode_rest(&order, &input)?;
        let is_shown = (0..batch.num_rows()).map(|row| {
            let stretch = by_key.get(keys.get(row));
            Some(stretch.is_some_and(|of| (of.first..=of.last).contains(&rest.get(row))))
        });
        Ok(filter_record_batch(batch, &is_shown.collect::<BooleanArray>())?)
    }
}

/// The row that is `steps` rows before `row`, or the first of all.
fn back_from<'a>(group: &Group<'a>, row: &'a [u8], steps: u64) -> &'a [u8] {
    walk(group.until(row).rev(), row, steps)
}

/// The row that is `steps` rows behind `row`, or the last of all.
fn ahead_of<'a>(group: &Group<'a>, row: &'a [u8], steps: u64) -> &'a [u8] {
    walk(group.since(row).filter(|(other, _)| *other != row), row, steps)
}

fn walk<'a>(
    rows: impl Iterator<Item = (&'a [u8], i64)>,
    from: &'a [u8],
    mut steps: u64,
) -> &'a [u8] {
    let mut reached = from;
    for (row, count) in rows {
        if steps == 0 {
            break;
        }
        reached = row;
        steps = steps.saturating_sub(count.unsigned_abs());
    }
    reached
}
