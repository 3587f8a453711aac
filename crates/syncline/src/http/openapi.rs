//! The document that describes the API, made from the handlers and what they answer.

pub(super) mod figures;
pub(super) mod reports;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;

use super::answer::{Problem, Refusal};
use super::{api, checkpoint, events, health, ingest, letters, query, tap, verification, views};

/// Where it is.
pub(super) const PATH: &str = "/api/openapi.json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Syncline",
        description = "What a running pipeline shows of itself, and the way in for its `http` sources. Times are RFC 3339, or Unix milliseconds where the name ends with `_ms`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        api::pipeline,
        api::stats,
        api::history,
        api::alerts,
        api::plan,
        checkpoint::checkpoint,
        verification::verification,
        verification::start_verification,
        verification::take_verification,
        views::view,
        views::view_csv,
        query::query,
        letters::dead_letters,
        letters::dead_letter,
        letters::retry_dead_letter,
        letters::drop_dead_letter,
        events::events,
        tap::tap,
        ingest::ingest,
        health::metrics,
        health::healthz,
        health::readyz,
        openapi,
    )
)]
pub(super) struct Document;

static TEXT: LazyLock<Result<String, String>> =
    LazyLock::new(|| Document::openapi().to_pretty_json().map_err(|error| error.to_string()));

/// This document.
#[utoipa::path(
    get,
    path = "/api/openapi.json",
    responses(
        (status = 200, description = "An OpenAPI 3.1 document", body = Object,
            example = json!({"openapi": "3.1.0", "info": {"title": "Syncline", "version": "0.1.0"}, "paths": {}})),
        (status = "default", description = "It could not be told", body = Problem)
    )
)]
pub(super) async fn openapi() -> Result<Response, Refusal> {
    let text = TEXT.as_ref().map_err(|error| {
        syncline_change::Error::bug("the API's document has no JSON form").detail(error)
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response())
}
