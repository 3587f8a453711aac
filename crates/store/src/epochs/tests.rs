#![allow(clippy::unwrap_used)]

use std::path::Path;

use syncline_change::ErrorKind;

use super::*;

fn record(epoch: u64) -> EpochRecord {
    let position = Some(serde_json::json!({ "file": "a.csv", "byte": epoch * 100 }));
    let source = SourceRecord { rows: epoch * 2, rejected: epoch % 2, position };
    let view = ViewRecord { rows: 3, digest: format!("{epoch:064x}") };
    EpochRecord {
        epoch,
        time_us: 1_700_000_000_000_000 + epoch as i64,
        input: Some(format!("{epoch:064x}")),
        sources: BTreeMap::from([("flights".to_owned(), source)]),
        views: BTreeMap::from([("delays".to_owned(), view)]),
    }
}

/// A data directory with the records of epochs 1 to `last`.
fn with_records(last: u64) -> (tempfile::TempDir, DataDir) {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    let (mut log, found, cut) = EpochLog::open(&data).unwrap();
    assert_eq!((found, cut), (None, None));
    for epoch in 1..=last {
        log.append(&record(epoch)).unwrap();
    }
    log.sync().unwrap();
    (dir, data)
}

fn epochs(log: &EpochLog) -> Vec<u64> {
    log.records().unwrap().map(|chained| chained.unwrap().record.epoch).collect()
}

fn rewrite(path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    edit(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_slice_of_the_log_hangs_on_the_record_before_it() {
    let (_dir, data) = with_records(4);
    let mut all = records(&data).unwrap().unwrap();
    let first_two: Vec<_> = all.by_ref().take(2).map(Result::unwrap).collect();
    assert_eq!(first_two.len(), 2);
    let head = all.head();
    let rest: Vec<_> = all.by_ref().map(Result::unwrap).collect();

    let dir = crate::scratch::dir();
    let slice = DataDir::open(dir.path()).unwrap();
    let mut log = EpochLog::begin_after(&slice, 2, head).unwrap();
    assert!(log.append(&record(2)).is_err());
    for epoch in [3, 4] {
        log.append(&record(epoch)).unwrap();
    }
    log.sync().unwrap();
    assert_eq!(log.head(), all.head());
    assert!(EpochLog::begin_after(&slice, 2, head).is_err());
    let mut read = records_after(&slice, 2, head).unwrap().unwrap();
    assert_eq!(read.by_ref().map(Result::unwrap).collect::<Vec<_>>(), rest);
    assert_eq!(read.head(), all.head());
    // It is no log from the beginning, nor does it follow another record.
    let first = |records: Option<Records>| records.unwrap().next().unwrap().unwrap_err().kind();
    assert_eq!(first(records(&slice).unwrap()), ErrorKind::Corrupt);
    assert_eq!(first(records_after(&slice, 2, all.head()).unwrap()), ErrorKind::Corrupt);
}

#[test]
fn records_read_back_in_a_chain() {
    let (_dir, data) = with_records(4);
    let (log, last, cut) = EpochLog::open(&data).unwrap();
    assert_eq!((last, cut), (Some(record(4)), None));
    let chained: Vec<_> = log.records().unwrap().map(Result::unwrap).collect();
    assert_eq!(
        chained.iter().map(|c| c.record.clone()).collect::<Vec<_>>(),
        [1, 2, 3, 4].map(record)
    );
    assert_eq!(chained[0].prev, "0".repeat(64));
    let before = serde_json::to_vec(&chained[2]).unwrap();
    assert_eq!(chained[3].prev, blake3::hash(&before).to_hex().as_str());
}

#[test]
fn a_record_must_follow_the_last_one() {
    let (_dir, data) = with_records(2);
    let (mut log, ..) = EpochLog::open(&data).unwrap();
    for epoch in [0, 1, 2, 4] {
        assert_eq!(log.append(&record(epoch)).unwrap_err().kind(), ErrorKind::Bug);
    }
    log.append(&record(3)).unwrap();
    assert_eq!((log.last_epoch(), epochs(&log)), (3, vec![1, 2, 3]));
}

#[test]
fn truncated_it_goes_on_from_there() {
    let (_dir, data) = with_records(5);
    let (mut log, ..) = EpochLog::open(&data).unwrap();
    log.truncate_after(7).unwrap();
    assert_eq!(epochs(&log), [1, 2, 3, 4, 5]);
    log.truncate_after(2).unwrap();
    assert_eq!((log.last_epoch(), epochs(&log)), (2, vec![1, 2]));
    log.append(&record(3)).unwrap();
    assert_eq!(epochs(&log), [1, 2, 3]);
    log.truncate_after(0).unwrap();
    assert_eq!((log.last_epoch(), epochs(&log)), (0, vec![]));
    log.append(&record(1)).unwrap();
    drop(log);
    let (log, last, _) = EpochLog::open(&data).unwrap();
    assert_eq!((last, epochs(&log)), (Some(record(1)), vec![1]));
}

#[test]
fn a_torn_end_is_cut_and_reported() {
    let (_dir, data) = with_records(3);
    rewrite(&data.epochs(), |bytes| bytes.truncate(bytes.len() - 1));
    assert_eq!(records(&data).unwrap().unwrap().map(Result::unwrap).count(), 2);
    let (mut log, last, cut) = EpochLog::open(&data).unwrap();
    assert_eq!(last, Some(record(2)));
    assert_eq!(cut.unwrap().file, data.epochs());
    log.append(&record(3)).unwrap();
    assert_eq!(epochs(&log), [1, 2, 3]);
}

#[test]
fn a_flipped_byte_in_what_was_synced_is_named() {
    let (_dir, data) = with_records(3);
    let (mut log, ..) = EpochLog::open(&data).unwrap();
    log.append(&record(4)).unwrap();
    drop(log);
    rewrite(&data.epochs(), |bytes| bytes[100] ^= 1);
    let error = EpochLog::open(&data).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("epochs.log is damaged at byte 16"), "{error}");
}

#[test]
fn an_exchanged_record_breaks_the_chain() {
    let (_dir, data) = with_records(4);
    // Another history of the same length: only the second epoch differs.
    let (_other_dir, other) = with_records(1);
    let (mut log, ..) = EpochLog::open(&other).unwrap();
    let mut different = record(2);
    different.time_us += 7;
    log.append(&different).unwrap();
    let forged = std::fs::read(other.epochs()).unwrap();
    rewrite(&data.epochs(), |bytes| {
        let genuine = bytes.len();
        bytes[..forged.len()].copy_from_slice(&forged);
        assert_eq!(bytes.len(), genuine);
    });
    // Every checksum holds; only the chain tells.
    let (log, last, _) = EpochLog::open(&data).unwrap();
    assert_eq!(last, Some(record(4)));
    let read: Vec<_> = log.records().unwrap().collect();
    assert_eq!(read.len(), 3);
    let error = read[2].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.detail_text().unwrap().contains("broken at epoch 3"), "{error}");
}

#[test]
fn nothing_recorded_is_not_an_error() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    assert!(records(&data).unwrap().is_none());
}
