//! Checks of sinks.

use std::collections::HashMap;
use std::path::PathBuf;

use syncline_connect::config::{SinkConfig, SourceConfig};

use super::super::nearest::nearest;
use super::super::tree::{Value, child};
use super::{Checker, normal};

impl Checker<'_> {
    pub(super) fn sinks(&mut self) {
        self.readers();
        let sources = self.each::<SourceConfig>("sources");
        let read = sources.iter().filter_map(|(path, source)| match source {
            SourceConfig::File(file) => Some((normal(&file.path), path.clone())),
            SourceConfig::Http(_) | SourceConfig::Nexmark(_) => None,
        });
        let read: HashMap<PathBuf, String> = read.collect();
        let mut written: HashMap<PathBuf, String> = HashMap::new();
        for (path, sink) in self.each::<SinkConfig>("sinks") {
            match &sink {
                SinkConfig::Console(_) => {}
                SinkConfig::Http(http) => {
                    self.url(&child(&path, "url"), &http.url);
                    if http.retry.max_attempts == 0 {
                        let attempts = format!("{path}.retry.max_attempts");
                        let problem = self.value(&attempts, "`max_attempts` must be at least 1");
                        self.report(problem.hint("1 tries once and does not try again"));
                    }
                }
                SinkConfig::File(file) => {
                    let target = normal(&file.path);
                    let here = child(&path, "path");
                    if target.as_os_str().is_empty() {
                        let problem = self.value(&here, "the path is empty");
                        self.report(problem.label("a file, such as out/result.json"));
                    } else if let Some(source) = read.get(&target) {
                        let message = format!("{} is what `{source}` reads", self.shown(&here));
                        let problem = self.value(&here, message);
                        self.report(
                            problem.hint("a sink would overwrite the input: write elsewhere"),
                        );
                    } else if let Some(other) = written.get(&target) {
                        let message = format!("`{other}` writes {} already", self.shown(&here));
                        let problem = self.value(&here, message);
                        self.report(
                            problem.hint("two sinks in one file would ruin it: give each its own"),
                        );
                    } else {
                        written.insert(target, path.clone());
                    }
                }
            }
        }
    }

    /// Every sink reads something that is there.
    fn readers(&mut self) {
        for entry in self.entries("sinks") {
            let Some(from) = entry.value.entry("from") else { continue };
            let Value::Scalar(scalar) = &from.value.value else { continue };
            let names = || self.names_in("views").chain(self.names_in("sources"));
            if scalar.unknown || from.value.is_null() || names().any(|name| name == scalar.text()) {
                continue;
            }
            let path = format!("{}.from", child("sinks", &entry.key));
            let message = format!("there is no view or source {}", self.shown(&path));
            let problem = self.value(&path, message);
            let problem = match nearest(&scalar.raw, names()) {
                Some(meant) => problem.label(format!("did you mean `{meant}`?")),
                None => problem,
            };
            let hint = ["views", "sources"].map(|section| self.list_names(section)).join("; ");
            self.report(problem.hint(hint));
        }
    }
}
