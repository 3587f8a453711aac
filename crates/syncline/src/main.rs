//! Syncline: real-time data sync and processing that anyone can reproduce.
//!
//! This is the binary: the command line, the HTTP API and the page. What a pipeline is and does is
//! in the crates that it puts together. It is the only crate that knows clap and axum.

mod cli;
mod commands;
mod http;
mod logs;
mod priority;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

/// Epochs make and drop many small blocks, which it is quicker at than the allocators of systems.
#[cfg(unix)]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    logs::start(arguments.log_format, arguments.verbose);
    match commands::run(arguments.command) {
        Ok(code) => code,
        Err(failure) => {
            terminal::complain(&failure.text);
            ExitCode::from(failure.code)
        }
    }
}
