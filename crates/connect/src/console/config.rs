//! Settings of console sinks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::SinkCommon;

/// `type: console` under `sinks:`: one change envelope a line.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SinkConfig {
    #[serde(flatten)]
    pub common: SinkCommon,
}
