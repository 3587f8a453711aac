//! Sums of floats that do not depend on the order of their terms.
//!
//! A superaccumulator (Kulisch; Neal, "Fast exact summation using small and large superaccumulators",
//! 2015): the sum is kept as one big fixed-point integer in units of 2^-1074, the smallest double,
//! so adding is exact and taking away is adding the negative. Only reading the sum rounds, once, to
//! the nearest double, ties to even. A sum of products is one in units of 2^-2148.

use smallvec::SmallVec;

use super::dyadic::Dyadic;
use crate::operators::heap_bytes;

/// Bits of the sum that one limb stands for; the rest of its `i64` is room for carries.
const LIMB_BITS: usize = 32;
const LIMB_MASK: i64 = (1 << LIMB_BITS) - 1;
/// How many terms may be added before carries must be propagated: a piece is below 2^32, so 2^30 of
/// them stay below 2^62.
const TERMS_MAX: u64 = 1 << 30;

/// An exact sum of doubles that terms can be taken away from again.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExactSum {
    /// The number of the first limb: bit 0 of limb `k` is worth 2^(32 k - 1074).
    base: usize,
    /// Signed limbs from `base` upwards; most data needs three or four.
    limbs: SmallVec<[i64; 4]>,
    /// The sum of the absolute weights since carries were propagated.
    terms: u64,
    /// Terms that are no numbers are counted, so that they can be taken away too.
    nans: i64,
    infinities: i64,
    negative_infinities: i64,
}

impl ExactSum {
    /// Bytes of memory beyond the value itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self.limbs.spilled() {
            true => heap_bytes(self.limbs.capacity() * size_of::<i64>()),
            false => 0,
        }
    }

    /// Adds `value` `weight` times (takes it away if the weight is negative).
    pub(crate) fn add(&mut self, value: f64, weight: i64) {
        if !value.is_finite() {
            let count = match value {
                v if v.is_nan() => &mut self.nans,
                v if v > 0.0 => &mut self.infinities,
                _ => &mut self.negative_infinities,
            };
            *count += weight;
            return;
        }
        let (mantissa, shift) = parts(value);
        let weight = if value < 0.0 { -weight } else { weight };
        self.add_wide(mantissa.into(), shift, weight);
    }

    /// Adds the exact product of two finite doubles to a sum of products.
    pub(crate) fn add_product(&mut self, a: f64, b: f64, weight: i64) {
        let ((a_mantissa, a_shift), (b_mantissa, b_shift)) = (parts(a), parts(b));
        let product = u128::from(a_mantissa) * u128::from(b_mantissa);
        let weight = if (a < 0.0) != (b < 0.0) { -weight } else { weight };
        self.add_wide(product, a_shift + b_shift, weight);
    }

    /// Adds `wide`, of at most 106 bits, shifted to the left.
    fn add_wide(&mut self, wide: u128, shift: usize, weight: i64) {
        if wide == 0 {
            return;
        }
        let bit = shift % LIMB_BITS;
        // What the shift pushes out at the top comes back as the last piece.
        let (low, high) = (wide << bit, if bit == 0 { 0 } else { wide >> (128 - bit) });
        let piece = |i: usize| (low >> (i * LIMB_BITS)) as i64 & LIMB_MASK;
        let pieces = [piece(0), piece(1), piece(2), piece(3), high as i64];
        let length = pieces.iter().rposition(|&piece| piece != 0).map_or(0, |top| top + 1);
        self.add_pieces(shift / LIMB_BITS, &pieces[..length], weight);
    }

    /// Whether all terms are numbers, and finite ones.
    pub(crate) fn is_finite(&self) -> bool {
        (self.nans, self.infinities, self.negative_infinities) == (0, 0, 0)
    }

    /// The sum of the finite terms, whose lowest bit is worth 2^`unit`: -1074 for doubles, -2148
    /// for their products.
    pub(crate) fn dyadic(&self, unit: i64) -> Dyadic {
        let (negative, sum) = self.magnitude();
        let digits = sum.limbs.iter().map(|&limb| limb as u32);
        Dyadic::new(negative, digits, unit + (sum.base * LIMB_BITS) as i64)
    }

    /// Adds a whole number.
    pub(crate) fn add_integer(&mut self, value: i128) {
        let magnitude = value.unsigned_abs();
        let weight = if value < 0 { -1 } else { 1 };
        for shift in [0, 32, 64, 96] {
            // Both factors are exact, and so is their product: 32 bits times a power of two.
            let piece = f64::from((magnitude >> shift) as u32) * (1_u128 << shift) as f64;
            self.add(piece, weight);
        }
    }

    /// Adds another sum.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.nans += other.nans;
        self.infinities += other.infinities;
        self.negative_infinities += other.negative_infinities;
        let mut other = other.clone();
        other.propagate();
        for (i, &limb) in other.limbs.iter().enumerate() {
            if limb != 0 {
                let (magnitude, sign) = (limb.unsigned_abs(), limb.signum());
                let pieces = [magnitude as i64 & LIMB_MASK, (magnitude >> LIMB_BITS) as i64];
                self.add_pieces(other.base + i, &pieces, sign);
            }
        }
    }

    fn add_pieces(&mut self, first: usize, pieces: &[i64], weight: i64) {
        let mut left = weight.unsigned_abs();
        while left > 0 {
            // A weight too large for the room in a limb is added in parts.
            let part = left.min(TERMS_MAX / 2);
            if self.terms + part > TERMS_MAX {
                self.propagate();
            }
            self.terms += part;
            self.reserve(first, first + pieces.len());
            let signed = if weight < 0 { -(part as i64) } else { part as i64 };
            for (i, &piece) in pieces.iter().enumerate() {
                self.limbs[first + i - self.base] += piece * signed;
            }
            left -= part;
        }
    }

    /// Makes sure that the limbs from `first` up to `end` exist.
    fn reserve(&mut self, first: usize, end: usize) {
        if self.limbs.is_empty() {
            self.base = first;
        } else if first < self.base {
            self.limbs.insert_many(0, std::iter::repeat_n(0, self.base - first));
            self.base = first;
        }
        if self.base + self.limbs.len() < end {
            self.limbs.resize(end - self.base, 0);
        }
    }

    /// Brings every limb but the highest into 0..2^32.
    fn propagate(&mut self) {
        self.terms = 1;
        let mut carry = 0;
        for limb in &mut self.limbs {
            let value = *limb + carry;
            *limb = value & LIMB_MASK;
            carry = value >> LIMB_BITS;
        }
        match (carry, self.limbs.last_mut()) {
            (0, _) => {}
            // A carry of -1 goes back into the highest limb, as its sign.
            (-1, Some(last)) => *last -= 1 << LIMB_BITS,
            _ => self.limbs.push(carry),
        }
    }

    /// The sum, rounded once to the nearest double.
    pub(crate) fn value(&self) -> f64 {
        if self.nans > 0 || self.infinities > 0 && self.negative_infinities > 0 {
            return f64::NAN;
        }
        if self.infinities > 0 {
            return f64::INFINITY;
        }
        if self.negative_infinities > 0 {
            return f64::NEG_INFINITY;
        }
        let (negative, sum) = self.magnitude();
        let magnitude = sum.rounded_magnitude();
        if negative { -magnitude } else { magnitude }
    }

    /// Whether the sum is negative, and its absolute value with carries propagated.
    fn magnitude(&self) -> (bool, Self) {
        let mut sum = self.clone();
        sum.propagate();
        let negative = sum.limbs.last().is_some_and(|&limb| limb < 0);
        if negative {
            sum.limbs.iter_mut().for_each(|limb| *limb = -*limb);
            sum.propagate();
        }
        (negative, sum)
    }

    /// The double nearest to limbs that are propagated and not negative.
    fn rounded_magnitude(&self) -> f64 {
        let Some(top) = self.limbs.iter().rposition(|&limb| limb != 0) else {
            return 0.0;
        };
        let limb = |i: usize| self.limbs.get(i).map_or(0, |&limb| limb as u128);
        // The highest limbs in one integer: up to 63 + 64 bits, of which at least 65 are there
        // whenever anything lies below them.
        let low = top.saturating_sub(2);
        let mut head = 0_u128;
        for i in (low..=top).rev() {
            head = head << LIMB_BITS | limb(i);
        }
        let sticky = self.limbs[..low].iter().any(|&limb| limb != 0);
        let head_bits = 128 - head.leading_zeros() as usize;
        let dropped = head_bits.saturating_sub(53);
        let mut mantissa = (head >> dropped) as u64;
        if dropped > 0 {
            let half = 1_u128 << (dropped - 1);
            let rest = head & ((1 << dropped) - 1);
            if rest > half || rest == half && (sticky || mantissa & 1 == 1) {
                mantissa += 1;
            }
        }
        // 2^53 after rounding up is as exact as any: the conversion below takes it.
        let exponent = (self.base + low) * LIMB_BITS + dropped;
        scale(mantissa, exponent)
    }

    /// The sum as bytes, for a partial aggregate on its way to another.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut sum = self.clone();
        sum.propagate();
        let numbers = [sum.nans, sum.infinities, sum.negative_infinities, sum.base as i64];
        numbers.iter().chain(&sum.limbs).flat_map(|number| number.to_le_bytes()).collect()
    }

    /// What [`Self::to_bytes`] wrote; `None` if it is not that.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut numbers = bytes
            .chunks_exact(8)
            .map(|chunk| i64::from_le_bytes(chunk.try_into().unwrap_or_default()));
        let mut next = || numbers.next();
        let (nans, infinities, negative_infinities) = (next()?, next()?, next()?);
        let base = usize::try_from(next()?).ok().filter(|&base| base <= 2 * 2100 / LIMB_BITS)?;
        let limbs = numbers.collect();
        Some(Self { base, limbs, terms: 1, nans, infinities, negative_infinities })
    }
}

/// The mantissa of a finite double, and where its lowest bit is in units of 2^-1074.
fn parts(value: f64) -> (u64, usize) {
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as usize;
    let fraction = bits & ((1 << 52) - 1);
    let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
    (mantissa, exponent.max(1) - 1)
}

/// `mantissa` times 2^(`exponent` - 1074), which is exact unless it is too large for a double.
fn scale(mantissa: u64, exponent: usize) -> f64 {
    debug_assert!(mantissa <= 1 << 53);
    if mantissa == 0 {
        return 0.0;
    }
    let length = 64 - mantissa.leading_zeros() as usize;
    let highest = exponent + length - 1;
    if highest < 53 {
        // Subnormals and the first normal binade: the bits are the number.
        return f64::from_bits(mantissa << exponent);
    }
    let biased = highest - 51;
    if biased >= 0x7ff {
        return f64::INFINITY;
    }
    let aligned = if length <= 53 { mantissa << (53 - length) } else { mantissa >> (length - 53) };
    f64::from_bits((biased as u64) << 52 | aligned & ((1 << 52) - 1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn sum(terms: &[f64]) -> f64 {
        let mut sum = ExactSum::default();
        terms.iter().for_each(|&term| sum.add(term, 1));
        sum.value()
    }

    #[test]
    fn known_sums() {
        assert_eq!(sum(&[]).to_bits(), 0.0_f64.to_bits());
        assert_eq!(sum(&[0.1; 10]), 1.0);
        assert_eq!(sum(&[1e308, 1e308, -1e308]), 1e308);
        assert_eq!(sum(&[1e308, 1e308]), f64::INFINITY);
        assert_eq!(sum(&[1e16, 1.0, -1e16]), 1.0);
        assert_eq!(sum(&[5e-324, 5e-324]), 1e-323);
        assert_eq!(sum(&[f64::MIN_POSITIVE, -5e-324]), f64::MIN_POSITIVE - 5e-324);
        // Half of the last place above 1: ties to even, unless something lies below.
        let half = f64::EPSILON / 2.0;
        assert_eq!(sum(&[1.0, half]), 1.0);
        assert_eq!(sum(&[1.0, half, 5e-324]), 1.0 + f64::EPSILON);
        assert_eq!(sum(&[1.0 + f64::EPSILON, half]), 1.0 + 2.0 * f64::EPSILON);
        assert_eq!(sum(&[-1.0, -half, -5e-324]), -1.0 - f64::EPSILON);
        assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX, -f64::MAX]), 0.0);
    }

    #[test]
    fn what_is_no_number_can_be_taken_away() {
        let mut sum = ExactSum::default();
        sum.add(1.5, 1);
        sum.add(f64::NAN, 1);
        sum.add(f64::INFINITY, 1);
        assert!(sum.value().is_nan());
        sum.add(f64::NAN, -1);
        assert_eq!(sum.value(), f64::INFINITY);
        sum.add(f64::NEG_INFINITY, 1);
        assert!(sum.value().is_nan());
        sum.add(f64::INFINITY, -1);
        sum.add(f64::NEG_INFINITY, -1);
        assert_eq!(sum.value(), 1.5);
    }

    #[test]
    fn large_weights() {
        let mut sum = ExactSum::default();
        sum.add(0.5, i64::from(u32::MAX) * 8);
        assert_eq!(sum.value(), f64::from(u32::MAX) * 4.0);
        sum.add(-0.5, i64::from(u32::MAX) * 8);
        assert_eq!(sum.value(), 0.0);
    }

    fn any_finite() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |v| v.is_finite()),
            (-1000_i32..1000).prop_map(f64::from),
            (-1e6_f64..1e6),
        ]
    }

    proptest! {
        /// A sum of products is that of the exact products.
        #[test]
        fn products(a in any_finite(), b in any_finite(), c in any_finite()) {
            let mut sum = ExactSum::default();
            sum.add_product(a, b, 1);
            let product = sum.dyadic(-2148);
            let number = |value: f64| {
                let mut sum = ExactSum::default();
                sum.add(value, 1);
                sum.dyadic(-1074)
            };
            prop_assert!(product.minus(&number(a).times(&number(b))).is_zero());
            sum.add_product(c, c, 2);
            sum.add_product(a, b, -1);
            let twice = number(c).times(&number(2.0 * c.signum()).times(&number(c.abs())));
            prop_assert!(sum.dyadic(-2148).minus(&twice).is_zero());
        }

        /// One term comes back as it went in, and a sum of two is what IEEE 754 says.
        #[test]
        fn one_and_two_terms(a in any_finite(), b in any_finite()) {
            prop_assert_eq!(sum(&[a]), a);
            prop_assert_eq!(sum(&[a, b]), a + b);
        }

        /// Neither order, nor grouping, nor terms that were taken away again leave a trace.
        #[test]
        fn only_the_terms_count(
            terms in prop::collection::vec(any_finite(), 0..40),
            passing in prop::collection::vec(any_finite(), 0..40),
            cut in 0_usize..40,
        ) {
            let mut reversed = ExactSum::default();
            passing.iter().for_each(|&v| reversed.add(v, 3));
            terms.iter().rev().for_each(|&v| reversed.add(v, 1));
            passing.iter().for_each(|&v| reversed.add(v, -3));
            prop_assert_eq!(reversed.value().to_bits(), sum(&terms).to_bits());

            let (left, right) = terms.split_at(cut.min(terms.len()));
            let mut merged = ExactSum::default();
            for part in [left, right] {
                let mut sum = ExactSum::default();
                part.iter().for_each(|&v| sum.add(v, 1));
                merged.merge(&ExactSum::from_bytes(&sum.to_bytes()).unwrap());
            }
            prop_assert_eq!(merged.value().to_bits(), sum(&terms).to_bits());
        }
    }
}
