//! `tumble(t, ts, size)` in FROM, written as the plain SQL that it means.

use std::ops::ControlFlow;

use datafusion::logical_expr::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Query, SetExpr, Statement, TableAlias, TableFactor, Value,
    VisitMut, VisitorMut,
};
use datafusion::logical_expr::sqlparser::dialect::GenericDialect;
use datafusion::logical_expr::sqlparser::parser::Parser;

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
        let function = name.to_string().to_lowercase();
        let expanded = match function.as_str() {
            "tumble" => tumble(&args.args, alias.as_ref()),
            "hop" | "session" => Err(format!("`{function}` windows are not supported yet")),
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

fn tumble(args: &[FunctionArg], alias: Option<&TableAlias>) -> Result<TableFactor, String> {
    let usage = "`tumble` is called as tumble(table, timestamp column, size), \
                 for example tumble(bids, at, INTERVAL '5 minutes')";
    let args: Vec<&Expr> = args.iter().filter_map(unnamed).collect();
    let [table, column, size] = args.as_slice() else {
        return Err(usage.to_owned());
    };
    if !matches!(table, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
        return Err(format!("{usage}; `{table}` is not the name of a table"));
    }
    let size = interval(size).ok_or_else(|| format!("{usage}; `{size}` is not a size"))?;
    let name = match alias {
        Some(alias) => alias.to_string().trim_start_matches("AS ").to_owned(),
        None => table.to_string(),
    };
    subquery(&format!(
        "(SELECT *, date_bin({size}, {column}) AS window_start, \
         date_bin({size}, {column}) + {size} AS window_end \
         FROM {table} WHERE {column} IS NOT NULL) AS {name}"
    ))
}

fn unnamed(arg: &FunctionArg) -> Option<&Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

/// A size as an interval: an INTERVAL as it stands, or text such as '10m' as one.
fn interval(size: &Expr) -> Option<String> {
    match size {
        Expr::Interval(_) => Some(size.to_string()),
        Expr::Value(value) => {
            let Value::SingleQuotedString(text) = &value.value else { return None };
            if let Ok(duration) = text.parse::<syncline_change::units::Duration>() {
                return Some(format!("INTERVAL '{} microseconds'", duration.as_micros()));
            }
            Some(format!("INTERVAL '{text}'"))
        }
        _ => None,
    }
}

/// The table factor that `text` is: a subquery in brackets with its alias.
fn subquery(text: &str) -> Result<TableFactor, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("cannot expand a window: {error}");
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
