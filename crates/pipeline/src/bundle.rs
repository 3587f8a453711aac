//! A run as one file: the pipeline, its lock, its input and what it recorded, to be verified by
//! anybody, anywhere, without a network.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use syncline_change::{Error, Result};
use syncline_store::bundle::{self, Contents};
use syncline_store::disk::RealDisk;
use syncline_store::{checkpoints, journal};

use crate::file::{LoadError, Pipeline};
use crate::past::Past;
use crate::prepare::Prepared;
use crate::vars::Vars;

const PIPELINE: &str = "syncline.yaml";
const LOCK: &str = "syncline.lock";
const DATA: &str = "data";

/// How many bundles this process has unpacked.
static UNPACKED: AtomicU64 = AtomicU64::new(0);

/// What goes into a bundle.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The first epoch, of a slice; `None`: the whole run.
    pub from: Option<u64>,
    /// The last epoch; `None`: that of the last checkpoint, or else the last one.
    pub through: Option<u64>,
    /// Leaves out the files that the journal refers to: whoever verifies needs them.
    pub by_reference: bool,
}

/// Writes the bundle `out` of the run, or of a slice of it, in `data_dir`, which may be going on.
///
/// # Errors
/// `Config` if there is nothing to bundle, `Corrupt` if the run is not what it recorded,
/// `Unsupported` if a file that the journal refers to is not below the pipeline's folder.
pub fn pack(
    prepared: &Prepared,
    data_dir: &Path,
    out: &Path,
    options: Options,
    progress: &dyn Fn(u64),
) -> Result<Contents, LoadError> {
    let past = Past::open(prepared, data_dir)?;
    let checkpoint = checkpoints::list(past.dir())?.last().copied();
    let through = options.through.or(checkpoint).unwrap_or(past.recorded());
    if through == 0 || through > past.recorded() {
        return Err(Error::config(format!("there is no epoch {through} to bundle"))
            .detail(format!("the last recorded epoch is {}", past.recorded()))
            .hint("run the pipeline first")
            .into());
    }
    let lock = prepared.found_lock.as_ref().ok_or_else(|| {
        Error::config("there is no syncline.lock beside the pipeline file")
            .hint("run the pipeline once, which writes it, or restore it")
    })?;
    let parts = Parts::new(out)?;
    match options.from {
        Some(from) => past.write_slice(&parts.folder, (from, through), progress)?,
        None => drop(past.copy(&parts.folder.join(DATA), through, progress)?),
    }
    parts.write(PIPELINE, prepared.pipeline.text.as_bytes())?;
    parts.write(LOCK, lock.to_text().as_bytes())?;
    let referred = referred(&past, options.from.unwrap_or(1), through)?;
    if !options.by_reference {
        for file in &referred {
            parts.copy(&prepared.pipeline.base_dir, file)?;
        }
    }
    let references = if options.by_reference { referred.into_iter().collect() } else { vec![] };
    let name = &prepared.pipeline.spec.name;
    let mut contents = Contents::new(env!("CARGO_PKG_VERSION"), name, through, references);
    if let Some(from) = options.from {
        contents = contents.of_slice(from);
    }
    Ok(bundle::pack(&parts.folder, contents, out)?)
}

/// A bundle that was unpacked, as long as this is held.
pub struct Unpacked {
    pub contents: Contents,
    folder: PathBuf,
    /// Where the bundle is.
    beside: PathBuf,
}

impl Unpacked {
    /// Unpacks the bundle `path` into a folder for what is of no use later.
    ///
    /// # Errors
    /// `Corrupt` if it is not what was packed.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Two may be open that are called the same.
        let number = UNPACKED.fetch_add(1, Relaxed);
        let folder = format!("{name}.{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        match bundle::unpack(path, &folder) {
            Ok(contents) => {
                let beside = path.parent().unwrap_or(Path::new("")).to_owned();
                Ok(Self { contents, folder, beside })
            }
            Err(error) => {
                let _ = std::fs::remove_dir_all(&folder);
                Err(error)
            }
        }
    }

    /// The pipeline in it; files that were left out are looked for beside the bundle. What its file
    /// takes from the environment is not in a bundle, and matters to nothing but the connections to
    /// other systems.
    ///
    /// # Errors
    /// Everything that is wrong with the pipeline file.
    pub fn prepare(&self) -> Result<Prepared, LoadError> {
        let pipeline = Pipeline::load(Some(&self.folder.join(PIPELINE)), &Vars::placeholders())?;
        let mut prepared = Prepared::new(pipeline)?;
        if !self.contents.references.is_empty() {
            prepared.pipeline.base_dir.clone_from(&self.beside);
        }
        Ok(prepared)
    }

    /// The folder of a slice, if it is one.
    pub fn slice(&self) -> Option<&Path> {
        self.contents.from.map(|_| self.folder.as_path())
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.join(DATA)
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // Only tidiness.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The files that a journal refers to in place of their rows.
fn referred(past: &Past<'_>, from: u64, through: u64) -> Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    for input in journal::replay(past.dir(), from)?.through(through) {
        for part in input?.inputs {
            files.extend(part.origin.into_iter().map(|range| range.file));
        }
    }
    Ok(files)
}

/// The files of a bundle while it is put together, beside where it will be.
struct Parts {
    folder: PathBuf,
}

impl Parts {
    fn new(out: &Path) -> Result<Self> {
        let mut name = out.as_os_str().to_owned();
        name.push(format!(".parts-{}", std::process::id()));
        let folder = PathBuf::from(name);
        syncline_store::fs::create_dir(&RealDisk, &folder)?;
        Ok(Self { folder })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(name);
        std::fs::write(&path, bytes).map_err(|error| Error::io("write", &path, error))
    }

    fn copy(&self, base_dir: &Path, file: &str) -> Result<()> {
        let from = base_dir.join(file);
        let inside = from.strip_prefix(base_dir).ok().filter(|path| {
            path.components().all(|part| matches!(part, std::path::Component::Normal(_)))
        });
        let Some(inside) = inside else {
            return Err(Error::unsupported(format!("{file} is not below the pipeline's folder"))
                .detail("the journal refers to it, and a bundle would have to take it along")
                .hint("leave such files out with --by-reference"));
        };
        let to = self.folder.join(inside);
        if let Some(folder) = to.parent() {
            syncline_store::fs::create_dir(&RealDisk, folder)?;
        }
        std::fs::copy(&from, &to).map_err(|error| Error::io("copy", &from, error))?;
        Ok(())
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        // Only tidiness.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests;
