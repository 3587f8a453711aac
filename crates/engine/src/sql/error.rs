//! What is wrong with a view's SQL, and where in it.

use datafusion::common::DataFusionError;
use datafusion::common::diagnostic::Diagnostic;
use syncline_change::Error;

/// A place in a view's SQL, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqlPosition {
    pub line: u32,
    pub column: u32,
}

/// Why a view's SQL cannot be planned.
#[derive(Clone, Debug)]
pub struct SqlError {
    pub view: String,
    pub message: String,
    pub hint: Option<String>,
    pub position: Option<SqlPosition>,
}

impl SqlError {
    pub(crate) fn new(view: &str, message: impl Into<String>) -> Self {
        Self { view: view.to_owned(), message: message.into(), hint: None, position: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What DataFusion says, with its place in the text where it knows one.
    pub(crate) fn from_datafusion(view: &str, error: &DataFusionError) -> Self {
        let mut made = Self::new(view, plain_words(error));
        if let Some(diagnostic) = error.diagnostic() {
            made.add(diagnostic);
        }
        if made.position.is_none() {
            made.take_position_from_message();
        }
        made
    }

    fn add(&mut self, diagnostic: &Diagnostic) {
        self.message = diagnostic.message.clone();
        self.position = diagnostic.span.and_then(|span| {
            let line = u32::try_from(span.start.line).ok().filter(|&line| line > 0)?;
            Some(SqlPosition { line, column: u32::try_from(span.start.column).ok()? })
        });
        let advice = diagnostic.helps.iter().map(|help| &help.message);
        let notes = diagnostic.notes.iter().map(|note| &note.message);
        let hints: Vec<&str> = advice.chain(notes).map(String::as_str).collect();
        if !hints.is_empty() {
            self.hint = Some(hints.join("; "));
        }
    }

    /// The parser writes its place as text: `... at Line: 1, Column: 8`.
    fn take_position_from_message(&mut self) {
        let Some((before, place)) = self.message.rsplit_once(" at Line: ") else { return };
        let Some((line, column)) = place.split_once(", Column: ") else { return };
        let column: String = column.chars().take_while(char::is_ascii_digit).collect();
        if let (Ok(line), Ok(column)) = (line.trim().parse(), column.parse()) {
            self.position = (line > 0).then_some(SqlPosition { line, column });
            self.message = before.to_owned();
        }
    }
}

/// DataFusion's message without the layers of names it puts before it.
fn plain_words(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => {
            plain_words(inner)
        }
        DataFusionError::Collection(errors) => {
            errors.first().map_or_else(|| error.to_string(), plain_words)
        }
        other => other
            .strip_backtrace()
            .trim_start_matches("SQL error: ParserError(\"")
            .trim_end_matches("\")")
            .to_owned(),
    }
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        let place = error.position.map(|at| format!(" at line {}, column {}", at.line, at.column));
        let message = format!("view `{}`{}", error.view, place.unwrap_or_default());
        let made = Self::config(message).detail(error.message);
        match error.hint {
            Some(hint) => made.hint(hint),
            None => made,
        }
    }
}
