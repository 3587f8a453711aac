//! What operators say that their state takes is what it takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use syncline_change::Batch;
use syncline_engine::{Circuit, Emit, Options, TableDef, TableInput, ViewDef};

/// Counts what each thread holds: tests run beside each other, a circuit without a pool in one.
struct Counting;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
}

/// What a block takes of the heap: as the allocators of common systems have it, a header of eight
/// bytes, in steps of sixteen.
fn taken(layout: Layout) -> i64 {
    (layout.size() + 8).next_multiple_of(16).max(32) as i64
}

fn note(bytes: i64) {
    // A thread that ends has none any more.
    let _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

#[allow(unsafe_code, reason = "an allocator cannot be written without; it only counts")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(taken(layout));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note(-taken(layout));
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROWS: i64 = 120_000;
const ROWS_AT_A_TIME: i64 = 10_000;
/// How far what is said may be from what is so.
const TOLERANCE: f64 = 0.10;

fn rows(of: std::ops::Range<i64>) -> RecordBatch {
    // A fixed scramble, so that values vary and runs do not.
    let scrambled = |i: i64, below: i64| {
        (i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) >> 20).rem_euclid(below)
    };
    let texts = of.clone().map(|i| format!("a text of {} letters", scrambled(i, 1 << 30)));
    let columns: [(&str, ArrayRef); 5] = [
        ("id", Arc::new(Int64Array::from_iter_values(of.clone()))),
        ("few", Arc::new(Int64Array::from_iter_values(of.clone().map(|i| scrambled(i, 50))))),
        ("many", Arc::new(Int64Array::from_iter_values(of.clone().map(|i| scrambled(i, 60_000))))),
        (
            "size",
            Arc::new(Float64Array::from_iter_values(
                of.clone().map(|i| scrambled(i, 1_000_000) as f64 / 8.0),
            )),
        ),
        ("text", Arc::new(StringArray::from_iter_values(texts))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
        .unwrap()
}

fn table(name: &str, deletes: bool) -> TableDef {
    TableDef {
        name: name.to_owned(),
        schema: rows(0..0).schema(),
        primary_key: None,
        event_time: None,
        deletes,
    }
}

/// What the operators of a view over many rows say that they hold, and what they do.
fn measure(sql: &str, deletes: bool) -> (i64, i64) {
    let options = Options { pool: None, stopwatch: || 0, seed: 0 };
    let view = ViewDef { name: "v".to_owned(), sql: sql.to_owned(), emit: Emit::Changes };
    let tables = vec![table("t", deletes), table("u", deletes)];
    let mut circuit = Circuit::new(tables, &[view], options).unwrap();
    // What is made once, whatever the rows, does not count.
    let few = |circuit: &mut Circuit, epoch, of: std::ops::Range<i64>| {
        let input = |table| TableInput {
            table,
            rows: vec![Batch::inserts(rows(of.clone()))],
            finished: false,
        };
        circuit.step(epoch, 0, vec![input(0), input(1)]).unwrap();
    };
    few(&mut circuit, 1, 0..1);
    let before = HELD.get();
    let said =
        |circuit: &Circuit| circuit.stats().iter().map(|n| n.state_bytes as i64).sum::<i64>();
    let said_before = said(&circuit);
    for part in 0..ROWS / ROWS_AT_A_TIME {
        let from = 1 + part * ROWS_AT_A_TIME;
        few(&mut circuit, 2 + part as u64, from..from + ROWS_AT_A_TIME);
    }
    (said(&circuit) - said_before, HELD.get() - before)
}

/// A view that keeps nothing, so that only what its tables are kept in takes memory.
const NOTHING: &str = "SELECT t.id FROM t WHERE id < 0 UNION ALL SELECT u.id FROM u WHERE id < 0";

fn check(sql: &str, deletes: bool) {
    let ((said, held), tables) = (measure(sql, deletes), measure(NOTHING, deletes));
    let (said, held) = (said - tables.0, held - tables.1);
    let ratio = said as f64 / held as f64;
    assert!(held > 1 << 20, "too little to be measured: {held} bytes, {sql}");
    assert!((ratio - 1.0).abs() <= TOLERANCE, "said {said}, held {held} ({ratio:.3}): {sql}");
}

#[test]
fn tables_with_deletions() {
    let (said, held) = measure(NOTHING, true);
    let ratio = said as f64 / held as f64;
    assert!((ratio - 1.0).abs() <= TOLERANCE, "said {said}, held {held} ({ratio:.3})");
}

macro_rules! state_bytes {
    ($($name:ident: $deletes:expr, $sql:expr;)*) => {
        $(#[test]
        fn $name() {
            check($sql, $deletes);
        })*
    };
}

state_bytes! {
    sums: true, "SELECT many, count(*), sum(id), sum(size), avg(size) FROM t GROUP BY many";
    keys_of_text: true, "SELECT text, count(*) FROM t GROUP BY text";
    distinct: true, "SELECT DISTINCT many, text FROM t";
    least_and_greatest: true, "SELECT few, min(id), max(size), max(text) FROM t GROUP BY few";
    least_of_many: true, "SELECT many, min(id) FROM t GROUP BY many";
    best_so_far: false, "SELECT many, min(id), max(size), max(text) FROM t GROUP BY many";
    distinct_values: true, "SELECT few, count(DISTINCT many), sum(DISTINCT id) FROM t GROUP BY few";
    moments: true, "SELECT many, var_samp(size), corr(size, id) FROM t GROUP BY many";
    medians: true, "SELECT few, median(size) FROM t GROUP BY few";
    percentiles: true, "SELECT many, percentile_cont(0.9) WITHIN GROUP (ORDER BY size) FROM t GROUP BY many";
    bits: true, "SELECT many, bit_and(id), bit_xor(id) FROM t GROUP BY many";
    first_values: true, "SELECT few, first_value(text ORDER BY size) FROM t GROUP BY few";
    join: true, "SELECT t.id, u.text FROM t JOIN u ON t.id = u.id WHERE t.few < 5";
    left_join: true, "SELECT t.id, u.text FROM t LEFT JOIN u ON t.id = u.many AND u.few = 1";
    semi_join: true, "SELECT id FROM t WHERE many IN (SELECT id FROM u WHERE few < 25)";
    top: true, "SELECT id, text FROM t ORDER BY size, id LIMIT 10";
    ranks: true, "SELECT id, row_number() OVER (PARTITION BY many ORDER BY size) AS n FROM t";
    first_of_each: false, "SELECT id, text FROM (SELECT *, row_number() OVER (PARTITION BY many ORDER BY size) AS n FROM t) WHERE n <= 1";
    windows: true, "SELECT id, sum(size) OVER (PARTITION BY many ORDER BY id) AS s FROM t";
    windows_of_few: true, "SELECT id, max(size) OVER (PARTITION BY few ORDER BY id) AS a, first_value(text) OVER (PARTITION BY few ORDER BY id) AS b FROM t";
    windows_by_rows: true, "SELECT id, avg(size) OVER (PARTITION BY many ORDER BY few ROWS UNBOUNDED PRECEDING) AS a, count(*) OVER (PARTITION BY many ORDER BY few ROWS UNBOUNDED PRECEDING) AS b FROM t";
    shares: true, "SELECT id, size / sum(size) OVER (PARTITION BY many) AS s FROM t";
    windows_anew: true, "SELECT id, ntile(3) OVER (PARTITION BY many ORDER BY id) AS s FROM t";
    neighbours: true, "SELECT id, lag(size) OVER (PARTITION BY few ORDER BY id) AS s FROM t";
    by_group: true, "SELECT many, string_agg(text, ',' ORDER BY id) FROM t GROUP BY many";
    recomputed: true, "SELECT id, text, ntile(3) OVER (ORDER BY size) AS n FROM t WHERE few < 25";
    scalar_subquery: true, "SELECT id FROM t WHERE size > (SELECT avg(size) FROM u)";
    recursion: true, "WITH RECURSIVE r AS (SELECT id, many FROM t WHERE id < 100000 UNION SELECT t.id, t.many FROM r JOIN t ON t.id = r.many WHERE t.id > 50000) SELECT * FROM r";
}

/// The most that rows that are kept by key take over some epochs, as a share of one and a half times what
/// they take in Arrow and 32 bytes each: `of_row` is what is kept of the rows with one id, but for text.
fn worst_share(at_a_time: usize, columns: &str, of_row: usize, has_text: bool) -> f64 {
    let options = Options { pool: None, stopwatch: || 0, seed: 0 };
    let sql = format!("SELECT {columns} FROM t JOIN u ON t.id = u.id");
    let view = ViewDef { name: "v".to_owned(), sql, emit: Emit::Changes };
    let tables = vec![table("t", false), table("u", false)];
    let mut circuit = Circuit::new(tables, &[view], options).unwrap();
    let (mut allowed, mut worst) = (0.0_f64, 0.0_f64);
    for (epoch, from) in (0..4 * ROWS).step_by(at_a_time).enumerate() {
        let rows = rows(from..from + at_a_time as i64);
        let texts = rows.column(4).as_string::<i32>().value_data().len();
        let arrow = of_row * at_a_time + if has_text { texts } else { 0 };
        allowed += 1.5 * arrow as f64 + (2 * 32 * at_a_time) as f64;
        let input =
            |table| TableInput { table, rows: vec![Batch::inserts(rows.clone())], finished: false };
        circuit.step(epoch as u64 + 1, 0, vec![input(0), input(1)]).unwrap();
        let kept: u64 = circuit.stats().iter().map(|node| node.state_bytes).sum();
        // With few rows there is more than there are rows.
        if from >= ROWS {
            worst = worst.max(kept as f64 / allowed);
        }
    }
    worst
}

/// Also while some of their runs are being merged.
#[test]
fn rows_by_key_take_little_more_than_they_are() {
    let wide = ("t.id, t.few, t.many, t.size, t.text, u.few AS other", 4 * 8 + 4 + 2 * 8, true);
    let narrow = ("t.id, u.few", 8 + 2 * 8, false);
    for at_a_time in [1_000, 3_000, 10_000] {
        for (columns, of_row, has_text) in [wide, narrow] {
            let share = worst_share(at_a_time, columns, of_row, has_text);
            assert!(share <= 1.0, "{share:.3} of what is allowed, by {at_a_time} rows: {columns}");
        }
    }
}
