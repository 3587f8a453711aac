//! Makes every order that a result depends on a total one.
//!
//! SQL leaves open which of two rows comes first when they tie, and which rows a LIMIT without ORDER
//! BY keeps. A view must be the same in every run, so ties are broken by the remaining columns, in
//! the order in which they stand, ascending, nulls last.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::{AggregateFunction, Sort as SortExpr, WindowFunction};
use datafusion::logical_expr::{
    Distinct, Expr, LogicalPlan, Sort, WindowFrameUnits, WindowFunctionDefinition,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// Aggregates whose result depends on the order of their input.
const ORDERED_AGGREGATES: [&str; 5] =
    ["array_agg", "string_agg", "first_value", "last_value", "nth_value"];
/// Window functions that number or address rows one by one, so that ties matter.
const ORDERED_WINDOW_FUNCTIONS: [&str; 4] = ["row_number", "lag", "lead", "ntile"];

/// The plan with every tie broken.
pub(crate) fn total(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        Ok(match node {
            LogicalPlan::Sort(mut sort) => {
                let ties = every_column(sort.input.schema());
                break_ties(&mut sort.expr, ties);
                Transformed::yes(LogicalPlan::Sort(sort))
            }
            LogicalPlan::Limit(mut limit) if !is_sorted(&limit.input) => {
                let expr = every_column(limit.input.schema());
                limit.input =
                    Arc::new(LogicalPlan::Sort(Sort { expr, input: limit.input, fetch: None }));
                Transformed::yes(LogicalPlan::Limit(limit))
            }
            LogicalPlan::Distinct(Distinct::On(mut on)) => {
                let mut sort = on.sort_expr.take().unwrap_or_default();
                if sort.is_empty() {
                    sort = on.on_expr.iter().map(|expr| expr.clone().sort(true, false)).collect();
                }
                break_ties(&mut sort, every_column(on.input.schema()));
                on.sort_expr = Some(sort);
                Transformed::yes(LogicalPlan::Distinct(Distinct::On(on)))
            }
            LogicalPlan::Window(window) => {
                let ties = every_column(window.input.schema());
                LogicalPlan::Window(window)
                    .map_expressions(|expr| renamed(expr, |expr| order_windows(expr, &ties)))?
            }
            LogicalPlan::Aggregate(aggregate) => LogicalPlan::Aggregate(aggregate)
                .map_expressions(|expr| renamed(expr, order_aggregates))?,
            other => Transformed::no(other),
        })
    })
    .data()
}

/// Whether the rows of `plan` come in the order of a Sort, which is total already.
fn is_sorted(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(projection) => is_sorted(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_sorted(&alias.input),
        _ => false,
    }
}

fn every_column(schema: &DFSchema) -> Vec<SortExpr> {
    schema
        .iter()
        .filter(|(_, field)| {
            !matches!(field.data_type(), DataType::Map(_, _) | DataType::Union(_, _))
        })
        .map(|(qualifier, field)| {
            Expr::Column(Column::from((qualifier, field.as_ref()))).sort(true, false)
        })
        .collect()
}

/// Appends what of `ties` the sort does not hold yet.
fn break_ties(sort: &mut Vec<SortExpr>, ties: Vec<SortExpr>) {
    for tie in ties {
        if !sort.iter().any(|have| have.expr == tie.expr) {
            sort.push(tie);
        }
    }
}

/// Leaves out of aggregates' orders what stands in them before: it decides nothing, and DataFusion's
/// `first_value` panics over it. Terms may become equal only when they are simplified, so this is a
/// rule among those of the optimiser.
#[derive(Debug)]
pub(super) struct TermsOnce;

impl OptimizerRule for TermsOnce {
    fn name(&self) -> &'static str {
        "terms_once"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Aggregate(_) => {
                plan.map_expressions(|expr| renamed(expr, |expr| expr.transform_up(terms_once)))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

fn terms_once(part: Expr) -> Result<Transformed<Expr>> {
    let Expr::AggregateFunction(mut call) = part else { return Ok(Transformed::no(part)) };
    let order = std::mem::take(&mut call.params.order_by);
    let given = order.len();
    break_ties(&mut call.params.order_by, order);
    let changed = call.params.order_by.len() < given;
    let part = Expr::AggregateFunction(call);
    Ok(if changed { Transformed::yes(part) } else { Transformed::no(part) })
}

/// A column keeps the name by which the plan above knows it, though its expression changes.
fn renamed(
    expr: Expr,
    change: impl FnOnce(Expr) -> Result<Transformed<Expr>>,
) -> Result<Transformed<Expr>> {
    let name = expr.schema_name().to_string();
    let changed = change(expr)?;
    if !changed.transformed {
        return Ok(changed);
    }
    Ok(changed.update_data(|expr| {
        if expr.schema_name().to_string() == name { expr } else { expr.alias(name) }
    }))
}

fn order_windows(expr: Expr, ties: &[SortExpr]) -> Result<Transformed<Expr>> {
    expr.transform_up(|part| {
        let Expr::WindowFunction(mut window) = part else {
            return Ok(Transformed::no(part));
        };
        if !depends_on_ties(&window) {
            return Ok(Transformed::no(Expr::WindowFunction(window)));
        }
        break_ties(&mut window.params.order_by, ties.to_vec());
        Ok(Transformed::yes(Expr::WindowFunction(window)))
    })
}

fn depends_on_ties(window: &WindowFunction) -> bool {
    let name = match &window.fun {
        WindowFunctionDefinition::WindowUDF(function) => function.name(),
        WindowFunctionDefinition::AggregateUDF(function) => function.name(),
    };
    ORDERED_WINDOW_FUNCTIONS.contains(&name)
        || window.params.window_frame.units == WindowFrameUnits::Rows
        || ORDERED_AGGREGATES.contains(&name)
}

fn order_aggregates(expr: Expr) -> Result<Transformed<Expr>> {
    expr.transform_up(|part| {
        let Expr::AggregateFunction(mut call) = part else {
            return Ok(Transformed::no(part));
        };
        if !ORDERED_AGGREGATES.contains(&call.func.name()) {
            return Ok(Transformed::no(Expr::AggregateFunction(call)));
        }
        let ties = ordered_arguments(&call);
        break_ties(&mut call.params.order_by, ties);
        Ok(Transformed::yes(Expr::AggregateFunction(call)))
    })
}

/// What an ordered aggregate takes from a row: two rows that agree in it may swap places unseen.
fn ordered_arguments(call: &AggregateFunction) -> Vec<SortExpr> {
    let values = if call.func.name() == "array_agg" { call.params.args.len() } else { 1 };
    let arguments = call.params.args.iter().take(values);
    arguments.map(|argument| argument.clone().sort(true, false)).collect()
}
