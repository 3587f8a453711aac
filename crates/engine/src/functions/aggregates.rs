//! DataFusion's `sum`, `avg`, `min` and `max` with results that do not depend on the order of rows.
//!
//! For everything but floats DataFusion's own are kept: wrapping integer sums and extremes of totally
//! ordered types have no order to depend on. Over floats, a sum is exact ([`ExactSum`]) and extremes
//! follow the total order in which NaN is the greatest. The incremental operators use the same
//! definitions, or batch and incremental answers could not be equal.

use std::hash::Hash;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BinaryArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::functions_aggregate::{average, min_max, sum};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature,
};

use super::exact_sum::ExactSum;

/// The four functions, to be registered over DataFusion's.
pub(crate) fn exact_aggregates() -> Vec<AggregateUDF> {
    [
        (Kind::Sum, sum::sum_udaf()),
        (Kind::Avg, average::avg_udaf()),
        (Kind::Min, min_max::min_udaf()),
        (Kind::Max, min_max::max_udaf()),
    ]
    .into_iter()
    .map(|(kind, plain)| AggregateUDF::from(Exact { kind, plain }))
    .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Sum,
    Avg,
    Min,
    Max,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    kind: Kind,
    plain: Arc<AggregateUDF>,
}

impl Exact {
    /// Whether a call with this result is one of those that DataFusion's own does not get right.
    fn is_over_floats(&self, result: &DataType) -> bool {
        matches!(result, DataType::Float32 | DataType::Float64)
    }
}

impl AggregateUDFImpl for Exact {
    fn name(&self) -> &str {
        self.plain.name()
    }

    fn aliases(&self) -> &[String] {
        self.plain.aliases()
    }

    fn signature(&self) -> &Signature {
        self.plain.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.plain.return_type(arguments)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.plain.inner().coerce_types(arguments)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let result = args.return_field.data_type().clone();
        if !self.is_over_floats(&result) || args.is_distinct && !self.is_extreme() {
            return self.plain.accumulator(args);
        }
        Ok(if self.is_extreme() {
            Box::new(FloatExtreme { max: self.kind == Kind::Max, best: None, result })
        } else {
            Box::new(FloatSum { mean: self.kind == Kind::Avg, sum: ExactSum::default(), count: 0 })
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let result = args.return_field.data_type();
        if !self.is_over_floats(result) || self.is_extreme() || args.is_distinct {
            return self.plain.state_fields(args);
        }
        Ok(vec![
            Arc::new(Field::new(format!("{}[sum]", args.name), DataType::Binary, true)),
            Arc::new(Field::new(format!("{}[count]", args.name), DataType::Int64, true)),
        ])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !self.is_over_floats(args.return_field.data_type())
            && self.plain.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.plain.create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if self.is_over_floats(args.return_field.data_type()) && !self.is_extreme() {
            return self.accumulator(args);
        }
        self.plain.create_sliding_accumulator(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn is_nullable(&self) -> bool {
        self.plain.is_nullable()
    }
}

impl Exact {
    fn is_extreme(&self) -> bool {
        matches!(self.kind, Kind::Min | Kind::Max)
    }
}

/// `sum` or `avg` of doubles.
#[derive(Debug)]
struct FloatSum {
    mean: bool,
    sum: ExactSum,
    count: i64,
}

impl FloatSum {
    fn add(&mut self, values: &[ArrayRef], weight: i64) {
        let values = values[0].as_primitive::<Float64Type>();
        for value in values.iter().flatten() {
            self.sum.add(value, weight);
            self.count += weight;
        }
    }
}

impl Accumulator for FloatSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, -1);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(float_result(&self.sum, self.count, self.mean)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            ScalarValue::Binary(Some(self.sum.to_bytes())),
            ScalarValue::Int64(Some(self.count)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let sums: &BinaryArray = states[0].as_binary();
        let counts = states[1].as_primitive::<datafusion::arrow::datatypes::Int64Type>();
        for (sum, count) in sums.iter().zip(counts) {
            let sum = ExactSum::from_bytes(sum.unwrap_or_default())
                .ok_or_else(|| exec_datafusion_err!("the state of a sum is damaged"))?;
            self.sum.merge(&sum);
            self.count += count.unwrap_or_default();
        }
        Ok(())
    }
}

/// What `sum` (or with `mean`, `avg`) of `count` doubles is: NULL of none.
pub(crate) fn float_result(sum: &ExactSum, count: i64, mean: bool) -> Option<f64> {
    let divisor = if mean { count as f64 } else { 1.0 };
    (count > 0).then(|| sum.value() / divisor)
}

/// `min` or `max` of floats in the total order: NaN is greater than every number.
#[derive(Debug)]
struct FloatExtreme {
    max: bool,
    best: Option<f64>,
    result: DataType,
}

impl Accumulator for FloatExtreme {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let mut take = |value: f64| {
            let better = self.best.is_none_or(|best| {
                let order = value.total_cmp(&best);
                if self.max { order.is_gt() } else { order.is_lt() }
            });
            if better {
                self.best = Some(value);
            }
        };
        match values[0].data_type() {
            DataType::Float32 => {
                values[0]
                    .as_primitive::<Float32Type>()
                    .iter()
                    .flatten()
                    .for_each(|v| take(v.into()));
            }
            _ => values[0].as_primitive::<Float64Type>().iter().flatten().for_each(take),
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(match self.result {
            DataType::Float32 => ScalarValue::Float32(self.best.map(|best| best as f32)),
            _ => ScalarValue::Float64(self.best),
        })
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }
}
