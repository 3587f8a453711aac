//! What a change of one row costs over a large state: through a join of three tables and an
//! aggregate. Prints a line a figure, with what was asked for behind it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool, not a part of the product")]
#![allow(clippy::disallowed_methods, reason = "it measures how long things take")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, RecordBatch};
use syncline_change::Batch;
use syncline_engine::{Circuit, Emit, Options, TableDef, TableInput, ViewDef};

/// As in the binary.
#[cfg(unix)]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Rows of all three tables together.
const ROWS: i64 = 10_000_000;
const ORDERS: i64 = ROWS / 10;
const CUSTOMERS: i64 = ROWS / 10;
const LINES: i64 = ROWS - ORDERS - CUSTOMERS;
const REGIONS: i64 = 1000;
const ROWS_AT_A_TIME: i64 = 65_536;
const EPOCHS: usize = 20_000;

const SQL: &str = "SELECT c.region, count(*) AS lines, sum(l.amount) AS amount \
    FROM lines l JOIN orders o ON l.order_id = o.id JOIN customers c ON o.customer = c.id \
    GROUP BY c.region";

fn main() {
    // `cargo test` runs benches too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("run with `cargo bench`");
        return;
    }
    let options = Options { pool: None, stopwatch: || 0, seed: 0 };
    let view = ViewDef { name: "totals".to_owned(), sql: SQL.to_owned(), emit: Emit::Changes };
    let mut circuit = Circuit::new(tables(), &[view], options).unwrap();
    let mut epoch = 0;
    let mut step = |table: usize, rows: RecordBatch| {
        epoch += 1;
        let input = TableInput { table, rows: vec![Batch::inserts(rows)], finished: false };
        circuit.step(epoch, 0, vec![input]).unwrap().views[0].len()
    };
    let began = Instant::now();
    fill(CUSTOMERS, |from, to| step(2, customers(from..to)));
    fill(ORDERS, |from, to| step(1, orders(from..to)));
    fill(LINES, |from, to| step(0, lines(from..to)));
    println!("{ROWS} rows of state taken in in {:.1} s", began.elapsed().as_secs_f64());

    let mut taken = Vec::with_capacity(EPOCHS);
    let began = Instant::now();
    for i in 0..EPOCHS as i64 {
        let number = LINES + i;
        let row = lines(number..number + 1);
        let before = Instant::now();
        assert_eq!(step(0, row), 1, "a line changes the totals of its region");
        taken.push(before.elapsed());
    }
    let whole = began.elapsed();
    taken.sort_unstable();
    let micros = |of: Duration| of.as_secs_f64() * 1e6;
    let line =
        |name: &str, value: String, wanted: &str| println!("{name:<58}{value:>12}   {wanted}");
    line("one row, median", format!("{:.1} us", micros(taken[EPOCHS / 2])), "< 200 us");
    line("one row, 99 %", format!("{:.1} us", micros(taken[EPOCHS / 100 * 99])), "");
    line("one row, longest", format!("{:.1} us", micros(taken[EPOCHS - 1])), "");
    let per_second = EPOCHS as f64 / whole.as_secs_f64();
    line("epochs of one row", format!("{per_second:.0}/s"), ">= 20000/s");
}

fn fill(rows: i64, mut step: impl FnMut(i64, i64) -> usize) {
    let mut from = 0;
    while from < rows {
        let to = rows.min(from + ROWS_AT_A_TIME);
        step(from, to);
        from = to;
    }
}

/// A number that is anywhere below `bound`, the same for the same `i`.
fn spread(i: i64, bound: i64) -> i64 {
    (i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) >> 20).rem_euclid(bound)
}

fn batch(columns: [(&str, Vec<i64>); 3]) -> RecordBatch {
    let columns = columns.map(|(name, values)| {
        (name, Arc::new(Int64Array::from(values)) as arrow::array::ArrayRef, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn lines(of: std::ops::Range<i64>) -> RecordBatch {
    batch([
        ("id", of.clone().collect()),
        ("order_id", of.clone().map(|i| spread(i, ORDERS)).collect()),
        ("amount", of.map(|i| spread(i, 1000)).collect()),
    ])
}

fn orders(of: std::ops::Range<i64>) -> RecordBatch {
    batch([
        ("id", of.clone().collect()),
        ("customer", of.clone().map(|i| spread(i, CUSTOMERS)).collect()),
        ("at", of.collect()),
    ])
}

fn customers(of: std::ops::Range<i64>) -> RecordBatch {
    batch([
        ("id", of.clone().collect()),
        ("region", of.clone().map(|i| spread(i, REGIONS)).collect()),
        ("since", of.collect()),
    ])
}

fn tables() -> Vec<TableDef> {
    let table = |name: &str, rows: RecordBatch| TableDef {
        name: name.to_owned(),
        schema: rows.schema(),
        primary_key: None,
        event_time: None,
        deletes: false,
    };
    vec![
        table("lines", lines(0..0)),
        table("orders", orders(0..0)),
        table("customers", customers(0..0)),
    ]
}
