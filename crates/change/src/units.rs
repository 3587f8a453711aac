//! Durations and sizes as pipeline files write them: `250ms`, `10s`, `5m`, `2h`; `64KiB`, `1GiB`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time, written with its unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub std::time::Duration);

/// A number of bytes, written with its unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const DURATION_UNITS: [(&str, u64); 6] = [
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl Duration {
    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    pub const fn from_secs(secs: u64) -> Self {
        Self(std::time::Duration::from_secs(secs))
    }

    /// Whole microseconds; the longest duration that fits if it is longer.
    pub fn as_micros(self) -> i64 {
        i64::try_from(self.0.as_micros()).unwrap_or(i64::MAX)
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "a duration such as 250ms, 10s, 5m or 2h";
        let nanos = scaled(text, &DURATION_UNITS).ok_or_else(|| not(text, expected))?;
        Ok(Self(std::time::Duration::from_nanos(nanos)))
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        scaled(text, &SIZE_UNITS).map(Self).ok_or_else(|| not(text, "a size such as 64KiB or 1GiB"))
    }
}

fn not(text: &str, expected: &str) -> String {
    format!("`{text}` is not {expected}")
}

/// A whole or decimal number with one of `units` behind it, in the smallest unit.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let unit = unit.trim_start();
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(*scale),
        Err(_) => {
            let value = number.parse::<f64>().ok()? * *scale as f64;
            (value.is_finite() && value < u64::MAX as f64).then_some(value.round() as u64)
        }
    }
}

/// The largest unit in which the number is whole.
fn unscaled(value: u64, units: &[(&str, u64)]) -> Option<String> {
    let fits = units.iter().filter(|(_, scale)| value.is_multiple_of(*scale) && value >= *scale);
    fits.max_by_key(|(_, scale)| *scale).map(|(name, scale)| format!("{}{name}", value / scale))
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        match unscaled(nanos, &DURATION_UNITS) {
            Some(text) => f.write_str(&text),
            None if nanos == 0 => f.write_str("0ms"),
            None => write!(f, "{}us", nanos as f64 / 1_000.0),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&unscaled(self.0, &SIZE_UNITS[..5]).unwrap_or_else(|| "0B".to_owned()))
    }
}

macro_rules! as_text {
    ($type:ident, $description:literal, $pattern:literal, $example:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "description": $description,
                    "examples": [$example],
                })
            }
        }
    };
}

as_text!(Duration, "a duration: 250ms, 10s, 5m, 2h", "^[0-9.]+ *(us|ms|s|m|h|d)$", "10s");
as_text!(Size, "a size: 64KiB, 1GiB", "^[0-9.]+ *([KMGT]i?B|kB|B)$", "64KiB");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_read_and_print() {
        for (text, millis, printed) in [
            ("250ms", 250, "250ms"),
            ("10 s", 10_000, "10s"),
            ("1.5m", 90_000, "90s"),
            ("2h", 7_200_000, "2h"),
            ("0ms", 0, "0ms"),
        ] {
            let read: Duration = text.parse().unwrap();
            assert_eq!(read, Duration::from_millis(millis), "{text}");
            assert_eq!(read.to_string(), printed);
        }
        for wrong in ["", "10", "ten s", "5 parsecs", "1..5s", "-1s", "99999999999999999d"] {
            assert!(wrong.parse::<Duration>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes, printed) in [
            ("64KiB", 65_536, "64KiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("10MB", 10_000_000, "10000000B"),
            ("0B", 0, "0B"),
        ] {
            let read: Size = text.parse().unwrap();
            assert_eq!(read, Size(bytes), "{text}");
            assert_eq!(read.to_string(), printed);
        }
        assert!("64".parse::<Size>().is_err());
    }
}
