//! Files that grow, appear, are replaced, cut short, renamed.

use std::fs::OpenOptions;
use std::io::Write;

use super::*;

/// A folder and a source that follows what is in it.
struct Follower {
    dir: TempDir,
    config: SourceConfig,
    source: Box<dyn Source>,
    position: Option<Position>,
}

impl Follower {
    fn new(path: &str, format: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let config = config(serde_json::json!({"path": path, "format": format, "follow": true}));
        let source = open_in(dir.path(), &config, "id BIGINT", None);
        Self { dir, config, source, position: None }
    }

    fn append(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Puts another file in the place of `name`, as editors and log rotation do.
    fn replace(&self, name: &str, text: &str) {
        let new = self.dir.path().join("new.tmp");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.dir.path().join(name)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.dir.path().join(from), self.dir.path().join(to)).unwrap();
    }

    /// Waits for as many rows as are expected, and compares.
    async fn expect(&mut self, ids: &[i64]) {
        let mut read = Content::default();
        while read.rows.len() + read.rejected.len() < ids.len() {
            let next = tokio::time::timeout(PATIENCE, self.source.next()).await;
            let chunk = next.expect("rows arrive").unwrap().expect("a follower has no end");
            read.add(&chunk);
            self.position = Some(chunk.position);
        }
        let ids: Vec<String> = ids.iter().map(|id| format!("[{id}]")).collect();
        assert_eq!(read.rows, ids);
    }

    /// Stops and goes on from the last chunk.
    fn restart(&mut self) {
        let position = self.position.clone();
        self.source = open_in(self.dir.path(), &self.config, "id BIGINT", position);
    }
}

#[tokio::test]
async fn appended_lines_and_new_files() {
    let mut f = Follower::new("*.csv", "csv");
    f.append("b.csv", "i");
    f.append("a.csv", "id\n1\n2");
    f.expect(&[1]).await;
    // The rest of a line, and of a header, may come later.
    f.append("b.csv", "d\n10\n");
    f.expect(&[10]).await;
    f.append("a.csv", "0\n3\n");
    f.expect(&[20, 3]).await;
    f.append("c.csv", "x,id\n,30\n");
    f.expect(&[30]).await;
    f.append("a.csv", "4\n");
    f.expect(&[4]).await;
}

#[tokio::test]
async fn a_restart_loses_and_repeats_nothing() {
    let mut f = Follower::new("*.csv", "csv");
    f.append("a.csv", "id\n1\n2\n");
    f.expect(&[1, 2]).await;
    f.append("a.csv", "3\n");
    f.restart();
    f.expect(&[3]).await;
    f.append("a.csv", "4\n");
    f.expect(&[4]).await;
}

#[tokio::test]
async fn a_file_that_is_replaced_or_cut_short_is_read_from_its_start() {
    let mut f = Follower::new("a.json", "json");
    f.append("a.json", "{\"id\":1}\n{\"id\":2}\n");
    f.expect(&[1, 2]).await;
    f.replace("a.json", "{\"id\":3}\n{\"id\":4}\n{\"id\":5}\n");
    f.expect(&[3, 4, 5]).await;
    std::fs::write(f.dir.path().join("a.json"), "{\"id\":6}\n").unwrap();
    f.expect(&[6]).await;
    // The same while nobody looks.
    f.replace("a.json", "{\"id\":7}\n{\"id\":8}\n");
    f.restart();
    f.expect(&[7, 8]).await;
}

#[tokio::test]
async fn a_copy_of_the_file_is_read_on() {
    let mut f = Follower::new("a.json", "json");
    f.append("a.json", "{\"id\":1}\n");
    f.expect(&[1]).await;
    f.replace("a.json", "{\"id\":1}\n{\"id\":2}\n");
    f.restart();
    f.expect(&[2]).await;
}

#[tokio::test]
async fn a_log_that_is_rotated_is_read_to_its_end() {
    // The old file goes on under a name that is followed as well.
    let mut f = Follower::new("log*", "json");
    f.append("log", "{\"id\":1}\n");
    f.expect(&[1]).await;
    f.append("log", "{\"id\":2}\n");
    f.rename("log", "log.1");
    f.append("log", "{\"id\":3}\n");
    let mut rows = Content::default();
    while rows.rows.len() < 2 {
        rows.add(&tokio::time::timeout(PATIENCE, f.source.next()).await.unwrap().unwrap().unwrap());
    }
    rows.rows.sort();
    assert_eq!(rows.rows, ["[2]", "[3]"]);
    f.append("log", "{\"id\":4}\n");
    f.expect(&[4]).await;
}

#[tokio::test]
async fn what_was_written_before_a_rotation_is_still_read() {
    // The old file goes to where nobody looks; it is read by the handle that is still open.
    let mut f = Follower::new("log", "json");
    f.append("log", "{\"id\":1}\n");
    f.expect(&[1]).await;
    f.append("log", "{\"id\":2}\n");
    f.rename("log", "old");
    f.append("log", "{\"id\":3}\n");
    f.expect(&[2, 3]).await;
}

#[tokio::test]
async fn compressed_files_are_read_once() {
    let mut f = Follower::new("*.json.zst", "json");
    let bytes = zstd::encode_all(&b"{\"id\":1}\n{\"id\":2}"[..], 1).unwrap();
    std::fs::write(f.dir.path().join("tmp"), bytes).unwrap();
    f.rename("tmp", "a.json.zst");
    f.expect(&[1, 2]).await;
}

#[tokio::test]
async fn a_follower_waits_for_the_first_file() {
    let mut f = Follower::new("a.json", "json");
    let waited = tokio::time::timeout(Duration::from_millis(150), f.source.next()).await;
    assert!(waited.is_err(), "nothing is there, and that is no error");
    f.append("a.json", "{\"id\":1}\n");
    f.expect(&[1]).await;
}
