//! Commands that work without a running pipeline.

use serde_json::{Value, json};

use crate::folder::Folder;

/// Two views, of which a sink takes one; an inferred column; a test that fails.
const PIPELINE: &str = "
name: small
sources:
  readings: {type: file, path: readings.json, format: json, columns: {at: TIMESTAMP}}
views:
  sums: SELECT sensor, sum(value) AS total, count(*) AS n FROM readings GROUP BY sensor
  all_of_them: SELECT * FROM readings
sinks:
  out: {from: all_of_them, type: file, path: out.json, format: json, mode: snapshot}
tests:
  - name: sums go by sensor
    given:
      readings: [{sensor: a, value: 1}, {sensor: a, value: 2}, {sensor: b, value: 3}]
    expect:
      sums: [{sensor: a, total: 3}, {sensor: b, total: 3}]
  - name: nothing gives nothing
    expect: {sums: [], all_of_them: []}
";

const READINGS: &str = "\
{\"sensor\": \"a\", \"value\": 1.5, \"at\": \"2026-01-01 00:00:00\"}
{\"sensor\": \"b\", \"value\": 2.0, \"at\": \"2026-01-01 00:00:01\"}
{\"sensor\": \"a\", \"value\": 0.25, \"at\": null}
";

fn small() -> Folder {
    let folder = Folder::with_pipeline(PIPELINE);
    folder.write("readings.json", READINGS);
    folder
}

#[test]
fn a_journal_may_refer_to_files() {
    let pipeline =
        PIPELINE.replace("format: json, columns", "format: json, journal: reference, columns");
    let folder = Folder::with_pipeline(&pipeline);
    let many = READINGS.repeat(2_000);
    folder.write("readings.json", &many);
    folder.run(&["run", "--once", "--no-listen"]).ok();
    let before = folder.read("out.json");
    assert_eq!(before.lines().count(), 6_000);
    let journal = std::fs::read_dir(folder.path(".syncline/journal/readings")).unwrap();
    let bytes: u64 = journal.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 10_000, "{bytes} bytes of journal for {} of input", many.len());

    // Another view is made from the same rows, which are read again; so are those that came since.
    let more = pipeline.replace("sinks:", "  sensors: {sql: \"SELECT count(*) AS n, max(value) AS v FROM readings\", keep: true}\nsinks:");
    folder.write("syncline.yaml", &more);
    folder.append("readings.json", "{\"sensor\": \"c\", \"value\": 7.5, \"at\": null}\n");
    folder.run(&["run", "--once", "--no-listen"]).ok();
    assert_eq!(folder.read("out.json").lines().count(), 6_001);
    let query = ["query", "SELECT n, v FROM sensors", "--format", "json"];
    let answer = folder.run(&query).ok();
    assert!(answer.contains("6001") && answer.contains("7.5"), "{answer}");

    folder.write("readings.json", &many.replace("1.5", "1.6"));
    // A start that goes on from a checkpoint does not read it again.
    std::fs::remove_dir_all(folder.path(".syncline/state")).unwrap();
    for command in [&query[..], &["run", "--once", "--no-listen"]] {
        let refused = folder.run(command);
        assert_ne!(refused.code, 0);
        let said = "readings.json has changed since it was read";
        assert!(refused.err.contains(said), "{}", refused.err);
    }
}

#[test]
fn columns_are_exact_or_recorded() {
    let columns = "columns: {k: BIGINT, at: TIMESTAMP}";
    let folder = Folder::with_pipeline(&format!(
        "name: small\nsources:\n  t: {{type: http, {columns}}}\nviews:\n  \
         aged: SELECT k, now() - at AS age FROM t\n  \
         seen: SELECT k, max(age) AS oldest FROM aged GROUP BY k\n"
    ));
    let checked = folder.run(&["check"]).ok();
    for line in ["  k: BIGINT  exact", "  age: INTERVAL  recorded", "  oldest: INTERVAL  recorded"]
    {
        assert!(checked.lines().any(|have| have == line), "{line:?} is not in\n{checked}");
    }
    let plan: Value =
        serde_json::from_str(&folder.run(&["plan", "--format", "json"]).ok()).unwrap();
    let classes = plan["views"].as_array().unwrap().iter().flat_map(|view| {
        view["columns"].as_array().unwrap().iter().map(|column| column["class"].clone())
    });
    assert_eq!(Value::from_iter(classes), json!(["exact", "recorded", "exact", "recorded"]));
}

/// What grows with every row of a source that does not end, and what ends it.
#[test]
fn check_warns_of_state_that_grows() {
    let folder = Folder::with_pipeline(
        "
name: growing
sources:
  clicks:
    type: http
    columns: {who: BIGINT, page: TEXT, at: TIMESTAMP}
    event_time: {column: at, lateness: 1m}
  people: {type: http, columns: {who: BIGINT, name: TEXT}}
  old: {type: file, path: old.json, format: json, columns: {who: BIGINT}}
views:
  named: SELECT c.page, p.name FROM clicks c JOIN people p ON c.who = p.who
  by_page: SELECT page, count(*) AS n FROM clicks GROUP BY page
  by_minute:
    SELECT window_end, count(*) AS n FROM tumble(clicks, at, INTERVAL '1 minute') GROUP BY window_end
  known: SELECT a.who FROM old a JOIN old b ON a.who = b.who
",
    );
    folder.write("old.json", "{\"who\": 1}\n");
    let checked = folder.run(&["check"]).ok();
    let has_advice = |line: &&str| line.starts_with("warning: ") || line.starts_with("note: ");
    let advice: Vec<&str> = checked.lines().filter(has_advice).collect();
    let expect = [
        "warning: view named: arrange keeps every row of people: about 24 MB for every million rows \
         of people, with 16 bytes for a text; give people event_time and group or join by its \
         windows, or filter by now()",
        "warning: view named: arrange keeps every row of clicks: about 24 MB for every million rows \
         of clicks, with 16 bytes for a text; group or join by windows of event time, or filter by \
         now()",
        "note: view by_page: aggregate keeps one row a group: it grows with different groups of \
         clicks",
    ];
    assert_eq!(advice, expect);
}

#[test]
fn what_init_writes_is_right_and_runs() {
    let folder = Folder::new();
    let out = folder.run(&["init"]).ok();
    assert!(out.contains("syncline.yaml") && out.contains("syncline run"), "{out}");
    folder.run(&["check"]).ok();
    assert_eq!(
        folder.run(&["test"]).ok(),
        "ok  revenue is summed by city\nok  an order can be corrected\n2 passed, 0 failed\n"
    );

    let before = folder.run(&["query", "SELECT * FROM cities", "--format", "json"]);
    assert!(before.err.contains("nothing has run here yet"), "{before:?}");
    assert_eq!(before.ok(), "");

    folder.run(&["run", "--once"]).ok();
    let written: Vec<Value> =
        folder.read("out/cities.json").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(written.len(), 3);
    assert!(written.contains(&json!({"city": "Lisbon", "orders": 4, "revenue": "170.85"})));

    let sql = "SELECT * FROM cities ORDER BY revenue DESC";
    let table = folder.run(&["query", sql]).ok();
    // How many epochs it takes depends on how fast the file is read.
    let (table, _) = table.rsplit_once(',').unwrap();
    insta::assert_snapshot!(table, @r"
    city    orders  revenue
    ──────  ──────  ───────
    Lisbon       4   170.85
    Lagos        2   135.75
    Oslo         2    82.90
    (3 rows
    ");
    let best = folder.run(&["query", "syncline.yaml", "SELECT * FROM best_customers"]).ok();
    assert!(best.contains("Chidi     135.75"), "{best}");
}

#[test]
fn init_overwrites_nothing() {
    let folder = Folder::new();
    folder.write("syncline.yaml", "mine");
    let complaint = folder.run(&["init"]).fails(2);
    assert!(complaint.contains("syncline.yaml is there already"), "{complaint}");
    assert_eq!(folder.read("syncline.yaml"), "mine");
    assert!(!folder.path("data").exists());

    folder.run(&["init", "deeper/down"]).ok();
    assert!(folder.path("deeper/down/data/orders.csv").exists());
}

#[test]
fn query_formats() {
    let folder = small();
    folder.run(&["run", "--once"]).ok();
    let query = |sql: &str, format: &str| folder.run(&["query", sql, "--format", format]);
    let sql = "SELECT sensor, total, n FROM sums ORDER BY sensor";
    assert_eq!(
        query(sql, "json").ok(),
        "{\"sensor\":\"a\",\"total\":1.75,\"n\":2}\n{\"sensor\":\"b\",\"total\":2.0,\"n\":1}\n"
    );
    assert_eq!(query(sql, "csv").ok(), "sensor,total,n\na,1.75,2\nb,2.0,1\n");
    let one = query("SELECT 'x, \"y\"' AS text, CAST(NULL AS INT) AS none", "csv").ok();
    assert_eq!(one, "text,none\n\"x, \"\"y\"\"\",\n");
}

#[test]
fn query_refuses_the_future() {
    let folder = small();
    folder.run(&["run", "--once"]).ok();
    let sql = "SELECT sum(n) AS n FROM sums";
    let complaint = folder.run(&["query", sql, "--at", "99"]).fails(2);
    assert!(complaint.contains("there is no epoch 99 yet"), "{complaint}");
    assert!(complaint.contains("the last epoch in the journal is"), "{complaint}");
}

#[test]
fn query_says_why_it_cannot() {
    let folder = small();
    folder.run(&["run", "--once"]).ok();
    for (sql, parts) in [
        ("SELECT * FROM all_of_them", ["`all_of_them` is not kept", "keep: true"]),
        ("SELECT * FROM readings", ["`readings` is a source", "SELECT * FROM readings"]),
        ("SELECT totl FROM sums", ["totl", "hint"]),
        ("SELECT * FROM nothing", ["nothing", "views that can be read: sums"]),
        ("DELETE FROM sums", ["SELECT", "hint"]),
    ] {
        let complaint = folder.run(&["query", sql]).fails(2);
        assert!(parts.iter().all(|part| complaint.contains(part)), "{sql}: {complaint}");
    }
}

#[test]
fn query_refuses_a_journal_of_other_columns() {
    let folder = small();
    folder.run(&["run", "--once"]).ok();
    let text = folder.read("syncline.yaml");
    folder.write("syncline.yaml", &text.replace("{at: TIMESTAMP}", "{at: TEXT}"));
    let complaint = folder.run(&["query", "SELECT * FROM sums"]).fails(1);
    assert!(complaint.contains("source `readings` had other columns"), "{complaint}");
}

#[test]
fn a_failing_test_shows_what_differs() {
    let folder = small();
    assert!(folder.run(&["test"]).ok().ends_with("2 passed, 0 failed\n"));
    let text = folder.read("syncline.yaml");
    folder.write("syncline.yaml", &text.replace("{sensor: a, total: 3}", "{sensor: a, total: 4}"));
    let done = folder.run(&["test"]);
    assert_eq!(done.code, 1, "{done:?}");
    insta::assert_snapshot!(done.out, @r"
    FAIL sums go by sensor
      view `sums`: 1 missing (-), 1 unexpected (+), 1 as expected
          sensor  total
          ──────  ─────
        - a         4.0
        + a         3.0
    ok  nothing gives nothing
    1 passed, 1 failed
    ");
}

#[test]
fn a_test_needs_no_data_once_the_columns_are_known() {
    let folder = small();
    std::fs::remove_file(folder.path("readings.json")).unwrap();
    // Nothing says what `sensor` and `value` are.
    let complaint = folder.run(&["test"]).fails(2);
    assert!(complaint.contains("sensor") || complaint.contains("columns"), "{complaint}");

    folder.write("readings.json", READINGS);
    folder.run(&["run", "--once"]).ok();
    std::fs::remove_file(folder.path("readings.json")).unwrap();
    assert!(folder.run(&["test"]).ok().ends_with("2 passed, 0 failed\n"));
}

#[test]
fn rows_of_tests_that_do_not_fit() {
    let folder = small();
    let text = folder.read("syncline.yaml");
    folder.write("syncline.yaml", &text.replace("value: 1}", "value: one}"));
    let done = folder.run(&["test"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.out.contains("FAIL sums go by sensor"), "{done:?}");
    assert!(done.out.contains("given source `readings`: row 1: column `value`"), "{done:?}");

    folder.write("syncline.yaml", &text.replace("value: 1}", "valeu: 1}"));
    let complaint = folder.run(&["test"]).fails(2);
    assert!(complaint.contains("`readings` has no column `valeu`"), "{complaint}");
    assert!(complaint.contains("did you mean `value`?"), "{complaint}");
}

#[test]
fn a_pipeline_without_tests_says_so() {
    let folder = small();
    let text = folder.read("syncline.yaml");
    folder.write("syncline.yaml", text.split("tests:").next().unwrap());
    assert_eq!(folder.run(&["test", "syncline.yaml"]).ok(), "syncline.yaml has no tests\n");
}

#[test]
fn what_is_wrong_with_the_call_ends_with_2() {
    let folder = Folder::new();
    for arguments in [
        &["check", "nowhere.yaml"][..],
        &["test", "nowhere.yaml"],
        &["query", "nowhere.yaml", "SELECT 1"],
        &["query"],
        &["tap", "nowhere.yaml", "orders"],
        &["dlq", "ls", "--data-dir", "nowhere"],
        &["dlq", "drop"],
        &["fly"],
    ] {
        folder.run(arguments).fails(2);
    }
    folder.write("broken.yaml", "name: broken\nsauces: {}\n");
    let complaint = folder.run(&["check", "broken.yaml"]).fails(2);
    assert!(complaint.contains("broken.yaml:2:1"), "{complaint}");
}

#[test]
fn tap_needs_a_pipeline_that_runs() {
    let folder = small();
    let complaint = folder.run(&["tap", "sums"]).fails(1);
    assert!(complaint.contains("`small` does not run"), "{complaint}");
    assert!(complaint.contains("syncline run"), "{complaint}");
    let complaint = folder.run(&["tap", "sum"]).fails(2);
    assert!(complaint.contains("did you mean `sums`?"), "{complaint}");
}

#[test]
fn the_schema_is_json() {
    let schema: Value = serde_json::from_str(&Folder::new().run(&["schema"]).ok()).unwrap();
    assert_eq!(schema["title"], "Syncline pipeline");
    assert!(schema["properties"]["sources"].is_object());
}

#[test]
fn a_damaged_journal_is_named_and_never_half_read() {
    let folder = Folder::with_init();
    folder.run(&["run", "--once"]).ok();
    let segments = folder.path(".syncline/journal/orders");
    let segment = std::fs::read_dir(segments).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&segment, &bytes).unwrap();
    for command in [&["run", "--once"][..], &["query", "SELECT * FROM cities"]] {
        let done = folder.run(command);
        assert_eq!(done.code, 1, "{command:?}");
        assert!(done.err.contains(".seg is damaged at byte"), "{}", done.err);
        assert_eq!(done.out, "", "{command:?}");
    }
}

#[test]
fn rows_appended_between_runs_are_read_once() {
    for follow in ["", ", follow: true"] {
        let folder = Folder::with_pipeline(
            &PIPELINE.replace("format: json, columns", &format!("format: json{follow}, columns")),
        );
        folder.write("readings.json", READINGS);
        let total = || {
            let sql = "SELECT sum(n) AS n FROM sums";
            folder.run(&["query", sql, "--format", "csv"]).ok()
        };
        folder.run(&["run", "--once"]).ok();
        assert_eq!(total(), "n\n3\n", "{follow}");
        folder.append("readings.json", "{\"sensor\": \"c\", \"value\": 4.0}\n");
        folder.run(&["run", "--once"]).ok();
        assert_eq!(total(), "n\n4\n", "{follow}");
        folder.run(&["run", "--once"]).ok();
        assert_eq!(total(), "n\n4\n", "{follow}");
    }
}

#[test]
fn logs_for_machines_are_elastic_common_schema() {
    let folder = Folder::with_init();
    let done = folder.run(&["--log-format", "json", "run", "--once"]);
    let lines: Vec<Value> =
        done.err.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(lines.len() >= 2, "{}", done.err);
    for line in &lines {
        for field in ["@timestamp", "log.level", "message", "ecs.version", "service.name"] {
            assert!(line[field].is_string(), "{field} of {line}");
        }
    }
    let alert = lines.iter().find(|line| line["log.level"] == "warn").unwrap();
    assert_eq!(alert["syncline"]["alert"], "large_order");
}

#[test]
fn the_engine_is_measured_on_nexmark() {
    let folder = Folder::new();
    let bench = ["bench", "nexmark", "--events", "5000", "--queries", "q0,q3,q17", "--json"];
    let run = |more: &[&str]| -> Vec<Value> {
        let out = folder.run(&[&bench[..], more].concat()).ok();
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let memory = run(&["--workers", "1"]);
    assert_eq!(memory.len(), 3);
    assert_eq!(memory[0]["rows_out"], 4600, "46 of 50 events are bids");
    folder.run(&["bench", "nexmark", "--write", "events", "--events", "5000"]).ok();
    for other in [run(&["--workers", "2"]), run(&["--input", "events", "--journal", "on"])] {
        for (a, b) in memory.iter().zip(&other) {
            assert_eq!(a["state_digest"], b["state_digest"], "{}", a["query"]);
        }
    }
}

#[test]
fn an_alert_fires_once_by_webhook_and_is_not_told_again() {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (told, notices) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while stream.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.get_mut().write_all(answer).unwrap();
            told.send(serde_json::from_slice::<Value>(&body).unwrap()).unwrap();
        }
    });
    let folder = Folder::with_pipeline(&format!(
        "name: alerting\nsources:\n  t: {{type: file, path: in.csv, format: csv, primary_key: [id]}}\n\
         alerts:\n  high: {{when: \"SELECT id, n FROM t WHERE n > 10\", notify: [{{type: webhook, url: \"{url}\"}}]}}\n\
         views:\n  all_of_them: SELECT * FROM t\n"
    ));
    folder.write("in.csv", "id,n\n1,5\n2,50\n");
    folder.run(&["run", "--once"]).ok();
    let patience = std::time::Duration::from_secs(10);
    let fired = notices.recv_timeout(patience).unwrap();
    assert_eq!((&fired["alert"], &fired["event"]), (&json!("high"), &json!("fired")));
    assert_eq!(fired["row"], json!({"id": 2, "n": 50}));
    // The next run replays the journal and tells nothing again; a row that goes resolves it.
    folder.append("in.csv", "2,7\n");
    folder.run(&["run", "--once"]).ok();
    let resolved = notices.recv_timeout(patience).unwrap();
    assert_eq!(resolved["event"], json!("resolved"));
    assert!(notices.try_recv().is_err());
}
