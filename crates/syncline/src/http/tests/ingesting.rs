//! Rows that are posted.

use serde_json::json;

use super::fixture::{Fixture, PIPELINE};

#[test]
fn posted_rows_are_there_after_a_restart() {
    let fixture = Fixture::start();
    let (status, taken) = fixture.post("/ingest/orders", r#"{"id": 1, "customer": "ann"}"#);
    assert_eq!((status, &taken["accepted"]), (200, &json!(1)));
    let epoch = taken["epoch"].as_u64().unwrap();
    assert!(epoch >= 1);
    // An answer means that they are durable, computed or not.
    let fixture = fixture.restart();
    let answer = fixture.wait_until("/api/v1/views/all_orders", |answer| answer["total"] == 1);
    assert_eq!(answer["rows"], json!([[1, "ann", null]]));
    let (_, taken) = fixture.post("/ingest/orders", r#"[{"id": 1, "customer": "bob"}]"#);
    assert!(taken["epoch"].as_u64().unwrap() > epoch);
    fixture.wait_until("/api/v1/views/all_orders", |answer| {
        answer["rows"] == json!([[1, "bob", null]])
    });
}

#[test]
fn rows_that_cannot_be_taken_are_refused() {
    let fixture = Fixture::start();
    let check = |path: &str, body: &str, expect: u16, hint: Option<&str>| {
        let (status, answer) = fixture.post(path, body);
        assert_eq!(status, expect, "{path}: {answer}");
        assert!(answer["error"]["message"].is_string(), "{answer}");
        if let Some(hint) = hint {
            let said = answer["error"]["hint"].as_str().unwrap();
            assert!(said.contains(hint), "{path}: {said}");
        }
    };
    check("/ingest/ordrs", "{}", 404, Some("did you mean `orders`?"));
    check("/ingest/towns", "{}", 404, Some("`type: http`"));
    check("/ingest/totals", "{}", 404, None);
    check("/ingest/orders", "[{\"id\": 1}", 400, None);
    let row = format!("{{\"id\": 1, \"customer\": \"{}\"}}", "x".repeat(64 << 10));
    check("/ingest/orders", &row, 413, Some("several requests"));
    check("/ingest/orders", &"\n".repeat(16 << 20), 413, Some("several requests"));
    assert_eq!(fixture.get("/api/v1/views/all_orders").1["total"], 0, "none of it was taken");
}

#[test]
fn a_body_in_pieces_is_limited_as_well() {
    let fixture = Fixture::start();
    let post = |piece: &str| {
        let length = format!("{:x}", piece.len());
        fixture.raw(&format!(
            "POST /ingest/orders HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             transfer-encoding: chunked\r\n\r\n{length}\r\n{piece}\r\n0\r\n\r\n"
        ))
    };
    let (status, answer) = post(r#"{"id": 5}"#);
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = post(&" ".repeat((64 << 10) + 1));
    assert_eq!(status, 413, "{answer}");
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    // An epoch stays open for a while, and what is not durable fills the queue.
    let text = PIPELINE.replace("max_body: 64KiB", "max_queue: 2KiB")
        + "\nrun: {epoch: {max_delay: 2s}}\n";
    let fixture = Fixture::of(&text);
    let row = format!(r#"{{"id": 1, "customer": "{}"}}"#, "x".repeat(1_500));
    let mut statuses: Vec<u16> = std::thread::scope(|scope| {
        let posts: Vec<_> =
            (0..3).map(|_| scope.spawn(|| fixture.post("/ingest/orders", &row))).collect();
        let answers = posts.into_iter().map(|post| post.join().unwrap());
        answers
            .map(|(status, answer)| {
                assert_eq!(answer["error"].is_null(), status == 200, "{answer}");
                status
            })
            .collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 429, 429]);
}

#[test]
fn a_source_that_has_stopped_takes_no_rows() {
    let fixture = Fixture::of(&PIPELINE.replace("on_error: dead-letter", "on_error: fail"));
    // The row that cannot be taken ends the source.
    fixture.post("/ingest/orders", r#"{"id": "none"}"#);
    let (status, answer) = fixture.post("/ingest/orders", r#"{"id": 1}"#);
    assert_eq!(status, 503, "{answer}");
    assert_eq!(answer["error"]["message"], "source `orders` has stopped");
}
