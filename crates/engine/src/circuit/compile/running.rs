//! Aggregates over frames that begin with the partition.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment, WindowFunction};
use datafusion::logical_expr::{
    Expr, LogicalPlan, Window as WindowPlan, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition,
};
use datafusion::physical_expr::expressions::Column;
use syncline_change::Result;

use super::super::detail::list;
use super::{Compiler, arrow_schema};
use crate::circuit::bounds;
use crate::circuit::node::Keeps;
use crate::functions::in_order::{OrderedCall, in_order};
use crate::operators::{AggregateCall, Arrangement, Frames, Function, Running};

/// Where a frame ends that begins with the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Until {
    /// With the partition.
    End,
    /// With the rows that tie with the current one.
    Peers,
    Row,
}

impl Until {
    /// `None` for frames that begin or end elsewhere.
    fn of(frame: &WindowFrame) -> Option<Self> {
        match (&frame.start_bound, &frame.end_bound) {
            (WindowFrameBound::Preceding(rows), _) if !rows.is_null() => None,
            (WindowFrameBound::Preceding(_), WindowFrameBound::CurrentRow) => {
                let is_by_rows = frame.units == WindowFrameUnits::Rows;
                Some(if is_by_rows { Self::Row } else { Self::Peers })
            }
            (WindowFrameBound::Preceding(_), WindowFrameBound::Following(rows)) => {
                rows.is_null().then_some(Self::End)
            }
            _ => None,
        }
    }
}

impl Compiler {
    /// Until where `call` runs, if it can be kept up to date by an accumulator.
    pub(super) fn runs_until(
        &self,
        call: &WindowFunction,
        input: &DFSchema,
        result: &DataType,
    ) -> Result<Option<Until>> {
        let Some(until) = Until::of(&call.params.window_frame) else { return Ok(None) };
        Ok(self.running_call(call, input, result)?.map(|_| until))
    }

    /// The node of aggregates over frames that all end in the same way; `None` where these are not
    /// over the same rows in the same order.
    pub(super) fn running(
        &mut self,
        window: &WindowPlan,
        calls: &[WindowFunction],
        until: Until,
        plan: &LogicalPlan,
    ) -> Result<Option<usize>> {
        let params = &calls[0].params;
        let is_same = |call: &WindowFunction| {
            let other = &call.params;
            other.partition_by == params.partition_by
                && (until == Until::End || other.order_by == params.order_by)
        };
        let (input_schema, schema) = (window.input.schema(), arrow_schema(plan));
        let results = schema.fields().iter().skip(input_schema.fields().len());
        let made = calls
            .iter()
            .zip(results)
            .map(|(call, result)| self.running_call(call, input_schema, result.data_type()));
        let made = made.collect::<Result<Option<Vec<AggregateCall>>>>()?;
        let Some(mut made) = made.filter(|_| calls.iter().all(is_same)) else { return Ok(None) };
        // Where frames end with the partition, all of its rows tie.
        let order = if until == Until::End { &[][..] } else { &params.order_by };
        let computed = made.iter_mut().flat_map(AggregateCall::expressions);
        let computed = computed.filter(|expr| expr.downcast_ref::<Column>().is_none());
        let by = Arrangement {
            computed: computed.map(|expr| expr.clone()).collect(),
            order: self.terms(order, input_schema)?,
            ..Arrangement::by(self.keys(&params.partition_by, input_schema)?)
        };
        let detail = list(&window.window_expr);
        let work = Running::new(Frames {
            calls: made,
            by_rows: until == Until::Row,
            schema: schema.clone(),
            name: format!("running ({detail})"),
        })?;
        let input = self.compile(&window.input)?;
        let key = self.nodes[input].key.clone();
        let (claim, known) = bounds::by_group(&by.keys, &self.nodes[input].known);
        let is_one = by.keys.is_empty();
        let input = self.arrange(input, by)?;
        let node = self.operator("running", detail, Box::new(work), vec![input], schema);
        let made = &mut self.nodes[node];
        // Copies of a row may have results that are equal.
        made.consolidated = until != Until::Row || key.is_some();
        made.key = key;
        made.known = known;
        made.claims = vec![claim.clone()];
        made.keeps = if is_one { Keeps::OneRow } else { Keeps::Groups };
        if let Some(term) = claim {
            made.let_go(vec![term])?;
        }
        Ok(Some(node))
    }

    /// The call as an aggregate of all rows up to one; `None` if there is no accumulator for it.
    fn running_call(
        &self,
        call: &WindowFunction,
        input: &DFSchema,
        result: &DataType,
    ) -> Result<Option<AggregateCall>> {
        let params = &call.params;
        let (function, args) = match &call.fun {
            _ if params.distinct => return Ok(None),
            WindowFunctionDefinition::AggregateUDF(function)
                if params.null_treatment != Some(NullTreatment::IgnoreNulls) =>
            {
                (function.clone(), params.args.clone())
            }
            WindowFunctionDefinition::WindowUDF(function) if function.name() == "row_number" => {
                return Ok(Some(rows_so_far(result)));
            }
            // Of ROWS, the order is a total one.
            WindowFunctionDefinition::WindowUDF(function)
                if params.window_frame.units == WindowFrameUnits::Rows =>
            {
                let (name, null_treatment) = (function.name(), params.null_treatment);
                let ordered =
                    OrderedCall { name, args: &params.args, distinct: false, null_treatment };
                let Some(made) = in_order(&ordered, &params.order_by) else { return Ok(None) };
                made
            }
            _ => return Ok(None),
        };
        let filter = params.filter.clone();
        let aggregate = AggregateFunction::new_udf(function, args, false, filter, vec![], None);
        let made = self.call(&Expr::AggregateFunction(aggregate), input, result)?;
        // The order of a percentile is none of the window's.
        let is_known = |made: &AggregateCall| {
            made.is_supported() && !matches!(made.function, Function::Percentile(_))
        };
        Ok(made.filter(is_known))
    }
}

/// `row_number()`.
fn rows_so_far(result: &DataType) -> AggregateCall {
    AggregateCall {
        function: Function::PairCount,
        distinct: false,
        arguments: vec![],
        argument_types: vec![],
        result: result.clone(),
        filter: None,
    }
}
