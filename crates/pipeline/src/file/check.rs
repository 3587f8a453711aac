//! What a schema cannot say about a pipeline file: names that must exist, settings that exclude
//! each other, values with rules of their own.

mod sinks;
mod sources;

use std::path::{Component, Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::nearest::nearest;
use super::positions::Positions;
use super::problem::Problem;
use super::spec::{Alert, Notify, View};
use super::tree::{Entry, Node, Span, Value, child};
use super::validate::shortened;

/// Checks a file that was read into `tree` and taken as `json`. Either may lack what was wrong.
pub(super) fn check(tree: &Node, json: &Json, positions: &Positions) -> Vec<Problem> {
    let mut checker = Checker { tree, json, positions, problems: Vec::new() };
    checker.names();
    checker.sources();
    checker.views();
    checker.sinks();
    checker.alerts();
    checker.tests();
    checker.run();
    checker.problems
}

struct Checker<'a> {
    tree: &'a Node,
    json: &'a Json,
    positions: &'a Positions,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    fn entries(&self, section: &str) -> &'a [Entry] {
        self.tree.entry(section).map_or(&[], |entry| entry.value.entries())
    }

    /// The names in a section, whether or not what they name is right.
    fn names_in(&self, section: &str) -> impl Iterator<Item = &'a str> {
        self.entries(section).iter().map(|entry| entry.key.as_str())
    }

    /// What a section says of each name, as far as it is right.
    fn each<T: DeserializeOwned>(&self, section: &str) -> Vec<(String, T)> {
        let found = self.names_in(section).filter_map(|name| {
            let config = serde_json::from_value(self.json[section].get(name)?.clone()).ok()?;
            Some((child(section, name), config))
        });
        found.collect()
    }

    /// A problem with the value at `path`.
    fn value(&self, path: &str, message: impl Into<String>) -> Problem {
        Problem::at(self.positions.value(path).unwrap_or(Span::START), path, message)
    }

    /// A problem with the key at `path`.
    fn key(&self, path: &str, message: impl Into<String>) -> Problem {
        Problem::at(self.positions.key(path).unwrap_or(Span::START), path, message)
    }

    fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The value at `path` as it may be shown.
    fn shown(&self, path: &str) -> String {
        shortened(self.positions.raw(path).unwrap_or_default())
    }

    fn names(&mut self) {
        for section in ["sources", "views", "sinks", "alerts"] {
            let what = section.trim_end_matches('s');
            for entry in self.entries(section) {
                self.name(what, entry, &child(section, &entry.key));
            }
        }
        for view in self.entries("views") {
            let source = self.entries("sources").iter().find(|source| source.key == view.key);
            if let Some(source) = source {
                let message = format!("`{}` is the name of a source too", view.key);
                let path = child("views", &view.key);
                self.report(
                    Problem::at(view.key_span, &path, message)
                        .label(format!("the source is on line {}", source.key_span.line))
                        .hint("SQL reads sources and views by name: give one of them another name"),
                );
            }
        }
        if let Some(entry) = self.tree.entry("name") {
            let blank = self.json["name"].as_str().is_some_and(|name| name.trim().is_empty());
            if blank {
                let problem = Problem::at(entry.value.span, "name", "the pipeline's name is empty");
                self.report(problem.hint("it names the pipeline on its page and in metrics"));
            }
        }
        if let Some(entry) = self.tree.entry("sources")
            && !entry.value.is_null()
            && self.json["sources"].as_object().is_some_and(serde_json::Map::is_empty)
            && self.entries("sources").is_empty()
        {
            self.report(
                Problem::at(entry.key_span, "sources", "the pipeline has no sources").hint(
                    "without a source there is nothing to read; `syncline init` writes an example",
                ),
            );
        }
    }

    fn name(&mut self, what: &str, entry: &Entry, path: &str) {
        let name = &entry.key;
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !(name.starts_with(first) && name.chars().all(word)) {
            let mut better: String = name.chars().map(|c| if word(c) { c } else { '_' }).collect();
            if !better.starts_with(first) {
                better.insert(0, '_');
            }
            let message = format!("`{name}` cannot be the name of a {what}");
            self.report(
                Problem::at(entry.key_span, path, message)
                    .label(format!("rename it, to `{better}` say"))
                    .hint("a name has letters, digits and `_`, and no digit in front"),
            );
        } else if matches!(what, "source" | "view") && name.contains(|c: char| c.is_uppercase()) {
            let message = format!("SQL finds `{name}` only in quotes: FROM \"{name}\"");
            self.report(
                Problem::at(entry.key_span, path, message)
                    .label(format!("`{}` needs none", name.to_lowercase()))
                    .hint("SQL reads names without quotes in small letters")
                    .warning(),
            );
        }
    }

    fn views(&mut self) {
        for (path, view) in self.each::<View>("views") {
            let sql = child(&path, "sql");
            let path = if self.positions.has(&sql) { sql } else { path };
            self.sql(&path, &view.sql);
        }
        let useless = self.entries("views").is_empty() && self.entries("sinks").is_empty();
        if useless && !self.entries("sources").is_empty() {
            let at = self.positions.key("sources").unwrap_or(Span::START);
            let message = "nothing is done with the rows: there are no views and no sinks";
            self.report(
                Problem::at(at, "views", message)
                    .hint("add a view:\nviews:\n  latest: SELECT * FROM ...")
                    .warning(),
            );
        }
    }

    fn sql(&mut self, path: &str, sql: &str) {
        if sql.trim().is_empty() {
            let problem = self.value(path, "the SQL is empty");
            self.report(problem.hint("write one SELECT over sources and views"));
        }
    }

    fn alerts(&mut self) {
        for (path, alert) in self.each::<Alert>("alerts") {
            self.sql(&child(&path, "when"), &alert.when);
            for (i, notify) in alert.notify.iter().enumerate() {
                if let Notify::Webhook(webhook) = notify {
                    self.url(&format!("{path}.notify[{i}].url"), &webhook.url);
                }
            }
        }
    }

    /// A URL that something is posted to.
    fn url(&mut self, path: &str, url: &str) {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        let sound = host.is_some_and(|host| !host.is_empty()) && !url.contains(char::is_whitespace);
        if !sound {
            let message = format!("{} is not a URL to post to", self.shown(path));
            let problem = self.value(path, message);
            self.report(problem.label("write https://host/path, or http://"));
        }
    }

    fn tests(&mut self) {
        let tests = self.tree.entry("tests").map_or(&[][..], |entry| entry.value.items());
        for (i, test) in tests.iter().enumerate() {
            // Names are checked in the tree, so that a wrong row does not hide a wrong name.
            self.test_names(i, "given", "sources", "source");
            self.test_names(i, "expect", "views", "view");
            let expect = test.entry("expect");
            if expect.is_some_and(
                |expect| matches!(&expect.value.value, Value::Map(views) if views.is_empty()),
            ) {
                let problem = self.key(&format!("tests[{i}].expect"), "the test expects nothing");
                self.report(problem.hint("name a view and the rows it then has; `[]` for none"));
            }
        }
    }

    fn test_names(&mut self, test: usize, part: &str, section: &str, what: &str) {
        let Some(node) = self.tree.entry("tests").and_then(|e| e.value.items().get(test)) else {
            return;
        };
        let Some(named) = node.entry(part) else { return };
        let other = if section == "views" { "sources" } else { "views" };
        for entry in named.value.entries() {
            if self.names_in(section).any(|name| name == entry.key) {
                continue;
            }
            let path = child(&format!("tests[{test}].{part}"), &entry.key);
            let message = format!("there is no {what} `{}`", entry.key);
            let problem = Problem::at(entry.key_span, &path, message);
            let is_other = self.names_in(other).any(|name| name == entry.key);
            let problem = match nearest(&entry.key, self.names_in(section)) {
                _ if is_other => problem.label(format!("`{part}` is about {section}")),
                Some(meant) => problem.label(format!("did you mean `{meant}`?")),
                None => problem,
            };
            self.report(problem.hint(self.list_names(section)));
        }
    }

    /// `sources: a, b`, for a hint.
    fn list_names(&self, section: &str) -> String {
        let names: Vec<&str> = self.names_in(section).collect();
        match names.as_slice() {
            [] => format!("there are no {section}"),
            names => format!("{section}: {}", names.join(", ")),
        }
    }

    fn run(&mut self) {
        let run = &self.json["run"];
        if let Some(listen) = run["listen"].as_str() {
            let named = listen.rsplit_once(':').is_some_and(|(host, port)| {
                let bare = !host.contains(|c: char| c.is_whitespace() || matches!(c, ':' | '/'));
                !host.is_empty() && bare && port.parse::<u16>().is_ok()
            });
            if !named && listen.parse::<std::net::SocketAddr>().is_err() {
                let message = format!("{} is not an address and a port", self.shown("run.listen"));
                let problem = self.value("run.listen", message);
                self.report(
                    problem
                        .label("write 127.0.0.1:7373")
                        .hint("127.0.0.1 is this machine alone, 0.0.0.0 is whoever can reach it"),
                );
            }
        }
        if run["data_dir"].as_str().is_some_and(|dir| dir.trim().is_empty()) {
            let problem = self.value("run.data_dir", "the data directory has no name");
            self.report(problem.label("leave it out for `.syncline`"));
        }
        if run["memory_limit"].as_str().is_some_and(|size| {
            size.parse::<syncline_change::units::Size>().is_ok_and(|size| size.0 == 0)
        }) {
            let problem = self.value("run.memory_limit", "no memory is not enough");
            self.report(problem.label("leave it out for half of the machine's"));
        }
    }
}

/// A path for comparison: `./out/a.json` is `out/a.json`.
fn normal(path: &str) -> PathBuf {
    let parts = Path::new(path.trim()).components();
    parts.filter(|part| *part != Component::CurDir).collect()
}
