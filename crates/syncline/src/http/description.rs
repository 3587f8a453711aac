//! What a pipeline is made of, for those who look at it: nothing here changes while it runs.
//!
//! Whatever was filled in from the environment is shown as it stands in the pipeline file.

mod build;

use arrow::datatypes::Schema;
use serde::Serialize;
use syncline_change::sink::Shape;
use syncline_change::types;
use syncline_pipeline::file;
use utoipa::ToSchema;

/// What can be told of a pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    pub(super) pipeline: Pipeline,
    pub(super) plan: Plan,
    /// The file, from which the past is computed again: **not to be shown**.
    pub(super) file: file::Pipeline,
    /// The rows of each source.
    pub(super) sources: Vec<(String, Shape)>,
}

/// The parts of a pipeline and how rows flow between them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Pipeline {
    pub(super) name: String,
    /// Of Syncline.
    pub(super) version: String,
    pub(super) started_at_ms: i64,
    /// Threads that compute.
    pub(super) workers: usize,
    pub(super) sources: Vec<Source>,
    pub(super) views: Vec<View>,
    pub(super) sinks: Vec<Sink>,
    pub(super) alerts: Vec<Alert>,
    pub(super) graph: Graph,
}

/// The circuit, as `syncline plan` shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Plan {
    text: String,
    /// A Mermaid flowchart.
    mermaid: String,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Column {
    name: String,
    /// The SQL name of the type: `BIGINT`, `DECIMAL(10,2)`, ...
    #[serde(rename = "type")]
    type_name: String,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Source {
    pub(super) name: String,
    #[serde(rename = "type")]
    type_name: String,
    columns: Vec<Column>,
    primary_key: Option<Vec<String>>,
    /// The column with the time of a row.
    event_time: Option<String>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct View {
    pub(super) name: String,
    sql: String,
    /// `changes` or `final`.
    emit: String,
    /// Whether its rows can be read.
    pub(super) kept: bool,
    columns: Vec<Column>,
    /// Columns that are unique in it, if any are known.
    key: Option<Vec<String>>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Sink {
    pub(super) name: String,
    #[serde(rename = "type")]
    type_name: String,
    /// The view or source whose rows go there.
    from: String,
    /// `changes` or `snapshot`.
    mode: String,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Alert {
    pub(super) name: String,
    pub(super) sql: String,
    pub(super) columns: Vec<Column>,
}

/// The circuit. Figures of a node are in the statistics under its id.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Node {
    id: String,
    /// `source`, `operator`, `view`, `sink` or `alert`.
    kind: String,
    label: String,
    detail: String,
    name: Option<String>,
    /// Whether it is computed anew at every change.
    recompute: bool,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Edge {
    from: String,
    to: String,
}

pub(super) fn columns(schema: &Schema) -> Vec<Column> {
    let columns = schema.fields().iter().map(|field| Column {
        name: field.name().clone(),
        type_name: types::name(field.data_type()),
    });
    columns.collect()
}

fn names(schema: &Schema, columns: &[usize]) -> Vec<String> {
    columns.iter().map(|&column| schema.field(column).name().clone()).collect()
}
