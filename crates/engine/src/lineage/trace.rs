//! From wanted rows of a plan's result to the rows of tables and views behind them, node by node
//! (Cui and Widom, "Lineage tracing for general data warehouse transformations", 2003).
//!
//! What is wanted of a node is a set of rows by their values: rows that are equal go the same way. For
//! most nodes it says by itself what is wanted of the input; for the others the input is computed
//! once more, and rows whose part in the result is wanted are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt64Array};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, SchemaRef, UInt64Type};
use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::{MemTable, source_as_provider};
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Limit, LogicalPlan, LogicalPlanBuilder, Projection, SkipType,
    TableScan, Unnest, Window, utils::grouping_set_to_exprlist,
};
use syncline_change::Result;

use super::rows::{Keys, columns, distinct};
use crate::batch::{BatchEngine, failed};
use crate::functions::session::Bound;

/// Traces results back to the relations that were read. Those must be filled.
pub(super) struct Trace<'a> {
    engine: &'a BatchEngine,
    time_us: i64,
    /// Rows that were found, by relation.
    pub(super) found: BTreeMap<String, Keys>,
    /// Relations of which everything may matter, and why.
    pub(super) whole: BTreeMap<String, String>,
    /// Whether what is traced is not shown itself, but a value that rows are computed with.
    for_value: bool,
}

impl<'a> Trace<'a> {
    pub(super) fn new(engine: &'a BatchEngine, time_us: i64) -> Self {
        Self { engine, time_us, found: BTreeMap::new(), whole: BTreeMap::new(), for_value: false }
    }

    pub(super) fn run(&self, plan: &LogicalPlan) -> Result<Vec<RecordBatch>> {
        self.engine.runner.run(plan, self.time_us)
    }

    /// Fills a table that stands for rows of a plan.
    pub(super) fn fill(&self, table: &MemTable, rows: RecordBatch) -> Result<()> {
        self.engine.runner.fill(table, vec![rows])
    }

    /// Finds what is behind `wanted`, different rows of the result of `plan`.
    pub(super) fn trace(&mut self, plan: &LogicalPlan, wanted: RecordBatch) -> Result<()> {
        if wanted.num_rows() == 0 {
            return Ok(());
        }
        for subquery in subqueries(plan)? {
            self.subquery(&subquery)?;
        }
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan, &wanted),
            LogicalPlan::SubqueryAlias(alias) => self.trace(&alias.input, wanted),
            LogicalPlan::Filter(filter) => self.trace(&filter.input, wanted),
            LogicalPlan::Sort(sort) => self.trace(&sort.input, wanted),
            LogicalPlan::Distinct(Distinct::All(input)) => self.trace(input, wanted),
            LogicalPlan::Union(union) => {
                union.inputs.iter().try_for_each(|input| self.trace(input, wanted.clone()))
            }
            LogicalPlan::Limit(limit) => self.limit(limit, wanted),
            LogicalPlan::Projection(projection) => {
                let rows = self.beside(&projection.input, &projection.expr)?;
                self.trace(&projection.input, rows.of(&wanted)?)
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate, &wanted),
            LogicalPlan::Window(window) => self.window(window, plan, &wanted),
            LogicalPlan::Join(join) => self.join(join, &wanted),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest, &wanted),
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => Ok(()),
            LogicalPlan::RecursiveQuery(_) => self.everything(plan, "a recursion is not traced"),
            other => self.everything(other, &format!("`{}` is not traced", other.display())),
        }
    }

    /// All that `plan` reads may matter.
    pub(super) fn everything(&mut self, plan: &LogicalPlan, why: &str) -> Result<()> {
        for name in relations(plan)? {
            match self.engine.views.iter().find(|view| view.def.name == name) {
                Some(view) => self.everything(&view.plan, why)?,
                None => {
                    self.whole.entry(name).or_insert_with(|| why.to_owned());
                }
            }
        }
        Ok(())
    }

    fn scan(&mut self, scan: &TableScan, wanted: &RecordBatch) -> Result<()> {
        let Some(name) = relation(scan) else { return Ok(()) };
        let (schema, batches) = self.engine.content(&name)?;
        let shown: Vec<usize> = match &scan.projection {
            Some(chosen) => chosen.clone(),
            None => (0..schema.fields().len()).collect(),
        };
        let wanted = Keys::of(wanted, &Arc::new(schema.project(&shown)?))?;
        let found = match self.found.entry(name) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(Keys::new(&schema)?),
        };
        for batch in &batches {
            let is_wanted = wanted.which(&batch.project(&shown)?)?;
            found.add(&filter_record_batch(batch, &is_wanted)?)?;
        }
        Ok(())
    }

    /// The value of a subquery depends on all rows of its result.
    fn subquery(&mut self, subquery: &Subquery) -> Result<()> {
        let plan = &subquery.subquery;
        if !subquery.outer_ref_columns.is_empty() {
            return self.everything(plan, "a subquery that depends on the row is not traced");
        }
        let all = distinct(&arrow_schema(plan), &self.run(plan)?)?;
        let outside = std::mem::replace(&mut self.for_value, true);
        let traced = self.trace(plan, all);
        self.for_value = outside;
        traced
    }

    /// Rows that are left out make place for others, so they matter too.
    fn limit(&mut self, limit: &Limit, wanted: RecordBatch) -> Result<()> {
        let skipped = match limit.get_skip_type().map_err(failed)? {
            SkipType::Literal(skipped) => skipped,
            SkipType::UnsupportedExpr => {
                return self.everything(&limit.input, "an OFFSET that is computed is not traced");
            }
        };
        if skipped == 0 {
            return self.trace(&limit.input, wanted);
        }
        let mut left = skipped;
        let mut rows = vec![wanted];
        for batch in self.run(&limit.input)? {
            let first = batch.slice(0, left.min(batch.num_rows()));
            left -= first.num_rows();
            rows.push(first);
        }
        self.trace(&limit.input, distinct(&arrow_schema(&limit.input), &rows)?)
    }

    /// The rows of the groups; of a grouping set, those that agree in its columns.
    fn aggregate(&mut self, aggregate: &Aggregate, wanted: &RecordBatch) -> Result<()> {
        let keys = grouping_set_to_exprlist(&aggregate.group_expr).map_err(failed)?;
        let keys: Vec<Expr> = keys.into_iter().cloned().collect();
        let rows = self.beside(&aggregate.input, &keys)?;
        if !matches!(aggregate.group_expr.first(), Some(Expr::GroupingSet(_))) {
            let ends = if self.for_value { self.ends(aggregate, &keys, wanted)? } else { None };
            let groups = match ends {
                Some(ends) => ends,
                None => rows.of(&columns(wanted, 0, keys.len())?)?,
            };
            return self.trace(&aggregate.input, groups);
        }
        let ids = cast(wanted.column(keys.len()), &DataType::UInt64)?;
        let ids = ids.as_primitive::<UInt64Type>();
        let mut found = Vec::new();
        for id in ids.values().iter().collect::<BTreeSet<_>>() {
            let of_set = arrow::compute::kernels::cmp::eq(ids, &UInt64Array::new_scalar(*id))?;
            let of_set = filter_record_batch(wanted, &of_set)?;
            // A bit for each key that is missing, the last one lowest.
            let is_there = |key: &usize| id >> (keys.len() - 1 - key) & 1 == 0;
            let set: Vec<usize> = (0..keys.len()).filter(is_there).collect();
            found.push(rows.projected(&set)?.of(&of_set.project(&set)?)?);
        }
        let schema = arrow_schema(&aggregate.input);
        self.trace(&aggregate.input, distinct(&schema, &found)?)
    }

    /// Where an aggregate has nothing but `min` and `max`, the rows that have these values. A bound such
    /// as the newest time would otherwise come from all rows there are.
    fn ends(
        &self,
        aggregate: &Aggregate,
        keys: &[Expr],
        wanted: &RecordBatch,
    ) -> Result<Option<RecordBatch>> {
        let mut found = Vec::with_capacity(aggregate.aggr_expr.len());
        for (i, expr) in aggregate.aggr_expr.iter().enumerate() {
            let Expr::AggregateFunction(call) = expr.clone().unalias_nested().data else {
                return Ok(None);
            };
            let of = call.params;
            let is_end = matches!(call.func.name(), "min" | "max") && of.filter.is_none();
            let ([value], true) = (of.args.as_slice(), is_end) else { return Ok(None) };
            let of_group: Vec<Expr> = keys.iter().chain([value]).cloned().collect();
            let shown: Vec<usize> = (0..keys.len()).chain([keys.len() + i]).collect();
            let rows = self.beside(&aggregate.input, &of_group)?;
            found.push(rows.of(&wanted.project(&shown)?)?);
        }
        if found.is_empty() {
            return Ok(None);
        }
        distinct(&arrow_schema(&aggregate.input), &found).map(Some)
    }

    /// The rows of the partitions; those of the sessions, where the functions look no further.
    fn window(&mut self, window: &Window, plan: &LogicalPlan, wanted: &RecordBatch) -> Result<()> {
        let width = window.input.schema().fields().len();
        let mut kinds: Vec<Vec<Expr>> = Vec::new();
        for (i, expr) in window.window_expr.iter().enumerate() {
            let Expr::WindowFunction(call) = expr.clone().unalias_nested().data else {
                return self.everything(plan, "a window function in an expression is not traced");
            };
            let name = call.fun.name().to_owned();
            let mut keys = call.params.partition_by;
            if Bound::of_function(&name).is_some() {
                let (qualifier, field) = window.schema.qualified_field(width + i);
                keys.push(Expr::Column(Column::from((qualifier, field.as_ref()))));
            }
            if !kinds.contains(&keys) {
                kinds.push(keys);
            }
        }
        let mut found = vec![columns(wanted, 0, width)?];
        for keys in kinds {
            let rows = self.beside(plan, &keys)?;
            let of_wanted = rows.images_of(wanted)?;
            found.push(columns(&rows.of(&of_wanted)?, 0, width)?);
        }
        let schema = arrow_schema(&window.input);
        self.trace(&window.input, distinct(&schema, &found)?)
    }

    /// The rows whose lists hold what is wanted: they are unnested once more beside themselves.
    fn unnest(&mut self, unnest: &Unnest, wanted: &RecordBatch) -> Result<()> {
        let input = unnest.input.as_ref();
        let whole = input.schema().columns().into_iter().map(Expr::Column);
        let again = whole.clone().enumerate().map(|(i, column)| column.alias(beside_name(i)));
        let rows = Projection::try_new(whole.chain(again).collect(), unnest.input.clone());
        let rows = LogicalPlan::Projection(rows.map_err(failed)?);
        let (lists, options) = (unnest.exec_columns.clone(), unnest.options.clone());
        let unnested = LogicalPlanBuilder::from(rows)
            .unnest_columns_with_options(lists, options)
            .and_then(LogicalPlanBuilder::build)
            .map_err(failed)?;
        let width = unnest.schema.fields().len();
        let rows = Beside {
            width,
            swapped: true,
            schema: arrow_schema(input),
            batches: self.run(&unnested)?,
        };
        self.trace(input, rows.of(wanted)?)
    }

    /// The rows of `input`, each with what `exprs` are for it.
    fn beside(&self, input: &LogicalPlan, exprs: &[Expr]) -> Result<Beside> {
        let whole = input.schema().columns().into_iter().map(Expr::Column);
        let computed = exprs.iter().enumerate().map(|(i, e)| e.clone().alias(beside_name(i)));
        let plan = Projection::try_new(whole.chain(computed).collect(), Arc::new(input.clone()));
        let plan = LogicalPlan::Projection(plan.map_err(failed)?);
        Ok(Beside {
            width: input.schema().fields().len(),
            swapped: false,
            schema: arrow_schema(input),
            batches: self.run(&plan)?,
        })
    }
}

/// Rows with what becomes of them, their images, in the columns from `width` on; or the other way
/// round if `swapped`.
struct Beside {
    width: usize,
    swapped: bool,
    /// Of the rows.
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Beside {
    fn parts(&self, batch: &RecordBatch) -> Result<(RecordBatch, RecordBatch)> {
        let first = columns(batch, 0, self.width)?;
        let second = columns(batch, self.width, batch.num_columns())?;
        Ok(if self.swapped { (second, first) } else { (first, second) })
    }

    /// The different rows whose images are among `wanted`.
    fn of(&self, wanted: &RecordBatch) -> Result<RecordBatch> {
        self.select(wanted, |(row, image)| (row, image))
    }

    /// The different images of the rows that are among `wanted`.
    fn images_of(&self, wanted: &RecordBatch) -> Result<RecordBatch> {
        self.select(wanted, |(row, image)| (image, row))
    }

    /// The first of the two parts that `order` makes, where the second is among `wanted`.
    fn select(
        &self,
        wanted: &RecordBatch,
        order: impl Fn((RecordBatch, RecordBatch)) -> (RecordBatch, RecordBatch),
    ) -> Result<RecordBatch> {
        let mut keys = None;
        let mut found = Vec::with_capacity(self.batches.len());
        for batch in &self.batches {
            let (shown, asked) = order(self.parts(batch)?);
            let keys = match &mut keys {
                Some(keys) => keys,
                none => none.insert(Keys::of(wanted, &asked.schema())?),
            };
            found.push(filter_record_batch(&shown, &keys.which(&asked)?)?);
        }
        distinct(&self.schema, &found)
    }

    /// The same rows with the images' columns of these numbers.
    fn projected(&self, images: &[usize]) -> Result<Self> {
        let kept = (0..self.width).chain(images.iter().map(|column| self.width + column));
        let kept: Vec<usize> = kept.collect();
        let batches = self.batches.iter().map(|batch| Ok(batch.project(&kept)?));
        let batches = batches.collect::<Result<_>>()?;
        Ok(Self { batches, schema: self.schema.clone(), ..*self })
    }
}

/// What is computed beside a row is called; no column of a query has such a name.
fn beside_name(number: usize) -> String {
    format!("(beside {number})")
}

pub(super) fn arrow_schema(plan: &LogicalPlan) -> SchemaRef {
    Arc::new(plan.schema().as_arrow().clone())
}

/// The name of the table or view that is scanned; `None` for what only looks like one.
pub(crate) fn relation(scan: &TableScan) -> Option<String> {
    let provider = source_as_provider(&scan.source).ok()?;
    let is_filled = (provider.as_ref() as &dyn std::any::Any).is::<MemTable>();
    is_filled.then(|| scan.table_name.table().to_owned())
}

/// The tables and views that `plan` reads, in subqueries too.
pub(super) fn relations(plan: &LogicalPlan) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found.extend(relation(scan));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map_err(failed)?;
    Ok(found)
}

/// The subqueries in the expressions of the node itself, each once.
fn subqueries(plan: &LogicalPlan) -> Result<Vec<Subquery>> {
    let mut found: Vec<Subquery> = Vec::new();
    let walked = plan.apply_expressions(|expr| {
        expr.apply(|part| {
            let subquery = match part {
                Expr::ScalarSubquery(subquery) => Some(subquery),
                Expr::InSubquery(of) => Some(&of.subquery),
                Expr::Exists(of) => Some(&of.subquery),
                Expr::SetComparison(of) => Some(&of.subquery),
                _ => None,
            };
            if let Some(subquery) = subquery
                && !found.contains(subquery)
            {
                found.push(subquery.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })
    });
    walked.map_err(failed)?;
    Ok(found)
}
