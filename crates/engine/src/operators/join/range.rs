//! Conditions of a join that hold a time of one side between times of the other: the rows that meet
//! them stand together in the order of that time.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::PhysicalExpr;
use syncline_change::Result;

use super::super::arrange::Arranged;
use super::super::map::evaluate;
use crate::state::Group;
use crate::state::times::{encode, time};

/// Between which times, computed from a row of the other side, the rows are that match it. They are
/// arranged in the order of their times.
pub(crate) struct Range {
    pub(crate) from: Limit,
    pub(crate) until: Option<Limit>,
}

pub(crate) struct Limit {
    /// Over the columns of the other side, for none of whose rows it fails.
    pub(crate) expr: Arc<dyn PhysicalExpr>,
    /// Whether the time itself is without.
    pub(crate) strict: bool,
}

/// Of each row that a side changes, the first and the last time of what matches it; `None` if nothing
/// does.
pub(super) type Spans = Vec<Option<(i64, i64)>>;

impl Range {
    /// What is computed of rows of the other side, and is not there already.
    pub(crate) fn computed(&self) -> impl Iterator<Item = Arc<dyn PhysicalExpr>> {
        let limits = [Some(&self.from), self.until.as_ref()].into_iter().flatten();
        let exprs = limits.map(|limit| limit.expr.clone());
        exprs.filter(|expr| expr.downcast_ref::<Column>().is_none())
    }

    /// The spans of the rows that an epoch changes in `other`.
    pub(super) fn spans(&self, other: &Arranged) -> Result<Spans> {
        let Some(rows) = other.changed_rows() else { return Ok(vec![]) };
        let times = |limit: &Limit| {
            let times = cast(&evaluate(&limit.expr, rows)?, &DataType::Int64)?;
            Ok::<_, syncline_change::Error>(times.as_primitive::<Int64Type>().clone())
        };
        let from = times(&self.from)?;
        let until = match &self.until {
            Some(until) => Some((times(until)?, until.strict)),
            None => None,
        };
        let span = |(row, from): (usize, Option<i64>)| {
            let from = if self.from.strict { from?.checked_add(1)? } else { from? };
            let until = match &until {
                None => i64::MAX,
                Some((until, _)) if until.is_null(row) => return None,
                Some((until, true)) => until.value(row).checked_sub(1)?,
                Some((until, false)) => until.value(row),
            };
            (from <= until).then_some((from, until))
        };
        Ok(from.iter().enumerate().map(span).collect())
    }
}

/// The rows of a group that are in any of `spans`, each once and in order, with their times.
pub(super) fn within<'a>(
    rows: &Group<'a>,
    spans: impl Iterator<Item = (i64, i64)>,
) -> Vec<(i64, &'a [u8], i64)> {
    let mut spans: Vec<(i64, i64)> = spans.collect();
    spans.sort_unstable();
    let mut found: Vec<(i64, &[u8], i64)> = Vec::new();
    let mut end: Option<i64> = None;
    for (from, until) in spans {
        let from = match end {
            Some(end) if from <= end => match end.checked_add(1) {
                Some(next) => next,
                None => break,
            },
            _ => from,
        };
        let timed = rows.since(&encode(from)).map_while(|(row, weight)| {
            let time = time(row).filter(|&time| time <= until)?;
            Some((time, row, weight))
        });
        found.extend(timed);
        end = end.max(Some(until));
    }
    found
}
