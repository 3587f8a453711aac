//! Events, tap, and how they end.

#![allow(clippy::disallowed_methods, reason = "tests measure how long things take")]

use std::time::Instant;

use serde_json::{Value, json};
use syncline_pipeline::runtime::status::Event;

use super::fixture::Fixture;
use crate::http::LISTENERS_MAX;

#[test]
fn events_tell_what_happens() {
    let fixture = Fixture::start();
    let mut events = fixture.events("/api/v1/events");
    assert!(events.head.contains("cache-control: no-store"), "{}", events.head);
    let (first, hello) = events.event().unwrap();
    assert_eq!((first.as_str(), &hello["pipeline"]), ("hello", &json!("orders")));
    assert!(hello["epoch"].is_u64());
    let (second, stats) = events.event().unwrap();
    assert_eq!((second.as_str(), &stats["state"]), ("stats", &json!("running")));

    fixture.post("/ingest/orders", r#"[{"id": 1, "customer": "ann", "amount": 5}, {"id": "x"}]"#);
    let letter = events.wait_for("dead_letter");
    assert_eq!((&letter["source"], &letter["state"]), (&json!("orders"), &json!("open")));
    let view = events.wait_for_that("view", |view| view["view"] == "totals");
    assert_eq!((&view["total"], &view["truncated"]), (&json!(1), &json!(false)));
    assert_eq!(view["changes"], json!([{"weight": 1, "row": ["ann", 1, 5.0]}]));
    assert!(view["epoch"].as_u64().unwrap() >= 1);

    fixture.post("/ingest/orders", r#"{"id": 1, "customer": "ann", "amount": 2000}"#);
    let mut seen = Vec::new();
    while !(seen.contains(&"alert") && seen.contains(&"totals")) {
        let (event, data) = events.event().unwrap();
        match event.as_str() {
            "alert" => {
                assert_eq!((&data["name"], &data["event"]), (&json!("big"), &json!("fired")));
                assert_eq!(data["row"], json!([1, 2000.0]));
                assert!(data["at_ms"].as_i64().unwrap() > 1_600_000_000_000);
                seen.push("alert");
            }
            "view" if data["view"] == "totals" => {
                let changes = data["changes"].as_array().unwrap();
                assert!(changes.contains(&json!({"weight": -1, "row": ["ann", 1, 5.0]})), "{data}");
                assert!(
                    changes.contains(&json!({"weight": 1, "row": ["ann", 1, 2000.0]})),
                    "{data}"
                );
                seen.push("totals");
            }
            "view" => assert_eq!(data["view"], "all_orders", "only views that are kept"),
            _ => {}
        }
    }
}

#[test]
fn a_listener_chooses_its_views() {
    let fixture = Fixture::start();
    let mut events = fixture.events("/api/v1/events?views=all_orders");
    fixture.post("/ingest/orders", r#"{"id": 1, "customer": "ann", "amount": 5}"#);
    assert_eq!(events.wait_for("view")["view"], "all_orders");
    fixture.post("/ingest/orders", r#"{"id": 2, "customer": "ann", "amount": 5}"#);
    assert_eq!(events.wait_for("view")["view"], "all_orders");
}

#[test]
fn a_view_is_told_of_no_more_than_twenty_times_a_second_and_nothing_is_lost() {
    let fixture = Fixture::start();
    let mut events = fixture.events("/api/v1/events?views=totals");
    events.wait_for("hello");
    let start = Instant::now();
    for id in 0..100 {
        let row = json!({"id": id, "customer": "ann", "amount": 1}).to_string();
        assert_eq!(fixture.post("/ingest/orders", row).0, 200);
    }
    let (mut told, mut rows) = (0_u128, 0);
    let mut count = json!(0);
    while count != 100 {
        let view = events.wait_for("view");
        told += 1;
        for change in view["changes"].as_array().unwrap() {
            rows += change["weight"].as_i64().unwrap();
            if change["weight"] == 1 {
                count = change["row"][1].clone();
            }
        }
    }
    assert_eq!(rows, 1, "all changes together leave one row");
    let elapsed = start.elapsed().as_millis();
    assert!(told <= 2 + elapsed / 50, "{told} events in {elapsed} ms");
}

#[test]
fn a_listener_that_is_too_slow_hears_so_and_goes_on() {
    let fixture = Fixture::start();
    let mut events = fixture.events("/api/v1/events");
    let mut tap = fixture.events("/api/v1/tap?name=all_orders");
    events.wait_for("hello");
    tap.wait_for("hello");
    // Nobody reads meanwhile: sockets fill up, then the listeners fall behind.
    for _ in 0..50_000 {
        fixture.shared.events.send(Event::Stats).unwrap();
    }
    assert!(events.wait_for("lagged")["missed"].as_u64().unwrap() > 0);
    fixture.post("/ingest/orders", r#"{"id": 1, "customer": "ann", "amount": 5}"#);
    assert_eq!(events.wait_for("view")["total"], 1);
    assert_eq!(tap.wait_for("change")["after"]["id"], 1);
}

#[test]
fn tap_shows_every_change_of_a_source_or_view() {
    let fixture = Fixture::start();
    let mut source = fixture.events("/api/v1/tap?name=orders");
    assert_eq!(source.wait_for("hello")["name"], "orders");
    let mut view = fixture.stream("/api/v1/tap?name=totals", "application/x-ndjson");
    assert_eq!(view.status, 200);
    assert!(view.head.contains("content-type: application/x-ndjson"), "{}", view.head);
    let mut line = || loop {
        let line = view.line().unwrap();
        // Empty lines only say that the stream lives.
        if !line.is_empty() {
            break serde_json::from_str::<Value>(&line).unwrap();
        }
    };
    fixture.post("/ingest/orders", r#"{"id": 1, "customer": "ann", "amount": 5}"#);
    let change = source.wait_for("change");
    assert_eq!((&change["op"], &change["before"]), (&json!("c"), &json!(null)));
    assert_eq!(change["after"], json!({"id": 1, "customer": "ann", "amount": 5.0}));
    let created = line();
    assert_eq!(created["after"], json!({"customer": "ann", "n": 1, "total": 5.0}));
    fixture.post("/ingest/orders", r#"{"id": 1, "customer": "ann", "amount": 6}"#);
    let change = source.wait_for("change");
    assert_eq!((&change["op"], &change["before"]["amount"]), (&json!("u"), &json!(5.0)));
    let updated = line();
    assert_eq!((&updated["op"], &updated["before"]), (&json!("u"), &created["after"]));
    assert_eq!(updated["after"]["total"], 6.0);
    assert!(updated["epoch"].as_u64() > created["epoch"].as_u64());
}

#[test]
fn only_so_many_may_listen() {
    let fixture = Fixture::start();
    let mut listeners: Vec<_> =
        (0..LISTENERS_MAX).map(|_| fixture.events("/api/v1/events?views=")).collect();
    let (status, answer) = fixture.get("/api/v1/events");
    assert_eq!((status, &answer["error"]["message"]), (503, &json!("too many listen already")));
    assert_eq!(fixture.get("/api/v1/tap?name=orders").0, 503);
    // Whoever goes makes room.
    listeners.pop();
    let start = Instant::now();
    while fixture.stream("/api/v1/tap?name=orders", "application/x-ndjson").status != 200 {
        assert!(start.elapsed().as_secs() < 20, "no room although somebody has gone");
    }
}

#[test]
fn streams_end_when_the_server_stops() {
    let mut fixture = Fixture::start();
    let mut events = fixture.events("/api/v1/events");
    let mut tap = fixture.events("/api/v1/tap?name=orders");
    events.wait_for("hello");
    tap.wait_for("hello");
    let start = Instant::now();
    fixture.stop().unwrap().unwrap();
    assert!(start.elapsed().as_secs() < 8, "it did not wait for its timeout");
    while events.event().is_some() {}
    while tap.event().is_some() {}
}
