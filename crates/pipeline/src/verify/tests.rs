//! A run is verified, then tampered with in every way that comes to mind.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use syncline_store::checkpoints::Checkpoint;
use syncline_store::epochs::{self, EpochRecord};
use syncline_store::{DataDir, EpochLog, checkpoints, journal};

use super::report::{Report, Verdict};
use super::*;
use crate::file::Pipeline;
use crate::lock::Lock;
use crate::runtime::{RunOptions, Running};
use crate::vars::Vars;

const PIPELINE: &str = "
name: shop
sources:
  orders: {type: file, path: orders.csv, format: csv}
views:
  totals: {sql: 'SELECT item, count(*) AS orders, sum(amount) AS amount FROM orders GROUP BY item', keep: true}
  large: SELECT id, item FROM orders WHERE amount > 8
sinks:
  totals_out: {from: totals, type: file, path: totals.json, format: json, mode: snapshot}
  large_out: {from: large, type: file, path: large.csv, format: csv, mode: changes}
run: {epoch: {max_rows: 10}}
";

/// A pipeline that has run to its end.
struct Shop {
    dir: tempfile::TempDir,
}

impl Shop {
    fn new() -> Self {
        Self::with(PIPELINE)
    }

    fn with(pipeline: &str) -> Self {
        let shop = Self { dir: tempfile::tempdir().unwrap() };
        let mut orders = String::from("id,item,amount\n");
        for id in 0..60 {
            writeln!(orders, "{id},item{},{}.5", id % 4, id % 11).unwrap();
        }
        std::fs::write(shop.path("orders.csv"), orders).unwrap();
        std::fs::write(shop.path("syncline.yaml"), pipeline).unwrap();
        shop.run();
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path(".syncline")
    }

    fn prepared(&self) -> Prepared {
        let vars = Vars::environment();
        let pipeline = Pipeline::load(Some(&self.path("syncline.yaml")), &vars).unwrap();
        Prepared::new(pipeline).unwrap()
    }

    fn run(&self) {
        self.try_run().unwrap();
    }

    fn try_run(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let options = RunOptions { once: true, ..RunOptions::default() };
        let mut running = Running::start(self.prepared(), &options)?;
        runtime.block_on(async {
            running.finished().await;
            running.stop().await
        })
    }

    /// The files of a folder of the data directory.
    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.data().join(folder)).unwrap();
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    }

    /// The last epoch that ran.
    fn epochs(&self) -> u64 {
        Past::open(&self.prepared(), &self.data()).unwrap().recorded()
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        std::fs::write(self.path(name), text.replacen(from, to, 1)).unwrap();
    }

    /// Changes the epoch log as somebody would who knows how its chain is made.
    fn forge(&self, change: impl Fn(&mut Vec<EpochRecord>)) {
        let dir = DataDir::open(self.data()).unwrap();
        let records = epochs::records(&dir).unwrap().unwrap();
        let mut records: Vec<EpochRecord> = records.map(|r| r.unwrap().record).collect();
        change(&mut records);
        std::fs::remove_file(self.data().join("epochs.log")).unwrap();
        let (mut log, ..) = EpochLog::open(&dir).unwrap();
        records.iter().for_each(|record| log.append(record).unwrap());
        log.sync().unwrap();
    }

    /// Changes the last checkpoint, checksum included.
    fn forge_checkpoint(&self, change: impl Fn(&mut Checkpoint, &DataDir)) {
        let dir = DataDir::open(self.data()).unwrap();
        let epoch = *checkpoints::list(&dir).unwrap().last().unwrap();
        let mut checkpoint = checkpoints::read(&dir, epoch).unwrap().unwrap();
        change(&mut checkpoint, &dir);
        checkpoints::write(&dir, &checkpoint).unwrap();
    }

    fn verify(&self, options: &Options) -> Report {
        super::verify(&self.prepared(), &self.data(), options, &|_| ()).unwrap()
    }

    /// What is wrong, a line each.
    fn differences(&self, options: &Options) -> Vec<String> {
        let report = self.verify(options);
        assert_eq!(report.verdict(), Verdict::Mismatch, "{report:#?}");
        let mismatches = report.mismatches.iter().map(|mismatch| {
            let epoch = mismatch.epoch.map_or("-".to_owned(), |epoch| epoch.to_string());
            let rows = mismatch.rows.join(" | ");
            format!("{} [{epoch}] {}: {rows}", mismatch.what, mismatch.message)
        });
        mismatches.collect()
    }
}

/// Where it stopped, half an epoch may be in what it holds.
#[test]
fn a_run_that_ends_with_an_error_writes_nothing_down() {
    let shop = Shop::new();
    shop.forge(|records| {
        records[3].views.get_mut("totals").unwrap().digest = "ab".repeat(32);
    });
    // All epochs are computed again, and one of them comes out differently than is recorded.
    std::fs::remove_dir_all(shop.data().join("state")).unwrap();
    let before = ["checkpoints", "manifests"].map(|folder| shop.files(folder));
    let error = shop.try_run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("`totals` came out differently in epoch 4"), "{error}");
    assert_eq!(["checkpoints", "manifests"].map(|folder| shop.files(folder)), before);
    assert_eq!(shop.files("state"), [""; 0].map(PathBuf::from));
}

fn batch() -> Options {
    Options::default()
}

fn replay() -> Options {
    Options { replay: true, ..Options::default() }
}

/// So many rows of each view.
fn sample(rows: u64, seed: u64) -> Options {
    Options { sample: Some(Sample { rows, seed }), ..Options::default() }
}

fn with_sinks() -> Options {
    Options { sinks: true, ..Options::default() }
}

/// The pipeline with digests of all views in its checkpoints.
fn all_kept() -> String {
    let pipeline = PIPELINE.replace("large: SELECT", "large: {keep: true, sql: 'SELECT");
    pipeline.replace("amount > 8", "amount > 8'}")
}

/// One difference, with these words in it.
fn check(differences: &[String], words: &[&str]) {
    assert_eq!(differences.len(), 1, "{differences:#?}");
    for word in words {
        assert!(differences[0].contains(word), "{word} is not in {differences:#?}");
    }
}

#[test]
fn what_ran_is_verified() {
    let shop = Shop::new();
    for options in [batch(), replay(), with_sinks(), Options { workers: Some(4), ..replay() }] {
        let report = shop.verify(&options);
        assert_eq!(report.verdict(), Verdict::Verified, "{report:#?}");
        assert_eq!((report.epoch, report.views.len()), (shop.epochs(), 2));
        assert_eq!(report.input.as_ref().unwrap().rows, 60);
        assert!(report.views.iter().all(|view| view.by_batch), "{report:#?}");
        assert_eq!(report.sinks.len(), if options.sinks { 2 } else { 0 });
    }
    // The content of `large` is in no checkpoint: its changes are computed again.
    let report = shop.verify(&batch());
    let large = report.views.iter().find(|view| view.view == "large").unwrap();
    assert!(large.by_replay && !large.is_recorded);
    // A run that goes on from there is the same run.
    shop.run();
    assert_eq!(shop.verify(&replay()).verdict(), Verdict::Verified);
}

#[test]
fn an_earlier_epoch_is_verified_and_the_rest_is_said_to_be_left_out() {
    let shop = Shop::new();
    let report = shop.verify(&Options { at: Some(3), ..batch() });
    assert_eq!(report.verdict(), Verdict::Verified);
    assert_eq!(report.epoch, 3);
    assert!(report.views.iter().all(|view| view.by_batch && view.by_replay), "{report:#?}");
    let last = shop.epochs();
    assert_eq!(report.notes[1], format!("the views of epochs 4 to {last}, which came later"));
    let as_of = shop.verify(&Options { at: Some(3), goes_on: true, ..batch() });
    assert_eq!(as_of.input.unwrap().epochs, 3);
    let beyond = Options { at: Some(last + 1), ..batch() };
    assert!(super::verify(&shop.prepared(), &shop.data(), &beyond, &|_| ()).is_err());
}

#[test]
fn kept_views_alone_need_no_replay() {
    let shop = Shop::with(&all_kept());
    let report = shop.verify(&batch());
    assert_eq!(report.verdict(), Verdict::Verified, "{report:#?}");
    assert!(report.views.iter().all(|view| view.is_recorded && !view.by_replay), "{report:#?}");
}

#[test]
fn any_flipped_byte_of_the_journal_is_found() {
    let shop = Shop::new();
    let path = first_segment(&shop.data());
    let bytes = std::fs::read(&path).unwrap();
    for at in (16..bytes.len()).step_by(bytes.len() / 9) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        check(&shop.differences(&batch()), &["the journal ["]);
    }
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(shop.verify(&batch()).verdict(), Verdict::Verified);
}

#[test]
fn other_input_under_right_checksums_is_found() {
    let shop = Shop::new();
    rewrite_journal(&shop, |inputs| {
        let rows = inputs[4].inputs[0].rows[0].clone();
        inputs[4].inputs[0].rows = vec![rows.slice(1, rows.num_rows() - 1), rows.slice(0, 1)];
    });
    check(&shop.differences(&batch()), &["the journal [5]", "other content"]);
}

#[test]
fn dropped_and_repeated_epochs_are_found() {
    let shop = Shop::new();
    rewrite_journal(&shop, |inputs| drop_epoch(inputs, 3));
    check(&shop.differences(&batch()), &["the journal [4]"]);

    let shop = Shop::new();
    shop.forge(|records| {
        records.remove(3);
        (1..).zip(records).for_each(|(epoch, record)| record.epoch = epoch);
    });
    let differences = shop.differences(&batch());
    check(&differences[..1], &["the epoch log", "of which there is a checkpoint"]);
    check(&differences[1..], &["the journal [4]"]);

    // Out of both of them: only the checkpoint tells, of what it has the digests of.
    let shop = Shop::with(&all_kept());
    rewrite_journal(&shop, |inputs| drop_epoch(inputs, 3));
    let digests: Vec<String> = {
        let dir = DataDir::open_read(shop.data()).unwrap();
        let inputs = journal::replay(&dir, 1).unwrap();
        inputs.map(|input| input.unwrap().digest.unwrap().to_hex().to_string()).collect()
    };
    shop.forge(|records| {
        records.remove(3);
        for ((epoch, record), digest) in (1..).zip(records).zip(&digests) {
            (record.epoch, record.input) = (epoch, Some(digest.clone()));
        }
    });
    let last = shop.epochs();
    shop.forge_checkpoint(|checkpoint, dir| {
        // It would be beyond the last epoch otherwise.
        checkpoint.epoch = last;
        std::fs::remove_file(dir.path().join(format!("checkpoints/{}.json", last + 1))).unwrap();
    });
    let differences = shop.differences(&batch());
    assert!(differences[0].starts_with("the input root"), "{differences:#?}");

    let shop = Shop::new();
    rewrite_journal(&shop, |inputs| {
        let again = inputs[3].clone();
        inputs.insert(3, again);
        (1..).zip(inputs.iter_mut()).for_each(|(epoch, input)| input.epoch = epoch);
    });
    check(&shop.differences(&batch()), &["the journal [5]"]);
}

#[test]
fn altered_results_are_found() {
    // In the epoch log, whose chain was mended.
    let shop = Shop::new();
    shop.forge(|records| records[4].views.get_mut("totals").unwrap().digest = "ab".repeat(32));
    check(&shop.differences(&replay()), &["view totals [5]", "computed again: +1"]);

    // The digest in the checkpoint, which was sealed again.
    let shop = Shop::new();
    shop.forge_checkpoint(|checkpoint, _| {
        checkpoint.views.get_mut("totals").unwrap().digest = Some("ab".repeat(32));
    });
    let at = format!("view totals [{}]", shop.epochs());
    let words = [at.as_str(), "checkpoint has another digest"];
    check(&shop.differences(&batch()), &words);

    // A changed byte of either. What is behind it in the epoch log may never have been durable, but
    // the checkpoint knows of it.
    let shop = Shop::new();
    for file in ["epochs.log", &format!("checkpoints/{}.json", shop.epochs())] {
        let path = shop.data().join(file);
        let bytes = std::fs::read(&path).unwrap();
        let mut altered = bytes.clone();
        altered[bytes.len() / 2] ^= 1;
        std::fs::write(&path, altered).unwrap();
        assert!(!shop.differences(&batch()).is_empty());
        std::fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn another_lock_and_another_pipeline_are_found() {
    let shop = Shop::new();
    shop.edit("syncline.lock", "amount: DOUBLE", "amount: DECIMAL(10,2)");
    let prepared = shop.prepared();
    assert!(super::verify(&prepared, &shop.data(), &batch(), &|_| ()).is_err());

    let shop = Shop::new();
    let lock = Lock::read(&shop.path("syncline.lock")).unwrap().unwrap();
    let plan = &lock.views["totals"];
    shop.edit("syncline.lock", plan, "00112233445566778899aabbccddeeff");
    let differences = shop.differences(&batch());
    check(&differences[..1], &["the lock", "view `totals` has another plan"]);
    check(&differences[1..], &["the manifest", "the lock"]);

    let shop = Shop::new();
    std::fs::remove_file(shop.path("syncline.lock")).unwrap();
    let differences = shop.differences(&batch());
    check(&differences[..1], &["the lock", "there is none"]);
    check(&differences[1..], &["the manifest", "the lock"]);

    let shop = Shop::new();
    shop.edit("syncline.yaml", "sum(amount)", "max(amount)");
    let differences = shop.differences(&batch());
    assert!(
        differences.iter().any(|d| d.contains("view totals") && d.contains("another pipeline"))
    );
}

/// The run computed something else than its SQL says, and everything that it wrote fits that.
fn run_with_wrong_operator() -> (Shop, Vec<ViewDef>) {
    let wrong = "sum(CASE WHEN id = 34 THEN amount + 1 ELSE amount END)";
    let shop = Shop::with(&PIPELINE.replace("sum(amount)", wrong));
    let wrong = shop.prepared().views;
    std::fs::write(shop.path("syncline.yaml"), PIPELINE).unwrap();
    let right = shop.prepared();
    right.write_lock().unwrap();
    let plan = crate::runtime::Recorded::plan_of(&right.lock.views["totals"]);
    let path = shop.data().join("plans.json");
    let mut plans: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    plans["totals"]["fingerprint"] = plan.into();
    std::fs::write(&path, plans.to_string()).unwrap();
    // It names the lock of the other pipeline file.
    std::fs::remove_dir_all(shop.data().join("manifests")).unwrap();
    (shop, wrong)
}

#[test]
fn an_operator_that_was_wrong_is_found_with_its_first_epoch_and_rows() {
    let (shop, wrong) = run_with_wrong_operator();
    // The order that is counted wrongly comes with the fourth epoch of rows.
    let expected = ["view totals [5]", "\"item2\""];
    check(&shop.differences(&batch()), &expected);
    check(&shop.differences(&replay()), &expected);

    // The same operator is wrong still: the circuit repeats, and the batch engine says otherwise.
    let prepared = shop.prepared();
    for options in [batch(), replay()] {
        let report =
            super::verify_with(&prepared, &wrong, &shop.data(), &options, &|_| ()).unwrap();
        assert_eq!(report.mismatches.len(), 1, "{report:#?}");
        let mismatch = &report.mismatches[0];
        assert_eq!((mismatch.what.as_str(), mismatch.epoch), ("view totals", Some(5)));
        assert!(mismatch.rows.iter().any(|r| r.contains("only by the circuit: [\"item2\",10,")));
        assert!(
            mismatch.rows.iter().any(|r| r.contains("only by the batch engine: [\"item2\",10,"))
        );
    }
}

#[test]
fn a_sample_of_rows_is_checked_and_the_rest_is_said_not_to_be() {
    let shop = Shop::new();
    let report = shop.verify(&sample(3, 7));
    assert_eq!(report.verdict(), Verdict::Partly, "{report:#?}");
    assert_eq!(report.sample, Some(Sample { rows: 3, seed: 7 }));
    assert_eq!(report.input.as_ref().unwrap().rows, 60);
    for view in &report.views {
        assert!(view.by_replay && !view.by_batch, "{view:?}");
        assert_eq!(view.sampled, Some(3), "{view:?}");
    }
    let large = report.views.iter().find(|view| view.view == "large").unwrap().rows;
    let unchecked = [
        "view totals, by the batch engine: 1 of 4 rows, and whether rows are missing".to_owned(),
        format!(
            "view large, by the batch engine: {} of {large} rows, and whether rows are missing",
            large - 3
        ),
    ];
    assert_eq!(report.unchecked, unchecked);
    // The same rows again, all of them, and as of another epoch: never more than partly.
    assert_eq!(shop.verify(&sample(3, 7)).views.len(), 2);
    let report = shop.verify(&sample(1_000, 7));
    assert_eq!(report.verdict(), Verdict::Partly, "{report:#?}");
    assert_eq!(report.unchecked[0], "view totals, by the batch engine: whether rows are missing");
    let report = shop.verify(&Options { at: Some(3), ..sample(2, 7) });
    assert_eq!((report.verdict(), report.epoch), (Verdict::Partly, 3), "{report:#?}");
    // What the journal and the epoch log say is looked at as always.
    shop.forge(|records| records[4].views.get_mut("totals").unwrap().digest = "ab".repeat(32));
    check(&shop.differences(&sample(1, 7)), &["view totals [5]", "computed again: +1"]);
}

#[test]
fn a_wrong_row_is_found_if_it_is_in_the_sample() {
    let (shop, wrong) = run_with_wrong_operator();
    let prepared = shop.prepared();
    let verified = |options: &Options| {
        super::verify_with(&prepared, &wrong, &shop.data(), options, &|_| ()).unwrap()
    };
    // The row of item2 is wrong, one of four.
    let report = verified(&sample(4, 0));
    assert_eq!(report.verdict(), Verdict::Mismatch, "{report:#?}");
    let [mismatch] = &report.mismatches[..] else { panic!("{report:#?}") };
    assert_eq!((mismatch.what.as_str(), mismatch.epoch), ("view totals", Some(shop.epochs())));
    assert!(
        mismatch.rows.len() == 1 && mismatch.rows[0].contains("only by the circuit: [\"item2\",")
    );
    assert!(report.views.iter().all(|view| view.view != "totals"), "{report:#?}");
    // Of single rows, some are the wrong one, and others are right.
    let verdicts: Vec<Verdict> = (0..20).map(|seed| verified(&sample(1, seed)).verdict()).collect();
    assert!(verdicts.contains(&Verdict::Mismatch) && verdicts.contains(&Verdict::Partly));
    assert!(!verdicts.contains(&Verdict::Verified));
    let again: Vec<Verdict> = (0..20).map(|seed| verified(&sample(1, seed)).verdict()).collect();
    assert_eq!(again, verdicts, "a seed is a choice");
}

#[test]
fn what_somebody_did_to_a_sinks_file_is_found() {
    let check_file = |name: &str, change: &dyn Fn(&mut Vec<String>), words: &[&str]| {
        let shop = Shop::new();
        let text = std::fs::read_to_string(shop.path(name)).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        change(&mut lines);
        std::fs::write(shop.path(name), lines.join("\n") + "\n").unwrap();
        assert_eq!(shop.verify(&batch()).verdict(), Verdict::Verified);
        check(&shop.differences(&with_sinks()), words);
    };
    let altered = |lines: &mut Vec<String>| lines[1] = lines[1].replacen("item1", "item9", 1);
    let words = [
        "sink totals_out [",
        "missing: {\"item\":\"item1\"",
        "not the view's: {\"item\":\"item9\"",
    ];
    check_file("totals.json", &altered, &words);
    let removed = |lines: &mut Vec<String>| drop(lines.remove(2));
    check_file("totals.json", &removed, &["sink totals_out", "missing: {\"item\":\"item2\""]);
    let words = ["sink large_out", "missing: "];
    check_file("large.csv", &removed, &words);
    let added = |lines: &mut Vec<String>| lines.push("c,7,99,item9".to_owned());
    check_file("large.csv", &added, &["sink large_out", "not the view's: c,7,99,item9"]);
    let swapped = |lines: &mut Vec<String>| lines.swap(1, 2);
    check_file("large.csv", &swapped, &["sink large_out", "another order"]);
    let shop = Shop::new();
    std::fs::remove_file(shop.path("large.csv")).unwrap();
    check(&shop.differences(&with_sinks()), &["sink large_out", "large.csv"]);
}

fn first_segment(data: &Path) -> PathBuf {
    let folder = data.join("journal/orders");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.remove(0)
}

/// Writes the journal anew, with right checksums.
fn rewrite_journal(shop: &Shop, change: impl Fn(&mut Vec<journal::EpochInput>)) {
    let prepared = shop.prepared();
    let dir = DataDir::open(shop.data()).unwrap();
    let inputs = journal::replay(&dir, 1).unwrap();
    let mut inputs: Vec<_> = inputs.map(|input| input.unwrap()).collect();
    change(&mut inputs);
    std::fs::remove_dir_all(shop.data().join("journal")).unwrap();
    let sources = [("orders".to_owned(), prepared.tables[0].schema.clone())];
    let (mut journal, _) = journal::Journal::open(&dir, &sources, 0).unwrap();
    for input in &inputs {
        journal.append(input).unwrap();
    }
}

fn drop_epoch(inputs: &mut Vec<journal::EpochInput>, at: usize) {
    inputs.remove(at);
    (1..).zip(inputs).for_each(|(epoch, input)| input.epoch = epoch);
}
