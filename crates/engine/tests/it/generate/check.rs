//! Runs views over a story and holds every epoch against the batch engine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use syncline_change::Batch;
use syncline_change::row::canonical;
use syncline_engine::{
    BatchEngine, Circuit, Content, Emit, Options, TableContent, TableDef, TableInput, ViewDef,
};

use super::queries::Relation;
use super::tables::{Event, Story, Table};
use crate::rig::{Saved, assert_unique, check_claims, check_explained, same_bits, show};

/// Tables, views over them, and what happens.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) tables: Vec<Table>,
    /// By their names `v0`, `v1`, ..
    pub(super) views: Vec<Relation>,
    pub(super) story: Story,
    /// With how many workers a second circuit runs.
    pub(super) workers: usize,
    /// Where a third circuit cuts the story: a bit for each change, used in turn.
    pub(super) cuts: u64,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Right,
    /// It cannot be judged: the SQL cannot be planned, or an expression fails.
    Skipped(String),
    Wrong(String),
}

type Checked<T> = Result<T, Outcome>;

fn wrong<T>(message: impl Into<String>) -> Checked<T> {
    Err(Outcome::Wrong(message.into()))
}

/// Thread pools of 2, 4 and 8 workers, shared by all cases.
static POOLS: LazyLock<Vec<Arc<rayon::ThreadPool>>> = LazyLock::new(|| {
    let pool = |n| Arc::new(rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap());
    [2, 4, 8].map(pool).into()
});

fn pool(workers: usize) -> Option<Arc<rayon::ThreadPool>> {
    POOLS.iter().find(|pool| pool.current_num_threads() == workers).cloned()
}

pub(super) fn check(case: &Case) -> Outcome {
    let checked = catch_unwind(AssertUnwindSafe(|| check_all(case)));
    match checked {
        Ok(Ok(())) => Outcome::Right,
        Ok(Err(outcome)) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Outcome::Wrong(format!("panic: {}", text.unwrap_or_default()))
        }
    }
}

fn check_all(case: &Case) -> Checked<()> {
    let first = run(case, &case.story, (1, 0), true)?;
    // The second one goes on from saved state, once at least.
    let restarts = 1 << (case.cuts % case.story.len().max(1) as u64) | case.cuts & case.cuts >> 7;
    let other = run(case, &case.story, (case.workers, restarts), false)?;
    for (number, (a, b)) in first.stream.iter().zip(&other.stream).enumerate() {
        if !same_stream(a, b) {
            return wrong(format!(
                "epoch {} has other changes with {} workers and restarts {restarts:b}: {a:?}\n{b:?}",
                number + 1,
                case.workers
            ));
        }
    }
    if case.views.iter().any(|view| view.sql.contains("now()")) {
        // Where epochs are cut decides what time it is.
        return Ok(());
    }
    let cut = run(case, &recut(&case.story, case.cuts), (1, 0), false)?;
    for (view, (a, b)) in first.contents.iter().zip(&cut.contents).enumerate() {
        let (a, b) = (a.all().unwrap(), b.all().unwrap());
        if !same_bits(&a, &b) {
            return wrong(format!(
                "v{view} depends on where epochs are cut ({:b})\ngot\n{}\nwith other cuts\n{}",
                case.cuts,
                show(&a),
                show(&b)
            ));
        }
    }
    Ok(())
}

/// The same changes in other epochs.
fn recut(story: &Story, cuts: u64) -> Story {
    let mut epochs: Vec<Vec<Event>> = vec![vec![]];
    for (i, event) in story.iter().flatten().enumerate() {
        epochs.last_mut().unwrap().push(event.clone());
        if cuts >> (i % 64) & 1 == 1 {
            epochs.push(vec![]);
        }
    }
    epochs
}

/// What a circuit put out: the changes of every epoch and view, and the views in the end.
struct Ran {
    stream: Vec<Vec<Vec<Batch>>>,
    contents: Vec<Content>,
}

fn same_stream(a: &[Vec<Batch>], b: &[Vec<Batch>]) -> bool {
    let same = |a: &Batch, b: &Batch| a.rows() == b.rows() && a.weights() == b.weights();
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)))
}

/// The operators that the views of a case become.
pub(super) fn operators(case: &Case) -> String {
    let options = Options { pool: None, stopwatch: || 0, seed: 0 };
    match Circuit::new(tables(case), &views(case), options) {
        Ok(circuit) => {
            let nodes = circuit.graph().nodes.into_iter();
            nodes.map(|node| format!("  {}: {}\n", node.label, node.detail)).collect()
        }
        Err(errors) => format!("{errors:?}"),
    }
}

fn tables(case: &Case) -> Vec<TableDef> {
    case.tables.iter().map(Table::def).collect()
}

fn views(case: &Case) -> Vec<ViewDef> {
    let views = case.views.iter().enumerate().map(|(i, view)| ViewDef {
        name: format!("v{i}"),
        sql: view.select(),
        emit: Emit::Changes,
    });
    views.collect()
}

fn run(
    case: &Case,
    story: &Story,
    (workers, restarts): (usize, u64),
    compare: bool,
) -> Checked<Ran> {
    let (tables, views) = (tables(case), views(case));
    let make = || {
        let options = Options { pool: pool(workers), stopwatch: || 0, seed: 0 };
        Circuit::new(tables.clone(), &views, options)
    };
    let mut circuit =
        make().map_err(|errors| Outcome::Skipped(format!("not planned: {}", errors[0].message)))?;
    let mut saved = Saved::new(restarts);
    saved.begin(&mut circuit);
    let batch = match compare {
        true => Some(BatchEngine::new(&tables, &views, 0).unwrap()),
        false => None,
    };
    let infos = circuit.views().to_vec();
    let empty = |schema| Content::new(schema, vec![]).unwrap();
    let mut contents: Vec<Content> = infos
        .iter()
        .map(|info| Content::new(info.schema.clone(), info.order.clone()).unwrap())
        .collect();
    let mut held: Vec<Content> = case.tables.iter().map(|table| empty(table.schema())).collect();
    let mut stream = Vec::new();
    for (number, epoch) in story.iter().enumerate() {
        let number = number as u64 + 1;
        let input = case.tables.iter().enumerate().map(|(i, table)| {
            let changes = table.changes(i, epoch);
            let rows = changes.with_rows(canonical(changes.rows().clone()).unwrap());
            TableInput { table: i, rows: vec![rows], finished: false }
        });
        let output = match circuit.step(number, number as i64, input.collect()) {
            Ok(output) => output,
            Err(error) => {
                return wrong(format!("epoch {number}: {error}: {:?}", error.detail_text()));
            }
        };
        for (held, changes) in held.iter_mut().zip(&output.tables) {
            changes.iter().for_each(|change| held.apply(change).unwrap());
        }
        for ((content, info), changes) in contents.iter_mut().zip(&infos).zip(&output.views) {
            for change in changes {
                if let Err(error) = content.apply(change) {
                    return wrong(format!("epoch {number}, {}: {error}", info.name));
                }
            }
            if let Some(key) = &info.key {
                assert_unique(content, key, &info.name);
            }
        }
        if let Some(batch) = &batch {
            compare_with_batch(case, batch, number, &held, &contents)?;
        }
        if let Some((view, rejected)) = output.rejected.first() {
            return wrong(format!("epoch {number}: {view} rejects a row: {}", rejected.message));
        }
        stream.push(output.views);
        saved.save(&mut circuit, number, || make().unwrap());
    }
    if let Some(batch) = &batch {
        explain(case, batch, story.len() as i64, &held, &contents)?;
    }
    Ok(Ran { stream, contents })
}

/// Explains a row of every view.
fn explain(
    case: &Case,
    batch: &BatchEngine,
    time_us: i64,
    held: &[Content],
    contents: &[Content],
) -> Checked<()> {
    let tables = table_contents(case, held);
    for (view, content) in contents.iter().enumerate() {
        let (name, rows) = (format!("v{view}"), content.all().unwrap());
        // Cuts are random, and so is which row they pick.
        let pick = (case.cuts >> 8) as usize;
        let explained = check_claims(batch, &tables, (time_us, i64::MAX), &name, &rows, pick)
            .and_then(|()| {
                check_explained(batch, &tables, (time_us, i64::MAX), &name, &rows, pick)
            });
        if let Err(message) = explained {
            return wrong(format!("{name}: {message}"));
        }
    }
    Ok(())
}

fn table_contents(case: &Case, held: &[Content]) -> Vec<TableContent> {
    let names = case.tables.iter().map(|table| table.name.clone());
    names.zip(held).map(|(name, held)| (name, held.batches().unwrap())).collect()
}

fn compare_with_batch(
    case: &Case,
    batch: &BatchEngine,
    number: u64,
    held: &[Content],
    contents: &[Content],
) -> Checked<()> {
    let tables = table_contents(case, held);
    let expected = match batch.compute(&tables, number as i64, |_| i64::MAX) {
        Ok(expected) => expected,
        Err(error) if error.kind() == syncline_change::ErrorKind::Input => {
            let detail = error.detail_text().unwrap_or(error.message()).to_owned();
            return Err(Outcome::Skipped(format!("batch fails: {detail}")));
        }
        Err(error) => return wrong(format!("batch fails: {error}: {:?}", error.detail_text())),
    };
    for (view, content) in contents.iter().enumerate() {
        let name = format!("v{view}");
        let Some((_, expect)) = expected.iter().find(|(other, _)| *other == name) else {
            return wrong(format!("the batch engine has no {name}"));
        };
        let (got, expect) = (content.all().unwrap(), expect.all().unwrap());
        if !same_bits(&got, &expect) {
            return wrong(format!(
                "{name} after epoch {number}\ngot\n{}\nexpected\n{}",
                show(&got),
                show(&expect)
            ));
        }
    }
    Ok(())
}
