//! `ASOF JOIN r MATCH_CONDITION (l.at >= r.at) ON l.k = r.k`, written as the plain SQL that it means.
//!
//! Every row of the left side is shown once, with the row of the right side that is closest among
//! those that match, or with NULLs. It becomes a LEFT JOIN in which every right row knows the time
//! of the next one, so that a left row matches one of them at most. Of right rows with equal keys
//! and times the first counts, by their other columns.

use std::ops::ControlFlow;

use datafusion::logical_expr::sqlparser::ast::{
    BinaryOperator, ExceptSelectItem, Expr, Ident, Join, JoinConstraint, JoinOperator, Select,
    SelectItem, SelectItemQualifiedWildcardKind, Statement, TableFactor, VisitMut, VisitorMut,
    WildcardAdditionalOptions, visit_expressions,
};
use datafusion::logical_expr::sqlparser::dialect::GenericDialect;
use datafusion::logical_expr::sqlparser::parser::Parser;

use super::windows::subquery;

const USAGE: &str = "an ASOF JOIN is written as \
                     l ASOF JOIN r MATCH_CONDITION (l.at >= r.at) ON l.k = r.k";

/// Replaces every ASOF JOIN.
///
/// # Errors
/// A sentence about the join that is wrong.
pub(super) fn expand(statement: &mut Statement) -> Result<(), String> {
    match statement.visit(&mut Expand) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(wrong) => Err(format!("{USAGE}; {wrong}")),
    }
}

struct Expand;

impl VisitorMut for Expand {
    type Break = String;

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<String> {
        let mut helpers = Vec::new();
        for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
            match expand_join(join) {
                Ok(helper) => helpers.extend(helper),
                Err(wrong) => return ControlFlow::Break(wrong),
            }
        }
        if !helpers.is_empty() {
            select.projection.iter_mut().for_each(|item| hide(item, &helpers));
        }
        ControlFlow::Continue(())
    }
}

/// A column of the right side that is not to be seen.
struct Helper {
    relation: Ident,
    column: Ident,
}

fn expand_join(join: &mut Join) -> Result<Option<Helper>, String> {
    let JoinOperator::AsOf { match_condition, constraint } = &join.join_operator else {
        return Ok(None);
    };
    let right = name_of(&join.relation).ok_or("the right side needs a name")?;
    let found = Match::of(match_condition, &right)?;
    let operator = found.order()?;
    let (left_time, time) = (found.left, found.column);
    let keys = keys(constraint, &right)?;
    let names: Vec<String> = keys.iter().map(|(_, key)| key.to_string()).collect();
    let of_key = match names.as_slice() {
        [] => String::new(),
        names => format!("PARTITION BY {} ", names.join(", ")),
    };
    // The next one is further on from where the left row looks.
    let direction = if operator.starts_with('>') { "ASC" } else { "DESC" };
    let next = Ident::with_quote('"', format!("(next of {})", right.value));
    let of_time = [names, vec![time.to_string()]].concat().join(", ");
    let relation = subquery(&format!(
        "(SELECT * EXCEPT (\"(place)\"), lead({time}) OVER ({of_key}ORDER BY {time} {direction}) \
         AS {next} FROM (SELECT *, row_number() OVER (PARTITION BY {of_time}) AS \"(place)\" \
         FROM {} WHERE {time} IS NOT NULL) WHERE \"(place)\" = 1) AS {right}",
        join.relation
    ))?;
    let mut condition = format!(
        "{left_time} {operator} {right}.{time} AND \
         ({right}.{next} IS NULL OR NOT ({left_time} {operator} {right}.{next}))"
    );
    for (left, key) in &keys {
        condition = format!("{left} = {right}.{key} AND {condition}");
    }
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(&condition);
    let condition = parsed.and_then(|mut parser| parser.parse_expr());
    let condition = condition.map_err(|error| error.to_string())?;
    join.relation = relation;
    join.join_operator = JoinOperator::LeftOuter(JoinConstraint::On(condition));
    Ok(Some(Helper { relation: right, column: next }))
}

/// The name by which a query knows the columns of `relation`.
fn name_of(relation: &TableFactor) -> Option<Ident> {
    match relation {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. } => Some(alias.name.clone()),
        TableFactor::Table { name, .. } => name.0.last()?.as_ident().cloned(),
        _ => None,
    }
}

/// A comparison of something of the left side with a column of the right.
struct Match<'a> {
    left: &'a Expr,
    operator: &'a BinaryOperator,
    column: Ident,
    is_swapped: bool,
}

impl<'a> Match<'a> {
    fn of(condition: &'a Expr, right: &Ident) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{condition}` does not compare something of the left side with a column of \
                 `{right}`, written as `{right}.column`"
            )
        };
        let Expr::BinaryOp { left: a, op: operator, right: b } = condition else {
            return Err(wrong());
        };
        let (left, column, is_swapped) = match (column_of(b, right), column_of(a, right)) {
            (Some(column), None) => (a, column, false),
            (None, Some(column)) => (b, column, true),
            _ => return Err(wrong()),
        };
        if mentions(left, right) {
            return Err(wrong());
        }
        Ok(Self { left, operator, column, is_swapped })
    }

    /// The operator, which is to be one of order, with the left side before it.
    fn order(&self) -> Result<&'static str, String> {
        match (self.operator, self.is_swapped) {
            (BinaryOperator::GtEq, false) | (BinaryOperator::LtEq, true) => Ok(">="),
            (BinaryOperator::Gt, false) | (BinaryOperator::Lt, true) => Ok(">"),
            (BinaryOperator::LtEq, false) | (BinaryOperator::GtEq, true) => Ok("<="),
            (BinaryOperator::Lt, false) | (BinaryOperator::Gt, true) => Ok("<"),
            (other, _) => Err(format!("`{other}` is none of >=, >, <= and <")),
        }
    }
}

/// The pairs of what must be equal: something of the left side, a column of the right.
fn keys(constraint: &JoinConstraint, right: &Ident) -> Result<Vec<(String, Ident)>, String> {
    let mut open = match constraint {
        JoinConstraint::On(condition) => vec![condition],
        JoinConstraint::None => vec![],
        _ => return Err("its keys are compared in ON, not in USING".to_owned()),
    };
    let mut keys = Vec::new();
    while let Some(condition) = open.pop() {
        match condition {
            Expr::Nested(inner) => open.push(inner),
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                open.extend([right.as_ref(), left.as_ref()]);
            }
            Expr::BinaryOp { op: BinaryOperator::Eq, .. } => {
                let equal = Match::of(condition, right)?;
                keys.push((equal.left.to_string(), equal.column));
            }
            other => return Err(format!("`{other}` in ON does not ask for equality")),
        }
    }
    Ok(keys)
}

/// The name of the column of `relation` that `expr` is.
fn column_of(expr: &Expr, relation: &Ident) -> Option<Ident> {
    match expr {
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [of, column] if is_same(of, relation) => Some(column.clone()),
            _ => None,
        },
        Expr::Nested(inner) => column_of(inner, relation),
        _ => None,
    }
}

fn mentions(expr: &Expr, relation: &Ident) -> bool {
    let found = visit_expressions(expr, |part| match part {
        Expr::CompoundIdentifier(parts) if parts.len() > 1 && is_same(&parts[0], relation) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

fn is_same(a: &Ident, b: &Ident) -> bool {
    let read = |name: &Ident| match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    };
    read(a) == read(b)
}

/// Leaves the helpers out of what `*` stands for.
fn hide(item: &mut SelectItem, helpers: &[Helper]) {
    let (relation, options) = match item {
        SelectItem::Wildcard(options) => (None, options),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(of), options) => {
            (of.0.last().and_then(|part| part.as_ident()), options)
        }
        _ => return,
    };
    let seen =
        helpers.iter().filter(|helper| relation.is_none_or(|of| is_same(of, &helper.relation)));
    seen.for_each(|helper| leave_out(options, helper.column.clone()));
}

fn leave_out(options: &mut WildcardAdditionalOptions, column: Ident) {
    match &mut options.opt_except {
        Some(except) => except.additional_elements.push(column),
        None => {
            options.opt_except =
                Some(ExceptSelectItem { first_element: column, additional_elements: vec![] });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        for (join, says) in [
            ("u MATCH_CONDITION (t.a = u.a) ON t.k = u.k", "`=` is none of >=, >, <= and <"),
            ("u MATCH_CONDITION (a >= b)", "with a column of `u`, written as `u.column`"),
            ("u MATCH_CONDITION (u.a >= u.b)", "does not compare something of the left side"),
            ("u MATCH_CONDITION (t.a >= u.a) ON t.k < u.k", "`t.k < u.k` in ON does not ask"),
            ("u MATCH_CONDITION (t.a >= u.a) USING (k)", "compared in ON, not in USING"),
            ("(SELECT 1) MATCH_CONDITION (t.a >= u.a)", "the right side needs a name"),
        ] {
            let sql = format!("SELECT * FROM t ASOF JOIN {join}");
            let parsed = Parser::parse_sql(&GenericDialect {}, &sql);
            let wrong = expand(&mut parsed.unwrap()[0]).unwrap_err();
            assert!(wrong.starts_with(USAGE) && wrong.contains(says), "{join}: {wrong}");
        }
    }
}
