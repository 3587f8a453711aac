//! What the engine is told of a pipeline: its tables (one a source) and its views.

use arrow::datatypes::SchemaRef;

/// The rows of a source, as views see them.
#[derive(Clone, Debug)]
pub struct TableDef {
    pub name: String,
    pub schema: SchemaRef,
    /// Columns by number; a row replaces the one with the same key.
    pub primary_key: Option<Vec<usize>>,
    pub event_time: Option<EventTime>,
    /// Whether rows may also be taken away (a change log without a primary key).
    pub deletes: bool,
}

/// When a row happened, and how much later than its successors it may arrive.
#[derive(Clone, Copy, Debug)]
pub struct EventTime {
    /// A timestamp column, by number.
    pub column: usize,
    pub lateness_us: i64,
    /// After so long without a row, by the time of epochs, `emit: final` does not wait for the table;
    /// `None`: it always does.
    pub idle_us: Option<i64>,
}

/// A view: a name for a SELECT over tables and other views.
#[derive(Clone, Debug)]
pub struct ViewDef {
    pub name: String,
    pub sql: String,
    pub emit: Emit,
}

/// What of a view is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emit {
    /// Every change as it happens.
    Changes,
    /// Rows of closed windows, once.
    Final,
}
