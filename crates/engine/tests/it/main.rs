//! Every view is compared with the batch engine, after every epoch, with one worker and with two.
#![allow(clippy::unwrap_used)]

mod bounds;
mod cases;
mod documented;
mod failing;
mod generate;
mod incremental;
mod lineage;
mod random;
mod rig;
mod slt;
mod state_bytes;
