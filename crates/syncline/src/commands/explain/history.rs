//! Every change of a row: since when it is as it is.

use std::process::ExitCode;

use arrow::array::RecordBatch;
use serde_json::{Value, json};
use syncline_change::row::RowCodec;
use syncline_change::{Batch, Error, Result, json as rows_json};
use syncline_engine::ViewInfo;

use super::super::Failure;
use super::super::table::{Table, cell};
use super::asked::{Fitting, shown};
use super::past::{Moment, Past};
use super::{columns, described};
use crate::cli::{self, ExplainFormat};
use crate::terminal::say;

/// One row that came, went, or took another's place.
struct Change {
    at: Moment,
    before: Option<Value>,
    after: Option<Value>,
}

impl Change {
    /// As Debezium has it.
    fn op(&self) -> &'static str {
        match (&self.before, &self.after) {
            (None, _) => "c",
            (Some(_), None) => "d",
            (Some(_), Some(_)) => "u",
        }
    }
}

/// Prints the changes of the rows that fit, the oldest first.
pub(super) fn history(
    past: &Past<'_>,
    arguments: &cli::Explain,
    view: (usize, &ViewInfo),
    condition: &RecordBatch,
) -> Result<ExitCode, Failure> {
    let (number, view) = view;
    let fitting = Fitting::new(&view.schema, condition)?;
    let mut circuit = past.prepared.circuit(None)?;
    let mut changes = Vec::new();
    let mut there: i64 = 0;
    let last = past.replay(&mut circuit, arguments.at, |at, output| {
        let all = Batch::concat(&view.schema, &output.views[number])?;
        let fits = fitting.of(&all)?;
        there += (0..fits.num_rows()).map(|row| fits.weight(row)).sum::<i64>();
        changes.extend(paired(at, &fits, view.key.as_deref())?);
        Ok(())
    })?;
    let Some(newest) = changes.last().map(|change: &Change| change.at) else {
        let message = format!("no row of `{}` has ever had {}", view.name, described(condition)?);
        return Err(Error::input(message)
            .detail(format!("looked at all epochs up to {}", last.epoch))
            .into());
    };
    let left_out = arguments.limit.map_or(0, |limit| changes.len().saturating_sub(limit as usize));
    let kept = &changes[left_out..];
    match arguments.format {
        ExplainFormat::Json => say(json!({
            "view": view.name,
            "where": shown(condition)?,
            "epoch": last.epoch,
            "there": there > 0,
            "since": {"epoch": newest.epoch, "time": newest.time()},
            "left_out": left_out,
            "changes": kept.iter().map(as_json).collect::<Vec<_>>(),
        })),
        ExplainFormat::Text => {
            print(view, kept, left_out);
            let state = if there > 0 { "as it is" } else { "gone" };
            say(format_args!("{state} since epoch {} ({})", newest.epoch, newest.time()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(change: &Change) -> Value {
    json!({
        "epoch": change.at.epoch,
        "time": change.at.time(),
        "op": change.op(),
        "before": change.before,
        "after": change.after,
    })
}

fn print(view: &ViewInfo, changes: &[Change], left_out: usize) {
    if left_out > 0 {
        let changes = if left_out == 1 { "change is" } else { "changes are" };
        say(format_args!("{left_out} older {changes} left out"));
    }
    let own = [("epoch", "BIGINT"), ("time", "TEXT"), ("", "TEXT")];
    let columns = columns(&view.schema);
    let shown = columns.iter().map(|column| (column.name.as_str(), column.sql_type.as_str()));
    let mut table = Table::new(own.into_iter().chain(shown));
    for change in changes {
        let rows = [("-", &change.before), ("+", &change.after)];
        for (sign, row) in rows.into_iter().filter_map(|(sign, row)| Some((sign, row.as_ref()?))) {
            let own = [change.at.epoch.to_string(), change.at.time(), sign.to_owned()];
            let values = columns.iter().map(|column| cell(&row[&column.name]));
            table.row(own.into_iter().chain(values));
        }
    }
    table.lines().iter().for_each(say);
}

/// The changes of one epoch: a row that comes takes the place of the one that goes and has the same
/// key, or of the only one.
fn paired(at: Moment, changes: &Batch, key: Option<&[usize]>) -> Result<Vec<Change>> {
    let objects = rows_json::objects(changes.rows())?;
    let keys = match key {
        Some(key) => keys(changes.rows(), key)?,
        None => vec![],
    };
    let copies = |row: usize| changes.weight(row).unsigned_abs();
    let signed = |sign: i64| {
        let rows = (0..changes.num_rows()).filter(move |&row| changes.weight(row).signum() == sign);
        rows.flat_map(|row| (0..copies(row)).map(move |_| row)).collect::<Vec<usize>>()
    };
    let (gone, mut come) = (signed(-1), signed(1));
    let is_one_for_one = gone.len() == 1 && come.len() == 1;
    let mut paired = Vec::with_capacity(gone.len() + come.len());
    for old in gone {
        let follows = |new: &usize| is_one_for_one || key.is_some() && keys[old] == keys[*new];
        let new = come.iter().position(follows).map(|place| come.remove(place));
        let (before, after) = (Some(objects[old].clone()), new.map(|new| objects[new].clone()));
        paired.push(Change { at, before, after });
    }
    let new =
        come.into_iter().map(|new| Change { at, before: None, after: Some(objects[new].clone()) });
    paired.extend(new);
    Ok(paired)
}

fn keys(rows: &RecordBatch, key: &[usize]) -> Result<Vec<Box<[u8]>>> {
    let rows = rows.project(key)?;
    let encoded = RowCodec::new(rows.schema())?.encode_batch(&rows)?;
    Ok(encoded.iter().map(|row| row.data().into()).collect())
}
