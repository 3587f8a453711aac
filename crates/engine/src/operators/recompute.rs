//! Whatever has no operator of its own: computed anew by DataFusion, then compared with before.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::LogicalPlan;
use syncline_change::row::{RowCodec, canonical};
use syncline_change::source::Rejected;
use syncline_change::{Batch, Error, ErrorKind, Result};

use super::accumulate::{change_count, put_counts, take_counts};
use super::map::rejected_as_a_whole;
use super::{Change, Epoch, Operator, heap_bytes, relabel, tree_bytes};
use crate::batch::Runner;
use crate::content::Content;
use crate::functions::now;
use crate::state::{Loader, Saver, put_flag, take_flag};

/// Encoded rows and how often each is there.
pub(super) type Rows = BTreeMap<Box<[u8]>, i64>;

/// Keeps its inputs' whole content and its last result.
pub(crate) struct Recompute {
    plan: LogicalPlan,
    /// The tables that the plan reads, one for each input.
    tables: Vec<Arc<MemTable>>,
    inputs: Vec<Content>,
    reads_clock: bool,
    /// Whether a first result has been computed: even no input has one.
    started: bool,
    codec: RowCodec,
    output: Rows,
    runner: Arc<Runner>,
    /// Whose rows these are, for reports.
    view: String,
}

impl Recompute {
    /// `tables` are what `plan` scans, in the order of the operator's inputs.
    pub(crate) fn new(
        runner: Arc<Runner>,
        view: String,
        plan: LogicalPlan,
        tables: Vec<(Arc<MemTable>, SchemaRef)>,
        schema: SchemaRef,
    ) -> Result<Self> {
        let inputs = tables.iter().map(|(_, schema)| Content::new(schema.clone(), vec![]));
        let reads_clock = now::reads_clock(&plan).map_err(crate::batch::failed)?;
        Ok(Self {
            inputs: inputs.collect::<Result<_>>()?,
            tables: tables.into_iter().map(|(table, _)| table).collect(),
            plan,
            reads_clock,
            started: false,
            codec: RowCodec::new(schema)?,
            output: Rows::new(),
            runner,
            view,
        })
    }
}

/// The report of a result that could not be computed.
fn failed(epoch: u64, error: &Error) -> Rejected {
    let why = error.detail_text().unwrap_or(error.message());
    let message = format!("the view stays as it was, because its query failed: {why}");
    rejected_as_a_whole(epoch, message)
}

impl Operator for Recompute {
    fn is_due(&self, _: &Epoch<'_>) -> bool {
        !self.started || self.reads_clock
    }

    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        if inputs.iter().all(|input| input.batches.is_empty()) && !self.is_due(epoch) {
            return Ok(vec![]);
        }
        self.started = true;
        for (content, input) in self.inputs.iter_mut().zip(inputs) {
            let schema = content.schema().clone();
            for batch in input.batches {
                content.apply(&relabel(batch, &schema)?)?;
            }
        }
        for (table, content) in self.tables.iter().zip(&self.inputs) {
            self.runner.fill(table, content.batches()?)?;
        }
        let result = self.runner.run(&self.plan, epoch.time_us);
        for table in &self.tables {
            self.runner.fill(table, vec![])?;
        }
        let result = match result {
            Ok(result) => result,
            Err(error) if error.kind() == ErrorKind::Input => {
                // Which row it was cannot be told here: the result stays as it was, and the next
                // change tries again.
                epoch.rejected.push((self.view.clone(), failed(epoch.number, &error)));
                return Ok(vec![]);
            }
            Err(error) => return Err(error),
        };
        let mut output = Rows::new();
        for rows in result {
            let rows = relabel(&Batch::inserts(rows), self.codec.schema())?;
            count_rows(&self.codec, &canonical(rows.rows().clone())?, &mut output)?;
        }
        let before = std::mem::replace(&mut self.output, output);
        difference(&self.codec, &before, &self.output)
    }

    /// As a whole: every change costs as much anyway.
    fn save(&mut self, to: &mut Saver<'_>) -> Result<()> {
        for (number, content) in self.inputs.iter().enumerate() {
            if to.is_complete() {
                to.whole(number, content.save());
            }
        }
        to.value("output", |bytes| {
            put_flag(bytes, self.started);
            put_counts(bytes, &self.output);
        });
        Ok(())
    }

    fn load(&mut self, from: &Loader<'_>) -> Result<()> {
        for (number, content) in self.inputs.iter_mut().enumerate() {
            from.cells(number, |row, count| content.insert(row, count))?;
        }
        let read = |bytes: &mut &[u8]| Some((take_flag(bytes)?, take_counts(bytes)?));
        (self.started, self.output) = from.value("output", read)?;
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.output.len() + self.inputs.iter().map(Content::len).sum::<usize>()
    }

    fn state_bytes(&self) -> usize {
        rows_bytes(&self.output) + self.inputs.iter().map(Content::bytes).sum::<usize>()
    }
}

/// Bytes of memory that counted rows take.
pub(super) fn rows_bytes(rows: &Rows) -> usize {
    let blocks = rows.keys().map(|row| heap_bytes(row.len()));
    tree_bytes::<(Box<[u8]>, i64)>(rows.len()) + blocks.sum::<usize>()
}

/// Adds `rows` to what is counted.
pub(super) fn count_rows(codec: &RowCodec, rows: &RecordBatch, counts: &mut Rows) -> Result<()> {
    for row in &codec.encode_batch(rows)? {
        change_count(counts, row.as_ref(), 1);
    }
    Ok(())
}

/// Adds up the changes of every row.
pub(super) fn count_changes(codec: &RowCodec, batches: &[Batch], counts: &mut Rows) -> Result<()> {
    for batch in batches {
        let batch = relabel(batch, codec.schema())?;
        for (i, row) in codec.encode_batch(batch.rows())?.iter().enumerate() {
            change_count(counts, row.data(), batch.weight(i));
        }
    }
    Ok(())
}

/// What turns `before` into `after`, as at most one batch: first what goes, then what comes, each in
/// the order of rows.
pub(super) fn difference(codec: &RowCodec, before: &Rows, after: &Rows) -> Result<Vec<Batch>> {
    let count = |of: &Rows, row: &[u8]| of.get(row).copied().unwrap_or(0);
    let fewer = before.keys().map(|row| (&**row, (count(after, row) - count(before, row)).min(0)));
    let more = after.keys().map(|row| (&**row, (count(after, row) - count(before, row)).max(0)));
    let changes: Vec<(&[u8], i64)> = fewer.chain(more).filter(|(_, weight)| *weight != 0).collect();
    if changes.is_empty() {
        return Ok(vec![]);
    }
    let rows = codec.decode_batch(changes.iter().map(|(row, _)| *row))?;
    let weights: Vec<i64> = changes.iter().map(|(_, weight)| *weight).collect();
    Ok(vec![Batch::new(rows, Int64Array::from(weights))?])
}
