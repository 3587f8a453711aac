//! `split_part` by one character: the common case, in which most of the time would go to calling a
//! general search for every part. Eight bytes at a time are compared with the delimiter (as in Mycroft's
//! test for a zero byte; here in the form that is exact for every byte of a word).

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::buffer::OffsetBuffer;
use datafusion::common::Result;
use datafusion::common::ScalarValue;
use datafusion::functions::string::split_part;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};

/// The function to be registered over DataFusion's.
pub(crate) fn split_function() -> ScalarUDF {
    ScalarUDF::from(SplitPart { plain: split_part() })
}

/// DataFusion's function where it is not the common case.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SplitPart {
    plain: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for SplitPart {
    as_plain!();

    fn is_strict(&self) -> bool {
        self.plain.inner().is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let [
            ColumnarValue::Array(texts),
            ColumnarValue::Scalar(delimiter),
            ColumnarValue::Scalar(ScalarValue::Int64(Some(part @ 1..))),
        ] = &args.args[..]
            && let Some(texts) = texts.as_string_opt::<i32>()
            && let Some(Some(delimiter)) = delimiter.try_as_str()
            && let [delimiter] = delimiter.as_bytes()
            && let Ok(part) = usize::try_from(*part - 1)
        {
            return Ok(ColumnarValue::Array(Arc::new(parts(texts, *delimiter, part)?)));
        }
        self.plain.inner().invoke_with_args(args)
    }
}

/// Part number `part`, from 0, of each text; an empty text where there are fewer.
fn parts(texts: &StringArray, delimiter: u8, part: usize) -> Result<StringArray> {
    let (ends, values) = (texts.value_offsets(), texts.value_data());
    // A part of a text that is not the only one is seldom more than a quarter of it.
    let mut bytes: Vec<u8> = Vec::with_capacity((ends[texts.len()] - ends[0]) as usize / 4);
    let mut offsets: Vec<i32> = Vec::with_capacity(ends.len());
    offsets.push(0);
    for bounds in ends.windows(2) {
        let text = &values[bounds[0] as usize..bounds[1] as usize];
        bytes.extend_from_slice(nth_part(text, delimiter, part));
        // Never longer than the texts, whose offsets fit.
        offsets.push(bytes.len() as i32);
    }
    let offsets = OffsetBuffer::new(offsets.into());
    Ok(StringArray::try_new(offsets, bytes.into(), texts.nulls().cloned())?)
}

fn nth_part(text: &[u8], delimiter: u8, part: usize) -> &[u8] {
    let rest = match part.checked_sub(1) {
        None => text,
        Some(before) => match nth(text, delimiter, before) {
            Some(at) => &text[at + 1..],
            None => return &[],
        },
    };
    nth(rest, delimiter, 0).map_or(rest, |end| &rest[..end])
}

/// Where a byte stands for the time number `n`, from 0.
fn nth(bytes: &[u8], byte: u8, mut n: usize) -> Option<usize> {
    const LOW_BITS: u64 = u64::from_ne_bytes([0x7f; 8]);
    let pattern = u64::from_ne_bytes([byte; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let differs = u64::from_le_bytes(*word) ^ pattern;
        // The high bit of each byte that is 0, and no other bit.
        let mut found = !(((differs & LOW_BITS) + LOW_BITS) | differs | LOW_BITS);
        let count = found.count_ones() as usize;
        if n >= count {
            n -= count;
            continue;
        }
        for _ in 0..n {
            found &= found - 1;
        }
        return Some(number * 8 + found.trailing_zeros() as usize / 8);
    }
    let mut at = rest.iter().enumerate().filter(|(_, other)| **other == byte);
    at.nth(n).map(|(at, _)| words.len() * 8 + at)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::ArrayRef;
    use arrow::datatypes::{DataType, Field};
    use datafusion::config::ConfigOptions;
    use proptest::prelude::*;

    use super::*;

    fn call(function: &ScalarUDF, texts: &ArrayRef, delimiter: &str, part: i64) -> String {
        let field = |of| Arc::new(Field::new("x", of, true));
        let args = ScalarFunctionArgs {
            args: vec![
                ColumnarValue::Array(texts.clone()),
                ColumnarValue::Scalar(ScalarValue::from(delimiter)),
                ColumnarValue::Scalar(ScalarValue::from(part)),
            ],
            arg_fields: vec![field(DataType::Utf8), field(DataType::Utf8), field(DataType::Int64)],
            number_rows: texts.len(),
            return_field: field(DataType::Utf8),
            config_options: Arc::new(ConfigOptions::default()),
        };
        match function.inner().invoke_with_args(args) {
            Ok(value) => format!("{:?}", value.into_array(texts.len()).unwrap()),
            Err(error) => error.strip_backtrace(),
        }
    }

    proptest! {
        /// The same as DataFusion's, whatever the texts, the delimiter and the part.
        #[test]
        fn as_datafusion_has_it(
            texts in prop::collection::vec(prop::option::of("[a/é\u{80}\u{7f}\u{1}]{0,40}"), 1..20),
            delimiter in prop::sample::select(vec!["/", "a", "\u{1}", "\u{7f}", "é", "//", ""]),
            part in -3_i64..12,
        ) {
            let texts: StringArray = texts.into_iter().collect();
            let whole: ArrayRef = Arc::new(texts);
            let slice = whole.slice(whole.len() / 2, whole.len() - whole.len() / 2);
            for texts in [whole, slice] {
                let ours = call(&split_function(), &texts, delimiter, part);
                prop_assert_eq!(ours, call(&split_part(), &texts, delimiter, part));
            }
        }
    }
}
