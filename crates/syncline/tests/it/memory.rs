//! State that is larger than the memory that the process may have.

use std::process::Command;

use crate::folder::{Done, Folder};

/// What the operating system lets the process have of memory of its own; mapped files are not that.
const LIMIT_BYTES: u64 = 512 << 20;

/// Every bid is kept, with a text of a kilobyte, because an auction that is yet to come may be its.
const PIPELINE: &str = r#"
name: large
sources:
  bids: {type: nexmark, table: bid, events: 1950000}
  auctions: {type: nexmark, table: auction, events: 1950000}
views:
  joined: |
    SELECT b.auction, b.bidder, b.price, a."initialBid", right(b.padding, 8) AS ending
    FROM (SELECT auction, bidder, price, repeat(extra, 1 + 1200 / length(extra)) AS padding
          FROM bids WHERE length(extra) > 0) b
    JOIN auctions a ON b.auction = a.id AND b.price * 20000 < a."initialBid"
  kept: |
    SELECT count(*) AS rows, sum((1 + 1200 / length(extra)) * length(extra)) AS bytes
    FROM bids WHERE length(extra) > 0
sinks:
  joined: {from: joined, type: file, path: out/joined.json, format: json, mode: snapshot}
  kept: {from: kept, type: file, path: out/kept.json, format: json, mode: snapshot}
run: {workers: 2, epoch: {max_rows: 8192}, memory_limit: MEMORY}
"#;

fn run(memory_limit: &str, bounded: bool) -> (Folder, Done) {
    let folder = Folder::with_pipeline(&PIPELINE.replace("MEMORY", memory_limit));
    let plain = folder.command(&["run", "--once", "--no-listen"]);
    let mut command = match bounded {
        false => plain,
        true => {
            let mut command = Command::new("prlimit");
            command.arg(format!("--data={LIMIT_BYTES}")).arg(plain.get_program());
            command.args(plain.get_args()).current_dir(folder.path(""));
            command
        }
    };
    let done = Done::of(command.output().unwrap());
    (folder, done)
}

fn lines(folder: &Folder, name: &str) -> Vec<String> {
    let mut lines: Vec<String> = folder.read(name).lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_join_of_more_than_memory_holds() {
    if Command::new("prlimit").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no `prlimit` (of util-linux) to bound a process with");
        return;
    }
    let (bounded, done) = run("96MiB", true);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let kept: serde_json::Value = serde_json::from_str(&bounded.read("out/kept.json")).unwrap();
    let bytes = kept["bytes"].as_u64().unwrap();
    assert!(bytes >= 4 * LIMIT_BYTES, "{bytes} bytes are no four times the limit");

    // The limit is one: with all state in memory the process does not get through.
    let (_, done) = run("1TiB", true);
    assert_ne!(done.code, 0, "a run without a bound of its own fits into the limit as well");

    let (free, done) = run("1TiB", false);
    assert_eq!(done.code, 0, "{}\n{}", done.out, done.err);
    let (got, expect) = (lines(&bounded, "out/joined.json"), lines(&free, "out/joined.json"));
    assert!(expect.len() > 100, "only {} rows match", expect.len());
    assert!(got == expect, "{} rows, and {} with all state in memory", got.len(), expect.len());
}
