//! Inner and left joins on equal keys.
//!
//! With L and R what is there and dL and dR what changes, the changes of the inner join are
//! L x dR + dL x (R + dR). A left join adds the rows of L without a match, with NULLs: they appear
//! and go as the last match of their key goes and the first one comes.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use arrow::row::Rows;
use datafusion::physical_plan::PhysicalExpr;
use hashbrown::HashMap;
use syncline_change::row::{self, RowCodec};
use syncline_change::{Batch, Result};

use super::arrangement::Arrangement;
use super::map::{evaluate, truths, without_failing};
use super::partition::{PARTITIONS, Split};
use super::{Epoch, Operator};

/// The most rows put into one output batch.
const OUTPUT_ROWS_MAX: usize = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinKind {
    Inner,
    /// Rows of the left side without a match stay, with NULLs. Takes no further condition.
    Left,
}

/// One side's keys and how its rows are encoded.
struct Side {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    key_codec: RowCodec,
    row_codec: RowCodec,
}

/// What is kept of both sides for the keys of one partition.
#[derive(Default)]
struct Partition {
    left: Arrangement,
    right: Arrangement,
}

pub(crate) struct Join {
    kind: JoinKind,
    left: Side,
    right: Side,
    nulls_match: bool,
    /// A condition beyond the equal keys, over the joined columns.
    condition: Option<Arc<dyn PhysicalExpr>>,
    partitions: Vec<Partition>,
    schema: SchemaRef,
    name: String,
    /// Whose rows these are, for reports.
    view: String,
}

/// What a join is made of.
pub(crate) struct JoinSpec {
    pub(crate) name: String,
    pub(crate) view: String,
    pub(crate) kind: JoinKind,
    pub(crate) left: (Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
    pub(crate) right: (Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
    /// The types of the keys, the same on both sides.
    pub(crate) key_schema: SchemaRef,
    pub(crate) nulls_match: bool,
    pub(crate) condition: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) schema: SchemaRef,
}

impl Join {
    pub(crate) fn new(spec: JoinSpec) -> Result<Self> {
        let side = |(keys, schema): (Vec<Arc<dyn PhysicalExpr>>, SchemaRef)| {
            Ok::<_, syncline_change::Error>(Side {
                keys,
                key_codec: RowCodec::new(spec.key_schema.clone())?,
                row_codec: RowCodec::new(schema)?,
            })
        };
        Ok(Self {
            kind: spec.kind,
            left: side(spec.left)?,
            right: side(spec.right)?,
            nulls_match: spec.nulls_match,
            condition: spec.condition,
            partitions: (0..PARTITIONS).map(|_| Partition::default()).collect(),
            schema: spec.schema,
            name: spec.name,
            view: spec.view,
        })
    }
}

impl Operator for Join {
    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[&[Batch]]) -> Result<Vec<Batch>> {
        // The right side first: what the left side's rows then meet is what is there afterwards.
        let mut output = Vec::new();
        if let Some(changes) = self.changes(epoch, &self.right, inputs[1])? {
            let (name, kind) = (&self.name, self.kind);
            let found =
                epoch.workers.run(&changes.split, &mut self.partitions, |partition, rows| {
                    partition.change_right(name, kind, &changes, rows)
                })?;
            for pairs in found {
                self.emit(epoch, &pairs.matches, &changes, Changed::Right, &mut output)?;
                self.emit_unmatched(&pairs.unmatched, &mut output)?;
            }
        }
        if let Some(changes) = self.changes(epoch, &self.left, inputs[0])? {
            let (name, kind) = (&self.name, self.kind);
            let found =
                epoch.workers.run(&changes.split, &mut self.partitions, |partition, rows| {
                    partition.change_left(name, kind, &changes, rows)
                })?;
            for pairs in found {
                self.emit(epoch, &pairs.matches, &changes, Changed::Left, &mut output)?;
                self.emit_unmatched_rows(&pairs.unmatched_rows, &changes, &mut output)?;
            }
            if self.kind == JoinKind::Left {
                let keyless = changes.keyless();
                self.emit_unmatched_rows(&keyless, &changes, &mut output)?;
            }
        }
        Ok(output)
    }

    fn state_rows(&self) -> usize {
        self.partitions.iter().map(|partition| partition.left.len() + partition.right.len()).sum()
    }
}

/// The changes of one side, with keys and rows encoded.
struct Changes {
    batch: Batch,
    keys: Rows,
    rows: Rows,
    /// Whether a row has a key at all; a NULL in it matches nothing.
    has_key: Vec<bool>,
    split: Split,
}

impl Changes {
    fn new(side: &Side, batch: Batch, columns: &[ArrayRef], nulls_match: bool) -> Result<Self> {
        let has_key: Vec<bool> = (0..batch.num_rows())
            .map(|row| nulls_match || columns.iter().all(|column| column.is_valid(row)))
            .collect();
        let keys = side.key_codec.encode(columns)?;
        let rows = side.row_codec.encode_batch(batch.rows())?;
        let hashes: Vec<Option<u64>> = (0..batch.num_rows())
            .map(|i| has_key[i].then(|| row::hash(keys.row(i).data())))
            .collect();
        Ok(Self { split: Split::new(&hashes), batch, keys, rows, has_key })
    }

    fn key(&self, row: u32) -> &[u8] {
        self.keys.row(row as usize).data()
    }

    fn row(&self, row: u32) -> &[u8] {
        self.rows.row(row as usize).data()
    }

    fn weight(&self, row: u32) -> i64 {
        self.batch.weight(row as usize)
    }

    fn keyless(&self) -> Vec<(u32, i64)> {
        (0..self.batch.num_rows() as u32)
            .filter(|&row| !self.has_key[row as usize])
            .map(|row| (row, self.weight(row)))
            .collect()
    }
}

/// What one partition adds to the output.
#[derive(Default)]
struct Pairs {
    /// A changed row, the encoded row of the other side that it meets, and the weight.
    matches: Vec<(u32, Box<[u8]>, i64)>,
    /// Encoded left rows that lose or find their first match.
    unmatched: Vec<(Box<[u8]>, i64)>,
    /// Changed left rows without a match.
    unmatched_rows: Vec<(u32, i64)>,
}

impl Partition {
    fn change_right(
        &mut self,
        name: &str,
        kind: JoinKind,
        changes: &Changes,
        rows: &[u32],
    ) -> Result<Pairs> {
        let mut pairs = Pairs::default();
        // Of each key, whether it had a match before this epoch; in the order in which keys came.
        let mut had_match: HashMap<&[u8], bool> = HashMap::new();
        let mut touched = Vec::new();
        for &row in rows {
            let (key, weight) = (changes.key(row), changes.weight(row));
            had_match.entry(key).or_insert_with(|| {
                touched.push(key);
                self.right.contains(key)
            });
            for (other, count) in self.left.rows(key) {
                pairs.matches.push((row, other.into(), weight * count));
            }
            self.right.change(key, changes.row(row), weight);
        }
        for key in touched {
            self.right.check(name, key)?;
            let (before, now) = (had_match[key], self.right.contains(key));
            if kind == JoinKind::Left && before != now {
                let sign = if before { 1 } else { -1 };
                let lonely = self.left.rows(key).map(|(row, count)| (row.into(), sign * count));
                pairs.unmatched.extend(lonely);
            }
        }
        Ok(pairs)
    }

    fn change_left(
        &mut self,
        name: &str,
        kind: JoinKind,
        changes: &Changes,
        rows: &[u32],
    ) -> Result<Pairs> {
        let mut pairs = Pairs::default();
        for &row in rows {
            let (key, weight) = (changes.key(row), changes.weight(row));
            let before = pairs.matches.len();
            for (other, count) in self.right.rows(key) {
                pairs.matches.push((row, other.into(), weight * count));
            }
            if kind == JoinKind::Left && pairs.matches.len() == before {
                pairs.unmatched_rows.push((row, weight));
            }
            self.left.change(key, changes.row(row), weight);
        }
        for &row in rows {
            self.left.check(name, changes.key(row))?;
        }
        Ok(pairs)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Changed {
    Left,
    Right,
}

impl Join {
    fn changes(
        &self,
        epoch: &mut Epoch<'_>,
        side: &Side,
        input: &[Batch],
    ) -> Result<Option<Changes>> {
        let Some(first) = input.first() else { return Ok(None) };
        let batch = Batch::concat(&first.schema(), input)?;
        let (batch, columns) = without_failing(epoch, &self.view, &batch, |batch| {
            side.keys.iter().map(|key| evaluate(key, batch.rows())).collect::<Result<Vec<_>>>()
        })?;
        Changes::new(side, batch, &columns, self.nulls_match).map(Some)
    }

    fn emit(
        &self,
        epoch: &mut Epoch<'_>,
        matches: &[(u32, Box<[u8]>, i64)],
        changes: &Changes,
        changed: Changed,
        output: &mut Vec<Batch>,
    ) -> Result<()> {
        for part in matches.chunks(OUTPUT_ROWS_MAX) {
            let own = UInt32Array::from_iter_values(part.iter().map(|(row, _, _)| *row));
            let own = gather(changes.batch.rows().columns(), &own)?;
            let others = part.iter().map(|(_, other, _)| &**other);
            let (left, right) = match changed {
                Changed::Left => (own, self.right.row_codec.decode(others)?),
                Changed::Right => (self.left.row_codec.decode(others)?, own),
            };
            let weights = part.iter().map(|(_, _, weight)| *weight);
            let joined = self.batch(left, right, weights.collect())?;
            let joined = match &self.condition {
                None => joined,
                Some(condition) => {
                    let (joined, keep) = without_failing(epoch, &self.view, &joined, |joined| {
                        truths(&evaluate(condition, joined.rows())?)
                    })?;
                    joined.filter(&keep)?
                }
            };
            if !joined.is_empty() {
                output.push(joined);
            }
        }
        Ok(())
    }

    fn emit_unmatched(&self, rows: &[(Box<[u8]>, i64)], output: &mut Vec<Batch>) -> Result<()> {
        for part in rows.chunks(OUTPUT_ROWS_MAX) {
            let left = self.left.row_codec.decode(part.iter().map(|(row, _)| &**row))?;
            let right = self.right_nulls(part.len());
            output.push(self.batch(left, right, part.iter().map(|(_, w)| *w).collect())?);
        }
        Ok(())
    }

    fn emit_unmatched_rows(
        &self,
        rows: &[(u32, i64)],
        changes: &Changes,
        output: &mut Vec<Batch>,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let indices = UInt32Array::from_iter_values(rows.iter().map(|(row, _)| *row));
        let left = gather(changes.batch.rows().columns(), &indices)?;
        let right = self.right_nulls(rows.len());
        output.push(self.batch(left, right, rows.iter().map(|(_, w)| *w).collect())?);
        Ok(())
    }

    fn right_nulls(&self, rows: usize) -> Vec<ArrayRef> {
        let fields = self.right.row_codec.schema().fields();
        fields.iter().map(|field| new_null_array(field.data_type(), rows)).collect()
    }

    fn batch(&self, left: Vec<ArrayRef>, right: Vec<ArrayRef>, weights: Vec<i64>) -> Result<Batch> {
        let columns = left.into_iter().chain(right).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(weights.len()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Batch::new(rows, Int64Array::from(weights))
    }
}

fn gather(columns: &[ArrayRef], indices: &UInt32Array) -> Result<Vec<ArrayRef>> {
    columns.iter().map(|column| Ok(take(column, indices, None)?)).collect()
}
