//! DISTINCT ON as the rows whose number is 1, which the circuit keeps up to date.
//!
//! Only the circuit's plan is changed: the batch engine computes the first value of every column.

use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{Column, Result};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{
    Distinct, DistinctOn, Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, lit,
};

/// The plan with row numbers in place of DISTINCT ON.
pub(super) fn as_first_rows(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Distinct(Distinct::On(on)) => first_rows(on).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    })
    .data()
}

fn first_rows(on: DistinctOn) -> Result<LogicalPlan> {
    let number =
        row_number().partition_by(on.on_expr).order_by(on.sort_expr.unwrap_or_default()).build()?;
    let column = Expr::Column(Column::new_unqualified(number.schema_name().to_string()));
    let shown = on.select_expr.into_iter().zip(on.schema.iter());
    let shown = shown.map(|(expr, (qualifier, field))| {
        expr.unalias().alias_qualified(qualifier.cloned(), field.name())
    });
    LogicalPlanBuilder::from(on.input)
        .window([number])?
        .filter(column.lt_eq(lit(1_u64)))?
        .project(shown.collect::<Vec<_>>())?
        .build()
}
