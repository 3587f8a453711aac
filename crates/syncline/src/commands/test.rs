//! `test`: runs the tests that stand in a pipeline file.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use syncline_change::types;
use syncline_pipeline::cases::{self, CaseFailure, Outcome, ViewDiff};

use super::table::{Table, cell};
use super::{FAILED, Failure, prepare};
use crate::terminal::say;

/// How many missing and how many unexpected rows of a view are shown.
const ROWS_SHOWN_MAX: usize = 20;

/// Runs every case and says what became of it; fails if one of them did.
pub(super) fn test(path: Option<&Path>) -> Result<ExitCode, Failure> {
    let prepared = prepare(path)?;
    if prepared.pipeline.spec.tests.is_empty() {
        say(format_args!("{} has no tests", prepared.pipeline.file_name()));
        return Ok(ExitCode::SUCCESS);
    }
    let outcomes = cases::run(&prepared)?;
    let paint = Paint { is_on: std::io::stdout().is_terminal() };
    for outcome in &outcomes {
        show(outcome, paint);
    }
    let passed = outcomes.iter().filter(|outcome| outcome.passed()).count();
    let failed = outcomes.len() - passed;
    say(format_args!("{passed} passed, {failed} failed"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn show(outcome: &Outcome, paint: Paint) {
    if outcome.passed() {
        say(format_args!("{}  {}", paint.green("ok"), outcome.name));
        return;
    }
    say(format_args!("{} {}", paint.red("FAIL"), outcome.name));
    for failure in &outcome.failures {
        match failure {
            CaseFailure::Broken(why) => say(format_args!("  {why}")),
            CaseFailure::Differs(diff) => show_diff(diff, paint),
        }
    }
    for rejected in &outcome.rejected {
        say(format_args!("  a given row was turned away: {rejected}"));
    }
}

/// The rows that differ, in one table so that they stand under each other.
fn show_diff(diff: &ViewDiff, paint: Paint) {
    let (missing, unexpected) = (diff.missing.len(), diff.unexpected.len());
    say(format_args!(
        "  view `{}`: {missing} missing (-), {unexpected} unexpected (+), {} as expected",
        diff.view, diff.matching
    ));
    let types: Vec<String> =
        diff.columns.iter().map(|field| types::name(field.data_type())).collect();
    let names = diff.columns.iter().map(|field| field.name().as_str());
    let mut table = Table::new(names.zip(types.iter().map(String::as_str)));
    let shown_missing = diff.missing.iter().take(ROWS_SHOWN_MAX);
    for row in shown_missing.clone() {
        table.row(row.iter().map(|value| value.as_ref().map_or_else(String::new, cell)));
    }
    for row in diff.unexpected.iter().take(ROWS_SHOWN_MAX) {
        table.row(row.iter().map(cell));
    }
    for (i, line) in table.lines().iter().enumerate() {
        match i.checked_sub(2) {
            None => say(format_args!("      {line}")),
            Some(row) if row < shown_missing.len() => say(paint.red(&format!("    - {line}"))),
            Some(_) => say(paint.green(&format!("    + {line}"))),
        }
    }
    for (rows, mark) in [(missing, '-'), (unexpected, '+')] {
        if rows > ROWS_SHOWN_MAX {
            say(format_args!("    {mark} ... and {} more", rows - ROWS_SHOWN_MAX));
        }
    }
}

/// Colours, where there is somebody to see them.
#[derive(Clone, Copy)]
struct Paint {
    is_on: bool,
}

impl Paint {
    fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    fn with(self, colour: &str, text: &str) -> String {
        if self.is_on { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
