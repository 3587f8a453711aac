//! Standard output, for a look at a view's changes.

mod config;
mod sink;

pub use config::SinkConfig;
pub(crate) use sink::new;
