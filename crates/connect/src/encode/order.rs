//! Which lines the changes of an epoch become, and in which order.

use std::collections::HashMap;

use arrow::row::Rows;
use syncline_change::row::RowCodec;
use syncline_change::sink::Shape;
use syncline_change::{Batch, Result};

/// Where a row stands in an epoch: which batch, and which row of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub batch: usize,
    pub row: usize,
}

/// One change as a changelog knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Create(At),
    Update { before: At, after: At },
    Delete(At),
}

/// Turns weighted rows into changes.
///
/// A row of weight `k` is created `k` times, one of `-k` deleted `k` times, in the order given.
/// Where the view has a key, all changes to one key stand together, where the key is first met:
/// rows that were added and taken away again cancel, then a deletion and an insertion become an
/// update, and what is left of one kind stands alone, deletions first.
#[derive(Debug)]
pub struct ChangeOrder {
    /// The key's columns, and how to compare them and whole rows.
    key: Option<(Vec<usize>, RowCodec, RowCodec)>,
}

impl ChangeOrder {
    /// # Errors
    /// `Unsupported` if the view has a key and a column that cannot be compared.
    pub fn new(shape: &Shape) -> Result<Self> {
        let Some(columns) = shape.key.clone().filter(|columns| !columns.is_empty()) else {
            return Ok(Self { key: None });
        };
        let keys = RowCodec::new(shape.schema.project(&columns)?.into())?;
        let rows = RowCodec::new(shape.schema.clone())?;
        Ok(Self { key: Some((columns, keys, rows)) })
    }

    /// Calls `visit` with each change of an epoch.
    pub fn visit(
        &self,
        batches: &[Batch],
        mut visit: impl FnMut(Change) -> Result<()>,
    ) -> Result<()> {
        match &self.key {
            Some((columns, keys, rows)) if !batches.iter().all(Batch::is_append_only) => {
                for group in groups(batches, columns, keys, rows)? {
                    group.visit(&mut visit)?;
                }
                Ok(())
            }
            _ => visit_as_given(batches, visit),
        }
    }
}

fn visit_as_given(batches: &[Batch], mut visit: impl FnMut(Change) -> Result<()>) -> Result<()> {
    for (batch, changes) in batches.iter().enumerate() {
        let Some(weights) = changes.weights() else {
            for row in 0..changes.num_rows() {
                visit(Change::Create(At { batch, row }))?;
            }
            continue;
        };
        for (row, &weight) in weights.values().iter().enumerate() {
            let at = At { batch, row };
            let change = if weight > 0 { Change::Create(at) } else { Change::Delete(at) };
            for _ in 0..weight.unsigned_abs() {
                visit(change)?;
            }
        }
    }
    Ok(())
}

/// All changes to one key.
#[derive(Default)]
struct Group {
    deleted: Vec<At>,
    inserted: Vec<At>,
}

impl Group {
    fn visit(&self, visit: &mut impl FnMut(Change) -> Result<()>) -> Result<()> {
        let updates = self.deleted.len().min(self.inserted.len());
        for &at in &self.deleted[updates..] {
            visit(Change::Delete(at))?;
        }
        for (&before, &after) in self.deleted.iter().zip(&self.inserted) {
            visit(Change::Update { before, after })?;
        }
        for &at in &self.inserted[updates..] {
            visit(Change::Create(at))?;
        }
        Ok(())
    }

    /// Whether there is more than one way to pair the rows, so that their content must decide.
    fn is_ambiguous(&self) -> bool {
        self.deleted.len() > 1 || self.inserted.len() > 1
    }

    /// Takes out what was both added and taken away.
    fn cancel(&mut self, rows: &[Rows]) {
        let content = |at: At| rows[at.batch].row(at.row);
        self.deleted.retain(|&gone| {
            let twin = self.inserted.iter().position(|&come| content(come) == content(gone));
            twin.map(|twin| self.inserted.remove(twin)).is_none()
        });
    }
}

/// The changes by key, keys in the order in which they are first met.
fn groups(
    batches: &[Batch],
    columns: &[usize],
    keys: &RowCodec,
    rows: &RowCodec,
) -> Result<Vec<Group>> {
    let encoded = batches.iter().map(|changes| {
        let columns: Vec<_> = columns.iter().map(|&c| changes.rows().column(c).clone()).collect();
        keys.encode(&columns)
    });
    let encoded: Vec<Rows> = encoded.collect::<Result<_>>()?;
    let mut places: HashMap<&[u8], usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (batch, changes) in batches.iter().enumerate() {
        for row in 0..changes.num_rows() {
            let place = *places.entry(encoded[batch].row(row).data()).or_insert(groups.len());
            if place == groups.len() {
                groups.push(Group::default());
            }
            let group = &mut groups[place];
            let weight = changes.weight(row);
            let side = if weight > 0 { &mut group.inserted } else { &mut group.deleted };
            side.extend((0..weight.unsigned_abs()).map(|_| At { batch, row }));
        }
    }
    if groups.iter().any(Group::is_ambiguous) {
        let content = batches.iter().map(|changes| rows.encode(changes.rows().columns()));
        let content: Vec<Rows> = content.collect::<Result<_>>()?;
        for group in groups.iter_mut().filter(|group| group.is_ambiguous()) {
            group.cancel(&content);
        }
    }
    Ok(groups)
}

#[cfg(test)]
mod tests;
