//! Reading requests: names, parameters and bodies, each refused in the API's own words.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::de::DeserializeOwned;

use super::answer::Refusal;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// What is read of a body that is too large, so that its sender gets to see the answer: many
/// clients only read once they have written everything.
const DISCARD_BYTES_MAX: u64 = 64 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// The one name in the path.
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Path(name) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|error| {
                Refusal::bad_request("the path has no name in it").detail(error.body_text())
            })?;
        Ok(Self(name))
    }
}

/// What stands after the `?`.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Query(parameters) =
            Query::<T>::from_request_parts(parts, state).await.map_err(|error| {
                Refusal::bad_request("the parameters are wrong").detail(error.body_text())
            })?;
        Ok(Self(parameters))
    }
}

/// Refuses a page of more rows than one answer may hold.
pub(super) fn check_limit(limit: usize, max: usize) -> Result<(), Refusal> {
    if limit <= max {
        return Ok(());
    }
    Err(Refusal::bad_request(format!("`limit` is at most {max}"))
        .hint("ask for more with `offset`, a page at a time"))
}

/// The whole body.
///
/// # Errors
/// 413 if it is larger than `limit` bytes, 408 if it does not arrive, 400 if it breaks off.
pub(super) async fn read_body(body: Body, limit: u64) -> Result<Bytes, Refusal> {
    let announced = body.size_hint().lower();
    let mut stream = body.into_data_stream();
    let mut read = BytesMut::new();
    let reading = async {
        let mut is_too_large = announced > limit;
        while !is_too_large {
            let Some(part) = stream.next().await else { break };
            let part = part.map_err(|error| {
                Refusal::bad_request("the request body broke off").detail(error.to_string())
            })?;
            is_too_large = (read.len() + part.len()) as u64 > limit;
            read.extend_from_slice(&part);
        }
        Ok(is_too_large)
    };
    let is_too_large = tokio::time::timeout(BODY_TIMEOUT, reading).await.unwrap_or_else(|_| {
        Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive in time"))
    })?;
    if !is_too_large {
        return Ok(read.freeze());
    }
    drop(read);
    let discarding = async {
        let mut discarded = 0;
        while let Some(Ok(part)) = stream.next().await {
            discarded += part.len() as u64;
            if discarded > DISCARD_BYTES_MAX {
                break;
            }
        }
    };
    // Whoever sends more than that finds the connection closed.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, discarding).await;
    Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the request body is too large")
        .detail(format!("at most {limit} bytes are taken"))
        .hint("send it in several requests"))
}

/// The body as JSON; an empty one counts as `{}`.
pub(super) async fn read_json<T: DeserializeOwned>(body: Body, limit: u64) -> Result<T, Refusal> {
    let body = read_body(body, limit).await?;
    let text: &[u8] = if body.trim_ascii().is_empty() { b"{}" } else { &body };
    serde_json::from_slice(text).map_err(|error| {
        Refusal::bad_request("the request body is not what is expected").detail(error.to_string())
    })
}
