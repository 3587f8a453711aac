//! What the journal only refers to is read again as it was, or not at all.

use super::*;

const COLUMNS: &str = "id BIGINT; name TEXT";

fn referred(path: &str, format: &str) -> SourceConfig {
    config(serde_json::json!({"path": path, "format": format, "journal": "reference"}))
}

/// More than one chunk, with a row that is rejected in each.
fn text(row: impl Fn(usize) -> String, broken: &str) -> String {
    let row = |i: usize| if i % 5_000 == 17 { format!("{broken}\n") } else { row(i) + "\n" };
    (0..30_000).map(row).collect()
}

/// The chunks of a source, and what reads their rows again.
async fn read_with(
    dir: &Path,
    config: &SourceConfig,
    decode_threads: usize,
) -> (Vec<Chunk>, Arc<dyn Decode>) {
    let env = SourceEnv { decode_threads, ..env(dir) };
    let (mut source, decode) = open("s", config, schema(COLUMNS), None, &env).unwrap();
    (chunks(&mut *source).await.unwrap(), decode)
}

#[tokio::test]
async fn rows_are_read_again_as_they_were() {
    let json =
        |i: usize| format!("{{\"id\": {i}, \"name\": \"number {i} of some, padded to be long\"}}");
    let debezium = |i: usize| {
        format!(
            "{{\"op\": \"u\", \"before\": {{\"id\": {i}, \"name\": \"a\"}}, \"after\": {}}}",
            json(i)
        )
    };
    let csv = |i: usize| format!("\"number {i}\",{i}");
    for (format, text) in [
        ("json", text(json, "{\"id\": \"x\"}")),
        ("debezium-json", text(debezium, "{\"op\": \"q\"}")),
        ("csv", format!("name,id\n{}", text(csv, "x,y"))),
    ] {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("a.txt"), &text).unwrap();
        for threads in [1, 3] {
            let (chunks, decode) = read_with(dir.path(), &referred("a.txt", format), threads).await;
            let with_rows = chunks.iter().filter(|chunk| !chunk.rows.is_empty());
            let mut bytes = 0;
            for chunk in with_rows {
                let origin = chunk.origin.as_ref().unwrap();
                assert_eq!(origin.size, text.len() as u64);
                let again = decode.read_again(origin).unwrap();
                assert_eq!(again.rows(), chunk.rows.rows(), "{format} {origin:?}");
                assert_eq!(again.weights(), chunk.rows.weights());
                bytes += origin.length;
            }
            assert!(chunks.len() > 3 && bytes > text.len() as u64 / 2, "{format}: {bytes} bytes");
        }
    }
}

#[tokio::test]
async fn compressed_and_other_files_are_not_referred_to() {
    let dir = TempDir::new().unwrap();
    let lines = "{\"id\":1}\n{\"id\":2}\n";
    std::fs::write(dir.path().join("a.json.zst"), zstd::encode_all(lines.as_bytes(), 1).unwrap())
        .unwrap();
    std::fs::write(dir.path().join("b.json"), lines).unwrap();
    let origins = |chunks: &[Chunk]| -> Vec<Option<String>> {
        let with_rows = chunks.iter().filter(|chunk| !chunk.rows.is_empty());
        with_rows.map(|chunk| chunk.origin.as_ref().map(|origin| origin.file.clone())).collect()
    };
    let (referred, _) = read_with(dir.path(), &referred("*", "json"), 1).await;
    assert_eq!(origins(&referred), [None, Some("b.json".to_owned())]);
    let (copied, _) = read_with(dir.path(), &simple("*", "json"), 1).await;
    assert_eq!(origins(&copied), [None, None]);
}

#[tokio::test]
async fn a_file_that_has_changed_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.csv");
    let config = referred("a.csv", "csv");
    std::fs::write(&path, "id,name\n1,a\n2,b\n").unwrap();
    let (chunks, decode) = read_with(dir.path(), &config, 1).await;
    let origin = chunks[0].origin.clone().unwrap();
    let refused = |decode: &dyn Decode, detail: &str| {
        let error = decode.read_again(&origin).unwrap_err();
        assert_eq!(error.kind(), syncline_change::ErrorKind::Conflict);
        assert!(error.report().contains("a.csv"), "{}", error.report());
        assert_eq!(error.detail_text(), Some(detail));
    };
    std::fs::write(&path, "id,name\n1,a\n3,b\n").unwrap();
    refused(&*decode, "its 8 bytes from byte 8 on are others now");
    std::fs::write(&path, "id,name\n1,a\n").unwrap();
    refused(&*decode, "its 8 bytes from byte 8 on are not all there");
    std::fs::remove_file(&path).unwrap();
    refused(&*decode, "it is no longer there");
    // What was appended since does not matter.
    std::fs::write(&path, "id,name\n1,a\n2,b\n3,c\n").unwrap();
    assert_eq!(decode.read_again(&origin).unwrap().rows(), chunks[0].rows.rows());

    // Read as another format, the same bytes are other rows.
    let (_, decode) =
        open("s", &referred("a.csv", "json"), schema(COLUMNS), None, &env(dir.path())).unwrap();
    refused(&*decode, "its 8 bytes from byte 8 on were 2 rows, and are 0");
}
