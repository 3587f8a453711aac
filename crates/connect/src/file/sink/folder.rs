//! A view's changes as Parquet files in a folder, one a write, each exactly once.
//!
//! A file is named by the first and the last epoch it covers, so its name says whether the sink's
//! progress counts it: what lies beyond was written by a run that died before it could say so.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use serde_json::json;
use syncline_change::sink::{Delivery, EpochChanges, Progress, Shape};
use syncline_change::{Error, Result};

use super::{check_names, disk};
use crate::blocking::BlockingSink;
use crate::encode::order::ChangeOrder;
use crate::encode::parquet::{ParquetWriter, changes, changes_schema};

pub(super) struct ChangesFolder {
    path: PathBuf,
    opened: Option<Opened>,
}

struct Opened {
    /// Keeps other processes out.
    _folder: File,
    schema: SchemaRef,
    order: ChangeOrder,
    /// The last epoch written; `None` before the first.
    epoch: Option<u64>,
    /// A write has begun and not ended well: its file may be there.
    torn: bool,
}

impl ChangesFolder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, opened: None }
    }
}

impl BlockingSink for ChangesFolder {
    const DELIVERY: Delivery = Delivery::Changes;

    fn open(&mut self, shape: &Shape, progress: Option<&Progress>) -> Result<()> {
        self.opened = None;
        check_names(shape)?;
        let epoch = progress.map(|progress| progress.epoch);
        if epoch.is_none() && holds_anything(&self.path)? {
            drop(take(&self.path)?);
            disk::set_aside(&self.path)?;
        }
        disk::create_folder(&self.path)?;
        disk::sync_folder(disk::folder_of(&self.path))?;
        let folder = take(&self.path)?;
        remove_beyond(&self.path, epoch)?;
        self.opened = Some(Opened {
            _folder: folder,
            schema: changes_schema(&shape.schema),
            order: ChangeOrder::new(shape)?,
            epoch,
            torn: false,
        });
        Ok(())
    }

    fn write(&mut self, epochs: &[EpochChanges]) -> Result<Progress> {
        let Some(opened) = &mut self.opened else {
            return Err(Error::bug("a file sink was written to before it was opened"));
        };
        if opened.torn {
            remove_beyond(&self.path, opened.epoch)?;
        }
        opened.torn = true;
        let new = |epoch: &&EpochChanges| opened.epoch.is_none_or(|last| epoch.epoch > last);
        let epochs: Vec<&EpochChanges> = epochs.iter().filter(new).collect();
        let anything = epochs.iter().any(|e| e.changes.iter().any(|changes| !changes.is_empty()));
        if let (Some(first), Some(last), true) = (epochs.first(), epochs.last(), anything) {
            let name = format!("{:020}-{:020}.parquet", first.epoch, last.epoch);
            disk::replace(&self.path.join(name), |file, path| {
                write_file(&epochs, opened, file).map_err(|error| error.within(path.display()))
            })?;
        }
        opened.epoch = epochs.last().map(|epoch| epoch.epoch).or(opened.epoch);
        opened.torn = false;
        let epoch = opened.epoch.unwrap_or_default();
        Ok(Progress { epoch, token: json!({ "epoch": epoch }) })
    }
}

fn write_file(epochs: &[&EpochChanges], opened: &Opened, file: &mut File) -> Result<()> {
    let mut writer = ParquetWriter::new(file, opened.schema.clone())?;
    for epoch in epochs {
        changes(&opened.order, epoch, &opened.schema, |rows| writer.write(rows))?;
    }
    writer.finish().map(|_| ())
}

/// The folder, for this process alone.
fn take(path: &Path) -> Result<File> {
    let folder = File::open(path).map_err(|error| Error::io("open", path, error))?;
    disk::lock(&folder, path)?;
    Ok(folder)
}

fn holds_anything(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("look at", path, error)),
        Ok(found) if found.is_dir() => {
            let mut names =
                fs::read_dir(path).map_err(|error| Error::io("read the folder", path, error))?;
            Ok(names.next().is_some())
        }
        Ok(_) => Ok(true),
    }
}

/// Removes the files of epochs after `epoch` (of all epochs: `None`) and unfinished files.
fn remove_beyond(path: &Path, epoch: Option<u64>) -> Result<()> {
    let names = fs::read_dir(path).map_err(|error| Error::io("read the folder", path, error))?;
    let mut removed = false;
    for entry in names {
        let entry = entry.map_err(|error| Error::io("read the folder", path, error))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_beyond = match covered(name) {
            Some((first, last)) => {
                let begins_beyond = epoch.is_none_or(|epoch| first > epoch);
                if !begins_beyond && epoch.is_some_and(|epoch| last > epoch) {
                    return Err(straddles(&entry.path(), epoch.unwrap_or_default()));
                }
                begins_beyond
            }
            None => name.starts_with('.') && name.ends_with(disk::TEMPORARY_END),
        };
        if is_beyond {
            fs::remove_file(entry.path())
                .map_err(|error| Error::io("remove", entry.path(), error))?;
            removed = true;
        }
    }
    if removed { disk::sync_folder(path) } else { Ok(()) }
}

/// The first and the last epoch in a file, by its name; `None` if it is not one of ours.
fn covered(name: &str) -> Option<(u64, u64)> {
    let (first, last) = name.strip_suffix(".parquet")?.split_once('-')?;
    let is_number = |text: &str| text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit());
    (is_number(first) && is_number(last)).then_some(())?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

fn straddles(path: &Path, epoch: u64) -> Error {
    Error::conflict(format!("{} is not as the sink left it", path.display()))
        .detail(format!("it covers more than the sink wrote: its progress ends at epoch {epoch}"))
        .hint(
            "move the file away if it is not this pipeline's; or give the sink another name or \
             path in the pipeline file, so that it starts a new changelog",
        )
}
