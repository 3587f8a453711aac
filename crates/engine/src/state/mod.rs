//! What operators remember: rows by key, in immutable sorted runs.
//!
//! A [`Run`] is sorted and never changes. A [`Spine`] holds the runs of one partition, merges them
//! in bounded steps, and shows all of them as one. [`KeyedCodec`] turns columns into the bytes that
//! runs hold, and back. [`Memory`] says when a run is built outside of memory, [`Release`] what can go
//! because no later change can reach it. [`Saver`] and [`Loader`] take state to a checkpoint and back.
//!
//! The scheme is that of log-structured merge trees, with the amortised, resumable merges of
//! McSherry, Lattuada, Schwarzkopf, Roscoe: "Shared Arrangements" (VLDB 2020), section 5.

mod cells;
mod codec;
mod compact;
mod group;
mod left;
mod memory;
mod release;
mod run;
mod save;
mod spine;
#[cfg(test)]
mod tests;
pub(crate) mod times;
mod unloaded;

pub(crate) use cells::{
    Cells, KeyLog, put_bytes, put_flag, put_i64, put_option, take_bytes, take_flag, take_i64,
    take_option,
};
pub(crate) use codec::{Encoded, KeyedCodec};
pub(crate) use compact::{image, of_image};
pub(crate) use group::Group;
pub(crate) use memory::Memory;
pub(crate) use release::{Cut, Extent, Floor, FloorPart, Place, Release, Sweep, Term, Timed};
pub(crate) use run::{Run, RunBuilder};
pub(crate) use save::{HINT, Loader, Saver};
pub use save::{PIECE_PARTS, Piece, SavedState, StateChanges};
pub(crate) use spine::Spine;
pub(crate) use unloaded::Unloaded;
