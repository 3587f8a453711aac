//! The files of the journal: `journal/<source>/<epoch>.seg`, where no epoch in a segment is lower
//! than the one in its name. A segment begins with a frame that says whose it is.

use std::path::{Path, PathBuf};

use syncline_change::Result;

use super::codec::{self, SegmentHead};
use crate::frame::{FrameReader, Kind, Next, corrupt};
use crate::fs;

/// The folder of epochs without input. No source can have this name.
const TICKS: &str = ".ticks";

const EXTENSION: &str = "seg";

pub(super) fn ticks(journal: &Path) -> PathBuf {
    journal.join(TICKS)
}

/// A folder of segments.
#[derive(Debug)]
pub(super) struct Folder {
    /// `None`: the ticks.
    pub(super) source: Option<String>,
    pub(super) path: PathBuf,
}

/// All folders of a journal, by name.
pub(super) fn folders(journal: &Path) -> Result<Vec<Folder>> {
    let mut folders = Vec::new();
    for path in fs::list(journal)?.into_iter().filter(|path| path.is_dir()) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        match name {
            TICKS => folders.push(Folder { source: None, path }),
            hidden if hidden.starts_with('.') => {}
            name => folders.push(Folder { source: Some(name.to_owned()), path }),
        }
    }
    Ok(folders)
}

/// The path of a segment that begins with `epoch`.
pub(super) fn path(folder: &Path, epoch: u64) -> PathBuf {
    folder.join(format!("{epoch:020}.{EXTENSION}"))
}

/// The segments of a folder, oldest first, each with the epoch in its name.
pub(super) fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let epoch = |path: &PathBuf| -> Option<u64> {
        let is_segment = path.extension().is_some_and(|extension| extension == EXTENSION);
        path.file_stem().filter(|_| is_segment)?.to_str()?.parse().ok()
    };
    let paths = fs::list(folder)?.into_iter();
    Ok(paths.filter_map(|path| Some((epoch(&path)?, path))).collect())
}

/// Opens a segment of `source` and reads its head.
pub(super) fn open(
    path: &Path,
    source: Option<&str>,
) -> Result<(FrameReader, SegmentHead, Option<codec::RowDecoder>)> {
    let mut reader = FrameReader::open(path, Kind::Journal)?;
    let offset = reader.offset();
    // The head was durable before the segment had its name, so it is never torn.
    let frame = match reader.next()? {
        Next::Frame(frame) => frame,
        Next::End => return Err(corrupt(path, offset, "the segment's head is cut off")),
        Next::Damaged(damage) => return Err(corrupt(path, offset, damage.reason)),
    };
    let (head, rows) =
        codec::read_segment_head(&frame.payload).map_err(|reason| corrupt(path, offset, reason))?;
    if head.source.as_deref() != source {
        let owner = head.source.as_deref().unwrap_or(TICKS);
        return Err(corrupt(path, offset, format!("the segment belongs to source `{owner}`")));
    }
    Ok((reader, head, rows))
}
