//! Pacing of bounded input by its event time, so that yesterday can be watched as it happened.
//!
//! This is the one place in the crate that reads a clock: it decides when rows are handed over,
//! never what they are.

#![allow(clippy::disallowed_methods, reason = "when rows are handed over, never what they are")]

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema, TimeUnit, TimestampMicrosecondType};
use syncline_change::{Batch, Error, Result};

use super::super::config::SourceConfig;
use crate::decode::{column_index, time};

/// Rows are handed over in steps at least this long, so that a fast replay does not become a chunk
/// a row.
const STEP: Duration = Duration::from_millis(50);

/// How soon a waiting source notices that nobody reads it any more.
const CANCEL_CHECK: Duration = Duration::from_millis(20);

/// The clock that all paced sources of a pipeline go by. It starts when each of them has said at
/// what event time it begins; the earliest of these is when it starts at.
#[derive(Debug, Default)]
pub struct ReplayClock {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Sources that have not yet said when they begin.
    awaited: usize,
    earliest: Option<i64>,
    started: Option<Start>,
}

/// Event time `event_time` (microseconds since 1970) is at `at`.
#[derive(Clone, Copy, Debug)]
struct Start {
    at: Instant,
    event_time: i64,
}

impl ReplayClock {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes part: the clock waits for this source.
    pub(super) fn join(self: &Arc<Self>) -> Participant {
        self.lock().awaited += 1;
        Participant { clock: self.clone(), is_awaited: true }
    }

    /// A panic elsewhere leaves the state whole: each change of it is one assignment.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One source's part in the clock. Dropped, the clock no longer waits for it.
#[derive(Debug)]
pub(super) struct Participant {
    clock: Arc<ReplayClock>,
    is_awaited: bool,
}

impl Participant {
    /// Says that the source begins at `event_time`, and waits until all have said so. `None`: it
    /// was cancelled.
    fn begin(&mut self, event_time: i64, is_cancelled: &dyn Fn() -> bool) -> Option<Start> {
        self.arrive(Some(event_time));
        let mut state = self.clock.lock();
        loop {
            if let Some(start) = state.started {
                return Some(start);
            }
            if is_cancelled() {
                return None;
            }
            let waited = self.clock.changed.wait_timeout(state, CANCEL_CHECK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn arrive(&mut self, event_time: Option<i64>) {
        if !std::mem::take(&mut self.is_awaited) {
            return;
        }
        let mut state = self.clock.lock();
        state.awaited -= 1;
        if let Some(event_time) = event_time {
            state.earliest = Some(state.earliest.map_or(event_time, |t| t.min(event_time)));
        }
        if let (0, None, Some(event_time)) = (state.awaited, state.started, state.earliest) {
            state.started = Some(Start { at: Instant::now(), event_time });
        }
        drop(state);
        self.clock.changed.notify_all();
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        self.arrive(None);
    }
}

/// Says when the rows of one source are due.
#[derive(Debug)]
pub(super) struct Pacer {
    participant: Participant,
    column: usize,
    speed: f64,
    from: Option<i64>,
    start: Option<Start>,
    last_step: Option<Instant>,
}

/// What a source is told about pacing, checked.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    column: usize,
    speed: f64,
    from: Option<i64>,
}

impl Pace {
    /// `None`: the source is not paced.
    ///
    /// # Errors
    /// `Config` if it cannot be.
    pub(super) fn new(config: &SourceConfig, schema: &Schema) -> Result<Option<Self>> {
        let Some(replay) = &config.replay else { return Ok(None) };
        if config.follow {
            return Err(Error::config(
                "`replay` paces a bounded input, and `follow` makes it endless",
            )
            .hint("leave out one of them"));
        }
        if !(replay.speed.is_finite() && replay.speed > 0.0) {
            return Err(Error::config(format!("`replay.speed` cannot be {}", replay.speed))
                .hint("it is how many seconds of event time pass in a second: 1, 60, 3600"));
        }
        let event_time = config.common.event_time.as_ref().ok_or_else(|| {
            Error::config("`replay` needs the source's `event_time`")
                .hint("add `event_time: {column: ..}` to the source")
        })?;
        let from = replay.from.as_deref().map(|text| {
            let moment = time::moment(text.trim().as_bytes());
            moment.and_then(|moment| moment.since_epoch(TimeUnit::Microsecond)).ok_or_else(|| {
                Error::config(format!("`replay.from`: `{text}` is not a time"))
                    .hint("write it as 2013-02-08 12:00:00")
            })
        });
        let column = column_index(schema, &event_time.column)?;
        Ok(Some(Self { column, speed: replay.speed, from: from.transpose()? }))
    }

    pub(super) fn join(&self, clock: &Arc<ReplayClock>) -> Pacer {
        Pacer {
            participant: clock.join(),
            column: self.column,
            speed: self.speed,
            from: self.from,
            start: None,
            last_step: None,
        }
    }
}

impl Pacer {
    /// The event time of each of `rows`, in microseconds since 1970.
    pub(super) fn event_times(&self, rows: &Batch) -> Result<Vec<Option<i64>>> {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let times = cast(rows.rows().column(self.column), &micros)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        Ok((0..times.len()).map(|row| times.is_valid(row).then(|| times.value(row))).collect())
    }

    /// Waits until the first of `times` is due, and returns how many of them are by then. `None`: it
    /// was cancelled.
    pub(super) fn wait(
        &mut self,
        times: &[Option<i64>],
        is_cancelled: &dyn Fn() -> bool,
    ) -> Option<usize> {
        let is_paced =
            |time: &Option<i64>| time.filter(|&t| self.from.is_none_or(|from| t >= from));
        // Rows that are not paced, or have no time, go with those before them.
        let first = times.iter().position(|time| is_paced(time).is_some());
        let first_time = match first {
            None => return Some(times.len()),
            Some(0) => times[0]?,
            Some(ahead) => return Some(ahead),
        };
        let start = match self.start {
            Some(start) => start,
            None => self.participant.begin(first_time, is_cancelled)?,
        };
        self.start = Some(start);
        let due = self.due(start, first_time);
        let step = self.last_step.map_or(start.at, |last| last + STEP);
        sleep_until(due.max(step), is_cancelled)?;
        let now = Instant::now();
        self.last_step = Some(now);
        let is_due = |time: &Option<i64>| match time {
            Some(time) => self.due(start, *time) <= now,
            None => true,
        };
        Some(times.iter().position(|time| !is_due(time)).unwrap_or(times.len()).max(1))
    }

    fn due(&self, start: Start, event_time: i64) -> Instant {
        let micros = event_time.saturating_sub(start.event_time).max(0) as f64 / self.speed;
        // Far beyond any run; a duration that overflows an instant would panic.
        const YEAR_MICROS: f64 = 365.25 * 86_400.0 * 1e6;
        start.at + Duration::from_micros(micros.min(YEAR_MICROS) as u64)
    }
}

fn sleep_until(at: Instant, is_cancelled: &dyn Fn() -> bool) -> Option<()> {
    loop {
        if is_cancelled() {
            return None;
        }
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Some(());
        }
        std::thread::sleep(left.min(CANCEL_CHECK));
    }
}

#[cfg(test)]
mod tests;
