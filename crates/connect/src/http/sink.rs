//! Posts a view's changes: one request an epoch, several if the epoch is large.
//!
//! A request that was answered is not sent again by the same run; after a crash it is, with the
//! same `Idempotency-Key`, by which the other side knows it.

mod target;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use syncline_change::sink::{Delivery, EpochChanges, Progress, Shape, Sink, Snapshot};
use syncline_change::source::{RejectClass, Rejected};
use syncline_change::{Error, Result};
use tokio::time::Instant;

use self::target::Target;
use super::SinkConfig;
use crate::blocking::{BlockingSink, OffThread, lock};
use crate::encode::json;
use crate::encode::order::ChangeOrder;

/// The largest request body, unless one line alone is longer.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A sink named `name` of the pipeline `pipeline`; nothing is sent before it is written to.
///
/// # Errors
/// `Config` if the URL or a header cannot be sent.
pub(crate) fn new(name: &str, config: &SinkConfig, pipeline: &str) -> Result<Box<dyn Sink>> {
    let hold = Hold::default();
    let poster = Poster {
        target: Target::new(config)?,
        key: format!("{}/{}", target::visible(pipeline), target::visible(name)),
        body_bytes_max: BODY_BYTES_MAX,
        order: None,
        done: None,
        outcomes: HashMap::new(),
        hold: hold.clone(),
    };
    Ok(Box::new(HttpSink { poster: OffThread::new(poster), hold }))
}

/// The time before which the other side does not want to hear from us, if it said so.
type Hold = Arc<Mutex<Option<Instant>>>;

struct HttpSink {
    poster: OffThread<Poster>,
    hold: Hold,
}

#[async_trait]
impl Sink for HttpSink {
    fn delivery(&self) -> Delivery {
        self.poster.delivery()
    }

    async fn open(&mut self, shape: &Shape, progress: Option<&Progress>) -> Result<()> {
        self.poster.open(shape, progress).await
    }

    async fn write(&mut self, epochs: &[EpochChanges]) -> Result<Progress> {
        let until = *lock(&self.hold);
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
        self.poster.write(epochs).await
    }

    async fn replace(&mut self, snapshot: &Snapshot) -> Result<Progress> {
        self.poster.replace(snapshot).await
    }

    fn give_up(
        &mut self,
        epochs: &[EpochChanges],
        error: &Error,
    ) -> Option<(Progress, Vec<Rejected>)> {
        self.poster.give_up(epochs, error)
    }
}

/// What became of a request.
#[derive(Clone, Debug)]
enum Outcome {
    Delivered,
    /// The other side will not have it however often it is sent; the message says why.
    Refused(String),
}

/// An epoch's changes, or a part of them, as one request.
struct Request<'a> {
    epoch: u64,
    /// Counted from 1; 0 if the epoch is one request.
    part: u32,
    body: &'a [u8],
}

struct Poster {
    target: Target,
    /// What every `Idempotency-Key` begins with.
    key: String,
    body_bytes_max: usize,
    order: Option<ChangeOrder>,
    /// The last epoch of which nothing is left to do.
    done: Option<u64>,
    /// What became of the requests of epochs after `done`, by epoch and part.
    outcomes: HashMap<(u64, u32), Outcome>,
    hold: Hold,
}

impl BlockingSink for Poster {
    const DELIVERY: Delivery = Delivery::Changes;

    fn open(&mut self, shape: &Shape, progress: Option<&Progress>) -> Result<()> {
        self.order = Some(ChangeOrder::new(shape)?);
        self.done = progress.map(|progress| progress.epoch);
        self.outcomes.clear();
        Ok(())
    }

    /// Goes on after a request that was refused, so that one bad epoch does not take its
    /// neighbours along, and reports it at the end.
    fn write(&mut self, epochs: &[EpochChanges]) -> Result<Progress> {
        let mut refused = None;
        for epoch in epochs {
            if self.done.is_some_and(|done| epoch.epoch <= done) {
                continue;
            }
            self.for_each_request(epoch, |poster, request| match poster.deliver(request)? {
                Outcome::Delivered => Ok(()),
                Outcome::Refused(message) => {
                    refused.get_or_insert(message);
                    Ok(())
                }
            })?;
        }
        match refused {
            None => Ok(self.finish(epochs)),
            Some(message) => Err(Error::input(message)
                .hint("mend what the other side objects to; the changes are kept as dead letters")),
        }
    }

    fn give_up(
        &mut self,
        epochs: &[EpochChanges],
        error: &Error,
    ) -> Option<(Progress, Vec<Rejected>)> {
        let mut rejected = Vec::new();
        for epoch in epochs {
            if self.done.is_some_and(|done| epoch.epoch <= done) {
                continue;
            }
            let collected = self.for_each_request(epoch, |poster, request| {
                let message = match poster.outcomes.get(&(request.epoch, request.part)) {
                    Some(Outcome::Delivered) => return Ok(()),
                    Some(Outcome::Refused(message)) => message.clone(),
                    None => error.to_string(),
                };
                rejected.push(Rejected {
                    bytes: request.body.to_vec(),
                    context: None,
                    position: poster.key_of(&request),
                    class: RejectClass::Undelivered,
                    message,
                });
                Ok(())
            });
            // What has no text form now had none when it was to be sent: that is `error` itself.
            if let Err(error) = collected {
                tracing::error!(epoch = epoch.epoch, %error, "changes could not be kept");
            }
        }
        Some((self.finish(epochs), rejected))
    }
}

impl Poster {
    fn finish(&mut self, epochs: &[EpochChanges]) -> Progress {
        self.done = epochs.last().map(|epoch| epoch.epoch).max(self.done);
        self.outcomes.clear();
        *lock(&self.hold) = None;
        Progress { epoch: self.done.unwrap_or_default(), token: serde_json::Value::Null }
    }

    /// Sends a request unless it is known what became of it.
    fn deliver(&mut self, request: Request<'_>) -> Result<Outcome> {
        let place = (request.epoch, request.part);
        if let Some(known) = self.outcomes.get(&place) {
            return Ok(known.clone());
        }
        let outcome = match self.target.post(&self.key_of(&request), request.epoch, request.body) {
            target::Answer::Taken => Outcome::Delivered,
            target::Answer::Refused(message) => Outcome::Refused(message),
            target::Answer::NotNow { error, retry_after } => {
                *lock(&self.hold) = retry_after.map(|wait| Instant::now() + wait);
                return Err(error);
            }
        };
        self.outcomes.insert(place, outcome.clone());
        Ok(outcome)
    }

    fn key_of(&self, request: &Request<'_>) -> String {
        let (key, epoch) = (&self.key, request.epoch);
        match request.part {
            0 => format!("{key}/{epoch}"),
            part => format!("{key}/{epoch}/{part}"),
        }
    }

    /// Calls `each` with the requests of an epoch, which are the same every time; none if nothing
    /// changed. A request is encoded when its turn comes, so that one at a time is in memory.
    fn for_each_request(
        &mut self,
        epoch: &EpochChanges,
        mut each: impl FnMut(&mut Self, Request<'_>) -> Result<()>,
    ) -> Result<()> {
        let Some(order) = self.order.take() else {
            return Err(Error::bug("an HTTP sink was written to before it was opened"));
        };
        let (mut part, mut lines_end) = (0, 0);
        let mut text = Vec::new();
        let encoded = json::envelopes(&order, epoch, &mut text, &mut |text| {
            if text.len() > self.body_bytes_max && lines_end > 0 {
                part += 1;
                each(self, Request { epoch: epoch.epoch, part, body: &text[..lines_end] })?;
                text.drain(..lines_end);
            }
            lines_end = text.len();
            Ok(())
        });
        self.order = Some(order);
        encoded?;
        if text.is_empty() {
            return Ok(());
        }
        let part = if part == 0 { 0 } else { part + 1 };
        each(self, Request { epoch: epoch.epoch, part, body: &text })
    }
}

#[cfg(test)]
mod tests;
