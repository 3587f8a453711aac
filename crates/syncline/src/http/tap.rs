//! The live changes of one source or view, all of them: what `syncline tap` shows.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use syncline_change::sink::{EpochChanges, Shape};
use syncline_change::{Batch, Error};
use syncline_connect::encode::json::envelopes;
use syncline_connect::encode::order::ChangeOrder;
use syncline_pipeline::runtime::status::Event;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::Interval;
use utoipa::IntoParams;

use super::answer::{Problem, Refusal};
use super::events::{event_stream, frame, heartbeat};
use super::request::Parameters;
use super::{Server, stopped};

const NDJSON: &str = "application/x-ndjson";
/// Changes are handed on in pieces of about this size.
const PIECE_BYTES: usize = 64 << 10;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct What {
    /// A source or a view.
    name: String,
}

/// The changes of a source or view as they happen, as Debezium-like envelopes: server-sent events
/// `hello`, `change` and, when this listener was too slow, `lagged`; or with
/// `accept: application/x-ndjson` an envelope a line, and `{"lagged":{"missed":7}}`. A comment, or an
/// empty line, comes every 5 seconds.
#[utoipa::path(
    get,
    path = "/api/v1/tap",
    params(What),
    responses(
        (status = 200, description = "Changes, until one of both sides ends it",
            content(
                (String = "text/event-stream", example = "event: hello\ndata: {\"name\":\"departures\",\"epoch\":12}\n\nevent: change\ndata: {\"op\":\"c\",\"before\":null,\"after\":{\"origin\":\"JFK\",\"n\":31},\"epoch\":13}\n\n"),
                (String = "application/x-ndjson", example = "{\"op\":\"c\",\"before\":null,\"after\":{\"origin\":\"JFK\",\"n\":31},\"epoch\":13}\n")
            )
        ),
        (status = 404, description = "There is no such source or view", body = Problem),
        (status = 503, description = "Too many listen already", body = Problem),
        (status = "default", description = "There is nothing to listen to", body = Problem)
    )
)]
pub(super) async fn tap(
    State(server): State<Arc<Server>>,
    Parameters(What { name }): Parameters<What>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let order = Arc::new(change_order(&server, &name)?);
    let place = server.listen()?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let is_lines = accept.is_some_and(|accept| accept.contains(NDJSON));
    let form = if is_lines { Form::Lines } else { Form::Events };
    // Before anything is told, so that nothing is missed in between.
    let events = server.shared.events.subscribe();
    let hello = json!({ "name": name, "epoch": server.shared.epoch() });
    let ready = match form {
        Form::Lines => VecDeque::new(),
        Form::Events => VecDeque::from([frame("hello", &hello)]),
    };
    let tap = Tap {
        name,
        order,
        form,
        events,
        stopping: server.stopping.clone(),
        heartbeat: heartbeat(),
        ready,
        _place: place,
    };
    let stream = futures::stream::unfold(tap, |mut tap| async move {
        let piece = tap.next().await?;
        Some((Ok::<_, Infallible>(piece), tap))
    });
    let body = Body::from_stream(stream);
    Ok(match form {
        Form::Lines => ([(header::CONTENT_TYPE, NDJSON)], body).into_response(),
        Form::Events => event_stream(body),
    })
}

/// How changes of `name` become envelopes.
fn change_order(server: &Server, name: &str) -> Result<ChangeOrder, Refusal> {
    let pipeline = &server.description.pipeline;
    let is_view = pipeline.views.iter().any(|view| view.name == name);
    let view = server.shared.views().iter().find(|view| is_view && view.name == name);
    if let Some(view) = view {
        let shape = Shape { schema: view.schema.clone(), key: view.key.clone() };
        return Ok(ChangeOrder::new(&shape)?);
    }
    let sources = &server.description.sources;
    if let Some((_, shape)) = sources.iter().find(|(source, _)| source == name) {
        return Ok(ChangeOrder::new(shape)?);
    }
    let sources = sources.iter().map(|(source, _)| source.as_str());
    let names: Vec<&str> = sources.chain(pipeline.views.iter().map(|v| v.name.as_str())).collect();
    Err(Refusal::unknown("source or view", name, &names))
}

/// How changes are written.
#[derive(Clone, Copy)]
enum Form {
    /// Server-sent events.
    Events,
    /// An envelope a line.
    Lines,
}

struct Tap {
    name: String,
    order: Arc<ChangeOrder>,
    form: Form,
    events: broadcast::Receiver<Event>,
    stopping: watch::Receiver<bool>,
    heartbeat: Interval,
    ready: VecDeque<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Tap {
    /// What is written next; `None` when the server stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(piece);
            }
            let event = tokio::select! {
                biased;
                () = stopped(&mut self.stopping) => return None,
                event = self.events.recv() => event,
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(match self.form {
                    Form::Events => b": alive\n\n",
                    Form::Lines => b"\n",
                })),
            };
            match event {
                Ok(Event::Changes { relation, epoch, changes, .. }) if relation == self.name => {
                    self.ready = self.pieces(epoch, changes).await;
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => return Some(self.lagged(missed)),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn lagged(&self, missed: u64) -> Bytes {
        match self.form {
            Form::Events => frame("lagged", &json!({ "missed": missed })),
            Form::Lines => Bytes::from(format!("{{\"lagged\":{{\"missed\":{missed}}}}}\n")),
        }
    }

    /// The changes of an epoch, which may be many: written beside the threads that serve.
    async fn pieces(&self, epoch: u64, changes: Arc<Vec<Batch>>) -> VecDeque<Bytes> {
        let (order, form) = (self.order.clone(), self.form);
        let written = tokio::task::spawn_blocking(move || {
            let changes = EpochChanges { epoch, changes: changes.to_vec() };
            write(&order, &changes, form)
        });
        let written = written.await.unwrap_or_else(|error| {
            Err(Error::bug("the changes could not be written").detail(error.to_string()))
        });
        written.unwrap_or_else(|error| {
            tracing::error!(name = self.name, "{}", error.report());
            VecDeque::from([self.lagged(1)])
        })
    }
}

fn write(
    order: &ChangeOrder,
    changes: &EpochChanges,
    form: Form,
) -> Result<VecDeque<Bytes>, Error> {
    let mut pieces = VecDeque::new();
    let mut piece = Vec::new();
    let mut line = Vec::new();
    envelopes(order, changes, &mut line, &mut |line| {
        match form {
            Form::Lines => piece.extend_from_slice(line),
            Form::Events => {
                // The line ends with one line feed; a second one ends the event.
                piece.extend_from_slice(b"event: change\ndata: ");
                piece.extend_from_slice(line);
                piece.push(b'\n');
            }
        }
        line.clear();
        if piece.len() >= PIECE_BYTES {
            pieces.push_back(Bytes::from(std::mem::take(&mut piece)));
        }
        Ok(())
    })?;
    if !piece.is_empty() {
        pieces.push_back(Bytes::from(piece));
    }
    Ok(pieces)
}
