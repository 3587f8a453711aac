//! `tap`: the live changes of a source or view, as they happen.

use std::process::ExitCode;

use syncline_change::Error;
use syncline_pipeline::file::{Pipeline, nearest};

use super::remote::{Presence, silent};
use super::{Failure, file_and, load};
use crate::cli;
use crate::terminal::{note, say};

/// How a line starts that is no change but says that some were left out. Empty lines only keep the
/// connection alive.
const LAGGED: &str = "{\"lagged\"";

/// Prints one envelope a line until the pipeline stops, or `--limit` of them.
pub(super) fn tap(arguments: &cli::Tap) -> Result<ExitCode, Failure> {
    let (path, name) = file_and(&arguments.file_and_name);
    let pipeline = load(path)?;
    check_name(&pipeline, name)?;
    let data_dir = arguments.data_dir.clone().unwrap_or_else(|| pipeline.data_dir());
    let remote = match Presence::of(&data_dir)? {
        Presence::Served(remote) => remote,
        Presence::Silent { pid } => return Err(silent(pid).into()),
        Presence::Stopped => {
            return Err(Error::unavailable(format!("`{}` does not run", pipeline.spec.name))
                .detail(format!("nobody holds {}", data_dir.display()))
                .hint("start it with `syncline run`, then tap it from another terminal")
                .into());
        }
    };
    let mut lines = remote.lines("/api/v1/tap", ("name", name))?;
    let mut wanted = arguments.limit.unwrap_or(u64::MAX);
    while wanted > 0 {
        let Some(line) = lines.next().transpose()? else {
            note("the pipeline has stopped");
            break;
        };
        if line.starts_with(LAGGED) {
            note("some changes are left out: they come faster than they are read here");
        } else if !line.is_empty() {
            say(line);
            wanted -= 1;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check_name(pipeline: &Pipeline, name: &str) -> Result<(), Error> {
    let known = || {
        let names = pipeline.spec.sources.keys().chain(pipeline.spec.views.keys());
        names.map(String::as_str)
    };
    if known().any(|known| known == name) {
        return Ok(());
    }
    let error = Error::config(format!("there is no source or view `{name}`"));
    Err(match nearest(name, known()) {
        Some(meant) => error.hint(format!("did you mean `{meant}`?")),
        None => error.hint(format!("there are {}", known().collect::<Vec<_>>().join(", "))),
    })
}
