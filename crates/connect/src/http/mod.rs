//! HTTP: rows posted to Syncline, and changes posted by it.

mod config;
pub(crate) mod sink;
mod source;

pub use config::{Retry, SinkConfig, SourceConfig};
pub use source::{HttpSource, Ingest, IngestError, Receipt, schema, source};
