//! How fast rows are decoded, beside Arrow's own readers on the same bytes: those fail on the first
//! bad row, ours may reject it and go on. Bytes a second are the figure to compare.

mod bids;

use std::fmt::Write;
use std::hint::black_box;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use syncline_connect::decode::csv::CsvDecoder;
use syncline_connect::decode::json::JsonDecoder;
use syncline_connect::decode::{CHUNK_BYTES_MAX, CHUNK_ROWS_MAX, Input, RowDecoder};
use syncline_connect::file::CsvConfig;

const ROWS: u64 = 200_000;

fn schema() -> SchemaRef {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("at", micros, true),
        Field::new("carrier", DataType::Utf8, true),
        Field::new("flight", DataType::Int32, true),
        Field::new("delay", DataType::Float64, true),
        Field::new("cancelled", DataType::Boolean, true),
        Field::new("note", DataType::Utf8, true),
    ]))
}

/// The same rows as CSV and as lines of JSON.
fn texts() -> (String, String) {
    let mut csv = "id,at,carrier,flight,delay,cancelled,note\n".to_owned();
    let mut json = String::new();
    for i in 0..ROWS {
        // A fixed scramble of the row number, so that values vary and runs do not.
        let x = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let at = format!("2013-{:02}-{:02} {:02}:{:02}:00", x % 12 + 1, x % 28 + 1, x % 24, x % 60);
        let carrier = ["UA", "AA", "B6", "DL", "EV"][(x % 5) as usize];
        let (flight, delay) = (x % 6_000, (x % 40_000) as f64 / 100.0 - 50.0);
        let cancelled = x % 50 == 0;
        let note = "gate changed at short notice".get(..(x % 28) as usize).unwrap_or_default();
        // Writing to a String does not fail.
        let _ = writeln!(csv, "{i},{at},{carrier},{flight},{delay},{cancelled},{note}");
        let _ = writeln!(
            json,
            "{{\"id\":{i},\"at\":\"{at}\",\"carrier\":\"{carrier}\",\"flight\":{flight},\
             \"delay\":{delay},\"cancelled\":{cancelled},\"note\":\"{note}\"}}"
        );
    }
    (csv, json)
}

/// Decodes `text` as a file source does; returns the number of rows.
fn decode(decoder: &mut dyn RowDecoder, text: &[u8]) -> u64 {
    let (mut start, mut rows, mut line) = (0, 0, 1);
    let input = |start: usize, first_line: u64| {
        let end = (start + CHUNK_BYTES_MAX).min(text.len());
        let at_end = end == text.len();
        Input { bytes: &text[start..end], first_line, label: "x", at_end, rows_max: CHUNK_ROWS_MAX }
    };
    start += decoder.begin_file(&input(0, 1)).expect("the head is whole").unwrap_or(0);
    while start < text.len() {
        let decoded = decoder.decode_front(&input(start, line)).expect("bad rows are rejected");
        assert!(decoded.rejected.is_empty(), "the rows are good");
        start += decoded.bytes;
        line += decoded.lines;
        rows += black_box(decoded.rows).num_rows() as u64;
    }
    rows
}

fn bench(criterion: &mut Criterion) {
    let (csv, json) = texts();
    let mut group = criterion.benchmark_group("csv");
    group.throughput(Throughput::Bytes(csv.len() as u64)).sample_size(10);
    group.measurement_time(Duration::from_secs(4)).warm_up_time(Duration::from_secs(1));
    group.bench_function("syncline", |bench| {
        let mut decoder = CsvDecoder::new(schema(), &[], &CsvConfig::default(), 1 << 20)
            .expect("the settings are good");
        bench.iter(|| assert_eq!(decode(&mut decoder, csv.as_bytes()), ROWS));
    });
    group.bench_function("arrow", |bench| {
        bench.iter(|| {
            let reader = arrow::csv::ReaderBuilder::new(schema())
                .with_header(true)
                .with_batch_size(CHUNK_ROWS_MAX)
                .build(Cursor::new(&csv))
                .expect("the settings are good");
            let rows = reader.map(|batch| batch.expect("the rows are good").num_rows() as u64);
            assert_eq!(rows.sum::<u64>(), ROWS);
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("json");
    group.throughput(Throughput::Bytes(json.len() as u64)).sample_size(10);
    group.measurement_time(Duration::from_secs(4)).warm_up_time(Duration::from_secs(1));
    group.bench_function("syncline", |bench| {
        let mut decoder = JsonDecoder::new(schema(), &[], 1 << 20).expect("the settings are good");
        bench.iter(|| assert_eq!(decode(&mut decoder, json.as_bytes()), ROWS));
    });
    group.bench_function("arrow", |bench| {
        bench.iter(|| {
            let reader = arrow::json::ReaderBuilder::new(schema())
                .with_batch_size(CHUNK_ROWS_MAX)
                .build(Cursor::new(&json))
                .expect("the settings are good");
            let rows = reader.map(|batch| batch.expect("the rows are good").num_rows() as u64);
            assert_eq!(rows.sum::<u64>(), ROWS);
        });
    });
    group.finish();
}

criterion_group!(benches, bench, bids::bench);
criterion_main!(benches);
