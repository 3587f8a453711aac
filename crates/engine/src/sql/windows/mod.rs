//! Window functions in FROM, written as the plain SQL that they mean.
//!
//! The circuit and the batch engine see the same SQL, so they cannot disagree about a window.

mod size;

use std::ops::ControlFlow;

use datafusion::logical_expr::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Query, SetExpr, Statement, TableAlias, TableFactor,
    VisitMut, VisitorMut,
};
use datafusion::logical_expr::sqlparser::dialect::GenericDialect;
use datafusion::logical_expr::sqlparser::parser::Parser;

use crate::functions::session::Bound;
use size::Size;

/// In how many windows a row can be: each is a row of the result.
const WINDOWS_OF_A_ROW_MAX: i64 = 10_000;

/// Replaces every window function in FROM by a subquery that adds `window_start` and `window_end`.
///
/// # Errors
/// A sentence about the call that is wrong.
pub(super) fn expand(statement: &mut Statement) -> Result<(), String> {
    match statement.visit(&mut Expand) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(wrong) => Err(wrong),
    }
}

struct Expand;

impl VisitorMut for Expand {
    type Break = String;

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<String> {
        let TableFactor::Table { name, alias, args: Some(args), .. } = factor else {
            return ControlFlow::Continue(());
        };
        let (args, alias) = (args.args.as_slice(), alias.as_ref());
        let expanded = match name.to_string().to_lowercase().as_str() {
            "tumble" => Call::new(&TUMBLE, args, alias).and_then(|call| tumble(&call)),
            "hop" => Call::new(&HOP, args, alias).and_then(|call| hop(&call)),
            "session" => Call::new(&SESSION, args, alias).and_then(|call| session(&call)),
            _ => return ControlFlow::Continue(()),
        };
        match expanded {
            Ok(subquery) => {
                *factor = subquery;
                ControlFlow::Continue(())
            }
            Err(wrong) => ControlFlow::Break(wrong),
        }
    }
}

/// How a function is called.
struct Usage {
    text: &'static str,
    /// The least and the most arguments.
    arguments: [usize; 2],
}

const TUMBLE: Usage = Usage {
    text: "`tumble` is called as tumble(table, timestamp column, size), \
           for example tumble(bids, at, INTERVAL '5 minutes')",
    arguments: [3, 3],
};
const HOP: Usage = Usage {
    text: "`hop` is called as hop(table, timestamp column, slide, size), \
           for example hop(bids, at, INTERVAL '1 minute', INTERVAL '5 minutes')",
    arguments: [4, 4],
};
const SESSION: Usage = Usage {
    text: "`session` is called as session(table, timestamp column, gap, key columns if any), \
           for example session(clicks, at, INTERVAL '30 minutes', visitor)",
    arguments: [3, usize::MAX],
};

/// A call of a window function: a table, its column of time, and what else there is.
struct Call<'a> {
    usage: &'static str,
    table: &'a Expr,
    time: &'a Expr,
    rest: Vec<&'a Expr>,
    /// The name of the result.
    name: String,
}

impl<'a> Call<'a> {
    fn new(
        usage: &Usage,
        args: &'a [FunctionArg],
        alias: Option<&TableAlias>,
    ) -> Result<Self, String> {
        let [least, most] = usage.arguments;
        let usage = usage.text;
        let unnamed: Option<Vec<&Expr>> = args.iter().map(unnamed).collect();
        let args = unnamed.filter(|args| (least..=most).contains(&args.len()));
        let args = args.ok_or(usage)?;
        let (table, time, rest) = (args[0], args[1], args[2..].to_vec());
        if !matches!(table, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
            return Err(format!("{usage}; `{table}` is not the name of a table"));
        }
        let name = match alias {
            Some(alias) => alias.to_string().trim_start_matches("AS ").to_owned(),
            None => table.to_string(),
        };
        Ok(Self { usage, table, time, rest, name })
    }

    /// The name without the table's, so that it means the same in an outer query.
    fn column(&self, of: &Expr) -> Result<String, String> {
        match of {
            Expr::Identifier(name) => Ok(name.to_string()),
            Expr::CompoundIdentifier(parts) if !parts.is_empty() => {
                Ok(parts[parts.len() - 1].to_string())
            }
            other => Err(format!("{}; `{other}` is not the name of a column", self.usage)),
        }
    }

    /// The argument `number` behind the column, called `what`.
    fn size(&self, number: usize, what: &str) -> Result<Size, String> {
        let size = self.rest[number];
        let parsed =
            Size::parse(size).ok_or_else(|| format!("{}; `{size}` is not a {what}", self.usage))?;
        if !parsed.is_positive() {
            return Err(format!("{}; the {what} `{size}` is not above zero", self.usage));
        }
        Ok(parsed)
    }

    /// The same, of a length that does not depend on the month.
    fn fixed_size(&self, number: usize, what: &str) -> Result<i64, String> {
        self.size(number, what)?.nanos().ok_or_else(|| {
            let size = self.rest[number];
            format!("{}; the {what} `{size}` has months, which differ in length", self.usage)
        })
    }
}

fn unnamed(arg: &FunctionArg) -> Option<&Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

fn tumble(call: &Call<'_>) -> Result<TableFactor, String> {
    let size = call.size(0, "size")?.to_string();
    let Call { table, time, name, .. } = call;
    subquery(&format!(
        "(SELECT *, date_bin({size}, {time}) AS window_start, \
         date_bin({size}, {time}) + {size} AS window_end \
         FROM {table} WHERE {time} IS NOT NULL) AS {name}"
    ))
}

/// Windows that begin at every multiple of the slide.
///
/// A row's time matters only as the pane that it is in: the largest span that no window begins or
/// ends within. So aggregates can be computed per pane first.
fn hop(call: &Call<'_>) -> Result<TableFactor, String> {
    let (slide, size) = (call.fixed_size(0, "slide")?, call.fixed_size(1, "size")?);
    let windows = size.unsigned_abs().div_ceil(slide.unsigned_abs()).cast_signed();
    if windows > WINDOWS_OF_A_ROW_MAX {
        return Err(format!(
            "{}; with the slide `{}` and the size `{}` a row would be in {windows} windows, \
             and {WINDOWS_OF_A_ROW_MAX} are the most",
            call.usage, call.rest[0], call.rest[1]
        ));
    }
    let starts: Vec<String> = (0..windows).map(|n| Size::of_nanos(n * slide).to_string()).collect();
    let starts = starts.join(", ");
    let pane = Size::of_nanos(greatest_common_divisor(slide, size));
    let (is_multiple, slide, size) =
        (size % slide == 0, Size::of_nanos(slide), Size::of_nanos(size));
    let Call { table, name, .. } = call;
    let column = call.column(call.time)?;
    // The first of the windows that a row could be in may have ended before the row.
    let only = match is_multiple {
        true => String::new(),
        false => format!(" WHERE window_start + {size} > date_bin({pane}, {column})"),
    };
    subquery(&format!(
        "(SELECT *, window_start + {size} AS window_end FROM \
         (SELECT *, date_bin({slide}, {column}) - unnest([{starts}]) AS window_start \
         FROM {table} WHERE {column} IS NOT NULL){only}) AS {name}"
    ))
}

fn greatest_common_divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Windows that hold the rows of a key which follow each other by less than the gap.
///
/// A row exactly a gap after the last one is outside: at that moment the window has ended, and
/// `emit: final` may have shown it.
fn session(call: &Call<'_>) -> Result<TableFactor, String> {
    let gap = Size::of_nanos(call.fixed_size(0, "gap")?);
    let keys: Vec<String> = call.rest[1..].iter().map(|key| key.to_string()).collect();
    let of_key = match keys.as_slice() {
        [] => String::new(),
        keys => format!("PARTITION BY {} ", keys.join(", ")),
    };
    let Call { table, time, name, .. } = call;
    let bound = |bound: Bound| {
        format!("{}({time}, {gap}) OVER ({of_key}ORDER BY {time})", bound.function())
    };
    subquery(&format!(
        "(SELECT *, {} AS window_start, {} AS window_end \
         FROM {table} WHERE {time} IS NOT NULL) AS {name}",
        bound(Bound::Start),
        bound(Bound::End),
    ))
}

/// The table factor that `text` is: a subquery in brackets with its alias.
pub(super) fn subquery(text: &str) -> Result<TableFactor, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("cannot be written as plain SQL: {error}");
    let sql = format!("SELECT * FROM {text}");
    let mut parsed = Parser::parse_sql(&GenericDialect {}, &sql).map_err(|error| wrong(&error))?;
    let Some(Statement::Query(query)) = parsed.pop() else {
        return Err(wrong(&"not a query"));
    };
    let Query { body, .. } = *query;
    let SetExpr::Select(mut select) = *body else {
        return Err(wrong(&"not a SELECT"));
    };
    select.from.pop().map(|from| from.relation).ok_or_else(|| wrong(&"no FROM"))
}

#[cfg(test)]
mod tests;
