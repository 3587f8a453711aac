//! Wherever reading stops, what is read after it is exactly the rest.

use std::fs::File;
use std::io::Write;

use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::*;

const COLUMNS: &str = "id BIGINT; name TEXT";

/// The rows of one file: good ones, broken ones, long ones, with line breaks inside.
#[derive(Clone, Debug)]
struct Rows {
    names: Vec<String>,
}

impl Rows {
    fn csv(&self) -> String {
        let rows = self.names.iter().enumerate();
        let rows = rows.map(|(i, name)| match name.as_str() {
            "broken" => format!("{i},too,many\r\n"),
            name => format!("{i},\"{name}\"\n"),
        });
        std::iter::once("id,name\n".to_owned()).chain(rows).collect()
    }

    fn json(&self) -> String {
        let rows = self.names.iter().enumerate().map(|(i, name)| match name.as_str() {
            "broken" => "{\"id\":\n".to_owned(),
            name => format!("{}\n", serde_json::json!({"id": i, "name": name})),
        });
        rows.collect()
    }

    /// In row groups of ten rows.
    fn write_parquet(&self, path: &Path) {
        use arrow::array::{ArrayRef, RecordBatch, StringArray};
        let ids = (0..self.names.len()).map(|i| match self.names[i].as_str() {
            "broken" => "broken".to_owned(),
            _ => i.to_string(),
        });
        let ids: ArrayRef = Arc::new(StringArray::from_iter_values(ids));
        let names: ArrayRef = Arc::new(StringArray::from_iter_values(&self.names));
        let rows = RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(10)).build();
        let file = File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, rows.schema(), Some(properties)).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
    }
}

/// Writes `files` as `format` and returns the settings to read them.
fn write(dir: &Path, files: &[Rows], format: &str) -> SourceConfig {
    for (i, rows) in files.iter().enumerate() {
        let path = |ending: &str| dir.join(format!("part-{i}.{ending}"));
        match format {
            "csv" => std::fs::write(path("csv"), rows.csv()).unwrap(),
            "json" => std::fs::write(path("json"), rows.json()).unwrap(),
            "parquet" => rows.write_parquet(&path("parquet")),
            "csv.gz" => {
                // Two members, as `cat a.gz b.gz` makes.
                let text = rows.csv();
                let (front, back) = text.as_bytes().split_at(text.len() / 2);
                let mut bytes = Vec::new();
                for part in [front, back] {
                    let level = flate2::Compression::fast();
                    let mut gz = flate2::write::GzEncoder::new(&mut bytes, level);
                    gz.write_all(part).unwrap();
                    gz.finish().unwrap();
                }
                std::fs::write(path("csv.gz"), bytes).unwrap();
            }
            _ => {
                let bytes = zstd::encode_all(rows.json().as_bytes(), 1).unwrap();
                std::fs::write(path("json.zst"), bytes).unwrap();
            }
        }
    }
    let (name, _) = format.split_once('.').unwrap_or((format, ""));
    simple(&format!("part-*.{format}"), name)
}

const FORMATS: [&str; 5] = ["csv", "json", "csv.gz", "json.zst", "parquet"];

fn any_rows() -> impl Strategy<Value = Rows> {
    let name = prop_oneof![
        6 => "[a-z]{0,12}",
        1 => Just("two\nlines".to_owned()),
        1 => Just("broken".to_owned()),
        1 => (1_000..40_000usize).prop_map(|length| "y".repeat(length)),
    ];
    prop::collection::vec(name, 0..120).prop_map(|names| Rows { names })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn the_rest_is_read(
        files in prop::collection::vec(any_rows(), 1..4),
        format in 0..FORMATS.len(),
        stop in 0.0..1.0f64,
    ) {
        let dir = TempDir::new().unwrap();
        let config = write(dir.path(), &files, FORMATS[format]);
        block_on(async {
            let all = chunks(&mut *open_in(dir.path(), &config, COLUMNS, None)).await.unwrap();
            let stop = (stop * all.len() as f64) as usize;
            let position = all[stop].position.clone();
            let mut again = open_in(dir.path(), &config, COLUMNS, Some(position));
            let rest = chunks(&mut *again).await.unwrap();
            let mut read = content(&all[..=stop]);
            rest.iter().for_each(|chunk| read.add(chunk));
            assert_eq!(read, content(&all));
            let last = rest.last().map_or(&all[stop].position, |chunk| &chunk.position);
            assert_eq!(last, &all[all.len() - 1].position);
        });
    }
}

#[tokio::test]
async fn a_paced_source_can_be_cut_where_its_chunks_are() {
    let dir = TempDir::new().unwrap();
    // Ten rows a second of event time, of which every seventh is broken, has line breaks or no time.
    let row = |i: usize| match i % 7 {
        3 => format!("{i},x\n"),
        4 => format!("{i},,\"two\nlines\"\n"),
        5 => format!("{i}\n"),
        _ => format!("{i},1970-01-01 00:00:{:02}.{},\n", i / 10, i % 10),
    };
    let text: String = (0..80).map(row).collect();
    std::fs::write(dir.path().join("a.csv"), format!("id,at,name\n{text}")).unwrap();
    let columns = "id BIGINT; at TIMESTAMP; name TEXT";
    let paced = config(serde_json::json!({
        "path": "a.csv", "format": "csv", "event_time": {"column": "at"}, "replay": {"speed": 30.0},
    }));
    let all = chunks(&mut *open_in(dir.path(), &paced, columns, None)).await.unwrap();
    assert!(all.len() > 4, "eight seconds at this speed are several steps, not {}", all.len());
    let whole = read(dir.path(), &simple("a.csv", "csv"), columns).await.unwrap();
    assert_eq!(content(&all), whole);
    for stop in 0..all.len() {
        // The rest at full speed: what it is does not depend on when it comes.
        let position = Some(all[stop].position.clone());
        let mut again = open_in(dir.path(), &simple("a.csv", "csv"), columns, position);
        let mut read = content(&all[..=stop]);
        chunks(&mut *again).await.unwrap().iter().for_each(|chunk| read.add(chunk));
        assert_eq!(read, whole);
    }
}

#[tokio::test]
async fn every_format_gives_the_same_rows() {
    let names = ["a", "broken", "two\nlines", "b"].map(str::to_owned).to_vec();
    let many = names.iter().cycle().take(40).cloned().collect();
    let files = [Rows { names: many }, Rows { names }];
    let mut first = None;
    for format in FORMATS {
        let dir = TempDir::new().unwrap();
        let config = write(dir.path(), &files, format);
        let read = read(dir.path(), &config, COLUMNS).await.unwrap();
        assert_eq!(read.rejected.len(), 11, "{format}");
        assert_eq!(&read.rows, first.get_or_insert_with(|| read.rows.clone()), "{format}");
    }
}

#[tokio::test]
async fn of_what_was_finished_only_what_was_appended_is_read() {
    let dir = TempDir::new().unwrap();
    let config = simple("*.json", "json");
    std::fs::write(dir.path().join("a.json"), "{\"id\":1}\n").unwrap();
    let all = chunks(&mut *open_in(dir.path(), &config, COLUMNS, None)).await.unwrap();
    let position = all.last().unwrap().position.clone();
    let mut again = open_in(dir.path(), &config, COLUMNS, Some(position.clone()));
    assert_eq!(chunks(&mut *again).await.unwrap().len(), 0);
    std::fs::write(dir.path().join("a.json"), "{\"id\":1}\n{\"id\":2}\n").unwrap();
    std::fs::write(dir.path().join("b.json"), "{\"id\":3}\n").unwrap();
    let mut again = open_in(dir.path(), &config, COLUMNS, Some(position));
    let more = chunks(&mut *again).await.unwrap();
    assert_eq!(content(&more).rows, ["[2,null]", "[3,null]"]);
    let position = more.last().unwrap().position.clone();
    let mut again = open_in(dir.path(), &config, COLUMNS, Some(position));
    assert_eq!(chunks(&mut *again).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_file_that_lost_what_was_read_is_a_conflict() {
    let dir = TempDir::new().unwrap();
    let position = serde_json::json!({"files": {"a.json": {"offset": 100, "line": 9}}});
    std::fs::write(dir.path().join("a.json"), "{\"id\":1}\n").unwrap();
    let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let bytes = gz.finish().unwrap();
    std::fs::write(dir.path().join("a.json.gz"), bytes).unwrap();
    for name in ["a.json", "a.json.gz"] {
        let text = position.to_string().replace("a.json", name);
        let position = serde_json::from_str(&text).unwrap();
        let mut source = open_in(dir.path(), &simple(name, "json"), COLUMNS, Some(position));
        let error = chunks(&mut *source).await.unwrap_err();
        assert_eq!(error.kind(), syncline_change::ErrorKind::Conflict);
        assert!(error.message().starts_with(name));
    }
}
