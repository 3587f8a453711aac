//! Whatever has no operator of its own: computed anew by DataFusion, then compared with before.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::LogicalPlan;
use syncline_change::row::{RowCodec, canonical};
use syncline_change::source::{RejectClass, Rejected};
use syncline_change::{Batch, Error, ErrorKind, Result};

use super::accumulate::change_count;
use super::top::changes;
use super::{Change, Epoch, Operator, relabel};
use crate::batch::Runner;
use crate::content::Content;
use crate::functions::now;

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
    output: BTreeMap<Box<[u8]>, i64>,
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
            output: BTreeMap::new(),
            runner,
            view,
        })
    }
}

/// The report of a result that could not be computed.
fn failed(epoch: u64, error: &Error) -> Rejected {
    Rejected {
        bytes: vec![],
        context: None,
        position: format!("epoch {epoch}"),
        class: RejectClass::Expression,
        message: format!(
            "the view stays as it was, because its query failed: {}",
            error.detail_text().unwrap_or(error.message())
        ),
    }
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
        let mut output = BTreeMap::new();
        for rows in result {
            let rows = relabel(&Batch::inserts(rows), self.codec.schema())?;
            let rows = canonical(rows.rows().clone())?;
            let encoded = self.codec.encode_batch(&rows)?;
            for row in &encoded {
                change_count(&mut output, row.as_ref(), 1);
            }
        }
        let before = std::mem::replace(&mut self.output, output);
        changes(&self.codec, &before, &self.output)
    }

    fn state_rows(&self) -> usize {
        self.output.len() + self.inputs.iter().map(Content::len).sum::<usize>()
    }
}
