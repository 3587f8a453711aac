//! GROUP BY and DISTINCT.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate as AggregatePlan, Expr, GroupingSet, LogicalPlan, lit};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::PhysicalExpr;
use syncline_change::Result;

use super::super::detail::{list, one, plain};
use super::{Compiler, Reason, arrow_schema};
use crate::batch::failed;
use crate::circuit::bounds;
use crate::circuit::node::{Growth, Keeps};
use crate::functions::in_order;
use crate::operators::{Aggregate, AggregateCall, Function};

impl Compiler {
    pub(super) fn aggregate(
        &mut self,
        aggregate: &AggregatePlan,
        plan: &LogicalPlan,
    ) -> Result<Result<usize, Reason>> {
        if let [Expr::GroupingSet(sets)] = aggregate.group_expr.as_slice() {
            return self.grouping_sets(aggregate, sets, plan);
        }
        let schema = arrow_schema(plan);
        let input_schema = aggregate.input.schema();
        let mut calls = Vec::new();
        let results = schema.fields().iter().skip(aggregate.group_expr.len());
        for (expr, result) in aggregate.aggr_expr.iter().zip(results) {
            match self.call(expr, input_schema, result.data_type())? {
                Some(call) if call.is_supported() => calls.push(call),
                _ => return self.regroup_aggregate(aggregate, expr, plan),
            }
        }
        let keys = aggregate.group_expr.iter().map(|expr| self.physical(expr, input_schema));
        let mut keys = keys.collect::<Result<Vec<_>>>()?;
        let input = self.compile(&aggregate.input)?;
        let needed = keys.iter_mut().chain(calls.iter_mut().flat_map(AggregateCall::expressions));
        let input = self.compute_below(input, needed.collect())?;
        let (label, detail) = match (keys.is_empty(), calls.is_empty()) {
            (_, true) => ("distinct", list(&aggregate.group_expr)),
            (true, false) => ("aggregate", list(&aggregate.aggr_expr)),
            (false, false) => (
                "aggregate",
                format!("{} GROUP BY {}", list(&aggregate.aggr_expr), list(&aggregate.group_expr)),
            ),
        };
        let key = (0..keys.len()).collect();
        let name = format!("{label} ({detail})");
        let append_only = self.nodes[input].append_only;
        let known = &self.nodes[input].known;
        let typed = keys.iter().zip(schema.fields());
        let typed: Vec<_> = typed.map(|(key, of)| (key.clone(), of.data_type().clone())).collect();
        let term = bounds::term(&typed, known);
        let known = bounds::mapped(Some(&keys), known);
        let is_one = keys.is_empty();
        let work = Aggregate::new(name, keys, calls, append_only, schema.clone())?;
        let node = self.operator(label, detail, Box::new(work), vec![input], schema);
        let made = &mut self.nodes[node];
        made.key = Some(key);
        made.consolidated = true;
        made.known = known;
        made.keeps = if is_one { Keeps::OneRow } else { Keeps::Groups };
        made.growth = made.growth.min(if is_one { Growth::Nothing } else { Growth::Groups });
        if let Some(term) = term {
            made.let_go(vec![term])?;
        }
        Ok(Ok(node))
    }

    /// Has expressions computed by a node of their own, each once, and makes them columns of it;
    /// columns of `input` are that already.
    fn compute_below(
        &mut self,
        input: usize,
        needed: Vec<&mut Arc<dyn PhysicalExpr>>,
    ) -> Result<usize> {
        if needed.iter().all(|expr| expr.downcast_ref::<Column>().is_some()) {
            return Ok(input);
        }
        let below = self.nodes[input].schema.clone();
        let (mut computed, mut fields) = (Vec::<Arc<dyn PhysicalExpr>>::new(), Vec::new());
        for expr in needed {
            let known = computed.iter().position(|have| have == expr);
            let place = known.unwrap_or(computed.len());
            let name = expr.to_string();
            if known.is_none() {
                let data_type = expr.data_type(&below).map_err(failed)?;
                let nullable = expr.nullable(&below).map_err(failed)?;
                fields.push(Field::new(&name, data_type, nullable));
                computed.push(expr.clone());
            }
            *expr = Arc::new(Column::new(&name, place));
        }
        let names: Vec<String> = fields.iter().map(|field| plain(field.name())).collect();
        let schema = Arc::new(Schema::new(fields));
        self.add_map(input, None, Some(computed), schema, names.join(", "))
    }

    /// An aggregate call that can be kept up to date; `None` for any other.
    pub(super) fn call(
        &self,
        expr: &Expr,
        input: &DFSchema,
        result: &DataType,
    ) -> Result<Option<AggregateCall>> {
        let expr = expr.clone().unalias();
        let Expr::AggregateFunction(call) = &expr else { return Ok(None) };
        let params = &call.params;
        let Some(function) = function(call) else { return Ok(None) };
        // count(1), which is what count(*) is planned as, needs no column of ones.
        let is_one = |argument: &Expr| matches!(argument, Expr::Literal(one, _) if !one.is_null());
        let counts_rows = function == Function::Count && !params.distinct;
        let arguments: Vec<&Expr> = match &function {
            Function::Percentile(_) => params.args.iter().take(1).collect(),
            _ => params.args.iter().filter(|argument| !(counts_rows && is_one(argument))).collect(),
        };
        let arguments = arguments.into_iter().map(|argument| self.physical(argument, input));
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let argument_types = arguments
            .iter()
            .map(|argument| argument.data_type(input.as_arrow()).map_err(failed))
            .collect::<Result<_>>()?;
        let filter = params.filter.as_ref().map(|only| self.physical(only, input)).transpose()?;
        Ok(Some(AggregateCall {
            function,
            distinct: params.distinct,
            arguments,
            argument_types,
            result: result.clone(),
            filter,
        }))
    }

    /// An aggregate that no accumulator knows: computed anew for the groups that change.
    fn regroup_aggregate(
        &mut self,
        aggregate: &AggregatePlan,
        call: &Expr,
        plan: &LogicalPlan,
    ) -> Result<Result<usize, Reason>> {
        if aggregate.group_expr.is_empty() {
            return Ok(Err(format!("{} over all rows", one(call))));
        }
        let calls = aggregate.aggr_expr.iter().filter_map(|expr| match expr.clone().unalias() {
            Expr::AggregateFunction(call) => Some(call.params),
            _ => None,
        });
        let computed = calls.flat_map(|params| {
            let order = params.order_by.into_iter().map(|term| term.expr);
            params.args.into_iter().chain(order).chain(params.filter.map(|only| *only))
        });
        let computed: Vec<Expr> = computed.collect();
        let reason = format!("{} is computed anew for each group that changes", one(call));
        let (input, keys) = (&aggregate.input, &aggregate.group_expr);
        let node = self.regroup(plan, input, keys, &computed, reason)?;
        let below = self.nodes[node].inputs[0];
        let physical = keys.iter().map(|key| self.physical(key, input.schema()));
        let physical = physical.collect::<Result<Vec<_>>>()?;
        let known = bounds::mapped(Some(&physical), &self.nodes[below].known);
        let made = &mut self.nodes[node];
        made.key = Some((0..keys.len()).collect());
        made.known = known;
        made.growth = made.growth.min(Growth::Groups);
        Ok(Ok(node))
    }

    /// GROUPING SETS, ROLLUP and CUBE: an aggregate for each set of keys, and NULL for the others.
    fn grouping_sets(
        &mut self,
        aggregate: &AggregatePlan,
        sets: &GroupingSet,
        plan: &LogicalPlan,
    ) -> Result<Result<usize, Reason>> {
        let schema = arrow_schema(plan);
        let all = sets.distinct_expr();
        let mut seen: Vec<Vec<bool>> = Vec::new();
        let mut inputs = Vec::new();
        for set in members(sets) {
            let missing: Vec<bool> = all.iter().map(|expr| !set.contains(expr)).collect();
            let ordinal = seen.iter().filter(|other| **other == missing).count() as u64;
            // As DataFusion has it: a bit for each key that is missing, above them the ordinal
            // among equal sets.
            let bits = missing.iter().fold(0, |bits, &missing| bits << 1 | u64::from(missing));
            let id = bits | ordinal << all.len();
            let (of, mut calls) = (aggregate.input.clone(), aggregate.aggr_expr.clone());
            if set.is_empty() && calls.is_empty() {
                // A plan node must have something to compute, though none of it is shown.
                calls.push(count(lit(1)));
            }
            let part = AggregatePlan::try_new(of, set.clone(), calls).map_err(failed)?;
            let part = LogicalPlan::Aggregate(part);
            let input = self.compile(&part)?;
            let columns = self.set_columns(&schema, &part, (&all, &set), id)?;
            let keys: Vec<String> = set.iter().map(one).collect();
            let detail = format!("grouping set ({})", keys.join(", "));
            inputs.push(self.add_map(input, None, Some(columns), schema.clone(), detail)?);
            seen.push(missing);
        }
        let node = self.union(inputs, schema);
        self.nodes[node].key = Some((0..=all.len()).collect());
        Ok(Ok(node))
    }

    /// The columns of the whole, computed from those of the aggregate of one set: keys, the number
    /// of the set, results.
    fn set_columns(
        &self,
        schema: &SchemaRef,
        part: &LogicalPlan,
        (all, set): (&[&Expr], &[Expr]),
        id: u64,
    ) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        let literal = |value: ScalarValue, of: usize| {
            let value = value.cast_to(schema.field(of).data_type()).map_err(failed)?;
            Ok(Arc::new(Literal::new(value)) as Arc<dyn PhysicalExpr>)
        };
        let part = arrow_schema(part);
        let column = |i: usize| Arc::new(Column::new(part.field(i).name(), i)) as _;
        let keys =
            all.iter().enumerate().map(|(i, key)| match set.iter().position(|expr| expr == *key) {
                Some(position) => Ok(column(position)),
                None => literal(ScalarValue::Null, i),
            });
        let number = literal(ScalarValue::UInt64(Some(id)), all.len());
        let count = schema.fields().len() - all.len() - 1;
        let results = (set.len()..set.len() + count).map(|i| Ok(column(i)));
        keys.chain([number]).chain(results).collect()
    }
}

/// The function of a call, with what it needs to know beside its arguments.
fn function(call: &AggregateFunction) -> Option<Function> {
    let params = &call.params;
    if let Some(pick) = in_order::picked(&call.func) {
        return Some(Function::Pick(pick));
    }
    match (call.func.name(), params.args.as_slice()) {
        ("percentile_cont", [_, Expr::Literal(ScalarValue::Float64(Some(share)), _)])
            if (0.0..=1.0).contains(share) =>
        {
            let is_descending = params.order_by.first().is_some_and(|term| !term.asc);
            Some(Function::Percentile(if is_descending { 1.0 - share } else { *share }))
        }
        (name, arguments) => Function::named(name, arguments.len()),
    }
}

/// The sets of keys that are grouped by.
fn members(sets: &GroupingSet) -> Vec<Vec<Expr>> {
    match sets {
        GroupingSet::GroupingSets(sets) => sets.clone(),
        GroupingSet::Rollup(keys) => (0..=keys.len()).map(|n| keys[..n].to_vec()).collect(),
        GroupingSet::Cube(keys) => (0..1_usize << keys.len())
            .map(|set| {
                let chosen = keys.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1);
                chosen.map(|(_, key)| key.clone()).collect()
            })
            .collect(),
    }
}
