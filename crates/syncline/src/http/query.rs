//! SQL over kept views.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use syncline_change::json;
use syncline_pipeline::clock;
use utoipa::ToSchema;

use super::answer::{Answer, Problem, Refusal};
use super::description::{Column, columns};
use super::request::read_json;
use super::{Server, turn};

/// The most rows in an answer.
const ROWS_MAX: usize = 10_000;
/// Longer SQL was not written by a person.
const BODY_BYTES_MAX: u64 = 1 << 20;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// One SELECT over the views that are kept.
    sql: String,
}

/// What a query found.
#[derive(Serialize, ToSchema)]
pub(super) struct QueryResult {
    /// The views are at least as new as this epoch.
    epoch: u64,
    columns: Vec<Column>,
    #[schema(value_type = Vec<Vec<Value>>)]
    rows: Vec<Value>,
    /// Whether there are more rows, which were left out.
    truncated: bool,
}

/// Runs one SELECT over the kept views; at most 10000 rows are answered.
#[utoipa::path(
    post,
    path = "/api/v1/query",
    request_body(content = Query, example = json!({"sql": "SELECT count(*) AS n FROM departures"})),
    responses(
        (status = 200, description = "The result", body = QueryResult, example = json!({
            "epoch": 41, "columns": [{"name": "n", "type": "BIGINT"}], "rows": [[3]],
            "truncated": false
        })),
        (status = 400, description = "The SQL is wrong", body = Problem, example = json!({
            "error": {
                "message": "a query cannot be computed",
                "detail": "table 'departure' not found"
            }
        })),
        (status = "default", description = "The query could not be run", body = Problem)
    )
)]
pub(super) async fn query(State(server): State<Arc<Server>>, body: Body) -> Answer<QueryResult> {
    let Query { sql } = read_json(body, BODY_BYTES_MAX).await?;
    if sql.trim().is_empty() {
        return Err(Refusal::bad_request("there is no SQL to run")
            .hint("send {\"sql\": \"SELECT ...\"} over the views that are kept"));
    }
    let turn = turn(&server.queries).await?;
    let result = server.off_thread(turn, move |shared| {
        let epoch = shared.epoch();
        let contents = shared.kept_contents()?;
        let (schema, batches) =
            syncline_engine::query(&sql, &contents, clock::wall_us(), shared.seed)?;
        drop(contents);
        let total: usize = batches.iter().map(|batch| batch.num_rows()).sum();
        let mut rows = Vec::new();
        for batch in batches {
            let wanted = batch.num_rows().min(ROWS_MAX - rows.len());
            rows.extend(json::arrays(&batch.slice(0, wanted))?);
        }
        Ok(QueryResult { epoch, columns: columns(&schema), rows, truncated: total > ROWS_MAX })
    });
    Ok(Json(result.await?))
}
