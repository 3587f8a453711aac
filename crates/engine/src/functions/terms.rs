//! Sums whose terms are mostly whole numbers, which need no large accumulator.

use super::dyadic::Dyadic;
use super::exact_sum::ExactSum;
use crate::operators::heap_bytes;

/// The sum of doubles, or of products of two. Exact, and terms can be taken away again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    whole: i128,
    others: Option<Box<ExactSum>>,
}

/// Below this, whole numbers times any weight and any number of them stay far from overflow; and
/// products of two below the root of it.
const WHOLE_MAX: f64 = (1_u64 << 62) as f64;
const FACTOR_MAX: f64 = (1_u64 << 31) as f64;
/// What the lowest bit of a sum of doubles, and of a sum of products, is worth as a power of two.
const UNIT: i64 = -1074;
const PRODUCT_UNIT: i64 = 2 * UNIT;

fn is_whole(value: f64, max: f64) -> bool {
    value.abs() < max && value as i64 as f64 == value
}

impl Terms {
    pub(crate) fn add(&mut self, value: f64, weight: i64) {
        if is_whole(value, WHOLE_MAX) {
            self.whole += i128::from(value as i64) * i128::from(weight);
        } else {
            self.others.get_or_insert_default().add(value, weight);
        }
    }

    /// Adds a product; only products may be added to a sum that has one. Factors are finite.
    pub(crate) fn add_product(&mut self, a: f64, b: f64, weight: i64) {
        if is_whole(a, FACTOR_MAX) && is_whole(b, FACTOR_MAX) {
            self.whole += i128::from(a as i64 * b as i64) * i128::from(weight);
        } else {
            self.others.get_or_insert_default().add_product(a, b, weight);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.whole += other.whole;
        if let Some(others) = &other.others {
            self.others.get_or_insert_default().merge(others);
        }
    }

    /// Whether neither NaN nor an infinity is among the terms.
    pub(crate) fn is_finite(&self) -> bool {
        self.others.as_ref().is_none_or(|others| others.is_finite())
    }

    /// The sum of doubles, rounded once.
    pub(crate) fn value(&self) -> f64 {
        let Some(others) = &self.others else { return self.whole as f64 };
        let mut sum = others.as_ref().clone();
        sum.add_integer(self.whole);
        sum.value()
    }

    /// The sum of doubles as it is; NaN and infinities are left out.
    pub(crate) fn dyadic(&self) -> Dyadic {
        self.in_units_of(UNIT)
    }

    /// The sum of products as it is.
    pub(crate) fn product_dyadic(&self) -> Dyadic {
        self.in_units_of(PRODUCT_UNIT)
    }

    fn in_units_of(&self, unit: i64) -> Dyadic {
        let whole = Dyadic::from(self.whole);
        self.others.as_ref().map_or(whole.clone(), |others| others.dyadic(unit).plus(&whole))
    }

    /// Appends the sum as bytes, for a partial aggregate on its way to another.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        let others = self.others.as_ref().map(|others| others.to_bytes()).unwrap_or_default();
        bytes.extend(self.whole.to_le_bytes());
        bytes.extend((others.len() as u64).to_le_bytes());
        bytes.extend(others);
    }

    /// What [`Self::write`] wrote, taken from the front; `None` if it is not that.
    pub(crate) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let whole = i128::from_le_bytes(*bytes.split_off(..16)?.first_chunk()?);
        let length = u64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?);
        let others = bytes.split_off(..usize::try_from(length).ok()?)?;
        let others = match others {
            [] => None,
            others => Some(Box::new(ExactSum::from_bytes(others)?)),
        };
        Some(Self { whole, others })
    }

    /// Bytes of memory beyond the value itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.others.as_ref().map_or(0, |sum| heap_bytes(size_of::<ExactSum>()) + sum.heap_bytes())
    }
}
