//! A data directory that format 1 wrote, committed under `fixtures/`, is read by every later build.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use serde_json::json;
use syncline_change::Batch;
use syncline_change::sink::Progress;
use syncline_change::source::{RejectClass, Rejected};

use crate::checkpoints::{self, Checkpoint, ViewState};
use crate::dead_letters::{Filter, Stage, State};
use crate::epochs::{SourceRecord, ViewRecord};
use crate::manifests::keys::tests::signer;
use crate::manifests::tests::statement;
use crate::meanings::{self, EventTimeMeaning, Meaning, SourceMeaning, ViewMeaning};
use crate::merkle::{self, MerkleLog};
use crate::progress::SinkProgress;
use crate::state::{self, PackWriter, Packs};
use crate::{CloseReason, DataDir, DeadLetters, EpochInput, EpochLog, EpochRecord, Journal};
use crate::{Manifest, SourceInput, fs, journal, manifests, progress};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/format-1")
}

/// Two epochs: three rows of which one is taken away again, and a tick.
fn inputs() -> [EpochInput; 2] {
    let columns: [(&str, ArrayRef); 2] = [
        ("id", Arc::new(Int64Array::from(vec![1, 2, 1]))),
        ("name", Arc::new(StringArray::from(vec![Some("one"), None, Some("one")]))),
    ];
    let rows = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true)));
    let part = SourceInput {
        source: "flights".to_owned(),
        rows: vec![Batch::new(rows.unwrap(), Int64Array::from(vec![1, 1, -1])).unwrap()],
        origin: Vec::new(),
        position: Some(json!({ "file": "flights.csv", "byte": 300 })),
        finished: true,
        rejected: 1,
        bytes: 300,
        retried: vec!["s1".to_owned()],
    };
    let time_us = 1_790_000_000_000_000;
    [
        epoch(1, time_us, CloseReason::End, vec![part]),
        epoch(2, time_us + 1, CloseReason::Delay, vec![]),
    ]
}

fn epoch(epoch: u64, time_us: i64, reason: CloseReason, inputs: Vec<SourceInput>) -> EpochInput {
    EpochInput { epoch, time_us, reason, inputs, digest: None }
}

fn rejected() -> Rejected {
    Rejected {
        bytes: b"3,\xff".to_vec(),
        context: Some("id,name".to_owned()),
        position: "flights.csv:4".to_owned(),
        class: RejectClass::Unparsable,
        message: "`name` is not UTF-8".to_owned(),
    }
}

fn record(input: &EpochInput) -> EpochRecord {
    let source = SourceRecord { rows: 3, rejected: 1, position: Some(json!(300)) };
    let view = ViewRecord { rows: 1, digest: "ab".repeat(32) };
    EpochRecord {
        epoch: input.epoch,
        time_us: input.time_us,
        input: None,
        sources: BTreeMap::from([("flights".to_owned(), source)]),
        views: BTreeMap::from([("delays".to_owned(), view)]),
    }
}

fn manifest() -> Manifest {
    Manifest::seal(&statement(), Some(&signer())).unwrap()
}

#[test]
#[ignore = "writes the fixture anew: only for a new format, into a folder of its own"]
fn write_fixture() {
    let data = DataDir::open(fixture()).unwrap();
    let [first, second] = inputs();
    let (letters, _) = DeadLetters::open(&data, 0, 0).unwrap();
    letters.append(Stage::Source, "flights", 1, first.time_us, vec![rejected()]).unwrap();
    letters.resolve("s1", State::Retried, first.time_us).unwrap();
    let sources = [("flights".to_owned(), first.inputs[0].rows[0].schema())];
    let (mut journal, _) = Journal::open(&data, &sources, 0).unwrap();
    let (mut log, ..) = EpochLog::open(&data).unwrap();
    for input in [&first, &second] {
        journal.append(input).unwrap();
        log.append(&record(input)).unwrap();
    }
    let progress = Progress { epoch: 2, token: json!({ "bytes": 17 }) };
    progress::write(&data, "out", &SinkProgress { progress, spans: vec![] }).unwrap();
    manifests::write(&data, &manifest()).unwrap();
}

fn meaning() -> Meaning {
    let columns = vec![("id".to_owned(), "BIGINT".to_owned())];
    let time = EventTimeMeaning { column: 0, lateness_us: 5_000_000, idle_us: Some(1) };
    let source = SourceMeaning {
        name: "flights".to_owned(),
        columns,
        primary_key: Some(vec![0]),
        event_time: Some(time),
        deletes: true,
    };
    let sql = "SELECT id FROM flights".to_owned();
    let view = ViewMeaning { name: "delays".to_owned(), sql, emits_final: true };
    Meaning {
        hash: "cd".repeat(32),
        semantics: 2,
        seed: 7,
        relation: "delays".to_owned(),
        sources: vec![source],
        views: vec![view],
    }
}

/// The parts of a piece of state.
const PIECE: [&[u8]; 3] = [b"key", b"", b"a longer value"];

fn checkpoint(pack: &str) -> Checkpoint {
    let mut input = MerkleLog::new();
    (0..2_u8).for_each(|epoch| input.push(merkle::leaf_hash(&[epoch])));
    let standing = journal::Standing { position: Some(json!({ "byte": 300 })), finished: true };
    let view = ViewState {
        rows: Some(1),
        digest: Some("ab".repeat(32)),
        changes: "cd".repeat(32),
        plan: "2-ef".to_owned(),
    };
    Checkpoint {
        epoch: 2,
        time_us: 1_790_000_000_000_001,
        chain: "12".repeat(32),
        input,
        sources: BTreeMap::from([("flights".to_owned(), standing)]),
        sinks: BTreeMap::from([("out".to_owned(), 2)]),
        views: BTreeMap::from([("delays".to_owned(), view)]),
        state: Some(checkpoints::State { pack: pack.to_owned(), layout: "34".repeat(32) }),
    }
}

#[test]
#[ignore = "writes a part of the fixture anew: only for a new format, into a folder of its own"]
fn write_checkpoint() {
    let data = DataDir::open(fixture()).unwrap();
    let mut pack = PackWriter::begin(&data).unwrap();
    let piece = pack.add(&PIECE).unwrap();
    let (name, _) = pack.finish(BTreeMap::from([("table".to_owned(), vec![piece])])).unwrap();
    checkpoints::write(&data, &checkpoint(&name)).unwrap();
    meanings::write(&data, &meaning()).unwrap();
}

#[test]
fn a_checkpoint_of_format_1_is_read() {
    let data = DataDir::open_read(fixture()).unwrap();
    let read = checkpoints::read(&data, 2).unwrap().unwrap();
    let pack = read.state.as_ref().unwrap().pack.clone();
    assert_eq!(read, checkpoint(&pack));
    let mut packs = Packs::default();
    let tables = packs.index(&data, &pack).unwrap().unwrap();
    let piece = &tables["table"][0];
    let parts = packs.read(&data, piece).unwrap();
    state::check(&data, piece, &parts).unwrap();
    assert_eq!(parts.iter().map(|part| part.as_slice()).collect::<Vec<_>>(), PIECE);
    let hash = meaning().hash;
    assert_eq!(meanings::read(&data, &hash).unwrap(), Some(meaning()));
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(&crate::disk::RealDisk, to).unwrap();
    for path in fs::list(from).unwrap() {
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_all(&path, &to);
        } else {
            std::fs::copy(&path, to).unwrap();
        }
    }
}

#[test]
fn format_1_is_read() {
    let dir = crate::scratch::dir();
    copy_all(&fixture(), dir.path());
    let data = DataDir::open(dir.path()).unwrap();

    let (log, last, cut) = EpochLog::open(&data).unwrap();
    let expected = inputs();
    assert_eq!((last, cut), (Some(record(&expected[1])), None));
    assert_eq!(log.records().unwrap().map(Result::unwrap).count(), 2);

    let sources = [("flights".to_owned(), expected[0].inputs[0].rows[0].schema())];
    let (journal, recovery) = Journal::open(&data, &sources, 2).unwrap();
    assert_eq!((recovery.last_epoch, recovery.cuts.len()), (2, 0));
    assert_eq!(recovery.retried, ["s1"]);
    journal::tests::assert_replays(journal.replay(1).unwrap(), &expected);

    let (letters, _) = DeadLetters::open(&data, 2, 2).unwrap();
    let (_, found) = letters.list(&Filter::default(), 0, 9).unwrap();
    assert_eq!((found[0].state, &found[0].rejected), (State::Retried, &rejected()));
    let done = progress::read(&data, "out").unwrap().unwrap();
    assert_eq!((done.progress.epoch, done.spans), (2, vec![]));
    assert_eq!(manifests::newest(&data).unwrap(), Some(manifest()));
}
