//! One NaN and one zero: a function that the planner puts around every expression that could make
//! others.
//!
//! Which sign the NaN of `0.0 / 0.0` has depends on the processor, and DataFusion compares floats by
//! their bits: it tells NaN from NaN, and 0 from -0. Rows are canonical when they are first stored;
//! so that they stay so, what is computed from them is made canonical at once.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use syncline_change::row::canonical_column;

static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(ScalarUDF::from(Canonical { signature }))
});

/// The value with its NaN and its zero as all others.
pub(crate) fn canonical(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}

/// The expression, of floats, with its NaN and its zero as all others.
pub(crate) fn canonical_expr(of: Expr) -> Expr {
    if is_canonical(&of) {
        return of;
    }
    Expr::ScalarFunction(ScalarFunction::new_udf(FUNCTION.clone(), vec![of]))
}

/// Whether the expression is what [`canonical_expr`] makes.
pub(crate) fn is_canonical(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.inner().is::<Canonical>())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Canonical {
    signature: Signature,
}

impl ScalarUDFImpl for Canonical {
    fn name(&self) -> &'static str {
        "canonical"
    }

    /// A column is called what it would be called without.
    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        Ok(arguments.first().map(|of| of.schema_name().to_string()).unwrap_or_default())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [of] => Ok(of.clone()),
            _ => exec_err!("a canonical value is of one value"),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    /// Those of the value. What DataFusion takes to be without bounds has no type, and its planner
    /// gives up over the negative of such.
    fn evaluate_bounds(&self, inputs: &[&Interval]) -> Result<Interval> {
        match inputs {
            [of] if of.data_type().is_floating() => Ok((*of).clone()),
            _ => Interval::make_unbounded(&DataType::Float64),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(match args.args.into_iter().next() {
            Some(ColumnarValue::Array(column)) => ColumnarValue::Array(canonical_column(&column)),
            Some(ColumnarValue::Scalar(value)) => ColumnarValue::Scalar(canonical_scalar(value)),
            None => return exec_err!("a canonical value is of one value"),
        })
    }
}

/// The value as it is, or with its NaN and its zero as all others if it is a float.
pub(crate) fn canonical_scalar(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Float64(Some(value)) => ScalarValue::Float64(Some(canonical(value))),
        ScalarValue::Float32(Some(value)) => {
            let value = if value.is_nan() { f32::NAN } else { value + 0.0 };
            ScalarValue::Float32(Some(value))
        }
        other => other,
    }
}
