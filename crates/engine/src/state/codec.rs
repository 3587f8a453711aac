//! Rows as a key and the rest, both as bytes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};
use syncline_change::{Error, Result};

use super::compact::{CompactRows, Layout};

/// Encodes rows as two pieces of bytes: a key, and for the rest of the row first the columns that its
/// order is by, then all that are in neither. Keys sort as their values do (`arrow::row`), and so
/// does the rest where it is said to have an order.
#[derive(Debug)]
pub(crate) struct KeyedCodec {
    key: Part,
    rest: Rest,
    /// Of each column of the row, where it is found again.
    places: Vec<Place>,
    /// Encodes the beginning of `rest`: the columns that its order is by.
    order: Part,
    schema: SchemaRef,
    /// The columns of the row that are in `rest` behind those that it is ordered by.
    others: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Key(usize),
    Rest(usize),
}

#[derive(Debug)]
struct Part {
    converter: RowConverter,
    columns: usize,
}

impl Part {
    fn new(fields: Vec<SortField>) -> Result<Self> {
        let columns = fields.len();
        let converter = RowConverter::new(fields).map_err(|error| {
            Error::unsupported("a column's type cannot be compared").detail(error.to_string())
        })?;
        Ok(Self { converter, columns })
    }

    fn encode(&self, columns: &[ArrayRef]) -> Result<Encoded> {
        Ok(match self.columns {
            0 => Encoded::Nothing,
            _ => Encoded::Ordered(self.converter.convert_columns(columns)?),
        })
    }

    fn decode<'a>(&self, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        if self.columns == 0 {
            return Ok(vec![]);
        }
        let parser = self.converter.parser();
        Ok(self.converter.convert_rows(rows.map(|row| parser.parse(row)))?)
    }
}

/// What encodes the rest of rows.
#[derive(Debug)]
enum Rest {
    Ordered(Part),
    Compact(Layout),
}

/// One part of many rows as bytes.
#[derive(Debug)]
pub(crate) enum Encoded {
    Nothing,
    Ordered(Rows),
    Compact(CompactRows),
}

impl Encoded {
    pub(crate) fn get(&self, row: usize) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::Ordered(rows) => rows.row(row).data(),
            Self::Compact(rows) => rows.get(row),
        }
    }
}

impl KeyedCodec {
    /// For rows of `schema`. `keys` and `order` are computed columns: how each is sorted, and which
    /// column of the row it is, if it is one. Whether the rest needs an order is `ordered`.
    ///
    /// # Errors
    /// `Unsupported` if a column's type has no order.
    pub(crate) fn new(
        schema: SchemaRef,
        keys: Vec<(SortField, Option<usize>)>,
        order: Vec<(SortField, Option<usize>)>,
        ordered: bool,
    ) -> Result<Self> {
        let find = |columns: &[(SortField, Option<usize>)], wanted| {
            columns.iter().position(|(_, column)| *column == Some(wanted))
        };
        let (mut places, mut others) = (Vec::new(), Vec::new());
        for column in 0..schema.fields().len() {
            places.push(match (find(&keys, column), find(&order, column)) {
                (Some(place), _) => Place::Key(place),
                (None, Some(place)) => Place::Rest(place),
                (None, None) => {
                    others.push(column);
                    Place::Rest(order.len() + others.len() - 1)
                }
            });
        }
        let field = |column: &usize| SortField::new(schema.field(*column).data_type().clone());
        let order_fields = order.iter().map(|(field, _)| field.clone()).collect();
        let types = others.iter().map(|&column| schema.field(column).data_type().clone());
        let layout = match ordered || !order.is_empty() {
            true => None,
            false => Layout::new(&types.collect::<Vec<_>>()),
        };
        let rest = order.into_iter().map(|(field, _)| field).chain(others.iter().map(field));
        Ok(Self {
            rest: match layout {
                Some(layout) => Rest::Compact(layout),
                None => Rest::Ordered(Part::new(rest.collect())?),
            },
            key: Part::new(keys.into_iter().map(|(field, _)| field).collect())?,
            order: Part::new(order_fields)?,
            places,
            schema,
            others,
        })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether an encoded key has a NULL in it.
    pub(crate) fn has_null_key(&self, key: &[u8]) -> Result<bool> {
        let columns = self.key.decode([key].into_iter())?;
        Ok(columns.iter().any(|column| column.logical_null_count() > 0))
    }

    pub(crate) fn encode_keys(&self, keys: &[ArrayRef]) -> Result<Encoded> {
        self.key.encode(keys)
    }

    /// The beginning of what beside the key makes up rows: the columns that its order is by.
    pub(crate) fn encode_order(&self, order: &[ArrayRef]) -> Result<Encoded> {
        self.order.encode(order)
    }

    /// What beside the key makes up `rows`, given the columns that its order is by.
    pub(crate) fn encode_rest(&self, order: &[ArrayRef], rows: &RecordBatch) -> Result<Encoded> {
        let others = self.others.iter().map(|&column| rows.column(column).clone());
        let columns: Vec<ArrayRef> = order.iter().cloned().chain(others).collect();
        match &self.rest {
            Rest::Ordered(part) => part.encode(&columns),
            Rest::Compact(layout) => layout.encode(&columns, rows.num_rows()).map(Encoded::Compact),
        }
    }

    /// The beginning of the rest of each row: the columns that its order is by.
    ///
    /// # Errors
    /// `Bug` if the bytes were not made by a codec of the same kind.
    pub(crate) fn order_of(&self, rest: &[&[u8]]) -> Result<Encoded> {
        match &self.rest {
            Rest::Ordered(part) if self.order.columns > 0 => {
                let columns = part.decode(rest.iter().copied())?;
                self.order.encode(&columns[..self.order.columns])
            }
            _ => Ok(Encoded::Nothing),
        }
    }

    /// The columns of rows, given the key and the rest of each.
    ///
    /// # Errors
    /// `Bug` if the bytes were not made by a codec of the same kind.
    pub(crate) fn decode<'a>(
        &self,
        rows: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> Result<Vec<ArrayRef>> {
        let is_needed = self.places.iter().any(|place| matches!(place, Place::Key(_)));
        let keys = match is_needed {
            true => self.key.decode(rows.clone().map(|(key, _)| key))?,
            false => vec![],
        };
        let rest = match &self.rest {
            Rest::Ordered(part) => part.decode(rows.map(|(_, rest)| rest))?,
            Rest::Compact(layout) => layout.decode(&rows.map(|(_, r)| r).collect::<Vec<_>>())?,
        };
        let column = |place: &Place| match *place {
            Place::Key(i) => Arc::clone(&keys[i]),
            Place::Rest(i) => Arc::clone(&rest[i]),
        };
        Ok(self.places.iter().map(column).collect())
    }
}
