//! The state of checkpoints: immutable pieces in packs, `state/<hash>`.
//!
//! A checkpoint's pack has the pieces that no pack had before, and behind them an index of all pieces
//! of the state, wherever they are. The pack is named by the hash of its index, and the index has the
//! hash of every piece: so a checkpoint that names its pack names all of the state. A piece is written
//! once and then mapped into memory; packs of which less than half is still wanted are left by having
//! the rest written again.
//!
//! ```text
//! pieces, each part aligned to 64 bytes | index (JSON) | length of the index (8 bytes), MAGIC
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::buffer::Buffer;
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use syncline_change::{Error, Result};

use crate::disk::DiskFile;
use crate::{DataDir, fs, spill};

const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"SYNCLSTA";
const ALIGNMENT: u64 = 64;
/// What stands at the end of a pack.
const TRAILER_BYTES: usize = size_of::<u64>() + MAGIC.len();
/// Bytes that are given to the disk at a time.
const WRITE_BYTES: usize = 1 << 20;

/// A piece as it stands in a pack: where, and what must be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The pack; `None` in an index: the one that the index is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pack: Option<String>,
    at: u64,
    /// The length of each part.
    parts: Vec<u64>,
    /// BLAKE3 of all parts, with their lengths.
    hash: String,
}

impl Stored {
    /// Bytes that it takes in its pack.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.next_multiple_of(ALIGNMENT)).sum()
    }

    /// The pack that it is in.
    pub fn pack(&self) -> &str {
        self.pack.as_deref().unwrap_or_default()
    }
}

/// All pieces of a state: of each table, in their order.
pub type Tables = BTreeMap<String, Vec<Stored>>;

#[derive(Serialize, Deserialize)]
struct Index {
    format: u32,
    tables: Tables,
}

/// A pack while it is being written.
pub struct PackWriter<'a> {
    dir: &'a DataDir,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    /// What was not given to the disk yet.
    buffer: Vec<u8>,
    at: u64,
}

impl<'a> PackWriter<'a> {
    /// # Errors
    /// `Storage` if the disk refuses.
    pub fn begin(dir: &'a DataDir) -> Result<Self> {
        dir.require_lock()?;
        let folder = dir.state();
        fs::create_dir(&**dir.disk(), &folder)?;
        let path = folder.join(format!("checkpoint{}", fs::UNFINISHED));
        let file = dir.disk().create(&path).map_err(|error| Error::io("create", &path, error))?;
        Ok(Self { dir, file, path, buffer: Vec::new(), at: 0 })
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// `Storage` if the disk refuses; then the pack is of no use.
    pub fn add(&mut self, parts: &[&[u8]]) -> Result<Stored> {
        let at = self.at;
        for part in parts {
            self.write(part)?;
            let padding = self.at.next_multiple_of(ALIGNMENT) - self.at;
            self.write(&[0; ALIGNMENT as usize][..padding as usize])?;
        }
        let lengths = parts.iter().map(|part| part.len() as u64).collect();
        Ok(Stored { pack: None, at, parts: lengths, hash: hash(parts.iter().copied()) })
    }

    /// Ends the pack with the index of all `tables`, whose pieces may be in other packs; durable on
    /// return. Returns its name, and the tables with it.
    ///
    /// # Errors
    /// `Storage` if the disk refuses.
    pub fn finish(mut self, mut tables: Tables) -> Result<(String, Tables)> {
        let index = Index { format: FORMAT, tables };
        let text = serde_json::to_vec(&index)
            .map_err(|error| Error::bug("an index has no JSON form").source(error))?;
        self.write(&text)?;
        self.write(&(text.len() as u64).to_le_bytes())?;
        self.write(MAGIC)?;
        self.flush()?;
        self.file.sync().map_err(|error| Error::io("sync", &self.path, error))?;
        let name = blake3::hash(&text).to_hex().to_string();
        let path = self.dir.state().join(&name);
        let disk = self.dir.disk();
        disk.rename(&self.path, &path).map_err(|error| Error::io("write", &path, error))?;
        fs::sync_parent(&**disk, &path)?;
        tables = index.tables;
        own_pack(&mut tables, &name);
        Ok((name, tables))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.at += bytes.len() as u64;
        // Nothing large is copied.
        let (whole, rest) = bytes.split_at(bytes.len() / WRITE_BYTES * WRITE_BYTES);
        if !whole.is_empty() {
            self.flush()?;
        }
        for part in whole.chunks(WRITE_BYTES) {
            self.file.write_all(part).map_err(|error| Error::io("write", &self.path, error))?;
        }
        self.buffer.extend_from_slice(rest);
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.file.write_all(&self.buffer);
        self.buffer.clear();
        written.map_err(|error| Error::io("write", &self.path, error))
    }
}

/// Names the pack of pieces that are in the same one as their index.
fn own_pack(tables: &mut Tables, name: &str) {
    for stored in tables.values_mut().flatten() {
        stored.pack.get_or_insert_with(|| name.to_owned());
    }
}

fn hash<'b>(parts: impl Iterator<Item = &'b [u8]>) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("syncline 1 piece of state");
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.finalize().to_hex().to_string()
}

/// Packs that are mapped into memory.
#[derive(Debug, Default)]
pub struct Packs {
    maps: BTreeMap<String, Arc<Mmap>>,
}

impl Packs {
    /// The pieces that the index of a pack names; `None`: there is no such pack.
    ///
    /// # Errors
    /// `Corrupt` if the pack is not what was written, `Unsupported` if a newer version wrote it.
    pub fn index(&mut self, dir: &DataDir, name: &str) -> Result<Option<Tables>> {
        let path = path(dir, name)?;
        if !path.exists() {
            return Ok(None);
        }
        let map = self.open(dir, name)?;
        let damaged = |what: &str| damaged(&path, what);
        let body = map.len().checked_sub(TRAILER_BYTES);
        let (body, trailer) = map.split_at(body.ok_or_else(|| damaged("it is too short"))?);
        let (length, magic) = trailer.split_at(size_of::<u64>());
        if magic != MAGIC {
            return Err(damaged("it does not end as a pack does"));
        }
        let length = u64::from_le_bytes(*length.first_chunk().unwrap_or(&[0; 8]));
        let length = usize::try_from(length).ok();
        let start = length.and_then(|length| body.len().checked_sub(length));
        let text = &body[start.ok_or_else(|| damaged("its index is longer than the file"))?..];
        if blake3::hash(text).to_hex().as_str() != name {
            return Err(damaged("its index is not the one that it is named by"));
        }
        let index: Index = serde_json::from_slice(text)
            .map_err(|error| damaged("its index cannot be read").source(error))?;
        if index.format > FORMAT {
            return Err(Error::unsupported(format!(
                "{} has format {}",
                path.display(),
                index.format
            ))
            .detail(format!("this version of Syncline knows up to {FORMAT}"))
            .hint("update Syncline"));
        }
        let mut tables = index.tables;
        own_pack(&mut tables, name);
        Ok(Some(tables))
    }

    /// Maps the pack of a piece, if it is not mapped yet.
    fn open(&mut self, dir: &DataDir, name: &str) -> Result<Arc<Mmap>> {
        if let Some(map) = self.maps.get(name) {
            return Ok(map.clone());
        }
        let path = path(dir, name)?;
        let file = File::open(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => damaged(&path, "it is missing"),
            _ => Error::io("open", &path, error),
        })?;
        if file.metadata().is_ok_and(|meta| meta.len() == 0) {
            return Err(damaged(&path, "it is empty"));
        }
        let map = map(&file).map_err(|error| Error::io("map", &path, error))?;
        let map = Arc::new(map);
        self.maps.insert(name.to_owned(), map.clone());
        Ok(map)
    }

    /// The parts of a piece, where they are.
    ///
    /// # Errors
    /// `Corrupt` if the pack does not reach so far, `Storage` if it cannot be opened.
    pub fn read(&mut self, dir: &DataDir, stored: &Stored) -> Result<Vec<Buffer>> {
        let map = self.open(dir, stored.pack())?;
        let mut at = stored.at;
        let mut parts = Vec::with_capacity(stored.parts.len());
        for &length in &stored.parts {
            let end = at.checked_add(length).filter(|end| *end <= map.len() as u64);
            let end = end.ok_or_else(|| {
                damaged(&dir.state().join(stored.pack()), "it is shorter than when it was written")
            })?;
            parts.push(spill::buffer(&map, at as usize, length as usize));
            at = end.next_multiple_of(ALIGNMENT);
        }
        Ok(parts)
    }

    /// Lets go of packs that are not among `names`; what was read of them stays readable.
    pub fn retain(&mut self, names: &BTreeSet<String>) {
        self.maps.retain(|name, _| names.contains(name));
    }
}

/// Whether the parts of a piece are as they were written.
///
/// # Errors
/// `Corrupt` if they are not.
pub fn check(dir: &DataDir, stored: &Stored, parts: &[Buffer]) -> Result<()> {
    if hash(parts.iter().map(Buffer::as_slice)) == stored.hash {
        return Ok(());
    }
    Err(damaged(&dir.state().join(stored.pack()), "a piece of it is not what was written"))
}

/// Removes packs that are not among `names`.
///
/// # Errors
/// `Storage` if the disk refuses.
pub fn retain(dir: &DataDir, names: &BTreeSet<String>) -> Result<()> {
    dir.require_lock()?;
    for path in fs::list(&dir.state())? {
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| is_name(name) && !names.contains(name)) {
            fs::remove(&**dir.disk(), &path)?;
        }
    }
    Ok(())
}

/// The size of each pack that there is.
///
/// # Errors
/// `Storage` if they cannot be listed.
pub fn sizes(dir: &DataDir) -> Result<BTreeMap<String, u64>> {
    let mut sizes = BTreeMap::new();
    for path in fs::list(&dir.state())? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if is_name(name) {
            let meta = path.metadata().map_err(|error| Error::io("read", &path, error))?;
            sizes.insert(name.to_owned(), meta.len());
        }
    }
    Ok(sizes)
}

fn is_name(name: &str) -> bool {
    name.len() == 2 * blake3::OUT_LEN && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn path(dir: &DataDir, name: &str) -> Result<PathBuf> {
    if is_name(name) {
        return Ok(dir.state().join(name));
    }
    Err(Error::corrupt(format!("`{}` is no name of a pack of state", name.escape_debug())))
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::corrupt(format!("{} is damaged", path.display())).detail(what).hint(
        "remove the folder `state` of the data directory: the state is then made anew from the \
         journal, if that has all epochs",
    )
}

#[allow(unsafe_code, reason = "a mapped file is read without being copied")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: packs are never written to once they have their name, and the data directory belongs to
    // the process that holds its lock. Removing one leaves what is mapped.
    unsafe { Mmap::map(file) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use syncline_change::ErrorKind;

    use super::*;
    use crate::scratch;

    fn bytes(parts: &[Buffer]) -> Vec<&[u8]> {
        parts.iter().map(Buffer::as_slice).collect()
    }

    #[test]
    fn pieces_come_back_from_packs_and_go_with_them() {
        let scratch = scratch::dir();
        let dir = DataDir::open(scratch.path()).unwrap();
        let long = vec![7; 3 * WRITE_BYTES];
        let mut first = PackWriter::begin(&dir).unwrap();
        let a = first.add(&[b"one", b"", &long]).unwrap();
        let b = first.add(&[b"two"]).unwrap();
        let tables = BTreeMap::from([("t".to_owned(), vec![a, b])]);
        let (first, tables) = first.finish(tables).unwrap();

        let mut second = PackWriter::begin(&dir).unwrap();
        let c = second.add(&[b"three"]).unwrap();
        let old = tables["t"][1].clone();
        assert_eq!(old.pack(), first);
        let (second, _) = second.finish(BTreeMap::from([("t".to_owned(), vec![old, c])])).unwrap();

        let mut packs = Packs::default();
        assert_eq!(packs.index(&dir, &"0".repeat(64)).unwrap(), None);
        assert_eq!(packs.index(&dir, "../x").unwrap_err().kind(), ErrorKind::Corrupt);
        let read = packs.index(&dir, &first).unwrap().unwrap();
        let parts = packs.read(&dir, &read["t"][0]).unwrap();
        assert_eq!(bytes(&parts), [&b"one"[..], b"", &long]);
        assert!(parts.iter().all(|part| part.as_ptr().align_offset(64) == 0 || part.is_empty()));
        check(&dir, &read["t"][0], &parts).unwrap();
        let read = packs.index(&dir, &second).unwrap().unwrap();
        assert_eq!(bytes(&packs.read(&dir, &read["t"][0]).unwrap()), [b"two"]);
        assert_eq!(bytes(&packs.read(&dir, &read["t"][1]).unwrap()), [b"three"]);
        assert_eq!(sizes(&dir).unwrap().len(), 2);

        retain(&dir, &BTreeSet::from([second.clone()])).unwrap();
        // An index may be left of which some pieces have gone.
        let mut others = Packs::default();
        let read = others.index(&dir, &second).unwrap().unwrap();
        assert_eq!(others.read(&dir, &read["t"][0]).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(sizes(&dir).unwrap().into_keys().collect::<Vec<_>>(), [second]);
        assert_eq!(bytes(&parts), [&b"one"[..], b"", &long], "what was read stays");
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let scratch = scratch::dir();
        let dir = DataDir::open(scratch.path()).unwrap();
        let mut pack = PackWriter::begin(&dir).unwrap();
        let piece = pack.add(&[b"some bytes", b"others"]).unwrap();
        let (name, _) = pack.finish(BTreeMap::from([("t".to_owned(), vec![piece])])).unwrap();
        let path = dir.state().join(&name);
        let whole = std::fs::read(&path).unwrap();
        let read = || {
            let mut packs = Packs::default();
            let tables = packs.index(&dir, &name)?.unwrap();
            let parts = packs.read(&dir, &tables["t"][0])?;
            check(&dir, &tables["t"][0], &parts)
        };
        read().unwrap();
        let is_padding = |at: usize| (10..64).contains(&at) || (70..128).contains(&at);
        for at in (0..whole.len()).filter(|&at| !is_padding(at)) {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            std::fs::write(&path, &altered).unwrap();
            assert_eq!(read().unwrap_err().kind(), ErrorKind::Corrupt, "byte {at}");
        }
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(read().unwrap_err().kind(), ErrorKind::Corrupt, "{length} bytes");
        }
    }
}
