//! What became of dead letters: a log of ids and states, the last one counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use syncline_change::{Error, Result};

use super::State;
use super::id::Id;
use crate::disk::Disk;
use crate::frame::{Cut, FrameWriter, Kind, corrupt, scan};

#[derive(Serialize, Deserialize)]
struct Resolution {
    id: String,
    state: State,
    at_us: i64,
}

/// What the log says, before it is applied.
#[derive(Debug)]
pub(super) struct Resolutions {
    path: PathBuf,
    /// The last word on each letter that there is one on.
    pub(super) states: BTreeMap<Id, (State, i64)>,
    /// Where the last whole frame ends; `None`: there is no file.
    end: Option<u64>,
}

impl Resolutions {
    /// Changes nothing.
    pub(super) fn read(folder: &Path) -> Result<(Self, Option<Cut>)> {
        let path = folder.join("resolved.log");
        let mut states = BTreeMap::new();
        if !path.exists() {
            return Ok((Self { path, states, end: None }, None));
        }
        let (end, cut) = scan(&path, Kind::Resolutions, |frame| {
            let damaged = |what: String| corrupt(&path, frame.offset, what);
            let resolution: Resolution = serde_json::from_slice(&frame.payload)
                .map_err(|error| damaged(format!("not a resolution: {error}")))?;
            let id: Id =
                resolution.id.parse().map_err(|error: Error| damaged(error.to_string()))?;
            match resolution.state {
                State::Open => states.remove(&id),
                state => states.insert(id, (state, resolution.at_us)),
            };
            Ok(())
        })?;
        Ok((Self { path, states, end: Some(end) }, cut))
    }

    pub(super) fn open_writer(&self, disk: &dyn Disk) -> Result<FrameWriter> {
        match self.end {
            Some(end) => FrameWriter::open(disk, &self.path, end),
            None => {
                let none = None::<fn(&mut Vec<u8>) -> Result<()>>;
                FrameWriter::create(disk, &self.path, Kind::Resolutions, none)
            }
        }
    }
}

/// Adds a resolution to those that are written next.
pub(super) fn stage(log: &mut FrameWriter, id: Id, state: State, at_us: i64) -> Result<()> {
    let resolution = Resolution { id: id.to_string(), state, at_us };
    log.stage(|out| {
        serde_json::to_writer(out, &resolution)
            .map_err(|error| Error::bug("a resolution has no JSON form").source(error))
    })?;
    Ok(())
}
