//! `first_value` and `last_value`.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow::compute::{SortOptions, take};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use syncline_change::{Error, Result};

use super::super::negative;
use super::{Accumulate, Update, change_count};

/// What of a group's rows is picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    pub(crate) last: bool,
    /// Rows whose value is NULL are passed over.
    pub(crate) ignore_nulls: bool,
    /// By what rows are ordered. Two that agree in it have the same value.
    pub(crate) order: Vec<SortOptions>,
}

/// The value of the first or last row of each group. Where rows can be taken away all are kept, in
/// order; otherwise the one.
pub(crate) struct Ends {
    pick: Pick,
    append_only: bool,
    converter: RowConverter,
    value: DataType,
    /// The order and behind it the value, encoded.
    groups: Vec<BTreeMap<Box<[u8]>, i64>>,
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
            append_only,
            converter: RowConverter::new(fields)?,
            value: value.clone(),
            groups: Vec::new(),
        })
    }

    fn best(&self, group: usize) -> Option<(&[u8], i64)> {
        let rows = &self.groups[group];
        let best = if self.pick.last { rows.last_key_value() } else { rows.first_key_value() };
        best.map(|(row, &count)| (&**row, count))
    }

    fn is_better(&self, row: &[u8], group: usize) -> bool {
        self.best(group)
            .is_none_or(|(best, _)| if self.pick.last { row > best } else { row < best })
    }
}

impl Accumulate for Ends {
    fn grow(&mut self, groups: usize) {
        self.groups.resize_with(groups, BTreeMap::new);
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
            let (bytes, group) = (encoded.row(i).data(), group as usize);
            if !self.append_only {
                let weight = rows.weights.map_or(1, |weights| weights[row as usize]);
                change_count(&mut self.groups[group], bytes, weight);
            } else if self.is_better(bytes, group) {
                let best = &mut self.groups[group];
                best.clear();
                best.insert(bytes.into(), 1);
            }
        }
        let is_missing = |&group: &u32| self.best(group as usize).is_some_and(|(_, n)| n < 0);
        match rows.groups.iter().any(is_missing) {
            true => Err(negative("first_value/last_value", "a row")),
            false => Ok(()),
        }
    }

    fn output(&self, groups: &[u32]) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let best: Vec<Option<&[u8]>> =
            groups.iter().map(|&group| self.best(group as usize).map(|(row, _)| row)).collect();
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
        self.groups[group as usize].clear();
    }

    fn bytes(&self) -> usize {
        let rows: usize = self.groups.iter().flatten().map(|(row, _)| row.len() + 32).sum();
        self.groups.capacity() * size_of::<BTreeMap<u8, u8>>() + rows
    }
}
