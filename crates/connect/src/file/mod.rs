//! Files: a path, a glob; compressed or not; csv, json lines, Debezium envelopes, parquet.

mod config;

pub use config::{CsvConfig, Format, Replay, SinkConfig, SinkFormat, SourceConfig};
