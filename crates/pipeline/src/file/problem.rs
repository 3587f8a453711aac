//! What is wrong with a pipeline file, and how a terminal shows it.

use std::fmt::Write as _;

use syncline_change::Error;

use super::tree::Span;

/// How many problems are shown: who has more than that mends these first.
pub const PROBLEMS_SHOWN_MAX: usize = 20;

/// Longer lines are shown in part, around the place that is meant.
const LINE_SHOWN_MAX: usize = 120;
/// How much of a long line is shown before that place.
const LINE_SHOWN_BEFORE: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The pipeline cannot run.
    Error,
    /// The pipeline can run, but hardly as it was meant.
    Warning,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Characters to underline; at least 1.
    pub length: usize,
    /// The place by its keys: `sources.flights.format`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// A few words beside the underlined place: what to write instead.
    pub label: Option<String>,
    /// What to do, or what there is to choose from.
    pub hint: Option<String>,
}

impl Problem {
    pub(crate) fn at(span: Span, path: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            line: span.line,
            column: span.column,
            length: span.length.max(1),
            path: path.to_owned(),
            message: message.into(),
            label: None,
            hint: None,
        }
    }

    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// All that is said, except for the place.
    pub(crate) fn texts_mut(&mut self) -> impl Iterator<Item = &mut String> {
        let Self { message, label, hint, .. } = self;
        [Some(message), label.as_mut(), hint.as_mut()].into_iter().flatten()
    }

    pub(crate) fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Writes the problem; without its hint if that was read a moment ago.
    fn write(
        &self,
        file_name: &str,
        text: &str,
        hint: Option<&str>,
        out: &mut String,
    ) -> std::fmt::Result {
        let severity = if self.severity == Severity::Warning { "warning: " } else { "" };
        writeln!(out, "{file_name}:{}:{}: {severity}{}", self.line, self.column, self.message)?;
        let line = text.lines().nth(self.line.saturating_sub(1)).unwrap_or_default();
        let shown = Excerpt::of(line, self.column, self.length);
        writeln!(out, "  {:>4} | {}", self.line, shown.line)?;
        let carets = "^".repeat(shown.length);
        let label = self.label.as_deref().unwrap_or_default();
        writeln!(out, "{}", format!("       | {}{carets} {label}", shown.indent).trim_end())?;
        if let Some(hint) = hint {
            writeln!(out, "  hint: {}", hint.replace('\n', "\n        "))?;
        }
        Ok(())
    }
}

/// The part of a line that is shown, and what stands under it.
struct Excerpt {
    line: String,
    /// As wide as what stands before the place, so that the carets stand under it.
    indent: String,
    length: usize,
}

impl Excerpt {
    fn of(line: &str, column: usize, length: usize) -> Self {
        let chars: Vec<char> = line.chars().collect();
        let at = column.saturating_sub(1).min(chars.len());
        let long = chars.len() > LINE_SHOWN_MAX;
        let from = if long { at.saturating_sub(LINE_SHOWN_BEFORE) } else { 0 };
        let to = if long { (from + LINE_SHOWN_MAX).min(chars.len()) } else { chars.len() };
        let before = if from > 0 { "…" } else { "" };
        let after = if to < chars.len() { "…" } else { "" };
        // A tab is as wide as the terminal makes it: only another tab is as wide.
        let indent = chars[from..at].iter().map(|c| if *c == '\t' { '\t' } else { ' ' });
        let indent = before.chars().map(|_| ' ').chain(indent).collect();
        // Anything else that moves the cursor would spoil the picture, or the terminal.
        let shown: String =
            chars[from..to].iter().map(|c| if is_control(*c) { '·' } else { *c }).collect();
        let length = length.clamp(1, (to - at).max(1));
        Self { line: format!("{before}{shown}{after}"), indent, length }
    }
}

fn is_control(c: char) -> bool {
    c.is_control() && c != '\t'
}

/// `problems` as a terminal shows them, with the lines of `text` that they are about.
pub fn render(problems: &[Problem], file_name: &str, text: &str) -> String {
    let mut out = String::new();
    for (i, problem) in problems.iter().take(PROBLEMS_SHOWN_MAX).enumerate() {
        if i > 0 {
            out.push('\n');
        }
        let before = i.checked_sub(1).and_then(|before| problems[before].hint.as_deref());
        let hint = problem.hint.as_deref().filter(|hint| before != Some(hint));
        // Writing to a String cannot fail.
        let _ = problem.write(file_name, text, hint, &mut out);
    }
    if let Some(more) = problems.len().checked_sub(PROBLEMS_SHOWN_MAX).filter(|more| *more > 0) {
        let _ = writeln!(out, "\n... and {more} more");
    }
    out
}

/// `problems` as one error of kind `Config`.
pub fn to_error(problems: &[Problem], file_name: &str, text: &str) -> Error {
    let message = match problems.len() {
        1 => format!("{file_name} has a problem"),
        count => format!("{file_name} has {count} problems"),
    };
    Error::config(message).detail(render(problems, file_name, text).trim_end().to_owned())
}
