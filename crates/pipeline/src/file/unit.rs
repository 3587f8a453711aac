//! Durations and sizes in a pipeline file: text to YAML, numbers with a unit to people.

use std::sync::LazyLock;

use serde_json::Value as Json;
use syncline_change::units::{Duration, Size};

use super::problem::Problem;
use super::tree::{Scalar, Span};
use super::validate::{Place, shown};

/// What a number with a unit measures.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Duration,
    Size,
}

impl Unit {
    /// What a schema of text wants, if that is a number with a unit.
    pub(super) fn of(schema: &Json) -> Option<Self> {
        static PATTERNS: LazyLock<[Json; 2]> = LazyLock::new(|| {
            [schemars::schema_for!(Duration), schemars::schema_for!(Size)]
                .map(|schema| schema.to_value()["pattern"].clone())
        });
        let pattern = schema.get("pattern")?;
        let [duration, size] = &*PATTERNS;
        if pattern == duration {
            return Some(Self::Duration);
        }
        (pattern == size).then_some(Self::Size)
    }

    pub(super) fn check(self, text: &str) -> Result<(), ()> {
        match self {
            Self::Duration => text.parse::<Duration>().map(drop).map_err(drop),
            Self::Size => text.parse::<Size>().map(drop).map_err(drop),
        }
    }

    pub(super) fn problem(self, at: Span, scalar: &Scalar, place: Place<'_>) -> Problem {
        let (what, hint) = match self {
            Self::Duration => {
                ("a duration", "a duration has a unit: 500us, 250ms, 10s, 5m, 2h, 7d")
            }
            Self::Size => {
                ("a size", "a size has a unit: 500B, 64KiB, 16MiB, 1GiB, or 10kB, 5MB, 2GB")
            }
        };
        let written = if scalar.raw.is_empty() { "nothing".to_owned() } else { shown(scalar) };
        let message = format!("`{}` is {what}, and this is {written}", place.name);
        let span = if scalar.raw.is_empty() { place.key } else { at };
        let problem = Problem::at(span, place.path, message).hint(hint);
        let bare = !scalar.raw.is_empty() && scalar.raw.bytes().all(|b| b.is_ascii_digit());
        let meant = scalar.filled.is_none().then(|| self.meant(&scalar.raw)).flatten();
        match meant {
            _ if bare && scalar.raw.bytes().any(|b| b != b'0') => {
                problem.label("a unit is missing")
            }
            Some(meant) => problem.label(format!("did you mean `{meant}`?")),
            None => problem,
        }
    }

    /// `10 sec`, `5min`, `4gb`, `4G` with the unit that was meant.
    fn meant(self, text: &str) -> Option<String> {
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let unit = unit.trim().to_ascii_lowercase();
        let unit = match (self, unit.as_str()) {
            (Self::Duration, "" | "ms" | "msec" | "msecs" | "millis" | "milliseconds") => "ms",
            (Self::Duration, "s" | "sec" | "secs" | "second" | "seconds") => "s",
            (Self::Duration, "m" | "min" | "mins" | "minute" | "minutes") => "m",
            (Self::Duration, "h" | "hr" | "hrs" | "hour" | "hours") => "h",
            (Self::Duration, "d" | "day" | "days") => "d",
            (Self::Size, "" | "b" | "byte" | "bytes") => "B",
            (Self::Size, "k" | "kb" | "kib" | "ki") => "KiB",
            (Self::Size, "m" | "mb" | "mib" | "mi") => "MiB",
            (Self::Size, "g" | "gb" | "gib" | "gi") => "GiB",
            (Self::Size, "t" | "tb" | "tib" | "ti") => "TiB",
            _ => return None,
        };
        let meant = format!("{number}{unit}");
        self.check(&meant).ok().map(|()| meant)
    }
}
