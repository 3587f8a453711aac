//! Files: a path, a glob; compressed or not; csv, json lines, Debezium envelopes, parquet.

mod config;
pub(crate) mod sink;
pub(crate) mod source;

pub use config::{CsvConfig, Format, Journal, Replay, SinkConfig, SinkFormat, SourceConfig};
pub use sink::{Lines, lines};
pub use source::{ReplayClock, input_bytes};
