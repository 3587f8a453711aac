#![allow(clippy::unwrap_used)]

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use futures::FutureExt;
use futures::future::join_all;
use syncline_change::ErrorKind;
use syncline_change::source::RejectClass;

use super::*;

fn config(max_body: &str, max_queue: &str) -> SourceConfig {
    serde_json::from_value(serde_json::json!({
        "columns": {"id": "BIGINT"}, "max_body": max_body, "max_queue": max_queue,
    }))
    .unwrap()
}

fn opened(max_body: &str, max_queue: &str) -> (HttpSource, Ingest) {
    let config = config(max_body, max_queue);
    source(&config, schema(&config).unwrap(), None).unwrap()
}

fn ids(chunk: &Chunk) -> Vec<i64> {
    chunk.rows.rows().column(0).as_primitive::<Int64Type>().values().to_vec()
}

/// Submits `body` as far as the queue; the answer is to come.
fn submitted(ingest: &Ingest, body: &'static str) -> impl Future<Output = Answer> + use<> {
    let ingest = ingest.clone();
    let mut answer =
        Box::pin(async move { ingest.submit(Bytes::from_static(body.as_bytes())).await });
    assert!((&mut answer).now_or_never().is_none(), "answered only when it is durable");
    answer
}

type Answer = Result<Receipt, IngestError>;

#[tokio::test]
async fn an_answer_means_durable() {
    let (mut source, ingest) = opened("1KiB", "1MiB");
    let first = submitted(&ingest, "{\"id\":1}");
    let second = submitted(&ingest, "[{\"id\":2},{\"id\":\"two\"},{\"id\":3}]");
    let chunk = source.next().await.unwrap().unwrap();
    assert_eq!(ids(&chunk), [1, 2, 3]);
    let third = submitted(&ingest, "{\"id\":4}\n{\"id\":5}\n");
    let later = source.next().await.unwrap().unwrap();
    assert_eq!(ids(&later), [4, 5]);

    source.acknowledge(7, &chunk.position).await.unwrap();
    assert_eq!(first.await.unwrap(), Receipt { epoch: 7, accepted: 1, rejected: 0 });
    assert_eq!(second.await.unwrap(), Receipt { epoch: 7, accepted: 2, rejected: 1 });
    let mut third = Box::pin(third);
    assert!((&mut third).now_or_never().is_none());
    source.acknowledge(8, &later.position).await.unwrap();
    assert_eq!(third.await.unwrap(), Receipt { epoch: 8, accepted: 2, rejected: 0 });
}

#[tokio::test]
async fn bad_rows_are_rejects_of_their_request() {
    let (mut source, ingest) = opened("1KiB", "1MiB");
    let good = submitted(&ingest, "{\"id\":1}");
    let bad = submitted(&ingest, "{\"id\": oops}");
    let mixed = submitted(&ingest, "{\"id\":2}\noops\n\n{\"id\":true}");
    let none = submitted(&ingest, "[]");
    let chunk = source.next().await.unwrap().unwrap();
    assert_eq!(ids(&chunk), [1, 2]);
    let rejected: Vec<_> = chunk
        .rejected
        .iter()
        .map(|r| (r.position.as_str(), std::str::from_utf8(&r.bytes).unwrap(), r.class))
        .collect();
    assert_eq!(
        rejected,
        [
            ("POST #2", "{\"id\": oops}", RejectClass::Unparsable),
            ("POST #3", "oops", RejectClass::Unparsable),
            ("POST #3", "{\"id\":true}", RejectClass::WrongType),
        ]
    );
    source.acknowledge(1, &chunk.position).await.unwrap();
    for (answer, accepted, rejected) in
        [(good.boxed(), 1, 0), (bad.boxed(), 0, 1), (mixed.boxed(), 1, 2), (none.boxed(), 0, 0)]
    {
        assert_eq!(answer.await.unwrap(), Receipt { epoch: 1, accepted, rejected });
    }
}

#[tokio::test]
async fn what_cannot_be_taken_is_answered_at_once() {
    let (_source, ingest) = opened("32B", "1KiB");
    let error = ingest.submit(Bytes::from(vec![b' '; 33])).await.unwrap_err();
    assert!(matches!(error, IngestError::TooLarge { limit: 32 }), "{error}");
    let error = ingest.submit(Bytes::from_static(b"oops")).await.unwrap_err();
    let IngestError::Malformed(error) = error else { panic!("{error}") };
    assert!(error.hint_text().unwrap().contains("JSON object"), "{}", error.report());
}

#[tokio::test]
async fn the_queue_is_full_until_something_is_durable() {
    let (mut source, ingest) = opened("1KiB", "20B");
    assert_eq!(ingest.body_bytes_max(), 20, "a body that never fits is too large");
    let first = submitted(&ingest, "{\"id\":111111}");
    let is_full = |answer: Answer| matches!(answer, Err(IngestError::Full { .. }));
    assert!(is_full(ingest.submit(Bytes::from_static(b"{\"id\":2222}")).await));
    let chunk = source.next().await.unwrap().unwrap();
    assert!(is_full(ingest.submit(Bytes::from_static(b"{\"id\":2222}")).await));
    source.acknowledge(1, &chunk.position).await.unwrap();
    first.await.unwrap();
    drop(submitted(&ingest, "{\"id\":2222}"));
    assert_eq!(ids(&source.next().await.unwrap().unwrap()), [2222], "nobody waits, it is taken");
}

#[tokio::test]
async fn whoever_waits_hears_that_the_source_stopped() {
    let (mut source, ingest) = opened("1KiB", "1MiB");
    let in_flight = submitted(&ingest, "{\"id\":1}");
    source.next().await.unwrap().unwrap();
    let waiting = submitted(&ingest, "{\"id\":2}");
    drop(source);
    let late = ingest.submit(Bytes::from_static(b"{\"id\":3}"));
    for answer in [in_flight.boxed(), waiting.boxed(), late.boxed()] {
        assert!(matches!(answer.await, Err(IngestError::Closed)));
    }
}

#[tokio::test]
async fn many_small_requests_share_a_chunk() {
    let (mut source, ingest) = opened("1KiB", "8MiB");
    let answers: Vec<_> = (0..10_000).map(|_| submitted(&ingest, "{\"id\":1}")).collect();
    let mut chunks = Vec::new();
    let mut rows = 0;
    while rows < 10_000 {
        let chunk = source.next().await.unwrap().unwrap();
        rows += chunk.rows.num_rows();
        chunks.push(chunk);
    }
    assert_eq!(chunks.len(), 2);
    assert!(source.next().now_or_never().is_none(), "it waits and does not end");
    source.acknowledge(3, &chunks[1].position).await.unwrap();
    assert!(join_all(answers).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn numbers_go_on_after_a_restart() {
    let config = config("1KiB", "1MiB");
    let position = serde_json::json!({"seq": 41});
    let (mut source, ingest) =
        super::source(&config, schema(&config).unwrap(), Some(&position)).unwrap();
    let _answer = submitted(&ingest, "{\"id\":1}");
    let chunk = source.next().await.unwrap().unwrap();
    assert_eq!(chunk.position, serde_json::json!({"seq": 42}));

    let other = serde_json::json!({"file": "a.csv"});
    let error = super::source(&config, schema(&config).unwrap(), Some(&other)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn columns_must_be_named() {
    let mut config = config("1KiB", "1MiB");
    config.common.columns.insert("at".to_owned(), "TIMESTMP".to_owned());
    assert!(schema(&config).unwrap_err().message().contains("column `at`"));
    config.common.columns.clear();
    assert!(schema(&config).unwrap_err().hint_text().unwrap().contains("columns: {"));
}
