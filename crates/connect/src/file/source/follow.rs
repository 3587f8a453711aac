//! Files that grow while they are read, are replaced, or start over.

use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};

use syncline_change::{Error, Result, row};

use super::listing::Found;
use super::outlet::Stop;
use super::position::{Identity, Mark, Place, inode};
use super::reader::Reader;

/// How much of a file's head tells it from another one.
const HEAD_BYTES_MAX: u64 = 1024;

/// Files that are kept open between looks, so that what was written to one before it was renamed is
/// still read. Beyond it files are opened anew at each look.
const OPEN_FILES_MAX: usize = 256;

/// A file that is kept open.
#[derive(Debug)]
pub(super) struct Followed {
    file: File,
    inode: Option<u64>,
    /// Its length when it was last read to the end.
    length_read: u64,
}

impl Reader {
    /// Reads what was added to a file since the last look. Returns whether there was anything.
    pub(super) fn read_appended(&mut self, found: &Found) -> Result<bool, Stop> {
        let metadata = match std::fs::metadata(&found.path) {
            Ok(metadata) => metadata,
            // Renamed or removed between the listing and now.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io("read", &found.path, error).into()),
        };
        let mut has_read = false;
        if let Some(mut old) = self.followed.remove(&found.name) {
            let length = old.file.metadata().map_err(|e| Error::io("read", &found.path, e))?.len();
            let is_same = old.inode == inode(&metadata);
            if is_same && length == old.length_read {
                self.followed.insert(found.name.clone(), old);
                return Ok(false);
            }
            if !is_same && length > old.length_read {
                // What was written to the old file before it was renamed.
                has_read = self.read_stretch(found, &mut old.file, length, true)?;
            }
        }
        let mut file = match File::open(&found.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(has_read),
            Err(error) => return Err(Error::io("open", &found.path, error).into()),
        };
        let metadata = file.metadata().map_err(|e| Error::io("read", &found.path, e))?;
        self.check_identity(found, &mut file, &metadata)?;
        // No further than the identity was taken of: the mark and it go together.
        has_read |= self.read_stretch(found, &mut file, metadata.len(), true)?;
        if self.followed.len() < OPEN_FILES_MAX {
            let followed = Followed { file, inode: inode(&metadata), length_read: metadata.len() };
            self.followed.insert(found.name.clone(), followed);
        }
        Ok(has_read)
    }

    /// If a file that nobody has read is one that was read under another name, its mark goes with
    /// it.
    pub(super) fn adopt_renamed(&mut self, found: &Found) -> Result<(), Stop> {
        if self.outlet().marks().files.contains_key(&found.name) {
            return Ok(());
        }
        let Ok(mut file) = File::open(&found.path) else { return Ok(()) };
        let metadata = file.metadata().map_err(|e| Error::io("read", &found.path, e))?;
        let number = inode(&metadata);
        let has_number = |mark: &Mark| mark.identity.as_ref().is_some_and(|i| i.inode == number);
        let marks = &self.outlet().marks().files;
        let same = marks.iter().find(|(_, mark)| number.is_some() && has_number(mark));
        let Some((old, mark)) = same.map(|(old, mark)| (old.clone(), mark.clone())) else {
            return Ok(());
        };
        // The same file under two names is no renamed one.
        let is_still_there =
            std::fs::metadata(self.path_of(&old)).is_ok_and(|m| inode(&m) == number);
        let now = identity_like(&mark, &mut file, &metadata, found)?;
        if !is_still_there && mark.identity == Some(now) {
            tracing::info!(file = found.name, was = old, "a file was renamed; it is read on");
            self.followed.remove(&old);
            self.outlet().rename(&old, &found.name);
        }
        Ok(())
    }

    /// Starts a file over that was replaced or cut short, and notes which file it is.
    fn check_identity(
        &mut self,
        found: &Found,
        file: &mut File,
        metadata: &Metadata,
    ) -> Result<(), Stop> {
        let length = metadata.len();
        let mark = self.outlet().mark_mut(&found.name, Mark::start_of_text).clone();
        let Place::Text { offset, .. } = mark.place else { return Ok(()) };
        let is_other = match &mark.identity {
            None => false,
            Some(was) if was.inode == inode(metadata) => false,
            // Another number, but the same content so far: a copy, or saved by an editor.
            Some(was) => identity_like(&mark, file, metadata, found)?.head != was.head,
        };
        let is_cut = offset > length;
        let mut now = mark;
        if is_other || is_cut {
            let what = if is_other { "was replaced" } else { "was cut short" };
            tracing::warn!(
                file = found.name,
                offset_read = offset,
                length_now = length,
                "a file {what}; it is read from its start"
            );
            now = Mark::start_of_text();
        }
        if now.identity.as_ref().is_none_or(|identity| identity.head_length < HEAD_BYTES_MAX)
            || now.identity.as_ref().is_some_and(|i| i.inode != inode(metadata))
        {
            now.identity = Some(identity(file, metadata, length.min(HEAD_BYTES_MAX), found)?);
        }
        *self.outlet().mark_mut(&found.name, Mark::start_of_text) = now;
        Ok(())
    }
}

/// The identity of `file` by as much of its head as that of `mark` has.
fn identity_like(
    mark: &Mark,
    file: &mut File,
    metadata: &Metadata,
    found: &Found,
) -> Result<Identity> {
    let length = mark.identity.as_ref().map_or(0, |identity| identity.head_length);
    identity(file, metadata, length, found)
}

fn identity(
    file: &mut File,
    metadata: &Metadata,
    head_length: u64,
    found: &Found,
) -> Result<Identity> {
    let failed = |error| Error::io("read", &found.path, error);
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    file.take(head_length).read_to_end(&mut head).map_err(failed)?;
    Ok(Identity { inode: inode(metadata), head: row::hash(&head), head_length })
}
