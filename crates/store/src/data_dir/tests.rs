#![allow(clippy::unwrap_used)]

use std::io::BufRead;
use std::process::{Command, Stdio};

use syncline_change::ErrorKind;

use super::*;

/// Set: this is the process that `a_second_process_is_told_who_holds_it` starts, and what it opens.
const HOLD: &str = "SYNCLINE_TEST_HOLD";

#[test]
fn opening_creates_the_layout() {
    let dir = crate::scratch::dir();
    let path = dir.path().join("a/b");
    assert_eq!(DataDir::peek(&path).unwrap(), None);
    assert_eq!(DataDir::open_read(&path).unwrap_err().kind(), ErrorKind::Config);
    let data = DataDir::open(&path).unwrap();
    for folder in ["journal", "dead-letters/retry", "sinks"] {
        assert!(path.join(folder).is_dir(), "{folder}");
    }
    drop(data);
    DataDir::open(&path).unwrap();
    DataDir::open_read(&path).unwrap();
}

#[test]
fn one_writer_at_a_time_and_any_reader() {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    assert_eq!(DataDir::peek(dir.path()).unwrap().unwrap().listen, None);
    data.set_listen("127.0.0.1:7373").unwrap();

    let refused = DataDir::open(dir.path()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    let pid = std::process::id();
    assert_eq!(
        refused.detail_text().unwrap(),
        format!("process {pid} holds it and listens on 127.0.0.1:7373")
    );
    let holder = DataDir::peek(dir.path()).unwrap().unwrap();
    assert_eq!((holder.pid, holder.listen.as_deref()), (pid, Some("127.0.0.1:7373")));
    assert!(holder.started_at_us > 1_700_000_000_000_000);

    let reader = DataDir::open_read(dir.path()).unwrap();
    assert_eq!(reader.require_lock().unwrap_err().kind(), ErrorKind::Bug);
    assert_eq!(reader.set_listen("x").unwrap_err().kind(), ErrorKind::Bug);

    drop(data);
    assert_eq!(DataDir::peek(dir.path()).unwrap(), None);
    DataDir::open(dir.path()).unwrap();
}

#[test]
fn a_second_process_is_told_who_holds_it() {
    if let Ok(path) = std::env::var(HOLD) {
        let data = DataDir::open(path).unwrap();
        data.set_listen("127.0.0.1:1").unwrap();
        eprintln!("held");
        // Waits until it is killed: standard input never ends before that.
        std::io::stdin().lines().next();
        return;
    }
    let dir = crate::scratch::dir();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "data_dir::tests::a_second_process_is_told_who_holds_it", "--nocapture"])
        .env(HOLD, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(other.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("held")));

    let refused = DataDir::open(dir.path()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains(&format!("process {}", other.id())), "{refused}");
    assert_eq!(DataDir::peek(dir.path()).unwrap().unwrap().pid, other.id());

    other.kill().unwrap();
    other.wait().unwrap();
    // What the killed process wrote into LOCK is still there, and is not believed.
    assert!(std::fs::metadata(dir.path().join("LOCK")).unwrap().len() > 0);
    assert_eq!(DataDir::peek(dir.path()).unwrap(), None);
    DataDir::open(dir.path()).unwrap();
}

#[test]
fn another_format_is_refused() {
    let dir = crate::scratch::dir();
    drop(DataDir::open(dir.path()).unwrap());
    std::fs::write(dir.path().join("FORMAT"), r#"{"format":2}"#).unwrap();
    assert_eq!(DataDir::open(dir.path()).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(DataDir::open_read(dir.path()).unwrap_err().kind(), ErrorKind::Unsupported);
    std::fs::write(dir.path().join("FORMAT"), "1").unwrap();
    assert_eq!(DataDir::open(dir.path()).unwrap_err().kind(), ErrorKind::Corrupt);
}
