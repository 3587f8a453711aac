//! How long to wait before the next try: exponential backoff with full jitter.

use std::time::Duration;

use rand::Rng;
use syncline_connect::http;

/// What is used where the pipeline file does not say otherwise.
const INITIAL_DELAY: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(30);

pub(super) struct Backoff {
    initial: Duration,
    longest: Duration,
    tries_max: u32,
    tries: u32,
    waits: u32,
}

impl Backoff {
    /// Tries for ever.
    pub(super) fn unlimited() -> Self {
        Self { initial: INITIAL_DELAY, longest: DELAY_MAX, tries_max: u32::MAX, tries: 0, waits: 0 }
    }

    /// Tries `tries_max` times.
    pub(super) fn tries(tries_max: u32) -> Self {
        Self { tries_max, ..Self::unlimited() }
    }

    pub(super) fn new(retry: Option<&http::Retry>) -> Self {
        match retry {
            None => Self::unlimited(),
            Some(retry) => Self {
                initial: retry.initial_delay.0,
                longest: retry.max_delay.0,
                tries_max: retry.max_attempts,
                tries: 0,
                waits: 0,
            },
        }
    }

    /// The last try was one of success.
    pub(super) fn reset(&mut self) {
        (self.tries, self.waits) = (0, 0);
    }

    /// Counts a failed try; whether there may be another.
    pub(super) fn may_try_again(&mut self) -> bool {
        self.tries = self.tries.saturating_add(1);
        self.tries < self.tries_max
    }

    /// Waits as long as [`Self::delay`] says.
    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.delay()).await;
    }

    /// How long to wait: a random time, of which the longest doubles with every failed try.
    #[allow(clippy::disallowed_methods, reason = "how long to wait, which no result sees")]
    pub(super) fn delay(&mut self) -> Duration {
        let doublings = self.waits.min(20);
        self.waits = self.waits.saturating_add(1);
        let longest = self.initial.saturating_mul(1 << doublings).min(self.longest);
        rand::rng().random_range(longest / 2..=longest)
    }
}
