//! What stands before a view's output: changes that cancel are left out, and `emit: final` waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType};
use syncline_change::row::{self, RowCodec, canonical};
use syncline_change::source::RejectClass;
use syncline_change::{Batch, Error, Result};

use super::accumulate::change_count;
use super::map::rejected;
use super::partition::{PARTITIONS, Split};
use super::recompute::{Rows, rows_bytes};
use super::{Change, Epoch, Operator, relabel, tree_bytes};
use crate::state::{KeyLog, Loader, Saver, put_i64, take_i64};

/// Adds up the changes of equal rows: first what goes, then what comes, each by partition and in the
/// order of rows. Where no row stands twice there is nothing to add up, and the order is kept.
pub(crate) struct Consolidate {
    codec: RowCodec,
    /// Whether the input has every row at most once.
    is_done: bool,
}

impl Consolidate {
    pub(crate) fn new(schema: SchemaRef, is_done: bool) -> Result<Self> {
        Ok(Self { codec: RowCodec::new(schema)?, is_done })
    }
}

impl Operator for Consolidate {
    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let mut is_done = self.is_done;
        let canonical = inputs[0].batches.iter().map(|batch| {
            let batch = relabel(batch, self.codec.schema())?;
            let rows = canonical(batch.rows().clone())?;
            let pairs = || rows.columns().iter().zip(batch.rows().columns());
            // Rows that differed may be equal now.
            is_done &= pairs().all(|(now, was)| Arc::ptr_eq(now, was));
            Ok(batch.with_rows(rows))
        });
        let batches = canonical.collect::<Result<Vec<Batch>>>()?;
        if is_done || batches.iter().all(Batch::is_append_only) {
            return Ok(batches);
        }
        let batch = epoch.workers.concat(self.codec.schema(), &batches)?;
        self.add_up(epoch, &batch)
    }
}

impl Consolidate {
    pub(super) fn add_up(&self, epoch: &Epoch<'_>, batch: &Batch) -> Result<Vec<Batch>> {
        let encoded = epoch.workers.by_parts(batch.num_rows(), |part| {
            let rows = batch.rows().slice(part.start, part.len());
            let rows = self.codec.encode_batch(&rows)?;
            let hashes: Vec<u64> = rows.iter().map(|row| row::hash(row.data())).collect();
            Ok((rows, hashes))
        })?;
        let row = |i: &u32| {
            let ((rows, _), row) = encoded.of(*i as usize);
            rows.row(row).data()
        };
        let hashes: Vec<u64> = encoded.iter().flat_map(|(_, hashes)| hashes).copied().collect();
        let split = Split::new(&hashes);
        let mut sums = vec![Sums::default(); PARTITIONS];
        epoch.workers.run(&split, &mut sums, |sums, rows| {
            let mut order = rows.to_vec();
            order.sort_unstable_by(|a, b| row(a).cmp(row(b)));
            for equal in order.chunk_by(|a, b| row(a) == row(b)) {
                let weight: i64 = equal.iter().map(|&i| batch.weight(i as usize)).sum();
                match weight {
                    0 => {}
                    ..0 => sums.go.push((equal[0], weight)),
                    _ => sums.come.push((equal[0], weight)),
                }
            }
            Ok(())
        })?;
        let all = sums.iter().flat_map(|of| &of.go).chain(sums.iter().flat_map(|of| &of.come));
        let (indices, weights): (Vec<u32>, Vec<i64>) = all.copied().unzip();
        if indices.is_empty() {
            return Ok(vec![]);
        }
        let rows = batch.take(&UInt32Array::from(indices))?;
        Ok(vec![Batch::new(rows.rows().clone(), Int64Array::from(weights))?])
    }
}

/// Rows whose weights do not cancel, each with their sum.
#[derive(Clone, Default)]
struct Sums {
    go: Vec<(u32, i64)>,
    come: Vec<(u32, i64)>,
}

/// How far event time has come in all of `tables`, given that of every table and which are idle.
pub(crate) fn watermark_of(tables: &[usize], watermarks: &[i64], idle: &[bool]) -> i64 {
    let of = |is_idle: bool| {
        let tables = tables.iter().filter(move |&&table| idle[table] == is_idle);
        tables.map(|&table| watermarks[table]).min()
    };
    // Where all are idle, none says more than before.
    of(false).or_else(|| of(true)).unwrap_or(i64::MAX)
}

/// `emit: final`: holds rows back until the watermark has passed their `window_end`.
pub(crate) struct Settle {
    view: String,
    codec: RowCodec,
    /// The number of the `window_end` column.
    window_end: usize,
    /// The tables whose watermarks count.
    tables: Vec<usize>,
    /// The end of a window to the encoded rows that wait for it.
    waiting: BTreeMap<i64, Rows>,
    /// Windows that end at or before this are closed.
    closed: i64,
    /// Ends and rows that were touched since they were last saved.
    unsaved: KeyLog,
}

impl Settle {
    pub(crate) fn new(
        view: String,
        window_end: usize,
        tables: Vec<usize>,
        schema: SchemaRef,
    ) -> Result<Self> {
        let codec = RowCodec::new(schema)?;
        let (waiting, closed) = (BTreeMap::new(), i64::MIN);
        Ok(Self { view, codec, window_end, tables, waiting, closed, unsaved: KeyLog::default() })
    }

    fn watermark(&self, epoch: &Epoch<'_>) -> i64 {
        watermark_of(&self.tables, epoch.watermarks, epoch.idle)
    }

    fn take_in(&mut self, epoch: &mut Epoch<'_>, batch: &Batch) -> Result<()> {
        let ends = micros(batch.rows().column(self.window_end))?;
        let rows = self.codec.encode_batch(batch.rows())?;
        for i in 0..batch.num_rows() {
            let end = if ends.is_null(i) { i64::MAX } else { ends.value(i) };
            if end <= self.closed {
                let error = Error::input(match batch.weight(i) {
                    ..0 => "its window is closed: it was shown, and would be taken away again",
                    _ => "its window is closed and was shown already",
                });
                let row = rejected(epoch.number, &batch.slice(i, 1), RejectClass::Late, &error)?;
                epoch.rejected.push((self.view.clone(), row));
                continue;
            }
            self.unsaved.note(&[&end.to_le_bytes(), rows.row(i).data()]);
            let waiting = self.waiting.entry(end).or_default();
            change_count(waiting, rows.row(i).data(), batch.weight(i));
        }
        Ok(())
    }
}

impl Operator for Settle {
    /// Also where nothing waits: what has closed stays closed, or a row could come out that others
    /// take to be out of reach.
    fn is_due(&self, epoch: &Epoch<'_>) -> bool {
        self.watermark(epoch) > self.closed
    }

    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        for batch in inputs[0].batches {
            self.take_in(epoch, batch)?;
        }
        let watermark = self.watermark(epoch);
        self.closed = self.closed.max(watermark);
        let open = match watermark.checked_add(1) {
            Some(after) => self.waiting.split_off(&after),
            None => BTreeMap::new(),
        };
        let settled = std::mem::replace(&mut self.waiting, open);
        for (end, rows) in &settled {
            rows.keys().for_each(|row| self.unsaved.note(&[&end.to_le_bytes(), row]));
        }
        let rows: Vec<(&[u8], i64)> = settled
            .values()
            .flat_map(|rows| rows.iter().map(|(row, &count)| (&**row, count)))
            .collect();
        if rows.is_empty() {
            return Ok(vec![]);
        }
        let batch = self.codec.decode_batch(rows.iter().map(|(row, _)| *row))?;
        let weights: Vec<i64> = rows.iter().map(|(_, count)| *count).collect();
        Ok(vec![Batch::new(batch, Int64Array::from(weights))?])
    }

    fn begin_saving(&mut self) {
        self.unsaved.begin();
    }

    fn unsaved(&self) -> usize {
        self.unsaved.bytes()
    }

    fn save(&mut self, to: &mut Saver<'_>) -> Result<()> {
        let cells = self.unsaved.take_counts(|mut row| {
            let end = take_i64(&mut row)?;
            self.waiting.get(&end)?.get(row).copied()
        });
        to.cells("waiting", cells);
        to.value("closed", |bytes| put_i64(bytes, self.closed));
        Ok(())
    }

    fn load(&mut self, from: &Loader<'_>) -> Result<()> {
        let waiting = &mut self.waiting;
        from.cells("waiting", |mut row, mut count| {
            let rows = waiting.entry(take_i64(&mut row)?).or_default();
            rows.insert(row.into(), take_i64(&mut count)?);
            Some(())
        })?;
        self.closed = from.value("closed", take_i64)?;
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.waiting.values().map(BTreeMap::len).sum()
    }

    fn state_bytes(&self) -> usize {
        let waiting = self.waiting.values().map(rows_bytes);
        tree_bytes::<(i64, Rows)>(self.waiting.len()) + waiting.sum::<usize>()
    }
}

/// Timestamps of any unit as microseconds since 1970; those that do not fit are the first or the last
/// that do.
pub(crate) fn micros(column: &ArrayRef) -> Result<TimestampMicrosecondArray> {
    let zone = match column.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        other => {
            return Err(Error::bug(format!("event time is a timestamp, but here it is {other}")));
        }
    };
    let micros = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone))?;
    let micros = micros.as_primitive::<TimestampMicrosecondType>();
    if micros.null_count() == column.null_count() {
        return Ok(micros.clone());
    }
    let numbers = cast(column, &DataType::Int64)?;
    let both = numbers.as_primitive::<Int64Type>().iter().zip(micros);
    Ok(both.map(|(number, micros)| micros.or(number.map(nearest_end))).collect())
}

fn nearest_end(number: i64) -> i64 {
    if number < 0 { i64::MIN } else { i64::MAX }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::TimestampSecondArray;

    use super::*;

    #[test]
    fn times_beyond_microseconds_are_not_lost() {
        let seconds = [Some(i64::MIN), Some(-1), None, Some(1), Some(i64::MAX / 1_000)];
        let column: ArrayRef = Arc::new(TimestampSecondArray::from_iter(seconds));
        let expect = [Some(i64::MIN), Some(-1_000_000), None, Some(1_000_000), Some(i64::MAX)];
        assert_eq!(micros(&column).unwrap().iter().collect::<Vec<_>>(), expect);
    }
}
