//! ed25519 keys (RFC 8032) in the files that OpenSSL reads and writes: PKCS #8 for the private key,
//! SubjectPublicKeyInfo for the public one, both in PEM.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::spki::der::zeroize::Zeroizing;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes,
};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use syncline_change::{Error, Result};

use crate::disk::RealDisk;
use crate::fs;

/// Names the file of the private key that runs are signed with. Set to nothing: they are not.
pub const KEY_VARIABLE: &str = "SYNCLINE_KEY";

/// A key takes some hundred bytes; what is longer is something else.
const KEY_BYTES_MAX: u64 = 16 * 1024;

const MAKE_ONE: &str = "`syncline keys new` makes a key";

/// A private key, which signs.
#[derive(Debug)]
pub struct Signer {
    key: SigningKey,
}

/// What checks the signatures of one [`Signer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
}

impl Signer {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// `Unavailable` if there is none.
    pub fn generate() -> Result<Self> {
        let mut seed = Zeroizing::new([0; ed25519_dalek::SECRET_KEY_LENGTH]);
        fill_random(seed.as_mut())?;
        Ok(Self { key: SigningKey::from_bytes(&seed) })
    }

    /// The key that runs are signed with: the one that `SYNCLINE_KEY` names, or else the one in the
    /// [`default_path`]. `None`: there is none, or `SYNCLINE_KEY` is empty.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn from_environment() -> Result<Option<Self>> {
        Self::from_places(std::env::var_os(KEY_VARIABLE), default_path())
    }

    fn from_places(named: Option<OsString>, default: Option<PathBuf>) -> Result<Option<Self>> {
        match (named, default) {
            (Some(named), _) if named.is_empty() => Ok(None),
            (Some(named), _) => Self::read(Path::new(&named))
                .map(Some)
                .map_err(|error| error.within(format_args!("the key that {KEY_VARIABLE} names"))),
            (None, Some(path)) => {
                // What cannot be looked at may be there: to sign nothing would be a silent change.
                let is_there =
                    path.try_exists().map_err(|error| Error::io("read", &path, error))?;
                is_there.then(|| Self::read(&path)).transpose()
            }
            (None, None) => Ok(None),
        }
    }

    /// Reads a private key.
    ///
    /// # Errors
    /// `Config` if there is none, others may read it, or it is no ed25519 key.
    pub fn read(path: &Path) -> Result<Self> {
        let (file, text) = read_text(path)?;
        let key = Self::from_pem(&text).map_err(|error| error.within(path.display()))?;
        check_private(&file, path)?;
        Ok(key)
    }

    fn from_pem(text: &str) -> Result<Self> {
        match SigningKey::from_pkcs8_pem(text) {
            Ok(key) => Ok(Self { key }),
            Err(_) if text.contains("-----BEGIN PUBLIC KEY-----") => {
                Err(Error::config("this is a public key, which cannot sign")
                    .hint("name the file of the private key"))
            }
            Err(_) if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") => Err(Error::config(
                "the key is encrypted",
            )
            .hint("name a key that is not: `openssl pkey -in FILE -out NEW` takes a password off")),
            Err(error) => Err(Error::config("this is no ed25519 key in PKCS #8 PEM")
                .detail(error.to_string())
                .hint(MAKE_ONE)
                .source(error)),
        }
    }

    /// Writes the key to a new file that only its owner can read; durable on return.
    ///
    /// # Errors
    /// `Config` if `path` is there already: a key is never overwritten.
    pub fn write_new(&self, path: &Path) -> Result<()> {
        // Without the public key beside it, which OpenSSL does not read.
        let bytes = KeypairBytes { secret_key: self.key.to_bytes(), public_key: None };
        let text = bytes.to_pkcs8_pem(LineEnding::LF).map_err(no_pem)?;
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => fs::create_dir(&RealDisk, folder)?,
            Some(_) | None => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Error::config(format!("{} is there already", path.display()))
                    .detail("a key is never overwritten: what it has signed needs it")
                    .hint("name another file, or move the old key away")
            }
            _ => Error::io("create", path, error),
        })?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        let written = written.map_err(|error| Error::io("write", path, error));
        let written = written.and_then(|()| fs::sync_parent(&RealDisk, path));
        if written.is_err() {
            // Best effort: what was begun here is no key, and would be in the way of one.
            let _ = std::fs::remove_file(path);
        }
        written
    }

    pub fn public(&self) -> PublicKey {
        PublicKey { key: self.key.verifying_key() }
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; Signature::BYTE_SIZE] {
        self.key.sign(message).to_bytes()
    }
}

impl PublicKey {
    /// Reads a public key, or that of a private one.
    ///
    /// # Errors
    /// `Config` if there is none, or it is no ed25519 key.
    pub fn read(path: &Path) -> Result<Self> {
        let (_, text) = read_text(path)?;
        if text.contains("PRIVATE KEY-----") {
            return Ok(Signer::read(path)?.public());
        }
        Self::from_pem(&text).map_err(|error| error.within(path.display()))
    }

    /// # Errors
    /// `Config` if it is no ed25519 key.
    pub fn from_pem(text: &str) -> Result<Self> {
        match VerifyingKey::from_public_key_pem(text) {
            Ok(key) => Ok(Self { key }),
            Err(error) => Err(Error::config("this is no public ed25519 key in PEM")
                .detail(error.to_string())
                .hint("`syncline keys show --format pem` gives that of a private key")
                .source(error)),
        }
    }

    pub fn to_pem(&self) -> Result<String> {
        self.key.to_public_key_pem(LineEnding::LF).map_err(no_pem)
    }

    /// Tells keys apart: BLAKE3 of the SubjectPublicKeyInfo (DER), in hex.
    pub fn id(&self) -> Result<String> {
        let der = self.key.to_public_key_der().map_err(no_pem)?;
        Ok(blake3::hash(der.as_bytes()).to_string())
    }

    /// Whether the key's owner signed `message`. Strictly: no second form of a signature passes.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

/// Where a key is looked for that nobody names: `syncline/key.pem` in the user's folder for
/// settings (`$XDG_CONFIG_HOME`, `~/.config`). `None`: the user has no home.
pub fn default_path() -> Option<PathBuf> {
    let named = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let settings = named.filter(|path| path.is_absolute());
    let settings = settings.or_else(|| Some(std::env::home_dir()?.join(".config")))?;
    Some(settings.join("syncline/key.pem"))
}

/// Fills `bytes` from the operating system's randomness.
pub(super) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|error| {
        Error::unavailable("the operating system gives no randomness")
            .detail(error.to_string())
            .source(error)
    })
}

fn read_text(path: &Path) -> Result<(File, Zeroizing<String>)> {
    let file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::config(format!("there is no key {}", path.display())).hint(MAKE_ONE)
        }
        _ => Error::io("open", path, error),
    })?;
    let mut text = Zeroizing::new(String::new());
    match (&file).take(KEY_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => Ok((file, text)),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(Error::config(format!("{} is no key in PEM", path.display()))
                .detail("it is not text")
                .hint(MAKE_ONE))
        }
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// Refuses a private key that others could have taken.
#[cfg(unix)]
fn check_private(file: &File, path: &Path) -> Result<()> {
    let metadata = file.metadata().map_err(|error| Error::io("read", path, error))?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Error::config(format!("the private key {} is not private", path.display()))
        .detail(format!("its mode is {mode:04o}: its group or others have access"))
        .hint(format!("chmod 600 {}", path.display())))
}

#[cfg(not(unix))]
fn check_private(_: &File, _: &Path) -> Result<()> {
    Ok(())
}

fn no_pem(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::bug("a key has no PEM form").source(error)
}

#[cfg(test)]
pub(crate) mod tests;
