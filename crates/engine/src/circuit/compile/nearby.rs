//! Window functions that look only so many rows back and ahead.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{
    Expr, LogicalPlan, Window as WindowPlan, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition,
};
use syncline_change::Result;

use super::super::detail::plain;
use super::{Compiler, arrow_schema};
use crate::circuit::bounds;
use crate::operators::{Arrangement, Nearby, Reach};

/// A function that reaches farther than this over rows is taken to reach over all of them.
const REACH_MAX: u64 = 10_000;

impl Compiler {
    /// The node of window functions that all look only so far; `None` for others.
    pub(super) fn nearby(
        &mut self,
        window: &WindowPlan,
        calls: &[WindowFunction],
        computed: &[Expr],
        plan: &LogicalPlan,
    ) -> Result<Option<usize>> {
        let params = &calls[0].params;
        let is_same = |call: &WindowFunction| {
            let other = &call.params;
            other.partition_by == params.partition_by && other.order_by == params.order_by
        };
        let reaches: Option<Vec<Reach>> = calls.iter().map(reach).collect();
        let Some(reaches) = reaches.filter(|_| calls.iter().all(is_same)) else {
            return Ok(None);
        };
        let reach = Reach {
            back: reaches.iter().map(|of| of.back).max().unwrap_or(0),
            ahead: reaches.iter().map(|of| of.ahead).max().unwrap_or(0),
        };
        let input_schema = window.input.schema();
        let computed = computed.iter().filter(|expr| !matches!(expr, Expr::Column(_)));
        let computed = computed.map(|expr| self.physical(expr, input_schema));
        let by = Arrangement {
            computed: computed.collect::<Result<_>>()?,
            order: self.terms(&params.order_by, input_schema)?,
            ..Arrangement::by(self.keys(&params.partition_by, input_schema)?)
        };
        let schema = arrow_schema(plan);
        let detail = plain(&plan.display().to_string());
        let work = Nearby {
            anew: self.anew(plan, &window.input, "rows around it are left out")?,
            by: by.clone(),
            reach,
            name: format!("window ({detail})"),
        };
        let input = self.compile(&window.input)?;
        let key = self.nodes[input].key.clone();
        let (claim, known) = bounds::by_group(&by.keys, &self.nodes[input].known);
        let input = self.arrange(input, by)?;
        let node = self.operator("window", detail, Box::new(work), vec![input], schema);
        self.nodes[node].key = key;
        self.nodes[node].consolidated = true;
        self.nodes[node].claims = vec![claim];
        self.nodes[node].known = known;
        Ok(Some(node))
    }
}

/// How far a function looks; `None` if that is not bounded by a number of rows.
fn reach(call: &WindowFunction) -> Option<Reach> {
    let (params, frame) = (&call.params, &call.params.window_frame);
    let name = match &call.fun {
        WindowFunctionDefinition::WindowUDF(function) => function.name(),
        WindowFunctionDefinition::AggregateUDF(_) => "aggregate",
    };
    let reach = match name {
        "lag" | "lead" if params.null_treatment != Some(NullTreatment::IgnoreNulls) => {
            let offset = match params.args.get(1) {
                None => 1,
                Some(Expr::Literal(offset, _)) => integer(offset)?,
                Some(_) => return None,
            };
            let (rows, is_back) = (offset.unsigned_abs(), (name == "lag") == (offset >= 0));
            match is_back {
                true => Reach { back: rows, ahead: 0 },
                false => Reach { back: 0, ahead: rows },
            }
        }
        "aggregate" | "first_value" | "last_value" | "nth_value"
            if frame.units == WindowFrameUnits::Rows =>
        {
            let back = match &frame.start_bound {
                WindowFrameBound::Preceding(rows) => integer(rows)?.unsigned_abs(),
                _ => 0,
            };
            let ahead = match &frame.end_bound {
                WindowFrameBound::Following(rows) => integer(rows)?.unsigned_abs(),
                _ => 0,
            };
            Reach { back, ahead }
        }
        _ => return None,
    };
    (reach.back.max(reach.ahead) <= REACH_MAX).then_some(reach)
}

/// A whole number; `None` where there is none, as in UNBOUNDED.
fn integer(value: &ScalarValue) -> Option<i64> {
    match value.cast_to(&DataType::Int64).ok()? {
        ScalarValue::Int64(number) => number,
        _ => None,
    }
}
