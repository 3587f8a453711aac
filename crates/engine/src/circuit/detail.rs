//! Expressions as people wrote them, from the way DataFusion prints them.

use datafusion::logical_expr::Expr;

/// The types whose names DataFusion puts around literals.
const LITERAL_TYPES: [&str; 16] = [
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "Float32",
    "Float64",
    "Boolean",
    "Utf8",
    "LargeUtf8",
    "Utf8View",
    "Date32",
    "IntervalMonthDayNano",
];

/// A filter and a projection, of which at least one is there.
pub(super) fn filtered(columns: Option<&[Expr]>, predicate: Option<&Expr>) -> String {
    match (predicate, columns) {
        (Some(predicate), Some(columns)) => format!("{} WHERE {}", list(columns), one(predicate)),
        (Some(predicate), None) => format!("WHERE {}", one(predicate)),
        (None, columns) => list(columns.unwrap_or_default()),
    }
}

/// Expressions with commas between them.
pub(super) fn list(exprs: &[Expr]) -> String {
    exprs.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// One expression; of names given on top of each other, the last.
pub(super) fn one(expr: &Expr) -> String {
    match expr {
        Expr::Alias(alias) => {
            let inner = plain(&alias.expr.as_ref().clone().unalias_nested().data.to_string());
            if inner == alias.name { inner } else { format!("{inner} AS {}", alias.name) }
        }
        other => plain(&other.to_string()),
    }
}

/// Takes the names of types away from literals: `Int64(5)` is 5, `Utf8("a")` is 'a'.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, literal, after)) = next_literal(rest) {
        out.push_str(before);
        out.push_str(&literal);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The text before the first literal, the literal as SQL has it, and the text behind it.
fn next_literal(text: &str) -> Option<(&str, String, &str)> {
    let starts = LITERAL_TYPES.iter().filter_map(|name| {
        let pattern = format!("{name}(");
        let at = text.match_indices(&pattern).map(|(at, _)| at).find(|&at| {
            let before = text[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })?;
        Some((at, at + pattern.len()))
    });
    let (start, inside) = starts.min()?;
    let body = &text[inside..];
    let (literal, length) = if let Some(quoted) = body.strip_prefix('"') {
        let end = quoted.find("\")")?;
        (text_literal(&quoted[..end]), end + 3)
    } else {
        let end = body.find(')')?;
        (body[..end].to_owned(), end + 1)
    };
    Some((&text[..start], literal, &body[length..]))
}

fn text_literal(inside: &str) -> String {
    let number = |name: &str| -> Option<i64> {
        let (_, rest) = inside.split_once(&format!("{name}: "))?;
        rest.split([',', ' ', '}']).next()?.parse().ok()
    };
    match (number("months"), number("days"), number("nanoseconds")) {
        (Some(months), Some(days), Some(nanos)) if inside.starts_with("IntervalMonthDayNano") => {
            interval(months, days, nanos)
        }
        _ => format!("'{inside}'"),
    }
}

fn interval(months: i64, days: i64, nanos: i64) -> String {
    const SECOND: i64 = 1_000_000_000;
    let (hours, minutes) = (nanos / (3_600 * SECOND), nanos / (60 * SECOND));
    let time = match nanos {
        0 => None,
        n if n % (3_600 * SECOND) == 0 => Some((hours, "hour")),
        n if n % (60 * SECOND) == 0 => Some((minutes, "minute")),
        n if n % SECOND == 0 => Some((n / SECOND, "second")),
        n => Some((n / 1_000, "microsecond")),
    };
    let parts =
        [(months != 0).then_some((months, "month")), (days != 0).then_some((days, "day")), time];
    let parts: Vec<String> = parts
        .into_iter()
        .flatten()
        .map(|(n, unit)| format!("{n} {unit}{}", if n == 1 { "" } else { "s" }))
        .collect();
    format!("INTERVAL '{}'", parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn literals_lose_their_types() {
        for (printed, expect) in [
            ("count(Int64(1))", "count(1)"),
            ("a = Utf8(\"x, y\") AND b > Float64(1.5)", "a = 'x, y' AND b > 1.5"),
            (
                "date_bin(IntervalMonthDayNano(\"IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 5400000000000 }\"), t)",
                "date_bin(INTERVAL '90 minutes', t)",
            ),
            ("myInt64(x) + Int64(NULL)", "myInt64(x) + NULL"),
            ("nothing here", "nothing here"),
            ("broken Utf8(\"no end", "broken Utf8(\"no end"),
        ] {
            assert_eq!(plain(printed), expect);
        }
    }
}
