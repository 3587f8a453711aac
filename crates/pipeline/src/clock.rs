//! The only place where a running pipeline reads a clock.

#![allow(clippy::disallowed_methods, reason = "this is the door to the clock")]

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time that a pipeline goes by.
pub trait Clock: Send + Sync {
    /// Microseconds since 1970 (UTC), which may go back at any time.
    fn wall_us(&self) -> i64;

    /// How long a stage really waits that wants to try again after `delay`; `None`: it is not to try
    /// any more.
    fn pause(&self, delay: Duration) -> Option<Duration>;
}

/// The machine's own.
pub struct MachineClock;

impl Clock for MachineClock {
    fn wall_us(&self) -> i64 {
        wall_us()
    }

    fn pause(&self, delay: Duration) -> Option<Duration> {
        Some(delay)
    }
}

/// Microseconds since 1970 (UTC) by the machine's clock, which may be set back at any time.
pub fn wall_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Nanoseconds since the process first asked: never goes back, means nothing else.
pub fn stopwatch_nanos() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
