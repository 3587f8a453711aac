//! Rows of text as an aligned table, for people.

use std::iter::once;

use serde_json::Value;

/// Column heads and rows of cells.
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    name: String,
    is_right_aligned: bool,
}

impl Table {
    /// Columns by name and SQL type: numbers stand to the right.
    pub(super) fn new<'a>(columns: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let columns = columns.into_iter().map(|(name, sql_type)| Column {
            name: plain(name),
            is_right_aligned: is_number(sql_type),
        });
        Self { columns: columns.collect(), rows: Vec::new() }
    }

    /// Columns of text.
    pub(super) fn of_text(columns: &[&str]) -> Self {
        Self::new(columns.iter().map(|name| (*name, "TEXT")))
    }

    /// Adds a row with a cell for each column.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }

    /// The line of names, the line below it, and a line for each row.
    pub(super) fn lines(&self) -> Vec<String> {
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(i, column)| {
                let cells = self.rows.iter().filter_map(|row| row.get(i));
                cells.chain(once(&column.name)).map(|cell| width(cell)).max().unwrap_or(0)
            })
            .collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded = cells.zip(&self.columns).zip(&widths).map(|((cell, column), to)| {
                let padding = " ".repeat(to - width(cell));
                if column.is_right_aligned { padding + cell } else { cell.to_owned() + &padding }
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let names = line(&mut self.columns.iter().map(|column| column.name.as_str()));
        let rule = widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>().join("  ");
        let rows = self.rows.iter().map(|row| line(&mut row.iter().map(String::as_str)));
        [names, rule].into_iter().chain(rows).collect()
    }
}

/// A value as a cell: texts without quotes, everything else as JSON.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Text cut to `columns_max` columns, with a mark where something is missing.
pub(super) fn shorten(text: &str, columns_max: usize) -> String {
    let text = plain(text);
    if width(&text) <= columns_max {
        return text;
    }
    let mut used = 1;
    let kept = text.chars().take_while(|c| {
        used += char_width(*c);
        used <= columns_max
    });
    kept.chain(once('…')).collect()
}

/// On one line, and with nothing in it that a terminal would act on.
fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let kept = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(kept)
        })
        .collect()
}

fn is_number(sql_type: &str) -> bool {
    let word = sql_type.split([' ', '(']).next().unwrap_or_default();
    let numbers = ["TINYINT", "SMALLINT", "INT", "BIGINT", "REAL", "DOUBLE", "DECIMAL"];
    numbers.contains(&word) && !sql_type.ends_with("[]")
}

fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// How many columns of a terminal a character takes: two for the wide ones of East Asia and for
/// pictures, none for marks that join the character before (the blocks of Unicode 16 that are
/// wholly so).
fn char_width(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036F | 0x200B..=0x200F | 0xFE00..=0xFE0F => 0,
        0x1100..=0x115F
        | 0x2E80..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1F64F
        | 0x1F900..=0x1F9FF
        | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([("city", "TEXT"), ("flights", "BIGINT"), ("share", "DOUBLE")]);
        table.row(["東京", "12", "0.5"].map(str::to_owned));
        table.row(["São Paulo", "1204", "NULL"].map(str::to_owned));
        table.row(["a\nb\x1b[31m", "7", "0.25"].map(str::to_owned));
        assert_eq!(
            table.lines(),
            [
                "city            flights  share",
                "──────────────  ───────  ─────",
                "東京                 12    0.5",
                "São Paulo          1204   NULL",
                "a\\nb\\u{1b}[31m        7   0.25",
            ]
        );
    }

    #[test]
    fn what_is_cut_shows_it() {
        assert_eq!(shorten("expected BIGINT", 15), "expected BIGINT");
        assert_eq!(shorten("expected BIGINT", 9), "expected…");
        assert_eq!(shorten("東京都", 5), "東京…");
        assert_eq!(shorten("a\tb", 10), "a\\tb");
    }

    #[test]
    fn numbers_are_told_by_their_type() {
        let numbers = ["BIGINT", "INT UNSIGNED", "DECIMAL(10,2)", "DOUBLE"];
        assert!(numbers.iter().all(|name| is_number(name)));
        let others = ["TEXT", "INTERVAL", "BIGINT[]", "TIMESTAMP", "STRUCT(a INT)"];
        assert!(!others.iter().any(|name| is_number(name)));
    }
}
