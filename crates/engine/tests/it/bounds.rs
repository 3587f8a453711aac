//! State that watermarks let go: views stay what the batch engine computes, and state stays small.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{RecordBatch, TimestampMicrosecondArray};
use arrow::buffer::Buffer;
use arrow::compute::concat_batches;
use syncline_change::spill::{Spill, SpillWriter};
use syncline_change::{Batch, Result};
use syncline_engine::{Circuit, Emit, EventTime, NodeKind, Options, TableDef, TableInput, ViewDef};

use crate::random::Random;
use crate::rig::{Beside, Row, Saved, rows};

const EPOCHS: u64 = 160;
const EPOCH_ROWS: usize = 60;
/// By how much event time moves on in an epoch.
const STEP_US: i64 = 10_000_000;
const LATENESS_US: i64 = 30_000_000;

/// What the tables `t` and `u` are.
#[derive(Clone, Copy)]
struct Tables {
    event_time: bool,
    lateness_us: i64,
    keyed: bool,
    /// How far `u` is behind `t`.
    behind_us: i64,
    idle_us: Option<i64>,
}

const TIMED: Tables = Tables {
    event_time: true,
    lateness_us: LATENESS_US,
    keyed: false,
    behind_us: 0,
    idle_us: None,
};
const UNTIMED: Tables = Tables { event_time: false, ..TIMED };

fn defs(tables: Tables) -> Vec<TableDef> {
    let table = |name: &str| TableDef {
        name: name.to_owned(),
        schema: rows(&[]).schema(),
        primary_key: tables.keyed.then(|| vec![0]),
        event_time: tables.event_time.then_some(EventTime {
            column: 4,
            lateness_us: tables.lateness_us,
            idle_us: tables.idle_us,
        }),
        deletes: false,
    };
    vec![table("t"), table("u")]
}

/// Rows out of order, some of them late, a few without a time or a name.
fn some_rows(random: &mut Random, epoch: u64, tables: Tables, table: usize) -> RecordBatch {
    let now = epoch as i64 * STEP_US - if table == 1 { tables.behind_us } else { 0 };
    let names = ["a", "b", "longer than eight"];
    let made: Vec<Row> = (0..EPOCH_ROWS)
        .map(|_| Row {
            k: Some(random.between(0, 4)),
            g: (random.chance(90)).then(|| (*random.pick(&names)).to_owned()),
            v: Some(random.between(-40, 40) as f64 / 8.0),
            n: Some(random.between(-5, 4)),
            ts: now + random.between(-LATENESS_US - STEP_US, STEP_US),
        })
        .collect();
    let times = made.iter().map(|row| random.chance(97).then_some(row.ts));
    let times: TimestampMicrosecondArray = times.collect();
    let batch = rows(&made);
    let mut columns = batch.columns().to_vec();
    columns[4] = Arc::new(times);
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

/// How the same rows are computed.
#[derive(Clone, Copy)]
struct Way {
    workers: usize,
    /// So many epochs' rows are taken in as one epoch.
    together: u64,
    /// The batch engine is asked after every so many epochs, and at the end.
    compared: u64,
    /// Whether what is merged of the rows by key goes out of memory.
    spills: bool,
    /// After epochs with a bit here another circuit goes on from saved state.
    restarts: u64,
}

const ONE_BY_ONE: Way = Way { workers: 1, together: 1, compared: 8, spills: false, restarts: 0 };
/// Enough rows at a time for more than one worker to have some.
const FOUR_WORKERS: Way =
    Way { workers: 4, together: 40, compared: 40, spills: false, restarts: 1 << 39 | 1 << 55 };

fn circuit(tables: Tables, workers: usize, views: &[ViewDef]) -> Circuit {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build().unwrap();
    let options = Options { pool: Some(Arc::new(pool)), stopwatch: || 0, seed: 0 };
    Circuit::new(defs(tables), views, options).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn view_defs(sql: &str, emit: Emit, helpers: &[(&str, &str)]) -> Vec<ViewDef> {
    let view = |name: &str, sql: &str, emit| ViewDef { name: name.into(), sql: sql.into(), emit };
    let helpers = helpers.iter().map(|(name, sql)| view(name, sql, Emit::Changes));
    helpers.chain([view("view", sql, emit)]).collect()
}

/// Rows that are kept after each epoch.
fn run_in(way: Way, tables: Tables, emit: Emit, sql: &str, helpers: &[(&str, &str)]) -> Vec<u64> {
    let views = view_defs(sql, emit, helpers);
    let elsewhere = Arc::new(Elsewhere::default());
    let make = || {
        let circuit = circuit(tables, way.workers, &views);
        if way.spills {
            circuit.limit_memory(1, elsewhere.clone());
        }
        circuit
    };
    let mut circuit = make();
    let mut saved = Saved::new(way.restarts);
    saved.begin(&mut circuit);
    let mut beside = Beside::new(sql, &defs(tables), &views, &circuit);
    let mut random = Random::new(11);
    let mut state = Vec::new();
    let mut gathered = [vec![], vec![]];
    for number in 1..=EPOCHS {
        for (table, rows) in gathered.iter_mut().enumerate() {
            rows.push(some_rows(&mut random, number, tables, table));
        }
        if number % way.together != 0 {
            continue;
        }
        let finished = number == EPOCHS;
        let input = gathered.iter_mut().enumerate().map(|(table, rows)| {
            let rows = concat_batches(&rows[0].schema(), &std::mem::take(rows)).unwrap();
            TableInput { table, rows: vec![Batch::inserts(rows)], finished }
        });
        let output = circuit.step(number, number as i64, input.collect()).unwrap();
        beside.take_in(&output, |_, _| {});
        state.push(circuit.stats().iter().map(|node| node.state_rows).sum());
        if number % way.compared == 0 || finished {
            beside.assert_equal(&circuit, number, String::new);
        }
        saved.save(&mut circuit, number, make);
    }
    assert_eq!(way.spills, elsewhere.0.load(Ordering::Relaxed) > 0, "{sql}");
    state
}

fn run(tables: Tables, emit: Emit, sql: &str, helpers: &[(&str, &str)]) -> Vec<u64> {
    run_in(FOUR_WORKERS, tables, emit, sql, helpers);
    run_in(ONE_BY_ONE, tables, emit, sql, helpers)
}

/// With event time state stays below `most`, and without it grows far beyond.
fn stays_below(most: u64, emit: Emit, sql: &str, helpers: &[(&str, &str)]) {
    let timed = run(TIMED, emit, sql, helpers);
    let largest = timed.iter().max().copied().unwrap();
    assert!(largest <= most, "{sql}: {largest} rows are kept");
    assert!(largest > 0, "{sql} keeps nothing");
    let untimed = run(UNTIMED, Emit::Changes, sql, helpers);
    let last = untimed.last().copied().unwrap();
    assert!(last > 2 * most, "{sql}: {last} rows are kept without event time");
}

/// Takes in epochs, each some rows by table and time in seconds, and compares after each.
fn follow(tables: Tables, sql: &str, helpers: &[(&str, &str)], epochs: &[&[(usize, Row)]]) {
    let views = view_defs(sql, Emit::Changes, helpers);
    let mut circuit = circuit(tables, 1, &views);
    let mut beside = Beside::new(sql, &defs(tables), &views, &circuit);
    for (number, epoch) in (1..).zip(epochs) {
        let input = epoch.iter().map(|(table, row)| {
            let rows = Batch::inserts(rows(std::slice::from_ref(row)));
            TableInput { table: *table, rows: vec![rows], finished: false }
        });
        let output = circuit.step(number, number as i64, input.collect()).unwrap();
        beside.take_in(&output, |_, _| {});
        beside.assert_equal(&circuit, number, String::new);
    }
}

/// What is spilled, in memory after all, and how many pieces there were.
#[derive(Debug, Default)]
struct Elsewhere(AtomicUsize);

#[derive(Debug)]
struct Piece(Vec<Vec<u8>>);

impl Spill for Elsewhere {
    fn begin(&self, sizes: &[usize]) -> Result<Box<dyn SpillWriter>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Piece(vec![vec![]; sizes.len()])))
    }
}

impl SpillWriter for Piece {
    fn append(&mut self, part: usize, bytes: &[u8]) -> Result<()> {
        self.0[part].extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Buffer>> {
        Ok(self.0.iter().map(Buffer::from_slice_ref).collect())
    }
}

const HELPERS: [(&str, &str); 2] = [
    (
        "of_t",
        "SELECT k, window_start, window_end, count(*) AS c, max(v) AS m \
         FROM tumble(t, ts, INTERVAL '20 seconds') GROUP BY k, window_start, window_end",
    ),
    (
        "of_u",
        "SELECT window_end, k, sum(n) AS s \
         FROM tumble(u, ts, INTERVAL '20 seconds') GROUP BY window_end, k",
    ),
];

#[test]
fn windows_of_aggregates() {
    stays_below(
        120,
        Emit::Changes,
        "SELECT k, window_start, count(*) AS c, sum(v) AS s, count(DISTINCT g) AS d, \
         count(DISTINCT n) AS e, median(n) AS m, min(v) AS l \
         FROM tumble(t, ts, INTERVAL '20 seconds') GROUP BY k, window_start",
        &[],
    );
    stays_below(
        110,
        Emit::Changes,
        "SELECT date_trunc('minute', ts) + INTERVAL '1 minute' AS e, g, k, avg(v) AS a \
         FROM t GROUP BY date_trunc('minute', ts) + INTERVAL '1 minute', g, k",
        &[],
    );
}

#[test]
fn windows_that_overlap() {
    // Distinct values are kept as groups of their own.
    for (call, most) in [("count(*)", 150), ("sum(v)", 150), ("count(DISTINCT n)", 500)] {
        let sql = format!(
            "SELECT g, window_start, window_end, {call} AS c \
             FROM hop(t, ts, INTERVAL '10 seconds', INTERVAL '25 seconds') \
             GROUP BY g, window_start, window_end"
        );
        stays_below(most, Emit::Changes, &sql, &[]);
    }
}

#[test]
fn joins_of_windows() {
    let on = "ON a.window_end = b.window_end AND a.k = b.k";
    for sql in [
        format!("SELECT a.k, a.window_end, a.c, b.s FROM of_t a JOIN of_u b {on}"),
        format!("SELECT a.k, b.k AS l, a.window_end, a.c, b.s FROM of_t a FULL JOIN of_u b {on}"),
        format!(
            "SELECT a.k, a.window_end, a.c, b.s FROM of_t a LEFT JOIN of_u b {on} AND b.s > a.c"
        ),
        "SELECT * FROM of_t a WHERE NOT EXISTS \
         (SELECT 1 FROM of_u b WHERE b.window_end = a.window_end AND b.s > a.c)"
            .to_owned(),
    ] {
        stays_below(600, Emit::Changes, &sql, &HELPERS);
    }
}

#[test]
fn first_rows_of_windows() {
    let first = |from: &str, by: &str| {
        format!(
            "SELECT k, window_end, r FROM (SELECT *, row_number() OVER \
             (PARTITION BY window_end ORDER BY {by}) AS r FROM {from}) WHERE r <= 2"
        )
    };
    let windows = "tumble(t, ts, INTERVAL '20 seconds')";
    stays_below(40, Emit::Changes, &first(windows, "v DESC"), &[]);
    stays_below(300, Emit::Changes, &first("of_t", "c DESC, k"), &HELPERS);
    for call in [
        "sum(n) OVER (PARTITION BY window_end)",
        "max(v) OVER (PARTITION BY window_end ORDER BY ts)",
        // Computed anew by group.
        "ntile(3) OVER (PARTITION BY window_end ORDER BY n)",
    ] {
        let sql = format!("SELECT k, window_end, {call} AS s FROM {windows}");
        stays_below(3_000, Emit::Changes, &sql, &[]);
    }
    let names = "SELECT window_end, string_agg(g, ',' ORDER BY g) AS s FROM of_g \
                 GROUP BY window_end";
    let of_g = "SELECT DISTINCT g, window_end FROM tumble(t, ts, INTERVAL '20 seconds')";
    stays_below(100, Emit::Changes, names, &[("of_g", of_g)]);
}

#[test]
fn distinct_times() {
    stays_below(400, Emit::Changes, "SELECT DISTINCT g, date_trunc('second', ts) AS s FROM t", &[]);
    stays_below(
        120,
        Emit::Changes,
        "SELECT window_start, g FROM tumble(t, ts, '20s') UNION \
         SELECT window_start, g FROM tumble(u, ts, '20s')",
        &[],
    );
}

#[test]
fn sums_of_sessions() {
    for (gap, key, most) in [("2 seconds", "k", 1_500), ("100 milliseconds", "", 1_500)] {
        let (of, by) = match key {
            "" => (String::new(), String::new()),
            key => (format!(", {key}"), format!("{key}, ")),
        };
        let sql = format!(
            "SELECT {by}window_start, window_end, count(*) AS c FROM \
             session(t, ts, INTERVAL '{gap}'{of}) GROUP BY {by}window_start, window_end"
        );
        stays_below(most, Emit::Changes, &sql, &[]);
    }
}

/// Sessions that do not end for long, and those of rows that come and go.
#[test]
fn sessions_that_go_on_are_not_let_go() {
    for sql in [
        "SELECT window_start, window_end, count(*) AS c FROM session(t, ts, INTERVAL '1 second') \
         GROUP BY window_start, window_end",
        "SELECT k, c, window_start, window_end FROM session(ends, e, INTERVAL '30 seconds', k)",
        "SELECT o.k, o.c, s.window_start FROM ends o JOIN (SELECT k, window_start, window_end FROM \
         session(u, ts, INTERVAL '5 seconds', k)) s ON o.k = s.k AND o.e = s.window_end",
    ] {
        let ends = ("ends", "SELECT k, c, window_end AS e FROM of_t");
        run(TIMED, Emit::Changes, sql, &[HELPERS[0], HELPERS[1], ends]);
    }
}

#[test]
fn joins_by_a_range_of_times() {
    let on = "ON t.k = u.k AND t.n = u.n AND u.ts BETWEEN t.ts - INTERVAL '5 seconds' AND t.ts";
    for sql in [
        format!("SELECT t.k, t.n, u.n AS m, u.ts FROM t JOIN u {on}"),
        format!("SELECT t.k, t.n, u.n AS m, u.ts FROM t LEFT JOIN u {on} AND t.g < u.g"),
        format!("SELECT t.k, t.n, u.n AS m, u.ts FROM t FULL JOIN u {on} AND t.v < 3"),
        "SELECT n FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND u.n = t.n AND u.ts >= t.ts \
         AND u.ts < t.ts + INTERVAL '2 seconds')"
            .to_owned(),
        "SELECT n FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND u.n = t.n AND u.ts > t.ts \
         AND u.ts <= t.ts + INTERVAL '1 second')"
            .to_owned(),
        // Of what the join puts out groups go, too.
        format!("SELECT u.ts, count(*) AS c FROM t JOIN u {on} GROUP BY u.ts"),
    ] {
        stays_below(4_000, Emit::Changes, &sql, &[]);
    }
    // Both sides have rows that go again.
    let sql = "SELECT a.k, a.c, b.s FROM of_t a JOIN of_u b ON a.k = b.k \
               AND a.window_end >= b.window_end \
               AND a.window_end <= b.window_end + INTERVAL '40 seconds'";
    stays_below(800, Emit::Changes, sql, &HELPERS);
}

/// Only one side can go, or neither.
#[test]
fn joins_by_half_a_range_of_times() {
    for sql in [
        "SELECT t.k, u.n FROM t JOIN u ON t.g = u.g AND t.k = u.k AND t.n = u.n AND u.ts <= t.ts",
        "SELECT t.k, t.n FROM t LEFT JOIN u ON t.g = u.g AND t.k = u.k AND t.n = u.n \
         AND u.ts < t.ts - INTERVAL '100 seconds'",
        "SELECT t.k, t.n FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND u.n = t.n \
         AND u.ts > t.ts + INTERVAL '100 seconds')",
    ] {
        run(TIMED, Emit::Changes, sql, &[]);
    }
}

/// A condition that fails is not computed for rows that may have gone.
#[test]
fn conditions_that_fail_do_so_within_the_range_alone() {
    let sql = "SELECT t.n, u.n AS m FROM t JOIN u ON t.k = u.k AND u.ts <= t.ts \
               AND u.ts > t.ts - INTERVAL '5 seconds' AND 1 / u.n < 5";
    let mut letters = [1, 40].map(|together| {
        let views = view_defs(sql, Emit::Changes, &[]);
        let mut circuit = circuit(TIMED, 1, &views);
        let (mut random, mut gathered, mut letters) = (Random::new(5), [vec![], vec![]], vec![]);
        for number in 1..=EPOCHS {
            for (table, rows) in gathered.iter_mut().enumerate() {
                rows.push(some_rows(&mut random, number, TIMED, table));
            }
            if number % together != 0 {
                continue;
            }
            let input = gathered.iter_mut().enumerate().map(|(table, rows)| {
                let rows = concat_batches(&rows[0].schema(), &std::mem::take(rows)).unwrap();
                TableInput { table, rows: vec![Batch::inserts(rows)], finished: false }
            });
            let output = circuit.step(number, 0, input.collect()).unwrap();
            let of_view = output.rejected.into_iter().filter(|(name, _)| name == "view");
            letters.extend(of_view.map(|(_, letter)| letter.bytes));
        }
        letters.sort();
        letters
    });
    let [one_by_one, together] = &mut letters;
    assert!(!one_by_one.is_empty());
    assert!(one_by_one == together, "{} and {} letters", one_by_one.len(), together.len());
}

#[test]
fn the_slower_of_two_tables_decides() {
    let sql = "SELECT window_end, count(*) AS c FROM tumble(\"all\", ts, INTERVAL '20 seconds') \
               GROUP BY window_end";
    let all = [("all", "SELECT ts, k FROM t UNION ALL SELECT ts, k FROM u")];
    let near = run(TIMED, Emit::Changes, sql, &all);
    let far = Tables { behind_us: 400_000_000, ..TIMED };
    let far = run(far, Emit::Changes, sql, &all);
    let largest = |of: &[u64]| of.iter().max().copied().unwrap();
    assert!(largest(&near) <= 20, "{near:?}");
    assert!((20..90).contains(&largest(&far)), "{far:?}");
}

#[test]
fn closed_windows_that_are_shown_once() {
    let sql = "SELECT window_end, k, count(*) AS c FROM tumble(t, ts, INTERVAL '20 seconds') \
               GROUP BY window_end, k";
    let state = run(TIMED, Emit::Final, sql, &[]);
    assert!(state.iter().max().copied().unwrap() <= 150, "{state:?}");
}

/// Runs that are outside of memory let go as those in it do.
#[test]
fn state_outside_of_memory() {
    let spilled = Way { spills: true, compared: 40, ..ONE_BY_ONE };
    let padded = [
        ("p", "SELECT *, repeat('x', 1000) AS f FROM t"),
        ("q", "SELECT *, repeat('x', 1000) AS f FROM u"),
    ];
    for sql in [
        "SELECT window_end, f, sum(n) OVER (PARTITION BY window_end) AS s \
         FROM tumble(p, ts, INTERVAL '1 minute')",
        "SELECT p.v, q.v AS w, p.ts, left(p.f, 1) AS f, left(q.f, 1) AS e FROM p LEFT JOIN q \
         ON p.g = q.g AND q.ts BETWEEN p.ts - INTERVAL '1 second' AND p.ts AND q.n < p.n",
        "SELECT * FROM session(p, ts, INTERVAL '200 milliseconds')",
    ] {
        let state = run_in(spilled, TIMED, Emit::Changes, sql, &padded);
        assert!(state.iter().max().copied().unwrap() < 3_000, "{sql}: {state:?}");
    }
}

/// A row with a key replaces one with an old time, so nothing may go.
#[test]
fn rows_with_keys_are_not_let_go() {
    let keyed = Tables { keyed: true, ..TIMED };
    for sql in [
        "SELECT k, window_end, count(*) AS c FROM tumble(t, ts, INTERVAL '20 seconds') \
         GROUP BY k, window_end",
        "SELECT t.k, t.ts, u.v FROM t JOIN u ON t.ts = u.ts",
    ] {
        run(keyed, Emit::Changes, sql, &[]);
    }
}

const NOT_LATE: Tables = Tables { lateness_us: 0, ..TIMED };

fn row(at: i64, n: i64, v: f64) -> Row {
    Row { k: Some(1), g: None, v: Some(v), n: Some(n), ts: at * 1_000_000 }
}

/// January 29th at 13:00 becomes February 28th at 13:00, and the 30th at 12:00 the 28th at 12:00.
#[test]
fn months_do_not_keep_the_order_of_times() {
    const HOUR: i64 = 3_600;
    const JANUARY_28TH: i64 = 1_674_864_000;
    let at = |day: i64, hour: i64| (0, row(JANUARY_28TH + (day * 24 + hour) * HOUR, 0, 0.0));
    let epochs: [&[_]; 3] = [&[at(0, 12), at(1, 13)], &[at(2, 12)], &[at(3, 11)]];
    for sql in [
        "SELECT ts + INTERVAL '1 month' AS due, count(*) AS c FROM t GROUP BY 1",
        "SELECT date_bin('6 hours', ts) + INTERVAL '1 month' AS due, count(*) AS c FROM t GROUP BY 1",
        "SELECT date_trunc('day', ts) + INTERVAL '1 month' AS due, count(*) AS c FROM t GROUP BY 1",
        "SELECT ts::DATE + INTERVAL '1 month' AS due, count(*) AS c FROM t GROUP BY 1",
        "SELECT window_end, count(*) AS c FROM tumble(t, ts, INTERVAL '1 month') GROUP BY 1",
    ] {
        follow(NOT_LATE, sql, &[], &epochs);
    }
}

/// A row of a view with `emit: final` whose time has long passed, though the view had none before.
#[test]
fn what_is_final_does_not_come_from_before_the_watermark() {
    let views = [
        ViewDef {
            name: "once".into(),
            sql: "SELECT arrow_cast(n * 1000000, 'Timestamp(Microsecond, None)') AS window_end, v \
                  FROM t WHERE v > 0"
                .into(),
            emit: Emit::Final,
        },
        ViewDef {
            name: "view".into(),
            sql: "SELECT o.v, u.n FROM once o JOIN u ON o.window_end = u.ts".into(),
            emit: Emit::Changes,
        },
    ];
    let mut circuit = circuit(NOT_LATE, 1, &views);
    let mut number = 0;
    let mut step = |of: &[(usize, Row)]| {
        number += 1;
        let input = of.iter().map(|(table, row)| {
            let rows = Batch::inserts(rows(std::slice::from_ref(row)));
            TableInput { table: *table, rows: vec![rows], finished: false }
        });
        let output = circuit.step(number, number as i64, input.collect()).unwrap();
        let shown = output.views.iter().map(|of| of.iter().map(Batch::num_rows).sum::<usize>());
        (shown.collect::<Vec<_>>(), output.rejected.len())
    };
    assert_eq!(step(&[(0, row(100, 0, 0.0)), (1, row(50, 1, 0.0)), (1, row(100, 2, 0.0))]).1, 0);
    assert_eq!(step(&[(1, row(101, 3, 0.0))]).1, 0);
    // Its window is closed: it would be shown without the row of `u`, which may have gone.
    assert_eq!(step(&[(0, row(101, 50, 1.0))]), (vec![0, 0], 1));
}

/// What stands beside a time that has a floor is not safe to let go by it.
#[test]
fn times_of_old_rows_come_back() {
    for sql in [
        // The joined row brings the old row's time with it.
        "SELECT date_trunc('minute', t.ts) AS m, count(*) AS c FROM t JOIN of_u b ON t.k = b.k \
         AND b.s > 10 GROUP BY date_trunc('minute', t.ts)",
        // What is pushed out of the first rows may be old.
        "SELECT date_trunc('minute', ts) AS m, count(*) AS c FROM \
         (SELECT ts FROM t ORDER BY v, ts LIMIT 50) GROUP BY date_trunc('minute', ts)",
        "SELECT date_trunc('hour', w) AS h, count(*) AS c FROM (SELECT max(window_end) AS w FROM \
         of_t GROUP BY k) GROUP BY date_trunc('hour', w)",
        "SELECT k, a, count(*) AS c FROM (SELECT k, lag(ts) OVER (PARTITION BY k ORDER BY ts) AS a \
         FROM of_few) GROUP BY k, a",
    ] {
        let few = ("of_few", "SELECT * FROM t WHERE n > 3 AND v > 4");
        run(TIMED, Emit::Changes, sql, &[HELPERS[0], HELPERS[1], few]);
    }
}

/// Of the operators of `sql` that keep something, what `plan` says.
fn kept(tables: Tables, sql: &str) -> Vec<(String, bool)> {
    let mut views = view_defs(sql, Emit::Changes, &HELPERS);
    let once = ViewDef { name: "once".into(), emit: Emit::Final, ..views[0].clone() };
    views.insert(0, once);
    let graph = circuit(tables, 1, &views).graph();
    let (mut open, mut kept) = (vec![graph.nodes.len() - 1], vec![]);
    while let Some(number) = open.pop() {
        let node = &graph.nodes[number];
        kept.extend(node.state.as_ref().map(|state| (state.by.clone(), state.bounded)));
        let is_above = |node: usize| graph.nodes[node].kind != NodeKind::View;
        let inputs = graph.edges.iter().filter(|(_, to)| *to == number).map(|(from, _)| *from);
        open.extend(inputs.filter(|&node| is_above(node)));
    }
    kept
}

#[test]
fn plans_say_what_is_kept() {
    let of_t = "one row a group of the last times and of none, by the watermark of t";
    let of_both = "rows of the last times and of none, by the watermark of t, u";
    let rows_of_t = "rows of the last times and of none, by the watermark of t";
    let matches_of_both =
        "the number of matches of rows of the last times and of none, by the watermark of t, u";
    let group = "one row a group";
    for (sql, expect) in [
        ("SELECT ts, count(*) AS c FROM t GROUP BY ts", vec![(of_t, true)]),
        (
            "SELECT DISTINCT date_bin('1h', ts + INTERVAL '1 month') AS b FROM t",
            vec![(group, false)],
        ),
        (
            "SELECT k, date_bin('1 month', ts) + INTERVAL '1 month' AS b FROM t GROUP BY 1, 2",
            vec![(of_t, true)],
        ),
        ("SELECT DISTINCT ts::DATE - INTERVAL '1 year' AS d FROM t", vec![(of_t, true)]),
        ("SELECT DISTINCT window_end FROM once", vec![(of_t, true)]),
        ("SELECT DISTINCT ts::DATE AS d FROM t WHERE v > 1", vec![(of_t, true)]),
        (
            "SELECT DISTINCT arrow_cast(ts, 'Timestamp(Second, Some(\"UTC\"))') AS d FROM t",
            vec![(of_t, true)],
        ),
        (
            "SELECT DISTINCT arrow_cast(ts, 'Timestamp(Second, Some(\"Europe/Berlin\"))') AS d FROM t",
            vec![(group, false)],
        ),
        ("SELECT DISTINCT date_part('hour', ts) AS d FROM t", vec![(group, false)]),
        (
            "SELECT DISTINCT coalesce(ts, ts - INTERVAL '1 day') AS d, k FROM t",
            vec![(group, false)],
        ),
        ("SELECT k, count(*) AS c FROM t GROUP BY k", vec![(group, false)]),
        ("SELECT count(*) AS c FROM t", vec![("one row", true)]),
        ("SELECT t.k, u.n FROM t JOIN u ON t.ts = u.ts", vec![(of_both, true); 2]),
        (
            "SELECT t.k, u.n FROM t JOIN u ON t.k = u.k",
            vec![("every row of u", false), ("every row of t", false)],
        ),
        (
            "SELECT t.n, u.n AS m FROM t JOIN u ON t.k = u.k AND u.ts BETWEEN t.ts AND \
             t.ts + INTERVAL '1 hour'",
            vec![(of_both, true); 2],
        ),
        (
            "SELECT t.n, u.n AS m FROM t LEFT JOIN u ON t.k = u.k AND u.ts <= t.ts",
            vec![(matches_of_both, true), ("every row of u", false), (of_both, true)],
        ),
        ("SELECT * FROM session(t, ts, INTERVAL '5 seconds', k)", vec![(rows_of_t, true)]),
        (
            "SELECT t.k, a.s FROM t JOIN of_u a ON t.k = a.k",
            vec![(group, false), ("every row of t", false)],
        ),
        ("SELECT k FROM t ORDER BY n LIMIT 3", vec![("the first 3 rows of each group", true)]),
        (
            "SELECT k FROM t WHERE ts > now() - INTERVAL '1 hour'",
            vec![("rows that now() has yet to pass", true)],
        ),
    ] {
        let expect: Vec<_> =
            expect.iter().map(|(by, bounded)| ((*by).to_owned(), *bounded)).collect();
        assert_eq!(kept(TIMED, sql), expect, "{sql}");
    }
    let keyed = Tables { keyed: true, ..TIMED };
    let newest = ("the newest row of each key".to_owned(), false);
    let sql = "SELECT ts, count(*) AS c FROM t GROUP BY ts";
    assert_eq!(kept(keyed, sql), [(group.to_owned(), false), newest]);
    let sql = "SELECT DISTINCT window_end FROM once";
    assert_eq!(kept(UNTIMED, sql), [(group.to_owned(), false)]);
}

/// A row of a table that becomes idle, is left out, and comes back.
#[test]
fn what_is_idle_is_not_waited_for() {
    const SECOND: i64 = 1_000_000;
    let tables = Tables { idle_us: Some(5 * SECOND), ..TIMED };
    let view = ViewDef {
        name: "view".into(),
        sql: "SELECT window_end, count(*) AS c FROM tumble(\"all\", ts, INTERVAL '10 seconds') \
              GROUP BY window_end"
            .into(),
        emit: Emit::Final,
    };
    let all = ViewDef {
        name: "all".into(),
        sql: "SELECT ts FROM t UNION ALL SELECT ts FROM u".into(),
        emit: Emit::Changes,
    };
    let mut circuit = circuit(tables, 1, &[all, view]);
    let mut number = 0;
    let mut step = |circuit: &mut Circuit, now: i64, input: &[(usize, i64)]| {
        number += 1;
        let input = input.iter().map(|&(table, at)| {
            let row = Row { k: None, g: None, v: None, n: None, ts: at * SECOND };
            TableInput { table, rows: vec![Batch::inserts(rows(&[row]))], finished: false }
        });
        let output = circuit.step(number, now * SECOND, input.collect()).unwrap();
        let shown: usize = output.views[1].iter().map(Batch::num_rows).sum();
        (shown, output.rejected.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
    };
    assert_eq!(step(&mut circuit, 100, &[]), (0, vec![]));
    assert_eq!(circuit.due_at(), None, "nothing waits yet");
    assert_eq!(step(&mut circuit, 102, &[(0, 5), (1, 5)]), (0, vec![]));
    assert_eq!(step(&mut circuit, 104, &[(0, 50)]), (0, vec![]));
    assert_eq!(circuit.due_at(), Some(107 * SECOND));
    // The watermark of `t` is 20 now, and that of `u` still at -25.
    assert_eq!(step(&mut circuit, 106, &[(0, 51)]), (0, vec![]));
    assert_eq!(step(&mut circuit, 107, &[]), (1, vec![]));
    assert_eq!(circuit.due_at(), Some(111 * SECOND), "`t` is next");
    // The row is not late in `u`, but its window has been shown: one row would go and one come.
    assert_eq!(step(&mut circuit, 108, &[(1, 6)]), (0, vec!["view".to_owned(); 2]));
    // Now `u` is waited for again.
    assert_eq!(step(&mut circuit, 109, &[(0, 90)]), (0, vec![]));
    assert_eq!(step(&mut circuit, 110, &[(1, 90)]), (1, vec![]));
    // Where both are idle, nothing is shown that no watermark has passed.
    assert_eq!(step(&mut circuit, 200, &[]), (0, vec![]));
    assert_eq!(circuit.due_at(), None);
}
