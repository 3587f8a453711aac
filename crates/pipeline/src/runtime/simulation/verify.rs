//! Holds what a simulated pipeline left against the batch answer over its journal, and the journal
//! against what the sources gave.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use syncline_change::Batch;
use syncline_engine::{Content, TableInput};
use syncline_store::dead_letters::{DeadLetter, DeadLetters, Filter, Stage, State};
use syncline_store::journal::{self, EpochInput};
use syncline_store::{DataDir, epochs};

use super::World;
use super::process::Process;

/// What is left in the end that does not depend on where epochs were cut (the sinks' content, the
/// kept view's, and the dead letters), and the answer that it was held against: `known`, or one that is
/// computed from the journal.
pub(super) fn verify(world: &World, known: Option<Arc<Answer>>) -> (Vec<String>, Arc<Answer>) {
    world.disk.restart();
    world.processes.set(usize::MAX);
    // A start after all of it replays, compares with the epoch log, and finds nothing more to do.
    let mut last = Process::start(world).unwrap();
    last.run().unwrap();
    let shared = last.shared.clone();
    let view = |name: &str| shared.read(name, |_, content| text(content)).unwrap();
    let kept = view("totals");
    drop((last, shared));

    let dir = DataDir::open_read(world.data()).unwrap();
    let inputs: Vec<EpochInput> = journal::replay(&dir, 1).unwrap().map(Result::unwrap).collect();
    let count = inputs.len() as u64;
    assert_eq!(epochs::records(&dir).unwrap().unwrap().map(Result::unwrap).count() as u64, count);
    check_input(world, &inputs);

    let answer = known.unwrap_or_else(|| Arc::new(Answer::of(world, &inputs)));
    let views = |name: &str| answer.views.iter().find(|(view, _)| view == name).unwrap().1.clone();
    assert_eq!(kept, views("totals"));
    let snapshot = world.targets["totals_now"].lock().unwrap().snapshot.clone().unwrap();
    assert_eq!(shown(&snapshot.rows), views("totals"), "the snapshot");
    let priced = folded(world, "priced_log", count);
    let read = &world.prepared().pipeline.spec.sinks["priced_log"].common().from;
    assert_eq!(priced, views(read));
    let stock = folded(world, "stock_log", count);
    assert_eq!(stock, answer.stock);

    let letters = letters(&dir);
    check_letters(world, &letters, &inputs, &answer);
    let letters = letters.iter().map(|l| format!("{} {:?}", l.id, l.state)).collect::<Vec<_>>();
    (vec![kept, priced, stock, letters.join("\n")], answer)
}

fn text(content: &Content) -> syncline_change::Result<String> {
    Ok(shown(&content.batches()?))
}

fn shown(rows: &[RecordBatch]) -> String {
    pretty_format_batches(rows).unwrap().to_string()
}

/// Every row of every source is in the journal once, in its order.
fn check_input(world: &World, inputs: &[EpochInput]) {
    for (epoch, input) in (1..).zip(inputs) {
        assert_eq!(input.epoch, epoch);
    }
    assert!(inputs.is_sorted_by_key(|input| input.time_us), "time went back");
    for (number, table) in world.prepared().tables.iter().enumerate() {
        let parts = inputs.iter().flat_map(|input| &input.inputs);
        let parts = parts.filter(|part| part.source == table.name);
        let found = rows(parts.flat_map(|part| part.rows.iter()));
        let given = rows(world.input[number].iter().map(|chunk| &chunk.rows));
        // Mended rows come on top, which only these tables can tell apart.
        let own: Vec<_> = found.iter().filter(|row| given.contains(row)).cloned().collect();
        if number == 0 {
            let mut seen = BTreeSet::new();
            let first: Vec<_> = own.into_iter().filter(|row| seen.insert(row.clone())).collect();
            assert_eq!(first, given, "`{}`", table.name);
        } else {
            assert_eq!(own, given, "`{}`", table.name);
        }
    }
}

/// A line for each row.
fn rows<'a>(batches: impl Iterator<Item = &'a Batch>) -> Vec<String> {
    let lines = batches.filter(|batch| !batch.is_empty()).flat_map(|batch| {
        let table = shown(std::slice::from_ref(batch.rows()));
        let lines: Vec<String> = table.lines().skip(3).map(cells).collect();
        lines.into_iter().take(batch.num_rows())
    });
    lines.collect()
}

fn cells(line: &str) -> String {
    line.split('|').map(str::trim).collect::<Vec<_>>().join("|")
}

/// What a changes sink holds, which must be every epoch once.
fn folded(world: &World, sink: &str, count: u64) -> String {
    let target = world.targets[sink].lock().unwrap();
    let epochs: Vec<u64> = target.epochs.iter().map(|epoch| epoch.epoch).collect();
    assert_eq!(epochs, (1..=count).collect::<Vec<_>>(), "the epochs of {sink}");
    let changes: Vec<&Batch> = target.epochs.iter().flat_map(|epoch| &epoch.changes).collect();
    let Some(first) = changes.first() else { return shown(&[]) };
    let mut content = Content::new(first.schema(), vec![]).unwrap();
    changes.iter().for_each(|change| content.apply(change).unwrap());
    text(&content).unwrap()
}

/// What the whole input comes to at once.
pub(super) struct Answer {
    views: Vec<(String, String)>,
    stock: String,
    /// The bytes of rows that are late.
    late: Vec<Vec<u8>>,
}

impl Answer {
    fn of(world: &World, inputs: &[EpochInput]) -> Self {
        let tables = &world.prepared().tables;
        let mut circuit = world.prepared().circuit(None).unwrap();
        let parts = || inputs.iter().flat_map(|input| &input.inputs);
        let of = |name: &str| {
            let parts = parts().filter(|part| part.source == name);
            parts.flat_map(|part| part.rows.clone()).collect()
        };
        let all = tables.iter().enumerate().map(|(table, def)| TableInput {
            table,
            rows: of(&def.name),
            finished: false,
        });
        let time_us = inputs.last().unwrap().time_us;
        let output = circuit.step(1, time_us, all.collect()).unwrap();
        let mut contents = Vec::new();
        for (table, changes) in tables.iter().zip(&output.tables) {
            let mut content = Content::new(table.schema.clone(), vec![]).unwrap();
            changes.iter().for_each(|change| content.apply(change).unwrap());
            contents.push((table.name.clone(), content.batches().unwrap()));
        }
        let stock = shown(&contents[1].1);
        let views = world.plan().batch.compute(&contents, time_us, |_| i64::MAX).unwrap();
        let views = views.into_iter().map(|(name, content)| (name, text(&content).unwrap()));
        let mut late: Vec<_> = output.rejected.into_iter().map(|(_, r)| r.bytes).collect();
        late.sort();
        Self { views: views.collect(), stock, late }
    }
}

fn letters(dir: &DataDir) -> Vec<DeadLetter> {
    let letters = DeadLetters::open_read(dir).unwrap();
    let (_, mut letters) = letters.list(&Filter::default(), 0, usize::MAX).unwrap();
    letters.sort_by_key(|letter| (letter.stage, letter.epoch, letter.id.len(), letter.id.clone()));
    letters
}

/// What a source or a view turned away is a letter, once; one is retried if the journal says so.
fn check_letters(world: &World, letters: &[DeadLetter], inputs: &[EpochInput], answer: &Answer) {
    let at = |stage| letters.iter().filter(move |letter| letter.stage == stage);
    let found: Vec<&str> = at(Stage::Source).map(|l| l.rejected.position.as_str()).collect();
    let given = world.input.iter().flatten().flat_map(|chunk| &chunk.rejected);
    assert_eq!(found, given.map(|r| r.position.as_str()).collect::<Vec<_>>());
    let mut late: Vec<_> = at(Stage::View).map(|l| l.rejected.bytes.clone()).collect();
    late.sort();
    assert_eq!(late, answer.late, "late rows");

    let parts = inputs.iter().flat_map(|input| &input.inputs);
    let journalled: Vec<&String> = parts.flat_map(|part| &part.retried).collect();
    let retried: BTreeSet<&String> = journalled.iter().copied().collect();
    assert_eq!(retried.len(), journalled.len(), "a letter was retried twice: {journalled:?}");
    for letter in letters {
        let expected = if retried.contains(&letter.id) { State::Retried } else { State::Open };
        assert_eq!(letter.state, expected, "{}", letter.id);
    }
    let requests = world.data().join("dead-letters/retry");
    let left: Vec<_> = std::fs::read_dir(requests).unwrap().map(|e| e.unwrap().path()).collect();
    let left: Vec<_> = left.iter().filter(|path| path.extension().unwrap() == "json").collect();
    assert!(left.is_empty(), "{left:?}");
}
