//! Bounds a recursion in the batch engine by what the circuit allows it: DataFusion would go on for
//! ever where every iteration makes more rows.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
};
use futures::StreamExt;

use crate::operators::{ITERATION_ROWS_MAX, ITERATIONS_MAX};

/// Puts a bound on every recursive term.
#[derive(Debug)]
pub(super) struct BoundRecursion;

impl PhysicalOptimizerRule for BoundRecursion {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            if !node.is::<RecursiveQueryExec>() {
                return Ok(Transformed::no(node));
            }
            let mut children: Vec<_> = node.children().into_iter().cloned().collect();
            if let Some(recursive) = children.pop() {
                let (begun, rows) = (Arc::default(), Arc::default());
                children.push(Arc::new(Bounded { input: recursive, begun, rows }));
            }
            let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            node.replace_children(children, options).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "bound_recursion"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Counts how often its input is begun, once per iteration, and the rows of all of them.
#[derive(Debug)]
struct Bounded {
    input: Arc<dyn ExecutionPlan>,
    begun: Arc<AtomicUsize>,
    rows: Arc<AtomicU64>,
}

impl DisplayAs for Bounded {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bounded")
    }
}

impl ExecutionPlan for Bounded {
    fn name(&self) -> &'static str {
        "Bounded"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([input]) = <[_; 1]>::try_from(children) else {
            return internal_err!("a bound is over one plan");
        };
        // Every iteration runs a copy of the plan; they share what is counted.
        Ok(Arc::new(Self { input, begun: self.begun.clone(), rows: self.rows.clone() }))
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if self.begun.fetch_add(1, Ordering::Relaxed) + 1 >= ITERATIONS_MAX {
            return exec_err!("a recursion has more than {ITERATIONS_MAX} iterations");
        }
        let rows = self.rows.clone();
        let counted = self.input.execute(partition, context)?.map(move |batch| {
            let batch = batch?;
            let more = batch.num_rows() as u64;
            if rows.fetch_add(more, Ordering::Relaxed) + more > ITERATION_ROWS_MAX {
                return exec_err!("a recursion has more than {ITERATION_ROWS_MAX} rows");
            }
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), counted)))
    }
}
