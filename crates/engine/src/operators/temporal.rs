//! Rows that are let through from some time on, or until some time: `ts > now() - INTERVAL '1 hour'`.
//!
//! A row has a value, and the epoch's time makes a bound that only moves forward. So a row comes or
//! goes once, and a row for which that lies ahead is all that is kept, in the order of the values:
//! the work of an epoch is that of its changes and of the rows that the bound has passed.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::create_physical_expr;
use syncline_change::{Batch, Result};

use super::accumulate::change_count;
use super::arrange::unkeyed;
use super::map::{evaluate, without_failing};
use super::recompute::Rows;
use super::{Arrangement, Change, Epoch, OUTPUT_ROWS_MAX, Operator, SortTerm, negative};
use crate::batch::failed;
use crate::functions::now;
use crate::state::{KeyLog, KeyedCodec, Loader, Saver, put_i64, take_i64};

/// How far ahead is looked for the time at which a row comes or goes: some 35 years.
const FUTURE_US: i64 = 1 << 50;

/// When a row is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// While its value is above the bound, or also at it: rows go.
    Above { or_at: bool },
    /// While its value is below the bound, or also at it: rows come.
    Below { or_at: bool },
}

impl When {
    /// Whether rows go with time, rather than come.
    pub(crate) fn is_until(self) -> bool {
        matches!(self, Self::Above { .. })
    }
}

pub(crate) struct Temporal {
    when: When,
    /// The bound, an expression of nothing but the time.
    bound: Expr,
    by: Arrangement,
    codec: KeyedCodec,
    /// Rows that the bound has yet to pass, beginning with their values.
    ahead: Rows,
    due: Option<Due>,
    /// The time of the last step.
    at_us: i64,
    bytes: usize,
    /// Rows that were touched since they were last saved.
    unsaved: KeyLog,
    name: String,
    /// Whose rows these are, for reports.
    view: String,
}

/// The first row that the bound has yet to pass, and when it will.
struct Due {
    row: Box<[u8]>,
    at_us: Option<i64>,
}

impl Temporal {
    pub(crate) fn new(
        (name, view): (String, String),
        when: When,
        value: SortTerm,
        bound: Expr,
        schema: SchemaRef,
    ) -> Result<Self> {
        let by = Arrangement { order: vec![value], ..Arrangement::by(vec![]) };
        let codec = by.codec(schema)?;
        let (ahead, due, bytes) = (Rows::new(), None, 0);
        let (at_us, unsaved) = (i64::MIN, KeyLog::default());
        Ok(Self { when, bound, by, codec, ahead, due, at_us, bytes, unsaved, name, view })
    }

    /// The bound at a time, encoded.
    pub(crate) fn bound_at(&self, time_us: i64) -> Result<Vec<u8>> {
        let expr = now::at_time(self.bound.clone(), time_us).map_err(failed)?;
        let context = PhysicalPlanningContext::default();
        let expr =
            create_physical_expr(&expr, &DFSchema::empty(), &ExecutionProps::new(), &context)
                .map_err(failed)?;
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let one = RecordBatch::try_new_with_options(Schema::empty().into(), vec![], &options)?;
        let bound = self.codec.encode_order(&[evaluate(&expr, &one)?])?;
        Ok(bound.get(0).to_vec())
    }

    /// Whether a row, which begins with its value, is let through.
    fn lets_through(&self, row: &[u8], bound: &[u8]) -> bool {
        // No encoded value is the beginning of another, so as many bytes decide.
        let value = &row[..bound.len().min(row.len())];
        match self.when {
            When::Above { or_at } => value > bound || or_at && value == bound,
            When::Below { or_at } => value < bound || or_at && value == bound,
        }
    }

    /// Whether the bound has yet to pass a row: what becomes of it is not settled.
    fn is_ahead(&self, row: &[u8], bound: &[u8]) -> bool {
        self.lets_through(row, bound) == self.when.is_until()
    }

    /// The rows that the bound passes when it moves, as changes.
    fn advance(&mut self, bound: &[u8], output: &mut Vec<Batch>) -> Result<()> {
        let mut passed = Vec::new();
        while let Some((first, _)) = self.ahead.first_key_value()
            && !self.is_ahead(first, bound)
            && let Some(first) = self.ahead.pop_first()
        {
            self.bytes -= first.0.len();
            self.unsaved.note(&[&first.0]);
            passed.push(first);
        }
        let sign = if self.when.is_until() { -1 } else { 1 };
        for part in passed.chunks(OUTPUT_ROWS_MAX) {
            let part: Vec<_> = part.iter().map(|(row, n)| (&**row, sign * n)).collect();
            output.push(unkeyed(&self.codec, &part)?);
        }
        Ok(())
    }

    /// Takes in changes, given the values of the rows, and adds those of rows that the bound has yet
    /// to pass to `ahead`. Returns those of rows that are let through.
    fn take_in(
        &self,
        batch: &Batch,
        value: &ArrayRef,
        bound: &[u8],
        ahead: &mut Rows,
    ) -> Result<Batch> {
        let rows = self.codec.encode_rest(std::slice::from_ref(value), batch.rows())?;
        let nulls = value.logical_nulls();
        let mut passing = Vec::with_capacity(batch.num_rows());
        for i in 0..batch.num_rows() {
            let row = rows.get(i);
            // A comparison with NULL is never true.
            let is_null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(i));
            passing.push(!is_null && self.lets_through(row, bound));
            if !is_null && self.is_ahead(row, bound) {
                change_count(ahead, row, batch.weight(i));
            }
        }
        batch.filter(&passing.into())
    }

    /// Notes when the first of the rows will be passed, as seen from `after_us`.
    fn note_due(&mut self, after_us: i64) {
        let Some((first, _)) = self.ahead.first_key_value() else {
            self.due = None;
            return;
        };
        if self.due.as_ref().is_none_or(|due| due.row != *first) {
            self.due = Some(Due { row: first.clone(), at_us: self.passes_at(first, after_us) });
        }
    }

    /// The first time after `after_us` at which the bound has passed a row.
    fn passes_at(&self, row: &[u8], after_us: i64) -> Option<i64> {
        let is_passed = |at: i64| self.bound_at(at).is_ok_and(|bound| !self.is_ahead(row, &bound));
        let (mut low, mut high) = (after_us, after_us.saturating_add(FUTURE_US));
        if !is_passed(high) {
            return None;
        }
        // The bound never moves back, so the time can be closed in on.
        while low < high {
            let middle = low + (high - low) / 2;
            if is_passed(middle) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Some(high)
    }

    fn keep(&mut self, changes: Rows) -> Result<()> {
        for (row, weight) in changes {
            self.unsaved.note(&[&row]);
            let count = self.ahead.get(&row).copied().unwrap_or(0) + weight;
            match count {
                ..0 => return Err(negative(&self.name, "a row")),
                0 => {
                    self.ahead.remove(&row);
                    self.bytes -= row.len();
                }
                _ if count == weight => {
                    self.bytes += row.len();
                    self.ahead.insert(row, count);
                }
                _ => {
                    self.ahead.insert(row, count);
                }
            }
        }
        Ok(())
    }
}

impl Operator for Temporal {
    fn is_due(&self, epoch: &Epoch<'_>) -> bool {
        self.due_at().is_some_and(|due_us| due_us <= epoch.time_us)
    }

    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let bound = self.bound_at(epoch.time_us)?;
        let (mut output, mut ahead) = (Vec::new(), Rows::new());
        self.advance(&bound, &mut output)?;
        for batch in inputs[0].batches {
            let (batch, (_, order)) =
                without_failing(epoch, &self.view, batch, |batch| self.by.evaluate(batch.rows()))?;
            output.push(self.take_in(&batch, &order[0], &bound, &mut ahead)?);
        }
        self.keep(ahead)?;
        self.at_us = epoch.time_us;
        self.note_due(epoch.time_us);
        output.retain(|batch| !batch.is_empty());
        Ok(output)
    }

    fn due_at(&self) -> Option<i64> {
        self.due.as_ref().and_then(|due| due.at_us)
    }

    fn begin_saving(&mut self) {
        self.unsaved.begin();
    }

    fn unsaved(&self) -> usize {
        self.unsaved.bytes()
    }

    fn save(&mut self, to: &mut Saver<'_>) -> Result<()> {
        let cells = self.unsaved.take_counts(|row| self.ahead.get(row).copied());
        to.cells("ahead", cells);
        to.value("at", |bytes| put_i64(bytes, self.at_us));
        Ok(())
    }

    fn load(&mut self, from: &Loader<'_>) -> Result<()> {
        let (ahead, bytes) = (&mut self.ahead, &mut self.bytes);
        from.cells("ahead", |row, mut count| {
            *bytes += row.len();
            ahead.insert(row.into(), take_i64(&mut count)?);
            Some(())
        })?;
        self.at_us = from.value("at", take_i64)?;
        self.note_due(self.at_us);
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.ahead.len()
    }

    fn state_bytes(&self) -> usize {
        self.bytes + self.ahead.len() * size_of::<(Box<[u8]>, i64)>()
    }
}
