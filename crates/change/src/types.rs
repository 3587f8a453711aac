//! Column types by their SQL names, as pipeline files, the lock and the page write them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};

use crate::{Error, Result};

/// The widest decimal that Syncline keeps (Arrow's Decimal128).
const DECIMAL_PRECISION_MAX: u8 = 38;

/// The Arrow type that a SQL type name stands for: `BIGINT`, `DECIMAL(10, 2)`, `TEXT[]`, ...
///
/// # Errors
/// `Config` with the names that are known.
pub fn parse(name: &str) -> Result<DataType> {
    let text = name.trim();
    if let Some(item) = text.strip_suffix("[]") {
        return Ok(DataType::List(Arc::new(Field::new_list_field(parse(item)?, true))));
    }
    let upper = text.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_uppercase();
    let (base, arguments) = split_arguments(&upper).ok_or_else(|| unknown(name))?;
    let number = |i: usize| arguments.get(i).copied();
    let parsed = match (base.as_str(), arguments.len()) {
        ("BOOLEAN" | "BOOL", 0) => DataType::Boolean,
        ("TINYINT", 0) => DataType::Int8,
        ("SMALLINT", 0) => DataType::Int16,
        ("INT" | "INTEGER", 0) => DataType::Int32,
        ("BIGINT", 0) => DataType::Int64,
        ("TINYINT UNSIGNED", 0) => DataType::UInt8,
        ("SMALLINT UNSIGNED", 0) => DataType::UInt16,
        ("INT UNSIGNED" | "INTEGER UNSIGNED", 0) => DataType::UInt32,
        ("BIGINT UNSIGNED", 0) => DataType::UInt64,
        ("REAL" | "FLOAT", 0) => DataType::Float32,
        ("DOUBLE" | "DOUBLE PRECISION", 0) => DataType::Float64,
        ("TEXT" | "STRING" | "VARCHAR" | "CHAR", 0) | ("VARCHAR" | "CHAR", 1) => DataType::Utf8,
        ("BYTEA" | "BINARY" | "VARBINARY" | "BLOB", 0) => DataType::Binary,
        ("DATE", 0) => DataType::Date32,
        ("TIME", 0) => DataType::Time64(TimeUnit::Microsecond),
        ("INTERVAL", 0) => DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano),
        ("DECIMAL" | "NUMERIC", 0..=2) => {
            let precision = number(0).unwrap_or(DECIMAL_PRECISION_MAX);
            let scale = number(1).unwrap_or(if arguments.is_empty() { 10 } else { 0 });
            if precision == 0 || precision > DECIMAL_PRECISION_MAX || scale > precision {
                return Err(Error::config(format!("`{name}` is not a possible decimal")).detail(
                    format!(
                        "the precision is 1 to {DECIMAL_PRECISION_MAX}, the scale at most that"
                    ),
                ));
            }
            DataType::Decimal128(precision, scale as i8)
        }
        ("TIMESTAMP" | "DATETIME" | "TIMESTAMP WITHOUT TIME ZONE", 0..=1) => {
            DataType::Timestamp(unit(number(0)).ok_or_else(|| unknown(name))?, None)
        }
        ("TIMESTAMPTZ" | "TIMESTAMP WITH TIME ZONE", 0..=1) => {
            DataType::Timestamp(unit(number(0)).ok_or_else(|| unknown(name))?, Some("UTC".into()))
        }
        _ => return Err(unknown(name)),
    };
    Ok(parsed)
}

/// The SQL name of an Arrow type; [`parse`] reads back every name of a type it can make.
pub fn name(of: &DataType) -> String {
    let plain = match of {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INT",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "TINYINT UNSIGNED",
        DataType::UInt16 => "SMALLINT UNSIGNED",
        DataType::UInt32 => "INT UNSIGNED",
        DataType::UInt64 => "BIGINT UNSIGNED",
        DataType::Float16 | DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "TEXT",
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "BYTEA",
        DataType::Date32 | DataType::Date64 => "DATE",
        DataType::Time32(_) | DataType::Time64(_) => "TIME",
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL",
        DataType::Decimal128(precision, scale) => return format!("DECIMAL({precision},{scale})"),
        DataType::Timestamp(unit, zone) => {
            let digits = match unit {
                TimeUnit::Second => "(0)",
                TimeUnit::Millisecond => "(3)",
                TimeUnit::Microsecond => "",
                TimeUnit::Nanosecond => "(9)",
            };
            let zone = if zone.is_some() { " WITH TIME ZONE" } else { "" };
            return format!("TIMESTAMP{digits}{zone}");
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
            return format!("{}[]", name(item.data_type()));
        }
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|f| format!("{} {}", f.name(), name(f.data_type())));
            return format!("STRUCT({})", fields.collect::<Vec<_>>().join(", "));
        }
        DataType::Null => "NULL",
        other => return other.to_string().to_uppercase(),
    };
    plain.to_owned()
}

/// `DECIMAL(10, 2)` into its name and numbers; what follows the closing bracket joins the name.
fn split_arguments(upper: &str) -> Option<(String, Vec<u8>)> {
    let Some((before, rest)) = upper.split_once('(') else {
        return Some((upper.to_owned(), Vec::new()));
    };
    let (inside, after) = rest.split_once(')')?;
    // A length such as VARCHAR(255) is read and means nothing, so it may be any number.
    let numbers = inside
        .split(',')
        .map(|n| n.trim().parse::<u32>().ok().map(|n| n.min(255) as u8))
        .collect::<Option<Vec<u8>>>()?;
    Some((format!("{}{}", before.trim(), after), numbers))
}

fn unit(digits: Option<u8>) -> Option<TimeUnit> {
    match digits {
        Some(0) => Some(TimeUnit::Second),
        Some(3) => Some(TimeUnit::Millisecond),
        None | Some(6) => Some(TimeUnit::Microsecond),
        Some(9) => Some(TimeUnit::Nanosecond),
        Some(_) => None,
    }
}

fn unknown(name: &str) -> Error {
    Error::config(format!("`{name}` is not a column type")).hint(
        "use BOOLEAN, TINYINT, SMALLINT, INT, BIGINT (each also UNSIGNED), REAL, DOUBLE, \
         DECIMAL(p,s), TEXT, BYTEA, DATE, TIME, TIMESTAMP, TIMESTAMP WITH TIME ZONE, or one of \
         them with [] behind it for a list",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_name_reads_back_as_its_type() {
        for text in [
            "BOOLEAN",
            "TINYINT",
            "SMALLINT",
            "INT",
            "BIGINT",
            "TINYINT UNSIGNED",
            "SMALLINT UNSIGNED",
            "INT UNSIGNED",
            "BIGINT UNSIGNED",
            "REAL",
            "DOUBLE",
            "TEXT",
            "BYTEA",
            "DATE",
            "TIME",
            "INTERVAL",
            "DECIMAL(10,2)",
            "TIMESTAMP",
            "TIMESTAMP(0)",
            "TIMESTAMP(3)",
            "TIMESTAMP(9)",
            "TIMESTAMP WITH TIME ZONE",
            "TIMESTAMP(3) WITH TIME ZONE",
            "TEXT[]",
            "BIGINT[][]",
        ] {
            assert_eq!(name(&parse(text).unwrap()), text);
        }
    }

    #[test]
    fn other_spellings() {
        for (text, canonical) in [
            ("varchar(255)", "TEXT"),
            (" double  precision ", "DOUBLE"),
            ("numeric(5)", "DECIMAL(5,0)"),
            ("timestamptz", "TIMESTAMP WITH TIME ZONE"),
            ("timestamp (3)", "TIMESTAMP(3)"),
        ] {
            assert_eq!(name(&parse(text).unwrap()), canonical);
        }
    }

    #[test]
    fn what_is_not_a_type_says_so() {
        for text in ["", "BIGNIT", "DECIMAL(99)", "DECIMAL(4,5)", "TIMESTAMP(4)", "TEXT(", "[]"] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Config, "{text}");
        }
    }
}
