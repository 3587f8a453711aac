//! A query as a view that is kept up to date, while the changes of a script come in again.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use syncline_change::Batch;
use syncline_change::row::canonical;
use syncline_engine::{Circuit, Content, Emit, Options, TableDef, TableInput, ViewDef};

use super::database::Database;
use crate::random::Random;
use crate::rig::{same_bits, show};

/// More rows than this are taken in batch by batch instead of one by one.
const ROWS_MAX: usize = 5_000;

/// What came of it.
pub(super) enum Replayed {
    /// The view in the end as it is shown, if it has the query's order.
    Same(Option<RecordBatch>),
    /// It cannot be a view.
    Skipped(String),
    Wrong(String),
}

/// How changes come in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) seed: u64,
    pub(super) workers: usize,
    /// Whether rows also come that go again, and go to come again.
    pub(super) noise: bool,
}

/// A row of a change, so often.
struct Event {
    table: usize,
    row: RecordBatch,
    weight: i64,
}

/// Runs `sql` as a view over the changes of `database`, and compares it with the batch result.
pub(super) fn replay(
    database: &Database,
    sql: &str,
    (schema, batch): (&SchemaRef, &[RecordBatch]),
    manner: Manner,
) -> Replayed {
    match replay_named(database, sql, batch, manner) {
        // A view cannot have two columns of one name; a query can.
        Replayed::Skipped(why) if why.contains("two columns are called") => {
            let names = (1..=schema.fields().len()).map(|i| format!("column{i}"));
            let names = names.collect::<Vec<_>>().join(", ");
            let sql = sql.trim().trim_end_matches(';');
            let sql = format!("SELECT * FROM ({sql}) AS renamed ({names})");
            match replay_named(database, &sql, batch, manner) {
                Replayed::Same(_) => Replayed::Same(None),
                other => other,
            }
        }
        other => other,
    }
}

fn replay_named(database: &Database, sql: &str, batch: &[RecordBatch], manner: Manner) -> Replayed {
    let deletes = manner.noise || database.history.iter().any(|change| change.weight < 0);
    let def = |table: &super::database::Table| TableDef {
        name: table.name.clone(),
        schema: table.rows.schema(),
        primary_key: None,
        event_time: None,
        deletes,
    };
    let tables: Vec<TableDef> = database.tables.iter().map(def).collect();
    let view = |(name, sql): (&str, &str)| ViewDef {
        name: name.to_owned(),
        sql: sql.to_owned(),
        emit: Emit::Changes,
    };
    let helpers =
        database.views_of(sql).into_iter().map(|(name, sql)| (name.as_str(), sql.as_str()));
    let views: Vec<ViewDef> = helpers.chain([("the query", sql)]).map(view).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(manner.workers).build();
    let options = Options { pool: pool.ok().map(Arc::new), stopwatch: || 0, seed: 0 };
    let mut circuit = match Circuit::new(tables, &views, options) {
        Ok(circuit) => circuit,
        Err(errors) => return Replayed::Skipped(format!("not a view: {}", errors[0].message)),
    };
    match run(&mut circuit, database, batch, manner) {
        Ok(shown) => Replayed::Same(Some(shown)),
        Err(wrong) => Replayed::Wrong(wrong),
    }
}

fn run(
    circuit: &mut Circuit,
    database: &Database,
    batch: &[RecordBatch],
    manner: Manner,
) -> Result<RecordBatch, String> {
    let Some(info) = circuit.views().last().cloned() else { return Err("no view".to_owned()) };
    let text = |error: syncline_change::Error| format!("{error}: {:?}", error.detail_text());
    let empty = || Content::new(info.schema.clone(), info.order.clone()).map_err(text);
    let (mut content, mut expected) = (empty()?, empty()?);
    for rows in batch {
        // Names differ where columns had to be renamed.
        let rows = RecordBatch::try_new(info.schema.clone(), rows.columns().to_vec());
        let rows = canonical(rows.map_err(|error| error.to_string())?).map_err(text)?;
        expected.apply(&Batch::inserts(rows)).map_err(text)?;
    }
    let mut rejected = Vec::new();
    for (number, epoch) in epochs(database, manner).iter().enumerate() {
        let input = (0..database.tables.len()).map(|table| input(database, table, epoch));
        let input = input.collect::<Result<Vec<_>, String>>()?;
        let output = circuit.step(number as u64 + 1, 0, input).map_err(text)?;
        for change in output.views.last().into_iter().flatten() {
            content.apply(change).map_err(text)?;
        }
        rejected.extend(output.rejected);
    }
    let (got, expected) = (content.all().map_err(text)?, expected.all().map_err(text)?);
    if same_bits(&got, &expected) {
        return Ok(got);
    }
    let reject = rejected.first().map(|(_, row)| format!("\na row was rejected: {}", row.message));
    Err(format!(
        "the view differs from batch with {manner:?}\ngot\n{}\nexpected\n{}{}",
        show(&got),
        show(&expected),
        reject.unwrap_or_default()
    ))
}

fn input(database: &Database, table: usize, epoch: &[Event]) -> Result<TableInput, String> {
    let schema = database.tables[table].rows.schema();
    let events: Vec<&Event> = epoch.iter().filter(|event| event.table == table).collect();
    let rows = concat_batches(&schema, events.iter().map(|event| &event.row));
    let weights = events.iter().flat_map(|e| std::iter::repeat_n(e.weight, e.row.num_rows()));
    let weights: Int64Array = weights.map(Some).collect();
    let rows = Batch::new(rows.map_err(|error| error.to_string())?, weights);
    let rows = rows.map_err(|error| error.to_string())?;
    Ok(TableInput { table, rows: vec![rows], finished: false })
}

/// The history of the tables, cut at random, with rows that come and go in between if that is
/// wanted. There is always one epoch: views over empty tables may have rows.
fn epochs(database: &Database, manner: Manner) -> Vec<Vec<Event>> {
    let mut random = Random::new(manner.seed);
    let rows: usize = database.history.iter().map(|change| change.rows.num_rows()).sum();
    let mut events = Vec::new();
    for change in &database.history {
        let Some(table) = database.tables.iter().position(|t| t.name == change.table) else {
            continue;
        };
        let size = if rows > ROWS_MAX { change.rows.num_rows().max(1) } else { 1 };
        for start in (0..change.rows.num_rows()).step_by(size) {
            let row = change.rows.slice(start, size.min(change.rows.num_rows() - start));
            events.push(Event { table, row, weight: change.weight });
        }
    }
    if manner.noise && rows <= ROWS_MAX {
        events = with_noise(&mut random, events);
    }
    let mut epochs = vec![vec![]];
    for event in events {
        if random.chance(25) {
            epochs.push(vec![]);
        }
        if let Some(last) = epochs.last_mut() {
            last.push(event);
        }
    }
    epochs
}

/// The same events, among them pairs that cancel: a row comes that goes later, or a row that has
/// just come goes and comes back.
fn with_noise(random: &mut Random, events: Vec<Event>) -> Vec<Event> {
    let mut noisy: Vec<Event> = Vec::new();
    // Copies of rows that have come and are to go again.
    let mut extra: Vec<Event> = Vec::new();
    for event in events {
        let copy = |weight| Event { table: event.table, row: event.row.clone(), weight };
        match random.below(10) {
            0 => {
                noisy.push(copy(1));
                extra.push(copy(-1));
            }
            1 if event.weight > 0 => noisy.extend([copy(1), copy(-1)]),
            2 if !extra.is_empty() => noisy.push(extra.swap_remove(random.below(extra.len()))),
            _ => {}
        }
        noisy.push(event);
    }
    noisy.extend(extra);
    noisy
}
