//! Dates and times from their text: RFC 3339, with a space instead of the `T` if one likes.

use arrow::datatypes::TimeUnit;

const SECONDS_PER_DAY: i64 = 86_400;

/// A point in time as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Seconds since 1970, in UTC if there was an offset, else by the clock on the wall.
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
    pub(crate) has_offset: bool,
}

impl Moment {
    /// Whole `unit`s since 1970, rounded down. `None`: too far away for 64 bits.
    pub(crate) fn since_epoch(self, unit: TimeUnit) -> Option<i64> {
        let (per_second, nanos_each) = match unit {
            TimeUnit::Second => return Some(self.seconds),
            TimeUnit::Millisecond => (1_000, 1_000_000),
            TimeUnit::Microsecond => (1_000_000, 1_000),
            TimeUnit::Nanosecond => (1_000_000_000, 1),
        };
        self.seconds.checked_mul(per_second)?.checked_add(i64::from(self.nanos / nanos_each))
    }
}

/// `YYYY-MM-DD` as days since 1970.
pub(crate) fn date(text: &[u8]) -> Option<i32> {
    let text: &[u8; 10] = text.try_into().ok()?;
    days(text)
}

/// `YYYY-MM-DD`, or that with `T` or a space and `HH:MM[:SS[.fraction]]`, and with or without an
/// offset (`Z`, `+HH:MM`, `+HHMM`, `+HH`).
pub(crate) fn moment(text: &[u8]) -> Option<Moment> {
    moment_of(text, days)
}

/// Reads moments of which many are on the same day.
#[derive(Debug, Default)]
pub(crate) struct Moments {
    /// The day of the moment before, as it was written, and which one it is.
    day: Option<([u8; 10], i32)>,
}

impl Moments {
    /// The same as the function [`moment`].
    pub(crate) fn moment(&mut self, text: &[u8]) -> Option<Moment> {
        moment_of(text, |text| match self.day {
            Some((day, days)) if day == *text => Some(days),
            _ => {
                let days = days(text)?;
                self.day = Some((*text, days));
                Some(days)
            }
        })
    }
}

fn moment_of(text: &[u8], days: impl FnOnce(&[u8; 10]) -> Option<i32>) -> Option<Moment> {
    let (day, rest) = text.split_first_chunk::<10>()?;
    let midnight = i64::from(days(day)?) * SECONDS_PER_DAY;
    let Some((separator, rest)) = rest.split_first() else {
        return Some(Moment { seconds: midnight, nanos: 0, has_offset: false });
    };
    if !matches!(separator, b'T' | b't' | b' ') {
        return None;
    }
    let (seconds, nanos, rest) = clock(rest)?;
    let offset = offset(rest)?;
    Some(Moment {
        seconds: midnight + seconds - offset.unwrap_or(0),
        nanos,
        has_offset: offset.is_some(),
    })
}

/// `HH:MM[:SS[.fraction]]` as nanoseconds since midnight.
pub(crate) fn time_of_day(text: &[u8]) -> Option<i64> {
    let (seconds, nanos, rest) = clock(text)?;
    rest.is_empty().then(|| seconds * 1_000_000_000 + i64::from(nanos))
}

fn days(text: &[u8; 10]) -> Option<i32> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else { return None };
    let year = two(y1, y2)? * 100 + two(y3, y4)?;
    let (month, day) = (two(m1, m2)?, two(d1, d2)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => return None,
    };
    if day == 0 || day > last {
        return None;
    }
    // Days from the civil calendar, counted in years that start in March, so that the leap day is
    // the last of its year (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Seconds since midnight, nanoseconds, and what follows.
fn clock(text: &[u8]) -> Option<(i64, u32, &[u8])> {
    let (&[h1, h2, b':', m1, m2], rest) = text.split_first_chunk::<5>()? else { return None };
    let (hour, minute) = (two(h1, h2)?, two(m1, m2)?);
    let (second, nanos, rest) = match rest {
        [b':', s1, s2, rest @ ..] => {
            let (nanos, rest) = fraction(rest)?;
            (two(*s1, *s2)?, nanos, rest)
        }
        rest => (0, 0, rest),
    };
    let fits = hour < 24 && minute < 60 && second < 60;
    fits.then(|| (i64::from(hour * 3600 + minute * 60 + second), nanos, rest))
}

/// The nanoseconds of `.123456789`, rounded down, and what follows; zero if there is no point.
fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let [b'.', digits @ ..] = text else { return Some((0, text)) };
    let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let (digits, rest) = digits.split_at(count);
    let kept = &digits[..count.min(9)];
    let nanos = kept.iter().fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
    Some((nanos * 10u32.pow(9 - kept.len() as u32), rest))
}

/// Seconds east of UTC; `Some(None)`: no offset is given; `None`: that is not an offset.
fn offset(text: &[u8]) -> Option<Option<i64>> {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let (sign, rest) = match text {
        [] => return Some(None),
        b"Z" | b"z" | b"UTC" => return Some(Some(0)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match *rest {
        [h1, h2] => (two(h1, h2)?, 0),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => (two(h1, h2)?, two(m1, m2)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then(|| Some(sign * i64::from(hours * 3600 + minutes * 60)))
}

fn two(tens: u8, ones: u8) -> Option<i32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i32::from(tens) * 10 + i32::from(ones))
}
