//! Rows as bytes: equal rows have equal bytes, and the order of bytes is the order of values.
//!
//! The encoding is `arrow::row` (nulls first, ascending). It is total over floats: NaN equals NaN,
//! -0 sorts before +0. [`canonical`] removes both differences before rows are first stored.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, NullArray, PrimitiveArray, RecordBatch,
};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};

use crate::{Error, Result};

/// Encodes rows of one schema, and decodes them again.
#[derive(Debug)]
pub struct RowCodec {
    converter: RowConverter,
    schema: SchemaRef,
}

impl RowCodec {
    /// # Errors
    /// `Unsupported` if a column's type has no order (a map, a union).
    pub fn new(schema: SchemaRef) -> Result<Self> {
        let mut fields: Vec<SortField> =
            schema.fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
        if fields.is_empty() {
            // Rows without columns are told apart by nothing, but there is a number of them.
            fields.push(SortField::new(DataType::Null));
        }
        let converter = RowConverter::new(fields).map_err(|error| {
            Error::unsupported("a column's type cannot be compared").detail(error.to_string())
        })?;
        Ok(Self { converter, schema })
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows of `columns`, at least one, which must have the types of the schema.
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<Rows> {
        Ok(self.converter.convert_columns(columns)?)
    }

    /// The rows of a record batch of the schema, which may have no columns.
    pub fn encode_batch(&self, rows: &RecordBatch) -> Result<Rows> {
        if rows.num_columns() == 0 {
            return self.encode(&[Arc::new(NullArray::new(rows.num_rows()))]);
        }
        self.encode(rows.columns())
    }

    /// Encoded rows as columns again.
    ///
    /// # Errors
    /// `Bug` if the bytes were not made by a codec of the same schema.
    pub fn decode<'a>(&self, rows: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        let mut columns =
            self.converter.convert_rows(rows.into_iter().map(|row| parser.parse(row)))?;
        columns.truncate(self.schema.fields().len());
        Ok(columns)
    }

    /// Encoded rows as a record batch of the schema.
    pub fn decode_batch<'a>(
        &self,
        rows: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<RecordBatch> {
        let rows: Vec<&[u8]> = rows.into_iter().collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = self.decode(rows)?;
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// The hash of an encoded row or key: XXH3, the same on every machine and in every run.
pub fn hash(row: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(row)
}

/// `rows` with every NaN the same NaN and every -0 a +0 (top-level float columns).
pub fn canonical(rows: RecordBatch) -> Result<RecordBatch> {
    let schema = rows.schema();
    let is_float = |t: &DataType| matches!(t, DataType::Float32 | DataType::Float64);
    if !schema.fields().iter().any(|field| is_float(field.data_type())) {
        return Ok(rows);
    }
    let columns = rows.columns().iter().map(canonical_column);
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema, columns.collect(), &options)?)
}

/// `column` with every NaN the same NaN and every -0 a +0, if it is one of floats.
pub fn canonical_column(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float64 => canonical_floats::<Float64Type>(
            column,
            |v| v.is_nan() & (v.to_bits() != f64::NAN.to_bits()) | (v.to_bits() == 1 << 63),
            |v| if v.is_nan() { f64::NAN } else { v + 0.0 },
        ),
        DataType::Float32 => canonical_floats::<Float32Type>(
            column,
            |v| v.is_nan() & (v.to_bits() != f32::NAN.to_bits()) | (v.to_bits() == 1 << 31),
            |v| if v.is_nan() { f32::NAN } else { v + 0.0 },
        ),
        _ => column.clone(),
    }
}

/// So many floats are looked at before it is asked whether one has to be mended.
const LOOKED_AT_ONCE: usize = 1024;

fn canonical_floats<T: ArrowPrimitiveType>(
    column: &ArrayRef,
    is_odd: impl Fn(T::Native) -> bool,
    mend: impl Fn(T::Native) -> T::Native,
) -> ArrayRef {
    let floats = column.as_primitive::<T>();
    // Without a branch for each value, so that several are looked at with one instruction.
    let any_odd = |part: &[T::Native]| part.iter().fold(false, |found, &v| found | is_odd(v));
    if !floats.values().chunks(LOOKED_AT_ONCE).any(any_odd) {
        return column.clone();
    }
    let mended: PrimitiveArray<T> = floats.unary(mend);
    Arc::new(mended)
}
