//! The pipeline file, its lock, and the runtime that carries a pipeline out.
//!
//! [`file`] reads and checks `syncline.yaml`, [`vars`] fills in what stands as `${NAME}` in it, and
//! [`lock`] keeps what its results depend on beside it. [`prepare`] finds out what can be known
//! without running: columns, plans. [`cases`] runs the tests of the file. [`runtime`] wires
//! sources, journal, circuit and sinks together, and [`reread`] fetches what a journal only refers to.
//! [`edit`] says what an edited file does on a data directory, with what `meaning` keeps of the file before.
//! [`past`] computes again what a pipeline was, and [`verify`] holds that against what it recorded;
//! [`diff`] compares two runs, and [`bundle`] makes one file of a run.
//!
//! It knows neither the command line nor HTTP's side of a server; the binary does.

pub mod file;
pub mod lock;
mod meaning;
pub mod vars;

pub mod prepare;

pub mod cases;

pub mod clock;
pub mod reread;
pub mod runtime;

pub mod past;

pub mod bundle;
pub mod diff;
pub mod edit;
pub mod verify;
