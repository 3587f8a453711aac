//! Whole numbers times a power of two, of any size: what exact sums are, and what is computed from them
//! before anything is rounded.

use std::cmp::Ordering;

use smallvec::SmallVec;

const DIGIT_BITS: usize = 32;

/// `±digits · 2^exponent`, exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dyadic {
    negative: bool,
    /// From the lowest; the highest is not 0, and zero has none.
    digits: SmallVec<[u32; 16]>,
    exponent: i64,
}

/// A double with a wide exponent: what lies between (a sum of squares, a product of two of them) may
/// be out of a double's range though the result is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rounded {
    /// 0, or from 1 up to (not including) 2, with its sign.
    mantissa: f64,
    exponent: i64,
}

impl Dyadic {
    pub(crate) fn new(
        negative: bool,
        digits: impl IntoIterator<Item = u32>,
        exponent: i64,
    ) -> Self {
        let mut made = Self { negative, digits: digits.into_iter().collect(), exponent };
        made.trim();
        made
    }

    fn trim(&mut self) {
        let length = self.digits.iter().rposition(|&digit| digit != 0).map_or(0, |top| top + 1);
        self.digits.truncate(length);
        if self.digits.is_empty() {
            *self = Self::default();
        }
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    pub(crate) fn times(&self, other: &Self) -> Self {
        let length = self.digits.len() + other.digits.len();
        let mut digits: SmallVec<[u32; 16]> = SmallVec::from_elem(0, length);
        for (i, &a) in self.digits.iter().enumerate() {
            let mut carry = 0;
            for (j, &b) in other.digits.iter().enumerate() {
                // (2^32 - 1)^2 and two more digits fit into 64 bits exactly.
                let sum = u64::from(a) * u64::from(b) + u64::from(digits[i + j]) + carry;
                digits[i + j] = sum as u32;
                carry = sum >> DIGIT_BITS;
            }
            digits[i + other.digits.len()] = carry as u32;
        }
        let negative = self.negative != other.negative;
        Self::new(negative, digits, self.exponent + other.exponent)
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        if self.is_zero() || other.is_zero() {
            return if self.is_zero() { other.clone() } else { self.clone() };
        }
        let exponent = self.exponent.min(other.exponent);
        let (a, b) = (self.shifted_to(exponent), other.shifted_to(exponent));
        if self.negative == other.negative {
            return Self::new(self.negative, add(&a, &b), exponent);
        }
        match compare(&a, &b) {
            Ordering::Equal => Self::default(),
            Ordering::Greater => Self::new(self.negative, subtract(&a, &b), exponent),
            Ordering::Less => Self::new(other.negative, subtract(&b, &a), exponent),
        }
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        let negated = Self { negative: !other.negative, ..other.clone() };
        self.plus(&negated)
    }

    /// The digits for an exponent that is not greater.
    fn shifted_to(&self, exponent: i64) -> SmallVec<[u32; 16]> {
        let shift = usize::try_from(self.exponent - exponent).unwrap_or_default();
        let mut digits = SmallVec::from_elem(0_u32, shift / DIGIT_BITS);
        let mut carry = 0;
        for &digit in &self.digits {
            let wide = u64::from(digit) << (shift % DIGIT_BITS) | carry;
            digits.push(wide as u32);
            carry = wide >> DIGIT_BITS;
        }
        digits.push(carry as u32);
        digits
    }

    /// The nearest number with 53 bits, ties to even.
    pub(crate) fn rounded(&self) -> Rounded {
        let Some(top) = self.digits.len().checked_sub(1) else {
            return Rounded { mantissa: 0.0, exponent: 0 };
        };
        // The three highest digits have 65 bits at least whenever anything lies below them.
        let low = top.saturating_sub(2);
        let head = self.digits[low..].iter().rev();
        let head = head.fold(0_u128, |head, &digit| head << DIGIT_BITS | u128::from(digit));
        let lies_below = self.digits[..low].iter().any(|&digit| digit != 0);
        let dropped = (128 - head.leading_zeros() as usize).saturating_sub(53);
        let mut mantissa = (head >> dropped) as u64;
        if dropped > 0 {
            let half = 1_u128 << (dropped - 1);
            let rest = head & ((1 << dropped) - 1);
            if rest > half || rest == half && (lies_below || mantissa & 1 == 1) {
                mantissa += 1;
            }
        }
        // 53 bits, or 2^53 itself: the conversion is exact.
        let value = if self.negative { -(mantissa as f64) } else { mantissa as f64 };
        Rounded::new(value, self.exponent + (low * DIGIT_BITS + dropped) as i64)
    }
}

impl From<i128> for Dyadic {
    fn from(value: i128) -> Self {
        let magnitude = value.unsigned_abs();
        Self::new(value < 0, [0, 32, 64, 96].map(|shift| (magnitude >> shift) as u32), 0)
    }
}

fn add(a: &[u32], b: &[u32]) -> SmallVec<[u32; 16]> {
    let digit = |of: &[u32], i: usize| of.get(i).map_or(0, |&digit| u64::from(digit));
    let mut carry = 0;
    (0..=a.len().max(b.len()))
        .map(|i| {
            let sum = digit(a, i) + digit(b, i) + carry;
            carry = sum >> DIGIT_BITS;
            sum as u32
        })
        .collect()
}

/// `a - b`, of which `a` is not the smaller one.
fn subtract(a: &[u32], b: &[u32]) -> SmallVec<[u32; 16]> {
    let digit = |of: &[u32], i: usize| of.get(i).map_or(0, |&digit| i64::from(digit));
    let mut borrow = 0;
    (0..a.len().max(b.len()))
        .map(|i| {
            let difference = digit(a, i) - digit(b, i) - borrow;
            borrow = i64::from(difference < 0);
            difference as u32
        })
        .collect()
}

fn compare(a: &[u32], b: &[u32]) -> Ordering {
    let digit = |of: &[u32], i: usize| of.get(i).copied().unwrap_or(0);
    let places = (0..a.len().max(b.len())).rev();
    let mut orders = places.map(|i| digit(a, i).cmp(&digit(b, i)));
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

impl Rounded {
    /// `value · 2^exponent` of a finite, normal `value` or 0.
    fn new(value: f64, exponent: i64) -> Self {
        if value == 0.0 {
            return Self { mantissa: 0.0, exponent: 0 };
        }
        let bits = value.to_bits();
        let own = (bits >> 52 & 0x7ff) as i64 - 1023;
        let mantissa = f64::from_bits(bits & !(0x7ff << 52) | 1023 << 52);
        Self { mantissa, exponent: exponent + own }
    }

    pub(crate) fn over(self, divisor: Self) -> Self {
        Self::new(self.mantissa / divisor.mantissa, self.exponent - divisor.exponent)
    }

    /// The square root; of a negative number, that of 0.
    pub(crate) fn root(self) -> Self {
        let odd = self.exponent.rem_euclid(2);
        let mantissa = if odd == 1 { self.mantissa * 2.0 } else { self.mantissa };
        Self::new(mantissa.max(0.0).sqrt(), (self.exponent - odd) / 2)
    }

    pub(crate) fn with_sign_of(self, other: Self) -> Self {
        Self { mantissa: self.mantissa.copysign(other.mantissa), ..self }
    }

    /// As a double: infinite if it is too large, rounded again if it is too small for 53 bits.
    pub(crate) fn value(self) -> f64 {
        let power = |exponent: i64| f64::from_bits(((exponent + 1023) as u64) << 52);
        match self.exponent {
            _ if self.mantissa == 0.0 => 0.0,
            1024.. => f64::INFINITY.copysign(self.mantissa),
            -1022..1024 => self.mantissa * power(self.exponent),
            // The first product is exact, so that only the second one rounds.
            -1100..-1022 => self.mantissa * power(-1000) * power(self.exponent + 1000),
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(number: &Dyadic) -> f64 {
        number.rounded().value()
    }

    #[test]
    fn small_and_large() {
        let two = Dyadic::from(2);
        let tiny = Dyadic::new(false, [1], -1074);
        assert_eq!(value(&tiny), 5e-324);
        assert_eq!(value(&Dyadic::new(true, [3], -1075)), -1e-323);
        assert_eq!(value(&Dyadic::new(false, [1], 1024)), f64::INFINITY);
        assert_eq!(value(&Dyadic::new(false, [1], -3000)), 0.0);
        assert_eq!(value(&two.plus(&tiny)), 2.0);
        assert_eq!(value(&two.plus(&tiny).minus(&two)), 5e-324);
        assert!(two.minus(&two).is_zero());
        let square = Dyadic::new(false, [1], 2000);
        assert_eq!(square.rounded().root().value(), 2.0_f64.powi(1000));
        assert_eq!(Dyadic::from(2).rounded().root().value(), 2.0_f64.sqrt());
        assert_eq!(Dyadic::from(-9).rounded().over(Dyadic::from(3).rounded()).value(), -3.0);
    }

    #[test]
    fn halves_round_to_even() {
        let odd = (1_i128 << 53) + 1;
        assert_eq!(value(&Dyadic::from(odd)), (odd as f64));
        let above = Dyadic::from(odd).plus(&Dyadic::new(false, [1], -900));
        assert_eq!(value(&above), ((odd + 1) as f64));
    }

    proptest! {
        #[test]
        fn as_whole_numbers_are(a in any::<i64>(), b in any::<i64>(), c in any::<i32>()) {
            let (x, y, z) = (i128::from(a), i128::from(b), i128::from(c));
            let number = |value: i128| Dyadic::from(value);
            prop_assert_eq!(value(&number(x).times(&number(y))), (x * y) as f64);
            prop_assert_eq!(value(&number(x).plus(&number(y))), (x + y) as f64);
            prop_assert_eq!(value(&number(x).minus(&number(y))), (x - y) as f64);
            let distributed = number(x).times(&number(z)).plus(&number(y).times(&number(z)));
            prop_assert_eq!(number(x).plus(&number(y)).times(&number(z)), distributed);
        }
    }
}
