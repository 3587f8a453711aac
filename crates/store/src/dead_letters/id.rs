//! A dead letter's name: `s17` is the 17th of the source stage, `v3` the third of the view stage.

use std::fmt;
use std::str::FromStr;

use syncline_change::Error;

use super::Stage;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id {
    pub(super) stage: Stage,
    /// From 1, in the order of the stage's log.
    pub(super) number: u64,
}

impl Id {
    /// That of the letter at `index` of its stage's log.
    pub(super) fn at(stage: Stage, index: usize) -> Self {
        Self { stage, number: index as u64 + 1 }
    }

    pub(super) fn index(self) -> Option<usize> {
        usize::try_from(self.number.checked_sub(1)?).ok()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.stage {
            Stage::Source => 's',
            Stage::View => 'v',
            Stage::Sink => 'k',
        };
        write!(f, "{letter}{}", self.number)
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let stage = match text.as_bytes().first() {
            Some(b's') => Some(Stage::Source),
            Some(b'v') => Some(Stage::View),
            Some(b'k') => Some(Stage::Sink),
            Some(_) | None => None,
        };
        let id = stage.and_then(|stage| Some(Self { stage, number: text[1..].parse().ok()? }));
        // One name for each letter: no `s007`, no `s+7`, no `s0`.
        id.filter(|id| id.number > 0 && id.to_string() == text).ok_or_else(|| {
            Error::input(format!("`{}` is not the id of a dead letter", text.escape_debug()))
                .hint("ids look like s17, v3 or k2; `syncline dlq ls` lists them")
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_read_back() {
        for text in ["s1", "v17", "k18446744073709551615"] {
            assert_eq!(text.parse::<Id>().unwrap().to_string(), text);
        }
        for text in ["", "s", "17", "x1", "s0", "s01", "s+1", "s-1", "s1.json", "../s1", "é1"] {
            assert!(text.parse::<Id>().is_err(), "{text}");
        }
        assert_eq!("v3".parse::<Id>().unwrap(), Id::at(Stage::View, 2));
        assert_eq!("v3".parse::<Id>().unwrap().index(), Some(2));
    }
}
