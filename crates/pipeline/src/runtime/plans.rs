//! Since when each view means what it does, from run to run on one data directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use syncline_change::{Error, Result};
use syncline_engine::Circuit;
use syncline_store::DataDir;

use crate::lock::SEMANTICS_VERSION;
use crate::meaning::Meanings;
use crate::prepare::Prepared;

/// Of each view, what its SQL meant at the last run.
pub(super) struct Plans {
    plans: BTreeMap<String, Plan>,
    /// Views that meant something else.
    changed: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Plan {
    fingerprint: String,
    /// The hash of its meaning, to which belongs what it reads; older versions noted none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    meaning: Option<String>,
    /// The first epoch whose record tells of the view as it is.
    since: u64,
}

impl Plan {
    fn is_of(&self, fingerprint: &str, meaning: &Option<String>) -> bool {
        match &self.meaning {
            Some(_) => self.meaning == *meaning,
            None => self.fingerprint == fingerprint,
        }
    }
}

impl Plans {
    /// Compares what is remembered in `dir` with the views of `circuit`, of which epochs up to
    /// `recorded` were computed in earlier runs.
    pub(super) fn compare(
        dir: &DataDir,
        prepared: &Prepared,
        circuit: &Circuit,
        meanings: &Meanings,
        recorded: u64,
    ) -> Result<Self> {
        let before = read(&path(dir))?;
        let (mut plans, mut changed) = (BTreeMap::new(), Vec::new());
        for view in circuit.views() {
            let name = view.name.clone();
            let fingerprint = Recorded::plan_of(&view.fingerprint);
            let meaning = Some(meanings.get(&name)?.hash.clone());
            let plan = match before.get(&name) {
                Some(plan) if plan.is_of(&fingerprint, &meaning) => {
                    Plan { fingerprint, meaning, since: plan.since }
                }
                known => {
                    if known.is_some() {
                        if prepared.pipeline.spec.views.contains_key(&name) {
                            tracing::info!(
                                "view `{name}` has changed: it is made anew from the journal"
                            );
                        }
                        changed.push(name.clone());
                    }
                    Plan { fingerprint, meaning, since: recorded + 1 }
                }
            };
            plans.insert(name, plan);
        }
        Ok(Self { plans, changed })
    }

    pub(super) fn changed(&self) -> &[String] {
        &self.changed
    }

    /// What the view means.
    pub(super) fn fingerprint(&self, view: &str) -> &str {
        self.plans.get(view).map_or("", |plan| &plan.fingerprint)
    }

    /// Whether the record of `epoch` tells of the view as it is.
    pub(super) fn are_recorded(&self, view: &str, epoch: u64) -> bool {
        self.plans.get(view).is_some_and(|plan| plan.since <= epoch)
    }

    pub(super) fn write(&self, dir: &DataDir) -> Result<()> {
        let text = serde_json::to_vec_pretty(&self.plans)
            .map_err(|error| Error::bug("plans have no JSON form").source(error))?;
        syncline_store::fs::write_atomic(&**dir.disk(), &path(dir), &text)
    }
}

/// What views meant at the last run on a data directory.
pub(crate) struct Recorded {
    plans: BTreeMap<String, Plan>,
}

impl Recorded {
    /// # Errors
    /// `Corrupt` if the file is damaged.
    pub(crate) fn read(dir: &DataDir) -> Result<Self> {
        Ok(Self { plans: read(&path(dir))? })
    }

    /// What a view meant, if it has run.
    pub(crate) fn plan(&self, view: &str) -> Option<&str> {
        self.plans.get(view).map(|plan| plan.fingerprint.as_str())
    }

    /// The views that there were at the last run.
    pub(crate) fn views(&self) -> impl Iterator<Item = &str> {
        self.plans.keys().map(String::as_str)
    }

    /// Whether a view means what it did, if it has run.
    pub(crate) fn is_unchanged(
        &self,
        view: &str,
        fingerprint: &str,
        meaning: &str,
    ) -> Option<bool> {
        let plan = self.plans.get(view)?;
        Some(plan.is_of(&Self::plan_of(fingerprint), &Some(meaning.to_owned())))
    }

    /// Whether the record of `epoch` tells of the view as it was at the last run.
    pub(crate) fn has(&self, view: &str, epoch: u64) -> bool {
        self.plans.get(view).is_some_and(|plan| plan.since <= epoch)
    }

    /// What a view with this fingerprint means: the same plan may have other results in another
    /// version.
    pub(crate) fn plan_of(fingerprint: &str) -> String {
        format!("{SEMANTICS_VERSION}-{fingerprint}")
    }
}

/// Gives another data directory the same account of what views meant.
pub(crate) fn copy_plans(from: &DataDir, to: &DataDir) -> Result<()> {
    let plans = Recorded::read(from)?;
    let plans = Plans { plans: plans.plans, changed: vec![] };
    plans.write(to)
}

fn path(dir: &DataDir) -> PathBuf {
    dir.path().join("plans.json")
}

fn read(path: &Path) -> Result<BTreeMap<String, Plan>> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| {
            Error::corrupt(format!("{} is damaged", path.display()))
                .detail(error.to_string())
                .hint("remove it: sinks are then trusted to hold what the views mean today")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(Error::io("read", path, error)),
    }
}
