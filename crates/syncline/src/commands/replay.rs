//! `replay`: a data directory as it was at the end of an epoch.

use std::process::ExitCode;
use std::sync::Arc;

use syncline_change::Error;
use syncline_pipeline::past::Past;
use syncline_pipeline::verify::report::Verdict;
use syncline_pipeline::verify::{self, Options};

use super::verify::print;
use super::{FAILED, Failure, epochs_bar, prepare, workers};
use crate::cli;
use crate::terminal::say;

pub(super) fn replay(arguments: &cli::Replay) -> Result<ExitCode, Failure> {
    let prepared = prepare(arguments.file.file.as_deref())?;
    let data_dir = arguments.data_dir.clone().unwrap_or_else(|| prepared.pipeline.data_dir());
    let past = Past::open(&prepared, &data_dir)?;
    let to = arguments.to;
    if to > past.recorded() {
        return Err(Error::config(format!("there is no epoch {to} yet"))
            .detail(format!("the last recorded epoch is {}", past.recorded()))
            .into());
    }
    let bar = Arc::new(epochs_bar("epochs copied"));
    let copied = past.copy(&arguments.into, to, &|epoch| bar.set_position(epoch))?;
    drop(copied.dir);
    bar.set_message("epochs computed again");
    let workers = Some(workers(arguments.workers));
    let options = Options { at: Some(to), replay: true, workers, ..Options::default() };
    let progress = |epoch| bar.set_position(epoch);
    let report = verify::verify(&prepared, &arguments.into, &options, &progress)?;
    bar.finish_and_clear();
    print(&report);
    if report.verdict() == Verdict::Mismatch {
        return Ok(ExitCode::from(FAILED));
    }
    say(format_args!(
        "{} has epochs 1 to {to}, {} rows of input: syncline query --data-dir {} \"...\"",
        arguments.into.display(),
        copied.rows,
        arguments.into.display()
    ));
    Ok(ExitCode::SUCCESS)
}
