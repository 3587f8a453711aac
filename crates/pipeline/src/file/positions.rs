//! Where everything stands in the file, by its path: for errors that are found later, by the engine
//! or by a connector.

use std::collections::HashMap;

use saphyr_parser::ScalarStyle;

use super::tree::{Node, Span, Value, child};

/// The places of all keys and values of a file.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    places: HashMap<String, Placed>,
}

#[derive(Clone, Debug)]
struct Placed {
    key: Span,
    value: Span,
    /// A scalar's text as it is shown, and how it is written.
    scalar: Option<(String, ScalarStyle)>,
    /// Something was filled in.
    filled: bool,
}

impl Positions {
    pub(super) fn of(root: &Node) -> Self {
        let mut positions = Self::default();
        positions.add("", root.span, root);
        positions
    }

    fn add(&mut self, path: &str, key: Span, node: &Node) {
        let scalar = match &node.value {
            Value::Scalar(scalar) => Some((scalar.raw.clone(), scalar.style)),
            Value::List(_) | Value::Map(_) => None,
        };
        let filled = matches!(&node.value, Value::Scalar(s) if s.filled.is_some() && !s.unknown);
        self.places.insert(path.to_owned(), Placed { key, value: node.span, scalar, filled });
        for (i, item) in node.items().iter().enumerate() {
            self.add(&format!("{path}[{i}]"), item.span, item);
        }
        for entry in node.entries() {
            self.add(&child(path, &entry.key), entry.key_span, &entry.value);
        }
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// The key, or the list item, at `path`.
    pub(super) fn key(&self, path: &str) -> Option<Span> {
        self.places.get(path).map(|placed| placed.key)
    }

    /// What to underline for a value: a scalar itself, the key of anything larger.
    pub(super) fn value(&self, path: &str) -> Option<Span> {
        self.places.get(path).map(|placed| match placed.scalar {
            Some(_) => placed.value,
            None => placed.key,
        })
    }

    /// Whether the value at `path` is not the one that the file shows.
    pub(super) fn is_filled(&self, path: &str) -> bool {
        self.places.get(path).is_some_and(|placed| placed.filled)
    }

    /// The text of the scalar at `path` as the file has it: nothing is filled in.
    pub(super) fn raw(&self, path: &str) -> Option<&str> {
        let (raw, _) = self.places.get(path)?.scalar.as_ref()?;
        Some(raw)
    }

    /// Where (`line`, `column`) of the text of the scalar at `path` stands in `file`. Exact in every
    /// style as long as the file has the same characters there; where it has not (escapes, filled-in
    /// values), the place where the scalar starts.
    ///
    /// Indentation and folding change only white space. So the place is found by counting the other
    /// characters, in the text and in the file.
    pub(super) fn within(
        &self,
        path: &str,
        text: &str,
        (line, column): (usize, usize),
        file: &str,
    ) -> Option<(usize, usize)> {
        let placed = self.places.get(path)?;
        let start = (placed.value.line, placed.value.column);
        let (_, style) = placed.scalar.as_ref()?;
        let exact = || {
            let wanted = visible_before(text, line, column)?;
            let from = content_start(file, placed.value, *style)?;
            aligned(text, wanted, file, from)
        };
        Some(exact().unwrap_or(start))
    }
}

/// How many characters that are no white space stand before (`line`, `column`) of `text`.
fn visible_before(text: &str, line: usize, column: usize) -> Option<usize> {
    let mut count = 0;
    for (i, content) in text.split('\n').enumerate() {
        let here = i + 1 == line;
        let taken = if here { column.checked_sub(1)? } else { usize::MAX };
        count += content.chars().take(taken).filter(|c| !c.is_whitespace()).count();
        if here {
            return Some(count);
        }
    }
    None
}

/// The byte at which a scalar's text starts in `file`: behind the quote, below a block's header.
fn content_start(file: &str, span: Span, style: ScalarStyle) -> Option<usize> {
    let (at, first) = file.char_indices().nth(span.offset)?;
    match (style, first) {
        (ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted, _) => Some(at + 1),
        (ScalarStyle::Literal | ScalarStyle::Folded, '|' | '>') => {
            file[at..].find('\n').map(|end| at + end + 1)
        }
        _ => Some(at),
    }
}

/// The line and column of visible character number `wanted` of `text`, which stands in `file` from
/// byte `from` on.
fn aligned(text: &str, wanted: usize, file: &str, from: usize) -> Option<(usize, usize)> {
    let mut text = text.chars().filter(|c| !c.is_whitespace());
    let mut file_chars = file[from..].char_indices().filter(|(_, c)| !c.is_whitespace());
    let mut end = None;
    for _ in 0..wanted {
        let (at, found) = file_chars.next()?;
        if text.next()? != found {
            return None;
        }
        end = Some(from + at + found.len_utf8());
    }
    let at = match (text.next(), file_chars.next()) {
        (Some(next), Some((at, found))) if next == found => from + at,
        (Some(_), _) => return None,
        // Behind the last character: where something is missing.
        (None, _) => end?,
    };
    let before = &file[..at];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
}
