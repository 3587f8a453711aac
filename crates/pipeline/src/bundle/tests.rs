//! Slices of a run: of every kind of view, held against a run that is right and against others.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use syncline_store::journal::{EpochInput, Journal, Place};
use syncline_store::slices::{self, Slice};
use syncline_store::{DataDir, EpochLog, manifests};

use super::*;
use crate::runtime::{RunOptions, Running};
use crate::verify::report::{Report, Verdict};
use crate::verify::{self, Options as Verification};

const PIPELINE: &str = "
name: shop
sources:
  orders: {type: file, path: orders.csv, format: csv, columns: {id: BIGINT, item: TEXT, amount: DOUBLE, at: TIMESTAMP}, event_time: {column: at, lateness: 20s}}
  items: {type: file, path: items.csv, format: csv, columns: {item: TEXT, price: BIGINT}, primary_key: [item]}
views:
  large: SELECT id, item FROM orders WHERE amount > 8
  totals: {sql: 'SELECT item, count(*) AS orders, sum(amount) AS amount, max(at) AS newest FROM orders GROUP BY item', keep: true}
  joined: SELECT o.id, i.price, o.amount * i.price AS cost FROM orders o JOIN items i ON o.item = i.item
  unpriced: SELECT o.id, i.price FROM orders o LEFT JOIN items i ON o.item = i.item AND i.price > 103
  lone: SELECT id FROM orders WHERE item NOT IN (SELECT item FROM items)
  costs: {sql: 'SELECT price, sum(cost) AS cost FROM joined GROUP BY price', keep: true}
  top: {sql: 'SELECT id, amount FROM orders ORDER BY amount DESC, id LIMIT 5', keep: true}
  newest: SELECT DISTINCT ON (item) item, id FROM orders ORDER BY item, at DESC
  numbered: SELECT id, row_number() OVER (PARTITION BY item ORDER BY at DESC) AS n FROM orders
  running: SELECT id, sum(amount) OVER (PARTITION BY item ORDER BY at, id) AS n FROM orders
  windows: SELECT window_end, count(*) AS n FROM tumble(orders, at, '10s') GROUP BY window_end
  sessions: SELECT window_start, window_end, count(*) AS n FROM session(orders, at, '5s', item) GROUP BY item, window_start, window_end
  closed: {sql: \"SELECT window_end, item, sum(amount) AS amount FROM tumble(orders, at, '10s') GROUP BY window_end, item\", emit: final}
  recent: SELECT id FROM orders WHERE at > now() - INTERVAL '1 hour'
  chance: SELECT id, random() AS r FROM orders WHERE amount < 3
  listed: SELECT item, array_agg(id) AS ids, string_agg(CAST(id AS TEXT), ',') AS text FROM orders GROUP BY item
alerts:
  dear: {when: SELECT item FROM totals WHERE amount > 40, notify: [{type: log}]}
run: {epoch: {max_rows: 10}}
";

/// A pipeline that has run to its end, and what was packed of it.
struct Shop {
    dir: tempfile::TempDir,
}

impl Shop {
    fn new() -> Self {
        Self::with(PIPELINE, 7)
    }

    /// Orders of which some come out of order, and some too late; their amounts depend on `step`.
    fn with(pipeline: &str, step: i64) -> Self {
        let shop = Self { dir: tempfile::tempdir().unwrap() };
        let mut orders = String::from("id,item,amount,at\n");
        for id in 0..120_i64 {
            let back = if id % 13 == 5 { 60 } else { id * 31 % 17 };
            let second = (id * 2 - back).max(0);
            let (minute, second) = (second / 60, second % 60);
            let (item, amount) = (id % 5, id * step % 11);
            let at = format!("2026-03-01 10:{minute:02}:{second:02}");
            writeln!(orders, "{id},item{item},{amount}.5,{at}").unwrap();
        }
        let mut items = String::from("item,price\n");
        for n in 0..60_i64 {
            writeln!(items, "item{},{}", n % 4, 100 + n % 7).unwrap();
        }
        std::fs::write(shop.path("orders.csv"), orders).unwrap();
        std::fs::write(shop.path("items.csv"), items).unwrap();
        std::fs::write(shop.path("syncline.yaml"), pipeline).unwrap();
        shop.run();
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn prepared(&self) -> Prepared {
        let vars = Vars::environment();
        let pipeline = Pipeline::load(Some(&self.path("syncline.yaml")), &vars).unwrap();
        Prepared::new(pipeline).unwrap()
    }

    fn run(&self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let options = RunOptions { once: true, ..RunOptions::default() };
        let mut running = Running::start(self.prepared(), &options).unwrap();
        runtime.block_on(async {
            running.finished().await;
            running.stop().await.unwrap();
        });
    }

    fn data(&self) -> PathBuf {
        self.path(".syncline")
    }

    fn epochs(&self) -> u64 {
        Past::open(&self.prepared(), &self.data()).unwrap().recorded()
    }

    fn pack(&self, from: u64, to: u64) -> Result<PathBuf, LoadError> {
        let out = self.path(&format!("{from}-{to}.bundle"));
        let options = Options { from: Some(from), through: Some(to), by_reference: false };
        pack(&self.prepared(), &self.data(), &out, options, &|_| ())?;
        Ok(out)
    }

    /// A slice as somebody gets it who has nothing else.
    fn slice(&self, from: u64, to: u64) -> Unpacked {
        Unpacked::open(&self.pack(from, to).unwrap()).unwrap()
    }
}

fn verified(slice: &Unpacked) -> Report {
    verified_with(slice, &Verification { workers: Some(3), ..Verification::default() })
}

fn verified_with(slice: &Unpacked, options: &Verification) -> Report {
    let prepared = slice.prepare().unwrap();
    verify::verify_slice(&prepared, slice.slice().unwrap(), options, &|_| ()).unwrap()
}

/// The first difference, in a line.
fn difference(slice: &Unpacked) -> String {
    let report = verified(slice);
    assert_eq!(report.verdict(), Verdict::Mismatch, "{report:#?}");
    let mismatch = &report.mismatches[0];
    let epoch = mismatch.epoch.map_or("-".to_owned(), |epoch| epoch.to_string());
    format!("{} [{epoch}] {}: {}", mismatch.what, mismatch.message, mismatch.rows.join(" | "))
}

#[test]
fn any_part_of_a_run_is_verified_over_what_tables_held_before() {
    let shop = Shop::new();
    let last = shop.epochs();
    assert!(last > 12, "{last}");
    let views = shop.prepared().views.len();
    for (from, to) in [(1, last), (1, 4), (2, 2), (3, 7), (5, last), (9, 10), (last, last)] {
        let slice = shop.slice(from, to);
        let contents = &slice.contents;
        assert_eq!((contents.from, contents.epoch), (Some(from), to));
        let report = verified(&slice);
        assert!(report.mismatches.is_empty(), "{from} to {to}: {report:#?}");
        let input = report.input.as_ref().unwrap();
        assert_eq!((report.epoch, input.epochs), (to, to + 1 - from));
        // None had to be left out, and all were computed by both.
        assert_eq!(report.views.len(), views, "{from} to {to}: {report:#?}");
        assert!(report.views.iter().all(|view| view.by_replay && view.by_batch), "{report:#?}");
        let of = report.slice.as_ref().unwrap();
        assert_eq!((of.from, of.anchor, of.by.as_str()), (from, last, "manifest"));
        assert!(report.manifest.is_some(), "{report:#?}");
        let unchecked = report.unchecked.join("\n");
        assert_eq!(from > 1, unchecked.contains("the base, what tables are said to have held"));
        assert_eq!(from > 1, unchecked.contains(&format!("the epochs before {from}")));
        assert_eq!(to < last, unchecked.contains("there is no checkpoint of it"), "{unchecked}");
        let verdict = if (from, to) == (1, last) { Verdict::Verified } else { Verdict::Partly };
        assert_eq!(report.verdict(), verdict, "{report:#?}");
        let is_recorded = report.views.iter().any(|view| view.is_recorded);
        assert_eq!(is_recorded, to == last, "{report:#?}");
    }
}

#[test]
fn without_a_manifest_a_checkpoint_is_what_it_is_held_against() {
    // A source that goes on after its end is nothing for a view of windows that are closed once.
    let shop = Shop::with(&PIPELINE.replace(", emit: final", ""), 7);
    let last = shop.epochs();
    std::fs::remove_dir_all(shop.data().join("manifests")).unwrap();
    let report = verified(&shop.slice(4, 6));
    assert_eq!(report.verdict(), Verdict::Partly, "{report:#?}");
    let of = report.slice.as_ref().unwrap();
    assert_eq!((of.anchor, of.by.as_str()), (last, "checkpoint"));
    // Later epochs in the same place: the checkpoint before them says what views held over the base.
    let more = std::fs::read_to_string(shop.path("orders.csv")).unwrap();
    let more =
        format!("{more}500,item1,4.5,2026-03-01 10:09:00\n501,item9,5.5,2026-03-01 10:09:01\n");
    std::fs::write(shop.path("orders.csv"), more).unwrap();
    shop.run();
    let report = verified(&shop.slice(last + 1, shop.epochs()));
    assert!(report.mismatches.is_empty(), "{report:#?}");
    assert!(report.slice.unwrap().base_views >= 3);
    std::fs::remove_dir_all(shop.data().join("manifests")).unwrap();
    std::fs::remove_dir_all(shop.data().join("checkpoints")).unwrap();
    let error = shop.pack(4, 6).unwrap_err();
    assert!(error.to_string().contains("no checkpoint of epoch 6"), "{error}");
}

/// What was made under another lock says nothing of the pipeline as it is.
#[test]
fn after_an_edit_the_manifest_of_the_edited_pipeline_counts() {
    let shop = Shop::with(&PIPELINE.replace(", emit: final", ""), 7);
    let last = shop.epochs();
    let text = std::fs::read_to_string(shop.path("syncline.yaml")).unwrap();
    std::fs::write(shop.path("syncline.yaml"), text.replace("amount > 8", "amount > 7")).unwrap();
    let orders = std::fs::read_to_string(shop.path("orders.csv")).unwrap();
    let orders = format!("{orders}500,item1,4.5,2026-03-01 10:09:00\n");
    std::fs::write(shop.path("orders.csv"), orders).unwrap();
    shop.run();
    let report = verified(&shop.slice(4, 6));
    assert_eq!(report.verdict(), Verdict::Partly, "{report:#?}");
    let of = report.slice.as_ref().unwrap();
    assert_eq!((of.anchor, of.by.as_str()), (shop.epochs(), "manifest"));
    assert!(of.anchor > last && report.manifest.is_some(), "{report:#?}");
    assert!(report.unchecked[0].starts_with("the changes of view large: it has been edited"));
    let edited = report.unchecked.iter().filter(|what| what.contains("edited")).count();
    assert_eq!(edited, 1, "{report:#?}");
}

#[test]
fn what_only_a_whole_run_has_is_refused() {
    let shop = Shop::new();
    let last = shop.epochs();
    for (from, to, words) in [(5, 4, "no epochs 5 to 4"), (2, last + 1, "no epoch")] {
        let error = shop.pack(from, to).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let slice = shop.slice(2, 3);
    let prepared = slice.prepare().unwrap();
    for options in [
        Verification { at: Some(2), ..Verification::default() },
        Verification { sinks: true, ..Verification::default() },
        Verification {
            sample: Some(verify::Sample { rows: 1, seed: 1 }),
            ..Verification::default()
        },
    ] {
        let verified = verify::verify_slice(&prepared, slice.slice().unwrap(), &options, &|_| ());
        assert!(verified.unwrap_err().to_string().contains("a slice"));
    }
}

/// The newest order is taken back: when it was, nothing in the table tells.
#[test]
fn a_view_that_depends_on_more_than_tables_is_left_out() {
    let pipeline = "
name: states
sources:
  states: {type: file, path: states.csv, format: csv, columns: {id: BIGINT, n: BIGINT, at: TIMESTAMP}, primary_key: [id], event_time: {column: at, lateness: 10s}}
  others: {type: file, path: others.csv, format: csv, columns: {n: BIGINT}}
views:
  sums: {sql: 'SELECT count(*) AS n, sum(n) AS s FROM states', keep: true}
  counted: {sql: 'SELECT count(*) AS n FROM others', keep: true}
run: {epoch: {max_rows: 1}}
";
    let shop = Shop { dir: tempfile::tempdir().unwrap() };
    // Row 1 goes back from :40 to :31, and :29 comes too late for :40 but not for :31.
    let states = "id,n,at\n1,1,2026-03-01 10:00:40\n1,2,2026-03-01 10:00:31\n2,3,2026-03-01 10:00:29\n3,4,2026-03-01 10:00:50\n";
    std::fs::write(shop.path("states.csv"), states).unwrap();
    std::fs::write(shop.path("others.csv"), "n\n1\n2\n3\n4\n").unwrap();
    std::fs::write(shop.path("syncline.yaml"), pipeline).unwrap();
    shop.run();
    let last = shop.epochs();
    let left_out: Vec<Vec<String>> = (2..=last)
        .map(|from| {
            let slice = shop.slice(from, last);
            let report = verified(&slice);
            assert_eq!(report.verdict(), Verdict::Partly, "from {from}: {report:#?}");
            assert!(report.views.iter().any(|view| view.view == "counted"), "{report:#?}");
            let left_out = Slice::read(slice.slice().unwrap()).unwrap().left_out;
            for view in left_out.keys() {
                let said = format!("view {view}: its changes depend on more of the past");
                assert!(report.unchecked.iter().any(|what| what.starts_with(&said)), "{report:#?}");
            }
            left_out.into_keys().collect()
        })
        .collect();
    assert!(left_out.contains(&vec!["sums".to_owned()]), "{left_out:?}");
    assert!(left_out.contains(&vec![]), "{left_out:?}");
}

#[test]
fn a_run_that_is_not_what_it_recorded_makes_no_slice() {
    let shop = Shop::new();
    let dir = DataDir::open(shop.data()).unwrap();
    let records = syncline_store::epochs::records(&dir).unwrap().unwrap();
    let mut records: Vec<_> = records.map(|record| record.unwrap().record).collect();
    let totals = records.iter_mut().skip(4).find_map(|record| record.views.get_mut("totals"));
    totals.unwrap().digest = "ab".repeat(32);
    std::fs::remove_file(shop.data().join("epochs.log")).unwrap();
    let (mut log, ..) = EpochLog::open(&dir).unwrap();
    records.iter().for_each(|record| log.append(record).unwrap());
    log.sync().unwrap();
    drop((log, dir));
    let error = shop.pack(4, records.len() as u64).unwrap_err();
    let LoadError::Unreadable(error) = error else { panic!("{error}") };
    assert!(error.message().contains("not what it recorded"), "{error:?}");
}

/// Changes the folder of a slice, whose bundle then says that it is as it was packed.
fn altered(slice: &Unpacked, change: impl FnOnce(&Path)) -> Unpacked {
    let folder = slice.slice().unwrap();
    change(folder);
    let out = folder.with_extension("altered");
    let contents = Contents::new("1.0.0", "shop", slice.contents.epoch, vec![]);
    bundle::pack(folder, contents.of_slice(slice.contents.from.unwrap()), &out).unwrap();
    let unpacked = Unpacked::open(&out).unwrap();
    std::fs::remove_file(&out).unwrap();
    unpacked
}

fn inputs(folder: &Path, from: u64) -> Vec<EpochInput> {
    let dir = DataDir::open_read(slices::data(folder)).unwrap();
    journal::replay(&dir, from).unwrap().map(Result::unwrap).collect()
}

/// Puts other epochs in the place of a slice's, with right checksums; returns their hashes.
fn rewrite_journal(
    shop: &Shop,
    folder: &Path,
    from: u64,
    change: impl FnOnce(&mut Vec<EpochInput>),
) -> Vec<String> {
    let prepared = shop.prepared();
    let mut inputs = inputs(folder, from);
    change(&mut inputs);
    std::fs::remove_dir_all(slices::data(folder).join("journal")).unwrap();
    let dir = DataDir::open(slices::data(folder)).unwrap();
    let sources: Vec<_> =
        prepared.tables.iter().map(|t| (t.name.clone(), t.schema.clone())).collect();
    let mut place = Place::default();
    let whole = DataDir::open_read(shop.data()).unwrap();
    journal::replay(&whole, 1)
        .unwrap()
        .take(from as usize - 1)
        .for_each(|input| place.pass(&input.unwrap()));
    let mut journal = Journal::begin_at(&dir, &sources, &place).unwrap();
    let written = inputs.iter().map(|input| journal.append(input).unwrap());
    written.map(|digest| digest.to_hex().to_string()).collect()
}

#[test]
fn a_flipped_byte_is_found() {
    let shop = Shop::new();
    let path = shop.pack(2, shop.epochs()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for at in (bytes.len() / 10..bytes.len()).step_by(bytes.len() / 10) {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        std::fs::write(&path, altered).unwrap();
        assert!(Unpacked::open(&path).is_err(), "byte {at}");
    }
    // Also where the bundle was made anew around it.
    std::fs::write(&path, bytes).unwrap();
    for (file, word) in [
        ("data/epochs.log", "the epoch log"),
        ("data/journal/orders", "the journal"),
        ("slice.json", "the slice"),
    ] {
        let slice = altered(&Unpacked::open(&path).unwrap(), |folder| {
            let mut path = folder.join(file);
            if path.is_dir() {
                path = std::fs::read_dir(path).unwrap().next().unwrap().unwrap().path();
            }
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        });
        let found = difference(&slice);
        assert!(found.starts_with(word), "{file}: {found}");
    }
}

#[test]
fn a_dropped_a_swapped_and_a_foreign_epoch_are_found() {
    let (shop, other) = (Shop::new(), Shop::with(PIPELINE, 3));
    // Of which sources an epoch has rows depends on when they gave any.
    let (to, their_end) = (shop.epochs() - 1, other.epochs());
    let number = |inputs: &mut Vec<EpochInput>| {
        (3..).zip(inputs.iter_mut()).for_each(|(epoch, input)| input.epoch = epoch);
    };
    let dropped = altered(&shop.slice(3, to), |folder| {
        rewrite_journal(&shop, folder, 3, |inputs| {
            inputs.remove(2);
            number(inputs);
        });
    });
    let found = difference(&dropped);
    assert!(found.starts_with("the journal [5]"), "{found}");

    let swapped = altered(&shop.slice(3, to), |folder| {
        rewrite_journal(&shop, folder, 3, |inputs| {
            inputs.swap(1, 2);
            number(inputs);
        });
    });
    let found = difference(&swapped);
    assert!(found.starts_with("the journal [4]"), "{found}");

    // An epoch of another run, with records that fit it: only what the run signed tells.
    let theirs = other.slice(3, their_end);
    let theirs = inputs(theirs.slice().unwrap(), 3);
    let foreign = altered(&shop.slice(3, to), |folder| {
        let digests = rewrite_journal(&shop, folder, 3, |inputs| {
            let mut rows = theirs.iter().flat_map(|input| &input.inputs);
            let rows = rows.rfind(|part| part.source == "orders").unwrap();
            let mut ours = inputs.iter_mut().skip(1).flat_map(|input| &mut input.inputs);
            ours.find(|part| part.source == "orders").unwrap().rows = rows.rows.clone();
        });
        let slice = Slice::read(folder).unwrap();
        let dir = DataDir::open(slices::data(folder)).unwrap();
        let head = slice.head_before().unwrap();
        let records = syncline_store::epochs::records_after(&dir, 2, head).unwrap().unwrap();
        let mut records: Vec<_> = records.map(|record| record.unwrap().record).collect();
        let inputs = inputs(folder, 3);
        for ((record, digest), input) in records.iter_mut().zip(digests).zip(&inputs) {
            record.input = Some(digest);
            for part in &input.inputs {
                record.sources.get_mut(&part.source).unwrap().rows = part.row_count() as u64;
            }
            // What views make of it is left out below.
        }
        std::fs::remove_file(slices::data(folder).join("epochs.log")).unwrap();
        let mut log = EpochLog::begin_after(&dir, 2, head).unwrap();
        records.iter().for_each(|record| log.append(record).unwrap());
        log.sync().unwrap();
        let views = shop.prepared().views;
        let left_out = views.iter().map(|view| (view.name.clone(), String::new())).collect();
        Slice { left_out, ..slice }.write(folder).unwrap();
    });
    let found = difference(&foreign);
    assert!(found.starts_with(&format!("the input root [{to}]")), "{found}");
    // The epochs of one run under the account of another.
    let account = altered(&shop.slice(3, to), |folder| {
        let whole = DataDir::open_read(other.data()).unwrap();
        let dir = DataDir::open(slices::data(folder)).unwrap();
        let manifest = manifests::newest(&whole).unwrap().unwrap();
        std::fs::remove_dir_all(slices::data(folder).join("manifests")).unwrap();
        manifests::write(&dir, &manifest).unwrap();
    });
    let found = difference(&account);
    let words = ["the input root", "the manifest"];
    assert!(words.iter().any(|word| found.starts_with(word)), "{found}");
}

#[test]
fn bundles_of_one_name_are_open_at_the_same_time() {
    let (shop, other) = (Shop::new(), Shop::with(PIPELINE, 3));
    let (first, second) = (shop.slice(2, 4), other.slice(2, 4));
    assert_ne!(first.data_dir(), second.data_dir());
    for slice in [&first, &second] {
        let report = verified(slice);
        assert_eq!(report.verdict(), Verdict::Partly, "{report:#?}");
    }
    assert_ne!(verified(&first).input.unwrap().root, verified(&second).input.unwrap().root);
}

#[test]
fn another_base_shows_in_the_views_over_it() {
    let shop = Shop::new();
    let last = shop.epochs();
    let forged = altered(&shop.slice(last, last), |folder| {
        let dir = DataDir::open_read(slices::base(folder)).unwrap();
        let mut inputs: Vec<_> = journal::replay(&dir, 1).unwrap().map(Result::unwrap).collect();
        let mut parts = inputs.iter_mut().flat_map(|input| &mut input.inputs);
        let orders = parts.find(|part| part.source == "orders").unwrap();
        orders.rows = vec![orders.rows[0].slice(1, orders.rows[0].num_rows() - 1)];
        std::fs::remove_dir_all(slices::base(folder).join("journal")).unwrap();
        let dir = DataDir::open(slices::base(folder)).unwrap();
        let prepared = shop.prepared();
        let sources: Vec<_> =
            prepared.tables.iter().map(|t| (t.name.clone(), t.schema.clone())).collect();
        let (mut journal, _) = Journal::open(&dir, &sources, 0).unwrap();
        for input in &inputs {
            journal.append(input).unwrap();
        }
    });
    let found = difference(&forged);
    assert!(found.starts_with("view "), "{found}");
}
