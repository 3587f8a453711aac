#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "tests measure how long things take")]

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use syncline_change::ErrorKind;

use super::super::{generate, schema};
use super::*;

fn config(settings: serde_json::Value) -> SourceConfig {
    serde_json::from_value(settings).unwrap()
}

async fn all(mut source: NexmarkSource) -> (RecordBatch, Vec<Position>) {
    let (mut rows, mut positions) = (Vec::new(), Vec::new());
    while let Some(chunk) = source.next().await.unwrap() {
        rows.push(chunk.rows.rows().clone());
        positions.push(chunk.position);
    }
    (concat_batches(&schema(source.table), &rows).unwrap(), positions)
}

#[tokio::test]
async fn a_bounded_source_generates_its_events_and_ends() {
    for (name, table) in
        [("person", Table::Person), ("auction", Table::Auction), ("bid", Table::Bid)]
    {
        let config = config(serde_json::json!({"table": name, "events": 20_001, "seed": 2}));
        let (rows, positions) = all(source(&config, None).unwrap()).await;
        assert_eq!(rows, generate(table, 2, 0..20_001).unwrap());
        assert_eq!(positions.len(), 3);
        assert_eq!(positions[2], serde_json::json!({"event": 20_001}));

        let (rest, _) = all(source(&config, Some(&positions[0])).unwrap()).await;
        assert_eq!(rest, generate(table, 2, 8192..20_001).unwrap(), "resumed");
        assert!(source(&config, Some(&positions[2])).unwrap().next().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_rate_spreads_the_events() {
    let config = config(serde_json::json!({"table": "bid", "events": 400, "rate": 2000}));
    let began = std::time::Instant::now();
    let (rows, positions) = all(source(&config, None).unwrap()).await;
    assert!(began.elapsed() >= Duration::from_millis(190), "{:?}", began.elapsed());
    assert_eq!(rows, generate(Table::Bid, 0, 0..400).unwrap());
    assert!((2..=5).contains(&positions.len()), "gathered, and not all at once: {positions:?}");
}

#[tokio::test]
async fn at_a_low_rate_a_chunk_waits_for_a_row() {
    let config = config(serde_json::json!({"table": "person", "events": 101, "rate": 400}));
    let mut source = source(&config, None).unwrap();
    let mut persons = 0;
    while persons < 3 {
        let chunk = source.next().await.unwrap().unwrap();
        assert_ne!(chunk.rows.num_rows(), 0, "before event {}", chunk.position);
        persons += chunk.rows.num_rows();
    }
}

#[test]
fn settings_that_cannot_be_meant_are_refused() {
    for settings in [
        serde_json::json!({"table": "bid", "rate": 0}),
        serde_json::json!({"table": "bid", "rate": -1.5}),
        serde_json::json!({"table": "bid", "columns": {"price": "INT"}}),
    ] {
        let error = source(&config(settings), None).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.hint_text().is_some());
    }
    let bid = config(serde_json::json!({"table": "bid"}));
    let error = source(&bid, Some(&serde_json::json!({"seq": 1}))).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}
