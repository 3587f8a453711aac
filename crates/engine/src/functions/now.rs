//! `now()` and its kin as the epoch's time.
//!
//! DataFusion folds `now()` into a constant when a query is planned. A view lives longer than that,
//! so ours stays in the plan until an epoch is computed, which then puts its own time in its place.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

const NANOS_PER_MICRO: i64 = 1_000;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// `now`, `current_date` and `current_time`, to be registered over DataFusion's.
pub(crate) fn clock_functions() -> Vec<ScalarUDF> {
    [Clock::Now, Clock::Date, Clock::Time]
        .into_iter()
        .map(|clock| {
            ScalarUDF::from(ClockFunction {
                clock,
                aliases: match clock {
                    Clock::Now => vec!["current_timestamp".to_owned()],
                    Clock::Date => vec!["today".to_owned()],
                    Clock::Time => vec![],
                },
                signature: Signature::nullary(Volatility::Stable),
            })
        })
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Clock {
    Now,
    Date,
    Time,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ClockFunction {
    clock: Clock,
    aliases: Vec<String>,
    signature: Signature,
}

impl ClockFunction {
    /// What the function returns at `time_us`, microseconds since 1970 in UTC.
    fn at(&self, time_us: i64) -> ScalarValue {
        match self.clock {
            Clock::Now => ScalarValue::TimestampNanosecond(
                Some(time_us.saturating_mul(NANOS_PER_MICRO)),
                Some("+00:00".into()),
            ),
            Clock::Date => {
                let days = time_us.div_euclid(MICROS_PER_DAY);
                ScalarValue::Date32(Some(i32::try_from(days).unwrap_or(i32::MAX)))
            }
            Clock::Time => ScalarValue::Time64Nanosecond(Some(
                time_us.rem_euclid(MICROS_PER_DAY) * NANOS_PER_MICRO,
            )),
        }
    }
}

impl ScalarUDFImpl for ClockFunction {
    fn name(&self) -> &str {
        match self.clock {
            Clock::Now => "now",
            Clock::Date => "current_date",
            Clock::Time => "current_time",
        }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.clock {
            Clock::Now => DataType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into())),
            Clock::Date => DataType::Date32,
            Clock::Time => DataType::Time64(TimeUnit::Nanosecond),
        })
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("{} was asked for the time outside of an epoch", self.name())
    }
}

fn clock(expr: &Expr) -> Option<&ClockFunction> {
    let Expr::ScalarFunction(call) = expr else { return None };
    (call.func.inner().as_ref() as &dyn std::any::Any).downcast_ref()
}

/// Whether the expression itself (not a part of it) asks for the time.
pub(crate) fn is_clock(expr: &Expr) -> bool {
    clock(expr).is_some()
}

/// Whether the plan, or a subquery in it, asks for the time.
pub(crate) fn reads_clock(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        use datafusion::common::tree_node::TreeNodeRecursion as Go;
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                found |= clock(part).is_some();
                Ok(if found { Go::Stop } else { Go::Continue })
            })
        })?;
        Ok(if found { Go::Stop } else { Go::Continue })
    })?;
    Ok(found)
}

/// The plan with `time_us` wherever it asks for the time.
pub(crate) fn with_time(plan: LogicalPlan, time_us: i64) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        node.map_expressions(|expr| with_literal(expr, time_us))
    })
    .data()
}

/// The expression with `time_us` wherever it asks for the time.
pub(crate) fn at_time(expr: Expr, time_us: i64) -> Result<Expr> {
    with_literal(expr, time_us).data()
}

fn with_literal(expr: Expr, time_us: i64) -> Result<Transformed<Expr>> {
    expr.transform_up(|part| {
        Ok(match clock(&part) {
            Some(function) => Transformed::yes(Expr::Literal(function.at(time_us), None)),
            None => Transformed::no(part),
        })
    })
}

/// Whether the expression is of nothing but the time, and never less at a later time.
pub(crate) fn moves_forward(expr: &Expr) -> bool {
    let is_literal = |expr: &Expr| matches!(expr, Expr::Literal(value, _) if !value.is_null());
    match expr {
        Expr::Alias(alias) => moves_forward(&alias.expr),
        Expr::Cast(cast) => moves_forward(&cast.expr),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::Plus => {
                moves_forward(left) && is_literal(right) || is_literal(left) && moves_forward(right)
            }
            Operator::Minus => moves_forward(left) && is_literal(right),
            _ => false,
        },
        Expr::ScalarFunction(call) => match (call.func.name(), call.args.as_slice()) {
            ("date_trunc" | "date_bin", [by, time]) => is_literal(by) && moves_forward(time),
            _ => clock(expr).is_some_and(|of| of.clock != Clock::Time),
        },
        _ => false,
    }
}
