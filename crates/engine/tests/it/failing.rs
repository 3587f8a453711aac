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

/// Runs `sql` over good rows and bad ones; returns the view's rows and how many were set aside.
fn run(sql: &str, epochs: &[&[(i64, &str)]]) -> (Vec<serde_json::Value>, usize) {
    let table = TableDef {
        name: "t".to_owned(),
        schema: rows(&[]).schema(),
        primary_key: None,
        event_time: None,
        deletes: false,
    };
    let view = ViewDef { name: "v".to_owned(), sql: sql.to_owned(), emit: Emit::Changes };
    let options = Options { pool: None, stopwatch: || 0 };
    let mut circuit = Circuit::new(vec![table], &[view], options).unwrap();
    let info = circuit.views()[0].clone();
    let mut content = Content::new(info.schema, info.order).unwrap();
    let mut aside = 0;
    for (number, epoch) in epochs.iter().enumerate() {
        let input = TableInput { table: 0, rows: Batch::inserts(rows(epoch)), finished: false };
        let output = circuit.step(number as u64 + 1, 0, vec![input]).unwrap();
        output.views[0].iter().for_each(|change| content.apply(change).unwrap());
        for (view, rejected) in &output.rejected {
            assert_eq!((view.as_str(), rejected.class), ("v", RejectClass::Expression));
            assert!(rejected.message.contains("cast"), "{}", rejected.message);
        }
        aside += output.rejected.len();
    }
    (json::arrays(&content.all().unwrap()).unwrap(), aside)
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
    ] {
        let (got, aside) = run(&sql, epochs);
        assert_eq!(serde_json::Value::from(got).to_string(), expect, "{sql}");
        assert_eq!(aside, 2, "{sql}");
    }
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
    let sql = "SELECT id, sum(CAST(text AS BIGINT)) OVER (ORDER BY id) AS s FROM t";
    let (got, aside) = run(sql, &[&[(1, "3"), (2, "4")], &[(3, "x")]]);
    assert_eq!(serde_json::Value::from(got).to_string(), "[[1,3],[2,7]]");
    assert_eq!(aside, 1);
}
