//! Settings of HTTP sources and sinks.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syncline_change::units::{Duration, Size};

use crate::config::{SinkCommon, SourceCommon};

/// `type: http` under `sources:`: rows posted to `/ingest/SOURCE` as a JSON object, an array of
/// objects, or one object a line.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SourceConfig {
    #[serde(flatten)]
    pub common: SourceCommon,
    /// The largest request body; a larger one is answered 413.
    #[serde(default = "body_size_max")]
    pub max_body: Size,
    /// How much may wait to become durable; a request beyond it is answered 429.
    #[serde(default = "queue_size_max")]
    pub max_queue: Size,
}

fn body_size_max() -> Size {
    Size(8 << 20)
}

fn queue_size_max() -> Size {
    Size(64 << 20)
}

/// `type: http` under `sinks:`: each epoch's changes posted as JSON lines.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SinkConfig {
    #[serde(flatten)]
    pub common: SinkCommon,
    /// Where to post.
    pub url: String,
    /// Headers to send along.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// How long one request may take.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// How often and how long to try.
    #[serde(default)]
    pub retry: Retry,
}

fn timeout() -> Duration {
    Duration::from_secs(10)
}

/// Retries with exponential backoff and full jitter.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Tries before the changes become dead letters.
    #[serde(default = "attempts_max")]
    pub max_attempts: u32,
    /// The longest wait before the second try; doubled for each one after it.
    #[serde(default = "initial_delay")]
    pub initial_delay: Duration,
    /// The longest wait between two tries.
    #[serde(default = "delay_max")]
    pub max_delay: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: attempts_max(),
            initial_delay: initial_delay(),
            max_delay: delay_max(),
        }
    }
}

fn attempts_max() -> u32 {
    8
}

fn initial_delay() -> Duration {
    Duration::from_millis(200)
}

fn delay_max() -> Duration {
    Duration::from_secs(30)
}
