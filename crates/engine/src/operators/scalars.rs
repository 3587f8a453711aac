//! A filter and projection whose expressions hold single values of other inputs: those of scalar
//! subqueries that do not depend on the row.

use std::sync::Arc;

use arrow::array::Int64Array;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::PhysicalExpr;
use syncline_change::row::{self, RowCodec};
use syncline_change::source::Rejected;
use syncline_change::{Batch, Result};

use super::accumulate::{change_count, put_counts, take_counts};
use super::arrange::{Arranged, NO_KEY, unkeyed};
use super::map::{Map, rejected_as_a_whole, without_failing};
use super::partition::PART_ROWS;
use super::partition::partition;
use super::recompute::{Rows, count_changes, rows_bytes};
use super::settle::Consolidate;
use super::{Change, Epoch, Operator, negative};
use crate::batch::failed;
use crate::state::{Loader, Saver};

/// While the values stay, rows are mapped as they come. When one changes, every row is computed with
/// the old values and with the new ones, and what differs is put out.
///
/// While there is more than one row where a value should be, no row can be computed, and none is
/// shown.
pub(crate) struct Scalars {
    /// Over the columns of the rows, and behind them one for each value.
    open: Map,
    /// The same with the values in place; `None`: one of them is not single.
    closed: Option<Map>,
    /// How many columns the rows have.
    columns: usize,
    values: Vec<Value>,
    differences: Consolidate,
    name: String,
}

impl Scalars {
    /// The inputs are an arrangement of all rows together, and what the values come from, which has
    /// one column each.
    pub(crate) fn new(
        name: String,
        open: Map,
        columns: usize,
        values: &[SchemaRef],
    ) -> Result<Self> {
        let values = values.iter().map(|schema| Value::new(schema.clone()));
        let values = values.collect::<Result<Vec<_>>>()?;
        let differences = Consolidate::new(open.schema.clone(), false)?;
        let mut made = Self { open, closed: None, columns, values, differences, name };
        made.closed = made.close()?;
        Ok(made)
    }

    /// The expressions with the values in place.
    fn close(&self) -> Result<Option<Map>> {
        let mut literals = Vec::with_capacity(self.values.len());
        for value in &self.values {
            let Some(value) = value.single()? else { return Ok(None) };
            literals.push(Arc::new(Literal::new(value)) as Arc<dyn PhysicalExpr>);
        }
        let close = |expr: &Arc<dyn PhysicalExpr>| {
            let closed = Arc::clone(expr).transform_up(|part| {
                let place = part.downcast_ref::<Column>().map(Column::index);
                let value = place.and_then(|place| place.checked_sub(self.columns));
                Ok(match value {
                    Some(value) => Transformed::yes(Arc::clone(&literals[value])),
                    None => Transformed::no(part),
                })
            });
            closed.map(|closed| closed.data).map_err(failed)
        };
        let columns = self.open.columns.as_ref();
        let columns = columns.map(|columns| columns.iter().map(close).collect::<Result<_>>());
        Ok(Some(Map {
            view: self.open.view.clone(),
            predicate: self.open.predicate.as_ref().map(close).transpose()?,
            columns: columns.transpose()?,
            schema: self.open.schema.clone(),
        }))
    }

    /// What the rows that were there before the epoch become with the new values and were with the
    /// old ones, where these differ.
    fn replace(
        &self,
        epoch: &mut Epoch<'_>,
        rows: &Arranged,
        before: Option<&Map>,
        output: &mut Vec<Batch>,
    ) -> Result<()> {
        let after = self.closed.as_ref();
        if before.is_none() && after.is_none() {
            return Ok(()); // No rows were shown, and none are.
        }
        let hash = row::hash(NO_KEY);
        let mut group = rows.before(epoch.number, partition(hash), hash, NO_KEY);
        loop {
            let part: Vec<(&[u8], i64)> = group.by_ref().take(PART_ROWS).collect();
            if part.is_empty() {
                return Ok(());
            }
            let part = unkeyed(rows.codec(), &part)?;
            let mut failed_before = Vec::new();
            let was = compute(epoch, before, &part, &mut failed_before)?;
            let mut failed_now = Vec::new();
            let is = compute(epoch, after, &part, &mut failed_now)?;
            // A row that failed before was reported then.
            failed_now.retain(|(_, now)| {
                !failed_before.iter().any(|(_, before)| before.bytes == now.bytes)
            });
            epoch.rejected.append(&mut failed_now);
            let changed = opposed(&self.open.schema, was, is)?;
            output.extend(self.differences.add_up(epoch, &changed)?);
        }
    }
}

impl Operator for Scalars {
    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let rows = inputs[0].arranged(&self.name)?;
        let mut has_changed = false;
        for (value, input) in self.values.iter_mut().zip(&inputs[1..]) {
            has_changed |= value.take_in(&self.name, input.batches)?;
        }
        let mut output = Vec::new();
        if has_changed {
            let closed = self.close()?;
            let before = std::mem::replace(&mut self.closed, closed);
            if before.is_some() && self.closed.is_none() {
                epoch.rejected.push((self.open.view.clone(), not_single(epoch.number)));
            }
            self.replace(epoch, rows, before.as_ref(), &mut output)?;
        }
        if let Some(closed) = &mut self.closed {
            output.extend(closed.step(epoch, &inputs[..1])?);
        }
        Ok(output)
    }

    fn save(&mut self, to: &mut Saver<'_>) -> Result<()> {
        to.value("values", |bytes| {
            self.values.iter().for_each(|value| put_counts(bytes, &value.rows));
        });
        Ok(())
    }

    fn load(&mut self, from: &Loader<'_>) -> Result<()> {
        let values = &mut self.values;
        from.value("values", |bytes| {
            values.iter_mut().try_for_each(|value| {
                value.rows = take_counts(bytes)?;
                Some(())
            })
        })?;
        self.closed = self.close()?;
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.values.iter().map(|value| value.rows.len()).sum()
    }

    fn state_bytes(&self) -> usize {
        self.values.iter().map(|value| rows_bytes(&value.rows)).sum()
    }
}

/// Where something is that should be a single value.
struct Value {
    codec: RowCodec,
    rows: Rows,
}

impl Value {
    fn new(schema: SchemaRef) -> Result<Self> {
        Ok(Self { codec: RowCodec::new(schema)?, rows: Rows::new() })
    }

    /// Whether the rows have changed.
    fn take_in(&mut self, name: &str, batches: &[Batch]) -> Result<bool> {
        let mut changes = Rows::new();
        count_changes(&self.codec, batches, &mut changes)?;
        for (row, weight) in &changes {
            change_count(&mut self.rows, row, *weight);
            if self.rows.get(row).is_some_and(|&count| count < 0) {
                return Err(negative(name, "a value"));
            }
        }
        Ok(!changes.is_empty())
    }

    /// The value, which of no row is NULL; `None` of more than one.
    fn single(&self) -> Result<Option<ScalarValue>> {
        let mut rows = self.rows.iter();
        let made = match (rows.next(), rows.next()) {
            (None, _) => ScalarValue::try_from(self.data_type()),
            (Some((row, 1)), None) => {
                ScalarValue::try_from_array(&self.codec.decode([&**row])?[0], 0)
            }
            _ => return Ok(None),
        };
        made.map(Some).map_err(failed)
    }

    fn data_type(&self) -> &DataType {
        self.codec.schema().field(0).data_type()
    }
}

fn not_single(epoch: u64) -> Rejected {
    let message = "a scalar subquery has more than one row: as long as it does, no rows that are \
                   computed with it are shown";
    rejected_as_a_whole(epoch, message.to_owned())
}

/// What `map` makes of rows; nothing without one. Rows for which it fails go to `failed`.
fn compute(
    epoch: &mut Epoch<'_>,
    map: Option<&Map>,
    rows: &Batch,
    failed: &mut Vec<(String, Rejected)>,
) -> Result<Option<Batch>> {
    let Some(map) = map else { return Ok(None) };
    let mut epoch = Epoch {
        number: epoch.number,
        time_us: epoch.time_us,
        watermarks: epoch.watermarks,
        idle: epoch.idle,
        passed: epoch.passed,
        workers: epoch.workers,
        rejected: failed,
    };
    without_failing(&mut epoch, &map.view, rows, |rows| map.apply(rows)).map(|(_, made)| Some(made))
}

/// `was` taken away and `is` added.
fn opposed(schema: &SchemaRef, was: Option<Batch>, is: Option<Batch>) -> Result<Batch> {
    let (was, is) = (was.into_iter().map(|batch| (batch, -1)), is.into_iter().map(|b| (b, 1)));
    let (mut rows, mut weights) = (Vec::new(), Vec::new());
    for (batch, sign) in was.chain(is) {
        weights.extend((0..batch.num_rows()).map(|row| sign * batch.weight(row)));
        rows.push(batch.rows().clone());
    }
    Batch::new(concat_batches(schema, &rows)?, Int64Array::from(weights))
}
