//! What Syncline keeps on disk: the journal of all input, the log of epochs, dead letters, how far
//! each sink has got, and signed manifests of runs.
//!
//! This crate is **not** a database and knows no SQL: it appends, reads back in order, and notices
//! when what it reads is not what was written. It knows neither DataFusion nor any system that
//! Syncline connects to, and it starts no thread that outlives a call.
//!
//! ```text
//! journal/<source>/<epoch>.seg   input rows by epoch (see [`journal`])
//! epochs.log                     a record for each epoch, chained by hash (see [`epochs`])
//! dead-letters/                  what could not be taken, late, or not delivered ([`dead_letters`])
//! checkpoints/<epoch>.json       what the pipeline was at the end of an epoch ([`checkpoints`])
//! sinks/<sink>.json              how far each sink has got (see [`progress`])
//! manifests/<run>.json           what a run took in and what came out, signed ([`manifests`])
//! state/<hash>                   pieces of the state that checkpoints name ([`state`]); beside them, while
//!                                the process runs, state that memory has no room for ([`spill`])
//! LOCK                           who writes here (see [`data_dir`])
//! FORMAT                         the version of all this
//! ```
//!
//! To be read in this order: [`disk`] (through which all of this is changed), [`data_dir`], [`fs`] (files that are whole or not there), `frame` (the
//! append-only log that the next three are made of), [`journal`], [`epochs`], [`dead_letters`],
//! [`checkpoints`], [`state`], [`progress`], [`meanings`], [`manifests`], [`bundle`] (all of it as one file), and apart from these
//! [`merkle`] (one hash for a list that grows) and [`spill`] (state that memory has no room for).
//!
//! Three rules hold everywhere:
//! - A call that says *durable* has reached the disk when it returns: data, length, and the name in
//!   its folder.
//! - After a crash a log ends with its last whole entry. What is torn off is reported as a [`Cut`];
//!   anything else that was altered is a `Corrupt` error that names file and offset, and nothing is
//!   changed.
//! - A length read from disk is never trusted: it is bounded by a named limit and by the file.

pub mod bundle;
pub mod checkpoints;
pub mod data_dir;
pub mod dead_letters;
pub mod disk;
pub mod epochs;
mod frame;
pub mod fs;
pub mod journal;
pub mod manifests;
pub mod meanings;
pub mod merkle;
pub mod progress;
mod sealed;
pub mod slices;
pub mod spill;
pub mod state;

pub use data_dir::{DataDir, Holder};
pub use dead_letters::{DeadLetter, DeadLetters};
pub use epochs::{EpochLog, EpochRecord};
pub use frame::Cut;
pub use journal::{CloseReason, EpochInput, Journal, SourceInput};
pub use manifests::Manifest;
pub use manifests::keys::{PublicKey, Signer};
pub use merkle::MerkleLog;
pub use spill::SpillDir;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod scratch;
