//! What a pipeline is, how it is doing, and its alerts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use syncline_change::Error;
use utoipa::ToSchema;

use super::Server;
use super::answer::{Answer, Problem, Refusal};
use super::description::{Column, Pipeline, Plan};
use super::openapi::figures;

/// The parts of the pipeline: sources, views, sinks, alerts, and how rows flow between them.
#[utoipa::path(
    get,
    path = "/api/v1/pipeline",
    responses(
        (status = 200, description = "What the pipeline is made of", body = Pipeline, example = json!({
            "name": "nyc-flights", "version": "0.1.0", "started_at_ms": 1_785_000_000_000_i64,
            "workers": 2,
            "sources": [{
                "name": "flights", "type": "file",
                "columns": [{"name": "id", "type": "BIGINT"}, {"name": "origin", "type": "TEXT"}],
                "primary_key": ["id"], "event_time": null
            }],
            "views": [{
                "name": "departures", "sql": "SELECT origin, count(*) AS n FROM flights GROUP BY origin",
                "emit": "changes", "kept": true,
                "columns": [{"name": "origin", "type": "TEXT"}, {"name": "n", "type": "BIGINT"}],
                "key": ["origin"]
            }],
            "sinks": [{"name": "out", "type": "file", "from": "departures", "mode": "snapshot"}],
            "alerts": [],
            "graph": {
                "nodes": [
                    {"id": "n0", "kind": "source", "label": "source", "detail": "", "name": "flights", "recompute": false},
                    {"id": "n1", "kind": "view", "label": "view", "detail": "", "name": "departures", "recompute": false}
                ],
                "edges": [{"from": "n0", "to": "n1"}]
            }
        })),
        (status = "default", description = "It could not be told", body = Problem)
    )
)]
pub(super) async fn pipeline(State(server): State<Arc<Server>>) -> Json<Pipeline> {
    Json(server.description.pipeline.clone())
}

/// The latest figures; taken twice a second.
#[utoipa::path(
    get,
    path = "/api/v1/stats",
    responses(
        (status = 200, description = "Figures of the moment", body = figures::Stats, example = json!({
            "time_ms": 1_785_000_000_500_i64, "epoch": 41, "state": "running", "uptime_s": 12.5,
            "rows_per_s": 5120.0, "rows_total": 61440, "errors_per_s": 0.0, "error_rate": 0.0,
            "dead_letters_total": 0, "latency": {"p50_ms": 1.9, "p95_ms": 4.2, "p99_ms": 7.5},
            "watermark": "2013-02-08T12:00:00Z", "watermark_lag_s": 1.2, "epoch_ms": 0.8,
            "journal_bytes": 1_048_576, "state_bytes": 4096, "resident_bytes": 104_857_600,
            "sources": {"flights": {
                "state": "running", "error": null, "rows_total": 61440, "rows_per_s": 5120.0,
                "rejected_total": 0, "watermark": "2013-02-08T12:00:00Z"
            }},
            "operators": {"n1": {
                "rows_in": 61440, "rows_out": 246, "rows_per_s": 5120.0, "busy_ratio": 0.04,
                "state_rows": 3,
                "state_bytes": 480
            }},
            "views": {"departures": {"rows": 3, "changes_per_s": 6.0}},
            "sinks": {"out": {
                "state": "running", "error": null, "rows_total": 246, "pending_epochs": 0, "epoch": 41
            }},
            "alerts": {"meltdown": {"active": 2}}
        })),
        (status = "default", description = "They could not be told", body = Problem)
    )
)]
pub(super) async fn stats(State(server): State<Arc<Server>>) -> Result<Response, Refusal> {
    let stats = server.shared.stats();
    let text = serde_json::to_vec(&*stats)
        .map_err(|error| Error::bug("the figures have no JSON form").source(error))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

/// The last fifteen minutes, a point a second, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/history",
    responses(
        (status = 200, description = "Figures of the past", body = figures::History, example = json!({
            "points": [{
                "time_ms": 1_785_000_000_500_i64, "rows_per_s": 5120.0, "p50_ms": 1.9, "p95_ms": 4.2,
                "p99_ms": null, "error_rate": 0.0, "watermark_lag_s": 1.2
            }]
        })),
        (status = "default", description = "They could not be told", body = Problem)
    )
)]
pub(super) async fn history(State(server): State<Arc<Server>>) -> Json<Value> {
    Json(serde_json::json!({ "points": server.shared.history() }))
}

/// All alerts.
#[derive(Serialize, ToSchema)]
pub(super) struct Alerts {
    alerts: Vec<AlertStatus>,
}

/// An alert, which rows fire now, and what happened lately.
#[derive(Serialize, ToSchema)]
pub(super) struct AlertStatus {
    name: String,
    sql: String,
    columns: Vec<Column>,
    active: Vec<ActiveRow>,
    /// Newest first.
    history: Vec<AlertEvent>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ActiveRow {
    #[schema(value_type = Vec<Value>)]
    row: Value,
    since_ms: i64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct AlertEvent {
    at_ms: i64,
    /// `fired` or `resolved`.
    event: String,
    #[schema(value_type = Vec<Value>)]
    row: Value,
}

/// Every alert with the rows that fire now and what happened lately.
#[utoipa::path(
    get,
    path = "/api/v1/alerts",
    responses(
        (status = 200, description = "All alerts", body = Alerts, example = json!({
            "alerts": [{
                "name": "meltdown", "sql": "SELECT origin, mean FROM delays WHERE mean > 60",
                "columns": [{"name": "origin", "type": "TEXT"}, {"name": "mean", "type": "DOUBLE"}],
                "active": [{"row": ["JFK", 64.5], "since_ms": 1_785_000_000_000_i64}],
                "history": [{"at_ms": 1_785_000_000_000_i64, "event": "fired", "row": ["JFK", 64.5]}]
            }]
        })),
        (status = "default", description = "They could not be told", body = Problem)
    )
)]
pub(super) async fn alerts(State(server): State<Arc<Server>>) -> Answer<Alerts> {
    let infos = server.description.pipeline.alerts.clone();
    let alerts = server.read(move |shared| {
        let status = shared.alerts().status().into_iter().filter_map(|status| {
            let info = infos.iter().find(|info| info.name == status.name)?.clone();
            let active = status
                .active
                .into_iter()
                .map(|(row, since_us)| ActiveRow { row: values(row), since_ms: since_us / 1_000 });
            let history = status.history.into_iter().map(|event| AlertEvent {
                at_ms: event.at_us / 1_000,
                event: event_word(event.fired).to_owned(),
                row: values(event.row),
            });
            Some(AlertStatus {
                name: info.name,
                sql: info.sql,
                columns: info.columns,
                active: active.collect(),
                history: history.collect(),
            })
        });
        Ok(status.collect())
    });
    Ok(Json(Alerts { alerts: alerts.await? }))
}

pub(super) fn event_word(fired: bool) -> &'static str {
    if fired { "fired" } else { "resolved" }
}

/// The values of a row that stands as an object, in the order of its columns.
pub(super) fn values(row: Value) -> Value {
    match row {
        Value::Object(columns) => {
            Value::Array(columns.into_iter().map(|(_, value)| value).collect())
        }
        other => other,
    }
}

/// The circuit that keeps the views up to date.
#[utoipa::path(
    get,
    path = "/api/v1/plan",
    responses(
        (status = 200, description = "The circuit as text and as a Mermaid flowchart", body = Plan, example = json!({
            "text": "view departures\n  aggregate: GROUP BY origin: count(*)\n    source flights  [append-only]\n",
            "mermaid": "flowchart LR\n  n0[(\"flights\")]\n"
        })),
        (status = "default", description = "It could not be told", body = Problem)
    )
)]
pub(super) async fn plan(State(server): State<Arc<Server>>) -> Json<Plan> {
    Json(server.description.plan.clone())
}
