//! What of a view follows from its rows alone, and what depends on something recorded with them: the
//! time of the epoch, or how far watermarks had come when a window was closed.
//!
//! Traced through the plan, column by column. Where a construct mixes everything with everything, all
//! of it counts as recorded once a part of it is.

use std::collections::HashMap;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::{Distinct, Expr, Join, LogicalPlan, TableScan};

use crate::functions::now;

/// What of a relation is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Which rows there are, and how often.
    pub(crate) rows: bool,
    /// In what order they come.
    order: bool,
    /// The values of each column.
    columns: Vec<bool>,
}

impl Recorded {
    /// Of each column, whether what it shows is recorded: its values, or which rows there are.
    pub(crate) fn shown(&self) -> Vec<bool> {
        self.columns.iter().map(|column| self.rows || *column).collect()
    }

    fn any(&self) -> bool {
        self.rows || self.columns.contains(&true)
    }

    fn all(columns: usize) -> Self {
        Self { rows: true, order: true, columns: vec![true; columns] }
    }

    fn none(columns: usize) -> Self {
        Self { rows: false, order: false, columns: vec![false; columns] }
    }
}

/// What is known of the views that a plan may read, by name; a table has nothing recorded.
pub(crate) type Views = HashMap<String, Recorded>;

/// What of the result of `plan` is recorded.
pub(crate) fn trace(plan: &LogicalPlan, views: &Views) -> Result<Recorded> {
    let width = plan.schema().fields().len();
    Ok(match plan {
        LogicalPlan::TableScan(scan) => scanned(scan, views, width),
        LogicalPlan::SubqueryAlias(alias) => trace(&alias.input, views)?,
        LogicalPlan::Subquery(subquery) => trace(&subquery.subquery, views)?,
        LogicalPlan::Projection(projection) => {
            let input = trace(&projection.input, views)?;
            let scope = Scope { schema: projection.input.schema(), columns: &input.columns, views };
            let columns = scope.each(&projection.expr)?;
            Recorded { columns, ..input }
        }
        LogicalPlan::Filter(filter) => {
            let input = trace(&filter.input, views)?;
            let scope = Scope { schema: filter.input.schema(), columns: &input.columns, views };
            Recorded { rows: input.rows || scope.depends(&filter.predicate)?, ..input }
        }
        LogicalPlan::Aggregate(aggregate) => {
            let input = trace(&aggregate.input, views)?;
            let scope = Scope { schema: aggregate.input.schema(), columns: &input.columns, views };
            let groups = scope.each(&aggregate.group_expr)?;
            let is_global = groups.is_empty();
            let rows = !is_global && (input.rows || groups.contains(&true));
            let results = scope.each(&aggregate.aggr_expr)?;
            let mut columns = vec![rows; width.saturating_sub(results.len())];
            columns.extend(results.iter().map(|result| input.rows || *result));
            Recorded { rows, order: false, columns }
        }
        LogicalPlan::Window(window) => {
            let mut input = trace(&window.input, views)?;
            let scope = Scope { schema: window.input.schema(), columns: &input.columns, views };
            let results = scope.each(&window.window_expr)?;
            input.columns.extend(results.iter().map(|result| input.rows || *result));
            input
        }
        LogicalPlan::Join(join) => joined(join, plan, views)?,
        LogicalPlan::Sort(sort) => {
            let input = trace(&sort.input, views)?;
            let scope = Scope { schema: sort.input.schema(), columns: &input.columns, views };
            let keys = sort.expr.iter().map(|term| scope.depends(&term.expr));
            let order = keys.collect::<Result<Vec<bool>>>()?.contains(&true);
            let rows = input.rows || sort.fetch.is_some() && order;
            Recorded { rows, order, ..input }
        }
        LogicalPlan::Limit(limit) => {
            let input = trace(&limit.input, views)?;
            Recorded { rows: input.rows || input.order, ..input }
        }
        LogicalPlan::Union(union) => {
            let mut all = Recorded::none(width);
            for input in &union.inputs {
                let input = trace(input, views)?;
                all.rows |= input.rows;
                all.columns.iter_mut().zip(input.columns).for_each(|(all, own)| *all |= own);
            }
            all
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let input = trace(input, views)?;
            Recorded { rows: input.any(), order: false, ..input }
        }
        other => other_node(other, views, width)?,
    })
}

fn scanned(scan: &TableScan, views: &Views, width: usize) -> Recorded {
    let Some(view) = views.get(scan.table_name.table()) else { return Recorded::none(width) };
    let columns = match &scan.projection {
        None => view.columns.clone(),
        Some(chosen) => chosen.iter().map(|&column| view.columns[column]).collect(),
    };
    Recorded { order: false, columns, ..*view }
}

fn joined(join: &Join, plan: &LogicalPlan, views: &Views) -> Result<Recorded> {
    let width = join.schema.fields().len();
    let (left, right) = (trace(&join.left, views)?, trace(&join.right, views)?);
    // Both sides of a semi join may have columns of one name.
    let Ok(schema) = join.left.schema().join(join.right.schema()) else {
        return other_node(plan, views, width);
    };
    let columns = [left.columns.as_slice(), &right.columns].concat();
    let scope = Scope { schema: &schema, columns: &columns, views };
    let on = join.on.iter().flat_map(|(left, right)| [left, right]);
    let conditions = on.chain(&join.filter).map(|expr| scope.depends(expr));
    let is_matched_by_record = conditions.collect::<Result<Vec<bool>>>()?.contains(&true);
    let rows = left.rows || right.rows || is_matched_by_record;
    // A semi or an anti join has the columns of one side, and a mark join one more of its own.
    let own = if width == right.columns.len() && width != left.columns.len() {
        right.columns
    } else {
        columns.into_iter().take(width).collect()
    };
    Ok(Recorded { rows, order: false, columns: own })
}

/// A node that mixes all that it has: nothing recorded in, nothing recorded out.
fn other_node(plan: &LogicalPlan, views: &Views, width: usize) -> Result<Recorded> {
    let mut found = false;
    for input in plan.inputs() {
        found |= trace(input, views)?.any();
    }
    let nothing = DFSchema::empty();
    let scope = Scope { schema: &nothing, columns: &[], views };
    plan.apply_expressions(|expr| {
        found |= scope.depends(expr)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(if found { Recorded::all(width) } else { Recorded::none(width) })
}

/// What expressions can refer to.
struct Scope<'a> {
    schema: &'a DFSchema,
    columns: &'a [bool],
    views: &'a Views,
}

impl Scope<'_> {
    fn each(&self, exprs: &[Expr]) -> Result<Vec<bool>> {
        exprs.iter().map(|expr| self.depends(expr)).collect()
    }

    /// Whether the expression's value depends on something recorded.
    fn depends(&self, expr: &Expr) -> Result<bool> {
        let mut found = false;
        expr.apply(|part| {
            found |= match part {
                Expr::Column(column) => self.column(column),
                Expr::ScalarSubquery(subquery) => self.subquery(subquery)?,
                Expr::InSubquery(of) => self.subquery(&of.subquery)?,
                Expr::Exists(of) => self.subquery(&of.subquery)?,
                Expr::SetComparison(of) => self.subquery(&of.subquery)?,
                other => now::is_clock(other),
            };
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        Ok(found)
    }

    /// A column of an outer query is none of the scope's; the outer query looks at it.
    fn column(&self, column: &Column) -> bool {
        let place = self.schema.maybe_index_of_column(column);
        place.is_some_and(|place| self.columns.get(place).copied().unwrap_or(false))
    }

    fn subquery(&self, subquery: &Subquery) -> Result<bool> {
        let outer = subquery.outer_ref_columns.iter().any(|expr| match expr {
            Expr::OuterReferenceColumn(_, column) | Expr::Column(column) => self.column(column),
            _ => true,
        });
        Ok(outer || trace(&subquery.subquery, self.views)?.any())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    use crate::sql::{Session, plan_views};
    use crate::table::{Emit, TableDef, ViewDef};

    /// The names of the recorded columns of the last of `views`, in their order.
    fn recorded(views: &[(&str, &str)], emit: Emit) -> String {
        let at = DataType::Timestamp(TimeUnit::Microsecond, None);
        let fields = [("k", DataType::Int64), ("v", DataType::Float64), ("ts", at)]
            .map(|(name, of)| Field::new(name, of, true));
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let name = "t".to_owned();
        let table = TableDef { name, schema, primary_key: None, event_time: None, deletes: false };
        let last = views.len() - 1;
        let views: Vec<ViewDef> = views
            .iter()
            .enumerate()
            .map(|(i, (name, sql))| ViewDef {
                name: (*name).to_owned(),
                sql: (*sql).to_owned(),
                emit: if i == last { emit } else { Emit::Changes },
            })
            .collect();
        let planned = plan_views(&Session::new(0), &[table], &views).unwrap();
        let view = planned.iter().find(|view| view.def.name == views[last].name).unwrap();
        let fields = view.schema.fields().iter().zip(view.recorded.shown());
        let names = fields.filter(|(_, recorded)| *recorded).map(|(field, _)| field.name().clone());
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn columns_by_what_they_depend_on() {
        for (sql, expect) in [
            ("SELECT k, v FROM t", ""),
            ("SELECT k, now() AS at FROM t", "at"),
            ("SELECT k, random() AS r, uuid() AS u FROM t WHERE random() < 0.5", ""),
            ("SELECT k, ts < now() AS past, v FROM t", "past"),
            ("SELECT k, v FROM t WHERE ts < now()", "k v"),
            ("SELECT k, count(*) AS n FROM t GROUP BY k", ""),
            (
                "SELECT k, count(*) FILTER (WHERE ts < now()) AS n, sum(v) AS s FROM t GROUP BY k",
                "n",
            ),
            ("SELECT count(*) AS n FROM t WHERE ts < now()", "n"),
            ("SELECT k, max(age) AS a FROM (SELECT k, now() - ts AS age FROM t) GROUP BY k", "a"),
            ("SELECT p, count(*) AS n FROM (SELECT ts < now() AS p FROM t) GROUP BY p", "p n"),
            ("SELECT DISTINCT k, ts < now() AS p FROM t", "k p"),
            ("SELECT a.k, b.at FROM t a JOIN (SELECT k, now() AS at FROM t) b ON a.k = b.k", "at"),
            ("SELECT a.k, b.v FROM t a JOIN t b ON a.k = b.k AND b.ts < now()", "k v"),
            ("SELECT k, v FROM t WHERE k IN (SELECT k FROM t WHERE ts < now())", "k v"),
            ("SELECT k, v FROM t WHERE k IN (SELECT k FROM t)", ""),
            ("SELECT k, (SELECT max(now() - ts) FROM t) AS m FROM t", "m"),
            ("SELECT k, sum(v) OVER (PARTITION BY k, ts < now()) AS s FROM t", "s"),
            ("SELECT k, v FROM t ORDER BY now() - ts", ""),
            ("SELECT k, v FROM t ORDER BY now() - ts LIMIT 3", "k v"),
            ("SELECT k, v FROM t ORDER BY v LIMIT 3", ""),
            (
                "SELECT k, v FROM t UNION ALL SELECT 1 AS k, CAST(date_part('day', now()) AS DOUBLE) AS v",
                "v",
            ),
            ("SELECT current_date AS today, k FROM t", "today"),
        ] {
            assert_eq!(recorded(&[("view", sql)], Emit::Changes), expect, "{sql}");
        }
    }

    #[test]
    fn views_carry_it_on() {
        let below = ("aged", "SELECT k, v, now() - ts AS age FROM t");
        for (sql, expect) in [
            ("SELECT k, age, v FROM aged", "age"),
            ("SELECT k, v FROM aged WHERE age > INTERVAL '1 hour'", "k v"),
            ("SELECT k, sum(v) AS s, max(age) AS a FROM aged GROUP BY k", "a"),
        ] {
            assert_eq!(recorded(&[below, ("view", sql)], Emit::Changes), expect, "{sql}");
        }
    }

    #[test]
    fn when_a_window_closes_is_recorded() {
        let sql = "SELECT window_end, count(*) AS n FROM tumble(t, ts, '1m') GROUP BY window_end";
        assert_eq!(recorded(&[("view", sql)], Emit::Changes), "");
        assert_eq!(recorded(&[("view", sql)], Emit::Final), "window_end n");
    }
}
