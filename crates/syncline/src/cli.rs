//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use syncline_change::units::{Duration, Size};

/// Real-time data sync and processing that anyone can reproduce.
///
/// Reads changes and events as they happen, keeps SQL views of them up to date, writes the results
/// to the systems people use, and shows all of it live.
#[derive(Debug, Parser)]
#[command(name = "syncline", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// How log lines are written: for people, or as Elastic Common Schema.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
    /// Log more; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the built-in pipeline with its page: New York's flights in the blizzard of 2013.
    Demo(Demo),
    /// Writes a commented pipeline to start from.
    Init {
        /// The folder to write it to.
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Checks all of a pipeline that can be checked without running it.
    Check(File),
    /// Shows the circuit, and what the next run does after an edit.
    Plan {
        #[command(flatten)]
        file: File,
        #[arg(long, value_enum, default_value_t = PlanFormat::Text)]
        format: PlanFormat,
        /// Where journal and state are kept, in place of what the pipeline file says.
        #[arg(long)]
        data_dir: Option<PathBuf>,
    },
    /// Runs a pipeline.
    Run(Run),
    /// Runs the tests that stand in a pipeline file.
    Test(File),
    /// Reads kept views with SQL, of a running or a stopped pipeline.
    Query(Query),
    /// Shows the input rows that a row of a view comes from, and since when it is so.
    Explain(Explain),
    /// Shows the live changes of a source or view of a running pipeline.
    Tap(Tap),
    /// Computes a run again from its journal and says whether everything is as it recorded.
    Verify(Verify),
    /// Makes another data directory that stands where this one stood at the end of an epoch.
    Replay(Replay),
    /// Compares the views of two runs, or of one run under two pipeline files.
    Diff(Diff),
    /// Writes a run as one file that anybody can verify.
    Bundle(Bundle),
    /// Rows that could not be taken: list, show, retry, drop them.
    Dlq {
        #[command(subcommand)]
        command: Dlq,
    },
    /// Keys that sign what a run did: make and show them, check manifests with them.
    Keys {
        #[command(subcommand)]
        command: Keys,
    },
    /// Prints the JSON Schema of the pipeline file.
    Schema,
    /// Measures how fast the engine is.
    Bench {
        #[command(subcommand)]
        command: Bench,
    },
}

/// Which pipeline.
#[derive(Args, Clone, Debug)]
pub(crate) struct File {
    /// The pipeline file; without it, the syncline.yaml here or in the nearest folder above.
    pub(crate) file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// Where to serve the page.
    #[arg(long, default_value = "127.0.0.1:7373")]
    pub(crate) listen: SocketAddr,
    /// Seconds of 2013 in a second: 3600 is an hour a second.
    #[arg(long, default_value_t = 3600.0)]
    pub(crate) speed: f64,
    /// Runs flat out, without a page, and stops when everything is processed.
    #[arg(long)]
    pub(crate) once: bool,
    /// The folder for the pipeline, its data and its results; made if it is not there.
    #[arg(long, default_value = "syncline-demo")]
    pub(crate) dir: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) file: File,
    /// Stops when all bounded input is processed and every sink is durable.
    #[arg(long)]
    pub(crate) once: bool,
    /// Where journal and state are kept, in place of what the pipeline file says.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Threads that compute, in place of what the pipeline file says.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// Where to serve the page and the API (port 0 takes any that is free).
    #[arg(long)]
    pub(crate) listen: Option<SocketAddr>,
    /// Serves nothing.
    #[arg(long, conflicts_with = "listen")]
    pub(crate) no_listen: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    Text,
    Mermaid,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowFormat {
    Table,
    Json,
    Csv,
}

#[derive(Args, Debug)]
#[command(override_usage = "syncline query [OPTIONS] [FILE] <SQL>")]
pub(crate) struct Query {
    /// The pipeline file (may be left out), then one SELECT over the kept views.
    #[arg(num_args = 1..=2, required = true, value_names = ["FILE", "SQL"])]
    pub(crate) file_and_sql: Vec<String>,
    /// Reads the views as they were at the end of this epoch.
    #[arg(long, value_name = "EPOCH", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) at: Option<u64>,
    #[arg(long, value_enum, default_value_t = RowFormat::Table)]
    pub(crate) format: RowFormat,
    /// Where journal and state are kept, in place of what the pipeline file says.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainFormat {
    Text,
    Json,
}

#[derive(Args, Debug)]
#[command(override_usage = "syncline explain [OPTIONS] [FILE] <VIEW> [COLUMN=VALUE]...")]
pub(crate) struct Explain {
    /// The pipeline file (may be left out), the name of a view or alert, then what its row has in
    /// some columns: `origin=JFK`, `gate=NULL`, and `name='NULL'` for the text.
    #[arg(num_args = 1.., required = true, value_names = ["FILE", "VIEW", "COLUMN=VALUE"])]
    pub(crate) words: Vec<String>,
    /// Explains the row as it was at the end of this epoch.
    #[arg(long, value_name = "EPOCH", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) at: Option<u64>,
    /// Shows when the row changed instead: every change of it, the oldest first.
    #[arg(long)]
    pub(crate) history: bool,
    /// Explains so many rows if more than one fits [default: 1], or shows so many of the newest
    /// changes [default: all].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    #[arg(long, value_enum, default_value_t = ExplainFormat::Text)]
    pub(crate) format: ExplainFormat,
    /// Where journal and state are kept, in place of what the pipeline file says.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The pipeline file, or a bundle; without it, the syncline.yaml here or in the nearest folder
    /// above.
    pub(crate) file: Option<PathBuf>,
    /// Verifies the views as they were at the end of this epoch, in place of the last checkpoint's.
    #[arg(long, value_name = "EPOCH", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) at: Option<u64>,
    /// Computes every epoch again with the circuit and compares its changes with the recorded ones.
    #[arg(long)]
    pub(crate) replay: bool,
    /// Lets the batch engine compute so many rows of each view [default: 100] in place of all of them,
    /// from the input rows that they come from; every epoch is computed again with the circuit. Never
    /// more than partly verified.
    #[arg(long, value_name = "ROWS", num_args = 0..=1, default_missing_value = "100", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) sample: Option<u64>,
    /// Chooses the same rows as a --sample before, which printed it.
    #[arg(long, requires = "sample")]
    pub(crate) seed: Option<u64>,
    /// Reads the targets of sinks and compares them with their views (file sinks).
    #[arg(long)]
    pub(crate) sinks: bool,
    /// Checks that the last manifest was signed with this public key.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Goes on beside a running pipeline, at a low priority: verifies its newest checkpoint again and
    /// again, and tells it what was found.
    #[arg(long, conflicts_with_all = ["at", "sinks", "seed"])]
    pub(crate) watch: bool,
    /// How long --watch waits after each round.
    #[arg(long, value_name = "DURATION", default_value = "30s", requires = "watch")]
    pub(crate) every: Duration,
    /// Ends --watch after so many rounds; for tests.
    #[arg(long, hide = true, requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rounds: Option<u64>,
    /// Threads that compute; without it, one for each core.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) format: ReportFormat,
    /// Where journal and state are kept, in place of what the pipeline file says.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Replay {
    #[command(flatten)]
    pub(crate) file: File,
    /// The last epoch that it has.
    #[arg(long, value_name = "EPOCH", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) to: u64,
    /// The new data directory; it must not be there yet.
    #[arg(long, value_name = "DIR")]
    pub(crate) into: PathBuf,
    /// Threads that compute; without it, one for each core.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// Where journal and state are kept, in place of what the pipeline file says.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Diff {
    /// The first: a pipeline file, or a bundle.
    pub(crate) a: PathBuf,
    /// The second.
    pub(crate) b: PathBuf,
    /// Compares the views at the end of this epoch, in place of the last one.
    #[arg(long, value_name = "EPOCH", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) at: Option<u64>,
    /// Rows of each difference that are shown.
    #[arg(long, default_value_t = 5)]
    pub(crate) limit: usize,
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) format: ReportFormat,
    /// One run for both pipeline files: the data directory that it is in.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Bundle {
    #[command(flatten)]
    pub(crate) file: File,
    /// The file to write; without it, NAME.bundle here.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// The last epoch that goes into it, in place of the last checkpoint's.
    #[arg(long, visible_alias = "to", value_name = "EPOCH", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) at: Option<u64>,
    /// Writes a slice of the run: the epochs from this one on, with proofs that they are of the run, and
    /// what tables held before.
    #[arg(long, value_name = "EPOCH", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) from: Option<u64>,
    /// Leaves out the files that the journal only refers to (`journal: reference`).
    #[arg(long)]
    pub(crate) by_reference: bool,
    /// Where journal and state are kept, in place of what the pipeline file says.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    Text,
    Json,
}

#[derive(Args, Debug)]
#[command(override_usage = "syncline tap [OPTIONS] [FILE] <NAME>")]
pub(crate) struct Tap {
    /// The pipeline file (may be left out), then the name of a source or view.
    #[arg(num_args = 1..=2, required = true, value_names = ["FILE", "NAME"])]
    pub(crate) file_and_name: Vec<String>,
    /// Stops after this many changes.
    #[arg(long)]
    pub(crate) limit: Option<u64>,
    /// Where journal and state are kept, in place of what the pipeline file says.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Which pipeline's dead letters.
#[derive(Args, Clone, Debug)]
pub(crate) struct DlqPlace {
    /// The pipeline file; without it, the syncline.yaml here or in the nearest folder above.
    #[arg(long)]
    pub(crate) file: Option<PathBuf>,
    /// Where journal and state are kept, in place of what the pipeline file says.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// Lists dead letters, newest first.
    Ls {
        #[command(flatten)]
        place: DlqPlace,
        /// Only those of this source (or sink).
        #[arg(long)]
        source: Option<String>,
        /// Only those of this class: wrong-type, unparsable, late, ...
        #[arg(long)]
        class: Option<String>,
        /// Also those that were retried or dropped.
        #[arg(long)]
        all: bool,
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[arg(long, value_enum, default_value_t = RowFormat::Table)]
        format: RowFormat,
    },
    /// Shows one: where it came from, what is wrong with it, its bytes.
    Show {
        id: String,
        #[command(flatten)]
        place: DlqPlace,
        /// Only the original bytes, for a file or a pipe.
        #[arg(long)]
        raw: bool,
    },
    /// Reads dead letters again, as they are or mended.
    Retry {
        /// Which; without any, all that are open.
        ids: Vec<String>,
        #[command(flatten)]
        place: DlqPlace,
        /// Take the mended bytes from this file (- for standard input); for one letter only.
        #[arg(long)]
        edit: Option<PathBuf>,
    },
    /// Gives dead letters up.
    Drop {
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        place: DlqPlace,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Makes a private key, which only its owner can read, and shows the public one.
    New {
        /// The file for it, which must not be there yet; without it, the one that SYNCLINE_KEY names,
        /// or else ~/.config/syncline/key.pem.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Shows a public key and its id.
    Show {
        /// The file of a private or public key; without it, as for `keys new`.
        file: Option<PathBuf>,
        #[arg(long, value_enum, default_value_t = KeyFormat::Text)]
        format: KeyFormat,
    },
    /// Checks that a manifest was signed with a key, and shows what it says.
    Verify {
        /// Its file: manifests/RUN.json of a data directory, or a copy of it.
        manifest: PathBuf,
        /// The file of the public key.
        #[arg(long)]
        key: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyFormat {
    Text,
    Json,
    Pem,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// The Nexmark queries.
    Nexmark(Nexmark),
}

#[derive(Args, Debug)]
pub(crate) struct Nexmark {
    /// Which queries: q0,q4,...; without it q0 to q22.
    #[arg(long, value_delimiter = ',')]
    pub(crate) queries: Vec<String>,
    /// Events of all three kinds.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) events: u64,
    /// Threads that compute; without it, one for each core.
    #[arg(long)]
    pub(crate) workers: Option<usize>,
    /// Reads the events from this folder instead of generating them in memory.
    #[arg(long)]
    pub(crate) input: Option<PathBuf>,
    /// Whether the input is journalled.
    #[arg(long, value_enum, default_value_t = Switch::Off)]
    pub(crate) journal: Switch,
    /// Whether the changes of every epoch are hashed, as a run does for its epoch log.
    #[arg(long, value_enum, default_value_t = Switch::Off)]
    pub(crate) digests: Switch,
    /// Memory that rows kept by key may take before they go to disk: `64MiB`. Without it, no bound.
    #[arg(long)]
    pub(crate) memory_limit: Option<Size>,
    /// Prints one JSON object a query.
    #[arg(long)]
    pub(crate) json: bool,
    /// Writes the events to this folder as JSON lines, and runs nothing.
    #[arg(long)]
    pub(crate) write: Option<PathBuf>,
    /// In how many files each table is written.
    #[arg(long, default_value_t = 2)]
    pub(crate) parts: u32,
    /// The same seed makes the same events.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}
