//! Commands beside a pipeline that runs.

#![allow(clippy::disallowed_methods, reason = "tests measure how long things take")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::folder::Folder;

pub(crate) const PIPELINE: &str = "
name: live
sources:
  readings: {type: http, columns: {id: BIGINT, value: DOUBLE}, primary_key: [id]}
views:
  total: SELECT count(*) AS n, sum(value) AS total FROM readings
  large: SELECT * FROM readings WHERE value >= 100
sinks:
  out: {from: large, type: file, path: large.json, format: json, mode: snapshot}
";

/// How long something may take that takes a moment.
const PATIENCE: Duration = Duration::from_secs(20);

/// A pipeline that runs until it is stopped.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: String,
    /// Kept open, so that the pipeline can go on saying things.
    stderr: BufReader<ChildStderr>,
}

impl Running {
    pub(crate) fn start(folder: &Folder) -> Self {
        Self::start_by(folder.command(&["run", "--listen", "127.0.0.1:0"]))
    }

    pub(crate) fn start_by(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("http://") {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "it ended: {said}");
        }
        let address = said.rsplit_once("http://").unwrap().1.trim().trim_end_matches('/');
        Self { child, address: address.to_owned(), stderr }
    }

    pub(crate) fn post(&self, row: &Value) -> Value {
        let url = format!("http://{}/ingest/readings", self.address);
        agent().post(url).send_json(row).unwrap().body_mut().read_json().unwrap()
    }

    /// The status and text of `/readyz`.
    pub(crate) fn ready(&self) -> (u16, String) {
        let mut answer = agent().get(format!("http://{}/readyz", self.address)).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn get(&self, path: &str) -> Value {
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        let url = format!("http://{}{path}", self.address);
        agent.get(url).call().unwrap().body_mut().read_json().unwrap()
    }

    /// Asks it to stop, as a service manager does; it must then end well.
    pub(crate) fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success());
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        assert!(self.child.wait().unwrap().success(), "{said}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing stays behind when a test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build().into()
}

/// Tries until `done`.
#[track_caller]
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn totals(folder: &Folder) -> String {
    folder.run(&["query", "SELECT n, total FROM total", "--format", "json"]).ok()
}

#[test]
fn a_running_pipeline_answers_queries() {
    let folder = Folder::with_pipeline(PIPELINE);
    let running = Running::start(&folder);
    assert_eq!(
        running.post(&json!([{"id": 1, "value": 1.5}, {"id": 2, "value": 2}]))["accepted"],
        2
    );
    eventually("the rows are in the view", || totals(&folder) == "{\"n\":2,\"total\":3.5}\n");
    let table = folder.run(&["query", "SELECT n, total FROM total"]).ok();
    assert!(table.starts_with("n  total\n─  ─────\n2    3.5\n(1 row, epoch "), "{table}");

    let complaint = folder.run(&["query", "SELECT * FROM large"]).fails(2);
    assert!(complaint.contains("view `large` is not kept"), "{complaint}");
    let complaint = folder.run(&["query", "SELECT nn FROM total"]).fails(2);
    assert!(complaint.contains("nn"), "{complaint}");
    running.stop();
    assert_eq!(totals(&folder), "{\"n\":2,\"total\":3.5}\n");
}

#[test]
fn query_reads_the_past_while_the_present_goes_on() {
    let folder = Folder::with_pipeline(PIPELINE);
    let running = Running::start(&folder);
    let first = running.post(&json!({"id": 1, "value": 1}))["epoch"].to_string();
    let second = running.post(&json!({"id": 2, "value": 1}))["epoch"].to_string();
    let at = |epoch: &str| {
        folder.run(&["query", "SELECT n FROM total", "--format", "csv", "--at", epoch]).ok()
    };
    assert_eq!((at(&first), at(&second)), ("n\n1\n".to_owned(), "n\n2\n".to_owned()));
    running.stop();
    assert_eq!(at(&first), "n\n1\n");
}

#[test]
fn a_row_is_explained_while_the_pipeline_runs() {
    let folder = Folder::with_pipeline(PIPELINE);
    let running = Running::start(&folder);
    let epochs: Vec<Value> = [100, 70, 200]
        .iter()
        .map(|value| running.post(&json!({"id": 1, "value": value}))["epoch"].clone())
        .collect();
    let explain = |arguments: &[&str]| -> Value {
        let asked = ["explain", "large", "id=1", "--format", "json"];
        serde_json::from_str(&folder.run(&[&asked, arguments].concat()).ok()).unwrap()
    };
    let row = json!({"id": 1, "value": 200.0});
    let answer = explain(&[]);
    assert_eq!(answer["sources"][0]["rows"], json!([{"epoch": epochs[2], "row": row}]));
    assert_eq!(answer["verified"], true);
    let history = explain(&["--history"]);
    let changes = history["changes"].as_array().unwrap().iter();
    let changes: Vec<_> = changes.map(|change| (&change["op"], &change["epoch"])).collect();
    let ops = [json!("c"), json!("d"), json!("c")];
    assert_eq!(changes, ops.iter().zip(&epochs).collect::<Vec<_>>());
    running.stop();
}

#[test]
fn tap_shows_changes_as_they_happen() {
    let folder = Folder::with_pipeline(PIPELINE);
    let running = Running::start(&folder);
    let mut command = folder.command(&["tap", "total", "--limit", "3"]);
    let mut tap = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut id = 0;
    eventually("tap has seen three changes", || {
        id += 1;
        running.post(&json!({"id": id, "value": 1}));
        tap.try_wait().unwrap().is_some()
    });
    let output = tap.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines.iter().all(|line| line["op"].is_string() && line["epoch"].is_u64()), "{text}");
    running.stop();
}

#[test]
fn dead_letters_beside_a_running_pipeline() {
    let folder = Folder::with_pipeline(PIPELINE);
    let running = Running::start(&folder);
    let answer = running.post(&json!([{"id": 1, "value": "much"}, {"id": "two", "value": 2}]));
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(0), &json!(2)));
    let open = || folder.run(&["dlq", "ls"]).ok();
    eventually("both are dead letters", || open().ends_with("2 dead letters (open)\n"));

    let mended = "{\"id\": 1, \"value\": 7}";
    let queued = folder.run_with(&["dlq", "retry", "s1", "--edit", "-"], mended).ok();
    assert!(queued.contains("the running pipeline"), "{queued}");
    eventually("the mended row is in the view", || totals(&folder).contains("\"total\":7.0"));
    eventually("the letter is retried", || open().ends_with("1 dead letter (open)\n"));

    assert_eq!(folder.run(&["dlq", "drop", "s2"]).ok(), "1 dead letter dropped\n");
    assert!(open().ends_with("0 dead letters (open)\n"));
    running.stop();
    assert!(folder.run(&["dlq", "ls", "--all"]).ok().contains("dropped"));
}

#[test]
fn a_pipeline_without_an_api_says_so() {
    let folder = Folder::with_pipeline(PIPELINE);
    let mut command = folder.command(&["run", "--no-listen"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let query = || folder.run(&["query", "SELECT * FROM total"]);
    eventually("it holds its data directory", || query().code == 1);
    let complaint = query().fails(1);
    let tapped = folder.run(&["tap", "total"]).fails(1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(complaint.contains("which serves no API"), "{complaint}");
    assert!(tapped.contains("--no-listen"), "{tapped}");
}

/// Runs the pipeline once for a moment, so that there is a checkpoint, and then again.
fn run_again(folder: &Folder) -> Running {
    let first = Running::start(folder);
    first.post(&json!([{"id": 1, "value": 1.5}, {"id": 2, "value": 200}]));
    first.stop();
    let running = Running::start(folder);
    eventually("the state is there again", || totals(folder).contains("\"n\":2"));
    running
}

#[test]
fn verify_watches_over_a_running_pipeline() {
    let folder = Folder::with_pipeline(PIPELINE);
    let running = run_again(&folder);
    let watch =
        |rounds: &str| folder.run(&["verify", "--watch", "--every", "10ms", "--rounds", rounds]);
    let done = watch("2");
    assert_eq!(done.code, 0, "{done:?}");
    let line = done.out.lines().next().unwrap();
    assert!(line.contains("Z epoch ") && line.contains(": verified: the journal, "), "{line}");
    assert_eq!(done.out.lines().count(), 1, "{}", done.out);
    assert!(done.err.contains("Z no checkpoint after epoch "), "{}", done.err);
    let told = running.get("/api/v1/verification");
    assert_eq!((&told["state"], &told["by"]), (&json!("verified"), &json!("watch")), "{told}");

    let segments = std::fs::read_dir(folder.path(".syncline/journal/readings")).unwrap();
    let segment = segments.map(|entry| entry.unwrap().path()).min().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let done = watch("3");
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.out.contains(": MISMATCH: 1 difference\n"), "{}", done.out);
    assert!(done.out.contains("  DIFFERS: the journal, epoch "), "{}", done.out);
    assert_eq!(done.err.matches("no checkpoint after").count(), 2, "it goes on: {}", done.err);
    assert_eq!(running.get("/api/v1/verification")["state"], "mismatch");
    running.post(&json!({"id": 3, "value": 1}));
    eventually("the pipeline goes on as well", || totals(&folder).contains("\"n\":3"));
    running.stop();
}

#[test]
fn a_watch_ends_when_it_is_interrupted_and_needs_no_pipeline() {
    let folder = Folder::with_pipeline(PIPELINE);
    let complaint = folder.run(&["verify", "--watch"]).fails(2);
    assert!(complaint.contains("is not a data directory"), "{complaint}");
    run_again(&folder).stop();
    let mut command = folder.command(&["verify", "--watch", "--format", "json"]);
    let mut watch = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = BufReader::new(watch.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let report: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&report["verdict"], &report["pipeline"]), (&json!("verified"), &json!("live")));
    let pid = watch.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(watch.wait().unwrap().code(), Some(0));
}
