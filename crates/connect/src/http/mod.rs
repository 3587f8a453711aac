//! HTTP: rows posted to Syncline, and changes posted by it.

mod config;

pub use config::{Retry, SinkConfig, SourceConfig};
