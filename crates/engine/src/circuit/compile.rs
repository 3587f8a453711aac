//! From an optimised logical plan to nodes of the circuit.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType, NullEquality, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Aggregate as AggregatePlan, Expr, FetchType, Join as JoinPlan, LogicalPlan, SkipType,
    Sort as SortPlan, TableScan,
};
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::PhysicalExpr;
use syncline_change::Result;

use super::detail::{list, one, plain};
use super::node::{Node, NodeKind, Work};
use crate::batch::{Runner, empty_table, failed};
use crate::functions::now;
use crate::operators::{
    Aggregate, AggregateCall, Arrange, Arrangement, Condition, Function, Join, JoinKind, JoinSpec,
    Map, Recompute, SortTerm, Top, Union, Which,
};

/// Why a plan node has no operator of its own. Not an error: it is recomputed.
type Reason = String;

/// Builds the nodes of all views, sharing equal sub-plans between them.
pub(super) struct Compiler {
    pub(super) nodes: Vec<Node>,
    /// The node that holds each table or view.
    pub(super) relations: HashMap<String, usize>,
    shared: HashMap<LogicalPlan, usize>,
    /// Nodes that only choose columns: of which node, and which.
    selections: HashMap<usize, (usize, Vec<usize>)>,
    /// Nodes that keep rows by key: of which node, how, and which they are.
    arrangements: Vec<(usize, Arrangement, usize)>,
    runner: Arc<Runner>,
    props: ExecutionProps,
    /// The view that is being compiled, for reports.
    pub(super) view: String,
}

impl Compiler {
    pub(super) fn new(runner: Arc<Runner>) -> Self {
        Self {
            nodes: Vec::new(),
            relations: HashMap::new(),
            shared: HashMap::new(),
            selections: HashMap::new(),
            arrangements: Vec::new(),
            runner,
            props: ExecutionProps::new(),
            view: String::new(),
        }
    }

    /// Leaves out the nodes from which nothing leads to a view, and returns the new numbers of
    /// `views`. Tables stay, and stay first.
    pub(super) fn prune(&mut self, tables: usize, views: &[usize]) -> Vec<usize> {
        let mut is_needed = vec![false; self.nodes.len()];
        is_needed[..tables].fill(true);
        let mut open = views.to_vec();
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut is_needed[node], true) {
                open.extend(&self.nodes[node].inputs);
            }
        }
        let mut number = 0;
        let numbers: Vec<usize> = is_needed
            .iter()
            .map(|&needed| {
                number += usize::from(needed);
                number.saturating_sub(1)
            })
            .collect();
        let nodes = std::mem::take(&mut self.nodes).into_iter().zip(is_needed);
        self.nodes = nodes.filter(|(_, needed)| *needed).map(|(node, _)| node).collect();
        for node in &mut self.nodes {
            node.inputs.iter_mut().for_each(|input| *input = numbers[*input]);
        }
        views.iter().map(|&view| numbers[view]).collect()
    }

    pub(super) fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The node whose output is the plan's result.
    pub(super) fn compile(&mut self, plan: &LogicalPlan) -> Result<usize> {
        if let Some(&node) = self.shared.get(plan) {
            return Ok(node);
        }
        let node = match self.incremental(plan)? {
            Ok(node) => node,
            Err(reason) => self.recompute(plan, reason)?,
        };
        self.shared.insert(plan.clone(), node);
        Ok(node)
    }

    fn incremental(&mut self, plan: &LogicalPlan) -> Result<Result<usize, Reason>> {
        if !reads_tables(plan)? {
            return Ok(Err("it is a constant".to_owned()));
        }
        if let Some(reason) = self.unfit(plan)? {
            return Ok(Err(reason));
        }
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan).map(Ok),
            LogicalPlan::SubqueryAlias(alias) => self.compile(&alias.input).map(Ok),
            LogicalPlan::Projection(projection) => {
                // A projection right above a filter becomes one operator with it.
                let (input, predicate) = match projection.input.as_ref() {
                    LogicalPlan::Filter(filter) if self.unfit(&projection.input)?.is_none() => {
                        (&filter.input, Some(&filter.predicate))
                    }
                    _ => (&projection.input, None),
                };
                self.map(input, predicate, Some(&projection.expr), plan).map(Ok)
            }
            LogicalPlan::Filter(filter) => {
                self.map(&filter.input, Some(&filter.predicate), None, plan).map(Ok)
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate, plan),
            LogicalPlan::Join(join) => self.join(join, plan),
            LogicalPlan::Union(union) => {
                let inputs =
                    union.inputs.iter().map(|input| self.compile(input)).collect::<Result<_>>()?;
                let schema = arrow_schema(plan);
                let work = Box::new(Union { schema: schema.clone() });
                Ok(Ok(self.operator("union all", String::new(), work, inputs, schema)))
            }
            // Without a limit an order changes nothing about which rows there are.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.compile(&sort.input).map(Ok),
            LogicalPlan::Sort(sort) => self.top(sort, 0, sort.fetch),
            LogicalPlan::Limit(limit) => match (limit.get_skip_type(), limit.get_fetch_type()) {
                (Ok(SkipType::Literal(skip)), Ok(FetchType::Literal(fetch))) => {
                    self.limit(&limit.input, skip, fetch)
                }
                _ => Ok(Err("LIMIT is not a number".to_owned())),
            },
            other => Ok(Err(format!("{} has no incremental form yet", what(other)))),
        }
    }

    /// Why an expression of this very node keeps it from being incremental.
    fn unfit(&self, plan: &LogicalPlan) -> Result<Option<Reason>> {
        let mut reason = None;
        plan.apply_expressions(|expr| {
            expr.apply(|part| {
                reason = match part {
                    Expr::ScalarSubquery(_)
                    | Expr::InSubquery(_)
                    | Expr::Exists(_)
                    | Expr::SetComparison(_)
                    | Expr::OuterReferenceColumn(_, _) => {
                        Some("a subquery that is not a join".to_owned())
                    }
                    _ if now::is_clock(part) => Some("now() moves with every epoch".to_owned()),
                    _ => None,
                };
                Ok(if reason.is_some() {
                    TreeNodeRecursion::Stop
                } else {
                    TreeNodeRecursion::Continue
                })
            })
        })
        .map_err(failed)?;
        Ok(reason)
    }

    fn scan(&mut self, scan: &TableScan) -> Result<usize> {
        let relation = self.relations[scan.table_name.table()];
        let Some(projection) = &scan.projection else { return Ok(relation) };
        let schema = Arc::new(self.nodes[relation].schema.project(projection)?);
        if projection.len() == self.nodes[relation].schema.fields().len() && projection.is_sorted()
        {
            return Ok(relation);
        }
        let columns = projection
            .iter()
            .zip(schema.fields())
            .map(|(&i, field)| Arc::new(Column::new(field.name(), i)) as Arc<dyn PhysicalExpr>);
        let columns: Vec<_> = columns.collect();
        let detail =
            schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ");
        self.add_map(relation, None, Some(columns), schema, detail)
    }

    fn map(
        &mut self,
        input: &LogicalPlan,
        predicate: Option<&Expr>,
        columns: Option<&[Expr]>,
        plan: &LogicalPlan,
    ) -> Result<usize> {
        let node = self.compile(input)?;
        let physical = |expr: &Expr| self.physical(expr, input.schema());
        let columns_physical = columns
            .map(|columns| columns.iter().map(physical).collect::<Result<Vec<_>>>())
            .transpose()?;
        let predicate_physical = predicate.map(physical).transpose()?;
        let detail = match (predicate, columns) {
            (Some(predicate), Some(columns)) => {
                format!("{} WHERE {}", list(columns), one(predicate))
            }
            (Some(predicate), None) => format!("WHERE {}", one(predicate)),
            (None, columns) => list(columns.unwrap_or_default()),
        };
        self.add_map(node, predicate_physical, columns_physical, arrow_schema(plan), detail)
    }

    fn add_map(
        &mut self,
        input: usize,
        predicate: Option<Arc<dyn PhysicalExpr>>,
        columns: Option<Vec<Arc<dyn PhysicalExpr>>>,
        schema: SchemaRef,
        detail: String,
    ) -> Result<usize> {
        let (input, predicate, columns) = self.over_selection(input, predicate, columns)?;
        let label = match (&predicate, &columns) {
            (Some(_), None) => "filter",
            (None, Some(_)) => "project",
            _ => "filter, project",
        };
        let key =
            self.nodes[input].key.as_ref().and_then(|key| mapped_key(key, columns.as_deref()));
        let append_only = self.nodes[input].append_only;
        let selection = match (&predicate, &columns) {
            (None, Some(columns)) => {
                columns.iter().map(|c| Some(c.downcast_ref::<Column>()?.index())).collect()
            }
            _ => None,
        };
        let work = Map { view: self.view.clone(), predicate, columns, schema: schema.clone() };
        let node = self.operator(label, detail, Box::new(work), vec![input], schema);
        self.nodes[node].key = key;
        self.nodes[node].append_only = append_only;
        if let Some(selection) = selection {
            self.selections.insert(node, (input, selection));
        }
        Ok(node)
    }

    /// What is computed over chosen columns, computed over the columns that they were chosen from.
    #[allow(clippy::type_complexity)]
    fn over_selection(
        &self,
        input: usize,
        predicate: Option<Arc<dyn PhysicalExpr>>,
        columns: Option<Vec<Arc<dyn PhysicalExpr>>>,
    ) -> Result<(usize, Option<Arc<dyn PhysicalExpr>>, Option<Vec<Arc<dyn PhysicalExpr>>>)> {
        let Some((below, chosen)) = self.selections.get(&input) else {
            return Ok((input, predicate, columns));
        };
        let fields = self.nodes[*below].schema.fields();
        let moved = |expr: Arc<dyn PhysicalExpr>| {
            let moved = expr.transform_up(|part| {
                let Some(column) = part.downcast_ref::<Column>() else {
                    return Ok(Transformed::no(part));
                };
                let from = chosen[column.index()];
                let column: Arc<dyn PhysicalExpr> =
                    Arc::new(Column::new(fields[from].name(), from));
                Ok(Transformed::yes(column))
            });
            Ok::<_, syncline_change::Error>(moved.map_err(failed)?.data)
        };
        let all = || {
            let all = chosen.iter().map(|&i| Arc::new(Column::new(fields[i].name(), i)) as _);
            all.collect::<Vec<Arc<dyn PhysicalExpr>>>()
        };
        let columns = match columns {
            Some(columns) => columns.into_iter().map(moved).collect::<Result<_>>()?,
            None => all(),
        };
        Ok((*below, predicate.map(moved).transpose()?, Some(columns)))
    }

    fn aggregate(
        &mut self,
        aggregate: &AggregatePlan,
        plan: &LogicalPlan,
    ) -> Result<Result<usize, Reason>> {
        if aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
            return Ok(Err(
                "GROUPING SETS, ROLLUP and CUBE have no incremental form yet".to_owned()
            ));
        }
        let schema = arrow_schema(plan);
        let input_schema = aggregate.input.schema();
        let mut calls = Vec::new();
        let results = schema.fields().iter().skip(aggregate.group_expr.len());
        for (expr, result) in aggregate.aggr_expr.iter().zip(results) {
            match self.call(expr, input_schema, result.data_type())? {
                Some(call) if call.is_supported() => calls.push(call),
                _ => return Ok(Err(format!("{} has no incremental form yet", one(expr)))),
            }
        }
        let keys = aggregate.group_expr.iter().map(|expr| self.physical(expr, input_schema));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let input = self.compile(&aggregate.input)?;
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
        let work =
            Aggregate::new((name, self.view.clone()), keys, calls, append_only, schema.clone())?;
        let node = self.operator(label, detail, Box::new(work), vec![input], schema);
        self.nodes[node].key = Some(key);
        Ok(Ok(node))
    }

    /// An aggregate call that can be kept up to date; `None` for any other.
    fn call(
        &self,
        expr: &Expr,
        input: &DFSchema,
        result: &DataType,
    ) -> Result<Option<AggregateCall>> {
        let expr = expr.clone().unalias();
        let Expr::AggregateFunction(call) = &expr else { return Ok(None) };
        let params = &call.params;
        let function = match (call.func.name(), params.distinct, params.args.len()) {
            ("count", false, _) => Function::Count,
            ("count", true, 1) => Function::CountDistinct,
            ("sum", false, 1) => Function::Sum,
            ("avg", false, 1) => Function::Avg,
            ("min", _, 1) => Function::Min,
            ("max", _, 1) => Function::Max,
            _ => return Ok(None),
        };
        let arguments = params.args.iter().map(|argument| self.physical(argument, input));
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let argument_type = arguments
            .first()
            .map(|argument| argument.data_type(input.as_arrow()).map_err(failed))
            .transpose()?;
        let filter = params.filter.as_ref().map(|only| self.physical(only, input)).transpose()?;
        Ok(Some(AggregateCall {
            function,
            arguments,
            argument_type,
            result: result.clone(),
            filter,
        }))
    }

    fn join(&mut self, join: &JoinPlan, plan: &LogicalPlan) -> Result<Result<usize, Reason>> {
        if join.null_aware && join.filter.is_some() {
            return Ok(Err("a correlated NOT IN has no incremental form yet".to_owned()));
        }
        let (left, right) = (join.left.schema(), join.right.schema());
        let (mut left_keys, mut right_keys) = (Vec::new(), Vec::new());
        for (l, r) in &join.on {
            let (l, r) = (self.physical(l, left)?, self.physical(r, right)?);
            let key_type = l.data_type(left.as_arrow()).map_err(failed)?;
            if key_type != r.data_type(right.as_arrow()).map_err(failed)? {
                return Ok(Err("the two sides of a join's key differ in type".to_owned()));
            }
            left_keys.push((l, key_type.clone()));
            right_keys.push((r, key_type));
        }
        let condition = match &join.filter {
            None => None,
            Some(only) => {
                let both = left.join(right).map_err(failed)?;
                let predicate = self.physical(only, &both)?;
                Some(Condition { predicate, schema: Arc::new(both.as_arrow().clone()) })
            }
        };
        let kind = join_kind(join);
        let nulls_match = join.null_equality == NullEquality::NullEqualsNull;
        let mut inputs = Vec::with_capacity(2);
        for (side, (input, keys)) in
            [(&join.left, left_keys), (&join.right, right_keys)].into_iter().enumerate()
        {
            let keeps_null_keys = nulls_match || kind.shows_unmatched(side);
            let by = Arrangement { keys, order: vec![], keeps_null_keys };
            let input = self.compile(input)?;
            inputs.push(self.arrange(input, by)?);
        }
        let detail = join_detail(join);
        let label = join_label(join);
        let schema = arrow_schema(plan);
        let key = match kind {
            // Rows of either side without a match are alike where their keys are NULL.
            JoinKind::Pairs { kept: [true, true] } => None,
            JoinKind::Pairs { .. } => self.joined_key(inputs[0], inputs[1]),
            JoinKind::Rows { of, .. } => self.nodes[inputs[of]].key.clone(),
        };
        let is_inner = kind == JoinKind::Pairs { kept: [false, false] };
        let append_only = is_inner && inputs.iter().all(|&input| self.nodes[input].append_only);
        let spec = JoinSpec {
            name: format!("{label} ({detail})"),
            view: self.view.clone(),
            kind,
            nulls_match,
            condition,
            schema: schema.clone(),
        };
        let node = self.operator(label, detail, Box::new(Join::new(spec)), inputs, schema);
        self.nodes[node].key = key;
        self.nodes[node].append_only = append_only;
        Ok(Ok(node))
    }

    /// The node that keeps the rows of `input` by key, shared by all that need the same.
    fn arrange(&mut self, input: usize, by: Arrangement) -> Result<usize> {
        let found = self.arrangements.iter().find(|(of, have, _)| *of == input && *have == by);
        if let Some(&(_, _, node)) = found {
            return Ok(node);
        }
        let keys: Vec<String> = by.keys.iter().map(|(key, _)| key.to_string()).collect();
        let detail = if keys.is_empty() { "all together".to_owned() } else { keys.join(", ") };
        let schema = self.nodes[input].schema.clone();
        let name = format!("arrange ({detail})");
        let work = Arrange::new((name, self.view.clone()), by.clone(), schema.clone())?;
        let node = self.operator("arrange", detail, Box::new(work), vec![input], schema);
        self.nodes[node].key = self.nodes[input].key.clone();
        self.nodes[node].append_only = self.nodes[input].append_only;
        self.arrangements.push((input, by, node));
        Ok(node)
    }

    /// A row of a join is known by the keys of both its parts.
    fn joined_key(&self, left: usize, right: usize) -> Option<Vec<usize>> {
        let offset = self.nodes[left].schema.fields().len();
        let right = self.nodes[right].key.as_ref()?.iter().map(|column| column + offset);
        Some(self.nodes[left].key.as_ref()?.iter().copied().chain(right).collect())
    }

    /// LIMIT over rows whose order stands further down, below projections.
    fn limit(
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
                let columns = projection.expr.iter();
                let columns = columns.map(|expr| self.physical(expr, projection.input.schema()));
                let columns = columns.collect::<Result<Vec<_>>>()?;
                let detail = list(&projection.expr);
                self.add_map(input, None, Some(columns), arrow_schema(plan), detail).map(Ok)
            }
            _ => Ok(Err("LIMIT over something without an order".to_owned())),
        }
    }

    fn top(
        &mut self,
        sort: &SortPlan,
        skip: usize,
        fetch: Option<usize>,
    ) -> Result<Result<usize, Reason>> {
        let input_schema = sort.input.schema();
        let mut terms = Vec::new();
        for term in &sort.expr {
            let expr = self.physical(&term.expr, input_schema)?;
            terms.push(SortTerm {
                data_type: expr.data_type(input_schema.as_arrow()).map_err(failed)?,
                expr,
                options: SortOptions { descending: !term.asc, nulls_first: term.nulls_first },
            });
        }
        let input = self.compile(&sort.input)?;
        let schema = arrow_schema(&sort.input);
        let limit = fetch.map_or(String::new(), |fetch| format!(" LIMIT {fetch}"));
        let offset = if skip > 0 { format!(" OFFSET {skip}") } else { String::new() };
        let order: Vec<String> = sort.expr.iter().map(|term| plain(&term.to_string())).collect();
        let detail = format!("ORDER BY {}{limit}{offset}", order.join(", "));
        let name = format!("top ({detail})");
        let bounds = (skip, fetch.unwrap_or(usize::MAX));
        let work = Top::new((name, self.view.clone()), terms, bounds, schema.clone())?;
        let key = self.nodes[input].key.clone();
        let node = self.operator("top", detail, Box::new(work), vec![input], schema);
        self.nodes[node].key = key;
        Ok(Ok(node))
    }

    /// The node computed anew over its inputs' whole content. Inputs that can be kept up to date
    /// still are; tables of subqueries become inputs too.
    fn recompute(&mut self, plan: &LogicalPlan, reason: Reason) -> Result<usize> {
        let (mut inputs, mut tables, mut children) = (Vec::new(), Vec::new(), Vec::new());
        // The parts of a recursion mean nothing alone, and those of a constant change nothing.
        let whole = matches!(plan, LogicalPlan::RecursiveQuery(_)) || !reads_tables(plan)?;
        for child in if whole { vec![] } else { plan.inputs() } {
            let input = self.compile(child)?;
            let schema = arrow_schema(child);
            let table = empty_table(schema.clone()).map_err(failed)?;
            children.push(stand_in(inputs.len(), &table, child.schema()));
            inputs.push(input);
            tables.push((table, schema));
        }
        let replaced = if whole {
            plan.clone()
        } else {
            plan.with_new_exprs(plan.expressions(), children).map_err(failed)?
        };
        // What is left of scans reads whole tables: inside of subqueries and recursion.
        let mut own: HashMap<String, (usize, Arc<datafusion::datasource::MemTable>)> =
            HashMap::new();
        let replaced = replaced
            .transform_up_with_subqueries(|node| {
                let LogicalPlan::TableScan(mut scan) = node else {
                    return Ok(Transformed::no(node));
                };
                let name = scan.table_name.table().to_owned();
                let Some(&relation) = self.relations.get(&name) else {
                    return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
                };
                let table = match own.get(&name) {
                    Some((_, table)) => table.clone(),
                    None => {
                        let schema = self.nodes[relation].schema.clone();
                        let table = empty_table(schema.clone())?;
                        own.insert(name, (relation, table.clone()));
                        inputs.push(relation);
                        tables.push((table.clone(), schema));
                        table
                    }
                };
                scan.source = provider_as_source(table);
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            })
            .map_err(failed)?
            .data;
        let schema = arrow_schema(plan);
        let work = Recompute::new(
            self.runner.clone(),
            self.view.clone(),
            replaced,
            tables,
            schema.clone(),
        )?;
        let detail = plain(&plan.display().to_string());
        let node = self.operator("recompute", detail, Box::new(work), inputs, schema);
        self.nodes[node].recompute = Some(reason);
        Ok(node)
    }

    fn operator(
        &mut self,
        label: &str,
        detail: String,
        work: Box<dyn crate::operators::Operator>,
        inputs: Vec<usize>,
        schema: SchemaRef,
    ) -> usize {
        let tables: BTreeSet<usize> =
            inputs.iter().flat_map(|&input| self.nodes[input].tables.iter().copied()).collect();
        let append_only = label == "union all" && inputs.iter().all(|&i| self.nodes[i].append_only);
        self.add(Node {
            kind: NodeKind::Operator,
            label: label.to_owned(),
            detail,
            name: None,
            recompute: None,
            work: Work::Operator(work),
            inputs,
            schema,
            key: None,
            append_only,
            tables,
            stats: Default::default(),
        })
    }

    fn physical(&self, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        create_physical_expr(expr, schema, &self.props, &PhysicalPlanningContext::default())
            .map_err(failed)
    }
}

/// Whether any table's rows reach the plan, be it in a subquery.
fn reads_tables(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| {
        let mut found = matches!(node, LogicalPlan::TableScan(_));
        node.apply_subqueries(|subquery| {
            found |= subquery.exists(|node| Ok(matches!(node, LogicalPlan::TableScan(_))))?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(found)
    })
    .map_err(failed)
}

/// A scan that stands for input number `input` of a recomputed node and has its columns by the
/// names, qualifiers included, that the node's expressions use.
fn stand_in(
    input: usize,
    table: &Arc<datafusion::datasource::MemTable>,
    schema: &Arc<DFSchema>,
) -> LogicalPlan {
    LogicalPlan::TableScan(TableScan {
        table_name: TableReference::bare(format!("(input {input})")),
        source: provider_as_source(table.clone()),
        projection: None,
        projected_schema: schema.clone(),
        filters: vec![],
        fetch: None,
        statistics_requests: Default::default(),
    })
}

/// The key columns after a projection, if it lets all of them through.
fn mapped_key(key: &[usize], columns: Option<&[Arc<dyn PhysicalExpr>]>) -> Option<Vec<usize>> {
    let Some(columns) = columns else { return Some(key.to_vec()) };
    let position = |wanted: &usize| {
        columns.iter().position(|column| {
            column.downcast_ref::<Column>().is_some_and(|column| column.index() == *wanted)
        })
    };
    key.iter().map(position).collect()
}

fn arrow_schema(plan: &LogicalPlan) -> SchemaRef {
    Arc::new(plan.schema().as_arrow().clone())
}

fn join_kind(join: &JoinPlan) -> JoinKind {
    let pairs = |left, right| JoinKind::Pairs { kept: [left, right] };
    let rows = |of, which| JoinKind::Rows { of, which };
    match join.join_type {
        JoinType::Inner => pairs(false, false),
        JoinType::Left => pairs(true, false),
        JoinType::Right => pairs(false, true),
        JoinType::Full => pairs(true, true),
        JoinType::LeftSemi => rows(0, Which::Matched),
        JoinType::RightSemi => rows(1, Which::Matched),
        JoinType::LeftAnti if join.null_aware => rows(0, Which::NotIn),
        JoinType::LeftAnti => rows(0, Which::Unmatched),
        JoinType::RightAnti => rows(1, Which::Unmatched),
        JoinType::LeftMark => rows(0, Which::Marked),
        JoinType::RightMark => rows(1, Which::Marked),
    }
}

fn join_label(join: &JoinPlan) -> &'static str {
    match join.join_type {
        JoinType::Inner => "join",
        JoinType::Left | JoinType::Right | JoinType::Full => "outer join",
        JoinType::LeftSemi | JoinType::RightSemi => "semi join",
        JoinType::LeftAnti | JoinType::RightAnti => "anti join",
        JoinType::LeftMark | JoinType::RightMark => "mark join",
    }
}

fn join_detail(join: &JoinPlan) -> String {
    let on = join.on.iter().map(|(l, r)| format!("{} = {}", one(l), one(r)));
    let all: Vec<String> = on.chain(join.filter.iter().map(one)).collect();
    if all.is_empty() { "every row with every other".to_owned() } else { all.join(" AND ") }
}

/// A plan node in one or two words.
fn what(plan: &LogicalPlan) -> &'static str {
    match plan {
        LogicalPlan::Window(_) => "a window function",
        LogicalPlan::RecursiveQuery(_) => "WITH RECURSIVE",
        LogicalPlan::Unnest(_) => "unnest",
        LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => "a constant",
        LogicalPlan::Distinct(_) => "DISTINCT ON",
        LogicalPlan::Subquery(_) => "a subquery",
        _ => "this",
    }
}
