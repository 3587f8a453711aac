//! `demo`: the built-in pipeline, in a folder of its own.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use syncline_change::Error;
use syncline_pipeline::file::{FILE_NAME, Pipeline};
use syncline_pipeline::prepare::Prepared;
use syncline_pipeline::runtime::RunOptions;
use syncline_pipeline::vars::Vars;

use super::{Failure, run};
use crate::{cli, terminal};

/// What the demo is made of, by where it goes in its folder.
const FILES: [(&str, &[u8]); 6] = [
    (FILE_NAME, include_bytes!("../../../../demo/syncline.yaml")),
    ("data/README.md", include_bytes!("../../../../demo/data/README.md")),
    ("data/flights-2013-02.csv.gz", include_bytes!("../../../../demo/data/flights-2013-02.csv.gz")),
    ("data/weather-2013-02.csv", include_bytes!("../../../../demo/data/weather-2013-02.csv")),
    ("data/airports.csv", include_bytes!("../../../../demo/data/airports.csv")),
    ("data/airlines.csv", include_bytes!("../../../../demo/data/airlines.csv")),
];
/// What a run leaves in the folder, and the next one starts without.
const RESULTS: [&str; 2] = [".syncline", "out"];
/// Marks a folder as the demo's, whose results may be removed.
const MARK: &str = ".syncline-demo";

pub(super) fn demo(arguments: &cli::Demo) -> Result<ExitCode, Failure> {
    if !(arguments.speed.is_finite() && arguments.speed > 0.0) {
        return Err(Error::config("--speed is a number above 0").into());
    }
    set_up(&arguments.dir)?;
    let vars = HashMap::from([("SPEED".to_owned(), arguments.speed.to_string())]);
    let mut pipeline = Pipeline::load(Some(&arguments.dir.join(FILE_NAME)), &Vars::with(vars))?;
    if arguments.once {
        // Flat out: nothing is paced.
        for source in pipeline.spec.sources.values_mut() {
            if let syncline_connect::config::SourceConfig::File(file) = source {
                file.replay = None;
            }
        }
    }
    let prepared = Prepared::new(pipeline)?;
    let dir = arguments.dir.display();
    terminal::note(format_args!("demo:    New York's flights in February 2013, in {dir}"));
    if !arguments.once {
        terminal::note(
            "         watch the page: the blizzard comes on 8 February, after about a minute",
        );
    }
    let options = RunOptions { once: arguments.once, ..Default::default() };
    let done = run::carry_out(prepared, &options, (!arguments.once).then_some(arguments.listen))?;
    terminal::note(format_args!(
        "next:    cd {dir} && syncline query \"SELECT * FROM delay_by_airport\""
    ));
    Ok(done)
}

/// Puts the demo's files into its folder and removes what an earlier run left.
fn set_up(dir: &Path) -> Result<(), Error> {
    let is_used = dir.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    let mark = dir.join(MARK);
    if is_used && !mark.exists() {
        return Err(Error::config(format!("{} holds something else", dir.display()))
            .detail("the demo makes a folder of its own and starts it anew every time")
            .hint("name another folder with --dir"));
    }
    std::fs::create_dir_all(dir.join("data")).map_err(|e| Error::io("create", dir, e))?;
    std::fs::write(&mark, "").map_err(|e| Error::io("write", &mark, e))?;
    // Somebody may still be running there: then nothing is removed.
    drop(syncline_store::DataDir::open(dir.join(RESULTS[0]))?);
    for name in RESULTS {
        let path = dir.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
    }
    for (name, content) in FILES {
        let path = dir.join(name);
        std::fs::write(&path, content).map_err(|e| Error::io("write", &path, e))?;
    }
    Ok(())
}
