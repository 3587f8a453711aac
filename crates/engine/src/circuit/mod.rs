//! The circuit: operators wired up so that changes of tables become changes of views.

mod bounds;
mod compile;
mod detail;
mod explain;
mod kept;
mod node;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use smallvec::SmallVec;
use syncline_change::source::Rejected;
use syncline_change::spill::Spill;
use syncline_change::{Batch, Error, Result};

pub use explain::{Graph, GraphNode};
pub use kept::{KeptState, TEXT_BYTES};
pub use node::{NodeKind, NodeStats};

use crate::batch::Runner;
use crate::content::Order;
use crate::operators::{
    Change, Consolidate, Epoch, Input, Operator, PARTITIONS, Settle, Workers, watermark_of,
};
use crate::sql::{PlannedView, Session, SqlError, plan_views};
use crate::state::{
    Loader, Memory, SavedState, Saver, StateChanges, put_flag, put_i64, take_flag, take_i64,
};
use crate::table::{TableDef, ViewDef};
use compile::Compiler;
use node::{Growth, Keeps, Node, Work};

/// Raised whenever operators save something else than before, or rows are encoded in another way.
const STATE_VERSION: u32 = 1;

/// What a circuit is given by its owner, because it may have none of its own.
#[derive(Clone)]
pub struct Options {
    /// Threads to share work between; `None`: the calling thread does everything.
    pub pool: Option<Arc<rayon::ThreadPool>>,
    /// A clock that only ever measures how busy operators are: nanoseconds since whenever.
    pub stopwatch: fn() -> u64,
    /// What `random()` and `uuid()` start from.
    pub seed: u64,
}

/// Input of one table in one epoch.
#[derive(Clone, Debug)]
pub struct TableInput {
    /// The table's number, in the order in which tables were given.
    pub table: usize,
    /// In their order.
    pub rows: Vec<Batch>,
    /// No more rows will come after these.
    pub finished: bool,
}

/// What one epoch did.
#[derive(Debug, Default)]
pub struct StepOutput {
    /// Of each view, in the order in which views were given, the changes of its content.
    pub views: Vec<Vec<Batch>>,
    /// Of each table, the changes that were taken in.
    pub tables: Vec<Vec<Batch>>,
    /// Rows that could not be taken, with the source or view that they belong to.
    pub rejected: Vec<(String, Rejected)>,
}

/// What is known of a view before any row has come.
#[derive(Clone, Debug)]
pub struct ViewInfo {
    pub name: String,
    pub sql: String,
    pub schema: SchemaRef,
    /// Columns that are unique in it, if any are known.
    pub key: Option<Vec<usize>>,
    pub order: Order,
    /// Changes when what the SQL means changes, for this version of the engine.
    pub fingerprint: String,
    /// The tables and views that its SQL names.
    pub reads: BTreeSet<String>,
    /// Of each column, whether it depends on something that is recorded rather than in the rows: the
    /// time, or when a window was closed.
    pub recorded: Vec<bool>,
    /// Tables that it depends on, by number.
    pub tables: Vec<usize>,
}

/// Keeps views up to date, epoch by epoch.
pub struct Circuit {
    /// In an order in which every node comes after its inputs.
    nodes: Vec<Node>,
    /// The nodes of the tables and of the views.
    tables: Vec<usize>,
    views: Vec<usize>,
    infos: Vec<ViewInfo>,
    watermarks: Vec<i64>,
    /// Which tables have had no rows for so long that nothing waits for them.
    idle: Vec<bool>,
    /// Of each table, the event time from before which rows are turned away. Unlike the watermark it
    /// does not move when the table ends: a mended row may still come.
    passed: Vec<i64>,
    workers: Workers,
    memory: Arc<Memory>,
    /// The tables and the seed that it was made with, as text.
    given: String,
    stopwatch: fn() -> u64,
    /// After an error the state is half changed, and no further step is possible.
    broken: bool,
}

impl Circuit {
    /// Plans `views` over `tables` and wires them up.
    ///
    /// # Errors
    /// Everything that is wrong with the views' SQL.
    pub fn new(
        tables: Vec<TableDef>,
        views: &[ViewDef],
        options: Options,
    ) -> Result<Self, Vec<SqlError>> {
        let session = Session::new(options.seed);
        let planned = plan_views(&session, &tables, views)?;
        let internal = |error: Error| {
            let mut made = SqlError::new("", error.message());
            made.hint = error.detail_text().map(str::to_owned);
            vec![made]
        };
        let runner = Arc::new(Runner::new(session.state()).map_err(internal)?);
        let mut compiler = Compiler::new(runner);
        let table_count = tables.len();
        let given = format!("{} {tables:?}", options.seed);
        for (i, table) in tables.into_iter().enumerate() {
            add_table(&mut compiler, i, table).map_err(internal)?;
        }
        let mut infos = vec![None; views.len()];
        let mut view_nodes = vec![0; views.len()];
        for view in planned {
            let name = view.def.name.clone();
            let node = add_view(&mut compiler, &view).map_err(|error| {
                let mut made = SqlError::new(&name, error.message());
                made.hint = error.hint_text().map(str::to_owned);
                if let Some(detail) = error.detail_text() {
                    made.message = format!("{}: {detail}", made.message);
                }
                vec![made]
            })?;
            let place = views.iter().position(|other| other.name == name).unwrap_or_default();
            view_nodes[place] = node;
            infos[place] = Some(info(view, &compiler.nodes[node]));
        }
        let view_nodes = compiler.prune(table_count, &view_nodes);
        bounds::release_arrangements(&mut compiler.nodes).map_err(internal)?;
        Ok(Self {
            memory: compiler.memory,
            given,
            nodes: compiler.nodes,
            tables: (0..table_count).collect(),
            views: view_nodes,
            infos: infos.into_iter().flatten().collect(),
            watermarks: vec![i64::MIN; table_count],
            idle: vec![false; table_count],
            passed: vec![i64::MIN; table_count],
            workers: Workers::new(options.pool),
            stopwatch: options.stopwatch,
            broken: false,
        })
    }

    /// From now on, when the rows that are kept by key take more than `bytes` of memory, what is
    /// merged of them goes to `spill`. Results do not depend on it. To be called once.
    pub fn limit_memory(&self, bytes: usize, spill: Arc<dyn Spill>) {
        self.memory.limit(bytes, spill);
    }

    /// Takes in one epoch. A pure function of the state and its arguments.
    ///
    /// # Errors
    /// `Bug` for what must not happen (a row there fewer than zero times), after which the circuit
    /// is of no further use.
    pub fn step(
        &mut self,
        number: u64,
        time_us: i64,
        input: Vec<TableInput>,
    ) -> Result<StepOutput> {
        if self.broken {
            return Err(Error::bug("the circuit has stopped after an error")
                .hint("start again: the state is made anew from the journal"));
        }
        let done = self.run(number, time_us, input);
        self.broken = done.is_err();
        done
    }

    fn run(&mut self, number: u64, time_us: i64, input: Vec<TableInput>) -> Result<StepOutput> {
        let mut rejected = Vec::new();
        let mut outputs: Vec<Vec<Batch>> = Vec::with_capacity(self.nodes.len());
        let mut incoming: Vec<Vec<Batch>> = vec![vec![]; self.tables.len()];
        for part in input {
            incoming[part.table].extend(part.rows.into_iter().filter(|rows| !rows.is_empty()));
            if part.finished
                && let Work::Input(table) = &mut self.nodes[self.tables[part.table]].work
            {
                table.finish();
            }
        }
        while outputs.len() < self.nodes.len() {
            let output = self.run_next((number, time_us), &incoming, &outputs, &mut rejected)?;
            outputs.push(output);
        }
        Ok(StepOutput {
            views: self.views.iter().map(|&node| outputs[node].clone()).collect(),
            tables: self.tables.iter().map(|&node| outputs[node].clone()).collect(),
            rejected,
        })
    }

    /// What the next node makes of the outputs of all nodes before it.
    fn run_next(
        &mut self,
        (number, time_us): (u64, i64),
        incoming: &[Vec<Batch>],
        outputs: &[Vec<Batch>],
        rejected: &mut Vec<(String, Rejected)>,
    ) -> Result<Vec<Batch>> {
        let (before, rest) = self.nodes.split_at_mut(outputs.len());
        let node = &mut rest[0];
        let (watermarks, idle, passed) = (&self.watermarks, &self.idle, &self.passed);
        let workers = &self.workers;
        let mut epoch = Epoch { number, time_us, watermarks, idle, passed, workers, rejected };
        let started = (self.stopwatch)();
        let output = match &mut node.work {
            Work::Input(table) => {
                let input = Change { batches: &incoming[outputs.len()], arranged: None };
                let output = step_node(table.as_mut(), &mut epoch, &[input], &mut node.stats)?;
                self.watermarks[outputs.len()] = table.watermark();
                self.idle[outputs.len()] = table.is_idle();
                self.passed[outputs.len()] = table.passed();
                output
            }
            Work::Operator(operator) => {
                let change = |&input: &usize| Change {
                    batches: &outputs[input],
                    arranged: before[input].arranged(),
                };
                let inputs: SmallVec<[Change<'_>; 2]> = node.inputs.iter().map(change).collect();
                step_node(operator.as_mut(), &mut epoch, &inputs, &mut node.stats)?
            }
        };
        node.stats.busy_nanos += (self.stopwatch)().saturating_sub(started);
        Ok(output)
    }

    /// From now on takes note of what changes in its state, for [`save`](Self::save). To be called
    /// before the first step, or before [`load`](Self::load).
    pub fn begin_saving(&mut self) {
        for node in &mut self.nodes {
            node.work.operator_mut().begin_saving();
        }
    }

    /// Bytes of state that has changed and that [`save`](Self::save) has yet to copy.
    pub fn unsaved(&self) -> usize {
        self.nodes.iter().map(|node| node.work.operator().unsaved()).sum()
    }

    /// No changes, to which those of what is kept beside the circuit can be added.
    pub fn no_changes(&self) -> StateChanges {
        StateChanges::none(&self.memory)
    }

    /// What has changed in the state since this was last called. Unless it is to be complete, that is
    /// only a part: what would make a later call take long.
    ///
    /// # Errors
    /// `Bug` after an error of a step.
    pub fn save(&mut self, is_complete: bool) -> Result<StateChanges> {
        if self.broken {
            return Err(Error::bug("the state is half changed after an error"));
        }
        let mut changes = StateChanges::default();
        let mut saver = Saver::new(&mut changes, &self.workers, &self.memory, is_complete);
        for (number, node) in self.nodes.iter_mut().enumerate() {
            node.work.operator_mut().save(&mut saver.within(format_args!("node-{number}")))?;
        }
        saver.value("circuit", |bytes| {
            for table in 0..self.tables.len() {
                put_i64(bytes, self.watermarks[table]);
                put_i64(bytes, self.passed[table]);
                put_flag(bytes, self.idle[table]);
            }
            for node in &self.nodes {
                put_i64(bytes, node.stats.rows_in.cast_signed());
                put_i64(bytes, node.stats.rows_out.cast_signed());
            }
        });
        Ok(changes)
    }

    /// Takes the state that a circuit with the same [`layout`](Self::layout) has saved, in place of
    /// steps.
    ///
    /// # Errors
    /// `Corrupt` if it is not that. The circuit is of no use then.
    pub fn load(&mut self, state: &SavedState) -> Result<()> {
        let done = self.load_all(state);
        self.broken = done.is_err();
        done
    }

    fn load_all(&mut self, state: &SavedState) -> Result<()> {
        let loader = Loader::new(state, &self.workers);
        for (number, node) in self.nodes.iter_mut().enumerate() {
            let operator = node.work.operator_mut();
            operator.load(&loader.within(format_args!("node-{number}")))?;
            node.stats.count_state(operator);
        }
        let (nodes, tables) = (&mut self.nodes, self.tables.len());
        let (watermarks, passed, idle) = (&mut self.watermarks, &mut self.passed, &mut self.idle);
        loader.value("circuit", |bytes| {
            for table in 0..tables {
                watermarks[table] = take_i64(bytes)?;
                passed[table] = take_i64(bytes)?;
                idle[table] = take_flag(bytes)?;
            }
            for node in nodes {
                node.stats.rows_in = take_i64(bytes)?.cast_unsigned();
                node.stats.rows_out = take_i64(bytes)?.cast_unsigned();
            }
            Some(())
        })
    }

    /// Changes when circuits cannot take each other's state any more.
    pub fn layout(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut add = |part: &str| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        };
        add(&format!("{STATE_VERSION} {PARTITIONS}"));
        add(&self.given);
        for node in &self.nodes {
            add(&node.label);
            add(&node.detail);
            add(&format!("{:?} {:?} {}", node.inputs, node.schema, node.append_only));
            add(&format!("{:?} {:?}", node.recompute, node.keeps));
        }
        for view in &self.infos {
            add(&view.name);
            add(&view.fingerprint);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The views, in the order in which they were given.
    pub fn views(&self) -> &[ViewInfo] {
        &self.infos
    }

    /// How far event time has come in a table, in microseconds since 1970; `None` before its first
    /// row, and for a table without event time until it has ended.
    pub fn watermark(&self, table: usize) -> Option<i64> {
        Some(self.watermarks[table]).filter(|&watermark| watermark != i64::MIN)
    }

    /// How far event time has come for a view of these tables, in microseconds since 1970: what
    /// `emit: final` goes by.
    pub fn watermark_of(&self, tables: &[usize]) -> i64 {
        watermark_of(tables, &self.watermarks, &self.idle)
    }

    /// The time (microseconds since 1970) from which on an epoch changes a view though no row comes;
    /// `None` if there is no such time.
    pub fn due_at(&self) -> Option<i64> {
        let due = self.nodes.iter().enumerate().filter_map(|(number, node)| match &node.work {
            Work::Input(table) => table.due_at().filter(|_| self.is_waited_for(number)),
            Work::Operator(operator) => operator.due_at(),
        });
        due.min()
    }

    /// Whether rows of closed windows would be shown if this table became idle.
    fn is_waited_for(&self, table: usize) -> bool {
        self.nodes.iter().any(|node| {
            node.keeps == Keeps::Waiting
                && node.tables.contains(&table)
                && node.stats.state_rows > 0
        })
    }

    /// What every node has done, in the order of [`Graph::nodes`].
    pub fn stats(&self) -> Vec<NodeStats> {
        self.nodes.iter().map(|node| node.stats).collect()
    }

    pub fn graph(&self) -> Graph {
        let nodes = self.nodes.iter().enumerate().map(|(number, node)| GraphNode {
            kind: node.kind,
            label: node.label.clone(),
            detail: node.detail.clone(),
            name: node.name.clone(),
            recompute: node.recompute.clone(),
            append_only: node.append_only,
            state: kept::of(&self.nodes, number),
        });
        let edges = self.nodes.iter().enumerate().flat_map(|(to, node)| {
            let unique: BTreeSet<usize> = node.inputs.iter().copied().collect();
            unique.into_iter().map(move |from| (from, to))
        });
        Graph { nodes: nodes.collect(), edges: edges.collect() }
    }
}

fn step_node(
    operator: &mut dyn crate::operators::Operator,
    epoch: &mut Epoch<'_>,
    inputs: &[Change<'_>],
    stats: &mut NodeStats,
) -> Result<Vec<Batch>> {
    if inputs.iter().all(|input| input.batches.is_empty()) && !operator.is_due(epoch) {
        return Ok(vec![]);
    }
    let output = operator.step(epoch, inputs)?;
    let rows = |batches: &[Batch]| batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
    stats.rows_in += inputs.iter().map(|input| rows(input.batches)).sum::<u64>();
    stats.rows_out += rows(&output);
    stats.count_state(operator);
    Ok(output)
}

fn add_table(compiler: &mut Compiler, number: usize, table: TableDef) -> Result<()> {
    let name = table.name.clone();
    let schema = table.schema.clone();
    let key = table.primary_key.clone();
    let time = table.event_time.map(|time| time.column);
    let input = Input::new(table)?;
    let known = match time {
        Some(time) if input.is_append_only() => bounds::of_table(number, &schema, time),
        _ => vec![],
    };
    let input_is_append_only = input.is_append_only();
    let node = compiler.add(Node {
        kind: NodeKind::Source,
        label: "source".to_owned(),
        detail: name.clone(),
        name: Some(name.clone()),
        recompute: None,
        append_only: input_is_append_only,
        consolidated: false,
        work: Work::Input(Box::new(input)),
        inputs: vec![],
        schema,
        keeps: match (&key, input_is_append_only) {
            (Some(_), _) => Keeps::Keys,
            (None, true) => Keeps::Nothing,
            (None, false) => Keeps::Rows,
        },
        growth: if key.is_some() { Growth::Groups } else { Growth::Rows },
        key,
        tables: BTreeSet::from([number]),
        known,
        claims: vec![],
        released_by: BTreeSet::new(),
        stats: NodeStats::default(),
    });
    compiler.relations.insert(name, node);
    Ok(())
}

fn add_view(compiler: &mut Compiler, view: &PlannedView) -> Result<usize> {
    compiler.view = view.def.name.clone();
    let input = compiler.compile(&view.optimized)?;
    let (key, tables) = (compiler.nodes[input].key.clone(), compiler.nodes[input].tables.clone());
    let of = &compiler.nodes[input];
    let (append_only, is_done) = (of.append_only, of.consolidated);
    let (known, growth) = (of.known.clone(), of.growth);
    let consolidate = Node {
        kind: NodeKind::View,
        label: "view".to_owned(),
        detail: view.def.name.clone(),
        name: Some(view.def.name.clone()),
        recompute: None,
        work: Work::Operator(Box::new(Consolidate::new(view.schema.clone(), is_done)?)),
        inputs: vec![input],
        schema: view.schema.clone(),
        key,
        append_only,
        consolidated: true,
        tables: tables.clone(),
        known,
        claims: vec![],
        keeps: Keeps::Nothing,
        growth,
        released_by: BTreeSet::new(),
        stats: NodeStats::default(),
    };
    let mut node = consolidate;
    if let Some(window_end) = view.window_end {
        node.kind = NodeKind::Operator;
        node.name = None;
        node.label = "changes".to_owned();
        node.detail = "changes that cancel are left out".to_owned();
        let (schema, key) = (node.schema.clone(), node.key.clone());
        let input = compiler.add(node);
        let list: Vec<usize> = tables.iter().copied().collect();
        // Without a watermark in one of them, all that is known is that nothing comes before its end.
        let is_timed = list.iter().all(|&table| compiler.nodes[table].has_event_time());
        let known = match is_timed {
            true => bounds::of_closed(&list, &schema, window_end),
            false => vec![],
        };
        let settle = Settle::new(view.def.name.clone(), window_end, list, view.schema.clone())?;
        node = Node {
            kind: NodeKind::View,
            label: "final".to_owned(),
            detail: "rows of closed windows".to_owned(),
            name: Some(view.def.name.clone()),
            recompute: None,
            work: Work::Operator(Box::new(settle)),
            inputs: vec![input],
            schema,
            key,
            append_only: true,
            consolidated: true,
            tables,
            known,
            claims: vec![],
            keeps: Keeps::Waiting,
            growth,
            released_by: BTreeSet::new(),
            stats: NodeStats::default(),
        };
    }
    let node = compiler.add(node);
    compiler.relations.insert(view.def.name.clone(), node);
    Ok(node)
}

fn info(view: PlannedView, node: &Node) -> ViewInfo {
    ViewInfo {
        name: view.def.name,
        sql: view.def.sql,
        schema: view.schema,
        key: node.key.clone(),
        order: view.order,
        fingerprint: view.fingerprint,
        reads: view.reads,
        recorded: view.recorded.shown(),
        tables: node.tables.iter().copied().collect(),
    }
}
