//! Generates events as fast as they are taken, or at a rate.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use syncline_change::source::{Chunk, Position, Source};
use syncline_change::{Batch, Error, Result};
use tokio::time::Instant;

use super::generate::rows_before;
use super::{Generator, SourceConfig, Table};

/// Events of all kinds that a chunk covers at most. The same for each table, so that sources of
/// one story stay about as far in it.
const CHUNK_EVENTS_MAX: u64 = 8192;

/// With a rate: how long events are gathered before they are handed over together.
const PACE_SECONDS: f64 = 0.05;

/// Whether the settings can be meant.
///
/// # Errors
/// `Config` if columns or an impossible rate are given.
pub(crate) fn check(config: &SourceConfig) -> Result<()> {
    if !config.common.columns.is_empty() {
        return Err(Error::config("a Nexmark source has columns of its own")
            .hint("remove `columns`; rename or cast them in a view"));
    }
    match config.rate {
        Some(rate) if !(rate.is_finite() && rate > 0.0) => {
            Err(Error::config(format!("`rate: {rate}` is not a number of events a second"))
                .hint("leave `rate` out to go as fast as possible"))
        }
        Some(_) | None => Ok(()),
    }
}

/// A source that goes on after `position`. Its rows have the columns of
/// [`schema`](super::schema).
///
/// # Errors
/// `Config` if the settings cannot be meant, `Corrupt` if the position is not one of a Nexmark
/// source.
pub fn source(config: &SourceConfig, position: Option<&Position>) -> Result<NexmarkSource> {
    check(config)?;
    let event = match position {
        None => 0,
        Some(position) => event_of(position)?,
    };
    Ok(NexmarkSource {
        table: config.table,
        generator: Generator::new(config.table, config.seed),
        event,
        end: config.events.unwrap_or(u64::MAX),
        pace: config.rate.map(|rate| Pace { rate, began: None }),
    })
}

/// One table of a story.
pub struct NexmarkSource {
    table: Table,
    generator: Generator,
    /// The number of the next event.
    event: u64,
    end: u64,
    pace: Option<Pace>,
}

/// Events of all kinds a second, counted from when the source began to run.
struct Pace {
    rate: f64,
    /// When that was, and the number of the event that was due then.
    began: Option<(Instant, u64)>,
}

#[async_trait]
impl Source for NexmarkSource {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        if self.event >= self.end {
            return Ok(None);
        }
        let wanted = self.event.saturating_add(CHUNK_EVENTS_MAX).min(self.end);
        let until = match &mut self.pace {
            None => wanted,
            Some(pace) => {
                let first = first_of(self.table, self.event).saturating_add(1);
                let gathered = self.event.saturating_add((pace.rate * PACE_SECONDS) as u64);
                let least = first.max(gathered).min(wanted);
                pace.wait_for(self.event, least).await.min(wanted)
            }
        };
        let rows = self.generator.rows(self.event..until)?;
        self.event = until;
        Ok(Some(Chunk {
            bytes: rows.get_array_memory_size() as u64,
            rows: Batch::inserts(rows),
            rejected: Vec::new(),
            position: serde_json::json!({ "event": until }),
            origin: None,
        }))
    }

    async fn acknowledge(&mut self, _epoch: u64, _position: &Position) -> Result<()> {
        Ok(())
    }
}

impl Pace {
    /// Waits until the events before `least` are due, and says before which number all are due by
    /// then. `next` is the number of the next event.
    async fn wait_for(&mut self, next: u64, least: u64) -> u64 {
        let (began, first) = *self.began.get_or_insert_with(|| (Instant::now(), next));
        let seconds = (least - first) as f64 / self.rate;
        // A wait that is too long for a timer never ends either way.
        let wait = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        match began.checked_add(wait) {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
        let due = (began.elapsed().as_secs_f64() * self.rate) as u64;
        first.saturating_add(due).max(least)
    }
}

/// The number of the first event of `table` that is not before `event`.
fn first_of(table: Table, event: u64) -> u64 {
    let have = rows_before(table, event);
    let mut first = event;
    // At most a cycle away.
    while rows_before(table, first.saturating_add(1)) == have && first < u64::MAX {
        first += 1;
    }
    first
}

/// [`Chunk::position`] of this source.
#[derive(Deserialize)]
struct At {
    event: u64,
}

fn event_of(position: &Position) -> Result<u64> {
    let at = At::deserialize(position).map_err(|error| {
        Error::corrupt("the position is not one of a Nexmark source").detail(error.to_string())
    })?;
    Ok(at.event)
}

#[cfg(test)]
mod tests;
