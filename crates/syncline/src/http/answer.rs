//! What the API answers when it cannot do what it was asked: `{"error":{message,detail,hint}}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use syncline_change::{Error, ErrorKind};
use syncline_pipeline::file::nearest;
use utoipa::ToSchema;

/// An answer that is JSON, or why there is none.
pub(super) type Answer<T> = Result<Json<T>, Refusal>;

/// The names that a hint lists at most.
const NAMES_LISTED_MAX: usize = 12;

/// Why a request is not carried out.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: ErrorText,
    retry_after_s: Option<u64>,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(super) struct Problem {
    error: ErrorText,
}

/// What failed, why, and what to do about it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorText {
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    hint: Option<String>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let error = ErrorText { message: message.into(), detail: None, hint: None };
        Self { status, error, retry_after_s: None }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Too much is going on; the same request may succeed in a moment.
    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after_s(1)
    }

    /// There is no `what` called `name`; `names` are those that there are.
    pub(super) fn unknown(what: &str, name: &str, names: &[&str]) -> Self {
        let meant = nearest(name, names.iter().copied());
        let hint = match (meant, names) {
            (Some(meant), _) => format!("did you mean `{meant}`?"),
            (None, []) => format!("this pipeline has no {what}s"),
            (None, names) => {
                let mut list = names[..names.len().min(NAMES_LISTED_MAX)].join(", ");
                if names.len() > NAMES_LISTED_MAX {
                    list.push_str(", ...");
                }
                format!("the {what}s are: {list}")
            }
        };
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what} `{name}`")).hint(hint)
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.error.detail = Some(detail.into());
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.error.hint = Some(hint.into());
        self
    }

    pub(super) fn retry_after_s(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Config | ErrorKind::Input | ErrorKind::Unsupported => {
                StatusCode::BAD_REQUEST
            }
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Unavailable | ErrorKind::Storage => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Corrupt | ErrorKind::Bug => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::error!("a request failed: {}", error.report());
        }
        let text = ErrorText {
            message: error.message().to_owned(),
            detail: error.detail_text().map(str::to_owned),
            hint: error.hint_text().map(str::to_owned),
        };
        Self { status, error: text, retry_after_s: None }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let retry_after = self.retry_after_s.map(HeaderValue::from);
        let mut response = (self.status, Json(Problem { error: self.error })).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}
