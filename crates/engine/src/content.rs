//! The content of a table or view: which rows there are, and how often each.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{SortColumn, SortOptions, lexsort_to_indices, take_record_batch};
use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;
use syncline_change::digest::{RowBytes, SetDigest};
use syncline_change::row::{self, RowCodec};
use syncline_change::{Batch, Error, Result};

use crate::operators::{Workers, heap_bytes, in_parallel, table_bytes, unreadable};
use crate::state::{Cells, Loader, SavedState, StateChanges, Unloaded, put_i64, take_i64};

/// The most rows in one batch of [`Content::batches`].
const BATCH_ROWS_MAX: usize = 1 << 16;

/// Rows that are decoded at a time to be hashed.
const DIGEST_ROWS: usize = 4096;

/// By which columns a view's rows are shown in order: column number, and how.
pub type Order = Vec<(usize, SortOptions)>;

/// A multiset of rows that changes are applied to.
#[derive(Debug)]
pub struct Content {
    codec: RowCodec,
    rows: HashMap<Box<[u8]>, i64>,
    /// Rows with how often they are there counted in.
    total: i64,
    order: Order,
    /// The rows that have changed since [`Touched`] was last taken of them: how often they were there then,
    /// and are now. `None`: nobody asks.
    touched: Option<HashMap<Box<[u8]>, BeforeAndNow>>,
    /// Rows from a checkpoint that were not needed yet; they are counted in.
    unloaded: Option<Unloaded>,
}

/// How often a row was there, and is.
type BeforeAndNow = (i64, i64);

/// Rows that have changed since the last time, with how often they were there then and are now.
#[derive(Debug, Default)]
pub struct Touched {
    rows: Vec<(Box<[u8]>, i64, i64)>,
}

impl Content {
    /// No rows of `schema`; shown in `order`, ties and all else in the order of whole rows.
    ///
    /// # Errors
    /// `Unsupported` if a column's type cannot be compared.
    pub fn new(schema: SchemaRef, order: Order) -> Result<Self> {
        let codec = RowCodec::new(schema)?;
        Ok(Self { codec, rows: HashMap::new(), total: 0, order, touched: None, unloaded: None })
    }

    /// From now on remembers which rows change, for [`take_touched`](Self::take_touched).
    pub fn remember_touched(&mut self) {
        self.touched.get_or_insert_default();
    }

    /// Bytes of what [`take_touched`](Self::take_touched) would go through, roughly.
    pub fn touched_bytes(&self) -> usize {
        self.touched
            .as_ref()
            .map_or(0, |touched| touched.len() * size_of::<(Box<[u8]>, BeforeAndNow)>())
    }

    /// The rows that have changed since this was last asked for.
    #[allow(clippy::iter_over_hash_type, reason = "a set is hashed, which has no order")]
    pub fn take_touched(&mut self) -> Touched {
        let mut rows = Vec::new();
        for (row, (before, now)) in self.touched.as_mut().map(std::mem::take).unwrap_or_default() {
            if now != before {
                rows.push((row, before, now));
            }
        }
        Touched { rows }
    }

    /// Has the rows come from a checkpoint that [`Touched::save`] saved under a name, `total` of them; there
    /// are none before. They are read by and by: see [`is_loading`](Self::is_loading).
    ///
    /// # Errors
    /// `Corrupt` if that is not what was saved.
    pub fn load(&mut self, state: &SavedState, name: &str, total: usize) -> Result<()> {
        self.unloaded = Unloaded::new(&Loader::new(state, &Workers::default()), name)?;
        self.total = i64::try_from(total).unwrap_or(i64::MAX);
        Ok(())
    }

    /// Whether rows are still to be read from a checkpoint: until then changes can be applied, and nothing
    /// else can be done.
    pub fn is_loading(&self) -> bool {
        self.unloaded.is_some()
    }

    /// Reads some more of them.
    ///
    /// # Errors
    /// `Corrupt` if they are not what was saved.
    pub fn load_some(&mut self, rows: usize) -> Result<()> {
        let Some(mut unloaded) = self.unloaded.take() else { return Ok(()) };
        let more = unloaded.rest(rows, |_, row, count| self.put(row, count).map(drop));
        if more.ok_or_else(unreadable)? {
            self.unloaded = Some(unloaded);
        }
        Ok(())
    }

    /// Reads a row from the checkpoint, if it is still there.
    fn need(&mut self, row: &[u8]) -> Result<()> {
        let Some(mut unloaded) = self.unloaded.take() else { return Ok(()) };
        let read = unloaded.take(row::hash(row), row, |count| self.put(row, count).map(drop));
        self.unloaded = Some(unloaded);
        if read == Some(None) { Err(unreadable()) } else { Ok(()) }
    }

    fn require_loaded(&self) -> Result<()> {
        match self.is_loading() {
            true => Err(Error::bug("rows of a checkpoint are read before they are there")),
            false => Ok(()),
        }
    }

    /// All rows, as if they had been touched.
    pub(crate) fn save(&self) -> Cells {
        let mut cells = Cells::default();
        #[allow(clippy::iter_over_hash_type, reason = "cells are sorted")]
        for (row, &count) in &self.rows {
            cells.put(row, |bytes| put_i64(bytes, count));
        }
        cells
    }

    /// Takes what [`save`](Self::save) saved.
    pub(crate) fn insert(&mut self, row: &[u8], count: &[u8]) -> Option<()> {
        self.total += self.put(row, count)?;
        Some(())
    }

    /// The same with a row that is counted already. Returns how often it is there.
    fn put(&mut self, row: &[u8], mut count: &[u8]) -> Option<i64> {
        let count = take_i64(&mut count)?;
        self.rows.insert(row.into(), count);
        Some(count)
    }

    /// The digest of all rows, as those of the relation `name`.
    ///
    /// # Errors
    /// `Unsupported` if a column's type has no digest.
    pub fn digest(&self, name: &str) -> Result<SetDigest> {
        self.digest_by(None, name)
    }

    /// The same, by the threads of a pool.
    #[allow(clippy::disallowed_methods, reason = "a set is hashed, which has no order")]
    pub fn digest_by(
        &self,
        pool: Option<&Arc<rayon::ThreadPool>>,
        name: &str,
    ) -> Result<SetDigest> {
        self.require_loaded()?;
        let rows: Vec<(&[u8], i64, i64)> =
            self.rows.iter().map(|(row, &count)| (&**row, 0, count)).collect();
        let mut parts: Vec<_> = rows.chunks(DIGEST_ROWS).collect();
        let digests = in_parallel(pool, &mut parts, |part| {
            let mut digest = SetDigest::new(name);
            digest_rows(&self.codec, part, &mut digest)?;
            Ok(digest)
        });
        let mut digest = SetDigest::new(name);
        digests?.iter().for_each(|part| digest.merge(part));
        Ok(digest)
    }

    /// `count` different rows, each as often as it is here; all of them, if there are no more. Which ones
    /// follows from the rows and from `seed`, and nobody can tell before the seed is known.
    ///
    /// # Errors
    /// `Unsupported` if a column's type cannot be compared.
    #[allow(clippy::disallowed_methods, reason = "chosen by their hashes, which have an order")]
    pub fn sample(&self, count: usize, seed: u64) -> Result<Self> {
        let place = |row: &[u8]| {
            let mut hasher = blake3::Hasher::new_derive_key("syncline 1 sample of rows");
            hasher.update(&seed.to_le_bytes()).update(row);
            *hasher.finalize().as_bytes()
        };
        let mut rows: Vec<_> = self.rows.iter().map(|(row, &n)| (place(row), &**row, n)).collect();
        if count < rows.len() {
            rows.select_nth_unstable(count);
            rows.truncate(count);
        }
        let mut sample = Self::new(self.schema().clone(), self.order.clone())?;
        for (_, row, count) in rows {
            sample.rows.insert(row.into(), count);
            sample.total += count;
        }
        Ok(sample)
    }

    pub fn schema(&self) -> &SchemaRef {
        self.codec.schema()
    }

    /// How many rows there are, repeated ones counted each time.
    pub fn len(&self) -> usize {
        usize::try_from(self.total).unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Bytes that the rows take in memory.
    #[allow(clippy::disallowed_methods, reason = "a sum has no order")]
    pub fn bytes(&self) -> usize {
        fn of<T>(rows: &HashMap<Box<[u8]>, T>) -> usize {
            let blocks = rows.keys().map(|row| heap_bytes(row.len()));
            table_bytes::<(Box<[u8]>, T)>(rows.capacity()) + blocks.sum::<usize>()
        }
        of(&self.rows) + self.touched.as_ref().map_or(0, of)
    }

    /// # Errors
    /// `Bug` if a row were there fewer than zero times afterwards.
    pub fn apply(&mut self, change: &Batch) -> Result<()> {
        let encoded = self.codec.encode_batch(change.rows())?;
        for i in 0..change.num_rows() {
            let (row, weight) = (encoded.row(i), change.weight(i));
            if self.unloaded.is_some() && !self.rows.contains_key(row.as_ref()) {
                self.need(row.data())?;
            }
            let before = self.rows.get(row.as_ref()).copied().unwrap_or(0);
            let count = before + weight;
            if let Some(touched) = &mut self.touched {
                match touched.get_mut(row.as_ref()) {
                    Some((_, now)) => *now = count,
                    None => {
                        touched.insert(row.data().into(), (before, count));
                    }
                }
            }
            match count {
                ..0 => {
                    return Err(Error::bug("a view holds a row fewer than zero times")
                        .detail(format!("row {i} of the change, weight {weight}")));
                }
                0 => {
                    self.rows.remove(row.as_ref());
                }
                _ => match self.rows.get_mut(row.as_ref()) {
                    Some(have) => *have = count,
                    None => {
                        self.rows.insert(row.data().into(), count);
                    }
                },
            }
            self.total += weight;
        }
        self.load_some(change.num_rows())
    }

    /// Rows that are there more often than in `other`, which has the same columns: the first of
    /// them, in order, and how many there are.
    ///
    /// # Errors
    /// `Bug` if the columns are others.
    #[allow(clippy::disallowed_methods, reason = "sorted before anyone sees them")]
    pub fn only_here(&self, other: &Self, limit: usize) -> Result<(RecordBatch, usize)> {
        self.require_loaded()?;
        other.require_loaded()?;
        let surplus = |row: &[u8], count: i64| {
            let theirs = other.rows.get(row).copied().unwrap_or(0);
            usize::try_from(count - theirs).unwrap_or(0)
        };
        let rows = self.rows.iter().map(|(row, &count)| (&**row, surplus(row, count)));
        let mut rows: Vec<(&[u8], usize)> = rows.filter(|(_, surplus)| *surplus > 0).collect();
        rows.sort_unstable();
        let total = rows.iter().map(|(_, surplus)| surplus).sum();
        let repeated = rows.iter().flat_map(|(row, n)| std::iter::repeat_n(*row, *n));
        Ok((self.codec.decode_batch(repeated.take(limit))?, total))
    }

    /// Every row, repeated ones repeated, in order.
    pub fn batches(&self) -> Result<Vec<RecordBatch>> {
        let whole = self.sorted(usize::MAX)?;
        let starts = (0..whole.num_rows()).step_by(BATCH_ROWS_MAX);
        Ok(starts
            .map(|start| whole.slice(start, BATCH_ROWS_MAX.min(whole.num_rows() - start)))
            .collect())
    }

    /// `limit` rows in order after the first `offset`.
    pub fn page(&self, offset: usize, limit: usize) -> Result<RecordBatch> {
        let end = offset.saturating_add(limit);
        let rows = self.sorted(end)?;
        let offset = offset.min(rows.num_rows());
        Ok(rows.slice(offset, limit.min(rows.num_rows() - offset)))
    }

    /// All rows in one batch, in order.
    pub fn all(&self) -> Result<RecordBatch> {
        self.sorted(usize::MAX)
    }

    /// The first `limit` rows in order (or more, where that is as cheap).
    #[allow(clippy::disallowed_methods, reason = "sorted before anyone sees them")]
    fn sorted(&self, limit: usize) -> Result<RecordBatch> {
        self.require_loaded()?;
        let mut rows: Vec<(&[u8], i64)> = self.rows.iter().map(|(row, &n)| (&**row, n)).collect();
        if self.order.is_empty() && limit < rows.len() {
            // Only the rows that are wanted need be in order.
            rows.select_nth_unstable(limit);
            rows.truncate(limit);
        }
        rows.sort_unstable();
        let repeated = rows
            .iter()
            .flat_map(|(row, n)| std::iter::repeat_n(*row, usize::try_from(*n).unwrap_or(0)));
        let batch = self.codec.decode_batch(repeated)?;
        if self.order.is_empty() || batch.num_rows() < 2 {
            return Ok(batch);
        }
        // The order of whole rows breaks ties, as the columns after the named ones.
        let named = self.order.iter().map(|(column, options)| SortColumn {
            values: batch.column(*column).clone(),
            options: Some(*options),
        });
        let rest = (0..batch.num_columns())
            .filter(|column| !self.order.iter().any(|(named, _)| named == column))
            .filter(|column| !batch.column(*column).data_type().is_nested())
            .map(|column| SortColumn { values: batch.column(column).clone(), options: None });
        let indices = lexsort_to_indices(&named.chain(rest).collect::<Vec<_>>(), None)?;
        Ok(take_record_batch(&batch, &indices)?)
    }
}

impl Touched {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        let rows = self.rows.iter().map(|(row, ..)| heap_bytes(row.len()));
        self.rows.capacity() * size_of::<(Box<[u8]>, i64, i64)>() + rows.sum::<usize>()
    }

    /// Adds to `changes` how often the rows are there now, to be loaded under `name`.
    pub fn save(&self, name: &str, changes: &mut StateChanges) {
        let mut cells = Cells::default();
        for (row, _, now) in &self.rows {
            cells.set(row, (*now != 0).then_some(|bytes: &mut Vec<u8>| put_i64(bytes, *now)));
        }
        changes.put_cells(name, cells);
    }

    /// Brings the digest of rows of `schema` from what it was to what it is.
    ///
    /// # Errors
    /// `Unsupported` if a column's type has no digest.
    pub fn apply(&self, schema: &SchemaRef, digest: &mut SetDigest) -> Result<()> {
        let codec = RowCodec::new(schema.clone())?;
        let rows = self.rows.iter().map(|(row, before, now)| (&**row, *before, *now));
        digest_rows(&codec, &rows.collect::<Vec<_>>(), digest)
    }
}

/// Takes encoded rows out of a digest as often as they were there, and puts them in as they are now.
fn digest_rows(codec: &RowCodec, rows: &[(&[u8], i64, i64)], digest: &mut SetDigest) -> Result<()> {
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    let mut bytes = Vec::new();
    for part in rows.chunks(DIGEST_ROWS) {
        let decoded = codec.decode_batch(part.iter().map(|(row, ..)| *row))?;
        let values = RowBytes::new(&decoded)?;
        for (number, (_, before, now)) in part.iter().enumerate() {
            bytes.clear();
            values.write(number, &mut bytes);
            digest.remove(&bytes, count(*before));
            digest.add(&bytes, count(*now));
        }
    }
    Ok(())
}
