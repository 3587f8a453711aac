//! `syncline.lock`: what a pipeline's results depend on besides its file and its input.
//!
//! It stands beside the pipeline file and is committed with it, so it is text that reads and diffs
//! well: plain YAML, sorted, one fact a line, strictly checked when it is read. Nothing that was
//! filled in from the environment is in it.
//!
//! ```yaml
//! format: 1
//! semantics: 2
//! seed: 4242
//! partitions: 64
//! sources:
//!   flights:
//!     id: BIGINT
//!     scheduled: TIMESTAMP
//! views:
//!   delays: 5d41402abc4b2a76b9719d911017c592
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use indexmap::IndexMap;
use serde::Serialize;
use syncline_change::{Error, Result, types};

use crate::file::tree::{self, Node, Value};

/// What the same input and the same lock compute. Raised whenever they would give other bits.
pub const SEMANTICS_VERSION: u32 = 2;

/// Work is split by key into this many parts, whatever the number of workers.
pub const VIRTUAL_PARTITIONS: u32 = syncline_engine::PARTITIONS as u32;

/// How the lock is written. Raised when an older Syncline could not read it.
const FORMAT_VERSION: u32 = 1;

const HEADER: &str = "\
# Written by Syncline. Commit it with the pipeline file: it pins what the results depend on.
";

/// What is pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lock {
    /// The [`SEMANTICS_VERSION`] that the results were computed with.
    pub semantics: u32,
    /// What `random()` and its like start from.
    pub seed: u64,
    /// Virtual partitions.
    pub partitions: u32,
    /// SQL types by column, in the order of the columns, by source.
    pub sources: BTreeMap<String, IndexMap<String, String>>,
    /// Plan fingerprints (hexadecimal) by view.
    pub views: BTreeMap<String, String>,
    /// Hashes (hexadecimal) of built-in tables that results depend on, such as time zones.
    pub tables: BTreeMap<String, String>,
}

impl Lock {
    /// A lock that pins nothing of a pipeline yet.
    pub fn new(seed: u64) -> Self {
        Self {
            semantics: SEMANTICS_VERSION,
            seed,
            partitions: VIRTUAL_PARTITIONS,
            sources: BTreeMap::new(),
            views: BTreeMap::new(),
            tables: BTreeMap::new(),
        }
    }

    /// Pins the columns of a source.
    pub fn set_source(&mut self, source: &str, schema: &Schema) {
        // A type without a SQL name that reads back (a struct) cannot be pinned: it is found anew.
        let is_named = |t| types::parse(&types::name(t)).is_ok_and(|read| read == *t);
        if !schema.fields().iter().all(|field| is_named(field.data_type())) {
            self.sources.remove(source);
            return;
        }
        let columns =
            schema.fields().iter().map(|f| (f.name().clone(), types::name(f.data_type())));
        self.sources.insert(source.to_owned(), columns.collect());
    }

    /// The pinned columns of a source, each nullable.
    ///
    /// # Errors
    /// `Corrupt` if a type is none.
    pub fn source_schema(&self, source: &str) -> Result<Option<SchemaRef>> {
        let Some(columns) = self.sources.get(source) else { return Ok(None) };
        let fields = columns.iter().map(|(column, name)| {
            let kind = types::parse(name).map_err(|error| {
                Error::corrupt(format!("the lock has no possible type for `{source}.{column}`"))
                    .detail(error.message().to_owned())
                    .hint(RESTORE)
            })?;
            Ok(Field::new(column, kind, true))
        });
        Ok(Some(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?))))
    }

    /// The lock at `path`, if there is one.
    ///
    /// # Errors
    /// `Corrupt` if it is not what [`write`](Self::write) writes, `Unsupported` if a newer Syncline
    /// wrote it.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(Error::corrupt(format!("{} is not text", path.display())).hint(RESTORE))
            }
            Err(error) => Err(Error::io("read", path, error)),
        }
    }

    /// Reads the text of a lock; errors call it `file_name`.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn parse(text: &str, file_name: &str) -> Result<Self> {
        let reader = Reader { file_name };
        if let Some(at) = text.lines().position(|line| line.starts_with("<<<<<<< ")) {
            return Err(reader.wrong(at + 1, "a merge conflict is not settled").hint(
                "take either side: what of it does not fit the pipeline file is pinned again by \
                 the next run",
            ));
        }
        let parsed = tree::parse(text);
        if let Some(problem) = parsed.problems.first() {
            return Err(reader.wrong(problem.line, &problem.message).hint(RESTORE));
        }
        let Some(root) = parsed.root else { return Err(reader.wrong(1, "it is empty")) };
        reader.lock(&root)
    }

    /// The lock as it is written.
    pub fn to_text(&self) -> String {
        let mut text = HEADER.to_owned();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "format: {FORMAT_VERSION}");
        let _ = writeln!(text, "semantics: {}", self.semantics);
        let _ = writeln!(text, "seed: {}", self.seed);
        let _ = writeln!(text, "partitions: {}", self.partitions);
        if !self.sources.is_empty() {
            text.push_str("sources:\n");
            for (source, columns) in &self.sources {
                let empty = if columns.is_empty() { " {}" } else { "" };
                let _ = writeln!(text, "  {}:{empty}", scalar(source));
                for (column, name) in columns {
                    let _ = writeln!(text, "    {}: {}", scalar(column), scalar(name));
                }
            }
        }
        for (section, hashes) in [("views", &self.views), ("tables", &self.tables)] {
            if !hashes.is_empty() {
                let _ = writeln!(text, "{section}:");
                for (name, hash) in hashes {
                    let _ = writeln!(text, "  {}: {}", scalar(name), scalar(hash));
                }
            }
        }
        text
    }

    /// Writes the lock to `path`, as a whole or not at all, and only if it differs from what is
    /// there. Whether it did.
    pub fn write(&self, path: &Path) -> Result<bool> {
        let text = self.to_text();
        if std::fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(false);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let replaced = write_synced(&beside, &text).and_then(|()| std::fs::rename(&beside, path));
        replaced.map_err(|error| {
            // A half-written neighbour is of no use; that it stays would not matter either.
            let _ = std::fs::remove_file(&beside);
            Error::io("write", path, error)
        })?;
        Ok(true)
    }

    /// What differs in `new`, a sentence each.
    pub fn diff(&self, new: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.semantics != new.semantics {
            lines.push(format!(
                "the semantics version was {} and is {}: the same input can give other results",
                self.semantics, new.semantics
            ));
        }
        if self.seed != new.seed {
            lines.push(format!("the seed was {} and is {}", self.seed, new.seed));
        }
        if self.partitions != new.partitions {
            let (old, new) = (self.partitions, new.partitions);
            lines.push(format!("there were {old} virtual partitions and are {new}"));
        }
        for (source, (old, new)) in paired(&self.sources, &new.sources) {
            match (old, new) {
                (None, Some(_)) => lines.push(format!("source `{source}` is new")),
                (Some(_), None) => lines.push(format!("source `{source}` is gone")),
                (Some(old), Some(new)) => diff_columns(source, old, new, &mut lines),
                (None, None) => {}
            }
        }
        for (what, old, new) in
            [("view", &self.views, &new.views), ("table", &self.tables, &new.tables)]
        {
            for (name, pair) in paired(old, new) {
                match pair {
                    (None, Some(_)) => lines.push(format!("{what} `{name}` is new")),
                    (Some(_), None) => lines.push(format!("{what} `{name}` is gone")),
                    (Some(old), Some(new)) if old != new => {
                        let part = if what == "view" { "plan" } else { "content" };
                        lines.push(format!("{what} `{name}` has another {part}"));
                    }
                    _ => {}
                }
            }
        }
        lines
    }
}

const RESTORE: &str = "restore it from version control, or delete it: the next run writes a new one \
                       (and pins again what it then finds)";

fn write_synced(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

type Pair<'a, T> = (Option<&'a T>, Option<&'a T>);

/// Both sides by name.
fn paired<'a, T>(
    old: &'a BTreeMap<String, T>,
    new: &'a BTreeMap<String, T>,
) -> BTreeMap<&'a String, Pair<'a, T>> {
    old.keys().chain(new.keys()).map(|name| (name, (old.get(name), new.get(name)))).collect()
}

fn diff_columns(
    source: &str,
    old: &IndexMap<String, String>,
    new: &IndexMap<String, String>,
    lines: &mut Vec<String>,
) {
    let before = lines.len();
    for (column, name) in new {
        match old.get(column) {
            None => lines.push(format!("source `{source}`: column `{column}` ({name}) is new")),
            Some(old) if old != name => {
                lines.push(format!("source `{source}`: column `{column}` was {old} and is {name}"));
            }
            Some(_) => {}
        }
    }
    for column in old.keys().filter(|column| !new.contains_key(*column)) {
        lines.push(format!("source `{source}`: column `{column}` is gone"));
    }
    if lines.len() == before && !old.keys().eq(new.keys()) {
        lines.push(format!("source `{source}`: the columns are in another order"));
    }
}

/// A name or type as YAML: plain if it can only be read as text.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '(' | ')');
    let inner = |c: char| plain(c) || matches!(c, ' ' | ',' | '[' | ']' | '-');
    let meant = !matches!(text.to_ascii_lowercase().as_str(), "null" | "true" | "false");
    if meant
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.ends_with(|c: char| plain(c) || c == ']')
        && text.chars().all(inner)
    {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // Whatever an editor or YAML could take for something else goes by its number.
            ' '..='~' => quoted.push(c),
            _ if u32::from(c) <= 0xFFFF && !c.is_alphanumeric() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            _ if !c.is_alphanumeric() => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

struct Reader<'a> {
    file_name: &'a str,
}

impl Reader<'_> {
    fn wrong(&self, line: usize, what: &str) -> Error {
        Error::corrupt(format!("{} cannot be read", self.file_name))
            .detail(format!("line {line}: {what}"))
    }

    fn lock(&self, root: &Node) -> Result<Lock> {
        let known = ["format", "semantics", "seed", "partitions", "sources", "views", "tables"];
        let format = self.number(root, "format")?;
        let semantics = self.number(root, "semantics")?;
        if format > u64::from(FORMAT_VERSION) || semantics > u64::from(SEMANTICS_VERSION) {
            return Err(self.newer(format, semantics));
        }
        if let Some(entry) = root.entries().iter().find(|e| !known.contains(&e.key.as_str())) {
            let what = format!("`{}` is no part of a lock", entry.key);
            return Err(self.wrong(entry.key_span.line, &what).hint(RESTORE));
        }
        let small = |key| {
            let number = self.number(root, key)?;
            u32::try_from(number).map_err(|_| self.wrong(1, &format!("`{key}` is too large")))
        };
        let mut sources = BTreeMap::new();
        for entry in self.section(root, "sources")? {
            let columns = self.texts(&entry.value)?;
            sources.insert(entry.key.clone(), columns.collect::<Result<IndexMap<_, _>>>()?);
        }
        Ok(Lock {
            semantics: small("semantics")?,
            seed: self.number(root, "seed")?,
            partitions: small("partitions")?,
            sources,
            views: self.hashes(root, "views")?,
            tables: self.hashes(root, "tables")?,
        })
    }

    fn newer(&self, format: u64, semantics: u64) -> Error {
        let detail = if format > u64::from(FORMAT_VERSION) {
            format!("it has format {format}, and this Syncline knows up to {FORMAT_VERSION}")
        } else {
            format!(
                "it has semantics version {semantics}, and this Syncline has {SEMANTICS_VERSION}: \
                 the same input could give other results"
            )
        };
        Error::unsupported(format!("{} was written by a newer Syncline", self.file_name))
            .detail(detail)
            .hint("update Syncline")
    }

    fn number(&self, root: &Node, key: &str) -> Result<u64> {
        let Some(entry) = root.entry(key) else {
            return Err(self.wrong(1, &format!("there is no `{key}`")).hint(RESTORE));
        };
        let text = if let Value::Scalar(scalar) = &entry.value.value { &scalar.raw } else { "" };
        text.parse().map_err(|_| {
            let what = format!("`{key}` is not a whole number");
            self.wrong(entry.key_span.line, &what).hint(RESTORE)
        })
    }

    fn section<'n>(&self, root: &'n Node, key: &str) -> Result<&'n [tree::Entry]> {
        match root.entry(key) {
            None => Ok(&[]),
            Some(entry) => self.entries(&entry.value),
        }
    }

    fn entries<'n>(&self, node: &'n Node) -> Result<&'n [tree::Entry]> {
        match &node.value {
            Value::Map(entries) => Ok(entries),
            Value::Scalar(_) | Value::List(_) => {
                Err(self.wrong(node.span.line, "names with values are missing").hint(RESTORE))
            }
        }
    }

    fn texts<'n>(
        &'n self,
        node: &'n Node,
    ) -> Result<impl Iterator<Item = Result<(String, String)>> + use<'n>> {
        Ok(self.entries(node)?.iter().map(|entry| match &entry.value.value {
            Value::Scalar(scalar) if !scalar.raw.is_empty() => {
                Ok((entry.key.clone(), scalar.raw.clone()))
            }
            _ => {
                let what = format!("`{}` has no value", entry.key);
                Err(self.wrong(entry.key_span.line, &what).hint(RESTORE))
            }
        }))
    }

    fn hashes(&self, root: &Node, key: &str) -> Result<BTreeMap<String, String>> {
        let Some(section) = root.entry(key) else { return Ok(BTreeMap::new()) };
        let hashes: BTreeMap<_, _> = self.texts(&section.value)?.collect::<Result<_>>()?;
        let hex = |hash: &str| hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if let Some((name, _)) = hashes.iter().find(|(_, hash)| !hex(hash)) {
            let line = section.value.entry(name).map_or(1, |entry| entry.key_span.line);
            let what = format!("`{name}` has no hexadecimal hash");
            return Err(self.wrong(line, &what).hint(RESTORE));
        }
        Ok(hashes)
    }
}

#[cfg(test)]
mod tests;
