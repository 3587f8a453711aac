//! Sessions: rows of a key that follow each other by less than a gap, with the bounds of the session
//! that each is in.
//!
//! A change is felt no further than the sessions that it is in, before or after, and those that it
//! joins or parts. They are found by walking from the changed row in both directions, over what is
//! there before or after, as long as steps are shorter than the gap.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use syncline_change::{Batch, Result};

use super::arrange::{Arranged, Delta};
use super::{Change, Epoch, OUTPUT_ROWS_MAX, Operator};
use crate::functions::session::{Bound, bounds};
use crate::state::Group;
use crate::state::times::{encode, time};

pub(crate) struct Session {
    /// In the unit of the times.
    pub(crate) gap: i64,
    /// The bounds that are shown, as the last columns.
    pub(crate) shows: Vec<Bound>,
    pub(crate) time_type: DataType,
    pub(crate) schema: SchemaRef,
    pub(crate) name: String,
}

/// A row, the bounds of its session (none for a row without a time), and how often it is there.
struct Shown<'a> {
    row: &'a [u8],
    bounds: [Option<i64>; 2],
    count: i64,
}

/// A row that comes or goes.
struct Entry<'a> {
    key: &'a [u8],
    row: &'a [u8],
    bounds: [Option<i64>; 2],
    weight: i64,
}

impl Operator for Session {
    /// The input is an arrangement by key, in the order of times.
    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let rows = inputs[0].arranged(&self.name)?;
        let (session, number) = (&*self, epoch.number);
        let done = rows.each_delta(epoch, |partition, delta| {
            session.step_partition(rows, number, partition, delta)
        })?;
        Batch::coalesce(&self.schema, done, OUTPUT_ROWS_MAX)
    }
}

impl Session {
    fn step_partition(
        &self,
        rows: &Arranged,
        epoch: u64,
        partition: usize,
        delta: &Delta,
    ) -> Result<Vec<Batch>> {
        let mut entries = Vec::new();
        for group in 0..delta.run.groups() {
            let (hash, key) = (delta.run.hash(group), delta.run.key(group));
            let before = rows.before(epoch, partition, hash, key);
            let after = rows.after(partition, hash, key);
            let mut reached = None;
            for changed in delta.run.rows_of(group) {
                let row = delta.run.row(changed);
                let Some(time) = time(row) else {
                    let (bounds, weight) = ([None; 2], delta.run.weight(changed));
                    entries.push(Entry { key, row, bounds, weight });
                    continue;
                };
                if reached.is_some_and(|last| time <= last) {
                    continue;
                }
                let (first, last) = self.felt(time, [&before, &after]);
                reached = Some(last);
                let was = self.shown(&before, first, last);
                difference(key, &was, &self.shown(&after, first, last), &mut entries);
            }
        }
        entries.chunks(OUTPUT_ROWS_MAX).map(|part| self.batch(rows, part)).collect()
    }

    /// From when until when a change at `time` is felt.
    fn felt(&self, time: i64, groups: [&Group<'_>; 2]) -> (i64, i64) {
        let encoded = encode(time);
        let earlier = groups.map(|group| group.until(&encoded).rev());
        let later = groups.map(|group| group.since(&encoded));
        let is_near = |a: i64, b: i64| a.saturating_sub(b) < self.gap;
        (
            reach(time, earlier, is_near, i64::max),
            reach(time, later, |at, next| is_near(next, at), i64::min),
        )
    }

    /// The rows from `first` until `last`, both included.
    fn shown<'a>(&self, group: &Group<'a>, first: i64, last: i64) -> Vec<Shown<'a>> {
        let rows = group.since(&encode(first)).map_while(|(row, count)| {
            let time = time(row).filter(|&time| time <= last)?;
            Some((row, count, time))
        });
        let rows: Vec<(&[u8], i64, i64)> = rows.collect();
        let times: Vec<i64> = rows.iter().map(|(_, _, time)| *time).collect();
        let is_shown = [Bound::Start, Bound::End].map(|bound| self.shows.contains(&bound));
        let shown = rows.iter().zip(bounds(&times, self.gap)).map(|(&(row, count, _), bounds)| {
            let bounds = [is_shown[0].then_some(bounds.0), is_shown[1].then_some(bounds.1)];
            Shown { row, bounds, count }
        });
        shown.collect()
    }

    fn batch(&self, rows: &Arranged, entries: &[Entry<'_>]) -> Result<Batch> {
        let mut columns = rows.codec().decode(entries.iter().map(|e| (e.key, e.row)))?;
        for bound in &self.shows {
            let which = usize::from(*bound == Bound::End);
            let values: Int64Array = entries.iter().map(|entry| entry.bounds[which]).collect();
            columns.push(cast(&(Arc::new(values) as ArrayRef), &self.time_type)?);
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        Batch::new(batch, Int64Array::from_iter_values(entries.iter().map(|e| e.weight)))
    }
}

/// How far one comes from `time` by steps that are near, over the rows of two groups on the way;
/// `nearer` chooses which of two times comes first.
fn reach<'a>(
    time: i64,
    rows: [impl Iterator<Item = (&'a [u8], i64)>; 2],
    is_near: impl Fn(i64, i64) -> bool,
    nearer: impl Fn(i64, i64) -> i64,
) -> i64 {
    let mut at = time;
    let mut times = rows.map(|rows| rows.map_while(|(row, _)| self::time(row)).peekable());
    loop {
        let [a, b] = &mut times;
        let next = match (a.peek(), b.peek()) {
            (Some(&a), Some(&b)) => nearer(a, b),
            (Some(&only), None) | (None, Some(&only)) => only,
            (None, None) => return at,
        };
        if !is_near(at, next) {
            return at;
        }
        at = next;
        for times in &mut times {
            while times.next_if(|&time| time == next).is_some() {}
        }
    }
}

/// What turns one list into the other; both are in the order of rows.
fn difference<'a>(
    key: &'a [u8],
    before: &[Shown<'a>],
    after: &[Shown<'a>],
    entries: &mut Vec<Entry<'a>>,
) {
    let mut entry = |of: &Shown<'a>, weight: i64| {
        if weight != 0 {
            entries.push(Entry { key, row: of.row, bounds: of.bounds, weight });
        }
    };
    let (mut b, mut a) = (0, 0);
    while b < before.len() || a < after.len() {
        let order = match (before.get(b), after.get(a)) {
            (Some(old), Some(new)) => old.row.cmp(new.row),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        match order {
            Ordering::Less => entry(&before[b], -before[b].count),
            Ordering::Greater => entry(&after[a], after[a].count),
            Ordering::Equal if before[b].bounds == after[a].bounds => {
                entry(&after[a], after[a].count - before[b].count);
            }
            Ordering::Equal => {
                entry(&before[b], -before[b].count);
                entry(&after[a], after[a].count);
            }
        }
        b += usize::from(order != Ordering::Greater);
        a += usize::from(order != Ordering::Less);
    }
}
