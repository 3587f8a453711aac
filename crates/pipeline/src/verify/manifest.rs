//! What the last manifest says of the run, against what was found.

use syncline_change::{ErrorKind, Result};
use syncline_store::PublicKey;
use syncline_store::manifests::statement::{STATE, Statement, digest_of};
use syncline_store::manifests::{self, Manifest};

use super::journal::Comparison;
use super::report::{ManifestCheck, Mismatch, Report};
use crate::past::Past;
use crate::prepare::Prepared;

/// The manifest of the last run that has one.
pub(super) struct Claims {
    statement: Statement,
    check: ManifestCheck,
    /// Root and chain of its last epoch were as found; `None`: they were not reached.
    is_met: Option<bool>,
}

impl Claims {
    /// Reads the manifest, and checks its signature if there is a `key`.
    pub(super) fn read(
        past: &Past<'_>,
        key: Option<&PublicKey>,
        report: &mut Report,
    ) -> Result<Option<Self>> {
        let read = match manifests::newest(past.dir()) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                report.mismatches.push(Mismatch::of_error("the manifest", None, &error));
                return Ok(None);
            }
            read => read?,
        };
        let Some(manifest) = read else {
            if key.is_some() {
                report.unchecked.push("the manifest: there is none to check the key with".into());
            }
            return Ok(None);
        };
        match statement(&manifest, key) {
            Err(error) if error.kind() != ErrorKind::Bug => {
                report.mismatches.push(Mismatch::of_error("the manifest", None, &error));
                Ok(None)
            }
            statement => {
                let statement = statement?;
                let check = ManifestCheck {
                    run: statement.predicate.id.clone(),
                    epoch: statement.predicate.parameters.epochs.last,
                    key: key.map(PublicKey::id).transpose()?,
                    is_signed: manifest.is_signed(),
                };
                Ok(Some(Self { statement, check, is_met: None }))
            }
        }
    }

    /// Compares root and chain, when the last epoch that it is about has been compared.
    pub(super) fn note(&mut self, comparison: &Comparison<'_>) {
        if comparison.epoch() == self.check.epoch {
            let journal = &self.statement.predicate.dependencies.journal;
            let root = blake3::Hash::from(comparison.input().root());
            let is_root = root.to_hex().as_str() == journal.root;
            self.is_met = Some(is_root && comparison.chain() == journal.chain_head);
        }
    }

    /// The last epoch that it is about, and the root and the chain head that it says.
    pub(super) fn said(&self) -> (u64, &str, &str) {
        let journal = &self.statement.predicate.dependencies.journal;
        (self.check.epoch, &journal.root, &journal.chain_head)
    }

    /// Root and chain are those of the run, which was not gone through up to there.
    pub(super) fn is_shown(&mut self) {
        self.is_met = Some(true);
    }

    /// Compares the rest with what was found.
    pub(super) fn finish(self, prepared: &Prepared, report: &mut Report) {
        let mut differences = Vec::new();
        match self.is_met {
            Some(true) => {}
            Some(false) => differences.push("the journal or the epoch log".to_owned()),
            None => {
                let epoch = self.check.epoch;
                report.unchecked.push(format!("the manifest, which is about epoch {epoch}"));
                return;
            }
        }
        let lock = prepared.found_lock.as_ref().map(|lock| digest_of(lock.to_text().as_bytes()));
        if lock.as_ref() != Some(&self.statement.predicate.parameters.lock.digest) {
            differences.push("the lock".to_owned());
        }
        if self.check.epoch == report.epoch {
            for subject in &self.statement.subject {
                let found = report.views.iter().find(|view| view.view == subject.name);
                let (Some(found), Some(said)) = (found, subject.digest.get(STATE)) else {
                    continue;
                };
                match &found.digest {
                    Some(digest) if digest == said => {}
                    Some(_) => differences.push(format!("view {}", subject.name)),
                    // The checkpoint, which has the same digests where nobody altered it, has none.
                    None => report
                        .unchecked
                        .push(format!("the manifest's digest of view {}", subject.name)),
                }
            }
        }
        if differences.is_empty() {
            report.manifest = Some(self.check);
            return;
        }
        let message = "it was made of something else than what is there";
        let mut mismatch = Mismatch::new("the manifest", Some(self.check.epoch), message);
        mismatch.rows = differences;
        report.mismatches.push(mismatch);
    }
}

fn statement(manifest: &Manifest, key: Option<&PublicKey>) -> Result<Statement> {
    match key {
        Some(key) => manifest.verify(key),
        None => manifest.unverified(),
    }
}
