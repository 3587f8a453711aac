//! WHERE with `now()` compared to something of the row: rows that come and go with time.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result as PlanResult};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, Operator,
};
use syncline_change::Result;

use super::super::detail::one;
use super::Compiler;
use crate::batch::failed;
use crate::circuit::node::{Growth, Keeps};
use crate::functions::now;
use crate::operators::{SortTerm, Temporal, When};
use crate::sql::reaches_out;

/// Two times between which nobody will outlive this: a bound must be there at both.
const TIMES_US: [i64; 2] = [0, 4_000_000_000_000_000];

/// Something of a row, and a bound that only time moves.
struct Bounded {
    value: Expr,
    when: When,
    bound: Expr,
}

impl Compiler {
    /// The node of a filter whose conditions on the time are such bounds; `None` for any other.
    pub(super) fn temporal(&mut self, filter: &Filter) -> Result<Option<usize>> {
        let schema = filter.input.schema();
        let (mut plain, mut bounds) = (Vec::new(), Vec::new());
        for condition in split_conjunction(&filter.predicate) {
            if !reads_clock(condition).map_err(failed)? {
                plain.push(condition.clone());
                continue;
            }
            match bounds_of(condition, schema).map_err(failed)? {
                Some(found) => bounds.extend(found),
                None => return Ok(None),
            }
        }
        if bounds.is_empty() {
            return Ok(None);
        }
        // Rows that are yet to come are kept by the one, and then only those that are there by the
        // other.
        bounds.sort_by_key(|bounded| bounded.when.is_until());
        let mut works = Vec::with_capacity(bounds.len());
        for bounded in bounds {
            match self.bounded(&bounded, schema)? {
                Some(work) => works.push(work),
                None => return Ok(None),
            }
        }
        let mut node = match conjunction(plain) {
            None => self.compile(&filter.input)?,
            Some(plain) => {
                let below = Filter::try_new(plain, filter.input.clone()).map_err(failed)?;
                self.compile(&LogicalPlan::Filter(below))?
            }
        };
        for (work, detail, is_until) in works {
            let of = &self.nodes[node];
            let (schema, key) = (of.schema.clone(), of.key.clone());
            let append_only = of.append_only && !is_until;
            node = self.operator("temporal filter", detail, Box::new(work), vec![node], schema);
            self.nodes[node].key = key;
            self.nodes[node].append_only = append_only;
            self.nodes[node].keeps = Keeps::Ahead;
            if is_until {
                self.nodes[node].growth = Growth::Nothing;
            }
        }
        Ok(Some(node))
    }

    /// The operator of a bound, what it is, and whether rows go with time; `None` if the bound cannot
    /// be computed at some time.
    fn bounded(
        &self,
        bounded: &Bounded,
        schema: &DFSchema,
    ) -> Result<Option<(Temporal, String, bool)>> {
        let expr = self.physical(&bounded.value, schema)?;
        let data_type = expr.data_type(schema.as_arrow()).map_err(failed)?;
        let value = SortTerm { expr, data_type, options: SortOptions::default() };
        let sign = match bounded.when {
            When::Above { or_at: true } => ">=",
            When::Above { or_at: false } => ">",
            When::Below { or_at: true } => "<=",
            When::Below { or_at: false } => "<",
        };
        let detail = format!("{} {sign} {}", one(&bounded.value), one(&bounded.bound));
        let names = (format!("temporal filter ({detail})"), self.view.clone());
        let rows = Arc::new(schema.as_arrow().clone());
        let work = Temporal::new(names, bounded.when, value, bounded.bound.clone(), rows)?;
        let is_there = TIMES_US.iter().all(|&time_us| work.bound_at(time_us).is_ok());
        Ok(is_there.then(|| (work, detail, bounded.when.is_until())))
    }
}

fn reads_clock(expr: &Expr) -> PlanResult<bool> {
    expr.exists(|part| Ok(now::is_clock(part)))
}

/// The comparisons that a condition consists of; none if it is something else.
pub(super) fn comparisons(condition: &Expr) -> Vec<(&Expr, Operator, &Expr)> {
    match condition {
        Expr::Between(Between { expr, negated: false, low, high }) => {
            vec![
                (expr.as_ref(), Operator::GtEq, low.as_ref()),
                (expr.as_ref(), Operator::LtEq, high.as_ref()),
            ]
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            vec![
                (left.as_ref(), Operator::GtEq, right.as_ref()),
                (left.as_ref(), Operator::LtEq, right.as_ref()),
            ]
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            vec![(left.as_ref(), *op, right.as_ref())]
        }
        _ => vec![],
    }
}

/// What a condition asks of time, if it compares something of the row with a bound.
fn bounds_of(condition: &Expr, schema: &DFSchema) -> PlanResult<Option<Vec<Bounded>>> {
    let compared = comparisons(condition);
    if compared.is_empty() {
        return Ok(None);
    }
    let mut bounds = Vec::with_capacity(compared.len());
    for (left, op, right) in compared {
        let (value, op, bound) = match (reads_clock(left)?, reads_clock(right)?) {
            (false, true) => (left, Some(op), right),
            (true, false) => (right, op.swap(), left),
            // Of `ts BETWEEN x AND now()` one half has nothing to do with time.
            _ => return Ok(None),
        };
        let when = match op {
            Some(Operator::Gt) => When::Above { or_at: false },
            Some(Operator::GtEq) => When::Above { or_at: true },
            Some(Operator::Lt) => When::Below { or_at: false },
            Some(Operator::LtEq) => When::Below { or_at: true },
            _ => return Ok(None),
        };
        let value_type = value.get_type(schema)?;
        let is_time =
            matches!(value_type, DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64);
        let is_alike = value_type == bound.get_type(&DFSchema::empty())?;
        if !is_time || !is_alike || reaches_out(value)? || !now::moves_forward(bound) {
            return Ok(None);
        }
        bounds.push(Bounded { value: value.clone(), when, bound: bound.clone() });
    }
    Ok(Some(bounds))
}
