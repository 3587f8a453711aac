//! `unnest` of lists and structs.

use arrow::datatypes::DataType;
use datafusion::logical_expr::{LogicalPlan, Unnest as UnnestPlan};
use syncline_change::Result;

use super::{Compiler, Reason, arrow_schema};
use crate::circuit::bounds::Known;
use crate::operators::Unnest;

impl Compiler {
    pub(super) fn unnest(
        &mut self,
        unnest: &UnnestPlan,
        plan: &LogicalPlan,
    ) -> Result<Result<usize, Reason>> {
        let lists = unnest.list_type_columns.as_slice();
        let ([(list, element)], []) = (lists, unnest.struct_type_columns.as_slice()) else {
            return self.each(plan, &unnest.input).map(Ok);
        };
        let is_list = matches!(
            unnest.input.schema().field(*list).data_type(),
            DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _)
        );
        if element.depth != 1 || !is_list {
            return self.each(plan, &unnest.input).map(Ok);
        }
        let input = self.compile(&unnest.input)?;
        let schema = arrow_schema(plan);
        let known = &self.nodes[input].known;
        let known = unnest.dependency_indices.iter().map(|column| match known.get(*column) {
            Some(Known::ListOf(longest)) if column == list => Known::AtMost(longest.clone()),
            Some(known) if column != list => known.clone(),
            _ => Known::Nothing,
        });
        let known = known.collect();
        let work = Unnest {
            list: *list,
            columns: unnest.dependency_indices.clone(),
            nulls: unnest.options.null_handling,
            schema: schema.clone(),
        };
        let detail = unnest.input.schema().field(*list).name().clone();
        let node = self.operator("unnest", detail, Box::new(work), vec![input], schema);
        self.nodes[node].append_only = self.nodes[input].append_only;
        self.nodes[node].known = known;
        Ok(Ok(node))
    }
}
