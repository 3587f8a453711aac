//! What stands as `${NAME}`, `${NAME:-default}` or `${file:path}` in a pipeline file.
//!
//! Whatever is filled in counts as secret: it is used, never shown. Everything that is shown keeps
//! the reference instead, and [`Secrets::redact`] puts it back where text from elsewhere (a driver's
//! error, say) gives a value away.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

/// The largest file that `${file:path}` takes in.
const FILE_SIZE_MAX: u64 = 1 << 20;

/// Values up to this many bytes are hidden only where they stand alone: hiding each `5` in a log
/// would ruin it and protect nothing.
const SHORT_SECRET: usize = 3;

/// A line of a secret of several lines (a certificate's key) is hidden by itself from this many
/// bytes on.
const SECRET_LINE_MIN: usize = 8;

/// Where values come from.
#[derive(Clone, Default)]
pub struct Vars {
    given: HashMap<String, String>,
    environment: bool,
    /// Stands for what is not there.
    placeholder: Option<&'static str>,
}

/// What stands for a value that is known elsewhere only.
const PLACEHOLDER: &str = "unset";

impl Vars {
    /// From the environment of the process.
    pub fn environment() -> Self {
        Self { environment: true, ..Self::default() }
    }

    /// From the environment; what is not in it has some value or other, as files have. For pipelines
    /// that are read elsewhere than where they run, and not run.
    pub fn placeholders() -> Self {
        Self { environment: true, placeholder: Some(PLACEHOLDER), ..Self::default() }
    }

    /// From `given`; what is not in it from the environment.
    pub fn with(given: HashMap<String, String>) -> Self {
        Self { given, environment: true, placeholder: None }
    }

    /// From `given` and nowhere else.
    pub fn only(given: HashMap<String, String>) -> Self {
        Self { given, environment: false, placeholder: None }
    }

    fn get(&self, name: &str) -> Option<String> {
        let given = self.given.get(name).cloned();
        given.or_else(|| self.environment.then(|| std::env::var(name).ok()).flatten())
    }

    /// `text` with everything filled in (`None` if there is nothing to fill in), and what is wrong.
    /// `secrets` learns the values.
    pub(crate) fn fill(
        &self,
        text: &str,
        base_dir: &Path,
        secrets: &mut Secrets,
    ) -> (Option<String>, Vec<Wrong>) {
        if !text.contains('$') {
            return (None, Vec::new());
        }
        let mut filled = String::with_capacity(text.len());
        let mut wrong = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("$$") {
                filled.push('$');
                rest = after;
            } else if let Some(after) = rest.strip_prefix("${") {
                let Some(end) = after.find('}') else {
                    wrong.push(Wrong::unclosed(rest));
                    break;
                };
                let reference = &rest[..end + 3];
                match self.look_up(reference, &after[..end], base_dir) {
                    Ok(value) => {
                        filled.push_str(value.text());
                        if let Looked::Up(value) = value {
                            secrets.add(value, reference);
                        }
                    }
                    Err(problem) => wrong.push(problem),
                }
                rest = &after[end + 1..];
            } else {
                filled.push('$');
                rest = &rest[1..];
            }
        }
        filled.push_str(rest);
        (Some(filled), wrong)
    }

    fn look_up(&self, reference: &str, inside: &str, base_dir: &Path) -> Result<Looked, Wrong> {
        if let Some(path) = inside.strip_prefix("file:") {
            let text = match (read(&base_dir.join(path.trim())), self.placeholder) {
                (Err(_), Some(placeholder)) => Ok(placeholder.to_owned()),
                (text, _) => text,
            };
            return text
                .map(Looked::Up)
                .map_err(|why| Wrong::unreadable(reference, path.trim(), &why));
        }
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_name(name) {
            return Err(Wrong::not_a_name(reference, name));
        }
        match (self.get(name), default) {
            (Some(value), None) => Ok(Looked::Up(value)),
            // As in a shell, `:-` also stands in for an empty value.
            (Some(value), Some(_)) if !value.is_empty() => Ok(Looked::Up(value)),
            (_, Some(default)) => Ok(Looked::Default(default.to_owned())),
            (None, None) => match self.placeholder {
                Some(placeholder) => Ok(Looked::Default(placeholder.to_owned())),
                None => Err(Wrong::unset(reference, name)),
            },
        }
    }
}

/// A value, and whether it may be shown.
enum Looked {
    Up(String),
    /// It stands in the file for all to see.
    Default(String),
}

impl Looked {
    fn text(&self) -> &str {
        match self {
            Self::Up(text) | Self::Default(text) => text,
        }
    }
}

/// A reference that cannot be filled in.
pub(crate) struct Wrong {
    pub(crate) reference: String,
    pub(crate) message: String,
    pub(crate) label: Option<String>,
    pub(crate) hint: String,
}

impl Wrong {
    fn unclosed(rest: &str) -> Self {
        let reference = rest.lines().next().unwrap_or_default();
        Self {
            reference: reference.to_owned(),
            message: "a `}` is missing after `${`".to_owned(),
            label: None,
            hint: "write `${NAME}`; if `${` is meant as it stands, write `$${`".to_owned(),
        }
    }

    fn not_a_name(reference: &str, name: &str) -> Self {
        Self {
            reference: reference.to_owned(),
            message: format!("`{name}` cannot be the name of an environment variable"),
            label: None,
            hint: "a name has letters, digits and `_`: `${NAME}`, `${NAME:-default}` or \
                   `${file:path}`; if `${` is meant as it stands, write `$${`"
                .to_owned(),
        }
    }

    fn unset(reference: &str, name: &str) -> Self {
        Self {
            reference: reference.to_owned(),
            message: format!("the environment variable `{name}` is not set"),
            label: None,
            hint: format!("set it (`export {name}=...`) or give a default: `${{{name}:-default}}`"),
        }
    }

    fn unreadable(reference: &str, path: &str, why: &str) -> Self {
        Self {
            reference: reference.to_owned(),
            message: format!("the file `{path}` cannot be read"),
            label: Some(why.to_owned()),
            hint: "the path is relative to the pipeline file".to_owned(),
        }
    }
}

fn is_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(first) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The text of a file without the newline at its end.
fn read(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let mut limited = file.take(FILE_SIZE_MAX + 1);
    limited.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_SIZE_MAX {
        return Err(format!("it is larger than {} MiB", FILE_SIZE_MAX >> 20));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// The values that were filled in, and what stands in the pipeline file instead of each.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Longest first, so that a value that contains another one is hidden as a whole.
    values: Vec<(String, String)>,
}

impl Secrets {
    pub(crate) fn add(&mut self, value: String, reference: &str) {
        let lines: Vec<_> = value.lines().filter(|line| line.len() >= SECRET_LINE_MIN).collect();
        if lines.len() > 1 {
            for line in lines {
                self.add_one(line.to_owned(), reference);
            }
        }
        // How a value looks inside of JSON or of a debug print.
        let escaped = serde_json::Value::from(value.as_str()).to_string();
        let escaped = escaped[1..escaped.len() - 1].to_owned();
        self.add_one(value, reference);
        self.add_one(escaped, reference);
    }

    fn add_one(&mut self, value: String, reference: &str) {
        if value.is_empty() || self.values.iter().any(|(known, _)| *known == value) {
            return;
        }
        let at = self.values.partition_point(|(known, _)| known.len() >= value.len());
        self.values.insert(at, (value, reference.to_owned()));
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// `text` with the reference (`${NAME}`) in place of every value that was filled in.
    pub fn redact(&self, text: &str) -> String {
        let mut redacted = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let before = redacted.chars().next_back();
            let found = self.values.iter().find(|(value, _)| {
                rest.strip_prefix(value.as_str())
                    .is_some_and(|after| hides(value, before, after.chars().next()))
            });
            match found {
                Some((value, reference)) => {
                    redacted.push_str(reference);
                    rest = &rest[value.len()..];
                }
                None => {
                    redacted.push(next);
                    rest = &rest[next.len_utf8()..];
                }
            }
        }
        redacted
    }
}

fn hides(value: &str, before: Option<char>, after: Option<char>) -> bool {
    let in_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    value.len() > SHORT_SECRET || !(in_word(before) || in_word(after))
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.values.iter().map(|(_, reference)| reference)).finish()
    }
}

impl std::fmt::Debug for Vars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.given.keys()).finish()
    }
}

#[cfg(test)]
mod tests;
