//! Dead letters as a list.

use serde_json::{Value, json};
use syncline_change::source::RejectClass;
use syncline_change::{Error, Result};
use syncline_store::dead_letters::Filter;
use syncline_store::{DeadLetter, DeadLetters};

use super::counted;
use super::show::state_name;
use crate::cli::RowFormat;
use crate::commands::rows::{Column, Rows};
use crate::commands::table::{Table, shorten};
use crate::terminal::{moment, say};

/// How much of a message the table shows where the terminal does not say how wide it is.
const MESSAGE_WIDTH: usize = 100;
/// A message is never cut shorter than this, however narrow the terminal is.
const MESSAGE_WIDTH_MIN: usize = 30;
/// How much of the rejected bytes a line of JSON or CSV shows.
const PREVIEW_CHARS_MAX: usize = 200;

/// The class called `name`.
pub(super) fn class(name: &str) -> Result<RejectClass> {
    serde_json::from_value(json!(name)).map_err(|error| {
        Error::config("there is no such class of dead letters").detail(error.to_string())
    })
}

pub(super) fn ls(
    letters: &DeadLetters,
    filter: &Filter,
    limit: usize,
    format: RowFormat,
) -> Result<()> {
    let (total, items) = letters.list(filter, 0, limit)?;
    if format != RowFormat::Table {
        as_rows(&items).print(format);
        return Ok(());
    }
    if !items.is_empty() {
        table(&items, filter.state.is_none()).iter().for_each(say);
    }
    let kind = if filter.state.is_none() { "" } else { " (open)" };
    let total_count = usize::try_from(total).unwrap_or(usize::MAX);
    if items.len() < total_count {
        say(format_args!("{} of {}{kind}; --limit shows more", items.len(), counted(total_count)));
    } else {
        say(format_args!("{}{kind}", counted(total_count)));
    }
    Ok(())
}

/// A line for each letter; what became of them only if it differs.
fn table(items: &[DeadLetter], with_state: bool) -> Vec<String> {
    let mut names = vec!["id", "source", "stage", "class", "position", "when"];
    if with_state {
        names.push("state");
    }
    let cells: Vec<Vec<String>> = items
        .iter()
        .map(|letter| {
            let mut cells = vec![
                letter.id.clone(),
                letter.source.clone(),
                letter.stage.name().to_owned(),
                letter.rejected.class.name().to_owned(),
                letter.rejected.position.clone(),
                moment(letter.at_us),
            ];
            if with_state {
                cells.push(state_name(letter.state).to_owned());
            }
            cells
        })
        .collect();
    let widest = |i: usize| {
        cells.iter().map(|row| row[i].chars().count()).chain([names[i].len()]).max().unwrap_or(0)
    };
    let before: usize = (0..names.len()).map(|i| widest(i) + 2).sum();
    let rest = terminal_width().map_or(MESSAGE_WIDTH, |width| width.saturating_sub(before));
    let rest = rest.max(MESSAGE_WIDTH_MIN);
    names.push("message");
    let mut table = Table::of_text(&names);
    for (letter, mut row) in items.iter().zip(cells) {
        row.push(shorten(&letter.rejected.message, rest));
        table.row(row);
    }
    table.lines()
}

/// As the shell says it.
fn terminal_width() -> Option<usize> {
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok())
}

/// The letters as the API lists them.
fn as_rows(items: &[DeadLetter]) -> Rows {
    let names = ["id", "source", "stage", "class", "message", "position", "epoch", "at", "state"];
    let columns = names.into_iter().chain(["preview"]);
    let rows = items.iter().map(|letter| -> Vec<Value> {
        let text = String::from_utf8_lossy(&letter.rejected.bytes);
        vec![
            json!(letter.id),
            json!(letter.source),
            json!(letter.stage.name()),
            json!(letter.rejected.class.name()),
            json!(letter.rejected.message),
            json!(letter.rejected.position),
            json!(letter.epoch),
            json!(moment(letter.at_us)),
            json!(state_name(letter.state)),
            json!(text.chars().take(PREVIEW_CHARS_MAX).collect::<String>()),
        ]
    });
    Rows { rows: rows.collect(), columns: columns.map(|name| Column::new(name, "TEXT")).collect() }
}
