//! What a run says of itself when it ends: a manifest, signed if there is a key.

use std::collections::BTreeMap;

use syncline_change::{Error, Result};
use syncline_store::checkpoints::Checkpoint;
use syncline_store::journal::{EpochInput, Standing};
use syncline_store::manifests::statement::{
    self, CHANGES, Dependencies, Digests, Engine, Epochs, Journal, Lock, Parameters, Pipeline,
    STATE, Source, Statement, Subject,
};
use syncline_store::manifests::{self, Manifest};
use syncline_store::{DataDir, Signer};

use crate::clock;
use crate::lock::SEMANTICS_VERSION;
use crate::prepare::{Prepared, alert_of};

/// The account of a run that is kept while it goes on.
pub(super) struct Account {
    id: String,
    pipeline: Pipeline,
    lock: Lock,
    /// `None` before its first epoch.
    epochs: Option<Epochs>,
    sources: BTreeMap<String, Source>,
}

impl Account {
    pub(super) fn new(prepared: &Prepared) -> Result<Self> {
        let lock = &prepared.lock;
        Ok(Self {
            id: manifests::new_run_id(clock::wall_us())?,
            pipeline: Pipeline {
                name: prepared.pipeline.spec.name.clone(),
                digest: statement::digest_of(prepared.pipeline.text.as_bytes()),
            },
            lock: Lock {
                digest: statement::digest_of(lock.to_text().as_bytes()),
                semantics: lock.semantics,
                seed: lock.seed,
            },
            epochs: None,
            sources: BTreeMap::new(),
        })
    }

    /// An epoch of the run; `before` is where sources stood.
    pub(super) fn note(&mut self, input: &EpochInput, before: &BTreeMap<String, Standing>) {
        let epochs = self.epochs.get_or_insert(Epochs {
            first: input.epoch,
            last: input.epoch,
            first_time_us: input.time_us,
            last_time_us: input.time_us,
        });
        (epochs.last, epochs.last_time_us) = (input.epoch, input.time_us);
        for part in &input.inputs {
            let source = self.sources.entry(part.source.clone()).or_insert_with(|| {
                let position = before.get(&part.source).and_then(|s| s.position.as_ref());
                Source { first: position.map(statement::position_text), ..Source::default() }
            });
            source.rows += part.row_count() as u64;
            if let Some(position) = &part.position {
                source.last = Some(statement::position_text(position));
            }
        }
    }

    /// Writes the manifest of a run that has ended with `last`, unless nothing ran.
    ///
    /// # Errors
    /// `Storage` if the disk refuses, `Config` if there is a key that cannot be used.
    pub(super) fn write(self, dir: &DataDir, last: &Checkpoint) -> Result<()> {
        let Some(epochs) = self.epochs.filter(|epochs| epochs.last == last.epoch) else {
            return Ok(());
        };
        let views = last.views.iter().filter(|(name, _)| alert_of(name).is_none());
        let subjects = views.map(|(name, view)| {
            let mut digest = Digests::from([(CHANGES.to_owned(), view.changes.clone())]);
            digest.extend(view.digest.clone().map(|state| (STATE.to_owned(), state)));
            Subject { name: name.clone(), digest }
        });
        let run = statement::Run {
            id: self.id,
            created_at_us: clock::wall_us(),
            pipeline: self.pipeline,
            parameters: Parameters { lock: self.lock, epochs, sources: self.sources },
            dependencies: Dependencies {
                journal: Journal {
                    root: blake3::Hash::from(last.input.root()).to_hex().to_string(),
                    chain_head: last.chain.clone(),
                },
                engine: Engine {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    semantics: SEMANTICS_VERSION,
                },
            },
        };
        let statement = Statement::new(subjects.collect(), run);
        let signer = Signer::from_environment()
            .map_err(|error| Error::new(error.kind(), "the run cannot be signed").source(error))?;
        manifests::write(dir, &Manifest::seal(&statement, signer.as_ref())?)
    }
}
