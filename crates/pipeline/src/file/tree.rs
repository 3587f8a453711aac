//! A pipeline file as a tree in which every key and value knows where it stands.
//!
//! YAML is taken as people write configuration in it: one document of mappings, lists and scalars.
//! Anchors, aliases, merge keys and tags are refused: with them, a value does not stand where it is
//! used, and an error could not point at it.

use std::path::Path;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Number, Value as Json};

use super::problem::Problem;
use super::syntax;
use crate::vars::{Secrets, Vars};

/// Deeper files are refused. A pipeline file needs nine levels; walking the tree recurses.
const DEPTH_MAX: usize = 64;

/// Where something stands in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Characters, on its first line.
    pub length: usize,
    /// Characters of the file before it.
    pub(crate) offset: usize,
}

impl Span {
    pub(crate) const START: Self = Self { line: 1, column: 1, length: 1, offset: 0 };

    fn of(span: saphyr_parser::Span) -> Self {
        let (start, end) = (span.start, span.end);
        let length = if start.line() == end.line() { span.len() } else { 1 };
        Self {
            line: start.line().max(1),
            column: start.col() + 1,
            length: length.max(1),
            offset: start.index(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    /// As it is shown: with `${NAME}` in it.
    pub(crate) raw: String,
    /// As it is used, if anything was filled in.
    pub(crate) filled: Option<String>,
    /// Something could not be filled in: what it would be is not known.
    pub(crate) unknown: bool,
    pub(crate) style: ScalarStyle,
}

/// What a plain scalar stands for, by YAML 1.2's core schema.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Meaning {
    Null,
    Bool(bool),
    Number(Number),
    /// `.nan`, `.inf`: numbers that JSON does not have.
    NotFinite(f64),
    Text,
}

impl Scalar {
    pub(crate) fn text(&self) -> &str {
        self.filled.as_deref().unwrap_or(&self.raw)
    }

    pub(crate) fn meaning(&self) -> Meaning {
        if self.style == ScalarStyle::Plain { meaning(self.text()) } else { Meaning::Text }
    }
}

impl Node {
    pub(crate) fn entries(&self) -> &[Entry] {
        if let Value::Map(entries) = &self.value { entries } else { &[] }
    }

    pub(crate) fn items(&self) -> &[Node] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Nothing stands there, or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.meaning() == Meaning::Null)
    }

    /// The value as JSON, wherever the file may say anything (rows of tests).
    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect()
            }
            Value::Scalar(scalar) => match scalar.meaning() {
                Meaning::Null => Json::Null,
                Meaning::Bool(value) => Json::Bool(value),
                Meaning::Number(number) => Json::Number(number),
                // The names that rows as JSON have for them everywhere.
                Meaning::NotFinite(value) if value.is_nan() => Json::from("NaN"),
                Meaning::NotFinite(value) if value > 0.0 => Json::from("Infinity"),
                Meaning::NotFinite(_) => Json::from("-Infinity"),
                Meaning::Text => Json::from(scalar.text()),
            },
        }
    }

    /// Fills in `${NAME}` and its like in every scalar below.
    pub(crate) fn fill(
        &mut self,
        vars: &Vars,
        base_dir: &Path,
        text: &str,
        path: &str,
        secrets: &mut Secrets,
        problems: &mut Vec<Problem>,
    ) {
        match &mut self.value {
            Value::Scalar(scalar) => {
                let (filled, wrong) = vars.fill(&scalar.raw, base_dir, secrets);
                scalar.unknown = !wrong.is_empty();
                problems.extend(wrong.into_iter().map(|wrong| {
                    let span = find_after(text, self.span, &wrong.reference);
                    let problem = Problem::at(span, path, wrong.message).hint(wrong.hint);
                    match wrong.label {
                        Some(label) => problem.label(label),
                        None => problem,
                    }
                }));
                scalar.filled = filled;
            }
            Value::List(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    item.fill(vars, base_dir, text, &format!("{path}[{i}]"), secrets, problems);
                }
            }
            Value::Map(entries) => {
                for Entry { key, value, .. } in entries {
                    value.fill(vars, base_dir, text, &child(path, key), secrets, problems);
                }
            }
        }
    }
}

/// The path of `key` below `path`.
pub(crate) fn child(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && !key.contains(|c: char| c == '.' || c == '[' || c.is_control());
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key:?}]"),
    }
}

/// Where `part` stands at or after `from`; `from` itself if it does not (it was written with
/// escapes).
fn find_after(text: &str, from: Span, part: &str) -> Span {
    let Some((start, _)) = text.char_indices().nth(from.offset) else { return from };
    let Some(found) = text[start..].find(part) else { return from };
    let before = &text[..start + found];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Span {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        length: part.chars().count(),
        offset: before.chars().count(),
    }
}

fn meaning(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "true" | "True" | "TRUE" => return Meaning::Bool(true),
        "false" | "False" | "FALSE" => return Meaning::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Meaning::NotFinite(f64::NAN),
        _ => {}
    }
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Meaning::NotFinite(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    integer(text, unsigned).or_else(|| float(text, unsigned)).unwrap_or(Meaning::Text)
}

fn integer(text: &str, unsigned: &str) -> Option<Meaning> {
    let radix = |prefix: &str, radix| {
        let digits = text.strip_prefix(prefix)?;
        let digits = digits.bytes().all(|b| b.is_ascii_alphanumeric()).then_some(digits)?;
        u64::from_str_radix(digits, radix).ok().map(Number::from)
    };
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Some(Meaning::Number(number));
    }
    if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // A number beyond 64 bits falls through to a float.
    let number = text.parse::<u64>().map(Number::from);
    number.or_else(|_| text.parse::<i64>().map(Number::from)).ok().map(Meaning::Number)
}

fn float(text: &str, unsigned: &str) -> Option<Meaning> {
    let starts = unsigned.strip_prefix('.').unwrap_or(unsigned);
    let numeric = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    if !starts.starts_with(|c: char| c.is_ascii_digit()) || !unsigned.bytes().all(numeric) {
        return None;
    }
    let value = text.parse::<f64>().ok()?;
    Some(Number::from_f64(value).map_or(Meaning::NotFinite(value), Meaning::Number))
}

/// What was read: a tree, unless it would not say what the file means, and what is wrong.
pub(crate) struct Parsed {
    pub(crate) root: Option<Node>,
    pub(crate) problems: Vec<Problem>,
}

/// Reads YAML.
pub(crate) fn parse(text: &str) -> Parsed {
    let mut builder = Builder::default();
    // The scanner would take some of them for the end of the file.
    if let Some(problem) = syntax::unprintable(text) {
        return Parsed { root: None, problems: vec![problem] };
    }
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let taken = match event {
            Ok((event, span)) => builder.take(event, Span::of(span)),
            Err(error) => Err(Box::new(syntax::explain(&error, text))),
        };
        if let Err(problem) = taken {
            builder.problems.push(*problem);
            return Parsed { root: None, problems: builder.problems };
        }
    }
    let root = if builder.refused { None } else { builder.root };
    Parsed { root, problems: builder.problems }
}

/// Makes a tree of the parser's events without recursion, so that depth is a limit and no overflow.
#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    problems: Vec<Problem>,
    /// Something stands there whose meaning is not taken: the tree is good for nothing else.
    refused: bool,
}

/// A list or mapping whose end has not come yet.
struct Open {
    span: Span,
    value: Value,
    /// In a mapping: the key whose value comes next.
    key: Option<(String, Span)>,
}

impl Builder {
    /// # Errors
    /// If it is pointless to read on.
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Problem>> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) if self.root.is_some() => {
                let problem = Problem::at(span, "", "a second document starts here");
                let hint = "a pipeline file is one document: remove this `---` and what follows";
                return Err(Box::new(problem.hint(hint)));
            }
            Event::DocumentStart(_) => {}
            Event::Alias(_) => {
                self.refuse(no_anchors(span, "an alias (`*name`)"));
                self.add_scalar(String::new(), ScalarStyle::DoubleQuoted, span);
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.check_properties(span, anchor, tag.is_some());
                self.add_scalar(text.into_owned(), style, span);
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_properties(span, anchor, tag.is_some());
                self.start(span, Value::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                self.check_properties(span, anchor, tag.is_some());
                self.start(span, Value::Map(Vec::new()))?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    self.add(Node { span: open.span, value: open.value });
                }
            }
        }
        Ok(())
    }

    fn refuse(&mut self, problem: Problem) {
        self.problems.push(problem);
        self.refused = true;
    }

    fn check_properties(&mut self, span: Span, anchor: usize, tagged: bool) {
        if anchor > 0 {
            self.refuse(no_anchors(span, "an anchor (`&name`)"));
        }
        if tagged {
            self.refuse(Problem::at(span, "", "a tag (`!name`) stands before this value").hint(
                "pipeline files have no tags; if the value is text that starts with `!`, put \
                     it in quotes",
            ));
        }
    }

    fn start(&mut self, span: Span, value: Value) -> Result<(), Box<Problem>> {
        if self.open.len() >= DEPTH_MAX {
            let problem = Problem::at(span, "", "the file is nested too deeply here");
            return Err(Box::new(problem.hint(format!("{DEPTH_MAX} levels are the limit"))));
        }
        self.open.push(Open { span, value, key: None });
        Ok(())
    }

    fn add_scalar(&mut self, raw: String, style: ScalarStyle, span: Span) {
        self.add(Node {
            span,
            value: Value::Scalar(Scalar { raw, filled: None, unknown: false, style }),
        });
    }

    fn add(&mut self, node: Node) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.value {
            Value::Scalar(_) => {}
            Value::List(items) => items.push(node),
            Value::Map(entries) => match (open.key.take(), node.value) {
                (None, Value::Scalar(key)) => open.key = Some((key.raw, node.span)),
                (None, Value::List(_) | Value::Map(_)) => {
                    open.key = Some((String::new(), node.span));
                    self.refuse(Problem::at(node.span, "", "a key must be text").hint(
                        "text that starts with `{` or `[` must be in quotes: \"{...}\"; so must \
                         `${NAME}` inside of brackets",
                    ));
                }
                (Some((key, key_span)), value) => {
                    let first = entries.iter().find(|entry| entry.key == key);
                    match first.map(|entry| entry.key_span.line) {
                        Some(line) => self.problems.push(
                            Problem::at(key_span, "", format!("the key `{key}` is here twice"))
                                .label(format!("first on line {line}"))
                                .hint("remove one of the two, or give it another name"),
                        ),
                        None => {
                            let value = Node { span: node.span, value };
                            entries.push(Entry { key, key_span, value });
                        }
                    }
                }
            },
        }
    }
}

fn no_anchors(span: Span, what: &str) -> Problem {
    Problem::at(span, "", format!("{what} stands here")).hint(
        "pipeline files have no anchors and aliases: write the value where it is used; if it is \
         text that starts with `&` or `*`, put it in quotes",
    )
}
