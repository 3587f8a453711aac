//! Comma-separated values, quoted as RFC 4180 has it.

use arrow::datatypes::SchemaRef;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use syncline_change::source::RejectClass;
use syncline_change::{Error, Result};

use super::column::{Kind, quoted};
use super::rows::{Fault, Rows, too_long, trim_line_end};
use super::{Decoded, Input, RowDecoder, byte_order_mark, unknown_name};
use crate::file::CsvConfig;

/// Decodes CSV into rows of one schema. Columns are found by the names in the file's header, or by
/// their order if there is none; fields that no column is named after are passed over.
pub struct CsvDecoder {
    rows: Rows,
    nulls: Nulls,
    config: CsvConfig,
    row_bytes_max: usize,
    tokens: Tokens,
    layout: Layout,
}

/// Where the current file has its columns.
#[derive(Clone, Debug, Default)]
struct Layout {
    /// The header as it is in the file.
    header: Option<String>,
    /// Fields in each row.
    fields: usize,
    /// For each column of the schema the field that it is in.
    field_of: Vec<usize>,
    /// For each field whether it has to be text.
    is_text: Vec<bool>,
}

impl Layout {
    fn new(rows: &Rows, header: Option<String>, fields: usize, field_of: Vec<usize>) -> Self {
        let mut is_text = vec![false; fields];
        for (column, &field) in field_of.iter().enumerate() {
            is_text[field] = rows.column(column).kind() != Kind::Binary;
        }
        Self { header, fields, field_of, is_text }
    }
}

/// What stands for NULL.
#[derive(Clone)]
struct Nulls {
    values: Vec<Vec<u8>>,
    only_empty: bool,
}

impl Nulls {
    fn new(values: &[String]) -> Self {
        let only_empty = values.iter().all(String::is_empty) && !values.is_empty();
        Self { values: values.iter().map(|v| v.as_bytes().to_vec()).collect(), only_empty }
    }

    fn contain(&self, field: &[u8]) -> bool {
        if self.only_empty {
            field.is_empty()
        } else {
            self.values.iter().any(|value| value == field)
        }
    }
}

impl CsvDecoder {
    /// # Errors
    /// `Config` if a column of the primary key is not in the schema, or the delimiter is not one
    /// ASCII character.
    pub fn new(
        schema: SchemaRef,
        primary_key: &[String],
        config: &CsvConfig,
        row_bytes_max: usize,
    ) -> Result<Self> {
        let columns = schema.fields().len();
        let rows = Rows::new(schema, primary_key)?;
        let layout = Layout::new(&rows, None, columns, (0..columns).collect());
        let nulls = Nulls::new(&config.null_values);
        let tokens = Tokens::new(config)?;
        Ok(Self { rows, nulls, config: config.clone(), row_bytes_max, tokens, layout })
    }

    /// Takes `line` as the header of what is decoded from now on.
    ///
    /// # Errors
    /// `Input` if a column of the schema is not in it.
    pub fn set_header(&mut self, line: &str) -> Result<()> {
        let names = header_names(line, &self.config)?;
        let find = |name: &String| {
            names.iter().position(|other| other == name).ok_or_else(|| {
                let message = format!("the header has no column `{name}`");
                unknown_name(message, name, names.iter().map(String::as_str))
                    .detail(format!("the header is: {}", quoted(line)))
            })
        };
        let fields = self.rows.schema().fields();
        let field_of = fields.iter().map(|field| find(field.name())).collect::<Result<_>>()?;
        self.layout = Layout::new(&self.rows, Some(line.to_owned()), names.len(), field_of);
        Ok(())
    }

    /// Takes the next record apart, from `at` in the input. Returns where to go on, `None` if the
    /// record is not complete.
    fn read_record(&mut self, input: &Input<'_>, at: usize) -> Option<usize> {
        let Self { rows, tokens, layout, row_bytes_max, .. } = self;
        let at = at + blank_lines(&input.bytes[at..]);
        let bytes = &input.bytes[at..];
        if bytes.is_empty() {
            return Some(at);
        }
        let (token, length) = tokens.read(bytes, input.at_end);
        // Without the line break, which may not be in sight yet.
        let is_too_long = trim_line_end(&bytes[..length]).len() > *row_bytes_max;
        let first_line = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |newline| newline + 1);
        let has_open_quote = match token {
            // Lines that hang together by nothing but a quote, and too many of them.
            Token::Record | Token::Incomplete => is_too_long && first_line < length,
            Token::OpenQuote => true,
        };
        if has_open_quote {
            tokens.forget_record();
            rows.begin_record(at, at + first_line);
            let limit = syncline_change::units::Size(*row_bytes_max as u64);
            let message = format!("a quote is not closed within {limit}, or before the end");
            rows.refuse(Fault::new(RejectClass::Unparsable, message));
            return Some(at + first_line);
        }
        if token == Token::Incomplete {
            tokens.forget_record();
            return None;
        }
        rows.begin_record(at, at + length);
        let fields = tokens.fields_of_last();
        if is_too_long {
            rows.refuse(too_long(*row_bytes_max));
        } else if fields != layout.fields {
            let message = format!("expected {} fields, found {fields}", layout.fields);
            rows.refuse(Fault::new(RejectClass::Unparsable, message));
        } else if !tokens.last_is_text(|field| layout.is_text[field]) {
            rows.refuse(Fault::new(RejectClass::Unparsable, "not UTF-8 text"));
        } else {
            tokens.keep_record();
            rows.add_row(1);
            return Some(at + length);
        }
        tokens.forget_record();
        Some(at + length)
    }

    /// Reads the values of the records that were kept, column by column.
    fn read_values(&mut self) {
        let Self { rows, nulls, tokens, layout, .. } = self;
        let mut faults = Vec::new();
        for (column, &field) in rows.columns_mut().iter_mut().zip(&layout.field_of) {
            let text_of = |record: usize| tokens.field(record * layout.fields + field);
            let texts = (0..tokens.records).map(text_of);
            let texts = texts.map(|text| (!nulls.contain(text)).then_some(text));
            let mut misfits = Vec::new();
            column.extend_texts(texts, |row, misfit| misfits.push((row, misfit)));
            faults.extend(misfits.into_iter().map(|(row, misfit)| {
                let found = quoted(&String::from_utf8_lossy(text_of(row)));
                (row, Fault::new(RejectClass::WrongType, column.complaint(&found, misfit)))
            }));
        }
        for (row, fault) in faults {
            rows.refuse_row(row, fault);
        }
    }
}

impl RowDecoder for CsvDecoder {
    fn begin_file(&mut self, input: &Input<'_>) -> Result<Option<usize>> {
        let Some(mark) = byte_order_mark(input) else { return Ok(None) };
        if !self.config.header {
            return Ok(Some(mark));
        }
        let start = mark + blank_lines(&input.bytes[mark..]);
        let rest = &input.bytes[start..];
        if rest.is_empty() {
            return Ok(input.at_end.then_some(start));
        }
        let (token, length) = self.tokens.read(rest, input.at_end);
        self.tokens.forget_record();
        match token {
            Token::Record => {}
            Token::Incomplete if length <= self.row_bytes_max => return Ok(None),
            Token::Incomplete | Token::OpenQuote => {
                return Err(Error::input("the header has a quote that is not closed, or no end"));
            }
        }
        let header = std::str::from_utf8(trim_line_end(&rest[..length]))
            .map_err(|error| Error::input("the header is not UTF-8 text").source(error))?;
        self.set_header(header)?;
        Ok(Some(start + length))
    }

    fn decode_front(&mut self, input: &Input<'_>) -> Result<Decoded> {
        self.rows.reserve(input);
        self.tokens.clear();
        let mut at = 0;
        while at < input.bytes.len() && self.rows.records() < input.rows_max {
            match self.read_record(input, at) {
                Some(next) => at = next,
                None => break,
            }
        }
        self.read_values();
        let lines = memchr::memchr_iter(b'\n', &input.bytes[..at]).count() as u64;
        self.rows.finish(input, at, lines, self.layout.header.as_deref())
    }

    fn fork(&self) -> Box<dyn RowDecoder> {
        Box::new(Self {
            rows: self.rows.fork(),
            nulls: self.nulls.clone(),
            config: self.config.clone(),
            row_bytes_max: self.row_bytes_max,
            tokens: Tokens::delimited_by(self.tokens.delimiter),
            layout: self.layout.clone(),
        })
    }
}

/// The names in a header line.
///
/// # Errors
/// `Input` if it is not one line of CSV; `Config` if the delimiter is not one ASCII character.
pub fn header_names(line: &str, config: &CsvConfig) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut tokens = Tokens::new(config)?;
    let (token, length) = tokens.read(line.as_bytes(), true);
    if token != Token::Record || length < line.trim_ascii_end().len() {
        return Err(Error::input(format!("the header is not one line of CSV: {line}")));
    }
    let fields = tokens.fields_of_last();
    tokens.keep_record();
    for field in 0..fields {
        names.push(String::from_utf8_lossy(tokens.field(field)).trim().to_owned());
    }
    Ok(names)
}

/// Calls `row` with the fields of each whole record of `input` that comes after its header.
pub(super) fn each_record(
    input: &Input<'_>,
    config: &CsvConfig,
    mut row: impl FnMut(&[&[u8]]),
) -> Result<()> {
    let mut tokens = Tokens::new(config)?;
    let mut at = 0;
    for _ in 0..input.rows_max {
        at += blank_lines(&input.bytes[at..]);
        if at == input.bytes.len() {
            break;
        }
        let (token, length) = tokens.read(&input.bytes[at..], input.at_end);
        if token != Token::Record {
            break;
        }
        let fields = tokens.fields_of_last();
        tokens.keep_record();
        row(&(0..fields).map(|field| tokens.field(field)).collect::<Vec<_>>());
        tokens.clear();
        at += length;
    }
    Ok(())
}

fn blank_lines(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| matches!(b, b'\n' | b'\r')).count()
}

/// What was found at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// A whole record.
    Record,
    /// The bytes end before the record does.
    Incomplete,
    /// The input ends inside of quotes.
    OpenQuote,
}

/// Records taken apart into fields.
struct Tokens {
    reader: Reader,
    delimiter: u8,
    /// The content of all fields, one after the other; room for more behind `bytes_used`.
    bytes: Vec<u8>,
    bytes_used: usize,
    /// Where each field ends in `bytes`, with a zero before the first; room for more behind
    /// `ends_used`.
    ends: Vec<usize>,
    ends_used: usize,
    /// Records kept.
    records: usize,
    /// Behind the kept records: how much of `bytes` and `ends` the last record takes.
    last_bytes: usize,
    last_fields: usize,
}

impl Tokens {
    fn new(config: &CsvConfig) -> Result<Self> {
        let delimiter = u8::try_from(config.delimiter).ok().filter(u8::is_ascii);
        let delimiter = delimiter.ok_or_else(|| {
            Error::config(format!("`{}` cannot be a delimiter", config.delimiter))
                .hint("use one ASCII character, such as `,` or `;` or a tab")
        })?;
        Ok(Self::delimited_by(delimiter))
    }

    fn delimited_by(delimiter: u8) -> Self {
        let mut made = Self {
            delimiter,
            reader: ReaderBuilder::new().delimiter(delimiter).build(),
            bytes: vec![0; 4096],
            bytes_used: 0,
            ends: vec![0; 256],
            ends_used: 1,
            records: 0,
            last_bytes: 0,
            last_fields: 0,
        };
        made.reset_reader();
        made
    }

    fn clear(&mut self) {
        (self.bytes_used, self.ends_used, self.records) = (0, 1, 0);
        (self.last_bytes, self.last_fields) = (0, 0);
    }

    /// Takes the record at the front of `bytes` apart, which do not begin with a line break.
    /// Returns how long it is, with the line break behind it; if it is not complete, the length of
    /// `bytes`.
    fn read(&mut self, bytes: &[u8], at_end: bool) -> (Token, usize) {
        let mut length = 0;
        loop {
            let rest = &bytes[length..];
            // At the end of the input a line break closes the last record, unless it is in quotes.
            let (feed, is_closing) =
                if rest.is_empty() { (&b"\n"[..], true) } else { (rest, false) };
            if is_closing && !at_end {
                self.reset_reader();
                return (Token::Incomplete, length);
            }
            let to = self.bytes_used + self.last_bytes;
            let (result, read, written, ended) = self.reader.read_record(
                feed,
                &mut self.bytes[to..],
                &mut self.ends[self.ends_used + self.last_fields..],
            );
            if !is_closing {
                length += read;
            }
            self.last_bytes += written;
            self.last_fields += ended;
            match result {
                ReadRecordResult::Record => {
                    let is_crlf = length > 0 && bytes[length - 1] == b'\r';
                    if is_crlf && bytes.get(length) == Some(&b'\n') {
                        length += 1;
                    }
                    return (Token::Record, length);
                }
                ReadRecordResult::OutputFull => self.bytes.resize(self.bytes.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty if is_closing => {
                    self.reset_reader();
                    return (Token::OpenQuote, length);
                }
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::End => return (Token::Record, length),
            }
        }
    }

    /// The reader as it is between two records. Right after a reset it would pass over a byte order
    /// mark, which is for the head of a file alone, so it is given an empty line.
    fn reset_reader(&mut self) {
        self.reader.reset();
        self.reader.read_record(b"\n", &mut [0; 1], &mut [0; 1]);
    }

    fn fields_of_last(&self) -> usize {
        self.last_fields
    }

    /// Whether those fields of the last record that `is_text` tells are UTF-8.
    fn last_is_text(&self, is_text: impl Fn(usize) -> bool) -> bool {
        let bytes = &self.bytes[self.bytes_used..self.bytes_used + self.last_bytes];
        if bytes.is_ascii() {
            return true;
        }
        let ends = &self.ends[self.ends_used..self.ends_used + self.last_fields];
        let mut start = 0;
        ends.iter().enumerate().all(|(field, &end)| {
            let content = &bytes[start..end];
            start = end;
            !is_text(field) || std::str::from_utf8(content).is_ok()
        })
    }

    fn keep_record(&mut self) {
        // The reader counts from the start of the record.
        for end in &mut self.ends[self.ends_used..self.ends_used + self.last_fields] {
            *end += self.bytes_used;
        }
        self.bytes_used += self.last_bytes;
        self.ends_used += self.last_fields;
        self.records += 1;
        (self.last_bytes, self.last_fields) = (0, 0);
    }

    fn forget_record(&mut self) {
        (self.last_bytes, self.last_fields) = (0, 0);
    }

    /// The content of a field, counted over all records that were kept.
    fn field(&self, index: usize) -> &[u8] {
        &self.bytes[self.ends[index]..self.ends[index + 1]]
    }
}

#[cfg(test)]
mod tests;
