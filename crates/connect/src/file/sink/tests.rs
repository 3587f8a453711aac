#![allow(clippy::unwrap_used)]

mod crashes;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema};
use futures::FutureExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use syncline_change::sink::{EpochChanges, Progress, Snapshot};
use syncline_change::{Batch, ErrorKind};
use tempfile::TempDir;

use super::*;
use crate::blocking::BlockingSink;

fn rows(ids: &[i64]) -> RecordBatch {
    let names: StringArray = ids.iter().map(|id| Some(format!("row {id}, \"quoted\""))).collect();
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(ids.to_vec())) as _),
        ("name", Arc::new(names) as _),
    ])
    .unwrap()
}

fn shape() -> Shape {
    Shape { schema: rows(&[]).schema(), key: None }
}

fn epoch(epoch: u64, ids: &[i64]) -> EpochChanges {
    EpochChanges { epoch, changes: vec![Batch::inserts(rows(ids))] }
}

/// A sink of changes to `name` in a folder of its own.
fn changes_file(folder: &TempDir, name: &str, lines: append::Lines) -> append::ChangesFile {
    append::ChangesFile::new(folder.path().join(name), lines)
}

fn envelope(epoch: u64, id: i64) -> String {
    let after = format!("{{\"id\":{id},\"name\":\"row {id}, \\\"quoted\\\"\"}}");
    format!("{{\"op\":\"c\",\"before\":null,\"after\":{after},\"epoch\":{epoch}}}\n")
}

#[tokio::test]
async fn changes_are_appended_from_run_to_run() {
    let folder = TempDir::new().unwrap();
    let config: SinkConfig = serde_json::from_value(serde_json::json!({
        "from": "v", "path": "out/deep/v.json", "format": "json",
    }))
    .unwrap();
    let mut sink = new(&config, folder.path());
    sink.open(&shape(), None).await.unwrap();
    let progress = sink.write(&[epoch(1, &[1]), epoch(2, &[]), epoch(3, &[2])]).await.unwrap();
    assert_eq!(progress.epoch, 3);
    drop(sink);

    let mut sink = new(&config, folder.path());
    sink.open(&shape(), Some(&progress)).await.unwrap();
    assert_eq!(sink.write(&[epoch(4, &[3])]).await.unwrap().epoch, 4);
    let text = fs::read_to_string(folder.path().join("out/deep/v.json")).unwrap();
    assert_eq!(text, envelope(1, 1) + &envelope(3, 2) + &envelope(4, 3));
}

#[tokio::test]
async fn a_write_that_nobody_waited_for_is_not_repeated() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("v.json");
    let mut sink = OffThread::new(changes_file(&folder, "v.json", append::Lines::Json));
    sink.open(&shape(), None).await.unwrap();
    // Polled once, so that the write begins, and dropped.
    assert!(sink.write(&[epoch(1, &[1])]).now_or_never().is_none());
    sink.write(&[epoch(1, &[1]), epoch(2, &[2])]).await.unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), envelope(1, 1) + &envelope(2, 2));
}

#[test]
fn csv_changes_have_one_header() {
    let folder = TempDir::new().unwrap();
    let mut sink = changes_file(&folder, "v.csv", append::Lines::Csv);
    sink.open(&shape(), None).unwrap();
    let progress = sink.write(&[epoch(1, &[])]).unwrap();
    sink.open(&shape(), Some(&progress)).unwrap();
    sink.write(&[epoch(2, &[7])]).unwrap();
    let text = fs::read_to_string(folder.path().join("v.csv")).unwrap();
    assert_eq!(text, "op,epoch,id,name\nc,2,7,\"row 7, \"\"quoted\"\"\"\n");
}

#[test]
fn what_was_there_is_set_aside() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("v.json");
    for n in 1..=2 {
        fs::write(&path, format!("somebody's {n}")).unwrap();
        let mut sink = changes_file(&folder, "v.json", append::Lines::Json);
        sink.open(&shape(), None).unwrap();
        let aside = folder.path().join(format!("v.json.before-{n}"));
        assert_eq!(fs::read_to_string(aside).unwrap(), format!("somebody's {n}"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }
    assert_eq!(fs::read_to_string(folder.path().join("v.json.before-1")).unwrap(), "somebody's 1");
}

/// Opens a changelog of one epoch again after `meddle` had its way with the file.
fn reopened(meddle: impl FnOnce(&PathBuf)) -> Result<Progress> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("v.json");
    let mut sink = changes_file(&folder, "v.json", append::Lines::Json);
    sink.open(&shape(), None).unwrap();
    let progress = sink.write(&[epoch(1, &[1, 2, 3])]).unwrap();
    drop(sink);
    meddle(&path);
    let mut sink = changes_file(&folder, "v.json", append::Lines::Json);
    sink.open(&shape(), Some(&progress))?;
    let before = fs::read_to_string(&path).unwrap();
    let progress = sink.write(&[epoch(2, &[4])])?;
    assert_eq!(fs::read_to_string(&path).unwrap(), before + &envelope(2, 4));
    Ok(progress)
}

#[test]
fn a_file_that_somebody_changed_is_not_touched() {
    reopened(|_| {}).unwrap();
    reopened(|path| fs::write(path, fs::read_to_string(path).unwrap() + "{\"op\":\"c\"").unwrap())
        .unwrap();
    let shorter = reopened(|path| fs::write(path, "{}").unwrap()).unwrap_err();
    let gone = reopened(|path| fs::remove_file(path).unwrap()).unwrap_err();
    let other = reopened(|path| {
        let text = fs::read_to_string(path).unwrap();
        fs::write(path, text.replace("row 3", "row 9")).unwrap();
    })
    .unwrap_err();
    for error in [shorter, gone, other] {
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.hint_text().unwrap().contains("put the file back"), "{}", error.report());
    }
}

#[test]
fn two_writers_do_not_share_a_file() {
    let folder = TempDir::new().unwrap();
    let mut first = changes_file(&folder, "v.json", append::Lines::Json);
    first.open(&shape(), None).unwrap();
    let progress = first.write(&[epoch(1, &[1])]).unwrap();
    let mut second = changes_file(&folder, "v.json", append::Lines::Json);
    assert_eq!(second.open(&shape(), None).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(second.open(&shape(), Some(&progress)).unwrap_err().kind(), ErrorKind::Conflict);
    // One that does not ask is noticed at the next write.
    fs::write(folder.path().join("v.json"), "").unwrap();
    assert_eq!(first.write(&[epoch(2, &[1])]).unwrap_err().kind(), ErrorKind::Conflict);
}

#[test]
fn what_cannot_be_written_to_says_so() {
    let folder = TempDir::new().unwrap();
    for lines in [append::Lines::Json, append::Lines::Csv] {
        let mut sink = append::ChangesFile::new(folder.path().to_owned(), lines);
        assert_eq!(sink.open(&shape(), None).unwrap_err().kind(), ErrorKind::Config);
    }
    let mut sink = snapshot::SnapshotFile::new(folder.path().to_owned(), SinkFormat::Json);
    assert_eq!(sink.open(&shape(), None).unwrap_err().kind(), ErrorKind::Config);

    let named_op = Schema::new(vec![Field::new("op", DataType::Int64, true)]);
    let shape = Shape { schema: Arc::new(named_op), key: None };
    let mut csv = changes_file(&folder, "v.csv", append::Lines::Csv);
    let mut parquet = folder::ChangesFolder::new(folder.path().join("v"));
    for error in [csv.open(&shape, None).unwrap_err(), parquet.open(&shape, None).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("`op`"), "{}", error.report());
    }
}

fn snapshot(ids: &[&[i64]]) -> Snapshot {
    Snapshot { epoch: 5, rows: ids.iter().map(|ids| rows(ids)).collect() }
}

#[test]
fn a_snapshot_replaces_the_file() {
    let folder = TempDir::new().unwrap();
    for (format, name, some, none) in [
        (SinkFormat::Json, "v.json", "{\"id\":1,\"name\":\"row 1, \\\"quoted\\\"\"}\n", ""),
        (SinkFormat::Csv, "v.csv", "id,name\n1,\"row 1, \"\"quoted\"\"\"\n", "id,name\n"),
    ] {
        let path = folder.path().join("new/folder").join(name);
        let mut sink = snapshot::SnapshotFile::new(path.clone(), format);
        sink.open(&shape(), None).unwrap();
        assert_eq!(sink.replace(&snapshot(&[&[1], &[]])).unwrap().epoch, 5);
        assert_eq!(fs::read_to_string(&path).unwrap(), some);
        sink.replace(&snapshot(&[])).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), none);
    }
    let left: Vec<_> = fs::read_dir(folder.path().join("new/folder")).unwrap().collect();
    assert_eq!(left.len(), 2, "nothing else stays: {left:?}");
}

#[test]
fn a_large_snapshot_is_whole() {
    let folder = TempDir::new().unwrap();
    let ids: Vec<i64> = (0..20_000).collect();
    let path = folder.path().join("v.json");
    let mut sink = snapshot::SnapshotFile::new(path.clone(), SinkFormat::Json);
    sink.open(&shape(), None).unwrap();
    sink.replace(&snapshot(&[&ids])).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.len() > 2 * BUFFER_BYTES);
    for (line, id) in text.lines().zip(&ids) {
        assert!(line.starts_with(&format!("{{\"id\":{id},")), "{line}");
    }
    assert_eq!(text.lines().count(), ids.len());
}

#[test]
fn a_failing_snapshot_leaves_the_old_one() {
    // A map has no text form: the first batch is written, the second fails.
    let entries = DataType::Struct(Fields::from(vec![
        Field::new("keys", DataType::Utf8, false),
        Field::new("values", DataType::Utf8, true),
    ]));
    let map = DataType::Map(Arc::new(Field::new("entries", entries, false)), false);
    let unwritable = RecordBatch::try_from_iter([("m", new_null_array(&map, 1))]).unwrap();
    for format in [SinkFormat::Json, SinkFormat::Csv, SinkFormat::Parquet] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("v");
        let mut sink = snapshot::SnapshotFile::new(path.clone(), format);
        sink.open(&shape(), None).unwrap();
        sink.replace(&snapshot(&[&[1]])).unwrap();
        let before = fs::read(&path).unwrap();
        let failing = Snapshot { epoch: 6, rows: vec![rows(&[2]), unwritable.clone()] };
        sink.replace(&failing).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), before, "{format:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else stays");
        sink.replace(&snapshot(&[&[3]])).unwrap();
        assert_ne!(fs::read(&path).unwrap(), before);
    }
}

fn read_parquet(path: &std::path::Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<_> = reader.build().unwrap().map(|batch| batch.unwrap()).collect();
    concat_batches(&schema, &batches).unwrap()
}

#[test]
fn a_parquet_snapshot_reads_back() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("v.parquet");
    let mut sink = snapshot::SnapshotFile::new(path.clone(), SinkFormat::Parquet);
    sink.open(&shape(), None).unwrap();
    sink.replace(&snapshot(&[&[1, 2], &[3]])).unwrap();
    assert_eq!(read_parquet(&path).columns(), rows(&[1, 2, 3]).columns());
    sink.replace(&snapshot(&[])).unwrap();
    assert_eq!(read_parquet(&path).num_rows(), 0);
}

/// The file names in a folder of changes, and the ids of all rows in their order.
fn folder_content(path: &std::path::Path) -> (Vec<String>, Vec<i64>) {
    let mut names: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let ids = names.iter().flat_map(|name| {
        let rows = read_parquet(&path.join(name));
        rows.column_by_name("id").unwrap().as_primitive::<Int64Type>().values().to_vec()
    });
    let ids = ids.collect();
    (names, ids)
}

#[test]
fn parquet_changes_survive_lost_progress() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("v");
    let mut sink = folder::ChangesFolder::new(path.clone());
    sink.open(&shape(), None).unwrap();
    let progress = sink.write(&[epoch(1, &[1]), epoch(2, &[2, 3])]).unwrap();
    assert_eq!(progress.token, serde_json::json!({"epoch": 2}));
    // A write whose progress is lost, and one that was under way.
    sink.write(&[epoch(3, &[4]), epoch(4, &[])]).unwrap();
    fs::write(path.join(format!(".half{}", disk::TEMPORARY_END)), "half a file").unwrap();
    drop(sink);

    let mut sink = folder::ChangesFolder::new(path.clone());
    sink.open(&shape(), Some(&progress)).unwrap();
    assert_eq!(folder_content(&path).1, [1, 2, 3]);
    sink.write(&[epoch(3, &[4])]).unwrap();
    assert_eq!(sink.write(&[epoch(4, &[])]).unwrap().epoch, 4);
    sink.write(&[epoch(4, &[]), epoch(5, &[5])]).unwrap();
    let (names, ids) = folder_content(&path);
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    let name = |first, last| format!("{first:020}-{last:020}.parquet");
    assert_eq!(names, [name(1, 2), name(3, 3), name(5, 5)]);
    drop(sink);

    let mut sink = folder::ChangesFolder::new(path.clone());
    let too_old = Progress { epoch: 1, token: serde_json::Value::Null };
    assert_eq!(sink.open(&shape(), Some(&too_old)).unwrap_err().kind(), ErrorKind::Conflict);
    sink.open(&shape(), None).unwrap();
    assert_eq!(folder_content(&path).1, [0; 0]);
    assert_eq!(folder_content(&folder.path().join("v.before-1")).1, [1, 2, 3, 4, 5]);
}
