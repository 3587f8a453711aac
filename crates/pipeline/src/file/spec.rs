//! What a pipeline file says, as types. Their doc comments are the help that editors show, through
//! the [JSON Schema](super::schema), and the reference in `docs/pipeline-file.md`.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syncline_change::units::{Duration, Size};
use syncline_connect::config::{SinkConfig, SourceConfig};

/// A pipeline: where rows come from, the SQL views of them, and where the results go.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Syncline pipeline")]
pub struct PipelineSpec {
    /// What the pipeline is called on its page, in logs and in metrics.
    pub name: String,
    /// Where rows come from, by name. SQL reads a source by its name.
    #[schemars(extend("propertyNames" = {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}))]
    pub sources: IndexMap<String, SourceConfig>,
    /// SQL over sources and other views, by name. Each is kept up to date as rows arrive.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}))]
    pub views: IndexMap<String, View>,
    /// Where the rows of views go, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}))]
    pub sinks: IndexMap<String, SinkConfig>,
    /// Conditions to tell somebody about, by name.
    #[serde(default)]
    #[schemars(extend("propertyNames" = {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}))]
    pub alerts: IndexMap<String, Alert>,
    /// What `syncline test` runs: given rows of sources, expected rows of views.
    #[serde(default)]
    pub tests: Vec<TestCase>,
    /// How the pipeline runs.
    #[serde(default)]
    pub run: RunSpec,
}

/// A SQL view: the SELECT alone, or with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "ViewForm")]
#[schemars(with = "ViewForm")]
pub struct View {
    pub sql: String,
    pub emit: Emit,
    pub keep: Option<bool>,
}

/// The two ways to write a view.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum ViewForm {
    /// The SELECT.
    Sql(String),
    /// The SELECT with settings.
    Settings(ViewSettings),
}

/// A view with settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ViewSettings {
    /// One SELECT over sources and views.
    sql: String,
    /// When rows leave the view.
    #[serde(default)]
    emit: Emit,
    /// Keep the content readable, for queries and the page. Without it, a view is kept if no sink
    /// reads it.
    #[serde(default)]
    keep: Option<bool>,
}

impl From<ViewForm> for View {
    fn from(form: ViewForm) -> Self {
        match form {
            ViewForm::Sql(sql) => Self { sql, emit: Emit::default(), keep: None },
            ViewForm::Settings(view) => Self { sql: view.sql, emit: view.emit, keep: view.keep },
        }
    }
}

/// When rows leave a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Emit {
    /// At once, corrected when more arrives.
    #[default]
    Changes,
    /// Once, when their window has closed; never corrected.
    Final,
}

/// A condition to tell somebody about.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// A SELECT: the alert fires for each row that appears in it and resolves when the row goes.
    pub when: String,
    /// Who is told. The page shows every alert, whoever is told.
    #[serde(default)]
    pub notify: Vec<Notify>,
}

/// One way to tell somebody about an alert.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Notify {
    /// Posts JSON to a URL.
    Webhook(Webhook),
    /// Writes to the log, as a warning.
    Log(LogNotice),
}

/// `type: webhook` under `notify:`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Webhook {
    /// Where to post.
    pub url: String,
    /// Headers to send along.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
}

/// `type: log` under `notify:`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LogNotice {}

/// A test of the pipeline's views.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestCase {
    /// What the test is called in the report.
    pub name: String,
    /// Rows of sources. A source that is not named has none, a column that is not named is NULL.
    #[serde(default)]
    pub given: IndexMap<String, Vec<Row>>,
    /// The rows that views then have, in any order. Columns that are not named are not compared.
    pub expect: IndexMap<String, Vec<Row>>,
}

/// A row of a test: values by column.
pub type Row = serde_json::Map<String, serde_json::Value>;

/// How the pipeline runs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// How much input one epoch takes.
    #[serde(default)]
    pub epoch: EpochSpec,
    /// Threads that compute views. Without it, one for each core.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub workers: Option<usize>,
    /// Memory that rows, queues and state may take: beyond it, state of joins and other operators that
    /// keep rows goes to disk. Without it, half of the machine's.
    #[serde(default)]
    pub memory_limit: Option<Size>,
    /// Where the journal, state and checkpoints are kept, relative to the pipeline file.
    #[serde(default = "data_dir")]
    pub data_dir: String,
    /// How long after the start of one checkpoint the next is taken, if there was anything new.
    #[serde(default = "checkpoint_interval")]
    pub checkpoint_interval: Duration,
    /// How long the journal is kept. What is older goes when a checkpoint and all sinks are beyond it:
    /// views cannot be made anew then, or verified from the beginning. Without it, for ever.
    #[serde(default)]
    pub journal_retention: Option<Duration>,
    /// Where the page, the API and metrics are served: an address and a port. Without it,
    /// `127.0.0.1:7373`.
    #[serde(default)]
    pub listen: Option<String>,
}

impl Default for RunSpec {
    fn default() -> Self {
        Self {
            epoch: EpochSpec::default(),
            workers: None,
            memory_limit: None,
            data_dir: data_dir(),
            checkpoint_interval: checkpoint_interval(),
            journal_retention: None,
            listen: None,
        }
    }
}

fn checkpoint_interval() -> Duration {
    Duration(std::time::Duration::from_secs(10))
}

fn data_dir() -> String {
    ".syncline".to_owned()
}

/// How much input one epoch takes. An epoch closes at `max_rows`, or as soon as the circuit is free
/// and `max_delay` has passed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EpochSpec {
    /// Rows of all sources together.
    #[serde(default = "epoch_rows_max")]
    #[schemars(range(min = 1))]
    pub max_rows: u64,
    /// How long the first row of an epoch waits for more of them.
    #[serde(default)]
    pub max_delay: Duration,
}

impl Default for EpochSpec {
    fn default() -> Self {
        Self { max_rows: epoch_rows_max(), max_delay: Duration::default() }
    }
}

fn epoch_rows_max() -> u64 {
    65_536
}
