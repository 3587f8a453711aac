//! Cuts epochs from what has arrived and makes them durable in the journal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use syncline_change::source::Rejected;
use syncline_change::{Batch, Result};
use syncline_store::dead_letters::Stage;
use syncline_store::journal::{CloseReason, EpochInput, Journal, SourceInput};
use tokio::sync::mpsc;

use super::sources::{Ack, Arrival};
use super::state::Shared;
use crate::clock;
use crate::file::spec::EpochSpec;

/// Smaller batches are put together: each costs the circuit a little.
const BATCH_ROWS_MIN: usize = 2_048;

/// An epoch on its way to the circuit.
pub(super) struct Sequenced {
    pub(super) input: EpochInput,
    /// When the first of its rows was read, by the stopwatch.
    pub(super) read_at_nanos: u64,
}

pub(super) struct Sequencer {
    journal: Journal,
    shared: Arc<Shared>,
    acks: Vec<Ack>,
    rows_max: usize,
    delay_max: Duration,
    /// What arrived last and did not fit into its epoch any more.
    left: Option<Arrival>,
    /// Up to which epoch there must be any before input comes.
    at_least: u64,
}

impl Sequencer {
    pub(super) fn new(
        journal: Journal,
        shared: Arc<Shared>,
        acks: Vec<Ack>,
        epoch: &EpochSpec,
        at_least: u64,
    ) -> Self {
        let rows_max = usize::try_from(epoch.max_rows).unwrap_or(usize::MAX);
        let delay_max = epoch.max_delay.0;
        Self { journal, shared, acks, rows_max, delay_max, left: None, at_least }
    }

    /// Runs until no more can arrive.
    pub(super) fn run(
        mut self,
        mut arrivals: mpsc::Receiver<Arrival>,
        to: &SyncSender<Sequenced>,
    ) -> Result<()> {
        if let Some(first) = self.begin()?
            && to.send(first).is_err()
        {
            return Ok(());
        }
        while let Some(first) = self.take_left().or_else(|| arrivals.blocking_recv()) {
            let sequenced = self.cut(first, &mut arrivals)?;
            // Blocks while the circuit is busy: what arrives meanwhile makes the next epoch larger.
            if to.send(sequenced).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The epoch that every journal begins with: what a view is of no input at all is an answer too.
    /// And the one in which sinks go from what a view meant before to what it means now.
    pub(super) fn begin(&mut self) -> Result<Option<Sequenced>> {
        self.shared.set_journal_bytes(self.journal.bytes());
        if self.journal.last_epoch() >= self.at_least.max(1) {
            return Ok(None);
        }
        let mut input = self.epoch(CloseReason::Flush, vec![]);
        self.append(&mut input)?;
        Ok(Some(Sequenced { input, read_at_nanos: clock::stopwatch_nanos() }))
    }

    /// Makes an epoch of what has arrived, `first` and what waits behind it: durable on return, and
    /// acknowledged.
    pub(super) fn cut(
        &mut self,
        first: Arrival,
        arrivals: &mut mpsc::Receiver<Arrival>,
    ) -> Result<Sequenced> {
        let read_at_nanos = first.read_at_nanos;
        let (arrived, reason) = self.gather(first, arrivals);
        let (inputs, rejected) = self.merge(arrived)?;
        let mut input = self.epoch(reason, inputs);
        for (source, rejected) in rejected {
            self.keep_rejected(&source, input.epoch, input.time_us, rejected)?;
        }
        self.append(&mut input)?;
        self.acknowledge(&input)?;
        Ok(Sequenced { input, read_at_nanos })
    }

    #[cfg(test)]
    pub(super) fn has_left(&self) -> bool {
        self.left.is_some()
    }

    /// What arrived last and did not fit into its epoch.
    pub(super) fn take_left(&mut self) -> Option<Arrival> {
        self.left.take()
    }

    /// All that has arrived, up to the most rows that an epoch may hold.
    fn gather(
        &mut self,
        first: Arrival,
        arrivals: &mut mpsc::Receiver<Arrival>,
    ) -> (Vec<Arrival>, CloseReason) {
        let opened = clock::stopwatch_nanos();
        let mut rows = first.rows.num_rows();
        let mut gathered = vec![first];
        loop {
            if rows >= self.rows_max {
                return (gathered, CloseReason::Full);
            }
            match arrivals.try_recv() {
                Ok(next) if rows + next.rows.num_rows() > self.rows_max => {
                    self.left = Some(next);
                    return (gathered, CloseReason::Full);
                }
                Ok(next) => {
                    rows += next.rows.num_rows();
                    gathered.push(next);
                }
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    return (gathered, CloseReason::End);
                }
                Err(mpsc::error::TryRecvError::Empty) => {
                    let waited = Duration::from_nanos(clock::stopwatch_nanos() - opened);
                    let Some(left) = self.delay_max.checked_sub(waited).filter(|d| !d.is_zero())
                    else {
                        let waits = !self.delay_max.is_zero();
                        let reason = if waits { CloseReason::Delay } else { CloseReason::Idle };
                        return (gathered, reason);
                    };
                    std::thread::sleep(left.min(Duration::from_millis(1)));
                }
            }
        }
    }

    /// What arrived, by source, in the order in which sources came.
    #[allow(clippy::type_complexity)]
    fn merge(
        &self,
        arrived: Vec<Arrival>,
    ) -> Result<(Vec<SourceInput>, Vec<(String, Vec<Rejected>)>)> {
        let mut by_source: BTreeMap<usize, Vec<Arrival>> = BTreeMap::new();
        for arrival in arrived {
            if let Some(source) = arrival.source {
                by_source.entry(source).or_default().push(arrival);
            }
        }
        let (mut inputs, mut letters) = (Vec::new(), Vec::new());
        for (number, arrivals) in by_source {
            let source = self.shared.source_names()[number].clone();
            let schema = arrivals[0].rows.schema();
            let mut input = SourceInput {
                source: source.clone(),
                rows: vec![],
                origin: vec![],
                position: None,
                finished: false,
                rejected: 0,
                bytes: 0,
                retried: vec![],
            };
            let (mut rows, mut rejected) = (Vec::new(), Vec::new());
            // Rows are referred to all together, or not at all.
            let is_referred =
                |arrival: &Arrival| arrival.rows.is_empty() || arrival.origin.is_some();
            let are_referred = arrivals.iter().all(is_referred);
            for arrival in arrivals {
                input.rejected += arrival.rejected.len() as u64 + arrival.skipped;
                input.bytes += arrival.bytes;
                input.finished |= arrival.finished;
                input.position = arrival.position.or(input.position);
                input.origin.extend(arrival.origin.filter(|_| are_referred));
                input.retried.extend(arrival.retried);
                rejected.extend(arrival.rejected);
                rows.push(arrival.rows);
            }
            input.rows = Batch::coalesce(&schema, rows, BATCH_ROWS_MIN)?;
            self.shared.count_input(number, &input, &rejected);
            inputs.push(input);
            letters.push((source, rejected));
        }
        Ok((inputs, letters))
    }

    fn epoch(&self, reason: CloseReason, inputs: Vec<SourceInput>) -> EpochInput {
        // The machine's clock may be set back; the time of epochs is not.
        let time_us = self.shared.now_us().max(self.shared.last_time_us());
        self.shared.set_last_time_us(time_us);
        let epoch = self.journal.last_epoch() + 1;
        EpochInput { epoch, time_us, reason, inputs, digest: None }
    }

    /// Dead letters are durable before the epoch that says they were met.
    fn keep_rejected(
        &self,
        source: &str,
        epoch: u64,
        time_us: i64,
        rejected: Vec<Rejected>,
    ) -> Result<()> {
        if rejected.is_empty() {
            return Ok(());
        }
        self.shared.stubbornly("the log of dead letters", || {
            self.shared.add_letters(Stage::Source, source, epoch, time_us, rejected.clone())
        })
    }

    fn append(&mut self, input: &mut EpochInput) -> Result<()> {
        let journal = &mut self.journal;
        let digest = self.shared.stubbornly("the journal", || journal.append(input))?;
        input.digest = Some(digest);
        self.shared.set_journal_bytes(self.journal.bytes());
        Ok(())
    }

    fn acknowledge(&self, input: &EpochInput) -> Result<()> {
        for part in &input.inputs {
            let number = self.shared.source_names().iter().position(|name| *name == part.source);
            if let (Some(number), Some(position)) = (number, &part.position) {
                self.acks[number].send_replace((input.epoch, Some(position.clone())));
            }
            for id in &part.retried {
                self.shared.finish_retry(id)?;
            }
        }
        Ok(())
    }
}
