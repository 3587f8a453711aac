//! What a verification found.

use serde::{Deserialize, Serialize};
use syncline_change::Error;

pub use super::sample::Sample;

/// How much of a run is as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything was looked at and is as recorded.
    Verified,
    /// Nothing differs, and something was not looked at.
    Partly,
    Mismatch,
}

/// What was compared, what differed, and what was not looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub pipeline: String,
    /// The views are those at the end of this epoch.
    pub epoch: u64,
    pub input: Option<InputCheck>,
    /// Which epochs they are, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<SliceCheck>,
    /// Which rows the batch engine computed, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
    pub views: Vec<ViewCheck>,
    pub sinks: Vec<SinkCheck>,
    pub manifest: Option<ManifestCheck>,
    pub mismatches: Vec<Mismatch>,
    /// A phrase each.
    pub unchecked: Vec<String>,
    /// What was not asked for, a phrase each.
    pub notes: Vec<String>,
}

/// A report as others read it: `verify --format json`, and the API.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Judged {
    pub verdict: Verdict,
    #[serde(flatten)]
    pub report: Report,
}

impl From<Report> for Judged {
    fn from(report: Report) -> Self {
        Self { verdict: report.verdict(), report }
    }
}

/// The journal, which is what the epoch log says that it was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InputCheck {
    pub epochs: u64,
    pub rows: u64,
    /// The Merkle root over all epochs of the journal, in hex.
    pub root: String,
    /// The hash of the last epoch's record, in hex.
    pub chain: String,
}

/// A few epochs that are of a run, over what its tables are said to have held before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SliceCheck {
    /// The first epoch.
    pub from: u64,
    /// Rows of tables before it, of which nothing shows that they are right.
    pub base_rows: u64,
    /// Views that had the digest of the checkpoint before it, over these.
    pub base_views: u64,
    /// The epochs are held against what the run wrote down at the end of this one: in a `checkpoint` or a
    /// `manifest`.
    pub anchor: u64,
    pub by: String,
}

/// A view whose content was found as recorded, or by two ways the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ViewCheck {
    pub view: String,
    pub rows: u64,
    /// The state digest, in hex; `None`: nobody keeps the view's content, and both ways came to the same rows.
    pub digest: Option<String>,
    /// A checkpoint has it.
    pub is_recorded: bool,
    /// The batch engine computed it.
    pub by_batch: bool,
    /// The circuit computed it again, and every epoch's changes were as recorded.
    pub by_replay: bool,
    /// So many of its rows the batch engine computed, in place of all; of a verification of samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<u64>,
}

/// A sink whose target holds what its view says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SinkCheck {
    pub sink: String,
    pub epoch: u64,
    pub lines: u64,
}

/// A manifest that says what was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ManifestCheck {
    /// The run that it is about.
    pub run: String,
    /// The last epoch that it is about.
    pub epoch: u64,
    /// The key that its signature was checked with.
    pub key: Option<String>,
    /// It has a signature, checked or not.
    pub is_signed: bool,
}

/// Something is not what was recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mismatch {
    /// What differs: `view delays`, `the journal`.
    pub what: String,
    /// The first epoch in which it does, if that is known.
    pub epoch: Option<u64>,
    pub message: String,
    /// Rows or facts that show it, a line each.
    pub rows: Vec<String>,
}

impl Report {
    pub(super) fn new(pipeline: &str) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            epoch: 0,
            input: None,
            slice: None,
            sample: None,
            views: vec![],
            sinks: vec![],
            manifest: None,
            mismatches: vec![],
            unchecked: vec![],
            notes: vec![],
        }
    }

    pub fn verdict(&self) -> Verdict {
        match (self.mismatches.is_empty(), self.unchecked.is_empty()) {
            (false, _) => Verdict::Mismatch,
            (true, false) => Verdict::Partly,
            (true, true) => Verdict::Verified,
        }
    }
}

impl Mismatch {
    pub(super) fn new(what: &str, epoch: Option<u64>, message: impl Into<String>) -> Self {
        Self { what: what.to_owned(), epoch, message: message.into(), rows: vec![] }
    }

    pub(super) fn of_error(what: &str, epoch: Option<u64>, error: &Error) -> Self {
        let mut made = Self::new(what, epoch, error.message());
        made.rows.extend(error.detail_text().map(str::to_owned));
        made
    }
}
