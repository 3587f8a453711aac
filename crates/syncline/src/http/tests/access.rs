//! Who may ask for what, and what every answer says to browsers.

use super::fixture::Fixture;

#[test]
fn other_host_names_are_not_answered() {
    let fixture = Fixture::start();
    let ask = |host: &str| {
        fixture.raw(&format!(
            "GET /api/v1/stats HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        ))
    };
    for host in ["localhost:7373", "127.0.0.1", "[::1]:80", "page.localhost"] {
        assert_eq!(ask(host).0, 200, "{host}");
    }
    for host in ["evil.example", "evil.example:7373", "localhost.evil.example"] {
        let (status, answer) = ask(host);
        assert_eq!(status, 403, "{host}");
        assert!(answer.contains("\"message\":\"this server does not answer to that name\""));
    }
}

#[test]
fn pages_of_other_sites_change_nothing() {
    let fixture = Fixture::start();
    let ask = |method: &str, path: &str, headers: &str, body: &str| {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost:7373\r\nconnection: close\r\n\
             {headers}content-length: {length}\r\n\r\n{body}"
        );
        fixture.raw(&request).0
    };
    let post = |path: &str, headers: &str, body: &str| ask("POST", path, headers, body);
    let put = |path: &str, headers: &str, body: &str| ask("PUT", path, headers, body);
    let query = r#"{"sql": "SELECT 1"}"#;
    assert_eq!(post("/api/v1/query", "", query), 200);
    assert_eq!(post("/api/v1/query", "origin: http://localhost:7373\r\n", query), 200);
    let foreign = "origin: https://evil.example\r\n";
    assert_eq!(post("/api/v1/query", foreign, query), 403);
    assert_eq!(post("/api/v1/query", "origin: null\r\n", query), 403);
    assert_eq!(post("/api/v1/dead-letters/s1/drop", foreign, "{}"), 403);
    assert_eq!(post("/api/v1/dead-letters/s1/retry", foreign, "{}"), 403);
    assert_eq!(post("/api/v1/verification", foreign, ""), 403);
    assert_eq!(put("/api/v1/verification", foreign, "{}"), 403);
    assert_eq!(put("/api/v1/verification", "", "{}"), 400, "it comes in, and is no report");
    assert_eq!(post("/ingest/orders", foreign, r#"{"id": 1}"#), 200, "rows come from anywhere");
}

#[test]
fn the_page_is_served_with_its_policy() {
    let fixture = Fixture::start();
    let (status, page) = fixture.get_text("/");
    assert_eq!(status, 200);
    assert!(page.to_lowercase().starts_with("<!doctype html>"), "{page}");
    let head = fixture.head("/");
    for line in [
        "content-type: text/html; charset=utf-8",
        "cache-control: no-cache",
        "content-security-policy: default-src 'self';",
        "frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "x-frame-options: deny",
        "referrer-policy: no-referrer",
    ] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
    assert!(!head.contains("unsafe"), "{head}");
    // Everything that the page loads is there, and may be kept if its name has a hash in it.
    for attribute in ["src=\"./", "href=\"./assets"] {
        for after in page.split(attribute).skip(1) {
            let path = after.split('"').next().unwrap();
            let prefix = if attribute.ends_with("assets") { "/assets" } else { "/" };
            let head = fixture.head(&format!("{prefix}{path}"));
            assert!(head.starts_with("http/1.0 200"), "{prefix}{path}: {head}");
            if format!("{prefix}{path}").starts_with("/assets/") {
                assert!(head.contains("immutable"), "{head}");
            }
        }
    }
}

#[test]
fn there_is_no_way_out_of_the_page() {
    let fixture = Fixture::start();
    for path in
        ["/../Cargo.toml", "/%2e%2e/Cargo.toml", "//etc/passwd", "/assets/", "/page/../index.html"]
    {
        let (status, answer) = fixture
            .raw(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"));
        assert_eq!(status, 404, "{path}: {answer}");
        assert!(answer.contains("{\"error\":"), "{path}: {answer}");
    }
}

#[test]
fn answers_are_not_kept_by_caches() {
    let fixture = Fixture::start();
    for path in ["/api/v1/stats", "/api/v1/views/totals", "/metrics", "/nothing"] {
        assert!(fixture.head(path).contains("cache-control: no-store"), "{path}");
    }
}
