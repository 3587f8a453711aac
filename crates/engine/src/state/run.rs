//! An immutable multiset of rows, sorted by key.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, ToByteSlice};
use syncline_change::spill::SpillWriter;
use syncline_change::{Error, Result};

use super::Memory;
use crate::operators::PARTITION_BITS;

/// How many groups share one entry of the directory, on average.
const GROUPS_PER_BUCKET: usize = 4;

/// Rows of one partition and how often each is there, grouped by key.
///
/// Groups are in the order of their keys' hashes, then of the keys; the rows of a group in the order
/// of their bytes. Every group has a row, and no row a weight of zero. Beside the bytes themselves a
/// group takes 17 to 21 bytes and a row 4, or 12 if any weight is not 1.
#[derive(Debug)]
pub(crate) struct Run {
    /// The hash of each group's key.
    hashes: ScalarBuffer<u64>,
    /// Where each group's key ends in `keys`.
    key_ends: ScalarBuffer<u32>,
    keys: Buffer,
    /// One past each group's last row.
    group_ends: ScalarBuffer<u32>,
    /// Where each row ends in `rows`.
    row_ends: ScalarBuffer<u32>,
    rows: Buffer,
    /// `None`: every row is there once.
    weights: Option<ScalarBuffer<i64>>,
    directory: Directory,
    /// Whether all but the directory is outside of memory.
    is_spilled: bool,
    /// Where it was written, as its owner has noted; 0: nowhere.
    place: AtomicU64,
}

impl Run {
    /// What it is made of, to be written somewhere.
    pub(crate) fn parts(&self) -> [&[u8]; PARTS] {
        let mut parts: [&[u8]; PARTS] = [&[]; PARTS];
        parts[HASHES] = self.hashes.inner();
        parts[KEY_ENDS] = self.key_ends.inner();
        parts[KEYS] = &self.keys;
        parts[GROUP_ENDS] = self.group_ends.inner();
        parts[ROW_ENDS] = self.row_ends.inner();
        parts[ROWS] = &self.rows;
        parts[WEIGHTS] = self.weights.as_ref().map_or(&[], |weights| weights.inner());
        parts[DIRECTORY] = self.directory.starts.inner();
        parts
    }

    /// A run of what is outside of memory; `None` if that is not what a run is made of.
    pub(crate) fn of_parts(parts: [Buffer; PARTS]) -> Option<Self> {
        let [hashes, key_ends, keys, group_ends, row_ends, rows, weights, starts] = parts;
        let numbers = |buffer: Buffer| {
            let fits = buffer.len().is_multiple_of(size_of::<u32>())
                && buffer.as_ptr().cast::<u32>().is_aligned();
            fits.then(|| ScalarBuffer::<u32>::from(buffer))
        };
        let wide = |buffer: &Buffer| {
            buffer.len().is_multiple_of(size_of::<u64>())
                && buffer.as_ptr().cast::<u64>().is_aligned()
        };
        if !wide(&hashes) || !wide(&weights) {
            return None;
        }
        let hashes = ScalarBuffer::<u64>::from(hashes);
        let weights = (!weights.is_empty()).then(|| ScalarBuffer::<i64>::from(weights));
        let starts = numbers(starts)?;
        let run = Self {
            key_ends: numbers(key_ends)?,
            keys,
            group_ends: numbers(group_ends)?,
            row_ends: numbers(row_ends)?,
            rows,
            weights,
            directory: Directory {
                bits: starts.len().checked_sub(1)?.checked_ilog2()?,
                skipped: skipped(&hashes),
                starts,
            },
            hashes,
            is_spilled: true,
            place: AtomicU64::new(0),
        };
        let last = |ends: &[u32]| ends.last().map_or(0, |&end| end as usize);
        let fits = run.key_ends.len() == run.hashes.len()
            && run.group_ends.len() == run.hashes.len()
            && last(&run.key_ends) == run.keys.len()
            && last(&run.group_ends) == run.row_ends.len()
            && last(&run.row_ends) == run.rows.len()
            && run.weights.as_ref().is_none_or(|weights| weights.len() == run.row_ends.len())
            && run.directory.starts.len() == (1 << run.directory.bits) + 1
            && run.directory.bits > 0
            && last(&run.directory.starts) == run.hashes.len();
        fits.then_some(run)
    }

    pub(crate) fn place(&self) -> Option<u64> {
        Some(self.place.load(Ordering::Acquire)).filter(|&place| place != 0)
    }

    pub(crate) fn set_place(&self, place: u64) {
        self.place.store(place, Ordering::Release);
    }

    /// How many groups there are.
    pub(crate) fn groups(&self) -> usize {
        self.hashes.len()
    }

    /// How many different rows there are.
    pub(crate) fn len(&self) -> usize {
        self.row_ends.len()
    }

    /// Bytes of memory that the run takes.
    pub(crate) fn bytes(&self) -> usize {
        let directory = self.directory.starts.inner().capacity();
        if self.is_spilled {
            return directory;
        }
        let weights = self.weights.as_ref().map_or(0, |weights| weights.inner().capacity());
        let ends = [&self.key_ends, &self.group_ends, &self.row_ends];
        let ends: usize = ends.iter().map(|ends| ends.inner().capacity()).sum();
        let bytes = self.keys.capacity() + self.rows.capacity();
        self.hashes.inner().capacity() + ends + bytes + weights + directory
    }

    pub(crate) fn hash(&self, group: usize) -> u64 {
        self.hashes[group]
    }

    pub(crate) fn key(&self, group: usize) -> &[u8] {
        &self.keys[part(&self.key_ends, group)]
    }

    /// The numbers of a group's rows.
    pub(crate) fn rows_of(&self, group: usize) -> Range<usize> {
        part(&self.group_ends, group)
    }

    pub(crate) fn row(&self, row: usize) -> &[u8] {
        &self.rows[part(&self.row_ends, row)]
    }

    /// The first of some rows of a group that does not come before `row`, or the end of these.
    pub(crate) fn first_not_before(&self, rows: Range<usize>, row: &[u8]) -> usize {
        let (mut low, mut high) = (rows.start, rows.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.row(middle) < row { low = middle + 1 } else { high = middle }
        }
        low
    }

    pub(crate) fn weight(&self, row: usize) -> i64 {
        self.weights.as_ref().map_or(1, |weights| weights[row])
    }

    /// Whether a row is taken away by this run.
    pub(crate) fn takes_away(&self) -> bool {
        self.weights.as_ref().is_some_and(|weights| weights.iter().any(|&weight| weight < 0))
    }

    /// The group with this key.
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let found = self.directory.bucket(hash);
        found.into_iter().find(|&group| self.hashes[group] == hash && self.key(group) == key)
    }

    /// Whether this run and `other` may become one: offsets are 32 bits wide.
    pub(crate) fn fits_with(&self, other: &Self) -> bool {
        let limit = u32::MAX as usize;
        self.keys.len() + other.keys.len() <= limit
            && self.rows.len() + other.rows.len() <= limit
            && self.len() + other.len() <= limit
    }
}

/// The range that ends at `ends[i]` and begins where the one before ends.
fn part(ends: &[u32], i: usize) -> Range<usize> {
    let start = if i == 0 { 0 } else { ends[i - 1] as usize };
    start..ends[i] as usize
}

/// Finds groups by the high bits of their hashes, below those that they all have in common because they
/// chose the partition.
#[derive(Debug)]
struct Directory {
    /// The first group of each bucket, and at the end how many groups there are.
    starts: ScalarBuffer<u32>,
    bits: u32,
    /// How many of the highest bits say nothing.
    skipped: u32,
}

impl Directory {
    fn new(hashes: &[u64]) -> Self {
        let bits = (hashes.len() / GROUPS_PER_BUCKET).max(2).ilog2();
        let mut made = Self { starts: vec![].into(), bits, skipped: skipped(hashes) };
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        for (group, &hash) in hashes.iter().enumerate() {
            starts.resize(starts.len().max(made.number(hash) + 1), group as u32);
        }
        starts.resize((1 << bits) + 1, hashes.len() as u32);
        made.starts = starts.into();
        made
    }

    fn number(&self, hash: u64) -> usize {
        ((hash << self.skipped) >> (u64::BITS - self.bits)) as usize
    }

    /// The groups among which one with this hash must be.
    fn bucket(&self, hash: u64) -> Range<usize> {
        let bucket = self.number(hash);
        self.starts[bucket] as usize..self.starts[bucket + 1] as usize
    }
}

/// Rows by key are all of one partition, but cells need not be. The hashes are in order.
fn skipped(hashes: &[u64]) -> u32 {
    let partition = |hash: Option<&u64>| hash.map(|hash| hash >> (u64::BITS - PARTITION_BITS));
    if partition(hashes.first()) == partition(hashes.last()) { PARTITION_BITS } else { 0 }
}

/// The numbers of a run's parts in a piece of state that is outside of memory.
const HASHES: usize = 0;
const KEY_ENDS: usize = 1;
const KEYS: usize = 2;
const GROUP_ENDS: usize = 3;
const ROW_ENDS: usize = 4;
const ROWS: usize = 5;
const WEIGHTS: usize = 6;
const SPILLED_PARTS: usize = 7;
/// One more for whoever keeps a run for longer.
const DIRECTORY: usize = 7;
pub(super) const PARTS: usize = 8;

/// Builds a run from groups and rows that come in its order.
#[derive(Debug, Default)]
pub(crate) struct RunBuilder {
    hashes: Column<u64>,
    key_ends: Column<u32>,
    keys: Column<u8>,
    group_ends: Column<u32>,
    row_ends: Column<u32>,
    rows: Column<u8>,
    /// Begun when the first weight that is not 1 comes.
    weights: Column<i64>,
    has_weights: bool,
    open: Option<u64>,
    /// Where to what is finished goes; `None`: it stays in memory.
    spilled: Option<Box<dyn SpillWriter>>,
    /// Bytes of memory that it may come to take, as far as that was known when it was begun.
    room: usize,
}

/// Values of one part of a run that are not spilled yet, and how many are.
#[derive(Debug)]
struct Column<T> {
    values: Vec<T>,
    spilled: usize,
    last: Option<T>,
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self { values: Vec::new(), spilled: 0, last: None }
    }
}

/// Bytes of a column that are gathered before they are spilled. Many runs are built at a time: one on
/// each level of each partition.
const SPILL_BYTES: usize = if cfg!(test) { 16 } else { 1 << 14 };

/// A run that is built takes room for one part in so many at first.
const FIRST_PART: usize = 8;

impl<T: ArrowNativeType> Column<T> {
    /// Room for so many values, of which there is a part at first: by doubling it becomes all of it.
    fn with_room(values: usize) -> Self {
        let values = Vec::with_capacity(values.div_ceil(FIRST_PART));
        Self { values, spilled: 0, last: None }
    }

    fn len(&self) -> usize {
        self.spilled + self.values.len()
    }

    fn push(&mut self, value: T) {
        self.values.push(value);
    }

    fn last(&self) -> Option<T> {
        self.values.last().copied().or(self.last)
    }

    /// Moves the values to their part of the piece, if there are many.
    fn spill(&mut self, part: usize, to: &mut dyn SpillWriter, bytes_min: usize) -> Result<()> {
        if size_of_val(self.values.as_slice()) >= bytes_min {
            to.append(part, self.values.to_byte_slice())?;
            self.spilled += self.values.len();
            self.last = self.values.last().copied().or(self.last);
            self.values.clear();
        }
        Ok(())
    }
}

impl RunBuilder {
    /// For what two runs have together: in memory if it has room, else outside.
    ///
    /// # Errors
    /// `Storage` if what is outside refuses.
    pub(crate) fn for_both(a: &Run, b: &Run, memory: &Memory) -> Result<Self> {
        let groups = a.groups() + b.groups();
        let rows = a.len() + b.len();
        let has_weights = a.weights.is_some() || b.weights.is_some();
        let (key_bytes, row_bytes) = (a.keys.len() + b.keys.len(), a.rows.len() + b.rows.len());
        let mut sizes = [0; SPILLED_PARTS];
        sizes[HASHES] = groups * size_of::<u64>();
        sizes[KEY_ENDS] = groups * size_of::<u32>();
        sizes[KEYS] = key_bytes;
        sizes[GROUP_ENDS] = groups * size_of::<u32>();
        sizes[ROW_ENDS] = rows * size_of::<u32>();
        sizes[ROWS] = row_bytes;
        // Weights may begin to matter when equal rows are added up.
        sizes[WEIGHTS] = rows * size_of::<i64>();
        let room = sizes.iter().sum();
        if let Some(spill) = memory.spill_for(room) {
            return Ok(Self { spilled: Some(spill.begin(&sizes)?), ..Self::default() });
        }
        Ok(Self {
            room,
            hashes: Column::with_room(groups),
            key_ends: Column::with_room(groups),
            keys: Column::with_room(key_bytes),
            group_ends: Column::with_room(groups),
            row_ends: Column::with_room(rows),
            rows: Column::with_room(row_bytes),
            weights: Column::with_room(if has_weights { rows } else { 0 }),
            ..Self::default()
        })
    }

    /// Ends the open group and begins the one that the rows to come belong to.
    pub(crate) fn open_group(&mut self, hash: u64, key: &[u8]) {
        self.close_group();
        self.keys.values.extend_from_slice(key);
        self.open = Some(hash);
    }

    /// A row of the open group, after all lesser ones.
    pub(crate) fn push(&mut self, row: &[u8], weight: i64) {
        if weight == 0 {
            return;
        }
        if weight != 1 && !self.has_weights {
            self.begin_weights();
        }
        self.rows.values.extend_from_slice(row);
        self.row_ends.push(self.rows.len() as u32);
        if self.has_weights {
            self.weights.push(weight);
        }
    }

    /// Every row so far is there once.
    fn begin_weights(&mut self) {
        self.has_weights = true;
        self.weights.values.resize(self.row_ends.len(), 1);
    }

    /// Ends the open group; without rows it was none.
    fn close_group(&mut self) {
        let Some(hash) = self.open.take() else { return };
        if self.group_ends.last().map_or(0, |end| end as usize) == self.row_ends.len() {
            let end = self.key_ends.last().map_or(0, |end| end as usize);
            self.keys.values.truncate(end - self.keys.spilled);
            return;
        }
        self.hashes.push(hash);
        self.key_ends.push(self.keys.len() as u32);
        self.group_ends.push(self.row_ends.len() as u32);
    }

    /// Rows of a group of another run, as a whole group.
    pub(crate) fn copy_group(&mut self, run: &Run, group: usize, rows: Range<usize>) {
        if rows.is_empty() {
            return;
        }
        let bytes = part(&run.row_ends, rows.start).start..run.row_ends[rows.end - 1] as usize;
        self.close_group();
        self.keys.values.extend_from_slice(run.key(group));
        self.hashes.push(run.hash(group));
        self.key_ends.push(self.keys.len() as u32);
        let (from, to) = (bytes.start as u32, self.rows.len() as u32);
        if run.weights.is_some() && !self.has_weights {
            self.begin_weights();
        }
        if self.has_weights {
            let weights = rows.clone().map(|row| run.weight(row));
            self.weights.values.extend(weights);
        }
        self.rows.values.extend_from_slice(&run.rows[bytes]);
        self.row_ends.values.extend(run.row_ends[rows].iter().map(|&end| end - from + to));
        self.group_ends.push(self.row_ends.len() as u32);
    }

    /// Moves what was gathered outside, if it is built there. To be called now and then.
    ///
    /// # Errors
    /// `Storage` if what is outside refuses.
    pub(crate) fn spill(&mut self) -> Result<()> {
        self.spill_from(SPILL_BYTES)
    }

    fn spill_from(&mut self, bytes_min: usize) -> Result<()> {
        let Some(to) = self.spilled.as_deref_mut() else { return Ok(()) };
        self.hashes.spill(HASHES, to, bytes_min)?;
        self.key_ends.spill(KEY_ENDS, to, bytes_min)?;
        self.group_ends.spill(GROUP_ENDS, to, bytes_min)?;
        self.row_ends.spill(ROW_ENDS, to, bytes_min)?;
        self.rows.spill(ROWS, to, bytes_min)?;
        self.weights.spill(WEIGHTS, to, bytes_min)?;
        // The key of a group that is open may have to be taken back.
        if self.open.is_none() { self.keys.spill(KEYS, to, bytes_min) } else { Ok(()) }
    }

    /// Bytes of memory that the builder takes, or will have taken when it is done.
    pub(crate) fn room(&self) -> usize {
        self.bytes().max(self.room)
    }

    /// Bytes of memory that the builder takes.
    pub(crate) fn bytes(&self) -> usize {
        fn of<T>(column: &Column<T>) -> usize {
            column.values.capacity() * size_of::<T>()
        }
        of(&self.hashes)
            + of(&self.key_ends)
            + of(&self.keys)
            + of(&self.group_ends)
            + of(&self.row_ends)
            + of(&self.rows)
            + of(&self.weights)
    }

    /// # Errors
    /// `Unsupported` if it holds more than 4 GiB; `Storage` if what is outside refuses.
    pub(crate) fn finish(mut self) -> Result<Run> {
        self.close_group();
        if self.rows.len().max(self.keys.len()).max(self.row_ends.len()) > u32::MAX as usize {
            return Err(Error::unsupported("more than 4 GiB of rows in one partition of an epoch")
                .hint("make run.epoch.max_rows smaller"));
        }
        self.spill_from(1)?;
        let Some(spilled) = self.spilled.take() else { return Ok(self.in_memory()) };
        let parts = spilled.finish()?;
        let hashes = ScalarBuffer::from(parts[HASHES].clone());
        Ok(Run {
            directory: Directory::new(&hashes),
            hashes,
            key_ends: parts[KEY_ENDS].clone().into(),
            keys: parts[KEYS].clone(),
            group_ends: parts[GROUP_ENDS].clone().into(),
            row_ends: parts[ROW_ENDS].clone().into(),
            rows: parts[ROWS].clone(),
            weights: self.has_weights.then(|| parts[WEIGHTS].clone().into()),
            is_spilled: true,
            place: AtomicU64::new(0),
        })
    }

    fn in_memory(self) -> Run {
        let has_weights = self.weights.values.iter().any(|&weight| weight != 1);
        Run {
            directory: Directory::new(&self.hashes.values),
            hashes: self.hashes.values.into(),
            key_ends: self.key_ends.values.into(),
            keys: self.keys.values.into(),
            group_ends: self.group_ends.values.into(),
            row_ends: self.row_ends.values.into(),
            rows: self.rows.values.into(),
            weights: has_weights.then(|| self.weights.values.into()),
            is_spilled: false,
            place: AtomicU64::new(0),
        }
    }
}
