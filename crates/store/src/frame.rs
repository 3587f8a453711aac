//! Append-only logs of checksummed frames: what the journal, the epoch log and the dead letters are
//! made of.
//!
//! ```text
//! file  = magic "SYNCLINE" | format u16 | kind u16 | crc32 u32 of the 12 bytes before | frame*
//! frame = len u32 | crc32 u32 of len and of what follows | synced u64 | payload
//! ```
//!
//! Numbers are little-endian; `len` counts `synced` and the payload. `synced` is how much of the
//! file was durable when the frame was written, and it is what tells a crash from damage: bytes that
//! cannot be read may be cut off as *torn* only if no readable frame behind them says that they were
//! durable once. A file is created whole (header first, then its name), so its header is never torn.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use arrow::buffer::{Buffer, MutableBuffer};
use syncline_change::{Error, Result};

use crate::disk::{Disk, DiskFile};
use crate::fs;

const MAGIC: [u8; 8] = *b"SYNCLINE";
const FORMAT: u16 = 1;
const HEADER_BYTES: usize = 16;

/// `len`, `crc32` and `synced`.
const PRELUDE_BYTES: usize = 16;
const SYNCED_BYTES: usize = 8;

/// Bounds what one frame makes a reader allocate; Arrow's 32-bit offsets end not far above.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 30;

/// A write buffer that one large epoch made larger than this is given back.
const BUFFER_BYTES_KEPT: usize = 16 << 20;

const READ_BUFFER_BYTES: usize = 256 << 10;

/// What the frames of a file are. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Kind {
    Journal = 1,
    Epochs = 2,
    Letters = 3,
    Resolutions = 4,
}

/// The end of a log that a crash left half-written, and that was cut off (or, by a reader, passed
/// over).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    pub file: PathBuf,
    /// Where the log ends now.
    pub offset: u64,
    /// How many bytes went.
    pub bytes: u64,
    pub reason: String,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, bytes, reason } = self;
        write!(f, "{bytes} bytes cut off {} at byte {offset}: {reason}", file.display())
    }
}

/// Something on disk is not what was written. Whoever returns this has changed nothing.
pub(crate) fn corrupt(path: &Path, offset: u64, what: impl fmt::Display) -> Error {
    Error::corrupt(format!("{} is damaged at byte {offset}", path.display()))
        .detail(what.to_string())
        .hint(
            "restore the data directory from a backup, or start again with an empty one; nothing \
             was changed",
        )
}

/// Why a frame could not be read. Whether it is torn or damaged depends on what stands behind it.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    pub(crate) offset: u64,
    pub(crate) reason: &'static str,
}

/// What stands at a reader's position.
pub(crate) enum Next {
    Frame(Frame),
    /// The file ends here; more may be appended later.
    End,
    /// Not a whole frame. The reader stays where it is.
    Damaged(Damage),
}

pub(crate) struct Frame {
    pub(crate) offset: u64,
    /// Aligned for any Arrow type, so that batches can be used where they lie.
    pub(crate) payload: Buffer,
}

#[derive(Clone, Copy)]
struct Prelude {
    len: u32,
    crc: u32,
    synced: u64,
}

impl Prelude {
    fn read(bytes: [u8; PRELUDE_BYTES]) -> Self {
        let [l0, l1, l2, l3, c0, c1, c2, c3, synced @ ..] = bytes;
        Self {
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            synced: u64::from_le_bytes(synced),
        }
    }

    /// The checksum of everything before the payload.
    fn hasher(&self) -> crc32fast::Hasher {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.len.to_le_bytes());
        hasher.update(&self.synced.to_le_bytes());
        hasher
    }

    /// `None` if no frame at `offset` can have this length and `synced`.
    fn payload_bytes(&self, offset: u64) -> Option<usize> {
        let bytes = (self.len as usize).checked_sub(SYNCED_BYTES)?;
        let is_possible = bytes > 0 && bytes <= PAYLOAD_BYTES_MAX;
        let was_before = self.synced >= HEADER_BYTES as u64 && self.synced <= offset;
        (is_possible && was_before).then_some(bytes)
    }
}

/// Appends frames to one file.
///
/// Frames are staged in memory, written together, and durable after a sync. After a failed write
/// the file is brought back to its last whole frame, at once or before the next write.
#[derive(Debug)]
pub(crate) struct FrameWriter {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// Where the next written frame begins.
    end: u64,
    /// How much of the file is durable.
    synced: u64,
    /// Staged frames.
    buffer: Vec<u8>,
    /// The file may be longer than `end`.
    is_untidy: bool,
}

impl FrameWriter {
    /// A new log, durable with its header and, if given, a first frame.
    pub(crate) fn create(
        disk: &dyn Disk,
        path: &Path,
        kind: Kind,
        first: Option<impl FnOnce(&mut Vec<u8>) -> Result<()>>,
    ) -> Result<Self> {
        let mut bytes = header(kind);
        if let Some(fill) = first {
            push_frame(&mut bytes, HEADER_BYTES as u64, fill).map_err(|e| e.within(file(path)))?;
        }
        fs::write_atomic(disk, path, &bytes)?;
        Self::append(disk, path, bytes.len() as u64)
    }

    /// An existing log whose last whole frame ends at `end`; what stands behind that goes.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, end: u64) -> Result<Self> {
        let mut writer = Self::append(disk, path, end)?;
        // A process that was killed may have written without a sync, and have created the file.
        let length = path.metadata().map_err(|e| Error::io("read", path, e))?.len();
        if length > end {
            writer.truncate_file()?
        } else {
            writer.sync_file()?
        }
        fs::sync_parent(disk, path)?;
        Ok(writer)
    }

    /// A log that is durable up to `end`, and ends there.
    fn append(disk: &dyn Disk, path: &Path, end: u64) -> Result<Self> {
        let file = disk.append(path).map_err(|e| Error::io("open", path, e))?;
        let path = path.to_owned();
        Ok(Self { path, file, end, synced: end, buffer: Vec::new(), is_untidy: false })
    }

    /// The length of the file, without what is staged.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a frame to those that the next [`Self::write`] writes; `fill` appends its payload.
    /// Returns the frame's offset.
    pub(crate) fn stage(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<u64> {
        let offset = self.end + self.buffer.len() as u64;
        push_frame(&mut self.buffer, self.synced, fill).map_err(|e| e.within(file(&self.path)))?;
        Ok(offset)
    }

    /// Forgets what is staged.
    pub(crate) fn unstage(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
    }

    /// Hands the staged frames to the operating system. On an error none of them is in the log.
    pub(crate) fn write(&mut self) -> Result<()> {
        let written = self
            .tidy()
            .and_then(|()| self.write_buffer().map_err(|e| Error::io("write", &self.path, e)));
        if written.is_ok() {
            self.end += self.buffer.len() as u64;
        }
        self.unstage();
        if written.is_err() {
            self.roll_back(self.end);
        }
        written
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.tidy()?;
        if self.synced < self.end {
            self.sync_file()?;
            self.synced = self.end;
        }
        Ok(())
    }

    /// [`Self::write`] and [`Self::sync`]. On an error none of the staged frames is in the log.
    pub(crate) fn write_durably(&mut self) -> Result<()> {
        let before = self.end;
        self.write()?;
        self.sync().inspect_err(|_| self.roll_back(before))
    }

    /// Takes back what was written at `end` and behind it, and what is staged.
    pub(crate) fn roll_back(&mut self, end: u64) {
        self.unstage();
        self.end = end;
        self.synced = self.synced.min(end);
        self.is_untidy = true;
        if let Err(error) = self.tidy() {
            // The next write tries again, and fails if that does.
            tracing::warn!(%error, "a failed write could not be taken back yet");
        }
    }

    /// What was written up to `end` is durable: somebody else has seen to it.
    pub(crate) fn note_synced(&mut self, end: u64) {
        self.synced = self.synced.max(end.min(self.end));
    }

    /// Takes back what is not durable.
    pub(crate) fn roll_back_unsynced(&mut self) {
        self.roll_back(self.synced);
    }

    /// Makes writes fail, as if the disk refused, until called again.
    #[cfg(test)]
    pub(crate) fn refuse_writes(&mut self, refuse: bool) {
        let opened = std::fs::OpenOptions::new().read(refuse).append(!refuse).open(&self.path);
        self.file = Box::new(opened.expect("the log can be opened"));
    }

    fn write_buffer(&mut self) -> std::io::Result<()> {
        self.is_untidy = true;
        self.file.write_all(&self.buffer)?;
        self.is_untidy = false;
        Ok(())
    }

    fn tidy(&mut self) -> Result<()> {
        if self.is_untidy {
            self.truncate_file()?;
            self.is_untidy = false;
        }
        Ok(())
    }

    fn truncate_file(&mut self) -> Result<()> {
        self.file.set_len(self.end).map_err(|e| Error::io("truncate", &self.path, e))?;
        // What is durable must end there for good. Where more is not durable yet, a sync that fails
        // would leave that in doubt, too.
        if self.synced == self.end { self.sync_file() } else { Ok(()) }
    }

    fn sync_file(&mut self) -> Result<()> {
        self.file.sync().map_err(|e| Error::io("sync", &self.path, e))
    }
}

/// Reads frames from one file, in order. The file may grow meanwhile.
#[derive(Debug)]
pub(crate) struct FrameReader {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
    /// The file's length when last asked.
    length: u64,
}

impl FrameReader {
    /// # Errors
    /// `Corrupt` if the file is not a log of `kind`.
    pub(crate) fn open(path: &Path, kind: Kind) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        let length = file_bytes(&file, path)?;
        let mut file = BufReader::with_capacity(READ_BUFFER_BYTES, file);
        let mut found = [0; HEADER_BYTES];
        match file.read_exact(&mut found) {
            Ok(()) => check_header(path, &found, kind)?,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(corrupt(path, 0, "the file's header is cut short"));
            }
            Err(error) => return Err(Error::io("read", path, error)),
        }
        Ok(Self { path: path.to_owned(), file, offset: HEADER_BYTES as u64, length })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next frame begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes to a frame whose offset is known.
    pub(crate) fn seek(&mut self, offset: u64) -> Result<()> {
        let moved = self.file.seek(SeekFrom::Start(offset));
        moved.map_err(|e| Error::io("read", &self.path, e))?;
        self.offset = offset;
        Ok(())
    }

    /// The frame here, and goes behind it.
    pub(crate) fn next(&mut self) -> Result<Next> {
        let read = self.read_frame()?;
        match &read {
            Next::Frame(frame) => {
                self.offset += (PRELUDE_BYTES + frame.payload.len()) as u64;
            }
            Next::End | Next::Damaged(_) => self.seek(self.offset)?,
        }
        Ok(read)
    }

    /// What `damage` cuts off, if it may be what a crash leaves behind.
    ///
    /// # Errors
    /// `Corrupt` if a frame behind it says that these bytes were durable once.
    pub(crate) fn torn(&mut self, damage: &Damage) -> Result<Cut> {
        self.length = file_bytes(self.file.get_ref(), &self.path)?;
        if let Some(behind) = self.find_witness(damage.offset)? {
            return Err(corrupt(
                &self.path,
                damage.offset,
                format!("{}, but the frame at byte {behind} is whole", damage.reason),
            ));
        }
        Ok(Cut {
            file: self.path.clone(),
            offset: damage.offset,
            bytes: self.length.saturating_sub(damage.offset),
            reason: damage.reason.to_owned(),
        })
    }

    fn read_frame(&mut self) -> Result<Next> {
        let offset = self.offset;
        let damaged = |reason| Ok(Next::Damaged(Damage { offset, reason }));
        let left = self.bytes_left(PRELUDE_BYTES as u64)?;
        if left == 0 {
            return Ok(Next::End);
        }
        if left < PRELUDE_BYTES as u64 {
            return damaged("the last frame is cut short");
        }
        let mut bytes = [0; PRELUDE_BYTES];
        if !self.fill(&mut bytes)? {
            return damaged("the last frame is cut short");
        }
        if bytes == [0; PRELUDE_BYTES] {
            return damaged("there are zeros where a frame should begin");
        }
        let prelude = Prelude::read(bytes);
        let Some(payload_bytes) = prelude.payload_bytes(self.offset) else {
            return damaged("a frame has an impossible length");
        };
        let frame_bytes = (PRELUDE_BYTES + payload_bytes) as u64;
        if self.bytes_left(frame_bytes)? < frame_bytes {
            return damaged("the last frame is cut short");
        }
        let mut payload = MutableBuffer::from_len_zeroed(payload_bytes);
        if !self.fill(payload.as_slice_mut())? {
            return damaged("the last frame is cut short");
        }
        let mut hasher = prelude.hasher();
        hasher.update(&payload);
        if hasher.finalize() != prelude.crc {
            return damaged("a frame's checksum does not match its content");
        }
        Ok(Next::Frame(Frame { offset: self.offset, payload: payload.into() }))
    }

    /// The bytes from here to the end of the file, which is asked for its length only if there
    /// seem to be fewer than `wanted`.
    fn bytes_left(&mut self, wanted: u64) -> Result<u64> {
        if self.length.saturating_sub(self.offset) < wanted {
            self.length = file_bytes(self.file.get_ref(), &self.path)?;
        }
        Ok(self.length.saturating_sub(self.offset))
    }

    /// `false`: the file ends before `bytes` is full, because somebody cut it just now.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<bool> {
        match self.file.read_exact(bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(Error::io("read", &self.path, error)),
        }
    }

    /// The offset of a whole frame that was written when the bytes at `damaged` were durable.
    fn find_witness(&self, damaged: u64) -> Result<Option<u64>> {
        const WINDOW_BYTES: u64 = 1 << 20;
        let read_error = |e| Error::io("read", &self.path, e);
        let mut file = File::open(&self.path).map_err(read_error)?;
        let mut window = Vec::new();
        let mut start = damaged + 1;
        while start + (PRELUDE_BYTES as u64) < self.length {
            window.clear();
            file.seek(SeekFrom::Start(start)).map_err(read_error)?;
            (&file).take(WINDOW_BYTES).read_to_end(&mut window).map_err(read_error)?;
            let Some(last) = window.len().checked_sub(PRELUDE_BYTES) else { break };
            for at in 0..=last {
                let Ok(bytes) = window[at..at + PRELUDE_BYTES].try_into() else { break };
                let prelude = Prelude::read(bytes);
                let offset = start + at as u64;
                if prelude.synced > damaged && self.is_frame(&mut file, offset, prelude)? {
                    return Ok(Some(offset));
                }
            }
            start += last as u64 + 1;
        }
        Ok(None)
    }

    fn is_frame(&self, file: &mut File, offset: u64, prelude: Prelude) -> Result<bool> {
        let Some(payload_bytes) = prelude.payload_bytes(offset) else { return Ok(false) };
        let start = offset + PRELUDE_BYTES as u64;
        if start + payload_bytes as u64 > self.length {
            return Ok(false);
        }
        let mut hasher = prelude.hasher();
        let mut part = vec![0; payload_bytes.min(READ_BUFFER_BYTES)];
        let mut left = payload_bytes;
        file.seek(SeekFrom::Start(start)).map_err(|e| Error::io("read", &self.path, e))?;
        while left > 0 {
            let part = &mut part[..left.min(READ_BUFFER_BYTES)];
            file.read_exact(part).map_err(|e| Error::io("read", &self.path, e))?;
            hasher.update(part);
            left -= part.len();
        }
        Ok(hasher.finalize() == prelude.crc)
    }
}

/// Reads a log from its first frame to its last whole one. Returns where that ends and, if there is
/// something torn behind it, what.
///
/// # Errors
/// `Corrupt` if the log is damaged anywhere else; what `each` returns.
pub(crate) fn scan(
    path: &Path,
    kind: Kind,
    mut each: impl FnMut(Frame) -> Result<()>,
) -> Result<(u64, Option<Cut>)> {
    let mut reader = FrameReader::open(path, kind)?;
    loop {
        match reader.next()? {
            Next::Frame(frame) => each(frame)?,
            Next::End => return Ok((reader.offset(), None)),
            Next::Damaged(damage) => {
                let cut = reader.torn(&damage)?;
                return Ok((damage.offset, Some(cut)));
            }
        }
    }
}

fn header(kind: Kind) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&(kind as u16).to_le_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

fn check_header(path: &Path, found: &[u8; HEADER_BYTES], kind: Kind) -> Result<()> {
    if found[..] == header(kind)[..] {
        return Ok(());
    }
    let [before @ .., c0, c1, c2, c3] = found;
    let is_intact = found.starts_with(&MAGIC)
        && crc32fast::hash(before) == u32::from_le_bytes([*c0, *c1, *c2, *c3]);
    if !is_intact {
        return Err(corrupt(path, 0, "the file does not begin like a log of Syncline"));
    }
    let format = u16::from_le_bytes([found[8], found[9]]);
    if format != FORMAT {
        return Err(Error::unsupported(format!("{} has format {format}", path.display()))
            .detail(format!("this version of Syncline reads format {FORMAT}"))
            .hint("use the version that wrote it"));
    }
    Err(corrupt(path, 0, "the file is a log of another kind"))
}

/// Appends a frame to `out`. On an error `out` is as it was.
fn push_frame(
    out: &mut Vec<u8>,
    synced: u64,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; PRELUDE_BYTES]);
    let filled = fill(out).and_then(|()| check_payload(out.len() - start - PRELUDE_BYTES));
    let payload_bytes = filled.inspect_err(|_| out.truncate(start))?;
    let mut prelude = Prelude { len: payload_bytes + SYNCED_BYTES as u32, crc: 0, synced };
    let mut hasher = prelude.hasher();
    hasher.update(&out[start + PRELUDE_BYTES..]);
    prelude.crc = hasher.finalize();
    out[start..start + 4].copy_from_slice(&prelude.len.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&prelude.crc.to_le_bytes());
    out[start + 8..start + 16].copy_from_slice(&prelude.synced.to_le_bytes());
    Ok(())
}

fn check_payload(bytes: usize) -> Result<u32> {
    match u32::try_from(bytes) {
        Ok(0) => Err(Error::bug("a frame without content was to be written")),
        Ok(fitting) if bytes <= PAYLOAD_BYTES_MAX => Ok(fitting),
        Ok(_) | Err(_) => {
            Err(Error::unsupported(format!("an entry of {bytes} bytes is too large"))
                .detail(format!("an entry has at most {PAYLOAD_BYTES_MAX} bytes"))
                .hint("let an epoch hold fewer rows: run.epoch.max_rows"))
        }
    }
}

fn file_bytes(file: &File, path: &Path) -> Result<u64> {
    Ok(file.metadata().map_err(|e| Error::io("read", path, e))?.len())
}

fn file(path: &Path) -> std::path::Display<'_> {
    path.display()
}

#[cfg(test)]
mod tests;
