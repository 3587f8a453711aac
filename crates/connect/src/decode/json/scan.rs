//! Single values at the front of JSON text, as long as they are plain. What is not plain may be
//! valid all the same, or not: nothing here is the judge of that.

/// Most digits of an integer that 64 bits hold whatever the digits are.
const DIGITS_MAX: usize = 18;

const POWERS_OF_TEN: [u64; DIGITS_MAX + 1] = {
    let mut powers = [1; DIGITS_MAX + 1];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// Integers below this have exact floats.
const EXACT_FLOAT_END: u64 = 1 << 53;

/// A byte in each byte of a word.
const fn in_each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The content of the text value at the front, if it has no escapes.
#[inline]
pub(super) fn plain_text(json: &[u8]) -> Option<&[u8]> {
    let [b'"', rest @ ..] = json else { return None };
    let length = plain_length(rest);
    (rest.get(length) == Some(&b'"')).then(|| &rest[..length])
}

/// How many bytes there are before the first quote, backslash or control character.
#[inline]
fn plain_length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(block) = text[at..].first_chunk::<32>() {
        let is_special = |byte: u8| (byte == b'"') | (byte == b'\\') | (byte < 0x20);
        if block.iter().fold(false, |found, &byte| found | is_special(byte)) {
            break;
        }
        at += 32;
    }
    while let Some(word) = text[at..].first_chunk::<8>() {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    at + text[at..].iter().position(is_special).unwrap_or(text.len() - at)
}

/// The high bit of each byte that is a quote, a backslash or a control character. Bytes above the
/// lowest one that is found may be marked in error, where a borrow went through them.
#[inline]
fn special_bytes(word: u64) -> u64 {
    let below = |word: u64, limit: u8| word.wrapping_sub(in_each(limit)) & !word;
    let equal = |byte: u8| below(word ^ in_each(byte), 1);
    (below(word, 0x20) | equal(b'"') | equal(b'\\')) & in_each(0x80)
}

/// An integer of few enough digits, and its length.
#[inline]
pub(super) fn integer(json: &[u8]) -> Option<(i64, usize)> {
    let is_negative = json.first() == Some(&b'-');
    let start = usize::from(is_negative);
    let (value, count) = whole(&json[start..])?;
    let value = value as i64;
    // `-0` is a float to some.
    (!is_negative || value != 0)
        .then_some((if is_negative { -value } else { value }, start + count))
}

/// Digits as a number may start with: at least one, and no zero before others.
#[inline]
fn whole(json: &[u8]) -> Option<(u64, usize)> {
    let (value, count) = digits(json)?;
    let is_whole = count == 1 || count > 1 && json[0] != b'0';
    is_whole.then_some((value, count))
}

/// The digits at the front, which may be none, as a number and how many they are. `None`: too many.
#[inline]
fn digits(text: &[u8]) -> Option<(u64, usize)> {
    let (mut value, mut length) = (0, 0);
    while let Some(word) = text[length..].first_chunk::<8>() {
        let (more, count) = leading_digits(u64::from_le_bytes(*word));
        length += count;
        if length > DIGITS_MAX {
            return None;
        }
        value = value * POWERS_OF_TEN[count] + more;
        if count < 8 {
            return Some((value, length));
        }
    }
    for byte in &text[length..] {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        length += 1;
        if length > DIGITS_MAX {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some((value, length))
}

/// The number that the first digits of eight characters make, and how many digits there are.
#[inline]
fn leading_digits(word: u64) -> (u64, usize) {
    let digits = word ^ in_each(b'0');
    let is_other = (((digits & in_each(0x7f)) + in_each(0x76)) | digits) & in_each(0x80);
    let count = is_other.trailing_zeros() / 8;
    // Zeros in front, so that there are eight digits; then neighbours are joined three times.
    let digits = digits.checked_shl(64 - 8 * count).unwrap_or(0);
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let value = (fours * 10_000 + (fours >> 32)) & 0xffff_ffff;
    (value, count as usize)
}

/// A number as the nearest float, and its length.
#[inline]
pub(super) fn float(json: &[u8]) -> Option<(f64, usize)> {
    let is_negative = json.first() == Some(&b'-');
    let start = usize::from(is_negative);
    let (whole, count) = whole(&json[start..])?;
    let point = start + count;
    let (value, length) = match json.get(point) {
        Some(b'.') => {
            let (fraction, digits) = digits(&json[point + 1..])?;
            let length = point + 1 + digits;
            let is_short = digits > 0 && count + digits <= DIGITS_MAX;
            let mantissa = if is_short { whole * POWERS_OF_TEN[digits] + fraction } else { 0 };
            if !is_short || mantissa >= EXACT_FLOAT_END || is_exponent(json.get(length)) {
                return long_float(json);
            }
            // Both are exact, so the quotient is rounded once, as it should be.
            (mantissa as f64 / POWERS_OF_TEN[digits] as f64, length)
        }
        next if is_exponent(next) => return long_float(json),
        _ => (whole as f64, point),
    };
    // The sign of zero is left to the parser.
    (!is_negative || value != 0.0).then_some((if is_negative { -value } else { value }, length))
}

fn is_exponent(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b'e' | b'E'))
}

/// The same for any digits, by the parser that reads all other lines.
fn long_float(json: &[u8]) -> Option<(f64, usize)> {
    let length = number_length(json)?;
    let value: f64 = sonic_rs::from_slice(&json[..length]).ok()?;
    (value.is_finite() && value != 0.0).then_some((value, length))
}

/// How long the number at the front is.
pub(super) fn number_length(json: &[u8]) -> Option<usize> {
    let count = |at: usize| json[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    let start = usize::from(json.first() == Some(&b'-'));
    let whole = count(start);
    if whole == 0 || whole > 1 && json[start] == b'0' {
        return None;
    }
    let mut end = start + whole;
    if json.get(end) == Some(&b'.') {
        let digits = count(end + 1);
        if digits == 0 {
            return None;
        }
        end += 1 + digits;
    }
    if is_exponent(json.get(end)) {
        let sign = usize::from(matches!(json.get(end + 1), Some(b'+' | b'-')));
        let digits = count(end + 1 + sign);
        if digits == 0 {
            return None;
        }
        end += 1 + sign + digits;
    }
    Some(end)
}

/// How long the value at the front is, if it is plain: neither a list nor an object.
pub(super) fn value_length(json: &[u8]) -> Option<usize> {
    match json.first()? {
        b'"' => plain_text(json).map(|content| content.len() + 2),
        b't' | b'n' => (json.starts_with(b"true") || json.starts_with(b"null")).then_some(4),
        b'f' => json.starts_with(b"false").then_some(5),
        _ => number_length(json),
    }
}

/// How long the white space at the front is.
pub(super) fn space_length(json: &[u8]) -> usize {
    json.iter().take_while(|b| matches!(b, b' ' | b'\t')).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_at_every_place_of_a_text() {
        for length in 0..80 {
            let plain = vec![b'~'; length];
            assert_eq!(plain_length(&plain), length);
            for at in 0..length {
                for byte in 0..=255 {
                    let mut text = plain.clone();
                    text[at] = byte;
                    let is_special = byte < 0x20 || byte == b'"' || byte == b'\\';
                    assert_eq!(plain_length(&text), if is_special { at } else { length });
                }
            }
        }
    }

    #[test]
    fn every_byte_behind_digits() {
        for count in 0..=20 {
            for byte in (0..=255u8).filter(|byte| !byte.is_ascii_digit()) {
                let digits = &"98765432109876543210"[..count];
                let text = [digits.as_bytes(), &[byte], b"0000000000"].concat();
                let expect = (count <= DIGITS_MAX).then(|| (digits.parse().unwrap_or(0), count));
                assert_eq!(super::digits(&text), expect, "{digits} {byte}");
                assert_eq!(super::digits(digits.as_bytes()), expect, "{digits}");
            }
        }
    }

    #[test]
    fn what_is_no_plain_number() {
        for json in ["", "-", "01", "-01", "-0", "1234567890123456789", "x", ".5", "+1"] {
            assert_eq!(integer(json.as_bytes()), None, "{json}");
        }
        for json in
            ["", "-", "01.5", "-0", "-0.0", "0e5", "1.", "1.e5", ".5", "1e", "1e999", "-1.x"]
        {
            assert_eq!(float(json.as_bytes()), None, "{json}");
        }
    }

    proptest! {
        #[test]
        fn numbers(number: f64, whole in -99_999_999_999_999_999i64..99_999_999_999_999_999) {
            let text = format!("{whole},");
            prop_assert_eq!(integer(text.as_bytes()), (whole != 0 || text == "0,").then_some((whole, text.len() - 1)));
            for text in [format!("{number:?}"), format!("{number}"), format!("{number:.3}"), text] {
                if let Some((value, length)) = float(text.as_bytes()) {
                    let expect: f64 = text[..length].parse().unwrap();
                    prop_assert_eq!(value.to_bits(), expect.to_bits(), "{}", text);
                }
            }
        }
    }
}
