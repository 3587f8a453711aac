//! Where rows come from.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Batch, Error, Result};

/// Where a source stands: everything before it has been read. Its meaning is the source's own; the
/// journal keeps it as JSON with the rows that it follows.
pub type Position = serde_json::Value;

/// What a source hands over at a time.
///
/// The weights of `rows` say what happened to each: positive, it was added (or, for a source with a
/// primary key, it replaces the row with its key); negative, it was deleted (with a primary key,
/// only the key columns count).
#[derive(Clone, Debug)]
pub struct Chunk {
    pub rows: Batch,
    /// What could not be taken, in the order in which it was met.
    pub rejected: Vec<Rejected>,
    /// Where the source stands after this chunk.
    pub position: Position,
    /// Input bytes read for this chunk, after decompression.
    pub bytes: u64,
    /// Where exactly these rows can be read again, if the source is to say so.
    pub origin: Option<FileRange>,
}

/// A part of a file that is not expected to change, and the rows in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRange {
    /// The file as its source names it.
    pub file: String,
    /// The size of the whole file.
    pub size: u64,
    /// Where the part begins, and how long it is, in bytes.
    pub offset: u64,
    pub length: u64,
    /// The BLAKE3 hash of the part, in hexadecimal digits.
    pub hash: String,
    /// How many rows it holds, without those that were rejected.
    pub rows: u64,
}

/// A piece of input that could not be taken: a dead letter to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The original bytes, as they were in the input.
    #[serde(with = "base64_bytes")]
    pub bytes: Vec<u8>,
    /// What is needed to decode the bytes again, beyond themselves: a CSV file's header line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Where it was, for people: `flights.csv:1203`.
    pub position: String,
    pub class: RejectClass,
    /// What is wrong with it: the column, the value, the type that was expected.
    pub message: String,
}

/// Why a row became a dead letter. Fixed, because metrics and filters use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejectClass {
    /// Not readable as its format at all.
    Unparsable,
    /// A value does not have its column's type.
    WrongType,
    /// A primary key or a required field is absent or null.
    MissingKey,
    /// Longer than the limit for one row.
    TooLong,
    /// Its event time is behind the watermark.
    Late,
    /// It deletes a row that is not there.
    UnknownRow,
    /// A view could not compute an expression for it.
    Expression,
    /// The target refused it, or did not take it in all tries.
    Undelivered,
}

impl RejectClass {
    pub fn name(self) -> &'static str {
        match self {
            Self::Unparsable => "unparsable",
            Self::WrongType => "wrong-type",
            Self::MissingKey => "missing-key",
            Self::TooLong => "too-long",
            Self::Late => "late",
            Self::UnknownRow => "unknown-row",
            Self::Expression => "expression",
            Self::Undelivered => "undelivered",
        }
    }
}

/// A running reader of one source. Made by its connector with the schema to decode to and the
/// position to go on from.
#[async_trait]
pub trait Source: Send {
    /// The next chunk; waits until there is one. `None`: the input is bounded and at its end.
    ///
    /// Chunks come in the source's own order and each holds at most a few thousand rows; one with
    /// neither rows nor rejects only moves the position. Dropping the future before it is ready
    /// loses nothing.
    ///
    /// # Errors
    /// A transient error (see [`crate::ErrorKind::is_transient`]) may be followed by another call,
    /// which tries again from where it was. After any other error the source is finished.
    async fn next(&mut self) -> Result<Option<Chunk>>;

    /// Everything up to `position` is durable in the journal, as a part of `epoch`; the source may
    /// tell its system so.
    async fn acknowledge(&mut self, epoch: u64, position: &Position) -> Result<()>;
}

/// Decodes input of a source outside of its course.
pub trait Decode: Send + Sync {
    /// What was once rejected, after somebody has mended it: one or more rows in the source's
    /// format. Of the chunk, rows and rejects count.
    fn decode(&self, bytes: &[u8], context: Option<&str>) -> Result<(Batch, Vec<Rejected>)>;

    /// The rows of a part of a file once more.
    ///
    /// # Errors
    /// `Conflict` if the file is not what it was.
    fn read_again(&self, range: &FileRange) -> Result<Batch> {
        Err(Error::conflict(format!(
            "rows were read from {}, and this is no file source",
            range.file
        ))
        .hint("put the source's `type` back, or start with a new data directory"))
    }
}

mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}
