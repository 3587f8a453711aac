//! `verify --watch`: verifies one checkpoint after the other, beside the pipeline that takes them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use syncline_change::Error;
use syncline_pipeline::clock;
use syncline_pipeline::file::{LoadError, Pipeline};
use syncline_pipeline::prepare::Prepared;
use syncline_pipeline::verify::report::{Judged, Report, Verdict};
use syncline_pipeline::verify::{self, Options, Sample};
use syncline_store::{DataDir, checkpoints};

use super::super::interrupts::Interrupts;
use super::super::remote::Presence;
use super::{FAILED, Failure, PARTLY, conclusion, epochs_bar, print, print_json};
use crate::cli::ReportFormat;
use crate::priority;
use crate::terminal::{moment, note, say};

/// What is verified again and again.
pub(super) struct Watch {
    pub(super) pipeline: Pipeline,
    pub(super) data_dir: PathBuf,
    pub(super) options: Options,
    pub(super) format: ReportFormat,
}

/// How one round went.
enum Round {
    Verified(Box<Report>),
    /// There is no checkpoint after this epoch; 0: there is none at all.
    NothingNew(u64),
}

/// What all rounds so far have found.
#[derive(Default)]
struct Found {
    epoch: u64,
    has_failed: bool,
    is_partly: bool,
}

/// Verifies until somebody interrupts, or for so many rounds.
pub(super) fn watch(
    watch: Watch,
    every: Duration,
    rounds: Option<u64>,
) -> Result<ExitCode, Failure> {
    // Before there is any other thread: those that come later are like this one.
    if !priority::lower_process() {
        note("the priority cannot be lowered here, because there is no `renice`");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::bug("cannot start the runtime").source(e))?;
    let found = runtime.block_on(go_on(Arc::new(watch), every, rounds))?;
    // A verification that was interrupted goes with the process.
    runtime.shutdown_background();
    Ok(match found {
        Found { has_failed: true, .. } => ExitCode::from(FAILED),
        Found { is_partly: true, .. } => ExitCode::from(PARTLY),
        Found { .. } => ExitCode::SUCCESS,
    })
}

async fn go_on(watch: Arc<Watch>, every: Duration, rounds: Option<u64>) -> Result<Found, Failure> {
    let mut interrupts = Interrupts::new()?;
    let mut found = Found::default();
    let mut round = 0;
    loop {
        round += 1;
        let (watch_now, last) = (watch.clone(), found.epoch);
        let verifying = tokio::task::spawn_blocking(move || watch_now.round(last));
        let done = tokio::select! {
            () = interrupts.next() => return Ok(found),
            done = verifying => done.map_err(|e| Error::bug("a round panicked").source(e))?,
        };
        match done {
            // What is wrong from the start is not waited for.
            Err(error) if round == 1 => return Err(error.into()),
            Err(error) => {
                found.has_failed = true;
                say(format_args!("{} not verified: {error}", now()));
            }
            Ok(done) => found.take(&watch, done)?,
        }
        if rounds.is_some_and(|rounds| round >= rounds) {
            return Ok(found);
        }
        tokio::select! {
            () = interrupts.next() => return Ok(found),
            () = tokio::time::sleep(every) => {}
        }
    }
}

impl Watch {
    /// Verifies the newest checkpoint, if it is not that of epoch `last`, and tells the pipeline.
    fn round(&self, last: u64) -> Result<Round, LoadError> {
        // Each time anew: the first run writes the lock.
        let prepared = Prepared::new(self.pipeline.clone())?;
        let newest = checkpoints::list(&DataDir::open_read(&self.data_dir)?)?.pop();
        let Some(epoch) = newest.filter(|epoch| *epoch != last) else {
            return Ok(Round::NothingNew(newest.unwrap_or(0)));
        };
        // Other rows each time.
        let sample = self.options.sample.map(|sample| Sample { seed: super::new_seed(), ..sample });
        let options = Options { at: Some(epoch), goes_on: true, sample, ..self.options.clone() };
        let bar = epochs_bar("epochs verified");
        let report = verify::verify(&prepared, &self.data_dir, &options, &|e| bar.set_position(e))?;
        bar.finish_and_clear();
        if let Err(error) = self.tell(&report) {
            note(format_args!("the pipeline was not told: {error}"));
        }
        Ok(Round::Verified(Box::new(report)))
    }

    /// Hands the report to the pipeline, if it runs and can be reached.
    fn tell(&self, report: &Report) -> Result<(), Error> {
        let Presence::Served(remote) = Presence::of(&self.data_dir)? else { return Ok(()) };
        let body = serde_json::to_value(Judged::from(report.clone()))
            .map_err(|error| Error::bug("a report has no JSON form").source(error))?;
        remote.put("/api/v1/verification", &body).map(drop)
    }
}

impl Found {
    fn take(&mut self, watch: &Watch, round: Round) -> Result<(), Error> {
        let report = match round {
            Round::NothingNew(0) => {
                note(format_args!("{} no checkpoint yet", now()));
                return Ok(());
            }
            Round::NothingNew(epoch) => {
                note(format_args!("{} no checkpoint after epoch {epoch}", now()));
                return Ok(());
            }
            Round::Verified(report) => report,
        };
        let verdict = report.verdict();
        self.epoch = report.epoch;
        self.has_failed |= verdict == Verdict::Mismatch;
        self.is_partly |= verdict == Verdict::Partly;
        match watch.format {
            ReportFormat::Json => print_json(&report)?,
            ReportFormat::Text => {
                say(format_args!("{} epoch {}: {}", now(), report.epoch, conclusion(&report)));
                if verdict != Verdict::Verified {
                    print(&report);
                }
            }
        }
        Ok(())
    }
}

fn now() -> String {
    moment(clock::wall_us())
}
