//! Scalar subqueries that do not depend on the row: their values become inputs of the node.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, TableReference};
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use syncline_change::Result;

use super::super::detail::filtered;
use super::{Compiler, arrow_schema, mapped_key};
use crate::batch::failed;
use crate::operators::{Arrangement, Map, Scalars};

/// What the values are called among columns.
const QUALIFIER: &str = "(scalar)";

/// The subqueries in `exprs`, each once.
pub(super) fn of<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> Result<Vec<Subquery>> {
    let mut found = Vec::new();
    for expr in exprs {
        let walked = expr.apply(|part| {
            if let Expr::ScalarSubquery(subquery) = part
                && !found.contains(subquery)
            {
                found.push(subquery.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        });
        walked.map_err(failed)?;
    }
    Ok(found)
}

/// The column that stands for a value.
fn column(value: usize) -> Column {
    Column::new(Some(TableReference::bare(QUALIFIER)), value.to_string())
}

/// `expr` with columns in place of subqueries.
fn replaced(expr: &Expr, subqueries: &[Subquery]) -> Result<Expr> {
    let replaced = expr.clone().transform(|part| {
        let Expr::ScalarSubquery(subquery) = &part else { return Ok(Transformed::no(part)) };
        Ok(match subqueries.iter().position(|other| other == subquery) {
            Some(value) => Transformed::yes(Expr::Column(column(value))),
            None => Transformed::no(part),
        })
    });
    Ok(replaced.map_err(failed)?.data)
}

impl Compiler {
    /// A filter and projection over the node of its input, with `subqueries` in its expressions.
    pub(super) fn map_with_scalars(
        &mut self,
        (input, schema): (usize, &DFSchema),
        predicate: Option<&Expr>,
        columns: Option<&[Expr]>,
        subqueries: &[Subquery],
        plan: &LogicalPlan,
    ) -> Result<usize> {
        let mut values = Vec::with_capacity(subqueries.len());
        let mut fields = Vec::with_capacity(subqueries.len());
        for (value, subquery) in subqueries.iter().enumerate() {
            values.push(self.compile(&subquery.subquery)?);
            let field = subquery.subquery.schema().field(0).as_ref().clone();
            let (qualifier, field) = (column(value).relation, field.with_name(value.to_string()));
            fields.push((qualifier, Arc::new(field.with_nullable(true))));
        }
        let added = DFSchema::new_with_metadata(fields, Default::default()).map_err(failed)?;
        let extended = schema.join(&added).map_err(failed)?;
        let physical = |expr: &Expr| self.physical(&replaced(expr, subqueries)?, &extended);
        let open = Map {
            view: self.view.clone(),
            predicate: predicate.map(physical).transpose()?,
            columns: columns
                .map(|columns| columns.iter().map(physical).collect::<Result<Vec<_>>>())
                .transpose()?,
            schema: arrow_schema(plan),
        };
        let detail = filtered(columns, predicate);
        let key = self.nodes[input].key.as_ref();
        let key = key.and_then(|key| mapped_key(key, open.columns.as_deref()));
        let by = Arrangement { ordered: false, ..Arrangement::by(vec![]) };
        let rows = self.arrange(input, by)?;
        let schemas: Vec<_> =
            values.iter().map(|&value| self.nodes[value].schema.clone()).collect();
        let name = format!("scalar subquery ({detail})");
        let schema = open.schema.clone();
        let work = Scalars::new(name, open, self.nodes[rows].schema.fields().len(), &schemas)?;
        let inputs = [rows].into_iter().chain(values).collect();
        let node = self.operator("scalar subquery", detail, Box::new(work), inputs, schema);
        self.nodes[node].key = key;
        Ok(node)
    }

    /// The node of a plan whose expressions hold `subqueries` and are no filter or projection: one
    /// below it computes the values, as columns.
    pub(super) fn over_scalars(
        &mut self,
        plan: &LogicalPlan,
        subqueries: &[Subquery],
    ) -> Result<usize> {
        let lifted = lifted(plan, subqueries).map_err(failed)?;
        self.compile(&lifted)
    }
}

/// The same plan over a projection that has the values as columns, which are left out again above.
fn lifted(plan: &LogicalPlan, subqueries: &[Subquery]) -> Result<LogicalPlan, DataFusionError> {
    let mut inputs: Vec<LogicalPlan> = plan.inputs().into_iter().cloned().collect();
    let first = inputs.remove(0);
    let values = subqueries.iter().enumerate().map(|(value, subquery)| {
        Expr::ScalarSubquery(subquery.clone())
            .alias_qualified(column(value).relation, value.to_string())
    });
    let columns = first.schema().columns().into_iter().map(Expr::Column);
    let all: Vec<Expr> = columns.chain(values).collect();
    let first = LogicalPlanBuilder::from(first).project(all)?.build()?;
    let expressions = plan.expressions().into_iter().map(|expr| {
        let replaced = replaced(&expr, subqueries)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        // What is above knows a computed column by the name that its expression gave it.
        let name = expr.schema_name().to_string();
        let is_named = matches!(plan, LogicalPlan::Aggregate(_) | LogicalPlan::Window(_));
        let keeps = !is_named || replaced.schema_name().to_string() == name;
        Ok(if keeps { replaced } else { replaced.alias(name) })
    });
    let expressions = expressions.collect::<Result<_, DataFusionError>>()?;
    let inputs = [first].into_iter().chain(inputs).collect();
    let over = plan.with_new_exprs(expressions, inputs)?;
    let columns = plan.schema().columns().into_iter().map(Expr::Column);
    LogicalPlanBuilder::from(over).project(columns)?.build()
}
