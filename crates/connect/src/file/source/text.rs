//! A file's text, decompressed, in a buffer of bounded size.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};

use syncline_change::{Error, Result};

use super::listing::{Compression, Found};
use super::parallel::Block;
use crate::decode::CHUNK_BYTES_MAX;

/// Bytes that were read and not yet taken.
pub(super) struct TextBuffer<R> {
    from: R,
    /// What to call it in errors.
    name: String,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    at_end: bool,
    /// Bytes that may still be read.
    left: u64,
}

/// The text of a compressed file.
pub(super) fn decompress(found: &Found) -> Result<Box<dyn Read + Send>> {
    let failed = |error| Error::io("open", &found.path, error);
    let file = File::open(&found.path).map_err(failed)?;
    Ok(match found.compression() {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(file).map_err(failed)?),
    })
}

/// That a file cannot be read on where reading stopped.
pub(super) fn shorter(name: &str) -> Error {
    Error::conflict(format!("{name} is shorter than what was already read of it"))
        .hint("put the file back as it was, or start with a new data directory")
}

impl<R: Read> TextBuffer<R> {
    /// A buffer that holds any row of at most `row_bytes_max` bytes.
    pub(super) fn new(from: R, name: &str, row_bytes_max: usize) -> Self {
        let capacity = CHUNK_BYTES_MAX.max(row_bytes_max.saturating_add(1));
        let bytes = vec![0; capacity];
        Self { from, name: name.to_owned(), bytes, start: 0, end: 0, at_end: false, left: u64::MAX }
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn take(&mut self, length: usize) {
        self.start += length;
        debug_assert!(self.start <= self.end, "only what is there can be taken");
    }

    /// Whether the text ends with what is unread.
    pub(super) fn is_at_end(&self) -> bool {
        self.at_end
    }

    pub(super) fn is_full(&self) -> bool {
        self.end - self.start == self.bytes.len()
    }

    /// Reads until the buffer is full or the text at its end.
    pub(super) fn fill(&mut self) -> Result<()> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end < self.bytes.len() && !self.at_end {
            let room =
                (self.bytes.len() - self.end).min(usize::try_from(self.left).unwrap_or(usize::MAX));
            match self.from.read(&mut self.bytes[self.end..self.end + room]) {
                Ok(0) => self.at_end = true,
                Ok(more) => {
                    self.end += more;
                    self.left -= more as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(&self.name, error)),
            }
        }
        Ok(())
    }

    /// Takes all whole lines out, with the memory they are in; what is behind them goes to `spare`,
    /// which is the buffer from now on. `None`: there is not one whole line.
    pub(super) fn take_lines(&mut self, mut spare: Vec<u8>) -> Option<Block> {
        let length = memchr::memrchr(b'\n', self.unread())? + 1;
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        spare.resize(self.bytes.len(), 0);
        let rest = &self.bytes[length..self.end];
        spare[..rest.len()].copy_from_slice(rest);
        self.end = rest.len();
        let buffer = std::mem::replace(&mut self.bytes, spare);
        Some(Block { buffer, length })
    }

    /// Takes everything up to and including the next newline. Returns how many bytes that were, and
    /// whether there was a newline before the end of the text.
    pub(super) fn skip_line(&mut self) -> Result<(u64, bool)> {
        let mut skipped = 0;
        loop {
            if let Some(newline) = memchr::memchr(b'\n', self.unread()) {
                self.take(newline + 1);
                return Ok((skipped + newline as u64 + 1, true));
            }
            skipped += self.unread().len() as u64;
            self.take(self.unread().len());
            if self.at_end {
                return Ok((skipped, false));
            }
            self.fill()?;
        }
    }

    /// Takes `length` bytes, which may be more than the buffer holds.
    ///
    /// # Errors
    /// `Conflict` if the text is shorter than that.
    pub(super) fn skip(&mut self, length: u64) -> Result<()> {
        let mut left = length;
        loop {
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.unread().len());
            self.take(here);
            left -= here as u64;
            if left == 0 {
                return Ok(());
            }
            if self.at_end {
                return Err(shorter(&self.name));
            }
            self.fill()?;
        }
    }
}

impl<R: Read + Seek> TextBuffer<R> {
    /// Goes on at `offset`, as if the text ended at `length`.
    pub(super) fn seek(&mut self, offset: u64, length: u64) -> Result<()> {
        self.from.seek(SeekFrom::Start(offset)).map_err(|e| failed(&self.name, e))?;
        (self.start, self.end, self.at_end) = (0, 0, false);
        self.left = length.saturating_sub(offset);
        Ok(())
    }
}

fn failed(name: &str, error: std::io::Error) -> Error {
    match error.kind() {
        // What decompressors say of bytes that are not their format, or not all of it.
        ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof => {
            Error::corrupt(format!("{name} cannot be decompressed"))
                .detail(error.to_string())
                .hint("check that the file was written to its end")
                .source(error)
        }
        _ => Error::io("read", name, error),
    }
}
