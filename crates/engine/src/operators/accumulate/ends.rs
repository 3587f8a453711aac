//! `first_value` and `last_value`.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow::compute::{SortOptions, take};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use syncline_change::{Error, Result};

use super::super::{heap_bytes, negative, tree_bytes};
use super::{Accumulate, Update, change_count, put_counts, take_counts};
use crate::state::{put_bytes, put_flag, take_bytes, take_flag};

/// What of a group's rows is picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    pub(crate) last: bool,
    /// Rows whose value is NULL are passed over.
    pub(crate) ignore_nulls: bool,
    /// By what rows are ordered. Two that agree in it have the same value.
    pub(crate) order: Vec<SortOptions>,
}

/// The value of the first or last row of each group.
pub(crate) struct Ends {
    pick: Pick,
    converter: RowConverter,
    value: DataType,
    /// The order and behind it the value, encoded.
    groups: EndsOfGroups,
}

impl Ends {
    /// The arguments are the value and what rows are ordered by.
    ///
    /// # Errors
    /// `Unsupported` if a type has no order.
    pub(crate) fn new(pick: &Pick, of: &[DataType], append_only: bool) -> Result<Self> {
        let unsupported = || Error::unsupported("first_value or last_value of these types");
        let (value, order) = of.split_first().ok_or_else(unsupported)?;
        if order.len() != pick.order.len() {
            return Err(unsupported());
        }
        let terms = order.iter().zip(&pick.order);
        let terms = terms.map(|(of, options)| SortField::new_with_options(of.clone(), *options));
        let fields: Vec<SortField> = terms.chain([SortField::new(value.clone())]).collect();
        if !RowConverter::supports_fields(&fields) {
            return Err(unsupported());
        }
        Ok(Self {
            pick: pick.clone(),
            converter: RowConverter::new(fields)?,
            value: value.clone(),
            groups: EndsOfGroups::new(append_only),
        })
    }
}

impl Accumulate for Ends {
    fn grow(&mut self, groups: usize) {
        self.groups.grow(groups);
    }

    fn update(&mut self, rows: &Update<'_>) -> Result<()> {
        let own = UInt32Array::from(rows.rows.to_vec());
        let (value, order) = rows.arguments.split_at(1);
        let columns = order.iter().chain(value).map(|column| take(column, &own, None));
        let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
        let nulls = columns.last().and_then(|value| value.logical_nulls());
        let nulls = nulls.filter(|_| self.pick.ignore_nulls);
        let encoded = self.converter.convert_columns(&columns)?;
        for (i, (&row, &group)) in rows.rows.iter().zip(rows.groups).enumerate() {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(i)) {
                continue;
            }
            let weight = rows.weights.map_or(1, |weights| weights[row as usize]);
            self.groups.change(group as usize, encoded.row(i).data(), weight, self.pick.last);
        }
        self.groups.check("first_value/last_value", rows.groups)
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let best = groups.iter().map(|&group| self.groups.end(group as usize, self.pick.last));
        let best: Vec<Option<&[u8]>> = best.collect();
        let there = best.iter().flatten().map(|row| parser.parse(row));
        let values = self.converter.convert_rows(there)?.pop();
        let values = values.unwrap_or_else(|| new_null_array(&self.value, 0));
        let mut next = 0;
        let places = best.iter().map(|row| {
            row.map(|_| {
                next += 1;
                next - 1
            })
        });
        Ok(take(&values, &places.collect::<UInt32Array>(), None)?)
    }

    fn reset(&mut self, group: u32) {
        self.groups.reset(group as usize);
    }

    fn write(&self, group: u32, bytes: &mut Vec<u8>) {
        self.groups.write(group as usize, bytes);
    }

    fn read(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.groups.read(group as usize, bytes)
    }

    fn bytes(&self) -> usize {
        self.groups.bytes()
    }
}

/// Encoded rows of each group of which the least or the greatest is wanted.
pub(super) enum EndsOfGroups {
    /// Rows only ever come: the one that is wanted so far.
    Best { rows: Vec<Option<Box<[u8]>>>, heap: usize },
    /// All of them, in order, with how often each is there.
    All { rows: Vec<BTreeMap<Box<[u8]>, i64>>, heap: usize },
}

impl EndsOfGroups {
    pub(super) fn new(append_only: bool) -> Self {
        match append_only {
            true => Self::Best { rows: Vec::new(), heap: 0 },
            false => Self::All { rows: Vec::new(), heap: 0 },
        }
    }

    pub(super) fn grow(&mut self, groups: usize) {
        match self {
            Self::Best { rows, .. } => rows.resize(groups, None),
            Self::All { rows, .. } => rows.resize_with(groups, BTreeMap::new),
        }
    }

    /// Takes `row` in as often as `weight` says; `last`: the greatest is wanted.
    pub(super) fn change(&mut self, group: usize, row: &[u8], weight: i64, last: bool) {
        match self {
            Self::Best { rows, heap } => {
                let best = &mut rows[group];
                let is_better = |best: &[u8]| if last { row > best } else { row < best };
                if best.as_deref().is_none_or(is_better) {
                    *heap -= best.as_ref().map_or(0, |best| heap_bytes(best.len()));
                    *heap += heap_bytes(row.len());
                    *best = Some(row.into());
                }
            }
            Self::All { rows, heap } => {
                let rows = &mut rows[group];
                let before = rows.len();
                change_count(rows, row, weight);
                let entries = |n| tree_bytes::<(Box<[u8]>, i64)>(n);
                match rows.len() {
                    now if now > before => *heap += heap_bytes(row.len()),
                    now if now < before => *heap -= heap_bytes(row.len()),
                    _ => {}
                }
                *heap = *heap + entries(rows.len()) - entries(before);
            }
        }
    }

    /// The least row of a group, or the greatest.
    pub(super) fn end(&self, group: usize, last: bool) -> Option<&[u8]> {
        match self {
            Self::Best { rows, .. } => rows[group].as_deref(),
            Self::All { rows, .. } => {
                let rows = &rows[group];
                let end = if last { rows.last_key_value() } else { rows.first_key_value() };
                end.map(|(row, _)| &**row)
            }
        }
    }

    /// # Errors
    /// `Bug` if a row at an end of one of `groups` is there fewer than zero times. Only these can
    /// become a result, and looking at all would cost more than the update.
    pub(super) fn check(&self, name: &str, groups: &[u32]) -> Result<()> {
        let Self::All { rows, .. } = self else { return Ok(()) };
        let is_missing = |&group: &u32| {
            let rows = &rows[group as usize];
            let ends = [rows.first_key_value(), rows.last_key_value()];
            ends.into_iter().flatten().any(|(_, &count)| count < 0)
        };
        // Rows of a group often stand together; each group need be looked at once.
        let is_any = groups.chunk_by(|a, b| a == b).any(|same| is_missing(&same[0]));
        if is_any { Err(negative(name, "a value")) } else { Ok(()) }
    }

    pub(super) fn reset(&mut self, group: usize) {
        match self {
            Self::Best { rows, heap } => {
                *heap -= rows[group].take().map_or(0, |row| heap_bytes(row.len()));
            }
            Self::All { rows, heap } => {
                let gone = std::mem::take(&mut rows[group]);
                *heap -= tree_bytes::<(Box<[u8]>, i64)>(gone.len());
                *heap -= gone.keys().map(|row| heap_bytes(row.len())).sum::<usize>();
            }
        }
    }

    pub(super) fn write(&self, group: usize, bytes: &mut Vec<u8>) {
        match self {
            Self::Best { rows, .. } => {
                put_flag(bytes, rows[group].is_some());
                put_bytes(bytes, rows[group].as_deref().unwrap_or_default());
            }
            Self::All { rows, .. } => put_counts(bytes, &rows[group]),
        }
    }

    pub(super) fn read(&mut self, group: usize, bytes: &mut &[u8]) -> Option<()> {
        match self {
            Self::Best { rows, heap } => {
                let (is_there, row) = (take_flag(bytes)?, take_bytes(bytes)?);
                *heap += if is_there { heap_bytes(row.len()) } else { 0 };
                rows[group] = is_there.then(|| row.into());
            }
            Self::All { rows, heap } => {
                let counts = take_counts(bytes)?;
                *heap += tree_bytes::<(Box<[u8]>, i64)>(counts.len());
                *heap += counts.keys().map(|row| heap_bytes(row.len())).sum::<usize>();
                rows[group] = counts;
            }
        }
        Some(())
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Best { rows, heap } => rows.capacity() * size_of::<Option<Box<[u8]>>>() + heap,
            Self::All { rows, heap } => {
                rows.capacity() * size_of::<BTreeMap<Box<[u8]>, i64>>() + heap
            }
        }
    }
}
