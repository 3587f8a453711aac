//! The table of constructs in `docs/sql.md` says of each how it is kept up to date. Here every row has
//! queries, and the circuit that each becomes must be what the row says.

use std::collections::BTreeSet;

use syncline_engine::{Circuit, Emit, Options, ViewDef};

use crate::rig::{Setting, tables};

const INCREMENTAL: &str = "incremental";
const BY_GROUP: &str = "by group";
const RECOMPUTED: &str = "recomputed";
const ONCE: &str = "computed once";
const REJECTED: &str = "rejected";

/// How the view is kept up to date, in the table's words.
fn kept(sql: &str) -> Result<&'static str, String> {
    let view = ViewDef { name: "view".to_owned(), sql: sql.to_owned(), emit: Emit::Changes };
    let options = Options { pool: None, stopwatch: || 0, seed: 0 };
    let circuit = match Circuit::new(tables(Setting::CHANGES), &[view], options) {
        Ok(circuit) => circuit,
        Err(errors) if errors[0].hint.is_some() => return Ok(REJECTED),
        Err(errors) => return Err(format!("{errors:?}")),
    };
    let nodes = circuit.graph().nodes;
    let reason = |node: &syncline_engine::GraphNode| node.recompute.clone().unwrap_or_default();
    let constant = |node: &&syncline_engine::GraphNode| reason(node) == "it is a constant";
    let mut anew = nodes.iter().filter(|node| node.recompute.is_some() && !constant(node));
    Ok(match anew.clone().any(|node| node.label != "regroup") {
        true => RECOMPUTED,
        false if anew.next().is_some() => BY_GROUP,
        false if nodes.iter().any(|node| constant(&node)) => ONCE,
        false => INCREMENTAL,
    })
}

/// The first and the second column of the table.
fn documented() -> Vec<(String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sql.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().skip_while(|line| !line.starts_with("| construct | now |"));
    assert!(lines.next().is_some(), "docs/sql.md has no table of constructs");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let inside = line.trim_start_matches("| ").trim_end_matches(" |").to_owned();
        let (construct, now) = inside.split_once(" | ").unwrap();
        (construct.to_owned(), now.to_owned())
    };
    rows.map(cells).collect()
}

/// What each row's construct looks like, by how the row begins.
const QUERIES: [(&str, &[(&str, &str)]); 34] = [
    (
        "SELECT list, WHERE",
        &[(
            INCREMENTAL,
            "SELECT CASE WHEN k > 1 THEN CAST(n AS TEXT) ELSE upper(g) END AS x FROM t WHERE n > 0",
        )],
    ),
    (
        "WITH, subqueries in FROM",
        &[(
            INCREMENTAL,
            "WITH a AS (SELECT k, n FROM t) SELECT b.n FROM (SELECT n FROM a WHERE k > 1) b",
        )],
    ),
    (
        "UNION ALL, UNION, DISTINCT",
        &[
            (INCREMENTAL, "SELECT k FROM t UNION ALL SELECT k FROM u"),
            (INCREMENTAL, "SELECT k FROM t UNION SELECT k FROM u"),
            (INCREMENTAL, "SELECT DISTINCT k, g FROM t"),
        ],
    ),
    (
        "GROUP BY, also by expressions",
        &[
            (
                INCREMENTAL,
                "SELECT k % 2 AS o, count(*) FILTER (WHERE n > 0) AS c FROM t GROUP BY k % 2 HAVING count(*) > 1",
            ),
            (INCREMENTAL, "SELECT g, k, count(*) AS c FROM t GROUP BY CUBE (g, k)"),
            (INCREMENTAL, "SELECT g, k, count(*) AS c FROM t GROUP BY ROLLUP (g, k)"),
            (
                INCREMENTAL,
                "SELECT g, k, count(*) AS c FROM t GROUP BY GROUPING SETS ((g), (k), ())",
            ),
        ],
    ),
    (
        "`count`, `sum`, `min`, `max`, `avg` |",
        &[
            (
                INCREMENTAL,
                "SELECT g, count(n) AS a, sum(v) AS b, min(n) AS c, max(g) AS d, avg(v) AS e FROM t GROUP BY g",
            ),
            (
                INCREMENTAL,
                "SELECT count(*) AS a, sum(n) AS b, min(v) AS c, max(v) AS d, avg(n) AS e FROM t",
            ),
        ],
    ),
    (
        "`var`, `stddev`",
        &[(
            INCREMENTAL,
            "SELECT var(v) AS a, stddev_pop(v) AS b, covar_samp(v, n) AS c, corr(v, n) AS d, regr_slope(v, n) AS e, regr_r2(v, n) AS f FROM t",
        )],
    ),
    (
        "`bool_and`, `bool_or`",
        &[(
            INCREMENTAL,
            "SELECT bool_and(n > 0) AS a, bool_or(n > 0) AS b, bit_and(n) AS c, bit_or(n) AS d, bit_xor(n) AS e, median(v) AS f, percentile_cont(0.3) WITHIN GROUP (ORDER BY n) AS g, first_value(k ORDER BY n) AS h, last_value(k ORDER BY n) AS i FROM t",
        )],
    ),
    (
        "all of these with DISTINCT",
        &[(
            INCREMENTAL,
            "SELECT g, count(DISTINCT k) AS a, sum(DISTINCT v) AS b, var(DISTINCT v) AS c, median(DISTINCT k) AS d, bit_xor(DISTINCT n) AS e FROM t GROUP BY g",
        )],
    ),
    (
        "`avg` of a DECIMAL with more",
        &[
            (BY_GROUP, "SELECT g, avg(CAST(k AS DECIMAL(30, 3))) AS a FROM t GROUP BY g"),
            (BY_GROUP, "SELECT g, array_agg(k) AS a, string_agg(g, ',') AS b FROM t GROUP BY g"),
            (BY_GROUP, "SELECT g, nth_value(k, 2 ORDER BY n) AS c FROM t GROUP BY g"),
            (RECOMPUTED, "SELECT array_agg(k) AS a FROM t"),
        ],
    ),
    (
        "joins of every kind",
        &[
            (INCREMENTAL, "SELECT t.k FROM t JOIN u ON t.k = u.k AND t.n < u.n"),
            (INCREMENTAL, "SELECT t.k FROM t LEFT JOIN u ON t.k < u.k"),
            (INCREMENTAL, "SELECT u.k FROM t RIGHT JOIN u ON t.k = u.k"),
            (INCREMENTAL, "SELECT t.k, u.n FROM t FULL JOIN u ON t.k = u.k AND t.n < u.n"),
            (INCREMENTAL, "SELECT t.k, u.n FROM t CROSS JOIN u"),
            (
                INCREMENTAL,
                "SELECT t.k, s.m FROM t, LATERAL (SELECT max(u.n) AS m FROM u WHERE u.k = t.k) AS s",
            ),
        ],
    ),
    (
        "IN, EXISTS, NOT IN",
        &[
            (INCREMENTAL, "SELECT k FROM t WHERE k IN (SELECT k FROM u)"),
            (INCREMENTAL, "SELECT k FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.k = t.k)"),
            (INCREMENTAL, "SELECT k FROM t WHERE k NOT IN (SELECT n FROM u)"),
            (
                INCREMENTAL,
                "SELECT k FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND u.n < t.n)",
            ),
        ],
    ),
    (
        "NOT IN that is correlated",
        &[(INCREMENTAL, "SELECT k FROM t WHERE k NOT IN (SELECT u.n FROM u WHERE u.g = t.g)")],
    ),
    (
        "INTERSECT, EXCEPT",
        &[
            (INCREMENTAL, "SELECT k FROM t INTERSECT SELECT k FROM u"),
            (INCREMENTAL, "SELECT k FROM t EXCEPT SELECT k FROM u"),
            (INCREMENTAL, "SELECT k FROM t INTERSECT ALL SELECT k FROM u"),
            (INCREMENTAL, "SELECT k FROM t EXCEPT ALL SELECT k FROM u"),
        ],
    ),
    (
        "a scalar subquery that is correlated",
        &[(INCREMENTAL, "SELECT k, (SELECT max(u.n) FROM u WHERE u.k = t.k) AS m FROM t")],
    ),
    (
        "a scalar subquery that is not correlated",
        &[(INCREMENTAL, "SELECT k FROM t WHERE n > (SELECT avg(n) FROM u)")],
    ),
    (
        "any other scalar subquery",
        &[(RECOMPUTED, "SELECT k, (SELECT max(u.n) FROM u WHERE u.k < t.k) AS m FROM t")],
    ),
    (
        "`> ANY (..)`",
        &[
            (INCREMENTAL, "SELECT k FROM t WHERE k > ANY (SELECT k FROM u)"),
            (INCREMENTAL, "SELECT k FROM t WHERE k <= ALL (SELECT k FROM u)"),
        ],
    ),
    (
        "ORDER BY with LIMIT",
        &[
            (INCREMENTAL, "SELECT k FROM t ORDER BY n LIMIT 3"),
            (INCREMENTAL, "SELECT k FROM t ORDER BY n LIMIT 3 OFFSET 2"),
            (INCREMENTAL, "SELECT k FROM t LIMIT 3"),
        ],
    ),
    (
        "`row_number()`, `rank()`",
        &[
            (
                INCREMENTAL,
                "SELECT k, row_number() OVER (PARTITION BY g ORDER BY n) AS a, rank() OVER (ORDER BY n) AS b, dense_rank() OVER (ORDER BY g) AS c FROM t",
            ),
            (
                INCREMENTAL,
                "SELECT k FROM (SELECT k, rank() OVER (ORDER BY n) AS r FROM t) WHERE r <= 3",
            ),
        ],
    ),
    (
        "`lag`, `lead`",
        &[
            (
                INCREMENTAL,
                "SELECT lag(n) OVER (ORDER BY k) AS a, lead(n, 2) OVER (ORDER BY k) AS b FROM t",
            ),
            (
                INCREMENTAL,
                "SELECT sum(n) OVER (ORDER BY k ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING) AS a FROM t",
            ),
        ],
    ),
    (
        "aggregates, `first_value` and `last_value` OVER",
        &[
            (
                INCREMENTAL,
                "SELECT sum(n) OVER (PARTITION BY g ORDER BY k) AS a, last_value(n) OVER (PARTITION BY g ORDER BY k) AS b, n / sum(n) OVER () AS c FROM t",
            ),
            (
                INCREMENTAL,
                "SELECT max(v) FILTER (WHERE n > 0) OVER (ORDER BY k) AS a, var_pop(v) OVER (ORDER BY k GROUPS UNBOUNDED PRECEDING) AS b FROM t",
            ),
            (
                INCREMENTAL,
                "SELECT avg(n) OVER (ORDER BY k ROWS UNBOUNDED PRECEDING) AS a, first_value(g) OVER (ORDER BY k ROWS UNBOUNDED PRECEDING) AS b, row_number() OVER (ORDER BY k) AS c FROM t",
            ),
        ],
    ),
    (
        "other window functions",
        &[
            (
                BY_GROUP,
                "SELECT k, sum(n) OVER (PARTITION BY g ORDER BY k) AS a, ntile(2) OVER (PARTITION BY g ORDER BY n) AS b FROM t",
            ),
            (BY_GROUP, "SELECT k, nth_value(n, 2) OVER (PARTITION BY g ORDER BY k) AS a FROM t"),
            (BY_GROUP, "SELECT k, count(DISTINCT n) OVER (PARTITION BY g ORDER BY k) AS a FROM t"),
            (
                BY_GROUP,
                "SELECT lag(n) OVER (PARTITION BY g ORDER BY k) AS a, sum(n) OVER (PARTITION BY g ORDER BY k ROWS UNBOUNDED PRECEDING) AS b FROM t",
            ),
            (RECOMPUTED, "SELECT k, percent_rank() OVER (ORDER BY k) AS a FROM t"),
        ],
    ),
    ("DISTINCT ON", &[(INCREMENTAL, "SELECT DISTINCT ON (g) g, k FROM t ORDER BY g, n DESC")]),
    (
        "`unnest` of a list",
        &[
            (INCREMENTAL, "SELECT k, unnest([n, k]) AS a, unnest([k]) AS b FROM t"),
            (INCREMENTAL, "SELECT k, unnest(unnest([[n], [k, n]])) AS a FROM t"),
            (INCREMENTAL, "SELECT k, unnest(struct(n, g)) FROM t"),
        ],
    ),
    (
        "WITH RECURSIVE",
        &[
            (
                INCREMENTAL,
                "WITH RECURSIVE r AS (SELECT k AS x FROM t UNION SELECT u.n AS x FROM r JOIN u ON u.k = r.x) SELECT x FROM r",
            ),
            (
                RECOMPUTED,
                "WITH RECURSIVE r AS (SELECT max(k) AS x FROM t UNION ALL SELECT max(x) - 1 AS x FROM r HAVING max(x) > 0) SELECT x FROM r",
            ),
        ],
    ),
    (
        "WHERE with `now()`",
        &[
            (INCREMENTAL, "SELECT k FROM t WHERE ts > now() - INTERVAL '1 hour'"),
            (INCREMENTAL, "SELECT k FROM t WHERE CAST(ts AS DATE) = current_date AND n > 0"),
        ],
    ),
    (
        "`now()`, `current_date`, `current_time` anywhere",
        &[
            (RECOMPUTED, "SELECT k, now() AS a FROM t"),
            (RECOMPUTED, "SELECT k, current_date AS a, current_time AS b FROM t"),
        ],
    ),
    (
        "VALUES, constants",
        &[(ONCE, "SELECT * FROM (VALUES (1, 'a')) AS v(id, name)"), (ONCE, "SELECT 1 AS one")],
    ),
    (
        "`tumble`, `hop`, `session`",
        &[
            (
                INCREMENTAL,
                "SELECT window_end, avg(v) AS a FROM tumble(t, ts, '1m') GROUP BY window_end",
            ),
            (
                INCREMENTAL,
                "SELECT window_end, avg(v) AS a FROM hop(t, ts, '1m', '3m') GROUP BY window_end",
            ),
            (
                INCREMENTAL,
                "SELECT window_end, k, count(*) AS c FROM session(t, ts, '1m', k) GROUP BY window_end, k",
            ),
        ],
    ),
    (
        "`count`, `min`, `max`, sums of integers",
        &[(
            INCREMENTAL,
            "SELECT window_end, count(*) AS a, min(v) AS b, sum(n) AS c FROM hop(t, ts, '1m', '3m') GROUP BY window_end",
        )],
    ),
    (
        "`ASOF JOIN r",
        &[(
            INCREMENTAL,
            "SELECT t.k, u.n FROM t ASOF JOIN u MATCH_CONDITION (t.ts >= u.ts) ON t.k = u.k",
        )],
    ),
    (
        "`generate_series`, `range`",
        &[
            (ONCE, "SELECT value FROM generate_series(1, 4)"),
            (ONCE, "SELECT value FROM range(0, 3)"),
        ],
    ),
    ("`random()`, `uuid()`", &[(INCREMENTAL, "SELECT k, random() AS a FROM t WHERE uuid() < '8'")]),
    (
        "`approx_distinct`",
        &[
            (REJECTED, "SELECT approx_distinct(k) AS a FROM t"),
            (REJECTED, "SELECT approx_median(k) AS a FROM t"),
            (REJECTED, "SELECT approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY k) AS a FROM t"),
            (REJECTED, "SELECT any_value(k) AS a FROM t"),
        ],
    ),
];

#[test]
fn every_construct_is_kept_as_documented() {
    let rows = documented();
    let mut wrong = Vec::new();
    for (construct, now) in &rows {
        let line = format!("{construct} |");
        let begins = |of: &&(&str, &[(&str, &str)])| line.starts_with(of.0);
        let Some((_, queries)) = QUERIES.iter().find(begins) else {
            wrong.push(format!("no query for the row `{construct}`"));
            continue;
        };
        let words: BTreeSet<&str> = queries.iter().map(|(word, _)| *word).collect();
        // `as EXISTS` and its like are incremental.
        let says = |word: &str| now.contains(word) || word == INCREMENTAL && now.starts_with("as ");
        for word in [INCREMENTAL, BY_GROUP, RECOMPUTED, REJECTED] {
            if says(word) != words.contains(word) {
                wrong.push(format!("`{construct}` says `{now}`, and has queries for {words:?}"));
            }
        }
        if words.contains(ONCE) && !now.starts_with(ONCE) {
            wrong.push(format!("`{construct}` does not say that it is {ONCE}"));
        }
        for (word, sql) in *queries {
            match kept(sql) {
                Ok(is) if is == *word => {}
                other => wrong.push(format!("{sql}: {other:?}, documented as {word}")),
            }
        }
    }
    for (construct, _) in &QUERIES {
        if !rows.iter().any(|(row, _)| format!("{row} |").starts_with(construct)) {
            wrong.push(format!("no row for the queries of `{construct}`"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
