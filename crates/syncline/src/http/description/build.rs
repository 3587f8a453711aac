//! How a description is made of a pipeline file.

use syncline_change::Result;
use syncline_change::sink::Shape;
use syncline_connect::config::{Mode, SinkConfig};
use syncline_engine::{Graph as Circuit, NodeKind, TableDef, ViewInfo};
use syncline_pipeline::file::spec;
use syncline_pipeline::prepare::{Prepared, alert_of, alert_view};
use syncline_pipeline::runtime::state::Shared;

use super::{
    Alert, Description, Edge, Graph, Node, Pipeline, Plan, Sink, Source, View, columns, names,
};

impl Description {
    /// All of a pipeline that is about to run.
    ///
    /// # Errors
    /// What keeps its circuit from being planned.
    pub(crate) fn new(prepared: &Prepared) -> Result<Self> {
        let circuit = prepared.circuit(None)?;
        let views = circuit.views();
        let graph = circuit.graph();
        let secrets = &prepared.pipeline.secrets;
        let spec = &prepared.pipeline.spec;
        let shown = |path: &str, filled_in: &str| {
            let raw = prepared.pipeline.raw_text(path);
            raw.map_or_else(|| secrets.redact(filled_in), str::to_owned)
        };
        let find = |name: &str| views.iter().find(|view| view.name == name);
        let alerts = spec.alerts.iter().filter_map(|(name, alert)| {
            let view = find(&alert_view(name))?;
            let sql = shown(&format!("alerts.{name}.when"), &alert.when);
            Some(Alert { name: name.clone(), sql, columns: columns(&view.schema) })
        });
        let file_views = spec.views.iter().filter_map(|(name, view)| {
            let sql = shown(&prepared.pipeline.view_path(name), &view.sql);
            Some(self::view(find(name)?, sql, view.emit, prepared.is_kept(name)))
        });
        let sinks: Vec<Sink> = spec.sinks.iter().map(|(name, config)| sink(name, config)).collect();
        let pipeline = Pipeline {
            name: spec.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at_ms: 0,
            workers: 0,
            sources: prepared.tables.iter().map(|table| source(table, prepared)).collect(),
            views: file_views.collect(),
            alerts: alerts.collect(),
            graph: graph_of(&graph, &sinks, |text| secrets.redact(text)),
            sinks,
        };
        let plan =
            Plan { text: secrets.redact(&graph.text()), mermaid: secrets.redact(&graph.mermaid()) };
        let sources = prepared.tables.iter().map(|table| {
            let shape = Shape { schema: table.schema.clone(), key: table.primary_key.clone() };
            (table.name.clone(), shape)
        });
        let file = prepared.pipeline.clone();
        Ok(Self { pipeline, plan, file, sources: sources.collect() })
    }

    /// Adds what is only known when it runs.
    pub(in crate::http) fn running(mut self, shared: &Shared) -> Self {
        self.pipeline.started_at_ms = shared.started_us / 1_000;
        self.pipeline.workers = shared.workers;
        self
    }
}

fn source(table: &TableDef, prepared: &Prepared) -> Source {
    let config = prepared.pipeline.spec.sources.get(&table.name);
    Source {
        name: table.name.clone(),
        type_name: config.map_or("", |config| config.type_name()).to_owned(),
        columns: columns(&table.schema),
        primary_key: table.primary_key.as_ref().map(|key| names(&table.schema, key)),
        event_time: table.event_time.map(|time| table.schema.field(time.column).name().clone()),
    }
}

fn view(info: &ViewInfo, sql: String, emit: spec::Emit, kept: bool) -> View {
    let emit = match emit {
        spec::Emit::Changes => "changes",
        spec::Emit::Final => "final",
    };
    View {
        name: info.name.clone(),
        sql,
        emit: emit.to_owned(),
        kept,
        columns: columns(&info.schema),
        key: info.key.as_ref().map(|key| names(&info.schema, key)),
    }
}

fn sink(name: &str, config: &SinkConfig) -> Sink {
    let mode = match config {
        SinkConfig::File(file) if file.mode == Mode::Snapshot => "snapshot",
        SinkConfig::File(_) | SinkConfig::Console(_) | SinkConfig::Http(_) => "changes",
    };
    Sink {
        name: name.to_owned(),
        type_name: config.type_name().to_owned(),
        from: config.common().from.clone(),
        mode: mode.to_owned(),
    }
}

/// The circuit with the sinks behind it. `shown` is what may be shown of a text.
fn graph_of(circuit: &Circuit, sinks: &[Sink], shown: impl Fn(&str) -> String) -> Graph {
    let mut nodes = Vec::new();
    for (i, node) in circuit.nodes.iter().enumerate() {
        let alert = node.name.as_deref().and_then(alert_of);
        let kind = match (node.kind, alert) {
            (NodeKind::Source, _) => "source",
            (NodeKind::Operator, _) => "operator",
            (NodeKind::View, None) => "view",
            (NodeKind::View, Some(_)) => "alert",
        };
        nodes.push(Node {
            id: format!("n{i}"),
            kind: kind.to_owned(),
            label: shown(&node.label),
            detail: shown(&node.detail),
            name: alert.map(str::to_owned).or_else(|| node.name.clone()),
            recompute: node.recompute.is_some(),
        });
    }
    let edges = circuit.edges.iter();
    let mut edges: Vec<Edge> =
        edges.map(|(from, to)| edge(format!("n{from}"), format!("n{to}"))).collect();
    for (i, sink) in sinks.iter().enumerate() {
        let feeds = |node: &&Node| {
            matches!(node.kind.as_str(), "view" | "source")
                && node.name.as_deref() == Some(&sink.from)
        };
        edges.extend(nodes.iter().find(feeds).map(|node| edge(node.id.clone(), format!("s{i}"))));
        nodes.push(Node {
            id: format!("s{i}"),
            kind: "sink".to_owned(),
            label: sink.type_name.clone(),
            detail: sink.mode.clone(),
            name: Some(sink.name.clone()),
            recompute: false,
        });
    }
    Graph { nodes, edges }
}

fn edge(from: String, to: String) -> Edge {
    Edge { from, to }
}
