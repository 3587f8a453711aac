//! What a manifest says: an in-toto statement (version 1) about one run.
//!
//! Its subjects are the views with their digests; its predicate says what these follow from, in the
//! order of SLSA's provenance: parameters, then dependencies. It is written in the one form that
//! RFC 8785 (JCS) gives a JSON text, so that the same statement is the same bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use syncline_change::source::Position;
use syncline_change::{Error, Result};

/// What the envelope says that it carries.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// Names the format of [`Run`]; it is no address of a page. Another number when its fields mean
/// something else; new fields may come without one.
const PREDICATE_TYPE: &str = "urn:syncline:run:v1";

/// Digests in lower-case hex, by the name of what they are.
pub type Digests = BTreeMap<String, String>;

/// The name of a digest that is BLAKE3 of bytes.
pub const BLAKE3: &str = "blake3";
/// The name of a view's state digest: BLAKE3 of the LtHash (2048 bytes) of its rows.
pub const STATE: &str = "lthash16";
/// The name of a view's change digest.
pub const CHANGES: &str = "changes";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    pub subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_kind: String,
    pub predicate: Run,
}

/// A view, and what it holds at the end of the run's last epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The view.
    pub name: String,
    /// [`STATE`] and [`CHANGES`], or one of them.
    pub digest: Digests,
}

/// What the subjects follow from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The run's name, and that of its manifest's file: see [`super::new_run_id`].
    pub id: String,
    /// When the manifest was made, in microseconds since 1970 (UTC).
    pub created_at_us: i64,
    pub pipeline: Pipeline,
    pub parameters: Parameters,
    pub dependencies: Dependencies,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipeline {
    pub name: String,
    /// Of the pipeline file as it is written, before the environment is filled in.
    pub digest: Digests,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    pub lock: Lock,
    pub epochs: Epochs,
    /// By source.
    pub sources: BTreeMap<String, Source>,
}

/// What the lock pins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Of the lock's text.
    pub digest: Digests,
    pub semantics: u32,
    #[serde(with = "as_text")]
    pub seed: u64,
}

/// Which epochs the run is about, with the logical times of the first and the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Epochs {
    pub first: u64,
    pub last: u64,
    /// In microseconds since 1970 (UTC).
    pub first_time_us: i64,
    pub last_time_us: i64,
}

/// What a source gave in these epochs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub rows: u64,
    /// Where it stood before the first epoch and after the last: see [`position_text`]. Left out:
    /// at its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependencies {
    pub journal: Journal,
    pub engine: Engine,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Journal {
    /// The root of the Merkle log over the journal's epochs up to the last one, in hex.
    pub root: String,
    /// BLAKE3 of the last epoch's record in the epoch log, in hex.
    pub chain_head: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// Syncline's.
    pub version: String,
    pub semantics: u32,
}

/// What says which statement this is; read before the rest, which another one need not have.
#[derive(Deserialize)]
struct Kinds {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(rename = "predicateType")]
    predicate_kind: String,
}

impl Statement {
    pub fn new(subject: Vec<Subject>, predicate: Run) -> Self {
        Self {
            kind: STATEMENT_TYPE.to_owned(),
            subject,
            predicate_kind: PREDICATE_TYPE.to_owned(),
            predicate,
        }
    }

    /// The statement in canonical JSON.
    ///
    /// # Errors
    /// `Bug` if it does not survive that: canonical JSON's numbers are doubles.
    pub fn to_payload(&self) -> Result<Vec<u8>> {
        let text = serde_json_canonicalizer::to_vec(self).map_err(no_canonical_form)?;
        if serde_json::from_slice::<Self>(&text).ok().as_ref() != Some(self) {
            return Err(Error::bug("a statement does not survive canonical JSON"));
        }
        Ok(text)
    }

    /// Reads a statement. Fields that this version does not know are passed over.
    ///
    /// # Errors
    /// `Corrupt` if it is no statement or not canonical, `Unsupported` if it is one about something
    /// else, or of another version.
    pub fn from_payload(text: &[u8]) -> Result<Self> {
        let value: serde_json::Value = serde_json::from_slice(text).map_err(no_statement)?;
        let canonical = serde_json_canonicalizer::to_vec(&value).map_err(no_canonical_form)?;
        if canonical != text {
            return Err(Error::corrupt("the manifest is not in canonical form")
                .detail("its statement is not as RFC 8785 (JCS) writes it, so it has other forms")
                .hint("it was not written by Syncline: ask whoever made it"));
        }
        let kinds: Kinds = serde_json::from_slice(text).map_err(no_statement)?;
        let pairs = [(kinds.kind, STATEMENT_TYPE), (kinds.predicate_kind, PREDICATE_TYPE)];
        for (found, known) in pairs {
            if found != known {
                return Err(Error::unsupported("the manifest is a statement of another kind")
                    .detail(format!(
                        "its type is `{}`; this version of Syncline reads `{known}`",
                        found.escape_debug()
                    ))
                    .hint("use the version of Syncline that wrote it"));
            }
        }
        serde_json::from_slice(text).map_err(no_statement)
    }
}

/// The digest of `bytes`, under its name.
pub fn digest_of(bytes: &[u8]) -> Digests {
    Digests::from([(BLAKE3.to_owned(), blake3::hash(bytes).to_string())])
}

/// A position as a manifest has it: its JSON without spaces, as a text. Positions hold hashes of 64
/// bits, for which canonical JSON has no numbers.
pub fn position_text(position: &Position) -> String {
    position.to_string()
}

/// Whole numbers of 64 bits as decimal text, because canonical JSON's numbers have 53.
mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(number: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

fn no_statement(error: serde_json::Error) -> Error {
    Error::corrupt("the manifest carries no statement about a run")
        .detail(error.to_string())
        .source(error)
}

fn no_canonical_form(error: serde_json::Error) -> Error {
    Error::bug("a statement has no canonical form").source(error)
}
