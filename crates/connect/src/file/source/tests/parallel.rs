//! Several threads give exactly what one gives, chunk by chunk.

use std::fmt::Write as _;
use std::io::Write as _;

use super::*;

const COLUMNS: &str = "id BIGINT; name TEXT";

/// Rows of some five MiB in all; some are broken, and `odd` is put in the place of a few.
fn rows(good: impl Fn(usize) -> String, odd: &[&str]) -> String {
    let mut text = String::new();
    let mut i = 0;
    while text.len() < 5 << 20 {
        match (i % 1009, odd.get(i / 1009 % odd.len().max(1))) {
            (0, Some(odd)) => text.push_str(odd),
            _ => text.push_str(&good(i)),
        }
        i += 1;
    }
    text
}

/// A name whose length differs from row to row.
fn name(i: usize) -> &'static str {
    const NAME: &str = "a name that is long enough to be cut somewhere, and then some more";
    &NAME[..i.wrapping_mul(0x9e37_79b9) % NAME.len()]
}

fn json_rows(odd: &[&str]) -> String {
    rows(|i| format!("{{\"id\":{i},\"name\":\"{}\"}}\n", name(i)), odd)
}

fn csv_rows(odd: &[&str]) -> String {
    let rows = rows(|i| format!("{},{i}\n", name(i).replace(',', ";")), odd);
    format!("name,id\n{rows}")
}

fn gzip(text: &str) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(text.as_bytes()).unwrap();
    gz.finish().unwrap()
}

fn open_with(
    dir: &Path,
    config: &SourceConfig,
    at: Option<Position>,
    decode_threads: usize,
) -> Box<dyn Source> {
    let env = SourceEnv { decode_threads, ..env(dir) };
    open("s", config, schema(COLUMNS), at, &env).unwrap().0
}

fn assert_same(one: &[Chunk], several: &[Chunk]) {
    for (i, (a, b)) in one.iter().zip(several).enumerate() {
        assert_eq!(a.position, b.position, "chunk {i}");
        assert_eq!(a.rows.rows(), b.rows.rows(), "chunk {i}");
        assert_eq!(a.rows.weights(), b.rows.weights(), "chunk {i}");
        assert_eq!(a.rejected, b.rejected, "chunk {i}");
        assert_eq!(a.bytes, b.bytes, "chunk {i}");
    }
    assert_eq!(one.len(), several.len());
}

/// Reads `files` with one thread and with several, from the start and from a place in the middle.
/// Returns the chunks.
async fn check(format: &str, files: &[(&str, &[u8])]) -> Vec<Chunk> {
    let dir = TempDir::new().unwrap();
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let config = simple("*", format);
    let one = chunks(&mut *open_with(dir.path(), &config, None, 1)).await.unwrap();
    for threads in [2, 5] {
        let several = chunks(&mut *open_with(dir.path(), &config, None, threads)).await.unwrap();
        assert_same(&one, &several);
    }
    let middle = one.len() / 3;
    let at = Some(one[middle].position.clone());
    let rest = chunks(&mut *open_with(dir.path(), &config, at.clone(), 1)).await.unwrap();
    assert_same(&rest, &chunks(&mut *open_with(dir.path(), &config, at, 3)).await.unwrap());
    one
}

#[tokio::test]
async fn json() {
    let long = format!("{{\"id\":1,\"name\":\"{}\"}}\n", "x".repeat(3 << 20));
    let odd = ["{\"id\":\n", "\n", "{\"name\":null,\"id\":-1.0}\r\n", "{\"id\":\"x\"}\n"];
    let chunks = check(
        "json",
        &[
            ("a", json_rows(&odd).as_bytes()),
            ("b", b"{\"id\":1}"),
            ("c", (json_rows(&odd) + &long + &json_rows(&[])).as_bytes()),
            ("d", json_rows(&[]).trim_end().as_bytes()),
            ("e", b""),
        ],
    )
    .await;
    let read = content(&chunks);
    assert!(read.rejected.len() > 20);
    assert!(read.rejected.iter().any(|reject| reject.ends_with("too-long")));
}

#[tokio::test]
async fn text_of_other_encodings() {
    let mut bytes = json_rows(&["{\"id\":1,\"name\":\"\u{e9}\u{20ac}\"}\n"]).into_bytes();
    for at in [0, 1 << 19, 1 << 20, 3 << 20] {
        bytes[at] = 0xff;
    }
    let chunks = check("json", &[("a", &bytes)]).await;
    assert_eq!(content(&chunks).rejected.len(), 4);
}

#[tokio::test]
async fn compressed_json() {
    let text = json_rows(&["null\n"]);
    let zst = zstd::encode_all(text.as_bytes(), 1).unwrap();
    check("json", &[("a.json.gz", &gzip(&text)), ("b.json.zst", &zst)]).await;
}

#[tokio::test]
async fn envelopes() {
    let row = |i: usize| match i % 3 {
        0 => format!("{{\"op\":\"d\",\"before\":{{\"id\":{i},\"name\":\"{}\"}}}}\n", name(i)),
        _ => format!("{{\"op\":\"c\",\"after\":{{\"id\":{i},\"name\":\"{}\"}}}}\n", name(i)),
    };
    let odd = ["{\"op\":\"u\",\"before\":{\"id\":1},\"after\":{\"id\":2}}\n", "{\"op\":\"?\"}\n"];
    check("debezium-json", &[("a", rows(row, &odd).as_bytes())]).await;
}

#[tokio::test]
async fn csv() {
    let odd = ["x,y\n", "too,many,fields\n", "\n", "lone quote\",7\n", "name,8\r\n"];
    let quoted = ["\"two\nlines\",7\n", "\"\"\"\",8\n"];
    let chunks = check(
        "csv",
        &[
            ("a.csv", csv_rows(&odd[..3]).as_bytes()),
            ("b.csv", csv_rows(&odd).as_bytes()),
            ("c.csv", csv_rows(&quoted).as_bytes()),
            (
                "d.csv",
                (csv_rows(&[]) + "\"two\nlines\",7\n" + &rows(|i| format!("x,{i}\n"), &[]))
                    .as_bytes(),
            ),
            ("e.csv.gz", &gzip(&csv_rows(&["\"never closed,1\n"]))),
        ],
    )
    .await;
    let rejected: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.rejected).collect();
    assert!(rejected.len() > 100);
    assert!(rejected.iter().all(|reject| reject.context.as_deref() == Some("name,id")));
}

#[tokio::test]
async fn an_error_comes_after_what_is_before_it() {
    let dir = TempDir::new().unwrap();
    // Whole lines of random text, so that the compressed file is large as well.
    let mut text = String::new();
    for i in 0..100_000u64 {
        let noise = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let _ = writeln!(text, "{{\"id\":{i},\"name\":\"{noise:x}{:x}\"}}", noise.rotate_left(32));
    }
    let bytes = gzip(&text);
    std::fs::write(dir.path().join("a.json.gz"), &bytes[..bytes.len() * 4 / 5]).unwrap();
    let config = simple("*", "json");
    let mut read = Vec::new();
    for threads in [1, 3] {
        let mut source = open_with(dir.path(), &config, None, threads);
        let mut chunks = Vec::new();
        let error = loop {
            match source.next().await {
                Ok(chunk) => chunks.push(chunk.unwrap()),
                Err(error) => break error,
            }
        };
        assert_eq!(error.message(), "a.json.gz cannot be decompressed");
        read.push(chunks);
    }
    assert!(read[0].len() > 3);
    assert_same(&read[0], &read[1]);
}

#[tokio::test]
async fn a_followed_file_is_read_up_to_its_last_whole_line() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.json");
    let text = json_rows(&["{\"id\":\n"]);
    let lines = text.lines().count();
    std::fs::write(&path, format!("{text}{{\"id\":7")).unwrap();
    let config = config(serde_json::json!({"path": "a.json", "format": "json", "follow": true}));
    let mut source = open_with(dir.path(), &config, None, 3);
    let mut read = Content::default();
    while read.rows.len() + read.rejected.len() < lines {
        let chunk = tokio::time::timeout(PATIENCE, source.next()).await.unwrap().unwrap();
        read.add(&chunk.unwrap());
    }
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"7}\n").unwrap();
    let chunk = loop {
        let chunk = tokio::time::timeout(PATIENCE, source.next()).await.unwrap().unwrap().unwrap();
        if chunk.bytes > 0 {
            break chunk;
        }
    };
    assert_eq!(content(&[chunk]).rows, ["[77,null]"]);
}
