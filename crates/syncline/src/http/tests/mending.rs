//! Dead letters, from the row that could not be taken to the one that was mended.

use serde_json::{Value, json};

use super::fixture::Fixture;

/// Posts two rows that cannot be taken and returns their letters, newest first.
fn with_letters() -> (Fixture, Vec<Value>) {
    let fixture = Fixture::start();
    let rows = concat!(
        r#"{"id": 1, "customer": "ann", "amount": "soon"}"#,
        "\n",
        r#"{"id": 2, "customer": "ann", "amount": 5}"#,
        "\n",
        r#"{"customer": "bob"}"#,
    );
    let (status, taken) = fixture.post("/ingest/orders", rows);
    assert_eq!((status, &taken["accepted"], &taken["rejected"]), (200, &json!(1), &json!(2)));
    let page = fixture.wait_until("/api/v1/dead-letters", |page| page["total"] == 2);
    let letters = page["items"].as_array().unwrap().clone();
    (fixture, letters)
}

fn id_of(letters: &[Value], class: &str) -> String {
    let letter = letters.iter().find(|letter| letter["class"] == class).unwrap();
    letter["id"].as_str().unwrap().to_owned()
}

#[test]
fn letters_are_listed_and_shown() {
    let (fixture, letters) = with_letters();
    let id = id_of(&letters, "wrong-type");
    let (status, letter) = fixture.get(&format!("/api/v1/dead-letters/{id}"));
    assert_eq!(status, 200);
    assert_eq!(letter["source"], "orders");
    assert_eq!((&letter["stage"], &letter["state"]), (&json!("source"), &json!("open")));
    assert!(letter["message"].as_str().unwrap().contains("amount"), "{letter}");
    assert!(letter["position"].as_str().unwrap().contains("POST"), "{letter}");
    let text = r#"{"id": 1, "customer": "ann", "amount": "soon"}"#;
    assert_eq!((&letter["text"], &letter["preview"]), (&json!(text), &json!(text)));
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.encode(text);
    assert_eq!((&letter["base64"], &letter["context"]), (&json!(bytes), &json!(null)));

    let total =
        |query: &str| fixture.get(&format!("/api/v1/dead-letters?{query}")).1["total"].clone();
    assert_eq!(total("class=missing-key&state=open&source=orders&stage=source"), 1);
    assert_eq!(total("state=dropped"), 0);
    assert_eq!(total("source=towns"), 0);
    let (_, page) = fixture.get("/api/v1/dead-letters?limit=1&offset=1");
    assert_eq!((&page["total"], &page["open"]), (&json!(2), &json!(2)));
    assert_eq!(page["items"], json!([letters[1]]));
}

#[test]
fn a_mended_letter_becomes_a_row() {
    let (fixture, letters) = with_letters();
    let id = id_of(&letters, "wrong-type");
    let mended = json!({"text": r#"{"id": 1, "customer": "ann", "amount": 7.5}"#}).to_string();
    let retry = format!("/api/v1/dead-letters/{id}/retry");
    assert_eq!(fixture.post(&retry, &mended), (200, json!({"queued": true})));
    fixture
        .wait_until("/api/v1/views/totals", |answer| answer["rows"] == json!([["ann", 2, 12.5]]));
    let path = format!("/api/v1/dead-letters/{id}");
    fixture.wait_until(&path, |letter| letter["state"] == "retried");
    let (status, answer) = fixture.post(&retry, &mended);
    assert_eq!(status, 409, "{answer}");
    let (status, answer) = fixture.post(&format!("{path}/drop"), "{}");
    assert_eq!(status, 409, "{answer}");
}

#[test]
fn a_letter_that_is_retried_as_it_is_comes_back() {
    let (fixture, letters) = with_letters();
    let id = id_of(&letters, "missing-key");
    let (status, _) = fixture.post(&format!("/api/v1/dead-letters/{id}/retry"), "");
    assert_eq!(status, 200);
    fixture.wait_until("/api/v1/dead-letters?class=missing-key", |page| {
        let states: Vec<_> =
            page["items"].as_array().unwrap().iter().map(|item| &item["state"]).collect();
        states == ["open", "retried"]
    });
}

#[test]
fn a_letter_is_dropped() {
    let (fixture, letters) = with_letters();
    let id = id_of(&letters, "missing-key");
    let drop = format!("/api/v1/dead-letters/{id}/drop");
    for _ in 0..2 {
        assert_eq!(fixture.post(&drop, "{}"), (200, json!({"dropped": true})));
    }
    let (_, page) = fixture.get("/api/v1/dead-letters?state=dropped");
    assert_eq!((&page["total"], &page["open"]), (&json!(1), &json!(1)));
    let retry = format!("/api/v1/dead-letters/{id}/retry");
    let (status, answer) = fixture.post(&retry, "{}");
    assert_eq!(
        (status, answer["error"]["message"].as_str().unwrap().contains("dropped")),
        (409, true)
    );
}

#[test]
fn wrong_requests_change_nothing() {
    let (fixture, letters) = with_letters();
    let id = id_of(&letters, "missing-key");
    for (path, body, expect) in [
        ("/api/v1/dead-letters/s999/retry".to_owned(), "{}", 404),
        ("/api/v1/dead-letters/s999/drop".to_owned(), "{}", 404),
        ("/api/v1/dead-letters/..%2f..%2fLOCK/retry".to_owned(), "{}", 404),
        (format!("/api/v1/dead-letters/{id}/retry"), "{\"txt\": \"x\"}", 400),
        (format!("/api/v1/dead-letters/{id}/retry"), "[", 400),
    ] {
        let (status, answer) = fixture.post(&path, body);
        assert_eq!(status, expect, "{path}: {answer}");
    }
    assert_eq!(fixture.get("/api/v1/dead-letters?state=open").1["total"], 2);
}
