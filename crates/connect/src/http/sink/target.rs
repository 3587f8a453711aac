//! The other side of an HTTP sink: one request and what its answer means.

use std::time::Duration;

use chrono::{DateTime, Utc};
use syncline_change::{Error, Result};
use ureq::Agent;
use ureq::http::header::{CONTENT_TYPE, RETRY_AFTER};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri};

use crate::http::SinkConfig;

/// How much of an answer is read, so that the connection can be used again.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// How much of an answer is shown in an error.
const ANSWER_CHARS_SHOWN: usize = 200;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const SYNCLINE_EPOCH: HeaderName = HeaderName::from_static("syncline-epoch");

pub(super) struct Target {
    agent: Agent,
    url: Uri,
    /// The URL without what may be secret in it: user, password, path and query.
    shown: String,
    headers: HeaderMap,
    /// The longest wait that the other side can ask for.
    wait_max: Duration,
}

/// What the answer to a request means.
pub(super) enum Answer {
    Taken,
    /// For good; the message says why.
    Refused(String),
    NotNow {
        error: Error,
        /// How long the other side asks us to wait.
        retry_after: Option<Duration>,
    },
}

impl Target {
    pub(super) fn new(config: &SinkConfig) -> Result<Self> {
        let url = parse_url(&config.url)?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(config.timeout.0))
            // A redirected POST becomes a GET or is refused; better to say where it leads.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("syncline/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self {
            agent,
            shown: shown(&url),
            url,
            headers: headers(config)?,
            wait_max: config.retry.max_delay.0,
        })
    }

    /// Posts `body` and waits for the answer; blocks the thread.
    pub(super) fn post(&self, key: &str, epoch: u64, body: &[u8]) -> Answer {
        let mut request = self.agent.post(&self.url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.header(IDEMPOTENCY_KEY, key).header(SYNCLINE_EPOCH, epoch);
        match request.send(body) {
            Ok(mut response) => {
                let said = said(&mut response);
                self.judge(response.status(), response.headers(), &said)
            }
            Err(error) => self.failed(error),
        }
    }

    #[allow(clippy::disallowed_methods, reason = "a server may say until when to wait")]
    fn judge(&self, status: StatusCode, headers: &HeaderMap, said: &str) -> Answer {
        if status.is_success() {
            return Answer::Taken;
        }
        let message = format!("POST {} was answered {status}", self.shown);
        if status.is_redirection() {
            return Answer::Refused(format!(
                "{message}: redirects are not followed, name the final URL in the pipeline file"
            ));
        }
        let is_busy = status.is_server_error()
            || status == StatusCode::REQUEST_TIMEOUT
            || status == StatusCode::TOO_MANY_REQUESTS;
        if !is_busy {
            let said = if said.is_empty() { String::new() } else { format!(": {said}") };
            return Answer::Refused(format!("{message}{said}"));
        }
        let retry_after = retry_after(headers, Utc::now());
        let mut detail = said.to_owned();
        if let Some(wait) = retry_after {
            let separator = if detail.is_empty() { "" } else { "; " };
            detail.push_str(&format!("{separator}it asks to wait {} s", wait.as_secs()));
        }
        let error = Error::unavailable(message);
        Answer::NotNow {
            error: if detail.is_empty() { error } else { error.detail(detail) },
            retry_after: retry_after.map(|wait| wait.min(self.wait_max)),
        }
    }

    fn failed(&self, error: ureq::Error) -> Answer {
        let message = format!("POST {} failed", self.shown);
        match error {
            // What is wrong with the request itself stays wrong. Their texts may hold the URL.
            ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::RequireHttpsOnly(_) => {
                Answer::Refused(format!("{message}: the URL or a header cannot be sent"))
            }
            error => Answer::NotNow {
                error: Error::unavailable(message)
                    .detail(error.to_string())
                    .hint("check that the other side runs and can be reached from here"),
                retry_after: None,
            },
        }
    }
}

/// What the other side says in its answer: for people, in one line.
fn said(response: &mut Response<ureq::Body>) -> String {
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    // The status is the answer; a body that breaks off changes nothing.
    let body = body.unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(ANSWER_CHARS_SHOWN)
        .collect();
    line.trim().to_owned()
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let at = DateTime::parse_from_rfc2822(value).ok()?;
            (at.to_utc() - now).to_std().ok()
        }
    }
}

fn parse_url(text: &str) -> Result<Uri> {
    // The text may hold secrets, so it is not shown.
    let not_a_url = |detail: &str| {
        Error::config("`url` is not an HTTP address")
            .detail(detail)
            .hint("write it as http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH")
    };
    let url: Uri = text.parse().map_err(|_| not_a_url("it cannot be read as a URL"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(not_a_url("it does not begin with http:// or https://"));
    }
    match url.host() {
        Some(host) if !host.is_empty() => Ok(url),
        _ => Err(not_a_url("it has no host")),
    }
}

/// Paths are left out as well: that of a webhook is its password.
fn shown(url: &Uri) -> String {
    let host = url.host().unwrap_or_default();
    let port = url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    let rest = if url.path_and_query().is_some_and(|path| path != "/") { "/..." } else { "" };
    format!("{}://{host}{port}{rest}", url.scheme_str().unwrap_or_default())
}

fn headers(config: &SinkConfig) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    for (name, value) in &config.headers {
        // The value may be a secret, so it is not shown.
        let cannot = || Error::config(format!("the header `{name}` cannot be sent"));
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| cannot().hint("a header's name has letters, digits and hyphens"))?;
        if parsed == IDEMPOTENCY_KEY || parsed == SYNCLINE_EPOCH {
            return Err(cannot().detail("the sink sets it itself").hint("remove it"));
        }
        let value = HeaderValue::from_str(value)
            .map_err(|_| cannot().hint("its value must be printable ASCII, without line ends"))?;
        headers.insert(parsed, value);
    }
    Ok(headers)
}

/// `name` as a part of a header: what is not printable ASCII, `/` and `%` as `%XX`.
pub(super) fn visible(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'/' | b'%') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_secret_of_a_url_is_shown() {
        for (url, expect) in [
            (
                "https://user:pw@example.com:8443/hooks/T0/secret?token=t",
                "https://example.com:8443/...",
            ),
            ("http://example.com", "http://example.com"),
            ("http://[::1]:80/", "http://[::1]:80"),
        ] {
            assert_eq!(shown(&parse_url(url).unwrap()), expect);
        }
        for wrong in
            ["", "example.com/hook?secret", "ftp://secret.example.com", "http://", "/secret"]
        {
            let error = parse_url(wrong).unwrap_err();
            assert!(!error.report().contains("secret"), "{wrong}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc();
        for (value, expect) in [
            ("120", Some(120)),
            ("Thu, 01 Jan 2026 00:00:30 GMT", Some(30)),
            ("Wed, 31 Dec 2025 00:00:00 GMT", None),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), expect.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn names_are_made_printable() {
        assert_eq!(visible("nyc-flights"), "nyc-flights");
        assert_eq!(visible("a/b ü%"), "a%2Fb%20%C3%BC%25");
    }
}
