//! SQL views kept up to date incrementally.
//!
//! DataFusion parses, plans and optimises, and evaluates every scalar expression. The circuit is
//! ours: operators over change batches, which keep the views' content equal, after every epoch and
//! bit for bit, to what the batch engine computes from the same rows.
//!
//! This crate is **not** a runtime: it does no I/O, reads no clock, draws no random numbers and
//! owns no threads; all of that is given to it. It is the only crate that names DataFusion.
//!
//! ```
//! use std::sync::Arc;
//! use arrow::array::{Float64Array, RecordBatch, StringArray};
//! use syncline_change::Batch;
//! use syncline_engine::{Circuit, Emit, Options, TableDef, TableInput, ViewDef};
//!
//! let rows = RecordBatch::try_from_iter([
//!     ("origin", Arc::new(StringArray::from(vec!["JFK", "LGA", "JFK"])) as _),
//!     ("delay", Arc::new(Float64Array::from(vec![10.0, 3.0, 20.0])) as _),
//! ])?;
//! let flights = TableDef {
//!     name: "flights".into(),
//!     schema: rows.schema(),
//!     primary_key: None,
//!     event_time: None,
//!     deletes: false,
//! };
//! let delays = ViewDef {
//!     name: "delays".into(),
//!     sql: "SELECT origin, avg(delay) AS mean FROM flights GROUP BY origin".into(),
//!     emit: Emit::Changes,
//! };
//! let options = Options { pool: None, stopwatch: || 0, seed: 0 };
//! let mut circuit = Circuit::new(vec![flights], &[delays], options).map_err(|e| format!("{e:?}"))?;
//! let input = TableInput { table: 0, rows: vec![Batch::inserts(rows)], finished: false };
//! let output = circuit.step(1, 0, vec![input])?;
//! assert_eq!(output.views[0][0].num_rows(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In reading order: [`table`] (what is asked for), `sql` (to plans), `circuit` (to operators),
//! `operators`, `state` (what they remember), [`content`] and `account` (what a view holds), `batch` (the second opinion),
//! `lineage` (what a row comes from), `claims` (whether single rows are right).

#![warn(clippy::iter_over_hash_type)]

// The rig of the integration tests, which a test inside of the crate runs too, knows it by name.
#[cfg(test)]
extern crate self as syncline_engine;

pub mod table;

mod functions;
mod sql;

mod circuit;
mod operators;
mod state;

mod account;
pub mod content;

mod batch;
mod claims;
mod lineage;

pub use account::{Account, Computed, RowTotal, Wanted};
pub use batch::{BatchEngine, TableContent, query};
pub use circuit::{
    Circuit, Graph, GraphNode, KeptState, NodeKind, NodeStats, Options, StepOutput, TEXT_BYTES,
    TableInput, ViewInfo,
};
pub use content::{Content, Touched};
pub use lineage::{Asked, Explained, SourceRows};
pub use operators::{PARTITIONS, in_parallel};
pub use sql::{SqlError, SqlPosition};
pub use state::{PIECE_PARTS, Piece, SavedState, StateChanges};
pub use table::{Emit, EventTime, TableDef, ViewDef};
