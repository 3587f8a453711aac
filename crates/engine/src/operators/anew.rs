//! Plans that DataFusion computes anew over a part of their input.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::LogicalPlan;
use syncline_change::row::{RowCodec, canonical};
use syncline_change::source::RejectClass;
use syncline_change::{Batch, Error, ErrorKind, Result};

use super::arrange::Arranged;
use super::map::rejected;
use super::recompute::{Rows, count_rows, difference};
use super::{Epoch, relabel};
use crate::batch::Runner;

/// A plan and the table that it scans.
pub(crate) struct PlanOver {
    pub(crate) runner: Arc<Runner>,
    pub(crate) plan: LogicalPlan,
    pub(crate) table: Arc<MemTable>,
}

impl PlanOver {
    /// The result over `rows`.
    pub(super) fn run(&self, rows: RecordBatch, time_us: i64) -> Result<Vec<RecordBatch>> {
        self.runner.fill(&self.table, vec![rows])?;
        let computed = self.runner.run(&self.plan, time_us);
        self.runner.fill(&self.table, vec![])?;
        computed
    }
}

/// A plan whose result changes only with the parts of its input that an epoch touches: it is computed
/// over these as they were before and as they are after, and what differs is put out.
pub(crate) struct Anew {
    pub(crate) plan: PlanOver,
    pub(crate) codec: RowCodec,
    /// Whose rows these are, for reports.
    pub(crate) view: String,
    /// What a report says of the rows that are left out because of one.
    pub(crate) left_out: &'static str,
}

impl Anew {
    /// The changes from the result over the parts `before` to that over the parts `after`. `rows_of`
    /// has the rows of parts, and `shown` those of a result that belong to it.
    ///
    /// A part for which the plan fails has no result, and is reported if it does so now.
    pub(super) fn differences<P>(
        &self,
        epoch: &mut Epoch<'_>,
        (before, after): (&[P], &[P]),
        rows_of: impl Fn(&[P]) -> Result<RecordBatch>,
        shown: impl Fn(&[P], RecordBatch) -> Result<RecordBatch>,
    ) -> Result<Vec<Batch>> {
        let (number, time_us) = (epoch.number, epoch.time_us);
        let run = |parts: &[P], result: &mut Rows| {
            let input = rows_of(parts)?;
            if input.num_rows() == 0 {
                return Ok(());
            }
            for batch in self.plan.run(input, time_us)? {
                let batch = relabel(&Batch::inserts(batch), self.codec.schema())?;
                let batch = shown(parts, batch.rows().clone())?;
                count_rows(&self.codec, &canonical(batch)?, result)?;
            }
            Ok(())
        };
        let before = all_or_each(before, run, |_, _| Ok(()))?;
        let after = all_or_each(after, run, |part, error| {
            let row = Batch::inserts(rows_of(part)?.slice(0, 1));
            let mut letter = rejected(number, &row, RejectClass::Expression, error)?;
            letter.message = format!("{}: {}", self.left_out, letter.message);
            epoch.rejected.push((self.view.clone(), letter));
            Ok(())
        })?;
        difference(&self.codec, &before, &after)
    }
}

/// What `run` makes of all parts together or, if it fails over one of their rows, of each; the parts
/// for which it fails then are passed to `report`.
fn all_or_each<P>(
    parts: &[P],
    run: impl Fn(&[P], &mut Rows) -> Result<()>,
    mut report: impl FnMut(&[P], &Error) -> Result<()>,
) -> Result<Rows> {
    let mut result = Rows::new();
    match run(parts, &mut result) {
        Err(error) if error.kind() == ErrorKind::Input => {}
        done => return done.map(|()| result),
    }
    for part in parts.chunks(1) {
        match run(part, &mut result) {
            Err(error) if error.kind() == ErrorKind::Input => report(part, &error)?,
            done => done?,
        }
    }
    Ok(result)
}

/// Rows of an arrangement, each with its key and repeated as often as it is there.
pub(super) fn repeated<'a>(
    rows: &Arranged,
    entries: impl Iterator<Item = (&'a [u8], &'a [u8], i64)>,
) -> Result<RecordBatch> {
    let entries = entries.flat_map(|(key, row, count)| {
        std::iter::repeat_n((key, row), usize::try_from(count).unwrap_or(0))
    });
    let entries: Vec<(&[u8], &[u8])> = entries.collect();
    let options = RecordBatchOptions::new().with_row_count(Some(entries.len()));
    let columns = rows.codec().decode(entries.iter().copied())?;
    Ok(RecordBatch::try_new_with_options(rows.codec().schema().clone(), columns, &options)?)
}
