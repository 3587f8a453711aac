//! Steps the circuit, records what each epoch did, and passes the changes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use arrow::datatypes::SchemaRef;
use syncline_change::digest::ChangeDigest;
use syncline_change::{Batch, Error, Result};
use syncline_engine::{Circuit, StepOutput, TableInput};
use syncline_store::dead_letters::Stage;
use syncline_store::epochs::{EpochLog, EpochRecord, SourceRecord, ViewRecord};
use syncline_store::journal::{EpochInput, Replay};

use super::checkpoint::Checkpointer;
use super::checkpoint::resume::Resumed;
use super::feeds::Feeds;
use super::plans::Plans;
use super::sequencer::Sequenced;
use super::state::Shared;
use crate::clock;
use crate::prepare::Prepared;
use crate::reread::Reread;

pub(super) struct Compute {
    circuit: Circuit,
    shared: Arc<Shared>,
    log: EpochLog,
    /// Epochs up to this one were computed before, and are only computed again.
    recorded: u64,
    /// The epoch of the checkpoint that the state is from; 0: it is made anew.
    from: u64,
    plans: Plans,
    feeds: Feeds,
    checkpointer: Checkpointer,
    skips_rejects: Vec<bool>,
}

/// What it works with.
pub(super) struct Parts {
    pub(super) circuit: Circuit,
    pub(super) shared: Arc<Shared>,
    pub(super) log: EpochLog,
    pub(super) recorded: u64,
    pub(super) plans: Plans,
    pub(super) feeds: Feeds,
    /// The checkpoint that the circuit's state is from, if it is from one.
    pub(super) resumed: Option<Resumed>,
}

impl Compute {
    pub(super) fn new(parts: Parts, prepared: &Prepared) -> Result<Self> {
        let Parts { circuit, shared, log, recorded, plans, feeds, resumed } = parts;
        let skip = |config: &syncline_connect::config::SourceConfig| {
            config.common().on_error == syncline_connect::config::OnError::Skip
        };
        let skips_rejects = prepared.pipeline.spec.sources.values().map(skip).collect();
        let from = resumed.as_ref().map_or(0, |resumed| resumed.checkpoint.epoch);
        let layout = shared.layout(&circuit);
        let checkpointer = Checkpointer::new(shared.clone(), &plans, prepared, layout, resumed)?;
        Ok(Self { circuit, shared, log, recorded, from, plans, feeds, checkpointer, skips_rejects })
    }

    /// Replays the journal, then takes epochs as they come, until no more can.
    pub(super) fn run(
        mut self,
        replay: Reread<Replay>,
        epochs: &Receiver<Sequenced>,
    ) -> Result<()> {
        let done = self.run_all(replay, epochs);
        // Sinks may finish while the last checkpoint is written.
        self.feeds.close();
        let synced = self.sync();
        // After an error it would be of something that never was: half an epoch.
        done.and(synced)?;
        self.checkpointer.finish(&mut self.circuit, &self.log)
    }

    fn run_all(&mut self, replay: Reread<Replay>, epochs: &Receiver<Sequenced>) -> Result<()> {
        self.replay(replay)?;
        loop {
            match epochs.recv_timeout(self.checkpointer.interval()) {
                Ok(Sequenced { input, read_at_nanos }) => {
                    self.epoch(&input, Some(read_at_nanos))?;
                }
                // The last epochs before a pause are worth a checkpoint too.
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            self.checkpointer.take_if_due(&mut self.circuit, &self.log)?;
        }
    }

    /// Makes the records of all epochs durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        let log = &mut self.log;
        if let Some(mark) = self.checkpointer.durable() {
            log.note_durable(mark);
        }
        self.shared.stubbornly("the epoch log", || log.sync())
    }

    /// Whether anything has happened since the last checkpoint.
    #[cfg(test)]
    pub(super) fn has_news(&self) -> bool {
        self.checkpointer.has_news()
    }

    /// Takes a checkpoint and waits until it is written.
    #[cfg(test)]
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        self.checkpointer.take_and_wait(&mut self.circuit, &self.log)
    }

    /// Lets the next checkpoint be one that cannot be taken.
    #[cfg(test)]
    pub(super) fn meet_too_much(&mut self) -> Result<()> {
        self.checkpointer.meet_too_much(&mut self.circuit, &self.log)
    }

    /// What is done of checkpoints when the epochs have come to their end.
    #[cfg(test)]
    pub(super) fn finish(mut self) -> Result<()> {
        self.checkpointer.finish(&mut self.circuit, &self.log)
    }

    /// Brings the state from where it is from to the end of the journal.
    pub(super) fn replay(&mut self, replay: Reread<Replay>) -> Result<()> {
        if self.from > 0 {
            self.feeds.go_on(self.from);
            self.shared.set_due(self.circuit.due_at());
        }
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
        let views = self.record(input, &output, is_new)?;
        self.checkpointer.note(input, &views, is_new)?;
        self.shared.publish(input, &output, &self.circuit, is_new)?;
        self.feeds.send(input, &output, read_at_nanos)?;
        self.shared.set_due(self.circuit.due_at());
        let busy = clock::stopwatch_nanos() - started;
        self.shared.epoch_done(input, &self.circuit, busy, read_at_nanos, self.feeds.is_empty());
        let rows = input.inputs.iter().map(|part| part.row_count()).sum();
        self.checkpointer.relieve(&mut self.circuit, rows)
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

    /// Writes the epoch's record, or compares it with the one that is there. Returns what it says of
    /// views.
    fn record(
        &mut self,
        input: &EpochInput,
        output: &StepOutput,
        is_new: bool,
    ) -> Result<BTreeMap<String, ViewRecord>> {
        let mut views = BTreeMap::new();
        for (i, changes) in output.views.iter().enumerate() {
            if changes.iter().all(Batch::is_empty) {
                continue;
            }
            let view = &self.circuit.views()[i];
            views.insert(view.name.clone(), record_of(&view.schema, changes)?);
        }
        if !is_new {
            self.compare(input, &views)?;
            return Ok(views);
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
            input: input.digest.map(|digest| digest.to_hex().to_string()),
            sources: sources.collect(),
            views,
        };
        let log = &mut self.log;
        self.shared.stubbornly("the epoch log", || log.append(&record))?;
        Ok(record.views)
    }

    /// A replay that gives other bits than the run before it is never passed over in silence.
    fn compare(&mut self, input: &EpochInput, now: &BTreeMap<String, ViewRecord>) -> Result<()> {
        let epoch = input.epoch;
        let Some(record) = self.shared.recorded(epoch)? else { return Ok(()) };
        // Records of versions before this had digests of another kind.
        let Some(journalled) = &record.input else { return Ok(()) };
        if input.digest.is_some_and(|digest| digest.to_hex().as_str() != journalled) {
            return Err(Error::corrupt(format!(
                "the journal has something else of epoch {epoch} than when it was written"
            ))
            .detail("the hash of its frames is not the one in epochs.log")
            .hint("restore the data directory from a backup; nothing was changed"));
        }
        let before = record.views;
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

/// What the epoch log says of a view's changes.
pub(crate) fn record_of(schema: &SchemaRef, changes: &[Batch]) -> Result<ViewRecord> {
    let mut digest = ChangeDigest::new(schema);
    changes.iter().try_for_each(|change| digest.update(change))?;
    Ok(ViewRecord { rows: digest.rows(), digest: digest.hex() })
}
