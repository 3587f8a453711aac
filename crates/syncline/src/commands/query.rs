//! `query`: SQL over the kept views of a running or a stopped pipeline.

use std::path::Path;
use std::process::ExitCode;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::Deserialize;
use serde_json::json;
use syncline_change::{Error, ErrorKind, Result, json as rows_json, types};
use syncline_engine::TableContent;
use syncline_pipeline::file::Pipeline;
use syncline_pipeline::past::{Keep, Past, Replayed};
use syncline_pipeline::prepare::Prepared;

use super::remote::{Presence, silent};
use super::rows::{Column, Rows};
use super::{Failure, epochs_bar, file_and, load};
use crate::cli::{self, RowFormat};
use crate::terminal::{note, say};

/// A result, and the epoch that the views stood at.
#[derive(Deserialize)]
struct Answer {
    epoch: u64,
    #[serde(flatten)]
    rows: Rows,
    /// Whether there are more rows than a running pipeline gives away.
    #[serde(default)]
    truncated: bool,
}

/// Prints the result of one SELECT.
pub(super) fn query(arguments: &cli::Query) -> Result<ExitCode, Failure> {
    let (path, sql) = file_and(&arguments.file_and_sql);
    let pipeline = load(path)?;
    let data_dir = arguments.data_dir.clone().unwrap_or_else(|| pipeline.data_dir());
    let presence = match arguments.at {
        // The journal has the past, whether or not the pipeline runs.
        Some(_) => Presence::Stopped,
        None => Presence::of(&data_dir)?,
    };
    let answer = match presence {
        Presence::Silent { pid } => return Err(silent(pid).into()),
        Presence::Served(remote) => remote
            .post("/api/v1/query", &json!({ "sql": sql }))
            .and_then(|answer| {
                serde_json::from_value(answer).map_err(|error| {
                    Error::unsupported("the pipeline's answer cannot be read")
                        .detail(error.to_string())
                        .hint("use the version of Syncline that runs the pipeline")
                })
            })
            .map_err(|error| match Prepared::new(pipeline) {
                Ok(prepared) => explained(error, sql, &prepared),
                Err(_) => error,
            })?,
        Presence::Stopped => {
            let prepared = Prepared::new(pipeline)?;
            let is_new = arguments.data_dir.is_none() && !data_dir.exists();
            let data_dir = (!is_new).then_some(data_dir.as_path());
            ask_journal(&prepared, data_dir, arguments.at, sql)?
        }
    };
    answer.rows.print(arguments.format);
    if arguments.format == RowFormat::Table {
        let count = answer.rows.rows.len();
        let rows = if count == 1 { "row" } else { "rows" };
        say(format_args!("({count} {rows}, epoch {})", answer.epoch));
    }
    if answer.truncated {
        note(format_args!(
            "there are more rows than a running pipeline answers with; --at {} reads them all from \
             the journal",
            answer.epoch
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Computes the views from the journal, if there is one, and the result from the views.
fn ask_journal(
    prepared: &Prepared,
    data_dir: Option<&Path>,
    at: Option<u64>,
    sql: &str,
) -> Result<Answer, Failure> {
    let replayed = match data_dir {
        Some(data_dir) => replay(prepared, data_dir, at)?,
        None => before_all(prepared)?,
    };
    if replayed.epoch == 0 {
        note("nothing has run here yet: all views are empty");
    }
    let views = replayed.contents().map(|(name, content)| {
        Ok(((name.to_owned(), content.batches()?), content.schema().clone()))
    });
    let views: Vec<(TableContent, SchemaRef)> = views.collect::<Result<_>>()?;
    let (schema, batches) =
        syncline_engine::query(sql, &views, replayed.time_us, prepared.lock.seed)
            .map_err(|error| explained(error, sql, prepared))?;
    Ok(Answer { epoch: replayed.epoch, rows: as_rows(&schema, &batches)?, truncated: false })
}

/// Makes the views anew from the journal, up to epoch `at` or its end.
fn replay(prepared: &Prepared, data_dir: &Path, at: Option<u64>) -> Result<Replayed, Failure> {
    let past = Past::open(prepared, data_dir)?;
    let mut replayed = before_all(prepared)?;
    let progress = epochs_bar("epochs of the journal read");
    for input in past.inputs(at)? {
        replayed.step(prepared, input?)?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    match at {
        Some(at) if replayed.epoch < at => {
            Err(Error::config(format!("there is no epoch {at} yet"))
                .detail(format!("the last epoch in the journal is {}", replayed.epoch))
                .into())
        }
        _ => Ok(replayed),
    }
}

/// The kept views before anything has run.
fn before_all(prepared: &Prepared) -> Result<Replayed, Failure> {
    let keep = |view: &str| Keep::rows_if(prepared.is_kept(view));
    Ok(Replayed::new(prepared, &prepared.views, None, keep)?)
}

fn as_rows(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Rows> {
    let columns = schema.fields().iter();
    let columns = columns.map(|f| Column::new(f.name(), types::name(f.data_type()))).collect();
    let mut rows = Vec::new();
    for batch in batches {
        for row in rows_json::arrays(batch)? {
            let serde_json::Value::Array(values) = row else {
                return Err(Error::bug("a row was written as something else than an array"));
            };
            rows.push(values);
        }
    }
    Ok(Rows { columns, rows })
}

/// What is wrong with the SQL in the words of somebody who has typed it; above all if it names
/// something that is there and cannot be read.
fn explained(error: Error, sql: &str, prepared: &Prepared) -> Error {
    if error.kind() != ErrorKind::Config {
        return error;
    }
    let error = without_view_name(error);
    let words: Vec<&str> = sql.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let is_named = |name: &&String| words.iter().any(|word| word.eq_ignore_ascii_case(name));
    let Pipeline { spec, .. } = &prepared.pipeline;
    if let Some(view) = spec.views.keys().find(|view| is_named(view) && !prepared.is_kept(view)) {
        return Error::config(format!("view `{view}` is not kept, so its rows cannot be read"))
            .detail("a sink takes its changes, and nobody else needed them so far")
            .hint(format!("say `keep: true` under `views: {view}:` and run the pipeline again"));
    }
    if let Some(source) = spec.sources.keys().find(is_named) {
        return Error::config(format!("`{source}` is a source, and only views are kept"))
            .hint(format!("add a view `SELECT * FROM {source}` and run the pipeline again"));
    }
    let kept = spec.views.keys().filter(|view| prepared.is_kept(view));
    let kept: Vec<&str> = kept.map(String::as_str).collect();
    match error.hint_text() {
        None if kept.is_empty() => error.hint("no view is kept; say `keep: true` under one"),
        None => error.hint(format!("views that can be read: {}", kept.join(", "))),
        Some(_) => error,
    }
}

/// The engine plans a query as a view of that name.
fn without_view_name(error: Error) -> Error {
    let Some(place) = error.message().strip_prefix("view `query`") else { return error };
    let mut made = Error::config(format!("the SQL is wrong{place}"));
    if let Some(detail) = error.detail_text() {
        made = made.detail(detail);
    }
    if let Some(hint) = error.hint_text() {
        made = made.hint(hint);
    }
    made
}
