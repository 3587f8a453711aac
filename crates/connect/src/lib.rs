//! The systems that Syncline reads from and writes to: one folder each.
//!
//! A connector turns the system's bytes into rows and rows into the system's bytes. It does **not**
//! know SQL or views, keeps no state of its own beyond its [position](syncline_change::source), and
//! decides nothing about retries: the runtime does.
//!
//! [`config`] holds what every source and sink can be told, each folder its own `config.rs`.
//! [`decode`] reads rows from text and Parquet for sources, [`encode`] writes them for sinks.
//! [`resolve_schema`], [`open_source`] and [`open_sink`] are what the runtime calls.

mod blocking;
pub mod config;
pub mod console;
pub mod decode;
pub mod encode;
pub mod file;
pub mod http;
pub mod nexmark;
mod open;
mod schema;

pub use open::{OpenSource, SourceEnv, decode_threads, open_sink, open_source};
pub use schema::resolve_schema;
