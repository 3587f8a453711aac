//! `init`: a small pipeline with comments that teach, and the data that it reads.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use syncline_change::{Error, Result};
use syncline_pipeline::file::FILE_NAME;

use super::Failure;
use crate::terminal::say;

/// What is written, by path. A test runs it.
const FILES: [(&str, &str); 2] = [
    (FILE_NAME, include_str!("init/syncline.yaml")),
    ("data/orders.csv", include_str!("init/orders.csv")),
];

/// Writes the pipeline to `dir`, which is made if it is not there.
pub(super) fn init(dir: &Path) -> Result<ExitCode, Failure> {
    for (name, _) in FILES {
        refuse_existing(&dir.join(name))?;
    }
    for (name, text) in FILES {
        write_new(&dir.join(name), text)?;
        say(format_args!("wrote {}", dir.join(name).display()));
    }
    say("\nNext:");
    if dir != Path::new(".") {
        say(format_args!("  cd {}", dir.display()));
    }
    for (command, what) in [
        ("syncline check", "is the pipeline right?"),
        ("syncline test", "runs the tests in it"),
        ("syncline run --once", "processes data/orders.csv, writes out/cities.json"),
        ("syncline query \"SELECT * FROM cities\"", "reads a view"),
        ("syncline run", "stays, and shows the page on http://127.0.0.1:7373"),
    ] {
        say(format_args!("  {command:<38}  # {what}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn refuse_existing(path: &Path) -> Result<()> {
    // A link that leads nowhere is there, too.
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Error::config(format!("{} is there already", path.display()))
        .hint("name another folder: syncline init DIR"))
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
    }
    let written = OpenOptions::new().write(true).create_new(true).open(path);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Error::io("write", path, error))
}
