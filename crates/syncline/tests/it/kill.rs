//! Kills a running pipeline again and again, wherever it happens to be, and holds what its sinks
//! then have against a run that nobody disturbed.

#![allow(clippy::disallowed_methods, reason = "tests measure how long things take")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

const BIN: &str = env!("CARGO_BIN_EXE_syncline");
const ROWS: u32 = 30_000;
/// Kills in `make test`; `SYNCLINE_KILLS` says otherwise.
const KILLS: u32 = 55;

const PIPELINE: &str = r#"
name: kill
sources:
  orders: {type: file, path: "orders-*.csv", format: csv, columns: {id: BIGINT, amount: DOUBLE}}
  stock: {type: file, path: stock.json, format: debezium-json, columns: {id: BIGINT, n: BIGINT}}
views:
  large: SELECT id, item, amount FROM orders WHERE amount > 20
  totals: SELECT item, count(*) AS orders, sum(amount) AS amount FROM orders GROUP BY item
  joined:
    sql: SELECT o.id, s.n FROM orders o JOIN stock s ON o.id = s.id
    keep: true
sinks:
  large_out: {from: large, type: file, path: out/large.json, format: json, mode: changes}
  totals_out: {from: totals, type: file, path: out/totals.csv, format: csv, mode: snapshot}
  totals_log: {from: totals, type: file, path: out/totals.json, format: json, mode: changes}
  joined_log: {from: joined, type: file, path: out/joined.json, format: json, mode: changes}
run: {epoch: {max_rows: 200}, checkpoint_interval: 20ms}
"#;

/// A small generator, so that the test needs no crate for it and repeats by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn write_input(dir: &Path) {
    let mut random = Random(7);
    for part in 0..3 {
        let mut text = String::from("id,item,amount\n");
        for i in 0..ROWS / 3 {
            let id = part * (ROWS / 3) + i;
            let (item, amount) = (random.below(40), random.below(10_000) as f64 / 100.0);
            match random.below(500) {
                0 => writeln!(text, "{id},item{item},broken").unwrap(),
                _ => writeln!(text, "{id},item{item},{amount}").unwrap(),
            }
        }
        std::fs::write(dir.join(format!("orders-{part}.csv")), text).unwrap();
    }
    let mut text = String::new();
    for id in 0..4_000 {
        writeln!(text, r#"{{"op":"c","after":{{"id":{id},"n":1}}}}"#).unwrap();
        if id % 3 == 0 {
            let (before, after) =
                (format!(r#"{{"id":{id},"n":1}}"#), format!(r#"{{"id":{id},"n":2}}"#));
            writeln!(text, r#"{{"op":"u","before":{before},"after":{after}}}"#).unwrap();
        }
        if id % 5 == 0 {
            let n = if id % 3 == 0 { 2 } else { 1 };
            writeln!(text, r#"{{"op":"d","before":{{"id":{id},"n":{n}}}}}"#).unwrap();
        }
    }
    std::fs::write(dir.join("stock.json"), text).unwrap();
    std::fs::write(dir.join("syncline.yaml"), PIPELINE).unwrap();
}

fn start(dir: &Path) -> Child {
    Command::new(BIN)
        .args(["run", "--once", "syncline.yaml"])
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn finish(dir: &Path) {
    let output = start(dir).wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'), "{} ends in the middle of a line", path.display());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What envelopes add up to, and that none takes away what is not there.
fn folded(path: &Path) -> BTreeMap<String, i64> {
    let mut content: BTreeMap<String, i64> = BTreeMap::new();
    for line in lines(path) {
        for (part, weight) in [("before", -1), ("after", 1)] {
            if !line[part].is_null() {
                *content.entry(line[part].to_string()).or_default() += weight;
            }
        }
    }
    content.retain(|_, count| *count != 0);
    assert!(content.values().all(|&count| count == 1), "a row is there twice, or was never there");
    content
}

/// The rows of an append-only log in order, each with its epoch checked to go up only.
fn appended(path: &Path) -> Vec<String> {
    let mut last = 0;
    let rows = lines(path).into_iter().map(|line| {
        assert_eq!(line["op"], "c");
        let epoch = line["epoch"].as_u64().unwrap();
        assert!(epoch >= last, "epoch {epoch} after {last}");
        last = epoch;
        line["after"].to_string()
    });
    rows.collect()
}

fn dead_letters(dir: &Path) -> usize {
    let output = Command::new(BIN)
        .args(["dlq", "ls", "--format", "json", "--limit", "100000"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().count()
}

/// What a view that is kept holds.
fn view(dir: &Path) -> String {
    let query = "SELECT * FROM joined ORDER BY id";
    let output = Command::new(BIN)
        .args(["query", query, "--format", "csv"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn nothing_is_lost_and_nothing_comes_twice() {
    let (calm, wild) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (calm, wild) = (calm.path(), wild.path());
    write_input(calm);
    write_input(wild);
    let began = std::time::Instant::now();
    finish(calm);
    let calm_run = began.elapsed();

    let kills = std::env::var("SYNCLINE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let seed = u64::from(std::process::id()) << 20 | 1;
    eprintln!("{kills} kills, seed {seed}");
    let mut random = Random(seed);
    let mut killed = 0;
    while killed < kills {
        // From before the data directory is open to after everything is done.
        let longest = calm_run.as_micros() as u64 * 12 / 10;
        let mut child = start(wild);
        std::thread::sleep(Duration::from_micros(random.below(longest)));
        if child.try_wait().unwrap().is_some_and(|status| status.success()) {
            // Everything is done: there is nothing left to disturb, so begin anew.
            compare(calm, wild);
            for name in ["out", ".syncline"] {
                std::fs::remove_dir_all(wild.join(name)).unwrap();
            }
            continue;
        }
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("error:"), "after {killed} kills: {said}");
        killed += 1;
    }
    finish(wild);
    compare(calm, wild);
}

fn compare(calm: &Path, wild: &Path) {
    let read =
        |dir: &Path, name: &str| std::fs::read_to_string(dir.join("out").join(name)).unwrap();
    assert_eq!(read(calm, "totals.csv"), read(wild, "totals.csv"));
    let path = |dir: &Path, name: &str| dir.join("out").join(name);
    assert_eq!(appended(&path(calm, "large.json")), appended(&path(wild, "large.json")));
    for name in ["totals.json", "joined.json"] {
        assert_eq!(folded(&path(calm, name)), folded(&path(wild, name)), "{name}");
    }
    assert_eq!(view(calm), view(wild));
    assert!(view(calm).lines().count() > 1_000);
    assert_eq!(dead_letters(calm), dead_letters(wild));
    assert!(dead_letters(calm) > 20);
}
