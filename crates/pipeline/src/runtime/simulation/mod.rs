//! The epoch loop without threads: one seed decides which stage takes its next step, what fails, and
//! when the process dies. Whatever happens, in the end sinks, views and dead letters must be as if
//! nothing had.

#![allow(clippy::unwrap_used)]

mod fakes;
mod process;
mod verify;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};

use arrow::buffer::Buffer;
use syncline_change::sink::Delivery;
use syncline_change::source::Chunk;
use syncline_change::spill::{Spill, SpillWriter};
use syncline_change::{Error, ErrorKind, Result};
use syncline_connect::config::{Mode, SinkConfig};
use syncline_engine::BatchEngine;
use syncline_store::disk::{Fault, FaultyDisk};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::spill::PatientSpill;
use crate::file::Pipeline;
use crate::prepare::Prepared;
use crate::vars::Vars;
use fakes::{Chance, FakeClock, Target};
use process::{Process, Step};

const PIPELINE: &str = "
name: simulation
sources:
  orders:
    type: http
    columns: {id: BIGINT, item: TEXT, n: BIGINT, at: TIMESTAMP}
    event_time: {column: at, lateness: 10s}
  stock: {type: http, columns: {item: TEXT, price: BIGINT}}
views:
  totals:
    sql: SELECT item, count(*) AS orders, sum(n) AS n FROM orders GROUP BY item
    keep: true
  priced: SELECT o.id, s.price FROM orders o JOIN stock s ON o.item = s.item
sinks:
  priced_log: {from: priced, type: file, path: a, format: json, mode: changes}
  stock_log: {from: stock, type: file, path: b, format: json, mode: changes}
  totals_now: {from: totals, type: file, path: c, format: json, mode: snapshot}
run: {epoch: {max_rows: 6, max_delay: 0s}}
";

/// What somebody makes of the file between two processes: other SQL for views that sinks read, another
/// view for a sink, another table.
const EDITS: [&[(&str, &str)]; 2] = [
    &[("o.item = s.item", "o.item = s.item WHERE s.price > 40"), ("sum(n) AS n", "max(n) AS n")],
    &[
        ("  priced:", "  best: SELECT id, max(price) AS price FROM priced GROUP BY id\n  priced:"),
        ("from: priced,", "from: best,"),
        ("price: BIGINT}", "price: BIGINT}, primary_key: [item]"),
    ],
];

/// Schedules in `make test`; `SYNCLINE_SIMULATIONS` says otherwise.
const SCHEDULES: u64 = 2_000;
/// After so many processes nothing goes wrong any more.
const ROUGH_PROCESSES: usize = 6;
/// How often an error that somebody mends comes before it is mended.
const ERRORS: usize = 3;

/// Room in a segment of the journal: for one epoch, for some, for all.
const SEGMENT_BYTES_MAX: [u64; 3] = [1, 2_000, u64::MAX];

/// How a process ends.
enum End {
    Done,
    Dead,
    /// A start that the disk refuses says so and ends; somebody starts it again.
    Refused,
}

/// In which order steps are taken.
enum Order {
    Random(Chance),
    /// Each epoch goes all the way before the next one begins.
    Fixed,
}

/// What outlives a process.
struct World {
    plans: &'static [Plan],
    /// Which of them is in the file.
    current: Cell<usize>,
    root: TempDir,
    disk: FaultyDisk,
    clock: Arc<FakeClock>,
    runtime: Runtime,
    order: Order,
    input: Vec<Vec<Chunk>>,
    targets: BTreeMap<String, Arc<Mutex<Target>>>,
    segment_bytes_max: u64,
    /// Up to where each source was told that its rows are safe.
    acked: Vec<AtomicUsize>,
    processes: Cell<usize>,
    /// How many of them went on from a checkpoint.
    resumed: Cell<usize>,
}

impl World {
    fn new(plans: &'static [Plan], order: Order, chunks: u64, input: &Chance) -> Self {
        let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let disk = FaultyDisk::new(root.path());
        let clock = Arc::new(FakeClock {
            disk: disk.clone(),
            now_us: AtomicI64::new(1_750_000_000_000_000),
            pauses: AtomicUsize::new(0),
            shared: Mutex::new(Weak::new()),
            troubles: Mutex::default(),
        });
        let segment_bytes_max = match &order {
            Order::Random(chance) => SEGMENT_BYTES_MAX[chance.below(3) as usize],
            Order::Fixed => SEGMENT_BYTES_MAX[0],
        };
        let prepared = &plans[0].prepared;
        let targets = prepared.pipeline.spec.sinks.keys();
        Self {
            plans,
            current: Cell::new(0),
            root,
            disk,
            clock,
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
            order,
            input: (0..2).map(|table| fakes::chunks(prepared, table, chunks, input)).collect(),
            targets: targets.map(|name| (name.clone(), Arc::default())).collect(),
            segment_bytes_max,
            acked: vec![AtomicUsize::new(0), AtomicUsize::new(0)],
            processes: Cell::new(0),
            resumed: Cell::new(0),
        }
    }

    /// The pipeline as the file is now.
    fn plan(&self) -> &'static Plan {
        &self.plans[self.current.get()]
    }

    fn prepared(&self) -> &'static Prepared {
        &self.plan().prepared
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    fn is_rough(&self) -> bool {
        self.processes.get() <= ROUGH_PROCESSES
    }

    fn below(&self, bound: u64) -> u64 {
        match &self.order {
            Order::Random(chance) => chance.below(bound),
            Order::Fixed => 0,
        }
    }

    /// How far the clock jumps, which may be back.
    fn jump_us(&self) -> i64 {
        self.below(5_000_000) as i64 - 1_000_000
    }

    fn choose(&self, steps: &[Step]) -> Step {
        match &self.order {
            Order::Random(chance) => {
                if self.is_rough() && chance.one_in(80) {
                    self.disk.kill();
                }
                steps[chance.below(steps.len() as u64) as usize]
            }
            // What is furthest on its way.
            Order::Fixed => *steps.iter().max_by_key(|step| step.order()).unwrap(),
        }
    }

    fn delivery(&self, sink: usize) -> Delivery {
        delivery_of(&self.prepared().pipeline.spec.sinks[sink])
    }

    /// Lets one process after the other run until everything is done.
    fn run(&self) {
        loop {
            self.processes.set(self.processes.get() + 1);
            self.edit();
            self.plan_a_fault();
            match self.run_once() {
                End::Done if self.below(4) > 0 || !self.is_rough() => return,
                End::Dead => self.die(),
                End::Done | End::Refused => self.disk.restart(),
            }
        }
    }

    fn run_once(&self) -> End {
        let hits = self.disk.hits();
        let mut process = match Process::start(self) {
            Ok(process) => process,
            Err(_) if self.disk.is_dead() => return End::Dead,
            Err(error) => {
                let was_hit = error.kind() == ErrorKind::Storage && self.disk.hits() > hits;
                assert!(was_hit && error.detail_text().is_some(), "{}", error.report());
                return End::Refused;
            }
        };
        match process.run() {
            _ if self.disk.is_dead() => End::Dead,
            Ok(()) => End::Done,
            Err(error) => panic!("{}", error.report()),
        }
    }

    /// Somebody may have edited the file since the process before.
    fn edit(&self) {
        let Order::Random(chance) = &self.order else { return };
        if self.is_rough() && chance.one_in(3) {
            self.current.set(chance.below(self.plans.len() as u64) as usize);
        }
    }

    fn plan_a_fault(&self) {
        let Order::Random(chance) = &self.order else { return };
        if self.is_rough() && !chance.one_in(3) {
            let fault = Fault::ALL[chance.below(Fault::ALL.len() as u64) as usize];
            let times = 1 + chance.below(ERRORS as u64) as usize;
            let from = self.disk.operation_count() + chance.below(150) as usize;
            self.disk.plan(fault, from, times);
        }
    }

    fn die(&self) {
        let Order::Random(chance) = &self.order else { return self.disk.restart() };
        if chance.one_in(2) {
            self.disk.restart();
        } else {
            self.lose_power(chance);
        }
    }

    fn lose_power(&self, chance: &Chance) {
        self.disk.lose_power(&mut |bound| chance.below(bound)).unwrap();
        self.targets.values().for_each(|target| target.lock().unwrap().lose_power(chance));
    }
}

fn delivery_of(config: &SinkConfig) -> Delivery {
    match config {
        SinkConfig::File(file) if file.mode == Mode::Snapshot => Delivery::Snapshot,
        _ => Delivery::Changes,
    }
}

impl Step {
    /// Where on an epoch's way it is, from the end.
    fn order(self) -> (usize, usize) {
        match self {
            Self::Checkpoint => (6, 0),
            Self::Write(sink) => (5, sink),
            Self::Compute => (4, 0),
            Self::Cut => (3, 0),
            Self::Retry => (2, 0),
            Self::Tick => (1, 0),
            Self::Read(source) => (0, source),
        }
    }
}

/// What all schedules share, because planning takes longer than most of them.
struct Plan {
    prepared: Prepared,
    batch: BatchEngine,
}

fn plans() -> &'static [Plan] {
    let edited = EDITS.iter().map(|edits| {
        let replace = |text: String, (from, to): &(&str, &str)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        };
        edits.iter().fold(PIPELINE.to_owned(), replace)
    });
    let plans = std::iter::once(PIPELINE.to_owned()).chain(edited).map(|text| {
        let pipeline = Pipeline::parse(&text, std::path::Path::new("nowhere"), &Vars::default());
        let prepared = Prepared::new(pipeline.unwrap()).unwrap();
        let (tables, views) = (&prepared.tables, &prepared.views);
        let batch = BatchEngine::new(tables, views, prepared.lock.seed).unwrap();
        Plan { prepared, batch }
    });
    Vec::leak(plans.collect())
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// What happens with a seed; returns the operations of the disk, and how many processes went on from a
/// checkpoint.
fn simulate(plans: &'static [Plan], seed: u64) -> (Vec<String>, usize) {
    let chance = Chance::new(seed);
    let chunks = 3 + chance.below(8);
    let world = World::new(plans, Order::Random(chance.clone()), chunks, &chance);
    world.run();
    // What a run left that ended well is durable.
    world.lose_power(&chance);
    verify::verify(&world, None);
    (world.disk.operations(), world.resumed.get())
}

#[test]
fn whatever_happens_ends_as_if_nothing_had() {
    let plans = plans();
    if let Some(seed) = number("SYNCLINE_SEED") {
        simulate(plans, seed);
        return;
    }
    let from = number("SYNCLINE_SEEDS_FROM").unwrap_or(0);
    let (schedules, mut resumed) = (number("SYNCLINE_SIMULATIONS").unwrap_or(SCHEDULES), 0);
    for seed in from..from + schedules {
        match catch_unwind(AssertUnwindSafe(|| simulate(plans, seed))) {
            Ok((_, of)) => resumed += of as u64,
            Err(panic) => {
                eprintln!("this was SYNCLINE_SEED={seed}");
                resume_unwind(panic);
            }
        }
    }
    assert!(resumed > schedules / 2, "{resumed} of {schedules} went on from a checkpoint");
}

#[test]
fn a_seed_says_all_that_happens() {
    let plans = plans();
    for seed in 0..20 {
        assert_eq!(simulate(plans, seed), simulate(plans, seed), "{seed}");
    }
}

/// What disturbs a run in a fixed order, and at which of its operations.
struct Disturbance {
    fault: Fault,
    at: usize,
    /// Whether the process takes the power with it.
    power: bool,
}

/// Runs to the end, starts once more, and loses power: what a run left that ended well is durable.
fn run_twice(world: &World, disturbance: Option<&Disturbance>) {
    let before = world.disk.operation_count();
    let chance = Chance::new(disturbance.map_or(0, |disturbance| disturbance.at as u64));
    for _ in 0..2 {
        loop {
            if let Some(Disturbance { fault, at, .. }) = disturbance
                && world.disk.hits() == 0
            {
                let times = if fault.ends_the_process() { 1 } else { ERRORS };
                world.disk.plan(*fault, before + at, times);
            }
            match world.run_once() {
                End::Done => break,
                End::Dead if disturbance.is_some_and(|disturbance| disturbance.power) => {
                    world.lose_power(&chance);
                }
                End::Dead | End::Refused => world.disk.restart(),
            }
        }
        world.disk.restart();
    }
    world.lose_power(&chance);
}

/// State that no checkpoint can have ends checkpoints, and nothing else.
#[test]
fn a_pipeline_goes_on_without_checkpoints() {
    let world = World::new(plans(), Order::Fixed, 4, &Chance::new(1));
    Process::start(&world).unwrap().run_without_checkpoints().unwrap();
    let files = |folder: &str| {
        let files = std::fs::read_dir(world.data().join(folder)).into_iter().flatten();
        files.map(|file| file.unwrap().file_name()).collect::<Vec<_>>()
    };
    assert_eq!(files("checkpoints"), Vec::<std::ffi::OsString>::new());
    assert_eq!(files("manifests"), Vec::<std::ffi::OsString>::new());
    // The next start takes what there is, and has nothing left to do but checkpoints.
    assert!(matches!(world.run_once(), End::Done));
    verify::verify(&world, None);
}

#[test]
fn state_on_disk_waits_for_room() {
    /// Refuses twice whatever is asked of it.
    #[derive(Debug, Default)]
    struct Refusing(Arc<AtomicUsize>);

    impl Refusing {
        fn ask(&self) -> Result<()> {
            if self.0.fetch_add(1, Relaxed) % 3 == 2 {
                return Ok(());
            }
            Err(Error::io("write", "/data/state", std::io::ErrorKind::StorageFull.into()))
        }
    }

    impl Spill for Refusing {
        fn begin(&self, _: &[usize]) -> Result<Box<dyn SpillWriter>> {
            self.ask().map(|()| Box::new(Self(self.0.clone())) as Box<dyn SpillWriter>)
        }
    }

    impl SpillWriter for Refusing {
        fn append(&mut self, _: usize, _: &[u8]) -> Result<()> {
            self.ask()
        }

        fn finish(self: Box<Self>) -> Result<Vec<Buffer>> {
            Ok(vec![])
        }
    }

    let world = World::new(plans(), Order::Fixed, 1, &Chance::new(1));
    let process = Process::start(&world).unwrap();
    let spill = PatientSpill::new(Refusing::default(), process.shared.clone());
    let mut piece = spill.begin(&[1]).unwrap();
    piece.append(0, b"1").unwrap();
    piece.finish().unwrap();
    assert_eq!(world.clock.pauses.load(Relaxed), 4);
    let troubles = world.clock.troubles.lock().unwrap();
    assert!(
        troubles.iter().all(|said| said.contains("/data/state: no storage space")),
        "{troubles:?}"
    );
    assert_eq!(troubles.len(), 4);
    assert_eq!(process.shared.troubles(), Vec::<String>::new());
}

#[test]
fn every_fault_at_every_operation() {
    let plans = plans();
    let operations = every_fault(&|| World::new(plans, Order::Fixed, 3, &Chance::new(1)));
    for name in [
        "journal/orders.write",
        "journal/.ticks.sync",
        "epochs.write",
        "epochs.sync",
        "sinks/priced_log.rename",
        "dead-letters/view.sync",
        "dead-letters/retry/s1.remove",
    ] {
        assert!(operations.contains(&format!("data/{name}")), "{name}: {operations:#?}");
    }
}

/// The same in the start after an edit, when what was there to be read has been read.
#[test]
fn every_fault_after_an_edit() {
    let plans = plans();
    for edit in 1..plans.len() {
        let operations = every_fault(&|| {
            let world = World::new(plans, Order::Fixed, 3, &Chance::new(1));
            assert!(matches!(world.run_once(), End::Done));
            world.disk.restart();
            world.current.set(edit);
            world
        });
        let has = |name: &str| operations.iter().any(|operation| operation.contains(name));
        for name in ["data/meanings/", "data/journal/.ticks.sync", "data/sinks/priced_log.rename"] {
            assert!(has(name), "{name} is not among {operations:#?}");
        }
    }
}

/// Holds runs in which anything fails against one in which nothing does, whose operations it returns.
fn every_fault(world: &dyn Fn() -> World) -> Vec<String> {
    let calm = world();
    let before = calm.disk.operation_count();
    run_twice(&calm, None);
    let operations = calm.disk.operations()[before..].to_vec();
    let (expected, answer) = verify::verify(&calm, None);
    for (at, operation) in operations.iter().enumerate() {
        for fault in Fault::ALL.into_iter().filter(|fault| fault.can_be_at(operation)) {
            let powers: &[bool] = if fault.ends_the_process() { &[false, true] } else { &[false] };
            for &power in powers {
                let run = || {
                    let world = world();
                    run_twice(&world, Some(&Disturbance { fault, at, power }));
                    assert!(world.disk.hits() > 0);
                    check_troubles(&world, fault);
                    assert_eq!(verify::verify(&world, Some(answer.clone())).0, expected);
                };
                if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                    eprintln!(
                        "this was {fault:?} at {operation}, number {at}; power lost: {power}"
                    );
                    resume_unwind(panic);
                }
            }
        }
    }
    operations
}

/// Whoever waits says for what.
fn check_troubles(world: &World, fault: Fault) {
    let reason = match fault {
        Fault::Kill | Fault::Torn => return,
        Fault::Full => "no storage space",
        Fault::Io => "Input/output error",
        Fault::Denied => "permission denied",
        Fault::ReadOnly => "read-only filesystem",
    };
    for trouble in world.clock.troubles.lock().unwrap().iter() {
        assert!(trouble.contains(reason), "{trouble}");
        assert!(trouble.contains("/data"), "{trouble}");
    }
    assert!(world.clock.pauses.load(Relaxed) <= world.disk.hits());
}
