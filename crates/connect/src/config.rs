//! The part of a pipeline file that connectors read: `sources:` and `sinks:`.
//!
//! Unknown keys are not refused here but by the pipeline file's validator, which works from the
//! JSON Schema of these types and can say where they stand and what was meant.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syncline_change::units::Duration;

use crate::{console, file, http, nexmark};

/// One source of rows: what is common to all, and its system's own settings beside it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum SourceConfig {
    /// Reads files: csv, json lines, Debezium envelopes, parquet.
    File(file::SourceConfig),
    /// Takes rows posted to `/ingest/SOURCE`.
    Http(http::SourceConfig),
    /// Generates the Nexmark benchmark's events.
    Nexmark(nexmark::SourceConfig),
}

/// What every source can be told.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct SourceCommon {
    /// Columns and their SQL types. What is not named is inferred from the data, where there is
    /// any, and pinned in the lock.
    #[serde(default)]
    pub columns: IndexMap<String, String>,
    /// Columns that identify a row: a row replaces the one with the same key.
    #[serde(default)]
    pub primary_key: Vec<String>,
    /// The column that says when a row happened, and how late a row may be.
    #[serde(default)]
    pub event_time: Option<EventTime>,
    /// What happens to a row that cannot be taken.
    #[serde(default)]
    pub on_error: OnError,
}

/// Event time: the source's watermark is its newest event time less `lateness`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventTime {
    /// A TIMESTAMP column of the source.
    pub column: String,
    /// How far behind the newest row a row may be; one that is later becomes a dead letter.
    #[serde(default)]
    pub lateness: Duration,
    /// After so long without a row, views with `emit: final` do not wait for this source until it has
    /// rows again; without it they always wait.
    #[serde(default)]
    pub idle: Option<Duration>,
}

/// What happens to a row that cannot be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// It is kept with the reason, and the run goes on.
    #[default]
    DeadLetter,
    /// The source stops with an error.
    Fail,
    /// It is counted and forgotten.
    Skip,
}

impl SourceConfig {
    pub fn common(&self) -> &SourceCommon {
        match self {
            Self::File(config) => &config.common,
            Self::Http(config) => &config.common,
            Self::Nexmark(config) => &config.common,
        }
    }

    /// The `type` in the pipeline file.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Http(_) => "http",
            Self::Nexmark(_) => "nexmark",
        }
    }
}

/// One sink: where the rows of a view go.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum SinkConfig {
    /// Writes a file.
    File(file::SinkConfig),
    /// Prints to standard output.
    Console(console::SinkConfig),
    /// Posts changes to a URL.
    Http(http::SinkConfig),
}

/// What every sink is told.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SinkCommon {
    /// The view (or source) whose rows go there.
    pub from: String,
}

impl SinkConfig {
    pub fn common(&self) -> &SinkCommon {
        match self {
            Self::File(config) => &config.common,
            Self::Console(config) => &config.common,
            Self::Http(config) => &config.common,
        }
    }

    /// The `type` in the pipeline file.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Console(_) => "console",
            Self::Http(_) => "http",
        }
    }

    /// How often what the target did not take is tried again before it becomes dead letters;
    /// `None`: the sink gives nothing up.
    pub fn retry(&self) -> Option<&http::Retry> {
        match self {
            Self::Http(config) => Some(&config.retry),
            Self::File(_) | Self::Console(_) => None,
        }
    }
}

/// What a sink receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The view's content, replaced as a whole.
    Snapshot,
    /// One line a change, appended.
    #[default]
    Changes,
}
