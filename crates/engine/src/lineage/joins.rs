//! Which rows of either side are behind wanted rows of a join.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use datafusion::common::JoinType;
use datafusion::logical_expr::{Join, LogicalPlan};
use syncline_change::Result;

use super::rows::{all_null, columns, distinct};
use super::trace::{Trace, arrow_schema};
use crate::batch::{empty_table, failed, stand_in};

/// A side of a join.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }

    fn of(self, join: &Join) -> &Arc<LogicalPlan> {
        match self {
            Self::Left => &join.left,
            Self::Right => &join.right,
        }
    }
}

impl Trace<'_> {
    pub(super) fn join(&mut self, join: &Join, wanted: &RecordBatch) -> Result<()> {
        match join.join_type {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                let width = join.left.schema().fields().len();
                let left = columns(wanted, 0, width)?;
                let right = columns(wanted, width, wanted.num_columns())?;
                let is_filled = |of| match of {
                    Side::Left => matches!(join.join_type, JoinType::Right | JoinType::Full),
                    Side::Right => matches!(join.join_type, JoinType::Left | JoinType::Full),
                };
                self.side(join, Side::Left, &left, &right, is_filled(Side::Left))?;
                self.side(join, Side::Right, &right, &left, is_filled(Side::Right))
            }
            JoinType::LeftAnti => self.trace(&join.left, wanted.clone()),
            JoinType::RightAnti => self.trace(&join.right, wanted.clone()),
            JoinType::LeftSemi => self.shown(join, Side::Left, wanted),
            JoinType::RightSemi => self.shown(join, Side::Right, wanted),
            JoinType::LeftMark => self.marked(join, Side::Left, wanted),
            JoinType::RightMark => self.marked(join, Side::Right, wanted),
        }
    }

    /// What is wanted of one side of pairs. Where a row without a match is `filled` up with NULLs,
    /// these are no row of that side, unless there is one like that and it matches.
    fn side(
        &mut self,
        join: &Join,
        of: Side,
        rows: &RecordBatch,
        beside: &RecordBatch,
        filled: bool,
    ) -> Result<()> {
        let mut rows = rows.clone();
        let is_missing = all_null(&rows);
        if filled && is_missing.true_count() > 0 {
            let lone = filter_record_batch(beside, &is_missing)?;
            if self.matching(join, of, &lone)?.num_rows() == 0 {
                rows = filter_record_batch(&rows, &not(&is_missing)?)?;
            }
        }
        let plan = of.of(join);
        let wanted = distinct(&arrow_schema(plan), &[rows])?;
        self.trace(plan, wanted)
    }

    /// Rows of one side that are shown for what they match on the other.
    fn shown(&mut self, join: &Join, of: Side, wanted: &RecordBatch) -> Result<()> {
        let matching = self.matching(join, of.other(), wanted)?;
        self.trace(of.of(join), wanted.clone())?;
        self.trace(of.other().of(join), matching)
    }

    /// The same where a last column says whether there is a match.
    fn marked(&mut self, join: &Join, of: Side, wanted: &RecordBatch) -> Result<()> {
        let width = wanted.num_columns().saturating_sub(1);
        if wanted.column(width).null_count() > 0 {
            // It is not known, because of NULLs on the other side.
            self.everything(of.other().of(join), "an IN that is neither true nor false")?;
        }
        let plan = of.of(join);
        let rows = distinct(&arrow_schema(plan), &[columns(wanted, 0, width)?])?;
        self.shown(join, of, &rows)
    }

    /// The different rows of one side that match one of `others`, rows of the other side.
    fn matching(&self, join: &Join, of: Side, others: &RecordBatch) -> Result<RecordBatch> {
        let plan = of.other().of(join);
        let table = empty_table(others.schema()).map_err(failed)?;
        self.fill(&table, others.clone())?;
        let others = Arc::new(stand_in(0, &table, plan.schema()));
        let (left, right, join_type) = match of {
            Side::Left => (join.left.clone(), others, JoinType::LeftSemi),
            Side::Right => (others, join.right.clone(), JoinType::RightSemi),
        };
        let matching = Join::try_new(
            left,
            right,
            join.on.clone(),
            join.filter.clone(),
            join_type,
            join.join_constraint,
            join.null_equality,
            false,
        );
        let matching = self.run(&LogicalPlan::Join(matching.map_err(failed)?))?;
        distinct(&arrow_schema(of.of(join)), &matching)
    }
}
