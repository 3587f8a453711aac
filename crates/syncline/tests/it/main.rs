//! The binary as people and scripts call it: arguments in; exit code, output and files out.
#![allow(clippy::unwrap_used)]

mod commands;
mod dead_letters;
mod docs;
mod explain;
mod folder;
mod help;
mod kill;
mod live;
mod memory;
mod nexmark;
