#![allow(clippy::unwrap_used)]

mod crash;
mod roundtrip;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use serde_json::json;
use syncline_change::ErrorKind;

use super::*;

pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
    ]))
}

/// `rows` rows that are different in every epoch; every third epoch has weights.
pub(super) fn batch(epoch: u64, rows: usize) -> Batch {
    let ids = Int64Array::from_iter_values((0..rows as i64).map(|i| i + 1000 * epoch as i64));
    let names = StringArray::from_iter(
        (0..rows).map(|i| (i % 3 != 0).then(|| format!("row {i} of epoch {epoch}"))),
    );
    let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(names)];
    let rows_batch = RecordBatch::try_new(schema(), columns).unwrap();
    if epoch.is_multiple_of(3) {
        let weights =
            Int64Array::from_iter_values((0..rows as i64).map(|i| if i % 2 == 0 { -1 } else { 5 }));
        Batch::new(rows_batch, weights).unwrap()
    } else {
        Batch::inserts(rows_batch)
    }
}

pub(super) fn input(source: &str, epoch: u64, rows: usize) -> SourceInput {
    SourceInput {
        source: source.to_owned(),
        rows: vec![batch(epoch, rows)],
        origin: Vec::new(),
        position: Some(json!({ "at": epoch })),
        finished: false,
        rejected: epoch % 2,
        bytes: 10 * rows as u64,
        retried: Vec::new(),
    }
}

/// An epoch in which `sources` take part, in that order, with a few rows each.
pub(super) fn epoch(epoch: u64, sources: &[&str]) -> EpochInput {
    EpochInput {
        epoch,
        time_us: 1_700_000_000_000_000 + epoch as i64,
        reason: if sources.is_empty() { CloseReason::Delay } else { CloseReason::Idle },
        inputs: sources.iter().map(|source| input(source, epoch, epoch as usize % 4)).collect(),
        digest: None,
    }
}

pub(super) fn sources(names: &[&str]) -> Vec<(String, SchemaRef)> {
    names.iter().map(|name| ((*name).to_owned(), schema())).collect()
}

/// Both have the same content, rows and weights included.
pub(super) fn assert_same(left: &EpochInput, right: &EpochInput) {
    assert_eq!(
        (left.epoch, left.time_us, left.reason, left.inputs.len()),
        (right.epoch, right.time_us, right.reason, right.inputs.len())
    );
    for (left, right) in left.inputs.iter().zip(&right.inputs) {
        assert_eq!(left.source, right.source);
        let pairs = |part: &SourceInput| -> Vec<_> {
            let of = |rows: &Batch| (rows.rows().clone(), rows.weights().cloned());
            part.rows.iter().map(of).collect()
        };
        assert_eq!(pairs(left), pairs(right));
        assert_eq!(left.position, right.position);
        assert_eq!(
            (left.finished, left.rejected, left.bytes, &left.retried),
            (right.finished, right.rejected, right.bytes, &right.retried)
        );
    }
}

pub(crate) fn assert_replays(replay: Replay, expected: &[EpochInput]) {
    let read: Vec<_> = replay.map(Result::unwrap).collect();
    assert_eq!(read.len(), expected.len());
    for (read, expected) in read.iter().zip(expected) {
        assert_same(read, expected);
    }
}

fn segments(dir: &Path, source: &str) -> usize {
    segment::list(&dir.join("journal").join(source)).unwrap().len()
}

#[test]
fn epochs_come_back_in_order_with_all_they_had() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let names = sources(&["a", "b", "c"]);
    let (mut journal, recovery) = Journal::open(&data, &names, 0).unwrap();
    assert_eq!((recovery.last_epoch, recovery.cuts.len(), journal.bytes()), (0, 0, 0));
    let mut inputs = vec![
        epoch(1, &["a", "b"]),
        // The order within an epoch is the one given, not the alphabet's.
        epoch(2, &["c", "a"]),
        epoch(3, &[]),
        epoch(4, &["b"]),
        epoch(5, &["b", "c", "a"]),
    ];
    inputs[3].reason = CloseReason::Full;
    inputs[4].reason = CloseReason::End;
    inputs[4].inputs[1].position = None;
    inputs[4].inputs[1].finished = true;
    inputs[4].inputs[2].retried = vec!["s1".to_owned(), "s7".to_owned()];
    for (i, input) in inputs.iter().enumerate() {
        journal.append(input).unwrap();
        assert_replays(journal.replay(1).unwrap(), &inputs[..=i]);
    }
    for from in 0..=6 {
        let rest = &inputs[(from as usize).saturating_sub(1)..];
        assert_replays(journal.replay(from).unwrap(), rest);
        assert_replays(replay(&DataDir::open_read(dir.path()).unwrap(), from).unwrap(), rest);
    }
    let expected = BTreeMap::from([
        ("a".to_owned(), Standing { position: Some(json!({"at": 5})), finished: false }),
        ("b".to_owned(), Standing { position: Some(json!({"at": 5})), finished: false }),
        ("c".to_owned(), Standing { position: Some(json!({"at": 2})), finished: true }),
    ]);
    assert_eq!(journal.last_positions(), &expected);
    let bytes = journal.bytes();
    drop(journal);

    let (journal, recovery) = Journal::open(&data, &names, 5).unwrap();
    assert_eq!((recovery.last_epoch, recovery.cuts.len()), (5, 0));
    assert_eq!(recovery.retried, ["s1", "s7"]);
    assert_eq!(journal.last_positions(), &expected);
    assert_eq!(journal.bytes(), bytes);
    assert_replays(journal.replay(1).unwrap(), &inputs);
}

#[test]
fn segments_roll_and_carry_what_stood_before() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let names = sources(&["a", "b"]);
    let mut inputs: Vec<EpochInput> = Vec::new();
    for round in 0..4 {
        let (mut journal, recovery) = Journal::open(&data, &names, inputs.len() as u64).unwrap();
        assert_eq!(recovery.last_epoch, inputs.len() as u64);
        journal.set_segment_bytes_max(3000);
        for _ in 0..8 {
            let next = inputs.len() as u64 + 1;
            let mut input = match next % 5 {
                0 => epoch(next, &[]),
                1 => epoch(next, &["b", "a"]),
                _ => epoch(next, &["a"]),
            };
            if next > 4 {
                // Only the head of a segment knows the last position then.
                input.inputs.iter_mut().for_each(|input| input.position = None);
            }
            journal.append(&input).unwrap();
            inputs.push(input);
        }
        assert_replays(journal.replay(1).unwrap(), &inputs);
        assert_replays(journal.replay(7).unwrap(), &inputs[6..]);
        assert!(segments(dir.path(), "a") > round + 1);
        let standing = &journal.last_positions()["a"];
        assert_eq!(standing.position, Some(json!({"at": 4})));
        let on_disk: u64 = ["a", "b", ".ticks"]
            .iter()
            .flat_map(|source| segment::list(&dir.path().join("journal").join(source)).unwrap())
            .map(|(_, path)| path.metadata().unwrap().len())
            .sum();
        assert_eq!(journal.bytes(), on_disk);
    }
}

#[test]
fn a_reader_follows_a_writer() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let (mut journal, _) = Journal::open(&data, &sources(&["a", "b"]), 0).unwrap();
    journal.set_segment_bytes_max(2000);
    let mut reader = replay(&data, 1).unwrap();
    assert!(reader.next().is_none());
    for n in 1..=20 {
        let input = if n % 2 == 0 { epoch(n, &["a"]) } else { epoch(n, &["b", "a"]) };
        journal.append(&input).unwrap();
        assert_same(&reader.next().unwrap().unwrap(), &input);
        assert!(reader.next().is_none());
    }
}

#[test]
fn a_reader_never_sees_half_an_epoch() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let (mut journal, _) = Journal::open(&data, &sources(&["a", "b", "c"]), 0).unwrap();
    journal.set_segment_bytes_max(4000);
    std::thread::scope(|scope| {
        let follower = scope.spawn(|| {
            let mut reader = replay(&data, 1).unwrap();
            let mut next = 1;
            while next <= 60 {
                match reader.next() {
                    Some(input) => {
                        assert_same(&input.unwrap(), &epoch(next, &["a", "b", "c"]));
                        next += 1;
                    }
                    None => std::thread::yield_now(),
                }
            }
        });
        for n in 1..=60 {
            journal.append(&epoch(n, &["a", "b", "c"])).unwrap();
        }
        follower.join().unwrap();
    });
}

#[test]
fn what_does_not_follow_is_a_defect() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let (mut journal, _) = Journal::open(&data, &sources(&["a"]), 0).unwrap();
    let mut other_columns = epoch(1, &["a"]);
    let columns = Arc::new(Schema::new(vec![Field::new("id", DataType::Int32, false)]));
    other_columns.inputs[0].rows = vec![Batch::empty(columns)];
    for wrong in
        [epoch(0, &["a"]), epoch(2, &["a"]), epoch(1, &["b"]), epoch(1, &["a", "a"]), other_columns]
    {
        assert_eq!(journal.append(&wrong).unwrap_err().kind(), ErrorKind::Bug);
    }
    journal.append(&epoch(1, &["a"])).unwrap();
    assert_replays(journal.replay(1).unwrap(), &[epoch(1, &["a"])]);
}

#[test]
fn other_columns_are_a_conflict() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let (mut journal, _) = Journal::open(&data, &sources(&["a", "b"]), 0).unwrap();
    journal.append(&epoch(1, &["a"])).unwrap();
    drop(journal);
    let changed = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("name", DataType::Utf8, true),
    ]));
    let names = vec![("a".to_owned(), changed.clone())];
    let error = Journal::open(&data, &names, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("source `a`"), "{error}");
    assert_eq!(error.detail_text(), Some("column `id` is TEXT, it was BIGINT"));
    assert!(error.hint_text().unwrap().contains("--data-dir"));
    // A source that never had rows may change.
    Journal::open(&data, &[("b".to_owned(), changed)], 1).unwrap();
}

#[test]
fn a_source_that_left_the_pipeline_stays_in_the_journal() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let (mut journal, _) = Journal::open(&data, &sources(&["a", "b"]), 0).unwrap();
    let mut inputs = vec![epoch(1, &["a", "b"])];
    journal.append(&inputs[0]).unwrap();
    let bytes = journal.bytes();
    drop(journal);
    let (mut journal, _) = Journal::open(&data, &sources(&["b"]), 1).unwrap();
    assert_eq!(journal.bytes(), bytes);
    assert_eq!(journal.last_positions().len(), 2);
    inputs.push(epoch(2, &["b"]));
    journal.append(&inputs[1]).unwrap();
    assert_replays(journal.replay(1).unwrap(), &inputs);
}

#[test]
fn dictionaries_and_odd_names_are_refused() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let item = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let list = DataType::List(Arc::new(Field::new_list_field(item, true)));
    let columns = Arc::new(Schema::new(vec![Field::new("words", list, true)]));
    let error = Journal::open(&data, &[("a".to_owned(), columns)], 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("column `words`"), "{error}");
    let error = Journal::open(&data, &sources(&[".ticks"]), 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[test]
fn an_epoch_that_one_segment_refuses_is_in_none() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let names = sources(&["a", "b", "c"]);
    let (mut journal, _) = Journal::open(&data, &names, 0).unwrap();
    let first = epoch(1, &["a", "b", "c"]);
    journal.append(&first).unwrap();
    let bytes = journal.bytes();
    journal.sources.get_mut("b").unwrap().refuse_writes(true);
    for _ in 0..2 {
        let error = journal.append(&epoch(2, &["a", "b", "c"])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage);
        assert_eq!((journal.last_epoch(), journal.bytes()), (1, bytes));
        assert_replays(replay(&data, 1).unwrap(), std::slice::from_ref(&first));
    }
    // Other sources are not held up, and the second epoch may be another one now.
    let second = epoch(2, &["c"]);
    journal.append(&second).unwrap();
    journal.sources.get_mut("b").unwrap().refuse_writes(false);
    let third = epoch(3, &["b", "a"]);
    journal.append(&third).unwrap();
    drop(journal);
    let (journal, recovery) = Journal::open(&data, &names, 3).unwrap();
    assert_eq!(recovery.cuts, []);
    assert_replays(journal.replay(1).unwrap(), &[first, second, third]);
}

#[test]
fn a_failed_epoch_leaves_no_trace_and_can_be_tried_again() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let names = sources(&["a", "b"]);
    let (mut journal, _) = Journal::open(&data, &names, 0).unwrap();
    journal.append(&epoch(1, &["a", "b"])).unwrap();
    // The second source's next segment cannot be created: a folder has its name.
    journal.set_segment_bytes_max(1);
    let in_the_way = segment::path(&dir.path().join("journal/b"), 2);
    std::fs::create_dir(&in_the_way).unwrap();
    assert_eq!(journal.append(&epoch(2, &["a", "b"])).unwrap_err().kind(), ErrorKind::Storage);
    std::fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(journal.last_epoch(), 1);
    assert_replays(replay(&data, 1).unwrap(), &[epoch(1, &["a", "b"])]);
    journal.append(&epoch(2, &["b", "a"])).unwrap();
    drop(journal);
    let (journal, recovery) = Journal::open(&data, &names, 2).unwrap();
    assert_eq!(recovery.cuts, []);
    assert_replays(journal.replay(1).unwrap(), &[epoch(1, &["a", "b"]), epoch(2, &["b", "a"])]);
}

#[test]
fn a_segment_may_be_as_old_as_is_said() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let (mut journal, _) = Journal::open(&data, &sources(&["a"]), 0).unwrap();
    journal.set_segment_age_max(10);
    for (number, time_us) in [(1, 0), (2, 9), (3, 10), (4, 19), (5, 35)] {
        journal.append(&EpochInput { time_us, ..epoch(number, &["a"]) }).unwrap();
    }
    let names = segment::list(&dir.path().join("journal/a")).unwrap();
    assert_eq!(names.iter().map(|(first, _)| *first).collect::<Vec<_>>(), [1, 3, 5]);
    assert_eq!(journal.replay(1).unwrap().map(Result::unwrap).count(), 5);
}

#[test]
fn old_segments_go_and_it_says_so() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let names = sources(&["a", "b"]);
    let (mut journal, _) = Journal::open(&data, &names, 0).unwrap();
    journal.set_segment_bytes_max(1);
    let of = |epoch: u64| if epoch.is_multiple_of(3) { &["b"][..] } else { &["a"] };
    let inputs: Vec<EpochInput> = (1..=12).map(|number| epoch(number, of(number))).collect();
    for input in &inputs {
        journal.append(input).unwrap();
    }
    let bytes = journal.bytes();
    assert_eq!((segments(dir.path(), "a"), segments(dir.path(), "b")), (8, 4));
    assert_eq!((first(&data).unwrap(), let_go(&data, 0).unwrap()), (1, 0));

    let freed = let_go(&data, 7).unwrap();
    // Of `a` those of 1, 2, 4, 5 and 7, of `b` that of 3: what follows upon 6 is later than 8.
    assert_eq!((segments(dir.path(), "a"), segments(dir.path(), "b")), (3, 3));
    assert_eq!(first(&data).unwrap(), 8);
    assert_replays(journal.replay(8).unwrap(), &inputs[7..]);
    let refused = journal.replay(7).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(refused.message().contains("before 8"), "{refused}");
    drop(journal);

    let (mut journal, recovery) = Journal::open(&data, &names, 12).unwrap();
    assert_eq!((recovery.last_epoch, journal.bytes()), (12, bytes - freed));
    journal.append(&epoch(13, &["a"])).unwrap();
    assert_eq!(journal.replay(8).unwrap().count(), 6);
    // The newest segments stay whatever is said, and the first epoch never goes back.
    let_go(&data, 100).unwrap();
    assert_eq!((segments(dir.path(), "a"), segments(dir.path(), "b")), (2, 2));
    let_go(&data, 3).unwrap();
    assert_eq!(first(&data).unwrap(), 101);
}

#[test]
fn the_end_of_a_journal_is_what_it_is_without_the_beginning() {
    let (whole, slice) = (crate::scratch::dir(), crate::scratch::dir());
    let (whole, slice) =
        (DataDir::open(whole.path()).unwrap(), DataDir::open(slice.path()).unwrap());
    let epochs = [
        epoch(1, &["a"]),
        epoch(2, &[]),
        epoch(3, &["b", "a"]),
        epoch(4, &["a"]),
        epoch(5, &[]),
        epoch(6, &["a", "b"]),
    ];
    let (mut journal, _) = Journal::open(&whole, &sources(&["a", "b"]), 0).unwrap();
    let digests: Vec<_> = epochs.iter().map(|epoch| journal.append(epoch).unwrap()).collect();
    let mut place = Place::default();
    epochs[..3].iter().for_each(|epoch| place.pass(epoch));
    let mut journal = Journal::begin_at(&slice, &sources(&["a", "b"]), &place).unwrap();
    assert!(journal.append(&epochs[0]).is_err());
    for (epoch, digest) in epochs.iter().zip(&digests).skip(3) {
        assert_eq!(journal.append(epoch).unwrap(), *digest, "epoch {}", epoch.epoch);
    }
    let read: Vec<_> = replay(&slice, 4).unwrap().map(Result::unwrap).collect();
    assert_eq!(read.len(), 3);
    for ((read, epoch), digest) in read.iter().zip(&epochs[3..]).zip(&digests[3..]) {
        assert_same(read, epoch);
        assert_eq!(read.digest, Some(*digest));
    }
    assert!(Journal::begin_at(&slice, &sources(&["a", "b"]), &place).is_err());
    // Without one of its epochs it is damaged.
    assert!(replay(&slice, 3).unwrap().next().unwrap().is_err());
}
