//! What every other crate of Syncline speaks: batches of changed rows, column types, errors, and
//! the traits that a system implements to be read from or written to.
//!
//! This crate is **not** an engine and does no I/O. It knows neither a runtime (no tokio), nor SQL
//! (no DataFusion), nor any system that Syncline connects to.
//!
//! A [`Batch`] is a Z-set: Arrow rows with a signed weight each (+1 inserted, -1 deleted). A row's
//! identity is its whole content, never a row number.
//!
//! Modules, in the order in which data meets them: [`types`] (SQL type names), [`source`] (bytes to
//! rows), [`batch`] (rows with weights), [`row`] (rows as comparable bytes), [`digest`] (rows as hashes), [`json`] (rows as
//! text), [`sink`] (rows to a system), [`spill`] (state to where there is room), [`error`], [`units`]
//! (durations and sizes in files).

pub mod batch;
pub mod digest;
pub mod error;
pub mod json;
pub mod row;
pub mod sink;
pub mod source;
pub mod spill;
pub mod types;
pub mod units;

pub use batch::Batch;
pub use error::{Error, ErrorKind, Result};
