//! Random calls of aggregate and window functions.
//!
//! Left out are RANGE frames with a distance, which overflow at the edges of the types. `count` of several distinct values DataFusion can only plan with a GROUP BY.

use super::expressions::{Expression, expression, of_kind, predicate};
use super::tables::{BIGINT, Column, DOUBLE, Kind};
use crate::random::Random;

fn is_number(kind: Kind) -> bool {
    matches!(kind, Kind::Int { .. } | Kind::Float { .. } | Kind::Decimal { .. })
}

fn summed(kind: Kind) -> Kind {
    match kind {
        Kind::Int { signed: false, .. } => Kind::Int { bits: 64, signed: false },
        Kind::Int { .. } => BIGINT,
        Kind::Float { .. } => DOUBLE,
        // Wider than what expressions count on; handed on as it is.
        _ => Kind::Other,
    }
}

fn averaged(kind: Kind) -> Kind {
    if matches!(kind, Kind::Decimal { .. }) { Kind::Other } else { DOUBLE }
}

/// Which aggregates a query may call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Those that have an accumulator of their own.
    Common,
    All,
}

/// An aggregate over `columns`.
pub(super) fn aggregate(random: &mut Random, columns: &[Column], choice: Choice) -> Expression {
    let argument = expression(random, columns, 1);
    let number = of_kind(random, columns, is_number);
    let distinct = if random.chance(15) { "DISTINCT " } else { "" };
    let (call, kind) = match (random.below(8), number) {
        (0, _) => ("count(*)".to_owned(), BIGINT),
        (1, _) => (format!("count({distinct}{})", argument.sql), BIGINT),
        (2 | 3, Some(n)) => (format!("sum({distinct}{})", n.sql), summed(n.kind)),
        (4, Some(n)) => (format!("avg({distinct}{})", n.sql), averaged(n.kind)),
        (5, _) if is_ordered(argument.kind) => (format!("min({})", argument.sql), argument.kind),
        (6, _) if is_ordered(argument.kind) => (format!("max({})", argument.sql), argument.kind),
        _ if choice == Choice::All => return rare(random, columns, &argument),
        _ => ("count(*)".to_owned(), BIGINT),
    };
    let call = match random.chance(20) {
        true => format!("{call} FILTER (WHERE {})", predicate(random, columns, 1)),
        false => call,
    };
    Expression { sql: call, kind }
}

fn is_ordered(kind: Kind) -> bool {
    !matches!(kind, Kind::Other | Kind::Bool)
}

fn rare(random: &mut Random, columns: &[Column], argument: &Expression) -> Expression {
    let order = expression(random, columns, 1).sql;
    let number = of_kind(random, columns, is_number);
    let integer = of_kind(random, columns, |kind| matches!(kind, Kind::Int { .. }));
    let text = of_kind(random, columns, |kind| kind == Kind::Text);
    let truth = of_kind(random, columns, |kind| kind == Kind::Bool);
    let (sql, kind) = (&argument.sql, argument.kind);
    let (call, kind) = match random.below(11) {
        0 => (format!("array_agg({sql})"), Kind::Other),
        1 => (format!("array_agg({sql} ORDER BY {order} DESC)"), Kind::Other),
        2 => (format!("first_value({sql} ORDER BY {order})"), kind),
        3 => (format!("last_value({sql} ORDER BY {order} DESC NULLS LAST)"), kind),
        4 => (format!("nth_value({sql}, 2 ORDER BY {order})"), kind),
        5 if text.is_some() => {
            let text = text.map(|text| text.sql).unwrap_or_default();
            (format!("string_agg({text}, ',' ORDER BY {order})"), Kind::Text)
        }
        6 if truth.is_some() => {
            let function = *random.pick(&["bool_and", "bool_or"]);
            (format!("{function}({})", truth.map(|t| t.sql).unwrap_or_default()), Kind::Bool)
        }
        7 if integer.is_some() => {
            let function = *random.pick(&["bit_and", "bit_or", "bit_xor"]);
            let (sql, kind) = integer.map_or((String::new(), BIGINT), |i| (i.sql, i.kind));
            (format!("{function}({sql})"), kind)
        }
        8 => (format!("count(DISTINCT {sql})"), BIGINT),
        9 if number.is_some() => {
            let (sql, kind) = number.map_or((String::new(), BIGINT), |n| (n.sql, n.kind));
            let is_int = matches!(kind, Kind::Int { .. });
            (format!("median({sql})"), if is_int { DOUBLE } else { kind })
        }
        10 if number.is_some() => {
            let function = *random.pick(&["stddev", "var_pop", "var_samp", "stddev_pop"]);
            let sql = number.map(|number| number.sql).unwrap_or_default();
            (format!("{function}({sql})"), DOUBLE)
        }
        _ => (format!("array_agg(DISTINCT {sql})"), Kind::Other),
    };
    Expression { sql: call, kind }
}

/// Calls of window functions over `columns`, some of them over the same rows in the same order.
pub(super) fn windows(random: &mut Random, columns: &[Column]) -> Vec<Expression> {
    let shared = random.chance(50).then(|| partition_and_order(random, columns));
    let calls = (0..=random.below(3)).map(|_| {
        let shared = shared.as_ref().filter(|_| random.chance(70)).cloned();
        window(random, columns, shared)
    });
    calls.collect()
}

/// A call of a window function over `columns`.
fn window(random: &mut Random, columns: &[Column], shared: Option<(String, String)>) -> Expression {
    let argument = expression(random, columns, 1);
    let number = of_kind(random, columns, is_number);
    let (sql, kind) = (&argument.sql, argument.kind);
    let number_kind = Kind::Int { bits: 64, signed: false };
    let order_text = random.pick(columns).name.clone();
    let (call, kind, may_have_frame) = match (random.below(22), number) {
        (0, _) => ("row_number()".to_owned(), number_kind, false),
        (1, _) => ("rank()".to_owned(), number_kind, false),
        (2, _) => ("dense_rank()".to_owned(), number_kind, false),
        (3, _) => ("percent_rank()".to_owned(), DOUBLE, false),
        (4, _) => ("cume_dist()".to_owned(), DOUBLE, false),
        (5, _) => ("ntile(3)".to_owned(), number_kind, false),
        (6, _) => (format!("lag({sql})"), kind, false),
        (7, _) => (format!("lead({sql}, 2)"), kind, false),
        (8, _) => (format!("first_value({sql})"), kind, true),
        (9, _) => (format!("last_value({sql})"), kind, true),
        (13, _) => (format!("nth_value({sql}, 2)"), kind, true),
        (14, _) => (format!("array_agg({sql})"), Kind::Other, true),
        (15, _) => (format!("last_value({sql}) IGNORE NULLS"), kind, true),
        (16, _) => (format!("string_agg(CAST({order_text} AS TEXT), '+')"), Kind::Text, true),
        (10, Some(n)) => (format!("sum({})", n.sql), summed(n.kind), true),
        (11, Some(n)) => (format!("avg({})", n.sql), averaged(n.kind), true),
        (12, _) if is_ordered(kind) => {
            (format!("{}({sql})", random.pick(&["min", "max"])), kind, true)
        }
        (18 | 19, _) if random.chance(70) => {
            let Expression { sql, kind } = aggregate(random, columns, Choice::Common);
            // DataFusion has no DISTINCT over frames for most.
            (sql.replace("DISTINCT ", ""), kind, true)
        }
        (20, Some(n)) => {
            let function = random.pick(&["stddev", "var_pop", "median"]);
            let is_int = matches!(n.kind, Kind::Int { .. });
            let kind = if *function == "median" && !is_int { n.kind } else { DOUBLE };
            (format!("{function}({})", n.sql), kind, true)
        }
        _ => (format!("count({sql})"), BIGINT, true),
    };
    let (partition, order) = shared.unwrap_or_else(|| partition_and_order(random, columns));
    let frame = match may_have_frame && !order.is_empty() && random.chance(50) {
        true => frame(random),
        false => String::new(),
    };
    Expression { sql: format!("{call} OVER ({partition}{order}{frame})"), kind }
}

/// What a window is of, PARTITION BY and ORDER BY, either of which may be missing.
fn partition_and_order(random: &mut Random, columns: &[Column]) -> (String, String) {
    let mut partition = String::new();
    if random.chance(70) {
        partition = format!("PARTITION BY {}", expression(random, columns, 1).sql);
        if random.chance(20) {
            partition = format!("{partition}, {}", random.pick(columns).name);
        }
    }
    let order = match random.chance(80) {
        true => format!(" ORDER BY {}", order(random, columns)),
        false => String::new(),
    };
    (partition, order)
}

fn frame(random: &mut Random) -> String {
    let frame = random.pick(&[
        "ROWS BETWEEN 1 PRECEDING AND CURRENT ROW",
        "ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING",
        "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
        "ROWS UNBOUNDED PRECEDING",
        "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
        "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
        "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
        "RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
        "GROUPS UNBOUNDED PRECEDING",
        "GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW",
        "GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
    ]);
    format!(" {frame}")
}

/// One or two terms to order by.
pub(super) fn order(random: &mut Random, columns: &[Column]) -> String {
    let terms = (0..=random.below(2)).map(|_| {
        let sql = expression(random, columns, 1).sql;
        let how = random.pick(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
        format!("{sql}{how}")
    });
    terms.collect::<Vec<_>>().join(", ")
}
