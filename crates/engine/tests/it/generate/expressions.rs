//! Random expressions that can be computed for every row.
//!
//! An expression that fails for a row sets that row aside in the circuit, but fails the whole query
//! in the batch engine; so there are none here. Left out are division by columns, casts that may not
//! fit (TRY_CAST stands in), `abs` and the like of the smallest integers, and decimals that could
//! outgrow their precision.

use super::tables::{BIGINT, Column, DOUBLE, Kind};
use crate::random::Random;

/// A piece of SQL and what it is.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    pub(super) sql: String,
    pub(super) kind: Kind,
}

impl Expression {
    fn new(sql: String, kind: Kind) -> Self {
        Self { sql, kind }
    }
}

/// Any expression over `columns`, of which there is at least one.
pub(super) fn expression(random: &mut Random, columns: &[Column], depth: usize) -> Expression {
    let column = random.pick(columns);
    let start = Expression::new(column.name.clone(), column.kind);
    if depth == 0 || random.chance(35) {
        return start;
    }
    if random.chance(3) {
        return Expression::new("random()".to_owned(), DOUBLE);
    }
    let start = match random.chance(30) {
        true => expression(random, columns, depth - 1),
        false => start,
    };
    wrapped(random, columns, start, depth - 1)
}

/// An expression of a kind if there is a column of that kind.
pub(super) fn of_kind(
    random: &mut Random,
    columns: &[Column],
    wanted: impl Fn(Kind) -> bool,
) -> Option<Expression> {
    let fit: Vec<&Column> = columns.iter().filter(|column| wanted(column.kind)).collect();
    if fit.is_empty() {
        return None;
    }
    let column = *random.pick(&fit);
    Some(Expression::new(column.name.clone(), column.kind))
}

fn wrapped(random: &mut Random, columns: &[Column], inner: Expression, depth: usize) -> Expression {
    if random.chance(25) {
        return chosen(random, columns, inner, depth);
    }
    let sql = &inner.sql;
    match inner.kind {
        Kind::Int { signed, bits } if signed || bits < 64 => integer(random, columns, sql),
        Kind::Int { .. } => match random.below(2) {
            0 => Expression::new(format!("TRY_CAST({sql} AS BIGINT)"), BIGINT),
            _ => Expression::new(format!("CAST({sql} AS DOUBLE)"), DOUBLE),
        },
        Kind::Float { .. } => float(random, columns, sql),
        Kind::Decimal { precision } => decimal(random, sql, precision),
        Kind::Text => text(random, columns, sql),
        Kind::Bool => match random.below(3) {
            0 => Expression::new(format!("(NOT {sql})"), Kind::Bool),
            1 => Expression::new(format!("CAST({sql} AS BIGINT)"), BIGINT),
            _ => Expression::new(format!("({sql} IS TRUE)"), Kind::Bool),
        },
        Kind::Date => match random.below(2) {
            0 => Expression::new(format!("CAST(date_part('day', {sql}) AS BIGINT)"), BIGINT),
            _ => Expression::new(format!("CAST({sql} AS TEXT)"), Kind::Text),
        },
        Kind::Time => match random.below(4) {
            0 => Expression::new(format!("date_trunc('minute', {sql})"), Kind::Time),
            1 => Expression::new(format!("({sql} + INTERVAL '25 seconds')"), Kind::Time),
            2 => Expression::new(format!("CAST({sql} AS DATE)"), Kind::Date),
            _ => Expression::new(format!("CAST(date_part('minute', {sql}) AS BIGINT)"), BIGINT),
        },
        Kind::Other => Expression::new(format!("({sql} IS NULL)"), Kind::Bool),
    }
}

/// CASE, coalesce and nullif: the kind stays.
fn chosen(random: &mut Random, columns: &[Column], inner: Expression, depth: usize) -> Expression {
    let Expression { sql, kind } = inner;
    let other = of_kind(random, columns, |other| other == kind).map(|other| other.sql);
    let condition = predicate(random, columns, depth);
    let made = match (random.below(5), other.filter(|_| kind != Kind::Other)) {
        (0, Some(other)) => format!("CASE WHEN {condition} THEN {sql} ELSE {other} END"),
        (1, Some(other)) => format!("coalesce({sql}, {other})"),
        (2, Some(other)) => format!("nullif({sql}, {other})"),
        (3, Some(other)) => format!("greatest({sql}, {other})"),
        _ => format!("CASE WHEN {condition} THEN {sql} END"),
    };
    Expression::new(made, kind)
}

fn integer(random: &mut Random, columns: &[Column], sql: &str) -> Expression {
    let wide = format!("CAST({sql} AS BIGINT)");
    let is_safe = |kind| matches!(kind, Kind::Int { signed, bits } if signed || bits < 64);
    let other = of_kind(random, columns, is_safe).map_or("2".to_owned(), |other| other.sql);
    let made = match random.below(9) {
        0 => format!("({wide} + CAST({other} AS BIGINT))"),
        1 => format!("({wide} - CAST({other} AS BIGINT))"),
        2 => format!("({wide} * CAST({other} AS BIGINT))"),
        3 => format!("({wide} % 3)"),
        4 => format!("({wide} / 2)"),
        5 => format!("(- {wide})"),
        6 => return Expression::new(format!("CAST({sql} AS DOUBLE)"), DOUBLE),
        7 => return Expression::new(format!("CAST({sql} AS TEXT)"), Kind::Text),
        _ => {
            let small = format!("CAST({wide} % 1000 AS DECIMAL(10, 2))");
            return Expression::new(small, Kind::Decimal { precision: 10 });
        }
    };
    Expression::new(made, BIGINT)
}

fn float(random: &mut Random, columns: &[Column], sql: &str) -> Expression {
    let is_float = |kind| matches!(kind, Kind::Float { .. });
    let other = of_kind(random, columns, is_float).map_or("0.5".to_owned(), |other| other.sql);
    let wide = format!("CAST({sql} AS DOUBLE)");
    let made = match random.below(10) {
        0 => format!("({wide} + {other})"),
        1 => format!("({wide} - {other})"),
        2 => format!("({wide} * {other})"),
        3 => format!("({wide} / {other})"),
        4 => format!("(- {wide})"),
        5 => format!("({wide} % {other})"),
        6 => format!("{}({wide})", random.pick(&["asin", "acos", "ln", "sin"])),
        7 => format!("{}({wide})", random.pick(&["floor", "ceil", "trunc"])),
        8 => return Expression::new(format!("isnan({wide})"), Kind::Bool),
        _ => return Expression::new(format!("TRY_CAST({sql} AS BIGINT)"), BIGINT),
    };
    Expression::new(made, DOUBLE)
}

fn decimal(random: &mut Random, sql: &str, precision: u8) -> Expression {
    match random.below(4) {
        0 => Expression::new(format!("CAST({sql} AS DOUBLE)"), DOUBLE),
        1 => Expression::new(format!("CAST({sql} AS TEXT)"), Kind::Text),
        2 if precision < 30 => Expression::new(
            format!("CAST({sql} * 3 AS DECIMAL(30, 2))"),
            Kind::Decimal { precision: 30 },
        ),
        _ => Expression::new(format!("(- {sql})"), Kind::Decimal { precision }),
    }
}

fn text(random: &mut Random, columns: &[Column], sql: &str) -> Expression {
    let other = of_kind(random, columns, |kind| kind == Kind::Text);
    let other = other.map_or("'a'".to_owned(), |other| other.sql);
    let made = match random.below(6) {
        0 => format!("({sql} || {other})"),
        1 => format!("upper({sql})"),
        2 => format!("substr({sql}, 1, 1)"),
        3 => return Expression::new(format!("CAST(length({sql}) AS BIGINT)"), BIGINT),
        4 => return Expression::new(format!("TRY_CAST({sql} AS BIGINT)"), BIGINT),
        _ => return Expression::new(format!("TRY_CAST({sql} AS DOUBLE)"), DOUBLE),
    };
    Expression::new(made, Kind::Text)
}

/// A condition over `columns`.
pub(super) fn predicate(random: &mut Random, columns: &[Column], depth: usize) -> String {
    if depth > 0 && random.chance(30) {
        let (a, b) = (predicate(random, columns, depth - 1), predicate(random, columns, depth - 1));
        return match random.below(3) {
            0 => format!("({a} AND {b})"),
            1 => format!("({a} OR {b})"),
            _ => format!("(NOT {a} OR {b})"),
        };
    }
    let left = expression(random, columns, depth.min(1));
    let sql = &left.sql;
    if left.kind == Kind::Other || random.chance(15) {
        let negated = if random.chance(50) { " NOT" } else { "" };
        return format!("({sql} IS{negated} NULL)");
    }
    let other = of_kind(random, columns, |kind| kind == left.kind);
    let other = match other {
        Some(other) if random.chance(50) => other.sql,
        _ => literal(random, left.kind),
    };
    match (random.below(12), left.kind) {
        (_, Kind::Bool) if random.chance(60) => left.sql,
        (0, Kind::Text) => format!("({sql} LIKE '%a%')"),
        (1, _) => format!("({sql} IS DISTINCT FROM {other})"),
        (2, _) => {
            let (a, b) = (literal(random, left.kind), literal(random, left.kind));
            format!("({sql} IN ({a}, {b}, {other}))")
        }
        (3, _) => format!("({sql} NOT BETWEEN {} AND {other})", literal(random, left.kind)),
        (n, _) => {
            let comparison = ["=", "<>", "<", "<=", ">", ">="][n % 6];
            format!("({sql} {comparison} {other})")
        }
    }
}

pub(super) fn literal(random: &mut Random, kind: Kind) -> String {
    match kind {
        Kind::Int { signed: true, .. } => random.between(-3, 4).to_string(),
        Kind::Int { .. } => random.between(0, 4).to_string(),
        Kind::Float { .. } => {
            (*random.pick(&["0.0", "0.5", "-1.25", "1e300", "CAST('NaN' AS DOUBLE)"])).to_owned()
        }
        Kind::Decimal { .. } => (*random.pick(&["0.25", "-0.50", "1.00", "2"])).to_owned(),
        Kind::Text => (*random.pick(&["'a'", "'b'", "''", "'7'"])).to_owned(),
        Kind::Bool => (*random.pick(&["true", "false"])).to_owned(),
        Kind::Date => "DATE '2026-01-02'".to_owned(),
        Kind::Time => "TIMESTAMP '2026-01-01 00:01:40.000004'".to_owned(),
        Kind::Other => "NULL".to_owned(),
    }
}
