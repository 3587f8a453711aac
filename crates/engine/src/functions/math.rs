//! Functions for which DataFusion calls the platform's mathematical library.
//!
//! Such a library may give another last digit on another machine. Ours is compiled in, so that a
//! result is the same everywhere. FLOAT arguments are computed as DOUBLE and rounded once.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::arity::{try_binary, unary};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Result, exec_err};
use datafusion::functions::all_default_functions;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};

use super::canonical::canonical;

/// The functions to be registered over DataFusion's.
pub(crate) fn pinned_functions() -> Vec<ScalarUDF> {
    let replaced = all_default_functions().into_iter().filter_map(|plain| {
        let function = Function::named(plain.name())?;
        Some(ScalarUDF::from(Pinned { function, plain }))
    });
    replaced.collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Function {
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atan2,
    Atanh,
    Cbrt,
    Cos,
    Cosh,
    Cot,
    Exp,
    Ln,
    Log,
    Log10,
    Log2,
    Power,
    Sin,
    Sinh,
    Sqrt,
    Tan,
    Tanh,
}

impl Function {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "acos" => Self::Acos,
            "acosh" => Self::Acosh,
            "asin" => Self::Asin,
            "asinh" => Self::Asinh,
            "atan" => Self::Atan,
            "atan2" => Self::Atan2,
            "atanh" => Self::Atanh,
            "cbrt" => Self::Cbrt,
            "cos" => Self::Cos,
            "cosh" => Self::Cosh,
            "cot" => Self::Cot,
            "exp" => Self::Exp,
            "ln" => Self::Ln,
            "log" => Self::Log,
            "log10" => Self::Log10,
            "log2" => Self::Log2,
            "power" => Self::Power,
            "sin" => Self::Sin,
            "sinh" => Self::Sinh,
            "sqrt" => Self::Sqrt,
            "tan" => Self::Tan,
            "tanh" => Self::Tanh,
            _ => return None,
        })
    }

    /// The function of one number; a logarithm without base is that to the base of 10.
    fn of_one(self) -> Option<fn(f64) -> f64> {
        Some(match self {
            Self::Acos => libm::acos,
            Self::Acosh => libm::acosh,
            Self::Asin => libm::asin,
            Self::Asinh => libm::asinh,
            Self::Atan => libm::atan,
            Self::Atanh => libm::atanh,
            Self::Cbrt => libm::cbrt,
            Self::Cos => libm::cos,
            Self::Cosh => libm::cosh,
            Self::Cot => |x| 1.0 / libm::tan(x),
            Self::Exp => libm::exp,
            Self::Ln => libm::log,
            Self::Log | Self::Log10 => libm::log10,
            Self::Log2 => libm::log2,
            Self::Sin => libm::sin,
            Self::Sinh => libm::sinh,
            Self::Sqrt => libm::sqrt,
            Self::Tan => libm::tan,
            Self::Tanh => libm::tanh,
            Self::Atan2 | Self::Power => return None,
        })
    }

    /// The function of two numbers, in the order of SQL.
    fn of_two(self) -> Option<OfTwo> {
        Some(match self {
            Self::Atan2 => |y, x| Ok(libm::atan2(y, x)),
            Self::Log => |base, x| Ok(logarithm(base, x)),
            Self::Power => power,
            _ => return None,
        })
    }
}

/// A function of two numbers, which may have no result.
type OfTwo = fn(f64, f64) -> Result<f64, ArrowError>;

fn logarithm(base: f64, x: f64) -> f64 {
    match base {
        2.0 => libm::log2(x),
        10.0 => libm::log10(x),
        _ => libm::log(x) / libm::log(base),
    }
}

fn power(base: f64, exponent: f64) -> Result<f64, ArrowError> {
    if base == 0.0 && exponent < 0.0 {
        let message = "zero raised to a negative power is undefined";
        return Err(ArrowError::ComputeError(message.to_owned()));
    }
    Ok(libm::pow(base, exponent))
}

/// One of DataFusion's functions, computed by a library of our own. What DataFusion knows of its order
/// and its bounds is left out: its planner gives up where an argument may be outside of the domain.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Pinned {
    function: Function,
    plain: Arc<ScalarUDF>,
}

impl Pinned {
    fn compute(&self, arguments: &[ArrayRef]) -> Result<Float64Array> {
        let arguments = arguments.iter().map(|of| cast(of, &DataType::Float64));
        let arguments = arguments.collect::<Result<Vec<ArrayRef>, _>>()?;
        let column = |i: usize| arguments[i].as_primitive::<Float64Type>();
        if self.function == Function::Sqrt && column(0).iter().flatten().any(|x| x < 0.0) {
            return exec_err!("cannot take square root of a negative number");
        }
        Ok(match (arguments.len(), self.function.of_one(), self.function.of_two()) {
            (1, Some(function), _) => unary(column(0), |x| canonical(function(x))),
            (2, _, Some(function)) => {
                try_binary(column(0), column(1), |a, b| Ok(canonical(function(a, b)?)))?
            }
            (n, ..) => return exec_err!("{} does not take {n} arguments", self.name()),
        })
    }
}

impl ScalarUDFImpl for Pinned {
    as_plain!();

    fn is_strict(&self) -> bool {
        self.plain.inner().is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = args.args.iter().all(|of| matches!(of, ColumnarValue::Scalar(_)));
        let arguments = ColumnarValue::values_to_arrays(&args.args)?;
        let result: ArrayRef = Arc::new(self.compute(&arguments)?);
        let result = cast(&result, args.return_type())?;
        if is_scalar && result.len() == 1 {
            let value = datafusion::common::ScalarValue::try_from_array(&result, 0)?;
            return Ok(ColumnarValue::Scalar(value));
        }
        Ok(ColumnarValue::Array(result))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::test_queries::{ours, plain, value};

    /// Bits that a correctly working copy of the library gives on every machine.
    #[test]
    fn known_bits() {
        for (sql, expect) in [
            // This library's, which is off by one in the last place here.
            ("exp(1.0)", std::f64::consts::E.next_up()),
            ("ln(10.0)", std::f64::consts::LN_10),
            ("atan2(1.0, 1.0)", std::f64::consts::FRAC_PI_4),
            ("acos(-1.0)", std::f64::consts::PI),
            ("log2(8.0)", 3.0),
            ("log(2.0, 1024.0)", 10.0),
            ("log(100.0)", 2.0),
            ("cbrt(27.0)", 3.0),
            ("power(2.0, 0.5)", std::f64::consts::SQRT_2),
            ("pow(2, 10)", 1024.0),
        ] {
            let got = value(&ours(&format!("SELECT {sql} AS x"))).unwrap();
            assert_eq!(got.to_bits(), expect.to_bits(), "{sql}: {got}");
        }
    }

    #[test]
    fn special_values() {
        let nan = f64::NAN.to_bits();
        for (sql, expect) in [
            ("ln(-1.0)", nan),
            ("acos(2.0)", nan),
            ("sin(CAST('inf' AS DOUBLE))", nan),
            ("exp(CAST('NaN' AS DOUBLE))", nan),
            ("power(-8.0, 0.5)", nan),
            ("ln(0.0)", f64::NEG_INFINITY.to_bits()),
            ("exp(1000.0)", f64::INFINITY.to_bits()),
            ("sin(CAST('-0' AS DOUBLE))", 0.0_f64.to_bits()),
            ("atan2(0.0, -1.0)", std::f64::consts::PI.to_bits()),
            ("power(0.0, 0.0)", 1.0_f64.to_bits()),
        ] {
            let got = value(&ours(&format!("SELECT {sql} AS x"))).unwrap();
            assert_eq!(got.to_bits(), expect, "{sql}: {got}");
        }
        assert_eq!(value(&ours("SELECT ln(CAST(NULL AS DOUBLE)) AS x")), None);
        assert_eq!(value(&ours("SELECT power(NULL, 2.0) AS x")), None);
        let zero = "SELECT power(x, -1.0) AS y FROM (VALUES (0.0)) AS t(x)";
        let error = super::super::test_queries::try_ours(zero).unwrap_err();
        assert!(error.detail_text().unwrap_or_default().contains("negative power"), "{error:?}");
    }

    #[test]
    fn as_the_platform_has_it_but_for_the_last_digits() {
        let calls = [
            "acos(x / 10)",
            "acosh(x + 1)",
            "asin(x / 10)",
            "asinh(x)",
            "atan(x)",
            "atan2(x, 3.0)",
            "atanh(x / 10)",
            "cbrt(x)",
            "cos(x)",
            "cosh(x)",
            "cot(x)",
            "exp(x)",
            "ln(x)",
            "log(3.0, x)",
            "log(x)",
            "log10(x)",
            "log2(x)",
            "power(x, 1.7)",
            "sin(x)",
            "sinh(x)",
            "tan(x)",
            "tanh(x)",
            "CAST(sin(CAST(x AS FLOAT)) AS DOUBLE)",
            "log(CAST(x AS DECIMAL(10, 3)))",
        ];
        for call in calls {
            let from = "FROM (VALUES (0.3), (1.0), (2.5), (7.25)) AS t(x)";
            let sql = format!("SELECT {call} AS y {from} ORDER BY x");
            let (got, expect) = (ours(&sql), plain(&sql));
            assert_eq!(got.schema().field(0).data_type(), expect.schema().field(0).data_type());
            for (got, expect) in super::super::test_queries::pairs(&got, &expect) {
                let (got, expect) = (got.unwrap(), expect.unwrap());
                let near = (got - expect).abs() <= 1e-6 * expect.abs() + 1e-15;
                assert!(near || got.is_nan() && expect.is_nan(), "{call}: {got}, {expect}");
            }
        }
    }
}
