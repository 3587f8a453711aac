//! Which files a source reads.

use std::path::{Path, PathBuf};

use syncline_change::{Error, Result};

/// A file as it was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    /// The path relative to the pipeline file, if it is below it: how positions and messages call
    /// it, so that a folder can be moved.
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// How a file's bytes become text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Found {
    fn new(path: PathBuf, base_dir: &Path) -> Self {
        let name = path.strip_prefix(base_dir).unwrap_or(&path).to_string_lossy().into_owned();
        Self { name, path }
    }

    pub(super) fn compression(&self) -> Compression {
        match self.path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Compression::Gzip,
            Some("zst") => Compression::Zstd,
            _ => Compression::None,
        }
    }
}

/// The files that `path`, a path or a glob, stands for, sorted by name. May be none.
///
/// # Errors
/// `Config` if it is not a possible glob, `Unsupported` if it is a URL, `Storage` if a folder cannot
/// be read.
pub(super) fn list(path: &str, base_dir: &Path) -> Result<Vec<Found>> {
    if path.contains("://") {
        return Err(Error::unsupported(format!("`{path}`: files are read from this machine only"))
            .hint("copy the files here, or mount the bucket"));
    }
    let exact = base_dir.join(path);
    if exact.is_file() {
        return Ok(vec![Found::new(exact, base_dir)]);
    }
    if exact.is_dir() {
        return Err(Error::config(format!("`{path}` is a folder"))
            .hint(format!("name its files: `{}/*`", path.trim_end_matches('/'))));
    }
    let pattern = if Path::new(path).is_absolute() {
        path.to_owned()
    } else {
        format!("{}/{path}", glob::Pattern::escape(&base_dir.to_string_lossy()))
    };
    let entries = glob::glob(&pattern).map_err(|error| {
        Error::config(format!("`{path}` is not a path or a glob")).detail(error.to_string())
    })?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| {
            let path = error.path().to_owned();
            Error::io("read", path, error.into())
        })?;
        if path.is_file() {
            found.push(Found::new(path, base_dir));
        }
    }
    found.sort();
    Ok(found)
}

/// That nothing is there to be read.
pub(super) fn nothing_found(path: &str) -> Error {
    Error::config(format!("no file matches `{path}`")).hint(
        "the path is relative to the pipeline file; with `follow: true` the source waits for files",
    )
}
