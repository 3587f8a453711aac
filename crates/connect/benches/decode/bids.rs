//! The bids of the Nexmark benchmark as lines of JSON: seven fields, some 280 bytes a line.
//!
//! `line_ends` is what it costs to look at every byte once; `sonic` is a fast parser alone, into
//! columns whose times stay texts. Rows a second are the figure to compare.

use std::borrow::Cow;
use std::fs;
use std::hint::black_box;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Builder, StringBuilder};
use criterion::{Criterion, Throughput};
use futures::executor::block_on;
use serde::Deserialize;
use syncline_connect::config::{SourceCommon, SourceConfig};
use syncline_connect::decode::CHUNK_ROWS_MAX;
use syncline_connect::decode::json::JsonDecoder;
use syncline_connect::file::{self, ReplayClock};
use syncline_connect::nexmark::{Table, schema, write_jsonl};
use syncline_connect::{SourceEnv, open_source};
use tempfile::TempDir;

/// Of 50 events 46 are bids.
const EVENTS: u64 = 400_000;
const BIDS: u64 = EVENTS / 50 * 46;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bid<'a> {
    auction: i64,
    bidder: i64,
    price: i64,
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow)]
    date_time: Cow<'a, str>,
    #[serde(borrow)]
    extra: Cow<'a, str>,
}

/// Parses up to `CHUNK_ROWS_MAX` of `lines` at a time into columns; returns the number of rows.
fn parse_with_sonic(text: &[u8]) -> u64 {
    let mut lines = text.split_inclusive(|&byte| byte == b'\n').peekable();
    let mut rows = 0;
    while lines.peek().is_some() {
        let mut numbers: [Int64Builder; 3] = std::array::from_fn(|_| Int64Builder::new());
        let mut texts: [StringBuilder; 4] = std::array::from_fn(|_| StringBuilder::new());
        for line in lines.by_ref().take(CHUNK_ROWS_MAX) {
            let bid: Bid<'_> = sonic_rs::from_slice(line).expect("the rows are good");
            let values = [bid.auction, bid.bidder, bid.price];
            numbers.iter_mut().zip(values).for_each(|(column, value)| column.append_value(value));
            let values = [bid.channel, bid.url, bid.date_time, bid.extra];
            texts.iter_mut().zip(values).for_each(|(column, value)| column.append_value(value));
            rows += 1;
        }
        let numbers = numbers.map(|mut column| Arc::new(column.finish()) as ArrayRef);
        let texts = texts.map(|mut column| Arc::new(column.finish()) as ArrayRef);
        black_box((numbers, texts));
    }
    rows
}

fn read_with_arrow(text: &[u8]) -> u64 {
    let reader = arrow::json::ReaderBuilder::new(schema(Table::Bid))
        .with_batch_size(CHUNK_ROWS_MAX)
        .build(Cursor::new(text))
        .expect("the settings are good");
    reader.map(|batch| black_box(batch.expect("the rows are good")).num_rows() as u64).sum()
}

/// Reads the file as a pipeline does.
fn read_source(folder: &Path, decode_threads: usize) -> u64 {
    let config = SourceConfig::File(file::SourceConfig {
        common: SourceCommon::default(),
        path: "bid/part-0.jsonl".to_owned(),
        format: file::Format::Json,
        csv: file::CsvConfig::default(),
        follow: false,
        replay: None,
        max_row: syncline_change::units::Size(1 << 20),
        journal: file::Journal::Rows,
    });
    let env = SourceEnv {
        base_dir: folder.to_owned(),
        replay: Arc::new(ReplayClock::new()),
        chunk_rows_max: u64::MAX,
        decode_threads,
    };
    let opened = open_source("bid", &config, schema(Table::Bid), None, &env);
    let mut source = opened.expect("the settings are good").source;
    let mut rows = 0;
    while let Some(chunk) = block_on(source.next()).expect("the file can be read") {
        rows += black_box(chunk.rows).num_rows() as u64;
    }
    rows
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let folder = TempDir::new().expect("there is room for a folder");
    write_jsonl(folder.path(), 1, EVENTS, 1, &mut |_| ()).expect("there is room for the files");
    let text = fs::read(folder.path().join("bid/part-0.jsonl")).expect("the file is there");
    let mut group = criterion.benchmark_group("bids");
    group.throughput(Throughput::Elements(BIDS)).sample_size(10);
    group.measurement_time(Duration::from_secs(4)).warm_up_time(Duration::from_secs(1));
    group.bench_function("line_ends", |bench| {
        let count = || memchr::memchr_iter(b'\n', black_box(&text)).fold(0, |n, _| n + 1);
        bench.iter(|| assert_eq!(count(), BIDS));
    });
    group.bench_function("arrow", |bench| {
        bench.iter(|| assert_eq!(read_with_arrow(&text), BIDS));
    });
    group.bench_function("sonic", |bench| {
        bench.iter(|| assert_eq!(parse_with_sonic(&text), BIDS));
    });
    group.bench_function("syncline", |bench| {
        let mut decoder =
            JsonDecoder::new(schema(Table::Bid), &[], 1 << 20).expect("the settings are good");
        bench.iter(|| assert_eq!(super::decode(&mut decoder, &text), BIDS));
    });
    for threads in [1, 2] {
        group.bench_function(format!("syncline_file_{threads}"), |bench| {
            bench.iter(|| assert_eq!(read_source(folder.path(), threads), BIDS));
        });
    }
    group.finish();
}
