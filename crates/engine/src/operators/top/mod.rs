//! The first rows of every group in a total order: `ORDER BY .. LIMIT .. OFFSET ..` where all rows
//! are one group, and `row_number()`, `rank()` and `dense_rank()`, which may be known to be asked for
//! their first numbers alone.

mod appended;

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::datatypes::SchemaRef;
use syncline_change::{Batch, Result};

pub(crate) use self::appended::{ROWS_MAX, TopAppended};
use super::arrange::{Arranged, Delta};
use super::{Change, Epoch, OUTPUT_ROWS_MAX, Operator};
use crate::state::{Group, KeyedCodec};

/// How many rows are looked at together for whether they tie.
const PEERS_ROWS: usize = 64;

/// How the rows of a group are numbered, from 1 and in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Numbering {
    /// One after the other.
    Rows,
    /// Rows that tie alike, by the number of rows before them.
    Rank,
    /// Rows that tie alike, without gaps.
    DenseRank,
}

impl Numbering {
    /// The numbering that a window function is.
    pub(crate) fn named(function: &str) -> Option<Self> {
        match function {
            "row_number" => Some(Self::Rows),
            "rank" => Some(Self::Rank),
            "dense_rank" => Some(Self::DenseRank),
            _ => None,
        }
    }
}

/// Shows of each group the rows after the first `skip`, `fetch` of them.
pub(crate) struct Top {
    pub(crate) skip: usize,
    /// How many rows are shown, or where they are numbered, up to which number.
    pub(crate) fetch: usize,
    /// What number of the row in its group is the last column, if any is.
    pub(crate) numbers: Option<Numbering>,
    pub(crate) schema: SchemaRef,
    pub(crate) name: String,
}

/// A row that is shown, as which number (0 where rows are not numbered), and how often.
#[derive(Clone, Copy)]
struct Shown<'a> {
    row: &'a [u8],
    number: u64,
    count: i64,
}

/// A row that comes or goes.
#[derive(Clone, Copy)]
struct Entry<'a> {
    key: &'a [u8],
    row: &'a [u8],
    number: u64,
    weight: i64,
}

impl Operator for Top {
    /// The input is an arrangement by group, in order.
    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let rows = inputs[0].arranged(&self.name)?;
        let (top, number) = (&*self, epoch.number);
        let done = rows.each_delta(epoch, |partition, delta| {
            top.step_partition(rows, number, partition, delta)
        })?;
        Batch::coalesce(&self.schema, done, OUTPUT_ROWS_MAX)
    }
}

impl Top {
    fn step_partition(
        &self,
        rows: &Arranged,
        epoch: u64,
        partition: usize,
        delta: &Delta,
    ) -> Result<Vec<Batch>> {
        let mut entries = Vec::new();
        for group in 0..delta.run.groups() {
            let (hash, key) = (delta.run.hash(group), delta.run.key(group));
            let before = self.shown(rows.codec(), rows.before(epoch, partition, hash, key))?;
            let first_change = delta.run.row(delta.run.rows_of(group).start);
            if self.is_behind(rows.codec(), &before, first_change)? {
                continue; // All that changes comes behind what is shown.
            }
            let after = self.shown(rows.codec(), rows.after(partition, hash, key))?;
            difference(key, &before, &after, &mut entries);
        }
        let batch = |part| batch(rows.codec(), &self.schema, self.numbers.is_some(), part);
        entries.chunks(OUTPUT_ROWS_MAX).map(batch).collect()
    }

    /// Whether a row cannot be among those that are shown.
    fn is_behind(&self, codec: &KeyedCodec, shown: &[Shown<'_>], row: &[u8]) -> Result<bool> {
        let Some(last) = shown.last().filter(|last| last.row < row) else { return Ok(false) };
        let is_full = match self.numbers {
            None | Some(Numbering::Rows) => return Ok(shown.len() == self.fetch),
            Some(Numbering::Rank) => {
                let rows: i64 = shown.iter().map(|shown| shown.count).sum();
                rows.unsigned_abs() >= self.fetch as u64
            }
            Some(Numbering::DenseRank) => last.number == self.fetch as u64,
        };
        if !is_full {
            return Ok(false);
        }
        let orders = codec.order_of(&[last.row, row])?;
        Ok(orders.get(0) != orders.get(1))
    }

    fn shown<'a>(&self, codec: &KeyedCodec, group: Group<'a>) -> Result<Vec<Shown<'a>>> {
        match self.numbers {
            None | Some(Numbering::Rows) => Ok(self.shown_by_row(group)),
            Some(numbering) => self.shown_by_rank(codec, group, numbering),
        }
    }

    /// The rows whose rank is not too high.
    fn shown_by_rank<'a>(
        &self,
        codec: &KeyedCodec,
        mut group: Group<'a>,
        numbering: Numbering,
    ) -> Result<Vec<Shown<'a>>> {
        let mut shown = Vec::new();
        let (mut rows_before, mut rank, mut dense_rank) = (0, 0, 0);
        let mut peers: Option<Vec<u8>> = None;
        loop {
            let part: Vec<(&[u8], i64)> = group.by_ref().take(PEERS_ROWS).collect();
            if part.is_empty() {
                return Ok(shown);
            }
            let orders = codec.order_of(&part.iter().map(|(row, _)| *row).collect::<Vec<_>>())?;
            for (i, (row, count)) in part.into_iter().enumerate() {
                if peers.as_deref() != Some(orders.get(i)) {
                    peers = Some(orders.get(i).to_vec());
                    rank = rows_before + 1;
                    dense_rank += 1;
                }
                let number = if numbering == Numbering::Rank { rank } else { dense_rank };
                if number > self.fetch as u64 {
                    return Ok(shown);
                }
                shown.push(Shown { row, number, count });
                rows_before += count.unsigned_abs();
            }
        }
    }

    fn shown_by_row<'a>(&self, group: Group<'a>) -> Vec<Shown<'a>> {
        let mut shown = Vec::new();
        let (mut skip, mut left) = (self.skip as u64, self.fetch as u64);
        let mut next = self.skip as u64 + 1;
        for (row, count) in group {
            if left == 0 {
                break;
            }
            let count = count.unsigned_abs();
            let skipped = count.min(skip);
            skip -= skipped;
            let taken = (count - skipped).min(left);
            left -= taken;
            if self.numbers.is_some() {
                let copies = next..next + taken;
                shown.extend(copies.map(|number| Shown { row, number, count: 1 }));
                next += taken;
            } else if taken > 0 {
                shown.push(Shown { row, number: 0, count: taken as i64 });
            }
        }
        shown
    }
}

/// Rows that come and go, with their numbers as the last column if they are `numbered`.
fn batch(
    codec: &KeyedCodec,
    schema: &SchemaRef,
    numbered: bool,
    entries: &[Entry<'_>],
) -> Result<Batch> {
    let mut columns = codec.decode(entries.iter().map(|e| (e.key, e.row)))?;
    if numbered {
        let numbers = UInt64Array::from_iter_values(entries.iter().map(|e| e.number));
        columns.push(Arc::new(numbers) as ArrayRef);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(entries.len()));
    let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
    Batch::new(batch, Int64Array::from_iter_values(entries.iter().map(|e| e.weight)))
}

/// What turns one list into the other; both are in order.
fn difference<'a>(
    key: &'a [u8],
    before: &[Shown<'a>],
    after: &[Shown<'a>],
    entries: &mut Vec<Entry<'a>>,
) {
    let (mut b, mut a) = (0, 0);
    let place = |of: &Shown<'a>| (of.row, of.number);
    while b < before.len() || a < after.len() {
        let order = match (before.get(b), after.get(a)) {
            (Some(old), Some(new)) => place(old).cmp(&place(new)),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        let was = if order == Ordering::Greater { 0 } else { before[b].count };
        let is = if order == Ordering::Less { 0 } else { after[a].count };
        let of = if order == Ordering::Greater { after[a] } else { before[b] };
        if is != was {
            entries.push(Entry { key, row: of.row, number: of.number, weight: is - was });
        }
        b += usize::from(order != Ordering::Greater);
        a += usize::from(order != Ordering::Less);
    }
}
