//! Rows that could not be taken, on their way out of the data directory again.

use serde_json::Value;

use crate::folder::Folder;

const BAD_ROW: &str = "9,Eve,Rome,much,2026-03-04 13:00:00";

/// The pipeline of `init`, run over two rows that do not fit.
fn with_letters() -> Folder {
    let folder = Folder::with_init();
    folder
        .append("data/orders.csv", &format!("{BAD_ROW}\nten,Fay,Rome,1.00,2026-03-04 14:00:00\n"));
    folder.run(&["run", "--once"]).ok();
    folder
}

fn listed(folder: &Folder, arguments: &[&str]) -> Vec<Value> {
    let arguments = [&["dlq", "ls", "--format", "json"], arguments].concat();
    folder.run(&arguments).ok().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// What Rome is in the view, if it is there.
fn rome(folder: &Folder) -> String {
    folder.run(&["query", "SELECT * FROM cities WHERE city = 'Rome'", "--format", "csv"]).ok()
}

#[test]
fn letters_are_listed_and_shown() {
    let folder = with_letters();
    let items = listed(&folder, &[]);
    assert_eq!(items.len(), 2);
    let first = items.iter().find(|item| item["preview"] == BAD_ROW).unwrap();
    assert_eq!(first["id"], "s1");
    assert_eq!((&first["source"], &first["class"]), (&"orders".into(), &"wrong-type".into()));
    assert!(first["position"].as_str().unwrap().ends_with("orders.csv:10"), "{first}");
    assert!(first["message"].as_str().unwrap().contains("`amount`"), "{first}");

    let table = folder.run(&["dlq", "ls", "--limit", "1"]).ok();
    assert!(table.ends_with("1 of 2 dead letters (open); --limit shows more\n"), "{table}");
    let mut narrow = folder.command(&["dlq", "ls"]);
    let narrow = narrow.env("COLUMNS", "105").output().unwrap().stdout;
    let narrow = String::from_utf8(narrow).unwrap();
    assert!(narrow.contains('…'), "{narrow}");
    assert!(narrow.lines().all(|line| line.chars().count() <= 105), "{narrow}");
    assert_eq!(listed(&folder, &["--class", "late"]).len(), 0);
    let complaint = folder.run(&["dlq", "ls", "--class", "wrong"]).fails(2);
    assert!(complaint.contains("wrong-type"), "{complaint}");
    let csv = folder.run(&["dlq", "ls", "--format", "csv", "--source", "orders"]).ok();
    assert!(csv.starts_with("id,source,stage,class,"), "{csv}");

    let shown = folder.run(&["dlq", "show", "s1"]).ok();
    for part in ["wrong-type", "id,customer,city,amount", BAD_ROW] {
        assert!(shown.contains(part), "{shown}");
    }
    assert_eq!(folder.run(&["dlq", "show", "s1", "--raw"]).ok(), BAD_ROW);
    folder.run(&["dlq", "show", "s9"]).fails(2);
    folder.run(&["dlq", "show", "9"]).fails(2);
}

#[test]
fn a_mended_letter_is_taken_once() {
    let folder = with_letters();
    assert_eq!(rome(&folder), "city,orders,revenue\n");
    let mended = BAD_ROW.replace("much", "12.00");
    let queued = folder.run_with(&["dlq", "retry", "s1", "--edit", "-"], &mended).ok();
    assert!(queued.contains("1 dead letter queued: the next run"), "{queued}");

    for _ in 0..2 {
        folder.run(&["run", "--once"]).ok();
        assert_eq!(rome(&folder), "city,orders,revenue\nRome,1,12.00\n");
        assert!(folder.read("out/cities.json").contains("\"Rome\",\"orders\":1"));
        let states = listed(&folder, &["--all"]);
        let state = |id: &str| states.iter().find(|l| l["id"] == id).unwrap()["state"].clone();
        assert_eq!((state("s1"), state("s2")), ("retried".into(), "open".into()));
    }
    let complaint = folder.run(&["dlq", "retry", "s1"]).fails(2);
    assert!(complaint.contains("s1 was retried already"), "{complaint}");
}

#[test]
fn a_letter_that_still_does_not_fit_becomes_another_one() {
    let folder = with_letters();
    folder.run(&["dlq", "retry", "s1"]).ok();
    folder.run(&["run", "--once"]).ok();
    let open = listed(&folder, &[]);
    assert_eq!(open.len(), 2, "{open:?}");
    let again = open.iter().find(|letter| letter["preview"] == BAD_ROW).unwrap();
    assert_ne!(again["id"], "s1");
}

#[test]
fn wrong_retries_queue_nothing() {
    let folder = with_letters();
    for arguments in [
        &["dlq", "retry", "s1", "s9"][..],
        &["dlq", "retry", "s1", "s2", "--edit", "-"],
        &["dlq", "retry", "--edit", "-"],
        &["dlq", "retry", "s1", "--edit", "-"],
    ] {
        // Standard input is empty: nothing is no mended row.
        folder.run(arguments).fails(2);
    }
    let queued = folder.path(".syncline/dead-letters/retry").read_dir().unwrap().count();
    assert_eq!(queued, 0);
}

#[test]
fn dropped_letters_are_gone_for_good() {
    let folder = with_letters();
    folder.run(&["dlq", "drop", "s1", "s9"]).fails(2);
    assert_eq!(listed(&folder, &[]).len(), 2);
    assert_eq!(folder.run(&["dlq", "drop", "s1", "s2", "s1"]).ok(), "2 dead letters dropped\n");
    assert_eq!(folder.run(&["dlq", "ls"]).ok(), "0 dead letters (open)\n");
    let all = folder.run(&["dlq", "ls", "--all"]).ok();
    assert_eq!(all.matches("dropped").count(), 2, "{all}");
    let complaint = folder.run(&["dlq", "retry", "s1"]).fails(2);
    assert!(complaint.contains("s1 was dropped already"), "{complaint}");
    assert!(folder.run(&["dlq", "retry"]).ok().contains("no open dead letters"));

    folder.run(&["run", "--once"]).ok();
    assert_eq!(listed(&folder, &[]).len(), 0);
}
