//! Settings of Nexmark sources.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::SourceCommon;

/// `type: nexmark` under `sources:`. Sources with the same seed tell one story: the bids of one are
/// on the auctions of another.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SourceConfig {
    #[serde(flatten)]
    pub common: SourceCommon,
    /// Which of the three kinds of event.
    pub table: Table,
    /// Events of all three kinds to generate; without it there is no end.
    #[serde(default)]
    pub events: Option<u64>,
    /// Events of all three kinds a second; without it as fast as it goes.
    #[serde(default)]
    pub rate: Option<f64>,
    /// The same seed makes the same events.
    #[serde(default)]
    pub seed: u64,
}

/// A kind of Nexmark event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Table {
    Person,
    Auction,
    Bid,
}
