//! Results as the text that scripts have, and its comparison.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use sqllogictest::{DefaultColumnType, SortMode};

/// One text for each value of each row.
pub(super) fn cells(batches: &[RecordBatch]) -> Result<Vec<Vec<String>>, String> {
    let mut rows = Vec::new();
    for batch in batches {
        let options = FormatOptions::default().with_null("NULL");
        let formatters = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options));
        let formatters = formatters.collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
        for row in 0..batch.num_rows() {
            let columns = batch.columns().iter().zip(&formatters);
            rows.push(columns.map(|(column, other)| cell(column, row, other)).collect());
        }
    }
    Ok(rows)
}

fn cell(column: &dyn Array, row: usize, other: &ArrayFormatter<'_>) -> String {
    if column.is_null(row) {
        return "NULL".to_owned();
    }
    match column.data_type() {
        DataType::Float32 => float(column.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => float(column.as_primitive::<Float64Type>().value(row)),
        _ => match other.value(row).to_string() {
            text if text.is_empty() => "(empty)".to_owned(),
            text => text,
        },
    }
}

fn float(value: impl Into<f64> + std::fmt::Display + std::fmt::LowerExp + Copy) -> String {
    let size = value.into().abs();
    match size {
        _ if size.is_infinite() && value.into() > 0.0 => "Infinity".to_owned(),
        _ if size.is_infinite() => "-Infinity".to_owned(),
        _ if size == 0.0 || size.is_nan() || (1e-5..1e16).contains(&size) => value.to_string(),
        _ => format!("{value:e}"),
    }
}

/// What a script says that a query gives.
pub(super) struct Expected<'a> {
    pub(super) types: &'a [DefaultColumnType],
    pub(super) sort: SortMode,
    pub(super) lines: &'a [String],
    /// Whether numbers may differ in how they are written, as scripts of others have them.
    pub(super) lenient: bool,
    /// Whether the query says in which order rows come.
    pub(super) ordered: bool,
    /// MD5 as hexadecimal digits.
    pub(super) md5: fn(&str) -> Result<String, String>,
}

impl Expected<'_> {
    /// # Errors
    /// How the result differs, as text.
    pub(super) fn compare(&self, rows: &[Vec<String>]) -> Result<(), String> {
        if let [line] = self.lines
            && let Some((count, hash)) = line.split_once(" values hashing to ")
        {
            return self.compare_hash(rows, count, hash);
        }
        let columns = rows.first().map_or(0, Vec::len);
        let is_value_wise = columns > 1 && self.lines.len() == rows.len() * columns
            || self.sort == SortMode::ValueSort;
        if is_value_wise {
            return self.compare_values(rows);
        }
        let mut got: Vec<String> = rows.iter().map(|row| squeeze(&row.join(" "))).collect();
        let mut expected: Vec<String> = self.lines.iter().map(|line| squeeze(line)).collect();
        if self.sort == SortMode::RowSort || !self.ordered {
            got.sort_unstable();
            expected.sort_unstable();
        }
        let same = got.len() == expected.len()
            && got.iter().zip(&expected).all(|(got, expected)| self.same_line(got, expected));
        if same { Ok(()) } else { Err(differ(&got, &expected)) }
    }

    fn same_line(&self, got: &str, expected: &str) -> bool {
        if got == expected {
            return true;
        }
        let (got, expected): (Vec<&str>, Vec<&str>) =
            (got.split(' ').collect(), expected.split(' ').collect());
        self.lenient
            && got.len() == expected.len()
            && got.iter().zip(&expected).all(|(got, expected)| same_value(got, expected))
    }

    /// One value a line, as the scripts of SQLite have it.
    fn compare_values(&self, rows: &[Vec<String>]) -> Result<(), String> {
        let got = self.values(rows);
        let mut expected = self.lines.to_vec();
        if self.sort == SortMode::ValueSort {
            expected.sort_unstable();
        } else if self.sort == SortMode::RowSort || !self.ordered {
            let columns = rows.first().map_or(1, Vec::len);
            let mut chunks: Vec<&[String]> = expected.chunks(columns).collect();
            chunks.sort_unstable();
            expected = chunks.concat();
        }
        let same = got.len() == expected.len()
            && got.iter().zip(&expected).all(|(got, expected)| self.same_line(got, expected));
        if same { Ok(()) } else { Err(differ(&got, &expected)) }
    }

    /// Every value by itself, in the order that the script asks for.
    fn values(&self, rows: &[Vec<String>]) -> Vec<String> {
        let of_row = |row: &Vec<String>| -> Vec<String> {
            let types = self.types.iter().chain(std::iter::repeat(&DefaultColumnType::Any));
            row.iter().zip(types).map(|(value, of)| plain(value, of)).collect()
        };
        let mut rows: Vec<Vec<String>> = rows.iter().map(of_row).collect();
        if self.sort == SortMode::RowSort || !self.ordered {
            rows.sort_unstable();
        }
        let mut values = rows.concat();
        if self.sort == SortMode::ValueSort {
            values.sort_unstable();
        }
        values
    }

    fn compare_hash(&self, rows: &[Vec<String>], count: &str, hash: &str) -> Result<(), String> {
        let values = self.values(rows);
        if values.len().to_string() != count {
            return Err(format!("{} values instead of {count}", values.len()));
        }
        let text: String = values.iter().map(|value| format!("{value}\n")).collect();
        let got = (self.md5)(&text)?;
        match got == hash {
            true => Ok(()),
            false => Err(format!("{count} values hash to {got} instead of {hash}")),
        }
    }
}

/// A value as SQLite writes one of the type.
fn plain(value: &str, of: &DefaultColumnType) -> String {
    match (of, value.parse::<f64>()) {
        (DefaultColumnType::FloatingPoint, Ok(number)) => format!("{number:.3}"),
        (DefaultColumnType::Integer, Ok(number)) if value.contains(['.', 'e']) => {
            format!("{}", number.trunc())
        }
        (DefaultColumnType::Integer, Err(_)) if value == "true" => "1".to_owned(),
        (DefaultColumnType::Integer, Err(_)) if value == "false" => "0".to_owned(),
        _ => value.to_owned(),
    }
}

fn squeeze(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether two values mean the same: numbers up to the digits that are written, truth as a number.
fn same_value(got: &str, expected: &str) -> bool {
    if got == expected || matches!((got, expected), ("true", "1") | ("false", "0")) {
        return true;
    }
    let (Ok(a), Ok(b)) = (got.parse::<f64>(), expected.parse::<f64>()) else {
        return false;
    };
    if a.is_nan() && b.is_nan() {
        return true;
    }
    let digits = expected.split_once('.').map_or(0, |(_, digits)| digits.len());
    let written = if digits == 0 { 0.0 } else { 0.51 * 0.1_f64.powi(digits as i32) };
    (a - b).abs() <= written.max(1e-9 * b.abs())
}

fn differ(got: &[String], expected: &[String]) -> String {
    format!("got\n    {}\nexpected\n    {}", got.join("\n    "), expected.join("\n    "))
}
