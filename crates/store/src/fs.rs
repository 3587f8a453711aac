//! Files that are whole or not there, whatever happens to the process or the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use syncline_change::{Error, Result};

use crate::disk::Disk;

/// Ends the name of a file that is not finished yet.
pub(crate) const UNFINISHED: &str = ".tmp";

/// Writes `path` so that afterwards, and after any crash, it holds either `bytes` or what it held
/// before. Durable on return.
///
/// Several processes may write the same path at once; one of them wins as a whole.
pub fn write_atomic(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<()> {
    let unfinished = unfinished_name(path);
    let written = write_and_sync(disk, &unfinished, bytes)
        .and_then(|()| disk.rename(&unfinished, path).map_err(|e| Error::io("write", path, e)));
    if written.is_err() {
        // Best effort: what is left over is removed when the data directory is next opened.
        let _ = disk.remove(&unfinished);
    }
    written.and_then(|()| sync_parent(disk, path))
}

/// Creates a folder, and those above it. It may exist already. Durable on return, but for folders
/// that were there before.
pub fn create_dir(disk: &dyn Disk, path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => create_dir(disk, parent)?,
        Some(_) | None => {}
    }
    match disk.create_dir(path) {
        Ok(()) => sync_parent(disk, path),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(Error::io("create", path, error)),
    }
}

/// Removes a file so that it stays removed. It may be gone already.
pub fn remove(disk: &dyn Disk, path: &Path) -> Result<()> {
    match disk.remove(path) {
        Ok(()) => sync_parent(disk, path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("remove", path, error)),
    }
}

/// The files of a folder, by name; none if there is no such folder.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", folder, error)),
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(|error| Error::io("list", folder, error))?;
    paths.sort();
    Ok(paths)
}

/// The whole of a small file; `None` if there is none.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// Removes what a crash left unfinished in `folder`. Nobody else may be writing there.
pub(crate) fn remove_unfinished(disk: &dyn Disk, folder: &Path) -> Result<()> {
    for path in list(folder)? {
        if is_unfinished(&path) {
            remove(disk, &path)?;
        }
    }
    Ok(())
}

pub(crate) fn is_unfinished(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.ends_with(UNFINISHED))
}

/// Whether `name` can name a file or folder of its own: nothing hidden, no way out of its folder.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    const NAME_BYTES_MAX: usize = 200;
    let fits = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.starts_with('.');
    let is_plain = !name.chars().any(|c| c.is_control() || matches!(c, '/' | '\\'));
    if fits && is_plain {
        return Ok(());
    }
    Err(Error::config(format!("{what} `{}` cannot be kept under its name", name.escape_debug()))
        .detail("the name becomes the name of a folder or file")
        .hint(format!(
            "use 1 to {NAME_BYTES_MAX} bytes without slashes or control characters, not starting \
             with a full stop"
        )))
}

fn write_and_sync(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = disk.create(path).map_err(|e| Error::io("create", path, e))?;
    file.write_all(bytes).map_err(|e| Error::io("write", path, e))?;
    file.sync().map_err(|e| Error::io("sync", path, e))
}

/// Makes durable that `path` is in its folder, or is not.
pub(crate) fn sync_parent(disk: &dyn Disk, path: &Path) -> Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    disk.sync_dir(parent).map_err(|e| Error::io("sync", parent, e))
}

/// A name beside `path` that no other writer uses.
fn unfinished_name(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut name = path.as_os_str().to_owned();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}-{count}{UNFINISHED}", std::process::id()));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_is_left_over() {
        let dir = crate::scratch::dir();
        let path = dir.path().join("a.json");
        write_atomic(&RealDisk, &path, b"first").unwrap();
        write_atomic(&RealDisk, &path, b"second").unwrap();
        assert_eq!(read_if_there(&path).unwrap().unwrap(), b"second");
        assert_eq!(list(dir.path()).unwrap(), [path]);
    }

    #[test]
    fn leftovers_of_a_crash_go() {
        let dir = crate::scratch::dir();
        fs::write(unfinished_name(&dir.path().join("a.json")), b"half").unwrap();
        fs::write(dir.path().join("b.json"), b"whole").unwrap();
        remove_unfinished(&RealDisk, dir.path()).unwrap();
        assert_eq!(list(dir.path()).unwrap(), [dir.path().join("b.json")]);
    }

    #[test]
    fn names_stay_in_their_folder() {
        for name in ["flights", "public.users", "Flüge 2", "a-b_c"] {
            check_name("source", name).unwrap();
        }
        for name in ["", ".ticks", "..", "a/b", "a\\b", "a\0b", &"x".repeat(201)] {
            assert!(check_name("source", name).is_err(), "{name:?}");
        }
    }
}
