#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use super::*;
use crate::fs as whole;

/// A disk in a folder of its own.
fn disk() -> (tempfile::TempDir, PathBuf, FaultyDisk) {
    let dir = crate::scratch::dir();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let disk = FaultyDisk::new(&root);
    (dir, root, disk)
}

/// Loses power in every way there is, each time after `write`; returns what is there then.
fn outcomes(
    write: impl Fn(&FaultyDisk, &Path),
    look: impl Fn(&Path) -> String,
) -> std::collections::BTreeSet<String> {
    let mut seen = std::collections::BTreeSet::new();
    let mut choices: Vec<u64> = Vec::new();
    loop {
        let (_dir, root, disk) = disk();
        write(&disk, &root);
        let (mut asked, mut bounds) = (0, Vec::new());
        let mut choose = |bound| {
            bounds.push(bound);
            asked += 1;
            choices.get(asked - 1).copied().unwrap_or(0)
        };
        disk.lose_power(&mut choose).unwrap();
        seen.insert(look(&root));
        // The next combination of choices.
        choices.resize(bounds.len(), 0);
        while let Some(last) = choices.pop() {
            if last + 1 < bounds[choices.len()] {
                choices.push(last + 1);
                break;
            }
        }
        if choices.is_empty() {
            return seen;
        }
    }
}

fn content(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap_or_else(|_| "-".to_owned()).replace('\0', "0")
}

#[test]
fn what_is_not_synced_is_gone_or_torn_or_there() {
    let seen = outcomes(
        |disk, root| {
            let mut file = disk.create(&root.join("a")).unwrap();
            file.write_all(b"ab").unwrap();
            file.sync().unwrap();
            disk.sync_dir(root).unwrap();
            file.write_all(b"cd").unwrap();
            file.write_all(b"e").unwrap();
        },
        |root| content(root.join("a")),
    );
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        ["ab", "ab00", "abc", "abc0", "abcd", "abcd0", "abcde"]
    );
}

#[test]
fn a_name_without_a_sync_of_its_folder_may_be_lost_or_come_back() {
    let seen = outcomes(
        |disk, root| {
            for name in ["a", "b"] {
                let mut file = disk.create(&root.join(name)).unwrap();
                file.write_all(name.as_bytes()).unwrap();
                file.sync().unwrap();
            }
            disk.sync_dir(root).unwrap();
            disk.rename(&root.join("a"), &root.join("c")).unwrap();
            disk.remove(&root.join("b")).unwrap();
        },
        |root| ["a", "b", "c"].map(|name| content(root.join(name))).concat(),
    );
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["--a", "-ba", "a--", "ab-"]);
}

#[test]
fn what_is_in_a_folder_goes_with_it() {
    let seen = outcomes(
        |disk, root| {
            disk.create_dir(&root.join("a")).unwrap();
            whole::write_atomic(disk, &root.join("a/b"), b"b").unwrap();
        },
        |root| format!("{} {}", root.join("a").is_dir(), content(root.join("a/b"))),
    );
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["false -", "true b"]);
}

#[test]
fn an_atomic_write_is_whole_and_stays() {
    let write = |disk: &FaultyDisk, root: &Path| {
        whole::write_atomic(disk, &root.join("a"), b"old").unwrap();
        whole::write_atomic(disk, &root.join("a"), b"new").unwrap();
    };
    let seen = outcomes(write, |root| content(root.join("a")));
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["new"]);
}

#[test]
fn a_failed_sync_is_not_made_good_by_another_one() {
    let seen = outcomes(
        |disk, root| {
            let mut file = disk.create(&root.join("a")).unwrap();
            disk.sync_dir(root).unwrap();
            file.write_all(b"a").unwrap();
            disk.plan(Fault::Io, disk.operation_count(), 1);
            file.sync().unwrap_err();
            file.sync().unwrap();
        },
        |root| content(root.join("a")),
    );
    assert!(seen.contains(""), "{seen:?}");
}

#[test]
fn every_fault_hits_what_it_can_and_says_so() {
    for fault in Fault::ALL {
        let (_dir, root, disk) = disk();
        let mut file = disk.create(&root.join("sinks.json")).unwrap();
        disk.plan(fault, 1, 1);
        let written = file.write_all(b"1234");
        let synced = disk.sync_dir(&root);
        let refused = [written, synced].map(|done| done.err().map(|error| error.to_string()));
        assert!(refused.iter().any(Option::is_some), "{fault:?}");
        assert_eq!(disk.hits(), 1);
        assert_eq!(disk.is_dead(), fault.ends_the_process());
        let half = matches!(fault, Fault::Torn | Fault::Full | Fault::Io);
        let whole = fault == Fault::Denied;
        let expected = if half {
            "12"
        } else if whole {
            "1234"
        } else {
            ""
        };
        assert_eq!(content(root.join("sinks.json")), expected, "{fault:?}");
        assert_eq!(disk.operations()[1], "sinks.write");
    }
}

#[test]
fn an_earlier_process_can_do_nothing() {
    let (_dir, root, disk) = disk();
    let mut file = disk.create(&root.join("a")).unwrap();
    disk.kill();
    assert!(file.write_all(b"a").is_err());
    disk.restart();
    assert!(file.write_all(b"a").is_err());
    disk.append(&root.join("a")).unwrap().write_all(b"b").unwrap();
    assert_eq!(content(root.join("a")), "b");
}
