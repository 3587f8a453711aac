//! Which requests may come in, and what every answer says to browsers.
//!
//! A page of some other site, open in a browser on this machine, can send requests here. It cannot
//! read the answers, unless its host name is made to point here (DNS rebinding), and its browser
//! says where its requests come from. So a server that only this machine can reach answers to no
//! other host names, and nothing is changed for pages of other sites.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::Server;
use super::answer::Refusal;

/// Rows may be posted from anywhere; everything else that changes something may not.
const INGEST: &str = "/ingest/";

/// The page loads nothing from elsewhere, and no other page shows it within itself.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; object-src 'none'; img-src 'self' data:";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Adds what every answer says; live figures are never kept by caches.
pub(super) async fn add_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Turns away what is beyond the number of requests that may be under way.
pub(super) async fn limit(
    State(requests): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(_place) = requests.try_acquire() else {
        return Refusal::busy("too many requests are under way").into_response();
    };
    next.run(request).await
}

/// Turns away requests that a page of another site made.
pub(super) async fn admit(
    State(server): State<Arc<Server>>,
    request: Request,
    next: Next,
) -> Response {
    let host = host(&request);
    let is_rebound = server.is_local && host.as_deref().is_some_and(|host| !is_local_name(host));
    if is_rebound {
        return Refusal::new(StatusCode::FORBIDDEN, "this server does not answer to that name")
            .detail("it listens on this machine only, and another host name may be an attack")
            .hint("open it as http://localhost or by its IP address, or listen on another address")
            .into_response();
    }
    let changes_something =
        !request.method().is_safe() && !request.uri().path().starts_with(INGEST);
    if changes_something && !is_same_origin(request.headers(), host.as_deref()) {
        return Refusal::new(StatusCode::FORBIDDEN, "pages of other sites may not do that")
            .hint("send the request from this server's own page, or without an Origin header")
            .into_response();
    }
    next.run(request).await
}

/// A path that is there, but not for this method.
pub(super) async fn wrong_method(method: Method) -> Refusal {
    let message = format!("this path does not take {method}");
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message)
        .hint("/api/openapi.json describes the API")
}

/// What the request calls this server, with its port.
fn host(request: &Request) -> Option<String> {
    let header = request.headers().get(header::HOST);
    let header = header.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    header.or_else(|| request.uri().authority().map(|authority| authority.as_str().to_owned()))
}

/// Whether nobody else can make `host` mean this machine: an IP address, or a name that is always
/// this machine.
fn is_local_name(host: &str) -> bool {
    if let Some(bracketed) = host.strip_prefix('[') {
        let Some((address, port)) = bracketed.split_once(']') else { return false };
        return is_port(port) && address.parse::<Ipv6Addr>().is_ok();
    }
    let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
    let name = name.to_ascii_lowercase();
    is_port(port)
        && (name.parse::<Ipv4Addr>().is_ok() || name == "localhost" || name.ends_with(".localhost"))
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').map_or(text.is_empty(), |port| port.parse::<u16>().is_ok())
}

/// Whether the request comes from this server's own page, or from no page at all.
fn is_same_origin(headers: &HeaderMap, host: Option<&str>) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    // A browser's word, which scripts cannot forge; it is right behind a proxy as well.
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    if let Some(site) = site {
        return site == "same-origin";
    }
    let Some((scheme, origin)) = origin.to_str().ok().and_then(|o| o.split_once("://")) else {
        return false;
    };
    let default_port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let plain = |authority: &str| {
        let authority = authority.to_ascii_lowercase();
        authority.strip_suffix(default_port).map(str::to_owned).unwrap_or(authority)
    };
    host.is_some_and(|host| plain(host) == plain(origin))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_names_that_nobody_can_redirect_are_local() {
        for host in ["localhost", "LOCALHOST:7373", "a.localhost:1", "127.0.0.1", "[::1]:7373"] {
            assert!(is_local_name(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:80",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[::1",
            "[x]",
            "",
            "localhost:x",
            "127.0.0.1:1:2",
        ] {
            assert!(!is_local_name(host), "{host}");
        }
    }

    #[test]
    fn origins() {
        let check = |origin: Option<&'static str>, site: Option<&'static str>, host: &str| {
            let mut headers = HeaderMap::new();
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            if let Some(site) = site {
                headers.insert("sec-fetch-site", HeaderValue::from_static(site));
            }
            is_same_origin(&headers, Some(host))
        };
        assert!(check(None, None, "localhost:7373"));
        assert!(check(Some("http://localhost:7373"), None, "localhost:7373"));
        assert!(check(Some("http://LOCALHOST"), None, "localhost:80"));
        assert!(check(Some("https://flights.example"), Some("same-origin"), "10.0.0.7:7373"));
        assert!(!check(Some("http://localhost:3000"), None, "localhost:7373"));
        assert!(!check(Some("https://evil.example"), None, "localhost:7373"));
        assert!(!check(Some("null"), None, "localhost:7373"));
        assert!(!check(Some("http://localhost:7373"), Some("cross-site"), "localhost:7373"));
    }
}
