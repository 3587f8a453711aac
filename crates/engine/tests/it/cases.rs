//! The SQL that is maintained, construct by construct.

use crate::rig::{Setting, check, check_with};

macro_rules! cases {
    ($($name:ident: $sql:expr;)*) => {
        $(#[test] fn $name() { check($sql); })*
    };
}

cases! {
    everything: "SELECT * FROM t";
    filter: "SELECT k, v FROM t WHERE n > 0 AND g <> 'a'";
    projection: "SELECT k + 1 AS k1, upper(g) AS g, v * 2 AS v2, n IS NULL AS nothing FROM t";
    same_column_twice: "SELECT k AS a, k AS b FROM t";
    union_all: "SELECT k, g FROM t UNION ALL SELECT n, g FROM u";
    union_distinct: "SELECT k, g FROM t UNION SELECT n, g FROM u";
    distinct: "SELECT DISTINCT k, g FROM t";
    distinct_floats: "SELECT DISTINCT v FROM t";
    count_all: "SELECT count(*) AS n FROM t";
    global_aggregates: "SELECT count(v) AS c, sum(v) AS s, avg(v) AS a, min(v) AS mi, max(v) AS ma FROM t";
    global_of_filtered: "SELECT count(*) AS c, sum(n) AS s FROM t WHERE k > 3";
    grouped: "SELECT g, count(*) AS c, sum(v) AS s, avg(v) AS a, min(v) AS mi, max(v) AS ma FROM t GROUP BY g";
    grouped_integers: "SELECT k, sum(n) AS s, min(n) AS mi, max(n) AS ma, avg(n) AS a FROM t GROUP BY k";
    grouped_texts: "SELECT k, min(g) AS mi, max(g) AS ma, count(g) AS c FROM t GROUP BY k";
    grouped_decimals: "SELECT k, sum(CAST(k AS DECIMAL(10,2))) AS s FROM t GROUP BY k";
    grouped_by_expression: "SELECT k % 2 AS odd, coalesce(g, '?') AS g, count(*) AS c FROM t GROUP BY k % 2, coalesce(g, '?')";
    grouped_by_float: "SELECT v, count(*) AS c FROM t GROUP BY v";
    having: "SELECT g, count(*) AS c FROM t GROUP BY g HAVING count(*) > 2";
    count_distinct: "SELECT g, count(DISTINCT k) AS c, count(DISTINCT v) AS d, count(*) AS n FROM t GROUP BY g";
    count_distinct_alone: "SELECT count(DISTINCT g) AS c FROM t";
    aggregate_filter: "SELECT g, count(*) FILTER (WHERE n > 0) AS c, sum(v) FILTER (WHERE k < 3) AS s, max(n) FILTER (WHERE v IS NOT NULL) AS m FROM t GROUP BY g";
    aggregate_of_aggregate: "SELECT c, count(*) AS groups FROM (SELECT k, count(*) AS c FROM t GROUP BY k) GROUP BY c";
    inner_join: "SELECT t.k, t.g, u.v FROM t JOIN u ON t.k = u.k";
    join_on_two: "SELECT t.n AS a, u.n AS b FROM t JOIN u ON t.k = u.k AND t.g = u.g";
    join_with_condition: "SELECT t.k, t.n AS a, u.n AS b FROM t JOIN u ON t.k = u.k AND t.n < u.n";
    join_on_expression: "SELECT t.k, u.k AS uk FROM t JOIN u ON t.k + 1 = u.k";
    self_join: "SELECT a.g, b.n FROM t a JOIN t b ON a.k = b.k WHERE a.n > 0";
    cross_join: "SELECT t.k, u.k AS uk FROM t CROSS JOIN u WHERE t.n > 2";
    non_equi_join: "SELECT t.k, u.k AS uk FROM t JOIN u ON t.k < u.k WHERE t.n > 2";
    left_join: "SELECT t.k, t.n, u.v FROM t LEFT JOIN u ON t.k = u.k";
    right_join: "SELECT t.v, u.k, u.n FROM t RIGHT JOIN u ON t.k = u.k";
    left_join_of_missing: "SELECT t.k, t.n FROM t LEFT JOIN u ON t.k = u.k WHERE u.k IS NULL";
    three_way_join: "SELECT t.g, count(*) AS c, sum(u.n) AS s FROM t JOIN u ON t.k = u.k JOIN t AS x ON x.n = u.n GROUP BY t.g";
    join_with_aggregate: "SELECT t.g, s.total FROM t JOIN (SELECT k, sum(n) AS total FROM u GROUP BY k) s ON t.k = s.k";
    top: "SELECT k, g, v FROM t ORDER BY v DESC, k LIMIT 3";
    top_with_ties: "SELECT * FROM t ORDER BY g LIMIT 4";
    top_offset: "SELECT k, n FROM t ORDER BY n DESC NULLS LAST LIMIT 3 OFFSET 2";
    top_of_copies: "SELECT t.k, u.n FROM (SELECT k FROM t) t JOIN (SELECT k, n FROM u) u ON t.k = u.k ORDER BY u.n DESC, t.k LIMIT 4 OFFSET 1";
    numbers_of_copies: "SELECT * FROM (SELECT t.k, row_number() OVER (PARTITION BY u.k ORDER BY t.k) AS r FROM (SELECT k FROM t) t JOIN (SELECT k FROM u) u ON t.k = u.k) WHERE r <= 3";
    top_of_aggregate: "SELECT g, count(*) AS c FROM t GROUP BY g ORDER BY c DESC LIMIT 2";
    top_by_hidden_column: "SELECT k FROM t ORDER BY n LIMIT 3";
    top_by_hidden_column_offset: "SELECT k FROM t ORDER BY n, g LIMIT 3 OFFSET 1";
    limit_alone: "SELECT k, g FROM t LIMIT 3";
    limit_zero: "SELECT k, g FROM t ORDER BY k LIMIT 0";
    ordered: "SELECT k, g FROM t ORDER BY g DESC, k";
    tumble: "SELECT window_start, window_end, count(*) AS c, sum(v) AS s FROM tumble(t, ts, INTERVAL '1 minute') GROUP BY window_start, window_end";
    tumble_text: "SELECT w.window_start, w.g, max(w.n) AS m FROM tumble(t, ts, '2m') AS w GROUP BY w.window_start, w.g";
    hop: "SELECT window_start, window_end, g, count(*) AS c, sum(n) AS s, min(v) AS mi, max(g) AS ma FROM hop(t, ts, INTERVAL '1 minute', INTERVAL '3 minutes') GROUP BY window_start, window_end, g";
    hop_shared: "SELECT window_start, k % 2 AS odd, count(n) FILTER (WHERE k > 2) AS c, sum(CAST(k AS DECIMAL(10, 2))) AS d, sum(n) AS s FROM hop(t, ts, '1m', '5m') WHERE n <> 3 GROUP BY window_start, k % 2 HAVING count(*) > 1";
    hop_shared_filtered: "SELECT h.window_end, max(h.n) - min(h.n) AS m FROM hop(t, ts, '40s', '60s') h WHERE h.window_end > TIMESTAMP '1970-01-01 00:03:00' GROUP BY h.window_end";
    hop_of_matched: "SELECT h.window_end, count(*) AS c FROM hop(t, ts, '1m', '2m') h WHERE EXISTS (SELECT 1 FROM u WHERE u.k = h.k) GROUP BY h.window_end";
    hop_of_grouping_sets: "SELECT window_end, count(*) AS c FROM hop(t, ts, '1m', '3m') GROUP BY ROLLUP (window_end)";
    hop_filtered_grouping_sets: "SELECT k, count(*) AS c FROM hop(t, ts, '1m', '3m') WHERE window_start > TIMESTAMP '1970-01-01 00:03:00' GROUP BY ROLLUP (k)";
    hop_in_a_correlated_subquery: "SELECT u.k, u.n FROM u WHERE EXISTS (SELECT h.window_end, count(*) AS c FROM hop(t, ts, '1m', '3m') h WHERE h.k = u.k GROUP BY h.window_end)";
    hop_not_shared: "SELECT window_start, avg(v) AS a, sum(v) AS s, count(DISTINCT k) AS c FROM hop(t, ts, '1m', '3m') GROUP BY window_start";
    hop_rows: "SELECT * FROM hop(t, ts, '1m', '2m')";
    hop_uneven: "SELECT h.window_start, h.window_end, count(*) AS c, max(h.n) AS m FROM hop(t, t.ts, '40s', '70s') AS h GROUP BY h.window_start, h.window_end";
    hop_with_gaps: "SELECT k, window_start, window_end FROM hop(t, ts, '100s', INTERVAL '30' SECOND)";
    hop_of_hop: "SELECT window_end, max(c) AS m FROM (SELECT g, window_end, count(*) AS c FROM hop(t, ts, '2m', '6m') GROUP BY g, window_end) GROUP BY window_end";
    hop_join: "SELECT a.window_end, count(*) AS c FROM hop(t, ts, '2m', '4m') a JOIN tumble(u, ts, '2m') b ON a.window_end = b.window_end AND a.k = b.k GROUP BY a.window_end";
    session: "SELECT k, window_start, window_end, count(*) AS c, sum(n) AS s FROM session(t, ts, INTERVAL '20 seconds', k) GROUP BY k, window_start, window_end";
    session_bounds: "SELECT DISTINCT g, window_end FROM session(t, ts, '30s', g)";
    session_starts: "SELECT window_start, k, n FROM session(t, ts, '20s', k) WHERE n > 0";
    running_sums: "SELECT k, n, sum(n) OVER (PARTITION BY g ORDER BY k) AS a, avg(v) OVER (PARTITION BY g ORDER BY k) AS b, count(*) OVER (PARTITION BY g ORDER BY k) AS c FROM t";
    running_sums_of_all: "SELECT k, sum(v) OVER (ORDER BY n DESC NULLS LAST) AS a, count(v) OVER (ORDER BY n DESC NULLS LAST) AS b FROM t";
    running_by_rows: "SELECT k, sum(n) OVER (PARTITION BY g ORDER BY k ROWS UNBOUNDED PRECEDING) AS a, min(v) OVER (PARTITION BY g ORDER BY k ROWS UNBOUNDED PRECEDING) AS b, row_number() OVER (PARTITION BY g ORDER BY k) AS c FROM t";
    running_by_few_rows: "SELECT sum(k) OVER (ORDER BY g ROWS UNBOUNDED PRECEDING) AS a, sum(k - 3) OVER (ORDER BY g ROWS UNBOUNDED PRECEDING) AS b FROM (SELECT g, k FROM t)";
    running_by_groups: "SELECT k, sum(n) OVER (ORDER BY g GROUPS UNBOUNDED PRECEDING) AS a, max(g) OVER (ORDER BY g GROUPS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS b FROM t";
    running_by_floats: "SELECT k, count(*) OVER (PARTITION BY n ORDER BY v) AS a, sum(v) OVER (PARTITION BY v ORDER BY k) AS b FROM t";
    running_by_two_columns: "SELECT k, max(n) OVER (PARTITION BY k % 2 ORDER BY g DESC, v) AS a FROM t";
    running_without_order: "SELECT k, sum(n) OVER (PARTITION BY g RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS a FROM t";
    running_filtered: "SELECT k, sum(n) FILTER (WHERE v > 0) OVER (PARTITION BY g ORDER BY ts) AS a, max(v) FILTER (WHERE n IS NULL) OVER (PARTITION BY g ORDER BY ts) AS b, count(*) FILTER (WHERE k > 2) OVER (PARTITION BY g ORDER BY ts) AS c FROM t";
    running_extremes: "SELECT k, min(n) OVER (PARTITION BY g ORDER BY ts) AS a, max(v) OVER (PARTITION BY g ORDER BY ts) AS b, min(g) OVER (ORDER BY ts) AS c, max(ts) OVER (PARTITION BY g ORDER BY ts) AS d FROM t";
    running_statistics: "SELECT k, var_samp(v) OVER (PARTITION BY g ORDER BY k) AS a, stddev_pop(n) OVER (PARTITION BY g ORDER BY k) AS b, corr(v, n) OVER (PARTITION BY g ORDER BY k) AS c, regr_count(v, n) OVER (PARTITION BY g ORDER BY k) AS d FROM t";
    running_bits: "SELECT k, bit_and(n) OVER (PARTITION BY g ORDER BY k) AS a, bit_xor(n) OVER (PARTITION BY g ORDER BY k) AS b, bool_or(n > 2) OVER (PARTITION BY g ORDER BY k) AS c FROM t";
    running_medians: "SELECT k, median(v) OVER (PARTITION BY g ORDER BY ts) AS a, median(n) OVER (ORDER BY k ROWS UNBOUNDED PRECEDING) AS b FROM t";
    running_decimals: "SELECT k, sum(CAST(k AS DECIMAL(10, 2))) OVER (PARTITION BY g ORDER BY k) AS a, avg(CAST(k AS DECIMAL(10, 2))) OVER (PARTITION BY g ORDER BY k) AS b FROM t";
    running_first_and_last: "SELECT k, first_value(n) OVER (PARTITION BY g ORDER BY k ROWS UNBOUNDED PRECEDING) AS a, last_value(v) OVER (PARTITION BY g ORDER BY k ROWS UNBOUNDED PRECEDING) AS b, last_value(n) IGNORE NULLS OVER (PARTITION BY g ORDER BY k ROWS UNBOUNDED PRECEDING) AS c, first_value(v) OVER (PARTITION BY g ORDER BY k) AS d FROM t";
    running_lists: "SELECT k, last_value(l) OVER (PARTITION BY g ORDER BY k) AS a, first_value(l) OVER (PARTITION BY g ORDER BY k ROWS UNBOUNDED PRECEDING) AS b FROM (SELECT k, g, [k, n] AS l FROM t)";
    first_list_of_group: "SELECT g, first_value(l ORDER BY k) AS a FROM (SELECT k, g, [k, n] AS l FROM t) GROUP BY g";
    running_in_all_ways: "SELECT k, sum(n) OVER (PARTITION BY g ORDER BY k) AS a, rank() OVER (PARTITION BY g ORDER BY k) AS b, percent_rank() OVER (PARTITION BY g ORDER BY k) AS c, max(n) OVER (PARTITION BY g ORDER BY k) AS d, sum(n) OVER (PARTITION BY g ORDER BY k ROWS UNBOUNDED PRECEDING) AS e, row_number() OVER (PARTITION BY g ORDER BY k) AS f, last_value(n) OVER (PARTITION BY g ORDER BY k ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS h, count(DISTINCT n) OVER (PARTITION BY g ORDER BY k) AS i FROM t";
    running_beside_lag: "SELECT k, sum(k) OVER (PARTITION BY g ORDER BY n ROWS UNBOUNDED PRECEDING) AS a, lag(k) OVER (PARTITION BY g ORDER BY n) AS b, avg(k) OVER (PARTITION BY g ORDER BY n) AS c FROM t";
    shares_of_all: "SELECT k, n, v / sum(v) OVER () AS a, n = max(n) OVER (PARTITION BY g) AS b, count(*) OVER (PARTITION BY k) AS c FROM t";
    running_sum_of_running_sums: "SELECT g, sum(a) OVER (ORDER BY g, a) AS b FROM (SELECT g, sum(n) OVER (PARTITION BY g ORDER BY k) AS a FROM t)";
    running_sum_of_groups: "SELECT g, c, sum(c) OVER (ORDER BY g) AS s FROM (SELECT g, count(*) AS c FROM t GROUP BY g)";
    session_functions: "SELECT k, session_end(ts, INTERVAL '1 minute') OVER (PARTITION BY k ORDER BY ts) AS e, session_start(ts, INTERVAL '2 minutes') OVER (PARTITION BY k, g ORDER BY ts) AS s FROM t";
    session_out_of_order: "SELECT k, session_start(ts, INTERVAL '40 seconds') OVER (PARTITION BY k) AS s, session_end(ts, INTERVAL '40 seconds') OVER (PARTITION BY k ORDER BY n) AS e FROM t";
    session_of_missing: "SELECT k, at, session_start(at, INTERVAL '1 minute') OVER (PARTITION BY k ORDER BY at) AS s FROM (SELECT k, CASE WHEN n > 0 THEN ts END AS at FROM t)";
    session_of_two_keys: "SELECT * FROM session(t, ts, '1m', k, t.g) AS s";
    session_of_all: "SELECT window_start, window_end, count(*) AS c FROM session(t, ts, '10s') GROUP BY window_start, window_end";
    hop_without_times: "WITH w AS (SELECT *, CASE WHEN k > 2 THEN ts END AS at FROM t) SELECT * FROM hop(w, at, '1m', '2m')";
    session_without_times: "WITH w AS (SELECT *, CASE WHEN k > 2 THEN ts END AS at FROM t) SELECT * FROM session(w, at, '1m', g)";
    asof: "SELECT t.k, t.ts, u.n, u.ts AS at FROM t ASOF JOIN u MATCH_CONDITION (t.ts >= u.ts) ON t.k = u.k";
    asof_every_column: "SELECT t.g AS tg, t.ts AS tts, u.* FROM t ASOF JOIN u MATCH_CONDITION (u.ts > t.ts) ON u.g = t.g AND t.k = u.k";
    asof_without_key: "SELECT count(*) AS c, sum(v.n) AS s FROM (SELECT * FROM t WHERE k < 3) AS s ASOF JOIN u AS v MATCH_CONDITION (s.n <= v.n)";
    asof_strict: "SELECT t.n, u.n AS un, u.v FROM t ASOF JOIN u MATCH_CONDITION (t.n > u.n) ON t.g = u.g";
    series: "SELECT value FROM generate_series(1, 4)";
    join_with_series: "SELECT t.n, s.value FROM t JOIN range(0, 3) AS s(value) ON t.k = s.value";
    case_and_cast: "SELECT CASE WHEN n > 0 THEN 'up' WHEN n < 0 THEN 'down' END AS way, CAST(k AS TEXT) AS text FROM t";
    with_clause: "WITH a AS (SELECT k, n FROM t WHERE n > 0), b AS (SELECT k, count(*) AS c FROM a GROUP BY k) SELECT a.n, b.c FROM a JOIN b ON a.k = b.k";
    constant: "SELECT 1 AS one, 'x' AS x";
    values: "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v(id, name)";
    join_with_values: "SELECT t.n, v.name FROM t JOIN (VALUES (1, 'one'), (2, 'two')) AS v(id, name) ON t.k = v.id";
    semi_join_distinct: "SELECT k, n FROM t WHERE k IN (SELECT k FROM u)";
    semi_join_with_condition: "SELECT k, n FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND u.n < t.n)";
    anti_join_with_condition: "SELECT k, n FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND u.n < t.n)";
    mark_join: "SELECT k, n FROM t WHERE n > 2 OR EXISTS (SELECT 1 FROM u WHERE u.k = t.k)";
    mark_join_with_condition: "SELECT k, n FROM t WHERE n > 2 OR EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND u.n < t.n)";
    right_join_with_condition: "SELECT t.k, u.n FROM t RIGHT JOIN u ON t.k = u.k AND t.n < u.n";
    full_join_with_condition: "SELECT t.k, t.n, u.n AS un FROM t FULL JOIN u ON t.k = u.k AND t.n < u.n";
    full_join_without_key: "SELECT t.k, u.k AS uk FROM t FULL JOIN u ON t.k < u.n";
    left_join_without_key: "SELECT t.k, u.k AS uk FROM t LEFT JOIN u ON t.k < u.n";
    not_in_correlated_by_less: "SELECT k, n FROM t WHERE k NOT IN (SELECT u.n FROM u WHERE u.k < t.k)";
    not_in_filtered: "SELECT k, n FROM t WHERE k NOT IN (SELECT n FROM u WHERE g = 'a')";
    null_keys_match: "SELECT t.k, u.n FROM t JOIN u ON t.g IS NOT DISTINCT FROM u.g";
    self_join_shared: "SELECT a.k, b.n FROM t a JOIN t b ON a.k = b.k";
    four_way_join: "SELECT a.k, d.n FROM t a JOIN u b ON a.k = b.k LEFT JOIN t c ON b.n = c.n JOIN u d ON a.k = d.k";
    full_join: "SELECT t.k, u.k AS uk FROM t FULL JOIN u ON t.k = u.k";
    left_join_with_condition: "SELECT t.k, t.n, u.n AS un FROM t LEFT JOIN u ON t.k = u.k AND t.n < u.n";
    semi_join: "SELECT k, n FROM t WHERE k IN (SELECT k FROM u WHERE n > 0)";
    anti_join: "SELECT k, n FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.k)";
    not_in_correlated: "SELECT k, n FROM t WHERE n NOT IN (SELECT n FROM u WHERE u.g = t.g)";
    not_in_correlated_by_order: "SELECT k, n FROM t WHERE NOT (n + 1 IN (SELECT u.n FROM u WHERE u.k < t.k)) AND k > 0";
    not_in_correlated_aggregate: "SELECT k, n FROM t WHERE n NOT IN (SELECT max(n) FROM u WHERE u.g = t.g GROUP BY u.k)";
    not_in: "SELECT k, n FROM t WHERE k NOT IN (SELECT n FROM u)";
    scalar_subquery: "SELECT k, n FROM t WHERE n > (SELECT avg(n) FROM u)";
    correlated_subquery: "SELECT k, (SELECT max(u.n) FROM u WHERE u.k = t.k) AS m FROM t";
    except: "SELECT k FROM t EXCEPT SELECT k FROM u";
    intersect: "SELECT k FROM t INTERSECT SELECT k FROM u";
    row_number: "SELECT k, n, row_number() OVER (PARTITION BY g ORDER BY n DESC) AS r FROM t";
    rank: "SELECT k, rank() OVER (ORDER BY g) AS r FROM t";
    median: "SELECT g, median(n) AS m FROM t WHERE n BETWEEN -100 AND 100 GROUP BY g";
    rollup: "SELECT g, k, count(*) AS c FROM t GROUP BY ROLLUP (g, k)";
    distinct_on: "SELECT DISTINCT ON (g) g, k, n FROM t ORDER BY g, n DESC";
    recursive: "WITH RECURSIVE r AS (SELECT max(k) AS x FROM t UNION ALL SELECT x - 1 FROM r WHERE x > 0) SELECT x FROM r";
    unnest: "SELECT k, unnest([n, k]) AS e FROM t";
    unnest_of_aggregate: "SELECT g, unnest(ns) AS n FROM (SELECT g, array_agg(n) AS ns FROM t WHERE n > 0 GROUP BY g)";
    unnest_of_different_lengths: "SELECT k, unnest(CASE WHEN k < 2 THEN [k] WHEN k < 4 THEN range(0, k) WHEN k < 5 THEN [] END) AS e FROM t";
    unnest_of_two: "SELECT k, unnest([n, k]) AS a, unnest([k]) AS b FROM t";
    unnest_of_lists_of_different_lengths: "SELECT k, unnest(CASE WHEN k < 3 THEN [k, n] ELSE [k] END) AS a, unnest(CASE WHEN k < 2 THEN [] WHEN k < 5 THEN range(0, k) END) AS b FROM t";
    unnest_of_an_empty_list_or_another: "SELECT k, unnest(CASE WHEN k < 2 THEN [] WHEN k < 5 THEN range(0, k) END) AS b FROM t";
    union_of_texts_of_two_types: "SELECT k, g FROM t UNION ALL SELECT k, string_agg(g, ',') FROM u GROUP BY k";
    unnest_of_struct: "SELECT k, unnest(struct(n, g)) FROM t";
    unnest_of_unnest: "SELECT k, unnest(unnest([[n], [k, n]])) AS e FROM t";
    scalar_subquery_shown: "SELECT k, n, (SELECT count(*) FROM u) AS c, (SELECT max(g) FROM u WHERE n > 3) AS m FROM t";
    scalar_subquery_of_one_row: "SELECT k, (SELECT g FROM u ORDER BY n, k LIMIT 1) AS first FROM t WHERE v IS NOT NULL";
    scalar_subquery_of_both: "SELECT k, n - (SELECT min(k) FROM u) AS d FROM t WHERE k >= (SELECT avg(k) FROM t)";
    scalar_subquery_in_scalar_subquery: "SELECT k FROM t WHERE k > (SELECT max(k) FROM u WHERE k < (SELECT avg(k) FROM t))";
    scalar_subquery_in_having: "SELECT g, count(*) AS c FROM t GROUP BY g HAVING count(*) > (SELECT count(*) FROM u WHERE k = 1)";
    scalar_subquery_in_join: "SELECT t.k, u.n FROM t JOIN u ON t.k = u.k AND t.n + u.n > (SELECT min(k) FROM u)";
    scalar_subquery_in_left_join: "SELECT t.k, u.n FROM t LEFT JOIN u ON t.k = u.k AND t.n + u.n > (SELECT min(k) FROM u)";
    scalar_subquery_in_aggregate: "SELECT g, sum(k - (SELECT min(k) FROM u)) AS s, max(n) AS m FROM t GROUP BY g";
    scalar_subquery_in_order: "SELECT k, n FROM t ORDER BY abs(k - (SELECT max(k) FROM u)), n LIMIT 3";
    scalar_subquery_in_window: "SELECT k, rank() OVER (ORDER BY k - (SELECT max(k) FROM u) DESC) AS r FROM t";
    scalar_subquery_in_case: "SELECT k, CASE WHEN k > 3 THEN (SELECT sum(n) FROM u) ELSE k END AS s FROM t";
    scalar_subquery_over_rows_without_columns: "SELECT count(*) AS c FROM (SELECT 1 AS one FROM t WHERE k >= (SELECT max(k) FROM u WHERE n > 0))";
    scalar_subquery_alone: "SELECT (SELECT sum(k) FROM t) - (SELECT sum(k) FROM u) AS d";
    any_and_all: "SELECT k, n FROM t WHERE k > ANY (SELECT k FROM u WHERE k > 2) OR n < ALL (SELECT n FROM u)";
    except_all: "SELECT k, g FROM t EXCEPT ALL SELECT k, g FROM u";
    intersect_all: "SELECT k, g FROM t INTERSECT ALL SELECT k, g FROM u";
    except_all_of_one: "SELECT k FROM t EXCEPT ALL (SELECT k FROM t WHERE n > 0 INTERSECT ALL SELECT k FROM u)";
    distinct_on_expression: "SELECT DISTINCT ON (k % 2, g) k + 1 AS k1, v FROM t ORDER BY k % 2, g, ts DESC, v";
    distinct_on_without_order: "SELECT DISTINCT ON (k) k, g, n FROM t";
    limit_of_expressions: "SELECT k, n FROM t ORDER BY n, k LIMIT 1 + 2 OFFSET 2 - 1";
    rank_of_groups: "SELECT k, g, rank() OVER (PARTITION BY g ORDER BY k DESC) AS r FROM t";
    rank_of_two_columns: "SELECT k, g, rank() OVER (PARTITION BY k % 2 ORDER BY g, k DESC) AS r FROM t";
    rank_without_order: "SELECT k, rank() OVER (PARTITION BY g) AS r FROM t";
    dense_rank: "SELECT k, g, dense_rank() OVER (PARTITION BY g ORDER BY k) AS r FROM t";
    first_ranks: "SELECT k, g, n FROM (SELECT *, rank() OVER (PARTITION BY g ORDER BY k) AS r FROM t) WHERE r <= 2";
    first_ranks_of_all: "SELECT k, r FROM (SELECT *, rank() OVER (ORDER BY k DESC) AS r FROM t) WHERE r < 4";
    first_dense_ranks: "SELECT k, g, r FROM (SELECT *, dense_rank() OVER (PARTITION BY g ORDER BY k DESC) AS r FROM t) WHERE r <= 2";
    one_dense_rank: "SELECT k, n FROM (SELECT *, dense_rank() OVER (ORDER BY k) AS r FROM t) WHERE r = 2";
    both_ranks: "SELECT k, rank() OVER (PARTITION BY g ORDER BY k) AS r, dense_rank() OVER (PARTITION BY g ORDER BY k) AS d, row_number() OVER (PARTITION BY g ORDER BY k) AS n FROM t";
    reachable: "WITH RECURSIVE r AS (SELECT k AS x FROM t WHERE n = 1 UNION SELECT u.n AS x FROM r JOIN u ON u.k = r.x) SELECT x FROM r";
    reachable_pairs: "WITH RECURSIVE r AS (SELECT k AS a, n AS b FROM t UNION SELECT r.a, t.n FROM r JOIN t ON t.k = r.b) SELECT a, b FROM r";
    paths_of_some_length: "WITH RECURSIVE r AS (SELECT k AS x, 0 AS d FROM t WHERE n > 2 UNION ALL SELECT u.n, r.d + 1 FROM r JOIN u ON u.k = r.x WHERE r.d < 3) SELECT x, d, count(*) AS c FROM r GROUP BY x, d";
    recursive_left_join: "WITH RECURSIVE r AS (SELECT k AS x FROM t UNION SELECT coalesce(u.n, 0) AS x FROM r LEFT JOIN u ON u.k = r.x AND u.n > r.x) SELECT x FROM r";
    recursive_anti_join: "WITH RECURSIVE r AS (SELECT k AS x FROM t UNION SELECT x + 1 AS x FROM r WHERE x < 8 AND NOT EXISTS (SELECT 1 FROM u WHERE u.k = r.x)) SELECT x FROM r";
    recursive_aggregate: "WITH RECURSIVE r AS (SELECT k AS x FROM t WHERE k > 3 UNION SELECT min(u.n) AS x FROM r JOIN u ON u.k = r.x GROUP BY r.x) SELECT x FROM r";
    recursive_with_scalar_subquery: "WITH RECURSIVE r AS (SELECT k AS x FROM t WHERE k < 6 UNION ALL SELECT x - 1 AS x FROM r WHERE x > (SELECT min(k) FROM u)) SELECT x, count(*) AS c FROM r GROUP BY x";
    recursive_with_values: "WITH RECURSIVE r AS (SELECT k AS x FROM t UNION SELECT e.b AS x FROM r JOIN (VALUES (1, 2), (2, 5), (5, 1)) AS e(a, b) ON e.a = r.x) SELECT x FROM r";
    recursive_from_a_constant: "WITH RECURSIVE r AS (SELECT CAST(1 AS BIGINT) AS x UNION SELECT u.n AS x FROM r JOIN u ON u.k = r.x) SELECT x FROM r";
    recursive_global_aggregate: "WITH RECURSIVE r AS (SELECT max(k) AS x FROM t UNION ALL SELECT max(x) - 1 AS x FROM r HAVING max(x) > 0) SELECT x FROM r";
    recursive_by_the_name_of_a_table: "WITH RECURSIVE u AS (SELECT k AS x FROM t UNION ALL SELECT x - 1 AS x FROM u WHERE x > 2) SELECT x FROM u";
    recursive_twice: "WITH RECURSIVE a AS (SELECT k AS x FROM t UNION SELECT u.n AS x FROM a JOIN u ON u.k = a.x), b AS (SELECT x AS y FROM a WHERE x > 0 UNION ALL SELECT y - 1 AS y FROM b JOIN a ON a.x = b.y WHERE y > 1 AND y < 9) SELECT y, count(*) AS c FROM b GROUP BY y";
    running_sum: "SELECT k, n, sum(v) OVER (PARTITION BY g ORDER BY n ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS s FROM t";
    moving_variance: "SELECT k, n, var_pop(v) OVER (PARTITION BY g ORDER BY n ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS s FROM t";
    lag_and_lead: "SELECT k, lag(n) OVER (PARTITION BY g ORDER BY k) AS a, lead(n, 2) OVER (PARTITION BY g ORDER BY k) AS b FROM t";
    moving_sum_of_all: "SELECT k, n, sum(k) OVER (ORDER BY n ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING) AS s FROM t";
    window_ahead: "SELECT k, n, max(v) OVER (PARTITION BY g ORDER BY n DESC ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING) AS m, count(*) OVER (PARTITION BY g ORDER BY n DESC ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING) AS c FROM t";
    lag_of_all: "SELECT k, n, lag(n, 2, 0) OVER (ORDER BY k) AS a, lead(g) OVER (ORDER BY k) AS b, lag(v, -1) OVER (ORDER BY k) AS c FROM t";
    first_and_last_value: "SELECT k, first_value(n) OVER (PARTITION BY g ORDER BY k ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS a, nth_value(n, 2) OVER (PARTITION BY g ORDER BY k ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS b FROM t";
    moving_texts: "SELECT k, string_agg(g, '+') OVER (PARTITION BY n ORDER BY k ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING) AS s FROM t";
    difference_to_the_last: "SELECT g, ts, k - lag(k) OVER (PARTITION BY g ORDER BY ts) AS d FROM t";
    nan_of_expressions: "SELECT v / 0.0 - v / 0.0 AS x, -ln(n) AS y, v * -0.0 AS z, CAST(v * 0.0 AS FLOAT) AS f FROM t";
    grouped_by_nan: "SELECT v / 0.0 - v AS x, count(*) AS c, max(v * 0.0) AS m FROM t GROUP BY v / 0.0 - v";
    distinct_nan: "SELECT DISTINCT ln(n) AS s, floor(v / 100) AS f FROM t";
    joined_by_nan: "SELECT t.k, u.k AS uk FROM t JOIN u ON t.v - t.v = acos(u.n)";
    ordered_by_nan: "SELECT k, n FROM t ORDER BY v / 0.0, ln(n) DESC LIMIT 3";
    medians_that_are_nan: "SELECT m, count(*) AS c FROM (SELECT k, median(v) AS m FROM t GROUP BY k UNION ALL SELECT k, ln(n) FROM t) GROUP BY m";
    rollup_of_a_constant: "SELECT c, count(*) AS n FROM (SELECT 1 AS c, k FROM t UNION ALL SELECT 1 AS c, k FROM u) GROUP BY ROLLUP (c)";
    cube_of_constants: "SELECT c, k, g, count(*) AS n FROM (SELECT 1 AS c, k, g FROM t WHERE g = 'a' UNION ALL SELECT 1 AS c, k, g FROM u WHERE g = 'a') GROUP BY CUBE (c, k, g)";
    random_of_rows: "SELECT k, random() AS r, uuid() AS u, rand() AS s FROM t";
    random_of_groups: "SELECT g, random() AS r, max(random()) AS m, count(*) FILTER (WHERE random() < 0.5) AS c FROM t GROUP BY g";
    random_groups: "SELECT floor(random() * 3) AS third, count(*) AS c FROM t GROUP BY floor(random() * 3)";
    random_rows: "SELECT * FROM t WHERE random() < 0.5";
    random_pairs: "SELECT t.k, u.n, random() AS r FROM t JOIN u ON t.k = u.k AND random() < 0.7";
    random_left_pairs: "SELECT t.k, u.n FROM t LEFT JOIN u ON t.k = u.k AND random() < 0.5";
    random_order: "SELECT k, n FROM t ORDER BY random() LIMIT 3";
    random_places: "SELECT k, row_number() OVER (PARTITION BY g ORDER BY uuid()) AS r FROM t";
    random_constant: "SELECT random() AS r, uuid() AS u";
    // Computed anew, by group or from everything.
    zeros_out_of_lists: "SELECT array_scale([v], -1.0)[1] AS z, count(*) AS c FROM (SELECT CASE WHEN k < 3 THEN 0.0 ELSE v END AS v FROM t) GROUP BY array_scale([v], -1.0)[1]";
    zeros_out_of_unnest: "SELECT z, count(*) AS c FROM (SELECT unnest(array_scale([v, 1.0], -1.0)) AS z FROM (SELECT CASE WHEN k < 3 THEN 0.0 ELSE v END AS v FROM t)) GROUP BY z";
    zeros_out_of_structs: "SELECT row_number() OVER (PARTITION BY named_struct('x', array_scale([v], -1.0))['x'][1] ORDER BY k) AS r FROM (SELECT k, CASE WHEN k < 3 THEN 0.0 ELSE v END AS v FROM t)";
    nth_values: "SELECT k, n, nth_value(n, 3) OVER (PARTITION BY g ORDER BY k) AS a, nth_value(n, 2) OVER (PARTITION BY g ORDER BY k ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS b FROM t";
    distinct_sums_that_slide: "SELECT k, sum(DISTINCT v) OVER (PARTITION BY g ORDER BY k ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s FROM t";
    tied_values: "SELECT k, n, first_value(n) OVER (PARTITION BY g ORDER BY k) AS a, last_value(n) OVER (PARTITION BY g ORDER BY k) AS b, nth_value(v, 2) OVER (PARTITION BY g ORDER BY k) AS c FROM t";
    tied_values_of_all: "SELECT k, last_value(n) OVER (ORDER BY k DESC) AS a, first_value(v) OVER (ORDER BY k DESC NULLS LAST) AS b FROM t";
    tied_values_that_are_there: "SELECT k, last_value(n) IGNORE NULLS OVER (PARTITION BY g ORDER BY k NULLS FIRST) AS a FROM t";
    tied_lists: "SELECT k, array_agg(n) OVER (PARTITION BY g ORDER BY k) AS a, string_agg(g, ',') OVER (PARTITION BY g ORDER BY k DESC) AS b FROM t";
    tied_groups: "SELECT k, array_agg(v) OVER (PARTITION BY g ORDER BY k GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS a, last_value(n) OVER (PARTITION BY g ORDER BY k GROUPS 1 PRECEDING) AS b, sum(n) OVER (PARTITION BY g ORDER BY k GROUPS 1 PRECEDING) AS c FROM t";
    tied_range: "SELECT k, first_value(n) OVER (PARTITION BY g ORDER BY k RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) AS a, last_value(v) OVER (PARTITION BY g ORDER BY k RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS b, count(*) OVER (PARTITION BY g ORDER BY k RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) AS c FROM t";
    tied_sums: "SELECT k, sum(v) OVER (PARTITION BY g ORDER BY k) AS a, min(n) OVER (PARTITION BY g ORDER BY k DESC) AS b, percent_rank() OVER (PARTITION BY g ORDER BY k) AS c, cume_dist() OVER (PARTITION BY g ORDER BY k) AS d FROM t";
    order_with_a_term_twice: "SELECT g, first_value(n ORDER BY k, k + 0, k) AS a, array_agg(k ORDER BY n, n DESC) AS b, array_agg(DISTINCT k) AS c FROM t GROUP BY g";
    distinct_on_with_a_term_twice: "SELECT DISTINCT ON (k) k, g, n FROM t ORDER BY k, k + 0, n, k";
    array_agg: "SELECT g, array_agg(k) AS ks FROM t GROUP BY g";
    string_agg: "SELECT k, string_agg(g, ',') AS gs FROM t GROUP BY k";
    first_value: "SELECT g, first_value(n ORDER BY k) AS f FROM t GROUP BY g";
    first_value_of_all: "SELECT first_value(k ORDER BY n DESC NULLS LAST) AS f, last_value(v ORDER BY v, n DESC) AS l FROM t";
    first_and_last_value_of_groups: "SELECT g, first_value(v ORDER BY n DESC) AS a, last_value(v ORDER BY n NULLS FIRST, k) AS b, first_value(n) IGNORE NULLS AS c, last_value(g ORDER BY k DESC) FILTER (WHERE n > 0) AS d, count(*) AS e FROM t GROUP BY g";
    percentiles: "SELECT g, percentile_cont(0.3) WITHIN GROUP (ORDER BY n) AS a, percentile_cont(0.25) WITHIN GROUP (ORDER BY k DESC) AS b, percentile_cont(0.75) WITHIN GROUP (ORDER BY CAST(k AS REAL)) AS c, percentile_cont(0.5) WITHIN GROUP (ORDER BY v) FILTER (WHERE abs(v) < 1e9) AS d, percentile_cont(DISTINCT k, 0.1) AS e FROM t WHERE n BETWEEN -100 AND 100 GROUP BY g";
    top_rows_of_groups: "SELECT * FROM (SELECT k, g, n, row_number() OVER (PARTITION BY g ORDER BY n DESC, k) AS r FROM t) WHERE r <= 2";
    last_row_of_groups: "SELECT k, n FROM (SELECT *, row_number() OVER (PARTITION BY k, g ORDER BY ts DESC) AS r FROM t) WHERE r = 1";
    row_number_and_first_rows: "SELECT a.k, b.r FROM (SELECT k, row_number() OVER (PARTITION BY g ORDER BY n) AS r FROM t) a JOIN (SELECT k, row_number() OVER (PARTITION BY g ORDER BY n) AS r FROM t) b ON a.k = b.k WHERE a.r < 3";
    row_number_of_all: "SELECT k, n, row_number() OVER (ORDER BY n) AS r FROM t";
    two_windows: "SELECT k, sum(n) OVER (PARTITION BY g, k) AS a, rank() OVER (PARTITION BY g ORDER BY k) AS r FROM t WHERE n BETWEEN -100 AND 100";
    cube: "SELECT g, k, count(*) AS c, grouping(g, k) AS id FROM t GROUP BY CUBE (g, k)";
    grouping_sets: "SELECT g, k, n, count(*) AS c FROM t GROUP BY GROUPING SETS ((g), (k, n), (g))";
    variances: "SELECT g, var(v) AS a, var_pop(v) AS b, stddev(v) AS c, stddev_pop(v) AS d, stddev(k) AS e FROM t GROUP BY g";
    variances_of_all: "SELECT var(v) AS a, stddev_pop(n) AS b, corr(v, n) AS c, regr_count(v, n) AS d FROM t";
    covariances: "SELECT g, covar_samp(v, k) AS a, covar_pop(k, v) AS b, corr(v, k) AS c, corr(k, k * 2 + 1) AS d FROM t GROUP BY g";
    regressions: "SELECT k, regr_slope(v, n) AS a, regr_intercept(v, n) AS b, regr_r2(v, n) AS c, regr_count(v, n) AS d, regr_avgx(v, n) AS e, regr_avgy(v, n) AS f, regr_sxx(v, n) AS g, regr_syy(v, n) AS h, regr_sxy(v, n) AS i FROM t GROUP BY k";
    variance_of_some: "SELECT g, var_pop(v) FILTER (WHERE k > 2) AS a, stddev(v) FILTER (WHERE n > 0) AS b FROM t GROUP BY g";
    statistics_of_distinct: "SELECT g, sum(DISTINCT v) AS a, avg(DISTINCT v) AS b, var(DISTINCT v) AS c, stddev_pop(DISTINCT k) AS d, count(*) AS n FROM t GROUP BY g";
    averaged_decimals: "SELECT g, avg(CAST(k AS DECIMAL(10,2))) AS a, avg(CAST(n % 7 AS DECIMAL(18,3))) AS b FROM t GROUP BY g";
    averaged_long_decimals: "SELECT g, avg(CAST(k + 1 AS DECIMAL(30,3))) AS c FROM t GROUP BY g";
    bits: "SELECT g, bit_and(n) AS a, bit_or(n) AS b, bit_xor(n) AS c, bit_xor(DISTINCT k) AS d, bool_and(n > 0) AS e, bool_or(v > 1) AS f FROM t GROUP BY g";
    bits_of_all: "SELECT bit_and(k) AS a, bool_and(k > 2) AS b FROM t";
    libm: "SELECT sin(v) AS a, exp(v) AS b, ln(v) AS c, power(v, 3) AS d, log(2, v) AS e, atan2(v, n) AS f, cbrt(v) AS g, cot(v) AS h FROM t WHERE n > 0 OR tan(v) > 0";
    medians: "SELECT g, median(v) AS a, median(CAST(k AS DECIMAL(10,2))) AS b, median(DISTINCT k) AS c, median(v) FILTER (WHERE k > 2) AS d, percentile_cont(0.3) WITHIN GROUP (ORDER BY n) AS e FROM t WHERE n BETWEEN -100 AND 100 GROUP BY g";
    medians_alone: "SELECT g, median(v) AS a, median(CAST(k AS DECIMAL(10,2))) AS b, median(CAST(v / 4 AS FLOAT)) AS c, median(v) FILTER (WHERE k > 2) AS d FROM t GROUP BY g";
    median_of_distinct: "SELECT g, median(DISTINCT v) AS a, count(*) AS c FROM t GROUP BY g";
    median_of_all: "SELECT median(k) AS m FROM t";
    sum_distinct: "SELECT g, sum(DISTINCT k) AS s FROM t GROUP BY g";
}

#[test]
fn views_over_views() {
    let helpers = [
        ("sums", "SELECT g, sum(v) AS s, count(*) AS c FROM t GROUP BY g"),
        ("large", "SELECT * FROM sums WHERE c > 1"),
    ];
    let sql = "SELECT large.g, u.k, large.c FROM large JOIN u ON large.g = u.g";
    check_with(Setting::CHANGES, sql, &helpers);
    check_with(Setting::UPSERTS, sql, &helpers);
}

#[test]
fn closed_windows() {
    let sql = "SELECT window_start, window_end, g, count(*) AS c, avg(v) AS a \
               FROM tumble(t, ts, INTERVAL '30 seconds') GROUP BY window_start, window_end, g";
    check_with(Setting::FINAL, sql, &[]);
}

#[test]
fn closed_windows_of_two_tables() {
    let sql = "SELECT a.window_end, count(*) AS c FROM tumble(t, ts, '1m') a \
               JOIN tumble(u, ts, '1m') b ON a.window_end = b.window_end GROUP BY a.window_end";
    check_with(Setting::FINAL, sql, &[]);
}

#[test]
fn closed_windows_that_overlap() {
    let sql = "SELECT window_start, window_end, g, count(*) AS c, sum(n) AS s \
               FROM hop(t, ts, '20s', '50s') GROUP BY window_start, window_end, g";
    check_with(Setting::FINAL, sql, &[]);
}

#[test]
fn closed_sessions() {
    let sql = "SELECT k, window_start, window_end, count(*) AS c, sum(n) AS s \
               FROM session(t, ts, '10s', k) GROUP BY k, window_start, window_end";
    check_with(Setting::FINAL, sql, &[]);
    check_with(Setting::FINAL, "SELECT * FROM session(t, ts, '1m', g)", &[]);
}

/// The time of the epoch is its number, in microseconds; that of a row is its `k`.
#[test]
fn rows_that_come_and_go_with_time() {
    for condition in [
        "at > now() - INTERVAL '2 microseconds'",
        "at >= now() - INTERVAL '2 microseconds'",
        "now() > at + INTERVAL '1 microsecond'",
        "at <= now() AND n > 0",
        "at BETWEEN now() - INTERVAL '3 microseconds' AND now() - INTERVAL '1 microsecond'",
        "at > now() - INTERVAL '4 microseconds' AND at < now()",
        "at = now()",
        "CAST(at AS DATE) = current_date",
        "at > now() OR n = 1",
        "date_trunc('day', at) < now() - INTERVAL '1 microsecond' + INTERVAL '1 day'",
    ] {
        let at = "arrow_cast(k, 'Timestamp(Microsecond, None)') AS at";
        let rows = format!("SELECT k, g, n, {at} FROM t");
        check(&format!("SELECT k, n FROM ({rows}) WHERE {condition}"));
        check(&format!("SELECT g, count(*) AS c FROM ({rows}) WHERE {condition} GROUP BY g"));
    }
}

#[test]
fn the_time_of_the_epoch() {
    check("SELECT k, now() AS at FROM t");
    check("SELECT count(*) AS c FROM t WHERE ts <= now()");
}
