//! A hash of changes in their order, column by column.
//!
//! Columns are hashed as they lie in memory where that says the values and nothing else, so that it
//! costs little more than reading them. What is hashed does not depend on how rows are cut into batches.
//!
//! Of every column: a hash of its values that are not NULL, one of the numbers of the rows that are,
//! and for values of varying length one of the lengths. Nested types are hashed by rows, as
//! [`RowBytes`](super::RowBytes) has them. Then a hash of the weights that are not 1, with the
//! numbers of their rows. The digest is the hash of all of these and of the number of rows.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, SchemaRef};

use super::RowBytes;
use crate::row::canonical_column;
use crate::{Batch, Result};

#[cfg(target_endian = "big")]
compile_error!(
    "values are hashed as they are in memory, which is defined for little-endian machines"
);

/// What changes are hashed as; another definition of their bytes needs another context.
const CONTEXT: &str = "syncline 1 changes of a view";

/// Hashes changes of one schema.
pub struct ChangeDigest {
    columns: Vec<Column>,
    weights: blake3::Hasher,
    rows: u64,
}

/// The parts of a column that there were any bytes for.
#[derive(Default)]
struct Column {
    values: Option<Box<blake3::Hasher>>,
    lengths: Option<Box<blake3::Hasher>>,
    nulls: Option<Box<blake3::Hasher>>,
}

fn update(part: &mut Option<Box<blake3::Hasher>>, bytes: &[u8]) {
    if !bytes.is_empty() {
        part.get_or_insert_default().update(bytes);
    }
}

impl ChangeDigest {
    pub fn new(schema: &SchemaRef) -> Self {
        let columns = schema.fields().iter().map(|_| Column::default()).collect();
        Self { columns, weights: blake3::Hasher::new(), rows: 0 }
    }

    /// # Errors
    /// `Unsupported` if a column's type has no digest (a union).
    pub fn update(&mut self, changes: &Batch) -> Result<()> {
        let rows = changes.rows();
        for (column, array) in self.columns.iter_mut().zip(rows.columns()) {
            column.update(array, self.rows)?;
        }
        if let Some(weights) = changes.weights() {
            for (row, &weight) in (self.rows..).zip(weights.values()) {
                if weight != 1 {
                    self.weights.update(&row.to_le_bytes()).update(&weight.to_le_bytes());
                }
            }
        }
        self.rows += rows.num_rows() as u64;
        Ok(())
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// In hex.
    pub fn hex(&self) -> String {
        let mut whole = blake3::Hasher::new_derive_key(CONTEXT);
        whole.update(&self.rows.to_le_bytes());
        whole.update(self.weights.finalize().as_bytes());
        for column in &self.columns {
            for part in [&column.nulls, &column.lengths, &column.values] {
                let hash = part.as_ref().map(|part| *part.finalize().as_bytes());
                whole.update(&hash.unwrap_or_default());
            }
        }
        whole.finalize().to_hex().to_string()
    }
}

impl Column {
    /// Takes in the values of rows from the number `first` on.
    fn update(&mut self, array: &ArrayRef, first: u64) -> Result<()> {
        let array = &canonical_column(array);
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        if let Some(nulls) = &nulls {
            for (row, is_valid) in (first..).zip(nulls.iter()) {
                if !is_valid {
                    update(&mut self.nulls, &row.to_le_bytes());
                }
            }
        }
        match array.data_type() {
            DataType::Utf8 => {
                let texts = array.as_string::<i32>();
                self.bytes(texts.value_offsets(), texts.value_data(), nulls.as_ref());
            }
            DataType::Binary => {
                let values = array.as_binary::<i32>();
                self.bytes(values.value_offsets(), values.value_data(), nulls.as_ref());
            }
            other => match other.primitive_width() {
                Some(width) if is_plain(other) => self.fixed(array, width, nulls.as_ref()),
                _ => self.by_rows(array, nulls.as_ref())?,
            },
        }
        Ok(())
    }

    fn fixed(&mut self, array: &ArrayRef, width: usize, nulls: Option<&NullBuffer>) {
        let data = array.to_data();
        let Some(buffer) = data.buffers().first() else { return };
        let values = &buffer[data.offset() * width..(data.offset() + array.len()) * width];
        let Some(nulls) = nulls else {
            update(&mut self.values, values);
            return;
        };
        for (start, end) in nulls.valid_slices() {
            update(&mut self.values, &values[start * width..end * width]);
        }
    }

    fn bytes(&mut self, offsets: &[i32], data: &[u8], nulls: Option<&NullBuffer>) {
        let mut lengths = Vec::with_capacity(4 * offsets.len());
        let mut take = |start: usize, end: usize| {
            let ends = &offsets[start..=end];
            for pair in ends.windows(2) {
                lengths.extend_from_slice(&(pair[1] - pair[0]).to_le_bytes());
            }
            update(&mut self.values, &data[ends[0] as usize..ends[end - start] as usize]);
        };
        match nulls {
            None => take(0, offsets.len() - 1),
            Some(nulls) => nulls.valid_slices().for_each(|(start, end)| take(start, end)),
        }
        update(&mut self.lengths, &lengths);
    }

    fn by_rows(&mut self, array: &ArrayRef, nulls: Option<&NullBuffer>) -> Result<()> {
        let rows = RecordBatch::try_from_iter([("value", array.clone())])?;
        let (bytes, mut buffer) = (RowBytes::new(&rows)?, Vec::new());
        for row in 0..array.len() {
            if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                bytes.write(row, &mut buffer);
            }
        }
        update(&mut self.values, &buffer);
        Ok(())
    }
}

/// Whether what is in memory is the value and nothing else.
fn is_plain(data_type: &DataType) -> bool {
    data_type.is_integer()
        || data_type.is_temporal()
        || matches!(data_type, DataType::Float32 | DataType::Float64)
        || matches!(data_type, DataType::Decimal128(..) | DataType::Decimal256(..))
}
