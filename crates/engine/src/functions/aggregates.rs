//! DataFusion's aggregates over floats with results that do not depend on the order of rows.
//!
//! For everything but floats DataFusion's own are kept: wrapping integer sums and extremes of totally
//! ordered types have no order to depend on. Over floats, sums are exact, and so are the moments that
//! variance, correlation and their kin are made of; extremes follow the total order in which NaN is
//! the greatest. The incremental operators use the same definitions, or batch and incremental answers
//! could not be equal.

use std::hash::Hash;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF,
};

use super::floats::{self, OfMoments, Sum};
use super::moments::{Moments, Statistic};

/// The functions to be registered over DataFusion's.
pub(crate) fn exact_aggregates() -> Vec<AggregateUDF> {
    let replaced = all_default_aggregate_functions().into_iter().filter_map(|plain| {
        let kind = match plain.name() {
            "sum" => Kind::Sum,
            "avg" => Kind::Avg,
            "min" => Kind::Min,
            "max" => Kind::Max,
            "bit_xor" => Kind::BitXor,
            name => Kind::Statistic(Statistic::named(name)?),
        };
        Some(AggregateUDF::from(Exact { kind, plain }))
    });
    replaced.collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Sum,
    Avg,
    Min,
    Max,
    /// Whose DataFusion's form for many groups takes DISTINCT for nothing.
    BitXor,
    Statistic(Statistic),
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
    as_plain!();

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.plain.inner().coerce_types(arguments)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let result = args.return_field.data_type().clone();
        if !self.is_over_floats(&result) {
            return self.plain.accumulator(args);
        }
        let sum = |mean| floats::accumulator(Sum { mean, ..Sum::default() }, args.is_distinct);
        Ok(match self.kind {
            Kind::BitXor => return self.plain.accumulator(args),
            Kind::Sum => sum(false),
            Kind::Avg => sum(true),
            Kind::Min => Box::new(FloatExtreme { max: false, best: None, result }),
            Kind::Max => Box::new(FloatExtreme { max: true, best: None, result }),
            Kind::Statistic(statistic) => {
                let state = OfMoments { statistic, moments: Moments::default() };
                floats::accumulator(state, args.is_distinct)
            }
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if !self.is_over_floats(args.return_field.data_type()) || self.is_extreme() {
            return self.plain.state_fields(args);
        }
        let name = format!("{}[state]", args.name);
        Ok(vec![Arc::new(Field::new(name, DataType::Binary, true))])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        let is_replaced = self.is_over_floats(args.return_field.data_type());
        let is_wrong = self.kind == Kind::BitXor && args.is_distinct;
        !(is_replaced || is_wrong) && self.plain.groups_accumulator_supported(args)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::test_queries::{ours, pairs, plain};

    /// On ordinary data DataFusion's own say the same, but for rounding; of few rows too.
    #[test]
    fn statistics_are_what_they_are_called() {
        let names = [
            "covar_samp",
            "covar_pop",
            "covar",
            "corr",
            "regr_slope",
            "regr_intercept",
            "regr_r2",
            "regr_avgx",
            "regr_avgy",
            "regr_sxx",
            "regr_syy",
            "regr_sxy",
        ];
        let of_pairs = names.map(|name| format!("{name}(y, x) AS {name}"));
        let names =
            ["var", "var_samp", "var_pop", "var_population", "stddev", "stddev_samp", "stddev_pop"];
        let of_one = names.map(|name| format!("{name}(x) AS {name}"));
        let calls: Vec<String> = of_pairs.into_iter().chain(of_one).collect();
        let rows = "(0, 0.1, 3.5), (0, 2.25, -1.0), (0, 7.3, 0.25), (0, 7.3, 11.0), (0, NULL, 4.0), \
                    (1, 5.0, 6.0), (2, 5.0, 6.0), (2, 5.0, 7.5), (3, NULL, 1.0), (4, 2.0, NULL)";
        let sql = format!(
            "SELECT {} FROM (VALUES {rows}) AS t(g, x, y) GROUP BY g ORDER BY g",
            calls.join(", ")
        );
        let (got, expect) = (ours(&sql), plain(&sql));
        assert_eq!(got.num_rows(), 5);
        for (i, (got, expect)) in pairs(&got, &expect).into_iter().enumerate() {
            let near = match (got, expect) {
                (Some(got), Some(expect)) => (got - expect).abs() <= 1e-12 * expect.abs().max(1.0),
                (got, expect) => got == expect,
            };
            let (call, group) = (&calls[i / 5], i % 5);
            assert!(near, "{call} of group {group}: {got:?} instead of {expect:?}");
        }
    }

    #[test]
    fn distinct_rows_count_once() {
        let sql = "SELECT var(DISTINCT x) AS a, stddev_pop(DISTINCT x) AS b, sum(DISTINCT x) AS c, \
                   covar_pop(DISTINCT x, y) AS d, avg(x) AS e FROM (VALUES (1.5, 1.0), (1.5, 1.0), \
                   (2.5, 3.0), (NULL, 1.0)) AS t(x, y)";
        let expect = "SELECT CAST(0.5 AS DOUBLE) AS a, CAST(0.5 AS DOUBLE) AS b, \
                      CAST(4 AS DOUBLE) AS c, CAST(0.5 AS DOUBLE) AS d, \
                      CAST(5.5 AS DOUBLE) / 3 AS e";
        assert!(pairs(&ours(sql), &plain(expect)).iter().all(|(got, expect)| got == expect));
    }
}
