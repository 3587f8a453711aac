//! Rows while a stretch of input is being read, and what of it was refused.

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use syncline_change::source::{RejectClass, Rejected};
use syncline_change::{Batch, Result, row};

use super::column::Column;
use super::{Decoded, Input, REJECTED_BYTES_MAX, column_index};

/// Why a record is refused.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) class: RejectClass,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(class: RejectClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }
}

/// The rows of one stretch of input. A *record* is what the input holds and what is refused as a
/// whole (a line); it makes no row, one, or two (before and after).
pub(crate) struct Rows {
    schema: SchemaRef,
    columns: Vec<Column>,
    /// Columns of the primary key, and those that are never null.
    required: Vec<usize>,
    /// Where in the input each record starts and ends.
    records: Vec<(usize, usize)>,
    /// For each row, the record that it is from.
    record_of: Vec<u32>,
    /// For each row what it does; zero: it is left out.
    weights: Vec<i64>,
    /// The first of a record counts.
    faults: Vec<(u32, Fault)>,
    /// About how many bytes of input a row had, in the last stretch that had rows.
    row_bytes: usize,
}

impl Rows {
    /// # Errors
    /// `Config` if the schema has no such `primary_key`.
    pub(crate) fn new(schema: SchemaRef, primary_key: &[String]) -> Result<Self> {
        let mut required = primary_key
            .iter()
            .map(|name| column_index(&schema, name))
            .collect::<Result<Vec<_>>>()?;
        for (i, field) in schema.fields().iter().enumerate() {
            if !field.is_nullable() && !required.contains(&i) {
                required.push(i);
            }
        }
        Ok(Self::empty(schema, required))
    }

    fn empty(schema: SchemaRef, required: Vec<usize>) -> Self {
        let columns = schema.fields().iter().cloned().map(Column::new).collect();
        Self {
            schema,
            columns,
            required,
            records: Vec::new(),
            record_of: Vec::new(),
            weights: Vec::new(),
            faults: Vec::new(),
            row_bytes: 0,
        }
    }

    /// The same columns without rows.
    pub(crate) fn fork(&self) -> Self {
        Self::empty(self.schema.clone(), self.required.clone())
    }

    /// Makes room for the rows of `input`, if they are about as long as those before.
    pub(crate) fn reserve(&mut self, input: &Input<'_>) {
        let Some(rows) = input.bytes.len().checked_div(self.row_bytes) else { return };
        let rows = (rows + rows / 16 + 1).min(input.rows_max);
        self.columns.iter_mut().for_each(|column| column.reserve(rows));
        self.records.reserve(rows);
        self.record_of.reserve(rows);
        self.weights.reserve(rows);
    }

    /// Forgets the values of the row that is not ended yet.
    pub(crate) fn forget_unfinished(&mut self) {
        let rows = self.len();
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn columns_mut(&mut self) -> &mut [Column] {
        &mut self.columns
    }

    pub(crate) fn column(&self, index: usize) -> &Column {
        &self.columns[index]
    }

    /// Rows begun so far.
    pub(crate) fn len(&self) -> usize {
        self.record_of.len()
    }

    pub(crate) fn records(&self) -> usize {
        self.records.len()
    }

    /// A record from `start` to `end` of the input.
    pub(crate) fn begin_record(&mut self, start: usize, end: usize) {
        self.records.push((start, end));
    }

    /// Ends a row of the last record, which does `weight`: columns without a value get null.
    pub(crate) fn end_row(&mut self, weight: i64) -> usize {
        let row = self.record_of.len();
        for column in &mut self.columns {
            if column.len() == row {
                column.push_null();
            }
        }
        self.add_row(weight);
        row
    }

    /// The same for a row whose columns are filled in some other way.
    pub(crate) fn add_row(&mut self, weight: i64) {
        self.record_of.push(self.records.len().saturating_sub(1) as u32);
        self.weights.push(weight);
    }

    /// Changes what `row` does.
    pub(crate) fn set_weight(&mut self, row: usize, weight: i64) {
        self.weights[row] = weight;
    }

    /// Refuses the last record, with all its rows.
    pub(crate) fn refuse(&mut self, fault: Fault) {
        self.faults.push((self.records.len().saturating_sub(1) as u32, fault));
    }

    /// Refuses the record that `row` is from.
    pub(crate) fn refuse_row(&mut self, row: usize, fault: Fault) {
        self.faults.push((self.record_of[row], fault));
    }

    /// Whether two rows have the same primary key.
    pub(crate) fn is_same_key(&self, key: &[usize], a: usize, b: usize) -> bool {
        key.iter().all(|&column| self.columns[column].is_same(a, b))
    }

    /// All of it, of the first `bytes` of `input`, which are `lines` lines; begins anew after it.
    pub(crate) fn finish(
        &mut self,
        input: &Input<'_>,
        bytes: usize,
        lines: u64,
        context: Option<&str>,
    ) -> Result<Decoded> {
        let mut arrays = Vec::with_capacity(self.columns.len());
        for i in 0..self.columns.len() {
            let (array, late) = self.columns[i].finish()?;
            for fault in late {
                self.refuse_row(fault.row, Fault::new(RejectClass::WrongType, fault.message));
            }
            arrays.push(array);
        }
        self.refuse_missing(&arrays);
        if !self.record_of.is_empty() {
            self.row_bytes = bytes / self.record_of.len() + 1;
        }
        let faults = std::mem::take(&mut self.faults);
        let (rows, row_ends) = self.keep_good(arrays, &faults)?;
        let (rejected, rejected_ends) = self.rejects(input, faults, context);
        self.records.clear();
        self.record_of.clear();
        self.weights.clear();
        Ok(Decoded { rows, rejected, bytes, lines, row_ends, rejected_ends, hash: None })
    }

    fn refuse_missing(&mut self, arrays: &[ArrayRef]) {
        for &column in &self.required {
            let array = &arrays[column];
            if array.null_count() == 0 {
                continue;
            }
            let name = self.columns[column].name();
            for row in (0..array.len()).filter(|&row| array.is_null(row) && self.weights[row] != 0)
            {
                let message = format!("column `{name}`: a key must have a value, and this is null");
                let fault = Fault::new(RejectClass::MissingKey, message);
                self.faults.push((self.record_of[row], fault));
            }
        }
    }

    /// The rows that count, and where their records end.
    fn keep_good(
        &mut self,
        arrays: Vec<ArrayRef>,
        faults: &[(u32, Fault)],
    ) -> Result<(Batch, Vec<usize>)> {
        let mut row_ends: Vec<usize> =
            self.record_of.iter().map(|&record| self.records[record as usize].1).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.weights.len()));
        let is_all_good = faults.is_empty() && self.weights.iter().all(|&weight| weight != 0);
        let keep = if is_all_good { Vec::new() } else { self.good(faults) };
        if keep.iter().all(|&keep| keep) {
            let rows = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?;
            let rows = row::canonical(rows)?;
            let weights = Int64Array::from(std::mem::take(&mut self.weights));
            return Ok((Batch::new(rows, weights)?, row_ends));
        }
        // Rows that are left out may have nulls where the schema has none.
        let lenient = arrow::datatypes::Schema::new(
            self.schema
                .fields()
                .iter()
                .map(|f| f.as_ref().clone().with_nullable(true))
                .collect::<Vec<_>>(),
        );
        let rows = RecordBatch::try_new_with_options(lenient.into(), arrays, &options)?;
        let mut kept = keep.iter();
        row_ends.retain(|_| kept.next() == Some(&true));
        let mut kept = keep.iter();
        self.weights.retain(|_| kept.next() == Some(&true));
        let rows = filter_record_batch(&rows, &BooleanArray::from(keep))?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.weights.len()));
        let columns = rows.columns().to_vec();
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        let weights = Int64Array::from(std::mem::take(&mut self.weights));
        Ok((Batch::new(row::canonical(rows)?, weights)?, row_ends))
    }

    /// For each row whether it counts.
    fn good(&self, faults: &[(u32, Fault)]) -> Vec<bool> {
        let mut is_bad = vec![false; self.records.len()];
        for (record, _) in faults {
            is_bad[*record as usize] = true;
        }
        let counts = |row: usize| self.weights[row] != 0 && !is_bad[self.record_of[row] as usize];
        (0..self.weights.len()).map(counts).collect()
    }

    fn rejects(
        &self,
        input: &Input<'_>,
        mut faults: Vec<(u32, Fault)>,
        context: Option<&str>,
    ) -> (Vec<Rejected>, Vec<usize>) {
        faults.sort_by_key(|(record, _)| *record);
        faults.dedup_by_key(|(record, _)| *record);
        let mut rejected = Vec::with_capacity(faults.len());
        let mut ends = Vec::with_capacity(faults.len());
        let mut line = input.first_line;
        let mut counted = 0;
        for (record, fault) in faults {
            let (start, end) = self.records[record as usize];
            line += memchr::memchr_iter(b'\n', &input.bytes[counted..start]).count() as u64;
            counted = start;
            let bytes = trim_line_end(&input.bytes[start..end]);
            rejected.push(rejected_row(bytes, fault, input.label, line, context));
            ends.push(end);
        }
        (rejected, ends)
    }
}

/// A dead letter of `bytes`, or of as much of them as is kept.
pub(crate) fn rejected_row(
    bytes: &[u8],
    fault: Fault,
    label: &str,
    line: u64,
    context: Option<&str>,
) -> Rejected {
    let mut message = fault.message;
    let kept = &bytes[..bytes.len().min(REJECTED_BYTES_MAX)];
    if kept.len() < bytes.len() {
        message.push_str(&format!(" (the first {} KiB are kept)", REJECTED_BYTES_MAX >> 10));
    }
    Rejected {
        bytes: kept.to_vec(),
        context: context.map(str::to_owned),
        position: format!("{label}:{line}"),
        class: fault.class,
        message,
    }
}

/// That a row of `length` bytes or more is longer than it may be.
pub(crate) fn too_long(row_bytes_max: usize) -> Fault {
    let limit = syncline_change::units::Size(row_bytes_max as u64);
    Fault::new(RejectClass::TooLong, format!("longer than {limit}, the most that a row may have"))
}

pub(crate) fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
