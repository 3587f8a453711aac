//! `diff`: what two runs differ in, and why.

use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;
use syncline_change::Error;
use syncline_pipeline::diff::{Cause, Diff, Side, ViewDiff, diff as compare};
use syncline_pipeline::past::Past;

use super::{FAILED, Failure, Run};
use crate::cli::{self, ReportFormat};
use crate::terminal::say;

pub(super) fn diff(arguments: &cli::Diff) -> Result<ExitCode, Failure> {
    let data_dir = arguments.data_dir.as_deref();
    let open = |path: &Path| Run::open(Some(path), data_dir);
    let (a, b) = (open(&arguments.a)?, open(&arguments.b)?);
    let diff = compare(&side(&a, arguments.at)?, &side(&b, arguments.at)?, arguments.limit)?;
    match arguments.format {
        ReportFormat::Json => say(serde_json::to_string(&diff)
            .map_err(|error| Error::bug("a difference has no JSON form").source(error))?),
        ReportFormat::Text => print(arguments, &diff),
    }
    Ok(if diff.is_same() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn side(run: &Run, at: Option<u64>) -> Result<Side<'_>, Failure> {
    if run.slice.is_some() {
        return Err(Error::unsupported("a slice of a run cannot be compared")
            .hint("`syncline verify` reads it; make a bundle of the whole run to compare it")
            .into());
    }
    let past = Past::open(&run.prepared, &run.data_dir)?;
    if let Some(at) = at.filter(|at| *at > past.recorded()) {
        return Err(Error::config(format!("there is no epoch {at} in {}", run.data_dir.display()))
            .detail(format!("the last recorded epoch is {}", past.recorded()))
            .into());
    }
    Ok(Side { prepared: &run.prepared, past, at })
}

fn print(arguments: &cli::Diff, diff: &Diff) {
    say(format_args!("- {}, epoch {}", arguments.a.display(), diff.epochs[0]));
    say(format_args!("+ {}, epoch {}", arguments.b.display(), diff.epochs[1]));
    diff.views.iter().for_each(print_view);
    for cause in &diff.causes {
        match cause {
            Cause::Input { epoch, detail } => {
                say(format_args!("input differs from epoch {epoch} on: {detail}"));
            }
            Cause::Code { detail } => {
                say("the pipelines differ:");
                detail.iter().for_each(|line| say(format_args!("  {line}")));
            }
            Cause::Engine { detail } => say(format_args!("the engines differ: {detail}")),
        }
    }
    if diff.causes.is_empty() {
        say("input, pipeline and engine are the same");
    }
}

fn print_view(view: &ViewDiff) {
    let name = &view.view;
    match view.is_in {
        [true, false] => return say(format_args!("view {name}: only in the first")),
        [false, true] => return say(format_args!("view {name}: only in the second")),
        _ if view.has_other_columns => return say(format_args!("view {name}: other columns")),
        _ if view.is_same() => return say(format_args!("view {name}: the same")),
        _ => {}
    }
    say(format_args!("view {name}: {} rows less, {} rows more", view.removed, view.added));
    print_rows('-', &view.removed_rows, view.removed);
    print_rows('+', &view.added_rows, view.added);
}

fn print_rows(sign: char, rows: &[Value], total: u64) {
    rows.iter().for_each(|row| say(format_args!("  {sign} {row}")));
    let more = total.saturating_sub(rows.len() as u64);
    if more > 0 {
        say(format_args!("  {sign} and {more} more"));
    }
}
