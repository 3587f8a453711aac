//! Manifests: what each run took in and what came out, signed, so that it can be shown to others.
//!
//! `manifests/<run>.json` is a [`dsse`] envelope around an in-toto [`statement`] in canonical JSON,
//! signed with an ed25519 key ([`keys`]). Whoever has the public key can check it with the tools of
//! others; nothing else is needed, least of all the data directory.

pub mod dsse;
pub mod keys;
pub mod statement;

use std::path::{Path, PathBuf};

use syncline_change::{Error, Result};

use crate::{DataDir, fs};
use dsse::Envelope;
use keys::{PublicKey, Signer};
use statement::Statement;

const EXTENSION: &str = "json";

/// A statement in its envelope, signed or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    envelope: Envelope,
}

impl Manifest {
    /// Puts `statement` into an envelope; without a signer it stays unsigned.
    ///
    /// # Errors
    /// `Bug` if the statement has numbers that canonical JSON cannot carry.
    pub fn seal(statement: &Statement, signer: Option<&Signer>) -> Result<Self> {
        let mut envelope = Envelope::new(statement::PAYLOAD_TYPE, &statement.to_payload()?);
        if let Some(signer) = signer {
            envelope.sign(signer)?;
        }
        Ok(Self { envelope })
    }

    /// Reads a manifest's file. This checks no signature.
    ///
    /// # Errors
    /// `Corrupt` if it is no envelope.
    pub fn parse(text: &[u8]) -> Result<Self> {
        Ok(Self { envelope: Envelope::parse(text)? })
    }

    /// The file that [`parse`](Self::parse) reads.
    pub fn to_text(&self) -> Result<Vec<u8>> {
        self.envelope.to_text()
    }

    pub fn is_signed(&self) -> bool {
        self.envelope.is_signed()
    }

    /// What it says, if it was signed with `key`.
    ///
    /// # Errors
    /// `Input` if it is not signed with this key, `Corrupt` if it is not what was signed, or not
    /// canonical, `Unsupported` if it is a statement about something else.
    pub fn verify(&self, key: &PublicKey) -> Result<Statement> {
        let payload = self.envelope.verify(statement::PAYLOAD_TYPE, key)?;
        Statement::from_payload(&payload)
    }

    /// What it says, whoever wrote it.
    ///
    /// # Errors
    /// As for [`verify`](Self::verify), but for the signature.
    pub fn unverified(&self) -> Result<Statement> {
        Statement::from_payload(&self.envelope.payload(statement::PAYLOAD_TYPE)?)
    }
}

/// Writes the manifest of a run in place of an earlier one of the same run; durable on return.
pub fn write(dir: &DataDir, manifest: &Manifest) -> Result<()> {
    dir.require_lock()?;
    let path = path(dir, &manifest.unverified()?.predicate.id)?;
    fs::create_dir(dir.disk().as_ref(), &dir.manifests())?;
    fs::write_atomic(dir.disk().as_ref(), &path, &manifest.to_text()?)
}

/// The manifest of a run; `None`: it has none.
///
/// # Errors
/// `Corrupt` if the file is no manifest, or that of another run.
pub fn read(dir: &DataDir, run: &str) -> Result<Option<Manifest>> {
    let path = path(dir, run)?;
    let Some(text) = fs::read_if_there(&path)? else { return Ok(None) };
    let damaged = |error: Error| error.within(path.display());
    let manifest = Manifest::parse(&text).map_err(damaged)?;
    let id = manifest.unverified().map_err(damaged)?.predicate.id;
    if id != run {
        return Err(Error::corrupt(format!("{} is the manifest of another run", path.display()))
            .detail(format!("it says that it is about `{id}`"))
            .hint("give the file its name back, or restore it from a backup"));
    }
    Ok(Some(manifest))
}

/// The runs that have a manifest, oldest first.
pub fn list(dir: &DataDir) -> Result<Vec<String>> {
    let is_manifest = |path: &Path| path.extension().is_some_and(|ending| ending == EXTENSION);
    let paths = fs::list(&dir.manifests())?.into_iter().filter(|path| is_manifest(path));
    let stem = |path: PathBuf| path.file_stem()?.to_str().map(str::to_owned);
    Ok(paths.filter_map(stem).collect())
}

/// The manifest of the last run that has one.
///
/// # Errors
/// As for [`read`].
pub fn newest(dir: &DataDir) -> Result<Option<Manifest>> {
    match list(dir)?.last() {
        Some(run) => read(dir, run),
        None => Ok(None),
    }
}

/// A name for a run that began at `at_us` (microseconds since 1970, UTC): a UUID of version 7
/// (RFC 9562), so that names sort by time.
///
/// # Errors
/// `Unavailable` if the operating system has no randomness.
pub fn new_run_id(at_us: i64) -> Result<String> {
    let mut bytes = [0; 16];
    keys::fill_random(&mut bytes)?;
    let ms = u64::try_from(at_us / 1000).unwrap_or_default();
    bytes[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    bytes[6] = 0x70 | bytes[6] & 0x0f;
    bytes[8] = 0x80 | bytes[8] & 0x3f;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Ok(parts.join("-"))
}

fn path(dir: &DataDir, run: &str) -> Result<PathBuf> {
    fs::check_name("run", run)?;
    Ok(dir.manifests().join(format!("{run}.{EXTENSION}")))
}

#[cfg(test)]
pub(crate) mod tests;
