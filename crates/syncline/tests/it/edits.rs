//! Views that are edited between two runs, and what their changelogs then hold.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::folder::Folder;

const PIPELINE: &str = "
name: shelf
sources:
  stock:
    type: file
    path: stock*.json
    format: json
    columns: {item: TEXT, shelf: TEXT, n: BIGINT}
    primary_key: [item]
  prices: {type: file, path: prices.json, format: json, columns: {item: TEXT, price: BIGINT}}
run: {epoch: {max_rows: 2}}
views:
  shelves: SELECT shelf, sum(n) AS n FROM stock GROUP BY shelf
  full: SELECT shelf, n FROM shelves WHERE n > 4
  worth: SELECT s.shelf, s.n * p.price AS n FROM stock s JOIN prices p ON s.item = p.item
sinks:
  now: {from: shelves, type: file, path: out/now.json, format: json, mode: snapshot}
  history: {from: shelves, type: file, path: out/history.json, format: json, mode: changes}
  filled: {from: full, type: file, path: out/full.csv, format: csv, mode: changes}
  values: {from: worth, type: file, path: out/worth, format: parquet, mode: changes}
  raw: {from: prices, type: file, path: out/raw.json, format: json, mode: changes}
";

fn shelf() -> Folder {
    let folder = Folder::with_pipeline(PIPELINE);
    let stock =
        [("nut", "A", 5), ("bolt", "A", 2), ("nut", "B", 5), ("screw", "C", 1), ("nail", "B", 2)];
    let lines = stock.map(|(item, shelf, n)| json!({"item": item, "shelf": shelf, "n": n}));
    folder.write("stock.json", &lines.map(|line| line.to_string() + "\n").concat());
    folder
        .write("prices.json", "{\"item\":\"nut\",\"price\":3}\n{\"item\":\"nail\",\"price\":1}\n");
    folder
}

fn edit(folder: &Folder, from: &str, to: &str) {
    let text = folder.read("syncline.yaml");
    assert!(text.contains(from), "{from}");
    folder.write("syncline.yaml", &text.replace(from, to));
}

fn run(folder: &Folder) {
    folder.run(&["run", "--once"]).ok();
}

/// What the envelopes of a changelog add up to: rows with how often they are there.
fn folded(folder: &Folder, path: &str) -> BTreeMap<String, i64> {
    let mut content: BTreeMap<String, i64> = BTreeMap::new();
    for line in folder.read(path).lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        for (part, weight) in [("before", -1), ("after", 1)] {
            if !line[part].is_null() {
                let count = content.entry(line[part].to_string()).or_default();
                *count += weight;
                assert!(*count >= 0, "{line} takes away what is not there");
            }
        }
    }
    content.retain(|_, count| *count != 0);
    content
}

/// The lines of a snapshot, as [`folded`] has them.
fn rows(folder: &Folder, path: &str) -> BTreeMap<String, i64> {
    let mut content = BTreeMap::new();
    for line in folder.read(path).lines() {
        *content.entry(line.to_owned()).or_default() += 1;
    }
    content
}

fn files(folder: &Folder, path: &str) -> usize {
    std::fs::read_dir(folder.path(path)).unwrap().count()
}

#[test]
fn a_changelog_follows_an_edited_view() {
    let folder = shelf();
    run(&folder);
    assert_eq!(folded(&folder, "out/history.json"), rows(&folder, "out/now.json"));
    let before = folder.read("out/history.json");
    let raw = folder.read("out/raw.json");
    edit(&folder, "sum(n) AS n FROM stock", "count(*) AS n FROM stock");
    run(&folder);
    let after = folder.read("out/history.json");
    let added = after.strip_prefix(&before).expect("what was written stays as it was");
    // `C` has one row of one piece, so nothing of it changes.
    let lines: Vec<Value> = added.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let epoch = lines[0]["epoch"].clone();
    let update = |shelf: &str, before: i64, after: i64| {
        json!({
            "op": "u",
            "before": {"shelf": shelf, "n": before},
            "after": {"shelf": shelf, "n": after},
            "epoch": epoch,
        })
    };
    assert_eq!(lines, [update("A", 2, 1), update("B", 7, 2)]);
    assert_eq!(folded(&folder, "out/history.json"), rows(&folder, "out/now.json"));
    // A view that reads the edited one has changed with it, and its own text has not.
    let full = folder.read("out/full.csv");
    assert!(full.ends_with(&format!("d,{epoch},B,7\n")), "{full}");
    assert_eq!(folder.read("out/raw.json"), raw, "a source that is as it was");

    // Without an edit nothing is written, and a new row goes on from there.
    run(&folder);
    assert_eq!(folder.read("out/history.json"), after);
    folder.write("stock2.json", "{\"item\":\"washer\",\"shelf\":\"D\",\"n\":9}\n");
    run(&folder);
    let last = folder.read("out/history.json");
    let last: Vec<&str> = last.strip_prefix(&after).unwrap().lines().collect();
    assert_eq!(last.len(), 1, "{last:?}");
    assert!(last[0].contains(r#""after":{"shelf":"D","n":1}"#), "{last:?}");
    // And back.
    edit(&folder, "count(*) AS n FROM stock", "sum(n) AS n FROM stock");
    run(&folder);
    assert_eq!(folded(&folder, "out/history.json"), rows(&folder, "out/now.json"));
    let verified = folder.run(&["verify", "--sinks"]);
    assert_eq!(verified.code, 3, "{verified:?}");
    assert!(verified.out.contains("`shelves` was edited in epoch"), "{verified:?}");
}

#[test]
fn a_changelog_follows_a_sink_that_reads_another_view() {
    let folder = shelf();
    run(&folder);
    let before = files(&folder, "out/worth");
    edit(&folder, "history: {from: shelves", "history: {from: full");
    edit(&folder, "values: {from: worth", "values: {from: shelves");
    edit(&folder, "now: {from: shelves", "now: {from: full");
    run(&folder);
    assert_eq!(folded(&folder, "out/history.json"), rows(&folder, "out/now.json"));
    assert_eq!(rows(&folder, "out/now.json").len(), 1);
    assert_eq!(files(&folder, "out/worth"), before + 1, "the difference is a file of its own");
}

/// The source that the old view needs is no longer in the file, and its rows are in the journal.
#[test]
fn a_changelog_follows_when_a_source_is_gone() {
    let folder = shelf();
    run(&folder);
    let text = folder.read("syncline.yaml");
    let lines =
        text.lines().filter(|line| !line.starts_with("  prices:") && !line.contains("raw:"));
    folder.write("syncline.yaml", &lines.map(|line| format!("{line}\n")).collect::<String>());
    edit(
        &folder,
        "SELECT s.shelf, s.n * p.price AS n FROM stock s JOIN prices p ON s.item = p.item",
        "SELECT shelf, n FROM stock",
    );
    let before = files(&folder, "out/worth");
    run(&folder);
    assert_eq!(files(&folder, "out/worth"), before + 1);
}

#[test]
fn what_a_changelog_cannot_follow_is_refused_and_said_by_plan() {
    let folder = shelf();
    run(&folder);
    let before = folder.read("out/history.json");
    edit(&folder, "sum(n) AS n FROM stock", "sum(n) AS pieces FROM stock");
    edit(
        &folder,
        "SELECT shelf, n FROM shelves WHERE n > 4",
        "SELECT shelf, pieces AS n FROM shelves",
    );
    let plan = folder.run(&["plan"]).ok();
    let why = "it had the columns shelf TEXT, n BIGINT and has shelf TEXT, pieces BIGINT";
    assert!(plan.contains(&format!("sink `history`: cannot: {why}\n")), "{plan}");
    let error = folder.run(&["run", "--once"]).fails(1);
    assert!(error.contains("sink `history` holds changes of another `shelves`"), "{error}");
    assert!(error.contains(why), "{error}");
    assert_eq!(folder.read("out/history.json"), before);
}

/// What `plan` says below the circuit, with `N` for how many epochs there are, which may vary.
fn next_run(folder: &Folder) -> String {
    let plan = folder.run(&["plan"]).ok();
    let Some((_, says)) = plan.split_once("the next run:\n") else { return String::new() };
    let epochs = next_run_json(folder)["epochs"].as_u64().unwrap();
    let of = says.replace(&format!("{epochs} epochs of"), "N epochs of");
    of.replace(&format!("epoch {epochs} "), "epoch N ")
}

fn next_run_json(folder: &Folder) -> Value {
    let plan = folder.run(&["plan", "--format", "json"]).ok();
    serde_json::from_str::<Value>(&plan).unwrap()["next_run"].clone()
}

#[test]
fn plan_says_what_the_next_run_does() {
    let folder = shelf();
    assert_eq!(next_run(&folder), "");
    run(&folder);
    insta::assert_snapshot!("plan_before", next_run(&folder));
    edit(&folder, "sum(n) AS n FROM stock", "count(*) AS n FROM stock");
    edit(&folder, "  worth:", "  items: SELECT item FROM stock\n  worth:");
    edit(
        &folder,
        "raw: {from: prices",
        "added: {from: items, type: console}\n  raw: {from: prices",
    );
    edit(&folder, "  full: SELECT shelf, n FROM shelves WHERE n > 4\n", "");
    edit(&folder, "filled: {from: full", "filled: {from: shelves");
    insta::assert_snapshot!("plan_after", next_run(&folder));
    let next = next_run_json(&folder);
    let mut sinks = next["sinks"].as_array().unwrap().iter();
    let history = sinks.find(|sink| sink["name"] == "history").unwrap();
    assert_eq!(history["change"], "difference");
    run(&folder);
    assert!(!next_run(&folder).contains("difference"), "{}", next_run(&folder));
}
