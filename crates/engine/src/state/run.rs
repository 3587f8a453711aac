//! An immutable multiset of rows, sorted by key.

use std::ops::Range;

use arrow::buffer::{Buffer, ScalarBuffer};
use syncline_change::{Error, Result};

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
}

impl Run {
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
        let weights = self.weights.as_ref().map_or(0, |weights| weights.inner().capacity());
        let ends = [&self.key_ends, &self.group_ends, &self.row_ends];
        let ends: usize = ends.iter().map(|ends| ends.inner().capacity()).sum();
        self.hashes.inner().capacity()
            + ends
            + self.keys.capacity()
            + self.rows.capacity()
            + weights
            + self.directory.starts.inner().capacity()
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

/// Finds groups by the high bits of their hashes, below those that chose the partition.
#[derive(Debug)]
struct Directory {
    /// The first group of each bucket, and at the end how many groups there are.
    starts: ScalarBuffer<u32>,
    bits: u32,
}

impl Directory {
    fn new(hashes: &[u64]) -> Self {
        let bits = (hashes.len() / GROUPS_PER_BUCKET).max(2).ilog2();
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        for (group, &hash) in hashes.iter().enumerate() {
            starts.resize(starts.len().max(bucket(hash, bits) + 1), group as u32);
        }
        starts.resize((1 << bits) + 1, hashes.len() as u32);
        Self { starts: starts.into(), bits }
    }

    /// The groups among which one with this hash must be.
    fn bucket(&self, hash: u64) -> Range<usize> {
        let bucket = bucket(hash, self.bits);
        self.starts[bucket] as usize..self.starts[bucket + 1] as usize
    }
}

fn bucket(hash: u64, bits: u32) -> usize {
    ((hash << PARTITION_BITS) >> (u64::BITS - bits)) as usize
}

/// Builds a run from groups and rows that come in its order.
#[derive(Debug, Default)]
pub(crate) struct RunBuilder {
    hashes: Vec<u64>,
    key_ends: Vec<u32>,
    keys: Vec<u8>,
    group_ends: Vec<u32>,
    row_ends: Vec<u32>,
    rows: Vec<u8>,
    /// Begun when the first weight that is not 1 comes.
    weights: Vec<i64>,
    open: Option<u64>,
}

impl RunBuilder {
    /// With room for what two runs have together.
    pub(crate) fn for_both(a: &Run, b: &Run) -> Self {
        let groups = a.groups() + b.groups();
        let rows = a.len() + b.len();
        let weighted = a.weights.is_some() || b.weights.is_some();
        Self {
            hashes: Vec::with_capacity(groups),
            key_ends: Vec::with_capacity(groups),
            keys: Vec::with_capacity(a.keys.len() + b.keys.len()),
            group_ends: Vec::with_capacity(groups),
            row_ends: Vec::with_capacity(rows),
            rows: Vec::with_capacity(a.rows.len() + b.rows.len()),
            weights: Vec::with_capacity(if weighted { rows } else { 0 }),
            open: None,
        }
    }

    /// Ends the open group and begins the one that the rows to come belong to.
    pub(crate) fn open_group(&mut self, hash: u64, key: &[u8]) {
        self.close_group();
        self.keys.extend_from_slice(key);
        self.open = Some(hash);
    }

    /// A row of the open group, after all lesser ones.
    pub(crate) fn push(&mut self, row: &[u8], weight: i64) {
        if weight == 0 {
            return;
        }
        if weight != 1 && self.weights.is_empty() {
            self.weights.resize(self.row_ends.len(), 1);
        }
        self.rows.extend_from_slice(row);
        self.row_ends.push(self.rows.len() as u32);
        if weight != 1 || !self.weights.is_empty() {
            self.weights.push(weight);
        }
    }

    /// Ends the open group; without rows it was none.
    fn close_group(&mut self) {
        let Some(hash) = self.open.take() else { return };
        if self.group_ends.last().map_or(0, |&end| end as usize) == self.row_ends.len() {
            self.keys.truncate(self.key_ends.last().map_or(0, |&end| end as usize));
            return;
        }
        self.hashes.push(hash);
        self.key_ends.push(self.keys.len() as u32);
        self.group_ends.push(self.row_ends.len() as u32);
    }

    /// A whole group of another run.
    pub(crate) fn copy_group(&mut self, run: &Run, group: usize) {
        let rows = run.rows_of(group);
        let bytes = part(&run.row_ends, rows.start).start..run.row_ends[rows.end - 1] as usize;
        self.close_group();
        self.keys.extend_from_slice(run.key(group));
        self.hashes.push(run.hash(group));
        self.key_ends.push(self.keys.len() as u32);
        let (from, to) = (bytes.start as u32, self.rows.len() as u32);
        match &run.weights {
            None if self.weights.is_empty() => {}
            None => self.weights.resize(self.weights.len() + rows.len(), 1),
            Some(weights) => {
                self.weights.resize(self.row_ends.len(), 1);
                self.weights.extend_from_slice(&weights[rows.clone()]);
            }
        }
        self.rows.extend_from_slice(&run.rows[bytes]);
        self.row_ends.extend(run.row_ends[rows].iter().map(|&end| end - from + to));
        self.group_ends.push(self.row_ends.len() as u32);
    }

    /// # Errors
    /// `Unsupported` if it holds more than 4 GiB.
    pub(crate) fn finish(mut self) -> Result<Run> {
        self.close_group();
        if self.rows.len().max(self.keys.len()).max(self.row_ends.len()) > u32::MAX as usize {
            return Err(Error::unsupported("more than 4 GiB of rows in one partition of an epoch")
                .hint("make run.epoch.max_rows smaller"));
        }
        let weights = self.weights.iter().any(|&weight| weight != 1);
        Ok(Run {
            directory: Directory::new(&self.hashes),
            hashes: self.hashes.into(),
            key_ends: self.key_ends.into(),
            keys: self.keys.into(),
            group_ends: self.group_ends.into(),
            row_ends: self.row_ends.into(),
            rows: self.rows.into(),
            weights: weights.then(|| self.weights.into()),
        })
    }
}
