//! A row for each element of a list.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::NullHandling;
use syncline_change::{Batch, Error, Result};

use super::map::parts;
use super::{Change, Epoch, Operator};

/// Repeats every row for each element of its list, which stands in the list's place. Keeps nothing.
pub(crate) struct Unnest {
    /// The column of lists.
    pub(crate) list: usize,
    /// The columns of the input that the output is made of.
    pub(crate) columns: Vec<usize>,
    pub(crate) nulls: NullHandling,
    pub(crate) schema: SchemaRef,
}

impl Operator for Unnest {
    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let parts: Vec<Batch> = inputs[0].batches.iter().flat_map(parts).collect();
        let done = epoch.workers.map(&parts, |part| self.repeat(part));
        let mut output = done.into_iter().collect::<Result<Vec<_>>>()?;
        output.retain(|batch| !batch.is_empty());
        Ok(output)
    }
}

impl Unnest {
    fn repeat(&self, batch: &Batch) -> Result<Batch> {
        let lists = Lists::of(batch.rows().column(self.list))?;
        let (mut rows, mut elements) = (Vec::new(), Vec::new());
        for row in 0..batch.num_rows() {
            let (start, length) = lists.bounds(row);
            let length_shown = match (lists.column.is_null(row), length) {
                (true, _) => usize::from(self.nulls != NullHandling::Drop),
                (false, 0) => usize::from(self.nulls == NullHandling::PreserveAndExpandEmpty),
                (false, length) => length,
            };
            let length = if lists.column.is_null(row) { 0 } else { length };
            rows.extend(std::iter::repeat_n(row as u32, length_shown));
            elements.extend((0..length_shown).map(|i| (i < length).then_some((start + i) as u32)));
        }
        let (rows, elements) = (UInt32Array::from(rows), UInt32Array::from(elements));
        let columns = self.columns.iter().map(|&column| match column {
            column if column == self.list => take(&lists.elements, &elements, None),
            column => take(batch.rows().column(column), &rows, None),
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let repeated = RecordBatch::try_new(self.schema.clone(), columns)?;
        match batch.weights() {
            None => Ok(Batch::inserts(repeated)),
            Some(weights) => {
                let values = rows.values().iter().map(|&row| weights.value(row as usize));
                Batch::new(repeated, Int64Array::from_iter_values(values))
            }
        }
    }
}

/// A column of lists, and all of their elements.
struct Lists<'a> {
    column: &'a ArrayRef,
    elements: ArrayRef,
}

impl<'a> Lists<'a> {
    fn of(column: &'a ArrayRef) -> Result<Self> {
        let elements = match column.data_type() {
            DataType::List(_) => column.as_list::<i32>().values(),
            DataType::LargeList(_) => column.as_list::<i64>().values(),
            DataType::FixedSizeList(_, _) => column.as_fixed_size_list().values(),
            other => return Err(Error::bug(format!("unnest of {other}, which is not a list"))),
        };
        Ok(Self { column, elements: elements.clone() })
    }

    /// Where the list of a row begins, and how long it is.
    fn bounds(&self, row: usize) -> (usize, usize) {
        match self.column.data_type() {
            DataType::LargeList(_) => {
                let lists = self.column.as_list::<i64>();
                let start = lists.value_offsets()[row];
                (start as usize, lists.value_length(row) as usize)
            }
            DataType::FixedSizeList(_, _) => {
                let lists = self.column.as_fixed_size_list();
                (lists.value_offset(row) as usize, lists.value_length() as usize)
            }
            _ => {
                let lists = self.column.as_list::<i32>();
                (lists.value_offsets()[row] as usize, lists.value_length(row) as usize)
            }
        }
    }
}
