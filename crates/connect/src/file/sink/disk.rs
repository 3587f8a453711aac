//! What file sinks ask of the file system.

use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use syncline_change::{Error, Result};

/// A file that is appended to. A trait so that tests can let a disk fail.
pub(super) trait Target: Write + Send {
    fn length(&self) -> io::Result<u64>;

    /// Cuts the file to `length`; what is written next follows there.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Returns when everything written is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

impl Target for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.seek(SeekFrom::Start(length))?;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// How long a lock is waited for: whoever has it may be about to stop.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// Takes the file or folder for this sink alone, for as long as `file` is open.
///
/// # Errors
/// `Conflict` if another sink has it, in this process or in another.
#[allow(clippy::disallowed_methods, reason = "how long to wait for another")]
pub(super) fn lock(file: &File, path: &Path) -> Result<()> {
    let began = Instant::now();
    while let Err(TryLockError::WouldBlock) = file.try_lock() {
        if began.elapsed() > LOCK_PATIENCE {
            return Err(Error::conflict(format!("something else writes to {}", path.display()))
                .detail("another sink has the file, of this pipeline or of another one that runs")
                .hint("stop the other pipeline, or give this sink another path"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // Taken; or a file system without locks, and then it is up to the operator.
    Ok(())
}

/// The folder that `path` is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

pub(super) fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| Error::io("create the folder", path, error))
}

/// Makes new, renamed and removed names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    // Elsewhere a folder cannot be opened, and names are durable without it.
    if cfg!(unix) {
        let folder = File::open(path).map_err(|error| Error::io("open", path, error))?;
        folder.sync_all().map_err(|error| Error::io("sync the folder", path, error))?;
    }
    Ok(())
}

/// Replaces the file at `path` by what `write` writes: all of it or, on an error, nothing.
pub(super) fn replace(
    path: &Path,
    write: impl FnOnce(&mut File, &Path) -> Result<()>,
) -> Result<()> {
    let beside = temporary(path)?;
    let written = write_durably(&beside, write).and_then(|()| {
        fs::rename(&beside, path).map_err(|error| Error::io("replace", path, error))
    });
    if written.is_err() {
        // The error is the news; a file that stays is overwritten by the next try.
        let _ = fs::remove_file(&beside);
    }
    written?;
    sync_folder(folder_of(path))
}

fn write_durably(path: &Path, write: impl FnOnce(&mut File, &Path) -> Result<()>) -> Result<()> {
    let mut file = File::create(path).map_err(|error| Error::io("create", path, error))?;
    write(&mut file, path)?;
    file.sync_all().map_err(|error| Error::io("sync", path, error))
}

/// Where a file is written before it replaces the one at `path`: hidden, in the same folder.
fn temporary(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| {
        Error::config(format!("{} does not name a file", path.display()))
            .hint("end `path` with the name of a file")
    })?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(TEMPORARY_END);
    Ok(path.with_file_name(hidden))
}

/// The end of the name of a file that is still being written.
pub(super) const TEMPORARY_END: &str = ".syncline-tmp";

/// Renames what is at `path` to the first free `NAME.before-<n>` and warns about it.
pub(super) fn set_aside(path: &Path) -> Result<()> {
    let mut n = 1_u64;
    let aside = loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".before-{n}"));
        let aside = PathBuf::from(name);
        match fs::symlink_metadata(&aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break aside,
            Err(error) => return Err(Error::io("look at", aside, error)),
            Ok(_) => n += 1,
        }
    };
    fs::rename(path, &aside).map_err(|error| Error::io("set aside", path, error))?;
    sync_folder(folder_of(path))?;
    tracing::warn!(
        path = %path.display(),
        set_aside_as = %aside.display(),
        "a new changelog begins where something else was: it was set aside"
    );
    Ok(())
}
