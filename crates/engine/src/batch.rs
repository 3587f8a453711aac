//! The batch engine: a plan computed at once by DataFusion, over tables filled for the occasion.
//!
//! It shares with the circuit what must mean the same in both (functions, the order of ties), and
//! nothing of how results are found, so that one can check the other.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::common::{DFSchema, DataFusionError, TableReference};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::physical_plan::collect;
use syncline_change::row::canonical;
use syncline_change::{Batch, Error, Result};

use crate::account::{Computed, Wanted};
use crate::content::Content;
use crate::functions::now;
use crate::operators::{Workers, micros, relabel};
use crate::sql::{PlannedView, Session, SqlError, plan_views, shown, without_panic};
use crate::table::{TableDef, ViewDef};

/// Runs plans to their end on the calling thread. Not to be called from within an async task.
pub(crate) struct Runner {
    state: SessionState,
    runtime: tokio::runtime::Runtime,
}

impl Runner {
    pub(crate) fn new(state: SessionState) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| Error::bug("cannot start the batch engine").source(error))?;
        Ok(Self { state, runtime })
    }

    /// Replaces the content of a table.
    pub(crate) fn fill(&self, table: &MemTable, rows: Vec<RecordBatch>) -> Result<()> {
        let mut content = table.batches[0]
            .try_write()
            .map_err(|_| Error::bug("a table is read while it is filled"))?;
        // Batches may differ from the table in names and nullability, which mean nothing here.
        let schema = datafusion::catalog::TableProvider::schema(table);
        *content = rows
            .into_iter()
            .map(|rows| {
                let options =
                    arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
                RecordBatch::try_new_with_options(schema.clone(), rows.columns().to_vec(), &options)
            })
            .collect::<Result<_, _>>()?;
        Ok(())
    }

    pub(crate) fn optimize(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        without_panic(|| self.state.optimize(plan)).map_err(failed)
    }

    /// The result of an optimised plan at `time_us`.
    ///
    /// # Errors
    /// `Input` if an expression cannot be computed for some row; `Bug` for defects.
    pub(crate) fn run(&self, plan: &LogicalPlan, time_us: i64) -> Result<Vec<RecordBatch>> {
        let run = async {
            let plan = now::with_time(plan.clone(), time_us)?;
            let physical =
                self.state.query_planner().create_physical_plan(&plan, &self.state).await?;
            collect(physical, self.state.task_ctx()).await
        };
        without_panic(|| self.runtime.block_on(run)).map_err(failed)
    }
}

/// DataFusion's error as one of ours.
pub(crate) fn failed(error: DataFusionError) -> Error {
    Error::input("a query cannot be computed").detail(error.strip_backtrace())
}

/// A table that starts empty.
pub(crate) fn empty_table(schema: SchemaRef) -> Result<Arc<MemTable>, DataFusionError> {
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![]])?))
}

/// A scan that stands for input number `input` of a node that is computed by itself, and has its
/// columns by the names, qualifiers included, that the node's expressions use.
pub(crate) fn stand_in(input: usize, table: &Arc<MemTable>, schema: &Arc<DFSchema>) -> LogicalPlan {
    LogicalPlan::TableScan(TableScan {
        table_name: TableReference::bare(format!("(input {input})")),
        source: provider_as_source(table.clone()),
        projection: None,
        projected_schema: schema.clone(),
        filters: vec![],
        fetch: None,
        statistics_requests: Default::default(),
    })
}

/// Computes all views of a pipeline at once, over given table contents.
pub struct BatchEngine {
    pub(crate) runner: Runner,
    /// In an order in which those that are read come first.
    pub(crate) views: Vec<PlannedView>,
    /// Of the tables, then of the views.
    tables: Vec<(String, Arc<MemTable>)>,
    /// Views that do not read one another are computed at the same time.
    workers: Workers,
}

/// The content of a table: its name and rows.
pub type TableContent = (String, Vec<RecordBatch>);

/// What is asked of the batch engine about views, by their names.
struct Question<'a> {
    is_asked: &'a dyn Fn(&str) -> bool,
    wanted: &'a dyn Fn(&str) -> Wanted,
    /// Whether all keep their rows in tables, those that no other view reads too.
    keeps_all: bool,
}

impl BatchEngine {
    /// `seed` as in [`Options`](crate::Options).
    ///
    /// # Errors
    /// Everything that is wrong with the views' SQL.
    pub fn new(tables: &[TableDef], views: &[ViewDef], seed: u64) -> Result<Self, Vec<SqlError>> {
        let session = Session::new(seed);
        let views = plan_views(&session, tables, views)?;
        let wrong = |error: Error| vec![SqlError::new("", error.to_string())];
        let names = tables.iter().map(|t| &t.name).chain(views.iter().map(|v| &v.def.name));
        let tables = names
            .map(|name| Ok((name.clone(), session.table(name).map_err(failed)?)))
            .collect::<Result<_>>()
            .map_err(wrong)?;
        let runner = Runner::new(session.state()).map_err(wrong)?;
        Ok(Self { runner, views, tables, workers: Workers::default() })
    }

    /// The same, with threads to compute views by.
    #[must_use]
    pub fn with_pool(self, pool: Option<Arc<rayon::ThreadPool>>) -> Self {
        Self { workers: Workers::new(pool), ..self }
    }

    /// The content of every view, by name. `watermark_us` says how far event time has come for
    /// `emit: final` views, given the view's name; rows of windows that end later are left out.
    ///
    /// # Errors
    /// `Input` if an expression cannot be computed for some row.
    pub fn compute(
        &self,
        contents: &[TableContent],
        time_us: i64,
        watermark_us: impl Fn(&str) -> i64,
    ) -> Result<Vec<(String, Content)>> {
        whole(self.compute_each(contents, time_us, watermark_us)?)
    }

    /// As [`compute`](Self::compute), with an error for those views alone that cannot be computed.
    pub fn compute_each(
        &self,
        contents: &[TableContent],
        time_us: i64,
        watermark_us: impl Fn(&str) -> i64,
    ) -> Result<Vec<(String, Result<Content>)>> {
        let computed = self.answer_each(contents, time_us, watermark_us, |_| Wanted::Rows)?;
        Ok(computed.into_iter().map(|(name, of)| (name, of.and_then(of_rows))).collect())
    }

    /// The same, with what is `wanted` of each view.
    pub fn answer_each(
        &self,
        contents: &[TableContent],
        time_us: i64,
        watermark_us: impl Fn(&str) -> i64,
        wanted: impl Fn(&str) -> Wanted,
    ) -> Result<Vec<(String, Result<Computed>)>> {
        let question = Question { is_asked: &|_| true, wanted: &wanted, keeps_all: false };
        let computed = self.fill_and_compute(contents, time_us, watermark_us, &question)?;
        self.clear()?;
        Ok(computed)
    }

    /// As [`compute`](Self::compute), for the views that are asked for by their names, which must be
    /// all that they read too. Tables and views keep their rows until [`Self::clear`].
    pub(crate) fn compute_some(
        &self,
        contents: &[TableContent],
        time_us: i64,
        watermark_us: impl Fn(&str) -> i64,
        is_asked: impl Fn(&str) -> bool,
    ) -> Result<Vec<(String, Content)>> {
        let question = Question { is_asked: &is_asked, wanted: &|_| Wanted::Rows, keeps_all: true };
        let computed = self.fill_and_compute(contents, time_us, watermark_us, &question)?;
        whole(computed.into_iter().map(|(name, of)| (name, of.and_then(of_rows))).collect())
    }

    fn fill_and_compute(
        &self,
        contents: &[TableContent],
        time_us: i64,
        watermark_us: impl Fn(&str) -> i64,
        question: &Question<'_>,
    ) -> Result<Vec<(String, Result<Computed>)>> {
        self.fill_tables(contents)?;
        let asked = self.views.iter().filter(|view| (question.is_asked)(&view.def.name));
        let all: Vec<Asked<'_>> = asked
            .map(|view| {
                let name = &view.def.name;
                let is_read = self.views.iter().any(|other| other.reads.contains(name));
                Asked {
                    view,
                    watermark_us: watermark_us(name),
                    wanted: (question.wanted)(name),
                    is_kept: is_read || question.keeps_all,
                }
            })
            .collect();
        let mut left: Vec<&Asked<'_>> = all.iter().collect();
        let mut computed: Vec<(String, Result<Computed>)> = Vec::new();
        while !left.is_empty() {
            let is_left = |name: &String| left.iter().any(|asked| asked.view.def.name == *name);
            let (now, later): (Vec<_>, Vec<_>) =
                left.iter().copied().partition(|asked| !asked.view.reads.iter().any(is_left));
            let answers = self.workers.map(&now, |asked| self.answer(asked, time_us, &computed));
            for (asked, answer) in now.iter().zip(answers) {
                let name = &asked.view.def.name;
                let answer = match answer {
                    Ok((answer, rows)) => {
                        if asked.is_kept {
                            self.runner.fill(self.find(name)?, rows)?;
                        }
                        Ok(answer)
                    }
                    Err(error) => Err(error),
                };
                computed.push((name.clone(), answer));
            }
            left = later;
        }
        let place = |name: &String| self.views.iter().position(|view| view.def.name == *name);
        computed.sort_by_key(|(name, _)| place(name));
        Ok(computed)
    }

    /// Computes a view, when those that it reads are `computed`: what is wanted of it, and its rows.
    fn answer(
        &self,
        asked: &Asked<'_>,
        time_us: i64,
        computed: &[(String, Result<Computed>)],
    ) -> Result<(Computed, Vec<RecordBatch>)> {
        let view = asked.view;
        let failed = computed.iter().find(|(name, of)| of.is_err() && view.reads.contains(name));
        if let Some((failed, _)) = failed {
            let name = &view.def.name;
            let message = format!("view `{name}` reads `{failed}`, which cannot be computed");
            return Err(Error::input(message));
        }
        // Each of those that are computed at the same time needs a runner of its own.
        let runner = Runner::new(self.runner.state.clone())?;
        let plan = runner.optimize(&view.plan)?;
        let changes = changes_of(&runner, view, &plan, time_us, asked.watermark_us)?;
        let named = (view.def.name.as_str(), &view.order);
        let answer = Computed::new(asked.wanted, named, &view.schema, &changes, &self.workers)?;
        let rows = if asked.is_kept { changes } else { vec![] };
        Ok((answer, rows.into_iter().map(|change| change.rows().clone()).collect()))
    }

    /// Replaces the content of tables.
    pub(crate) fn fill_tables(&self, contents: &[TableContent]) -> Result<()> {
        let mut contents = contents.iter();
        contents.try_for_each(|(name, rows)| self.runner.fill(self.find(name)?, rows.clone()))
    }

    /// The content of a view by a plan of it that is optimised.
    pub(crate) fn run_view(
        &self,
        view: &PlannedView,
        plan: &LogicalPlan,
        time_us: i64,
        watermark_us: i64,
    ) -> Result<Content> {
        let mut content = Content::new(view.schema.clone(), view.order.clone())?;
        let changes = changes_of(&self.runner, view, plan, time_us, watermark_us)?;
        changes.iter().try_for_each(|change| content.apply(change))?;
        Ok(content)
    }

    /// The plan of a view as it is run.
    pub(crate) fn optimized(&self, view: &PlannedView) -> Result<LogicalPlan> {
        self.runner.optimize(&view.plan)
    }

    /// The columns of a table or view, and the rows that it is filled with.
    pub(crate) fn content(&self, name: &str) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let table = self.find(name)?;
        let rows = table.batches[0]
            .try_read()
            .map_err(|_| Error::bug("a table is filled while it is read"))?;
        Ok((datafusion::catalog::TableProvider::schema(table), rows.clone()))
    }

    pub(crate) fn clear(&self) -> Result<()> {
        self.tables.iter().try_for_each(|(_, table)| self.runner.fill(table, vec![]))
    }

    fn find(&self, name: &str) -> Result<&MemTable> {
        let found = self.tables.iter().find(|(have, _)| have == name);
        found
            .map(|(_, table)| table.as_ref())
            .ok_or_else(|| Error::bug(format!("no table `{name}`")))
    }
}

/// All contents, or the first error.
fn whole(computed: Vec<(String, Result<Content>)>) -> Result<Vec<(String, Content)>> {
    computed.into_iter().map(|(name, content)| Ok((name, content?))).collect()
}

/// A view that is to be computed.
struct Asked<'a> {
    view: &'a PlannedView,
    watermark_us: i64,
    wanted: Wanted,
    is_kept: bool,
}

fn of_rows(computed: Computed) -> Result<Content> {
    match computed {
        Computed::Rows(content) => Ok(*content),
        Computed::Digest { .. } | Computed::Total(_) => {
            Err(Error::bug("a view was computed without the rows that are wanted"))
        }
    }
}

/// The rows that a view's plan gives, as they would be inserted.
fn changes_of(
    runner: &Runner,
    view: &PlannedView,
    plan: &LogicalPlan,
    time_us: i64,
    watermark_us: i64,
) -> Result<Vec<Batch>> {
    let changes = runner.run(plan, time_us)?.into_iter().map(|rows| {
        let mut change = relabel(&Batch::inserts(rows), &view.schema)?;
        if let Some(column) = view.window_end {
            change = change.filter(&closed(change.rows().column(column), watermark_us)?)?;
        }
        Ok(change.with_rows(canonical(change.rows().clone())?))
    });
    changes.collect()
}

/// Which windows end at or before `watermark_us`.
fn closed(window_ends: &ArrayRef, watermark_us: i64) -> Result<BooleanArray> {
    let ends = micros(window_ends)?;
    Ok(ends.iter().map(|end| Some(end.unwrap_or(i64::MAX) <= watermark_us)).collect())
}

/// Runs one SELECT over given contents: what `syncline query` does. `seed` is what `random()` and
/// `uuid()` start from.
///
/// # Errors
/// What is wrong with the SQL (`Config`), or with what it computes (`Input`).
pub fn query(
    sql: &str,
    contents: &[(TableContent, SchemaRef)],
    time_us: i64,
    seed: u64,
) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let session = Session::new(seed);
    for ((name, _), schema) in contents {
        session.register(name, schema.clone()).map_err(failed)?;
    }
    let plan = session.plan("query", sql)?;
    let written = plan;
    let plan = session.optimize("query", &written)?;
    let schema = shown(&written, &plan);
    let runner = Runner::new(session.state())?;
    for ((name, rows), _) in contents {
        runner.fill(session.table(name).map_err(failed)?.as_ref(), rows.clone())?;
    }
    Ok((schema, runner.run(&plan, time_us)?))
}
