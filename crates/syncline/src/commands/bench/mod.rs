//! `bench nexmark`: how fast the engine is on the Nexmark queries.
//!
//! Each query runs alone, from memory (events are generated before the clock starts) or from JSON
//! files (reading and parsing them counts). What is measured is input to changes of the view;
//! nothing is written to a sink.

mod process;
mod queries;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use syncline_change::digest::ChangeDigest;
use syncline_change::row::RowCodec;
use syncline_change::source::{FileRange, Source};
use syncline_change::units::Size;
use syncline_change::{Batch, Error};
use syncline_connect::config::{SourceCommon, SourceConfig};
use syncline_connect::file::{self, ReplayClock};
use syncline_connect::nexmark::{self, Generator, Table};
use syncline_connect::{SourceEnv, decode_threads, open_source};
use syncline_engine::{Circuit, Emit, Options, TableDef, TableInput, ViewDef};
use syncline_pipeline::clock;
use syncline_store::journal::{CloseReason, EpochInput, Journal, SourceInput};
use syncline_store::{DataDir, SpillDir, journal};

use super::Failure;
use crate::cli::{self, Switch};
use crate::terminal::{note, say};
use process::Usage;

const TABLES: [(&str, Table); 3] =
    [("person", Table::Person), ("auction", Table::Auction), ("bid", Table::Bid)];
/// Rows in an epoch, as a run under load has them.
const EPOCH_ROWS: u64 = 65_536;
/// Nexmark makes its three kinds of event in the proportion 1 : 3 : 46.
const EVENTS_PER_EPOCH: u64 = EPOCH_ROWS / 50 * 50;

pub(super) fn bench(command: cli::Bench) -> Result<ExitCode, Failure> {
    let cli::Bench::Nexmark(arguments) = command;
    if let Some(dir) = &arguments.write {
        let mut progress = |_| {};
        let (seed, events, parts) = (arguments.seed, arguments.events, arguments.parts);
        nexmark::write_jsonl(dir, seed, events, parts, &mut progress)?;
        note(format_args!("wrote {events} events to {}", dir.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let chosen = chosen(&arguments.queries)?;
    if !arguments.json {
        say(format_args!(
            "{:<10}{:>12}{:>10}{:>14}{:>10}{:>12}{:>12}",
            "query", "events", "seconds", "events/s", "cpu s", "peak MB", "rows out"
        ));
    }
    for (name, sql) in chosen {
        let result =
            measure(&arguments, name, sql).map_err(|e| e.within(format!("query {name}")))?;
        result.print(arguments.json);
    }
    Ok(ExitCode::SUCCESS)
}

fn chosen(names: &[String]) -> Result<Vec<queries::Query>, Error> {
    if names.is_empty() {
        return Ok(queries::NEXMARK.to_vec());
    }
    let all = || queries::NEXMARK.iter().chain(&queries::SMALL);
    let find = |name: &String| {
        all().find(|(have, _)| have == name).copied().ok_or_else(|| {
            let known: Vec<&str> = all().map(|(name, _)| *name).collect();
            Error::config(format!("there is no query `{name}`"))
                .hint(format!("there are: {}", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

/// What a query took.
struct Measured {
    query: &'static str,
    events: u64,
    seconds: f64,
    cpu_seconds: f64,
    peak_rss_bytes: u64,
    rows_out: u64,
    state_digest: String,
}

impl Measured {
    fn print(&self, as_json: bool) {
        let per_second = self.events as f64 / self.seconds;
        if as_json {
            say(json!({
                "query": self.query,
                "events": self.events,
                "seconds": self.seconds,
                "events_per_second": per_second,
                "cpu_seconds": self.cpu_seconds,
                "peak_rss_bytes": self.peak_rss_bytes,
                "rows_out": self.rows_out,
                "state_digest": self.state_digest,
            }));
        } else {
            say(format_args!(
                "{:<10}{:>12}{:>10.3}{per_second:>14.0}{:>10.2}{:>12.0}{:>12}",
                self.query,
                self.events,
                self.seconds,
                self.cpu_seconds,
                self.peak_rss_bytes as f64 / 1e6,
                self.rows_out
            ));
        }
    }
}

fn measure(arguments: &cli::Nexmark, query: &'static str, sql: &str) -> Result<Measured, Error> {
    let workers = arguments
        .workers
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(workers.max(1))
        .build()
        .map_err(|error| Error::bug("cannot start worker threads").source(error))?;
    let tables = TABLES.map(|(name, table)| TableDef {
        name: name.to_owned(),
        schema: nexmark::schema(table),
        primary_key: None,
        event_time: None,
        deletes: false,
    });
    let view = ViewDef { name: "view".to_owned(), sql: sql.to_owned(), emit: Emit::Changes };
    let options = Options { pool: Some(Arc::new(pool)), stopwatch: || 0, seed: 0 };
    let mut circuit = Circuit::new(tables.to_vec(), &[view], options).map_err(first)?;
    let scratch = arguments.memory_limit.map(|limit| spill(&circuit, limit)).transpose()?;
    // Tables that the query does not read are not read from disk either.
    let read = circuit.views()[0].tables.clone();
    let mut input: Box<dyn Input> = match &arguments.input {
        None => Box::new(Memory::generate(arguments, &read)?),
        Some(dir) => Box::new(Files::open(dir, &read, arguments.journal)?),
    };
    let mut recorder = match arguments.journal {
        Switch::Off => None,
        Switch::On => Some(Recorder::new(&tables)?),
    };
    let codec = RowCodec::new(circuit.views()[0].schema.clone())?;
    let (mut rows_out, mut digest) = (0, Digest::default());
    Usage::reset_peak();
    let before = Usage::now();
    let started = clock::stopwatch_nanos();
    let (mut digesting, mut epoch, mut rows) = (0, 0, 0_u64);
    while let Some(inputs) = input.next()? {
        epoch += 1;
        let batches = inputs.iter().flat_map(|part| &part.input.rows);
        rows += batches.map(|batch| batch.num_rows() as u64).sum::<u64>();
        if let Some(recorder) = &mut recorder {
            recorder.append(&inputs)?;
        }
        let inputs = inputs.into_iter().map(|part| part.input).collect();
        let output = circuit.step(epoch, 0, inputs)?;
        if arguments.digests == Switch::On {
            let mut changes = ChangeDigest::new(&circuit.views()[0].schema);
            output.views[0].iter().try_for_each(|change| changes.update(change))?;
            std::hint::black_box(changes.hex());
        }
        let paused = clock::stopwatch_nanos();
        for change in &output.views[0] {
            rows_out += change.num_rows() as u64;
            digest.add(&codec, change)?;
        }
        digesting += clock::stopwatch_nanos() - paused;
    }
    let nanos = clock::stopwatch_nanos() - started - digesting;
    drop(scratch);
    let after = Usage::now();
    Ok(Measured {
        query,
        // From memory all three kinds count, whichever the query reads, as others count them.
        events: if arguments.input.is_none() { arguments.events } else { rows },
        seconds: nanos as f64 / 1e9,
        cpu_seconds: (after.cpu_seconds - before.cpu_seconds - digesting as f64 / 1e9).max(0.0),
        peak_rss_bytes: after.peak_rss_bytes,
        rows_out,
        state_digest: digest.hex(),
    })
}

/// Bounds the memory of state; what is beyond it goes to a folder that goes with what is returned.
fn spill(circuit: &Circuit, limit: Size) -> Result<Scratch, Error> {
    let scratch = Scratch::new("state");
    let spill = SpillDir::open(&scratch.0)?;
    circuit.limit_memory(usize::try_from(limit.0).unwrap_or(usize::MAX), Arc::new(spill));
    Ok(scratch)
}

/// A folder for as long as a query runs.
struct Scratch(PathBuf);

impl Scratch {
    fn new(of: &str) -> Self {
        let name = format!("syncline-bench-{}-{of}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in the temporary folder anyway.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn first(errors: Vec<syncline_engine::SqlError>) -> Error {
    errors.into_iter().next().map_or_else(|| Error::bug("a query cannot be planned"), Error::from)
}

/// Where epochs come from.
trait Input {
    fn next(&mut self) -> Result<Option<Vec<Part>>, Error>;
}

/// What an epoch has of a table, and where it can be read again; empty: nowhere.
struct Part {
    input: TableInput,
    origin: Vec<FileRange>,
}

/// Events that are there before the clock starts.
struct Memory {
    epochs: VecDeque<Vec<Part>>,
}

impl Memory {
    fn generate(arguments: &cli::Nexmark, read: &[usize]) -> Result<Self, Error> {
        let mut generators: Vec<_> = read
            .iter()
            .map(|&table| (table, Generator::new(TABLES[table].1, arguments.seed)))
            .collect();
        let mut epochs = VecDeque::new();
        let mut from = 0;
        while from < arguments.events {
            let to = (from + EVENTS_PER_EPOCH).min(arguments.events);
            let inputs = generators.iter_mut().map(|(table, generator)| {
                let rows = vec![Batch::inserts(generator.rows(from..to)?)];
                let finished = to == arguments.events;
                Ok(Part { input: TableInput { table: *table, rows, finished }, origin: vec![] })
            });
            epochs.push_back(inputs.collect::<Result<_, Error>>()?);
            from = to;
        }
        Ok(Self { epochs })
    }
}

impl Input for Memory {
    fn next(&mut self) -> Result<Option<Vec<Part>>, Error> {
        Ok(self.epochs.pop_front())
    }
}

/// JSON files, each table read and parsed by a thread of its own.
struct Files {
    sources: Vec<(usize, Option<Box<dyn Source>>)>,
    runtime: tokio::runtime::Runtime,
}

impl Files {
    /// With a journal, it refers to the files.
    fn open(dir: &Path, read: &[usize], journal: Switch) -> Result<Self, Error> {
        let journal = match journal {
            Switch::On => file::Journal::Reference,
            Switch::Off => file::Journal::Rows,
        };
        let env = SourceEnv {
            base_dir: dir.to_owned(),
            replay: Arc::new(ReplayClock::new()),
            chunk_rows_max: EPOCH_ROWS,
            decode_threads: decode_threads(),
        };
        let sources = read.iter().map(|&number| {
            let (name, table) = TABLES[number];
            let single = dir.join(format!("{name}.jsonl"));
            let path = if single.exists() {
                format!("{name}.jsonl")
            } else {
                format!("{name}/part-*.jsonl")
            };
            let config = SourceConfig::File(file::SourceConfig {
                common: SourceCommon::default(),
                path,
                format: file::Format::Json,
                csv: file::CsvConfig::default(),
                follow: false,
                replay: None,
                max_row: Size(1 << 20),
                journal,
            });
            let opened = open_source(name, &config, nexmark::schema(table), None, &env)?;
            Ok((number, Some(opened.source)))
        });
        let sources = sources.collect::<Result<_, Error>>()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::bug("cannot start the runtime").source(error))?;
        Ok(Self { sources, runtime })
    }
}

impl Input for Files {
    fn next(&mut self) -> Result<Option<Vec<Part>>, Error> {
        let mut inputs = Vec::new();
        for (table, source) in &mut self.sources {
            let (mut rows, mut origin, mut count) = (Vec::new(), Vec::new(), 0);
            while let Some(reader) = source
                && count < EPOCH_ROWS
            {
                match self.runtime.block_on(reader.next())? {
                    Some(chunk) => {
                        count += chunk.rows.num_rows() as u64;
                        rows.push(chunk.rows);
                        origin.extend(chunk.origin);
                    }
                    None => *source = None,
                }
            }
            if !rows.is_empty() {
                let input = TableInput { table: *table, rows, finished: source.is_none() };
                inputs.push(Part { input, origin });
            }
        }
        Ok((!inputs.is_empty()).then_some(inputs))
    }
}

/// A journal in a folder that goes with it.
struct Recorder {
    journal: Journal,
    _dir: DataDir,
    _scratch: Scratch,
}

impl Recorder {
    fn new(tables: &[TableDef]) -> Result<Self, Error> {
        let scratch = Scratch::new("journal");
        let dir = DataDir::open(&scratch.0)?;
        let sources: Vec<_> = tables.iter().map(|t| (t.name.clone(), t.schema.clone())).collect();
        let (journal, _) = journal::Journal::open(&dir, &sources, 0)?;
        Ok(Self { journal, _dir: dir, _scratch: scratch })
    }

    fn append(&mut self, parts: &[Part]) -> Result<(), Error> {
        let inputs = parts.iter().map(|Part { input, origin }| SourceInput {
            source: TABLES[input.table].0.to_owned(),
            rows: input.rows.clone(),
            origin: origin.clone(),
            position: None,
            finished: input.finished,
            rejected: 0,
            bytes: 0,
            retried: vec![],
        });
        self.journal.append(&EpochInput {
            epoch: self.journal.last_epoch() + 1,
            time_us: 0,
            reason: CloseReason::Full,
            inputs: inputs.collect(),
            digest: None,
        })?;
        Ok(())
    }
}

/// A hash of a multiset that changes are added to: the sum of the hashes of its rows, lane by lane.
#[derive(Default)]
struct Digest([u64; 4]);

impl Digest {
    fn add(&mut self, codec: &RowCodec, change: &Batch) -> Result<(), Error> {
        let rows = codec.encode_batch(change.rows())?;
        for i in 0..change.num_rows() {
            let hash = blake3::hash(rows.row(i).as_ref());
            for (lane, bytes) in self.0.iter_mut().zip(hash.as_bytes().chunks_exact(8)) {
                let part = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
                *lane = lane.wrapping_add(part.wrapping_mul(change.weight(i) as u64));
            }
        }
        Ok(())
    }

    fn hex(&self) -> String {
        self.0.iter().map(|lane| format!("{lane:016x}")).collect()
    }
}
