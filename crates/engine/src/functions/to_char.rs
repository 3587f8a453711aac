//! `to_char` of times, by a format that shows them no finer than by second, minute or day: each of these is
//! written once, and many rows have the same.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions::datetime::to_char;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};
use hashbrown::HashMap;

/// Below one time in so many rows it is worth to look for those that are the same.
const REPEATED_MIN: usize = 4;

/// The function to be registered over DataFusion's.
pub(crate) fn to_char_function() -> ScalarUDF {
    ScalarUDF::from(ToChar { plain: to_char() })
}

/// DataFusion's function, over fewer times than there are rows.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ToChar {
    plain: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for ToChar {
    as_plain!();

    fn is_strict(&self) -> bool {
        self.plain.inner().is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let [ColumnarValue::Array(times), ColumnarValue::Scalar(ScalarValue::Utf8(Some(format)))] =
            &args.args[..]
            && let Some(shown) = shown_seconds(format)
            && let Some((different, of_rows)) = rounded(times, shown)?
        {
            let rows = different.len();
            let format = args.args[1].clone();
            let fewer = ScalarFunctionArgs {
                args: vec![ColumnarValue::Array(different), format],
                number_rows: rows,
                ..args.clone()
            };
            // At the ends of what can be shown the time as it is may be within them.
            if let Ok(texts) = self.plain.inner().invoke_with_args(fewer) {
                return Ok(ColumnarValue::Array(take(&texts.into_array(rows)?, &of_rows, None)?));
            }
        }
        self.plain.inner().invoke_with_args(args)
    }
}

/// How many seconds have the same text by a format; `None`: less than one, or nobody knows.
fn shown_seconds(format: &str) -> Option<i64> {
    let mut seconds = 24 * 60 * 60;
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            continue;
        }
        let mut item = characters.next()?;
        if matches!(item, '-' | '_' | '0') {
            item = characters.next()?;
        }
        let of_item = match item {
            '%' | 'A' | 'B' | 'C' | 'D' | 'F' | 'G' | 'U' | 'V' | 'W' | 'Y' | 'a' | 'b' | 'd'
            | 'e' | 'g' | 'h' | 'j' | 'm' | 'q' | 'u' | 'v' | 'w' | 'x' | 'y' => 24 * 60 * 60,
            'H' | 'I' | 'M' | 'P' | 'R' | 'k' | 'l' | 'p' => 60,
            'S' | 'T' | 'X' | 'c' | 'r' | 's' => 1,
            _ => return None,
        };
        seconds = seconds.min(of_item);
    }
    Some(seconds)
}

/// The different times that are left when all are rounded down to so many seconds, and which of them each
/// row has; `None`: they are of another type, or too many.
fn rounded(times: &ArrayRef, seconds: i64) -> Result<Option<(ArrayRef, UInt32Array)>> {
    // Where a zone has its midnight is another matter.
    let DataType::Timestamp(unit, None) = times.data_type() else { return Ok(None) };
    let step = seconds
        * match unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000,
        };
    let numbers = cast(times, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>();
    let mut different: Vec<i64> = Vec::new();
    let mut places: HashMap<i64, u32> = HashMap::new();
    let mut last: Option<(i64, u32)> = None;
    let mut of_rows = Vec::with_capacity(numbers.len());
    for number in numbers {
        let Some(number) = number else {
            of_rows.push(None);
            continue;
        };
        let number = number.div_euclid(step).saturating_mul(step);
        let place = match last {
            Some((same, place)) if same == number => place,
            _ => *places.entry(number).or_insert_with(|| {
                different.push(number);
                (different.len() - 1) as u32
            }),
        };
        last = Some((number, place));
        of_rows.push(Some(place));
        if different.len() * REPEATED_MIN > numbers.len() {
            return Ok(None);
        }
    }
    let different = cast(&Int64Array::from(different), times.data_type())?;
    Ok(Some((different, of_rows.into())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::datatypes::Field;
    use datafusion::config::ConfigOptions;
    use proptest::prelude::*;

    use super::*;

    fn call(function: &ScalarUDF, times: &ArrayRef, format: &str) -> String {
        let field = |of: &DataType| Arc::new(Field::new("x", of.clone(), true));
        let args = ScalarFunctionArgs {
            args: vec![
                ColumnarValue::Array(times.clone()),
                ColumnarValue::Scalar(ScalarValue::from(format)),
            ],
            arg_fields: vec![field(times.data_type()), field(&DataType::Utf8)],
            number_rows: times.len(),
            return_field: field(&DataType::Utf8),
            config_options: Arc::new(ConfigOptions::default()),
        };
        match function.inner().invoke_with_args(args) {
            Ok(value) => format!("{:?}", value.into_array(times.len()).unwrap()),
            Err(error) => error.strip_backtrace(),
        }
    }

    /// Every item of a format, those that are none too, with what may come before it.
    fn formats() -> impl Strategy<Value = String> {
        let item =
            (prop::sample::select(vec!["%", "%-", "%_", "%0", "%.", "%:", "%3"]), "[a-zA-Z%]");
        let items = item.prop_map(|(before, item)| format!("{before}{item}"));
        let usual = prop::sample::select(vec!["%Y-%m-%d", "%H:%M", "%H:%M:%S", "%c", "at "]);
        prop::collection::vec(prop_oneof![items, usual.prop_map(str::to_owned)], 0..4)
            .prop_map(|parts| parts.join(" "))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        /// The same as DataFusion's, whatever the times, their type and the format.
        #[test]
        fn as_datafusion_has_it(
            times in prop::collection::vec(prop::option::of(0..200_000_i64), 1..60),
            start in prop_oneof![
                Just(-100_000_i64), Just(1_767_225_600), -60_000_000_000..60_000_000_000_i64,
                Just(-8_334_601_228_800), Just(8_210_266_876_799 - 100_000),
            ],
            coarser in prop::sample::select(vec![1_i64, 30, 3_600, 86_400]),
            unit in prop::sample::select(vec![
                TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond,
            ]),
            zone in prop::sample::select(vec![None, None, Some("+05:30")]),
            format in formats(),
        ) {
            let scale: i64 = match unit {
                TimeUnit::Second => 1,
                TimeUnit::Millisecond => 1_000,
                TimeUnit::Microsecond => 1_000_000,
                TimeUnit::Nanosecond => 1_000_000_000,
            };
            let time = |time: i64| {
                let whole = (start + time / coarser).saturating_mul(scale);
                whole.saturating_add(time % scale)
            };
            let times: Int64Array = times.into_iter().map(|of| of.map(time)).collect();
            let data_type = DataType::Timestamp(unit, zone.map(Into::into));
            let whole = cast(&times, &data_type).unwrap();
            let slice = whole.slice(whole.len() / 2, whole.len() - whole.len() / 2);
            for times in [whole, slice] {
                let ours = call(&to_char_function(), &times, &format);
                prop_assert_eq!(ours, call(&to_char(), &times, &format));
            }
        }
    }

    #[test]
    fn repeated_days_are_written_once() {
        let times: Int64Array = (0..1_000).map(|i| Some(i * 1_000)).collect();
        let times = cast(&times, &DataType::Timestamp(TimeUnit::Second, None)).unwrap();
        let (days, of_rows) = rounded(&times, shown_seconds("%Y-%m-%d").unwrap()).unwrap().unwrap();
        assert_eq!((days.len(), of_rows.len()), (12, 1_000));
        assert!(rounded(&times, shown_seconds("%H:%M").unwrap()).unwrap().is_none());
        assert_eq!(shown_seconds("%H:%M:%S%.3f"), None);
    }
}
