//! What each command does.

mod bench;
mod bundle;
mod check;
mod demo;
mod diff;
mod dlq;
mod edit;
mod explain;
mod init;
mod interrupts;
mod keys;
mod query;
mod remote;
mod replay;
mod rows;
mod run;
mod table;
mod tap;
mod test;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use syncline_change::{Error, ErrorKind};
use syncline_pipeline::bundle::Unpacked;
use syncline_pipeline::file::{LoadError, Pipeline};
use syncline_pipeline::prepare::Prepared;
use syncline_pipeline::vars::Vars;

use crate::cli::Command;
use crate::terminal;

/// Failed, or a mismatch.
const FAILED: u8 = 1;
/// The command line or the pipeline file is wrong.
const WRONG: u8 = 2;
/// Done in part: what is left out is said.
const PARTLY: u8 = 3;

/// Why a command did not do what it was asked to: what to say, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) text: String,
    pub(crate) code: u8,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = if error.kind() == ErrorKind::Config { WRONG } else { FAILED };
        Self { text: error.report(), code }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unreadable(error) => error.into(),
            invalid => Self { text: format!("the pipeline file is wrong\n{invalid}"), code: WRONG },
        }
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Init { dir } => init::init(&dir),
        Command::Check(file) => check::check(file.file.as_deref()),
        Command::Plan { file, data_dir, format } => {
            check::plan(file.file.as_deref(), data_dir.as_deref(), format)
        }
        Command::Run(arguments) => run::run(arguments),
        Command::Test(file) => test::test(file.file.as_deref()),
        Command::Query(arguments) => query::query(&arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Tap(arguments) => tap::tap(&arguments),
        Command::Verify(arguments) => verify::verify(&arguments),
        Command::Replay(arguments) => replay::replay(&arguments),
        Command::Diff(arguments) => diff::diff(&arguments),
        Command::Bundle(arguments) => bundle::bundle(&arguments),
        Command::Dlq { command } => dlq::dlq(command),
        Command::Keys { command } => keys::keys(command),
        Command::Schema => {
            terminal::say(format_args!("{:#}", syncline_pipeline::file::json_schema()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Bench { command } => bench::bench(command),
    }
}

/// The pipeline file, read and checked; its warnings are shown.
fn load(path: Option<&Path>) -> Result<Pipeline, Failure> {
    let pipeline = Pipeline::load(path, &Vars::environment())?;
    if !pipeline.warnings.is_empty() {
        let (name, text) = (pipeline.file_name(), &pipeline.text);
        terminal::note(syncline_pipeline::file::render(&pipeline.warnings, &name, text));
    }
    Ok(pipeline)
}

/// The pipeline with its sources' columns and its views' plans.
fn prepare(path: Option<&Path>) -> Result<Prepared, Failure> {
    Ok(Prepared::new(load(path)?)?)
}

/// A pipeline and the data directory of a run of it, from its file or from a bundle.
struct Run {
    prepared: Prepared,
    data_dir: std::path::PathBuf,
    /// The folder of a bundle that has only some epochs.
    slice: Option<PathBuf>,
    /// Goes when this does.
    _unpacked: Option<Unpacked>,
}

impl Run {
    fn open(path: Option<&Path>, data_dir: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = path.filter(|path| syncline_store::bundle::is_bundle(path)) {
            let unpacked = Unpacked::open(path)?;
            let (prepared, data_dir) = (unpacked.prepare()?, unpacked.data_dir());
            let slice = unpacked.slice().map(Path::to_owned);
            return Ok(Self { prepared, data_dir, slice, _unpacked: Some(unpacked) });
        }
        let prepared = prepare(path)?;
        let data_dir = data_dir.map(Path::to_owned);
        let data_dir = data_dir.unwrap_or_else(|| prepared.pipeline.data_dir());
        Ok(Self { prepared, data_dir, slice: None, _unpacked: None })
    }
}

/// A line that counts epochs on a terminal.
fn epochs_bar(message: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(message);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Threads that compute: as asked for, or one for each core.
fn workers(asked: Option<u16>) -> usize {
    match asked {
        Some(workers) => usize::from(workers),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// Splits `[FILE] WHAT` into its two parts.
fn file_and(words: &[String]) -> (Option<&Path>, &str) {
    match words {
        [file, what] => (Some(Path::new(file)), what),
        [what] => (None, what),
        _ => (None, ""),
    }
}
