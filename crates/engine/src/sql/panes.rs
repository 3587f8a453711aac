//! Aggregates over windows that overlap, computed per pane first.
//!
//! `hop` repeats every row for each window that the row is in, by `unnest` of a list of starts. An
//! aggregate by window would be told of every row as many times. Where its calls can be put
//! together from parts, the parts are computed by pane (what of the row decides its windows) and by
//! the other keys, then repeated, then put together. The work for a row is that of one pane.
//!
//! Only the circuit's plan is changed: the batch engine computes what was written.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, NullHandling, Result, ScalarValue, UnnestOptions};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::expr_fn::{max, min, sum};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Unnest, cast, lit,
};

use super::reaches_out;

/// The name of what is repeated: the column of list elements.
const ELEMENT: &str = "(element)";

/// The plan with every aggregate that allows it computed per pane first.
pub(super) fn share(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let shared = match &node {
            LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate)?,
            _ => None,
        };
        Ok(shared.map_or_else(|| Transformed::no(node), Transformed::yes))
    })
    .data()
}

fn of_aggregate(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let mut above = Above {
        groups: aggregate.group_expr.clone(),
        calls: aggregate.aggr_expr.clone(),
        filters: vec![],
    };
    let Some(unnest) = above.descend(&aggregate.input)? else { return Ok(None) };
    if above.is_unfit()? {
        return Ok(None);
    }
    let Some(repeated) = Repeated::of(unnest, &mut above)? else { return Ok(None) };
    let Above { groups, calls, filters } = above;
    let schema = repeated.base.schema();
    let mut calls_by_part = Vec::new();
    for call in calls {
        match Call::of(call, schema)? {
            Some(call) => calls_by_part.push(call),
            None => return Ok(None),
        }
    }
    let mut panes = Panes::default();
    let groups: Option<Vec<Expr>> = groups.into_iter().map(|group| panes.key(group)).collect();
    let (repeats, kept): (Vec<_>, Vec<_>) = filters.into_iter().partition(is_repeated);
    let repeats: Option<Vec<Expr>> = repeats.into_iter().map(|only| panes.key(only)).collect();
    let (Some(groups), Some(repeats)) = (groups, repeats) else { return Ok(None) };
    if !panes.are_worth_it {
        return Ok(None);
    }
    repeated
        .build(aggregate.schema.as_ref(), panes, (kept, repeats), (groups, calls_by_part))
        .map(Some)
}

/// What stands above the place where rows are repeated, in terms of the columns there.
struct Above {
    groups: Vec<Expr>,
    calls: Vec<Expr>,
    filters: Vec<Expr>,
}

impl Above {
    /// Follows `plan` down to what repeats rows, through what only renames, computes and filters.
    fn descend<'a>(&mut self, mut plan: &'a LogicalPlan) -> Result<Option<&'a Unnest>> {
        loop {
            plan = match plan {
                LogicalPlan::Unnest(unnest) => return Ok(Some(unnest)),
                LogicalPlan::SubqueryAlias(alias) => {
                    let columns = alias.input.schema().columns().into_iter().map(Expr::Column);
                    self.replace(&alias.schema, &columns.collect::<Vec<_>>())?;
                    &alias.input
                }
                LogicalPlan::Projection(projection) => {
                    self.replace(&projection.schema, &projection.expr)?;
                    &projection.input
                }
                LogicalPlan::Filter(filter) => {
                    self.filters.extend(split_conjunction(&filter.predicate).into_iter().cloned());
                    &filter.input
                }
                _ => return Ok(None),
            };
        }
    }

    /// Whether something cannot be moved. Subqueries, and a query around this one, know the columns by
    /// names that would be gone; grouping sets are no keys.
    fn is_unfit(&self) -> Result<bool> {
        let all = self.groups.iter().chain(&self.calls).chain(&self.filters);
        for expr in all {
            if matches!(expr, Expr::GroupingSet(_)) || reaches_out(expr)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Puts what the columns of `schema` are in their place.
    fn replace(&mut self, schema: &DFSchema, columns: &[Expr]) -> Result<()> {
        let all = self.groups.iter_mut().chain(&mut self.calls).chain(&mut self.filters);
        for expr in all {
            let replaced = std::mem::take(expr).transform(|part| match &part {
                Expr::Column(column) => {
                    let of = &columns[schema.index_of_column(column)?];
                    Ok(Transformed::yes(of.clone().unalias_nested().data))
                }
                _ => Ok(Transformed::no(part)),
            });
            *expr = replaced.data()?;
        }
        Ok(())
    }
}

/// Rows, and a list of constants that each is repeated for.
struct Repeated {
    base: LogicalPlan,
    list: Expr,
}

impl Repeated {
    /// Moves what stands above to the columns below, where list elements are one by the name of
    /// [`ELEMENT`].
    fn of(unnest: &Unnest, above: &mut Above) -> Result<Option<Self>> {
        let ([(list, element)], []) =
            (unnest.list_type_columns.as_slice(), unnest.struct_type_columns.as_slice())
        else {
            return Ok(None);
        };
        let LogicalPlan::Projection(below) = unnest.input.as_ref() else { return Ok(None) };
        let constant = below.expr[*list].clone().unalias_nested().data;
        let is_constant = constant.column_refs().is_empty()
            && !constant.is_volatile()
            && !reaches_out(&constant)?;
        if element.depth != 1 || !is_constant {
            return Ok(None);
        }
        let columns = unnest.dependency_indices.iter().map(|&input| match input {
            input if input == *list => Expr::Column(quoted(ELEMENT)),
            input => below.expr[input].clone(),
        });
        above.replace(&unnest.schema, &columns.collect::<Vec<_>>())?;
        Ok(Some(Self { base: below.input.as_ref().clone(), list: constant }))
    }

    fn build(
        self,
        schema: &DFSchema,
        panes: Panes,
        (kept, repeats): (Vec<Expr>, Vec<Expr>),
        (groups, calls): (Vec<Expr>, Vec<Call>),
    ) -> Result<LogicalPlan> {
        let mut plan = LogicalPlanBuilder::from(self.base);
        if let Some(only) = kept.into_iter().reduce(Expr::and) {
            plan = plan.filter(only)?;
        }
        let named = |kind: &str, i: usize| format!("({kind} {i})");
        let keys = panes.keys.into_iter().enumerate();
        let keys: Vec<Expr> = keys.map(|(i, key)| key.alias(named("key", i))).collect();
        let parts = calls.iter().enumerate();
        let parts = parts.map(|(i, call)| call.part.clone().alias(named("part", i)));
        plan = plan.aggregate(keys, parts.collect::<Vec<_>>())?;
        let columns = plan.schema().columns().into_iter().map(Expr::Column);
        let columns: Vec<Expr> = columns.chain([self.list.alias(ELEMENT)]).collect();
        let options = UnnestOptions { null_handling: NullHandling::Drop, recursions: vec![] };
        let element = Column::new_unqualified(ELEMENT);
        plan = plan.project(columns)?.unnest_column_with_options(element, options)?;
        if let Some(only) = repeats.into_iter().reduce(Expr::and) {
            plan = plan.filter(only)?;
        }
        let groups = groups.into_iter().enumerate();
        let groups: Vec<Expr> = groups.map(|(i, key)| key.alias(named("group", i))).collect();
        let group_count = groups.len();
        let whole = calls.iter().enumerate();
        let whole = whole.map(|(i, call)| call.whole(Expr::Column(quoted(&named("part", i)))));
        plan = plan.aggregate(groups, whole.collect::<Vec<_>>())?;
        let computed = plan.schema().columns();
        let columns = computed.into_iter().enumerate().map(|(i, column)| {
            let (relation, field) = schema.qualified_field(i);
            let value = match i.checked_sub(group_count) {
                None => Expr::Column(column),
                Some(call) => calls[call].result(Expr::Column(column), field.data_type()),
            };
            value.alias_qualified(relation.cloned(), field.name())
        });
        plan.project(columns.collect::<Vec<_>>())?.build()
    }
}

/// By what the parts of an aggregate are grouped.
#[derive(Default)]
struct Panes {
    keys: Vec<Expr>,
    /// Whether rows meet in panes: their time matters only as a bin.
    are_worth_it: bool,
}

impl Panes {
    /// `expr` over keys and list elements; `None` if that would make too many keys.
    fn key(&mut self, expr: Expr) -> Option<Expr> {
        let expr = expr.unalias_nested().data;
        if !is_repeated(&expr) {
            return Some(self.column(expr));
        }
        let mut is_fit = true;
        let moved = expr.transform_down(|part| {
            if is_element(&part) {
                return Ok(Transformed::no(part));
            }
            if is_repeated(&part) || part.column_refs().is_empty() {
                return Ok(Transformed::no(part));
            }
            let is_bin = matches!(&part, Expr::ScalarFunction(call) if call.name() == "date_bin");
            is_fit &= is_bin;
            self.are_worth_it |= is_bin;
            let column = self.column(part);
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        });
        let moved = moved.data().ok()?;
        is_fit.then_some(moved)
    }

    fn column(&mut self, key: Expr) -> Expr {
        let found = self.keys.iter().position(|have| *have == key);
        let place = found.unwrap_or_else(|| {
            self.keys.push(key);
            self.keys.len() - 1
        });
        Expr::Column(quoted(&format!("(key {place})")))
    }
}

fn quoted(name: &str) -> Column {
    Column::new_unqualified(name)
}

fn is_element(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == ELEMENT && column.relation.is_none())
}

/// Whether `expr` differs between the repeated ones of a row.
fn is_repeated(expr: &Expr) -> bool {
    // Whether any is there does not depend on an order.
    expr.column_refs().contains(&Column::new_unqualified(ELEMENT))
}

/// An aggregate that can be put together from parts.
struct Call {
    part: Expr,
    function: Function,
}

#[derive(Clone, Copy)]
enum Function {
    Count,
    Sum,
    Min,
    Max,
}

impl Call {
    /// `None` if the parts would not make the same: float sums are rounded once, at the end.
    fn of(call: Expr, schema: &DFSchema) -> Result<Option<Self>> {
        let call = call.unalias_nested().data;
        let Expr::AggregateFunction(AggregateFunction { func, params }) = &call else {
            return Ok(None);
        };
        let is_plain = params.order_by.is_empty() && params.null_treatment.is_none();
        if !is_plain || is_repeated(&call) || call.is_volatile() {
            return Ok(None);
        }
        let function = match (func.name(), params.distinct) {
            ("count", false) => Function::Count,
            ("min", _) => Function::Min,
            ("max", _) => Function::Max,
            ("sum", false) => match call.get_type(schema)? {
                result if result.is_integer() || result.is_decimal() => Function::Sum,
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(Self { part: call, function }))
    }

    fn whole(&self, part: Expr) -> Expr {
        match self.function {
            Function::Count | Function::Sum => sum(part),
            Function::Min => min(part),
            Function::Max => max(part),
        }
    }

    /// The sum of the sums of decimals is of a longer type than it need be.
    fn result(&self, whole: Expr, of: &DataType) -> Expr {
        match self.function {
            Function::Count => coalesce(vec![whole, lit(ScalarValue::Int64(Some(0)))]),
            Function::Sum if of.is_decimal() => cast(whole, of.clone()),
            _ => whole,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    use super::super::Session;
    use super::share;

    fn is_shared(sql: &str) -> bool {
        let columns = [
            ("k", DataType::Int32),
            ("v", DataType::Float64),
            ("d", DataType::Decimal128(10, 2)),
            ("ts", DataType::Timestamp(TimeUnit::Millisecond, None)),
        ];
        let fields = columns.map(|(name, of)| Field::new(name, of, true));
        let session = Session::new(0);
        session.register("t", Arc::new(Schema::new(fields.to_vec()))).unwrap();
        let plan = session.plan("view", sql).unwrap();
        let shared = share(plan.clone()).unwrap();
        session.optimize("view", &shared).unwrap();
        assert_eq!(shared.schema().as_arrow().fields(), plan.schema().as_arrow().fields(), "{sql}");
        shared != plan
    }

    #[test]
    fn aggregates_are_shared_where_parts_make_the_whole() {
        let hop = "hop(t, ts, '2s', '10s')";
        for (sql, expect) in [
            (format!("SELECT window_end, k, count(*) FROM {hop} GROUP BY window_end, k"), true),
            (format!("SELECT window_end, sum(k), sum(d), min(v) FROM {hop} GROUP BY 1"), true),
            (
                format!("SELECT count(v) FILTER (WHERE k > 1) FROM {hop} GROUP BY window_start"),
                true,
            ),
            (format!("SELECT count(*) FROM {hop} WHERE k > 1 GROUP BY window_start, k + 1"), true),
            (
                "SELECT h.window_start, max(h.v) FROM hop(t, ts, '20s', '50s') h GROUP BY 1".into(),
                true,
            ),
            (format!("SELECT window_start FROM {hop} GROUP BY window_start"), true),
            (format!("SELECT window_end, sum(v) FROM {hop} GROUP BY window_end"), false),
            (format!("SELECT window_end, avg(k) FROM {hop} GROUP BY window_end"), false),
            (format!("SELECT window_end, count(DISTINCT k) FROM {hop} GROUP BY window_end"), false),
            (format!("SELECT k, max(window_end) FROM {hop} GROUP BY k"), false),
            (
                format!("SELECT window_end - ts, count(*) FROM {hop} GROUP BY window_end - ts"),
                false,
            ),
            (format!("SELECT k, count(*) FROM {hop} GROUP BY k"), false),
            (
                "SELECT count(*) FROM hop(t, ts, '2s', '10s') h \
                 WHERE EXISTS (SELECT 1 FROM t WHERE t.k = h.k) GROUP BY h.window_end"
                    .into(),
                false,
            ),
            (
                "SELECT u.k FROM t u WHERE EXISTS (SELECT h.window_end, count(*) AS c \
                 FROM hop(t, ts, '1m', '3m') h WHERE h.k = u.k GROUP BY h.window_end)"
                    .into(),
                false,
            ),
            (format!("SELECT window_end, count(*) FROM {hop} GROUP BY ROLLUP (window_end)"), false),
            (
                format!(
                    "SELECT k, count(*) FROM {hop} WHERE window_start > TIMESTAMP '2026-01-01' \
                     GROUP BY ROLLUP (k)"
                ),
                false,
            ),
            (
                "SELECT unnest([1, 2]) + k, count(*) FROM t GROUP BY unnest([1, 2]) + k".into(),
                false,
            ),
            ("SELECT count(*) FROM tumble(t, ts, '2s') GROUP BY window_start".into(), false),
        ] {
            assert_eq!(is_shared(&sql), expect, "{sql}");
        }
    }
}
