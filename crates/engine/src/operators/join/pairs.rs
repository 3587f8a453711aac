//! The pairs of rows that an epoch makes match, or match no more.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use syncline_change::source::{RejectClass, Rejected};
use syncline_change::{Batch, Result};

use super::super::OUTPUT_ROWS_MAX;
use super::super::arrange::Delta;
use super::super::map::{evaluate, rejected, truths};
use super::range::{Spans, within};
use super::{Condition, JoinKind, Output, View, batch, gather, joined};
use crate::state::Group;

/// By how much the matches of a row change.
pub(super) struct Contribution<'a> {
    pub(super) hash: u64,
    pub(super) key: &'a [u8],
    pub(super) row: &'a [u8],
    pub(super) matches: i64,
}

/// Rows of a delta and rows of the other side that have the same key.
#[derive(Default)]
struct Found<'a> {
    /// Of each pair, the group and row of the delta.
    groups: Vec<u32>,
    own: Vec<u32>,
    /// Of each pair, the number of the other row in `others`.
    other: Vec<u32>,
    /// Key, row and weight of each of the other rows, once.
    others: Vec<(&'a [u8], &'a [u8], i64)>,
}

impl<'a> Found<'a> {
    /// Pairs of a row with each of some others.
    fn add(&mut self, group: usize, own: usize, others: Range<usize>) {
        for other in others {
            self.groups.push(group as u32);
            self.own.push(own as u32);
            self.other.push(other as u32);
        }
    }

    /// Pairs of the rows of a delta's group with those of the other side that are in their spans. The
    /// condition is not computed for others: whether these are still there is not known.
    fn add_within(&mut self, delta: &'a Delta, group: usize, spans: &Spans, others: &Group<'a>) {
        let span = |own: usize| spans[delta.origins[own] as usize];
        let within = within(others, delta.run.rows_of(group).filter_map(span));
        let (key, first) = (delta.run.key(group), self.others.len());
        self.others.extend(within.iter().map(|&(_, row, weight)| (key, row, weight)));
        for own in delta.run.rows_of(group) {
            let Some((from, until)) = span(own) else { continue };
            let start = within.partition_point(|(time, ..)| *time < from);
            let end = within.partition_point(|(time, ..)| *time <= until);
            self.add(group, own, first + start..first + end);
        }
    }
}

impl<'a> View<'a> {
    /// Puts out the pairs of a partition, if pairs are wanted, and says how the number of matches
    /// changes for rows of the sides where that is `counted`.
    pub(super) fn pairs(
        &self,
        partition: usize,
        counted: [bool; 2],
        output: &mut Output,
    ) -> Result<[Vec<Contribution<'a>>; 2]> {
        let mut contributions = [vec![], vec![]];
        for changed in [1, 0] {
            let Some(delta) = self.sides[changed].delta(self.epoch, partition) else { continue };
            let found = self.find(partition, changed, delta);
            let passing = self.emit_pairs(changed, delta, &found, output)?;
            for side in [0, 1] {
                if counted[side] {
                    let of = &mut contributions[side];
                    self.count(partition, side, changed, delta, &found, &passing, of);
                }
            }
        }
        Ok(contributions)
    }

    /// Rows of the right side meet what was there before, rows of the left what is there after.
    fn find(&self, partition: usize, changed: usize, delta: &'a Delta) -> Found<'a> {
        let other = self.sides[1 - changed];
        let mut found = Found::default();
        for group in 0..delta.run.groups() {
            if delta.has_null_key(group) && !self.spec.nulls_match {
                continue;
            }
            let (hash, key) = (delta.run.hash(group), delta.run.key(group));
            let matches = match changed {
                0 => other.after(partition, hash, key),
                _ => other.before(self.epoch, partition, hash, key),
            };
            let own = delta.run.rows_of(group);
            match &self.spans[1 - changed] {
                Some(spans) => found.add_within(delta, group, spans, &matches),
                None => {
                    let first = found.others.len();
                    found.others.extend(matches.map(|(row, weight)| (key, row, weight)));
                    let others = first..found.others.len();
                    own.for_each(|own| found.add(group, own, others.clone()));
                }
            }
        }
        found
    }

    /// Puts pairs out and returns which of them pass the condition; empty if there is none.
    fn emit_pairs(
        &self,
        changed: usize,
        delta: &Delta,
        found: &Found<'_>,
        output: &mut Output,
    ) -> Result<Vec<bool>> {
        let mut passing = Vec::new();
        if found.own.is_empty() {
            return Ok(passing);
        }
        let others = self.sides[1 - changed].codec();
        let others = others.decode(found.others.iter().map(|&(key, row, _)| (key, row)))?;
        let own = self.sides[changed].changed();
        let is_wanted = matches!(self.spec.kind, JoinKind::Pairs { .. });
        for start in (0..found.own.len()).step_by(OUTPUT_ROWS_MAX) {
            let part = start..found.own.len().min(start + OUTPUT_ROWS_MAX);
            let origins = found.own[part.clone()].iter().map(|&row| delta.origins[row as usize]);
            let own = gather(own, &UInt32Array::from_iter_values(origins))?;
            let other = UInt32Array::from_iter_values(found.other[part.clone()].iter().copied());
            let columns = joined(changed, own, gather(&others, &other)?);
            let keep = match &self.spec.condition {
                None => None,
                Some(condition) => {
                    Some(self.passing(condition, &columns, part.len(), &mut output.rejected)?)
                }
            };
            passing.extend(keep.iter().flat_map(|keep| keep.values().iter()));
            if is_wanted {
                let weights = part.map(|pair| {
                    let (_, _, weight) = found.others[found.other[pair] as usize];
                    delta.run.weight(found.own[pair] as usize) * weight
                });
                let pairs = batch(&self.spec.schema, columns, weights.collect())?;
                let pairs = keep.map_or(Ok(pairs.clone()), |keep| pairs.filter(&keep))?;
                if !pairs.is_empty() {
                    output.batches.push(pairs);
                }
            }
        }
        Ok(passing)
    }

    /// Which pairs the condition is true for. Those for which it fails are reported, and do not
    /// match.
    fn passing(
        &self,
        condition: &Condition,
        columns: &[ArrayRef],
        rows: usize,
        reports: &mut Vec<Rejected>,
    ) -> Result<BooleanArray> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&condition.schema);
        let pairs = RecordBatch::try_new_with_options(schema, columns.to_vec(), &options)?;
        if let Ok(values) = evaluate(&condition.predicate, &pairs) {
            return truths(&values);
        }
        let mut passing = Vec::with_capacity(rows);
        for row in 0..rows {
            let pair = pairs.slice(row, 1);
            passing.push(match evaluate(&condition.predicate, &pair) {
                Ok(values) => truths(&values)?.value(0),
                Err(error) => {
                    let pair = Batch::inserts(pair);
                    reports.push(rejected(self.epoch, &pair, RejectClass::Expression, &error)?);
                    false
                }
            });
        }
        Ok(BooleanArray::from(passing))
    }

    /// What the pairs mean for the number of matches of the rows of `side`. A row that comes anew
    /// has all that it meets; one that was there gains and loses with the other side's changes.
    #[allow(clippy::too_many_arguments)]
    fn count(
        &self,
        partition: usize,
        side: usize,
        changed: usize,
        delta: &'a Delta,
        found: &Found<'a>,
        passing: &[bool],
        contributions: &mut Vec<Contribution<'a>>,
    ) {
        let mut is_new: Option<(u32, bool)> = None;
        for pair in (0..passing.len()).filter(|&pair| passing[pair]) {
            let (group, own) = (found.groups[pair] as usize, found.own[pair]);
            let (hash, key) = (delta.run.hash(group), delta.run.key(group));
            let (_, other, other_weight) = found.others[found.other[pair] as usize];
            if changed != side {
                let matches = delta.run.weight(own as usize);
                contributions.push(Contribution { hash, key, row: other, matches });
                continue;
            }
            let row = delta.run.row(own as usize);
            let is_new = match is_new {
                Some((of, is_new)) if of == own => is_new,
                _ => {
                    let before = self.sides[side].before(self.epoch, partition, hash, key);
                    let new = before.weight(row) == 0;
                    is_new = Some((own, new));
                    new
                }
            };
            if is_new {
                contributions.push(Contribution { hash, key, row, matches: other_weight });
            }
        }
    }
}
