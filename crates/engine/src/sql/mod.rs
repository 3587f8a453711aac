//! From a view's SQL to DataFusion's logical plan, made fit for a result that must repeat.

mod asof;
mod canonical;
mod distinct_on;
mod endless;
mod error;
mod forget;
mod functions;
mod not_in;
mod order;
mod panes;
mod recorded;
mod sets;
mod views;
mod windows;

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::Dialect;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, TableReference};
use datafusion::datasource::MemTable;
use datafusion::execution::context::{SessionConfig, SessionContext};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::sqlparser::ast::Statement as AstStatement;
use datafusion::logical_expr::{Expr, LogicalPlan, WindowFunctionDefinition};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::sql::parser::Statement;

pub use error::{SqlError, SqlPosition};
pub(crate) use order::ORDERED_WINDOW_FUNCTIONS;
pub(crate) use views::{PlannedView, plan_views, shown};

use crate::batch::empty_table;
use crate::functions::{aggregates, math, now, random, reviewed, session, split, to_char};

/// DataFusion, set up so that the same input gives the same bits: one partition, exact sums, a
/// mathematical library of our own, `now()` left open, ties broken. Plans and runs; keeps no data.
pub(crate) struct Session {
    context: SessionContext,
    tables: RwLock<HashMap<String, Arc<MemTable>>>,
    pub(crate) seed: u64,
}

/// Whether an expression holds a plan of its own.
pub(crate) fn is_subquery(part: &Expr) -> bool {
    matches!(
        part,
        Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)
    )
}

/// Whether an expression depends on its row in more than columns: on other rows, by a subquery, or on
/// the row of a query around it.
pub(crate) fn reaches_out(expr: &Expr) -> Result<bool, DataFusionError> {
    expr.exists(|part| Ok(is_subquery(part) || matches!(part, Expr::OuterReferenceColumn(_, _))))
}

impl Session {
    /// `seed` is what `random()` and `uuid()` start from.
    pub(crate) fn new(seed: u64) -> Self {
        let mut config = SessionConfig::new().with_target_partitions(1);
        let options = config.options_mut();
        options.sql_parser.map_string_types_to_utf8view = false;
        options.sql_parser.collect_spans = true;
        options.optimizer.max_passes = 3;
        // It refuses right plans: what is NULL nowhere may be said to be NULL somewhere.
        options.execution.skip_physical_aggregate_schema_check = true;
        let state = SessionStateBuilder::new()
            .with_default_features()
            .with_config(config)
            .with_physical_optimizer_rules(physical_rules())
            .build();
        let context = SessionContext::new_with_state(state);
        context.add_analyzer_rule(Arc::new(canonical::CanonicalFloats));
        context.add_optimizer_rule(Arc::new(order::AggregatesInOrder));
        for function in aggregates::exact_aggregates() {
            context.register_udaf(function);
        }
        for function in session::session_functions() {
            context.register_udwf(function);
        }
        let clocks = now::clock_functions().into_iter();
        let functions = clocks.chain(math::pinned_functions()).chain(random::random_functions());
        for function in functions.chain([split::split_function(), to_char::to_char_function()]) {
            context.register_udf(function);
        }
        #[cfg(test)]
        crate::functions::planted::register(&context);
        Self { context, tables: RwLock::default(), seed }
    }

    /// Makes a table or view known to the SQL that is planned from now on.
    pub(crate) fn register(&self, name: &str, schema: SchemaRef) -> Result<(), DataFusionError> {
        let table = empty_table(schema)?;
        self.context.register_table(TableReference::bare(name), table.clone())?;
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.insert(name.to_owned(), table);
        Ok(())
    }

    /// A registered table, to be filled.
    pub(crate) fn table(&self, name: &str) -> Result<Arc<MemTable>, DataFusionError> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let found = tables.get(name).cloned();
        found.ok_or_else(|| DataFusionError::Plan(format!("no table `{name}`")))
    }

    pub(crate) fn state(&self) -> SessionState {
        self.context.state()
    }

    /// The logical plan of `sql`, one SELECT, not yet optimised: the batch engine and the circuit
    /// both start from it.
    pub(crate) fn plan(&self, view: &str, sql: &str) -> Result<LogicalPlan, SqlError> {
        let wrong = |error: DataFusionError| SqlError::from_datafusion(view, &error);
        let statement = self.parse(view, sql)?;
        let plan = without_panic(|| {
            futures::executor::block_on(self.state().statement_to_plan(statement))
        });
        let plan = plan.map_err(wrong)?;
        reject_functions(view, &plan)?;
        random::with_rows(plan, self.seed, view)
            .and_then(not_in::as_not_exists)
            .and_then(sets::count_copies)
            .and_then(order::total)
            .map_err(wrong)
    }

    /// The tables and views that `sql` reads.
    pub(crate) fn relations(&self, view: &str, sql: &str) -> Result<BTreeSet<String>, SqlError> {
        let mut statement = self.parse(view, sql)?;
        if let Statement::Statement(inner) = &mut statement {
            functions::leave_out(inner);
        }
        let references = self
            .state()
            .resolve_table_references(&statement)
            .map_err(|error| SqlError::from_datafusion(view, &error))?;
        Ok(references.iter().map(|reference| reference.table().to_owned()).collect())
    }

    /// One SELECT, with window functions in FROM and ASOF joins written out.
    fn parse(&self, view: &str, sql: &str) -> Result<Statement, SqlError> {
        let mut statement = self
            .state()
            .sql_to_statement(sql, &Dialect::Generic)
            .map_err(|error| SqlError::from_datafusion(view, &error))?;
        let Statement::Statement(inner) = &mut statement else {
            return Err(not_a_select(view));
        };
        if !matches!(inner.as_ref(), AstStatement::Query(_)) {
            return Err(not_a_select(view));
        }
        windows::expand(inner)
            .and_then(|()| asof::expand(inner))
            .map_err(|message| SqlError::new(view, message))?;
        Ok(statement)
    }

    /// The plan after DataFusion's analyser and optimiser.
    pub(crate) fn optimize(&self, view: &str, plan: &LogicalPlan) -> Result<LogicalPlan, SqlError> {
        without_panic(|| self.state().optimize(plan))
            .map_err(|error| SqlError::from_datafusion(view, &error))
    }
}

/// DataFusion's, but for the one that moves filters below joins: where both sides have columns of the
/// same names it moves some to the wrong side. And a bound on what may recur, and no belief in what does
/// not hold of grouping sets.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| !rule.name().starts_with("FilterPushdown"));
    rules.insert(0, Arc::new(endless::BoundRecursion));
    rules.insert(0, Arc::new(forget::ForgetAroundSets));
    rules
}

/// What `work` returns; a panic of DataFusion, which some SQL and some rows can cause, is an error.
pub(crate) fn without_panic<T>(
    work: impl FnOnce() -> Result<T, DataFusionError>,
) -> Result<T, DataFusionError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        Err(DataFusionError::Execution(format!("DataFusion has a defect here: {text}")))
    })
}

fn not_a_select(view: &str) -> SqlError {
    SqlError::new(view, "this is not a SELECT").hint("a view is one SELECT over sources and views")
}

fn reject_functions(view: &str, plan: &LogicalPlan) -> Result<(), SqlError> {
    let mut found = None;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                let refused = called(part).and_then(|name| Some((name, reviewed::refusal(name)?)));
                let Some((name, why)) = refused else { return Ok(TreeNodeRecursion::Continue) };
                found = Some((name.to_owned(), why));
                Ok(TreeNodeRecursion::Stop)
            })
        })
    });
    walked.map_err(|error| SqlError::from_datafusion(view, &error))?;
    match found {
        None => Ok(()),
        Some((name, (reason, hint))) => {
            Err(SqlError::new(view, format!("`{name}()` {reason}")).hint(hint))
        }
    }
}

/// The name of the function that the expression itself (not a part of it) calls.
fn called(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::ScalarFunction(call) => Some(call.func.name()),
        Expr::AggregateFunction(call) => Some(call.func.name()),
        Expr::WindowFunction(call) => match &call.fun {
            WindowFunctionDefinition::AggregateUDF(function) => Some(function.name()),
            WindowFunctionDefinition::WindowUDF(function) => Some(function.name()),
        },
        _ => None,
    }
}
