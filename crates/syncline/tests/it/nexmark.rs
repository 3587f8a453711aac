//! The Nexmark queries: what they answer, against the batch engine, against DuckDB, and against
//! what they answered when they were last looked at.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use syncline_change::Batch;
use syncline_connect::nexmark::{Table, generate, schema};
use syncline_engine::{
    BatchEngine, Circuit, Content, Emit, Options, TableDef, TableInput, ViewDef,
};

use crate::folder::Folder;

#[path = "../../src/commands/bench/queries.rs"]
mod queries;

const EVENTS: u64 = 20_000;
const SEED: u64 = 1;
const TABLES: [(&str, Table); 3] =
    [("person", Table::Person), ("auction", Table::Auction), ("bid", Table::Bid)];
/// Results of at most this many rows are shown whole.
const ROWS_SHOWN_MAX: usize = 10;
const DUCKDB: &str = include_str!("nexmark/duckdb.sql");

/// Rows as JSON, sorted, by the name of the query.
type Results = BTreeMap<String, Vec<String>>;

/// The queries, and those with windows once more with windows a hundredth as long: the events are
/// of two seconds.
fn all() -> Vec<(String, String)> {
    let queries =
        queries::NEXMARK.iter().map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned()));
    with_short_windows(queries.collect())
}

fn with_short_windows(mut queries: Vec<(String, String)>) -> Vec<(String, String)> {
    let short: Vec<(String, String)> = queries
        .iter()
        .filter(|(_, sql)| sql.contains(" seconds'"))
        .map(|(name, sql)| {
            let sql = sql.replace("'10 seconds'", "'100 milliseconds'");
            (format!("{name}_short"), sql.replace("'2 seconds'", "'20 milliseconds'"))
        })
        .collect();
    assert_eq!(short.len(), 5);
    queries.extend(short);
    queries
}

/// What DuckDB is asked, by the name of the query.
fn asked_of_duckdb() -> Vec<(String, String)> {
    let parts = DUCKDB.split("\n-- q").skip(1).map(|part| {
        let (number, sql) = part.split_once('\n').unwrap();
        (format!("q{number}"), sql.to_owned())
    });
    with_short_windows(parts.collect())
}

fn pipeline() -> String {
    let mut text = "name: nexmark\nsources:\n".to_owned();
    for (name, table) in TABLES {
        writeln!(text, "  {name}:\n    type: file\n    path: events/{name}/part-*.jsonl").unwrap();
        writeln!(text, "    format: json\n    columns:").unwrap();
        for field in schema(table).fields() {
            let column = match field.data_type() {
                arrow::datatypes::DataType::Int64 => "BIGINT",
                arrow::datatypes::DataType::Utf8 => "TEXT",
                _ => "TIMESTAMP",
            };
            writeln!(text, "      {}: {column}", field.name()).unwrap();
        }
    }
    text.push_str("views:\n");
    for (name, sql) in all() {
        let sql = sql.replace('\n', "\n      ");
        writeln!(text, "  {name}:\n    sql: |\n      {sql}\n").unwrap();
    }
    text.push_str("sinks:\n");
    for (name, _) in all() {
        let to = format!("type: file, path: {name}.jsonl, format: json, mode: snapshot");
        writeln!(text, "  {name}_out: {{from: {name}, {to}}}").unwrap();
    }
    text
}

/// Rows that mean the same are the same text: columns in the order of their names.
fn normal(row: &Value) -> String {
    let columns: BTreeMap<_, _> = row.as_object().unwrap().iter().collect();
    serde_json::to_string(&columns).unwrap()
}

/// A folder with events in it, and what the pipeline makes of them.
fn run() -> (Folder, Results) {
    let folder = Folder::with_pipeline(&pipeline());
    let (events, seed) = (EVENTS.to_string(), SEED.to_string());
    let write = ["bench", "nexmark", "--write", "events", "--events", &events, "--seed", &seed];
    folder.run(&write).ok();
    folder.run(&["run", "--once"]).ok();
    let results = all().into_iter().map(|(name, _)| {
        let text = folder.read(&format!("{name}.jsonl"));
        let rows = text.lines().map(|line| normal(&serde_json::from_str(line).unwrap()));
        let mut rows: Vec<String> = rows.collect();
        rows.sort_unstable();
        (name, rows)
    });
    let results = results.collect();
    (folder, results)
}

/// A Python with DuckDB, as `scripts/setup.sh test` installs it.
fn python() -> Option<PathBuf> {
    let home = std::env::var_os("HOME")?;
    let python = PathBuf::from(home).join(".cache/syncline/duckdb/bin/python");
    let imports = Command::new(&python).args(["-c", "import duckdb"]).output().ok()?;
    imports.status.success().then_some(python)
}

#[test]
fn duckdb_gives_the_same_answers() {
    let Some(python) = python() else {
        // Past the test harness, which shows nothing of tests that pass.
        let said = "\nSKIPPED: the Nexmark answers are not compared with DuckDB, which is not \
                    installed; `scripts/setup.sh test` installs it\n\n";
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        return;
    };
    let (folder, results) = run();
    let mut sql = String::new();
    for (name, query) in asked_of_duckdb() {
        writeln!(sql, "-- {name}\n{query}").unwrap();
    }
    folder.write("queries.sql", &sql);
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/nexmark/answers.py");
    let done = Command::new(python)
        .arg(script)
        .args([folder.path("events"), folder.path("queries.sql")])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut compared = 0;
    for line in String::from_utf8(done.stdout).unwrap().lines() {
        let answer: Value = serde_json::from_str(line).unwrap();
        let name = answer["query"].as_str().unwrap();
        let rows = answer["rows"].as_array().unwrap().iter().map(normal);
        let mut expect: Vec<String> = rows.collect();
        expect.sort_unstable();
        assert_same(name, &results[name], &expect);
        compared += 1;
    }
    assert_eq!(compared, results.len());
}

fn assert_same(name: &str, got: &[String], expect: &[String]) {
    let only = |rows: &[String], others: &[String]| -> Vec<String> {
        let others = others.iter().collect::<std::collections::BTreeSet<_>>();
        rows.iter().filter(|row| !others.contains(row)).take(5).cloned().collect()
    };
    assert!(
        got == expect,
        "{name}: {} rows, DuckDB has {}\nonly here {:#?}\nonly there {:#?}",
        got.len(),
        expect.len(),
        only(got, expect),
        only(expect, got)
    );
}

#[test]
fn answers_are_those_of_last_time() {
    let (_, results) = run();
    let mut text = String::new();
    for (name, _) in all() {
        let rows = &results[&name];
        let digest = blake3::hash(rows.join("\n").as_bytes()).to_hex();
        writeln!(text, "{name}: {} rows, {digest}", rows.len()).unwrap();
        if rows.len() <= ROWS_SHOWN_MAX {
            rows.iter().for_each(|row| writeln!(text, "  {row}").unwrap());
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_batch_engine_gives_the_same_answers() {
    let tables: Vec<TableDef> = TABLES
        .map(|(name, table)| TableDef {
            name: name.to_owned(),
            schema: schema(table),
            primary_key: None,
            event_time: None,
            deletes: false,
        })
        .to_vec();
    let views: Vec<ViewDef> =
        all().into_iter().map(|(name, sql)| ViewDef { name, sql, emit: Emit::Changes }).collect();
    let options = Options { pool: None, stopwatch: || 0, seed: 0 };
    let mut circuit = Circuit::new(tables.clone(), &views, options).unwrap();
    let infos = circuit.views().to_vec();
    let content = |info: &syncline_engine::ViewInfo| {
        Content::new(info.schema.clone(), info.order.clone()).unwrap()
    };
    let mut kept: Vec<Content> = infos.iter().map(content).collect();
    // Epochs of different lengths, a very short one among them.
    let cuts = [0, 1_000, 1_050, 9_000, EVENTS];
    for (number, cut) in cuts.windows(2).enumerate() {
        let inputs = TABLES.iter().enumerate().map(|(table, (_, of))| TableInput {
            table,
            rows: vec![Batch::inserts(generate(*of, SEED, cut[0]..cut[1]).unwrap())],
            finished: cut[1] == EVENTS,
        });
        let output = circuit.step(number as u64 + 1, 0, inputs.collect()).unwrap();
        assert_eq!(output.rejected.len(), 0);
        for (content, changes) in kept.iter_mut().zip(&output.views) {
            changes.iter().for_each(|change| content.apply(change).unwrap());
        }
    }
    let contents: Vec<_> = TABLES
        .iter()
        .map(|(name, of)| ((*name).to_owned(), vec![generate(*of, SEED, 0..EVENTS).unwrap()]))
        .collect();
    let batch = BatchEngine::new(&tables, &views, 0).unwrap();
    let computed: BTreeMap<_, _> =
        batch.compute(&contents, 0, |_| i64::MAX).unwrap().into_iter().collect();
    for (info, kept) in infos.iter().zip(&kept) {
        let (got, expect) = (kept.all().unwrap(), computed[&info.name].all().unwrap());
        assert!(expect.num_rows() > 0, "{} is empty", info.name);
        assert!(got == expect, "{}: {} rows, {}", info.name, got.num_rows(), expect.num_rows());
    }
}
