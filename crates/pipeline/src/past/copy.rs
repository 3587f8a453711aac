//! A data directory that has the first epochs of another one.

use std::path::Path;

use arrow::datatypes::SchemaRef;
use syncline_change::{Error, Result};
use syncline_store::checkpoints;
use syncline_store::journal::{self, Journal};
use syncline_store::{DataDir, EpochLog, epochs, manifests};

use super::Past;
use crate::reread::Reread;

/// What was copied of a past.
pub struct Copied {
    /// Open for writing.
    pub dir: DataDir,
    pub epochs: u64,
    pub rows: u64,
}

/// The journal has rows that nobody knows the columns of.
pub(super) fn no_longer_there(source: &str) -> Error {
    Error::unsupported(format!(
        "the journal has source `{source}`, which is no longer in the pipeline file"
    ))
    .hint("put the source back, with the columns that it had")
}

impl Past<'_> {
    /// Copies journal, epoch log, checkpoints, manifests and what views meant, up to the epoch `through`, into
    /// a new data directory. Every hash stays what it was. How far sinks had got is not copied.
    ///
    /// # Errors
    /// `Conflict` if there is something at `into` already, `Corrupt` if the journal or the epoch log
    /// is not what was recorded.
    pub fn copy(&self, into: &Path, through: u64, progress: &dyn Fn(u64)) -> Result<Copied> {
        if std::fs::read_dir(into).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Error::conflict(format!("{} is not empty", into.display()))
                .hint("name a folder that is not there yet"));
        }
        let dir = DataDir::open(into)?;
        let tables = self.prepared.tables.iter();
        let sources: Vec<(String, SchemaRef)> =
            tables.map(|table| (table.name.clone(), table.schema.clone())).collect();
        let (mut journal, _) = Journal::open(&dir, &sources, 0)?;
        let (mut log, ..) = EpochLog::open(&dir)?;
        let mut records = epochs::records(&self.dir)?.into_iter().flatten();
        let mut rows = 0;
        // With the rows that it only refers to: how many there are is in what is written.
        let inputs = journal::replay(&self.dir, 1)?.through(through);
        for input in Reread::of(self.prepared, inputs)? {
            let input = input?;
            let record = records.next().ok_or_else(|| {
                Error::corrupt(format!("the epoch log has no record of epoch {}", input.epoch))
            })??;
            if let Some(part) = input
                .inputs
                .iter()
                .find(|part| !sources.iter().any(|(name, _)| *name == part.source))
            {
                return Err(no_longer_there(&part.source));
            }
            let digest = journal.append(&input)?.to_hex();
            let recorded = record.record.input.as_deref();
            if recorded.is_some_and(|recorded| recorded != digest.as_str()) {
                return Err(Error::corrupt(format!(
                    "the journal has something else of epoch {} than was recorded",
                    input.epoch
                ))
                .hint("`syncline verify` says more"));
            }
            log.append(&record.record)?;
            rows += record.record.sources.values().map(|source| source.rows).sum::<u64>();
            progress(input.epoch);
        }
        log.sync()?;
        for epoch in checkpoints::list(&self.dir)?.into_iter().filter(|epoch| *epoch <= through) {
            if let Some(checkpoint) = checkpoints::read(&self.dir, epoch)? {
                checkpoints::write(&dir, &checkpoint)?;
            }
        }
        for run in manifests::list(&self.dir)? {
            if let Some(manifest) = manifests::read(&self.dir, &run)?
                && manifest.unverified()?.predicate.parameters.epochs.last <= through
            {
                manifests::write(&dir, &manifest)?;
            }
        }
        crate::runtime::copy_plans(&self.dir, &dir)?;
        Ok(Copied { dir, epochs: through, rows })
    }
}
