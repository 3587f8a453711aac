#![allow(clippy::unwrap_used)]

use std::path::Path;

use syncline_change::ErrorKind;

use super::*;

const SOURCE: Stage = Stage::Source;

fn rejected(n: u64) -> Rejected {
    Rejected {
        bytes: format!("row {n},\"\u{fffd}\0").into_bytes(),
        context: n.is_multiple_of(2).then(|| "id,name".to_owned()),
        position: format!("a.csv:{n}"),
        class: if n.is_multiple_of(3) { RejectClass::Late } else { RejectClass::WrongType },
        message: format!("`x` is not a BIGINT ({n})"),
    }
}

fn data() -> (tempfile::TempDir, DataDir) {
    let dir = crate::scratch::dir();
    let data = DataDir::open(dir.path()).unwrap();
    (dir, data)
}

fn open(data: &DataDir, journal_epoch: u64, recorded_epoch: u64) -> DeadLetters {
    let (letters, cuts) = DeadLetters::open(data, journal_epoch, recorded_epoch).unwrap();
    assert_eq!(cuts, []);
    letters
}

/// Adds letter `n` in epoch `n`, rejected at time `n`.
fn add(letters: &DeadLetters, stage: Stage, source: &str, n: u64) -> Vec<String> {
    letters.append(stage, source, n, n as i64, vec![rejected(n)]).unwrap()
}

fn ids(letters: &DeadLetters, filter: &Filter) -> Vec<String> {
    let (total, items) = letters.list(filter, 0, usize::MAX).unwrap();
    assert_eq!(total, items.len() as u64);
    items.into_iter().map(|letter| letter.id).collect()
}

fn all(letters: &DeadLetters) -> Vec<String> {
    ids(letters, &Filter::default())
}

#[test]
fn letters_keep_all_they_had() {
    let (_dir, data) = data();
    let letters = open(&data, 0, 0);
    let added = letters.append(SOURCE, "a", 1, 70, vec![rejected(1), rejected(2)]).unwrap();
    assert_eq!(added, ["s1", "s2"]);
    assert_eq!(add(&letters, Stage::View, "a", 1), ["v1"]);
    assert_eq!(add(&letters, Stage::Sink, "out", 1), ["k1"]);
    assert_eq!(letters.append(SOURCE, "a", 1, 70, vec![]).unwrap(), [""; 0]);
    let expected = DeadLetter {
        id: "s2".to_owned(),
        source: "a".to_owned(),
        stage: SOURCE,
        rejected: rejected(2),
        epoch: 1,
        at_us: 70,
        state: State::Open,
    };
    assert_eq!(letters.get("s2").unwrap(), Some(expected.clone()));
    assert_eq!(letters.get("s3").unwrap(), None);
    assert_eq!(letters.get("s0").unwrap_err().kind(), ErrorKind::Input);

    let reader = DeadLetters::open_read(&DataDir::open_read(data.path()).unwrap()).unwrap();
    assert_eq!(reader.get("s2").unwrap(), Some(expected.clone()));
    assert_eq!(reader.resolve("s2", State::Dropped, 1).unwrap_err().kind(), ErrorKind::Bug);
    let refused = reader.append(SOURCE, "a", 1, 1, vec![rejected(1)]);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Bug);

    drop(letters);
    assert_eq!(open(&data, 1, 1).get("s2").unwrap(), Some(expected));
}

#[test]
fn lists_are_newest_first_and_filtered() {
    let (_dir, data) = data();
    let letters = open(&data, 0, 0);
    for n in 1..=9 {
        let (stage, source) = match n % 4 {
            0 => (Stage::View, "a"),
            1 => (Stage::Sink, "out"),
            2 => (SOURCE, "a"),
            _ => (SOURCE, "b"),
        };
        add(&letters, stage, source, n);
    }
    let everything = ["k3", "v2", "s4", "s3", "k2", "v1", "s2", "s1", "k1"];
    assert_eq!(all(&letters), everything);
    let (total, page) = letters.list(&Filter::default(), 2, 3).unwrap();
    assert_eq!(total, 9);
    assert_eq!(page.iter().map(|l| l.at_us).collect::<Vec<_>>(), [7, 6, 5]);
    assert!(letters.list(&Filter::default(), 9, 3).unwrap().1.is_empty());

    letters.resolve("s3", State::Dropped, 50).unwrap();
    let by = |edit: fn(&mut Filter)| {
        let mut filter = Filter::default();
        edit(&mut filter);
        ids(&letters, &filter)
    };
    assert_eq!(by(|f| f.source = Some("a".to_owned())), ["v2", "s3", "v1", "s1"]);
    assert_eq!(by(|f| f.source = Some("nobody".to_owned())), [""; 0]);
    assert_eq!(by(|f| f.class = Some(RejectClass::Late)), ["k3", "s3", "s2"]);
    assert_eq!(by(|f| f.stage = Some(Stage::Sink)), ["k3", "k2", "k1"]);
    assert_eq!(by(|f| f.state = Some(State::Dropped)), ["s3"]);
    assert_eq!(
        by(|f| {
            f.state = Some(State::Open);
            f.stage = Some(SOURCE);
        }),
        ["s4", "s2", "s1"]
    );
    let count = |total, open| Count { total, open };
    let key = |source: &str, class| (source.to_owned(), class);
    let expected = BTreeMap::from([
        (key("a", RejectClass::WrongType), count(3, 3)),
        (key("a", RejectClass::Late), count(1, 0)),
        (key("b", RejectClass::WrongType), count(1, 1)),
        (key("b", RejectClass::Late), count(1, 1)),
        (key("out", RejectClass::WrongType), count(2, 2)),
        (key("out", RejectClass::Late), count(1, 1)),
    ]);
    assert_eq!(letters.counts(), expected);
}

#[test]
fn what_became_of_a_letter_is_kept() {
    let (_dir, data) = data();
    let letters = open(&data, 0, 0);
    (1..=3).for_each(|n| drop(add(&letters, SOURCE, "a", n)));
    letters.resolve("s1", State::Retried, 10).unwrap();
    letters.resolve("s2", State::Dropped, 11).unwrap();
    letters.resolve("s2", State::Open, 12).unwrap();
    assert_eq!(letters.resolve("s4", State::Dropped, 13).unwrap_err().kind(), ErrorKind::Input);
    let states = |letters: &DeadLetters| {
        ["s1", "s2", "s3"].map(|id| letters.get(id).unwrap().unwrap().state)
    };
    assert_eq!(states(&letters), [State::Retried, State::Open, State::Open]);
    drop(letters);
    assert_eq!(states(&open(&data, 3, 3)), [State::Retried, State::Open, State::Open]);
    assert_eq!(
        states(&DeadLetters::open_read(&data).unwrap()),
        [State::Retried, State::Open, State::Open]
    );
}

#[test]
fn letters_of_lost_epochs_go_and_are_met_again() {
    let (_dir, data) = data();
    let letters = open(&data, 0, 0);
    for stage in Stage::ALL {
        (1..=4).for_each(|n| drop(add(&letters, stage, "a", n)));
    }
    drop(letters);
    // The journal has epochs 1 to 3, of which 1 and 2 were recorded.
    let letters = open(&data, 3, 2);
    assert_eq!(letters.list(&Filter::default(), 0, 0).unwrap().0, 3 + 2 + 4);
    // The replay of epoch 2 meets its letter again, and of epoch 3 that which is gone.
    assert_eq!(add(&letters, Stage::View, "a", 2), [""; 0]);
    assert_eq!(add(&letters, Stage::View, "a", 3), ["v3"]);
    assert_eq!(add(&letters, SOURCE, "a", 4), ["s4"]);
    assert_eq!(add(&letters, Stage::Sink, "a", 4), ["k5"]);
    drop(letters);
    assert_eq!(
        open(&data, u64::MAX, u64::MAX).list(&Filter::default(), 0, 0).unwrap().0,
        4 + 3 + 5
    );
}

#[test]
fn a_letter_does_not_inherit_what_became_of_a_lost_one() {
    let (_dir, data) = data();
    let letters = open(&data, 0, 0);
    (1..=2).for_each(|n| drop(add(&letters, SOURCE, "a", n)));
    letters.resolve("s1", State::Dropped, 10).unwrap();
    letters.resolve("s2", State::Dropped, 10).unwrap();
    drop(letters);
    let letters = open(&data, 1, 1);
    assert_eq!(all(&letters), ["s1"]);
    assert_eq!(add(&letters, SOURCE, "b", 2), ["s2"]);
    for letters in [letters, DeadLetters::open_read(&data).unwrap()] {
        assert_eq!(letters.get("s1").unwrap().unwrap().state, State::Dropped);
        assert_eq!(letters.get("s2").unwrap().unwrap().state, State::Open);
    }
    assert_eq!(open(&data, 2, 2).get("s2").unwrap().unwrap().state, State::Open);
}

fn edit(path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    edit(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_torn_end_is_cut_at_every_byte() {
    let (_dir, data) = data();
    let letters = open(&data, 0, 0);
    add(&letters, SOURCE, "a", 1);
    let path = data.dead_letters().join("source.log");
    let whole = std::fs::metadata(&path).unwrap().len() as usize;
    // Written at once, so that a power loss may leave a hole between them.
    letters.append(SOURCE, "a", 2, 2, (2..5).map(rejected).collect()).unwrap();
    drop(letters);
    let bytes = std::fs::read(&path).unwrap();
    for cut in whole + 1..bytes.len() {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let (letters, cuts) = DeadLetters::open(&data, 1, 1).unwrap();
        assert_eq!(all(&letters), ["s1"]);
        assert!(cuts.len() <= 1);
        drop(letters);

        let mut holed = bytes.clone();
        holed[whole..cut].fill(0);
        std::fs::write(&path, &holed).unwrap();
        let (letters, cuts) = DeadLetters::open(&data, 1, 1).unwrap();
        assert_eq!((all(&letters), cuts.len()), (vec!["s1".to_owned()], 1));
        assert_eq!(add(&letters, SOURCE, "a", 2), ["s2"]);
    }
}

#[test]
fn damage_is_named() {
    let (_dir, data) = data();
    let letters = open(&data, 0, 0);
    (1..=3).for_each(|n| drop(add(&letters, SOURCE, "a", n)));
    letters.resolve("s1", State::Dropped, 10).unwrap();
    letters.resolve("s2", State::Dropped, 10).unwrap();
    let path = data.dead_letters().join("source.log");
    edit(&path, |bytes| bytes[60] ^= 1);
    // A letter is checked whenever it is read.
    assert_eq!(letters.get("s1").unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(letters.get("s2").unwrap().is_some());
    drop(letters);
    let error = DeadLetters::open(&data, 3, 3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("source.log is damaged at byte 16"), "{error}");
    edit(&path, |bytes| bytes[60] ^= 1);
    edit(&data.dead_letters().join("resolved.log"), |bytes| bytes[40] ^= 1);
    let error = DeadLetters::open(&data, 3, 3).unwrap_err();
    assert!(error.message().contains("resolved.log is damaged at byte 16"), "{error}");
}

#[test]
fn retries_wait_in_order_until_they_are_finished() {
    let (_dir, data) = data();
    let letters = open(&data, 0, 0);
    assert_eq!(letters.take_retries().unwrap(), []);
    let request = |id: &str, text: Option<&[u8]>| RetryRequest {
        id: id.to_owned(),
        text: text.map(<[u8]>::to_vec),
    };
    // As the command line does it, beside the running pipeline.
    let reader = DataDir::open_read(data.path()).unwrap();
    for id in ["k1", "s10", "s9", "v2"] {
        request_retry(&reader, &request(id, None)).unwrap();
    }
    request_retry(&reader, &request("s9", Some(b"mended,\xff"))).unwrap();
    assert_eq!(
        request_retry(&reader, &request("../s9", None)).unwrap_err().kind(),
        ErrorKind::Input
    );
    let expected = [
        request("s9", Some(b"mended,\xff")),
        request("s10", None),
        request("v2", None),
        request("k1", None),
    ];
    assert_eq!(letters.take_retries().unwrap(), expected);
    letters.finish_retry("s10").unwrap();
    letters.finish_retry("s10").unwrap();
    assert!(letters.finish_retry("../../LOCK").is_err());
    assert_eq!(letters.take_retries().unwrap().len(), 3);
}

#[test]
fn a_retry_that_cannot_be_read_does_not_hold_up_the_others() {
    let (_dir, data) = data();
    let letters = open(&data, 0, 0);
    request_retry(&data, &RetryRequest { id: "s2".to_owned(), text: None }).unwrap();
    let folder = data.retries();
    for (name, text) in [("s1", "{"), ("s3", r#"{"id":"s4"}"#), ("s5", r#"{"id":"s5","text":"?"}"#)]
    {
        std::fs::write(folder.join(format!("{name}.json")), text).unwrap();
    }
    for _ in 0..2 {
        let ids: Vec<_> = letters.take_retries().unwrap().into_iter().map(|r| r.id).collect();
        assert_eq!(ids, ["s2"]);
    }
    assert!(folder.join("s3.unreadable").exists());
}

#[test]
fn an_index_entry_is_small() {
    assert!(std::mem::size_of::<Entry>() <= 24);
}
