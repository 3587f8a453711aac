//! Rows that somebody says a view holds, looked for by the batch engine without the rest of the view.
//!
//! The view's plan runs under a filter: the values that the claimed rows have. The plans of the views that it
//! reads stand in the places of these, so the optimiser can move the filter down to the tables, as
//! far as that changes nothing: to the keys of groups and partitions, and through joins to either side.
//! Then only the input rows that can have a part in the claimed ones are joined and added up. What a
//! filter cannot go through, such as a LIMIT, is computed as a whole.
//!
//! Tracing rows back ([`crate::lineage`]) is not enough here, because it begins with rows that are known to
//! be right. A row that is wrong because others should have kept it out (of an anti-join, of the first
//! ten) does come out of its own input rows alone.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableScan, cast, lit};
use hashbrown::HashSet;
use syncline_change::{Batch, Error, ErrorKind, Result};

use crate::batch::{BatchEngine, TableContent, failed};
use crate::content::Content;
use crate::lineage::{Keys, relation};
use crate::sql::PlannedView;

/// How far event time has come for a view.
type Watermarks<'a> = &'a dyn Fn(&str) -> i64;

impl BatchEngine {
    /// The rows among `claimed` that a view holds, each as often as it holds it: those that it lacks are
    /// not there. `contents`, `time_us` and `watermark_us` are those of [`BatchEngine::compute`].
    ///
    /// # Errors
    /// `Config` if there is no such view; `Input` if an expression cannot be computed for some row.
    pub fn look_for(
        &self,
        contents: &[TableContent],
        time_us: i64,
        watermark_us: impl Fn(&str) -> i64,
        view: &str,
        claimed: &RecordBatch,
    ) -> Result<Content> {
        let missing = || Error::config(format!("there is no view `{view}`"));
        let view = self.views.iter().find(|planned| planned.def.name == view);
        let view = view.ok_or_else(missing)?;
        let run = |plan| self.run_view(view, &plan, time_us, watermark_us(&view.def.name));
        self.fill_tables(contents)?;
        let found = match self.asking_for(view, claimed, &watermark_us).and_then(run) {
            // The filter may have come before a condition that kept such rows away from an expression.
            Err(error) if error.kind() == ErrorKind::Input => {
                self.whole(view, &watermark_us).and_then(run)
            }
            found => found,
        };
        self.clear()?;
        let found = found?.all()?;
        // Their columns may have the same values in other combinations.
        let is_claimed = Keys::of(claimed, &found.schema())?.which(&found)?;
        let mut content = Content::new(view.schema.clone(), vec![])?;
        content.apply(&Batch::inserts(filter_record_batch(&found, &is_claimed)?))?;
        Ok(content)
    }

    /// The optimised plan that gives all rows.
    fn whole(&self, view: &PlannedView, watermark_us: Watermarks<'_>) -> Result<LogicalPlan> {
        self.runner.optimize(&self.over_tables(&view.plan, watermark_us).map_err(failed)?)
    }

    /// The optimised plan that gives the claimed rows, and few others.
    fn asking_for(
        &self,
        view: &PlannedView,
        claimed: &RecordBatch,
        watermark_us: Watermarks<'_>,
    ) -> Result<LogicalPlan> {
        let plan = self.over_tables(&view.plan, watermark_us);
        let plan = plan.and_then(|plan| narrowed(plan, claimed)).map_err(failed)?;
        self.runner.optimize(&plan)
    }

    /// A plan with the plans of the views that it reads in their places, so that it reads tables alone.
    fn over_tables(
        &self,
        plan: &LogicalPlan,
        watermark_us: Watermarks<'_>,
    ) -> Result<LogicalPlan, DataFusionError> {
        let replaced = plan.clone().transform_down_with_subqueries(|node| {
            let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
            let name = relation(scan);
            match self.views.iter().find(|view| Some(&view.def.name) == name.as_ref()) {
                Some(view) => {
                    let plan = self.in_place_of(scan, view, watermark_us)?;
                    Ok(Transformed::new(plan, true, TreeNodeRecursion::Jump))
                }
                None => Ok(Transformed::no(node)),
            }
        });
        Ok(replaced?.data)
    }

    /// What gives the rows that a scan of `view` gives.
    fn in_place_of(
        &self,
        scan: &TableScan,
        view: &PlannedView,
        watermark_us: Watermarks<'_>,
    ) -> Result<LogicalPlan, DataFusionError> {
        let mut plan = LogicalPlanBuilder::from(self.over_tables(&view.plan, watermark_us)?);
        if let Some(column) = view.window_end {
            let end = plan.schema().columns().swap_remove(column);
            let is_closed = closed(
                Expr::Column(end),
                watermark_us(&view.def.name),
                plan.schema().field(column).data_type(),
            );
            plan = plan.filter(is_closed)?;
        }
        let columns = plan.schema().columns();
        let chosen = scan.projection.clone().unwrap_or_else(|| (0..columns.len()).collect());
        let shown = chosen.into_iter().map(|number| {
            let field = view.schema.field(number);
            let column = Expr::Column(columns[number].clone());
            // As when it was registered: its plan may say another type before it is optimised.
            let column = match plan.schema().field(number).data_type() == field.data_type() {
                true => column,
                false => cast(column, field.data_type().clone()),
            };
            column.alias(field.name())
        });
        let shown: Vec<Expr> = shown.collect();
        plan.project(shown)?.alias(scan.table_name.clone())?.build()
    }
}

/// Whether a window that has this `end` has closed, as [`crate::batch`] has it.
fn closed(end: Expr, watermark_us: i64, of: &DataType) -> Expr {
    let DataType::Timestamp(unit, zone) = of else { return lit(false) };
    match watermark_us {
        i64::MIN => lit(false),
        i64::MAX => lit(true),
        time_us => {
            let micros = match unit {
                TimeUnit::Microsecond => end,
                _ => cast(end, DataType::Timestamp(TimeUnit::Microsecond, zone.clone())),
            };
            micros.lt_eq(lit(ScalarValue::TimestampMicrosecond(Some(time_us), zone.clone())))
        }
    }
}

/// The rows of a plan that have in each column a value that some claimed row has there, and maybe others:
/// columns are left out whose values do not go through SQL as they are.
fn narrowed(plan: LogicalPlan, claimed: &RecordBatch) -> Result<LogicalPlan, DataFusionError> {
    let schema = plan.schema();
    let columns = schema.columns().into_iter().zip(schema.fields()).zip(claimed.columns());
    let asked = columns.filter(|((_, field), values)| {
        is_plain(field.data_type()) && field.data_type() == values.data_type()
    });
    let conditions = asked.map(|((column, _), values)| is_one_of(Expr::Column(column), values));
    match conjunction(conditions.collect::<Result<Vec<_>, _>>()?) {
        Some(condition) => LogicalPlanBuilder::from(plan).filter(condition)?.build(),
        None => Ok(plan),
    }
}

/// Types whose values are equal in SQL exactly if they are equal as rows.
fn is_plain(of: &DataType) -> bool {
    use DataType::{Boolean, Date32, Decimal128, LargeUtf8, Timestamp, Utf8, Utf8View};
    let is_plain = matches!(
        of,
        Boolean | Date32 | Decimal128(..) | LargeUtf8 | Timestamp(..) | Utf8 | Utf8View
    );
    is_plain || of.is_integer()
}

fn is_one_of(column: Expr, values: &ArrayRef) -> Result<Expr, DataFusionError> {
    let mut seen = HashSet::new();
    let mut list = Vec::new();
    for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
        let value = ScalarValue::try_from_array(values, row)?;
        if seen.insert(value.clone()) {
            list.push(lit(value));
        }
    }
    let is_listed = column.clone().in_list(list, false);
    Ok(if values.null_count() > 0 { is_listed.or(column.is_null()) } else { is_listed })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;
    use crate::table::{Emit, TableDef, ViewDef};

    fn rows(columns: [(&str, Vec<i64>); 2]) -> RecordBatch {
        let columns = columns.map(|(name, of)| (name, Arc::new(Int64Array::from(of)) as ArrayRef));
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn engine(views: &[(&str, &str)]) -> BatchEngine {
        let table = |name: &str, columns| TableDef {
            name: name.to_owned(),
            schema: rows(columns).schema(),
            primary_key: None,
            event_time: None,
            deletes: false,
        };
        let tables = [
            table("t", [("k", vec![]), ("n", vec![])]),
            table("u", [("k", vec![]), ("m", vec![])]),
        ];
        let views: Vec<ViewDef> = views
            .iter()
            .map(|(name, sql)| ViewDef {
                name: (*name).to_owned(),
                sql: (*sql).to_owned(),
                emit: Emit::Changes,
            })
            .collect();
        BatchEngine::new(&tables, &views, 0).unwrap()
    }

    fn contents() -> Vec<TableContent> {
        let t = rows([("k", vec![1, 1, 2, 3, 3]), ("n", vec![5, 6, 7, 0, 2])]);
        let u = rows([("k", vec![1, 3]), ("m", vec![100, 300])]);
        vec![("t".to_owned(), vec![t]), ("u".to_owned(), vec![u])]
    }

    /// What is there of claimed rows of the last view, as text.
    fn found(views: &[(&str, &str)], claimed: [(&str, Vec<i64>); 2]) -> String {
        let (view, _) = views.last().unwrap();
        let found = engine(views).look_for(&contents(), 0, |_| i64::MAX, view, &rows(claimed));
        let found = found.unwrap().all().unwrap();
        let lines = syncline_change::json::arrays(&found).unwrap();
        lines.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn rows_that_are_there_are_found_and_no_others() {
        let sums: &[_] = &[("v", "SELECT k, sum(n) AS s FROM t GROUP BY k")];
        assert_eq!(found(sums, [("k", vec![1, 2]), ("s", vec![11, 7])]), "[1,11] [2,7]");
        assert_eq!(found(sums, [("k", vec![1, 2, 9]), ("s", vec![11, 8, 7])]), "[1,11]");
        // Values of two rows in another combination.
        assert_eq!(found(sums, [("k", vec![1, 2]), ("s", vec![7, 11])]), "");
        let copies: &[_] = &[("v", "SELECT t.k, u.m FROM t JOIN u ON t.k = u.k")];
        assert_eq!(found(copies, [("k", vec![1]), ("m", vec![100])]), "[1,100] [1,100]");
    }

    #[test]
    fn rows_that_others_keep_out_are_not_found() {
        let lone: &[_] = &[("v", "SELECT k, n FROM t WHERE k NOT IN (SELECT k FROM u)")];
        assert_eq!(found(lone, [("k", vec![1, 2]), ("n", vec![5, 7])]), "[2,7]");
        let first: &[_] = &[("v", "SELECT k, n FROM t ORDER BY n DESC LIMIT 2")];
        assert_eq!(found(first, [("k", vec![2, 1]), ("n", vec![7, 5])]), "[2,7]");
        let outer: &[_] =
            &[("v", "SELECT t.k, coalesce(u.m, -1) AS m FROM t LEFT JOIN u ON t.k = u.k")];
        assert_eq!(found(outer, [("k", vec![1, 2]), ("m", vec![-1, -1])]), "[2,-1]");
    }

    #[test]
    fn views_that_are_read_are_computed_along() {
        let views: &[_] = &[
            ("sums", "SELECT k, sum(n) AS s FROM t GROUP BY k"),
            (
                "v",
                "SELECT s.k, s.s + u.m AS m FROM sums s JOIN u ON s.k = u.k WHERE s.s > (SELECT min(s) FROM sums)",
            ),
        ];
        assert_eq!(found(views, [("k", vec![1, 3]), ("m", vec![111, 302])]), "[1,111]");
    }

    #[test]
    fn windows_of_a_view_that_is_read_close_as_they_do_there() {
        let seconds = [1, 2, 11, 12, 13, 25].map(|second| second * 1_000_000);
        let times = Arc::new(TimestampMicrosecondArray::from(seconds.to_vec())) as ArrayRef;
        let t = RecordBatch::try_from_iter([("ts", times)]).unwrap();
        let table = TableDef {
            name: "t".to_owned(),
            schema: t.schema(),
            primary_key: None,
            event_time: None,
            deletes: false,
        };
        let view = |name: &str, sql: &str, emit| ViewDef {
            name: name.to_owned(),
            sql: sql.to_owned(),
            emit,
        };
        let windows =
            "SELECT window_end, count(*) AS n FROM tumble(t, ts, '10s') GROUP BY window_end";
        let views = [
            view("windows", windows, Emit::Final),
            view("v", "SELECT n, window_end FROM windows WHERE n < 9", Emit::Changes),
        ];
        let engine = BatchEngine::new(&[table], &views, 0).unwrap();
        let contents = vec![("t".to_owned(), vec![t])];
        let of_v = |watermark_us: i64| {
            let computed = engine.compute(&contents, 0, |_| watermark_us).unwrap();
            computed.into_iter().find(|(name, _)| name == "v").unwrap().1.all().unwrap()
        };
        let all = of_v(i64::MAX);
        for (watermark_us, rows) in
            [(i64::MIN, 0), (9_999_999, 0), (10_000_000, 1), (29_000_000, 2), (i64::MAX, 3)]
        {
            let found = engine.look_for(&contents, 0, |_| watermark_us, "v", &all).unwrap();
            assert_eq!(found.len(), rows, "{watermark_us}");
            assert_eq!(found.all().unwrap(), of_v(watermark_us), "{watermark_us}");
        }
    }

    #[test]
    fn nothing_else_is_looked_at() {
        let views: &[_] = &[
            ("joined", "SELECT t.k, t.n, u.m FROM t JOIN u ON t.k = u.k"),
            ("v", "SELECT k, sum(m / n) AS s FROM joined GROUP BY k"),
        ];
        // The row of k = 3 divides by zero.
        let everything = engine(views).compute(&contents(), 0, |_| i64::MAX);
        assert!(everything.is_err());
        assert_eq!(found(views, [("k", vec![1]), ("s", vec![36])]), "[1,36]");
        let claimed = rows([("k", vec![1]), ("s", vec![36])]);
        let engine = engine(views);
        let view = engine.views.last().unwrap();
        let plan = engine.asking_for(view, &claimed, &|_| i64::MAX).unwrap();
        let text = plan.display_indent().to_string();
        for table in ["t", "u"] {
            let narrowed = format!("Filter: {table}.k = Int64(1)");
            assert!(text.contains(&narrowed), "{text}");
        }
    }

    #[test]
    fn null_and_text_are_values() {
        let names = StringArray::from(vec![Some("a"), None, Some("c")]);
        let condition = is_one_of(Expr::Column("name".into()), &(Arc::new(names) as ArrayRef));
        assert_eq!(
            condition.unwrap().to_string(),
            "name IN ([Utf8(\"a\"), Utf8(\"c\")]) OR name IS NULL"
        );
    }
}
