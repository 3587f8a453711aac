//! `syncline.yaml`: read, checked, and turned into types.
//!
//! On its way the text becomes a [`tree`] with positions, is checked against the [`schema`] by
//! [`validate`], then for what a schema cannot say by [`check`], and ends as a [`spec`]. All
//! problems are found in one go; each says where it is and what to do.

mod check;
mod nearest;
mod positions;
pub mod problem;
pub mod reference;
pub mod schema;
pub mod spec;
mod syntax;
pub(crate) mod tree;
mod unit;
mod validate;

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use syncline_change::Error;

pub use nearest::nearest;
pub use positions::Positions;
pub use problem::{Problem, Severity, render};
pub use schema::json_schema;
pub use spec::PipelineSpec;
pub use tree::Span;

use crate::vars::{Secrets, Vars};

/// What a pipeline file is called if nobody says otherwise.
pub const FILE_NAME: &str = "syncline.yaml";

/// Larger files are refused: whoever has one has named the wrong file.
const FILE_SIZE_MAX: u64 = 4 << 20;

/// A pipeline file that may run, and where everything in it stands.
#[derive(Clone)]
pub struct Pipeline {
    /// What the file says, with variables filled in: **not to be shown**.
    pub spec: PipelineSpec,
    /// The file, if it came from one.
    pub path: Option<PathBuf>,
    /// What relative paths in the file are relative to.
    pub base_dir: PathBuf,
    /// The file as it is written, `${NAME}` and all.
    pub text: String,
    pub positions: Positions,
    /// What was filled in.
    pub secrets: Secrets,
    /// What can run but is hardly meant.
    pub warnings: Vec<Problem>,
}

impl Pipeline {
    /// Reads the pipeline file at `path`, or the nearest `syncline.yaml`: here or in a folder above.
    ///
    /// # Errors
    /// If there is no such file, or if anything is wrong with it.
    pub fn load(path: Option<&Path>, vars: &Vars) -> Result<Self, LoadError> {
        let found;
        let path = match path {
            Some(path) => path,
            None => {
                let here = std::env::current_dir().map_err(|e| Error::io("find", ".", e))?;
                found = find(&here)?;
                &found
            }
        };
        let text = read(path)?;
        let base_dir = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Self::read(&text, Some(path), &base_dir, vars)
    }

    /// Reads `text` as a pipeline file in `base_dir`.
    ///
    /// # Errors
    /// If anything is wrong with it.
    pub fn parse(text: &str, base_dir: &Path, vars: &Vars) -> Result<Self, LoadError> {
        Self::read(text, None, base_dir, vars)
    }

    fn read(
        text: &str,
        path: Option<&Path>,
        base_dir: &Path,
        vars: &Vars,
    ) -> Result<Self, LoadError> {
        let file_name = path.map_or(FILE_NAME.to_owned(), |path| path.display().to_string());
        // Some editors write a byte order mark; it is no part of the text.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let invalid = |mut problems: Vec<Problem>| {
            problems.sort_by_key(|problem| (problem.line, problem.column));
            LoadError::Invalid(Report {
                file_name: file_name.clone(),
                text: text.to_owned(),
                problems,
            })
        };
        let tree::Parsed { root, mut problems } = tree::parse(text);
        let Some(mut root) = root else {
            if problems.is_empty() {
                problems.push(empty_file());
            }
            return Err(invalid(problems));
        };
        let mut secrets = Secrets::default();
        root.fill(vars, base_dir, text, "", &mut secrets, &mut problems);
        if root.is_null() {
            problems.push(empty_file());
            return Err(invalid(problems));
        }
        let positions = Positions::of(&root);
        let checked = validate::validate(&root, schema::schema());
        problems.extend(checked.problems);
        problems.extend(check::check(&root, &checked.json, &positions));
        for problem in &mut problems {
            if problem.label.is_none() && positions.is_filled(&problem.path) {
                problem.label = Some("what is filled in here does not fit".to_owned());
            }
        }
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            // Warnings would stand in the way of what must be mended.
            problems.retain(|problem| problem.severity == Severity::Error);
            return Err(invalid(problems));
        }
        let spec = serde_json::from_value(checked.json).map_err(|error| {
            // The schema and the types are one; if they ever differ, this says so.
            let why = secrets.redact(&error.to_string());
            Error::bug(format!("{file_name} was checked and cannot be taken")).detail(why)
        })?;
        problems.sort_by_key(|problem| (problem.line, problem.column));
        Ok(Self {
            spec,
            path: path.map(Path::to_owned),
            base_dir: base_dir.to_owned(),
            text: text.to_owned(),
            positions,
            secrets,
            warnings: problems,
        })
    }

    /// What errors call the file.
    pub fn file_name(&self) -> String {
        self.path.as_ref().map_or(FILE_NAME.to_owned(), |path| path.display().to_string())
    }

    /// `path` from the pipeline file, relative to it.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.base_dir.join(path)
    }

    /// Where the pipeline keeps its data.
    pub fn data_dir(&self) -> PathBuf {
        self.resolve(&self.spec.run.data_dir)
    }

    /// Where the lock of the pipeline is: beside its file, whatever that is called.
    pub fn lock_path(&self) -> PathBuf {
        let path = self.path.clone().unwrap_or_else(|| self.base_dir.join(FILE_NAME));
        path.with_extension("lock")
    }

    /// The path of a view's SQL in the file: `views.NAME` or `views.NAME.sql`.
    pub fn view_path(&self, view: &str) -> String {
        let path = tree::child("views", view);
        let settings = tree::child(&path, "sql");
        if self.positions.has(&settings) { settings } else { path }
    }

    /// The text at `path` as the file has it, with `${NAME}` and not its value: for whatever is
    /// shown, and for fingerprints.
    pub fn raw_text(&self, path: &str) -> Option<&str> {
        self.positions.raw(path)
    }

    /// Line and column, from 1, of the value at `path` (`sources.flights.format`, `tests[0].name`);
    /// of its key if the value is a list or a mapping.
    pub fn position_of(&self, path: &str) -> Option<(usize, usize)> {
        self.positions.value(path).map(|span| (span.line, span.column))
    }

    /// Line and column, from 1, in the file of a place in the text at `path`: (`line`, `column`) from
    /// 1, in characters, in the text as it is used. Where the file has other characters than the text
    /// (escapes, filled-in values), the place where the value starts.
    pub fn position_in(&self, path: &str, line: usize, column: usize) -> Option<(usize, usize)> {
        let text = self.text_at(path)?;
        self.positions.within(path, text, (line, column), &self.text)
    }

    /// The SQL at `path`, filled in.
    fn text_at(&self, path: &str) -> Option<&str> {
        let views = self.spec.views.iter();
        let views = views.map(|(name, view)| (self.view_path(name), view.sql.as_str()));
        let alerts = self.spec.alerts.iter().map(|(name, alert)| {
            (tree::child(&tree::child("alerts", name), "when"), alert.when.as_str())
        });
        views.chain(alerts).find(|(known, _)| known == path).map(|(_, text)| text)
    }

    /// Something wrong with the value at `path` that was found later, by the engine or a connector.
    /// `place` is a line and column in that value's text, if it is known more exactly.
    pub fn problem(
        &self,
        path: &str,
        place: Option<(usize, usize)>,
        message: impl Into<String>,
    ) -> Problem {
        let whole = self.positions.value(path).unwrap_or(Span::START);
        let exact = place.and_then(|(line, column)| self.position_in(path, line, column));
        let span = match exact {
            Some((line, column)) if (line, column) != (whole.line, whole.column) => {
                Span { line, column, length: self.word_length(line, column), offset: 0 }
            }
            _ => whole,
        };
        Problem::at(span, path, self.secrets.redact(&message.into()))
    }

    fn word_length(&self, line: usize, column: usize) -> usize {
        let line = self.text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let rest = line.chars().skip(column.saturating_sub(1));
        rest.take_while(|c| c.is_alphanumeric() || *c == '_').count().max(1)
    }

    /// `problems` as an error that shows the lines they are about, and nothing that was filled in.
    pub fn report(&self, mut problems: Vec<Problem>) -> LoadError {
        for problem in &mut problems {
            for text in problem.texts_mut() {
                *text = self.secrets.redact(text);
            }
        }
        problems.sort_by_key(|problem| (problem.line, problem.column));
        let (file_name, text) = (self.file_name(), self.text.clone());
        LoadError::Invalid(Report { file_name, text, problems })
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The specification has secrets in it.
        f.debug_struct("Pipeline").field("name", &self.spec.name).field("path", &self.path).finish()
    }
}

/// A pipeline file that cannot be used.
#[derive(Debug)]
pub enum LoadError {
    /// It cannot be found or read.
    Unreadable(Error),
    /// It is there, and wrong.
    Invalid(Report),
}

/// What is wrong with a file, with what it takes to show it.
#[derive(Debug)]
pub struct Report {
    pub file_name: String,
    pub text: String,
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => f.write_str(&error.report()),
            Self::Invalid(report) => {
                f.write_str(render(&report.problems, &report.file_name, &report.text).trim_end())
            }
        }
    }
}

impl std::error::Error for LoadError {}

impl From<Error> for LoadError {
    fn from(error: Error) -> Self {
        Self::Unreadable(error)
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unreadable(error) => error,
            LoadError::Invalid(report) => {
                problem::to_error(&report.problems, &report.file_name, &report.text)
            }
        }
    }
}

fn empty_file() -> Problem {
    Problem::at(Span::START, "", "the file is empty")
        .hint("`syncline init` writes a commented pipeline to start from")
}

/// The pipeline file in `here` or the nearest folder above that has one.
fn find(here: &Path) -> Result<PathBuf, Error> {
    let found = here.ancestors().map(|folder| folder.join(FILE_NAME)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let looked: Vec<String> = here.ancestors().map(|dir| dir.display().to_string()).collect();
        Error::config(format!("there is no {FILE_NAME}"))
            .detail(format!("looked in {}", looked.join(", ")))
            .hint("name a file, go to its folder, or make one with `syncline init`")
    })
}

fn read(path: &Path) -> Result<String, Error> {
    let unreadable = |error| match std::io::Error::kind(&error) {
        std::io::ErrorKind::NotFound => {
            Error::config(format!("there is no pipeline file {}", path.display()))
                .hint("check the path, or make one with `syncline init`")
        }
        std::io::ErrorKind::IsADirectory => {
            Error::config(format!("{} is a folder", path.display()))
                .hint(format!("name the file in it: {}", path.join(FILE_NAME).display()))
        }
        _ => Error::io("read", path, error),
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_SIZE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_SIZE_MAX {
        return Err(Error::config(format!("{} is too large", path.display()))
            .detail(format!("a pipeline file has at most {} MiB", FILE_SIZE_MAX >> 20))
            .hint("check that this is the pipeline file and not its data"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::config(format!("{} is not UTF-8 text", path.display()))
            .detail(format!("line {line} has a byte that is none"))
            .hint("save the file as UTF-8")
    })
}

#[cfg(test)]
mod tests;
