//! The input rows behind a row of a view, for shapes of which it is plain which they are.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Int64Type};
use syncline_engine::{Asked, BatchEngine, Emit, Explained, ViewDef};

use crate::rig::{Row, Setting, rows, same_bits, tables};

/// A row told by its `k`, `g`, `n` and the second that it is of; `v` is half of `n`.
fn row(k: impl Into<Option<i64>>, g: &str, n: i64, second: i64) -> Row {
    let (k, g) = (k.into(), Some(g.to_owned()));
    Row { k, g, v: Some(n as f64 / 2.0), n: Some(n), ts: second * 1_000_000 }
}

/// In `t` every `n` is another row's, but for 7, which two equal rows have. In `u` they are from 101 on.
fn input() -> Vec<(String, Vec<RecordBatch>)> {
    let t = [
        row(1, "a", 1, 5),
        row(1, "b", 2, 15),
        row(2, "a", 3, 70),
        row(3, "b", 4, 80),
        row(None, "c", 5, 200),
        row(4, "c", 6, 400),
        row(5, "d", 7, 410),
        row(5, "d", 7, 410),
    ];
    let u = [
        row(1, "a", 101, 10),
        row(1, "x", 102, 20),
        row(3, "b", 103, 30),
        row(None, "c", 104, 40),
        row(9, "y", 105, 50),
    ];
    vec![("t".to_owned(), vec![rows(&t)]), ("u".to_owned(), vec![rows(&u)])]
}

fn batch(views: &[(&str, &str)]) -> BatchEngine {
    let views: Vec<ViewDef> = views
        .iter()
        .map(|(name, sql)| ViewDef {
            name: (*name).to_owned(),
            sql: (*sql).to_owned(),
            emit: Emit::Changes,
        })
        .collect();
    BatchEngine::new(&tables(Setting::CHANGES), &views, 0).unwrap()
}

/// Explains all rows of the last view that have these values, as text.
fn explain(views: &[(&str, &str)], condition: &[(&str, &str)]) -> Explained {
    let batch = batch(views);
    let (view, _) = views.last().unwrap();
    let computed = batch.compute(&input(), 0, |_| i64::MAX).unwrap();
    let (_, content) = computed.into_iter().find(|(name, _)| name == view).unwrap();
    let mut all = content.all().unwrap();
    for (column, value) in condition {
        let texts = cast(all.column_by_name(column).unwrap(), &DataType::Utf8).unwrap();
        let texts = texts.as_string::<i32>();
        let fits = (0..texts.len()).map(|i| {
            let have = if texts.is_null(i) { "NULL" } else { texts.value(i) };
            Some(have == *value)
        });
        all = filter_record_batch(&all, &fits.collect()).unwrap();
    }
    assert!(all.num_rows() > 0, "no row of {view} has {condition:?}");
    let asked = Asked { view, condition: &all, rows_max: usize::MAX };
    let explained = batch.explain(&input(), 0, |_| i64::MAX, asked).unwrap();
    assert!(explained.verified, "{explained:#?}");
    assert!(same_bits(&explained.rows, &explained.recomputed));
    explained
}

/// The rows of a table that explain something, by their `n`.
fn numbers(explained: &Explained, table: &str) -> Vec<i64> {
    let Some(source) = explained.sources.iter().find(|source| source.name == table) else {
        return vec![];
    };
    assert_eq!(source.not_narrowed, None, "{table} is not narrowed");
    let numbers = source.rows.column_by_name("n").unwrap().as_primitive::<Int64Type>();
    let mut numbers: Vec<i64> = numbers.values().to_vec();
    numbers.sort_unstable();
    numbers
}

fn check_views(views: &[(&str, &str)], condition: &[(&str, &str)], t: &[i64], u: &[i64]) {
    let explained = explain(views, condition);
    let found = (numbers(&explained, "t"), numbers(&explained, "u"));
    assert_eq!(found, (t.to_vec(), u.to_vec()), "{condition:?} of {views:#?}");
}

fn check(sql: &str, condition: &[(&str, &str)], t: &[i64], u: &[i64]) {
    check_views(&[("view", sql)], condition, t, u);
}

#[test]
fn rows_one_by_one() {
    check("SELECT k, n FROM t WHERE n > 2", &[("n", "4")], &[4], &[]);
    check("SELECT n * 10 AS m FROM t", &[("m", "30")], &[3], &[]);
    check("SELECT k, n FROM t", &[("k", "NULL")], &[5], &[]);
    check("SELECT g FROM t", &[("g", "a")], &[1, 3], &[]);
    check("SELECT * FROM t", &[("k", "5")], &[7, 7], &[]);
    check("SELECT unnest([n, k]) AS e FROM t", &[("e", "2")], &[2, 3], &[]);
    check("SELECT 1 AS one", &[], &[], &[]);
}

#[test]
fn groups() {
    let sums = "SELECT g, sum(n) AS s, count(*) AS c FROM t GROUP BY g";
    check(sums, &[("g", "a")], &[1, 3], &[]);
    check(sums, &[("g", "d")], &[7, 7], &[]);
    check("SELECT g, sum(n) AS s FROM t WHERE n <> 1 GROUP BY g", &[("g", "a")], &[3], &[]);
    check("SELECT count(*) AS c FROM t WHERE k = 1", &[], &[1, 2], &[]);
    check("SELECT k % 2 AS odd, max(v) AS m FROM t GROUP BY k % 2", &[("odd", "0")], &[3, 6], &[]);
    check("SELECT DISTINCT k FROM t", &[("k", "5")], &[7, 7], &[]);
    check(
        "SELECT g, max(n) AS m FROM t GROUP BY g HAVING count(*) > 1",
        &[("g", "b")],
        &[2, 4],
        &[],
    );
    let rollup = "SELECT g, k, count(*) AS c FROM t GROUP BY ROLLUP (g, k)";
    check(rollup, &[("g", "b"), ("k", "NULL")], &[2, 4], &[]);
    check(rollup, &[("g", "b"), ("k", "3")], &[4], &[]);
    check("SELECT DISTINCT ON (g) g, n FROM t ORDER BY g, n DESC", &[("g", "a")], &[1, 3], &[]);
}

#[test]
fn joins() {
    let pairs = "SELECT t.n, u.n AS un FROM t JOIN u ON t.k = u.k";
    check(pairs, &[("n", "1"), ("un", "102")], &[1], &[102]);
    check(pairs, &[("n", "1")], &[1], &[101, 102]);
    check(
        "SELECT t.n, u.n AS un FROM t JOIN u ON t.k < u.n - 98",
        &[("un", "101"), ("n", "3")],
        &[3],
        &[101],
    );
    check("SELECT a.n, b.n AS bn FROM t a JOIN t b ON a.k = b.k", &[("n", "1")], &[1, 2], &[]);
    let left = "SELECT t.n, u.k FROM t LEFT JOIN u ON t.k = u.k";
    check(left, &[("n", "4")], &[4], &[103]);
    // The NULL of `k` is no row of `u`, though there is one with it.
    check(left, &[("n", "3")], &[3], &[]);
    let full = "SELECT t.k, u.n AS un FROM t FULL JOIN u ON t.k = u.k";
    check(full, &[("un", "105")], &[], &[105]);
    check("SELECT t.k, u.k AS uk FROM t LEFT JOIN u ON t.g = u.g", &[("k", "NULL")], &[5], &[104]);
    check("SELECT n FROM t WHERE k IN (SELECT k FROM u)", &[("n", "1")], &[1], &[101, 102]);
    check(
        "SELECT n FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.k)",
        &[("n", "3")],
        &[3],
        &[],
    );
    check(
        "SELECT n FROM t WHERE n = 4 OR EXISTS (SELECT 1 FROM u WHERE u.k = t.k)",
        &[("n", "2")],
        &[2],
        &[101, 102],
    );
    check("SELECT k FROM t INTERSECT SELECT k FROM u", &[("k", "1")], &[1, 2], &[101, 102]);
    check("SELECT k FROM t EXCEPT SELECT k FROM u", &[("k", "2")], &[3], &[]);
    check(
        "SELECT n, (SELECT max(u.n) FROM u WHERE u.k = t.k) AS m FROM t",
        &[("n", "2")],
        &[2],
        &[101, 102],
    );
}

#[test]
fn parts_of_a_union() {
    let sql = "SELECT k, n FROM t UNION ALL SELECT k, n FROM u";
    check(sql, &[("k", "3")], &[4], &[103]);
    check("SELECT k FROM t UNION SELECT k FROM u", &[("k", "9")], &[], &[105]);
}

#[test]
fn windows_of_time() {
    let tumble = "SELECT window_start, sum(n) AS s FROM tumble(t, ts, '1m') GROUP BY window_start";
    check(tumble, &[("s", "7")], &[3, 4], &[]);
    let hop = "SELECT window_end, sum(n) AS s FROM hop(t, ts, '1m', '2m') GROUP BY window_end";
    check(hop, &[("s", "10")], &[1, 2, 3, 4], &[]);
    let session = "SELECT window_start, window_end, sum(n) AS s FROM session(t, ts, '30s') GROUP BY window_start, window_end";
    check(session, &[("s", "20")], &[6, 7, 7], &[]);
    check(session, &[("s", "3")], &[1, 2], &[]);
    let by_key = "SELECT window_start, k, n FROM session(t, ts, '20s', k)";
    check(by_key, &[("n", "3")], &[3], &[]);
    check(by_key, &[("n", "1")], &[1, 2], &[]);
}

#[test]
fn rows_in_order() {
    check("SELECT n FROM t ORDER BY n LIMIT 3", &[("n", "2")], &[2], &[]);
    check("SELECT n FROM t ORDER BY n LIMIT 2 OFFSET 2", &[("n", "4")], &[1, 2, 4], &[]);
    let ranks = "SELECT n, row_number() OVER (PARTITION BY g ORDER BY n DESC) AS r FROM t";
    check(ranks, &[("n", "1")], &[1, 3], &[]);
    check(
        "SELECT n, rank() OVER (ORDER BY n) AS r FROM t WHERE n < 4",
        &[("n", "3")],
        &[1, 2, 3],
        &[],
    );
}

#[test]
fn scalar_subqueries() {
    let sql = "SELECT n FROM t WHERE n > (SELECT min(n) - 100 FROM u WHERE k = 1)";
    check(sql, &[("n", "4")], &[4], &[101]);
    let sql = "SELECT n FROM t WHERE n * 100 < (SELECT sum(n) FROM u WHERE k = 1)";
    check(sql, &[("n", "2")], &[2], &[101, 102]);
    let sql = "SELECT g, sum(n) AS s FROM t WHERE ts > (SELECT max(ts) FROM t) - INTERVAL '15 seconds' GROUP BY g";
    check(sql, &[("g", "c")], &[6, 7, 7], &[]);
    let sql = "SELECT n, (SELECT min(k) + max(n) FROM u WHERE g <> 'y') AS m FROM t";
    check(sql, &[("n", "4")], &[4], &[101, 102, 104]);
}

#[test]
fn views_over_views() {
    let views = [
        ("sums", "SELECT k, sum(n) AS s FROM t GROUP BY k"),
        ("large", "SELECT sums.k, s, u.g FROM sums JOIN u ON sums.k = u.k"),
        ("view", "SELECT g, max(s) AS m FROM large GROUP BY g"),
    ];
    check_views(&views, &[("g", "x")], &[1, 2], &[102]);
    check_views(&views, &[("g", "b")], &[4], &[103]);
}

#[test]
fn a_recursion_is_not_narrowed() {
    let sql = "WITH RECURSIVE r AS (SELECT k AS x FROM t UNION SELECT u.n AS x FROM r JOIN u ON u.k = r.x) \
               SELECT x FROM r";
    let explained = explain(&[("view", sql)], &[("x", "103")]);
    let reasons: Vec<_> =
        explained.sources.iter().map(|source| source.not_narrowed.as_deref()).collect();
    assert_eq!(reasons, [Some("a recursion is not traced"); 2]);
    let all: Vec<usize> = explained.sources.iter().map(|source| source.rows.num_rows()).collect();
    assert_eq!(all, [8, 5]);
}

/// The other row of the same `k` has no part in this one, and without it the row is not there.
#[test]
fn what_the_rows_alone_do_not_give_is_widened() {
    let sql = "SELECT n FROM t WHERE NOT EXISTS (SELECT 1 FROM \
               (SELECT k FROM t GROUP BY k HAVING count(*) < 2) d WHERE d.k = t.k)";
    let explained = explain(&[("view", sql)], &[("n", "1")]);
    let [source] = explained.sources.as_slice() else { panic!("{explained:#?}") };
    assert_eq!(source.rows.num_rows(), 8);
    let reason = "the traced rows alone do not give the row";
    assert_eq!(source.not_narrowed.as_deref(), Some(reason));
}

#[test]
fn rows_that_are_there_more_than_once() {
    let explained = explain(&[("view", "SELECT k FROM t")], &[("k", "5")]);
    assert_eq!((explained.rows.num_rows(), explained.recomputed.num_rows()), (2, 2));
}

#[test]
fn so_many_rows_and_no_more() {
    let batch = batch(&[("view", "SELECT g FROM t WHERE n < 7")]);
    let everything = RecordBatch::new_empty(std::sync::Arc::new(arrow::datatypes::Schema::empty()));
    let asked = Asked { view: "view", condition: &everything, rows_max: 2 };
    let explained = batch.explain(&input(), 0, |_| i64::MAX, asked).unwrap();
    assert_eq!((explained.rows.num_rows(), explained.more), (4, 1));
    assert_eq!(numbers(&explained, "t"), [1, 2, 3, 4]);
}

#[test]
fn what_is_asked_for_must_be_there() {
    let batch = batch(&[("view", "SELECT k, n FROM t")]);
    let none = rows(&[row(77, "z", 1, 0)]).project(&[0]).unwrap();
    let ask = |view, condition| {
        batch.explain(&input(), 0, |_| i64::MAX, Asked { view, condition, rows_max: 1 })
    };
    let explained = ask("view", &none).unwrap();
    assert_eq!((explained.rows.num_rows(), explained.more, explained.verified), (0, 0, false));
    assert_eq!(ask("veiw", &none).unwrap_err().message(), "there is no view `veiw`");
    let other = rows(&[row(77, "z", 1, 0)]).project(&[1]).unwrap();
    assert_eq!(ask("view", &other).unwrap_err().message(), "there is no column `g`");
}
