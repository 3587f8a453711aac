//! The process that runs a pipeline, asked over its HTTP API.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use syncline_change::{Error, ErrorKind, Result};
use syncline_store::DataDir;
use ureq::http::Response;
use ureq::{Agent, Body};

/// The process is on this machine, or as good as: it answers at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a pipeline runs, told by its data directory.
pub(super) enum Presence {
    Stopped,
    /// It runs, and its API can be asked.
    Served(Remote),
    /// It runs, and serves no API (yet).
    Silent {
        pid: u32,
    },
}

impl Presence {
    pub(super) fn of(data_dir: &Path) -> Result<Self> {
        Ok(match DataDir::peek(data_dir)? {
            None => Self::Stopped,
            Some(holder) => match holder.listen {
                Some(listen) => Self::Served(Remote::new(&listen)),
                None => Self::Silent { pid: holder.pid },
            },
        })
    }
}

/// That process `pid` cannot be asked.
pub(super) fn silent(pid: u32) -> Error {
    Error::unavailable(format!("the pipeline runs as process {pid}, which serves no API"))
        .detail("it is still starting, or was started with --no-listen")
        .hint("try again in a moment, start it with --listen, or stop it first")
}

/// The API of a running pipeline.
pub(super) struct Remote {
    agent: Agent,
    listen: String,
}

impl Remote {
    fn new(listen: &str) -> Self {
        let config = Agent::config_builder()
            // What is meant for the world outside has no business between two local processes.
            .proxy(None)
            // Its errors have bodies that say more than the status.
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT));
        Self { agent: config.build().into(), listen: listen.to_owned() }
    }

    /// The answer to a POST of `body`.
    ///
    /// # Errors
    /// What the pipeline says is wrong with the request (`Config`), or that it does not answer.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.answer(self.agent.post(self.url(path)).send_json(body))
    }

    /// The answer to a PUT of `body`.
    ///
    /// # Errors
    /// As for [`post`](Self::post).
    pub(super) fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.answer(self.agent.put(self.url(path)).send_json(body))
    }

    fn answer(&self, sent: Result<Response<Body>, ureq::Error>) -> Result<Value> {
        let mut response = self.checked(sent)?;
        response.body_mut().with_config().limit(u64::MAX).read_json().map_err(|e| self.failed(e))
    }

    /// The lines of an answer that goes on until the pipeline ends it.
    ///
    /// # Errors
    /// As for [`post`](Self::post).
    pub(super) fn lines(
        &self,
        path: &str,
        query: (&str, &str),
    ) -> Result<impl Iterator<Item = Result<String>>> {
        let request = self.agent.get(self.url(path)).query(query.0, query.1);
        let response = self.checked(request.header("accept", "application/x-ndjson").call())?;
        let reader = BufReader::new(response.into_body().into_reader());
        let listen = self.listen.clone();
        Ok(reader.lines().map(move |line| line.map_err(|error| gone(&listen, error))))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listen)
    }

    fn checked(&self, sent: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>> {
        let mut response = sent.map_err(|error| self.failed(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let kind =
            if status.is_client_error() { ErrorKind::Config } else { ErrorKind::Unavailable };
        let body = response.body_mut().read_json::<Value>().unwrap_or_default();
        let part = |name: &str| body["error"][name].as_str();
        let Some(message) = part("message") else {
            return Err(Error::new(kind, format!("the pipeline at {} refused", self.listen))
                .detail(format!("it answered {status}")));
        };
        let mut error = Error::new(kind, message);
        if let Some(detail) = part("detail") {
            error = error.detail(detail);
        }
        if let Some(hint) = part("hint") {
            error = error.hint(hint);
        }
        Err(error)
    }

    fn failed(&self, error: ureq::Error) -> Error {
        gone(&self.listen, error)
    }
}

fn gone(listen: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::unavailable(format!("the pipeline at {listen} does not answer"))
        .detail(error.to_string())
        .hint("see whether it still runs")
        .source(error)
}
