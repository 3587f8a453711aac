#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "tests measure how long things take")]

mod server;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use syncline_change::{Batch, ErrorKind};

use self::server::{Reply, Server};
use super::*;

fn epoch(epoch: u64, ids: &[i64]) -> EpochChanges {
    let column = Arc::new(Int64Array::from(ids.to_vec()));
    let rows = RecordBatch::try_from_iter([("id", column as _)]).unwrap();
    EpochChanges { epoch, changes: vec![Batch::inserts(rows)] }
}

fn body(epoch: u64, ids: &[i64]) -> String {
    let line = |id| {
        format!("{{\"op\":\"c\",\"before\":null,\"after\":{{\"id\":{id}}},\"epoch\":{epoch}}}\n")
    };
    ids.iter().map(line).collect()
}

fn config(url: &str) -> SinkConfig {
    serde_json::from_value(serde_json::json!({
        "from": "v", "url": url, "timeout": "500ms",
        "headers": {"Authorization": "Bearer top-secret"},
        "retry": {"max_delay": "300ms"},
    }))
    .unwrap()
}

async fn opened(url: &str) -> Box<dyn Sink> {
    let mut sink = new("out", &config(url), "shop").unwrap();
    let schema = epoch(0, &[]).changes[0].schema();
    sink.open(&Shape { schema, key: None }, None).await.unwrap();
    sink
}

#[tokio::test]
async fn each_epoch_with_changes_is_posted() {
    let server = Server::start(vec![Reply::status(200), Reply::status(204)]);
    let mut sink = opened(&server.url).await;
    let progress = sink.write(&[epoch(1, &[7, 8]), epoch(2, &[]), epoch(3, &[9])]).await.unwrap();
    assert_eq!(progress.epoch, 3);
    let got = server.finish();
    assert_eq!(got.len(), 2);
    for (got, (epoch, ids)) in got.iter().zip([(1, &[7, 8][..]), (3, &[9])]) {
        assert_eq!(got.line, "POST /hook?token=query-secret HTTP/1.1");
        assert_eq!(got.header("idempotency-key"), format!("shop/out/{epoch}"));
        assert_eq!(got.header("syncline-epoch"), epoch.to_string());
        assert_eq!(got.header("content-type"), "application/x-ndjson");
        assert_eq!(got.header("authorization"), "Bearer top-secret");
        assert_eq!(got.body, body(epoch, ids));
    }
}

#[tokio::test]
async fn a_busy_server_is_asked_again_with_the_same_key() {
    for status in [500, 503, 429, 408] {
        let server =
            Server::start(vec![Reply::status(200), Reply::status(status), Reply::status(200)]);
        let mut sink = opened(&server.url).await;
        let epochs = [epoch(1, &[1]), epoch(2, &[2])];
        let error = sink.write(&epochs).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{status}");
        assert_eq!(sink.write(&epochs).await.unwrap().epoch, 2);
        let keys: Vec<_> =
            server.finish().iter().map(|got| got.header("idempotency-key").to_owned()).collect();
        assert_eq!(keys, ["shop/out/1", "shop/out/2", "shop/out/2"], "{status}");
    }
}

#[tokio::test]
async fn retry_after_is_waited_for_up_to_the_limit() {
    let busy = Reply::status(429).header("retry-after: 3600");
    let server = Server::start(vec![busy, Reply::status(200)]);
    let mut sink = opened(&server.url).await;
    let error = sink.write(&[epoch(1, &[1])]).await.unwrap_err();
    assert!(error.detail_text().unwrap().contains("wait 3600 s"), "{}", error.report());
    let asked = std::time::Instant::now();
    sink.write(&[epoch(1, &[1])]).await.unwrap();
    // max_delay is 300 ms; a timer may round down a little.
    assert!(asked.elapsed() >= Duration::from_millis(250));
    assert_eq!(server.finish().len(), 2);
}

#[tokio::test]
async fn a_refusal_makes_dead_letters_of_its_own_epoch_only() {
    let refusal = Reply::status(400).body("no such\ncolumn");
    let server = Server::start(vec![Reply::status(200), refusal, Reply::status(200)]);
    let mut sink = opened(&server.url).await;
    let epochs = [epoch(1, &[1]), epoch(2, &[2]), epoch(3, &[3])];
    let error = sink.write(&epochs).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    let (progress, rejected) = sink.give_up(&epochs, &error).unwrap();
    assert_eq!(progress.epoch, 3);
    let [rejected] = &rejected[..] else { panic!("{rejected:?}") };
    assert_eq!(String::from_utf8_lossy(&rejected.bytes), body(2, &[2]));
    assert_eq!(rejected.class, RejectClass::Undelivered);
    assert_eq!((rejected.position.as_str(), &rejected.context), ("shop/out/2", &None));
    for text in [rejected.message.clone(), error.report()] {
        assert!(text.contains("400 Bad Request") && text.contains("no such column"), "{text}");
        assert!(text.contains("127.0.0.1") && !text.contains("secret"), "{text}");
    }
    assert_eq!(server.finish().len(), 3);
}

#[tokio::test]
async fn a_redirect_is_a_refusal() {
    for status in [302, 307] {
        let server = Server::start(vec![Reply::status(status).header("location: /elsewhere")]);
        let mut sink = opened(&server.url).await;
        let error = sink.write(&[epoch(1, &[1])]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.message().contains("redirects are not followed"), "{}", error.report());
    }
}

#[tokio::test]
async fn no_answer_is_unavailable_and_after_the_last_try_undelivered() {
    let silent = Server::start(vec![Reply::silence()]);
    let hung_up = Server::start(vec![Reply::hang_up()]);
    let closed = Server::start(vec![]);
    let closed_url = closed.url.clone();
    closed.finish();
    for url in [&silent.url, &hung_up.url, &closed_url] {
        let mut sink = opened(url).await;
        let epochs = [epoch(1, &[1]), epoch(2, &[]), epoch(3, &[3])];
        let error = sink.write(&epochs).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
        assert!(!error.report().contains("secret"), "{}", error.report());
        let (progress, rejected) = sink.give_up(&epochs, &error).unwrap();
        assert_eq!(progress.epoch, 3);
        let positions: Vec<_> = rejected.iter().map(|r| r.position.as_str()).collect();
        assert_eq!(positions, ["shop/out/1", "shop/out/3"]);
        assert!(rejected[0].message.contains("POST http://127.0.0.1"), "{}", rejected[0].message);
    }
}

#[tokio::test]
async fn a_large_epoch_is_posted_in_parts() {
    let server = Server::start(vec![
        Reply::status(200),
        Reply::status(500),
        Reply::status(200),
        Reply::status(200),
    ]);
    let mut sink = opened(&server.url).await;
    let ids: Vec<i64> = (0..40_000).collect();
    let large = [epoch(5, &ids)];
    sink.write(&large).await.unwrap_err();
    sink.write(&large).await.unwrap();
    let got = server.finish();
    let keys: Vec<_> = got.iter().map(|got| got.header("idempotency-key")).collect();
    assert_eq!(keys, ["shop/out/5/1", "shop/out/5/2", "shop/out/5/2", "shop/out/5/3"]);
    assert!(got.iter().all(|got| got.body.len() <= BODY_BYTES_MAX));
    assert_eq!(got[1].body, got[2].body, "the same body with the same key");
    let whole = got[0].body.clone() + &got[2].body + &got[3].body;
    assert_eq!(whole, body(5, &ids));
}

#[tokio::test]
async fn epochs_before_the_progress_are_not_posted() {
    let server = Server::start(vec![Reply::status(200)]);
    let mut sink = new("out", &config(&server.url), "shop").unwrap();
    let schema = epoch(0, &[]).changes[0].schema();
    let progress = Progress { epoch: 4, token: serde_json::Value::Null };
    sink.open(&Shape { schema, key: None }, Some(&progress)).await.unwrap();
    assert_eq!(sink.write(&[epoch(4, &[4]), epoch(5, &[5])]).await.unwrap().epoch, 5);
    assert_eq!(server.finish()[0].header("syncline-epoch"), "5");
}

#[test]
fn settings_that_cannot_be_sent_are_refused() {
    for (header, value) in [
        ("bad name", "x"),
        ("X-Secret", "line\nend"),
        ("Idempotency-Key", "mine"),
        ("syncline-epoch", "1"),
    ] {
        let mut config = config("http://127.0.0.1:1/");
        config.headers.insert(header.to_owned(), value.to_owned());
        let error = new("out", &config, "shop").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains(header) && !error.report().contains(value));
    }
}
