//! The last checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use syncline_pipeline::prepare::alert_of;
use syncline_store::checkpoints;
use utoipa::ToSchema;

use super::Server;
use super::answer::{Answer, Problem, Refusal};

/// What the pipeline was at the end of an epoch.
#[derive(Serialize, ToSchema)]
pub(super) struct Checkpoint {
    epoch: u64,
    /// The epoch's time.
    time_ms: i64,
    /// The Merkle root over all epochs of the journal up to this one, in hex.
    input_root: String,
    /// The hash of the epoch's record in the epoch log, in hex.
    chain: String,
    /// Those that are kept.
    views: BTreeMap<String, ViewDigest>,
}

#[derive(Serialize, ToSchema)]
struct ViewDigest {
    rows: u64,
    /// The state digest, in hex: equal digests are equal rows.
    digest: String,
}

/// The last checkpoint, with the digests of the views that are kept.
#[utoipa::path(
    get,
    path = "/api/v1/checkpoint",
    responses(
        (status = 200, description = "The checkpoint", body = Checkpoint, example = json!({
            "epoch": 41, "time_ms": 1_785_000_000_000_i64,
            "input_root": "9d3b2c5e71f04a8896e5b9d7c0a1324f5e6d7c8b9aa0b1c2d3e4f5061728394a",
            "chain": "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0",
            "views": {"departures": {
                "rows": 3,
                "digest": "5a0c3f7e2b1d4968a7b6c5d4e3f201102f3e4d5c6b7a89980a1b2c3d4e5f6071"
            }}
        })),
        (status = 404, description = "There is none yet", body = Problem),
        (status = "default", description = "It could not be read", body = Problem)
    )
)]
pub(super) async fn checkpoint(State(server): State<Arc<Server>>) -> Answer<Checkpoint> {
    let found = server.read(|shared| {
        let dir = shared.data_dir();
        match checkpoints::list(dir)?.last() {
            Some(epoch) => Ok(checkpoints::read(dir, *epoch)?),
            None => Ok(None),
        }
    });
    let found = found.await?.ok_or_else(|| {
        Refusal::new(StatusCode::NOT_FOUND, "there is no checkpoint yet")
            .detail("one is taken every 10 seconds, if there was anything new, and at the end")
    })?;
    let views = found.views.into_iter().filter(|(name, _)| alert_of(name).is_none());
    // Of a view that is not kept there is no digest of what it holds.
    let digest =
        |view: checkpoints::ViewState| Some(ViewDigest { rows: view.rows?, digest: view.digest? });
    Ok(Json(Checkpoint {
        epoch: found.epoch,
        time_ms: found.time_us.div_euclid(1_000),
        input_root: blake3::Hash::from(found.input.root()).to_hex().to_string(),
        chain: found.chain,
        views: views.filter_map(|(name, view)| Some((name, digest(view)?))).collect(),
    }))
}
