//! File sinks: a view's content in a file that is replaced as a whole, or its changes appended.

mod append;
mod disk;
mod folder;
mod lines;
mod snapshot;

use std::path::Path;

use syncline_change::sink::{Shape, Sink};
use syncline_change::{Error, Result};

use super::{SinkConfig, SinkFormat};
use crate::blocking::OffThread;
use crate::config::Mode;
pub use lines::{Lines, lines};

/// Text that is collected before it is written to a file.
const BUFFER_BYTES: usize = 256 << 10;

/// A sink as configured, with relative paths in `base_dir`. Nothing is touched before it is opened.
pub(crate) fn new(config: &SinkConfig, base_dir: &Path) -> Box<dyn Sink> {
    let path = base_dir.join(&config.path);
    match (config.mode, config.format) {
        (Mode::Snapshot, format) => {
            Box::new(OffThread::new(snapshot::SnapshotFile::new(path, format)))
        }
        (Mode::Changes, SinkFormat::Json) => {
            Box::new(OffThread::new(append::ChangesFile::new(path, append::Lines::Json)))
        }
        (Mode::Changes, SinkFormat::Csv) => {
            Box::new(OffThread::new(append::ChangesFile::new(path, append::Lines::Csv)))
        }
        (Mode::Changes, SinkFormat::Parquet) => {
            Box::new(OffThread::new(folder::ChangesFolder::new(path)))
        }
    }
}

/// Refuses views whose columns are named like those that tell of the change.
fn check_names(shape: &Shape) -> Result<()> {
    for name in ["op", "epoch"] {
        if shape.schema.column_with_name(name).is_some() {
            return Err(Error::config(format!("the view has a column `{name}` of its own"))
                .detail("the changes are written with columns `op` and `epoch` before the view's")
                .hint(format!("rename it in the view: SELECT {name} AS another_name, ...")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
