//! `session_start` and `session_end`: the bounds of the session that a row is in, as functions OVER
//! the rows of a key in the order of their times. What `session` in FROM is made of.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    TimeUnit,
};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl,
};

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// Which end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bound {
    Start,
    End,
}

impl Bound {
    pub(crate) fn function(self) -> &'static str {
        match self {
            Self::Start => "session_start",
            Self::End => "session_end",
        }
    }

    /// The bound that the function of this name finds.
    pub(crate) fn of_function(name: &str) -> Option<Self> {
        [Self::Start, Self::End].into_iter().find(|bound| bound.function() == name)
    }
}

pub(crate) fn session_functions() -> [WindowUDF; 2] {
    [Bound::Start, Bound::End].map(|bound| {
        let signature = Signature::user_defined(Volatility::Immutable);
        WindowUDF::from(SessionFunction { bound, signature })
    })
}

/// A gap in the unit of a column of times, rounded up; `None` if it has no fixed length above zero.
pub(crate) fn gap_in(gap: IntervalMonthDayNano, unit: TimeUnit) -> Option<i64> {
    let IntervalMonthDayNano { months, days, nanoseconds } = gap;
    let nanos = NANOS_PER_DAY.checked_mul(i64::from(days))?.checked_add(nanoseconds)?;
    if months != 0 || nanos <= 0 {
        return None;
    }
    let per_unit: u64 = match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    i64::try_from(nanos.unsigned_abs().div_ceil(per_unit)).ok()
}

/// The first of `times` and the end of the session that it begins are given for each; `times` are in
/// order. A session ends a gap after its last time.
pub(crate) fn bounds(times: &[i64], gap: i64) -> Vec<(i64, i64)> {
    let mut bounds = Vec::with_capacity(times.len());
    for session in times.chunk_by(|a, b| b.saturating_sub(*a) < gap) {
        let (first, last) = (session[0], session[session.len() - 1]);
        bounds.extend(std::iter::repeat_n((first, last.saturating_add(gap)), session.len()));
    }
    bounds
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SessionFunction {
    bound: Bound,
    signature: Signature,
}

impl WindowUDFImpl for SessionFunction {
    fn name(&self) -> &str {
        self.bound.function()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(
        &self,
        _: PartitionEvaluatorArgs,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator { bound: self.bound }))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        match args.get_input_field(0) {
            Some(time) if matches!(time.data_type(), DataType::Timestamp(_, _)) => {
                Ok(Arc::new(Field::new(args.name(), time.data_type().clone(), true)))
            }
            Some(time) => {
                let (name, of) = (time.name(), time.data_type());
                plan_err!("sessions are told apart by timestamps, but `{name}` is {of}")
            }
            None => plan_err!("{} takes a timestamp and a gap", self.name()),
        }
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [time, _] = types else {
            return plan_err!("{} takes a timestamp and a gap", self.name());
        };
        // What is no time at all is said by `field`, in plainer words than those around this.
        let time = match time {
            DataType::Date32 | DataType::Date64 => DataType::Timestamp(TimeUnit::Second, None),
            other => other.clone(),
        };
        Ok(vec![time, DataType::Interval(IntervalUnit::MonthDayNano)])
    }
}

#[derive(Debug)]
struct Evaluator {
    bound: Bound,
}

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], _: usize) -> Result<ArrayRef> {
        let [times, gaps] = values else {
            return exec_err!("{} takes a timestamp and a gap", self.bound.function());
        };
        let DataType::Timestamp(unit, _) = times.data_type() else {
            return exec_err!("sessions are of timestamps");
        };
        let gaps = gaps.as_primitive::<IntervalMonthDayNanoType>();
        if gaps.iter().any(|gap| gap != gaps.iter().next().flatten()) {
            return exec_err!("the gap between sessions is not the same for all rows");
        }
        let gap = gaps.iter().flatten().next().and_then(|gap| gap_in(gap, *unit));
        let Some(gap) = gap else {
            return exec_err!("the gap between sessions is not above zero");
        };
        let numbers = cast(times, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<datafusion::arrow::datatypes::Int64Type>();
        // Rows come in whatever order was asked for. Those without a time are in no session.
        let mut known: Vec<i64> = numbers.iter().flatten().collect();
        known.sort_unstable();
        let bounds = bounds(&known, gap);
        let found = numbers.iter().map(|time| {
            let (start, end) = bounds[known.binary_search(&time?).ok()?];
            Some(match self.bound {
                Bound::Start => start,
                Bound::End => end,
            })
        });
        Ok(cast(&found.collect::<Int64Array>(), times.data_type())?)
    }
}

#[cfg(test)]
mod tests {
    use super::bounds;

    #[test]
    fn a_gap_apart_is_another_session() {
        assert_eq!(bounds(&[0, 9, 9, 19, 28], 10), [(0, 19), (0, 19), (0, 19), (19, 38), (19, 38)]);
        assert_eq!(bounds(&[], 10), []);
        let ends = [i64::MIN, i64::MAX];
        assert_eq!(bounds(&ends, 1), [(i64::MIN, i64::MIN + 1), (i64::MAX, i64::MAX)]);
    }
}
