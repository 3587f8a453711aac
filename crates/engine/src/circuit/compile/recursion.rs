//! WITH RECURSIVE: the recursive term becomes a part that the operator copies for each iteration.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::JoinType;
use datafusion::common::tree_node::TreeNode;
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Distinct, Join, LogicalPlan, RecursiveQuery, TableScan};
use syncline_change::Result;

use super::{Compiler, Reason, arrow_schema, scalars};
use crate::batch::{Runner, failed};
use crate::circuit::node::{Growth, Keeps, Node, NodeKind, Work};
use crate::operators::{Arrangement, Origin, Part, PartNode, Recursion, Union};
use crate::state::Memory;

/// What the compiler of a part knows beside the part's plan.
pub(super) struct Inside {
    /// The node that stands for the rows of the iteration.
    relation: usize,
    computed: Arc<HashMap<LogicalPlan, Computed>>,
    /// Nodes that stand for something outside of the part.
    stand_ins: HashMap<usize, StandsFor>,
    /// What the part reads of what is outside, in the order of the operator's inputs.
    requests: Vec<Request>,
}

/// A plan that does not read the recursion, and the node outside that has its result.
#[derive(Clone)]
struct Computed {
    node: usize,
    schema: SchemaRef,
    key: Option<Vec<usize>>,
}

#[derive(Clone, Copy)]
enum StandsFor {
    /// The node with this number outside; not asked for yet.
    Node(usize),
    /// What was asked for as this number.
    Request(usize),
}

#[derive(Clone)]
enum Request {
    Changes(usize),
    Arranged(usize, Arrangement),
}

/// Makes parts, all alike.
struct Template {
    plan: LogicalPlan,
    relation: SchemaRef,
    computed: Arc<HashMap<LogicalPlan, Computed>>,
    runner: Arc<Runner>,
    memory: Arc<Memory>,
    view: String,
}

/// Whether the scan is of the rows of a recursion's iteration.
pub(super) fn is_work_table(scan: &TableScan) -> bool {
    let provider = source_as_provider(&scan.source);
    provider.is_ok_and(|of| (of.as_ref() as &dyn std::any::Any).is::<CteWorkTable>())
}

fn reads_work_table(plan: &LogicalPlan) -> Result<bool> {
    let found =
        plan.exists(|node| Ok(matches!(node, LogicalPlan::TableScan(scan) if is_work_table(scan))));
    found.map_err(failed)
}

impl Compiler {
    pub(super) fn recursion(
        &mut self,
        query: &RecursiveQuery,
        plan: &LogicalPlan,
    ) -> Result<Result<usize, Reason>> {
        let mut beside = Vec::new();
        if let Some(reason) = separate(&query.recursive_term, &mut beside)? {
            return Ok(Err(reason));
        }
        let mut computed = HashMap::new();
        for plan in beside {
            let node = self.compile(&plan)?;
            let of = &self.nodes[node];
            let of = Computed { node, schema: of.schema.clone(), key: of.key.clone() };
            computed.insert(plan, of);
        }
        let Some(relation) = relation_schema(&query.recursive_term)? else {
            return Ok(Err("its recursive term reads no rows of it".to_owned()));
        };
        let template = Template {
            plan: query.recursive_term.as_ref().clone(),
            relation: relation.clone(),
            computed: Arc::new(computed),
            runner: self.runner.clone(),
            memory: self.memory.clone(),
            view: self.view.clone(),
        };
        let requests = match template.make()? {
            Ok((_, requests)) => requests,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut inputs = vec![self.compile(&query.static_term)?];
        let mut outside = Vec::with_capacity(requests.len());
        for request in requests {
            let (node, schema) = match request {
                Request::Changes(node) => (node, Some(self.nodes[node].schema.clone())),
                Request::Arranged(node, by) => (self.arrange(node, by)?, None),
            };
            inputs.push(node);
            outside.push(schema);
        }
        let make = Box::new(move || match template.make()? {
            Ok((part, _)) => Ok(part),
            Err(reason) => Err(syncline_change::Error::bug(reason)),
        });
        let schema = arrow_schema(plan);
        let union = if query.is_distinct { "UNION" } else { "UNION ALL" };
        let detail = format!("{} ({union})", query.name);
        let name = (format!("recursion ({detail})"), self.view.clone());
        let schemas = (schema.clone(), relation);
        let work = Recursion::new(name, make, query.is_distinct, outside, schemas)?;
        let node = self.operator("recursion", detail, Box::new(work), inputs, schema);
        self.nodes[node].consolidated = true;
        self.nodes[node].keeps = Keeps::Iterations;
        Ok(Ok(node))
    }

    /// The node that stands for a plan outside, if this compiles a part and the plan is one.
    pub(super) fn outside(&mut self, plan: &LogicalPlan) -> Option<usize> {
        let computed = self.inside.as_ref()?.computed.get(plan)?.clone();
        let node = self.stand_in(computed.schema, computed.key);
        self.inside.as_mut()?.stand_ins.insert(node, StandsFor::Node(computed.node));
        Some(node)
    }

    /// The arrangement of what is outside, if `input` is that: it is kept there, once.
    pub(super) fn arranged_outside(&mut self, input: usize, by: &Arrangement) -> Option<usize> {
        let inside = self.inside.as_mut()?;
        let StandsFor::Node(of) = *inside.stand_ins.get(&input)? else { return None };
        inside.requests.push(Request::Arranged(of, by.clone()));
        let place = StandsFor::Request(inside.requests.len() - 1);
        let (schema, key) = (self.nodes[input].schema.clone(), self.nodes[input].key.clone());
        let node = self.stand_in(schema, key);
        self.inside.as_mut()?.stand_ins.insert(node, place);
        self.arrangements.push((input, by.clone(), node));
        Some(node)
    }

    /// The relation that is scanned: a table, a view, or the rows of an iteration.
    pub(super) fn relation(&self, scan: &TableScan) -> Option<usize> {
        match is_work_table(scan) {
            true => self.inside.as_ref().map(|inside| inside.relation),
            false => self.relations.get(scan.table_name.table()).copied(),
        }
    }

    /// A node that only says what its output is like.
    fn stand_in(&mut self, schema: SchemaRef, key: Option<Vec<usize>>) -> usize {
        self.add(Node {
            kind: NodeKind::Operator,
            label: "outside".to_owned(),
            detail: String::new(),
            name: None,
            recompute: None,
            work: Work::Operator(Box::new(Union { schema: schema.clone() })),
            inputs: vec![],
            schema,
            key,
            append_only: false,
            consolidated: false,
            tables: BTreeSet::new(),
            known: vec![],
            claims: vec![],
            keeps: Keeps::Nothing,
            growth: Growth::Rows,
            released_by: BTreeSet::new(),
            stats: Default::default(),
        })
    }
}

impl Template {
    fn make(&self) -> Result<Result<(Part, Vec<Request>), Reason>> {
        let mut compiler = Compiler::new(self.runner.clone());
        compiler.memory = self.memory.clone();
        compiler.view = self.view.clone();
        let relation = compiler.stand_in(self.relation.clone(), None);
        compiler.inside = Some(Inside {
            relation,
            computed: self.computed.clone(),
            stand_ins: HashMap::new(),
            requests: Vec::new(),
        });
        let result = compiler.compile(&self.plan)?;
        let Some(inside) = compiler.inside.take() else {
            return Ok(Err("the recursive term was not compiled as such".to_owned()));
        };
        Ok(inside.part(compiler.nodes, result))
    }
}

impl Inside {
    /// The nodes that lead to `result` as a part.
    fn part(mut self, nodes: Vec<Node>, result: usize) -> Result<(Part, Vec<Request>), Reason> {
        let mut is_needed = vec![false; nodes.len()];
        let mut open = vec![result];
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut is_needed[node], true) {
                open.extend(&nodes[node].inputs);
            }
        }
        let mut origins = Vec::with_capacity(nodes.len());
        let mut part = Vec::new();
        for (number, node) in nodes.into_iter().enumerate() {
            let place = self.stand_ins.get(&number).copied();
            origins.push(match place {
                _ if number == self.relation => Origin::Relation,
                // Of what is not needed, the origin means nothing.
                _ if !is_needed[number] => Origin::Relation,
                Some(StandsFor::Request(request)) => Origin::Outside(request),
                Some(StandsFor::Node(of)) => {
                    self.requests.push(Request::Changes(of));
                    Origin::Outside(self.requests.len() - 1)
                }
                None if node.label == "recompute" => {
                    let why = node.recompute.unwrap_or_default();
                    return Err(format!("its recursive term would be recomputed: {why}"));
                }
                // Iterations are not asked what is due.
                None if node.label == "temporal filter" => {
                    return Err("its recursive term depends on the time".to_owned());
                }
                None => {
                    let Work::Operator(work) = node.work else {
                        return Err("its recursive term reads a table by itself".to_owned());
                    };
                    let inputs = node.inputs.iter().map(|&input| origins[input]).collect();
                    part.push(PartNode { work, inputs });
                    Origin::Node(part.len() - 1)
                }
            });
        }
        Ok((Part { nodes: part, result: origins[result] }, self.requests))
    }
}

/// The schema by which the recursive term scans the rows of an iteration, all columns of them.
fn relation_schema(plan: &LogicalPlan) -> Result<Option<SchemaRef>> {
    let mut found = None;
    plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && is_work_table(scan)
        {
            found = Some(scan.source.schema());
        }
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    })
    .map_err(failed)?;
    Ok(found)
}

/// Finds what a recursive term reads beside the recursion, and why an iteration of it cannot be kept
/// up to date by itself: of no rows it must make no rows, or an iteration that is made late would have
/// missed some.
fn separate(plan: &LogicalPlan, beside: &mut Vec<LogicalPlan>) -> Result<Option<Reason>> {
    if !reads_work_table(plan)? {
        beside.push(plan.clone());
        return Ok(None);
    }
    for subquery in scalars::of(&plan.expressions())? {
        if reads_work_table(&subquery.subquery)? {
            return Ok(Some("a subquery reads the recursion".to_owned()));
        }
        beside.push(subquery.subquery.as_ref().clone());
    }
    let is_fit = match plan {
        LogicalPlan::TableScan(_)
        | LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Distinct(Distinct::All(_))
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Window(_) => true,
        LogicalPlan::Aggregate(aggregate) => !aggregate.group_expr.is_empty(),
        LogicalPlan::Join(join) => is_fit(join)?,
        _ => false,
    };
    if !is_fit {
        return Ok(Some("its recursive term may make rows of none".to_owned()));
    }
    for input in plan.inputs() {
        if let Some(reason) = separate(input, beside)? {
            return Ok(Some(reason));
        }
    }
    Ok(None)
}

/// Whether a join makes no rows where the side that reads the recursion has none.
fn is_fit(join: &Join) -> Result<bool> {
    let sides = [reads_work_table(&join.left)?, reads_work_table(&join.right)?];
    let is_preserved = match join.join_type {
        JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => [false, false],
        JoinType::Left | JoinType::LeftAnti | JoinType::LeftMark => [true, false],
        JoinType::Right | JoinType::RightAnti | JoinType::RightMark => [false, true],
        JoinType::Full => [true, true],
    };
    let is_fit = match sides {
        [true, false] => !is_preserved[1],
        [false, true] => !is_preserved[0],
        _ => false,
    };
    // NOT IN counts all rows of its other side, of which an iteration that is made late saw none.
    Ok(is_fit && !join.null_aware)
}
