//! What nodes remember, for people: whether it stays small, and by what.

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, SchemaRef};

use super::node::{Growth, Keeps, Node};

/// What a node keeps between epochs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptState {
    /// Whether it stays small however long the pipeline runs.
    pub bounded: bool,
    /// What is kept, and by what it is bounded.
    pub by: String,
    /// The tables that it grows with, by name; empty if it is bounded.
    pub tables: Vec<String>,
    /// Whether it grows with every row of these, rather than with different groups.
    pub with_every_row: bool,
    /// What a row takes, from the types of its columns, text taken as [`TEXT_BYTES`].
    pub row_bytes: u64,
}

/// What text and other values of no fixed width are taken to take.
pub const TEXT_BYTES: u64 = 16;

/// What the node with this number keeps; `None` if it keeps nothing.
pub(super) fn of(nodes: &[Node], number: usize) -> Option<KeptState> {
    let node = &nodes[number];
    let (bounded, by) = match node.keeps {
        Keeps::Nothing => return None,
        Keeps::Keys => (false, "the newest row of each key".to_owned()),
        Keeps::OneRow => (true, "one row".to_owned()),
        Keeps::Ahead => (true, "rows that now() has yet to pass".to_owned()),
        Keeps::Waiting => {
            let slowest =
                format!("rows of open windows, by the watermark of {}", names(nodes, &node.tables));
            (node.tables.iter().all(|&table| nodes[table].has_event_time()), slowest)
        }
        Keeps::First(count) => of_groups(nodes, node, &first(count)),
        Keeps::Groups => of_groups(nodes, node, "one row a group"),
        Keeps::Matches => of_rows(nodes, node, "the number of matches of "),
        Keeps::Rows => of_rows(nodes, node, ""),
        Keeps::Content => {
            (node.growth == Growth::Nothing, "all of its input, and its result".to_owned())
        }
        Keeps::Iterations => {
            (node.growth == Growth::Nothing, "the rows of every iteration".to_owned())
        }
    };
    let tables = match bounded {
        true => vec![],
        false => node.tables.iter().filter_map(|&table| nodes[table].name.clone()).collect(),
    };
    let with_every_row = match node.keeps {
        Keeps::Keys | Keeps::Groups | Keeps::First(_) => false,
        _ => node.growth == Growth::Rows,
    };
    Some(KeptState { bounded, by, tables, with_every_row, row_bytes: row_bytes(&node.schema) })
}

fn first(count: usize) -> String {
    match count {
        1 => "the first row of each group".to_owned(),
        count => format!("the first {count} rows of each group"),
    }
}

fn of_groups(nodes: &[Node], node: &Node, what: &str) -> (bool, String) {
    if !node.released_by.is_empty() {
        return (true, format!("{what} {}", of_last_times(nodes, node)));
    }
    (node.growth == Growth::Nothing, what.to_owned())
}

/// A time that is NULL is never passed.
fn of_last_times(nodes: &[Node], node: &Node) -> String {
    let names = names(nodes, &node.released_by);
    format!("of the last times and of none, by the watermark of {names}")
}

/// `prefix` says what is kept of the rows.
fn of_rows(nodes: &[Node], node: &Node, prefix: &str) -> (bool, String) {
    if !node.released_by.is_empty() {
        return (true, format!("{prefix}rows {}", of_last_times(nodes, node)));
    }
    let below = node.inputs.first().map_or(node, |&input| source_of(nodes, input));
    match (node.growth, &below.name) {
        (Growth::Nothing, _) => (true, format!("{prefix}the rows of a small input")),
        (Growth::Groups, _) => (false, format!("{prefix}one row a group")),
        (Growth::Rows, Some(name)) => (false, format!("{prefix}every row of {name}")),
        (Growth::Rows, None) => (false, format!("{prefix}every row of its input")),
    }
}

/// The table or view whose rows a node has, if it has rows of one alone.
fn source_of(nodes: &[Node], number: usize) -> &Node {
    let node = &nodes[number];
    match node.inputs.as_slice() {
        [input] if node.name.is_none() && node.keeps != Keeps::Groups => source_of(nodes, *input),
        _ => node,
    }
}

fn names(nodes: &[Node], tables: &BTreeSet<usize>) -> String {
    let names: Vec<&str> =
        tables.iter().filter_map(|&table| nodes[table].name.as_deref()).collect();
    names.join(", ")
}

/// What a row of these columns takes: those of fixed width as they are, all others as text.
fn row_bytes(schema: &SchemaRef) -> u64 {
    let bytes = |of: &DataType| match of {
        DataType::Boolean => 1,
        of => of.primitive_width().map_or(TEXT_BYTES, |width| width as u64),
    };
    schema.fields().iter().map(|field| bytes(field.data_type())).sum()
}
