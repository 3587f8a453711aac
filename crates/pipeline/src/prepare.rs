//! Everything about a pipeline that can be known without running it: schemas, plans, the lock.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use syncline_change::sink::Shape;
use syncline_change::{Error, Result};
use syncline_connect::config::SourceConfig;
use syncline_connect::file::Format;
use syncline_connect::{file, resolve_schema};
use syncline_engine::{
    BatchEngine, Circuit, Emit, EventTime, Options, SqlError, TableDef, ViewDef,
};

use crate::clock;
use crate::file::{LoadError, Pipeline, Problem, spec};
use crate::lock::Lock;

/// What alert views are called in the circuit; no view of a pipeline file can have such a name.
const ALERT_PREFIX: &str = "alert ";
/// What seeds start from in a lock that does not say otherwise.
const DEFAULT_SEED: u64 = 0;

/// A pipeline whose sources have columns and whose views are planned.
pub struct Prepared {
    pub pipeline: Pipeline,
    pub tables: Vec<TableDef>,
    /// The views of the file in its order, then one for each alert.
    pub views: Vec<ViewDef>,
    /// The lock as it should be.
    pub lock: Lock,
    /// The lock that was found beside the file.
    pub found_lock: Option<Lock>,
}

impl Prepared {
    /// Finds out the columns of every source (from the lock, or else from the data) and checks all
    /// SQL. Reads files; writes none.
    ///
    /// # Errors
    /// Everything that is wrong with the sources or the views, with its place in the file.
    pub fn new(pipeline: Pipeline) -> Result<Self, LoadError> {
        let found_lock = Lock::read(&pipeline.lock_path())?;
        let mut lock = Lock::new(found_lock.as_ref().map_or(DEFAULT_SEED, |lock| lock.seed));
        let mut tables = Vec::new();
        for (name, config) in &pipeline.spec.sources {
            let pinned = match &found_lock {
                Some(lock) => lock.source_schema(name)?,
                None => None,
            };
            let schema = resolve_schema(name, config, &pipeline.base_dir, pinned.as_deref());
            let schema = schema.map_err(|error| source_problem(&pipeline, name, error))?;
            lock.set_source(name, &schema);
            tables
                .push(table(name, config, schema).map_err(|e| source_problem(&pipeline, name, e))?);
        }
        let views = view_defs(&pipeline);
        let mut prepared = Self { pipeline, tables, views, lock, found_lock };
        let circuit = prepared.circuit(None)?;
        for view in circuit.views() {
            prepared.lock.views.insert(view.name.clone(), view.fingerprint.clone());
        }
        Ok(prepared)
    }

    /// A new circuit for the pipeline's views, with work shared between the threads of `pool`.
    ///
    /// # Errors
    /// What is wrong with the views' SQL, with its place in the file.
    pub fn circuit(&self, pool: Option<Arc<rayon::ThreadPool>>) -> Result<Circuit, LoadError> {
        self.circuit_of(&self.views, pool)
    }

    /// A new circuit for some of the views, which may read no others.
    ///
    /// # Errors
    /// As for [`circuit`](Self::circuit).
    pub fn circuit_of(
        &self,
        views: &[ViewDef],
        pool: Option<Arc<rayon::ThreadPool>>,
    ) -> Result<Circuit, LoadError> {
        let seed = self.lock.seed;
        let options = Options { pool, stopwatch: clock::stopwatch_nanos, seed };
        Circuit::new(self.tables.clone(), views, options).map_err(|e| self.sql_problems(e))
    }

    /// The batch engine for the pipeline's views.
    ///
    /// # Errors
    /// As for [`circuit`](Self::circuit).
    pub fn batch_engine(&self) -> Result<BatchEngine, LoadError> {
        let made = BatchEngine::new(&self.tables, &self.views, self.lock.seed);
        made.map_err(|errors| self.sql_problems(errors))
    }

    fn sql_problems(&self, errors: Vec<SqlError>) -> LoadError {
        let problems = errors.into_iter().map(|error| sql_problem(&self.pipeline, error));
        self.pipeline.report(problems.collect())
    }

    /// Writes the lock if it says anything new; returns what changed, a line each.
    pub fn write_lock(&self) -> Result<Vec<String>> {
        let path = self.pipeline.lock_path();
        if !self.lock.write(&path)? {
            return Ok(vec![]);
        }
        Ok(match &self.found_lock {
            Some(found) => found.diff(&self.lock),
            None => vec![format!("wrote {}", path.display())],
        })
    }

    /// The number of a table or view that rows can be taken from, by name.
    pub fn relation(&self, name: &str) -> Option<Relation> {
        let table = self.tables.iter().position(|table| table.name == name).map(Relation::Table);
        table.or_else(|| self.views.iter().position(|v| v.name == name).map(Relation::View))
    }

    /// As [`relation`](Self::relation), of what the file was checked to have.
    ///
    /// # Errors
    /// `Bug` if it is not there.
    pub(crate) fn existing_relation(&self, name: &str) -> Result<Relation> {
        self.relation(name).ok_or_else(|| Error::bug(format!("`{name}` is not there")))
    }

    /// What a sink that reads `relation` is told of it; `circuit` has this pipeline's views.
    pub(crate) fn shape(&self, circuit: &Circuit, relation: Relation) -> Shape {
        match relation {
            Relation::View(view) => {
                let view = &circuit.views()[view];
                Shape { schema: view.schema.clone(), key: view.key.clone() }
            }
            Relation::Table(table) => {
                let table = &self.tables[table];
                Shape { schema: table.schema.clone(), key: table.primary_key.clone() }
            }
        }
    }

    /// Whether the content of a view must be kept readable.
    pub fn is_kept(&self, view: &str) -> bool {
        let Some(spec) = self.pipeline.spec.views.get(view) else { return false };
        spec.keep.unwrap_or_else(|| {
            !self.pipeline.spec.sinks.values().any(|sink| sink.common().from == view)
        })
    }
}

/// Where a sink's rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Table(usize),
    View(usize),
}

/// The circuit's name for the view behind an alert.
pub fn alert_view(alert: &str) -> String {
    format!("{ALERT_PREFIX}{alert}")
}

/// The alert that a view of the circuit stands behind, if it is not one of the pipeline file.
pub fn alert_of(view: &str) -> Option<&str> {
    view.strip_prefix(ALERT_PREFIX)
}

/// Whether a source comes to an end by itself.
pub fn is_bounded(config: &SourceConfig) -> bool {
    match config {
        SourceConfig::File(config) => !config.follow,
        SourceConfig::Nexmark(config) => config.events.is_some(),
        SourceConfig::Http(_) => false,
    }
}

fn table(name: &str, config: &SourceConfig, schema: SchemaRef) -> Result<TableDef> {
    let common = config.common();
    let index = |column: &str| {
        schema.index_of(column).map_err(|_| {
            let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            Error::config(format!("there is no column `{column}`"))
                .hint(format!("the columns are: {}", names.join(", ")))
        })
    };
    let key = common.primary_key.iter().map(|column| index(column)).collect::<Result<Vec<_>>>()?;
    let event_time = match &common.event_time {
        None => None,
        Some(time) => {
            let column = index(&time.column)?;
            let data_type = schema.field(column).data_type();
            if !matches!(data_type, DataType::Timestamp(_, _)) {
                return Err(Error::config(format!("event time `{}` is no timestamp", time.column))
                    .detail(format!("it is {}", syncline_change::types::name(data_type)))
                    .hint(format!(
                        "say `columns: {{{}: TIMESTAMP}}`, or name another column",
                        time.column
                    )));
            }
            Some(EventTime {
                column,
                lateness_us: time.lateness.as_micros(),
                idle_us: time.idle.map(|idle| idle.as_micros()),
            })
        }
    };
    let deletes = matches!(
        config,
        SourceConfig::File(file::SourceConfig { format: Format::DebeziumJson, .. })
    );
    Ok(TableDef {
        name: name.to_owned(),
        schema,
        primary_key: (!key.is_empty()).then_some(key),
        event_time,
        deletes,
    })
}

fn view_defs(pipeline: &Pipeline) -> Vec<ViewDef> {
    let views = pipeline.spec.views.iter().map(|(name, view)| ViewDef {
        name: name.clone(),
        sql: view.sql.clone(),
        emit: match view.emit {
            spec::Emit::Changes => Emit::Changes,
            spec::Emit::Final => Emit::Final,
        },
    });
    let alerts = pipeline.spec.alerts.iter().map(|(name, alert)| ViewDef {
        name: alert_view(name),
        sql: alert.when.clone(),
        emit: Emit::Changes,
    });
    views.chain(alerts).collect()
}

fn source_problem(pipeline: &Pipeline, name: &str, error: Error) -> LoadError {
    if error.kind() != syncline_change::ErrorKind::Config {
        let shown = |text: &str| pipeline.secrets.redact(text);
        let mut made = Error::new(error.kind(), shown(error.message()));
        if let Some(detail) = error.detail_text() {
            made = made.detail(shown(detail));
        }
        if let Some(hint) = error.hint_text() {
            made = made.hint(hint);
        }
        return LoadError::Unreadable(made);
    }
    let message = match error.detail_text() {
        Some(detail) => format!("{}: {detail}", error.message()),
        None => error.message().to_owned(),
    };
    let mut problem = pipeline.problem(&format!("sources.{name}"), None, message);
    if let Some(hint) = error.hint_text() {
        problem = problem.hint(hint);
    }
    pipeline.report(vec![problem])
}

fn sql_problem(pipeline: &Pipeline, error: SqlError) -> Problem {
    let path = match alert_of(&error.view) {
        Some(alert) => format!("alerts.{alert}.when"),
        None => pipeline.view_path(&error.view),
    };
    let place = error.position.map(|at| (at.line as usize, at.column as usize));
    let problem = pipeline.problem(&path, place, error.message);
    match error.hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
