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
    Distinct, Expr, LogicalPlan, Sort, Window, WindowFrameUnits, WindowFunctionDefinition,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use crate::functions::in_order::{ORDERED_AGGREGATES, OrderedCall, in_order};

/// Window functions that number or address rows one by one, so that ties matter.
pub(crate) const ORDERED_WINDOW_FUNCTIONS: [&str; 4] = ["row_number", "lag", "lead", "ntile"];

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
            LogicalPlan::Window(window) => Transformed::yes(windows_in_order(window)?),
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

/// Has aggregates find the order of their rows themselves. DISTINCT ON becomes such aggregates as it
/// is optimised, so this is a rule among those of the optimiser.
#[derive(Debug)]
pub(super) struct AggregatesInOrder;

impl OptimizerRule for AggregatesInOrder {
    fn name(&self) -> &'static str {
        "aggregates_in_order"
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
            LogicalPlan::Aggregate(_) => plan.map_expressions(|expr| {
                renamed(expr, |expr| expr.transform_up(aggregate_in_order))
            }),
            other => Ok(Transformed::no(other)),
        }
    }
}

fn aggregate_in_order(part: Expr) -> Result<Transformed<Expr>> {
    let Expr::AggregateFunction(mut call) = part else { return Ok(Transformed::no(part)) };
    let params = &mut call.params;
    let name = call.func.name();
    if !ORDERED_AGGREGATES.contains(&name) || params.order_by.is_empty() {
        return Ok(Transformed::no(Expr::AggregateFunction(call)));
    }
    let mut order = Vec::new();
    break_ties(&mut order, params.order_by.clone());
    let (distinct, null_treatment) = (params.distinct, params.null_treatment);
    let ordered = OrderedCall { name, args: &params.args, distinct, null_treatment };
    let Some((function, args)) = in_order(&ordered, &order) else {
        return Ok(Transformed::no(Expr::AggregateFunction(call)));
    };
    let filter = params.filter.take();
    let made = AggregateFunction::new_udf(function, args, false, filter, vec![], None);
    Ok(Transformed::yes(Expr::AggregateFunction(made)))
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

/// Functions of one node are computed over rows in one order. So those that take rows one by one, and
/// need a total order, are parted from those that go by the ORDER BY as written.
fn windows_in_order(window: Window) -> Result<LogicalPlan> {
    let ties = every_column(window.input.schema());
    let mut parts: Vec<(Option<Vec<SortExpr>>, Vec<Expr>)> = Vec::new();
    for expr in window.window_expr {
        let expr = renamed(expr, |expr| order_windows(expr, &ties))?.data;
        let order = match expr.clone().unalias_nested().data {
            Expr::WindowFunction(call) => Some(call.params.order_by),
            _ => None,
        };
        match parts.iter_mut().find(|(other, _)| *other == order) {
            Some((_, part)) => part.push(expr),
            None => parts.push((order, vec![expr])),
        }
    }
    let mut plan = window.input;
    for (_, part) in parts {
        plan = Arc::new(LogicalPlan::Window(Window::try_new(part, plan)?));
    }
    Ok(Arc::unwrap_or_clone(plan))
}

fn order_windows(expr: Expr, ties: &[SortExpr]) -> Result<Transformed<Expr>> {
    expr.transform_up(|part| {
        let Expr::WindowFunction(mut window) = part else {
            return Ok(Transformed::no(part));
        };
        let name = window.fun.name();
        let is_by_rows = window.params.window_frame.units == WindowFrameUnits::Rows;
        if ORDERED_WINDOW_FUNCTIONS.contains(&name) || is_by_rows {
            // From DataFusion's own no row can be taken when a frame moves on.
            let cannot_move = name == "string_agg";
            break_ties(&mut window.params.order_by, ties.to_vec());
            if cannot_move {
                order_peers(&mut window, ties);
            }
        } else if !ORDERED_AGGREGATES.contains(&name) || !order_peers(&mut window, ties) {
            return Ok(Transformed::no(Expr::WindowFunction(window)));
        }
        Ok(Transformed::yes(Expr::WindowFunction(window)))
    })
}

/// Has the function find the order of rows itself: what it is ORDER BY stays as written, for that
/// says which rows tie, and the frame goes by those. False if that cannot be done.
fn order_peers(window: &mut WindowFunction, ties: &[SortExpr]) -> bool {
    let (name, params) = (window.fun.name(), &mut window.params);
    let mut order = params.order_by.clone();
    break_ties(&mut order, ties.to_vec());
    let (distinct, null_treatment) = (params.distinct, params.null_treatment);
    let ordered = OrderedCall { name, args: &params.args, distinct, null_treatment };
    let Some((function, args)) = in_order(&ordered, &order) else { return false };
    (params.args, params.distinct, params.null_treatment) = (args, false, None);
    window.fun = WindowFunctionDefinition::AggregateUDF(function);
    true
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
