//! `first_value`, `array_agg` and their kin, finding the order of rows themselves.
//!
//! DataFusion sorts the input of such aggregates. That is one order for all that an aggregate or a
//! window node computes, and over a window it is also what says which rows tie. Here what a row is
//! ordered by is among the arguments: rows are kept by it, encoded so that the order of bytes is the
//! order that is asked for. Any order of the input gives the same result, and rows can be taken away.

use std::any::Any;
use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err};
use datafusion::logical_expr::expr::{NullTreatment, Sort};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, Signature, Volatility,
};

use crate::operators::Pick;

/// Aggregates whose result depends on the order of their input.
pub(crate) const ORDERED_AGGREGATES: [&str; 5] =
    ["array_agg", "string_agg", "first_value", "last_value", "nth_value"];

/// A call of one of [`ORDERED_AGGREGATES`].
pub(crate) struct OrderedCall<'a> {
    pub(crate) name: &'a str,
    pub(crate) args: &'a [Expr],
    pub(crate) distinct: bool,
    pub(crate) null_treatment: Option<NullTreatment>,
}

/// The function and its arguments that compute `call` over rows in `order`; `None` where an argument
/// that must be a constant is none, which DataFusion then complains about.
pub(crate) fn in_order(
    call: &OrderedCall<'_>,
    order: &[Sort],
) -> Option<(Arc<AggregateUDF>, Vec<Expr>)> {
    let mut value = call.args.first()?.clone();
    let shape = match (call.name, call.args) {
        ("array_agg", [_]) => Shape::Array,
        ("first_value", [_]) => Shape::Nth(1),
        ("last_value", [_]) => Shape::Nth(-1),
        ("nth_value", [_, Expr::Literal(n, _)]) => Shape::Nth(integer(n).filter(|n| *n != 0)?),
        ("nth_value", [_, Expr::Negative(n)]) => match n.as_ref() {
            Expr::Literal(n, _) => Shape::Nth(-integer(n).filter(|n| *n > 0)?),
            _ => return None,
        },
        ("string_agg", [_, Expr::Literal(delimiter, _)]) => {
            value = datafusion::logical_expr::cast(value, DataType::LargeUtf8);
            Shape::Text(delimiter.try_as_str()?.unwrap_or_default().to_owned())
        }
        _ => return None,
    };
    if order.is_empty() {
        return None;
    }
    let ignores_nulls =
        matches!(shape, Shape::Text(_)) || call.null_treatment == Some(NullTreatment::IgnoreNulls);
    let function = InOrder {
        name: call.name.to_owned(),
        shape,
        distinct: call.distinct,
        ignores_nulls,
        order: order.iter().map(|term| (!term.asc, term.nulls_first)).collect(),
        signature: Signature::variadic_any(Volatility::Immutable),
    };
    let keys = order.iter().map(|term| term.expr.clone());
    Some((Arc::new(AggregateUDF::from(function)), std::iter::once(value).chain(keys).collect()))
}

fn integer(value: &ScalarValue) -> Option<i64> {
    match value.cast_to(&DataType::Int64).ok()? {
        ScalarValue::Int64(number) => number,
        _ => None,
    }
}

/// What is made of values in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Shape {
    Array,
    /// Texts with this between them.
    Text(String),
    /// The value at a place counted from 1, or back from -1.
    Nth(i64),
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct InOrder {
    name: String,
    shape: Shape,
    distinct: bool,
    ignores_nulls: bool,
    /// Of each argument behind the first, whether it is descending, and whether nulls come first.
    order: Vec<(bool, bool)>,
    signature: Signature,
}

/// What `function` picks, if it is `first_value` or `last_value` of a value and what rows are ordered
/// by.
pub(crate) fn picked(function: &AggregateUDF) -> Option<Pick> {
    let function = (function.inner().as_ref() as &dyn Any).downcast_ref::<InOrder>()?;
    let last = match function.shape {
        Shape::Nth(1) => false,
        Shape::Nth(-1) => true,
        _ => return None,
    };
    let options =
        |&(descending, nulls_first): &(bool, bool)| SortOptions { descending, nulls_first };
    let order = function.order.iter().map(options).collect();
    // That equal values count once makes no difference to which is the first.
    Some(Pick { last, ignore_nulls: function.ignores_nulls, order })
}

impl AggregateUDFImpl for InOrder {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let Some(value) = arguments.first() else { return exec_err!("{} of nothing", self.name) };
        Ok(match self.shape {
            Shape::Array => DataType::List(Arc::new(Field::new_list_field(value.clone(), true))),
            Shape::Text(_) => DataType::LargeUtf8,
            Shape::Nth(_) => value.clone(),
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let types: Vec<&DataType> =
            args.expr_fields.iter().map(|field| field.data_type()).collect();
        let [value, keys @ ..] = types.as_slice() else {
            return exec_err!("{} of nothing", self.name);
        };
        let fields = keys.iter().zip(&self.order).map(|(key, &(descending, nulls_first))| {
            let options = SortOptions { descending, nulls_first };
            SortField::new_with_options((*key).clone(), options)
        });
        Ok(Box::new(Values {
            shape: self.shape.clone(),
            distinct: self.distinct,
            ignores_nulls: self.ignores_nulls,
            value_type: (*value).clone(),
            converter: RowConverter::new(fields.collect())?,
            rows: BTreeMap::new(),
            bytes: 0,
        }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let value = args.input_fields.first().map_or(&DataType::Null, |field| field.data_type());
        let list = |part: &str, of: DataType| {
            let of = DataType::List(Arc::new(Field::new_list_field(of, true)));
            Arc::new(Field::new(format!("{}[{part}]", args.name), of, true))
        };
        Ok(vec![
            list("keys", DataType::Binary),
            list("values", value.clone()),
            list("counts", DataType::Int64),
        ])
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.accumulator(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The values of rows by what the rows are ordered by, and how often each is there.
#[derive(Debug)]
struct Values {
    shape: Shape,
    distinct: bool,
    ignores_nulls: bool,
    value_type: DataType,
    converter: RowConverter,
    rows: BTreeMap<Box<[u8]>, (ScalarValue, i64)>,
    /// What keys and values take, roughly.
    bytes: usize,
}

impl Values {
    fn change(
        &mut self,
        key: &[u8],
        value: impl FnOnce() -> Result<ScalarValue>,
        by: i64,
    ) -> Result<()> {
        if let Some((_, count)) = self.rows.get_mut(key) {
            *count += by;
            if *count == 0
                && let Some((value, _)) = self.rows.remove(key)
            {
                self.bytes -= key.len() + value.size();
            }
            return Ok(());
        }
        let value = value()?;
        self.bytes += key.len() + value.size();
        self.rows.insert(key.into(), (value, by));
        Ok(())
    }

    fn change_all(&mut self, columns: &[ArrayRef], by: i64) -> Result<()> {
        let [values, keys @ ..] = columns else { return exec_err!("an aggregate of nothing") };
        let keys: Rows = self.converter.convert_columns(keys)?;
        for row in 0..values.len() {
            if self.ignores_nulls && values.is_null(row) {
                continue;
            }
            let value = || ScalarValue::try_from_array(values, row);
            self.change(keys.row(row).as_ref(), value, by)?;
        }
        Ok(())
    }

    /// All values in order, repeated ones repeated unless they are to be distinct.
    fn in_order(&self) -> impl DoubleEndedIterator<Item = &ScalarValue> {
        let mut seen = HashSet::new();
        let shown: Vec<&(ScalarValue, i64)> = match self.distinct {
            true => self.rows.values().filter(|(value, _)| seen.insert(value)).collect(),
            false => self.rows.values().collect(),
        };
        let distinct = self.distinct;
        shown.into_iter().flat_map(move |(value, count)| {
            let times = if distinct { 1 } else { usize::try_from(*count).unwrap_or(0) };
            std::iter::repeat_n(value, times)
        })
    }

    /// The value at a place, counted from the first or, below zero, from the last. As many are looked at.
    fn nth(&self, n: i64) -> Option<&ScalarValue> {
        let skipped = n.unsigned_abs() - 1;
        if self.distinct {
            let skipped = usize::try_from(skipped).ok()?;
            let mut values = self.in_order();
            return if n > 0 { values.nth(skipped) } else { values.nth_back(skipped) };
        }
        let rows = self.rows.values();
        if n > 0 { nth_of(rows, skipped) } else { nth_of(rows.rev(), skipped) }
    }
}

/// The value behind the first `skipped` ones.
fn nth_of<'a>(
    mut rows: impl Iterator<Item = &'a (ScalarValue, i64)>,
    mut skipped: u64,
) -> Option<&'a ScalarValue> {
    rows.find_map(|(value, count)| {
        let count = u64::try_from(*count).unwrap_or(0);
        if skipped < count {
            return Some(value);
        }
        skipped -= count;
        None
    })
}

impl Accumulator for Values {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.change_all(columns, 1)
    }

    fn retract_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.change_all(columns, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let nothing = || match self.shape {
            Shape::Array => Ok(ScalarValue::new_null_list(self.value_type.clone(), true, 1)),
            Shape::Text(_) => Ok(ScalarValue::LargeUtf8(None)),
            Shape::Nth(_) => ScalarValue::try_from(&self.value_type),
        };
        if self.rows.is_empty() {
            return nothing();
        }
        match &self.shape {
            Shape::Array => {
                let values: Vec<ScalarValue> = self.in_order().cloned().collect();
                let list = ScalarValue::new_list(&values, &self.value_type, true);
                Ok(ScalarValue::List(list))
            }
            Shape::Text(delimiter) => {
                let texts = self.in_order().filter_map(|value| value.try_as_str().flatten());
                let text = texts.collect::<Vec<_>>().join(delimiter);
                Ok(ScalarValue::LargeUtf8(Some(text)))
            }
            Shape::Nth(n) => self.nth(*n).cloned().map_or_else(nothing, Ok),
        }
    }

    fn size(&self) -> usize {
        let row = size_of::<(Box<[u8]>, (ScalarValue, i64))>();
        size_of_val(self) + self.bytes + self.rows.len() * row
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let keys: Vec<ScalarValue> =
            self.rows.keys().map(|key| ScalarValue::Binary(Some(key.to_vec()))).collect();
        let values: Vec<ScalarValue> = self.rows.values().map(|(value, _)| value.clone()).collect();
        let counts: Vec<ScalarValue> =
            self.rows.values().map(|(_, count)| ScalarValue::Int64(Some(*count))).collect();
        let list = |values: &[ScalarValue], of: &DataType| {
            ScalarValue::List(ScalarValue::new_list(values, of, true))
        };
        Ok(vec![
            list(&keys, &DataType::Binary),
            list(&values, &self.value_type),
            list(&counts, &DataType::Int64),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let damaged = || exec_datafusion_err!("the state of an aggregate is damaged");
        let [keys, values, counts] = states else { return Err(damaged()) };
        for row in 0..keys.len() {
            let part = |of: &ArrayRef| -> Result<ArrayRef> {
                Ok(of.as_list_opt::<i32>().ok_or_else(damaged)?.value(row))
            };
            let (keys, values, counts) = (part(keys)?, part(values)?, part(counts)?);
            let keys = keys.as_binary_opt::<i32>().ok_or_else(damaged)?;
            let counts = counts.as_primitive_opt::<Int64Type>().ok_or_else(damaged)?;
            for i in 0..keys.len() {
                let value = || ScalarValue::try_from_array(&values, i);
                self.change(keys.value(i), value, counts.value(i))?;
            }
        }
        Ok(())
    }
}
