#![allow(clippy::unwrap_used)]

use arrow::datatypes::{DataType, TimeUnit};
use proptest::prelude::*;
use syncline_change::ErrorKind;

use super::*;

fn example() -> Lock {
    let mut lock = Lock::new(u64::MAX);
    lock.set_source(
        "flights",
        &Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("dep time", DataType::Timestamp(TimeUnit::Microsecond, None), true),
            Field::new("price", DataType::Decimal128(10, 2), true),
        ]),
    );
    lock.views.insert("delays".to_owned(), "5d41402abc4b2a76b9719d911017c592".to_owned());
    // A hash that YAML could take for a number.
    lock.tables.insert("time zones".to_owned(), "0123456789".to_owned());
    lock
}

#[test]
fn a_lock_is_text_that_reads_back() {
    let lock = example();
    insta::assert_snapshot!(lock.to_text());
    let read = Lock::parse(&lock.to_text(), "syncline.lock").unwrap();
    assert_eq!(read, lock);
    assert_eq!(read.to_text(), lock.to_text());
    let schema = read.source_schema("flights").unwrap().unwrap();
    assert_eq!(schema.field(1).name(), "dep time");
    assert_eq!(schema.field(2).data_type(), &DataType::Decimal128(10, 2));
    assert!(read.source_schema("elsewhere").unwrap().is_none());
}

#[test]
fn the_first_format_stays_readable() {
    let read = Lock::parse(include_str!("fixtures/format_1.lock"), "syncline.lock").unwrap();
    assert_eq!(read, Lock { semantics: 1, ..example() });
}

#[test]
fn a_lock_is_written_once_and_only_when_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("syncline.lock");
    assert_eq!(Lock::read(&path).unwrap(), None);
    let mut lock = example();
    assert!(lock.write(&path).unwrap());
    assert!(!lock.write(&path).unwrap());
    assert_eq!(Lock::read(&path).unwrap().unwrap(), lock);
    lock.seed = 1;
    assert!(lock.write(&path).unwrap());
    assert_eq!(Lock::read(&path).unwrap().unwrap().seed, 1);
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "nothing is left beside the lock: {names:?}");
    let nowhere = lock.write(&dir.path().join("no/such/folder.lock")).unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::Storage);
}

#[test]
fn differences_are_sentences() {
    let old = example();
    let mut new = example();
    assert_eq!(old.diff(&new), Vec::<String>::new());
    new.semantics = SEMANTICS_VERSION + 1;
    new.seed = 7;
    new.partitions = 512;
    let columns = new.sources.get_mut("flights").unwrap();
    columns.insert("id".to_owned(), "TEXT".to_owned());
    columns.shift_remove("price");
    columns.insert("carrier".to_owned(), "TEXT".to_owned());
    new.sources.insert("planes".to_owned(), IndexMap::new());
    new.views.insert("delays".to_owned(), "00".to_owned());
    new.tables.clear();
    let lines = old.diff(&new).join("\n");
    insta::assert_snapshot!(lines);
    let mut turned = example();
    turned.sources.get_mut("flights").unwrap().reverse();
    assert_eq!(old.diff(&turned), ["source `flights`: the columns are in another order"]);
}

#[test]
fn what_is_no_lock_is_named_with_its_line() {
    let sound = example().to_text();
    let cases = [
        ("nothing", String::new()),
        ("no seed", sound.replace("seed: 18446744073709551615\n", "")),
        ("a seed that is none", sound.replace("18446744073709551615", "many")),
        ("a key that is none", format!("{sound}colour: red\n")),
        ("a key twice", format!("{sound}seed: 1\n")),
        ("a hash that is none", sound.replace("5d41402abc", "hello")),
        ("a column without a type", sound.replace("BIGINT", "")),
        ("a list", sound.replace("  flights:", "  - flights:")),
        ("broken syntax", sound.replace("dep time:", "\"dep time:")),
        ("a merge conflict", format!("<<<<<<< HEAD\n{sound}=======\n>>>>>>> other\n")),
        ("newer semantics", sound.replace("semantics: 2", "semantics: 3")),
        ("a newer format", sound.replace("format: 1", "format: 9\nshape: round")),
    ];
    let shown = cases.map(|(title, text)| {
        let error = Lock::parse(&text, "syncline.lock").unwrap_err();
        let newer = title.contains("newer");
        let kind = if newer { ErrorKind::Unsupported } else { ErrorKind::Corrupt };
        assert_eq!(error.kind(), kind, "{title}");
        format!("## {title}\n{}\n", error.report())
    });
    let shown = shown.join("\n");
    insta::assert_snapshot!(shown);
}

#[test]
fn a_type_that_is_none_is_found_when_it_is_used() {
    let text = example().to_text().replace("BIGINT", "BIGNIT");
    let lock = Lock::parse(&text, "syncline.lock").unwrap();
    assert_eq!(lock.source_schema("flights").unwrap_err().kind(), ErrorKind::Corrupt);
}

proptest! {
    #[test]
    fn any_names_survive(
        columns in proptest::collection::vec(any::<String>(), 0..5),
        name in any::<String>(),
        seed in any::<u64>(),
    ) {
        let mut lock = Lock::new(seed);
        let typed = columns.into_iter().map(|column| (column, "TEXT".to_owned())).collect();
        lock.sources.insert(name.clone(), typed);
        lock.views.insert(name, "00ff".to_owned());
        let read = Lock::parse(&lock.to_text(), "syncline.lock");
        prop_assert_eq!(read.unwrap().to_text(), lock.to_text());
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        let _ = Lock::parse(&text, "syncline.lock");
    }
}
