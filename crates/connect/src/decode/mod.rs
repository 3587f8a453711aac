//! Bytes to rows, one decoder a format, in the order of the data's way: [`json`], [`debezium`],
//! [`csv`] and [`parquet`] read rows; `rows` and `column` gather them into Arrow columns; `text`
//! and `time` read single values; [`infer`] finds the columns of data that nobody described.
//!
//! A decoder never fails on a bad row: it rejects it with the original bytes and the reason, and
//! goes on with the next one. What it makes depends on the input alone, never on where the input
//! was cut.

mod column;
pub mod csv;
pub mod debezium;
pub mod infer;
pub mod json;
pub mod parquet;
mod rows;
mod text;
pub(crate) mod time;

use arrow::datatypes::Schema;
use syncline_change::source::Rejected;
use syncline_change::{Batch, Error, Result};

/// Rows that a source hands over at a time: enough to make a column's fixed costs small, few enough
/// to pass on quickly.
pub const CHUNK_ROWS_MAX: usize = 8192;

/// The same in bytes of input, for long rows.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// How much of a rejected row is kept, so that one monstrous line does not fill the dead letters.
pub const REJECTED_BYTES_MAX: usize = 64 << 10;

/// A stretch of text that starts where a row starts.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub bytes: &'a [u8],
    /// The number of the first line, for people: files start at 1.
    pub first_line: u64,
    /// What to call the place that the bytes are from: a file's name.
    pub label: &'a str,
    /// Whether nothing follows, so that a last line without a newline is whole.
    pub at_end: bool,
    /// Rows to take at most.
    pub rows_max: usize,
}

/// What was made of the front of an [`Input`].
#[derive(Debug)]
pub struct Decoded {
    pub rows: Batch,
    /// In the order of the input.
    pub rejected: Vec<Rejected>,
    /// Bytes taken from the front of the input: whole rows only. Zero if not even the first row is
    /// complete.
    pub bytes: usize,
    /// Lines among them.
    pub lines: u64,
    /// For each row, where in the input the record that it came from ends: there the chunk may be
    /// cut in two.
    pub row_ends: Vec<usize>,
    /// The same for each of `rejected`.
    pub rejected_ends: Vec<usize>,
    /// The hash of the bytes, where rows are to be referred to by it.
    pub hash: Option<blake3::Hash>,
}

/// Reads rows from text of one format.
pub trait RowDecoder: Send {
    /// Reads the head of a file, before its first row, from the front of `input` (of which
    /// `first_line` is 1). Returns how many bytes that are, `None` if more are needed to tell.
    ///
    /// # Errors
    /// `Input` if the head does not go with the schema.
    fn begin_file(&mut self, input: &Input<'_>) -> Result<Option<usize>>;

    /// Decodes whole rows from the front of `input`.
    ///
    /// # Errors
    /// Only defects: bad rows are rejected.
    fn decode_front(&mut self, input: &Input<'_>) -> Result<Decoded>;

    /// A decoder for another thread that goes on in the same file: it has read the head too.
    fn fork(&self) -> Box<dyn RowDecoder>;
}

/// A row that no buffer holds, of which `head` is known.
pub(crate) fn overlong(head: &[u8], row_bytes_max: usize, label: &str, line: u64) -> Rejected {
    let mut fault = rows::too_long(row_bytes_max);
    fault.message.push_str(&format!(" (the first {} KiB are kept)", REJECTED_BYTES_MAX >> 10));
    rows::rejected_row(head, fault, label, line, None)
}

/// The bytes of a byte order mark at the front of `bytes`; `None` if there may be one to come.
fn byte_order_mark(input: &Input<'_>) -> Option<usize> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    if input.bytes.starts_with(MARK) {
        return Some(MARK.len());
    }
    let undecided = MARK.starts_with(input.bytes) && !input.at_end;
    (!undecided).then_some(0)
}

/// The column among `schema`'s that `name` names.
///
/// # Errors
/// `Config` with the nearest name that there is.
pub(crate) fn column_index(schema: &Schema, name: &str) -> Result<usize> {
    schema.index_of(name).map_err(|_| {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        unknown_name(format!("there is no column `{name}`"), name, names)
    })
}

/// `message` with the name that was probably meant, or those that there are.
pub(crate) fn unknown_name<'a>(
    message: String,
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Error {
    let similarity =
        |other: &str| strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase());
    let nearest = known.clone().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    match nearest {
        Some(nearest) if similarity(nearest) > 0.7 => {
            Error::config(message).hint(format!("did you mean `{nearest}`?"))
        }
        Some(_) => Error::config(message)
            .hint(format!("there are {}", known.collect::<Vec<_>>().join(", "))),
        None => Error::config(message).hint("there are no columns at all"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
