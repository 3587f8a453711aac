//! For those who watch over processes: metrics, life, readiness.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Server;
use super::answer::{Problem, Refusal};

/// Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    responses(
        (status = 200, description = "All metrics", body = String, content_type = "text/plain",
            example = "# HELP syncline_journal_bytes Size of the journal on disk.\n# TYPE syncline_journal_bytes gauge\nsyncline_journal_bytes 1048576\n"),
        (status = "default", description = "They could not be written", body = Problem)
    )
)]
pub(super) async fn metrics(State(server): State<Arc<Server>>) -> Result<Response, Refusal> {
    let text = server.read(|shared| Ok(shared.metrics.text()?)).await?;
    Ok(([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response())
}

/// Says that the process lives.
#[utoipa::path(
    get,
    path = "/healthz",
    responses(
        (status = 200, description = "It does", body = String, content_type = "text/plain",
            example = "ok"),
        (status = "default", description = "It does not answer as it should", body = Problem)
    )
)]
pub(super) async fn healthz() -> &'static str {
    "ok"
}

/// Why the pipeline makes no progress; empty if it does.
#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    reasons: Vec<String>,
}

/// Says whether the pipeline makes progress.
#[utoipa::path(
    get,
    path = "/readyz",
    responses(
        (status = 200, description = "It does", body = Readiness, example = json!({"reasons": []})),
        (status = 503, description = "It does not", body = Readiness,
            example = json!({"reasons": ["sink `out`: the disk is full"]})),
        (status = "default", description = "It could not be told", body = Problem)
    )
)]
pub(super) async fn readyz(State(server): State<Arc<Server>>) -> Response {
    let reasons = server.shared.troubles();
    let is_ready = reasons.is_empty();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { reasons })).into_response()
}
