//! `explain`: the input rows that a row of a view comes from, from the journal.

mod asked;
mod history;
mod past;

use std::process::ExitCode;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde_json::{Value, json};
use syncline_change::{Error, ErrorKind, Result, json as rows_json, types};
use syncline_engine::{
    Asked, BatchEngine, Circuit, Content, Explained, Options, SourceRows, TableContent, ViewInfo,
};
use syncline_pipeline::file::nearest;
use syncline_pipeline::prepare::{Prepared, alert_view};

use self::asked::{Words, condition, shown};
use self::past::{Moment, Past, nothing_ran};
use super::rows::Column;
use super::table::{Table, cell};
use super::{FAILED, Failure, PARTLY, load};
use crate::cli::{self, ExplainFormat};
use crate::terminal::say;

/// How many rows of a table are printed for people.
const ROWS_SHOWN_MAX: usize = 50;

/// Explains the rows that fit, or shows how they changed.
pub(super) fn explain(arguments: &cli::Explain) -> Result<ExitCode, Failure> {
    let words = Words::new(&arguments.words)?;
    let pipeline = load(words.file)?;
    let data_dir = arguments.data_dir.clone().unwrap_or_else(|| pipeline.data_dir());
    let prepared = Prepared::new(pipeline)?;
    let infos = prepared.circuit(None)?.views().to_vec();
    let number = view_number(&prepared, &infos, words.view)?;
    let view = &infos[number];
    let condition = condition(words.view, &view.schema, &words.conditions)?;
    if !data_dir.exists() {
        return Err(nothing_ran().into());
    }
    let past = Past { prepared: &prepared, data_dir: &data_dir };
    if arguments.history {
        return history::history(&past, arguments, (number, view), &condition);
    }
    let rows_max = arguments.limit.unwrap_or(1) as usize;
    let done = Done::new(&past, arguments.at, (&infos, number), (&condition, rows_max))?;
    match arguments.format {
        ExplainFormat::Text => done.print()?,
        ExplainFormat::Json => say(done.as_json(&condition)?),
    }
    Ok(done.exit_code())
}

/// The number of a view, or of the view behind an alert.
fn view_number(prepared: &Prepared, infos: &[ViewInfo], name: &str) -> Result<usize> {
    let alert = alert_view(name);
    let place = |name: &str| infos.iter().position(|info| info.name == name);
    if let Some(found) = place(name).or_else(|| place(&alert)) {
        return Ok(found);
    }
    let spec = &prepared.pipeline.spec;
    if spec.sources.contains_key(name) {
        return Err(Error::config(format!(
            "`{name}` is a source: its rows come from nothing else"
        ))
        .hint("name a view"));
    }
    let known = || spec.views.keys().chain(spec.alerts.keys()).map(String::as_str);
    let error = Error::config(format!("there is no view `{name}`"));
    Err(match nearest(name, known()) {
        Some(meant) => error.hint(format!("did you mean `{meant}`?")),
        None => error.hint(format!("there are {}", known().collect::<Vec<_>>().join(", "))),
    })
}

fn columns(schema: &SchemaRef) -> Vec<Column> {
    let fields = schema.fields().iter();
    fields.map(|field| Column::new(field.name(), types::name(field.data_type()))).collect()
}

/// `origin=JFK and day=3`, as the values were understood.
fn described(condition: &RecordBatch) -> Result<String> {
    let Value::Object(values) = shown(condition)? else { return Ok(String::new()) };
    let parts = values.iter().map(|(name, value)| format!("{name}={}", cell(value)));
    Ok(parts.collect::<Vec<_>>().join(" and "))
}

/// An explanation, and where in the journal its rows are.
struct Done {
    view: String,
    at: Moment,
    explained: Explained,
    /// Of each row of each source, the epoch in which it came.
    epochs: Vec<Vec<u64>>,
    /// How many rows each source has in all.
    held: Vec<usize>,
}

impl Done {
    fn new(
        past: &Past<'_>,
        at: Option<u64>,
        (infos, number): (&[ViewInfo], usize),
        (condition, rows_max): (&RecordBatch, usize),
    ) -> Result<Self, Failure> {
        let view = &infos[number];
        let tables = &past.prepared.tables;
        let contents = tables.iter().map(|table| Content::new(table.schema.clone(), vec![]));
        let mut contents = contents.collect::<Result<Vec<_>>>()?;
        let mut circuit = only_tables(past.prepared)?;
        let at = past.replay(&mut circuit, at, |_, output| {
            view.tables.iter().try_for_each(|&table| {
                output.tables[table].iter().try_for_each(|change| contents[table].apply(change))
            })
        })?;
        let named = view
            .tables
            .iter()
            .map(|&table| Ok((tables[table].name.clone(), contents[table].batches()?)));
        let named: Vec<TableContent> = named.collect::<Result<_>>()?;
        let seed = past.prepared.lock.seed;
        let engine = BatchEngine::new(tables, &past.prepared.views, seed);
        let engine = engine.map_err(|_| Error::bug("the views can be planned only once"))?;
        let watermark_us = |name: &str| {
            let info = infos.iter().find(|info| info.name == name);
            info.map_or(i64::MAX, |info| circuit.watermark_of(&info.tables))
        };
        let asked = Asked { view: &view.name, condition, rows_max };
        let explained = engine.explain(&named, at.time_us, watermark_us, asked);
        let explained = explained.map_err(|error| match error.kind() {
            ErrorKind::Input => error.hint(
                "a row for which an expression fails is a dead letter of the view, and a view that has \
                 such rows cannot be explained; see `syncline dlq ls`",
            ),
            _ => error,
        })?;
        if explained.rows.num_rows() == 0 {
            return Err(nothing_fits(view, condition, at)?.into());
        }
        let again = &mut only_tables(past.prepared)?;
        let epochs = past.epochs_of(again, at.epoch, &explained.sources)?;
        let held = explained.sources.iter().map(|source| {
            let place = tables.iter().position(|table| table.name == source.name);
            place.map_or(0, |place| contents[place].len())
        });
        Ok(Self { view: view.name.clone(), at, held: held.collect(), explained, epochs })
    }

    fn exit_code(&self) -> ExitCode {
        let is_narrowed = |source: &SourceRows| source.not_narrowed.is_none();
        match (self.explained.verified, self.explained.sources.iter().all(is_narrowed)) {
            (false, _) => ExitCode::from(FAILED),
            (true, false) => ExitCode::from(PARTLY),
            (true, true) => ExitCode::SUCCESS,
        }
    }

    fn input_rows(&self) -> usize {
        self.explained.sources.iter().map(|source| source.rows.num_rows()).sum()
    }

    fn print(&self) -> Result<()> {
        let Explained { rows, more, sources, recomputed, verified } = &self.explained;
        say(format_args!("{}, epoch {} ({})", self.view, self.at.epoch, self.at.time()));
        print_rows(rows, None)?;
        if *more > 0 {
            let (verb, limit) = (if *more == 1 { "fits" } else { "fit" }, more + 1);
            say(format_args!("({more} more {verb}: say more of the row, or --limit {limit})"));
        }
        for ((source, epochs), held) in sources.iter().zip(&self.epochs).zip(&self.held) {
            let (name, count) = (&source.name, source.rows.num_rows());
            let why = source.not_narrowed.as_ref();
            let why = why.map_or_else(String::new, |why| format!(", not narrowed: {why}"));
            say(format_args!("\n{name}: {count} of {held} {}{why}", rows_of(*held)));
            if count > 0 {
                print_rows(&source.rows, Some(epochs))?;
            }
        }
        let (count, these) =
            (self.input_rows(), if self.input_rows() == 1 { "this" } else { "these" });
        let result = if *verified { "equal" } else { "not equal" };
        say(format_args!("\nrecomputed from {these} {count} {} alone: {result}", rows_of(count)));
        if !verified {
            print_rows(recomputed, None)?;
        }
        Ok(())
    }

    fn as_json(&self, condition: &RecordBatch) -> Result<Value> {
        let Explained { rows, more, sources, recomputed, verified } = &self.explained;
        let sources = sources.iter().zip(&self.epochs).map(|(source, epochs)| {
            let rows = rows_json::objects(&source.rows)?.into_iter().zip(epochs);
            let rows = rows.map(|(row, epoch)| json!({"epoch": epoch, "row": row}));
            Ok(json!({
                "source": source.name,
                "narrowed": source.not_narrowed.is_none(),
                "reason": source.not_narrowed,
                "rows": rows.collect::<Vec<_>>(),
            }))
        });
        Ok(json!({
            "view": self.view,
            "where": shown(condition)?,
            "epoch": self.at.epoch,
            "time": self.at.time(),
            "rows": rows_json::objects(rows)?,
            "more": more,
            "sources": sources.collect::<Result<Vec<_>>>()?,
            "recomputed": rows_json::objects(recomputed)?,
            "verified": verified,
        }))
    }
}

fn rows_of(count: usize) -> &'static str {
    if count == 1 { "row" } else { "rows" }
}

/// Prints rows as a table, with the epochs that they came in if there are any, those first.
fn print_rows(rows: &RecordBatch, epochs: Option<&[u64]>) -> Result<()> {
    let mut order: Vec<usize> = (0..rows.num_rows()).collect();
    if let Some(epochs) = epochs {
        order.sort_by_key(|&row| epochs[row]);
    }
    let columns = columns(&rows.schema());
    let own = epochs.map(|_| ("epoch", "BIGINT"));
    let named = columns.iter().map(|column| (column.name.as_str(), column.sql_type.as_str()));
    let mut table = Table::new(own.into_iter().chain(named));
    let objects = rows_json::arrays(rows)?;
    for &row in order.iter().take(ROWS_SHOWN_MAX) {
        let own = epochs.map(|epochs| epochs[row].to_string());
        let values = objects[row].as_array().into_iter().flatten().map(cell);
        table.row(own.into_iter().chain(values));
    }
    table.lines().iter().for_each(say);
    match rows.num_rows() {
        count if count > ROWS_SHOWN_MAX => {
            say(format_args!("... and {} more (--format json has all)", count - ROWS_SHOWN_MAX));
        }
        _ => {}
    }
    Ok(())
}

/// A circuit that takes in the tables, and has no views to compute.
fn only_tables(prepared: &Prepared) -> Result<Circuit> {
    let options = Options { pool: None, stopwatch: || 0, seed: prepared.lock.seed };
    let made = Circuit::new(prepared.tables.clone(), &[], options);
    made.map_err(|_| Error::bug("tables alone cannot be planned"))
}

fn nothing_fits(view: &ViewInfo, condition: &RecordBatch, at: Moment) -> Result<Error> {
    let what = match condition.num_columns() {
        0 => format!("`{}` has no rows", view.name),
        _ => format!("no row of `{}` has {}", view.name, described(condition)?),
    };
    Ok(Error::input(format!("{what} at the end of epoch {}", at.epoch))
        .hint("--history shows whether there ever was one"))
}
