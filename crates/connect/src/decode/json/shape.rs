//! Lines that look like lines before them.
//!
//! The lines of a file mostly have the same fields in the same order, and the same white space.
//! What stands between the values of one line, its *shape*, is then all that the next one has to
//! be compared with; values that are plain are read where they stand. A line that is in any way
//! different is left to the parser, which alone decides what is valid: a shape only ever reads
//! what the parser would read the same way.

use super::super::column::{Column, Kind};
use super::super::rows::Rows;
use super::object::{Fields, push_text_value};
use super::scan;

/// Shapes that are remembered: logs may mix a few kinds of lines.
const SHAPES_MAX: usize = 4;

/// Fields of a line whose shape is remembered.
const SHAPE_FIELDS_MAX: usize = 1024;

/// Where all lines differ, at most this many are passed over before a shape is learned again.
const LINES_PASSED_MAX: u32 = 1023;

/// The shapes of lines before, the last one that a line had first.
#[derive(Default)]
pub(super) struct Shapes {
    shapes: Vec<Shape>,
    /// Lines to pass over before the next shape is learned, and how many those were at first: the
    /// more, the longer no shape has come back.
    lines_to_pass: u32,
    lines_passed: u32,
    /// Whether the last line had none of the shapes.
    is_new: bool,
}

impl Shapes {
    /// Reads the line at the front of `text`, which is no longer than `line_bytes_max`, into a new
    /// row of `rows` that is not ended yet. Returns its length with its line break; `None`: it has
    /// to be read in another way, and nothing of it is in `rows`.
    pub(super) fn read(
        &mut self,
        rows: &mut Rows,
        text: &[u8],
        line_bytes_max: usize,
    ) -> Option<usize> {
        self.is_new = true;
        for i in 0..self.shapes.len() {
            match self.shapes[i].read(text, line_bytes_max, rows.columns_mut()) {
                Ok(length) => {
                    self.shapes[i].is_used = true;
                    if i > 0 {
                        self.shapes.swap(0, i);
                    }
                    return Some(length);
                }
                Err(miss) => {
                    rows.forget_unfinished();
                    if miss == Miss::Value {
                        self.is_new = false;
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Learns from `line`, an object that could not be read by its shape.
    pub(super) fn learn(&mut self, line: &[u8], fields: &Fields) {
        if !self.is_new {
            return;
        }
        if self.lines_to_pass > 0 {
            self.lines_to_pass -= 1;
            return;
        }
        let shape = Shape::of(line, fields);
        let is_of_use = match (&shape, self.shapes.len()) {
            (Some(_), SHAPES_MAX) => self.shapes.pop().is_some_and(|old| old.is_used),
            (shape, _) => shape.is_some(),
        };
        self.lines_passed =
            if is_of_use { 0 } else { (2 * self.lines_passed + 1).min(LINES_PASSED_MAX) };
        self.lines_to_pass = self.lines_passed;
        if let Some(shape) = shape {
            self.shapes.insert(0, shape);
        }
    }
}

/// What stands between the values of a line, and where they go.
struct Shape {
    fields: Vec<Field>,
    end: Separator,
    /// Columns that are not in the line.
    absent: Vec<usize>,
    /// Whether any line after the first had it.
    is_used: bool,
}

struct Field {
    /// From the value before, or the start of the line, to this one.
    before: Separator,
    /// `None`: the value is passed over.
    column: Option<usize>,
}

/// Why a line cannot be read by a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Miss {
    /// It does not have it.
    Shape,
    /// A value is not plain or not of its column's type, or the line is too long.
    Value,
}

impl Shape {
    /// The shape of `line`, an object that the parser took, if all its values are plain.
    fn of(line: &[u8], fields: &Fields) -> Option<Self> {
        let columns = fields.columns();
        let mut found: Vec<Field> = Vec::new();
        let mut absent = vec![true; columns];
        let (mut start, mut at) = (0, 0);
        loop {
            at += scan::space_length(&line[at..]);
            let open = if found.is_empty() { b'{' } else { b',' };
            if line.get(at) != Some(&open) {
                break;
            }
            at += 1;
            at += scan::space_length(&line[at..]);
            let name = scan::plain_text(&line[at..])?;
            at += name.len() + 2;
            at += scan::space_length(&line[at..]);
            at += usize::from(line.get(at) == Some(&b':'));
            at += scan::space_length(&line[at..]);
            let column = fields.column_named(std::str::from_utf8(name).ok()?);
            if let Some(column) = column {
                absent[column] = false;
            }
            found.push(Field { before: Separator::new(&line[start..at]), column });
            at += scan::value_length(&line[at..])?;
            start = at;
        }
        let is_object = line.get(at) == Some(&b'}') && found.len() <= SHAPE_FIELDS_MAX;
        let end = Separator::new(&line[start..]);
        let absent = (0..columns).filter(|&column| absent[column]).collect();
        is_object.then_some(Self { fields: found, end, absent, is_used: false })
    }

    fn read(
        &self,
        text: &[u8],
        line_bytes_max: usize,
        columns: &mut [Column],
    ) -> Result<usize, Miss> {
        let mut at = 0;
        for field in &self.fields {
            at += field.before.length_in(&text[at..]).ok_or(Miss::Shape)?;
            let value = &text[at..];
            let length = match field.column {
                Some(column) => read_value(value, &mut columns[column]),
                None => scan::value_length(value),
            };
            at += length.ok_or(Miss::Value)?;
        }
        at += self.end.length_in(&text[at..]).ok_or(Miss::Shape)?;
        if at > line_bytes_max {
            return Err(Miss::Value);
        }
        at += match text[at..] {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            [] => 0,
            _ => return Err(Miss::Shape),
        };
        for &column in &self.absent {
            columns[column].push_null();
        }
        Ok(at)
    }
}

/// Bytes that a line is compared with.
struct Separator {
    bytes: Box<[u8]>,
    /// The bytes as one number, and which of its bits count, if they are few enough for that.
    word: Option<(u128, u128)>,
}

impl Separator {
    fn new(bytes: &[u8]) -> Self {
        const WORD_BYTES: usize = size_of::<u128>();
        let word = (bytes.len() <= WORD_BYTES).then(|| {
            let (mut word, mut mask) = ([0; WORD_BYTES], [0; WORD_BYTES]);
            word[..bytes.len()].copy_from_slice(bytes);
            mask[..bytes.len()].fill(0xff);
            (u128::from_le_bytes(word), u128::from_le_bytes(mask))
        });
        Self { bytes: bytes.into(), word }
    }

    /// Its length, if it is at the front of `text`.
    #[inline]
    fn length_in(&self, text: &[u8]) -> Option<usize> {
        let is_there = match (self.word, text.first_chunk()) {
            (Some((word, mask)), Some(front)) => (u128::from_le_bytes(*front) ^ word) & mask == 0,
            _ => text.starts_with(&self.bytes),
        };
        is_there.then_some(self.bytes.len())
    }
}

/// The plain value at the front of `json` into `column`; returns its length.
#[inline]
fn read_value(json: &[u8], column: &mut Column) -> Option<usize> {
    match json.first()? {
        b'"' => {
            let text = scan::plain_text(json)?;
            push_plain_text(text, column)?;
            Some(text.len() + 2)
        }
        b'n' if json.starts_with(b"null") => {
            column.push_null();
            Some(4)
        }
        b't' if json.starts_with(b"true") => column.push_boolean(true).ok().map(|()| 4),
        b'f' if json.starts_with(b"false") => column.push_boolean(false).ok().map(|()| 5),
        _ => read_number(json, column),
    }
}

#[inline]
fn push_plain_text(text: &[u8], column: &mut Column) -> Option<()> {
    match column.kind() {
        Kind::Text => column.push_bytes(text).ok(),
        Kind::Decimal { .. } => column.push_text(text).ok(),
        Kind::Nested => None,
        _ => push_text_value(column, text).ok(),
    }
}

#[inline]
fn read_number(json: &[u8], column: &mut Column) -> Option<usize> {
    match column.kind() {
        Kind::Integer { .. } | Kind::Unsigned | Kind::Date | Kind::Time(_) | Kind::Timestamp(_) => {
            let (value, length) = scan::integer(json)?;
            column.push_integer(value).ok().map(|()| length)
        }
        Kind::Real | Kind::Double => {
            let (value, length) = scan::float(json)?;
            column.push_float(value).ok().map(|()| length)
        }
        Kind::Decimal { .. } => {
            let length = scan::number_length(json)?;
            column.push_text(&json[..length]).ok().map(|()| length)
        }
        Kind::Boolean | Kind::Text | Kind::Binary | Kind::Nested | Kind::Cast => None,
    }
}
