//! Window functions that look only so many rows back and ahead: computed anew by DataFusion around
//! the rows that change, before and after, and compared.

use std::collections::BTreeMap;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use syncline_change::{Batch, Result};

use super::anew::{Anew, repeated};
use super::arrange::Arranged;
use super::partition::PARTITIONS;
use super::{Arrangement, Change, Epoch, Operator};
use crate::state::{Group, Run};

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
/// others are there to be looked at. No row of a state is in two of them.
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
                for [was, is] in self.reach.stretches(&delta.run, group, &states) {
                    before.push(was);
                    after.push(is);
                }
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
    /// The rows of a result that are not only there to be looked at.
    fn shown(
        &self,
        rows: &Arranged,
        stretches: &[Stretch<'_>],
        batch: &RecordBatch,
    ) -> Result<RecordBatch> {
        let lasts: BTreeMap<(&[u8], &[u8]), &[u8]> =
            stretches.iter().map(|of| ((of.key, of.first), of.last)).collect();
        let schema = rows.codec().schema();
        let columns = batch.columns()[..schema.fields().len()].to_vec();
        let options =
            arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let input = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
        let (keys, order) = self.by.evaluate(&input)?;
        let keys = rows.codec().encode_keys(&keys)?;
        let rest = rows.codec().encode_rest(&order, &input)?;
        let is_shown = (0..batch.num_rows()).map(|row| {
            let (key, row) = (keys.get(row), rest.get(row));
            let nearest = lasts.range(..=(key, row)).next_back();
            Some(nearest.is_some_and(|((of, _), last)| *of == key && row <= *last))
        });
        Ok(filter_record_batch(batch, &is_shown.collect::<BooleanArray>())?)
    }
}

impl Reach {
    /// Around the changes of a key, what was there before and what is there after.
    fn stretches<'a>(
        self,
        changes: &'a Run,
        group: usize,
        states: &[Group<'a>; 2],
    ) -> Vec<[Stretch<'a>; 2]> {
        let changed: Vec<&[u8]> = changes.rows_of(group).map(|row| changes.row(row)).collect();
        let together = changed.chunk_by(|a, b| !self.are_apart(a, b, &states[1]));
        let stretches = together.filter_map(|changed| {
            let (first, last) = (*changed.first()?, *changed.last()?);
            // A row that looks ahead feels what comes after it, and the reverse.
            let firsts = states.each_ref().map(|state| back_from(state, first, self.ahead));
            let lasts = states.each_ref().map(|state| ahead_of(state, last, self.back));
            let (first, last) = (firsts[0].min(firsts[1]), lasts[0].max(lasts[1]));
            Some(states.each_ref().map(|state| {
                let start = back_from(state, first, self.back);
                let end = ahead_of(state, last, self.ahead);
                let rows = state.since(start).take_while(|(row, _)| *row <= end).collect();
                Stretch { key: changes.key(group), first, last, rows }
            }))
        });
        stretches.collect()
    }

    /// Whether no row is looked at for the sake of both `a` and `b`, two changes between which there is
    /// no other: what stands between them is the same before and after.
    fn are_apart(self, a: &[u8], b: &[u8], state: &Group<'_>) -> bool {
        // As far as a change is felt, and from there as far as is looked; on either side.
        let rows = 2 * (self.back + self.ahead);
        let between = state.since(a).filter(|(row, _)| *row != a).take_while(|(row, _)| *row < b);
        between.take(rows as usize).count() as u64 == rows
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::state::RunBuilder;

    fn run(rows: impl Iterator<Item = u32>, weight: i64) -> Run {
        let mut builder = RunBuilder::default();
        builder.open_group(0, b"key");
        rows.for_each(|row| builder.push(&row.to_be_bytes(), weight));
        builder.finish().unwrap()
    }

    /// The changes' distance decides, not what lies between the first and the last.
    #[test]
    fn changes_that_are_apart_have_a_stretch_each() {
        let there = run(10..1_000, 2);
        let reach = Reach { back: 2, ahead: 1 };
        for (changed, stretches, rows) in [
            (vec![5, 2_000], 2, 2 * 4),
            (vec![5, 300, 2_000], 3, 2 * 6),
            (vec![5, 6, 7], 1, 7),
            (vec![500, 505], 1, 16),
            (vec![500, 507], 2, 16),
        ] {
            let changes = run(changed.iter().copied(), 1);
            let mut states = [Group::default(), Group::default()];
            states[0].add(&there, 0, b"key");
            states[1].add(&there, 0, b"key");
            states[1].add(&changes, 0, b"key");
            let found = reach.stretches(&changes, 0, &states);
            assert_eq!(found.len(), stretches, "{changed:?}");
            let of_after: Vec<&[u8]> =
                found.iter().flat_map(|[_, is]| is.rows.iter().map(|(row, _)| *row)).collect();
            assert!(of_after.is_sorted_by(|a, b| a < b), "{changed:?}");
            assert!(of_after.len() <= rows, "{changed:?}: {} rows", of_after.len());
        }
    }
}
