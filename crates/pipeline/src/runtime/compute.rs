//! Steps the circuit, records what each epoch did, and passes the changes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use syncline_change::row::RowCodec;
use syncline_change::{Batch, Error, Result};
use syncline_engine::{Circuit, StepOutput, TableInput};
use syncline_store::dead_letters::Stage;
use syncline_store::epochs::{EpochLog, EpochRecord, SourceRecord, ViewRecord};
use syncline_store::journal::{EpochInput, Replay};

use super::plans::Plans;
use super::sequencer::Sequenced;
use super::sinks::Feed;
use super::state::Shared;
use crate::clock;
use crate::prepare::{Prepared, Relation};
use crate::reread::Reread;

pub(super) struct Compute {
    circuit: Circuit,
    shared: Arc<Shared>,
    log: EpochLog,
    /// Epochs up to this one were computed before, and are only computed again.
    recorded: u64,
    plans: Plans,
    feeds: Vec<Feed>,
    /// What changes of each view are hashed as.
    codecs: Vec<RowCodec>,
    skips_rejects: Vec<bool>,
}

impl Compute {
    pub(super) fn new(
        circuit: Circuit,
        shared: Arc<Shared>,
        log: EpochLog,
        recorded: u64,
        plans: Plans,
        feeds: Vec<Feed>,
        prepared: &Prepared,
    ) -> Self {
        // A view whose rows cannot be encoded was refused when the circuit was made.
        let codecs = circuit.views().iter().filter_map(|v| RowCodec::new(v.schema.clone()).ok());
        let codecs = codecs.collect();
        let skip = |config: &syncline_connect::config::SourceConfig| {
            config.common().on_error == syncline_connect::config::OnError::Skip
        };
        let skips_rejects = prepared.pipeline.spec.sources.values().map(skip).collect();
        Self { circuit, shared, log, recorded, plans, feeds, codecs, skips_rejects }
    }

    /// Replays the journal, then takes epochs as they come, until no more can.
    pub(super) fn run(
        mut self,
        replay: Reread<Replay>,
        epochs: &Receiver<Sequenced>,
    ) -> Result<()> {
        let done = self.run_all(replay, epochs);
        self.sync()?;
        done
    }

    fn run_all(&mut self, replay: Reread<Replay>, epochs: &Receiver<Sequenced>) -> Result<()> {
        self.replay(replay)?;
        while let Ok(Sequenced { input, read_at_nanos }) = epochs.recv() {
            self.epoch(&input, Some(read_at_nanos))?;
        }
        Ok(())
    }

    /// Makes the records of all epochs durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        let log = &mut self.log;
        self.shared.stubbornly("the epoch log", || log.sync())
    }

    /// Makes the state anew from the journal.
    pub(super) fn replay(&mut self, replay: Reread<Replay>) -> Result<()> {
        let mut last_time = 0;
        for input in replay {
            let input = input?;
            last_time = input.time_us;
            for part in &input.inputs {
                self.shared.count_replayed(part);
            }
            self.epoch(&input, None)?;
            if input.epoch > self.recorded {
                // The letters may be those of epochs that had to be computed again.
                for id in input.inputs.iter().flat_map(|part| &part.retried) {
                    self.shared.finish_retry(id)?;
                }
            }
        }
        self.shared.set_last_time_us(last_time.max(self.shared.last_time_us()));
        self.shared.set_ready();
        Ok(())
    }

    pub(super) fn epoch(&mut self, input: &EpochInput, read_at_nanos: Option<u64>) -> Result<()> {
        let started = clock::stopwatch_nanos();
        let tables = input.inputs.iter().filter_map(|part| {
            let table = self.shared.source_names().iter().position(|n| *n == part.source)?;
            Some(TableInput { table, rows: part.rows.clone(), finished: part.finished })
        });
        let output = self.circuit.step(input.epoch, input.time_us, tables.collect())?;
        let is_new = input.epoch > self.recorded;
        self.keep_rejected(input, &output)?;
        self.record(input, &output, is_new)?;
        self.shared.publish(input, &output, &self.circuit, is_new)?;
        let output = Arc::new(output);
        for feed in &self.feeds {
            feed.send(input.epoch, &output, read_at_nanos);
        }
        self.shared.set_due(self.circuit.due_at());
        let busy = clock::stopwatch_nanos() - started;
        self.shared.epoch_done(input, &self.circuit, busy, read_at_nanos, self.feeds.is_empty());
        Ok(())
    }

    fn keep_rejected(&self, input: &EpochInput, output: &StepOutput) -> Result<()> {
        let mut by_name: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (name, rejected) in &output.rejected {
            by_name.entry(name).or_default().push(rejected.clone());
        }
        for (name, rejected) in by_name {
            let source = self.shared.source_names().iter().position(|source| source == name);
            self.shared.count_late(source, &rejected);
            if source.is_some_and(|source| self.skips_rejects[source]) {
                continue;
            }
            self.shared.stubbornly("the log of dead letters", || {
                let rejected = rejected.clone();
                self.shared.add_letters(Stage::View, name, input.epoch, input.time_us, rejected)
            })?;
        }
        Ok(())
    }

    /// Writes the epoch's record, or compares it with the one that is there.
    fn record(&mut self, input: &EpochInput, output: &StepOutput, is_new: bool) -> Result<()> {
        let mut views = BTreeMap::new();
        for (i, changes) in output.views.iter().enumerate() {
            let rows = changes.iter().map(|change| change.num_rows() as u64).sum();
            if rows > 0 {
                let name = self.circuit.views()[i].name.clone();
                let digest = change_digest(&self.codecs[i], changes)?;
                views.insert(name, ViewRecord { rows, digest });
            }
        }
        if !is_new {
            return self.compare(input.epoch, &views);
        }
        let sources = input.inputs.iter().map(|part| {
            let rows = part.row_count() as u64;
            let record =
                SourceRecord { rows, rejected: part.rejected, position: part.position.clone() };
            (part.source.clone(), record)
        });
        let record = EpochRecord {
            epoch: input.epoch,
            time_us: input.time_us,
            sources: sources.collect(),
            views,
        };
        let log = &mut self.log;
        self.shared.stubbornly("the epoch log", || log.append(&record))
    }

    /// A replay that gives other bits than the run before it is never passed over in silence.
    fn compare(&mut self, epoch: u64, now: &BTreeMap<String, ViewRecord>) -> Result<()> {
        let Some(before) = self.shared.recorded_views(epoch)? else { return Ok(()) };
        for view in self.circuit.views() {
            let name = &view.name;
            if self.plans.are_recorded(name, epoch) && before.get(name) != now.get(name) {
                return Err(Error::corrupt(format!(
                    "view `{name}` came out differently in epoch {epoch} than at the first run"
                ))
                .detail("the same journal gave other changes: the data directory was altered, or this is another version of Syncline")
                .hint("start anew with another --data-dir, and please report it if nothing was altered"));
            }
        }
        Ok(())
    }
}

/// BLAKE3 over the rows of a view's changes in their order, each with its weight.
fn change_digest(codec: &RowCodec, changes: &[Batch]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = Vec::new();
    for change in changes {
        let rows = codec.encode_batch(change.rows())?;
        for i in 0..change.num_rows() {
            let row = rows.row(i);
            let row = row.as_ref();
            buffer.extend_from_slice(&(row.len() as u64).to_le_bytes());
            buffer.extend_from_slice(row);
            buffer.extend_from_slice(&change.weight(i).to_le_bytes());
            if buffer.len() >= 1 << 16 {
                hasher.update(&buffer);
                buffer.clear();
            }
        }
    }
    hasher.update(&buffer);
    Ok(hasher.finalize().to_hex().to_string())
}

/// The changes of one relation in an epoch.
pub(super) fn changes_of(output: &StepOutput, relation: Relation) -> &[Batch] {
    match relation {
        Relation::Table(table) => &output.tables[table],
        Relation::View(view) => &output.views[view],
    }
}
