//! The folder that holds all state of one pipeline, and the lock that keeps it to one process.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use syncline_change::{Error, Result};

use crate::disk::{Disk, RealDisk};
use crate::fs;

/// The version of the layout and of every file in it that this build reads and writes.
const FORMAT: u32 = 1;

/// [`DataDir::peek`] holds the lock for a moment; [`DataDir::open`] does not take that for a holder.
const LOCK_TRIES: u32 = 5;
const LOCK_RETRY_AFTER: Duration = Duration::from_millis(20);

/// `LOCK` is a line of JSON; what is longer was not written by us.
const HOLDER_BYTES_MAX: u64 = 4096;

/// A data directory. Made by [`DataDir::open`] it may be written to, and no other process can open
/// it so until it is dropped; made by [`DataDir::open_read`] it can only be read.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    lock: Option<Lock>,
}

/// Who writes to a data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    /// Where its HTTP server listens, once it does: `127.0.0.1:7373`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// When it opened the directory, in microseconds since 1970 (UTC).
    pub started_at_us: i64,
}

/// Held as long as the file is open, so that it ends with the process whatever happens to it.
#[derive(Debug)]
struct Lock {
    file: File,
    holder: Mutex<Holder>,
}

#[derive(Serialize, Deserialize)]
struct Format {
    format: u32,
}

impl DataDir {
    /// Creates the directory if it is not there, and takes it for this process.
    ///
    /// # Errors
    /// `Conflict` if another process has it (says which), `Unsupported` if a newer Syncline wrote
    /// it, `Storage` if the disk refuses.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_on(Arc::new(RealDisk), path)
    }

    /// The same with all changes made through `disk`.
    pub fn open_on(disk: Arc<dyn Disk>, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        fs::create_dir(&*disk, &path)?;
        let lock = Lock::take(&path)?;
        let dir = Self { path, disk, lock: Some(lock) };
        dir.lay_out()?;
        for folder in [
            dir.path(),
            &dir.dead_letters(),
            &dir.sinks(),
            &dir.checkpoints(),
            &dir.manifests(),
            &dir.meanings(),
        ] {
            fs::remove_unfinished(&*dir.disk, folder)?;
        }
        Ok(dir)
    }

    /// Creates what every data directory has. `FORMAT` comes last: while it is not there, a process
    /// that was killed may have created the rest without a sync.
    fn lay_out(&self) -> Result<()> {
        let disk = &*self.disk;
        let found = read_format(&self.path)?;
        if let Some(found) = found {
            check_format(&self.path, found)?;
        }
        for folder in [self.journal(), self.dead_letters(), self.retries(), self.sinks()] {
            fs::create_dir(disk, &folder)?;
        }
        if found.is_none() {
            fs::sync_parent(disk, &self.path)?;
            fs::sync_parent(disk, &self.retries())?;
            fs::sync_parent(disk, &self.sinks())?;
            let text = serde_json::json!({ "format": FORMAT }).to_string();
            fs::write_atomic(disk, &format_path(&self.path), text.as_bytes())?;
        }
        Ok(())
    }

    /// The directory for reading, whether or not a process is writing to it.
    ///
    /// # Errors
    /// `Config` if there is no data directory, `Unsupported` if a newer Syncline wrote it.
    pub fn open_read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let found = read_format(&path)?.ok_or_else(|| {
            Error::config(format!("{} is not a data directory", path.display()))
                .detail("it has no file FORMAT")
                .hint("run the pipeline first, or name its directory with --data-dir")
        })?;
        check_format(&path, found)?;
        Ok(Self { path, disk: Arc::new(RealDisk), lock: None })
    }

    /// Whether there is a data directory.
    ///
    /// # Errors
    /// `Corrupt` if what says so cannot be read.
    pub fn is_at(path: impl AsRef<Path>) -> Result<bool> {
        Ok(read_format(path.as_ref())?.is_some())
    }

    /// Who holds the directory, if anybody does; it need not exist.
    pub fn peek(path: impl AsRef<Path>) -> Result<Option<Holder>> {
        let path = lock_path(path.as_ref());
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", &path, error)),
        };
        let Some(holder) = read_holder(&mut file, &path)? else { return Ok(None) };
        match file.try_lock_shared() {
            // Nobody holds it: the text is what a killed process left behind.
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(holder)),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", &path, error)),
        }
    }

    /// Tells other processes where this one listens.
    pub fn set_listen(&self, addr: impl std::fmt::Display) -> Result<()> {
        let lock = self.lock.as_ref().ok_or_else(|| self.not_ours())?;
        lock.holder.lock().unwrap_or_else(PoisonError::into_inner).listen = Some(addr.to_string());
        lock.write(&lock_path(&self.path))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What everything in it is changed through.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    pub(crate) fn epochs(&self) -> PathBuf {
        self.path.join("epochs.log")
    }

    pub(crate) fn dead_letters(&self) -> PathBuf {
        self.path.join("dead-letters")
    }

    pub(crate) fn retries(&self) -> PathBuf {
        self.dead_letters().join("retry")
    }

    /// State that memory has no room for.
    pub fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    pub(crate) fn sinks(&self) -> PathBuf {
        self.path.join("sinks")
    }

    pub(crate) fn meanings(&self) -> PathBuf {
        self.path.join("meanings")
    }

    pub(crate) fn manifests(&self) -> PathBuf {
        self.path.join("manifests")
    }

    /// Writers ask this first.
    pub(crate) fn require_lock(&self) -> Result<()> {
        if self.lock.is_some() { Ok(()) } else { Err(self.not_ours()) }
    }

    fn not_ours(&self) -> Error {
        Error::bug(format!("{} was opened for reading and is written to", self.path.display()))
    }
}

impl Lock {
    #[allow(clippy::disallowed_methods, reason = "when the lock was taken, for those who find it")]
    fn take(dir: &Path) -> Result<Self> {
        let path = lock_path(dir);
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| Error::io("open", &path, e))?;
        let mut tries = 1;
        while let Err(refused) = file.try_lock() {
            match refused {
                TryLockError::WouldBlock if tries < LOCK_TRIES => {
                    tries += 1;
                    std::thread::sleep(LOCK_RETRY_AFTER);
                }
                TryLockError::WouldBlock => {
                    return Err(in_use(dir, read_holder(&mut file, &path)?.as_ref()));
                }
                TryLockError::Error(error) => return Err(Error::io("lock", &path, error)),
            }
        }
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let holder = Holder {
            pid: std::process::id(),
            listen: None,
            started_at_us: i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX),
        };
        let lock = Self { file, holder: Mutex::new(holder) };
        lock.write(&path)?;
        Ok(lock)
    }

    fn write(&self, path: &Path) -> Result<()> {
        let holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        let text = serde_json::to_string(&*holder)
            .map_err(|e| Error::bug("a lock holder has no JSON form").source(e))?;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.write_all(text.as_bytes()))
            .and_then(|()| file.set_len(text.len() as u64))
            .map_err(|e| Error::io("write", path, e))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Only tidiness: a text without a lock is not believed.
        let _ = self.file.set_len(0);
    }
}

fn lock_path(dir: &Path) -> PathBuf {
    dir.join("LOCK")
}

fn format_path(dir: &Path) -> PathBuf {
    dir.join("FORMAT")
}

/// `None`: nobody has written who they are (yet).
fn read_holder(file: &mut File, path: &Path) -> Result<Option<Holder>> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.take(HOLDER_BYTES_MAX).read_to_end(&mut text))
        .map_err(|e| Error::io("read", path, e))?;
    Ok(serde_json::from_slice(&text).ok())
}

fn in_use(dir: &Path, holder: Option<&Holder>) -> Error {
    let who = match holder {
        Some(Holder { pid, listen: Some(listen), .. }) => {
            format!("process {pid} holds it and listens on {listen}")
        }
        Some(Holder { pid, listen: None, .. }) => format!("process {pid} holds it"),
        None => "another process holds it".to_owned(),
    };
    Error::conflict(format!("the data directory {} is in use", dir.display()))
        .detail(who)
        .hint("stop that process, or name another directory with --data-dir")
}

fn read_format(dir: &Path) -> Result<Option<u32>> {
    let path = format_path(dir);
    let Some(text) = fs::read_if_there(&path)? else { return Ok(None) };
    let format: Format = serde_json::from_slice(&text).map_err(|error| {
        Error::corrupt(format!("{} is not readable", path.display()))
            .detail(error.to_string())
            .hint(format!("it should read {{\"format\":{FORMAT}}}; restore it from a backup"))
    })?;
    Ok(Some(format.format))
}

fn check_format(dir: &Path, found: u32) -> Result<()> {
    if found == FORMAT {
        return Ok(());
    }
    Err(Error::unsupported(format!("{} has format {found}", dir.display()))
        .detail(format!("this version of Syncline reads and writes format {FORMAT}"))
        .hint("use the version that wrote it, or name another directory with --data-dir"))
}

#[cfg(test)]
mod tests;
