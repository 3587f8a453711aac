//! One process of a simulated pipeline: its stages, taken one step at a time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow::datatypes::SchemaRef;
use syncline_change::sink::Delivery;
use syncline_change::source::{Decode, Position};
use syncline_change::{Error, Result};
use syncline_connect::config::{OnError, SinkConfig};
use syncline_connect::decode::json::JsonDecode;
use syncline_store::DataDir;
use syncline_store::dead_letters::{Filter, RetryRequest, State, request_retry};
use syncline_store::journal::Journal;
use tokio::sync::{mpsc, watch};

use super::super::compute::{self, Compute};
use super::super::feeds::Feeds;
use super::super::sequencer::{Sequenced, Sequencer};
use super::super::sinks::{self, Job, Writer};
use super::super::sources::{self, Arrival};
use super::super::state::Shared;
use super::super::{CHUNKS_QUEUED_MAX, Opened};
use super::fakes::FakeSink;
use super::{Order, World};
use crate::reread::Reread;

/// Epochs that may wait for the circuit.
const SEQUENCED_MAX: usize = 2;
const SOURCES: usize = 2;
const FIRST_LETTER: &str = "s1";

type Decoder = (String, usize, SchemaRef, Arc<dyn Decode>);

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A source hands over a chunk.
    Read(usize),
    /// Time alone makes an epoch.
    Tick,
    /// Somebody wants a dead letter to be retried.
    Retry,
    Cut,
    Compute,
    Write(usize),
    /// A checkpoint is due.
    Checkpoint,
}

pub(super) struct Process<'a> {
    world: &'a World,
    pub(super) shared: Arc<Shared>,
    sequencer: Sequencer,
    compute: Compute,
    sinks: Vec<(Writer, mpsc::Receiver<Job>)>,
    acks: Vec<watch::Receiver<(u64, Option<Position>)>>,
    decoders: Vec<Decoder>,
    to_sequencer: mpsc::Sender<Arrival>,
    arrivals: mpsc::Receiver<Arrival>,
    sequenced: VecDeque<Sequenced>,
    /// The next chunk of each source.
    next: Vec<usize>,
    retries_under_way: HashSet<String>,
    ticks_left: usize,
    retries_left: usize,
    checkpoints_left: usize,
    _stop: watch::Sender<bool>,
}

impl<'a> Process<'a> {
    /// Starts, as [`super::super::Running::start`] does, on what the processes before left.
    pub(super) fn start(world: &'a World) -> Result<Self> {
        let disk = Arc::new(world.disk.clone());
        let dir = Arc::new(DataDir::open_on(disk, world.data())?);
        let circuit = world.prepared().circuit(None).unwrap();
        let connect = |name: &str, config: &SinkConfig| world.sink(name, config);
        let clock = world.clock.clone();
        let mut opened = Opened::new(&dir, world.prepared(), circuit, None, clock, &connect)?;
        opened.journal.set_segment_bytes_max(world.segment_bytes_max);
        *world.clock.shared.lock().unwrap() = Arc::downgrade(&opened.shared);
        let from = opened.go_on(&dir, None)?;
        world.resumed.set(world.resumed.get() + usize::from(from > 0));
        let shared = opened.shared.clone();
        let (stop, stopped) = watch::channel(false);
        let (mut feeds, mut sinks) = (Vec::new(), Vec::new());
        for sink in opened.sinks {
            let (feed, mut writer, jobs) =
                sinks::writer(sink, shared.clone(), dir.clone(), stopped.clone())?;
            world.runtime.block_on(writer.open())?;
            feeds.push(feed);
            sinks.push((writer, jobs));
        }
        let next = world.next_chunks(&opened.journal);
        let (to_acks, acks) = (0..SOURCES).map(|_| watch::channel((0, None))).unzip();
        let replay = Reread::new(opened.journal.replay(from + 1)?, HashMap::new());
        let (to_sequencer, arrivals) = mpsc::channel(CHUNKS_QUEUED_MAX);
        let epoch = &world.prepared().pipeline.spec.run.epoch;
        let (journal, at_least) = (opened.journal, opened.at_least);
        let mut sequencer = Sequencer::new(journal, shared.clone(), to_acks, epoch, at_least);
        let parts = compute::Parts {
            circuit: opened.circuit,
            shared: shared.clone(),
            log: opened.epochs,
            recorded: opened.recorded,
            plans: opened.plans,
            feeds: Feeds::new(feeds, opened.pasts),
            resumed: opened.resumed,
        };
        let mut compute = Compute::new(parts, world.prepared())?;
        compute.replay(replay)?;
        let sequenced = sequencer.begin()?.into_iter().collect();
        let mut process = Self {
            world,
            shared,
            sequencer,
            compute,
            sinks,
            acks,
            decoders: world.decoders(),
            to_sequencer,
            arrivals,
            sequenced,
            next,
            retries_under_way: HashSet::new(),
            ticks_left: 2,
            retries_left: 2,
            checkpoints_left: 2,
            _stop: stop,
        };
        process.take_retries()?;
        Ok(process)
    }

    /// Goes on with a checkpoint that cannot be taken in between, and ends as a pipeline does that is through.
    pub(super) fn run_without_checkpoints(mut self) -> Result<()> {
        self.checkpoints_left = 0;
        let mut left = self.possible();
        while !self.compute.has_news() {
            let step = *left.last().ok_or_else(|| Error::bug("nothing has happened"))?;
            self.step(step)?;
            left = self.possible();
        }
        self.compute.meet_too_much()?;
        self.run()?;
        self.compute.finish()
    }

    /// Goes on until everything is done, or the process has died.
    pub(super) fn run(&mut self) -> Result<()> {
        loop {
            let steps = self.possible();
            if steps.is_empty() {
                self.take_retries()?;
                if !self.possible().is_empty() {
                    continue;
                }
                return self.compute.sync();
            }
            self.step(self.world.choose(&steps))?;
            if self.world.disk.is_dead() {
                return Ok(());
            }
        }
    }

    fn possible(&self) -> Vec<Step> {
        // One place is left for a retry.
        let has_room = self.to_sequencer.capacity() > 2;
        let mut steps = if has_room { self.reads() } else { Vec::new() };
        let waiting = self.arrivals.len() + usize::from(self.sequencer.has_left());
        // In a fixed order a chunk of each source goes into an epoch.
        let is_short = self.is_fixed() && waiting < SOURCES && !steps.is_empty();
        if waiting > 0 && !is_short && self.sequenced.len() < SEQUENCED_MAX {
            steps.push(Step::Cut);
        }
        if !self.sequenced.is_empty() {
            steps.push(Step::Compute);
        }
        for (sink, (_, jobs)) in self.sinks.iter().enumerate() {
            if !jobs.is_empty() {
                steps.push(Step::Write(sink));
            }
        }
        if has_room && self.ticks_left > 0 && !steps.is_empty() {
            steps.push(Step::Tick);
        }
        if has_room && self.can_retry(!steps.is_empty()) {
            steps.push(Step::Retry);
        }
        if self.checkpoints_left > 0 && self.compute.has_news() {
            steps.push(Step::Checkpoint);
        }
        steps
    }

    fn is_fixed(&self) -> bool {
        matches!(self.world.order, Order::Fixed)
    }

    /// The sources that have more to give; in a fixed order the one that is behind.
    fn reads(&self) -> Vec<Step> {
        let has_more = |source: &usize| self.next[*source] < self.world.input[*source].len();
        let mut sources: Vec<usize> = (0..SOURCES).filter(has_more).collect();
        if self.is_fixed() {
            sources.sort_by_key(|source| self.next[*source]);
            sources.truncate(1);
        }
        sources.into_iter().map(Step::Read).collect()
    }

    /// In a fixed order one letter is retried, so that all runs come to the same.
    fn can_retry(&self, is_busy: bool) -> bool {
        if !self.is_fixed() {
            return is_busy && self.retries_left > 0;
        }
        let letter = self.shared.letters.get(FIRST_LETTER).unwrap();
        let is_open = letter.is_some_and(|letter| letter.state == State::Open);
        is_open && !self.retries_under_way.contains(FIRST_LETTER)
    }

    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Read(source) => {
                let chunk = self.world.input[source][self.next[source]].clone();
                let name = &self.world.prepared().tables[source].name;
                let arrival = sources::arrival(source, name, OnError::DeadLetter, chunk)?;
                assert!(self.to_sequencer.try_send(arrival).is_ok(), "there was room");
                self.next[source] += 1;
            }
            Step::Tick => {
                self.ticks_left -= 1;
                self.world.clock.now_us.fetch_add(self.world.jump_us(), Relaxed);
                assert!(self.to_sequencer.try_send(sources::tick()).is_ok(), "there was room");
            }
            Step::Retry => {
                self.retries_left = self.retries_left.saturating_sub(1);
                self.ask_for_a_retry()?;
                self.take_retries()?;
            }
            Step::Cut => {
                let first = self.sequencer.take_left();
                let Some(first) = first.or_else(|| self.arrivals.try_recv().ok()) else {
                    return Ok(());
                };
                let sequenced = self.sequencer.cut(first, &mut self.arrivals);
                self.note_acks();
                self.sequenced.push_back(sequenced?);
            }
            Step::Compute => {
                if let Some(Sequenced { input, read_at_nanos }) = self.sequenced.pop_front() {
                    self.compute.epoch(&input, Some(read_at_nanos))?;
                }
            }
            Step::Write(sink) => self.write(sink)?,
            Step::Checkpoint => {
                self.checkpoints_left -= 1;
                self.compute.checkpoint()?;
            }
        }
        Ok(())
    }

    fn write(&mut self, sink: usize) -> Result<()> {
        let (writer, jobs) = &mut self.sinks[sink];
        let Ok(first) = jobs.try_recv() else { return Ok(()) };
        match self.world.delivery(sink) {
            Delivery::Changes => self.world.runtime.block_on(writer.write_waiting(first, jobs)),
            Delivery::Snapshot => {
                let mut epoch = first.epoch;
                while let Ok(job) = jobs.try_recv() {
                    epoch = job.epoch;
                }
                self.world.runtime.block_on(writer.replace(epoch, &[], 0))
            }
        }
    }

    /// What a source was told stays true, whatever comes.
    fn note_acks(&mut self) {
        for (source, ack) in self.acks.iter_mut().enumerate() {
            let told = position(ack.borrow_and_update().1.as_ref());
            self.world.acked[source].fetch_max(told, Relaxed);
        }
    }

    fn ask_for_a_retry(&self) -> Result<()> {
        let open = Filter { state: Some(State::Open), ..Filter::default() };
        let (count, letters) = self.shared.letters.list(&open, 0, usize::MAX)?;
        if count == 0 {
            return Ok(());
        }
        let any = &letters[self.world.below(count) as usize];
        let id = if self.is_fixed() { FIRST_LETTER.to_owned() } else { any.id.clone() };
        let request = RetryRequest { id, text: None };
        // It is another process that asks, and that hears of a disk that refuses.
        let _ = request_retry(self.shared.data_dir(), &request);
        Ok(())
    }

    fn take_retries(&mut self) -> Result<()> {
        let taken = self.world.runtime.block_on(sources::take_retries(
            &self.decoders,
            &self.shared,
            &self.to_sequencer,
            &mut self.retries_under_way,
        ));
        // The next poll tries again.
        taken.or_else(|error| if error.kind().is_transient() { Ok(()) } else { Err(error) })
    }
}

fn position(position: Option<&Position>) -> usize {
    position.map_or(0, |position| position["at"].as_u64().unwrap() as usize)
}

impl World {
    /// Where sources go on, which is not before what they were told is safe.
    fn next_chunks(&self, journal: &Journal) -> Vec<usize> {
        let next = self.prepared().tables.iter().zip(&self.acked).map(|(table, acked)| {
            let standing = journal.last_positions().get(&table.name);
            let durable = position(standing.and_then(|standing| standing.position.as_ref()));
            let acked = acked.load(Relaxed);
            assert!(durable >= acked, "`{}` was told of {acked}, {durable} is left", table.name);
            durable
        });
        next.collect()
    }

    fn decoders(&self) -> Vec<Decoder> {
        let tables = self.prepared().tables.iter().enumerate();
        let decoders = tables.map(|(number, table)| {
            let decode: Arc<dyn Decode> =
                Arc::new(JsonDecode::new(table.schema.clone(), &[]).unwrap());
            (table.name.clone(), number, table.schema.clone(), decode)
        });
        decoders.collect()
    }

    fn sink(
        &self,
        name: &str,
        config: &SinkConfig,
    ) -> Result<Box<dyn syncline_change::sink::Sink>> {
        Ok(Box::new(FakeSink {
            delivery: super::delivery_of(config),
            target: self.targets[name].clone(),
            disk: self.disk.clone(),
            chance: match &self.order {
                Order::Random(chance) if self.is_rough() => Some(chance.clone()),
                Order::Random(_) | Order::Fixed => None,
            },
            done: 0,
            has_progress: false,
        }))
    }
}
