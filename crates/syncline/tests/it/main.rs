//! The binary as people and scripts call it: arguments in; exit code, output and files out.
#![allow(clippy::unwrap_used)]

mod commands;
mod dead_letters;
#[cfg(unix)]
mod disk;
mod docs;
mod edits;
mod evidence;
mod explain;
mod folder;
mod help;
mod keys;
mod kill;
mod live;
mod memory;
mod nexmark;
