//! What is known of what a view holds: its rows, or no more than it takes to compare them.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use hashbrown::HashTable;
use syncline_change::digest::{RowBytes, SetDigest};
use syncline_change::row::{self, RowCodec};
use syncline_change::{Batch, Error, Result};
use xxhash_rust::xxh3::xxh3_128;

use crate::content::{Content, Order};
use crate::operators::{PARTITIONS, Split, Workers};

/// What is asked about a view that is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Rows,
    /// The state digest, which others may have.
    Digest,
    /// A sum over rows, which is quicker.
    Total,
}

/// The answer to it.
#[derive(Debug)]
pub enum Computed {
    Rows(Box<Content>),
    Digest { digest: Box<SetDigest>, rows: u64 },
    Total(RowTotal),
}

impl Computed {
    /// Of rows that a view consists of; `name` is the view's.
    pub(crate) fn new(
        wanted: Wanted,
        (name, order): (&str, &Order),
        schema: &SchemaRef,
        rows: &[Batch],
        workers: &Workers,
    ) -> Result<Self> {
        let content = || {
            let mut content = Content::new(schema.clone(), order.clone())?;
            rows.iter().try_for_each(|rows| content.apply(rows))?;
            Ok::<_, Error>(content)
        };
        match wanted {
            Wanted::Rows => Ok(Self::Rows(Box::new(content()?))),
            Wanted::Digest if schema.fields().iter().any(|field| may_be_odd(field.data_type())) => {
                let content = content()?;
                let (digest, rows) = (Box::new(content.digest(name)?), content.len() as u64);
                Ok(Self::Digest { digest, rows })
            }
            Wanted::Digest => {
                let batches: Vec<&RecordBatch> = rows.iter().map(Batch::rows).collect();
                let digest = Box::new(digest_of(name, &batches, workers)?);
                let rows = batches.iter().map(|rows| rows.num_rows() as u64).sum();
                Ok(Self::Digest { digest, rows })
            }
            Wanted::Total => {
                let codec = RowCodec::new(schema.clone())?;
                let totals = workers.map(rows, |rows| RowTotal::of(&codec, rows));
                let total = totals.into_iter().try_fold(RowTotal::default(), |mut all, total| {
                    all.add(total?);
                    Ok::<_, Error>(all)
                });
                Ok(Self::Total(total?))
            }
        }
    }
}

/// Whether there may be values that are different rows to a content, and the same to a digest: floats of more
/// than one NaN and zero, within others.
fn may_be_odd(data_type: &DataType) -> bool {
    data_type.is_nested() || *data_type == DataType::Float16
}

/// The digest of `rows`, as those of the relation `name`: partition after partition, so that no more than a
/// part of them is there as bytes.
fn digest_of(name: &str, rows: &[&RecordBatch], workers: &Workers) -> Result<SetDigest> {
    let split = |rows: &&RecordBatch| {
        let (bytes, mut row) = (RowBytes::new(rows)?, Vec::new());
        let hashes = (0..rows.num_rows()).map(|number| {
            row.clear();
            bytes.write(number, &mut row);
            row::hash(&row)
        });
        let split = Split::new(&hashes.collect::<Vec<_>>());
        Ok((bytes, split))
    };
    let parts = workers.map(rows, split).into_iter().collect::<Result<Vec<_>>>()?;
    let partitions: Vec<usize> = (0..PARTITIONS).collect();
    #[allow(clippy::disallowed_methods, reason = "a set is hashed, which has no order")]
    let digests = workers.map(&partitions, |&partition| {
        // Where each different row begins and ends, and how often it is there.
        let mut different: HashTable<(usize, usize, u64)> = HashTable::new();
        let mut all = Vec::new();
        for (bytes, split) in &parts {
            for &number in split.rows(partition) {
                let start = all.len();
                bytes.write(number as usize, &mut all);
                let row = &all[start..];
                let hash = |place: &(usize, usize, u64)| row::hash(&all[place.0..place.1]);
                let is_same = |place: &(usize, usize, u64)| all[place.0..place.1] == *row;
                match different.entry(row::hash(row), is_same, hash) {
                    hashbrown::hash_table::Entry::Occupied(mut found) => {
                        found.get_mut().2 += 1;
                        all.truncate(start);
                    }
                    hashbrown::hash_table::Entry::Vacant(place) => {
                        place.insert((start, all.len(), 1));
                    }
                }
            }
        }
        let mut digest = SetDigest::new(name);
        different.iter().for_each(|(start, end, count)| digest.add(&all[*start..*end], *count));
        digest
    });
    let mut digest = SetDigest::new(name);
    digests.iter().for_each(|part| digest.merge(part));
    Ok(digest)
}

/// What changes add up to.
#[derive(Debug)]
pub enum Account {
    Rows(Box<Content>),
    /// Enough to say whether another account is of the same rows.
    Sum(RowSum),
}

/// A sum over a multiset of rows: of their hashes, each as often as its row is there. Two that are the same are
/// of the same rows, unless the hashes were made to collide: so it is for comparing what was computed here
/// by two ways, and not with what others say. That a row was there fewer than zero times for a while cannot be
/// seen in it.
#[derive(Debug)]
pub struct RowSum {
    codec: RowCodec,
    total: RowTotal,
}

/// What a [`RowSum`] has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowTotal {
    rows: i64,
    hashes: u128,
}

impl Account {
    /// Of no rows of `schema`, which has the rows in `order`, or only their sum.
    ///
    /// # Errors
    /// `Unsupported` if a column's type cannot be compared.
    pub fn new(schema: SchemaRef, order: Order, is_sum: bool) -> Result<Self> {
        Ok(match is_sum {
            true => Self::Sum(RowSum { codec: RowCodec::new(schema)?, total: RowTotal::default() }),
            false => Self::Rows(Box::new(Content::new(schema, order)?)),
        })
    }

    /// # Errors
    /// `Bug` if a row were there fewer than zero times afterwards, and that is known.
    pub fn apply(&mut self, change: &Batch) -> Result<()> {
        match self {
            Self::Rows(content) => content.apply(change)?,
            Self::Sum(sum) => sum.total.add(RowTotal::of(&sum.codec, change)?),
        }
        Ok(())
    }

    /// The rows, if they are known.
    pub fn rows(&self) -> Option<&Content> {
        match self {
            Self::Rows(content) => Some(content),
            Self::Sum(_) => None,
        }
    }

    /// The same, without the account.
    pub fn into_rows(self) -> Option<Content> {
        match self {
            Self::Rows(content) => Some(*content),
            Self::Sum(_) => None,
        }
    }

    /// What the sum is, if that is what is known.
    pub fn total(&self) -> Option<RowTotal> {
        match self {
            Self::Rows(_) => None,
            Self::Sum(sum) => Some(sum.total),
        }
    }
}

impl RowTotal {
    fn of(codec: &RowCodec, change: &Batch) -> Result<Self> {
        let mut total = Self::default();
        for (i, row) in codec.encode_batch(change.rows())?.iter().enumerate() {
            let (weight, hash) = (change.weight(i), xxh3_128(row.data()));
            let hashes = hash.wrapping_mul(i128::from(weight).cast_unsigned());
            total.add(Self { rows: weight, hashes });
        }
        Ok(total)
    }

    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.hashes = self.hashes.wrapping_add(other.hashes);
    }

    /// How many rows there are, repeated ones counted each time.
    pub fn rows(self) -> u64 {
        u64::try_from(self.rows).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{Field, Schema};
    use proptest::prelude::*;

    use super::*;

    fn rows(values: &[(i64, i64)]) -> Batch {
        let numbers: Int64Array = values.iter().map(|(value, _)| Some(*value)).collect();
        let texts: StringArray =
            values.iter().map(|(value, _)| (value % 3 > 0).then_some("text")).collect();
        let fields = [("n", DataType::Int64), ("t", DataType::Utf8)];
        let fields = fields.map(|(name, of)| Field::new(name, of, true));
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let rows = RecordBatch::try_new(schema, vec![Arc::new(numbers), Arc::new(texts)]);
        let weights = values.iter().map(|(_, weight)| Some(*weight)).collect::<Int64Array>();
        Batch::new(rows.unwrap(), weights).unwrap()
    }

    proptest! {
        /// Sums are the same exactly where contents are, however rows came and went.
        #[test]
        fn a_sum_tells_what_rows_tell(
            changes in prop::collection::vec(prop::collection::vec(0..6_i64, 0..8), 0..6),
            others in prop::collection::vec(prop::collection::vec(0..6_i64, 0..8), 0..6),
            gone in prop::collection::vec(0..6_i64, 0..5),
        ) {
            let schema = rows(&[]).rows().schema();
            let of = |changes: &[Vec<i64>]| {
                [false, true].map(|is_sum| {
                    let mut account = Account::new(schema.clone(), vec![], is_sum).unwrap();
                    for change in changes {
                        let all = change.iter().chain(&gone).map(|value| (*value, 1));
                        account.apply(&rows(&all.collect::<Vec<_>>())).unwrap();
                        let gone = gone.iter().map(|value| (*value, -1)).collect::<Vec<_>>();
                        account.apply(&rows(&gone)).unwrap();
                    }
                    account
                })
            };
            let ([left, left_sum], [right, right_sum]) = (of(&changes), of(&others));
            let (left, right) = (left.into_rows().unwrap(), right.into_rows().unwrap());
            let is_same = left.digest("view").unwrap() == right.digest("view").unwrap();
            prop_assert_eq!(left_sum.total() == right_sum.total(), is_same);
            prop_assert_eq!(left_sum.total().unwrap().rows(), left.len() as u64);
            let backwards: Vec<i64> = changes.iter().flatten().rev().copied().collect();
            let [_, again] = of(&[backwards]);
            prop_assert_eq!(again.total(), left_sum.total());
            // And of rows that are all there at once.
            let parts: Vec<Batch> = changes.iter().map(|change| {
                rows(&change.iter().map(|value| (*value, 1)).collect::<Vec<_>>())
            }).collect();
            let computed = [Wanted::Digest, Wanted::Total].map(|wanted| {
                let of = ("view", &vec![]);
                Computed::new(wanted, of, &schema, &parts, &Workers::default()).unwrap()
            });
            let [Computed::Digest { digest, rows }, Computed::Total(total)] = computed else {
                panic!("something else was computed");
            };
            prop_assert_eq!(*digest, left.digest("view").unwrap());
            prop_assert_eq!(rows, left.len() as u64);
            prop_assert_eq!(Some(total), left_sum.total());
        }
    }
}
