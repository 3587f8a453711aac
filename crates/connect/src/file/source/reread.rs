//! Rows of a file once more, which the journal refers to.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};

use syncline_change::source::FileRange;
use syncline_change::{Batch, Error, Result};

use super::super::config::Format;
use super::reader::{Job, text_decoder};
use crate::decode::{CHUNK_BYTES_MAX, Input, RowDecoder};

/// The rows of `range`.
///
/// # Errors
/// `Conflict` if the file, or how it is read, is not what it was.
pub(super) fn rows(job: &Job, range: &FileRange) -> Result<Batch> {
    if job.config.format == Format::Parquet {
        return Err(changed(range).detail("it was read as text, and `format` is parquet now"));
    }
    let path = job.base_dir.join(&range.file);
    let mut file = File::open(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => changed(range).detail("it is no longer there").source(error),
        _ => Error::io("open", &path, error),
    })?;
    let failed = |error| Error::io("read", &path, error);
    let mut decoder = text_decoder(job)?;
    let mut text = Vec::new();
    if job.config.format == Format::Csv {
        file.by_ref().take(CHUNK_BYTES_MAX as u64).read_to_end(&mut text).map_err(failed)?;
    }
    let head = Input { at_end: true, rows_max: 1, ..whole(&text, &range.file) };
    decoder.begin_file(&head)?;
    file.seek(SeekFrom::Start(range.offset)).map_err(failed)?;
    text.clear();
    file.take(range.length).read_to_end(&mut text).map_err(failed)?;
    let place = format!("its {} bytes from byte {} on", range.length, range.offset);
    if text.len() as u64 != range.length {
        return Err(changed(range).detail(format!("{place} are not all there")));
    }
    if blake3::hash(&text).to_hex().as_str() != range.hash {
        return Err(changed(range).detail(format!("{place} are others now")));
    }
    let rows = decode(decoder.as_mut(), &text, range)?;
    if rows.num_rows() as u64 != range.rows {
        let (now, then) = (rows.num_rows(), range.rows);
        return Err(Error::conflict(format!("{} is read in another way now", range.file))
            .detail(format!("{place} were {then} rows, and are {now}"))
            .hint("put the source's settings back, or start with a new data directory"));
    }
    Ok(rows)
}

fn whole<'a>(bytes: &'a [u8], label: &'a str) -> Input<'a> {
    Input { bytes, first_line: 1, label, at_end: true, rows_max: usize::MAX }
}

fn decode(decoder: &mut dyn RowDecoder, text: &[u8], range: &FileRange) -> Result<Batch> {
    let decoded = decoder.decode_front(&whole(text, &range.file))?;
    let (mut start, schema) = (decoded.bytes, decoded.rows.schema());
    let mut rows = vec![decoded.rows];
    while start < text.len() {
        let decoded = decoder.decode_front(&whole(&text[start..], &range.file))?;
        if decoded.bytes == 0 {
            return Err(Error::bug(format!("a part of {} does not end with a row", range.file)));
        }
        start += decoded.bytes;
        rows.push(decoded.rows);
    }
    Batch::concat(&schema, &rows)
}

fn changed(range: &FileRange) -> Error {
    Error::conflict(format!("{} has changed since it was read", range.file)).hint(
        "with `journal: reference` there is no copy of its rows: put the file back as it was, or \
         start with a new data directory",
    )
}
