//! What sinks' targets hold changes of: `meanings/<hash>.json`, each written once and never changed.
//!
//! A changelog stays when its view is edited. To tell what has to be taken out of it and put in, what
//! the view meant before must be known for as long as some sink's progress refers to it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use syncline_change::{Error, Result};

use crate::sealed::Sealed;
use crate::{DataDir, fs};

const FILE: Sealed = Sealed {
    name: "meaning",
    format: 1,
    hint: "restore the file from a backup; or put the views back as they were",
};
const EXTENSION: &str = ".json";

/// A source or view with everything that its content follows from, besides the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meaning {
    /// The hash, in hex, by which it is referred to: the same for whatever means the same.
    pub hash: String,
    /// The version of what SQL means.
    pub semantics: u32,
    pub seed: u64,
    /// The source or view that this is of.
    pub relation: String,
    /// The sources and views that it needs, itself included.
    pub sources: Vec<SourceMeaning>,
    pub views: Vec<ViewMeaning>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceMeaning {
    pub name: String,
    /// Names and SQL types, in their order.
    pub columns: Vec<(String, String)>,
    /// Columns by number.
    pub primary_key: Option<Vec<usize>>,
    pub event_time: Option<EventTimeMeaning>,
    pub deletes: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventTimeMeaning {
    /// By number.
    pub column: usize,
    pub lateness_us: i64,
    pub idle_us: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewMeaning {
    pub name: String,
    pub sql: String,
    /// Only rows of closed windows, once.
    pub emits_final: bool,
}

/// Keeps a meaning, if it is not there yet; durable on return.
///
/// # Errors
/// `Storage` if the disk refuses.
pub fn write(dir: &DataDir, meaning: &Meaning) -> Result<()> {
    dir.require_lock()?;
    let (disk, path) = (&**dir.disk(), path(dir, &meaning.hash));
    fs::create_dir(disk, &dir.meanings())?;
    // What is there may be what a killed process did not sync.
    fs::sync_parent(disk, &dir.meanings())?;
    if matches!(read(dir, &meaning.hash), Ok(Some(_))) {
        return fs::sync_parent(disk, &path);
    }
    FILE.write(disk, &path, meaning)
}

/// The meaning with this hash; `None`: it was not kept.
///
/// # Errors
/// `Corrupt` if the file is not what was written, `Unsupported` if a newer version wrote it.
pub fn read(dir: &DataDir, hash: &str) -> Result<Option<Meaning>> {
    fs::check_name("meaning", hash)?;
    let path = path(dir, hash);
    let read: Option<Meaning> = FILE.read(&path)?;
    match read {
        Some(other) if other.hash != hash => {
            Err(FILE.damaged(&path, format!("it is {}", other.hash)))
        }
        read => Ok(read),
    }
}

/// Removes the meanings that are not among `needed`, which all sinks' progress says.
///
/// # Errors
/// `Storage` if the disk refuses.
pub fn retain(dir: &DataDir, needed: &BTreeSet<String>) -> Result<()> {
    dir.require_lock()?;
    let is_needed = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let hash = name.and_then(|name| name.strip_suffix(EXTENSION));
        hash.is_none_or(|hash| needed.contains(hash))
    };
    let mut paths = fs::list(&dir.meanings())?;
    paths.retain(|path| !is_needed(path));
    let disk = &**dir.disk();
    if !paths.is_empty() {
        // The progress that was read may not be durable yet, and the one before it needs more.
        let sinks = dir.sinks();
        disk.sync_dir(&sinks).map_err(|error| Error::io("sync", &sinks, error))?;
    }
    paths.iter().try_for_each(|path| fs::remove(disk, path))
}

fn path(dir: &DataDir, hash: &str) -> PathBuf {
    dir.meanings().join(format!("{hash}{EXTENSION}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use syncline_change::ErrorKind;

    use super::*;

    fn meaning(hash: &str) -> Meaning {
        Meaning {
            hash: hash.to_owned(),
            semantics: 2,
            seed: 7,
            relation: "delays".to_owned(),
            sources: vec![SourceMeaning {
                name: "flights".to_owned(),
                columns: vec![("id".to_owned(), "BIGINT".to_owned())],
                primary_key: Some(vec![0]),
                event_time: None,
                deletes: false,
            }],
            views: vec![ViewMeaning {
                name: "delays".to_owned(),
                sql: "SELECT id FROM flights".to_owned(),
                emits_final: false,
            }],
        }
    }

    #[test]
    fn a_meaning_reads_back_and_altered_bytes_are_noticed() {
        let dir = crate::scratch::dir();
        let data = DataDir::open(dir.path()).unwrap();
        assert_eq!(read(&data, "ab").unwrap(), None);
        write(&data, &meaning("ab")).unwrap();
        assert_eq!(read(&data, "ab").unwrap(), Some(meaning("ab")));
        let path = path(&data, "ab");
        let bytes = std::fs::read(&path).unwrap();
        let start = bytes.iter().position(|&byte| byte == b',').unwrap();
        for at in start..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(read(&data, "ab").unwrap_err().kind(), ErrorKind::Corrupt, "{at}");
        }
        // What cannot be read is written again.
        write(&data, &meaning("ab")).unwrap();
        assert_eq!(read(&data, "ab").unwrap(), Some(meaning("ab")));
        let newer = String::from_utf8(bytes).unwrap().replace("\"format\":1", "\"format\":9");
        std::fs::write(&path, newer).unwrap();
        assert_eq!(read(&data, "ab").unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn what_nobody_needs_goes() {
        let dir = crate::scratch::dir();
        let data = DataDir::open(dir.path()).unwrap();
        for hash in ["ab", "cd", "ef"] {
            write(&data, &meaning(hash)).unwrap();
        }
        retain(&data, &BTreeSet::from(["cd".to_owned()])).unwrap();
        let left = ["ab", "cd", "ef"].map(|hash| read(&data, hash).unwrap().is_some());
        assert_eq!(left, [false, true, false]);
    }
}
