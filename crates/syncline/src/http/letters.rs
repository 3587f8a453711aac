//! Dead letters: looked at, tried again as they are or mended, dropped.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use syncline_change::ErrorKind;
use syncline_change::source::RejectClass;
use syncline_pipeline::clock;
use syncline_pipeline::file::nearest;
use syncline_pipeline::runtime::state::Shared;
use syncline_store::dead_letters::{self, DeadLetter, RetryRequest, Stage, State as LetterState};
use utoipa::{IntoParams, ToSchema};

use super::Server;
use super::answer::{Answer, Problem, Refusal};
use super::request::{Name, Parameters, check_limit, read_json};

/// The most letters in one answer.
const PAGE_LETTERS_MAX: usize = 1_000;
/// What is shown of a letter in a list.
const PREVIEW_CHARS: usize = 200;
/// Mended text may be as long as the longest row that a source takes.
const BODY_BYTES_MAX: u64 = 32 << 20;

/// A row that could not be taken.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub(super) struct Item {
    id: String,
    /// The source; at the sink stage the sink.
    source: String,
    /// `source`, `view` or `sink`.
    stage: String,
    /// Why: `wrong-type`, `unparsable`, `missing-key`, `too-long`, `late`, `unknown-row`,
    /// `expression` or `undelivered`.
    class: String,
    message: String,
    /// Where it was in the input.
    position: String,
    epoch: u64,
    at_ms: i64,
    /// How its text begins.
    preview: String,
    /// `open`, `retried` or `dropped`.
    state: String,
}

impl Item {
    pub(super) fn new(letter: &DeadLetter) -> Self {
        let rejected = &letter.rejected;
        // A character is four bytes at most: no more of a long row needs to be looked at.
        let head = &rejected.bytes[..rejected.bytes.len().min(PREVIEW_CHARS * 4)];
        Self {
            id: letter.id.clone(),
            source: letter.source.clone(),
            stage: letter.stage.name().to_owned(),
            class: rejected.class.name().to_owned(),
            message: rejected.message.clone(),
            position: rejected.position.clone(),
            epoch: letter.epoch,
            at_ms: letter.at_us / 1_000,
            preview: String::from_utf8_lossy(head).chars().take(PREVIEW_CHARS).collect(),
            state: state_word(letter.state).to_owned(),
        }
    }
}

/// A dead letter as a whole.
#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetterDetail {
    #[serde(flatten)]
    item: Item,
    /// All of it; bytes that are no text are replaced.
    text: String,
    /// Its bytes as they were.
    base64: String,
    /// The header line, for CSV.
    context: Option<String>,
}

/// Some dead letters, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetterPage {
    /// How many pass the filter.
    total: u64,
    /// How many are open, of all.
    open: u64,
    items: Vec<Item>,
}

/// Which dead letters; what is not given does not matter.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Of this source (or sink).
    source: Option<String>,
    /// Rejected for this reason.
    class: Option<String>,
    /// `source`, `view` or `sink`.
    stage: Option<String>,
    /// `open`, `retried` or `dropped`.
    state: Option<String>,
    /// How many; at most 1000.
    #[serde(default = "page_letters")]
    #[param(default = 100)]
    limit: usize,
    /// How many letters before those are left out.
    #[serde(default)]
    #[param(default = 0)]
    offset: usize,
}

fn page_letters() -> usize {
    100
}

impl Wanted {
    fn filter(&self) -> Result<dead_letters::Filter, Refusal> {
        const CLASSES: [RejectClass; 8] = [
            RejectClass::Unparsable,
            RejectClass::WrongType,
            RejectClass::MissingKey,
            RejectClass::TooLong,
            RejectClass::Late,
            RejectClass::UnknownRow,
            RejectClass::Expression,
            RejectClass::Undelivered,
        ];
        const STAGES: [Stage; 3] = [Stage::Source, Stage::View, Stage::Sink];
        const STATES: [LetterState; 3] =
            [LetterState::Open, LetterState::Retried, LetterState::Dropped];
        Ok(dead_letters::Filter {
            source: self.source.clone(),
            class: one_of("class", self.class.as_deref(), &CLASSES, RejectClass::name)?,
            stage: one_of("stage", self.stage.as_deref(), &STAGES, Stage::name)?,
            state: one_of("state", self.state.as_deref(), &STATES, state_word)?,
        })
    }
}

/// The one of `known` that is called `written`, if anything is written.
fn one_of<T: Copy>(
    parameter: &str,
    written: Option<&str>,
    known: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<Option<T>, Refusal> {
    let Some(written) = written else { return Ok(None) };
    if let Some(found) = known.iter().find(|known| name(**known) == written) {
        return Ok(Some(*found));
    }
    let names: Vec<&str> = known.iter().map(|known| name(*known)).collect();
    let hint = match nearest(written, names.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("it is one of: {}", names.join(", ")),
    };
    Err(Refusal::bad_request(format!("`{written}` is no {parameter} of dead letters")).hint(hint))
}

fn state_word(state: LetterState) -> &'static str {
    match state {
        LetterState::Open => "open",
        LetterState::Retried => "retried",
        LetterState::Dropped => "dropped",
    }
}

/// Dead letters, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/dead-letters",
    params(Wanted),
    responses(
        (status = 200, description = "Some of them", body = DeadLetterPage, example = json!({
            "total": 1, "open": 1,
            "items": [{
                "id": "s1", "source": "flights", "stage": "source", "class": "wrong-type",
                "message": "column `dep_delay`: `soon` is no DOUBLE", "position": "flights.csv:12",
                "epoch": 41, "at_ms": 1_785_000_000_000_i64, "preview": "7,JFK,soon", "state": "open"
            }]
        })),
        (status = "default", description = "They could not be read", body = Problem)
    )
)]
pub(super) async fn dead_letters(
    State(server): State<Arc<Server>>,
    Parameters(wanted): Parameters<Wanted>,
) -> Answer<DeadLetterPage> {
    check_limit(wanted.limit, PAGE_LETTERS_MAX)?;
    let filter = wanted.filter()?;
    let page = server.read(move |shared| {
        let (total, letters) = shared.letters.list(&filter, wanted.offset, wanted.limit)?;
        let open = shared.letters.counts().values().map(|count| count.open).sum();
        Ok(DeadLetterPage { total, open, items: letters.iter().map(Item::new).collect() })
    });
    Ok(Json(page.await?))
}

/// A dead letter with its original bytes.
#[utoipa::path(
    get,
    path = "/api/v1/dead-letters/{id}",
    params(("id" = String, Path, description = "The dead letter")),
    responses(
        (status = 200, description = "All of it", body = DeadLetterDetail, example = json!({
            "id": "s1", "source": "flights", "stage": "source", "class": "wrong-type",
            "message": "column `dep_delay`: `soon` is no DOUBLE", "position": "flights.csv:12",
            "epoch": 41, "at_ms": 1_785_000_000_000_i64, "preview": "7,JFK,soon", "state": "open",
            "text": "7,JFK,soon", "base64": "NyxKRkssc29vbg==", "context": "id,origin,dep_delay"
        })),
        (status = 404, description = "There is no such dead letter", body = Problem),
        (status = "default", description = "It could not be read", body = Problem)
    )
)]
pub(super) async fn dead_letter(
    State(server): State<Arc<Server>>,
    Name(id): Name,
) -> Answer<DeadLetterDetail> {
    let letter = server.read(move |shared| {
        let letter = find(shared, &id)?;
        Ok(DeadLetterDetail {
            item: Item::new(&letter),
            text: String::from_utf8_lossy(&letter.rejected.bytes).into_owned(),
            base64: STANDARD.encode(&letter.rejected.bytes),
            context: letter.rejected.context,
        })
    });
    Ok(Json(letter.await?))
}

/// How to try a dead letter again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    /// What to read in place of its bytes; without it, those.
    #[serde(default)]
    text: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Queued {
    queued: bool,
}

/// Reads a dead letter again, as it is or mended. Its rows appear in the views a moment later, and
/// the letter is `retried` then; what is still wrong with it becomes a new dead letter.
#[utoipa::path(
    post,
    path = "/api/v1/dead-letters/{id}/retry",
    params(("id" = String, Path, description = "The dead letter")),
    request_body(content = Option<Retry>, example = json!({"text": "7,JFK,12.5"})),
    responses(
        (status = 200, description = "It is tried again in a moment", body = Queued,
            example = json!({"queued": true})),
        (status = 404, description = "There is no such dead letter", body = Problem),
        (status = 409, description = "It cannot be tried again", body = Problem),
        (status = "default", description = "It was not taken", body = Problem)
    )
)]
pub(super) async fn retry_dead_letter(
    State(server): State<Arc<Server>>,
    Name(id): Name,
    body: Body,
) -> Answer<Queued> {
    let Retry { text } = read_json(body, BODY_BYTES_MAX).await?;
    let queued = server.read(move |shared| {
        let letter = find(shared, &id)?;
        if letter.state != LetterState::Open {
            return Err(already(&letter));
        }
        letter.check_retry()?;
        let request = RetryRequest { id, text: text.map(String::into_bytes) };
        dead_letters::request_retry(shared.data_dir(), &request)?;
        Ok(Queued { queued: true })
    });
    Ok(Json(queued.await?))
}

#[derive(Serialize, ToSchema)]
pub(super) struct Dropped {
    dropped: bool,
}

/// Gives a dead letter up.
#[utoipa::path(
    post,
    path = "/api/v1/dead-letters/{id}/drop",
    params(("id" = String, Path, description = "The dead letter")),
    responses(
        (status = 200, description = "It is dropped", body = Dropped,
            example = json!({"dropped": true})),
        (status = 404, description = "There is no such dead letter", body = Problem),
        (status = 409, description = "It was retried already", body = Problem),
        (status = "default", description = "It was not dropped", body = Problem)
    )
)]
pub(super) async fn drop_dead_letter(
    State(server): State<Arc<Server>>,
    Name(id): Name,
) -> Answer<Dropped> {
    let dropped = server.read(move |shared| {
        let letter = find(shared, &id)?;
        if letter.state == LetterState::Retried {
            return Err(already(&letter));
        }
        shared.letters.resolve(&id, LetterState::Dropped, clock::wall_us())?;
        Ok(Dropped { dropped: true })
    });
    Ok(Json(dropped.await?))
}

fn already(letter: &DeadLetter) -> Refusal {
    let message = format!("dead letter {} is {} already", letter.id, state_word(letter.state));
    Refusal::new(StatusCode::CONFLICT, message)
}

fn find(shared: &Shared, id: &str) -> Result<DeadLetter, Refusal> {
    let missing = || {
        Refusal::new(StatusCode::NOT_FOUND, format!("there is no dead letter `{id}`"))
            .hint("/api/v1/dead-letters lists those that there are")
    };
    match shared.letters.get(id) {
        Ok(letter) => letter.ok_or_else(missing),
        // Text that cannot be an id is no letter's.
        Err(error) if error.kind() == ErrorKind::Input => Err(missing()),
        Err(error) => Err(error.into()),
    }
}
