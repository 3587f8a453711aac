//! The sizes of windows.

use std::fmt;

use datafusion::arrow::compute::kernels::cast_utils::{
    IntervalParseConfig, IntervalUnit, parse_interval_month_day_nano_config,
};
use datafusion::arrow::datatypes::IntervalMonthDayNano;
use datafusion::logical_expr::sqlparser::ast::{Expr, Interval, Value};

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// A span of time, as SQL reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(IntervalMonthDayNano);

impl Size {
    /// An INTERVAL, or text such as '10m' or '10 minutes'.
    pub(super) fn parse(size: &Expr) -> Option<Self> {
        let text = match size {
            Expr::Interval(interval) => of_interval(interval)?,
            Expr::Value(value) => {
                let Value::SingleQuotedString(text) = &value.value else { return None };
                if let Ok(duration) = text.parse::<syncline_change::units::Duration>() {
                    return Some(Self::of_nanos(i64::try_from(duration.0.as_nanos()).ok()?));
                }
                text.clone()
            }
            _ => return None,
        };
        let config = IntervalParseConfig::new(IntervalUnit::Second);
        parse_interval_month_day_nano_config(&text, config).ok().map(Self)
    }

    pub(super) fn of_nanos(nanos: i64) -> Self {
        Self(IntervalMonthDayNano::new(0, 0, nanos))
    }

    pub(super) fn is_positive(self) -> bool {
        let IntervalMonthDayNano { months, days, nanoseconds } = self.0;
        let none_is_negative = months >= 0 && days >= 0 && nanoseconds >= 0;
        // Signs that differ are well if the whole is above zero: '1 hour -5 minutes'.
        if months == 0 { self.nanos().is_some_and(|nanos| nanos > 0) } else { none_is_negative }
    }

    /// Its length, if that does not depend on the month. A day has 24 hours.
    pub(super) fn nanos(self) -> Option<i64> {
        let IntervalMonthDayNano { months, days, nanoseconds } = self.0;
        if months != 0 {
            return None;
        }
        NANOS_PER_DAY.checked_mul(i64::from(days))?.checked_add(nanoseconds)
    }
}

/// What DataFusion would read as the interval, unit included.
fn of_interval(interval: &Interval) -> Option<String> {
    let Interval { value, leading_field, leading_precision, last_field, .. } = interval;
    if leading_precision.is_some() || last_field.is_some() {
        return None;
    }
    let Expr::Value(value) = value.as_ref() else { return None };
    let number = match &value.value {
        Value::SingleQuotedString(text) => text.clone(),
        Value::Number(number, _) => number.to_string(),
        _ => return None,
    };
    Some(match leading_field {
        Some(unit) => format!("{number} {unit}"),
        None => number,
    })
}

/// As an INTERVAL that SQL reads as the same size.
impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(i64, &str); 5] = [
            (3_600_000_000_000, "hours"),
            (60_000_000_000, "minutes"),
            (1_000_000_000, "seconds"),
            (1_000_000, "milliseconds"),
            (1_000, "microseconds"),
        ];
        let IntervalMonthDayNano { months, days, nanoseconds } = self.0;
        let unit = UNITS.iter().find(|(unit, _)| nanoseconds % unit == 0);
        let (unit, name) = unit.copied().unwrap_or((1, "nanoseconds"));
        let parts = [(i64::from(months), "months"), (i64::from(days), "days")];
        let parts = parts.into_iter().filter(|(number, _)| *number != 0);
        let time =
            (nanoseconds != 0 || (months, days) == (0, 0)).then_some((nanoseconds / unit, name));
        let parts: Vec<String> =
            parts.chain(time).map(|(number, unit)| format!("{number} {unit}")).collect();
        write!(out, "INTERVAL '{}'", parts.join(" "))
    }
}
