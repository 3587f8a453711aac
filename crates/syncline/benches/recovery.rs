//! How long a start takes after `kill -9` when there is much state, and for how long epochs wait for
//! checkpoints while it comes to be. `SYNCLINE_STATE_MIB` says how much state.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool, not a part of the product"
)]

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BIN: &str = env!("CARGO_BIN_EXE_syncline");
const STATE_MIB: u64 = 2_048;
/// Bytes of text in each row that is kept by key.
const PAD: usize = 1_000;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(240);
/// What a group takes, roughly, in the test of groups.
const GROUP_BYTES: u64 = 120;

struct Case {
    name: &'static str,
    rows: u64,
    /// The columns of `orders`, and of a row by its number.
    columns: &'static str,
    row: fn(u64) -> String,
    views: &'static str,
}

fn main() {
    // `cargo test` runs benches too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("run with `cargo bench`");
        return;
    }
    let mib = std::env::var("SYNCLINE_STATE_MIB").ok().and_then(|mib| mib.parse().ok());
    let bytes = mib.unwrap_or(STATE_MIB) << 20;
    let cases = [
        Case {
            name: "rows by key (join)",
            rows: bytes / PAD as u64,
            columns: "id: BIGINT, item: BIGINT, pad: TEXT",
            row: |i| format!("{{\"id\":{i},\"item\":{},\"pad\":\"{i:0>PAD$}\"}}", i % 100_003),
            views: "views:\n  priced: SELECT o.id, o.pad, m.item FROM orders o JOIN more m ON o.item = m.item\n",
        },
        Case {
            name: "groups (aggregate)",
            rows: bytes / GROUP_BYTES,
            columns: "id: BIGINT, item: BIGINT",
            row: |i| format!("{{\"id\":{i},\"item\":{}}}", i % 7),
            views: "views:\n  totals: SELECT id, count(*) AS n, sum(item) AS items, max(item) AS most FROM orders GROUP BY id\n  all_of_more: SELECT count(*) AS n FROM more\n",
        },
    ];
    for case in cases {
        recovery(&case);
    }
}

fn recovery(case: &Case) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut file = BufWriter::new(std::fs::File::create(dir.join("in.jsonl")).unwrap());
    for i in 0..case.rows {
        writeln!(file, "{}", (case.row)(i)).unwrap();
    }
    file.flush().unwrap();
    let pipeline = format!(
        "name: recovery\nsources:\n  orders: {{type: file, path: in.jsonl, format: json, \
         journal: reference, columns: {{{}}}}}\n  more: {{type: http, columns: {{item: BIGINT}}}}\n{}",
        case.columns, case.views
    );
    std::fs::write(dir.join("syncline.yaml"), pipeline).unwrap();

    let began = Instant::now();
    let (mut child, address) = start(dir);
    let taken_in = || metric(&address, "syncline_source_records_total{");
    wait(100, || taken_in() >= case.rows as f64);
    let last = post(&address, 1);
    wait(20, || committed(&address) >= last);
    let loaded = began.elapsed().as_secs_f64();
    // A checkpoint of all of it.
    wait(100, || newest_checkpoint(dir) >= last);
    let pauses = longest(&address, "syncline_checkpoint_pause_seconds_bucket");
    let all = metric(&address, "syncline_checkpoint_pause_seconds_count{");
    let short = metrics(&address).into_iter().find(|line| {
        line.starts_with("syncline_checkpoint_pause_seconds_bucket") && line.contains("le=\"0.05\"")
    });
    let short = short.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0);
    let writing = longest(&address, "syncline_checkpoint_duration_seconds_bucket");
    let state = folder_bytes(&dir.join(".syncline/state"));
    let resident = status_kib(child.id(), "VmRSS:") / 1024;
    child.kill().unwrap();
    child.wait().unwrap();

    let mut seconds = Vec::new();
    for turn in 0..3 {
        let began = Instant::now();
        let (mut child, address) = start(dir);
        wait(2, || is_ready(&address));
        let epoch = post(&address, turn + 2);
        wait(2, || committed(&address) >= epoch);
        seconds.push(began.elapsed().as_secs_f64());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    seconds.sort_by(f64::total_cmp);
    println!("{}: {} rows", case.name, case.rows);
    println!("  taken in, in {loaded:.1} s; {resident} MiB resident; {} MiB on disk", state >> 20);
    println!(
        "  longest pause of epochs for a checkpoint: <= {pauses} ({} of {all} above 0.05 s); longest writing: <= {writing}",
        all - short
    );
    println!("  from kill -9 to processing again: {seconds:.2?} s (wanted: < 1)");
}

fn start(dir: &Path) -> (Child, String) {
    let command = &mut Command::new(BIN);
    command.args(["run", "--listen", "127.0.0.1:0"]).current_dir(dir);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = said
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split("http://").nth(1)?.trim_end_matches('/').to_owned()))
        .expect("the address of the page");
    // Nobody else reads what it says.
    std::thread::spawn(move || said.for_each(drop));
    (child, address)
}

fn is_ready(address: &str) -> bool {
    ureq::get(format!("http://{address}/readyz")).call().is_ok()
}

/// Posts a row, and returns the epoch that it is in.
fn post(address: &str, item: u64) -> u64 {
    let url = format!("http://{address}/ingest/more");
    let mut answer = ureq::post(&url).send(format!("{{\"item\":{item}}}")).unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    let epoch = text.split("\"epoch\":").nth(1).and_then(|rest| rest.split(',').next());
    epoch.and_then(|epoch| epoch.parse().ok()).expect("the answer names the epoch")
}

/// The last epoch that was computed.
fn committed(address: &str) -> u64 {
    metric(address, "syncline_last_committed_epoch{") as u64
}

/// Looks every so many milliseconds until it is so.
fn wait(millis: u64, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it takes too long");
        std::thread::sleep(Duration::from_millis(millis));
    }
}

/// The lines of the metrics.
fn metrics(address: &str) -> Vec<String> {
    let text = ureq::get(format!("http://{address}/metrics")).call();
    let text = text.and_then(|mut answer| answer.body_mut().read_to_string()).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The sum of a metric whose lines begin with `name`.
fn metric(address: &str, name: &str) -> f64 {
    let lines = metrics(address);
    let values = lines.iter().filter(|line| line.starts_with(name));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// The upper end of the highest bucket of a histogram that anything is in.
fn longest(address: &str, name: &str) -> String {
    let lines = metrics(address);
    let buckets = lines.iter().filter(|line| line.starts_with(name));
    let buckets: Vec<(&str, f64)> = buckets
        .filter_map(|line| {
            let end = line.split("le=\"").nth(1)?.split('"').next()?;
            Some((end, line.rsplit(' ').next()?.parse().ok()?))
        })
        .collect();
    let all = buckets.last().map_or(0.0, |(_, count)| *count);
    let found = buckets.iter().find(|(_, count)| *count >= all);
    found.map_or_else(|| "?".to_owned(), |(end, _)| format!("{end} s"))
}

fn newest_checkpoint(dir: &Path) -> u64 {
    let files =
        std::fs::read_dir(dir.join(".syncline/checkpoints")).into_iter().flatten().flatten();
    let epochs = files
        .filter_map(|file| file.file_name().to_str()?.strip_suffix(".json")?.parse::<u64>().ok());
    epochs.max().unwrap_or(0)
}

fn folder_bytes(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum()
}

fn status_kib(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}
