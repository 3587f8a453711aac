//! `check` and `plan`: a pipeline as it would be, without running it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use syncline_change::types;
use syncline_engine::{Graph, GraphNode, NodeKind, TEXT_BYTES, ViewInfo};
use syncline_pipeline::edit::Edit;
use syncline_pipeline::prepare::{Prepared, alert_of, is_bounded};

use super::{Failure, edit, prepare};
use crate::cli::PlanFormat;
use crate::terminal::say;

/// Checks syntax, names and types, and shows what every source and view looks like.
pub(super) fn check(path: Option<&Path>) -> Result<ExitCode, Failure> {
    let prepared = prepare(path)?;
    for table in &prepared.tables {
        say(format_args!("source {}", table.name));
        for (i, field) in table.schema.fields().iter().enumerate() {
            let key = table.primary_key.as_ref().is_some_and(|key| key.contains(&i));
            let time = table.event_time.is_some_and(|time| time.column == i);
            let notes = match (key, time) {
                (true, true) => "  primary key, event time",
                (true, false) => "  primary key",
                (false, true) => "  event time",
                (false, false) => "",
            };
            say(format_args!("  {}: {}{notes}", field.name(), types::name(field.data_type())));
        }
    }
    let circuit = prepared.circuit(None)?;
    for view in circuit.views() {
        match alert_of(&view.name) {
            Some(alert) => say(format_args!("alert {alert}")),
            None => say(format_args!("view {}", view.name)),
        }
        for (field, &recorded) in view.schema.fields().iter().zip(&view.recorded) {
            let (name, of) = (field.name(), types::name(field.data_type()));
            say(format_args!("  {name}: {of}  {}", class(recorded)));
        }
    }
    for node in circuit.graph().nodes.iter().filter(|node| node.recompute.is_some()) {
        let reason = node.recompute.as_deref().unwrap_or_default();
        say(format_args!("note: {} is recomputed at every change: {reason}", node.detail));
    }
    warnings(&prepared, &circuit.graph()).iter().for_each(say);
    if let Some(found) = &prepared.found_lock {
        for line in found.diff(&prepared.lock) {
            say(format_args!("note: the next run changes the lock: {line}"));
        }
    }
    say(format_args!("{} is right", prepared.pipeline.file_name()));
    Ok(ExitCode::SUCCESS)
}

/// A line for each operator whose state grows as long as the pipeline runs, under the first view that
/// it is for.
fn warnings(prepared: &Prepared, graph: &Graph) -> Vec<String> {
    let mut lines = Vec::new();
    let mut seen = BTreeSet::new();
    for (number, view) in graph.nodes.iter().enumerate() {
        if view.kind != NodeKind::View {
            continue;
        }
        let name = view.name.as_deref().unwrap_or_default();
        let name = match alert_of(name) {
            Some(alert) => format!("alert {alert}"),
            None => format!("view {name}"),
        };
        let mut open = vec![number];
        while let Some(node) = open.pop() {
            if !seen.insert(node) {
                continue;
            }
            lines.extend(warning(prepared, &name, &graph.nodes[node]));
            open.extend(graph.edges.iter().filter(|(_, to)| *to == node).map(|(from, _)| from));
        }
    }
    lines
}

/// What to say of an operator's state, if it grows with sources that do not end.
fn warning(prepared: &Prepared, view: &str, node: &GraphNode) -> Option<String> {
    let state = node.state.as_ref().filter(|state| !state.bounded)?;
    let sources = &prepared.pipeline.spec.sources;
    let endless = |name: &&String| sources.get(*name).is_some_and(|source| !is_bounded(source));
    let endless: Vec<&str> = state.tables.iter().filter(endless).map(String::as_str).collect();
    // That a table with a key keeps a row of each is what its key is for.
    if endless.is_empty() || node.kind == NodeKind::Source && !state.with_every_row {
        return None;
    }
    let (what, names) = (&node.label, endless.join(", "));
    if !state.with_every_row {
        return Some(format!(
            "note: {view}: {what} keeps {}: it grows with different groups of {names}",
            state.by
        ));
    }
    let mut line = format!(
        "warning: {view}: {what} keeps {}: about {} MB for every million rows of {names}, with \
         {TEXT_BYTES} bytes for a text",
        state.by,
        state.row_bytes.max(1),
    );
    let is_untimed = |name: &&str| {
        prepared.tables.iter().any(|table| table.name == **name && table.event_time.is_none())
    };
    let untimed: Vec<&str> = endless.iter().copied().filter(|name| is_untimed(name)).collect();
    line.push_str(&match untimed.as_slice() {
        [] => "; group or join by windows of event time, or filter by now()".to_owned(),
        some => format!(
            "; give {} event_time and group or join by its windows, or filter by now()",
            some.join(", ")
        ),
    });
    Some(line)
}

/// How a column's values can be had again: from the rows alone, or with what is recorded.
fn class(recorded: bool) -> &'static str {
    if recorded { "recorded" } else { "exact" }
}

/// Shows the circuit, and what running the file as it is would rebuild.
pub(super) fn plan(
    path: Option<&Path>,
    data_dir: Option<&Path>,
    format: PlanFormat,
) -> Result<ExitCode, Failure> {
    let prepared = prepare(path)?;
    let circuit = prepared.circuit(None)?;
    let data_dir = data_dir.map_or_else(|| prepared.pipeline.data_dir(), Path::to_owned);
    let edit = Edit::of(&prepared, &circuit, &data_dir)?;
    let graph = circuit.graph();
    match format {
        PlanFormat::Text => {
            say(graph.text().trim_end());
            let changes = changes(&prepared);
            if !changes.is_empty() {
                say("\nthe next run changes the lock:");
                changes.iter().for_each(|line| say(format_args!("  {line}")));
            }
            if let Some(edit) = &edit {
                say("\nthe next run:");
                edit::lines(edit).iter().for_each(|line| say(format_args!("  {line}")));
            }
        }
        PlanFormat::Mermaid => say(graph.mermaid().trim_end()),
        PlanFormat::Json => {
            let mut plan = as_json(&graph, circuit.views(), &changes(&prepared));
            plan["next_run"] = edit.as_ref().map_or(serde_json::Value::Null, edit::as_json);
            say(format_args!("{plan:#}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn changes(prepared: &Prepared) -> Vec<String> {
    prepared.found_lock.as_ref().map_or_else(Vec::new, |found| found.diff(&prepared.lock))
}

fn as_json(graph: &Graph, views: &[ViewInfo], changes: &[String]) -> serde_json::Value {
    let nodes = graph.nodes.iter().enumerate().map(|(i, node)| {
        json!({
            "id": format!("n{i}"),
            "kind": kind_name(node.kind),
            "label": node.label,
            "detail": node.detail,
            "name": node.name,
            "recompute": node.recompute,
            "append_only": node.append_only,
            "state": node.state.as_ref().map(|state| json!({
                "bounded": state.bounded,
                "by": state.by,
                "grows_with": state.tables,
            })),
        })
    });
    let edges = graph
        .edges
        .iter()
        .map(|(from, to)| json!({"from": format!("n{from}"), "to": format!("n{to}")}));
    let views = views.iter().map(|view| {
        let columns = view.schema.fields().iter().zip(&view.recorded);
        let columns = columns.map(|(field, &recorded)| {
            json!({
                "name": field.name(),
                "type": types::name(field.data_type()),
                "class": class(recorded),
            })
        });
        json!({"name": view.name, "columns": columns.collect::<Vec<_>>()})
    });
    json!({
        "nodes": nodes.collect::<Vec<_>>(),
        "edges": edges.collect::<Vec<_>>(),
        "views": views.collect::<Vec<_>>(),
        "lock_changes": changes,
    })
}

/// What a node is, in the words of the API.
pub(crate) fn kind_name(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Source => "source",
        NodeKind::Operator => "operator",
        NodeKind::View => "view",
    }
}
