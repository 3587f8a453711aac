//! The circuit as people look at it: text, Mermaid, and data for the page.

use std::fmt::Write;

use super::kept::KeptState;
use super::node::NodeKind;

/// The circuit's nodes and what flows between them.
#[derive(Clone, Debug)]
pub struct Graph {
    pub nodes: Vec<GraphNode>,
    /// From node, to node.
    pub edges: Vec<(usize, usize)>,
}

/// One node of the [`Graph`]; its number is its place.
#[derive(Clone, Debug)]
pub struct GraphNode {
    pub kind: NodeKind,
    pub label: String,
    pub detail: String,
    pub name: Option<String>,
    /// Why it is computed anew at every change.
    pub recompute: Option<String>,
    pub append_only: bool,
    /// What it keeps between epochs, if anything.
    pub state: Option<KeptState>,
}

/// The longest detail in a Mermaid label.
const MERMAID_DETAIL_MAX: usize = 60;

impl Graph {
    /// A paragraph for each view: its operators from the output down to the sources.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (i, node) in self.nodes.iter().enumerate() {
            if node.kind == NodeKind::View {
                self.write_tree(&mut text, i, 0, true);
                text.push('\n');
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }

    fn write_tree(&self, text: &mut String, i: usize, depth: usize, is_root: bool) {
        let node = &self.nodes[i];
        let indent = "  ".repeat(depth);
        let name = node.name.as_deref().unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = match node.kind {
            NodeKind::Source => writeln!(text, "{indent}source {name}{}", note(node)),
            NodeKind::View if is_root => writeln!(text, "{indent}view {name}{}", note(node)),
            NodeKind::View => writeln!(text, "{indent}view {name} (above or below)"),
            NodeKind::Operator => {
                writeln!(text, "{indent}{}: {}{}", node.label, node.detail, note(node))
            }
        };
        if node.kind == NodeKind::View && !is_root {
            return;
        }
        for &(from, to) in &self.edges {
            if to == i {
                self.write_tree(text, from, depth + 1, false);
            }
        }
    }

    /// A Mermaid flowchart.
    pub fn mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for (i, node) in self.nodes.iter().enumerate() {
            let name = node.name.as_deref().unwrap_or_default();
            let label = match node.kind {
                NodeKind::Source => format!("n{i}[(\"{}\")]", quoted(name)),
                NodeKind::View => format!("n{i}([\"{}\"])", quoted(name)),
                NodeKind::Operator => {
                    let detail: String = node.detail.chars().take(MERMAID_DETAIL_MAX).collect();
                    let dots = if detail.len() < node.detail.len() { "…" } else { "" };
                    format!("n{i}[\"{}<br/>{}{dots}\"]", quoted(&node.label), quoted(&detail))
                }
            };
            let _ = writeln!(text, "  {label}");
        }
        for (from, to) in &self.edges {
            let _ = writeln!(text, "  n{from} --> n{to}");
        }
        text
    }
}

fn note(node: &GraphNode) -> String {
    let mut notes = Vec::new();
    if node.kind == NodeKind::Source {
        notes.push(if node.append_only { "append-only" } else { "with deletions" }.to_owned());
    }
    if let Some(reason) = &node.recompute {
        notes.push(format!("recomputed at every change: {reason}"));
    }
    if let Some(state) = &node.state {
        notes.push(format!("state: {}", state.by));
    }
    if notes.is_empty() { String::new() } else { format!("  [{}]", notes.join("; ")) }
}

fn quoted(text: &str) -> String {
    text.replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;")
}
