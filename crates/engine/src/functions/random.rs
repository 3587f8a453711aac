//! `random()` and `uuid()` as functions of a seed, of where they are called, and of a row.
//!
//! A view must be the same whenever it is computed again, and a row that is taken away must take what
//! was computed from it along. So before planning goes on, every call is given its number and all
//! columns of the rows that it is called for. Its result is a hash of these, keyed by the seed: rows
//! that are equal have equal results, and calls that stand in different places have different ones.

use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, Result, ScalarValue, exec_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Join, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use syncline_change::row::{RowCodec, canonical_column};

/// `random` and `uuid` as they stand in SQL, to be registered over DataFusion's.
pub(crate) fn random_functions() -> Vec<ScalarUDF> {
    [Kind::Random, Kind::Uuid].map(|kind| ScalarUDF::from(OfRow::new(kind, None))).into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Random,
    Uuid,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfRow {
    kind: Kind,
    /// What results are keyed by; `None` in a call that has not been given its row.
    key: Option<[u8; blake3::KEY_LEN]>,
    aliases: Vec<String>,
    signature: Signature,
}

impl OfRow {
    fn new(kind: Kind, key: Option<[u8; blake3::KEY_LEN]>) -> Self {
        let signature = match key {
            None => Signature::nullary(Volatility::Immutable),
            Some(_) => Signature::variadic_any(Volatility::Immutable),
        };
        // All names of DataFusion's, or it could still be called by the others.
        let aliases = match kind {
            Kind::Random => vec!["rand".to_owned()],
            Kind::Uuid => vec![],
        };
        Self { kind, key, aliases, signature }
    }

    fn results(&self, hashes: impl Iterator<Item = blake3::Hash>) -> ArrayRef {
        match self.kind {
            Kind::Random => Arc::new(Float64Array::from_iter_values(hashes.map(number))),
            Kind::Uuid => Arc::new(StringArray::from_iter_values(hashes.map(uuid))),
        }
    }
}

/// At least 0 and below 1, in steps of 2^-53.
fn number(hash: blake3::Hash) -> f64 {
    let bits = hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// Version 4, that of random bits (RFC 9562).
fn uuid(hash: blake3::Hash) -> String {
    let mut text = String::with_capacity(36);
    for (i, byte) in hash.as_bytes().iter().take(16).enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let byte = match i {
            6 => byte & 0x0f | 0x40,
            8 => byte & 0x3f | 0x80,
            _ => *byte,
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl ScalarUDFImpl for OfRow {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Random => "random",
            Kind::Uuid => "uuid",
        }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    /// A column is called as it was before the call was given its row.
    fn schema_name(&self, _: &[Expr]) -> Result<String> {
        Ok(format!("{}()", self.name()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::Random => DataType::Float64,
            Kind::Uuid => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(key) = &self.key else {
            return exec_err!("{}() was called where there is no row", self.name());
        };
        // The first argument is the number of the call, which is in the key too.
        let row = args.args.get(1..).unwrap_or_default();
        if row.is_empty() {
            let one = self.results(std::iter::once(blake3::keyed_hash(key, &[])));
            return ScalarValue::try_from_array(&one, 0).map(ColumnarValue::Scalar);
        }
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let columns: Vec<ArrayRef> = columns.iter().skip(1).map(canonical_column).collect();
        let fields = columns.iter().map(|of| Field::new("", of.data_type().clone(), true));
        let codec = RowCodec::new(Arc::new(Schema::new(fields.collect::<Vec<_>>())));
        let wrong = |error| DataFusionError::External(Box::new(error));
        let rows = codec.map_err(wrong)?.encode(&columns).map_err(wrong)?;
        let hashes = rows.iter().map(|row| blake3::keyed_hash(key, row.as_ref()));
        Ok(ColumnarValue::Array(self.results(hashes)))
    }
}

/// The kind of a call that has not been given its row.
fn called(expr: &Expr) -> Option<Kind> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let function = call.func.inner().downcast_ref::<OfRow>()?;
    function.key.is_none().then_some(function.kind)
}

/// Whether the plan, or a subquery in it, has random values.
pub(crate) fn is_random(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                let is_random =
                    matches!(part, Expr::ScalarFunction(of) if of.func.inner().is::<OfRow>());
                found |= is_random;
                Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        })
    })?;
    Ok(found)
}

/// The plan of a view with every call of `random()` and `uuid()` given its number and its row.
pub(crate) fn with_rows(plan: LogicalPlan, seed: u64, view: &str) -> Result<LogicalPlan> {
    let mut calls = Calls { seed, view, number: 0 };
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) => calls.of_join(join),
        // It has columns alone.
        LogicalPlan::Unnest(_) => Ok(Transformed::no(node)),
        node => {
            let row: Vec<Expr> = node.inputs().into_iter().flat_map(columns).collect();
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let changed = calls.replace(expr, &row)?;
                Ok(changed.update_data(|expr| name.restore(expr)))
            })
        }
    })
    .data()
}

/// The columns of a plan that rows can be told apart by.
fn columns(plan: &LogicalPlan) -> Vec<Expr> {
    let fields = plan.schema().iter().filter(|(_, field)| {
        !matches!(field.data_type(), DataType::Map(_, _) | DataType::Union(_, _))
    });
    fields.map(|of| Expr::Column(Column::from((of.0, of.1.as_ref())))).collect()
}

struct Calls<'a> {
    seed: u64,
    view: &'a str,
    number: u64,
}

impl Calls<'_> {
    fn replace(&mut self, expr: Expr, row: &[Expr]) -> Result<Transformed<Expr>> {
        expr.transform_up(|part| {
            let Some(kind) = called(&part) else { return Ok(Transformed::no(part)) };
            let number = self.number;
            self.number += 1;
            let function = Arc::new(ScalarUDF::from(OfRow::new(kind, Some(self.key(number)))));
            let number = Expr::Literal(ScalarValue::UInt64(Some(number)), None);
            let args = std::iter::once(number).chain(row.iter().cloned()).collect();
            let call = ScalarFunction::new_udf(function, args);
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        })
    }

    fn key(&self, number: u64) -> [u8; blake3::KEY_LEN] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&number.to_le_bytes());
        hasher.update(self.view.as_bytes());
        *hasher.finalize().as_bytes()
    }

    /// What a join compares is of a row of either side; its condition is of a row of both.
    fn of_join(&mut self, mut join: Join) -> Result<Transformed<LogicalPlan>> {
        let (left, right) = (columns(&join.left), columns(&join.right));
        for (of_left, of_right) in &mut join.on {
            *of_left = self.replace(std::mem::take(of_left), &left)?.data;
            *of_right = self.replace(std::mem::take(of_right), &right)?.data;
        }
        let both: Vec<Expr> = left.into_iter().chain(right).collect();
        join.filter = match join.filter.take() {
            Some(filter) => Some(self.replace(filter, &both)?.data),
            None => None,
        };
        Ok(Transformed::yes(LogicalPlan::Join(join)))
    }
}
