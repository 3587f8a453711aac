//! State that memory has no room for: files without a name that are mapped into memory, so that the
//! operating system keeps of them what is used and has room.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::buffer::Buffer;
use memmap2::{Mmap, MmapOptions};
use syncline_change::spill::{Spill, SpillWriter};
use syncline_change::{Error, Result};

use crate::disk::RealDisk;
use crate::fs;

/// Parts begin at multiples of this: a page, which the operating system writes as a whole.
const ALIGNMENT: usize = 4096;

/// A folder for pieces of state. Their files have no name once they are made, so a process that ends
/// in whatever way leaves none behind.
#[derive(Debug)]
pub struct SpillDir {
    folder: PathBuf,
    count: AtomicU64,
}

impl SpillDir {
    /// Creates the folder if it is not there.
    ///
    /// # Errors
    /// `Storage` if the disk refuses.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref().to_owned();
        fs::create_dir(&RealDisk, &folder)?;
        fs::remove_unfinished(&RealDisk, &folder)?;
        Ok(Self { folder, count: AtomicU64::new(0) })
    }
}

impl Spill for SpillDir {
    fn begin(&self, sizes: &[usize]) -> Result<Box<dyn SpillWriter>> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{}-{number}.tmp", std::process::id()));
        let failed = |error| Error::io("create", &path, error);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(failed)?;
        std::fs::remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
        let mut parts = Vec::with_capacity(sizes.len());
        let mut start = 0;
        for &size in sizes {
            parts.push(Part { start, size, written: 0 });
            start += size.next_multiple_of(ALIGNMENT);
        }
        Ok(Box::new(Piece { file, path, parts }))
    }
}

/// A piece while it is being written. The parts lie in the file where there is room for all that
/// they may become; what they do not become takes no room on disk.
#[derive(Debug)]
struct Piece {
    file: File,
    /// What the file was called, for messages.
    path: PathBuf,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    start: usize,
    size: usize,
    written: usize,
}

impl SpillWriter for Piece {
    fn append(&mut self, part: usize, bytes: &[u8]) -> Result<()> {
        let part = &mut self.parts[part];
        if part.written + bytes.len() > part.size {
            return Err(Error::bug("a piece of state is longer than it was said to be"));
        }
        let written = self.file.write_all_at(bytes, (part.start + part.written) as u64);
        written.map_err(|error| Error::io("write", &self.path, error))?;
        part.written += bytes.len();
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Buffer>> {
        let end = self.parts.iter().map(|part| part.start + part.written).max().unwrap_or(0);
        if end == 0 {
            return Ok(self.parts.iter().map(|_| Buffer::default()).collect());
        }
        let map = map(&self.file, end).map_err(|error| Error::io("map", &self.path, error))?;
        let map = Arc::new(map);
        Ok(self.parts.iter().map(|part| buffer(&map, part.start, part.written)).collect())
    }
}

#[allow(unsafe_code, reason = "a mapped file is read without being copied")]
fn map(file: &File, length: usize) -> std::io::Result<Mmap> {
    // SAFETY: the file has no name and its only descriptor is ours, so that nobody else can change
    // or shorten it while it is mapped; we never write to it again.
    unsafe { MmapOptions::new().len(length).map(file) }
}

/// A part of a mapping.
#[allow(unsafe_code, reason = "the buffer keeps the mapping that it points into")]
pub(crate) fn buffer(map: &Arc<Mmap>, start: usize, length: usize) -> Buffer {
    let bytes = &map[start..start + length];
    let Some(first) = NonNull::new(bytes.as_ptr().cast_mut()) else { return Buffer::default() };
    // SAFETY: the pointer is that of `length` bytes of the mapping, which are never written to and
    // stay mapped as long as the buffer holds `map`.
    unsafe { Buffer::from_custom_allocation(first, length, map.clone()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::scratch;

    #[test]
    fn parts_come_back_and_leave_nothing_behind() {
        let scratch = scratch::dir();
        let folder = scratch.path().join("state");
        let spill = SpillDir::open(&folder).unwrap();
        let mut piece = spill.begin(&[10, 0, 300_000]).unwrap();
        piece.append(0, b"first").unwrap();
        let mut long = Vec::new();
        for i in 0..30_000_u64 {
            piece.append(2, &i.to_le_bytes()).unwrap();
            long.extend_from_slice(&i.to_le_bytes());
        }
        piece.append(0, b"again").unwrap();
        let parts = piece.finish().unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        assert_eq!([parts[0].as_slice(), parts[1].as_slice()], [&b"firstagain"[..], b""]);
        assert_eq!(parts[2].as_slice(), long);
        assert!(parts.iter().all(|part| part.as_ptr().align_offset(64) == 0));
        // What is read stays there when all else has gone.
        let last = parts[2].slice(8);
        drop(parts);
        assert_eq!(last.as_slice()[..8], 1_u64.to_le_bytes());
    }

    #[test]
    fn a_part_has_the_room_that_was_asked_for() {
        let scratch = scratch::dir();
        let spill = SpillDir::open(scratch.path()).unwrap();
        let mut piece = spill.begin(&[4, 4]).unwrap();
        piece.append(0, b"1234").unwrap();
        assert!(piece.append(0, b"5").is_err());
        piece.append(1, b"5678").unwrap();
        assert_eq!(piece.finish().unwrap()[1].as_slice(), b"5678");
    }

    #[test]
    fn nothing_at_all() {
        let scratch = scratch::dir();
        let spill = SpillDir::open(scratch.path()).unwrap();
        assert_eq!(spill.begin(&[8]).unwrap().finish().unwrap()[0].len(), 0);
    }
}
