//! Scripts of statements, queries and results (sqllogictest's `.slt`): every query is computed by the
//! batch engine and kept up to date as a view while the script's changes come in, cut into epochs at
//! random, with one worker and with two. All must agree with the script and, bit for bit, with each
//! other.
//!
//! Ours are in `tests/slt`. With `SYNCLINE_SLT` set to a folder the scripts below it are run as well:
//! what they contain that is not modelled is counted, by reason.

mod database;
mod replay;
mod script;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use self::script::{Report, run};

/// All scripts below a folder, in order.
fn scripts(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            scripts(&path, found);
        } else if path.extension().is_some_and(|end| end == "slt" || end == "test") {
            found.push(path);
        }
    }
}

fn run_all(folder: &Path, lenient: bool) -> Vec<(PathBuf, Report)> {
    let mut paths = Vec::new();
    scripts(folder, &mut paths);
    paths
        .into_par_iter()
        .map(|path| {
            let report = run(&path, lenient);
            (path, report)
        })
        .collect()
}

#[test]
fn our_scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let reports = run_all(&folder, false);
    assert!(!reports.is_empty(), "no scripts in {}", folder.display());
    let mut wrong = Vec::new();
    for (path, report) in &reports {
        wrong.extend(report.failed.iter().cloned());
        // Nothing of ours may be left out.
        let skipped = report.skipped.iter();
        wrong.extend(skipped.map(|(why, n)| format!("{}: {n} skipped: {why}", path.display())));
        assert!(report.passed > 0 || !wrong.is_empty(), "{} checks nothing", path.display());
    }
    assert!(wrong.is_empty(), "{} wrong\n\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
#[allow(clippy::print_stdout)]
fn scripts_of_others() {
    let Some(folder) = std::env::var_os("SYNCLINE_SLT") else { return };
    let reports = run_all(Path::new(&folder), true);
    let (mut passed, mut failed) = (0, 0);
    let mut skipped: BTreeMap<&str, usize> = BTreeMap::new();
    for (path, report) in &reports {
        let left_out: usize = report.skipped.values().sum();
        println!(
            "{}: {} passed, {} failed, {left_out} skipped",
            path.display(),
            report.passed,
            report.failed.len()
        );
        report.failed.iter().for_each(|failure| println!("  failed: {failure}"));
        for (why, count) in &report.skipped {
            println!("  {count} skipped: {why}");
            *skipped.entry(why).or_insert(0) += count;
        }
        passed += report.passed;
        failed += report.failed.len();
    }
    let left_out: usize = skipped.values().sum();
    println!("\n{} scripts: {passed} passed, {failed} failed, {left_out} skipped", reports.len());
    let mut reasons: Vec<(&str, usize)> = skipped.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    reasons.iter().take(40).for_each(|(why, count)| println!("  {count} skipped: {why}"));
    assert_eq!(failed, 0, "of {} scripts below {}", reports.len(), Path::new(&folder).display());
}
