//! The first rows of every group of an input that rows are only ever added to: what has been pushed
//! out can never come back, so no more is kept than is shown.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::interleave;
use arrow::datatypes::SchemaRef;
use syncline_change::row;
use syncline_change::{Batch, Result};

use super::super::arrange::Arrangement;
use super::super::groups::{self, Grouped, Groups, sweep};
use super::super::map::{parts, without_failing};
use super::super::partition::{PARTITIONS, Split};
use super::super::{Change, Epoch, OUTPUT_ROWS_MAX, Operator, heap_bytes};
use super::{Shown, batch, difference};
use crate::state::{Encoded, KeyedCodec, Loader, Release, Saver, Sweep, put_bytes, take_bytes};

/// Of more rows than this in a group, an ordered tree is better than a list.
pub(crate) const ROWS_MAX: usize = 256;

/// Shows of each group the first rows of those that have come.
pub(crate) struct TopAppended {
    by: Arrangement,
    codec: KeyedCodec,
    parts: Vec<Part>,
    skip: usize,
    fetch: usize,
    /// Whether the row's number in its group, from 1, is the last column.
    numbered: bool,
    schema: SchemaRef,
    /// Which groups no later row belongs to. What they showed stays shown.
    sweep: Option<Sweep>,
    /// Whose rows these are, for reports.
    view: String,
}

/// The groups of one partition.
#[derive(Default)]
struct Part {
    groups: Groups,
    /// Of each group, its first rows in order, encoded: the terms of the order first.
    rows: Vec<Vec<Arc<[u8]>>>,
    bytes: usize,
}

impl TopAppended {
    pub(crate) fn new(
        view: String,
        by: Arrangement,
        (skip, fetch): (usize, usize),
        numbered: bool,
        (input, schema): (SchemaRef, SchemaRef),
    ) -> Result<Self> {
        let codec = by.codec(input)?;
        let parts = (0..PARTITIONS).map(|_| Part::default()).collect();
        Ok(Self { by, codec, parts, skip, fetch, numbered, schema, sweep: None, view })
    }

    fn kept(&self) -> usize {
        self.skip + self.fetch
    }
}

/// The rows of a step, as they came: most of them are looked at once and not copied.
struct Changes {
    pieces: Vec<Piece>,
    /// Of each row, the number of its piece and its number there; of copies of a row, as many times as
    /// can matter.
    places: Vec<(u32, u32)>,
}

/// A batch of the rows.
struct Piece {
    rows: Batch,
    /// What the order is by.
    order: Vec<ArrayRef>,
    /// The same, encoded.
    order_rows: Encoded,
    keys: Encoded,
    hashes: Vec<u64>,
}

impl TopAppended {
    fn piece(&self, batch: &Batch) -> Result<Piece> {
        let (keys, order) = self.by.evaluate(batch.rows())?;
        let keys = self.codec.encode_keys(&keys)?;
        Ok(Piece {
            rows: batch.clone(),
            hashes: (0..batch.num_rows()).map(|row| row::hash(keys.get(row))).collect(),
            keys,
            order_rows: self.codec.encode_order(&order)?,
            order,
        })
    }
}

impl Operator for TopAppended {
    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let batches: Vec<Batch> = inputs[0].batches.iter().flat_map(parts).collect();
        let made = epoch.workers.map(&batches, |batch| self.piece(batch));
        let mut pieces = Vec::with_capacity(batches.len());
        for (batch, made) in batches.iter().zip(made) {
            pieces.push(match made {
                Ok(piece) => piece,
                Err(_) => without_failing(epoch, &self.view, batch, |batch| self.piece(batch))?.1,
            });
        }
        let mut places = Vec::with_capacity(batches.iter().map(Batch::num_rows).sum());
        for (number, piece) in (0..).zip(&pieces) {
            for row in 0..piece.rows.num_rows() {
                let copies = usize::try_from(piece.rows.weight(row)).unwrap_or(0).min(self.kept());
                places.extend(std::iter::repeat_n((number, row as u32), copies));
            }
        }
        let changes = Changes { pieces, places };
        let hash = |&(piece, row): &(u32, u32)| changes.pieces[piece as usize].hashes[row as usize];
        let hashes: Vec<u64> = changes.places.iter().map(hash).collect();
        let split = Split::new(&hashes);
        let mut parts = std::mem::take(&mut self.parts);
        let top = &*self;
        let done = epoch.workers.run(&split, &mut parts, |part, rows| {
            let group = |row: &u32| (*row, hashes[*row as usize], changes.key(*row));
            part.step(top, &changes, rows.iter().map(group))
        });
        self.parts = parts;
        if let Some(of) = &mut self.sweep {
            sweep(of, epoch.passed, &mut self.parts);
        }
        Batch::coalesce(&self.schema, done?.into_iter().flatten().collect(), OUTPUT_ROWS_MAX)
    }

    fn let_go(&mut self, release: Release) {
        self.sweep = Some(Sweep::new(release));
    }

    fn begin_saving(&mut self) {
        self.parts.iter_mut().for_each(|part| part.groups.begin_saving());
    }

    fn unsaved(&self) -> usize {
        self.parts.iter().map(|part| part.groups.unsaved()).sum()
    }

    fn save(&mut self, to: &mut Saver<'_>) -> Result<()> {
        to.parts(&mut self.parts, Part::take_unsaved)
    }

    fn load(&mut self, from: &Loader<'_>) -> Result<()> {
        groups::load(from, &mut self.parts, self.sweep.is_some())
    }

    fn state_rows(&self) -> usize {
        self.parts.iter().flat_map(|part| &part.rows).map(Vec::len).sum()
    }

    fn state_bytes(&self) -> usize {
        let bytes = |part: &Part| {
            let lists = part.rows.capacity() * size_of::<Vec<Arc<[u8]>>>();
            part.groups.memory() + lists + part.bytes
        };
        self.parts.iter().map(bytes).sum()
    }
}

impl Part {
    /// Takes in rows, each with the hash and the key of its group.
    fn step<'a>(
        &mut self,
        top: &TopAppended,
        changes: &Changes,
        rows: impl Iterator<Item = (u32, u64, &'a [u8])>,
    ) -> Result<Vec<Batch>> {
        // Most rows come behind what is kept, and of these the terms of the order say enough.
        let mut candidates: Vec<(u32, u32)> = Vec::new();
        for (row, hash, key) in rows {
            let group = self.group(hash, key)?;
            let kept = &self.rows[group as usize];
            let is_behind = kept.len() >= top.kept()
                && kept.last().is_none_or(|last| changes.is_behind(row, last));
            if !is_behind {
                candidates.push((group, row));
            }
        }
        self.load_some(candidates.len())?;
        if candidates.is_empty() {
            return Ok(vec![]);
        }
        let encoded = changes.encode(top, candidates.iter().map(|(_, row)| *row))?;
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        order.sort_by_key(|&i| candidates[i]);
        let mut before = Vec::new();
        for run in order.chunk_by(|&a, &b| candidates[a].0 == candidates[b].0) {
            let group = candidates[run[0]].0;
            self.groups.touch(group);
            before.push((group, self.rows[group as usize].clone()));
            run.iter().for_each(|&i| self.insert(group, encoded.get(i), top.kept()));
        }
        self.output(top, &before)
    }

    fn insert(&mut self, group: u32, row: &[u8], kept: usize) {
        let rows = &mut self.rows[group as usize];
        let place = rows.partition_point(|have| **have <= *row);
        if place >= kept {
            return;
        }
        if rows.len() == kept
            && let Some(last) = rows.pop()
        {
            self.bytes -= memory(&last);
        }
        let list = list_memory(rows);
        rows.insert(place, row.into());
        self.bytes += memory(row) + list_memory(rows) - list;
    }

    /// What the groups that changed show less and more than before.
    fn output(&self, top: &TopAppended, before: &[(u32, Vec<Arc<[u8]>>)]) -> Result<Vec<Batch>> {
        let mut entries = Vec::new();
        for (group, before) in before {
            let after = &self.rows[*group as usize];
            let (before, after) = (top.shown(before), top.shown(after));
            difference(self.groups.key(*group), &before, &after, &mut entries);
        }
        let batch = |part| batch(&top.codec, &top.schema, top.numbered, part);
        entries.chunks(OUTPUT_ROWS_MAX).map(batch).collect()
    }
}

impl Grouped for Part {
    fn groups(&self) -> &Groups {
        &self.groups
    }

    fn groups_mut(&mut self) -> &mut Groups {
        &mut self.groups
    }

    fn grow(&mut self, group: u32) {
        if self.rows.len() <= group as usize {
            self.rows.push(Vec::new());
        }
    }

    fn write(&self, group: u32, bytes: &mut Vec<u8>) {
        self.rows[group as usize].iter().for_each(|row| put_bytes(bytes, row));
    }

    fn read(&mut self, group: u32, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            let row = take_bytes(&mut bytes)?;
            // In their order.
            self.insert(group, row, usize::MAX);
        }
        Some(())
    }

    fn remove(&mut self, group: u32) {
        self.groups.remove(group);
        let rows = std::mem::take(&mut self.rows[group as usize]);
        self.bytes -= rows.iter().map(|row| memory(row)).sum::<usize>() + list_memory(&rows);
    }
}

/// Bytes of memory of a kept row.
fn memory(row: &[u8]) -> usize {
    // Two counters stand before the bytes.
    heap_bytes(2 * size_of::<usize>() + row.len())
}

/// Bytes of memory of a list of kept rows, without these.
fn list_memory(rows: &Vec<Arc<[u8]>>) -> usize {
    heap_bytes(rows.capacity() * size_of::<Arc<[u8]>>())
}

impl Changes {
    fn piece(&self, row: u32) -> (&Piece, usize) {
        let (piece, row) = self.places[row as usize];
        (&self.pieces[piece as usize], row as usize)
    }

    fn key(&self, row: u32) -> &[u8] {
        let (piece, row) = self.piece(row);
        piece.keys.get(row)
    }

    /// Whether a row comes behind an encoded one whatever its other columns are.
    fn is_behind(&self, row: u32, last: &[u8]) -> bool {
        // No encoded value is the beginning of another, so as many bytes decide.
        let (piece, row) = self.piece(row);
        let order = piece.order_rows.get(row);
        order > &last[..order.len().min(last.len())]
    }

    /// The order and the rest of some rows.
    fn encode(&self, top: &TopAppended, rows: impl Iterator<Item = u32>) -> Result<Encoded> {
        let places: Vec<(usize, usize)> = rows
            .map(|row| self.places[row as usize])
            .map(|(piece, row)| (piece as usize, row as usize))
            .collect();
        let gather = |column: &dyn Fn(&Piece) -> &ArrayRef| {
            let columns: Vec<&dyn Array> =
                self.pieces.iter().map(|piece| column(piece).as_ref()).collect();
            Ok(interleave(&columns, &places)?)
        };
        let order_columns = self.pieces.first().map_or(0, |piece| piece.order.len());
        let order = (0..order_columns).map(|number| gather(&|piece| &piece.order[number]));
        let order = order.collect::<Result<Vec<_>>>()?;
        let schema = top.codec.schema();
        let columns =
            (0..schema.fields().len()).map(|i| gather(&|piece| piece.rows.rows().column(i)));
        let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
        top.codec.encode_rest(&order, &rows)
    }
}

impl TopAppended {
    fn shown<'a>(&self, rows: &'a [Arc<[u8]>]) -> Vec<Shown<'a>> {
        let rows = rows.iter().enumerate().skip(self.skip);
        let number = |i: usize| if self.numbered { i as u64 + 1 } else { 0 };
        let mut shown: Vec<Shown<'a>> = Vec::new();
        for (i, row) in rows {
            match shown.last_mut() {
                Some(last) if !self.numbered && *last.row == **row => last.count += 1,
                _ => shown.push(Shown { row, number: number(i), count: 1 }),
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Cut;

    #[test]
    fn groups_take_their_bytes_along() {
        let mut part = Part::default();
        for group in 0..10_u64 {
            part.groups.find_or_add(group, &group.to_be_bytes());
            part.rows.push(Vec::new());
            (0..20).for_each(|row| part.insert(group as u32, &[row; 30], 15));
        }
        assert!(part.bytes > 10 * 15 * 30);
        part.forget(&Cut::Keys(vec![]));
        assert_eq!((part.groups.len(), part.bytes), (0, 0));
    }
}
