//! `verify`: whether a run is what its journal says.

mod watch;

use std::process::ExitCode;

use syncline_change::Error;
use syncline_pipeline::clock;
use syncline_pipeline::verify::report::{Judged, Mismatch, Report, Verdict, ViewCheck};
use syncline_pipeline::verify::{self, Options, Sample};
use syncline_store::PublicKey;

use super::{FAILED, Failure, PARTLY, Run, epochs_bar, load, workers};
use crate::cli::{self, ReportFormat};
use crate::terminal::say;
use watch::Watch;

/// So much of a digest is shown to people.
const DIGEST_SHOWN: usize = 16;
/// In place of the digest of what a view holds.
const NOT_KEPT: &str = "(not kept)";

pub(super) fn verify(arguments: &cli::Verify) -> Result<ExitCode, Failure> {
    let path = arguments.file.as_deref();
    let options = Options {
        at: arguments.at,
        replay: arguments.replay,
        sample: arguments
            .sample
            .map(|rows| Sample { rows, seed: arguments.seed.unwrap_or_else(new_seed) }),
        sinks: arguments.sinks,
        workers: Some(workers(arguments.workers)),
        key: arguments.key.as_deref().map(PublicKey::read).transpose()?,
        ..Options::default()
    };
    if arguments.watch {
        let pipeline = load(path)?;
        let data_dir = arguments.data_dir.clone().unwrap_or_else(|| pipeline.data_dir());
        let watched = Watch { pipeline, data_dir, options, format: arguments.format };
        return watch::watch(watched, arguments.every.0, arguments.rounds);
    }
    let run = Run::open(path, arguments.data_dir.as_deref())?;
    let bar = epochs_bar("epochs verified");
    let progress = |epoch| bar.set_position(epoch);
    let report = match &run.slice {
        Some(folder) => verify::verify_slice(&run.prepared, folder, &options, &progress)?,
        None => verify::verify(&run.prepared, &run.data_dir, &options, &progress)?,
    };
    bar.finish_and_clear();
    match arguments.format {
        ReportFormat::Json => print_json(&report)?,
        ReportFormat::Text => print(&report),
    }
    Ok(match report.verdict() {
        Verdict::Verified => ExitCode::SUCCESS,
        Verdict::Partly => ExitCode::from(PARTLY),
        Verdict::Mismatch => ExitCode::from(FAILED),
    })
}

/// What nobody could know while the run wrote down its results.
fn new_seed() -> u64 {
    clock::wall_us().unsigned_abs()
}

fn print_json(report: &Report) -> Result<(), Error> {
    let text = serde_json::to_string(&Judged::from(report.clone()));
    say(text.map_err(|error| Error::bug("a report has no JSON form").source(error))?);
    Ok(())
}

pub(super) fn print(report: &Report) {
    if report.epoch > 0 {
        say(format_args!("{} at the end of epoch {}", report.pipeline, report.epoch));
    }
    if let Some(slice) = &report.slice {
        let (from, rows) = (slice.from, slice.base_rows);
        let (by, anchor) = (&slice.by, slice.anchor);
        say(format_args!(
            "  slice        from epoch {from} on, over {rows} rows of tables, held against the {by} of epoch {anchor}"
        ));
    }
    if let Some(input) = &report.input {
        say(format_args!(
            "  journal      {} epochs, {} rows, root {}",
            input.epochs,
            input.rows,
            short(&input.root)
        ));
        say(format_args!("  epoch log    {} records, head {}", input.epochs, short(&input.chain)));
    }
    if let Some(Sample { rows, seed }) = report.sample {
        say(format_args!("  sample       {rows} rows of each view, with --seed {seed}"));
    }
    let width = report.views.iter().map(|view| view.view.len()).max().unwrap_or(0);
    for view in &report.views {
        let name = &view.view;
        let digest = view.digest.as_deref().map_or(NOT_KEPT, short);
        let (rows, ways) = (view.rows, ways(view));
        say(format_args!("  view {name:width$}  {digest:DIGEST_SHOWN$}  {rows} rows, {ways}"));
    }
    for sink in &report.sinks {
        say(format_args!("  sink {}  {} lines as at epoch {}", sink.sink, sink.lines, sink.epoch));
    }
    if let Some(manifest) = &report.manifest {
        let signed = match (&manifest.key, manifest.is_signed) {
            (Some(key), _) => format!("signed with key {key}"),
            (None, true) => "signed, the signature not checked (--key)".to_owned(),
            (None, false) => "not signed".to_owned(),
        };
        say(format_args!("  manifest     run {}, {signed}", manifest.run));
    }
    report.mismatches.iter().for_each(print_mismatch);
    if !report.unchecked.is_empty() {
        say("not checked:");
        report.unchecked.iter().for_each(|what| say(format_args!("  {what}")));
    }
    report.notes.iter().for_each(|note| say(format_args!("not asked for: {note}")));
    say(conclusion(report));
}

/// What it comes to, in a line.
fn conclusion(report: &Report) -> String {
    match report.verdict() {
        Verdict::Verified => {
            format!(
                "verified: the journal, the epoch log, {}{}",
                count(report.views.len(), "view"),
                sinks(report)
            )
        }
        Verdict::Partly => {
            "partly verified: nothing differs, and not all of it was checked".to_owned()
        }
        Verdict::Mismatch => format!("MISMATCH: {}", count(report.mismatches.len(), "difference")),
    }
}

fn print_mismatch(mismatch: &Mismatch) {
    let at = mismatch.epoch.map(|epoch| format!(", epoch {epoch}")).unwrap_or_default();
    say(format_args!("  DIFFERS: {}{at}: {}", mismatch.what, mismatch.message));
    mismatch.rows.iter().for_each(|row| say(format_args!("    {row}")));
}

fn sinks(report: &Report) -> String {
    match report.sinks.len() {
        0 => String::new(),
        sinks => format!(", {}", count(sinks, "sink")),
    }
}

/// By what a view was checked.
fn ways(view: &ViewCheck) -> String {
    let mut ways = Vec::new();
    if view.is_recorded {
        ways.push("as in the checkpoint");
    }
    if view.by_replay {
        ways.push("every epoch computed again");
    }
    if view.by_batch {
        ways.push("equal by the batch engine");
    }
    let sampled =
        view.sampled.map(|rows| format!("{rows} of {} rows by the batch engine", view.rows));
    ways.extend(sampled.as_deref());
    ways.join(", ")
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn short(digest: &str) -> &str {
    digest.get(..DIGEST_SHOWN).unwrap_or(digest)
}
