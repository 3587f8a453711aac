//! Checkpoints, verification, and views as they were.

use serde_json::{Value, json};

use super::fixture::Fixture;

const VERIFICATION: &str = "/api/v1/verification";

/// A pipeline that has taken in three epochs of orders.
fn with_orders() -> Fixture {
    let fixture = Fixture::start();
    for (id, amount) in [(1, 5.0), (2, 7.5), (1, 6.0)] {
        let row = json!({"id": id, "customer": "ann", "amount": amount}).to_string();
        let (status, taken) = fixture.post("/ingest/orders", row);
        assert_eq!(status, 200);
        let epoch = taken["epoch"].as_u64().unwrap();
        fixture.wait_until("/api/v1/views/totals", |view| view["epoch"].as_u64() >= Some(epoch));
    }
    fixture
}

/// Asks for a verification and waits for its end.
fn verified(fixture: &Fixture) -> Value {
    let (status, begun) = fixture.post(VERIFICATION, "");
    assert_eq!((status, &begun["by"]), (200, &json!("page")), "{begun}");
    fixture.wait_until(VERIFICATION, |now| now["state"] != "running")
}

fn metric(fixture: &Fixture, result: &str) -> u64 {
    let (_, text) = fixture.get_text("/metrics");
    let line = text.lines().find(|line| {
        line.starts_with("syncline_verify_epochs_total{") && line.contains(&format!("\"{result}\""))
    });
    line.unwrap().rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[test]
fn the_last_checkpoint_has_the_digests_of_kept_views() {
    let fixture = with_orders();
    let (status, answer) = fixture.get("/api/v1/checkpoint");
    assert_eq!((status, &answer["error"]["message"]), (404, &json!("there is no checkpoint yet")));
    let epoch = fixture.get("/api/v1/views/totals").1["epoch"].as_u64();
    let fixture = fixture.restart();
    let (status, answer) = fixture.get("/api/v1/checkpoint");
    assert_eq!(status, 200, "{answer}");
    assert!(answer["epoch"].as_u64() >= epoch, "{answer}");
    assert!(answer["time_ms"].as_i64().unwrap() > 1_600_000_000_000);
    let views = answer["views"].as_object().unwrap();
    assert_eq!(views.keys().collect::<Vec<_>>(), ["all_orders", "totals"]);
    assert_eq!(views["all_orders"]["rows"], 2);
    let hex = |value: &Value| {
        let text = value.as_str().unwrap();
        text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    assert!(hex(&answer["input_root"]) && hex(&answer["chain"]), "{answer}");
    let report = verified(&fixture)["report"].clone();
    for (name, view) in views {
        let checks = report["views"].as_array().unwrap();
        let check = checks.iter().find(|check| check["view"] == *name).unwrap();
        assert_eq!((&check["digest"], &check["is_recorded"]), (&view["digest"], &json!(true)));
        assert!(hex(&view["digest"]));
    }
}

#[test]
fn a_verification_is_asked_for_and_found_right() {
    let fixture = with_orders();
    let (status, never) = fixture.get(VERIFICATION);
    assert_eq!((status, &never["state"], &never["report"]), (200, &json!("never"), &Value::Null));
    assert_eq!((metric(&fixture, "verified"), metric(&fixture, "mismatch")), (0, 0));
    let mut events = fixture.events("/api/v1/events");
    events.wait_for("hello");
    let done = verified(&fixture);
    assert_eq!((&done["state"], &done["by"]), (&json!("verified"), &json!("page")), "{done}");
    let report = &done["report"];
    assert_eq!((&report["verdict"], &report["epoch"]), (&json!("verified"), &done["epoch"]));
    assert_eq!(report["mismatches"], json!([]));
    assert_eq!(report["unchecked"], json!([]), "nothing is said of what comes after");
    assert_eq!(metric(&fixture, "verified"), done["epoch"].as_u64().unwrap());
    let told = events.wait_for_that("verification", |event| event["state"] != "running");
    assert_eq!((&told["state"], &told["epoch"]), (&json!("verified"), &done["epoch"]));
}

#[test]
fn a_journal_that_was_altered_is_a_mismatch_and_everybody_hears_of_it() {
    let fixture = with_orders();
    let folder = fixture.shared.data_dir().path().join("journal/orders");
    let segment = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let mut events = fixture.events("/api/v1/events");
    let done = verified(&fixture);
    assert_eq!(done["state"], "mismatch", "{done}");
    assert_eq!(done["report"]["mismatches"][0]["what"], "the journal");
    events.wait_for_that("verification", |event| event["state"] == "mismatch");
    assert_eq!(metric(&fixture, "mismatch"), 1);
    assert_eq!(fixture.post("/ingest/orders", r#"{"id": 3}"#).0, 200, "the pipeline goes on");
}

#[test]
fn a_report_of_another_process_is_taken_if_it_can_be_one() {
    let fixture = with_orders();
    let mismatch = json!({
        "what": "view totals", "epoch": 2, "message": "other rows", "rows": ["only here: [1]"]
    });
    let input = json!({"epochs": 3, "rows": 3, "root": "ab", "chain": "cd"});
    let report = json!({
        "verdict": "mismatch", "pipeline": "orders", "epoch": 3, "input": input, "views": [],
        "sinks": [], "manifest": null, "mismatches": [mismatch], "unchecked": [], "notes": []
    });
    let with = |field: &str, value: Value| {
        let mut other = report.clone();
        other[field] = value;
        other.to_string()
    };
    let mut too_much = input.clone();
    too_much["epochs"] = json!(1_000_000);
    for (body, expect) in [
        (with("verdict", json!("verified")), 400),
        (with("verdict", json!("perhaps")), 400),
        (with("pipeline", json!("flights")), 400),
        (with("epoch", json!(1_000_000)), 400),
        (with("input", too_much), 400),
        (with("notes", Value::Null), 400),
        ("{}".to_owned(), 400),
        ("no JSON".to_owned(), 400),
        (with("notes", json!(["x".repeat(5 << 20)])), 413),
    ] {
        let (status, answer) = fixture.put(VERIFICATION, &body);
        assert_eq!(status, expect, "{answer}");
        assert!(answer["error"]["message"].is_string(), "{answer}");
    }
    assert_eq!(fixture.get(VERIFICATION).1["state"], "never");
    let mut events = fixture.events("/api/v1/events");
    events.wait_for("hello");
    let (status, now) = fixture.put(VERIFICATION, report.to_string());
    assert_eq!((status, &now["state"], &now["by"]), (200, &json!("mismatch"), &json!("watch")));
    assert_eq!(now["report"], report);
    assert_eq!(fixture.get(VERIFICATION).1, now);
    assert_eq!((metric(&fixture, "verified"), metric(&fixture, "mismatch")), (2, 1));
    events.wait_for_that("verification", |event| event["state"] == "mismatch");
}

/// Takes what is posted to it, whoever posts it.
fn hook() -> (String, std::sync::mpsc::Receiver<Value>) {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (told, notices) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while stream.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.get_mut().write_all(answer).unwrap();
            if told.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
        }
    });
    (url, notices)
}

#[test]
fn webhooks_of_alerts_hear_of_a_mismatch_once_for_each_epoch() {
    let (url, notices) = hook();
    let (other_url, other_notices) = hook();
    // The first stands under two alerts, and is told once.
    let notify = format!("notify: [{{type: webhook, url: '{url}'}}, {{type: log}}]");
    let both = format!(
        "{notify}\n  small:\n    when: SELECT id FROM orders WHERE amount < 0\n    notify: [{{type: webhook, url: '{url}'}}, {{type: webhook, url: '{other_url}'}}]"
    );
    let pipeline = super::fixture::PIPELINE.replace("notify: [{type: log}]", &both);
    let fixture = Fixture::of(&pipeline);
    for id in 1..=3 {
        let (status, taken) = fixture.post("/ingest/orders", json!({"id": id}).to_string());
        assert_eq!(status, 200);
        let epoch = taken["epoch"].as_u64().unwrap();
        fixture.wait_until("/api/v1/views/totals", |view| view["epoch"].as_u64() >= Some(epoch));
    }
    let report = |epoch: u64, mismatches: Value| {
        let verdict = if mismatches == json!([]) { "verified" } else { "mismatch" };
        let report = json!({
            "verdict": verdict, "pipeline": "orders", "epoch": epoch, "input": null, "views": [],
            "sinks": [], "manifest": null, "mismatches": mismatches, "unchecked": [], "notes": []
        });
        let (status, now) = fixture.put(VERIFICATION, report.to_string());
        assert_eq!((status, &now["state"]), (200, &json!(verdict)), "{now}");
    };
    let mismatch = json!([{
        "what": "view totals", "epoch": 2, "message": "other rows", "rows": ["only here: [1]"]
    }]);
    report(1, json!([]));
    report(2, mismatch.clone());
    let patience = std::time::Duration::from_secs(30);
    for notices in [&notices, &other_notices] {
        let told = notices.recv_timeout(patience).unwrap();
        assert_eq!((&told["pipeline"], &told["event"]), (&json!("orders"), &json!("mismatch")));
        assert_eq!((&told["epoch"], &told["differences"]), (&json!(2), &json!(1)), "{told}");
        assert_eq!(told["mismatches"], mismatch);
        assert!(told["at"].as_str().unwrap().ends_with('Z'), "{told}");
    }
    // Again of the same epoch: nobody hears of it twice. Of the next one they do.
    report(2, mismatch.clone());
    report(3, mismatch.clone());
    report(2, mismatch);
    for notices in [&notices, &other_notices] {
        assert_eq!(notices.recv_timeout(patience).unwrap()["epoch"], 3);
    }
    // All that was to be told is told before the pipeline has stopped.
    drop(fixture);
    assert!(notices.try_recv().is_err() && other_notices.try_recv().is_err());
}

#[test]
fn a_view_is_shown_as_it_was() {
    let fixture = with_orders();
    let live = fixture.get("/api/v1/views/totals").1;
    let last = live["epoch"].as_u64().unwrap();
    assert!(live["time_ms"].is_null());
    let at = |epoch: u64| {
        let (status, answer) = fixture.get(&format!("/api/v1/views/totals?at={epoch}"));
        assert_eq!((status, &answer["epoch"]), (200, &json!(epoch)), "{answer}");
        assert!(answer["time_ms"].as_i64().unwrap() > 1_600_000_000_000, "{answer}");
        answer
    };
    assert_eq!(at(last)["rows"], live["rows"]);
    let mut seen: Vec<Value> = (1..=last).map(|epoch| at(epoch)["rows"].clone()).collect();
    // The second time from what is kept, as at the first.
    assert_eq!(seen, (1..=last).map(|epoch| at(epoch)["rows"].clone()).collect::<Vec<_>>());
    seen.dedup();
    let rows =
        [json!([]), json!([["ann", 1, 5.0]]), json!([["ann", 2, 12.5]]), json!([["ann", 2, 13.5]])];
    assert_eq!(seen, rows);
    let (_, page) = fixture.get(&format!("/api/v1/views/all_orders?at={last}&limit=1&offset=1"));
    assert_eq!((&page["total"], &page["rows"]), (&json!(2), &json!([[2, "ann", 7.5]])));
}

#[test]
fn a_past_that_there_was_not_is_refused() {
    let fixture = with_orders();
    for (path, expect) in [
        ("/api/v1/views/totals?at=0", 404),
        ("/api/v1/views/totals?at=1000000", 404),
        ("/api/v1/views/totals?at=-1", 400),
        ("/api/v1/views/totals?at=now", 400),
        ("/api/v1/views/total?at=1", 404),
        ("/api/v1/views/unkept?at=1", 409),
    ] {
        let (status, answer) = fixture.get_text(path);
        assert_eq!(status, expect, "{path}: {answer}");
    }
    let (_, answer) = fixture.get("/api/v1/views/totals?at=1000000");
    assert_eq!(answer["error"]["message"], "there is no epoch 1000000 yet");
}
