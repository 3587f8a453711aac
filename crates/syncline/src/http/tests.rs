//! A real pipeline, served on a port of its own and asked as anybody would ask it.
#![allow(clippy::unwrap_used)]

mod access;
mod contents;
mod document;
mod fixture;
mod ingesting;
mod mending;
mod reproducing;
mod streams;

use serde_json::{Value, json};

use self::fixture::Fixture;

#[test]
fn the_pipeline_is_described() {
    let fixture = Fixture::start();
    let (status, pipeline) = fixture.get("/api/v1/pipeline");
    assert_eq!((status, &pipeline["name"]), (200, &json!("orders")));
    let source = &pipeline["sources"][0];
    assert_eq!((&source["name"], &source["type"]), (&json!("orders"), &json!("http")));
    assert_eq!(source["primary_key"], json!(["id"]));
    assert_eq!(source["columns"][0], json!({"name": "id", "type": "BIGINT"}));
    let views: Vec<_> = pipeline["views"].as_array().unwrap().iter().collect();
    let names: Vec<_> = views.iter().map(|view| view["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["totals", "all_orders", "unkept"], "and not the view behind the alert");
    assert_eq!(views[0]["key"], json!(["customer"]));
    assert_eq!((&views[0]["kept"], &views[2]["kept"]), (&json!(true), &json!(false)));
    assert_eq!(pipeline["alerts"][0]["name"], "big");
    assert_eq!(
        pipeline["sinks"],
        json!([{"name": "out", "type": "file", "from": "unkept", "mode": "changes"}])
    );
    let nodes = pipeline["graph"]["nodes"].as_array().unwrap();
    let find = |kind: &str, name: &str| {
        nodes.iter().find(|node| node["kind"] == kind && node["name"] == name).unwrap()["id"]
            .clone()
    };
    let into_sink = json!({"from": find("view", "unkept"), "to": find("sink", "out")});
    assert!(pipeline["graph"]["edges"].as_array().unwrap().contains(&into_sink));
    find("alert", "big");
    assert!(pipeline["started_at_ms"].as_i64().unwrap() > 1_600_000_000_000);
    assert!(pipeline["workers"].as_u64().unwrap() >= 1);
    let (_, plan) = fixture.get("/api/v1/plan");
    assert!(plan["text"].as_str().unwrap().contains("view totals"), "{plan}");
    assert!(plan["mermaid"].as_str().unwrap().starts_with("flowchart"), "{plan}");
}

#[test]
fn what_was_filled_in_is_not_shown() {
    let text =
        fixture::PIPELINE.replace("amount > 1000", "customer <> '${TOKEN}' AND amount > 1000");
    let fixture = Fixture::of(&text);
    for path in ["/api/v1/pipeline", "/api/v1/plan", "/api/v1/alerts", "/api/v1/stats", "/metrics"]
    {
        let (status, text) = fixture.get_text(path);
        assert_eq!(status, 200, "{path}");
        assert!(!text.contains(fixture::SECRET), "{path}: {text}");
    }
    let (_, pipeline) = fixture.get("/api/v1/pipeline");
    assert!(pipeline["alerts"][0]["sql"].as_str().unwrap().contains("${TOKEN}"), "{pipeline}");
}

#[test]
fn it_lives_and_is_ready_until_something_fails() {
    let fixture = Fixture::start();
    assert_eq!(fixture.get_text("/healthz"), (200, "ok".to_owned()));
    fixture.wait_until("/readyz", |answer| answer == &json!({"reasons": []}));
    // A source that is told to fail at a row that it cannot take does so, and says why.
    let broken = Fixture::of(&fixture::PIPELINE.replace("on_error: dead-letter", "on_error: fail"));
    let (status, _) = broken.post("/ingest/orders", r#"{"id": "none"}"#);
    assert_eq!(status, 503);
    let tells = |answer: &Value| {
        let reasons = answer["reasons"].as_array().unwrap();
        reasons.iter().any(|reason| reason.as_str().unwrap().starts_with("source `orders`: "))
    };
    broken.wait_until("/readyz", tells);
    assert_eq!(broken.get("/readyz").0, 503);
    assert_eq!(broken.get_text("/healthz").0, 200, "the process lives all the same");
}

/// `promtool check metrics` knows the format and the conventions.
#[test]
fn promtool_has_nothing_to_say_about_the_metrics() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let fixture = Fixture::start();
    fixture.post("/ingest/orders", r#"[{"id": 1, "customer": "ann", "amount": 5}, {"id": "x"}]"#);
    fixture.wait_until("/api/v1/views/totals", |answer| answer["total"] == 1);
    let (status, text) = fixture.get_text("/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("syncline_source_records_total{"), "{text}");
    let head = fixture.head("/metrics");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");

    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!(
            "\n*** SKIPPED: the metrics are not checked, because there is no promtool. ***\n"
        );
        return;
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}
