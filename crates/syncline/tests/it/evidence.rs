//! `verify`, `replay`, `diff` and `bundle` from outside; and that the demo's digests are the same
//! however it runs.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::folder::{Done, Folder};

/// A pipeline of `init` that has run.
fn shop() -> Folder {
    let folder = Folder::with_init();
    folder.run(&["run", "--once"]).ok();
    folder
}

fn json(done: &Done) -> Value {
    serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {done:?}"))
}

#[test]
fn a_run_is_verified() {
    let folder = shop();
    let done = folder.run(&["verify"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.out.contains("equal by the batch engine"), "{}", done.out);
    let last = done.out.lines().last().unwrap();
    assert!(last.starts_with("verified: the journal, the epoch log, "), "{last}");
    assert!(done.out.contains("not asked for: what is in the targets of sinks"), "{}", done.out);

    let report = json(&folder.run(&["verify", "--replay", "--sinks", "--format", "json"]));
    assert_eq!(report["verdict"], "verified", "{report:#}");
    assert_eq!(report["mismatches"], Value::Array(vec![]));
    assert!(report["views"].as_array().unwrap().iter().all(|view| view["by_replay"] == true));
    assert_eq!(report["sinks"].as_array().unwrap().len(), 1, "{report:#}");

    let done = folder.run(&["verify", "--at", "1"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.out.contains("not asked for: the views of epochs 2 to"), "{}", done.out);

    // What cannot be looked at is said, and is another exit code.
    std::fs::remove_file(folder.path(".syncline/sinks/cities_file.json")).unwrap();
    let done = folder.run(&["verify", "--sinks"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.out.contains("not checked:\n  sink cities_file: it has written nothing"));
    assert!(!done.out.contains("\nverified"), "{}", done.out);
}

#[test]
fn what_was_altered_is_a_mismatch() {
    let folder = shop();
    let text = folder.read("out/cities.json");
    folder.write("out/cities.json", &text.replace("Oslo", "Bergen"));
    let done = folder.run(&["verify", "--sinks"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.out.contains("DIFFERS: sink"), "{}", done.out);
    assert!(done.out.contains("missing: {\"city\":\"Oslo\""), "{}", done.out);
    assert!(done.out.ends_with("MISMATCH: 1 difference\n"), "{}", done.out);

    let done = folder.run(&["verify", "--at", "99"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.err.contains("there is no epoch 99 yet"), "{}", done.err);
}

#[test]
fn a_sample_is_verified_partly() {
    let folder = shop();
    let done = folder.run(&["verify", "--sample", "2", "--seed", "5"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.out.contains("sample       2 rows of each view, with --seed 5"), "{}", done.out);
    let cities = done.out.lines().find(|line| line.contains("view cities ")).unwrap();
    assert!(cities.ends_with("every epoch computed again, 2 of 3 rows by the batch engine"));
    let rest = "  view cities, by the batch engine: 1 of 3 rows, and whether rows are missing";
    assert!(done.out.contains(rest), "{}", done.out);
    assert!(!done.out.contains("\nverified"), "{}", done.out);
    // The number may be left out, and the seed is told.
    let report = json(&folder.run(&["verify", "--format", "json", "--sample"]));
    assert_eq!((&report["verdict"], &report["sample"]["rows"]), (&"partly".into(), &100.into()));
    assert!(report["sample"]["seed"].as_u64().unwrap() > 1_600_000_000_000_000, "{report:#}");
    assert_eq!(folder.run(&["verify", "--seed", "5"]).code, 2);
    assert_eq!(folder.run(&["verify", "--sample", "0"]).code, 2);
}

#[test]
fn a_bundle_is_verified_elsewhere_by_itself() {
    let folder = shop();
    let done = folder.run(&["bundle", "--out", "shop.bundle"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.out.contains("check it anywhere: syncline verify shop.bundle"), "{}", done.out);
    let elsewhere = Folder::new();
    std::fs::copy(folder.path("shop.bundle"), elsewhere.path("shop.bundle")).unwrap();
    drop(folder);
    for workers in ["1", "3"] {
        let done = elsewhere.run(&["verify", "shop.bundle", "--replay", "--workers", workers]);
        assert_eq!(done.code, 0, "{done:?}");
        assert!(done.out.contains("every epoch computed again, equal by"), "{}", done.out);
    }
    let mut bytes = std::fs::read(elsewhere.path("shop.bundle")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(elsewhere.path("shop.bundle"), bytes).unwrap();
    let done = elsewhere.run(&["verify", "shop.bundle"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.err.contains("cannot be read as a bundle"), "{}", done.err);
}

#[test]
fn a_slice_is_verified_elsewhere_by_itself() {
    let folder = shop();
    let out = folder.run(&["bundle", "--from", "2", "--to", "2", "--out", "part.bundle"]).ok();
    assert!(out.starts_with("part.bundle: epochs 2 to 2 of orders, "), "{out}");
    let elsewhere = Folder::new();
    std::fs::copy(folder.path("part.bundle"), elsewhere.path("part.bundle")).unwrap();
    let done = elsewhere.run(&["verify", "part.bundle"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(
        done.out.contains("slice        from epoch 2 on, over 0 rows of tables"),
        "{}",
        done.out
    );
    let base = "the base, what tables are said to have held at the end of epoch 1";
    assert!(done.out.contains(base), "{}", done.out);
    assert!(!done.out.contains("\nverified"), "{}", done.out);
    let report = json(&elsewhere.run(&["verify", "part.bundle", "--format", "json"]));
    assert_eq!((&report["verdict"], &report["slice"]["from"]), (&"partly".into(), &2.into()));
    let done = elsewhere.run(&["verify", "part.bundle", "--at", "2"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(done.err.contains("--at cannot be had of a slice of a run"), "{}", done.err);
    let done = elsewhere.run(&["diff", "part.bundle", "part.bundle"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.err.contains("a slice of a run cannot be compared"), "{}", done.err);
    // From the first epoch on nothing is taken on trust.
    folder.run(&["bundle", "--from", "1", "--out", "all.bundle"]).ok();
    let done = folder.run(&["verify", "all.bundle"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(folder.run(&["bundle", "--from", "99"]).code, 2);
}

#[test]
fn files_that_a_journal_refers_to_go_along_or_are_looked_for_beside_the_bundle() {
    let folder = Folder::with_pipeline(
        "name: refers\nsources:\n  orders: {type: file, path: in/orders.csv, format: csv, journal: reference}\n\
         views:\n  totals: SELECT count(*) AS n, sum(id) AS ids FROM orders\n",
    );
    std::fs::create_dir(folder.path("in")).unwrap();
    folder.write("in/orders.csv", "id\n1\n2\n3\n");
    folder.run(&["run", "--once"]).ok();
    folder.run(&["bundle", "--out", "whole.bundle"]).ok();
    let out = folder.run(&["bundle", "--out", "lean.bundle", "--by-reference"]).ok();
    assert!(out.contains("refers to in/orders.csv, which is not in it"), "{out}");
    let elsewhere = Folder::new();
    for bundle in ["whole.bundle", "lean.bundle"] {
        std::fs::copy(folder.path(bundle), elsewhere.path(bundle)).unwrap();
    }
    let done = elsewhere.run(&["verify", "whole.bundle", "--replay"]);
    assert_eq!(done.code, 0, "{done:?}");
    let done = elsewhere.run(&["verify", "lean.bundle"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.err.contains("orders.csv"), "{done:?}");
    std::fs::create_dir(elsewhere.path("in")).unwrap();
    std::fs::copy(folder.path("in/orders.csv"), elsewhere.path("in/orders.csv")).unwrap();
    let done = elsewhere.run(&["verify", "lean.bundle"]);
    assert_eq!(done.code, 0, "{done:?}");
    elsewhere.write("in/orders.csv", "id\n1\n2\n4\n");
    let done = elsewhere.run(&["verify", "lean.bundle"]);
    assert_eq!(done.code, 1, "{done:?}");
}

#[test]
fn a_data_directory_is_made_as_of_an_epoch() {
    let folder = shop();
    let done = folder.run(&["replay", "--to", "2", "--into", "then"]);
    assert_eq!(done.code, 0, "{done:?}");
    let sql = "SELECT count(*) AS n FROM cities";
    let then = folder.run(&["query", "--data-dir", "then", "--format", "json", sql]);
    let at = folder.run(&["query", "--at", "2", "--format", "json", sql]);
    assert_eq!((then.code, &then.out), (0, &at.out), "{then:?}");
    let done = folder.run(&["verify", "--data-dir", "then", "--replay"]);
    assert_eq!(done.code, 0, "{done:?}");
    // It is not written over, and not made of what is not there.
    assert_eq!(folder.run(&["replay", "--to", "2", "--into", "then"]).code, 1);
    assert_eq!(folder.run(&["replay", "--to", "99", "--into", "other"]).code, 2);
}

#[test]
fn two_pipelines_over_one_run_are_compared() {
    let folder = shop();
    let text = folder.read("syncline.yaml");
    folder.write(
        "other.yaml",
        &text.replace("HAVING sum(amount) >= 100", "HAVING sum(amount) >= 80"),
    );
    std::fs::copy(folder.path("syncline.lock"), folder.path("other.lock")).unwrap();
    let done = folder.run(&["diff", "syncline.yaml", "other.yaml", "--data-dir", ".syncline"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.out.contains("view cities: the same"), "{}", done.out);
    assert!(done.out.contains("view best_customers: 0 rows less, 1 rows more"), "{}", done.out);
    assert!(done.out.contains("  + {\"customer\":\"Bo\",\"spent\":\"82.90\"}"), "{}", done.out);
    assert!(done.out.contains("view `best_customers` has another plan"), "{}", done.out);
    assert!(!done.out.contains("input differs"), "{}", done.out);
    let done = folder.run(&["diff", "syncline.yaml", "syncline.yaml"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.out.contains("input, pipeline and engine are the same"), "{}", done.out);
}

#[test]
fn two_runs_are_compared() {
    let (one, other) = (shop(), Folder::with_init());
    let orders = other.read("data/orders.csv");
    let fewer: Vec<&str> = orders.lines().collect();
    other.write("data/orders.csv", &(fewer[..fewer.len() - 1].join("\n") + "\n"));
    other.run(&["run", "--once"]).ok();
    let other = other.path("syncline.yaml");
    let done = one.run(&["diff", "syncline.yaml", other.to_str().unwrap(), "--format", "json"]);
    assert_eq!(done.code, 1, "{done:?}");
    let diff = json(&done);
    assert_eq!(diff["causes"][0]["cause"], "input", "{diff:#}");
    assert_eq!(diff["causes"].as_array().unwrap().len(), 1, "{diff:#}");
    let cities = diff["views"].as_array().unwrap().iter().find(|v| v["view"] == "cities").unwrap();
    assert_eq!((&cities["removed"], &cities["added"]), (&1.into(), &1.into()), "{diff:#}");
}

/// What `emit: final` shows depends on when a source ended, if that then goes on: the batch engine cannot know.
#[test]
fn a_source_that_had_ended_may_go_on() {
    let folder = Folder::with_pipeline(
        "name: on\nsources:\n  readings:\n    type: file\n    path: in.csv\n    format: csv\n    \
         columns: {at: TIMESTAMP, value: BIGINT}\n    event_time: {column: at, lateness: 0s}\nviews:\n  \
         hours:\n    sql: SELECT window_start, window_end, sum(value) AS value FROM tumble(readings, at, \
         INTERVAL '1 hour') GROUP BY window_start, window_end\n    emit: final\n    keep: true\n",
    );
    folder.write("in.csv", "at,value\n2026-01-01T00:10:00Z,1\n2026-01-01T01:10:00Z,2\n");
    folder.run(&["run", "--once", "--no-listen"]).ok();
    assert_eq!(folder.run(&["verify"]).code, 0);
    folder.append("in.csv", "2026-01-01T02:10:00Z,3\n2026-01-01T03:10:00Z,4\n");
    folder.run(&["run", "--once", "--no-listen"]).ok();
    let done = folder.run(&["verify", "--format", "json"]);
    let report = json(&done);
    assert_eq!(done.code, 3, "{report:#}");
    assert_eq!(report["mismatches"].as_array().unwrap().len(), 0, "{report:#}");
    let unchecked = report["unchecked"][0].as_str().unwrap();
    assert!(unchecked.contains("when a source had ended, which has gone on"), "{report:#}");
    assert_eq!(folder.run(&["verify", "--replay"]).code, 3);
}

/// The demo's digests by view.
fn demo_digests(epoch_rows: u32, workers: u32, restarts: bool) -> BTreeMap<String, String> {
    let folder = Folder::new();
    folder.run(&["demo", "--once", "--dir", "demo"]).ok();
    let text = folder.read("demo/syncline.yaml");
    // As fast as it goes.
    let paced = |line: &&str| !line.trim_start().starts_with("replay:");
    let text = text.lines().filter(paced).collect::<Vec<_>>().join("\n");
    // Some of the processes that are killed have taken a checkpoint, which the next one goes on from.
    let rows = format!("run:\n  epoch: {{max_rows: {epoch_rows}}}\n  checkpoint_interval: 30ms");
    assert!(!text.contains("\nrun:"), "{text}");
    folder.write("demo/syncline.yaml", &format!("{text}\n{rows}\n"));
    std::fs::remove_dir_all(folder.path("demo/.syncline")).unwrap();
    std::fs::remove_dir_all(folder.path("demo/out")).unwrap();
    let workers = workers.to_string();
    let run = ["run", "demo/syncline.yaml", "--once", "--workers", &workers];
    if restarts {
        for at in [40, 90, 150, 220] {
            let mut command = folder.command(&run);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            // Anywhere: what is under way then differs from run to run.
            std::thread::sleep(Duration::from_millis(at));
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    folder.run(&run).ok();
    let done = folder.run(&["verify", "demo/syncline.yaml", "--format", "json", "--sinks"]);
    let report = json(&done);
    assert_eq!(report["verdict"], "verified", "{report:#}");
    let views = report["views"].as_array().unwrap().iter();
    views.map(|view| (text_of(&view["view"]), text_of(&view["digest"]))).collect()
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Another machine or a later version must give the same: the snapshot does not change.
#[test]
fn the_demos_digests_are_the_same_however_it_runs() {
    let digests = demo_digests(65_536, 2, false);
    let lines: Vec<String> =
        digests.iter().map(|(view, digest)| format!("{view} {digest}")).collect();
    insta::assert_snapshot!(lines.join("\n"));
    for (epoch_rows, workers, restarts) in
        [(65_536, 1, true), (1_000, 2, true), (1_000, 8, false), (137, 1, false), (137, 8, true)]
    {
        let again = demo_digests(epoch_rows, workers, restarts);
        assert_eq!(again, digests, "{epoch_rows} rows an epoch, {workers} workers, {restarts}");
    }
}

/// What the journal does not have any more is not needed to go on, and what can be checked without it is.
#[test]
fn a_journal_that_has_let_go_of_its_beginning() {
    let folder = Folder::with_pipeline(
        "name: short\nsources:\n  orders: {type: file, path: in.csv, format: csv, columns: {id: BIGINT, \
         item: TEXT, n: BIGINT}}\nviews:\n  totals:\n    sql: SELECT item, count(*) AS orders, sum(n) AS n \
         FROM orders GROUP BY item\n    keep: true\nsinks:\n  log: {from: totals, type: file, path: out.json, \
         format: json, mode: changes}\nrun: {epoch: {max_rows: 20}, journal_retention: 400ms}\n",
    );
    let rows = |from: u32, to: u32| -> String {
        (from..to).map(|i| format!("{i},item{},{i}\n", i % 7)).collect()
    };
    folder.write("in.csv", &format!("id,item,n\n{}", rows(0, 500)));
    folder.run(&["run", "--once", "--no-listen"]).ok();
    assert!(!folder.path(".syncline/journal/.start").exists());
    // The newest segments of a source stay, so there have to be three.
    for (from, to) in [(500, 600), (600, 700)] {
        std::thread::sleep(Duration::from_millis(500));
        folder.append("in.csv", &rows(from, to));
        folder.run(&["run", "--once", "--no-listen"]).ok();
    }
    assert!(folder.path(".syncline/journal/.start").exists());
    folder.append("in.csv", &rows(700, 800));
    folder.run(&["run", "--once", "--no-listen"]).ok();
    let lines = folder.read("out.json");
    let last = lines.lines().rfind(|line| line.contains("\"item3\"")).unwrap();
    // Ids 3, 10, .. 798: 114 of them.
    assert!(last.contains("\"orders\":114"), "{last}");

    let done = folder.run(&["verify", "--format", "json"]);
    let report = json(&done);
    assert_eq!(done.code, 3, "{report:#}");
    assert_eq!(report["mismatches"].as_array().unwrap().len(), 0, "{report:#}");
    assert_eq!(report["views"][0]["by_replay"], true, "{report:#}");
    let unchecked = report["unchecked"].to_string();
    assert!(unchecked.contains("whose input was let go"), "{unchecked}");
    assert!(unchecked.contains("by the batch engine, which needs all input"), "{unchecked}");
    for refused in [&["verify", "--sinks"][..], &["query", "SELECT 1", "--at", "5"]] {
        let done = folder.run(refused);
        assert_ne!(done.code, 0);
        assert!(done.err.contains("run.journal_retention"), "{}", done.err);
    }
    // Something that changes the changes after it is found all the same.
    let log = folder.path(".syncline/epochs.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let digest = bytes.windows(10).rposition(|part| part == b"\"digest\":\"").unwrap() + 12;
    bytes[digest] = if bytes[digest] == b'0' { b'1' } else { b'0' };
    std::fs::write(&log, bytes).unwrap();
    assert_eq!(folder.run(&["verify"]).code, 1);
    // An edited view cannot be made anew.
    let text = folder.read("syncline.yaml").replace("sum(n) AS n", "max(n) AS n");
    folder.write("syncline.yaml", &text);
    let done = folder.run(&["run", "--once", "--no-listen"]);
    assert_ne!(done.code, 0);
    assert!(done.err.contains("totals"), "{}", done.err);
}

/// A checkpoint is a shortcut: one that is damaged, or gone, costs time alone.
#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let folder = Folder::with_init();
    folder.run(&["run", "--once", "--no-listen"]).ok();
    let before = folder.read("out/cities.json");
    let packs = || -> Vec<std::path::PathBuf> {
        let files = std::fs::read_dir(folder.path(".syncline/state")).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    };
    let [pack] = &packs()[..] else { panic!("{:?}", packs()) };
    let whole = std::fs::read(pack).unwrap();
    let again = || folder.run(&["run", "--once", "--no-listen"]);
    let goes_on = "going on from a checkpoint";
    let done = again();
    assert!(done.code == 0 && done.err.contains(goes_on), "{}", done.err);
    let index = whole.windows(8).position(|part| part == b"\"tables\"").unwrap();
    for at in [0, index, whole.len() - 1] {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        std::fs::write(pack, altered).unwrap();
        let done = again();
        assert_eq!(done.code, 0, "{}", done.err);
        assert!(done.err.contains("this checkpoint is of no use"), "{}", done.err);
        assert!(done.err.contains("is damaged") && !done.err.contains(goes_on), "{}", done.err);
        assert_eq!(folder.read("out/cities.json"), before);
        std::fs::write(pack, &whole).unwrap();
    }
    std::fs::remove_dir_all(folder.path(".syncline/checkpoints")).unwrap();
    let done = again();
    assert!(done.code == 0 && !done.err.contains(goes_on), "{}", done.err);
    assert_eq!(folder.read("out/cities.json"), before);
    assert_eq!(folder.run(&["verify"]).code, 0);
}
