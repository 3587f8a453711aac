//! A bundle: a folder as one file, to be kept or sent and unpacked elsewhere.
//!
//! A tar archive (POSIX ustar), compressed with zstd, whose first entry `bundle.json` names every other
//! file with its size and hash. Nothing is unpacked that it does not name, nothing outside of the
//! folder, and nothing larger than it says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use syncline_change::{Error, Result};

use crate::disk::RealDisk;
use crate::fs;

/// The version of bundles that this build reads, with those before it. A whole run is written in the first,
/// a slice in the second.
const FORMAT: u32 = 2;

const CONTENTS: &str = "bundle.json";
/// Bounds what is read before anything is known.
const CONTENTS_BYTES_MAX: u64 = 64 << 20;
/// A level at which zstd is about as fast as a disk.
const ZSTD_LEVEL: i32 = 3;

/// What is in a bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    format: u32,
    /// Of the Syncline that wrote it.
    pub version: String,
    pub pipeline: String,
    /// The first epoch that is in it, of a slice (see [`crate::slices`]); `None`: the run is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The last epoch that is in it.
    pub epoch: u64,
    /// Files that the journal refers to and that are not in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    files: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    bytes: u64,
    /// BLAKE3, in hex.
    hash: String,
}

impl Contents {
    pub fn new(version: &str, pipeline: &str, epoch: u64, references: Vec<String>) -> Self {
        Self {
            format: 1,
            version: version.to_owned(),
            pipeline: pipeline.to_owned(),
            from: None,
            epoch,
            references,
            files: BTreeMap::new(),
        }
    }

    /// Of a slice that begins with the epoch `from`.
    pub fn of_slice(self, from: u64) -> Self {
        Self { format: 2, from: Some(from), ..self }
    }

    /// The bytes of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|entry| entry.bytes).sum()
    }
}

/// Writes all files of `folder` into the bundle `path`, which appears as a whole or not at all.
/// Returns what is in it.
///
/// # Errors
/// `Storage` if a file cannot be read or written.
pub fn pack(folder: &Path, mut contents: Contents, path: &Path) -> Result<Contents> {
    let files = files_of(folder)?;
    for file in &files {
        let bytes = std::fs::read(folder.join(file)).map_err(|e| Error::io("read", file, e))?;
        let hash = blake3::hash(&bytes).to_hex().to_string();
        contents.files.insert(name_of(file)?, Entry { bytes: bytes.len() as u64, hash });
    }
    let unfinished = path.with_extension("unfinished");
    let written = write(folder, &contents, &unfinished)
        .and_then(|()| std::fs::rename(&unfinished, path).map_err(|e| Error::io("write", path, e)));
    if written.is_err() {
        // It would be of no use to anybody.
        let _ = std::fs::remove_file(&unfinished);
    }
    written.map(|()| contents)
}

fn write(folder: &Path, contents: &Contents, path: &Path) -> Result<()> {
    let failed = |error| Error::io("write", path, error);
    let file = File::create(path).map_err(|error| Error::io("create", path, error))?;
    let compressed = zstd::Encoder::new(BufWriter::new(file), ZSTD_LEVEL).map_err(failed)?;
    let mut archive = tar::Builder::new(compressed);
    let text = serde_json::to_vec_pretty(contents)
        .map_err(|error| Error::bug("a bundle's contents have no JSON form").source(error))?;
    let mut append = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        // The same content is the same bundle: no times, no owners.
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes)
    };
    append(CONTENTS, &text).map_err(failed)?;
    for name in contents.files.keys() {
        let file = folder.join(name);
        let bytes = std::fs::read(&file).map_err(|error| Error::io("read", &file, error))?;
        append(name, &bytes).map_err(failed)?;
    }
    let file = archive.into_inner().and_then(zstd::Encoder::finish).map_err(failed)?;
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)
}

/// Unpacks a bundle into an empty folder, which is created.
///
/// # Errors
/// `Corrupt` if it is no bundle, or a file in it is not what its contents say; `Unsupported` if a
/// newer version wrote it.
pub fn unpack(path: &Path, into: &Path) -> Result<Contents> {
    let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
    let damaged = |what: String| {
        Error::corrupt(format!("{} cannot be read as a bundle", path.display()))
            .detail(what)
            .hint("fetch it again, or ask for another copy")
    };
    let unreadable = |error: io::Error| damaged(error.to_string());
    let decompressed = zstd::Decoder::new(BufReader::new(file)).map_err(unreadable)?;
    let mut archive = tar::Archive::new(decompressed);
    let mut entries = archive.entries().map_err(unreadable)?;
    let first = entries.next().ok_or_else(|| damaged("it is empty".to_owned()))?;
    let contents = read_contents(first.map_err(unreadable)?, &damaged)?;
    let mut missing: BTreeMap<&String, &Entry> = contents.files.iter().collect();
    fs::create_dir(&RealDisk, into)?;
    for entry in entries {
        let mut entry = entry.map_err(unreadable)?;
        let name = entry.path().map_err(unreadable)?.to_string_lossy().into_owned();
        let Some(expected) = missing.remove(&name) else {
            return Err(damaged(format!("its contents do not name `{}`", name.escape_debug())));
        };
        let mut bytes = Vec::new();
        entry.by_ref().take(expected.bytes + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        let hash = blake3::hash(&bytes).to_hex();
        if bytes.len() as u64 != expected.bytes || hash.as_str() != expected.hash {
            return Err(damaged(format!("`{}` is not what was packed", name.escape_debug())));
        }
        let to = into.join(safe(&name).ok_or_else(|| {
            damaged(format!("`{}` would be outside of its folder", name.escape_debug()))
        })?);
        if let Some(folder) = to.parent() {
            fs::create_dir(&RealDisk, folder)?;
        }
        let mut file = File::create(&to).map_err(|error| Error::io("create", &to, error))?;
        file.write_all(&bytes).map_err(|error| Error::io("write", &to, error))?;
    }
    match missing.keys().next() {
        Some(name) => Err(damaged(format!("`{}` is missing", name.escape_debug()))),
        None => Ok(contents),
    }
}

fn read_contents(
    mut entry: tar::Entry<'_, impl Read>,
    damaged: &impl Fn(String) -> Error,
) -> Result<Contents> {
    let is_first = entry.path().is_ok_and(|path| path == Path::new(CONTENTS));
    if !is_first {
        return Err(damaged(format!("it does not begin with {CONTENTS}")));
    }
    let mut text = Vec::new();
    let read = entry.by_ref().take(CONTENTS_BYTES_MAX).read_to_end(&mut text);
    read.map_err(|error| damaged(error.to_string()))?;
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } =
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if format > FORMAT {
        return Err(Error::unsupported(format!("the bundle has format {format}"))
            .detail(format!("this version of Syncline reads formats up to {FORMAT}"))
            .hint("update Syncline"));
    }
    serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))
}

/// Whether a file begins as bundles do (and as anything else that zstd has compressed).
pub fn is_bundle(path: &Path) -> bool {
    const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let mut start = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == ZSTD_MAGIC
}

/// A name as a path that stays in its folder.
fn safe(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(name);
    path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
}

/// All files below `folder`, relative to it, in order.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inside) = folders.pop() {
        for path in fs::list(&folder.join(&inside))? {
            let Some(name) = path.file_name() else { continue };
            let relative = inside.join(name);
            if path.is_dir() { folders.push(relative) } else { found.push(relative) }
        }
    }
    found.sort();
    Ok(found)
}

fn name_of(file: &Path) -> Result<String> {
    let name = file.to_str().ok_or_else(|| {
        Error::unsupported(format!("{} cannot be bundled: its name is no text", file.display()))
    })?;
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use syncline_change::ErrorKind;

    use super::*;

    fn folder() -> tempfile::TempDir {
        let dir = crate::scratch::dir();
        std::fs::create_dir_all(dir.path().join("in/data/journal")).unwrap();
        std::fs::write(dir.path().join("in/syncline.yaml"), "name: a").unwrap();
        std::fs::write(dir.path().join("in/data/journal/1.seg"), vec![7; 100_000]).unwrap();
        dir
    }

    fn contents() -> Contents {
        Contents::new("1.0.0", "a", 7, vec![])
    }

    #[test]
    fn what_was_packed_is_unpacked_and_the_same_folder_is_the_same_bundle() {
        let dir = folder();
        let path = dir.path().join("a.bundle");
        let packed = pack(&dir.path().join("in"), contents(), &path).unwrap();
        assert_eq!(packed.bytes(), 100_007);
        assert!(is_bundle(&path));
        let out = dir.path().join("out");
        assert_eq!(unpack(&path, &out).unwrap(), packed);
        assert_eq!(std::fs::read(out.join("data/journal/1.seg")).unwrap(), vec![7; 100_000]);
        let again = dir.path().join("b.bundle");
        pack(&out, contents(), &again).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&again).unwrap());
    }

    #[test]
    fn a_flipped_byte_or_a_cut_is_noticed() {
        let dir = folder();
        let path = dir.path().join("a.bundle");
        pack(&dir.path().join("in"), contents(), &path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let out = dir.path().join("out");
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            std::fs::write(&path, altered).unwrap();
            if let Ok(read) = unpack(&path, &out) {
                // A bit that says nothing (of zstd's own header) may be another.
                assert_eq!(read.bytes(), 100_007, "byte {at}");
            }
        }
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(unpack(&path, &out).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    /// A bundle with the given entries, whose contents name all of them.
    fn forged(dir: &Path, names: &[(&str, &[u8])], listed: &[(&str, &[u8])]) -> PathBuf {
        let mut contents = contents();
        for (name, bytes) in listed {
            let hash = blake3::hash(bytes).to_hex().to_string();
            contents.files.insert((*name).to_owned(), Entry { bytes: bytes.len() as u64, hash });
        }
        let mut archive = tar::Builder::new(Vec::new());
        let text = serde_json::to_vec(&contents).unwrap();
        for (name, bytes) in std::iter::once((CONTENTS, &text[..])).chain(names.iter().copied()) {
            let mut header = tar::Header::new_ustar();
            // The library refuses such names where it writes them.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            archive.append(&header, bytes).unwrap();
        }
        let path = dir.join("forged.bundle");
        let bytes = zstd::encode_all(&archive.into_inner().unwrap()[..], 1).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn nothing_leaves_the_folder_or_is_there_unnamed() {
        let dir = folder();
        let out = dir.path().join("out/in");
        let check = |entries: &[(&str, &[u8])], listed: &[(&str, &[u8])], word: &str| {
            let path = forged(dir.path(), entries, listed);
            let error = unpack(&path, &out).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.detail_text().unwrap().contains(word), "{error:?}");
        };
        let evil: &[(&str, &[u8])] = &[("../evil", b"x")];
        check(evil, evil, "outside");
        check(&[("/tmp/evil", b"x")], &[("/tmp/evil", b"x")], "");
        check(&[("a", b"x")], &[], "do not name");
        check(&[], &[("a", b"x")], "missing");
        check(&[("a", b"longer")], &[("a", b"x")], "not what was packed");
        assert!(!dir.path().join("out/evil").exists());
    }
}
