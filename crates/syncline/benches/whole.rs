//! How fast the binary is as a whole: start, idling, throughput from file to file, and latency from
//! a post to the live feed. Prints a line a figure, with what was asked for behind it.
//!
//! Every figure is measured in this one run, so ratios hold though machines differ.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool, not a part of the product"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;
use syncline_connect::decode::csv::CsvDecoder;
use syncline_connect::decode::json::JsonDecoder;
use syncline_connect::decode::{CHUNK_BYTES_MAX, CHUNK_ROWS_MAX, Input, RowDecoder};
use syncline_connect::file::CsvConfig;

const BIN: &str = env!("CARGO_BIN_EXE_syncline");
const ROWS: u64 = 3_000_000;

fn main() {
    // `cargo test` runs benches too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("run with `cargo bench`");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    start(&dir.path().join("start"));
    idle_and_latency(&dir.path().join("idle"));
    throughput(&dir.path().join("through"));
}

fn figure(name: &str, value: String, wanted: &str) {
    println!("{name:<58}{value:>16}   {wanted}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// From the start of the process to the first result being durable, which the end of it is a
/// little after.
fn start(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("in.csv"), "id,item,amount\n1,a,2.5\n2,b,3.5\n3,a,1.0\n").unwrap();
    let pipeline = "name: start\nsources:\n  orders: {type: file, path: in.csv, format: csv}\n\
         views:\n  totals: SELECT item, sum(amount) AS amount FROM orders GROUP BY item\n\
         sinks:\n  out: {from: totals, type: file, path: out.json, format: json, mode: changes}\n";
    std::fs::write(dir.join("syncline.yaml"), pipeline).unwrap();
    let millis = (0..30).map(|_| {
        let _ = std::fs::remove_dir_all(dir.join(".syncline"));
        let _ = std::fs::remove_file(dir.join("out.json"));
        let began = Instant::now();
        let mut child = spawn(dir, &["run", "--no-listen"]);
        let first = loop {
            if std::fs::metadata(dir.join(".syncline/sinks/out.json")).is_ok() {
                // Progress is written only when the result is durable.
                break began.elapsed();
            }
            std::thread::sleep(Duration::from_micros(200));
        };
        stop(&mut child);
        first.as_secs_f64() * 1e3
    });
    let millis = median(millis.collect());
    figure("cold start to first durable result, median", format!("{millis:.1} ms"), "< 100 ms");
}

fn spawn(dir: &Path, arguments: &[&str]) -> Child {
    let command = &mut Command::new(BIN);
    command.args(arguments).current_dir(dir).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn stop(child: &mut Child) {
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    child.wait().unwrap();
}

fn idle_and_latency(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let pipeline = "name: idle\nsources:\n  orders: {type: http, columns: {id: BIGINT, item: TEXT, amount: DOUBLE}}\n\
         views:\n  totals: SELECT item, count(*) AS n, sum(amount) AS amount FROM orders GROUP BY item\n";
    std::fs::write(dir.join("syncline.yaml"), pipeline).unwrap();
    let mut child = spawn(dir, &["run", "--listen", "127.0.0.1:0"]);
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = said
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split("http://").nth(1)?.trim_end_matches('/').to_owned()))
        .expect("the address of the page");
    // Nobody else reads what it says.
    std::thread::spawn(move || said.for_each(drop));
    std::thread::sleep(Duration::from_secs(1));
    let (cpu, seconds) = (cpu_seconds(child.id()), 10.0);
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let busy = (cpu_seconds(child.id()) - cpu) / seconds * 100.0;
    figure("idle: share of a core", format!("{busy:.2} %"), "< 1 %");
    let resident = status_kib(child.id(), "VmRSS:") as f64 / 1024.0;
    figure("idle: resident memory", format!("{resident:.0} MiB"), "< 60 MB");
    latency(&address);
    let resident = status_kib(child.id(), "VmRSS:") as f64 / 1024.0;
    figure("after 500 posts: resident memory", format!("{resident:.0} MiB"), "");
    stop(&mut child);
}

/// From sending a row to its change arriving on the event stream of the page.
fn latency(address: &str) {
    let mut events = TcpStream::connect(address).unwrap();
    write!(events, "GET /api/v1/events?views=totals HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut events = BufReader::new(events).lines().map_while(Result::ok);
    events.by_ref().find(|line| line.contains("event: hello")).expect("the stream greets");
    let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
    let url = format!("http://{address}/ingest/orders");
    let millis = (0..500).map(|i| {
        // Not faster than events of a view are sent.
        std::thread::sleep(Duration::from_millis(60));
        let body = format!("{{\"id\":{i},\"item\":\"row{i}\",\"amount\":1.5}}");
        let (agent, url) = (agent.clone(), url.clone());
        let began = Instant::now();
        let post = std::thread::spawn(move || agent.post(&url).send(body).map(|_| ()));
        let wanted = format!("row{i}\"");
        events.by_ref().find(|line| line.contains(&wanted)).expect("the row arrives");
        let seen = began.elapsed();
        post.join().unwrap().unwrap();
        seen.as_secs_f64() * 1e3
    });
    let mut millis: Vec<f64> = millis.collect();
    millis.sort_by(f64::total_cmp);
    let at = |share: f64| millis[((millis.len() - 1) as f64 * share) as usize];
    figure("post to live feed, fsync included, median", format!("{:.2} ms", at(0.5)), "< 10 ms");
    figure("post to live feed, 99 %", format!("{:.2} ms", at(0.99)), "");
}

fn throughput(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let (csv, json) = texts();
    std::fs::write(dir.join("in.csv"), &csv).unwrap();
    std::fs::write(dir.join("in.jsonl"), &json).unwrap();
    let mut csv_decoder = CsvDecoder::new(schema(), &[], &CsvConfig::default(), 1 << 20).unwrap();
    let mut json_decoder = JsonDecoder::new(schema(), &[], 1 << 20).unwrap();
    for (format, file, text) in [("csv", "in.csv", &csv), ("json", "in.jsonl", &json)] {
        let pipeline = format!(
            "name: through\nsources:\n  bids: {{type: file, path: {file}, format: {format}, \
             columns: {{id: BIGINT, item: TEXT, price: BIGINT, amount: DOUBLE, note: TEXT}}}}\n\
             views:\n  dear: SELECT id, item, price, amount FROM bids WHERE price > 5000\n\
             sinks:\n  out: {{from: dear, type: file, path: out.json, format: json, mode: changes}}\n"
        );
        std::fs::write(dir.join("syncline.yaml"), pipeline).unwrap();
        let decoder: &mut dyn RowDecoder =
            if format == "csv" { &mut csv_decoder } else { &mut json_decoder };
        let (mut bare, mut whole) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let began = Instant::now();
            assert_eq!(decode(decoder, text.as_bytes()), ROWS);
            bare.push(began.elapsed().as_secs_f64());
            let _ = std::fs::remove_dir_all(dir.join(".syncline"));
            let _ = std::fs::remove_file(dir.join("out.json"));
            let began = Instant::now();
            assert!(spawn(dir, &["run", "--once"]).wait().unwrap().success());
            whole.push(began.elapsed().as_secs_f64());
        }
        let written = std::fs::metadata(dir.join("out.json")).unwrap().len();
        let (bare, whole) = (median(bare), median(whole));
        let mib = text.len() as f64 / f64::from(1 << 20);
        figure(&format!("{format}: bare parse, one core"), format!("{:.0} MiB/s", mib / bare), "");
        figure(
            &format!("{format}: to filter to changes sink"),
            format!("{:.0} MiB/s", mib / whole),
            "",
        );
        figure(
            &format!("{format}: rows a second, {} MiB written", written >> 20),
            format!("{:.2} M/s", ROWS as f64 / whole / 1e6),
            "",
        );
        figure(
            &format!("{format}: share of the bare parse"),
            format!("{:.2}", bare / whole),
            ">= 0.5",
        );
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("item", DataType::Utf8, true),
        Field::new("price", DataType::Int64, true),
        Field::new("amount", DataType::Float64, true),
        Field::new("note", DataType::Utf8, true),
    ]))
}

/// The same rows as CSV and as lines of JSON. Half of them pass the filter.
fn texts() -> (String, String) {
    let (mut csv, mut json) = ("id,item,price,amount,note\n".to_owned(), String::new());
    for i in 0..ROWS {
        // A fixed scramble of the row number, so that values vary and runs do not.
        let x = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let (item, price, amount) = (x % 1_000, x % 10_000, (x % 40_000) as f64 / 100.0);
        let note = "left at the door of a neighbour"[..(x % 31) as usize].trim();
        writeln!(csv, "{i},item{item},{price},{amount},{note}").unwrap();
        writeln!(
            json,
            "{{\"id\":{i},\"item\":\"item{item}\",\"price\":{price},\"amount\":{amount},\"note\":\"{note}\"}}"
        )
        .unwrap();
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
    start += decoder.begin_file(&input(0, 1)).unwrap().unwrap_or(0);
    while start < text.len() {
        let decoded = decoder.decode_front(&input(start, line)).unwrap();
        start += decoded.bytes;
        line += decoded.lines;
        rows += black_box(decoded.rows).num_rows() as u64;
    }
    rows
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn status_kib(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}
