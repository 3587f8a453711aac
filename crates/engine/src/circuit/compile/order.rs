//! ORDER BY with LIMIT, and window functions.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{Sort as SortExpr, WindowFunction};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, LogicalPlan, Operator as Operation, Sort as SortPlan, Window as WindowPlan,
};
use syncline_change::Result;

use super::super::detail::{list, plain};
use super::{Compiler, Reason, arrow_schema};
use crate::batch::failed;
use crate::circuit::bounds::{self, Known};
use crate::circuit::node::{Growth, Keeps};
use crate::functions::session::{Bound, gap_in};
use crate::operators::{
    Arrangement, Numbering, Operator, ROWS_MAX, Session, SortTerm, Top, TopAppended,
};

impl Compiler {
    /// LIMIT over rows whose order stands further down, below projections.
    pub(super) fn limit(
        &mut self,
        plan: &LogicalPlan,
        skip: usize,
        fetch: Option<usize>,
    ) -> Result<Result<usize, Reason>> {
        match plan {
            LogicalPlan::Sort(sort) => {
                let fetch = match (fetch, sort.fetch) {
                    (Some(fetch), Some(total)) => Some(fetch.min(total.saturating_sub(skip))),
                    (Some(fetch), None) => Some(fetch),
                    (None, total) => total.map(|total| total.saturating_sub(skip)),
                };
                self.top(sort, skip, fetch)
            }
            LogicalPlan::SubqueryAlias(alias) => self.limit(&alias.input, skip, fetch),
            LogicalPlan::Projection(projection) if self.unfit(plan)?.is_none() => {
                let input = match self.limit(&projection.input, skip, fetch)? {
                    Ok(input) => input,
                    Err(reason) => return Ok(Err(reason)),
                };
                self.project(input, projection, plan).map(Ok)
            }
            _ => Ok(Err("LIMIT over something without an order".to_owned())),
        }
    }

    pub(super) fn top(
        &mut self,
        sort: &SortPlan,
        skip: usize,
        fetch: Option<usize>,
    ) -> Result<Result<usize, Reason>> {
        let input_schema = sort.input.schema();
        let terms = self.terms(&sort.expr, input_schema)?;
        let limit = fetch.map_or(String::new(), |fetch| format!(" LIMIT {fetch}"));
        let offset = if skip > 0 { format!(" OFFSET {skip}") } else { String::new() };
        let order: Vec<String> = sort.expr.iter().map(|term| plain(&term.to_string())).collect();
        let detail = format!("ORDER BY {}{limit}{offset}", order.join(", "));
        let input = self.compile(&sort.input)?;
        let by = Arrangement { order: terms, ..Arrangement::by(vec![]) };
        let fetch = fetch.unwrap_or(usize::MAX);
        self.first_rows("top", detail, (input, by), (skip, fetch), None).map(Ok)
    }

    /// The first rows of each group, with their numbers if `numbered` says which, and gives the schema
    /// with these.
    fn first_rows(
        &mut self,
        label: &str,
        detail: String,
        (input, by): (usize, Arrangement),
        (skip, fetch): (usize, usize),
        numbered: Option<(Numbering, SchemaRef)>,
    ) -> Result<usize> {
        let key = self.nodes[input].key.clone();
        let (claim, known) = bounds::by_group(&by.keys, &self.nodes[input].known);
        let growth = match (fetch, by.keys.is_empty()) {
            (usize::MAX, _) => Growth::Rows,
            (_, true) => Growth::Nothing,
            (_, false) => Growth::Groups,
        };
        let input_schema = self.nodes[input].schema.clone();
        let (numbers, schema) = match numbered {
            Some((numbering, schema)) => (Some(numbering), schema),
            None => (None, input_schema.clone()),
        };
        // Of rows that tie there may be any number.
        let is_small = fetch.saturating_add(skip) <= ROWS_MAX
            && matches!(numbers, None | Some(Numbering::Rows));
        let keeps_first = is_small && self.nodes[input].append_only;
        let (input, work): (usize, Box<dyn Operator>) = if keeps_first {
            let (view, schemas) = (self.view.clone(), (input_schema, schema.clone()));
            let work = TopAppended::new(view, by, (skip, fetch), numbers.is_some(), schemas)?;
            (input, Box::new(work))
        } else {
            let name = format!("{label} ({detail})");
            let work = Top { skip, fetch, numbers, schema: schema.clone(), name };
            (self.arrange(input, by)?, Box::new(work))
        };
        let node = self.operator(label, detail, work, vec![input], schema);
        let made = &mut self.nodes[node];
        made.key = key;
        made.consolidated = true;
        made.known = known;
        made.growth = made.growth.min(growth);
        match claim {
            claim if !keeps_first => made.claims = vec![claim],
            Some(term) => made.let_go(vec![term])?,
            None => {}
        }
        if keeps_first {
            made.keeps = Keeps::First(fetch.saturating_add(skip));
        }
        Ok(node)
    }

    pub(super) fn terms(&self, order: &[SortExpr], schema: &DFSchema) -> Result<Vec<SortTerm>> {
        let term = |term: &SortExpr| {
            let expr = self.physical(&term.expr, schema)?;
            Ok(SortTerm {
                data_type: expr.data_type(schema.as_arrow()).map_err(failed)?,
                expr,
                options: SortOptions { descending: !term.asc, nulls_first: term.nulls_first },
            })
        };
        order.iter().map(term).collect()
    }

    /// Window functions: of the groups that change, at least of as much as can be told apart.
    pub(super) fn window(
        &mut self,
        window: &WindowPlan,
        plan: &LogicalPlan,
        first: Option<usize>,
    ) -> Result<Result<usize, Reason>> {
        let calls: Vec<WindowFunction> = window.window_expr.iter().filter_map(call_of).collect();
        if calls.len() < window.window_expr.len() {
            return Ok(Err("a window function inside of an expression".to_owned()));
        }
        let numberings: Option<Vec<Numbering>> =
            calls.iter().map(|call| Numbering::named(call.fun.name())).collect();
        match (numberings.as_deref(), calls.as_slice()) {
            (Some([numbering]), [call]) => {
                return self.numbered(window, (call, *numbering), plan, first).map(Ok);
            }
            (Some(_), _) => return self.one_by_one(window).map(Ok),
            _ => {}
        }
        if let Some(node) = self.session(window, &calls, plan)? {
            return Ok(Ok(node));
        }
        let computed = calls.iter().flat_map(|call| {
            let params = &call.params;
            let order = params.order_by.iter().map(|term| &term.expr);
            let filter = params.filter.as_deref();
            params.args.iter().chain(&params.partition_by).chain(order).chain(filter)
        });
        let computed: Vec<Expr> = computed.cloned().collect();
        if let Some(node) = self.nearby(window, &calls, &computed, plan)? {
            return Ok(Ok(node));
        }
        // What all functions have in common to partition by tells groups apart for all of them.
        let mut common = calls[0].params.partition_by.clone();
        common.retain(|expr| calls.iter().all(|call| call.params.partition_by.contains(expr)));
        if common.is_empty() {
            return Ok(Err("a window function over all rows".to_owned()));
        }
        let reason = "window functions are computed anew for each partition that changes";
        self.regroup(plan, &window.input, &common, &computed, reason.to_owned()).map(Ok)
    }

    /// The bounds of sessions; `None` for other functions, and where they are not asked for in the
    /// order of time.
    fn session(
        &mut self,
        window: &WindowPlan,
        calls: &[WindowFunction],
        plan: &LogicalPlan,
    ) -> Result<Option<usize>> {
        let bounds: Option<Vec<Bound>> =
            calls.iter().map(|call| Bound::of_function(call.fun.name())).collect();
        let (Some(shows), params) = (bounds, &calls[0].params) else { return Ok(None) };
        let input_schema = window.input.schema();
        let order = self.terms(&params.order_by, input_schema)?;
        let ([time, gap], [by], [term]) =
            (params.args.as_slice(), params.order_by.as_slice(), order.as_slice())
        else {
            return Ok(None);
        };
        let is_same = |call: &WindowFunction| {
            let other = &call.params;
            other.args == params.args
                && other.order_by == params.order_by
                && other.partition_by == params.partition_by
                && other.filter.is_none()
        };
        if !calls.iter().all(is_same) || by.expr != *time || !by.asc {
            return Ok(None);
        }
        let (DataType::Timestamp(unit, _), Expr::Literal(gap, _)) = (&term.data_type, gap) else {
            return Ok(None);
        };
        let ScalarValue::IntervalMonthDayNano(Some(gap)) = gap else { return Ok(None) };
        let Some(gap) = gap_in(*gap, *unit) else { return Ok(None) };
        let time_type = term.data_type.clone();
        let keys = self.keys(&params.partition_by, input_schema)?;
        let input = self.compile(&window.input)?;
        let key = self.nodes[input].key.clone();
        let (claim, mut known) = bounds::by_group(&keys, &self.nodes[input].known);
        // A row is felt in sessions that it is in or that end after it, so later ones end after all
        // that is passed.
        known.resize(self.nodes[input].schema.fields().len(), Known::Nothing);
        let end = bounds::of_expr(&term.expr, &self.nodes[input].known);
        known.extend(shows.iter().map(|bound| match bound {
            Bound::Start => Known::Nothing,
            Bound::End => end.clone(),
        }));
        let is_last = !term.options.nulls_first;
        let claim = claim.or_else(|| {
            let of_sessions = || bounds::of_sessions(&end, gap, &time_type);
            (self.nodes[input].append_only && is_last).then(of_sessions)?
        });
        let input = self.arrange(input, Arrangement { order, ..Arrangement::by(keys) })?;
        let by = match params.partition_by.as_slice() {
            [] => String::new(),
            keys => format!(" BY {}", list(keys)),
        };
        let (schema, detail) = (arrow_schema(plan), format!("{}{by}", list(&params.args)));
        let name = format!("session ({detail})");
        let work = Session { gap, shows, time_type, schema: schema.clone(), name };
        let node = self.operator("session", detail, Box::new(work), vec![input], schema);
        self.nodes[node].key = key;
        self.nodes[node].claims = vec![claim];
        self.nodes[node].known = known;
        Ok(Some(node))
    }

    /// Each window function by a node of its own.
    fn one_by_one(&mut self, window: &WindowPlan) -> Result<usize> {
        let mut plan = window.input.clone();
        for expr in &window.window_expr {
            let one = WindowPlan::try_new(vec![expr.clone()], plan).map_err(failed)?;
            plan = Arc::new(LogicalPlan::Window(one));
        }
        self.compile(&plan)
    }

    fn numbered(
        &mut self,
        window: &WindowPlan,
        (call, numbering): (&WindowFunction, Numbering),
        plan: &LogicalPlan,
        first: Option<usize>,
    ) -> Result<usize> {
        let input_schema = window.input.schema();
        let by = Arrangement {
            order: self.terms(&call.params.order_by, input_schema)?,
            ..Arrangement::by(self.keys(&call.params.partition_by, input_schema)?)
        };
        let only = first.map_or(String::new(), |first| format!(" <= {first}"));
        let detail = format!("{}{only}", list(&window.window_expr));
        let input = self.compile(&window.input)?;
        let fetch = first.unwrap_or(usize::MAX);
        let label = if numbering == Numbering::Rows { "row number" } else { "rank" };
        let numbered = Some((numbering, arrow_schema(plan)));
        self.first_rows(label, detail, (input, by), (0, fetch), numbered)
    }

    /// The node of `plan`, of which only rows that pass `predicate` are wanted: where that asks for
    /// the first row numbers alone, no others are kept up to date.
    pub(super) fn compile_for(&mut self, plan: &LogicalPlan, predicate: &Expr) -> Result<usize> {
        let wanted = split_conjunction(predicate).into_iter().filter_map(upper_bound);
        for (column, first) in wanted {
            let Ok(position) = plan.schema().index_of_column(column) else { continue };
            if let Some(node) = self.compile_first(plan, position, first)? {
                return Ok(node);
            }
        }
        self.compile(plan)
    }

    /// The node of `plan` less the rows whose column `position` is a row number above `first`;
    /// `None` if it is not one.
    fn compile_first(
        &mut self,
        plan: &LogicalPlan,
        position: usize,
        first: usize,
    ) -> Result<Option<usize>> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => self.compile_first(&alias.input, position, first),
            LogicalPlan::Projection(projection) if self.is_plain(plan)? => {
                let Expr::Column(column) = projection.expr[position].clone().unalias() else {
                    return Ok(None);
                };
                let below = projection.input.schema().index_of_column(&column).map_err(failed)?;
                match self.compile_first(&projection.input, below, first)? {
                    None => Ok(None),
                    Some(input) => self.project(input, projection, plan).map(Some),
                }
            }
            LogicalPlan::Window(window) if position >= window.input.schema().fields().len() => {
                let [only] = window.window_expr.as_slice() else { return Ok(None) };
                let numbering = call_of(only).and_then(|c| Numbering::named(c.fun.name()));
                if numbering.is_none() || !self.is_plain(plan)? {
                    return Ok(None);
                }
                let known = (plan.clone(), first);
                if let Some(&node) = self.first_of.get(&known) {
                    return Ok(Some(node));
                }
                let Ok(node) = self.window(window, plan, Some(first))? else { return Ok(None) };
                self.first_of.insert(known, node);
                Ok(Some(node))
            }
            _ => Ok(None),
        }
    }
}

/// The call that a window expression is, under whatever name.
fn call_of(expr: &Expr) -> Option<WindowFunction> {
    match expr.clone().unalias_nested().data {
        Expr::WindowFunction(call) => Some(*call),
        _ => None,
    }
}

/// A column that must be at most a number to pass: `c <= 3`, `c < 4`, `c = 3`, `3 >= c`.
fn upper_bound(predicate: &Expr) -> Option<(&Column, usize)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = predicate else { return None };
    let column = |expr: &'_ Expr| match expr {
        Expr::Cast(cast) => matches!(*cast.expr, Expr::Column(_)),
        other => matches!(other, Expr::Column(_)),
    };
    let (column, number, op) = match (column(left), column(right)) {
        (true, false) => (left, right, *op),
        (false, true) => (right, left, op.swap()?),
        _ => return None,
    };
    let column = match column.as_ref() {
        Expr::Column(column) => column,
        Expr::Cast(cast) => match cast.expr.as_ref() {
            Expr::Column(column) => column,
            _ => return None,
        },
        _ => return None,
    };
    // Among other types `2.5` would become 2, and text compares as text.
    let Expr::Literal(number, _) = number.as_ref() else { return None };
    if !number.data_type().is_integer() {
        return None;
    }
    let ScalarValue::UInt64(Some(number)) = number.cast_to(&DataType::UInt64).ok()? else {
        return None;
    };
    let number = usize::try_from(number).ok()?;
    match op {
        Operation::LtEq | Operation::Eq => Some((column, number)),
        Operation::Lt => Some((column, number.saturating_sub(1))),
        _ => None,
    }
}
