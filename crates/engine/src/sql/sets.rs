//! EXCEPT ALL and INTERSECT ALL as the standard has them: of a row that is there m times on the left
//! and n times on the right, m - n (at least none) and the lesser of both are shown.
//!
//! DataFusion plans them as joins by all columns, which would show all m or none. Here equal rows are
//! numbered on either side, and the number is one more column to join by. (Without ALL it makes the
//! left side distinct first, and the join is right as it is.)

use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{
    Distinct, Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder,
};

/// The plan with equal rows told apart where they count.
pub(super) fn count_copies(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if is_of_copies(&join) => by_number(join).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    })
    .data()
}

/// Only set operations are planned with NULLs that are equal.
fn is_of_copies(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(Distinct::All(_)))
}

fn by_number(join: Join) -> Result<LogicalPlan> {
    let columns: Vec<Expr> = join.left.schema().columns().into_iter().map(Expr::Column).collect();
    let (left, right) = ("(number on the left)", "(number on the right)");
    let mut on = join.on;
    let number = |name| Expr::Column(Column::new_unqualified(name));
    on.push((number(left), number(right)));
    let join = Join::try_new(
        numbered(&join.left, left)?.into(),
        numbered(&join.right, right)?.into(),
        on,
        join.filter,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    LogicalPlanBuilder::from(LogicalPlan::Join(join)).project(columns)?.build()
}

/// The rows of `plan` with a last column that numbers equal ones.
fn numbered(plan: &LogicalPlan, name: &str) -> Result<LogicalPlan> {
    let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let number = row_number().partition_by(columns.clone()).build()?;
    let column = Expr::Column(Column::new_unqualified(number.schema_name().to_string()));
    let all = columns.into_iter().chain([column.alias(name)]);
    LogicalPlanBuilder::from(plan.clone()).window([number])?.project(all)?.build()
}
