//! The door to the disk: every change that the store makes there is a call of a [`Disk`], so that a
//! test can let any one of them fail, or take back what a power loss would.
//!
//! What only reads does not come through here, because whatever is read is checked. Nor does what
//! no restart reads: the text in `LOCK` and [`crate::spill`].

mod faulty;

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

pub use faulty::{Fault, FaultyDisk};

/// What can be changed on a disk.
pub trait Disk: Debug + Send + Sync {
    /// An empty file, new or in place of the one that was there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// A file that is there, to be written to at its end.
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes durable which names a folder has.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Whether operations may come from several threads at once. A disk that fails at a chosen
    /// operation wants them in an order that repeats.
    fn is_parallel(&self) -> bool {
        true
    }
}

/// A file that is open for writing. After an error any part of what was asked for may have happened.
pub trait DiskFile: Debug + Send + Sync {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    fn set_len(&mut self, bytes: u64) -> io::Result<()>;

    /// Makes content and length durable. What an error leaves in doubt has to be written again: the
    /// operating system may have dropped it, and a second call would not say so.
    fn sync(&mut self) -> io::Result<()>;
}

/// The machine's own.
#[derive(Debug)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::create(path)?))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().append(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

impl DiskFile for File {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Write::write_all(self, bytes)
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        // Without what no reader asks for, such as the time of the last write.
        self.sync_data()
    }
}

#[cfg(test)]
mod tests;
