//! Files that may run, and what is made of them.

use syncline_change::ErrorKind;
use syncline_change::units::{Duration, Size};
use syncline_connect::config::{Mode, OnError, SinkConfig, SourceConfig};
use syncline_connect::file::{Format, SinkFormat};

use super::super::spec::{Emit, EpochSpec, Notify};
use super::*;

const ALERT_URL: (&str, &str) = ("ALERT_URL", "https://alerts.example/hook?key=hunter2");

#[test]
fn the_example_says_all_that_it_says() {
    let pipeline = parse(EXAMPLE, &[ALERT_URL]).unwrap();
    assert_eq!(pipeline.warnings, []);
    let spec = &pipeline.spec;
    assert_eq!(spec.name, "nyc-flights");
    let SourceConfig::File(flights) = &spec.sources["flights"] else { panic!("a file") };
    assert_eq!(flights.path, "data/flights-*.csv.gz");
    assert_eq!(flights.format, Format::Csv);
    assert_eq!(flights.csv.null_values, ["NA", ""]);
    assert_eq!((flights.csv.delimiter, flights.csv.header), (',', true));
    let columns: Vec<_> = flights.common.columns.iter().collect();
    assert_eq!(columns[0], (&"dep_time".to_owned(), &"INT".to_owned()));
    assert_eq!(flights.common.primary_key, ["id"]);
    let event_time = flights.common.event_time.as_ref().unwrap();
    assert_eq!(event_time.column, "scheduled");
    assert_eq!(event_time.lateness, Duration::from_secs(600));
    assert!(!flights.follow);
    assert_eq!(flights.replay.as_ref().unwrap().speed, 3600.0);
    assert_eq!(flights.common.on_error, OnError::DeadLetter);
    assert_eq!(flights.max_row, Size(1 << 20));

    let names: Vec<_> = spec.views.keys().collect();
    assert_eq!(names, ["delays", "worst"]);
    assert!(spec.views["delays"].sql.starts_with("SELECT origin, avg"));
    assert_eq!((spec.views["delays"].emit, spec.views["delays"].keep), (Emit::Changes, None));
    assert_eq!(spec.views["worst"].sql, "SELECT * FROM delays WHERE mean > 30");
    assert_eq!(spec.views["worst"].keep, Some(true));

    let SinkConfig::File(out) = &spec.sinks["delays_out"] else { panic!("a file") };
    assert_eq!((out.common.from.as_str(), out.path.as_str()), ("delays", "out/delays.json"));
    assert_eq!((out.format, out.mode), (SinkFormat::Json, Mode::Snapshot));
    let Notify::Webhook(hook) = &spec.alerts["meltdown"].notify[0] else { panic!("a webhook") };
    assert_eq!(hook.url, ALERT_URL.1);
    assert_eq!(spec.tests[0].name, "mean of two");
    assert_eq!(spec.tests[0].given["flights"][1]["dep_delay"], 20);
    assert_eq!(spec.tests[0].expect["delays"][0]["mean"], 15.0);
    assert_eq!(spec.run.epoch, EpochSpec::default());
    assert_eq!(spec.run.workers, Some(2));
    assert_eq!(spec.run.memory_limit, Some(Size(4 << 30)));
    assert_eq!(pipeline.data_dir(), Path::new("base/.syncline"));
    assert_eq!(pipeline.lock_path(), Path::new("base/syncline.lock"));
}

#[test]
fn the_least_that_a_file_must_say() {
    let text = "name: least\nsources: {n: {type: nexmark, table: bid}}\nviews: {v: SELECT 1}\n";
    let pipeline = parse(text, &[]).unwrap();
    assert_eq!(pipeline.warnings, []);
    assert_eq!(pipeline.spec.run.data_dir, ".syncline");
    assert_eq!(pipeline.spec.run.epoch.max_rows, 65_536);
    assert!(pipeline.spec.run.workers.is_none() && pipeline.spec.run.listen.is_none());
}

#[test]
fn everything_below_an_optional_key_may_be_commented_out() {
    let text = "
name: quiet
sources:
  n:
    type: nexmark
    table: bid
    columns:
    event_time:
views: {v: SELECT 1}
sinks:
#  out: {type: console, from: v}
alerts:
tests:
run:
  epoch:
";
    let pipeline = parse(text, &[]).unwrap();
    assert!(pipeline.spec.sinks.is_empty() && pipeline.spec.tests.is_empty());
}

#[test]
fn sinks_of_every_type() {
    let text = r#"
name: sinks
sources:
  events: {type: http, columns: {id: BIGINT, at: timestamp(3)}, primary_key: [id], event_time: {column: at}}
  n: {type: nexmark, table: bid, events: 1000, rate: 2.5e3, seed: 18446744073709551615}
sinks:
  screen: {type: console, from: events}
  web:
    type: http
    from: n
    url: http://localhost:9000
    headers: {Authorization: "Bearer ${TOKEN:-none}"}
    retry: {max_attempts: 3, initial_delay: 1s}
  old: {type: file, from: n, path: out/n.parquet, format: parquet, mode: snapshot}
run: {listen: "[::1]:8080"}
"#;
    let pipeline = parse(text, &[("TOKEN", "s3cret-token")]).unwrap();
    let SinkConfig::Http(web) = &pipeline.spec.sinks["web"] else { panic!("http") };
    assert_eq!(web.headers["Authorization"], "Bearer s3cret-token");
    assert_eq!((web.retry.max_attempts, web.retry.max_delay), (3, Duration::from_secs(30)));
    let SourceConfig::Nexmark(n) = &pipeline.spec.sources["n"] else { panic!("nexmark") };
    assert_eq!((n.events, n.rate, n.seed), (Some(1000), Some(2500.0), u64::MAX));
}

#[test]
fn rows_of_tests_are_json_as_rows_are_everywhere() {
    let text = r#"
name: rows
sources: {n: {type: nexmark, table: bid}}
views: {v: SELECT 1}
tests:
  - name: values
    expect:
      v:
        - {a: 1, b: -2.5, c: null, d: ~, e: "1", f: 2026-01-31, g: yes, h: true, i: .nan, j: [1, {k: x}]}
        - {big: 18446744073709551615, hex: 0x1F, e: 1e3, plus: +7, dot: ., minus: "-", version: 1.2.3}
"#;
    let pipeline = parse(text, &[]).unwrap();
    let rows = serde_json::to_string_pretty(&pipeline.spec.tests[0].expect["v"]).unwrap();
    insta::assert_snapshot!(rows);
}

#[test]
fn filled_in_values_fit_the_key_they_are_for() {
    let text = r#"
name: ${NAME}
sources: {n: {type: nexmark, table: "${TABLE}", events: "${EVENTS}"}}
views: {v: SELECT 1}
run: {workers: "${WORKERS:-3}", epoch: {max_delay: "${DELAY}"}}
"#;
    let given = [("NAME", "12"), ("TABLE", "bid"), ("EVENTS", "100"), ("DELAY", "5ms")];
    let pipeline = parse(text, &given).unwrap();
    assert_eq!(pipeline.spec.name, "12");
    assert_eq!(pipeline.spec.run.workers, Some(3));
    assert_eq!(pipeline.spec.run.epoch.max_delay, Duration::from_millis(5));
    assert_eq!(pipeline.raw_text("name"), Some("${NAME}"));
}

#[test]
fn secrets_are_used_and_never_shown() {
    let pipeline = parse(EXAMPLE, &[ALERT_URL]).unwrap();
    assert!(!format!("{pipeline:?}").contains("hunter2"));
    assert_eq!(pipeline.raw_text("alerts.meltdown.notify[0].url"), Some("${ALERT_URL}"));
    assert!(!pipeline.text.contains("hunter2"));
    let line = format!("POST {} failed", ALERT_URL.1);
    assert_eq!(pipeline.secrets.redact(&line), "POST ${ALERT_URL} failed");
    let problem = pipeline.problem("alerts.meltdown.notify[0].url", None, line);
    assert_eq!(problem.message, "POST ${ALERT_URL} failed");
    let problem = problem.hint(format!("is {} right?", ALERT_URL.1)).label("hunter2");
    let shown = pipeline.report(vec![problem]).to_string();
    assert!(shown.contains("is ${ALERT_URL} right?"), "{shown}");

    // A value that is wrong is not shown either.
    let wrong = EXAMPLE.replace("4GiB", "${LIMIT}").replace("workers: 2", "workers: ${WORKERS}");
    let given = [("ALERT_URL", "ftp://hunter2"), ("LIMIT", "hunter2"), ("WORKERS", "hunter2")];
    let error = parse(&wrong, &given).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    let shown = error.to_string();
    insta::assert_snapshot!(shown);
}

#[test]
fn every_key_and_value_has_a_position() {
    let pipeline = parse(EXAMPLE, &[ALERT_URL]).unwrap();
    for (path, position) in [
        ("name", (1, 7)),
        ("sources", (2, 1)),
        ("sources.flights.format", (6, 13)),
        ("sources.flights.csv.null_values[1]", (7, 31)),
        ("tests[0].given.flights[1].dep_delay", (33, 78)),
    ] {
        assert_eq!(pipeline.position_of(path), Some(position), "{path}");
    }
    assert_eq!(pipeline.position_of("sources.nothing"), None);
    assert_eq!(pipeline.view_path("worst"), "views.worst.sql");
    assert_eq!(pipeline.view_path("delays"), "views.delays");
}

/// Where the word `HERE` of the view's SQL is found in the file.
fn where_is_here(sql: &str) -> (Option<(usize, usize)>, (usize, usize)) {
    let text =
        format!("name: x\nsources: {{n: {{type: nexmark, table: bid}}}}\nviews:\n  v:{sql}\n");
    let pipeline = parse(&text, &[("VALUE", "one\ntwo")]).unwrap();
    let place = |text: &str| {
        let at = text.find("HERE").unwrap();
        let line_start = text[..at].rfind('\n').map_or(0, |at| at + 1);
        (text[..at].matches('\n').count() + 1, text[line_start..at].chars().count() + 1)
    };
    let (line, column) = place(&pipeline.spec.views["v"].sql);
    (pipeline.position_in("views.v", line, column), place(&text))
}

#[test]
fn places_in_sql_are_places_in_the_file() {
    for sql in [
        " SELECT HERE FROM n",
        " \"SELECT HERE FROM n\"",
        " 'SELECT HERE FROM n'",
        " |\n    SELECT a,\n      HERE\n    FROM n",
        " |-\n\n    SELECT 'ä',  HERE\n    FROM n",
        " |2\n      SELECT\n    HERE",
        " >\n    SELECT a,\n    HERE\n    FROM n",
        " SELECT a,\n    b,\n\n    HERE FROM n",
        "\n    SELECT a,\n    HERE",
        " \"SELECT a,\n    HERE\"",
        " |  # the best view\n    -- HERE\n    SELECT 1",
        " SELECT HERE, ${VALUE}",
    ] {
        let (found, expected) = where_is_here(sql);
        assert_eq!(found, Some(expected), "{sql}");
    }
    // Characters that differ between the file and the text: the start of the value.
    for (sql, start) in
        [(" 'SELECT ''x'', HERE'", (4, 6)), (" \"\\x41 HERE\"", (4, 6)), (" ${VALUE} HERE", (4, 6))]
    {
        assert_eq!(where_is_here(sql).0, Some(start), "{sql}");
    }
}

#[test]
fn later_problems_show_the_file() {
    let text = EXAMPLE.replace(
        "  delays: SELECT origin, avg(dep_delay) AS mean FROM flights GROUP BY origin",
        "  delays: |\n    SELECT orign, avg(dep_delay) AS mean\n    FROM flights\n    GROUP BY 1",
    );
    let pipeline = parse(&text, &[ALERT_URL]).unwrap();
    let problem = pipeline
        .problem("views.delays", Some((1, 8)), "there is no column `orign`")
        .label("did you mean `origin`?");
    insta::assert_snapshot!(pipeline.report(vec![problem]).to_string(), @r"
    syncline.yaml:16:12: there is no column `orign`
        16 |     SELECT orign, avg(dep_delay) AS mean
           |            ^^^^^ did you mean `origin`?
    ");
}

#[test]
fn a_file_is_found_in_a_folder_above() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("a/b");
    std::fs::create_dir_all(&below).unwrap();
    let missing = find(&below).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Config);
    assert!(missing.detail_text().unwrap().contains(&below.display().to_string()));
    assert!(missing.hint_text().unwrap().contains("syncline init"));
    std::fs::write(dir.path().join(FILE_NAME), EXAMPLE).unwrap();
    assert_eq!(find(&below).unwrap(), dir.path().join(FILE_NAME));

    let pipeline = Pipeline::load(Some(&dir.path().join(FILE_NAME)), &vars(&[ALERT_URL])).unwrap();
    assert_eq!(pipeline.base_dir, dir.path());
    assert_eq!(pipeline.lock_path(), dir.path().join("syncline.lock"));
    for (path, message) in [
        (dir.path().join("other.yaml"), "there is no pipeline file"),
        (dir.path().to_owned(), "is a folder"),
    ] {
        let error = Pipeline::load(Some(&path), &vars(&[])).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    std::fs::write(dir.path().join("bytes.yaml"), b"name: x\n\xff\n").unwrap();
    let error = Pipeline::load(Some(&dir.path().join("bytes.yaml")), &vars(&[])).unwrap_err();
    assert!(error.to_string().contains("line 2"), "{error}");
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_change_nothing() {
    let text = format!("\u{feff}{}", EXAMPLE.replace('\n', "\r\n"));
    let pipeline = parse(&text, &[ALERT_URL]).unwrap();
    assert_eq!(pipeline.spec.name, "nyc-flights");
    assert_eq!(pipeline.position_of("sources.flights.format"), Some((6, 13)));
}

#[test]
fn the_schema_is_as_it_was() {
    let schema = serde_json::to_string_pretty(&json_schema()).unwrap();
    insta::assert_snapshot!(schema);
}

#[test]
fn the_reference_has_every_key_and_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/pipeline-file.md");
    let made = reference::markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert!(
        written == made,
        "docs/pipeline-file.md is out of date: run `UPDATE_DOCS=1 cargo test -p syncline-pipeline`"
    );
    let mut keys = Vec::new();
    keys_of(&json_schema(), &mut keys);
    assert!(keys.len() > 40, "{keys:?}");
    for key in keys {
        assert!(made.contains(&format!("\n| `{key}` |")), "`{key}` is missing");
    }
}

fn keys_of(schema: &serde_json::Value, keys: &mut Vec<String>) {
    match schema {
        serde_json::Value::Object(object) => {
            if let Some(serde_json::Value::Object(properties)) = object.get("properties") {
                keys.extend(properties.keys().cloned());
            }
            object.values().for_each(|inner| keys_of(inner, keys));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|inner| keys_of(inner, keys)),
        _ => {}
    }
}
