//! Live updates for the page, as server-sent events.

mod pace;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use syncline_pipeline::runtime::state::Shared;
use syncline_pipeline::runtime::status::Event;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use utoipa::IntoParams;

use self::pace::Paced;
use super::answer::{Problem, Refusal};
use super::request::Parameters;
use super::verification::Verification;
use super::{Server, api, letters, stopped};

/// Proxies close streams on which nothing moves, and that a reader has gone is noticed when
/// something is written to it.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Choice {
    /// Views to tell changes of, with commas in between; without it, all that are kept.
    views: Option<String>,
}

/// Live updates as server-sent events: `hello` first, then `stats` twice a second, `view` with the
/// changes of a view (at most 20 a second for each), `alert`, `dead_letter`, `verification` when one
/// has begun or ended, and `lagged` when this listener was too slow and has missed some. A comment
/// comes every 5 seconds.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    params(Choice),
    responses(
        (status = 200, description = "Events, until one of both sides ends it", body = String,
            content_type = "text/event-stream",
            example = "event: hello\ndata: {\"pipeline\":\"nyc-flights\",\"epoch\":12}\n\nevent: view\ndata: {\"view\":\"departures\",\"epoch\":13,\"total\":3,\"changes\":[{\"weight\":1,\"row\":[\"JFK\",31]}],\"truncated\":false}\n\n"),
        (status = 404, description = "There is no such view", body = Problem),
        (status = 503, description = "Too many listen already", body = Problem),
        (status = "default", description = "There is nothing to listen to", body = Problem)
    )
)]
pub(super) async fn events(
    State(server): State<Arc<Server>>,
    Parameters(choice): Parameters<Choice>,
) -> Result<Response, Refusal> {
    let views = wanted_views(&server, choice.views.as_deref())?;
    let place = server.listen()?;
    let listener = Listener::new(&server, views, place);
    let stream = futures::stream::unfold(listener, |mut listener| async move {
        let frame = listener.next().await?;
        Some((Ok::<_, std::convert::Infallible>(frame), listener))
    });
    Ok(event_stream(Body::from_stream(stream)))
}

/// The views whose changes are told: those that are kept, as far as they are asked for.
fn wanted_views(server: &Server, choice: Option<&str>) -> Result<Vec<String>, Refusal> {
    let kept = server.description.pipeline.views.iter().filter(|view| view.kept);
    let kept: Vec<&str> = kept.map(|view| view.name.as_str()).collect();
    let Some(choice) = choice else {
        return Ok(kept.into_iter().map(str::to_owned).collect());
    };
    let chosen = choice.split(',').map(str::trim).filter(|name| !name.is_empty());
    chosen
        .map(|name| {
            let found = kept.contains(&name).then(|| name.to_owned());
            found.ok_or_else(|| Refusal::unknown("kept view", name, &kept))
        })
        .collect()
}

/// A response that goes on and that nothing on its way should hold back.
pub(super) fn event_stream(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, body).into_response()
}

pub(super) fn heartbeat() -> Interval {
    let mut heartbeat = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat
}

/// One event as it goes over the wire.
pub(super) fn frame(event: &str, data: &impl Serialize) -> Bytes {
    match serde_json::to_string(data) {
        Ok(data) => Bytes::from(format!("event: {event}\ndata: {data}\n\n")),
        Err(error) => {
            tracing::error!(event, "an event has no JSON form: {error}");
            Bytes::from_static(b":\n\n")
        }
    }
}

/// One reader of the stream. Frames are made when it is ready for them: one that is slow holds up
/// nobody, and misses events.
struct Listener {
    shared: Arc<Shared>,
    verification: Arc<Verification>,
    events: broadcast::Receiver<Event>,
    stopping: watch::Receiver<bool>,
    heartbeat: Interval,
    views: Paced,
    ready: VecDeque<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    fn new(server: &Server, views: Vec<String>, place: OwnedSemaphorePermit) -> Self {
        let shared = server.shared.clone();
        // Before anything is told, so that nothing is missed in between.
        let events = shared.events.subscribe();
        let hello = json!({
            "pipeline": server.description.pipeline.name,
            "epoch": shared.epoch(),
        });
        let ready = VecDeque::from([frame("hello", &hello), frame("stats", &*shared.stats())]);
        Self {
            shared,
            verification: server.verification.clone(),
            events,
            stopping: server.stopping.clone(),
            heartbeat: heartbeat(),
            views: Paced::new(views),
            ready,
            _place: place,
        }
    }

    /// The next frame; `None` when the server stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            let due = self.views.due();
            tokio::select! {
                biased;
                () = stopped(&mut self.stopping) => return None,
                () = sleep_until(due) => {
                    self.ready.extend(self.views.take_due(Instant::now()).map(|v| frame("view", &v)));
                }
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(b": alive\n\n")),
                event = self.events.recv() => match event {
                    Ok(event) => self.hear(event),
                    Err(RecvError::Lagged(missed)) => {
                        return Some(frame("lagged", &json!({ "missed": missed })));
                    }
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Changes { relation, epoch, total, changes } => {
                self.views.add(&relation, epoch, total, &changes, Instant::now());
            }
            Event::Stats => self.ready.push_back(frame("stats", &*self.shared.stats())),
            Event::Alert { name, fired, row, at_us } => {
                let alert = json!({
                    "name": name,
                    "event": api::event_word(fired),
                    "row": api::values(row),
                    "at_ms": at_us / 1_000,
                });
                self.ready.push_back(frame("alert", &alert));
            }
            Event::Verification => {
                self.ready.push_back(frame("verification", &self.verification.brief()));
            }
            Event::DeadLetter(letter) => {
                self.ready.push_back(frame("dead_letter", &letters::Item::new(&letter)));
            }
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
