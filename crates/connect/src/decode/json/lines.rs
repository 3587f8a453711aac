//! Input cut into lines.

use syncline_change::Result;
use syncline_change::source::RejectClass;

use super::super::rows::{Fault, Rows, too_long, trim_line_end};
use super::super::text::{NESTING_MAX, is_too_deep};
use super::super::{Decoded, Input};

/// Bytes that are checked to be UTF-8 at a time: few enough to be still in the cache when they are
/// read.
const STRETCH_BYTES: usize = 64 << 10;

/// Reads what is on a line.
pub(in crate::decode) trait ReadLine {
    /// Reads the line at the front of `text` if it is as lines before were, into a new row that is
    /// not ended yet. Returns its length with its line break; for `None` nothing has changed.
    fn read_alike(&mut self, rows: &mut Rows, text: &[u8]) -> Option<usize>;

    /// Reads any line, into as many rows as it makes.
    ///
    /// # Errors
    /// Why the line has to be refused.
    fn read(&mut self, rows: &mut Rows, line: &str) -> Result<(), Fault>;
}

/// Has `reader` read each line that is text and not too long, and refuses the record if it cannot.
pub(in crate::decode) fn each_line(
    input: &Input<'_>,
    rows: &mut Rows,
    row_bytes_max: usize,
    reader: &mut impl ReadLine,
) -> Result<Decoded> {
    rows.reserve(input);
    let mut stretch = Stretch { bytes: &[], text: None };
    let (mut start, mut stretch_start, mut lines) = (0, 0, 0);
    while start < input.bytes.len() && rows.records() < input.rows_max {
        if start == stretch_start + stretch.bytes.len() {
            match Stretch::at(input, start) {
                Some(next) => (stretch, stretch_start) = (next, start),
                None => break,
            }
        }
        let rest = start - stretch_start..;
        lines += 1;
        if stretch.text.is_some()
            && let Some(length) = reader.read_alike(rows, &stretch.bytes[rest.clone()])
        {
            rows.begin_record(start, start + length);
            rows.add_row(1);
            start += length;
            continue;
        }
        let bytes = &stretch.bytes[rest.clone()];
        let length = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |newline| newline + 1);
        let line = trim_line_end(&bytes[..length]);
        let text = match stretch.text {
            // A newline is never inside of a character.
            Some(text) => text.get(rest).and_then(|rest| rest.get(..line.len())),
            None => std::str::from_utf8(line).ok(),
        };
        read_line(line, text, start..start + length, rows, row_bytes_max, reader);
        start += length;
    }
    // The last line may have no newline, and counts as a line only with one.
    if start > 0 && input.bytes[start - 1] != b'\n' {
        lines -= 1;
    }
    rows.finish(input, start, lines, None)
}

/// Reads `line`, which is `text` if it is text at all, and is at `at` in the input with its end.
fn read_line(
    line: &[u8],
    text: Option<&str>,
    at: std::ops::Range<usize>,
    rows: &mut Rows,
    row_bytes_max: usize,
    reader: &mut impl ReadLine,
) {
    let is_too_long = line.len() > row_bytes_max;
    if !is_too_long && text.is_some_and(|text| text.trim_ascii().is_empty()) {
        return;
    }
    rows.begin_record(at.start, at.end);
    let read = match text {
        _ if is_too_long => Err(too_long(row_bytes_max)),
        None => Err(Fault::new(RejectClass::Unparsable, "not UTF-8 text")),
        Some(_) if is_too_deep(line) => Err(too_deep()),
        Some(text) => reader.read(rows, text),
    };
    if let Err(fault) = read {
        rows.refuse(fault);
    }
}

fn too_deep() -> Fault {
    Fault::new(RejectClass::Unparsable, format!("nested more than {NESTING_MAX} levels deep"))
}

/// Some whole lines of an input.
struct Stretch<'a> {
    bytes: &'a [u8],
    /// The bytes as text; `None`: not all of them are.
    text: Option<&'a str>,
}

impl<'a> Stretch<'a> {
    /// The lines at `start` of `input`; `None`: no whole line is there.
    fn at(input: &Input<'a>, start: usize) -> Option<Self> {
        let rest = &input.bytes[start..];
        let (front, behind) = rest.split_at(rest.len().min(STRETCH_BYTES));
        let length = match memchr::memrchr(b'\n', front) {
            Some(newline) => newline + 1,
            None => match memchr::memchr(b'\n', behind) {
                Some(newline) => front.len() + newline + 1,
                None if input.at_end => rest.len(),
                None => return None,
            },
        };
        let bytes = &rest[..length];
        Some(Self { bytes, text: std::str::from_utf8(bytes).ok() })
    }
}
