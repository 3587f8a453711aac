//! Random queries over random tables: after every epoch each view equals what the batch engine
//! computes from the same rows, bit for bit, whatever the number of workers and the cuts of epochs.
//!
//! `SYNCLINE_CASES` is the number of cases of each test, `SYNCLINE_SEEDS_FROM` the seed of the first,
//! `SYNCLINE_SEED` that of the only one to run.

mod calls;
mod check;
mod expressions;
mod queries;
mod shrink;
mod tables;

use std::collections::BTreeMap;
use std::io::Write as _;

use self::check::{Case, Outcome, check};
use self::queries::{Queries, Relation, Theme};
use self::tables::{Table, story};
use crate::random::Random;

/// After so many failures the rest would hardly tell anything new.
const FAILURES_MAX: usize = 5;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Two or three tables and as many views, of which later ones may read earlier ones.
fn case(seed: u64, theme: Theme, large: bool) -> Case {
    let random = &mut Random::new(seed);
    let names = if random.chance(70) { &["t", "u"][..] } else { &["t", "u", "w"] };
    let tables: Vec<Table> = names.iter().map(|name| Table::new(random, name)).collect();
    let size = if large { (3, 4_000) } else { (6, 8) };
    let story = story(random, &tables, size, large);
    let relations = tables.iter().map(|t| Relation::named(&t.name, &t.columns)).collect();
    let (workers, cuts) = (*random.pick(&[2, 4, 8]), random.next() & random.next());
    let count = if large { 1 } else { 1 + random.below(3) };
    let depth = if large { 2 } else { 3 };
    let mut queries = Queries { random, relations, theme, large, number: 0 };
    let mut views = Vec::new();
    for number in 0..count {
        let view = queries.query(depth);
        queries.relations.push(Relation::named(&format!("v{number}"), &view.columns));
        views.push(view);
    }
    Case { tables, views, story, workers, cuts }
}

/// Checks many cases; those that fail are made small and reported together.
fn check_many(theme: Theme, large: bool, default: u64) {
    let count = variable("SYNCLINE_CASES").unwrap_or(default);
    let seeds = match variable("SYNCLINE_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = variable("SYNCLINE_SEEDS_FROM").unwrap_or(0);
            first..first + count
        }
    };
    let (mut right, mut skipped, mut failures) = (0, BTreeMap::new(), Vec::new());
    let first = seeds.start;
    let mut cases = 0;
    for seed in seeds {
        let case = case(seed, theme, large);
        cases += 1;
        match check(&case) {
            Outcome::Right => right += case.views.len(),
            Outcome::Skipped(why) => {
                let sql = case.views.iter().map(Relation::select).collect::<Vec<_>>();
                let entry = skipped.entry(why).or_insert((0, format!("seed {seed}: {sql:#?}")));
                entry.0 += case.views.len();
            }
            Outcome::Wrong(message) => {
                failures.push(shrink::shrink(case, message).report(seed));
                if failures.len() >= FAILURES_MAX {
                    break;
                }
            }
        }
    }
    let not_judged: usize = skipped.values().map(|(count, _)| count).sum();
    // Past the harness, which keeps what tests print to itself.
    let _ = writeln!(
        std::io::stderr(),
        "{theme:?}: {cases} cases from seed {first}: {right} views are right, {not_judged} could not \
         be judged"
    );
    assert!(
        failures.is_empty(),
        "{theme:?}: {} failures\n\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(
        not_judged * 10 <= right + not_judged,
        "{theme:?}: {not_judged} of {} queries could not be judged: {skipped:#?}",
        right + not_judged,
    );
}

#[test]
fn rows() {
    check_many(Theme::Rows, false, 450);
}

#[test]
fn joins() {
    check_many(Theme::Joins, false, 450);
}

#[test]
fn groups() {
    check_many(Theme::Groups, false, 450);
}

#[test]
fn orders() {
    check_many(Theme::Orders, false, 450);
}

#[test]
fn anything() {
    check_many(Theme::Anything, false, 450);
}

/// Epochs with so many rows that workers share them.
#[test]
fn many_rows() {
    check_many(Theme::Anything, true, 20);
}
