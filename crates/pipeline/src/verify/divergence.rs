//! Where two accounts of a view part, and in which rows.

use syncline_change::{Batch, Error, Result, json};
use syncline_engine::Content;

use super::Run;
use super::report::Mismatch;
use super::views::Moment;
use crate::file::LoadError;
use crate::past::{Keep, Replayed, Tables};

/// Rows that are shown of each kind.
const SHOWN_MAX: usize = 5;

/// Finds, by halving, the first epoch after which the circuit and the batch engine disagree about a
/// view, and the rows that they disagree about.
pub(super) fn first_disagreement(run: &Run<'_>, view: &str) -> Result<Mismatch, LoadError> {
    let (mut agree, mut disagree) = (0, run.epoch);
    let mut rows = disagreement(run, view, disagree)?;
    while disagree - agree > 1 {
        let middle = agree + (disagree - agree) / 2;
        let found = disagreement(run, view, middle)?;
        if found.is_empty() {
            agree = middle;
        } else {
            (disagree, rows) = (middle, found);
        }
    }
    let message = "the circuit and the batch engine disagree about the same input: this is a defect of Syncline, please report it";
    let mut mismatch = Mismatch::new(&format!("view {view}"), Some(disagree), message);
    mismatch.rows = rows;
    Ok(mismatch)
}

/// The rows that the two disagree about at the end of an epoch; none if they agree.
fn disagreement(run: &Run<'_>, view: &str, epoch: u64) -> Result<Vec<String>, LoadError> {
    let mut state = Replayed::new(run.prepared, run.circuit_views, run.pool.clone(), |name| {
        Keep::rows_if(name == view)
    })?;
    let mut tables = Tables::new(run.prepared);
    for input in run.past.inputs(Some(epoch))? {
        let output = state.step(run.prepared, input?)?;
        tables.apply(&output)?;
    }
    let moment = Moment::of(run.prepared, &state, false);
    let engine = run.prepared.batch_engine()?;
    let watermark = |view: &str| moment.watermark(view);
    let computed = engine.compute_each(&tables.contents()?, moment.time_us, watermark)?;
    let batch = computed.into_iter().find(|(name, _)| name == view);
    let (_, batch) = batch.ok_or_else(|| Error::bug("a view was not computed"))?;
    let circuit = state.content(view).ok_or_else(|| Error::bug("a view was not replayed"))?;
    Ok(shown_difference(circuit, &batch?)?)
}

/// The first rows that are only in one of two contents.
pub(super) fn shown_difference(circuit: &Content, batch: &Content) -> Result<Vec<String>> {
    let mut shown = Vec::new();
    for (ours, theirs, by) in [(circuit, batch, "circuit"), (batch, circuit, "batch engine")] {
        let (rows, total) = ours.only_here(theirs, SHOWN_MAX)?;
        for row in json::arrays(&rows)? {
            shown.push(format!("only by the {by}: {row}"));
        }
        if total > SHOWN_MAX {
            shown.push(format!("and {} more only by the {by}", total - SHOWN_MAX));
        }
    }
    Ok(shown)
}

/// The first rows of an epoch's changes.
pub(super) fn shown_changes(changes: &[Batch]) -> Result<Vec<String>> {
    let mut shown = Vec::new();
    let total: usize = changes.iter().map(Batch::num_rows).sum();
    for change in changes {
        let rows = json::arrays(&change.rows().slice(0, change.num_rows().min(SHOWN_MAX)))?;
        for (number, row) in rows.into_iter().enumerate() {
            shown.push(format!("computed again: {:+} {row}", change.weight(number)));
        }
    }
    shown.truncate(SHOWN_MAX);
    if total > SHOWN_MAX {
        shown.push(format!("and {} more", total - SHOWN_MAX));
    }
    Ok(shown)
}
