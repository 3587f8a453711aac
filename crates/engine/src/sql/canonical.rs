//! Has every float that a plan computes made canonical, as `functions/canonical.rs` says why.
//!
//! A rule of the analyser behind the coercion of types, so that implicit casts are seen too, and both
//! the batch engine and the circuit start from what it makes.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator};
use datafusion::optimizer::AnalyzerRule;

use crate::functions::canonical::{canonical_expr, canonical_scalar, is_canonical};

/// Functions that hand on one of their arguments. (Those that take a value out of a list or a struct
/// are not among them: what is inside of these is as it came.)
const HAND_ON: [&str; 7] = ["coalesce", "greatest", "least", "nanvl", "nullif", "nvl", "nvl2"];
/// Aggregates that take means of two values, and are not our own.
const MEANS: [&str; 2] = ["median", "percentile_cont"];

#[derive(Debug)]
pub(super) struct CanonicalFloats;

impl AnalyzerRule for CanonicalFloats {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        canonical_plan(plan)
    }

    fn name(&self) -> &'static str {
        "canonical_floats"
    }
}

/// The plan, and those of its subqueries. (The walk that takes subqueries along makes every Unnest
/// anew, with other types than the nodes above it know.)
fn canonical_plan(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up(canonical_node).data()
}

fn canonical_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::Unnest(_) = node {
        return canonical_columns(node, taken_out);
    }
    let schema = merge_schema(&node.inputs());
    let names = NamePreserver::new(&node);
    let changed = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let changed = expr.transform_up(|part| canonical_part(part, &schema))?;
        Ok(changed.update_data(|expr| name.restore(expr)))
    })?;
    match &changed.data {
        LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) => {
            let named = canonical_columns(changed.data, means)?;
            Ok(Transformed::new(named.data, changed.transformed || named.transformed, changed.tnr))
        }
        _ => Ok(changed),
    }
}

fn canonical_part(part: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(Transformed::yes(match part {
        Expr::ScalarSubquery(of) => Expr::ScalarSubquery(canonical_subquery(of)?),
        Expr::Exists(Exists { subquery, negated }) => {
            Expr::Exists(Exists { subquery: canonical_subquery(subquery)?, negated })
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            let subquery = canonical_subquery(subquery)?;
            Expr::InSubquery(InSubquery { expr, subquery, negated })
        }
        Expr::SetComparison(mut of) => {
            of.subquery = canonical_subquery(of.subquery)?;
            Expr::SetComparison(of)
        }
        part => return Ok(canonical_value(part, schema)),
    }))
}

fn canonical_subquery(of: Subquery) -> Result<Subquery> {
    let plan = canonical_plan(Arc::unwrap_or_clone(of.subquery))?;
    Ok(Subquery { subquery: Arc::new(plan), ..of })
}

fn canonical_value(part: Expr, schema: &DFSchema) -> Transformed<Expr> {
    if let Expr::Literal(value, _) = &part {
        let is_other = canonical_scalar(value.clone()) != *value;
        return if is_other {
            Transformed::yes(canonical_expr(part))
        } else {
            Transformed::no(part)
        };
    }
    if let Expr::ScalarFunction(call) = &part
        && is_canonical(&part)
        && let [inner] = call.args.as_slice()
        && is_canonical(inner)
    {
        // The rule has been here before.
        return Transformed::yes(inner.clone());
    }
    // What has no type yet, such as the parameter of a lambda, is left alone.
    let makes_others = may_make_others(&part, schema) && part.get_type(schema).is_ok_and(is_float);
    match makes_others {
        true => Transformed::yes(canonical_expr(part)),
        false => Transformed::no(part),
    }
}

fn is_float(of: DataType) -> bool {
    matches!(of, DataType::Float32 | DataType::Float64)
}

/// Whether the expression itself may make a NaN or a -0 of values that are canonical, if it is one of
/// floats.
fn may_make_others(part: &Expr, schema: &DFSchema) -> bool {
    use Operator::{Divide, Minus, Modulo, Multiply, Plus};
    let inner = match part {
        Expr::BinaryExpr(binary) => {
            return matches!(binary.op, Plus | Minus | Multiply | Divide | Modulo);
        }
        Expr::Negative(_) => return true,
        Expr::ScalarFunction(call) => {
            return !is_canonical(part) && !HAND_ON.contains(&call.func.name());
        }
        Expr::Cast(cast) => &cast.expr,
        Expr::TryCast(cast) => &cast.expr,
        _ => return false,
    };
    // Numbers without a point have neither; a text may be `NaN`, and a small DOUBLE becomes a -0.
    let from = inner.get_type(schema);
    let keeps = |from: DataType| {
        from.is_integer()
            || from.is_decimal()
            || from == DataType::Float32
            || from == DataType::Float64 && part.get_type(schema).is_ok_and(|to| to == from)
    };
    !from.is_ok_and(keeps)
}

/// The node with a projection above it that makes those of its columns canonical that `which` says, if
/// they are floats.
fn canonical_columns(
    plan: LogicalPlan,
    which: fn(&LogicalPlan) -> Vec<bool>,
) -> Result<Transformed<LogicalPlan>> {
    let fields = plan.schema().fields().iter();
    let is_other: Vec<bool> = which(&plan)
        .into_iter()
        .zip(fields)
        .map(|(is_other, field)| is_other && is_float(field.data_type().clone()))
        .collect();
    if !is_other.contains(&true) {
        return Ok(Transformed::no(plan));
    }
    let columns: Vec<Expr> = plan
        .schema()
        .iter()
        .zip(is_other)
        .map(|((qualifier, field), is_other)| {
            let column = Expr::Column(Column::from((qualifier, field.as_ref())));
            match is_other {
                true => canonical_expr(column).alias_qualified(qualifier.cloned(), field.name()),
                false => column,
            }
        })
        .collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build().map(Transformed::yes)
}

/// Which columns of an Unnest come out of a list or a struct.
fn taken_out(plan: &LogicalPlan) -> Vec<bool> {
    let LogicalPlan::Unnest(unnest) = plan else { return vec![] };
    let lists = unnest.list_type_columns.iter().map(|(list, _)| *list);
    let of: Vec<usize> = lists.chain(unnest.struct_type_columns.iter().copied()).collect();
    unnest.dependency_indices.iter().map(|input| of.contains(input)).collect()
}

/// Which columns of an aggregate or of window functions are means that are taken.
fn means(plan: &LogicalPlan) -> Vec<bool> {
    let calls = match plan {
        LogicalPlan::Aggregate(aggregate) => &aggregate.aggr_expr,
        LogicalPlan::Window(window) => &window.window_expr,
        _ => return vec![],
    };
    let before = plan.schema().fields().len() - calls.len();
    std::iter::repeat_n(false, before).chain(calls.iter().map(takes_means)).collect()
}

fn takes_means(call: &Expr) -> bool {
    match call.clone().unalias_nested().data {
        Expr::AggregateFunction(call) => MEANS.contains(&call.func.name()),
        Expr::WindowFunction(call) => MEANS.contains(&call.fun.name()),
        _ => false,
    }
}
