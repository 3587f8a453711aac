//! The page: as it was built from `web/`, or else a plain one that needs no build.

use std::borrow::Cow;

use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::answer::Refusal;

/// Where the page begins.
const INDEX: &str = "index.html";
/// Files below this are named by their content: what a name means never changes.
const HASHED: &str = "assets/";

/// The page as `npm run build` left it.
#[cfg(syncline_page)]
#[derive(rust_embed::Embed)]
#[folder = "../../web/dist"]
struct Built;

#[cfg(syncline_page)]
fn find(path: &str) -> Option<Cow<'static, [u8]>> {
    Built::get(path).map(|file| file.data)
}

#[cfg(not(syncline_page))]
fn find(path: &str) -> Option<Cow<'static, [u8]>> {
    builtin(path)
}

/// The plain page.
#[cfg(any(test, not(syncline_page)))]
fn builtin(path: &str) -> Option<Cow<'static, [u8]>> {
    let text = match path {
        INDEX => include_str!("builtin/index.html"),
        "page.css" => include_str!("builtin/page.css"),
        "page.js" => include_str!("builtin/page.js"),
        _ => return None,
    };
    Some(Cow::Borrowed(text.as_bytes()))
}

/// Serves the page, and answers for everything that is not there.
pub(super) async fn page(method: Method, uri: Uri) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => INDEX,
        path => path,
    };
    let is_read = method == Method::GET || method == Method::HEAD;
    let Some(content) = find(path).filter(|_| is_read) else {
        return missing(&uri).into_response();
    };
    let cache =
        if path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = [(header::CONTENT_TYPE, content_type(path)), (header::CACHE_CONTROL, cache)];
    (headers, content.into_owned()).into_response()
}

fn missing(uri: &Uri) -> Refusal {
    let path = uri.path();
    let refusal = Refusal::new(StatusCode::NOT_FOUND, format!("there is nothing at {path}"));
    let paths: Vec<&str> = super::routes().iter().map(|route| route.path).collect();
    match syncline_pipeline::file::nearest(path, paths) {
        Some(meant) => refusal.hint(format!("did you mean {meant}?")),
        None => refusal.hint("the page is at /, and /api/openapi.json describes the API"),
    }
}

fn content_type(path: &str) -> &'static str {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_plain_page_loads_only_what_it_brings() {
        let index = builtin(INDEX).unwrap();
        let index = String::from_utf8_lossy(&index);
        for attribute in ["src=\"", "rel=\"stylesheet\" href=\""] {
            for after in index.split(attribute).skip(1) {
                let (name, _) = after.split_once('"').unwrap();
                assert!(builtin(name).is_some(), "{name}");
            }
        }
        assert!(!index.contains("<script>") && !index.contains("style="), "blocked by our policy");
    }

    #[test]
    fn content_types() {
        for (path, expect) in [
            ("index.html", "text/html; charset=utf-8"),
            ("assets/index-1a.js", "text/javascript; charset=utf-8"),
            ("icon.svg", "image/svg+xml"),
            ("LICENSE", "application/octet-stream"),
        ] {
            assert_eq!(content_type(path), expect, "{path}");
        }
    }
}
