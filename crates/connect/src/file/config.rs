//! Settings of file sources and sinks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syncline_change::units::Size;

use crate::config::{Mode, SinkCommon, SourceCommon};

/// `type: file` under `sources:`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SourceConfig {
    #[serde(flatten)]
    pub common: SourceCommon,
    /// A file or a glob, relative to the pipeline file. `.gz` and `.zst` are decompressed. Several
    /// files are read in the order of their names.
    pub path: String,
    /// How rows are written in it.
    pub format: Format,
    /// How to read `format: csv`.
    #[serde(default)]
    pub csv: CsvConfig,
    /// Keep watching for new files and appended lines.
    #[serde(default)]
    pub follow: bool,
    /// Pace the input by its event time.
    #[serde(default)]
    pub replay: Option<Replay>,
    /// The longest row that is taken; a longer one becomes a dead letter.
    #[serde(default = "row_size_max")]
    pub max_row: Size,
    /// What the journal keeps of what was read.
    #[serde(default)]
    pub journal: Journal,
}

/// What the journal keeps of what was read from a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Journal {
    /// The rows.
    #[default]
    Rows,
    /// Where in the file they are, and a hash: for files that stay as and where they are. Rows of
    /// compressed files are kept as rows.
    Reference,
}

fn row_size_max() -> Size {
    Size(1 << 20)
}

/// How rows are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object a line.
    Json,
    /// One Debezium change envelope a line.
    DebeziumJson,
    /// Apache Parquet.
    Parquet,
}

/// How to read `format: csv`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvConfig {
    /// What stands for NULL.
    #[serde(default = "null_values")]
    pub null_values: Vec<String>,
    /// What separates fields: one ASCII character.
    #[serde(default = "delimiter")]
    pub delimiter: char,
    /// Whether the first line of each file names the columns.
    #[serde(default = "header")]
    pub header: bool,
}

impl Default for CsvConfig {
    fn default() -> Self {
        Self { null_values: null_values(), delimiter: delimiter(), header: header() }
    }
}

fn null_values() -> Vec<String> {
    vec![String::new()]
}

fn delimiter() -> char {
    ','
}

fn header() -> bool {
    true
}

/// Pacing of a bounded input by its event time.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// Seconds of event time in a second: 3600 is an hour a second.
    pub speed: f64,
    /// Rows before this time are read at once; the pacing starts here.
    #[serde(default)]
    pub from: Option<String>,
}

/// `type: file` under `sinks:`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SinkConfig {
    #[serde(flatten)]
    pub common: SinkCommon,
    /// The file, relative to the pipeline file. With `mode: changes` and parquet: a folder.
    pub path: String,
    /// How rows are written in it.
    pub format: SinkFormat,
    /// The view's content, or its changes.
    #[serde(default)]
    pub mode: Mode,
}

/// How rows are written in a file that Syncline writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SinkFormat {
    /// One JSON object a line.
    Json,
    /// Comma-separated values with a header line.
    Csv,
    /// Apache Parquet.
    Parquet,
}
