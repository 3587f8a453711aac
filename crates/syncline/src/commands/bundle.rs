//! `bundle`: a run as one file.

use std::path::PathBuf;
use std::process::ExitCode;

use syncline_pipeline::bundle::{Options, pack};

use super::{Failure, epochs_bar, prepare};
use crate::cli;
use crate::terminal::say;

pub(super) fn bundle(arguments: &cli::Bundle) -> Result<ExitCode, Failure> {
    let prepared = prepare(arguments.file.file.as_deref())?;
    let data_dir = arguments.data_dir.clone().unwrap_or_else(|| prepared.pipeline.data_dir());
    let name = format!("{}.bundle", prepared.pipeline.spec.name);
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from(name));
    let options = Options {
        from: arguments.from,
        through: arguments.at,
        by_reference: arguments.by_reference,
    };
    let bar = epochs_bar("epochs bundled");
    let contents = pack(&prepared, &data_dir, &out, options, &|epoch| bar.set_position(epoch))?;
    bar.finish_and_clear();
    let bytes = std::fs::metadata(&out).map_or(0, |file| file.len());
    say(format_args!(
        "{}: {} of {}, {} bytes ({bytes} compressed)",
        out.display(),
        match contents.from {
            Some(from) => format!("epochs {from} to {}", contents.epoch),
            None => format!("{} epochs", contents.epoch),
        },
        contents.pipeline,
        contents.bytes()
    ));
    for file in &contents.references {
        say(format_args!("  refers to {file}, which is not in it"));
    }
    say(format_args!("check it anywhere: syncline verify {}", out.display()));
    Ok(ExitCode::SUCCESS)
}
