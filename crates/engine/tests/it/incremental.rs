//! What must not be computed anew: the operators that a query becomes.

use syncline_engine::{Circuit, Emit, GraphNode, Options, ViewDef};

use crate::rig::{Setting, tables};

fn nodes(sql: &str) -> Vec<GraphNode> {
    let view = ViewDef { name: "view".to_owned(), sql: sql.to_owned(), emit: Emit::Changes };
    let options = Options { pool: None, stopwatch: || 0, seed: 0 };
    let circuit = Circuit::new(tables(Setting::CHANGES), &[view], options);
    circuit.unwrap_or_else(|errors| panic!("{sql}: {errors:?}")).graph().nodes
}

#[test]
fn nothing_is_computed_anew() {
    let reached = "WITH RECURSIVE r AS (SELECT k AS x FROM t UNION \
                   SELECT u.n AS x FROM r JOIN u ON u.k = r.x) SELECT x FROM r";
    for (label, sql) in [
        ("scalar subquery", "SELECT k FROM t WHERE n > (SELECT avg(n) FROM u)"),
        ("scalar subquery", "SELECT k, (SELECT max(g) FROM u) AS m FROM t"),
        ("scalar subquery", "SELECT sum(k - (SELECT min(k) FROM u)) AS s FROM t"),
        (
            "scalar subquery",
            "SELECT t.k FROM t LEFT JOIN u ON t.k = u.k AND t.n > (SELECT min(k) FROM u)",
        ),
        ("scalar subquery", "SELECT k FROM t ORDER BY k - (SELECT max(k) FROM u) LIMIT 3"),
        ("mark join", "SELECT k FROM t WHERE k > ANY (SELECT k FROM u)"),
        ("anti join", "SELECT k, g FROM t EXCEPT ALL SELECT k, g FROM u"),
        ("semi join", "SELECT k, g FROM t INTERSECT ALL SELECT k, g FROM u"),
        ("row number", "SELECT DISTINCT ON (g) g, k, n FROM t ORDER BY g, n DESC"),
        ("top", "SELECT k FROM t ORDER BY n LIMIT 1 + 2"),
        ("rank", "SELECT k, rank() OVER (ORDER BY g) AS r FROM t"),
        (
            "rank",
            "SELECT k FROM (SELECT k, dense_rank() OVER (PARTITION BY g ORDER BY n) AS r FROM t) \
             WHERE r <= 2",
        ),
        ("window", "SELECT k, lag(n) OVER (ORDER BY ts) AS l FROM t"),
        (
            "window",
            "SELECT k, sum(n) OVER (PARTITION BY g ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) \
             AS s FROM t",
        ),
        ("running", "SELECT k, sum(n) OVER (ORDER BY ts) AS s FROM t"),
        (
            "running",
            "SELECT k, rank() OVER (PARTITION BY g ORDER BY n) AS r, \
             max(v) OVER (PARTITION BY g ORDER BY n) AS m, v / sum(v) OVER () AS s FROM t",
        ),
        ("recursion", reached),
        ("temporal filter", "SELECT k FROM t WHERE ts > now() - INTERVAL '1 hour'"),
        ("temporal filter", "SELECT k FROM t WHERE now() >= ts + INTERVAL '1 day' AND n > 0"),
    ] {
        let nodes = nodes(sql);
        let labels: Vec<&str> = nodes.iter().map(|node| node.label.as_str()).collect();
        assert!(labels.contains(&label), "{sql}: {labels:?}");
        for node in &nodes {
            assert!(node.recompute.is_none(), "{sql}: {:?}", node.recompute);
        }
    }
}

/// What the recursive term reads beside the recursion is arranged once, in the circuit around it.
#[test]
fn a_recursion_shares_what_it_looks_up() {
    let nodes = nodes(
        "WITH RECURSIVE r AS (SELECT k AS x FROM t UNION \
         SELECT u.n AS x FROM r JOIN u ON u.k = r.x) SELECT r.x, u.v FROM r JOIN u ON u.k = r.x",
    );
    let of_u = nodes.iter().filter(|node| node.label == "arrange" && node.detail.starts_with("k"));
    assert!(of_u.count() <= 2, "{nodes:?}");
}
