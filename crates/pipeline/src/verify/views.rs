//! The contents of views against the digests in a checkpoint, and against each other.

use std::collections::BTreeMap;

use syncline_change::digest::SetDigest;
use syncline_change::{Error, Result};
use syncline_engine::{Circuit, Computed, Emit, RowTotal, ViewDef, Wanted};
use syncline_store::checkpoints::Checkpoint;

use super::Run;
use super::divergence::first_disagreement;
use super::report::{Mismatch, Report, ViewCheck};
use crate::file::LoadError;
use crate::past::{Keep, Past, Replayed, Tables};
use crate::prepare::{Prepared, alert_of};
use crate::runtime::Recorded;

/// Views whose SQL means something else than when the pipeline ran.
pub(super) fn plan_mismatches(prepared: &Prepared, past: &Past<'_>) -> Result<Vec<Mismatch>> {
    let recorded = Recorded::read(past.dir())?;
    let differing = prepared.lock.views.iter().filter(|(view, plan)| {
        recorded.plan(view).is_some_and(|before| before != Recorded::plan_of(plan))
    });
    let mismatches = differing.map(|(view, _)| {
        let message = "its SQL means something else than when it ran: this is another pipeline, or another version of Syncline";
        Mismatch::new(&format!("view {view}"), None, message)
    });
    Ok(mismatches.collect())
}

/// Whether there are views that no checkpoint has the state digest of: then nothing but the changes of all
/// epochs says what they held.
pub(super) fn lack_digests(prepared: &Prepared, checkpoint: Option<&Checkpoint>) -> bool {
    let Some(checkpoint) = checkpoint else { return true };
    let has = |view: &ViewDef| {
        checkpoint.views.get(&view.name).is_some_and(|state| state.digest.is_some())
    };
    !prepared.views.iter().all(has)
}

/// The time of an epoch, how far event time had come, and what the circuit has that is not kept as rows.
pub(super) struct Moment {
    pub(super) time_us: i64,
    by_table: Vec<i64>,
    /// Whether rows came from a source that had ended.
    pub(super) has_gone_on: bool,
    /// Tables that each view reads.
    tables: BTreeMap<String, Vec<usize>>,
    totals: BTreeMap<String, RowTotal>,
}

impl Moment {
    pub(super) fn of(prepared: &Prepared, state: &Replayed, has_gone_on: bool) -> Self {
        let tables = 0..prepared.tables.len();
        let watermark = |table| state.circuit().watermark(table).unwrap_or(i64::MIN);
        Self {
            time_us: state.time_us,
            by_table: tables.map(watermark).collect(),
            has_gone_on,
            tables: tables_of(state.circuit()),
            totals: state
                .accounts()
                .filter_map(|(name, account)| Some((name.to_owned(), account.total()?)))
                .collect(),
        }
    }

    pub(super) fn watermark(&self, view: &str) -> i64 {
        let tables = self.tables.get(view);
        let watermarks = tables.into_iter().flatten().map(|&table| self.by_table[table]);
        watermarks.min().unwrap_or(i64::MAX)
    }
}

fn tables_of(circuit: &Circuit) -> BTreeMap<String, Vec<usize>> {
    let views = circuit.views().iter();
    views.map(|view| (view.name.clone(), view.tables.clone())).collect()
}

/// What the circuit holds, computed again, against the checkpoint.
pub(super) fn check_replayed(
    run: &Run<'_>,
    state: &Replayed,
    report: &mut Report,
) -> Result<(), LoadError> {
    if !run.replays {
        return Ok(());
    }
    for (name, account) in state.accounts().filter(|(name, _)| !run.past.is_left_out(name)) {
        let mut check = ViewCheck {
            view: name.to_owned(),
            rows: account.total().unwrap_or_default().rows(),
            digest: None,
            is_recorded: false,
            by_batch: false,
            by_replay: true,
            sampled: None,
        };
        if let Some(content) = account.rows() {
            let digest = content.digest_by(run.pool.as_ref(), name)?.hex();
            let recorded = recorded_digest(run, name);
            if recorded.is_some_and(|recorded| recorded != digest) {
                let message = "the checkpoint has another digest than what its changes add up to";
                let what = format!("view {name}");
                report.mismatches.push(Mismatch::new(&what, Some(run.epoch), message));
                continue;
            }
            check.rows = content.len() as u64;
            check.digest = Some(digest);
            check.is_recorded = recorded.is_some();
        }
        report.views.push(check);
    }
    Ok(())
}

fn recorded_digest<'a>(run: &Run<'a>, view: &str) -> Option<&'a str> {
    let checkpoint = run.checkpoint?;
    checkpoint.views.get(view)?.digest.as_deref()
}

/// What the batch engine computes against the checkpoint, or else against what the circuit holds.
pub(super) fn check_batch(
    run: &Run<'_>,
    tables: &Tables,
    mut moment: Moment,
    report: &mut Report,
) -> Result<(), LoadError> {
    if !run.replays {
        // The circuit of the tables alone does not know what views read.
        moment.tables = tables_of(&run.prepared.circuit(None)?);
    }
    let engine = run.prepared.batch_engine()?.with_pool(run.pool.clone());
    let watermark = |view: &str| moment.watermark(view);
    let wanted = |view: &str| match moment.totals.contains_key(view) {
        true => Wanted::Total,
        false => Wanted::Digest,
    };
    let computed = engine.answer_each(&tables.contents()?, moment.time_us, watermark, wanted)?;
    for (name, computed) in computed.into_iter().filter(|(name, _)| !run.past.is_left_out(name)) {
        match computed {
            Ok(computed) => match goes_by_history(run.prepared, &name, moment.has_gone_on) {
                Some(why) => skip(&name, why, report),
                None => check_view(run, &name, &computed, moment.totals.get(&name), report)?,
            },
            Err(error) => skip(&name, &error.to_string(), report),
        }
    }
    Ok(())
}

/// The batch engine has nothing to say about a view.
pub(super) fn skip(name: &str, why: &str, report: &mut Report) {
    let is_replayed = report.views.iter().any(|check| check.view == name);
    let by = if is_replayed { "only by the circuit" } else { "at all (--replay would)" };
    report
        .unchecked
        .push(format!("view {}, by the batch engine: {why}; it was checked {by}", shown(name)));
}

/// Whether a mismatch of the view was found before.
pub(super) fn is_known_to_differ(name: &str, report: &Report) -> bool {
    let what = format!("view {name}");
    report.mismatches.iter().any(|mismatch| mismatch.what == what)
}

fn check_view(
    run: &Run<'_>,
    name: &str,
    computed: &Computed,
    replayed: Option<&RowTotal>,
    report: &mut Report,
) -> Result<(), LoadError> {
    if is_known_to_differ(name, report) {
        return Ok(());
    }
    let check = report.views.iter_mut().find(|check| check.view == name);
    match (computed, check) {
        (Computed::Total(total), Some(check)) => check.by_batch = Some(total) == replayed,
        (Computed::Digest { digest, .. }, Some(check)) => {
            check.by_batch = check.digest == Some(digest.hex());
        }
        (Computed::Digest { digest, rows }, None) => match recorded_digest(run, name) {
            Some(recorded) if recorded == digest.hex() => report.views.push(ViewCheck {
                view: name.to_owned(),
                rows: *rows,
                digest: Some(digest.hex()),
                is_recorded: true,
                by_batch: true,
                by_replay: false,
                sampled: None,
            }),
            Some(_) => report.mismatches.push(diverged(run, name, digest)?),
            // A mismatch was found before the circuit had anything to compare with.
            None => report.unchecked.push(format!("view {}", shown(name))),
        },
        (Computed::Total(_) | Computed::Rows(_), _) => {
            return Err(Error::bug(format!("view `{name}` was computed and not compared")).into());
        }
    }
    let check = report.views.iter().find(|check| check.view == name);
    if check.is_some_and(|check| !check.by_batch) {
        report.views.retain(|check| check.view != name);
        report.mismatches.push(first_disagreement(run, name)?);
    }
    Ok(())
}

/// The content is not the recorded one: says where the run and the circuit part, or else which rows
/// the circuit and the batch engine disagree about.
fn diverged(run: &Run<'_>, name: &str, digest: &SetDigest) -> Result<Mismatch, LoadError> {
    let mut state = Replayed::new(run.prepared, run.circuit_views, run.pool.clone(), |view| {
        Keep::rows_if(view == name)
    })?;
    let again = Run { checkpoint: None, replays: true, pool: run.pool.clone(), ..*run };
    let mut comparison = super::journal::Comparison::new(&again, state.circuit())?;
    for input in run.past.inputs(Some(run.epoch))? {
        let input = input?;
        let summary = super::journal::Summary::of(&input);
        let output = state.step(run.prepared, input)?;
        if let Some(mismatch) = comparison.compare(&summary, Some(&output))? {
            return Ok(mismatch);
        }
    }
    let replayed = state.content(name).ok_or_else(|| Error::bug("a view was not replayed"))?;
    if replayed.digest(name)? == *digest {
        let message = "the checkpoint has another digest than what the view holds, by the circuit and by the batch engine";
        return Ok(Mismatch::new(&format!("view {name}"), Some(run.epoch), message));
    }
    first_disagreement(run, name)
}

/// Why what a view shows does not follow from rows alone: it depends on when sources were waited for no
/// more. `None`: it does.
pub(super) fn goes_by_history(
    prepared: &Prepared,
    name: &str,
    has_gone_on: bool,
) -> Option<&'static str> {
    let view = prepared.views.iter().find(|view| view.name == name);
    let is_idle = |table: &syncline_engine::TableDef| {
        table.event_time.as_ref().is_some_and(|time| time.idle_us.is_some())
    };
    view.filter(|view| view.emit == Emit::Final)?;
    if prepared.tables.iter().any(is_idle) {
        return Some("it depends on when sources were idle");
    }
    has_gone_on.then_some("it depends on when a source had ended, which has gone on")
}

/// A view by the name that people know it by.
pub(super) fn shown(name: &str) -> String {
    match alert_of(name) {
        Some(alert) => format!("of alert {alert}"),
        None => name.to_owned(),
    }
}
