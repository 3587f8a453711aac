//! Single values from their text.

use super::time;

/// Why a text is not a value of its column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It does not look like one.
    Form,
    /// It is one, but too large or too small.
    Range,
    /// It has more digits after the point than the column keeps.
    Digits,
}

impl Misfit {
    /// What to add to "expected BIGINT, found `x`".
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Form => "",
            Self::Range => ": out of range",
            Self::Digits => ": more digits after the point than the column keeps",
        }
    }
}

/// Integers up to this have exact floats; beyond it a float does not say which integer was meant.
const EXACT_FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

pub(crate) fn boolean(text: &[u8]) -> Result<bool, Misfit> {
    match text {
        b"true" | b"1" => return Ok(true),
        b"false" | b"0" => return Ok(false),
        _ => {}
    }
    let is = |word: &str| text.eq_ignore_ascii_case(word.as_bytes());
    if is("true") || is("t") || is("yes") {
        Ok(true)
    } else if is("false") || is("f") || is("no") {
        Ok(false)
    } else {
        Err(Misfit::Form)
    }
}

/// A whole number from `min` to `max`; `12.0` is one too.
pub(crate) fn integer(text: &[u8], min: i64, max: i64) -> Result<i64, Misfit> {
    let value = match whole(text) {
        Ok(value) => value,
        Err(Misfit::Form) => integer_of_float(float(text)?)?,
        Err(other) => return Err(other),
    };
    if value < min || value > max { Err(Misfit::Range) } else { Ok(value) }
}

/// Digits, with a sign or without.
pub(crate) fn whole(text: &[u8]) -> Result<i64, Misfit> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    // Eighteen digits fit whatever they are, so most numbers need no check at each digit.
    if digits.is_empty() || digits.len() > 18 {
        return long_whole(negative, digits);
    }
    let mut value = 0i64;
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return Err(Misfit::Form);
        }
        value = value * 10 + i64::from(digit);
    }
    Ok(if negative { -value } else { value })
}

fn long_whole(negative: bool, digits: &[u8]) -> Result<i64, Misfit> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Misfit::Form);
    }
    let value = digits.iter().try_fold(0i64, |value, digit| {
        let digit = i64::from(digit - b'0');
        let shifted = value.checked_mul(10)?;
        if negative { shifted.checked_sub(digit) } else { shifted.checked_add(digit) }
    });
    value.ok_or(Misfit::Range)
}

pub(crate) fn unsigned(text: &[u8]) -> Result<u64, Misfit> {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return u64::try_from(integer_of_float(float(text)?)?).map_err(|_| Misfit::Range);
    }
    let value = digits
        .iter()
        .try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    value.ok_or(Misfit::Range)
}

/// The integer that a float stands for, if it is one and no other is as near.
pub(crate) fn integer_of_float(value: f64) -> Result<i64, Misfit> {
    if !value.is_finite() || value.fract() != 0.0 {
        Err(Misfit::Form)
    } else if value.abs() > EXACT_FLOAT_MAX {
        Err(Misfit::Range)
    } else {
        Ok(value as i64)
    }
}

pub(crate) fn float(text: &[u8]) -> Result<f64, Misfit> {
    let text = std::str::from_utf8(text).map_err(|_| Misfit::Form)?;
    let value: f64 = text.trim_ascii().parse().map_err(|_| Misfit::Form)?;
    let said_infinite = || text.bytes().any(|b| b.eq_ignore_ascii_case(&b'i'));
    if value.is_infinite() && !said_infinite() { Err(Misfit::Range) } else { Ok(value) }
}

/// A decimal of `precision` digits, `scale` of them after the point, as a whole number of the
/// smallest step. Nothing is rounded: digits that the column does not keep are a misfit.
pub(crate) fn decimal(text: &[u8], precision: u8, scale: i8) -> Result<i128, Misfit> {
    let text = text.trim_ascii();
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (mantissa, exponent) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&text[..at], whole(&text[at + 1..])?),
        None => (text, 0),
    };
    let (before, after) = match mantissa.iter().position(|&b| b == b'.') {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &mantissa[..0]),
    };
    if before.is_empty() && after.is_empty() {
        return Err(Misfit::Form);
    }
    if exponent.unsigned_abs() > u64::from(u16::MAX) {
        return Err(Misfit::Range);
    }
    // The number is `digits * 10^shift` steps.
    let mut shift = exponent + i64::from(scale) - after.len() as i64;
    let mut value = 0i128;
    let mut dropped = 0;
    for (i, digit) in before.iter().chain(after).enumerate() {
        if !digit.is_ascii_digit() {
            return Err(Misfit::Form);
        }
        let beyond = (before.len() + after.len() - i) as i64 <= -shift;
        if beyond {
            dropped |= digit - b'0';
        } else {
            value = value
                .checked_mul(10)
                .and_then(|value| value.checked_add(i128::from(digit - b'0')))
                .ok_or(Misfit::Range)?;
        }
    }
    if dropped != 0 {
        return Err(Misfit::Digits);
    }
    while shift > 0 && value != 0 {
        value = value.checked_mul(10).ok_or(Misfit::Range)?;
        shift -= 1;
    }
    if value >= 10i128.pow(u32::from(precision.min(38))) {
        return Err(Misfit::Range);
    }
    Ok(if negative { -value } else { value })
}

/// How deep JSON may be nested. The parser calls itself for each level that it passes over, so that
/// without a limit one long line of brackets would overflow the stack.
pub(crate) const NESTING_MAX: usize = 128;

/// Whether JSON is nested deeper than [`NESTING_MAX`]. Costs next to nothing for text that has not
/// even so many brackets.
pub(crate) fn is_too_deep(json: &[u8]) -> bool {
    let mut brackets = memchr::memchr2_iter(b'[', b'{', json);
    json.len() > NESTING_MAX && brackets.nth(NESTING_MAX).is_some() && depth(json) > NESTING_MAX
}

fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let (mut in_text, mut is_escaped) = (false, false);
    for &byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// What a text may be meant as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Looks {
    pub(crate) boolean: bool,
    pub(crate) integer: bool,
    pub(crate) float: bool,
    pub(crate) date: bool,
    /// A date, or a date and a time.
    pub(crate) timestamp: bool,
    /// A date and a time with an offset from UTC.
    pub(crate) zoned: bool,
    /// A time with more digits than microseconds have.
    pub(crate) nanoseconds: bool,
}

impl Looks {
    pub(crate) fn of(text: &[u8]) -> Self {
        let moment = time::moment(text);
        let is_date = time::date(text).is_some();
        let number = looks_like_number(text);
        Self {
            boolean: text.eq_ignore_ascii_case(b"true") || text.eq_ignore_ascii_case(b"false"),
            integer: number && whole(text).is_ok(),
            float: number && float(text).is_ok(),
            date: is_date,
            timestamp: is_date || moment.is_some_and(|m| !m.has_offset),
            zoned: moment.is_some_and(|m| m.has_offset),
            nanoseconds: moment.is_some_and(|m| m.nanos % 1_000 != 0),
        }
    }
}

impl Looks {
    /// What both look like.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            boolean: self.boolean && other.boolean,
            integer: self.integer && other.integer,
            float: self.float && other.float,
            date: self.date && other.date,
            timestamp: self.timestamp && other.timestamp,
            zoned: self.zoned && other.zoned,
            nanoseconds: self.nanoseconds || other.nanoseconds,
        }
    }
}

/// Whether a text is meant as a number: `007` is a code, and `nan` or `infinity` are words.
fn looks_like_number(text: &[u8]) -> bool {
    let digits = match text {
        [b'-' | b'+', digits @ ..] => digits,
        digits => digits,
    };
    match digits {
        [b'0', second, ..] => !second.is_ascii_digit(),
        [b'.', second, ..] => second.is_ascii_digit(),
        [first, ..] => first.is_ascii_digit(),
        [] => false,
    }
}
