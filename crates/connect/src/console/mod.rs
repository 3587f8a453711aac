//! Standard output, for a look at a view's changes.

mod config;

pub use config::SinkConfig;
