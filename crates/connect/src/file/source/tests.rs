#![allow(clippy::unwrap_used)]

mod follow;
mod parallel;
mod reread;
mod resume;

use std::path::Path;
use std::time::Duration;

use syncline_change::json;
use tempfile::TempDir;

use super::*;
use crate::decode::tests::schema;

/// Longer than anything here takes; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Settings from YAML-like JSON, with `path` and `format`.
fn config(settings: serde_json::Value) -> SourceConfig {
    serde_json::from_value(settings).unwrap()
}

fn simple(path: &str, format: &str) -> SourceConfig {
    config(serde_json::json!({"path": path, "format": format}))
}

fn open_in(
    dir: &Path,
    config: &SourceConfig,
    columns: &str,
    at: Option<Position>,
) -> Box<dyn Source> {
    open("s", config, schema(columns), at, &env(dir)).unwrap().0
}

fn env(dir: &Path) -> SourceEnv {
    let replay = Arc::new(ReplayClock::new());
    SourceEnv { base_dir: dir.to_owned(), replay, chunk_rows_max: u64::MAX, decode_threads: 1 }
}

/// What a chunk holds, as text.
#[derive(Clone, Debug, Default, PartialEq)]
struct Content {
    rows: Vec<String>,
    rejected: Vec<String>,
}

impl Content {
    fn add(&mut self, chunk: &Chunk) {
        let rows = json::arrays(chunk.rows.rows()).unwrap();
        let weighted = rows.iter().enumerate().map(|(row, v)| match chunk.rows.weight(row) {
            1 => v.to_string(),
            weight => format!("{weight}x{v}"),
        });
        self.rows.extend(weighted);
        self.rejected
            .extend(chunk.rejected.iter().map(|r| format!("{} {}", r.position, r.class.name())));
    }
}

/// Every chunk to the end.
async fn chunks(source: &mut dyn Source) -> Result<Vec<Chunk>> {
    let mut chunks = Vec::new();
    while let Some(chunk) = tokio::time::timeout(PATIENCE, source.next()).await.unwrap()? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

fn content(chunks: &[Chunk]) -> Content {
    let mut content = Content::default();
    chunks.iter().for_each(|chunk| content.add(chunk));
    content
}

async fn read(dir: &Path, config: &SourceConfig, columns: &str) -> Result<Content> {
    Ok(content(&chunks(&mut *open_in(dir, config, columns, None)).await?))
}

#[tokio::test]
async fn files_are_read_in_the_order_of_their_names() {
    let dir = TempDir::new().unwrap();
    for (name, text) in [
        ("b.csv", "id,name\n3,c\nx,d\n"),
        ("a.csv", "name,id\na,1\nb,2"),
        ("c.csv", ""),
        ("d.csv", "id,name\r\n4,\"two\r\nlines\"\r\ny,z"),
        ("e.txt", "not asked for"),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let read = read(dir.path(), &simple("*.csv", "csv"), "id BIGINT; name TEXT").await.unwrap();
    assert_eq!(read.rows, ["[1,\"a\"]", "[2,\"b\"]", "[3,\"c\"]", "[4,\"two\\r\\nlines\"]"]);
    assert_eq!(read.rejected, ["b.csv:3 wrong-type", "d.csv:4 wrong-type"]);
}

#[tokio::test]
async fn what_cannot_be_read_says_so() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("a.csv"), "idd\n1\n").unwrap();
    std::fs::write(dir.path().join("torn.json.gz"), b"\x1f\x8b\x08\x00\x00").unwrap();
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    for (path, format, message) in [
        ("none*.csv", "csv", "no file matches `none*.csv`"),
        ("a.csv", "csv", "file a.csv: the header has no column `id`"),
        ("torn.json.gz", "json", "torn.json.gz cannot be decompressed"),
        ("a.csv", "parquet", "a.csv cannot be read as Parquet"),
        ("folder", "csv", "`folder` is a folder"),
        ("s3://bucket/a.csv", "csv", "`s3://bucket/a.csv`: files are read from this machine only"),
        ("a[.csv", "csv", "`a[.csv` is not a path or a glob"),
    ] {
        let error = read(dir.path(), &simple(path, format), "id BIGINT").await.unwrap_err();
        assert_eq!(error.message(), message);
        assert!(error.hint_text().is_some() || error.detail_text().is_some(), "{message}");
        assert!(!error.kind().is_transient(), "{message}");
    }
}

#[tokio::test]
async fn after_a_transient_error_reading_goes_on() {
    let dir = TempDir::new().unwrap();
    // More than the queue holds, so that the thread cannot be at the second file yet.
    let text: String = (0..100_000).map(|i| format!("{{\"id\":{i}}}\n")).collect();
    std::fs::write(dir.path().join("a.json"), text).unwrap();
    std::fs::write(dir.path().join("b.json"), "").unwrap();
    let mut source = open_in(dir.path(), &simple("*.json", "json"), "id BIGINT", None);
    let mut read = content(&[source.next().await.unwrap().unwrap()]);
    std::fs::remove_file(dir.path().join("b.json")).unwrap();
    let error = loop {
        match source.next().await {
            Ok(chunk) => read.add(&chunk.unwrap()),
            Err(error) => break error,
        }
    };
    assert!(error.kind().is_transient(), "{error}");
    assert!(error.message().ends_with("b.json"), "{error}");
    std::fs::write(dir.path().join("b.json"), "{\"id\":-1}\n").unwrap();
    chunks(&mut *source).await.unwrap().iter().for_each(|chunk| read.add(chunk));
    assert_eq!(read.rows.len(), 100_001);
    assert_eq!(read.rows.last().unwrap(), "[-1]");
    assert!(source.next().await.unwrap().is_none(), "the end stays the end");
}

/// Reads one byte at a time, as the slowest of pipes would.
struct OneByte<'a>(&'a [u8]);

impl std::io::Read for OneByte<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        std::io::Read::read(&mut self.0, &mut to[..1])
    }
}

#[test]
fn a_buffer_of_single_bytes() {
    let text = b"one\ntwo\nthree";
    let mut buffer = text::TextBuffer::new(OneByte(text), "x", 10);
    buffer.fill().unwrap();
    assert_eq!(buffer.unread(), text);
    assert!(buffer.is_at_end());
    assert_eq!(buffer.skip_line().unwrap(), (4, true));
    buffer.skip(4).unwrap();
    assert_eq!(buffer.unread(), b"three");
    assert_eq!(buffer.skip_line().unwrap(), (5, false));
    assert!(buffer.skip(1).is_err());
}

#[tokio::test]
async fn rows_longer_than_the_buffer_are_rejected_and_passed_over() {
    let dir = TempDir::new().unwrap();
    let long = "x".repeat(3 << 20);
    let text = format!("{{\"id\":1}}\n{{\"id\":\"{long}\"}}\n{{\"id\":2}}\n{{\"id\":\"{long}\"}}");
    std::fs::write(dir.path().join("a.json"), text).unwrap();
    let config = simple("a.json", "json");
    let mut source = open_in(dir.path(), &config, "id BIGINT", None);
    let chunks = chunks(&mut *source).await.unwrap();
    let read = content(&chunks);
    assert_eq!(read.rows, ["[1]", "[2]"]);
    assert_eq!(read.rejected, ["a.json:2 too-long", "a.json:4 too-long"]);
    assert!(chunks.iter().flat_map(|c| &c.rejected).all(|r| r.bytes.len() == 64 << 10));
}

#[tokio::test]
async fn chunks_are_of_bounded_size() {
    let dir = TempDir::new().unwrap();
    let text: String = (0..20_000).map(|i| format!("{{\"id\":{i}}}\n")).collect();
    std::fs::write(dir.path().join("a.json"), &text).unwrap();
    let mut source = open_in(dir.path(), &simple("a.json", "json"), "id BIGINT", None);
    let chunks = chunks(&mut *source).await.unwrap();
    let sizes: Vec<usize> = chunks.iter().map(|chunk| chunk.rows.num_rows()).collect();
    assert_eq!(sizes, [8192, 8192, 3616, 0]);
    assert_eq!(chunks.iter().map(|chunk| chunk.bytes).sum::<u64>(), text.len() as u64);
    let end = serde_json::json!({"files": {"a.json": {
        "offset": text.len(), "line": 20_000, "size": text.len(),
    }}});
    assert_eq!(chunks.last().unwrap().position, end);
}

#[tokio::test]
async fn a_source_that_is_dropped_stops_its_thread() {
    let dir = TempDir::new().unwrap();
    let text: String = (0..200_000).map(|i| format!("{{\"id\":{i}}}\n")).collect();
    std::fs::write(dir.path().join("a.json"), text).unwrap();
    let config = simple("a.json", "json");
    let mut source = FileSource {
        name: "s".to_owned(),
        job: Job {
            config,
            schema: schema("id BIGINT"),
            base_dir: dir.path().to_owned(),
            chunk_rows_max: CHUNK_ROWS_MAX,
            decode_threads: 2,
        },
        pace: None,
        pacer: None,
        position: None,
        state: State::Idle,
    };
    let alive = Arc::downgrade(&source.job.schema);
    assert!(source.next().await.unwrap().is_some());
    drop(source);
    let gone = async {
        while alive.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn a_position_of_something_else_is_refused() {
    let dir = TempDir::new().unwrap();
    let config = simple("a.json", "json");
    let position = Some(serde_json::json!({"sequence": 7}));
    let opened = open("s", &config, schema("id BIGINT"), position, &env(dir.path()));
    assert_eq!(opened.err().unwrap().kind(), syncline_change::ErrorKind::Corrupt);
}

#[test]
fn mended_rows_are_decoded_again() {
    let job = |format: &str| Job {
        config: simple("x", format),
        schema: schema("id BIGINT; name TEXT"),
        base_dir: std::path::PathBuf::new(),
        chunk_rows_max: CHUNK_ROWS_MAX,
        decode_threads: 2,
    };
    for (format, bytes, context, rows, rejected) in [
        ("csv", "b,7", Some("name,id"), "[[7,\"b\"]]", 0),
        ("csv", "b,7", None, "[]", 1),
        ("json", "{\"id\":7}\n{\"id\":\"x\"}", None, "[[7,null]]", 1),
        ("parquet", "{\"id\":7}", None, "[[7,null]]", 0),
        ("debezium-json", "{\"op\":\"c\",\"after\":{\"id\":7}}", None, "[[7,null]]", 0),
    ] {
        let decode = FileDecode::new(&job(format)).unwrap();
        let (batch, rejects) = decode.decode(bytes.as_bytes(), context).unwrap();
        let shown = serde_json::Value::from(json::arrays(batch.rows()).unwrap()).to_string();
        assert_eq!((shown.as_str(), rejects.len()), (rows, rejected), "{format}");
    }
}
