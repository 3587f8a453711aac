//! The Nexmark benchmark's events: persons, auctions and bids of an auction site.

mod config;

pub use config::{SourceConfig, Table};
