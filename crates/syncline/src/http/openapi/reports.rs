//! What the report of a verification looks like, for the document: whoever verifies knows nothing of
//! it. A test compares this with what is answered.

#![allow(dead_code, reason = "only the shapes count")]

use utoipa::ToSchema;

/// What was compared, what differed, and what was not looked at.
#[derive(ToSchema)]
pub(in crate::http) struct Report {
    /// `verified`, `partly` or `mismatch`.
    verdict: String,
    pipeline: String,
    /// The views are those at the end of this epoch.
    epoch: u64,
    input: Option<InputCheck>,
    /// Which epochs they are: left out if they are all.
    #[schema(required = false)]
    slice: Option<SliceCheck>,
    /// Which rows were computed, if not all: left out if all were.
    #[schema(required = false)]
    sample: Option<Sample>,
    views: Vec<ViewCheck>,
    sinks: Vec<SinkCheck>,
    manifest: Option<ManifestCheck>,
    mismatches: Vec<Mismatch>,
    /// What was not looked at, a phrase each.
    unchecked: Vec<String>,
    /// What was not asked for.
    notes: Vec<String>,
}

/// The journal, which is what the epoch log says that it was.
#[derive(ToSchema)]
struct InputCheck {
    epochs: u64,
    rows: u64,
    /// The Merkle root over all epochs of the journal, in hex.
    root: String,
    /// The hash of the last epoch's record, in hex.
    chain: String,
}

/// A few epochs of a run.
#[derive(ToSchema)]
struct SliceCheck {
    /// The first epoch.
    from: u64,
    /// Rows of tables before it, of which nothing shows that they are right.
    base_rows: u64,
    /// Views that had the digest of the checkpoint before it, over these.
    base_views: u64,
    /// The epochs are held against what the run wrote down at the end of this one.
    anchor: u64,
    /// In a `checkpoint` or a `manifest`.
    by: String,
}

/// A view whose content is as recorded, or the same by two ways.
#[derive(ToSchema)]
struct ViewCheck {
    view: String,
    rows: u64,
    /// The state digest, in hex; null if nobody keeps the view's content.
    digest: Option<String>,
    /// A checkpoint has it.
    is_recorded: bool,
    /// The batch engine computed it.
    by_batch: bool,
    /// The circuit computed it again.
    by_replay: bool,
    /// So many of its rows the batch engine computed: left out if all were to be.
    #[schema(required = false)]
    sampled: Option<u64>,
}

/// A verification of some rows of each view.
#[derive(ToSchema)]
struct Sample {
    /// So many different rows of each view.
    rows: u64,
    /// What the choice follows from.
    seed: u64,
}

/// A sink whose target holds what its view says.
#[derive(ToSchema)]
struct SinkCheck {
    sink: String,
    epoch: u64,
    lines: u64,
}

/// The manifest of the last run that has one, which says what was found.
#[derive(ToSchema)]
struct ManifestCheck {
    /// The run that it is about.
    run: String,
    /// The last epoch that it is about.
    epoch: u64,
    /// The key that its signature was checked with.
    key: Option<String>,
    /// It has a signature, checked or not.
    is_signed: bool,
}

/// Something is not what was recorded.
#[derive(ToSchema)]
struct Mismatch {
    /// `view delays`, `the journal`, ...
    what: String,
    /// The first epoch in which it differs, if that is known.
    epoch: Option<u64>,
    message: String,
    /// Rows or facts that show it, a line each.
    rows: Vec<String>,
}
