//! Runs the records of one script.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use sqllogictest::{
    Condition, Control, DefaultColumnType, ExpectedError, QueryExpect, Record, SortMode,
    StatementExpect,
};

use super::database::{Database, Trouble};
use super::replay::{Manner, Replayed, replay};
use super::text::{Expected, cells};

/// What `onlyif` and `skipif` call this engine.
const LABEL: &str = "syncline";

/// What came of a script.
#[derive(Default)]
pub(super) struct Report {
    pub(super) passed: usize,
    /// How many records were not judged, by reason.
    pub(super) skipped: BTreeMap<String, usize>,
    pub(super) failed: Vec<String>,
}

impl Report {
    fn skip(&mut self, why: impl Into<String>) {
        let why: String = why.into();
        // What differs from record to record would make a reason of each.
        let first = why.lines().next().unwrap_or_default();
        *self.skipped.entry(first.chars().take(120).collect()).or_insert(0) += 1;
    }
}

/// Runs a script. `lenient`: numbers may be written otherwise.
pub(super) fn run(path: &Path, lenient: bool) -> Report {
    let mut script = Script { lenient, ..Script::default() };
    let records = match sqllogictest::parse_file::<DefaultColumnType>(path) {
        Ok(records) => records,
        Err(error) => {
            script.report.skip(format!("the script cannot be read: {}", error.kind()));
            return script.report;
        }
    };
    for record in records {
        if matches!(record, Record::Halt { .. }) {
            break;
        }
        let place = place(&record);
        let before = script.report.failed.len();
        if catch_unwind(AssertUnwindSafe(|| script.record(record))).is_err() {
            script.report.failed.push("panic".to_owned());
        }
        for failure in &mut script.report.failed[before..] {
            *failure = format!("{place}: {failure}");
        }
    }
    script.report
}

fn place(record: &Record<DefaultColumnType>) -> String {
    match record {
        Record::Statement { loc, sql, .. } | Record::Query { loc, sql, .. } => {
            format!("{loc}\n{sql}\n")
        }
        _ => String::new(),
    }
}

#[derive(Default)]
struct Script {
    database: Database,
    report: Report,
    lenient: bool,
    sort: Option<SortMode>,
    /// Queries so far: what random numbers begin with.
    queries: u64,
}

impl Script {
    fn record(&mut self, record: Record<DefaultColumnType>) {
        match record {
            Record::Statement { conditions, .. } | Record::Query { conditions, .. }
                if is_skipped(&conditions) => {}
            Record::Statement { sql, expected, .. } => self.statement(&sql, &expected),
            Record::Query { sql, expected, .. } => self.query(&sql, &expected),
            Record::Control(Control::SortMode(mode)) => self.sort = Some(mode),
            Record::System { .. } => self.report.skip("system commands"),
            Record::Let { .. } => self.report.skip("variables"),
            _ => {}
        }
    }

    fn statement(&mut self, sql: &str, expected: &StatementExpect) {
        let done = self.database.execute(sql);
        match (done, expected) {
            (Err(Trouble::Unsupported(why)), _) => self.report.skip(why),
            (Ok(()), StatementExpect::Error(_)) => {
                self.report.failed.push("the statement should fail".to_owned());
            }
            (Ok(()), _) => {}
            (Err(Trouble::Error(error)), StatementExpect::Error(wanted)) => {
                self.fails(&error, wanted);
            }
            (Err(Trouble::Error(error)), _) => self.report.failed.push(error),
        }
    }

    /// What fails must say what the script says, if that is one of ours.
    fn fails(&mut self, error: &str, wanted: &ExpectedError) {
        match self.lenient || wanted.is_match(error, None) {
            true => self.report.passed += 1,
            false => self.report.failed.push(format!("another error is wanted than {error}")),
        }
    }

    fn query(&mut self, sql: &str, expected: &QueryExpect<DefaultColumnType>) {
        self.queries += 1;
        let is_query = ["select", "with", "values", "(", "from"]
            .iter()
            .any(|start| sql.trim_start().to_lowercase().starts_with(start));
        if !is_query {
            let first = sql.split_whitespace().next().unwrap_or_default().to_uppercase();
            self.database.lose_mentioned(sql);
            return self.report.skip(format!("{first} is not a query"));
        }
        let batch = self.database.query(sql);
        match (batch, expected) {
            (Err(Trouble::Unsupported(why)), _) => self.report.skip(why),
            (Err(Trouble::Error(error)), QueryExpect::Error(wanted)) => self.fails(&error, wanted),
            (Err(Trouble::Error(error)), _) if self.lenient && is_of_dialect(&error) => {
                self.report.skip(format!("not in this dialect: {error}"));
            }
            (Err(Trouble::Error(error)), _) => {
                self.report.failed.push(format!("batch fails: {error}"));
            }
            (Ok(_), QueryExpect::Error(_)) => {
                self.report.failed.push("the query should fail".to_owned());
            }
            (Ok((schema, rows)), QueryExpect::Results { types, sort_mode, results, .. }) => {
                let expected = Expected {
                    types,
                    sort: sort_mode.or(self.sort).unwrap_or(SortMode::NoSort),
                    lines: results,
                    lenient: self.lenient,
                    ordered: outer_order(sql).is_some(),
                    md5,
                };
                match self.check(sql, (&schema, &rows), &expected) {
                    Ok(()) => self.report.passed += 1,
                    Err(Trouble::Unsupported(why)) => self.report.skip(why),
                    Err(Trouble::Error(why)) => self.report.failed.push(why),
                }
            }
        }
    }

    /// Batch, views of one worker and of two, and the script must agree.
    fn check(
        &self,
        sql: &str,
        (schema, rows): (&SchemaRef, &[RecordBatch]),
        expected: &Expected<'_>,
    ) -> Result<(), Trouble> {
        let compare = |who: &str, rows: &[RecordBatch]| {
            let cells = cells(rows).map_err(Trouble::Unsupported)?;
            let compared = expected.compare(&cells);
            compared.map_err(|differ| Trouble::Error(format!("{who}: {differ}")))
        };
        compare("batch", rows)?;
        for (workers, noise) in [(1, true), (2, false)] {
            let manner = Manner { seed: self.queries, workers, noise };
            match replay(&self.database, sql, (schema, rows), manner) {
                Replayed::Same(Some(shown))
                    if outer_order(sql).is_some_and(|o| is_by_columns(&o)) =>
                {
                    compare("view", &[shown])?;
                }
                Replayed::Same(_) => {}
                Replayed::Skipped(why) => return Err(Trouble::Unsupported(why)),
                Replayed::Wrong(why) => return Err(Trouble::Error(why)),
            }
        }
        Ok(())
    }
}

/// What follows the outermost ORDER BY of a query, in small letters.
fn outer_order(sql: &str) -> Option<String> {
    let lower = sql.to_lowercase();
    let after = lower.rsplit(')').next().unwrap_or_default();
    after.split_once("order by").map(|(_, order)| order.to_owned())
}

/// Whether a view keeps the order: only that by columns is one that its rows can be shown in.
fn is_by_columns(order: &str) -> bool {
    order.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.,;\"".contains(c))
}

/// Whether an error says that another engine's functions, types or tables are meant.
fn is_of_dialect(error: &str) -> bool {
    ["not found", "Invalid function", "not implemented", "Unsupported"]
        .iter()
        .any(|part| error.contains(part))
}

fn is_skipped(conditions: &[Condition]) -> bool {
    conditions.iter().any(|condition| match condition {
        Condition::OnlyIf { label } => label != LABEL,
        Condition::SkipIf { label } => label == LABEL,
    })
}

/// MD5 as DataFusion has it.
fn md5(text: &str) -> Result<String, String> {
    let column: StringArray = [Some(text)].into_iter().collect();
    let rows = RecordBatch::try_from_iter([("text", Arc::new(column) as _)]);
    let rows = rows.map_err(|error| error.to_string())?;
    let content = (("t".to_owned(), vec![rows.clone()]), rows.schema());
    let result =
        syncline_engine::query("SELECT CAST(md5(text) AS TEXT) AS hash FROM t", &[content], 0, 0);
    let (_, rows) = result.map_err(|error| error.to_string())?;
    let column = rows.first().map(|rows| rows.column(0));
    let text = column.and_then(|column| column.as_string_opt::<i32>()).filter(|c| !c.is_empty());
    text.map(|text| text.value(0).to_owned()).ok_or_else(|| "no hash".to_owned())
}
