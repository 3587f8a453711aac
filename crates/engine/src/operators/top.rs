//! `ORDER BY .. LIMIT .. OFFSET ..`: the first rows of a total order.

use std::collections::BTreeMap;

use arrow::array::Int64Array;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use syncline_change::row::RowCodec;
use syncline_change::{Batch, Error, Result};

use super::arrange::SortTerm;
use super::map::{evaluate, without_failing};
use super::{Change, Epoch, Operator, negative};

/// Encoded sort key to encoded row and how often it is there.
type Sorted = BTreeMap<Box<[u8]>, (Box<[u8]>, i64)>;

/// Keeps all rows in order and shows `fetch` of them after the first `skip`.
pub(crate) struct Top {
    terms: Vec<SortTerm>,
    converter: RowConverter,
    codec: RowCodec,
    skip: usize,
    fetch: usize,
    rows: Sorted,
    shown: BTreeMap<Box<[u8]>, i64>,
    name: String,
    /// Whose rows these are, for reports.
    view: String,
}

impl Top {
    pub(crate) fn new(
        (name, view): (String, String),
        terms: Vec<SortTerm>,
        (skip, fetch): (usize, usize),
        schema: SchemaRef,
    ) -> Result<Self> {
        let fields = terms
            .iter()
            .map(|term| SortField::new_with_options(term.data_type.clone(), term.options))
            .collect();
        let converter = RowConverter::new(fields).map_err(|error| {
            Error::unsupported("ORDER BY a type without an order").detail(error.to_string())
        })?;
        Ok(Self {
            terms,
            converter,
            codec: RowCodec::new(schema)?,
            skip,
            fetch,
            rows: BTreeMap::new(),
            shown: BTreeMap::new(),
            name,
            view,
        })
    }

    fn take_in(&mut self, epoch: &mut Epoch<'_>, batch: &Batch) -> Result<()> {
        let (batch, columns) = without_failing(epoch, &self.view, batch, |batch| {
            let columns = self.terms.iter().map(|term| evaluate(&term.expr, batch.rows()));
            columns.collect::<Result<Vec<_>>>()
        })?;
        let keys = self.converter.convert_columns(&columns)?;
        let rows = self.codec.encode_batch(batch.rows())?;
        for i in 0..batch.num_rows() {
            let (key, row) = (keys.row(i), rows.row(i));
            match self.rows.get_mut(key.as_ref()) {
                Some((_, count)) => {
                    *count += batch.weight(i);
                    if *count == 0 {
                        self.rows.remove(key.as_ref());
                    }
                }
                None => {
                    self.rows.insert(key.data().into(), (row.data().into(), batch.weight(i)));
                }
            }
        }
        Ok(())
    }

    /// The rows that are to be shown, and how often each.
    fn first(&self) -> Result<BTreeMap<Box<[u8]>, i64>> {
        let mut first = BTreeMap::new();
        let (mut skip, mut fetch) = (self.skip as u64, self.fetch as u64);
        for (row, count) in self.rows.values() {
            let count = u64::try_from(*count).map_err(|_| negative(&self.name, "a row"))?;
            let skipped = count.min(skip);
            skip -= skipped;
            let taken = (count - skipped).min(fetch);
            fetch -= taken;
            if taken > 0 {
                *first.entry(row.clone()).or_insert(0) += taken as i64;
            }
            if fetch == 0 {
                break;
            }
        }
        Ok(first)
    }
}

impl Operator for Top {
    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        if inputs[0].batches.is_empty() {
            return Ok(vec![]);
        }
        for batch in inputs[0].batches {
            self.take_in(epoch, batch)?;
        }
        let first = self.first()?;
        let before = std::mem::replace(&mut self.shown, first);
        changes(&self.codec, &before, &self.shown)
    }

    fn state_rows(&self) -> usize {
        self.rows.len()
    }
}

/// What turns one multiset of encoded rows into another, as at most one batch.
pub(crate) fn changes(
    codec: &RowCodec,
    before: &BTreeMap<Box<[u8]>, i64>,
    after: &BTreeMap<Box<[u8]>, i64>,
) -> Result<Vec<Batch>> {
    let changes = difference(before, after);
    if changes.is_empty() {
        return Ok(vec![]);
    }
    let rows = codec.decode_batch(changes.iter().map(|(row, _)| *row))?;
    let weights: Vec<i64> = changes.iter().map(|(_, weight)| *weight).collect();
    Ok(vec![Batch::new(rows, Int64Array::from(weights))?])
}

/// What turns one multiset into another: first what goes, then what comes, each in order.
fn difference<'a>(
    before: &'a BTreeMap<Box<[u8]>, i64>,
    after: &'a BTreeMap<Box<[u8]>, i64>,
) -> Vec<(&'a [u8], i64)> {
    let count = |of: &BTreeMap<Box<[u8]>, i64>, row: &[u8]| of.get(row).copied().unwrap_or(0);
    let fewer = before.keys().map(|row| (&**row, (count(after, row) - count(before, row)).min(0)));
    let more = after.keys().map(|row| (&**row, (count(after, row) - count(before, row)).max(0)));
    fewer.chain(more).filter(|(_, weight)| *weight != 0).collect()
}
