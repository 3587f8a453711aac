//! From an optimised logical plan to nodes of the circuit.

mod aggregate;
mod join;
mod nearby;
mod order;
mod recompute;
mod recursion;
mod scalars;
mod temporal;
mod unnest;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, FetchType, LogicalPlan, Projection, SkipType, TableScan};
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::PhysicalExpr;
use syncline_change::Result;

use super::bounds;
use super::detail::filtered;
use super::node::{Growth, Keeps, Node, NodeKind, Work};
use crate::batch::{Runner, failed};
use crate::functions::now;
use crate::operators::{Arrange, Arrangement, Map, Union};
use crate::sql::is_subquery;
use crate::state::Memory;

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
    /// The nodes of window plans of which only the first row numbers are wanted.
    first_of: HashMap<(LogicalPlan, usize), usize>,
    /// What there is around a part of a recursion, if this is the compiler of one.
    inside: Option<recursion::Inside>,
    runner: Arc<Runner>,
    pub(super) memory: Arc<Memory>,
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
            first_of: HashMap::new(),
            inside: None,
            runner,
            memory: Arc::default(),
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
        let node = match self.outside(plan) {
            Some(node) => node,
            None => match self.incremental(plan)? {
                Ok(node) => node,
                Err(reason) => self.recompute(plan, reason)?,
            },
        };
        self.shared.insert(plan.clone(), node);
        Ok(node)
    }

    fn incremental(&mut self, plan: &LogicalPlan) -> Result<Result<usize, Reason>> {
        if !self.reads_tables(plan)? {
            return Ok(Err("it is a constant".to_owned()));
        }
        if let LogicalPlan::Filter(filter) = plan
            && let Some(node) = self.temporal(filter)?
        {
            return Ok(Ok(node));
        }
        if let Some(reason) = self.unfit(plan)? {
            return Ok(Err(reason));
        }
        if !matches!(plan, LogicalPlan::Projection(_) | LogicalPlan::Filter(_)) {
            let subqueries = scalars::of(&plan.expressions())?;
            if !subqueries.is_empty() {
                return self.over_scalars(plan, &subqueries).map(Ok);
            }
        }
        match plan {
            LogicalPlan::TableScan(scan) => {
                Ok(self.scan(scan)?.ok_or_else(|| "it is a constant".to_owned()))
            }
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
            LogicalPlan::Window(window) => self.window(window, plan, None),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest, plan),
            LogicalPlan::RecursiveQuery(query) => self.recursion(query, plan),
            LogicalPlan::Union(union) => {
                let inputs =
                    union.inputs.iter().map(|input| self.compile(input)).collect::<Result<_>>()?;
                Ok(Ok(self.union(inputs, arrow_schema(plan))))
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

    fn union(&mut self, inputs: Vec<usize>, schema: SchemaRef) -> usize {
        let known: Vec<_> = inputs.iter().map(|&input| &*self.nodes[input].known).collect();
        let known = bounds::united(&known);
        let work = Box::new(Union { schema: schema.clone() });
        let node = self.operator("union all", String::new(), work, inputs, schema);
        self.nodes[node].known = known;
        node
    }

    /// Whether expressions of this very node are computed from its input's rows alone.
    fn is_plain(&self, plan: &LogicalPlan) -> Result<bool> {
        Ok(self.unfit(plan)?.is_none() && scalars::of(&plan.expressions())?.is_empty())
    }

    /// Why an expression of this very node keeps it from being incremental.
    fn unfit(&self, plan: &LogicalPlan) -> Result<Option<Reason>> {
        let mut reason = None;
        plan.apply_expressions(|expr| {
            expr.apply(|part| {
                reason = match part {
                    Expr::ScalarSubquery(subquery) if subquery.outer_ref_columns.is_empty() => None,
                    _ if is_subquery(part) || matches!(part, Expr::OuterReferenceColumn(_, _)) => {
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

    /// `None` if it is not of a table or view.
    fn scan(&mut self, scan: &TableScan) -> Result<Option<usize>> {
        let Some(relation) = self.relation(scan) else { return Ok(None) };
        let Some(projection) = &scan.projection else { return Ok(Some(relation)) };
        let schema = Arc::new(self.nodes[relation].schema.project(projection)?);
        if projection.len() == self.nodes[relation].schema.fields().len() && projection.is_sorted()
        {
            return Ok(Some(relation));
        }
        let columns = projection
            .iter()
            .zip(schema.fields())
            .map(|(&i, field)| Arc::new(Column::new(field.name(), i)) as Arc<dyn PhysicalExpr>);
        let columns: Vec<_> = columns.collect();
        let detail =
            schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ");
        self.add_map(relation, None, Some(columns), schema, detail).map(Some)
    }

    /// Whether rows of any table or view reach the plan, be it in a subquery. Those of table
    /// functions such as `generate_series` never change.
    fn reads_tables(&self, plan: &LogicalPlan) -> Result<bool> {
        let is_read = |node: &LogicalPlan| match node {
            LogicalPlan::TableScan(scan) => self.relation(scan).is_some(),
            _ => false,
        };
        plan.exists(|node| {
            let mut found = is_read(node);
            node.apply_subqueries(|subquery| {
                found |= subquery.exists(|node| Ok(is_read(node)))?;
                Ok(TreeNodeRecursion::Continue)
            })?;
            Ok(found)
        })
        .map_err(failed)
    }

    fn map(
        &mut self,
        input: &LogicalPlan,
        predicate: Option<&Expr>,
        columns: Option<&[Expr]>,
        plan: &LogicalPlan,
    ) -> Result<usize> {
        let node = match predicate {
            Some(predicate) => self.compile_for(input, predicate)?,
            None => self.compile(input)?,
        };
        self.map_over((node, input.schema()), predicate, columns, plan)
    }

    /// A filter and projection over the node of its input.
    fn map_over(
        &mut self,
        (node, input): (usize, &DFSchema),
        predicate: Option<&Expr>,
        columns: Option<&[Expr]>,
        plan: &LogicalPlan,
    ) -> Result<usize> {
        let exprs = predicate.into_iter().chain(columns.into_iter().flatten());
        let subqueries = scalars::of(exprs)?;
        if !subqueries.is_empty() {
            return self.map_with_scalars((node, input), predicate, columns, &subqueries, plan);
        }
        let physical = |expr: &Expr| self.physical(expr, input);
        let columns_physical = columns
            .map(|columns| columns.iter().map(physical).collect::<Result<Vec<_>>>())
            .transpose()?;
        let predicate_physical = predicate.map(physical).transpose()?;
        let detail = filtered(columns, predicate);
        self.add_map(node, predicate_physical, columns_physical, arrow_schema(plan), detail)
    }

    /// A projection over the node of its input.
    fn project(
        &mut self,
        input: usize,
        projection: &Projection,
        plan: &LogicalPlan,
    ) -> Result<usize> {
        let schema = projection.input.schema();
        self.map_over((input, schema), None, Some(&projection.expr), plan)
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
        // Rows that differ stay different where no column is lost.
        let keeps_all = columns.as_deref().is_none_or(|columns| {
            let kept = columns.iter().filter_map(|c| Some(c.downcast_ref::<Column>()?.index()));
            kept.collect::<BTreeSet<_>>().len() == self.nodes[input].schema.fields().len()
        });
        let consolidated = keeps_all && self.nodes[input].consolidated;
        let known = bounds::mapped(columns.as_deref(), &self.nodes[input].known);
        let work = Map { view: self.view.clone(), predicate, columns, schema: schema.clone() };
        let node = self.operator(label, detail, Box::new(work), vec![input], schema);
        self.nodes[node].key = key;
        self.nodes[node].append_only = append_only;
        self.nodes[node].consolidated = consolidated;
        self.nodes[node].known = known;
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

    /// The node that keeps the rows of `input` by key, shared by all that need the same.
    fn arrange(&mut self, input: usize, by: Arrangement) -> Result<usize> {
        let found = self.arrangements.iter().find(|(of, have, _)| *of == input && *have == by);
        if let Some(&(_, _, node)) = found {
            return Ok(node);
        }
        if let Some(node) = self.arranged_outside(input, &by) {
            return Ok(node);
        }
        let keys: Vec<String> = by.keys.iter().map(|(key, _)| key.to_string()).collect();
        let detail = if keys.is_empty() { "all together".to_owned() } else { keys.join(", ") };
        let schema = self.nodes[input].schema.clone();
        let name = format!("arrange ({detail})");
        let work =
            Arrange::new((name, self.view.clone()), by.clone(), schema.clone(), &self.memory)?;
        let node = self.operator("arrange", detail, Box::new(work), vec![input], schema);
        self.nodes[node].key = self.nodes[input].key.clone();
        self.nodes[node].append_only = self.nodes[input].append_only;
        self.nodes[node].known = self.nodes[input].known.clone();
        self.nodes[node].keeps = Keeps::Rows;
        self.arrangements.push((input, by, node));
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
        let growth = inputs.iter().map(|&input| self.nodes[input].growth).max();
        let growth = growth.unwrap_or(Growth::Nothing);
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
            consolidated: false,
            tables,
            known: vec![],
            claims: vec![],
            keeps: Keeps::Nothing,
            growth,
            released_by: BTreeSet::new(),
            stats: Default::default(),
        })
    }

    /// Expressions to arrange by, with their types.
    fn keys(&self, keys: &[Expr], schema: &DFSchema) -> Result<Vec<bounds::Key>> {
        let key = |expr: &Expr| {
            let expr = self.physical(expr, schema)?;
            let key_type = expr.data_type(schema.as_arrow()).map_err(failed)?;
            Ok((expr, key_type))
        };
        keys.iter().map(key).collect()
    }

    fn physical(&self, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        create_physical_expr(expr, schema, &self.props, &PhysicalPlanningContext::default())
            .map_err(failed)
    }
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

/// A plan node in one or two words.
fn what(plan: &LogicalPlan) -> &'static str {
    match plan {
        LogicalPlan::RecursiveQuery(_) => "WITH RECURSIVE",
        LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => "a constant",
        LogicalPlan::Distinct(_) => "DISTINCT ON",
        LogicalPlan::Subquery(_) => "a subquery",
        _ => "this",
    }
}
