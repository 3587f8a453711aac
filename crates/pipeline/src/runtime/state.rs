//! What the stages of a running pipeline show of themselves: contents, counters, events.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use syncline_change::source::Rejected;
use syncline_change::{Error, ErrorKind, Result};
use syncline_connect::http::Ingest;
use syncline_engine::{
    Circuit, Content, Graph, NodeStats, SavedState, StateChanges, StepOutput, Touched, ViewInfo,
};
use syncline_store::DataDir;
use syncline_store::dead_letters::{DeadLetters, Stage, State};
use syncline_store::epochs::{self, EpochRecord, Records};
use syncline_store::journal::{EpochInput, SourceInput};
use tokio::sync::broadcast;

use super::metrics::Metrics;
use super::status::{Event, RunState, SinkState, SinkStatus, SourceState, SourceStatus};
use crate::clock::{self, Clock};
use crate::prepare::{Prepared, Relation, is_bounded};

/// Events that a slow listener may fall behind before it misses some.
const EVENTS_KEPT: usize = 1_024;
/// Latencies kept for percentiles.
const LATENCIES_KEPT: usize = 4_096;
/// How long a refused write waits before it is tried again.
const STORAGE_RETRY: Duration = Duration::from_millis(500);
/// How long a latency counts.
pub(super) const LATENCY_WINDOW_NANOS: u64 = 10_000_000_000;

/// What all stages share.
pub struct Shared {
    pub letters: DeadLetters,
    pub metrics: Metrics,
    pub events: broadcast::Sender<Event>,
    pub(super) alerts: super::alerts::Alerts,
    dir: Arc<DataDir>,
    clock: Arc<dyn Clock>,
    names: Vec<String>,
    infos: Vec<ViewInfo>,
    graph: Graph,
    /// Whether event time is not the present's.
    replay: bool,
    pub workers: usize,
    /// What `random()` and `uuid()` start from.
    pub seed: u64,
    pub started_us: i64,
    started_nanos: u64,
    /// By relation; only those that somebody may want to read.
    contents: BTreeMap<(bool, usize), RwLock<(u64, Content)>>,
    /// Which views are shown to people.
    kept: Vec<bool>,
    live: Mutex<Live>,
    ingests: Mutex<BTreeMap<String, Ingest>>,
    /// Records of the epoch log, read along with a replay.
    records: Mutex<Option<Records>>,
    last_time_us: AtomicI64,
    /// When time alone will change a view; the end of time if it will not.
    due_us: AtomicI64,
    epoch: AtomicU64,
    epoch_nanos: AtomicU64,
    journal_bytes: AtomicU64,
    /// Bytes of the journal that were let go since the start.
    journal_freed: AtomicU64,
    stopping: AtomicBool,
}

/// What is kept of a relation that somebody may want to read.
pub(super) struct Held {
    /// What it is called among the state of a checkpoint.
    pub(super) name: String,
    /// The view's number; `None`: it is a table.
    pub(super) view: Option<usize>,
}

/// What the content of a view is called among the state of a checkpoint.
pub(crate) fn view_held(view: &str) -> String {
    format!("view/{view}")
}

fn table_held(table: &str) -> String {
    format!("table/{table}")
}

fn layout(held: impl Iterator<Item = String>, circuit: &Circuit) -> String {
    let parts = held.chain([circuit.layout()]).collect::<Vec<_>>();
    blake3::hash(format!("{parts:?}").as_bytes()).to_hex().to_string()
}

/// The layout of a pipeline that is not running.
pub(super) fn layout_of(prepared: &Prepared, circuit: &Circuit) -> String {
    let tables = prepared.tables.iter().filter(|table| feeds_snapshot(prepared, &table.name));
    let views = circuit.views().iter().filter(|view| is_held(prepared, &view.name));
    let held = tables.map(|table| table_held(&table.name));
    layout(held.chain(views.map(|view| view_held(&view.name))), circuit)
}

/// Whether the content of a view is there to be read, by people or by a sink.
fn is_held(prepared: &Prepared, view: &str) -> bool {
    prepared.is_kept(view) || feeds_snapshot(prepared, view)
}

/// Rows and bytes of each source, up to some epoch.
pub(super) type Tally = BTreeMap<String, (u64, u64)>;

/// What was counted from the beginning.
#[derive(Serialize, Deserialize)]
struct Totals {
    rows: u64,
    rejected: u64,
    /// Rows, bytes and rejected rows.
    sources: BTreeMap<String, (u64, u64, u64)>,
    /// Rows of what is held.
    held: BTreeMap<String, usize>,
}

/// Rows that are read from a checkpoint at a time, so that nobody waits long.
const LOADED_AT_A_TIME: usize = 1 << 14;

/// A content whose rows are all there: whoever wants to read it reads what is left in a checkpoint.
fn loaded(content: &RwLock<(u64, Content)>) -> Result<RwLockReadGuard<'_, (u64, Content)>> {
    loop {
        let found = content.read().unwrap_or_else(PoisonError::into_inner);
        if !found.1.is_loading() {
            return Ok(found);
        }
        drop(found);
        let mut content = content.write().unwrap_or_else(PoisonError::into_inner);
        content.1.load_some(LOADED_AT_A_TIME)?;
    }
}

const TOTALS: &str = "totals";
const ALERTS: &str = "alerts";

fn put_json(state: &mut StateChanges, name: &str, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(value)
        .map_err(|error| Error::bug(format!("{name} have no JSON form")).source(error))?;
    state.put(name, &text);
    Ok(())
}

fn take_json<T: serde::de::DeserializeOwned>(state: &SavedState, name: &str) -> Result<T> {
    serde_json::from_slice(state.value(name)?).map_err(|error| {
        Error::corrupt(format!("the state in a checkpoint is unreadable: {name}")).source(error)
    })
}

/// What changes all the time.
pub(super) struct Live {
    pub(super) state: RunState,
    pub(super) failure: Option<String>,
    /// What keeps the disk from being written to, while it does.
    pub(super) trouble: Option<String>,
    pub(super) sources: IndexMap<String, SourceStatus>,
    pub(super) sinks: IndexMap<String, SinkStatus>,
    pub(super) operators: Vec<NodeStats>,
    pub(super) rows: u64,
    pub(super) rejected: u64,
    pub(super) latencies: VecDeque<(u64, u64)>,
    pub(super) history: super::stats::History,
}

impl Shared {
    pub(super) fn new(
        prepared: &Prepared,
        circuit: &Circuit,
        dir: Arc<DataDir>,
        clock: Arc<dyn Clock>,
        workers: usize,
        letters: DeadLetters,
    ) -> Result<Self> {
        let spec = &prepared.pipeline.spec;
        let kept: Vec<bool> = circuit.views().iter().map(|v| prepared.is_kept(&v.name)).collect();
        let mut contents = BTreeMap::new();
        for (i, view) in circuit.views().iter().enumerate() {
            if is_held(prepared, &view.name) {
                let mut content = Content::new(view.schema.clone(), view.order.clone())?;
                content.remember_touched();
                contents.insert((true, i), RwLock::new((0, content)));
            }
        }
        for (i, table) in prepared.tables.iter().enumerate() {
            if feeds_snapshot(prepared, &table.name) {
                let mut content = Content::new(table.schema.clone(), vec![])?;
                content.remember_touched();
                contents.insert((false, i), RwLock::new((0, content)));
            }
        }
        let source = SourceStatus {
            state: SourceState::Running,
            error: None,
            rows: 0,
            bytes: 0,
            rejected: 0,
            watermark_us: None,
            complete: false,
            last_nanos: clock::stopwatch_nanos(),
        };
        let sink =
            SinkStatus { state: SinkState::Running, error: None, rows: 0, epoch: 0, pending: 0 };
        let records = epochs::records(&dir)?;
        Ok(Self {
            letters,
            metrics: Metrics::new(&spec.name)?,
            events: broadcast::channel(EVENTS_KEPT).0,
            alerts: super::alerts::Alerts::new(prepared, circuit),
            dir,
            started_us: clock.wall_us(),
            clock,
            names: prepared.tables.iter().map(|table| table.name.clone()).collect(),
            infos: circuit.views().to_vec(),
            graph: circuit.graph(),
            replay: spec.sources.values().any(is_bounded),
            workers,
            seed: prepared.lock.seed,
            started_nanos: clock::stopwatch_nanos(),
            contents,
            live: Mutex::new(Live {
                state: RunState::Starting,
                failure: None,
                trouble: None,
                sources: spec.sources.keys().map(|name| (name.clone(), source.clone())).collect(),
                sinks: spec.sinks.keys().map(|name| (name.clone(), sink.clone())).collect(),
                operators: circuit.stats(),
                rows: 0,
                rejected: 0,
                latencies: VecDeque::new(),
                history: super::stats::History::default(),
            }),
            kept,
            ingests: Mutex::default(),
            records: Mutex::new(records),
            last_time_us: AtomicI64::new(0),
            due_us: AtomicI64::new(i64::MAX),
            epoch: AtomicU64::new(0),
            epoch_nanos: AtomicU64::new(0),
            journal_bytes: AtomicU64::new(0),
            journal_freed: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        })
    }

    pub(super) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn source_names(&self) -> &[String] {
        &self.names
    }

    /// The views of the circuit: those of the pipeline file, then one for each alert.
    pub fn views(&self) -> &[ViewInfo] {
        &self.infos
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    pub fn data_dir(&self) -> &DataDir {
        &self.dir
    }

    pub fn alerts(&self) -> &super::alerts::Alerts {
        &self.alerts
    }

    pub(super) fn is_replay(&self) -> bool {
        self.replay
    }

    /// Whether the view's content can be read.
    pub fn is_kept(&self, view: usize) -> bool {
        self.kept[view]
    }

    /// The last epoch that is computed and recorded.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Relaxed)
    }

    pub fn journal_bytes(&self) -> u64 {
        self.journal_bytes.load(Relaxed)
    }

    pub fn epoch_nanos(&self) -> u64 {
        self.epoch_nanos.load(Relaxed)
    }

    pub fn uptime_nanos(&self) -> u64 {
        clock::stopwatch_nanos() - self.started_nanos
    }

    pub fn state(&self) -> RunState {
        self.live().state
    }

    pub fn sources(&self) -> IndexMap<String, SourceStatus> {
        self.live().sources.clone()
    }

    pub fn sinks(&self) -> IndexMap<String, SinkStatus> {
        self.live().sinks.clone()
    }

    /// Why the pipeline, a source or a sink has stopped, if one has.
    pub fn failure(&self) -> Option<Error> {
        let live = self.live();
        let source = live.sources.iter().find(|(_, s)| s.state == SourceState::Failed);
        let source = source.map(|(name, s)| (format!("source `{name}` has failed"), &s.error));
        let sink = live.sinks.iter().find(|(_, s)| s.state == SinkState::Failed);
        let sink = sink.map(|(name, s)| (format!("sink `{name}` has failed"), &s.error));
        let (message, detail) = source.or(sink)?;
        let error = Error::new(ErrorKind::Unavailable, message);
        Some(match detail {
            Some(detail) => error.detail(detail.clone()),
            None => error,
        })
    }

    /// Why the pipeline makes no progress, a sentence each; none if it does.
    pub fn troubles(&self) -> Vec<String> {
        let live = self.live();
        let mut troubles = Vec::new();
        match live.state {
            RunState::Starting => {
                troubles.push("the state is being made anew from the journal".to_owned())
            }
            RunState::Failed => troubles.push(format!(
                "the pipeline has failed: {}",
                live.failure.as_deref().unwrap_or("see the log")
            )),
            RunState::Running | RunState::Finished => {}
        }
        troubles.extend(live.trouble.clone());
        let word = |error: &Option<String>| error.clone().unwrap_or_default();
        for (name, source) in &live.sources {
            if matches!(source.state, SourceState::Failed | SourceState::Retrying) {
                troubles.push(format!("source `{name}`: {}", word(&source.error)));
            }
        }
        for (name, sink) in &live.sinks {
            if matches!(sink.state, SinkState::Failed | SinkState::Retrying) {
                troubles.push(format!("sink `{name}`: {}", word(&sink.error)));
            }
        }
        troubles
    }

    /// The way in to an `http` source.
    pub fn ingest(&self, source: &str) -> Option<Ingest> {
        self.ingests.lock().unwrap_or_else(PoisonError::into_inner).get(source).cloned()
    }

    pub(super) fn add_ingest(&self, source: &str, ingest: Ingest) {
        let mut ingests = self.ingests.lock().unwrap_or_else(PoisonError::into_inner);
        ingests.insert(source.to_owned(), ingest);
    }

    /// Reads the content of a kept view together with the epoch that it is of.
    ///
    /// # Errors
    /// `Config` if the view is not kept.
    pub fn read<T>(&self, view: &str, read: impl FnOnce(u64, &Content) -> Result<T>) -> Result<T> {
        let place = self.infos.iter().position(|info| info.name == view);
        let content = place.and_then(|place| self.contents.get(&(true, place)));
        let content = content.ok_or_else(|| {
            Error::config(format!("view `{view}` is not kept"))
                .hint(format!("say `{view}: {{sql: .., keep: true}}` in the pipeline file"))
        })?;
        let content = loaded(content)?;
        read(content.0, &content.1)
    }

    /// The names, schemas and rows of all kept views.
    #[allow(clippy::type_complexity)]
    pub fn kept_contents(&self) -> Result<Vec<((String, Vec<RecordBatch>), SchemaRef)>> {
        let kept = self.infos.iter().enumerate().filter(|(i, _)| self.kept[*i]);
        let contents = kept.map(|(_, info)| {
            let rows = self.read(&info.name, |_, content| content.batches())?;
            Ok(((info.name.clone(), rows), info.schema.clone()))
        });
        contents.collect()
    }

    pub(super) fn content(&self, relation: Relation) -> Result<(u64, Vec<RecordBatch>)> {
        let key = match relation {
            Relation::View(view) => (true, view),
            Relation::Table(table) => (false, table),
        };
        let content = self
            .contents
            .get(&key)
            .ok_or_else(|| Error::bug("the content of what a snapshot shows is not kept"))?;
        let content = loaded(content)?;
        Ok((content.0, content.1.batches()?))
    }

    /// What has changed in the contents since this was last asked for, of those in which it has at least
    /// so many `bytes`.
    pub(super) fn take_touched(&self, bytes: usize) -> Vec<(Held, Touched)> {
        let touched = self.contents.iter().filter_map(|(key, content)| {
            let mut content = content.write().unwrap_or_else(PoisonError::into_inner);
            let is_wanted = content.1.touched_bytes() >= bytes;
            is_wanted.then(|| (self.held(*key), content.1.take_touched()))
        });
        touched.collect()
    }

    fn held(&self, (is_view, number): (bool, usize)) -> Held {
        match is_view {
            true => Held { name: view_held(&self.infos[number].name), view: Some(number) },
            false => Held { name: table_held(&self.names[number]), view: None },
        }
    }

    /// Rows and bytes of each source as they are counted now.
    pub(super) fn tally(&self) -> Tally {
        let live = self.live();
        let sources = live.sources.iter();
        sources.map(|(name, source)| (name.clone(), (source.rows, source.bytes))).collect()
    }

    /// How many rows each view has whose content is there.
    pub(super) fn rows_held(&self) -> BTreeMap<usize, u64> {
        let views = self.contents.iter().filter(|((is_view, _), _)| *is_view);
        let rows = views.map(|((_, number), content)| {
            let content = content.read().unwrap_or_else(PoisonError::into_inner);
            (*number, content.1.len() as u64)
        });
        rows.collect()
    }

    /// Adds what there is beside contents, and must be there at a start from a checkpoint.
    pub(super) fn save(&self, state: &mut StateChanges, tally: &Tally) -> Result<()> {
        let live = self.live();
        // The sequencer may have counted epochs that are not computed yet.
        let sources = live.sources.iter().map(|(name, source)| {
            let (rows, bytes) = tally.get(name).copied().unwrap_or_default();
            (name.clone(), (rows, bytes, source.rejected))
        });
        let mut totals = Totals {
            rows: tally.values().map(|(rows, _)| rows).sum(),
            rejected: live.rejected,
            sources: sources.collect(),
            held: BTreeMap::new(),
        };
        drop(live);
        for (key, content) in &self.contents {
            let content = content.read().unwrap_or_else(PoisonError::into_inner);
            totals.held.insert(self.held(*key).name, content.1.len());
        }
        put_json(state, TOTALS, &totals)?;
        put_json(state, ALERTS, &self.alerts.firing())
    }

    /// Changes when a pipeline cannot go on from another's checkpoint any more.
    pub(super) fn layout(&self, circuit: &Circuit) -> String {
        let held = self.contents.keys().map(|key| self.held(*key).name);
        layout(held, circuit)
    }

    /// Takes contents, and what is beside them, from a checkpoint that `circuit` has gone on from.
    ///
    /// # Errors
    /// `Corrupt` if they are not there.
    pub(super) fn load(
        &self,
        circuit: &Circuit,
        (epoch, time_us): (u64, i64),
        state: &SavedState,
    ) -> Result<()> {
        let totals: Totals = take_json(state, TOTALS)?;
        for (key, content) in &self.contents {
            let mut content = content.write().unwrap_or_else(PoisonError::into_inner);
            let name = self.held(*key).name;
            let rows = totals.held.get(&name).copied().unwrap_or(0);
            content.1.load(state, &name, rows)?;
            content.0 = epoch;
        }
        self.alerts.set_firing(take_json(state, ALERTS)?);
        let mut live = self.live();
        (live.rows, live.rejected) = (totals.rows, totals.rejected);
        for (name, source) in &mut live.sources {
            if let Some((rows, bytes, rejected)) = totals.sources.get(name) {
                (source.rows, source.bytes, source.rejected) = (*rows, *bytes, *rejected);
            }
        }
        live.operators = circuit.stats();
        self.note_watermarks(&mut live, circuit);
        drop(live);
        self.epoch.store(epoch, Relaxed);
        self.set_last_time_us(time_us.max(self.last_time_us()));
        Ok(())
    }

    /// Applies an epoch's changes to what can be read, and tells those who listen.
    pub(super) fn publish(
        &self,
        input: &EpochInput,
        output: &StepOutput,
        circuit: &Circuit,
        is_new: bool,
    ) -> Result<()> {
        let epoch = input.epoch;
        let views = output.views.iter().enumerate().map(|(i, changes)| ((true, i), changes));
        let tables = output.tables.iter().enumerate().map(|(i, changes)| ((false, i), changes));
        let is_heard = is_new && self.events.receiver_count() > 0;
        for (key, changes) in views.chain(tables) {
            let mut total = 0;
            if let Some(content) = self.contents.get(&key) {
                let mut content = content.write().unwrap_or_else(PoisonError::into_inner);
                for change in changes {
                    content.1.apply(change)?;
                }
                content.0 = epoch;
                total = content.1.len();
            }
            if is_heard && !changes.is_empty() {
                let relation =
                    if key.0 { &circuit.views()[key.1].name } else { &self.names[key.1] };
                // Nobody may be there any more by now.
                let _ = self.events.send(Event::Changes {
                    relation: relation.clone(),
                    epoch,
                    total,
                    changes: Arc::new(changes.clone()),
                });
            }
        }
        self.alerts.apply(output, input.time_us, is_new, &self.events)
    }

    pub(super) fn epoch_done(
        &self,
        input: &EpochInput,
        circuit: &Circuit,
        busy_nanos: u64,
        read_at_nanos: Option<u64>,
        is_end: bool,
    ) {
        self.epoch.store(input.epoch, Relaxed);
        self.epoch_nanos.store(busy_nanos, Relaxed);
        let rows: u64 = input.inputs.iter().map(|part| part.row_count() as u64).sum();
        let metrics = &self.metrics;
        metrics.last_committed_epoch.set(i64::try_from(input.epoch).unwrap_or(i64::MAX));
        metrics.last_committed_epoch_timestamp.set(input.time_us as f64 / 1e6);
        metrics.epoch_duration.observe(busy_nanos as f64 / 1e9);
        metrics.epoch_rows.observe(rows as f64);
        let mut live = self.live();
        let stats = circuit.stats();
        for (i, (now, before)) in stats.iter().zip(&live.operators).enumerate() {
            let label = [format!("n{i}")];
            metrics
                .operator_busy
                .with_label_values(&label)
                .inc_by((now.busy_nanos - before.busy_nanos) as f64 / 1e9);
            metrics.operator_rows_in.with_label_values(&label).inc_by(now.rows_in - before.rows_in);
            metrics
                .operator_rows_out
                .with_label_values(&label)
                .inc_by(now.rows_out - before.rows_out);
        }
        live.operators = stats;
        self.note_watermarks(&mut live, circuit);
        drop(live);
        if let Some(read_at) = read_at_nanos.filter(|_| is_end) {
            self.observe_latency(read_at);
        }
    }

    fn note_watermarks(&self, live: &mut Live, circuit: &Circuit) {
        for (table, name) in self.names.iter().enumerate() {
            if let Some(source) = live.sources.get_mut(name) {
                // What has ended holds nothing up: it has no watermark to show.
                let watermark = circuit.watermark(table);
                source.complete = watermark == Some(i64::MAX);
                source.watermark_us = watermark.filter(|_| !source.complete);
            }
        }
    }

    pub(super) fn observe_latency(&self, read_at_nanos: u64) {
        let now = clock::stopwatch_nanos();
        let latency = now.saturating_sub(read_at_nanos);
        self.metrics.e2e_latency.observe(latency as f64 / 1e9);
        let mut live = self.live();
        live.latencies.push_back((now, latency));
        if live.latencies.len() > LATENCIES_KEPT {
            live.latencies.pop_front();
        }
    }

    pub(super) fn observe_write(&self, sink: &str, nanos: u64) {
        let seconds = nanos as f64 / 1e9;
        self.metrics.sink_write_duration.with_label_values(&[sink]).observe(seconds);
    }

    pub(super) fn count_input(&self, number: usize, input: &SourceInput, rejected: &[Rejected]) {
        let name = &self.names[number];
        let rows = input.row_count() as u64;
        self.metrics.source_records.with_label_values(&[name]).inc_by(rows);
        self.metrics.source_bytes.with_label_values(&[name]).inc_by(input.bytes);
        self.count_letters(name, Stage::Source, rejected);
        let mut live = self.live();
        live.rows += rows;
        // Rows that are skipped on purpose are no errors.
        live.rejected += rejected.len() as u64;
        if let Some(source) = live.sources.get_mut(name) {
            source.rows += rows;
            source.bytes += input.bytes;
            source.rejected += input.rejected;
            source.last_nanos = clock::stopwatch_nanos();
        }
    }

    /// Counts what an earlier run took in, so that totals go on where they were.
    pub(super) fn count_replayed(&self, input: &SourceInput) {
        let mut live = self.live();
        live.rows += input.row_count() as u64;
        live.rejected += input.rejected;
        if let Some(source) = live.sources.get_mut(&input.source) {
            source.rows += input.row_count() as u64;
            source.bytes += input.bytes;
            source.rejected += input.rejected;
        }
    }

    /// Counts rows that the circuit turned away.
    pub(super) fn count_late(&self, source: Option<usize>, rejected: &[Rejected]) {
        let name = source.map_or("", |source| self.names[source].as_str());
        self.count_letters(name, Stage::View, rejected);
        let mut live = self.live();
        live.rejected += rejected.len() as u64;
        if let Some(source) = live.sources.get_mut(name) {
            source.rejected += rejected.len() as u64;
        }
    }

    pub(super) fn count_undelivered(&self, rejected: &[Rejected]) {
        self.count_letters("", Stage::Sink, rejected);
        self.live().rejected += rejected.len() as u64;
    }

    fn count_letters(&self, source: &str, stage: Stage, rejected: &[Rejected]) {
        for letter in rejected {
            let labels = [source, stage.name(), letter.class.name()];
            self.metrics.dead_letters.with_label_values(&labels).inc();
        }
    }

    /// Keeps dead letters and tells those who listen.
    pub(super) fn add_letters(
        &self,
        stage: Stage,
        source: &str,
        epoch: u64,
        at_us: i64,
        rejected: Vec<Rejected>,
    ) -> Result<()> {
        let ids = self.letters.append(stage, source, epoch, at_us, rejected)?;
        if self.events.receiver_count() > 0 {
            // Listeners want the newest, not thousands of them.
            for id in ids.iter().rev().take(10) {
                if let Some(letter) = self.letters.get(id)? {
                    let _ = self.events.send(Event::DeadLetter(Box::new(letter)));
                }
            }
        }
        Ok(())
    }

    /// The mended rows of a dead letter are in the journal. The letter may not be there while a
    /// replay has yet to meet it again.
    pub(super) fn finish_retry(&self, id: &str) -> Result<()> {
        self.stubbornly("the log of dead letters", || {
            if self.letters.get(id)?.is_some() {
                self.letters.resolve(id, State::Retried, self.now_us())?;
            }
            self.letters.finish_retry(id)
        })
    }

    /// The machine's time, in microseconds since 1970 (UTC).
    pub(super) fn now_us(&self) -> i64 {
        self.clock.wall_us()
    }

    /// How long to wait before trying again after `delay`; `None`: there is to be no other try.
    pub(super) fn pause(&self, delay: Duration) -> Option<Duration> {
        if self.is_stopping() { None } else { self.clock.pause(delay) }
    }

    /// What the epoch log says of an epoch; asked for in the order of epochs.
    pub(super) fn recorded(&self, epoch: u64) -> Result<Option<EpochRecord>> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(records) = records.as_mut() else { return Ok(None) };
        for record in records {
            let record = record?.record;
            if record.epoch >= epoch {
                return Ok((record.epoch == epoch).then_some(record));
            }
        }
        Ok(None)
    }

    pub(super) fn count_error(&self, kind: ErrorKind) {
        self.metrics.errors.with_label_values(&[kind.name()]).inc();
    }

    pub(super) fn count_retry(&self, sink: &str) {
        self.metrics.retries.with_label_values(&[sink]).inc();
    }

    pub(super) fn sink_wrote(&self, sink: &str, epoch: u64, rows: u64, pending: usize) {
        self.metrics.sink_records.with_label_values(&[sink]).inc_by(rows);
        let waiting = i64::try_from(pending).unwrap_or(i64::MAX);
        self.metrics.sink_pending_epochs.with_label_values(&[sink]).set(waiting);
        if let Some(status) = self.live().sinks.get_mut(sink) {
            status.rows += rows;
            status.epoch = epoch;
            status.pending = pending;
        }
    }

    pub(super) fn set_sink_epoch(&self, sink: &str, epoch: u64) {
        if let Some(status) = self.live().sinks.get_mut(sink) {
            status.epoch = epoch;
        }
    }

    pub(super) fn set_sink(&self, sink: &str, state: SinkState, error: Option<String>) {
        if let Some(status) = self.live().sinks.get_mut(sink) {
            (status.state, status.error) = (state, error);
        }
    }

    pub(super) fn set_source(&self, source: &str, state: SourceState, error: Option<String>) {
        if let Some(status) = self.live().sources.get_mut(source) {
            (status.state, status.error) = (state, error);
        }
    }

    pub(super) fn set_state(&self, state: RunState, failure: Option<String>) {
        let mut live = self.live();
        live.state = state;
        live.failure = failure.or(live.failure.take());
    }

    /// The state is what it was when the pipeline stopped.
    pub(super) fn set_ready(&self) {
        self.set_state(RunState::Running, None);
    }

    /// Notices that all input is processed and every sink durable, or that there is more again.
    pub(super) fn settle(&self) {
        let epoch = self.epoch();
        let mut live = self.live();
        let is_done = live.sources.values().all(|source| source.complete)
            && live.sinks.values().all(|sink| sink.epoch >= epoch);
        match (live.state, is_done) {
            (RunState::Running, true) => live.state = RunState::Finished,
            (RunState::Finished, false) => live.state = RunState::Running,
            _ => {}
        }
    }

    /// Tries again for as long as the disk refuses and nobody wants to stop: nothing is lost
    /// meanwhile, because nothing goes on. For threads that may block.
    pub(super) fn stubbornly<T>(
        &self,
        what: &str,
        mut work: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        loop {
            let done = work();
            if let Err(error) = &done
                && error.kind().is_transient()
            {
                tracing::warn!("{what} waits: {}", error.report());
                self.count_error(error.kind());
                self.set_trouble(format!("{what} waits: {error}"));
                if let Some(delay) = self.pause(STORAGE_RETRY) {
                    std::thread::sleep(delay);
                    continue;
                }
            }
            self.clear_trouble();
            return done;
        }
    }

    fn set_trouble(&self, trouble: String) {
        self.live().trouble = Some(trouble);
    }

    fn clear_trouble(&self) {
        self.live().trouble = None;
    }

    /// Bytes of the journal were let go.
    pub(super) fn count_freed(&self, bytes: u64) {
        self.journal_freed.fetch_add(bytes, Relaxed);
    }

    /// The journal would have so many if none had been let go.
    pub(super) fn set_journal_bytes(&self, bytes: u64) {
        let bytes = bytes.saturating_sub(self.journal_freed.load(Relaxed));
        self.journal_bytes.store(bytes, Relaxed);
        self.metrics.journal_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(super) fn last_time_us(&self) -> i64 {
        self.last_time_us.load(Relaxed)
    }

    pub(super) fn set_last_time_us(&self, time_us: i64) {
        self.last_time_us.store(time_us, Relaxed);
    }

    pub(super) fn set_due(&self, due_us: Option<i64>) {
        self.due_us.store(due_us.unwrap_or(i64::MAX), Relaxed);
    }

    /// Whether time alone changes a view by now. Says so once, until the circuit has been asked anew.
    pub(super) fn take_due(&self, now_us: i64) -> bool {
        let due_us = self.due_us.load(Relaxed);
        due_us <= now_us && self.due_us.compare_exchange(due_us, i64::MAX, Relaxed, Relaxed).is_ok()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    pub(super) fn set_stopping(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Rows and memory of the content of view number `view`.
    pub(super) fn content_size(&self, view: usize) -> Option<(usize, usize)> {
        let content = self.contents.get(&(true, view))?;
        let content = content.read().unwrap_or_else(PoisonError::into_inner);
        Some((content.1.len(), content.1.bytes()))
    }
}

/// Whether a sink wants the whole content of `relation`.
fn feeds_snapshot(prepared: &Prepared, relation: &str) -> bool {
    use syncline_connect::config::{Mode, SinkConfig};
    prepared.pipeline.spec.sinks.values().any(|sink| {
        sink.common().from == relation
            && matches!(sink, SinkConfig::File(file) if file.mode == Mode::Snapshot)
    })
}
