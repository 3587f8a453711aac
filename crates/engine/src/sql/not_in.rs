//! NOT IN over a subquery that depends on the row.
//!
//! DataFusion joins for NOT IN by the one column that is compared, and knows no join for which equal
//! keys decide beside it. In a WHERE it is the same that no row of the subquery is equal, or could be
//! if a NULL were known: a NOT EXISTS, which any subquery may be in.

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, LogicalPlanBuilder};

use super::reaches_out;

/// The plan without such conditions in filters.
pub(super) fn as_not_exists(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Filter(filter) => rewrite(filter),
        other => Ok(Transformed::no(other)),
    })
    .data()
}

fn rewrite(mut filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let conditions = split_conjunction_owned(filter.predicate.clone());
    let mut is_any = false;
    let mut rewritten = Vec::with_capacity(conditions.len());
    for condition in conditions {
        match correlated(&condition)? {
            Some(of) => {
                is_any = true;
                rewritten.push(not_exists(of, filter.input.schema())?);
            }
            None => rewritten.push(condition),
        }
    }
    if let (true, Some(predicate)) = (is_any, conjunction(rewritten)) {
        filter.predicate = predicate;
    }
    let node = LogicalPlan::Filter(filter);
    Ok(if is_any { Transformed::yes(node) } else { Transformed::no(node) })
}

/// What a NOT IN compares, if its subquery depends on the row.
fn correlated(condition: &Expr) -> Result<Option<&InSubquery>> {
    let of = match condition {
        Expr::InSubquery(of) if of.negated => of,
        Expr::Not(inner) => match inner.as_ref() {
            Expr::InSubquery(of) if !of.negated => of,
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let reaches = reaches_out(&of.expr)?;
    Ok(Some(of).filter(|of| !reaches && !of.subquery.outer_ref_columns.is_empty()))
}

fn not_exists(of: &InSubquery, schema: &DFSchema) -> Result<Expr> {
    let Subquery { subquery, mut outer_ref_columns, spans } = of.subquery.clone();
    let value = of.expr.as_ref().clone().transform(|part| {
        let Expr::Column(column) = part else { return Ok(Transformed::no(part)) };
        let (_, field) = schema.qualified_field_from_column(&column)?;
        let outer = Expr::OuterReferenceColumn(field.clone(), column);
        if !outer_ref_columns.contains(&outer) {
            outer_ref_columns.push(outer.clone());
        }
        Ok(Transformed::yes(outer))
    })?;
    let compared = Expr::Column(subquery.schema().columns().remove(0));
    let may_be_equal = Expr::IsNotFalse(Box::new(value.data.eq(compared)));
    let subquery = LogicalPlanBuilder::from(subquery.as_ref().clone()).filter(may_be_equal)?;
    let subquery = Subquery { subquery: subquery.build()?.into(), outer_ref_columns, spans };
    Ok(Expr::Exists(Exists::new(subquery, true)))
}
