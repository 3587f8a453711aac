//! A plan whose result for each group depends on that group's rows alone: computed anew by
//! DataFusion for the groups that an epoch touches, before and after, and compared.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::LogicalPlan;
use syncline_change::row::{RowCodec, canonical};
use syncline_change::source::{RejectClass, Rejected};
use syncline_change::{Batch, Error, ErrorKind, Result};

use super::arrange::Arranged;
use super::partition::PARTITIONS;
use super::recompute::{Rows, count_rows, difference};
use super::{Change, Epoch, Operator, relabel};
use crate::batch::Runner;
use crate::state::Group;

/// Keeps nothing but the arrangement that is its input.
pub(crate) struct Regroup {
    runner: Arc<Runner>,
    plan: LogicalPlan,
    /// What the plan scans.
    table: Arc<MemTable>,
    codec: RowCodec,
    name: String,
    /// Whose rows these are, for reports.
    view: String,
}

/// A key and the rows that it has.
type Rest<'a> = (&'a [u8], Group<'a>);

impl Regroup {
    /// `plan` scans `table`, whose rows are those of the input, an arrangement by group.
    pub(crate) fn new(
        (name, view): (String, String),
        runner: Arc<Runner>,
        plan: LogicalPlan,
        table: Arc<MemTable>,
        schema: SchemaRef,
    ) -> Result<Self> {
        Ok(Self { runner, plan, table, codec: RowCodec::new(schema)?, name, view })
    }

    /// The result over the rows of `groups`; those for which it fails have none, and are passed to
    /// `report`.
    fn compute(
        &self,
        rows: &Arranged,
        time_us: i64,
        groups: &[Rest<'_>],
        mut report: impl FnMut(&RecordBatch, &Error) -> Result<()>,
    ) -> Result<Rows> {
        let mut result = Rows::new();
        match self.run(rows, time_us, groups, &mut result) {
            Err(error) if error.kind() == ErrorKind::Input => {}
            done => return done.map(|()| result),
        }
        for group in groups {
            let one = std::slice::from_ref(group);
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
        groups: &[Rest<'_>],
        result: &mut Rows,
    ) -> Result<()> {
        let input = decode(rows, groups)?;
        if input.num_rows() == 0 {
            return Ok(());
        }
        self.runner.fill(&self.table, vec![input])?;
        let computed = self.runner.run(&self.plan, time_us);
        self.runner.fill(&self.table, vec![])?;
        for batch in computed? {
            let batch = relabel(&Batch::inserts(batch), self.codec.schema())?;
            count_rows(&self.codec, &canonical(batch.rows().clone())?, result)?;
        }
        Ok(())
    }
}

/// All rows of `groups`, repeated ones repeated.
fn decode(rows: &Arranged, groups: &[Rest<'_>]) -> Result<RecordBatch> {
    let entries = groups.iter().flat_map(|(key, group)| {
        group.clone().flat_map(|(row, count)| {
            std::iter::repeat_n((*key, row), usize::try_from(count).unwrap_or(0))
        })
    });
    let entries: Vec<(&[u8], &[u8])> = entries.collect();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(entries.len()));
    let columns = rows.codec().decode(entries.iter().copied())?;
    Ok(RecordBatch::try_new_with_options(rows.codec().schema().clone(), columns, &options)?)
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
        let before = self.compute(rows, epoch.time_us, &before, |_, _| Ok(()))?;
        let (number, view) = (epoch.number, &self.view);
        let rejected = &mut *epoch.rejected;
        let after = self.compute(rows, epoch.time_us, &after, |row, error| {
            rejected.push((view.clone(), failed(number, row, error)?));
            Ok(())
        })?;
        difference(&self.codec, &before, &after)
    }
}

/// The report of a group whose result could not be computed, with a row of it.
fn failed(epoch: u64, row: &RecordBatch, error: &Error) -> Result<Rejected> {
    let row = Batch::inserts(row.clone());
    let mut rejected = super::map::rejected(epoch, &row, RejectClass::Expression, error)?;
    rejected.message = format!("all rows of its group are left out: {}", rejected.message);
    Ok(rejected)
}
