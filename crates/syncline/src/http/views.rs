//! The rows of a view.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use syncline_change::{Result, json};
use syncline_connect::encode::csv;
use syncline_engine::Content;
use utoipa::{IntoParams, ToSchema};

use super::Server;
use super::answer::{Answer, Problem, Refusal};
use super::description::{Column, columns};
use super::request::{Name, Parameters, check_limit};

/// The most rows in one answer.
const PAGE_ROWS_MAX: usize = 10_000;
/// A download is sent in pieces of so many rows.
const CSV_PIECE_ROWS: usize = 1_000;

/// Which rows.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// How many rows; at most 10000.
    #[serde(default = "page_rows")]
    #[param(default = 200)]
    limit: usize,
    /// How many rows before those are left out.
    #[serde(default)]
    #[param(default = 0)]
    offset: usize,
    /// As they were at the end of this epoch, computed again from the journal.
    at: Option<u64>,
}

fn page_rows() -> usize {
    200
}

/// Some rows of a view, in the view's order.
#[derive(Serialize, ToSchema)]
pub(super) struct ViewRows {
    name: String,
    /// The epoch that the rows are of.
    epoch: u64,
    /// Rows in the whole view.
    total: usize,
    columns: Vec<Column>,
    #[schema(value_type = Vec<Vec<Value>>)]
    rows: Vec<Value>,
    /// The epoch's time, if it was asked for with `at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    time_ms: Option<i64>,
}

/// Rows of a view, in its order.
#[utoipa::path(
    get,
    path = "/api/v1/views/{name}",
    params(("name" = String, Path, description = "The view"), Page),
    responses(
        (status = 200, description = "The rows", body = ViewRows, example = json!({
            "name": "departures", "epoch": 41, "total": 3,
            "columns": [{"name": "origin", "type": "TEXT"}, {"name": "n", "type": "BIGINT"}],
            "rows": [["EWR", 20], ["JFK", 31], ["LGA", 17]]
        })),
        (status = 404, description = "There is no such view or epoch", body = Problem),
        (status = 409, description = "The view is not kept", body = Problem),
        (status = "default", description = "The rows could not be read", body = Problem)
    )
)]
pub(super) async fn view(
    State(server): State<Arc<Server>>,
    Name(name): Name,
    Parameters(page): Parameters<Page>,
) -> Answer<ViewRows> {
    check_limit(page.limit, PAGE_ROWS_MAX)?;
    server.find_kept(&name)?;
    let moment = match page.at {
        Some(epoch) => Some(server.moment(&name, epoch).await?),
        None => None,
    };
    let rows = server.read(move |shared| match moment {
        Some(moment) => {
            let time_ms = Some(moment.time_us.div_euclid(1_000));
            let rows = ViewRows::of(&name, moment.epoch, &moment.content, &page)?;
            Ok(ViewRows { time_ms, ..rows })
        }
        None => {
            let read = |epoch, content: &Content| ViewRows::of(&name, epoch, content, &page);
            Ok(shared.read(&name, read)?)
        }
    });
    Ok(Json(rows.await?))
}

impl ViewRows {
    fn of(name: &str, epoch: u64, content: &Content, page: &Page) -> Result<Self> {
        let rows = content.page(page.offset, page.limit)?;
        Ok(Self {
            name: name.to_owned(),
            epoch,
            total: content.len(),
            columns: columns(rows.schema_ref()),
            rows: json::arrays(&rows)?,
            time_ms: None,
        })
    }
}

/// All rows of a view, as a CSV file.
#[utoipa::path(
    get,
    path = "/api/v1/views/{name}/csv",
    params(("name" = String, Path, description = "The view")),
    responses(
        (status = 200, description = "A header line, then the rows", body = String,
            content_type = "text/csv", example = "origin,n\nEWR,20\nJFK,31\n"),
        (status = 404, description = "There is no such view", body = Problem),
        (status = 409, description = "The view is not kept", body = Problem),
        (status = "default", description = "The rows could not be read", body = Problem)
    )
)]
pub(super) async fn view_csv(
    State(server): State<Arc<Server>>,
    Name(name): Name,
) -> Result<Response, Refusal> {
    server.find_kept(&name)?;
    let view = name.clone();
    let (schema, batches) = server
        .read(move |shared| {
            let read = |content: &Content| Ok((content.schema().clone(), content.batches()?));
            Ok(shared.read(&view, |_, content| read(content))?)
        })
        .await?;
    let mut head = Vec::new();
    csv::header(&[], &schema, &mut head);
    let pieces = batches.into_iter().flat_map(|batch| {
        let starts = (0..batch.num_rows()).step_by(CSV_PIECE_ROWS);
        starts.map(move |start| batch.slice(start, CSV_PIECE_ROWS.min(batch.num_rows() - start)))
    });
    // Written when the reader is ready for it. What fails now can only break the download off.
    let pieces = pieces.map(|rows| {
        let mut text = Vec::new();
        csv::rows(&rows, &mut text, &mut |_| Ok(())).map(|()| Bytes::from(text))
    });
    let body = std::iter::once(Ok(Bytes::from(head))).chain(pieces);
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.csv\"")),
    ];
    Ok((headers, Body::from_stream(futures::stream::iter(body))).into_response())
}

impl Server {
    /// Makes sure that there is such a view and that its rows can be read.
    fn find_kept(&self, name: &str) -> Result<(), Refusal> {
        let views = &self.description.pipeline.views;
        let Some(view) = views.iter().find(|view| view.name == name) else {
            let names: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
            return Err(Refusal::unknown("view", name, &names));
        };
        if view.kept {
            return Ok(());
        }
        Err(Refusal::new(StatusCode::CONFLICT, format!("view `{name}` is not kept"))
            .detail("a sink reads it, and its rows are not held in memory as well")
            .hint(format!("say `{name}: {{sql: .., keep: true}}` in the pipeline file")))
    }
}
