//! `explain`: where a row comes from, since when it is so, and what is said where it cannot be told.

use serde_json::{Value, json};

use crate::folder::Folder;

const PIPELINE: &str = r#"
name: small
sources:
  readings: {type: file, path: readings.json, format: json, columns: {at: TIMESTAMP}}
  sensors: {type: file, path: sensors.csv, format: csv}
views:
  sums: SELECT sensor, sum(value) AS total, count(*) AS n FROM readings GROUP BY sensor
  places:
    sql: SELECT s.place, max(total) AS most FROM sums JOIN sensors s ON s.sensor = sums.sensor GROUP BY s.place
  down: |
    WITH RECURSIVE r AS (SELECT count(*) AS x FROM readings UNION ALL SELECT x - 1 FROM r WHERE x > 1)
    SELECT x FROM r
sinks:
  out: {from: places, type: file, path: out.json, format: json, mode: snapshot}
alerts:
  much: {when: SELECT sensor FROM sums WHERE total > 1, notify: []}
"#;

const READINGS: &str = "\
{\"sensor\": \"a\", \"value\": 1.5, \"at\": \"2026-01-01 00:00:00\"}
{\"sensor\": \"b\", \"value\": 0.5, \"at\": \"2026-01-01 00:00:01\"}
{\"sensor\": \"a\", \"value\": 0.25, \"at\": null}
{\"sensor\": \"a\", \"value\": 0.25, \"at\": null}
";

fn small() -> Folder {
    let folder = Folder::with_pipeline(PIPELINE);
    folder.write("readings.json", READINGS);
    folder.write("sensors.csv", "sensor,place\na,roof\nb,cellar\nc,roof\n");
    folder.run(&["run", "--once"]).ok();
    folder
}

/// What `explain` answers, as JSON, and its exit code.
fn answer(folder: &Folder, arguments: &[&str]) -> (Value, i32) {
    let done = folder.run(&[&["explain", "--format", "json"], arguments].concat());
    let read = serde_json::from_str(&done.out);
    (read.unwrap_or_else(|_| panic!("{arguments:?}: {done:?}")), done.code)
}

/// The rows of a source in an answer, without the epochs that they came in.
fn rows_of(answer: &Value, source: &str) -> Value {
    let sources = answer["sources"].as_array().unwrap();
    let source = sources.iter().find(|other| other["source"] == source).unwrap();
    let rows = source["rows"].as_array().unwrap().iter();
    Value::from_iter(rows.map(|row| {
        assert!(row["epoch"].as_u64().unwrap() > 0, "{row}");
        row["row"].clone()
    }))
}

#[test]
fn text_for_people() {
    let folder = small();
    let said = folder.run(&["explain", "sums", "sensor=a"]).ok();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("sums, epoch "), "{said}");
    assert_eq!(lines[1..4], ["sensor  total  n", "──────  ─────  ─", "a         2.0  3"], "{said}");
    assert!(said.contains("\nreadings: 3 of 4 rows\nepoch  sensor  value  at\n"), "{said}");
    assert_eq!(said.matches("  a        0.25  NULL\n").count(), 2, "{said}");
    assert!(said.ends_with("\nrecomputed from these 3 rows alone: equal\n"), "{said}");

    // Through a view and a join, and of a view that is not kept.
    let said = folder.run(&["explain", "syncline.yaml", "places", "place=roof"]).ok();
    assert!(said.contains("\nreadings: 3 of 4 rows\n"), "{said}");
    assert!(said.contains("\nsensors: 1 of 3 rows\n"), "{said}");
    assert!(said.ends_with("\nrecomputed from these 4 rows alone: equal\n"), "{said}");

    let said = folder.run(&["explain", "much"]).ok();
    assert!(said.contains("\nreadings: 3 of 4 rows\n"), "{said}");
}

#[test]
fn json_for_programs() {
    let folder = small();
    let (answer, code) = answer(&folder, &["places", "place=roof", "most=2"]);
    assert_eq!(code, 0);
    assert_eq!(answer["view"], "places");
    assert_eq!(answer["where"], json!({"place": "roof", "most": 2.0}));
    assert_eq!(answer["rows"], json!([{"place": "roof", "most": 2.0}]));
    assert_eq!((&answer["rows"], &answer["more"]), (&answer["recomputed"], &json!(0)));
    assert_eq!(rows_of(&answer, "sensors"), json!([{"sensor": "a", "place": "roof"}]));
    assert_eq!(rows_of(&answer, "readings").as_array().unwrap().len(), 3);
    assert!(answer["sources"].as_array().unwrap().iter().all(|source| source["narrowed"] == true));
    assert_eq!(answer["verified"], true);
    assert!(answer["epoch"].is_u64() && answer["time"].is_string(), "{answer}");
}

#[test]
fn one_row_unless_more_are_asked_for() {
    let folder = small();
    let said = folder.run(&["explain", "sums"]).ok();
    assert!(said.contains("(1 more fits: say more of the row, or --limit 2)"), "{said}");
    let (both, _) = answer(&folder, &["sums", "--limit", "2"]);
    assert_eq!((both["rows"].as_array().unwrap().len(), &both["more"]), (2, &json!(0)));
    assert_eq!(rows_of(&both, "readings").as_array().unwrap().len(), 4);
}

#[test]
fn when_a_row_changed() {
    let folder = small();
    let (before, _) = answer(&folder, &["sums", "sensor=b"]);
    folder.append("readings.json", "{\"sensor\": \"b\", \"value\": 4, \"at\": null}\n");
    folder.run(&["run", "--once"]).ok();

    let (history, code) = answer(&folder, &["sums", "sensor=b", "--history"]);
    assert_eq!((code, &history["there"]), (0, &json!(true)));
    let [first, second] = history["changes"].as_array().unwrap().as_slice() else {
        panic!("{history}")
    };
    let row = |total: f64, n: i64| json!({"sensor": "b", "total": total, "n": n});
    assert_eq!(
        (&first["op"], &first["before"], &first["after"]),
        (&json!("c"), &Value::Null, &row(0.5, 1))
    );
    assert_eq!(
        (&second["op"], &second["before"], &second["after"]),
        (&json!("u"), &row(0.5, 1), &row(4.5, 2))
    );
    assert!(first["epoch"].as_u64() <= before["epoch"].as_u64(), "{history}");
    assert!(second["epoch"].as_u64() > before["epoch"].as_u64(), "{history}");
    assert_eq!(history["since"]["epoch"], second["epoch"]);

    // The past is explained as it was.
    let epoch = before["epoch"].to_string();
    let (past, _) = answer(&folder, &["sums", "sensor=b", "--at", &epoch]);
    assert_eq!(past, before);
    let (gone, _) = answer(&folder, &["sums", "sensor=b", "total=0.5", "--history"]);
    assert_eq!((&gone["there"], &gone["changes"][1]["op"]), (&json!(false), &json!("d")));

    let said = folder.run(&["explain", "sums", "sensor=b", "--history", "--limit", "1"]).ok();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "1 older change is left out");
    assert!(lines[3].ends_with("  -  b         0.5  1"), "{said}");
    assert!(lines[4].ends_with("  +  b         4.5  2"), "{said}");
    assert!(lines[5].starts_with(&format!("as it is since epoch {} (", second["epoch"])), "{said}");
}

#[test]
fn what_is_not_narrowed_is_said() {
    let folder = small();
    let (answer, code) = answer(&folder, &["down", "x=2"]);
    assert_eq!((code, &answer["verified"]), (3, &json!(true)));
    let source = &answer["sources"][0];
    assert_eq!(
        (&source["narrowed"], &source["reason"]),
        (&json!(false), &json!("a recursion is not traced"))
    );
    assert_eq!(rows_of(&answer, "readings").as_array().unwrap().len(), 4);
    let done = folder.run(&["explain", "down", "x=2"]);
    assert_eq!(done.code, 3);
    let said = "readings: 4 of 4 rows, not narrowed: a recursion is not traced";
    assert!(done.out.contains(said), "{done:?}");
}

#[test]
fn no_row_fits() {
    let folder = small();
    let complaint = folder.run(&["explain", "sums", "sensor=z", "n=3"]).fails(1);
    assert!(
        complaint.contains("no row of `sums` has sensor=z and n=3 at the end of"),
        "{complaint}"
    );
    let complaint = folder.run(&["explain", "sums", "sensor=NULL", "--history"]).fails(1);
    assert!(complaint.contains("no row of `sums` has ever had sensor=NULL"), "{complaint}");

    let fresh = Folder::with_init();
    let complaint = fresh.run(&["explain", "cities"]).fails(1);
    assert!(complaint.contains("nothing has run here yet"), "{complaint}");
}

#[test]
fn what_is_wrong_with_the_question_ends_with_2() {
    let folder = small();
    for (arguments, parts) in [
        (&["sum"][..], &["there is no view `sum`", "did you mean `sums`?"][..]),
        (&["readings"], &["`readings` is a source"]),
        (&["sums", "senser=a"], &["`sums` has no column `senser`", "did you mean `sensor`?"]),
        (&["sums", "n=many"], &["not of its column's type", "column `n`", "BIGINT", "many"]),
        (&["sums", "n=1", "n=2"], &["`n` is given twice"]),
        (&["sums", "sensor=a", "b"], &["`b` says of no column"]),
        (&["syncline.yaml", "sums", "b"], &["`b` says of no column"]),
        (&["sensor=a"], &["which view is asked about"]),
        (&["sums", "--at", "99"], &["there is no epoch 99 yet"]),
    ] {
        let complaint = folder.run(&[&["explain"], arguments].concat()).fails(2);
        assert!(parts.iter().all(|part| complaint.contains(part)), "{arguments:?}: {complaint}");
    }
}

#[test]
fn values_are_of_the_columns_types() {
    let columns = "columns: {t: TEXT, d: 'DECIMAL(10,2)', at: TIMESTAMP, l: 'BIGINT[]', v: DOUBLE, b: BOOLEAN}";
    let folder = Folder::with_pipeline(&format!(
        "name: typed\nsources:\n  rows: {{type: file, path: rows.json, format: json, {columns}}}\nviews:\n  \
         same: SELECT * FROM rows\n"
    ));
    folder.write(
        "rows.json",
        "{\"t\": \"NULL\", \"d\": 12.5, \"at\": \"2026-01-01 00:00:00\", \"l\": [1, 2], \"v\": \"NaN\", \"b\": true}\n\
         {\"t\": null, \"d\": 0, \"at\": \"2026-01-02 00:00:00\", \"l\": [], \"v\": 0, \"b\": false}\n",
    );
    folder.run(&["run", "--once"]).ok();
    for (first, second) in [
        ("t='NULL'", "t=NULL"),
        ("d=12.50", "d=0.00"),
        ("at=2026-01-01T00:00:00Z", "at=2026-01-02 00:00:00"),
        ("l=[1,2]", "l=[]"),
        ("v=NaN", "v=-0.0"),
        ("b=true", "b=false"),
    ] {
        for (condition, d) in [(first, "12.50"), (second, "0.00")] {
            let (answer, code) = answer(&folder, &["same", condition]);
            assert_eq!((code, &answer["rows"][0]["d"]), (0, &json!(d)), "{condition}: {answer}");
            assert_eq!(answer["more"], 0, "{condition}");
        }
    }
}
