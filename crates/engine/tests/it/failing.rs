//! A row for which an expression fails is set aside, whichever operator computes it; the others go on.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use syncline_change::source::RejectClass;
use syncline_change::{Batch, json};
use syncline_engine::{Circuit, Content, Emit, Options, TableDef, TableInput, ViewDef};

/// Rows of which those with the text `x` cannot be cast.
fn rows(rows: &[(i64, &str)]) -> RecordBatch {
    let ids: Int64Array = rows.iter().map(|(id, _)| Some(*id)).collect();
    let texts: StringArray = rows.iter().map(|(_, text)| Some(*text)).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(ids) as _, true),
        ("text", Arc::new(texts) as _, true),
    ])
    .unwrap()
}

/// Runs `sql` over good rows and bad ones; returns the view's rows and how many were set aside, which
/// must be for a cast.
fn run(sql: &str, epochs: &[&[(i64, &str)]]) -> (Vec<serde_json::Value>, usize) {
    let (rows, messages) = run_all(sql, epochs);
    for message in &messages {
        assert!(message.contains("cast"), "{message}");
    }
    (rows, messages.len())
}

/// Runs `sql`; returns the view's rows and the messages of dead letters.
fn run_all(sql: &str, epochs: &[&[(i64, &str)]]) -> (Vec<serde_json::Value>, Vec<String>) {
    let table = TableDef {
        name: "t".to_owned(),
        schema: rows(&[]).schema(),
        primary_key: None,
        event_time: None,
        deletes: false,
    };
    let view = ViewDef { name: "v".to_owned(), sql: sql.to_owned(), emit: Emit::Changes };
    let options = Options { pool: None, stopwatch: || 0, seed: 0 };
    let mut circuit = Circuit::new(vec![table], &[view], options).unwrap();
    let info = circuit.views()[0].clone();
    let mut content = Content::new(info.schema, info.order).unwrap();
    let mut messages = Vec::new();
    for (number, epoch) in epochs.iter().enumerate() {
        let input =
            TableInput { table: 0, rows: vec![Batch::inserts(rows(epoch))], finished: false };
        let output = circuit.step(number as u64 + 1, 0, vec![input]).unwrap();
        output.views[0].iter().for_each(|change| content.apply(change).unwrap());
        for (view, rejected) in &output.rejected {
            assert_eq!((view.as_str(), rejected.class), ("v", RejectClass::Expression));
            messages.push(rejected.message.clone());
        }
    }
    (json::arrays(&content.all().unwrap()).unwrap(), messages)
}

#[test]
fn the_row_alone_is_set_aside() {
    let epochs: &[&[(i64, &str)]] = &[&[(1, "5"), (2, "x"), (3, "7")], &[(4, "8"), (5, "x")]];
    let number = "CAST(text AS BIGINT)";
    for (sql, expect) in [
        (format!("SELECT id, {number} AS n FROM t"), r#"[[1,5],[3,7],[4,8]]"#),
        (format!("SELECT id FROM t WHERE {number} > 5"), "[[3],[4]]"),
        (format!("SELECT sum({number}) AS s FROM t"), "[[20]]"),
        (
            format!("SELECT {number} AS n, count(*) AS c FROM t GROUP BY {number}"),
            "[[5,1],[7,1],[8,1]]",
        ),
        (format!("SELECT id FROM t ORDER BY {number} DESC LIMIT 2"), "[[3],[4]]"),
        (
            format!("SELECT id, rank() OVER (ORDER BY {number} DESC) AS r FROM t"),
            "[[1,3],[3,2],[4,1]]",
        ),
        (
            format!("SELECT id, sum({number}) OVER (ORDER BY id DESC) AS s FROM t"),
            "[[1,20],[3,15],[4,8]]",
        ),
        (format!("SELECT id FROM t WHERE {number} > (SELECT min(id) + 4 FROM t)"), "[[3],[4]]"),
        (
            format!(
                "SELECT id FROM t WHERE arrow_cast({number}, 'Timestamp(Microsecond, None)') > now()"
            ),
            "[[1],[3],[4]]",
        ),
        (
            format!(
                "WITH RECURSIVE r AS (SELECT id, text, 0 AS d FROM t UNION ALL \
                 SELECT id, text, d + 1 FROM r WHERE d < 1 AND {number} > 7) SELECT id, d FROM r"
            ),
            "[[1,0],[2,0],[3,0],[4,0],[4,1],[5,0]]",
        ),
    ] {
        let (got, aside) = run(&sql, epochs);
        assert_eq!(serde_json::Value::from(got).to_string(), expect, "{sql}");
        assert_eq!(aside, 2, "{sql}");
    }
}

#[test]
fn not_in_that_is_correlated_by_equality() {
    let sql =
        "SELECT id FROM t WHERE id NOT IN (SELECT length(u.text) FROM t u WHERE u.text = t.text)";
    let (got, messages) = run_all(sql, &[&[(1, "a"), (2, "a")], &[(1, "bb"), (3, ""), (0, "")]]);
    assert_eq!(serde_json::Value::from(got).to_string(), "[[1],[2],[3]]");
    assert!(messages.is_empty(), "{messages:?}");
}

/// What is compared is of more than the row, so it is no NOT EXISTS; and DataFusion has no such join.
#[test]
fn not_in_that_cannot_be_computed_says_so() {
    let sql = "SELECT id FROM t WHERE id + (SELECT count(*) FROM t) NOT IN \
               (SELECT length(u.text) FROM t u WHERE u.text = t.text)";
    let (got, messages) = run_all(sql, &[&[(1, "a"), (2, "a")], &[(3, "")]]);
    assert_eq!(serde_json::Value::from(got).to_string(), "[]");
    assert!(messages.iter().all(|said| said.contains("its query failed")), "{messages:?}");
    assert!(!messages.is_empty());
}

#[test]
fn the_key_of_a_join_may_fail() {
    let sql = "SELECT a.id, b.id AS other FROM t a JOIN t b ON CAST(a.text AS BIGINT) = b.id";
    let (got, aside) = run(sql, &[&[(1, "3"), (2, "x")], &[(3, "1"), (4, "x")]]);
    assert_eq!(serde_json::Value::from(got).to_string(), "[[1,3],[3,1]]");
    assert_eq!(aside, 2);
}

#[test]
fn a_recomputed_view_stays_as_it_was() {
    let sql = "SELECT id, ntile(2) OVER (ORDER BY CAST(text AS BIGINT)) AS n FROM t";
    let (got, aside) = run(sql, &[&[(1, "3"), (2, "4")], &[(3, "x")]]);
    assert_eq!(serde_json::Value::from(got).to_string(), "[[1,1],[2,2]]");
    assert_eq!(aside, 1);
}

#[test]
fn a_scalar_subquery_that_is_not_single_leaves_no_rows() {
    let sql = "SELECT id FROM t WHERE id > (SELECT id FROM t WHERE text = 'it')";
    let one: &[(i64, &str)] = &[(1, "it"), (2, ""), (3, "")];
    let (got, messages) = run_all(sql, &[one]);
    assert_eq!((serde_json::Value::from(got).to_string(), messages.len()), ("[[2],[3]]".into(), 0));
    let (got, messages) = run_all(sql, &[one, &[(2, "it")], &[(7, "")]]);
    assert_eq!(serde_json::Value::from(got).to_string(), "[]");
    assert_eq!(messages.len(), 1);
    assert!(messages[0].contains("more than one row"), "{}", messages[0]);
}

#[test]
fn a_row_that_fails_with_the_new_value_alone_is_reported_once() {
    let sql = "SELECT id, 12 / (id - (SELECT max(id) FROM t WHERE text = 'it')) AS q FROM t";
    let (got, messages) = run_all(sql, &[&[(1, "it"), (3, "")], &[(2, "")], &[(3, "it")]]);
    assert_eq!(serde_json::Value::from(got).to_string(), "[[1,-6],[2,-12]]");
    // 1 while the value is 1; then both rows of 3 when it is 3.
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert!(messages.iter().all(|message| message.contains("zero")), "{messages:?}");
}

#[test]
fn an_endless_recursion_comes_to_an_end() {
    let sql = "WITH RECURSIVE r AS (SELECT id AS x FROM t UNION ALL SELECT x + 1 FROM r) \
               SELECT count(*) AS c, max(x) AS m FROM r";
    let (got, messages) = run_all(sql, &[&[(1, "")], &[]]);
    assert_eq!(serde_json::Value::from(got).to_string(), "[[10000,10000]]");
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].contains("cut off after 10000 iterations"), "{}", messages[0]);
}

/// Ways in a circle are twice as many with every step.
#[test]
fn a_recursion_with_ever_more_rows_comes_to_an_end() {
    let sql = "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT 1 AS x FROM r JOIN t ON t.id = r.x) \
               SELECT count(*) AS c FROM r";
    let (got, messages) = run_all(sql, &[&[(1, "a"), (1, "b")]]);
    // 1 + 2 + 4 + .. up to the first sum above ten millions.
    assert_eq!(serde_json::Value::from(got).to_string(), "[[16777215]]");
    assert_eq!(messages.len(), 1, "{messages:?}");
}
