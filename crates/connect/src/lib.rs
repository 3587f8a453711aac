//! The systems that Syncline reads from and writes to: one folder each.
//!
//! A connector turns the system's bytes into rows and rows into the system's bytes. It does **not**
//! know SQL or views, keeps no state of its own beyond its [position](syncline_change::source), and
//! decides nothing about retries: the runtime does.
//!
//! [`config`] holds what every source and sink can be told, each folder its own `config.rs`.

pub mod config;
pub mod console;
pub mod file;
pub mod http;
pub mod nexmark;
