//! What DataFusion computes anew: of groups that change, or of everything.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr, LogicalPlan};
use syncline_change::Result;
use syncline_change::row::RowCodec;

use super::super::detail::plain;
use super::{Compiler, Reason, arrow_schema};
use crate::batch::{empty_table, failed, stand_in};
use crate::circuit::bounds;
use crate::circuit::node::Keeps;
use crate::operators::{Anew, Arrangement, Each, PlanOver, Recompute, Regroup};

impl Compiler {
    /// The node computed anew over its inputs' whole content. Inputs that can be kept up to date
    /// still are; tables of subqueries become inputs too.
    pub(super) fn recompute(&mut self, plan: &LogicalPlan, reason: Reason) -> Result<usize> {
        let (mut inputs, mut tables, mut children) = (Vec::new(), Vec::new(), Vec::new());
        // The parts of a recursion mean nothing alone, and those of a constant change nothing.
        let whole = matches!(plan, LogicalPlan::RecursiveQuery(_)) || !self.reads_tables(plan)?;
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
                let Some(relation) = self.relation(&scan) else {
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
        self.nodes[node].keeps = Keeps::Content;
        Ok(node)
    }

    /// The node of `plan`, whose result for a row depends on that row alone, computed by DataFusion
    /// for the rows that change.
    pub(super) fn each(&mut self, plan: &LogicalPlan, input: &LogicalPlan) -> Result<usize> {
        let schema = arrow_schema(plan);
        let work = Each { plan: self.plan_over(plan, input)?, schema, view: self.view.clone() };
        let input = self.compile(input)?;
        let detail = plain(&plan.display().to_string());
        let node =
            self.operator("each row", detail, Box::new(work), vec![input], arrow_schema(plan));
        self.nodes[node].append_only = self.nodes[input].append_only;
        Ok(node)
    }

    /// The node of `plan`, whose result for rows with the same `keys` depends on these rows alone,
    /// computed anew for the groups that change. A row for which one of the expressions in
    /// `computed` fails is left out.
    pub(super) fn regroup(
        &mut self,
        plan: &LogicalPlan,
        input: &LogicalPlan,
        keys: &[Expr],
        computed: &[Expr],
        reason: Reason,
    ) -> Result<usize> {
        let anew = self.anew(plan, input, "all rows of its group are left out")?;
        let computed = computed.iter().filter(|expr| !matches!(expr, Expr::Column(_)));
        let computed = computed.map(|expr| self.physical(expr, input.schema()));
        let by = Arrangement {
            computed: computed.collect::<Result<_>>()?,
            ..Arrangement::by(self.keys(keys, input.schema())?)
        };
        let input = self.compile(input)?;
        let (claim, known) = bounds::by_group(&by.keys, &self.nodes[input].known);
        let input = self.arrange(input, by)?;
        let schema = arrow_schema(plan);
        let detail = plain(&plan.display().to_string());
        let work = Regroup { anew, name: format!("regroup ({detail})") };
        let node = self.operator("regroup", detail, Box::new(work), vec![input], schema);
        self.nodes[node].recompute = Some(reason);
        self.nodes[node].claims = vec![claim];
        self.nodes[node].known = known;
        Ok(node)
    }

    /// `plan`, which has the one input, over a table in its place.
    fn plan_over(&self, plan: &LogicalPlan, input: &LogicalPlan) -> Result<PlanOver> {
        let table = empty_table(arrow_schema(input)).map_err(failed)?;
        let children = vec![stand_in(0, &table, input.schema())];
        let plan = plan.with_new_exprs(plan.expressions(), children).map_err(failed)?;
        Ok(PlanOver { runner: self.runner.clone(), plan, table })
    }

    /// The same, to be computed anew over parts of the input.
    pub(super) fn anew(
        &self,
        plan: &LogicalPlan,
        input: &LogicalPlan,
        left_out: &'static str,
    ) -> Result<Anew> {
        let codec = RowCodec::new(arrow_schema(plan))?;
        Ok(Anew { plan: self.plan_over(plan, input)?, codec, view: self.view.clone(), left_out })
    }
}
