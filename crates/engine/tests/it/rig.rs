//! Runs views over random changes and holds every epoch against the batch engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::filter_record_batch;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use syncline_change::Batch;
use syncline_engine::{
    Asked, BatchEngine, Circuit, Content, Emit, EventTime, Options, Piece, SavedState, StepOutput,
    TableContent, TableDef, TableInput, ViewDef,
};

/// One row of the test table `t`: small domains, so that groups, keys and whole rows repeat.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) k: Option<i64>,
    pub(crate) g: Option<String>,
    pub(crate) v: Option<f64>,
    pub(crate) n: Option<i64>,
    pub(crate) ts: i64,
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Add(Row),
    /// Take away one of the rows that are there.
    Remove(prop::sample::Index),
}

pub(crate) fn rows(rows: &[Row]) -> RecordBatch {
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("k", Arc::new(rows.iter().map(|r| r.k).collect::<Int64Array>()), true),
        ("g", Arc::new(rows.iter().map(|r| r.g.clone()).collect::<StringArray>()), true),
        ("v", Arc::new(rows.iter().map(|r| r.v).collect::<Float64Array>()), true),
        ("n", Arc::new(rows.iter().map(|r| r.n).collect::<Int64Array>()), true),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.ts))),
            true,
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn any_row() -> impl Strategy<Value = Row> {
    let float = prop_oneof![
        8 => (-40_i32..40).prop_map(|v| f64::from(v) / 8.0),
        2 => prop::sample::select(vec![0.1, 1e300, -1e300, 5e-324, f64::MAX]),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
    ];
    let number = prop_oneof![
        8 => -5_i64..5,
        1 => prop::sample::select(vec![i64::MAX, i64::MIN]),
    ];
    (
        prop::option::weighted(0.9, 0_i64..6),
        prop::option::weighted(0.9, prop::sample::select(vec!["a", "b", "c", ""])),
        prop::option::weighted(0.9, float),
        prop::option::weighted(0.9, number),
        0_i64..600,
    )
        .prop_map(|(k, g, v, n, seconds)| Row {
            k,
            g: g.map(str::to_owned),
            v,
            n,
            ts: seconds * 1_000_000,
        })
}

/// Epochs of changes of the tables `t` and `u`.
type Story = Vec<Vec<(usize, Change)>>;

fn any_story(deletions: bool) -> impl Strategy<Value = Story> {
    let change = if deletions {
        prop_oneof![
            3 => any_row().prop_map(Change::Add),
            2 => any::<prop::sample::Index>().prop_map(Change::Remove),
        ]
        .boxed()
    } else {
        any_row().prop_map(Change::Add).boxed()
    };
    let epoch = prop::collection::vec((0_usize..2, change), 0..8);
    prop::collection::vec(epoch, 1..10)
}

/// What kind of tables a case runs over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) deletions: bool,
    pub(crate) keyed: bool,
    pub(crate) event_time: bool,
    pub(crate) emit: Emit,
}

impl Setting {
    pub(crate) const CHANGES: Self =
        Self { deletions: true, keyed: false, event_time: false, emit: Emit::Changes };
    pub(crate) const APPENDS: Self =
        Self { deletions: false, keyed: false, event_time: false, emit: Emit::Changes };
    pub(crate) const UPSERTS: Self =
        Self { deletions: true, keyed: true, event_time: false, emit: Emit::Changes };
    pub(crate) const FINAL: Self =
        Self { deletions: false, keyed: false, event_time: true, emit: Emit::Final };
}

pub(crate) fn tables(setting: Setting) -> Vec<TableDef> {
    let table = |name: &str| TableDef {
        name: name.to_owned(),
        schema: rows(&[]).schema(),
        primary_key: setting.keyed.then(|| vec![0]),
        event_time: setting.event_time.then_some(EventTime {
            column: 4,
            lateness_us: 60_000_000,
            idle_us: None,
        }),
        deletes: setting.deletions,
    };
    vec![table("t"), table("u")]
}

/// One in so many stories ends with a row of the view explained.
const EXPLAINED_EVERY: usize = 8;
/// In one of so many stories, the second circuit goes on from saved state.
const RESTARTED_EVERY: usize = 3;

/// Runs `sql` (and `helpers`, views that it may read) over many random stories.
pub(crate) fn check_with(setting: Setting, sql: &str, helpers: &[(&str, &str)]) {
    let cases = std::env::var("SYNCLINE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = any_story(setting.deletions);
    for case in 0..cases {
        let story = strategy.new_tree(&mut runner).unwrap().current();
        let explain = (case % EXPLAINED_EVERY == 0).then_some(case);
        // More than once: what went on from saved state is saved again.
        let after = |epoch: usize| 1 << (epoch % story.len());
        let restarts = match case % RESTARTED_EVERY {
            0 => after(case) | after(case / 2 + 1) | after(case / 3 + 3),
            _ => 0,
        };
        let one = run(setting, sql, helpers, &story, (1, 0), explain);
        let two = run(setting, sql, helpers, &story, (2, restarts), None);
        assert_eq!(
            one, two,
            "case {case}: one worker and two (restarts {restarts:b}) differ in {sql}"
        );
    }
}

pub(crate) fn check(sql: &str) {
    check_with(Setting::CHANGES, sql, &[]);
    check_with(Setting::APPENDS, sql, &[]);
    check_with(Setting::UPSERTS, sql, &[]);
}

/// Every change that the last view put out, as text, epoch by epoch. In the end, row number `explain` of
/// it is explained. After epochs whose bits in `restarts` are set, another circuit goes on from the state
/// that was saved.
fn run(
    setting: Setting,
    sql: &str,
    helpers: &[(&str, &str)],
    story: &Story,
    (workers, restarts): (usize, u64),
    explain: Option<usize>,
) -> Vec<String> {
    let mut views: Vec<ViewDef> = helpers
        .iter()
        .map(|(name, sql)| ViewDef {
            name: (*name).to_owned(),
            sql: (*sql).to_owned(),
            emit: Emit::Changes,
        })
        .collect();
    views.push(ViewDef { name: "view".to_owned(), sql: sql.to_owned(), emit: setting.emit });
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build().unwrap();
    let pool = Some(Arc::new(pool));
    let make = || {
        let options = Options { pool: pool.clone(), stopwatch: || 0, seed: 0 };
        Circuit::new(tables(setting), &views, options)
            .unwrap_or_else(|errors| panic!("{sql}: {errors:?}"))
    };
    let mut saved = Saved::new(restarts);
    let mut circuit = make();
    saved.begin(&mut circuit);
    let info = circuit.views().last().unwrap().clone();
    let mut beside = Beside::new(sql, &tables(setting), &views, &circuit);
    let mut there: Vec<Vec<Row>> = vec![vec![], vec![]];
    let mut trace = Vec::new();
    for (number, epoch) in story.iter().enumerate() {
        let number = number as u64 + 1;
        let finished = number as usize == story.len();
        let input = (0..2).map(|table| TableInput {
            table,
            rows: vec![changes(table, epoch, &mut there[table])],
            finished,
        });
        let output = circuit.step(number, number as i64, input.collect()).unwrap();
        if !setting.event_time {
            assert!(output.rejected.is_empty(), "{:?}", output.rejected);
        }
        beside.take_in(&output, |kept, change| {
            trace.push(format!("{number}: {change:?}"));
            if let Some(key) = &info.key {
                assert_unique(kept, key, sql);
            }
        });
        beside.assert_equal(&circuit, number, || format!(" of {story:?} with {setting:?}"));
        saved.save(&mut circuit, number, make);
    }
    if let Some(pick) = explain {
        let explained = beside.explained(&circuit, story.len() as u64, pick);
        assert!(explained.is_ok(), "{sql}\n{} of {story:?}", explained.unwrap_err());
    }
    trace
}

/// The state of a circuit as it is saved after every epoch, and gone on from after some.
pub(crate) struct Saved {
    state: SavedState,
    /// A bit for each epoch.
    restarts: u64,
}

impl Saved {
    pub(crate) fn new(restarts: u64) -> Self {
        Self { state: SavedState::default(), restarts }
    }

    /// To be called before the first step.
    pub(crate) fn begin(&self, circuit: &mut Circuit) {
        if self.restarts != 0 {
            circuit.begin_saving();
        }
    }

    /// Saves the state after epoch `number`; if it is time to, a circuit that `make` makes goes on from
    /// it.
    pub(crate) fn save(&mut self, circuit: &mut Circuit, number: u64, make: impl Fn() -> Circuit) {
        if self.restarts == 0 {
            return;
        }
        let is_due = self.restarts >> ((number - 1) % 64) & 1 == 1;
        // Now and then a part of it alone, as where much has changed.
        let is_complete = is_due || number.is_multiple_of(3);
        self.state.apply(circuit.save(is_complete).unwrap()).unwrap();
        if is_due {
            self.state = through_bytes(&self.state);
            let mut other = make();
            assert_eq!(other.layout(), circuit.layout());
            other.begin_saving();
            other.load(&self.state).unwrap();
            assert_eq!(other.due_at(), circuit.due_at());
            *circuit = other;
        }
    }
}

/// State as it is when it was written and read again.
fn through_bytes(state: &SavedState) -> SavedState {
    let read =
        |piece: &Piece| Piece::of_parts(piece.parts().map(arrow::buffer::Buffer::from)).unwrap();
    let tables = state.tables().iter();
    let tables = tables.map(|(name, pieces)| (name.clone(), pieces.iter().map(read).collect()));
    SavedState::of_tables(tables.collect())
}

/// The last view of a circuit over `t` and `u`, beside what the batch engine makes of the same input.
pub(crate) struct Beside {
    sql: String,
    batch: BatchEngine,
    reads: Vec<usize>,
    kept: Content,
    /// What the tables hold, as the circuit says it took it in.
    held: Vec<Content>,
}

impl Beside {
    pub(crate) fn new(
        sql: &str,
        tables: &[TableDef],
        views: &[ViewDef],
        circuit: &Circuit,
    ) -> Self {
        let info = circuit.views().last().unwrap();
        let held = || Content::new(rows(&[]).schema(), vec![]).unwrap();
        Self {
            sql: sql.to_owned(),
            batch: BatchEngine::new(tables, views, 0).unwrap(),
            reads: info.tables.clone(),
            kept: Content::new(info.schema.clone(), info.order.clone()).unwrap(),
            held: vec![held(), held()],
        }
    }

    /// Applies what an epoch did; `look` sees the view after each of its changes.
    pub(crate) fn take_in(&mut self, output: &StepOutput, mut look: impl FnMut(&Content, &Batch)) {
        for (held, changes) in self.held.iter_mut().zip(&output.tables) {
            changes.iter().for_each(|change| held.apply(change).unwrap());
        }
        for change in output.views.last().unwrap() {
            self.kept.apply(change).unwrap_or_else(|error| panic!("{}: {error}", self.sql));
            look(&self.kept, change);
        }
    }

    /// What the view is computed from: the rows of the tables, and how far event time has come.
    fn input(&self, circuit: &Circuit) -> (Vec<TableContent>, i64) {
        let contents = ["t", "u"].into_iter().zip(&self.held);
        let contents = contents.map(|(name, held)| (name.to_owned(), held.batches().unwrap()));
        let watermark = self.reads.iter().map(|&t| circuit.watermark(t).unwrap_or(i64::MIN));
        (contents.collect(), watermark.min().unwrap_or(i64::MAX))
    }

    /// Explains row number `pick` of the view.
    fn explained(&self, circuit: &Circuit, number: u64, pick: usize) -> Result<(), String> {
        let (contents, watermark) = self.input(circuit);
        let (times, held) = ((number as i64, watermark), self.kept.all().unwrap());
        check_claims(&self.batch, &contents, times, "view", &held, pick)?;
        check_explained(&self.batch, &contents, times, "view", &held, pick)
    }

    /// Both are equal, bit for bit.
    pub(crate) fn assert_equal(
        &self,
        circuit: &Circuit,
        number: u64,
        story: impl FnOnce() -> String,
    ) {
        let (contents, watermark) = self.input(circuit);
        let expect = self.batch.compute(&contents, number as i64, |_| watermark).unwrap();
        let (_, expect) = expect.into_iter().find(|(name, _)| name == "view").unwrap();
        let (got, expect) = (self.kept.all().unwrap(), expect.all().unwrap());
        assert!(
            same_bits(&got, &expect),
            "after epoch {number}{}\n{}\ngot\n{}\nexpected\n{}",
            story(),
            self.sql,
            show(&got),
            show(&expect),
        );
    }
}

/// Looks for rows of what a view holds, from number `pick` on, and for rows that are no longer or not yet there.
pub(crate) fn check_claims(
    batch: &BatchEngine,
    contents: &[TableContent],
    (time_us, watermark_us): (i64, i64),
    view: &str,
    held: &RecordBatch,
    pick: usize,
) -> Result<(), String> {
    let look_for = |contents: &[TableContent], rows: &RecordBatch| {
        let found = batch.look_for(contents, time_us, |_| watermark_us, view, rows);
        found.map_err(|error| error.report())
    };
    let content = |rows: &RecordBatch| {
        let mut content = Content::new(held.schema(), vec![]).unwrap();
        content.apply(&Batch::inserts(rows.clone())).unwrap();
        content
    };
    let all = content(held);
    for sample in [all.sample(1, pick as u64), all.sample(3, pick as u64), all.sample(1_000, 0)] {
        let sample = sample.unwrap().all().unwrap();
        let found = look_for(contents, &sample)?.all().unwrap();
        if !same_bits(&found, &sample) {
            return Err(format!("found\n{}\nof the rows\n{}", show(&found), show(&sample)));
        }
    }
    // What the view would hold without some rows is claimed of it with all of them.
    let fewer = |(name, rows): &TableContent| {
        let fewer = rows.iter().map(|rows| {
            let is_kept = |row: usize| Some(!(row + pick).is_multiple_of(3));
            filter_record_batch(rows, &(0..rows.num_rows()).map(is_kept).collect()).unwrap()
        });
        (name.clone(), fewer.collect())
    };
    let fewer: Vec<TableContent> = contents.iter().map(fewer).collect();
    let Ok(other) = batch.compute(&fewer, time_us, |_| watermark_us) else { return Ok(()) };
    let (_, other) = other.into_iter().find(|(name, _)| name == view).unwrap();
    let claimed = other.all().unwrap();
    let found = look_for(contents, &claimed)?;
    // All of those that are there are found, and no others.
    let expected = held_among(held, &claimed);
    if !same_bits(&found.all().unwrap(), &expected) {
        let (found, claimed) = (show(&found.all().unwrap()), show(&claimed));
        return Err(format!("found\n{found}\nand not\n{}\nof\n{claimed}", show(&expected)));
    }
    Ok(())
}

/// The rows of `held` that are among `claimed`.
fn held_among(held: &RecordBatch, claimed: &RecordBatch) -> RecordBatch {
    let codec = syncline_change::row::RowCodec::new(held.schema()).unwrap();
    let encode = |rows: &RecordBatch| -> Vec<Vec<u8>> {
        let encoded = codec.encode_batch(rows).unwrap();
        encoded.iter().map(|row| row.data().to_vec()).collect()
    };
    let claimed: BTreeSet<Vec<u8>> = encode(claimed).into_iter().collect();
    let mut kept: Vec<Vec<u8>> = encode(held);
    kept.retain(|row| claimed.contains(row));
    kept.sort();
    codec.decode_batch(kept.iter().map(Vec::as_slice)).unwrap()
}

/// Explains row number `pick` of what a view holds, and holds the explanation against what it promises.
pub(crate) fn check_explained(
    batch: &BatchEngine,
    contents: &[TableContent],
    (time_us, watermark_us): (i64, i64),
    view: &str,
    held: &RecordBatch,
    pick: usize,
) -> Result<(), String> {
    if held.num_rows() == 0 {
        return Ok(());
    }
    let row = held.slice(pick % held.num_rows(), 1);
    let asked = Asked { view, condition: &row, rows_max: 1 };
    let explained = batch.explain(contents, time_us, |_| watermark_us, asked);
    let explained = explained.map_err(|error| error.report())?;
    let told = || format!("of\n{}\nexplained by {explained:#?}", show(&row));
    if explained.rows.num_rows() == 0 || !same_bits(&explained.rows.slice(0, 1), &row) {
        return Err(format!("another row is explained instead {}", told()));
    }
    if !explained.verified {
        return Err(format!("the input rows do not give the row {}", told()));
    }
    let known = ["a recursion is not traced", "the traced rows alone do not give the row"];
    let reasons = explained.sources.iter().filter_map(|source| source.not_narrowed.as_deref());
    let unknown: Vec<&str> = reasons.filter(|reason| !known.contains(reason)).collect();
    if !unknown.is_empty() {
        return Err(format!("it could not be traced: {unknown:?} {}", told()));
    }
    Ok(())
}

pub(crate) fn show(rows: &RecordBatch) -> String {
    arrow::util::pretty::pretty_format_batches(std::slice::from_ref(rows)).unwrap().to_string()
}

/// Equality of row encodings: NaN equals NaN, and 0 does not equal -0.
pub(crate) fn same_bits(a: &RecordBatch, b: &RecordBatch) -> bool {
    let codec = syncline_change::row::RowCodec::new(a.schema()).unwrap();
    let encode = |rows: &RecordBatch| -> Vec<Vec<u8>> {
        let encoded = codec.encode_batch(rows).unwrap();
        encoded.iter().map(|row| row.data().to_vec()).collect()
    };
    a.num_rows() == b.num_rows() && encode(a) == encode(b)
}

pub(crate) fn assert_unique(kept: &Content, key: &[usize], sql: &str) {
    let all = kept.all().unwrap();
    let keys = all.project(key).unwrap();
    let mut counts: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    if key.is_empty() {
        assert!(all.num_rows() <= 1, "{sql}: more than one row without a key");
        return;
    }
    let codec = syncline_change::row::RowCodec::new(keys.schema()).unwrap();
    for row in &codec.encode(keys.columns()).unwrap() {
        *counts.entry(row.data().to_vec()).or_default() += 1;
    }
    assert!(counts.values().all(|&n| n == 1), "{sql}: key {key:?} is not unique\n{}", show(&all));
}

/// One epoch's changes of one table as a batch; removals are of rows that are there.
fn changes(table: usize, epoch: &[(usize, Change)], there: &mut Vec<Row>) -> Batch {
    let (mut changed, mut weights) = (Vec::new(), Vec::new());
    for (_, change) in epoch.iter().filter(|(of, _)| *of == table) {
        match change {
            Change::Add(row) => {
                there.push(row.clone());
                changed.push(row.clone());
                weights.push(1);
            }
            Change::Remove(which) if !there.is_empty() => {
                let which = which.index(there.len());
                changed.push(there.swap_remove(which));
                weights.push(-1);
            }
            Change::Remove(_) => {}
        }
    }
    Batch::new(rows(&changed), Int64Array::from(weights)).unwrap()
}
