//! Rows that are posted to `http` sources.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, HttpBody};
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use syncline_connect::http::IngestError;
use tokio::sync::{Semaphore, SemaphorePermit};
use utoipa::ToSchema;

use super::answer::{Answer, Problem, Refusal};
use super::request::{Name, read_body};
use super::{Server, TURN_TIMEOUT};

/// Memory for bodies that are arriving, in [`UNIT_BYTES`]: 256 MiB.
const UNITS_MAX: u32 = 256 << 10;
const UNIT_BYTES: u64 = 1 << 10;

/// Room for the bodies that are arriving, before their source's own queue counts them.
pub(super) struct Bodies {
    units: Semaphore,
}

impl Bodies {
    pub(super) fn new() -> Self {
        Self { units: Semaphore::new(UNITS_MAX as usize) }
    }

    /// Room for `bytes`, until the permit is dropped.
    async fn room(&self, bytes: u64) -> Result<SemaphorePermit<'_>, Refusal> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(UNITS_MAX).min(UNITS_MAX);
        match tokio::time::timeout(TURN_TIMEOUT, self.units.acquire_many(units)).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(full("too much is being sent at once").retry_after_s(1)),
        }
    }
}

fn full(message: &str) -> Refusal {
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, message)
        .hint("none of the rows was taken: send them again after a moment")
}

/// What became of the rows of a request.
#[derive(Serialize, ToSchema)]
#[schema(as = Receipt)]
pub(super) struct Taken {
    /// The epoch that they are in.
    epoch: u64,
    accepted: u64,
    /// Rows that became dead letters.
    rejected: u64,
}

/// Takes rows: a JSON object, an array of objects, or one object a line. Answers when they are
/// durable.
#[utoipa::path(
    post,
    path = "/ingest/{source}",
    params(("source" = String, Path, description = "A source of `type: http`")),
    request_body(
        content = String,
        content_type = "application/json",
        description = "A JSON object, an array of objects, or one object a line",
        example = json!([{"id": 1, "origin": "JFK"}, {"id": 2, "origin": "LGA"}])
    ),
    responses(
        (status = 200, description = "The rows are durable", body = Taken,
            example = json!({"epoch": 41, "accepted": 2, "rejected": 0})),
        (status = 400, description = "The body is malformed: no row was taken", body = Problem),
        (status = 404, description = "There is no such `http` source", body = Problem),
        (status = 413, description = "The body is too large: no row was taken", body = Problem),
        (status = 429, description = "Too much waits: no row was taken; see `retry-after`", body = Problem),
        (status = 503, description = "The source has stopped; the rows may have been taken", body = Problem),
        (status = "default", description = "The rows were not taken", body = Problem)
    )
)]
pub(super) async fn ingest(
    State(server): State<Arc<Server>>,
    Name(name): Name,
    body: Body,
) -> Answer<Taken> {
    let Some(ingest) = server.shared.ingest(&name) else { return Err(no_ingest(&server, &name)) };
    let limit = ingest.body_bytes_max();
    // A body that does not say how long it is may become as long as any.
    let bytes_max = body.size_hint().upper().unwrap_or(limit).min(limit);
    let room = server.bodies.room(bytes_max).await?;
    let body = read_body(body, limit).await?;
    drop(room);
    match ingest.submit(body).await {
        Ok(receipt) => Ok(Json(Taken {
            epoch: receipt.epoch,
            accepted: receipt.accepted,
            rejected: receipt.rejected,
        })),
        Err(error) => Err(refusal(&name, error)),
    }
}

fn refusal(source: &str, error: IngestError) -> Refusal {
    match error {
        IngestError::TooLarge { limit } => {
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the request body is too large")
                .detail(format!("at most {limit} bytes are taken"))
                .hint("send it in several requests")
        }
        IngestError::Full { retry_after } => {
            full(&format!("too much waits for source `{source}` to become durable"))
                .retry_after_s(retry_after.as_secs().max(1))
        }
        IngestError::Malformed(error) => error.into(),
        IngestError::Closed => Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("source `{source}` has stopped"),
        )
        .detail("the rows may have been taken, or not")
        .hint("send them again when the pipeline runs; with a primary key, nothing is doubled"),
    }
}

fn no_ingest(server: &Server, name: &str) -> Refusal {
    let sources = &server.description.pipeline.sources;
    let takes = |name: &str| server.shared.ingest(name).is_some();
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    if names.contains(&name) {
        let message = format!("source `{name}` takes no rows over HTTP");
        return Refusal::new(StatusCode::NOT_FOUND, message)
            .hint("only a source of `type: http` does");
    }
    let takers: Vec<&str> = names.into_iter().filter(|name| takes(name)).collect();
    Refusal::unknown("`http` source", name, &takers)
}
