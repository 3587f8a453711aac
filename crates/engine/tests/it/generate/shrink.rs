//! Makes a case that fails smaller, as long as it fails.

use std::fmt::Write;

use super::check::{Case, Outcome, check, operators};
use super::queries::Relation;
use super::tables::{Event, Row, Story};

/// How often a smaller case is tried: enough for a story of a few dozen rows.
const TRIES_MAX: usize = 400;

pub(super) struct Shrunk {
    pub(super) case: Case,
    pub(super) message: String,
    tries: usize,
}

pub(super) fn shrink(case: Case, message: String) -> Shrunk {
    let mut shrunk = Shrunk { case, message, tries: 0 };
    shrunk.drop_views();
    while shrunk.smaller_query() {}
    shrunk.drop_events();
    shrunk.drop_epochs();
    while shrunk.smaller_query() {}
    shrunk.drop_views();
    shrunk
}

impl Shrunk {
    /// Keeps `smaller` if it still fails.
    fn take(&mut self, smaller: Case) -> bool {
        if self.tries >= TRIES_MAX {
            return false;
        }
        self.tries += 1;
        match check(&smaller) {
            Outcome::Wrong(message) if kind(&message) == kind(&self.message) => {
                self.case = smaller;
                self.message = message;
                true
            }
            _ => false,
        }
    }

    fn drop_views(&mut self) {
        for view in (0..self.case.views.len()).rev() {
            if self.case.views.len() < 2 {
                return;
            }
            let mut smaller = self.case.clone();
            smaller.views.remove(view);
            self.take(smaller);
        }
    }

    /// Replaces a view by a query that it is made of.
    fn smaller_query(&mut self) -> bool {
        for view in 0..self.case.views.len() {
            let parts: Vec<Relation> = self.case.views[view].parts.clone();
            for part in parts {
                let mut smaller = self.case.clone();
                smaller.views[view] = part;
                if self.take(smaller) {
                    return true;
                }
            }
        }
        false
    }

    /// Leaves out halves, quarters, .. and single changes.
    fn drop_events(&mut self) {
        let mut size = self.case.story.iter().map(Vec::len).sum::<usize>().div_ceil(2);
        while size > 0 {
            let mut start = 0;
            while start < self.case.story.iter().map(Vec::len).sum() {
                let mut smaller = self.case.clone();
                let mut number = 0;
                for epoch in &mut smaller.story {
                    epoch.retain(|_| {
                        number += 1;
                        !(start + 1..=start + size).contains(&number)
                    });
                }
                smaller.story = possible(&smaller);
                if !self.take(smaller) {
                    start += size;
                }
            }
            size /= 2;
        }
    }

    /// Leaves out empty epochs and joins neighbours.
    fn drop_epochs(&mut self) {
        let mut epoch = 0;
        while epoch + 1 < self.case.story.len() {
            let mut smaller = self.case.clone();
            let events = smaller.story.remove(epoch);
            smaller.story[epoch].splice(0..0, events);
            if !self.take(smaller) {
                epoch += 1;
            }
        }
    }

    pub(super) fn report(&self, seed: u64) -> String {
        let mut text = format!("seed {seed}: {}\n", self.message);
        for table in &self.case.tables {
            let columns = table.columns.iter().map(|column| {
                let not_null = if column.nullable { "" } else { " NOT NULL" };
                format!("{} {}{not_null}", column.name, column.kind.data_type())
            });
            let _ = writeln!(
                text,
                "table {} ({}), key {:?}, deletes {}",
                table.name,
                columns.collect::<Vec<_>>().join(", "),
                table.key,
                table.deletes
            );
        }
        for (number, view) in self.case.views.iter().enumerate() {
            let _ = writeln!(text, "view v{number}: {}", view.select());
        }
        let _ = write!(text, "operators\n{}", operators(&self.case));
        for (number, epoch) in self.case.story.iter().enumerate() {
            let _ = writeln!(text, "epoch {}", number + 1);
            for event in epoch {
                let row: Vec<String> = event.row.iter().map(ToString::to_string).collect();
                let name = &self.case.tables[event.table].name;
                let _ = writeln!(text, "  {:+} {name} ({})", event.weight, row.join(", "));
            }
        }
        text
    }
}

/// What is wrong, without the numbers that differ from case to case.
fn kind(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    first.chars().filter(|c| !c.is_ascii_digit()).take(60).collect()
}

/// The story without the removals of rows that are not there.
fn possible(case: &Case) -> Story {
    let mut there: Vec<Vec<Row>> = vec![vec![]; case.tables.len()];
    let mut keep = |event: &Event| {
        let there = &mut there[event.table];
        if event.weight > 0 {
            there.push(event.row.clone());
            return true;
        }
        // NaN does not equal itself; its text does.
        let text = format!("{:?}", event.row);
        match there.iter().position(|row| format!("{row:?}") == text) {
            Some(place) => {
                there.swap_remove(place);
                true
            }
            None => false,
        }
    };
    let epoch = |epoch: &Vec<Event>| epoch.iter().filter(|event| keep(event)).cloned().collect();
    case.story.iter().map(epoch).collect()
}
