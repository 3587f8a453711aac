//! How far each file has been read.

use std::fs::Metadata;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use syncline_change::{Error, Result, source};

/// The position of a file source: a mark for each file that was begun. As JSON:
/// `{"files": {"data/a.csv": {"offset": 8192, "line": 120, "size": 8192}}}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Marks {
    pub(super) files: IndexMap<String, Mark>,
}

/// How far a file has been read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Mark {
    #[serde(flatten)]
    pub(super) place: Place,
    /// Set once the file is read to its end for good: its size on disk then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u64>,
    /// Which file it is, if it may be appended to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) identity: Option<Identity>,
}

/// A place between two rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Place {
    /// Rows of row group `row_group` that were read.
    Rows { row_group: usize, row: u64 },
    /// Bytes after decompression, and lines, that were read.
    Text { offset: u64, line: u64 },
}

/// What tells a file from another one that has taken its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// The file's number in its file system, where there is such a thing.
    pub(super) inode: Option<u64>,
    /// Of the first `head_length` bytes, the hash.
    pub(super) head: u64,
    pub(super) head_length: u64,
}

impl Marks {
    /// # Errors
    /// `Corrupt` if it is not the position of a file source.
    pub(super) fn from_position(position: Option<&source::Position>) -> Result<Self> {
        let Some(position) = position else { return Ok(Self::default()) };
        Self::deserialize(position).map_err(|error| {
            Error::corrupt("the position is not one of a file source")
                .detail(error.to_string())
                .hint("did the source's type change? then start with a new data directory")
                .source(error)
        })
    }

    pub(super) fn to_position(&self) -> Result<source::Position> {
        serde_json::to_value(self)
            .map_err(|error| Error::bug("a position cannot be written as JSON").source(error))
    }
}

impl Mark {
    pub(super) fn start_of_text() -> Self {
        Self { place: Place::Text { offset: 0, line: 0 }, size: None, identity: None }
    }

    pub(super) fn start_of_rows() -> Self {
        Self { place: Place::Rows { row_group: 0, row: 0 }, size: None, identity: None }
    }
}

impl Place {
    /// The place `length` bytes, or rows, and `lines` further on.
    pub(super) fn advance(&mut self, length: u64, lines: u64) {
        match self {
            Self::Rows { row, .. } => *row += length,
            Self::Text { offset, line } => {
                *offset += length;
                *line += lines;
            }
        }
    }
}

#[cfg(unix)]
pub(super) fn inode(metadata: &Metadata) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    Some(metadata.ino())
}

#[cfg(not(unix))]
pub(super) fn inode(_: &Metadata) -> Option<u64> {
    None
}
