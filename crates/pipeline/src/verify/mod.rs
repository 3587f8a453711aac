//! Checks that what a pipeline recorded of its run follows from its journal.
//!
//! Three things are held against each other: what the run wrote down (the epoch log, a checkpoint),
//! what the circuit gives of the same journal again, and what the batch engine computes from the same
//! rows without a circuit. [`report`] says what was compared, what differed, and what nobody looked at.
//!
//! In the order of the work: `journal` (input against epoch log), `views` (contents against digests),
//! `sample` (some rows of them, where all would take too long), `sinks` (targets against contents), `slice`
//! (what a few epochs stand on), `manifest` (what was signed against all of it), `divergence` (where and in
//! which rows, once something differs).

mod divergence;
mod journal;
mod manifest;
pub mod report;
mod sample;
mod sinks;
mod slice;
mod views;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use syncline_change::{Error, ErrorKind, Result};
use syncline_engine::ViewDef;
use syncline_store::PublicKey;
use syncline_store::checkpoints::{self, Checkpoint};

use crate::file::LoadError;
use crate::past::{Ahead, Keep, Past, Replayed, Tables};
use crate::prepare::Prepared;
use journal::Comparison;
use manifest::Claims;
use report::{Mismatch, Report};
use sample::Chosen;
pub use sample::Sample;

/// What is to be verified.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The views at the end of this epoch, in place of the last checkpoint's.
    pub at: Option<u64>,
    /// Computes every epoch again, and compares its changes.
    pub replay: bool,
    /// The batch engine computes some rows of each view, not all of them; every epoch is computed again.
    pub sample: Option<Sample>,
    /// Reads the targets of sinks, and compares them with their views.
    pub sinks: bool,
    /// The run goes on: nothing is said of epochs after the one that is verified.
    pub goes_on: bool,
    /// Threads that compute; one, if nothing is said.
    pub workers: Option<usize>,
    /// The last manifest must be signed with it.
    pub key: Option<PublicKey>,
}

/// Verifies the run in `data_dir`, which may be going on. `progress` is told of epochs that are done.
///
/// # Errors
/// What keeps it from being looked at at all; what is wrong with the run is in the report.
pub fn verify(
    prepared: &Prepared,
    data_dir: &Path,
    options: &Options,
    progress: &dyn Fn(u64),
) -> Result<Report, LoadError> {
    verify_with(prepared, &prepared.views, data_dir, options, progress)
}

/// Verifies the slice of a run in `folder`, as a whole and epoch by epoch.
///
/// # Errors
/// `Config` if `options` ask for what a slice does not have; what keeps it from being looked at at all.
pub fn verify_slice(
    prepared: &Prepared,
    folder: &Path,
    options: &Options,
    progress: &dyn Fn(u64),
) -> Result<Report, LoadError> {
    slice::check_options(options)?;
    let mut report = Report::new(&prepared.pipeline.spec.name);
    match Past::open_slice(prepared, folder) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            report.mismatches.push(Mismatch::of_error("the slice", None, &error));
        }
        opened => {
            let past = opened?;
            let at = Some(past.recorded());
            let options = Options { at, replay: true, ..options.clone() };
            verify_past(prepared, &prepared.views, &past, &options, progress, &mut report)?;
        }
    }
    Ok(report)
}

/// As [`verify`]; the circuit computes `circuit_views`, which tests let differ from the views.
fn verify_with(
    prepared: &Prepared,
    circuit_views: &[ViewDef],
    data_dir: &Path,
    options: &Options,
    progress: &dyn Fn(u64),
) -> Result<Report, LoadError> {
    let mut report = Report::new(&prepared.pipeline.spec.name);
    match Past::open(prepared, data_dir) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            report.mismatches.extend(lock_mismatch(prepared));
            report.mismatches.push(Mismatch::of_error("the epoch log", None, &error));
        }
        opened => verify_past(prepared, circuit_views, &opened?, options, progress, &mut report)?,
    }
    Ok(report)
}

fn verify_past(
    prepared: &Prepared,
    circuit_views: &[ViewDef],
    past: &Past<'_>,
    options: &Options,
    progress: &dyn Fn(u64),
    report: &mut Report,
) -> Result<(), LoadError> {
    report.mismatches.extend(lock_mismatch(prepared));
    report.mismatches.extend(views::plan_mismatches(prepared, past)?);
    if past.recorded() == 0 {
        report.unchecked.push("everything: nothing has run here yet".to_owned());
        return Ok(());
    }
    let checkpoint = checkpoint(past, options, report)?;
    let epoch = options.at.or(checkpoint.as_ref().map(|c| c.epoch)).unwrap_or(past.recorded());
    if epoch > past.recorded() {
        return Err(Error::config(format!("there is no epoch {epoch} yet"))
            .detail(format!("the last recorded epoch is {}", past.recorded()))
            .into());
    }
    if let Some(oldest) = past.oldest() {
        check_oldest(oldest, epoch, options)?;
    }
    report.epoch = epoch;
    report.sample = options.sample;
    let replays = options.replay
        || options.sample.is_some()
        || options.sinks
        || past.oldest().is_some()
        || views::lack_digests(prepared, checkpoint.as_ref()) && report.mismatches.is_empty();
    let checkpoint = checkpoint.as_ref();
    let pool = pool(options)?;
    let run =
        Run { prepared, circuit_views, past, options, checkpoint, epoch, replays, pool, progress };
    run.verify(report)
}

/// A verification under way.
struct Run<'a> {
    prepared: &'a Prepared,
    /// What the circuit computes.
    circuit_views: &'a [ViewDef],
    past: &'a Past<'a>,
    options: &'a Options,
    /// At `epoch`, if there is one.
    checkpoint: Option<&'a Checkpoint>,
    epoch: u64,
    /// Whether the views are computed by the circuit too.
    replays: bool,
    pool: Option<Arc<rayon::ThreadPool>>,
    progress: &'a dyn Fn(u64),
}

impl Run<'_> {
    fn verify(&self, report: &mut Report) -> Result<(), LoadError> {
        slice::begin(self, report)?;
        let mut state = self.state()?;
        if let Some(oldest) = self.past.oldest() {
            let what = format!("the epochs up to {}, whose input was let go", oldest.epoch);
            report.unchecked.push(what);
            if !state.go_on(self.prepared, self.past.dir(), oldest)? {
                let what = "everything else: the state that the journal begins behind is of another pipeline";
                report.unchecked.push(what.to_owned());
                return Ok(());
            }
        }
        let mut tables = Tables::new(self.prepared);
        let mut sinks = match self.options.sinks {
            true => Some(sinks::Sinks::new(self.prepared, self.past, state.circuit(), report)?),
            false => None,
        };
        let mut comparison = Comparison::new(self, state.circuit())?;
        let mut claims = Claims::read(self.past, self.options.key.as_ref(), report)?;
        let last = self.last();
        let (mut at_epoch, mut has_gone_on) = (None, false);
        for input in Ahead::of(self.past.inputs_after(self.past.before(), None)?)? {
            if comparison.epoch() == last {
                if !self.options.goes_on {
                    let what = "what the journal has after the last record of the epoch log";
                    report.notes.push(what.to_owned());
                }
                break;
            }
            let input = match input {
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    let epoch = comparison.epoch() + 1;
                    report.mismatches.push(Mismatch::of_error("the journal", Some(epoch), &error));
                    break;
                }
                input => input?,
            };
            let (epoch, summary) = (input.epoch, journal::Summary::of(&input));
            // Beyond the epoch that is verified, input alone is compared.
            let is_computed = epoch <= self.epoch || sinks.as_ref().is_some_and(|s| s.want(epoch));
            has_gone_on |= epoch <= self.epoch && state.has_ended_for(self.prepared, &input);
            let output = match is_computed {
                true => Some(state.step(self.prepared, input)?),
                false => None,
            };
            if let Some(output) = output.as_ref().filter(|_| epoch <= self.epoch) {
                tables.apply(output)?;
            }
            let output = output.filter(|_| self.replays);
            if let Some(mismatch) = comparison.compare(&summary, output.as_ref())? {
                report.mismatches.push(mismatch);
                break;
            }
            claims.iter_mut().for_each(|claims| claims.note(&comparison));
            if let (Some(sinks), Some(output)) = (&mut sinks, &output) {
                sinks.take(epoch, output, &state)?;
            }
            if self.past.slice().is_some()
                && epoch == self.past.before()
                && !slice::check_base(self, &state, report)?
            {
                break;
            }
            if epoch == self.epoch {
                let chosen = self.options.sample.map(|sample| Chosen::of(&state, sample));
                let moment = views::Moment::of(self.prepared, &state, has_gone_on);
                at_epoch = Some((moment, chosen.transpose()?));
                if let Some(mismatch) = self.root_mismatch(&comparison) {
                    report.mismatches.push(mismatch);
                }
                views::check_replayed(self, &state, report)?;
            }
            (self.progress)(epoch);
        }
        slice::check_anchor(self, &mut comparison, claims.as_mut(), report)?;
        comparison.finish(report);
        match at_epoch {
            Some(_) if self.past.oldest().is_some() => {
                let what = "the views, by the batch engine, which needs all input";
                report.unchecked.push(what.to_owned());
            }
            Some((moment, Some(chosen))) => chosen.check(self, &tables, &moment, report)?,
            Some((moment, None)) => views::check_batch(self, &tables, moment, report)?,
            None => report.unchecked.push(format!("the views at epoch {}", self.epoch)),
        }
        if let Some(claims) = claims {
            claims.finish(self.prepared, report);
        }
        if let Some(sinks) = sinks {
            sinks.finish(self.past, report)?;
        } else if !self.prepared.pipeline.spec.sinks.is_empty() && self.past.slice().is_none() {
            report.notes.push("what is in the targets of sinks (--sinks)".to_owned());
        }
        if self.epoch < last {
            let (from, to) = (self.epoch + 1, last);
            report.notes.push(format!("the views of epochs {from} to {to}, which came later"));
        }
        Ok(())
    }

    /// The last epoch that is spoken of.
    fn last(&self) -> u64 {
        if self.options.goes_on { self.epoch } else { self.past.recorded() }
    }

    /// A circuit of all views, or of the tables alone.
    fn state(&self) -> Result<Replayed, LoadError> {
        let views = if self.replays { self.circuit_views } else { &[] };
        // What is only compared with the batch engine need not be kept as rows.
        let wants_rows = self.options.sinks
            || self.options.sample.is_some()
            || self.past.oldest().is_some()
            || self.past.slice().is_some();
        let keep = |view: &str| match self.checkpoint.and_then(|of| of.views.get(view)) {
            Some(recorded) if recorded.digest.is_none() && !wants_rows => Keep::Sum,
            _ => Keep::Rows,
        };
        Replayed::new(self.prepared, views, self.pool.clone(), keep)
    }

    /// The checkpoint's own account of the input and the epoch log.
    fn root_mismatch(&self, comparison: &Comparison<'_>) -> Option<Mismatch> {
        let checkpoint = self.checkpoint?;
        let said = |what: &str| {
            Mismatch::new(what, Some(self.epoch), "the checkpoint was taken of another one")
        };
        if checkpoint.input != *comparison.input() {
            return Some(said("the input root"));
        }
        (checkpoint.chain != comparison.chain()).then(|| said("the epoch log"))
    }
}

/// Threads to compute by, if more than one is wanted.
fn pool(options: &Options) -> Result<Option<Arc<rayon::ThreadPool>>> {
    let Some(workers) = options.workers.filter(|workers| *workers > 1) else { return Ok(None) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build();
    pool.map(|pool| Some(Arc::new(pool)))
        .map_err(|error| Error::bug("cannot start worker threads").source(error))
}

/// The checkpoint to verify at: that of `--at`, or the last one.
fn checkpoint(
    past: &Past<'_>,
    options: &Options,
    report: &mut Report,
) -> Result<Option<Checkpoint>> {
    let epochs = checkpoints::list(past.dir())?;
    if let Some(last) = epochs.last().filter(|last| **last > past.recorded()) {
        let message =
            format!("it has no records up to epoch {last}, of which there is a checkpoint");
        let first = past.recorded() + 1;
        report.mismatches.push(Mismatch::new("the epoch log", Some(first), message));
    }
    let wanted = options.at.or(epochs.iter().rev().find(|e| **e <= past.recorded()).copied());
    let Some(epoch) = wanted else { return Ok(None) };
    match checkpoints::read(past.dir(), epoch) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            report.mismatches.push(Mismatch::of_error("the checkpoint", Some(epoch), &error));
            Ok(None)
        }
        read => read,
    }
}

/// What a journal without its beginning does not give.
fn check_oldest(oldest: &Checkpoint, epoch: u64, options: &Options) -> Result<()> {
    let begins = || format!("the journal goes on from epoch {}", oldest.epoch);
    if epoch < oldest.epoch {
        return Err(Error::config(format!("epoch {epoch} cannot be verified any more"))
            .detail(format!("{}: what was before was let go (run.journal_retention)", begins())));
    }
    let asked = [(options.sinks, "--sinks"), (options.sample.is_some(), "--sample")];
    match asked.iter().find(|(is_asked, _)| *is_asked) {
        Some((_, option)) => Err(Error::config(format!("{option} needs all of the input"))
            .detail(format!("{} (run.journal_retention)", begins()))
            .hint("`verify --replay` checks what there is")),
        None => Ok(()),
    }
}

/// The lock as it is against the one that the pipeline file asks for.
fn lock_mismatch(prepared: &Prepared) -> Option<Mismatch> {
    let Some(found) = &prepared.found_lock else {
        return Some(Mismatch::new("the lock", None, "there is none beside the pipeline file"));
    };
    let differences = found.diff(&prepared.lock);
    if differences.is_empty() {
        return None;
    }
    let mut mismatch = Mismatch::new("the lock", None, "it does not fit the pipeline file");
    mismatch.rows = differences;
    Some(mismatch)
}
