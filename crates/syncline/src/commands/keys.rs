//! `keys`: what manifests are signed with, and the check of a manifest by those who were given one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use syncline_change::{Error, Result};
use syncline_store::manifests::keys::{KEY_VARIABLE, default_path};
use syncline_store::manifests::statement::{Digests, Statement};
use syncline_store::{Manifest, PublicKey, Signer};

use super::Failure;
use crate::cli::{KeyFormat, Keys};
use crate::terminal::{moment, say};

pub(super) fn keys(command: Keys) -> Result<ExitCode, Failure> {
    match command {
        Keys::New { out } => {
            let path = place(out)?;
            let signer = Signer::generate()?;
            signer.write_new(&path)?;
            say(format_args!("wrote {}", path.display()));
            show(&signer.public(), KeyFormat::Text)?;
        }
        Keys::Show { file, format } => show(&PublicKey::read(&place(file)?)?, format)?,
        Keys::Verify { manifest, key } => {
            let key = PublicKey::read(&key)?;
            let text = read_manifest(&manifest)?;
            let statement = Manifest::parse(&text).and_then(|manifest| manifest.verify(&key));
            let statement = statement.map_err(|error| error.within(manifest.display()))?;
            say(format_args!("verified: signed with key {}", key.id()?));
            show_statement(&statement);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Which file is meant if none was named.
fn place(named: Option<PathBuf>) -> Result<PathBuf> {
    let environment = || std::env::var_os(KEY_VARIABLE).filter(|path| !path.is_empty());
    named.or_else(|| environment().map(PathBuf::from)).or_else(default_path).ok_or_else(|| {
        Error::config("there is no home folder to look for a key in")
            .hint(format!("name the file, or set {KEY_VARIABLE}"))
    })
}

fn show(key: &PublicKey, format: KeyFormat) -> Result<()> {
    let (id, pem) = (key.id()?, key.to_pem()?);
    match format {
        KeyFormat::Text => say(format_args!("key id {id}\n{}", pem.trim_end())),
        KeyFormat::Json => {
            say(json!({ "key_id": id, "algorithm": "ed25519", "public_key": pem }));
        }
        KeyFormat::Pem => say(pem.trim_end()),
    }
    Ok(())
}

fn read_manifest(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::config(format!("there is no manifest {}", path.display()))
                .hint("they are in the data directory: manifests/RUN.json")
        }
        _ => Error::io("read", path, error),
    })
}

fn show_statement(statement: &Statement) {
    let run = &statement.predicate;
    let (parameters, dependencies) = (&run.parameters, &run.dependencies);
    let row = |name: &str, text: std::fmt::Arguments<'_>| say(format_args!("{name:<9} {text}"));
    row("run", format_args!("{}, made {}", run.id, moment(run.created_at_us)));
    row("pipeline", format_args!("{}: {}", run.pipeline.name, digests(&run.pipeline.digest)));
    let lock = &parameters.lock;
    let pinned = digests(&lock.digest);
    row("lock", format_args!("semantics {}, seed {}: {pinned}", lock.semantics, lock.seed));
    let epochs = &parameters.epochs;
    let times = (moment(epochs.first_time_us), moment(epochs.last_time_us));
    row("epochs", format_args!("{} to {}: {} to {}", epochs.first, epochs.last, times.0, times.1));
    for (name, source) in &parameters.sources {
        row("source", format_args!("{name}: {} rows", source.rows));
    }
    for view in &statement.subject {
        row("view", format_args!("{}: {}", view.name, digests(&view.digest)));
    }
    let journal = &dependencies.journal;
    row("journal", format_args!("root {}, chain head {}", journal.root, journal.chain_head));
    let engine = &dependencies.engine;
    row("engine", format_args!("syncline {}, semantics {}", engine.version, engine.semantics));
}

fn digests(digests: &Digests) -> String {
    let digests = digests.iter().map(|(name, hex)| format!("{name} {hex}"));
    digests.collect::<Vec<_>>().join(", ")
}
