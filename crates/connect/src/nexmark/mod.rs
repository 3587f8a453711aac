//! The Nexmark benchmark's events: persons, auctions and bids of an auction site.
//!
//! Of 50 events one is a person, three are auctions and 46 are bids, 10 000 a second of event time
//! from 2026-01-01 00:00:00. An event is a function of the seed and its number alone; so a source
//! of one table passes over the others at no cost, and goes on exactly where it was.

mod config;
mod generate;
mod jsonl;
mod source;

pub use config::{SourceConfig, Table};
pub use generate::{Generator, generate, schema};
pub use jsonl::write_jsonl;
pub(crate) use source::check;
pub use source::{NexmarkSource, source};
