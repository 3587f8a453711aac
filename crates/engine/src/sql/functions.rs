//! Table functions such as `generate_series(1, 9)`, which look like tables to the parser.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::logical_expr::sqlparser::ast::{Statement, TableFactor, VisitMut, VisitorMut};

/// Puts something without a name in the place of every call in FROM, so that all names that are
/// left are of tables and views.
pub(super) fn leave_out(statement: &mut Statement) {
    let ControlFlow::Continue(()) = statement.visit(&mut LeaveOut);
}

struct LeaveOut;

impl VisitorMut for LeaveOut {
    type Break = Infallible;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Infallible> {
        if let TableFactor::Table { args: Some(_), .. } = factor {
            *factor = TableFactor::UNNEST {
                alias: None,
                array_exprs: vec![],
                with_offset: false,
                with_offset_alias: None,
                with_ordinality: false,
            };
        }
        ControlFlow::Continue(())
    }
}
