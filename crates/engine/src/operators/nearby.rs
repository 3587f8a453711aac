//! Window functions that look only so many rows back and ahead: computed anew by DataFusion around
//! the rows that change, before and after, and compared.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::LogicalPlan;
use syncline_change::row::{RowCodec, canonical};
use syncline_change::source::RejectClass;
use syncline_change::{Batch, Error, ErrorKind, Result};

use super::arrange::{Arranged, Delta};
use super::map::rejected;
use super::partition::PARTITIONS;
use super::recompute::{Rows, count_rows, difference};
use super::{Arrangement, Change, Epoch, Operator, relabel};
use crate::batch::Runner;
use crate::state::Group;

/// How many rows a window function looks back and ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) back: u64,
    pub(crate) ahead: u64,
}

/// Keeps nothing but the arrangement that is its input, which is by partition and in order.
pub(crate) struct Nearby {
    pub(crate) runner: Arc<Runner>,
    pub(crate) plan: LogicalPlan,
    /// What the plan scans.
    pub(crate) table: Arc<MemTable>,
    pub(crate) by: Arrangement,
    pub(crate) reach: Reach,
    pub(crate) codec: RowCodec,
    pub(crate) name: String,
    /// Whose rows these are, for reports.
    pub(crate) view: String,
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
        let Some(rows) = inputs[0].arranged else {
            return Err(Error::bug(format!("{}: its input is not arranged", self.name)));
        };
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
        let before = self.compute(rows, epoch.time_us, &before, |_, _| Ok(()))?;
        let (number, view) = (epoch.number, &self.view);
        let letters = &mut *epoch.rejected;
        let after = self.compute(rows, epoch.time_us, &after, |row, error| {
            let row = Batch::inserts(row.clone());
            let mut letter = rejected(number, &row, RejectClass::Expression, error)?;
            letter.message = format!("rows around it are left out: {}", letter.message);
            letters.push((view.clone(), letter));
            Ok(())
        })?;
        difference(&self.codec, &before, &after)
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

    /// The result over the rows of `stretches`; those for which it fails have none, and are passed to
    /// `report`.
    fn compute(
        &self,
        rows: &Arranged,
        time_us: i64,
        stretches: &[Stretch<'_>],
        mut report: impl FnMut(&RecordBatch, &Error) -> Result<()>,
    ) -> Result<Rows> {
        let mut result = Rows::new();
        match self.run(rows, time_us, stretches, &mut result) {
            Err(error) if error.kind() == ErrorKind::Input => {}
            done => return done.map(|()| result),
        }
        for stretch in stretches {
            let one = std::slice::from_ref(stretch);
            match self.run(rows, time_us, one, &mut result) {
                Err(error) if error.kind() == ErrorKind::Input => {
                    report(&decode(rows, one)?.slice(0, 1), &error)?;
                }
                done => done?,
            }
        }
        Ok(result)
    }

    fn run(
        &self,
        rows: &Arranged,
        time_us: i64,
        stretches: &[Stretch<'_>],
        result: &mut Rows,
    ) -> Result<()> {
        let input = decode(rows, stretches)?;
        if input.num_rows() == 0 {
            return Ok(());
        }
        self.runner.fill(&self.table, vec![input])?;
        let computed = self.runner.run(&self.plan, time_us);
        self.runner.fill(&self.table, vec![])?;
        let by_key: BTreeMap<&[u8], &Stretch<'_>> =
            stretches.iter().map(|stretch| (stretch.key, stretch)).collect();
        for batch in computed? {
            let batch = relabel(&Batch::inserts(batch), self.codec.schema())?;
            let batch = self.shown(rows, batch.rows(), &by_key)?;
            count_rows(&self.codec, &canonical(batch)?, result)?;
        }
        Ok(())
    }

    /// The rows of a result that are not only there to be looked at.
    fn shown(
        &self,
        rows: &Arranged,
        batch: &RecordBatch,
        by_key: &BTreeMap<&[u8], &Stretch<'_>>,
    ) -> Result<RecordBatch> {
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

/// All rows of `stretches`, repeated ones repeated.
fn decode(rows: &Arranged, stretches: &[Stretch<'_>]) -> Result<RecordBatch> {
    let entries = stretches.iter().flat_map(|stretch| {
        stretch.rows.iter().flat_map(|&(row, count)| {
            std::iter::repeat_n((stretch.key, row), usize::try_from(count).unwrap_or(0))
        })
    });
    let entries: Vec<(&[u8], &[u8])> = entries.collect();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(entries.len()));
    let columns = rows.codec().decode(entries.iter().copied())?;
    Ok(RecordBatch::try_new_with_options(rows.codec().schema().clone(), columns, &options)?)
}
