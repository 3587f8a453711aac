//! Aggregates over doubles as DataFusion's accumulators.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Debug;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BinaryArray};
use datafusion::arrow::datatypes::Float64Type;
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::Accumulator;
use smallvec::SmallVec;

use super::canonical::canonical;
use super::moments::{Moments, Statistic};
use super::terms::Terms;

/// What an aggregate remembers of the rows of a group. Rows with a NULL among the arguments never
/// get here.
pub(super) trait State: Clone + Debug + Send + Sync + 'static {
    /// Adds a row (takes it away if the weight is negative).
    fn add(&mut self, row: &[f64], weight: i64);

    fn result(&self) -> Option<f64>;

    fn to_bytes(&self) -> Vec<u8>;

    /// Adds what [`Self::to_bytes`] wrote; `None` if it is not that.
    fn merge(&mut self, bytes: &[u8]) -> Option<()>;

    /// Bytes of memory beyond the value itself.
    fn heap_bytes(&self) -> usize;
}

/// The accumulator that starts from `state`.
pub(super) fn accumulator(state: impl State, distinct: bool) -> Box<dyn Accumulator> {
    if distinct {
        Box::new(FloatAccumulator(Distinct { empty: state, counts: BTreeMap::new() }))
    } else {
        Box::new(FloatAccumulator(state))
    }
}

#[derive(Debug)]
struct FloatAccumulator<S>(S);

impl<S: State> FloatAccumulator<S> {
    fn add(&mut self, columns: &[ArrayRef], weight: i64) {
        let columns = columns.iter().map(|column| column.as_primitive::<Float64Type>());
        let columns: SmallVec<[_; 2]> = columns.collect();
        let mut row = SmallVec::<[f64; 2]>::new();
        for i in 0..columns.first().map_or(0, |column| column.len()) {
            if columns.iter().all(|column| column.is_valid(i)) {
                row.clear();
                row.extend(columns.iter().map(|column| column.value(i)));
                self.0.add(&row, weight);
            }
        }
    }
}

impl<S: State> Accumulator for FloatAccumulator<S> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values, -1);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.0.result()))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.heap_bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(self.0.to_bytes()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let states: &BinaryArray = states[0].as_binary();
        for state in states.iter().flatten() {
            self.0
                .merge(state)
                .ok_or_else(|| exec_datafusion_err!("the state of an aggregate is damaged"))?;
        }
        Ok(())
    }
}

/// `sum` or, with `mean`, `avg`.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    pub(super) mean: bool,
    pub(super) terms: Terms,
    pub(super) count: i64,
}

/// What `sum` (or with `mean`, `avg`) of `count` doubles is: NULL of none.
pub(crate) fn sum_result(terms: &Terms, count: i64, mean: bool) -> Option<f64> {
    let divisor = if mean { count as f64 } else { 1.0 };
    (count > 0).then(|| canonical(terms.value() / divisor))
}

impl State for Sum {
    fn add(&mut self, row: &[f64], weight: i64) {
        row.iter().for_each(|&value| self.terms.add(value, weight));
        self.count += weight;
    }

    fn result(&self) -> Option<f64> {
        sum_result(&self.terms, self.count, self.mean)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.count.to_le_bytes().to_vec();
        self.terms.write(&mut bytes);
        bytes
    }

    fn merge(&mut self, mut bytes: &[u8]) -> Option<()> {
        self.count += i64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?);
        self.terms.merge(&Terms::read(&mut bytes)?);
        Some(())
    }

    fn heap_bytes(&self) -> usize {
        self.terms.heap_bytes()
    }
}

/// A statistic of the moments of values, or of pairs.
#[derive(Clone, Debug)]
pub(super) struct OfMoments {
    pub(super) statistic: Statistic,
    pub(super) moments: Moments,
}

impl State for OfMoments {
    fn add(&mut self, row: &[f64], weight: i64) {
        match *row {
            [y, x] => self.moments.add_pair(y, x, weight),
            [x] => self.moments.add(x, weight),
            _ => {}
        }
    }

    fn result(&self) -> Option<f64> {
        self.moments.result(self.statistic)
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.moments.to_bytes()
    }

    fn merge(&mut self, bytes: &[u8]) -> Option<()> {
        self.moments.merge(&Moments::from_bytes(bytes)?);
        Some(())
    }

    fn heap_bytes(&self) -> usize {
        self.moments.heap_bytes()
    }
}

/// An aggregate of distinct rows. NaN is one value, and so is 0.
#[derive(Clone, Debug)]
struct Distinct<S> {
    empty: S,
    /// How often each row is there, by the bits of its values.
    counts: BTreeMap<SmallVec<[u64; 2]>, i64>,
}

impl<S: State> Distinct<S> {
    fn change(&mut self, row: SmallVec<[u64; 2]>, weight: i64) {
        match self.counts.entry(row) {
            Entry::Occupied(mut entry) => {
                *entry.get_mut() += weight;
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
            Entry::Vacant(entry) => {
                entry.insert(weight);
            }
        }
    }
}

impl<S: State> State for Distinct<S> {
    fn add(&mut self, row: &[f64], weight: i64) {
        self.change(row.iter().map(|&value| canonical(value).to_bits()).collect(), weight);
    }

    fn result(&self) -> Option<f64> {
        let mut state = self.empty.clone();
        for (row, _) in self.counts.iter().filter(|(_, count)| **count > 0) {
            let row: SmallVec<[f64; 2]> = row.iter().map(|&bits| f64::from_bits(bits)).collect();
            state.add(&row, 1);
        }
        state.result()
    }

    /// For each row its width, its values and its count.
    fn to_bytes(&self) -> Vec<u8> {
        let rows = self.counts.iter().flat_map(|(row, &count)| {
            std::iter::once(row.len() as u64).chain(row.iter().copied()).chain([count as u64])
        });
        rows.flat_map(u64::to_le_bytes).collect()
    }

    fn merge(&mut self, bytes: &[u8]) -> Option<()> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        let mut numbers = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes));
        while let Some(width) = numbers.next() {
            let row = (0..width).map(|_| numbers.next()).collect::<Option<_>>()?;
            let count = numbers.next()?;
            self.change(row, count as i64);
        }
        rest.is_empty().then_some(())
    }

    fn heap_bytes(&self) -> usize {
        self.counts.len() * (size_of::<SmallVec<[u64; 2]>>() + size_of::<i64>()) * 4 / 3
    }
}
