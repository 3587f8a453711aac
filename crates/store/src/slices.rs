//! `slice.json`: of which run a few epochs are, what they stand on, and what shows it.
//!
//! A slice is a folder of two data directories. `data` has the epochs from one to another, byte for byte
//! as the run wrote them. `base` has the content of tables before the first of them, as input of its own;
//! nothing shows that it is right.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use syncline_change::{Error, Result};

use crate::checkpoints::Checkpoint;
use crate::disk::RealDisk;
use crate::merkle::{Hash, MerkleLog};
use crate::sealed::Sealed;

const FILE: Sealed =
    Sealed { name: "slice", format: 1, hint: "fetch the bundle again, or ask for another copy" };

/// What is known of a slice beside its epochs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Its first and its last epoch.
    pub from: u64,
    pub to: u64,
    /// The epochs of the journal before the first.
    pub input_before: MerkleLog,
    /// The hash of the record before the first, in hex; zeros: there is none.
    pub chain_before: String,
    /// How many rows the tables have before the first.
    pub base_rows: u64,
    pub anchor: Anchor,
    /// Shows that the input up to `to` is what the anchor's input begins with: a consistency proof as in RFC
    /// 9162, in hex.
    pub consistency: Vec<String>,
    /// Views of which nothing can be said, and why.
    pub left_out: BTreeMap<String, String>,
}

/// What the run said of itself at the end of the slice or later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anchor {
    pub epoch: u64,
    /// `None`: the manifest in `data` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Box<Checkpoint>>,
}

impl Slice {
    /// The last epoch that it does not have; 0: none.
    pub fn before(&self) -> u64 {
        self.from.saturating_sub(1)
    }

    /// Writes it into the folder of a slice.
    pub fn write(&self, folder: &Path) -> Result<()> {
        FILE.write(&RealDisk, &path(folder), self)
    }

    /// Reads it from the folder of a slice.
    ///
    /// # Errors
    /// `Corrupt` if it is not there, not what was written, or contradicts itself.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = path(folder);
        let slice: Option<Self> = FILE.read(&path)?;
        let slice = slice.ok_or_else(|| FILE.damaged(&path, "it is not there".to_owned()))?;
        match slice.contradiction() {
            Some(what) => Err(FILE.damaged(&path, what.to_owned())),
            None => Ok(slice),
        }
    }

    fn contradiction(&self) -> Option<&'static str> {
        if self.from == 0 || self.to < self.from {
            return Some("its last epoch comes before its first");
        }
        if self.input_before.len() != self.before() {
            return Some("the input before it has other epochs than those before its first");
        }
        if blake3::Hash::from_hex(&self.chain_before).is_err() {
            return Some("it has no hash of the record before its first");
        }
        if self.anchor.epoch < self.to {
            return Some("what it is held against comes before its last epoch");
        }
        let is_other = |checkpoint: &Checkpoint| {
            checkpoint.epoch != self.anchor.epoch || checkpoint.input.len() != self.anchor.epoch
        };
        if self.anchor.checkpoint.as_deref().is_some_and(is_other) {
            return Some("the checkpoint that it is held against is of another epoch");
        }
        self.proof().is_err().then_some("its proof has no hashes")
    }

    /// The consistency proof.
    ///
    /// # Errors
    /// `Corrupt` if it is not made of hashes.
    pub fn proof(&self) -> Result<Vec<Hash>> {
        let hashes = self.consistency.iter().map(|hex| blake3::Hash::from_hex(hex).map(Hash::from));
        let hashes: std::result::Result<Vec<_>, _> = hashes.collect();
        hashes.map_err(|error| Error::corrupt("a proof has no hashes").detail(error.to_string()))
    }

    /// The hash of the record before the first.
    ///
    /// # Errors
    /// `Corrupt` if it is none.
    pub fn head_before(&self) -> Result<blake3::Hash> {
        let head = blake3::Hash::from_hex(&self.chain_before);
        head.map_err(|error| Error::corrupt("a hash is none").detail(error.to_string()))
    }
}

/// The data directory of a slice's epochs.
pub fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// The data directory of what tables held before.
pub fn base(folder: &Path) -> PathBuf {
    folder.join("base")
}

fn path(folder: &Path) -> PathBuf {
    folder.join("slice.json")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use syncline_change::ErrorKind;

    use super::*;

    fn slice() -> Slice {
        let mut input_before = MerkleLog::new();
        (0..4_u64)
            .for_each(|leaf| input_before.push(crate::merkle::leaf_hash(&leaf.to_le_bytes())));
        Slice {
            from: 5,
            to: 9,
            input_before,
            chain_before: "ab".repeat(32),
            base_rows: 17,
            anchor: Anchor { epoch: 12, checkpoint: None },
            consistency: vec!["cd".repeat(32)],
            left_out: BTreeMap::from([("late".to_owned(), "it looks back".to_owned())]),
        }
    }

    #[test]
    fn it_reads_back_and_what_contradicts_itself_is_refused() {
        let dir = crate::scratch::dir();
        assert_eq!(Slice::read(dir.path()).unwrap_err().kind(), ErrorKind::Corrupt);
        slice().write(dir.path()).unwrap();
        assert_eq!(Slice::read(dir.path()).unwrap(), slice());
        let changes: [fn(&mut Slice); 7] = [
            |slice| slice.from = 0,
            |slice| slice.to = 4,
            |slice| slice.from = 4,
            |slice| slice.input_before = MerkleLog::new(),
            |slice| slice.chain_before = "ab".to_owned(),
            |slice| slice.anchor.epoch = 8,
            |slice| slice.consistency[0].truncate(10),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut other = slice();
            change(&mut other);
            other.write(dir.path()).unwrap();
            let error = Slice::read(dir.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{number}");
        }
    }
}
