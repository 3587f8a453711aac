//! The state of verification: whether the run is what its journal says, when that was last looked
//! at, and by whom.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use syncline_change::{Error, Result};
use syncline_pipeline::clock;
use syncline_pipeline::file::Pipeline;
use syncline_pipeline::prepare::Prepared;
use syncline_pipeline::runtime::state::Shared;
use syncline_pipeline::runtime::status::Event;
use syncline_pipeline::verify::report::{Judged, Verdict};
use syncline_pipeline::verify::{self, Options};
use syncline_store::checkpoints;
use utoipa::ToSchema;

use super::Server;
use super::answer::{Answer, Problem, Refusal};
use super::openapi::reports;
use super::request::read_json;
use crate::priority;

/// A report shows a few rows of each view that differs, and rows may be wide.
const REPORT_BYTES_MAX: u64 = 4 << 20;

/// How verification stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Verification)]
pub(super) struct Status {
    /// `never`, `running`, `verified`, `partly`, `mismatch`, or `failed`: it could not be carried out.
    state: &'static str,
    /// The views are, or were, verified as they were at the end of this epoch.
    epoch: Option<u64>,
    /// When it began, if it is running, or else when it ended.
    at_ms: Option<i64>,
    /// `page`: somebody asked for it here. `watch`: by `syncline verify --watch`.
    by: Option<&'static str>,
    /// How many epochs are done, while it is running.
    epochs_done: Option<u64>,
    /// Why it could not be carried out.
    error: Option<String>,
    /// Of the last one that has ended.
    #[schema(value_type = Option<reports::Report>)]
    report: Option<Judged>,
}

/// Who verifies.
#[derive(Clone, Copy, Debug)]
enum By {
    Page,
    Watch,
}

/// What is known of it.
#[derive(Default)]
pub(super) struct Verification {
    known: Mutex<Known>,
    /// By the one that is running.
    epochs_done: AtomicU64,
}

#[derive(Default)]
struct Known {
    running: Option<Begun>,
    last: Option<Ended>,
}

struct Begun {
    epoch: u64,
    at_us: i64,
}

struct Ended {
    epoch: u64,
    at_us: i64,
    by: By,
    outcome: Result<Judged, String>,
}

impl By {
    fn word(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Watch => "watch",
        }
    }
}

impl Ended {
    fn word(&self) -> &'static str {
        match self.outcome.as_ref().map(|judged| judged.verdict) {
            Ok(Verdict::Verified) => "verified",
            Ok(Verdict::Partly) => "partly",
            Ok(Verdict::Mismatch) => "mismatch",
            Err(_) => "failed",
        }
    }
}

impl Verification {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> Status {
        let Known { running, last } = &*self.known();
        let (report, error) = match last.as_ref().map(|last| &last.outcome) {
            Some(Ok(report)) => (Some(report.clone()), None),
            Some(Err(error)) => (None, Some(error.clone())),
            None => (None, None),
        };
        let (state, of) = match (running, last) {
            (Some(begun), _) => ("running", Some((begun.epoch, begun.at_us, By::Page))),
            (None, Some(ended)) => (ended.word(), Some((ended.epoch, ended.at_us, ended.by))),
            (None, None) => ("never", None),
        };
        Status {
            state,
            epoch: of.map(|(epoch, ..)| epoch),
            at_ms: of.map(|(_, at_us, _)| at_us / 1_000),
            by: of.map(|(.., by)| by.word()),
            epochs_done: running.as_ref().map(|_| self.epochs_done.load(Relaxed)),
            error,
            report,
        }
    }

    /// What listeners are told.
    pub(super) fn brief(&self) -> Value {
        let Status { state, epoch, at_ms, by, .. } = self.status();
        json!({"state": state, "epoch": epoch, "at_ms": at_ms, "by": by})
    }

    /// Takes the only place for one that runs.
    fn begin(&self, epoch: u64) -> Result<(), Refusal> {
        let mut known = self.known();
        if let Some(begun) = &known.running {
            let message = "a verification is running already";
            return Err(Refusal::new(StatusCode::CONFLICT, message).detail(format!(
                "it is at epoch {} of {}",
                self.epochs_done.load(Relaxed),
                begun.epoch
            )));
        }
        self.epochs_done.store(0, Relaxed);
        known.running = Some(Begun { epoch, at_us: clock::wall_us() });
        Ok(())
    }

    /// Takes in how one has ended, and tells everybody.
    fn end(&self, shared: &Shared, by: By, epoch: u64, outcome: Result<Judged, String>) {
        match &outcome {
            Ok(judged) => {
                shared.metrics.count_verified(&judged.report);
                shared.alerts().tell_verified(&judged.report, clock::wall_us());
            }
            Err(error) => tracing::error!("the verification could not be carried out: {error}"),
        }
        let mismatches = outcome.iter().flat_map(|judged| &judged.report.mismatches);
        if let Some(first) = mismatches.clone().next() {
            let (count, what) = (mismatches.count(), &first.what);
            tracing::error!(
                differences = count,
                what,
                epoch = first.epoch,
                "verification: MISMATCH: {}",
                first.message
            );
        }
        let mut known = self.known();
        if matches!(by, By::Page) {
            known.running = None;
        }
        known.last = Some(Ended { epoch, at_us: clock::wall_us(), by, outcome });
        drop(known);
        // Nobody may listen.
        let _ = shared.events.send(Event::Verification);
    }
}

/// How verification stands, with the last report.
#[utoipa::path(
    get,
    path = "/api/v1/verification",
    responses(
        (status = 200, description = "How it stands", body = Status, example = json!({
            "state": "verified", "epoch": 41, "at_ms": 1_785_000_000_000_i64, "by": "page",
            "epochs_done": null, "error": null,
            "report": {
                "verdict": "verified", "pipeline": "nyc-flights", "epoch": 41,
                "input": {
                    "epochs": 41, "rows": 61440,
                    "root": "9d3b2c5e71f04a8896e5b9d7c0a1324f5e6d7c8b9aa0b1c2d3e4f5061728394a",
                    "chain": "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"
                },
                "views": [{
                    "view": "departures", "rows": 3,
                    "digest": "5a0c3f7e2b1d4968a7b6c5d4e3f201102f3e4d5c6b7a89980a1b2c3d4e5f6071",
                    "is_recorded": true, "by_batch": true, "by_replay": false
                }],
                "sinks": [], "manifest": null, "mismatches": [], "unchecked": [],
                "notes": ["what is in the targets of sinks (--sinks)"]
            }
        })),
        (status = "default", description = "It could not be told", body = Problem)
    )
)]
pub(super) async fn verification(State(server): State<Arc<Server>>) -> Json<Status> {
    Json(server.verification.status())
}

/// Begins to verify the views at the last checkpoint, beside the pipeline and at a low priority.
#[utoipa::path(
    post,
    path = "/api/v1/verification",
    responses(
        (status = 200, description = "It has begun", body = Status, example = json!({
            "state": "running", "epoch": 41, "at_ms": 1_785_000_000_000_i64, "by": "page",
            "epochs_done": 0, "error": null, "report": null
        })),
        (status = 409, description = "One is running already", body = Problem),
        (status = "default", description = "It could not be begun", body = Problem)
    )
)]
pub(super) async fn start_verification(State(server): State<Arc<Server>>) -> Answer<Status> {
    let epoch = server.read(|shared| Ok(checkpoints::list(shared.data_dir())?.pop()));
    let epoch = epoch.await?.unwrap_or_else(|| server.shared.epoch());
    if epoch == 0 {
        return Err(Refusal::new(StatusCode::CONFLICT, "nothing has run here yet"));
    }
    server.verification.begin(epoch)?;
    if let Err(error) = spawn(&server, epoch) {
        let told = error.report();
        server.verification.end(&server.shared, By::Page, epoch, Err(told));
        return Err(error.into());
    }
    let _ = server.shared.events.send(Event::Verification);
    Ok(Json(server.verification.status()))
}

/// Verifies on a thread of its own, which does not hold the data directory when the server is gone.
fn spawn(server: &Arc<Server>, epoch: u64) -> Result<()> {
    let file = server.description.file.clone();
    let data_dir = server.shared.data_dir().path().to_owned();
    let verification = server.verification.clone();
    let server = Arc::downgrade(server);
    let verify = move || {
        if !priority::lower_thread() {
            tracing::debug!("the verification runs at the priority of the pipeline");
        }
        let progress = |epoch| verification.epochs_done.store(epoch, Relaxed);
        let verify = AssertUnwindSafe(|| verified(file, &data_dir, epoch, &progress));
        let outcome = std::panic::catch_unwind(verify)
            .unwrap_or_else(|_| Err(Error::bug("the verification panicked; see the log")));
        if let Some(server) = server.upgrade() {
            let outcome = outcome.map_err(|error| error.report());
            verification.end(&server.shared, By::Page, epoch, outcome);
        }
    };
    let thread = std::thread::Builder::new().name("verification".to_owned()).spawn(verify);
    thread.map(drop).map_err(|error| Error::bug("cannot start a thread").source(error))
}

fn verified(file: Pipeline, data_dir: &Path, epoch: u64, progress: &dyn Fn(u64)) -> Result<Judged> {
    let prepared = Prepared::new(file)?;
    let options = Options { at: Some(epoch), goes_on: true, ..Options::default() };
    Ok(verify::verify(&prepared, data_dir, &options, progress)?.into())
}

/// Takes the report of a verification that another process has made: `syncline verify --watch`.
#[utoipa::path(
    put,
    path = "/api/v1/verification",
    request_body(content = reports::Report, example = json!({
        "verdict": "verified", "pipeline": "nyc-flights", "epoch": 41,
        "input": null, "views": [], "sinks": [], "manifest": null,
                "mismatches": [], "unchecked": [], "notes": []
    })),
    responses(
        (status = 200, description = "It is what is known now", body = Status, example = json!({
            "state": "verified", "epoch": 41, "at_ms": 1_785_000_000_000_i64, "by": "watch",
            "epochs_done": null, "error": null,
            "report": {
                "verdict": "verified", "pipeline": "nyc-flights", "epoch": 41,
                "input": null, "views": [], "sinks": [], "manifest": null,
                "mismatches": [], "unchecked": [], "notes": []
            }
        })),
        (status = 400, description = "It is no report of this run", body = Problem),
        (status = 413, description = "It is too large", body = Problem),
        (status = "default", description = "It was not taken", body = Problem)
    )
)]
pub(super) async fn take_verification(
    State(server): State<Arc<Server>>,
    body: Body,
) -> Answer<Status> {
    let judged: Judged = read_json(body, REPORT_BYTES_MAX).await?;
    check(&server, &judged)?;
    let epoch = judged.report.epoch;
    server.verification.end(&server.shared, By::Watch, epoch, Ok(judged));
    Ok(Json(server.verification.status()))
}

/// Refuses what cannot be a report of this run.
fn check(server: &Server, Judged { verdict, report }: &Judged) -> Result<(), Refusal> {
    let refuse =
        |detail: String| Err(Refusal::bad_request("this is no report of this run").detail(detail));
    let name = &server.description.pipeline.name;
    if report.pipeline != *name {
        return refuse(format!("it is of pipeline `{}`, and this is `{name}`", report.pipeline));
    }
    let last = server.shared.epoch();
    let epochs = report.input.as_ref().map_or(0, |input| input.epochs);
    if epochs.max(report.epoch) > last {
        return refuse(format!(
            "it is of epoch {}, and the last is {last}",
            epochs.max(report.epoch)
        ));
    }
    if *verdict != report.verdict() {
        return refuse("its verdict does not follow from the rest of it".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn one_runs_at_a_time() {
        let verification = Verification::default();
        verification.begin(7).unwrap();
        verification.epochs_done.store(3, Relaxed);
        let status = verification.status();
        assert_eq!((status.state, status.epoch, status.epochs_done), ("running", Some(7), Some(3)));
        let refusal = verification.begin(8).unwrap_err();
        assert_eq!(refusal.into_response().status(), StatusCode::CONFLICT);
        assert_eq!(verification.status().epoch, Some(7));
    }
}
