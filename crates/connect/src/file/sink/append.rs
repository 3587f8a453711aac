//! A view's changes appended to one file of text, each exactly once.
//!
//! The sink's progress names the durable length. What lies beyond it was written by a run that died
//! before it could say so, and is cut off; a file that is shorter, or that does not end as it was
//! left, belongs to somebody else by now and is not touched.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use syncline_change::row;
use syncline_change::sink::{Delivery, EpochChanges, Progress, Shape};
use syncline_change::{Error, Result};

use super::disk::{self, Target};
use super::{BUFFER_BYTES, check_names};
use crate::blocking::BlockingSink;
use crate::encode::order::ChangeOrder;
use crate::encode::{AfterLine, csv, json};

/// How much of the file's end is remembered, to know it again.
const TAIL_BYTES: usize = 4096;

/// How changes are written as lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    Json,
    Csv,
}

pub(super) struct ChangesFile {
    path: PathBuf,
    lines: Lines,
    opened: Option<Opened>,
}

/// What is known once the sink is open.
pub(super) struct Opened {
    target: Box<dyn Target>,
    schema: SchemaRef,
    order: ChangeOrder,
    /// What is certainly in the file, and all that may be in it unless `torn`.
    durable: Durable,
    /// A write has begun and not ended well: there may be more in the file than `durable`.
    torn: bool,
    buffer: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Durable {
    /// The last epoch written; `None` before the first.
    epoch: Option<u64>,
    len: u64,
    /// The last bytes before `len`, at most [`TAIL_BYTES`].
    tail: Vec<u8>,
}

/// [`Progress::token`] of this sink.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    /// The file's name when it was written, for people.
    file: String,
    len: u64,
    /// The hash of the last bytes before `len`.
    tail: String,
}

impl ChangesFile {
    pub(super) fn new(path: PathBuf, lines: Lines) -> Self {
        Self { path, lines, opened: None }
    }

    /// Puts a target that tests let fail in the place of the file.
    #[cfg(test)]
    pub(super) fn wrap_target(&mut self, wrap: impl FnOnce(Box<dyn Target>) -> Box<dyn Target>) {
        if let Some(mut opened) = self.opened.take() {
            opened.target = wrap(opened.target);
            self.opened = Some(opened);
        }
    }

    fn progress(&self, durable: &Durable) -> Result<Progress> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let token = Token { file: name, len: durable.len, tail: hash(&durable.tail) };
        let token = serde_json::to_value(token)
            .map_err(|error| Error::bug("a sink's progress has no JSON form").source(error))?;
        Ok(Progress { epoch: durable.epoch.unwrap_or_default(), token })
    }
}

impl BlockingSink for ChangesFile {
    const DELIVERY: Delivery = Delivery::Changes;

    fn open(&mut self, shape: &Shape, progress: Option<&Progress>) -> Result<()> {
        self.opened = None;
        if self.lines == Lines::Csv {
            check_names(shape)?;
        }
        check_is_file(&self.path)?;
        disk::create_folder(disk::folder_of(&self.path))?;
        let (file, durable) = match progress {
            Some(progress) => resume(&self.path, progress)?,
            None => begin(&self.path)?,
        };
        self.opened = Some(Opened {
            target: Box::new(file),
            schema: shape.schema.clone(),
            order: ChangeOrder::new(shape)?,
            durable,
            torn: false,
            buffer: Vec::new(),
        });
        Ok(())
    }

    fn write(&mut self, epochs: &[EpochChanges]) -> Result<Progress> {
        let Some(opened) = &mut self.opened else {
            return Err(Error::bug("a file sink was written to before it was opened"));
        };
        opened.repair(&self.path)?;
        let written = opened.append(epochs, self.lines, &self.path)?;
        self.progress(&written)
    }
}

impl Opened {
    /// Cuts off what a failed write has left.
    fn repair(&mut self, path: &Path) -> Result<()> {
        let len = self.durable.len;
        if self.torn {
            self.target.truncate(len).map_err(|error| Error::io("truncate", path, error))?;
            self.target.sync().map_err(|error| Error::io("sync", path, error))?;
            self.torn = false;
        }
        let found = self.target.length().map_err(|error| Error::io("look at", path, error))?;
        if found != len {
            return Err(changed(path).detail(format!(
                "the sink wrote {len} bytes and the file has {found}: something else writes to it"
            )));
        }
        Ok(())
    }

    fn append(&mut self, epochs: &[EpochChanges], lines: Lines, path: &Path) -> Result<Durable> {
        let new = |epoch: &&EpochChanges| self.durable.epoch.is_none_or(|last| epoch.epoch > last);
        let epochs: Vec<&EpochChanges> = epochs.iter().filter(new).collect();
        let mut after = self.durable.clone();
        after.epoch = epochs.last().map(|epoch| epoch.epoch).or(after.epoch);

        self.torn = true;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        if after.len == 0 && lines == Lines::Csv {
            csv::header(&["op", "epoch"], &self.schema, &mut buffer);
        }
        let target = &mut self.target;
        let mut flush = |out: &mut Vec<u8>| {
            target.write_all(out).map_err(|error| Error::io("write to", path, error))?;
            after.grow(out);
            out.clear();
            Ok(())
        };
        for epoch in epochs {
            let after_line: AfterLine<'_> = &mut |out| {
                if out.len() < BUFFER_BYTES { Ok(()) } else { flush(out) }
            };
            match lines {
                Lines::Json => json::envelopes(&self.order, epoch, &mut buffer, after_line)?,
                Lines::Csv => csv::changes(&self.order, epoch, &mut buffer, after_line)?,
            }
        }
        flush(&mut buffer)?;
        if after.len > self.durable.len {
            self.target.sync().map_err(|error| Error::io("sync", path, error))?;
        }
        self.buffer = buffer;
        self.durable = after.clone();
        self.torn = false;
        Ok(after)
    }
}

impl Durable {
    fn grow(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        if bytes.len() < TAIL_BYTES {
            let surplus = (self.tail.len() + bytes.len()).saturating_sub(TAIL_BYTES);
            self.tail.drain(..surplus);
            self.tail.extend_from_slice(bytes);
        } else {
            self.tail = bytes[bytes.len() - TAIL_BYTES..].to_vec();
        }
    }
}

/// A new changelog. Whatever is at `path` already is set aside.
fn begin(path: &Path) -> Result<(File, Durable)> {
    match File::open(path) {
        Ok(file) => {
            disk::lock(&file, path)?;
            if file.length().map_err(|error| Error::io("look at", path, error))? > 0 {
                disk::set_aside(path)?;
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("open", path, error)),
    }
    let file = open(path)?;
    disk::sync_folder(disk::folder_of(path))?;
    Ok((file, Durable::default()))
}

/// The changelog that `progress` tells of, without what lies beyond.
fn resume(path: &Path, progress: &Progress) -> Result<(File, Durable)> {
    let token: Token = serde_json::from_value(progress.token.clone()).map_err(|error| {
        Error::corrupt(format!("the progress of the sink of {} is unreadable", path.display()))
            .detail(error.to_string())
    })?;
    if token.len > 0 && !path.exists() {
        return Err(changed(path).detail(format!(
            "the sink has written {} bytes to `{}`, and there is no file",
            token.len, token.file
        )));
    }
    let mut file = open(path)?;
    let found = file.length().map_err(|error| Error::io("look at", path, error))?;
    if found < token.len {
        return Err(changed(path)
            .detail(format!("the sink has written {} bytes and the file has {found}", token.len)));
    }
    let tail = read_tail(&mut file, token.len).map_err(|error| Error::io("read", path, error))?;
    if hash(&tail) != token.tail {
        return Err(changed(path)
            .detail(format!("the bytes before {} are not those that were written", token.len)));
    }
    file.truncate(token.len).map_err(|error| Error::io("truncate", path, error))?;
    if found > token.len {
        file.sync_all().map_err(|error| Error::io("sync", path, error))?;
        tracing::info!(
            path = %path.display(),
            bytes = found - token.len,
            "cut off what the last run had not finished; it is written again"
        );
    }
    Ok((file, Durable { epoch: Some(progress.epoch), len: token.len, tail }))
}

fn open(path: &Path) -> Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| Error::io("open", path, error))?;
    disk::lock(&file, path)?;
    Ok(file)
}

fn read_tail(file: &mut File, len: u64) -> io::Result<Vec<u8>> {
    let start = len.saturating_sub(TAIL_BYTES as u64);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    Read::take(file, len - start).read_to_end(&mut tail)?;
    Ok(tail)
}

fn hash(tail: &[u8]) -> String {
    format!("{:016x}", row::hash(tail))
}

fn check_is_file(path: &Path) -> Result<()> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            Err(Error::config(format!("{} is not a file", path.display()))
                .hint("name a file, or use `type: console` to see the changes"))
        }
        // That there is nothing, or nothing to be seen, is met where the file is opened.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn changed(path: &Path) -> Error {
    Error::conflict(format!("{} is not as the sink left it", path.display())).hint(
        "put the file back as it was; or give the sink another name or path in the pipeline file, \
         so that it starts a new changelog",
    )
}
