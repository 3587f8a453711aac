//! Letting go of segments: what a journal does not have any more, it says so.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use syncline_change::{Error, Result};

use super::segment;
use crate::sealed::Sealed;
use crate::{DataDir, fs};

const FILE: Sealed = Sealed {
    name: "journal",
    format: 1,
    hint: "restore the file from a backup; nothing was changed",
};

/// The newest segments of a source stay: what a start looks at is in them.
const NEWEST_KEPT: usize = 2;

#[derive(Serialize, Deserialize)]
struct Start {
    /// The first epoch that is there as a whole.
    first: u64,
}

fn path(journal: &Path) -> PathBuf {
    journal.join(".start")
}

/// The first epoch that a journal has as a whole; those before were let go.
///
/// # Errors
/// `Corrupt` if what says so is damaged.
pub fn first(dir: &DataDir) -> Result<u64> {
    of(&dir.journal())
}

pub(super) fn of(journal: &Path) -> Result<u64> {
    let start: Option<Start> = FILE.read(&path(journal))?;
    Ok(start.map_or(1, |start| start.first))
}

/// Lets go of all epochs up to `through`, as far as segments end with them. Returns how many bytes that
/// frees. Durable on return.
///
/// # Errors
/// `Storage` if the disk refuses: some may be gone.
pub fn let_go(dir: &DataDir, through: u64) -> Result<u64> {
    dir.require_lock()?;
    let (journal, disk) = (dir.journal(), dir.disk());
    let mut gone = Vec::new();
    for folder in segment::folders(&journal)? {
        let segments = segment::list(&folder.path)?;
        for pair in segments[..segments.len().saturating_sub(NEWEST_KEPT - 1)].windows(2) {
            let [(_, path), (next, _)] = pair else { continue };
            // What is in a segment is before what the next one begins with.
            if *next <= through + 1 {
                gone.push(path.clone());
            }
        }
    }
    if gone.is_empty() {
        return Ok(0);
    }
    let first = of(&journal)?.max(through + 1);
    FILE.write(&**disk, &path(&journal), &Start { first })?;
    let mut bytes = 0;
    for path in gone {
        bytes += path.metadata().map_err(|error| Error::io("read", &path, error))?.len();
        fs::remove(&**disk, &path)?;
    }
    Ok(bytes)
}

/// # Errors
/// `Config` if epochs from `epoch` on are not all there.
pub(super) fn require(journal: &Path, epoch: u64) -> Result<()> {
    let first = of(journal)?;
    if epoch >= first {
        return Ok(());
    }
    Err(Error::config(format!("the journal has no epochs before {first} any more"))
        .detail("their segments were let go, as `run.journal_retention` says")
        .hint("what needs all of the input is possible only where the journal is kept"))
}
