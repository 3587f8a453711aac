//! From where a start goes on: the newest checkpoint whose state can be taken, so that only what came
//! after it is replayed.

use arrow::buffer::Buffer;
use rayon::prelude::*;
use syncline_change::{ErrorKind, Result};
use syncline_engine::{Circuit, SavedState};
use syncline_store::DataDir;
use syncline_store::checkpoints::{self, Checkpoint};
use syncline_store::state::{self, Stored};

use super::pieces::{self, Pieces};
use crate::prepare::Prepared;
use crate::runtime::state::layout_of;

/// A checkpoint and its state.
pub(in crate::runtime) struct Resumed {
    pub(in crate::runtime) checkpoint: Checkpoint,
    pub(in crate::runtime) state: SavedState,
    pub(super) pieces: Pieces,
}

/// The newest checkpoint of an epoch up to `through` that a circuit of this `layout` can go on from.
/// One that is damaged is passed over, with a warning: the journal has all that it was made of.
///
/// # Errors
/// `Storage` if the disk refuses.
pub(in crate::runtime) fn find(
    dir: &DataDir,
    layout: &str,
    through: u64,
    pool: Option<&rayon::ThreadPool>,
) -> Result<Option<Resumed>> {
    for epoch in checkpoints::list(dir)?.into_iter().rev().filter(|epoch| *epoch <= through) {
        match resumed(dir, epoch, layout, pool) {
            Ok(Some(resumed)) => return Ok(Some(resumed)),
            Ok(None) => {}
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
                tracing::warn!(epoch, "this checkpoint is of no use: {}", error.report());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn resumed(
    dir: &DataDir,
    epoch: u64,
    layout: &str,
    pool: Option<&rayon::ThreadPool>,
) -> Result<Option<Resumed>> {
    let Some(checkpoint) = checkpoints::read(dir, epoch)? else { return Ok(None) };
    let read = read(dir, &checkpoint, layout, pool)?;
    Ok(read.map(|(state, pieces)| Resumed { checkpoint, state, pieces }))
}

/// The oldest checkpoint with a state from which all epochs of a journal that begins with `first` follow;
/// `None`: there is none.
///
/// # Errors
/// `Storage` if the disk refuses.
pub(crate) fn oldest_state(dir: &DataDir, first: u64) -> Result<Option<Checkpoint>> {
    let epochs = pieces::with_state(dir)?.into_iter().map(|(epoch, _)| epoch);
    let found = { epochs }.find(|epoch| epoch + 1 >= first);
    found.map_or(Ok(None), |epoch| checkpoints::read(dir, epoch))
}

/// The state of a checkpoint, if a pipeline like this one can go on from it.
///
/// # Errors
/// `Corrupt` if it is not what was written.
pub(crate) fn read_state(
    prepared: &Prepared,
    dir: &DataDir,
    checkpoint: &Checkpoint,
    circuit: &Circuit,
) -> Result<Option<SavedState>> {
    let read = read(dir, checkpoint, &layout_of(prepared, circuit), None)?;
    Ok(read.map(|(state, _)| state))
}

fn read(
    dir: &DataDir,
    checkpoint: &Checkpoint,
    layout: &str,
    pool: Option<&rayon::ThreadPool>,
) -> Result<Option<(SavedState, Pieces)>> {
    let of = checkpoint.state.as_ref().filter(|of| of.layout == layout);
    let Some(of) = of else { return Ok(None) };
    let check = |pieces: &[(Stored, Vec<Buffer>)]| {
        let one = |(stored, parts): &(Stored, Vec<Buffer>)| state::check(dir, stored, parts);
        match pool {
            Some(pool) => pool.install(|| pieces.par_iter().try_for_each(one)),
            None => pieces.iter().try_for_each(one),
        }
    };
    Pieces::read(dir, &of.pack, check)
}
