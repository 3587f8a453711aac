//! Rows of a result in the forms that commands print them in.

use std::io::{BufWriter, Write};

use serde::Deserialize;
use serde_json::Value;

use super::table::{Table, cell};
use crate::cli::RowFormat;

/// Rows of JSON values, as the API gives them.
#[derive(Debug, Deserialize)]
pub(super) struct Rows {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) sql_type: String,
}

impl Column {
    pub(super) fn new(name: impl Into<String>, sql_type: impl Into<String>) -> Self {
        Self { name: name.into(), sql_type: sql_type.into() }
    }
}

impl Rows {
    /// Prints all rows to standard output; a reader that has gone (`| head`) ends the program
    /// quietly.
    pub(super) fn print(&self, format: RowFormat) {
        let mut out = BufWriter::new(std::io::stdout().lock());
        let written = match format {
            RowFormat::Table => self.write_table(&mut out),
            RowFormat::Json => self.write_json(&mut out),
            RowFormat::Csv => self.write_csv(&mut out),
        };
        if written.and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    }

    fn write_table(&self, out: &mut impl Write) -> std::io::Result<()> {
        let mut table = Table::new(self.columns.iter().map(|c| (&*c.name, &*c.sql_type)));
        for row in &self.rows {
            table.row(row.iter().map(cell));
        }
        table.lines().iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    /// An object a line, columns in order.
    fn write_json(&self, out: &mut impl Write) -> std::io::Result<()> {
        let names: Vec<String> =
            self.columns.iter().map(|column| Value::from(&*column.name).to_string()).collect();
        for row in &self.rows {
            let fields = names.iter().zip(row).map(|(name, value)| format!("{name}:{value}"));
            writeln!(out, "{{{}}}", fields.collect::<Vec<_>>().join(","))?;
        }
        Ok(())
    }

    /// As file sinks write it: quoted as RFC 4180 has it, a line feed after each record, NULL an
    /// empty field and the empty text `""`.
    fn write_csv(&self, out: &mut impl Write) -> std::io::Result<()> {
        let names: Vec<String> = self.columns.iter().map(|column| quoted(&column.name)).collect();
        writeln!(out, "{}", names.join(","))?;
        for row in &self.rows {
            let fields: Vec<String> = row.iter().map(csv_field).collect();
            // An empty line is no record to most readers.
            let line = if fields == [""] { "\"\"".to_owned() } else { fields.join(",") };
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

fn csv_field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => quoted(text),
        other => quoted(&other.to_string()),
    }
}

fn quoted(text: &str) -> String {
    let is_padded = text.starts_with(' ') || text.ends_with(' ');
    if text.is_empty() || is_padded || text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn rows() -> Rows {
        serde_json::from_value(json!({
            "columns": [{"name": "name", "type": "TEXT"}, {"name": "mean", "type": "DOUBLE"}],
            "rows": [["a \"b\", c", 15.0], ["", null], [null, 0.1]],
        }))
        .unwrap()
    }

    #[test]
    fn json_keeps_the_order_of_columns() {
        let mut out = Vec::new();
        rows().write_json(&mut out).unwrap();
        let expect = "{\"name\":\"a \\\"b\\\", c\",\"mean\":15.0}\n\
                      {\"name\":\"\",\"mean\":null}\n\
                      {\"name\":null,\"mean\":0.1}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    #[test]
    fn csv_tells_null_and_empty_apart() {
        let mut out = Vec::new();
        rows().write_csv(&mut out).unwrap();
        let expect = "name,mean\n\"a \"\"b\"\", c\",15.0\n\"\",\n,0.1\n";
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    #[test]
    fn a_lone_null_is_a_record_all_the_same() {
        let rows =
            Rows { columns: vec![Column::new("n", "BIGINT")], rows: vec![vec![Value::Null]] };
        let mut out = Vec::new();
        rows.write_csv(&mut out).unwrap();
        assert_eq!(out, b"n\n\"\"\n");
    }
}
