//! Checks of sources.

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use arrow::datatypes::DataType;
use syncline_change::types;
use syncline_connect::config::{SourceCommon, SourceConfig};
use syncline_connect::file::{Format, Journal, Replay, SourceConfig as FileSource};

use super::super::nearest::nearest;
use super::super::tree::child;
use super::Checker;

const TYPE_NAMES: [&str; 16] = [
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INT",
    "INTEGER",
    "BIGINT",
    "REAL",
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
    "TEXT",
    "VARCHAR",
    "BYTEA",
    "DATE",
    "TIME",
    "TIMESTAMP",
];

impl Checker<'_> {
    pub(super) fn sources(&mut self) {
        for (path, source) in self.each::<SourceConfig>("sources") {
            self.columns(&path, source.common());
            match &source {
                SourceConfig::File(file) => self.file_source(&path, file),
                SourceConfig::Http(http) => self.declared(&path, &http.common),
                SourceConfig::Nexmark(nexmark) => {
                    if nexmark.rate.is_some_and(|rate| rate <= 0.0) {
                        let problem = self.value(&child(&path, "rate"), "`rate` must be above 0");
                        self.report(problem.hint("leave it out to go as fast as possible"));
                    }
                }
            }
        }
    }

    fn columns(&mut self, path: &str, common: &SourceCommon) {
        let columns = child(path, "columns");
        for (column, name) in &common.columns {
            if let Err(error) = types::parse(name) {
                let path = child(&columns, column);
                let message = match error.detail_text() {
                    Some(detail) => format!("{} is not a type: {detail}", self.shown(&path)),
                    None => format!("{} is not a SQL type", self.shown(&path)),
                };
                let mut problem = self.value(&path, message);
                let raw = self.positions.raw(&path).unwrap_or_default();
                if let Some(meant) = nearest(raw, TYPE_NAMES)
                    && error.detail_text().is_none()
                {
                    problem = problem.label(format!("did you mean `{meant}`?"));
                }
                if let Some(hint) = error.hint_text() {
                    problem = problem.hint(hint);
                }
                self.report(problem);
            }
        }
        let Some(time) = &common.event_time else { return };
        let Some(name) = common.columns.get(&time.column) else { return };
        if let Ok(kind) = types::parse(name)
            && !matches!(kind, DataType::Timestamp(_, _))
        {
            let path = child(&child(path, "event_time"), "column");
            let message = format!(
                "the event time must be a TIMESTAMP, and {} is {}",
                self.shown(&path),
                self.shown(&child(&columns, &time.column)),
            );
            let problem = self.value(&path, message);
            self.report(problem.hint(format!(
                "name another column, or read this one as TIMESTAMP under `columns:` (`{}: TIMESTAMP`)",
                time.column
            )));
        }
    }

    /// A source without data to infer columns from must say what they are.
    fn declared(&mut self, path: &str, common: &SourceCommon) {
        if common.columns.is_empty() {
            let source = self.entries("sources").iter().find(|e| child("sources", &e.key) == path);
            let written = source.and_then(|source| source.value.entry("columns"));
            // Types that stand there and are none have been complained about.
            if written.is_none_or(|columns| columns.value.entries().is_empty()) {
                let problem = self.key(path, format!("`{path}` has no `columns`"));
                self.report(problem.label("add `columns:`").hint(
                    "an http source has no data to look at before rows arrive, so it must be told \
                     its columns:\ncolumns: {id: BIGINT, at: TIMESTAMP, text: TEXT}",
                ));
            }
            return;
        }
        let names: Vec<&str> = common.columns.keys().map(String::as_str).collect();
        let keys = common.primary_key.iter().enumerate();
        let keys = keys.map(|(i, key)| (format!("{path}.primary_key[{i}]"), key));
        let time = common.event_time.iter();
        let time = time.map(|time| (format!("{path}.event_time.column"), &time.column));
        for (path, name) in keys.chain(time) {
            if names.contains(&name.as_str()) {
                continue;
            }
            let message = format!("{} is not one of the `columns`", self.shown(&path));
            let problem = self.value(&path, message);
            let raw = self.positions.raw(&path).unwrap_or_default();
            let problem = match nearest(raw, names.iter().copied()) {
                Some(meant) => problem.label(format!("did you mean `{meant}`?")),
                None => problem,
            };
            self.report(problem.hint(format!("columns: {}", names.join(", "))));
        }
    }

    fn file_source(&mut self, path: &str, file: &FileSource) {
        if file.path.trim().is_empty() {
            let problem = self.value(&child(path, "path"), "the path is empty");
            self.report(problem.label("a file, or several: data/*.csv"));
        }
        let csv = child(path, "csv");
        if file.format != Format::Csv && self.positions.has(&csv) {
            let message = format!(
                "`csv` goes with `format: csv`, and the format is {}",
                self.shown(&child(path, "format"))
            );
            let problem = self.key(&csv, message);
            self.report(problem.label("remove it, or change the format"));
        }
        let delimiter = child(&csv, "delimiter");
        if !file.csv.delimiter.is_ascii() || matches!(file.csv.delimiter, '"' | '\n' | '\r') {
            let message = format!("{} cannot separate fields", self.shown(&delimiter));
            let problem = self.value(&delimiter, message);
            self.report(problem.hint(
                "it is one ASCII character, and neither a double quote nor the end of a line: \
                 \",\", \";\", \"\\t\", \"|\"",
            ));
        }
        if let Some(replay) = &file.replay {
            self.replay(&child(path, "replay"), path, file, replay);
        }
        if file.journal == Journal::Reference {
            self.reference(&child(path, "journal"), file);
        }
    }

    /// Only what stays as it is and can be read again at any place can be referred to.
    fn reference(&mut self, path: &str, file: &FileSource) {
        let (with, hint) = if file.follow {
            ("`follow: true`", "a file that grows or is replaced must be copied")
        } else if file.replay.is_some() {
            ("`replay`", "rows that are paced are taken one by one")
        } else if file.format == Format::Parquet {
            ("`format: parquet`", "it works with csv, json and debezium-json")
        } else {
            return;
        };
        let message = format!("`journal: reference` does not go with {with}");
        let problem = self.value(path, message);
        self.report(problem.label("remove it").hint(hint));
    }

    fn replay(&mut self, path: &str, source: &str, file: &FileSource, replay: &Replay) {
        if file.common.event_time.is_none() && !self.positions.has(&child(source, "event_time")) {
            let problem = self.key(path, "`replay` needs `event_time`");
            self.report(problem.hint(
                "it paces rows by the time at which they happened; say which column that is:\n\
                 event_time: {column: ...}",
            ));
        }
        if file.follow {
            let problem = self.key(path, "`replay` and `follow: true` exclude each other");
            self.report(problem.hint(
                "replay paces what is already there, follow waits for what comes: remove one of \
                 the two",
            ));
        }
        if !(replay.speed > 0.0 && replay.speed.is_finite()) {
            let problem = self.value(&child(path, "speed"), "`speed` must be above 0");
            self.report(problem.hint("1 is as fast as it happened, 3600 is an hour a second"));
        }
        let from = child(path, "from");
        if let Some(time) = &replay.from
            && string_to_timestamp_nanos(time.trim()).is_err()
        {
            let problem = self.value(&from, format!("{} is not a time", self.shown(&from)));
            self.report(problem.label("write 2026-01-31 or 2026-01-31T08:30:00Z"));
        }
    }
}
