//! A Merkle log: one hash for a list that only grows, and short proofs that an entry is in it, or that a
//! longer list begins with it.
//!
//! The tree and its proofs are those of RFC 9162 (Certificate Transparency, 2.1), over BLAKE3: the
//! left part of a tree is the largest power of two that leaves something to the right. A leaf is
//! hashed behind a byte 0 and a pair of nodes behind a byte 1, so that neither can pass for the
//! other.

use serde::{Deserialize, Serialize};
use syncline_change::{Error, Result};

/// A hash of a leaf, of a node, or of a whole tree.
pub type Hash = [u8; blake3::OUT_LEN];

const LEAF: u8 = 0;
const NODE: u8 = 1;

/// The tree over all leaves pushed so far, of which only what a root needs is kept: the roots of
/// perfect trees, one for each bit that is set in the number of leaves, the largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct MerkleLog {
    len: u64,
    peaks: Vec<Hash>,
}

impl MerkleLog {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a leaf, given as its [`leaf_hash`].
    pub fn push(&mut self, leaf_hash: Hash) {
        let mut root = leaf_hash;
        // As in binary counting, every bit that carries joins two trees of the same size.
        for _ in 0..self.len.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                root = node_hash(&left, &root);
            }
        }
        self.peaks.push(root);
        self.len += 1;
    }

    /// How many leaves it has.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The hash of the tree; of a log without leaves, the hash of nothing.
    pub fn root(&self) -> Hash {
        let roots = self.peaks.iter().rev().copied();
        roots.reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(|| hash(&[]))
    }
}

impl Extend<Hash> for MerkleLog {
    fn extend<T: IntoIterator<Item = Hash>>(&mut self, leaves: T) {
        leaves.into_iter().for_each(|leaf| self.push(leaf));
    }
}

/// A log as it is stored: hashes in hex.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    len: u64,
    peaks: Vec<String>,
}

impl From<MerkleLog> for Stored {
    fn from(log: MerkleLog) -> Self {
        let peaks = log.peaks.into_iter().map(|peak| blake3::Hash::from(peak).to_string());
        Self { len: log.len, peaks: peaks.collect() }
    }
}

impl TryFrom<Stored> for MerkleLog {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self> {
        let Stored { len, peaks } = stored;
        let hex = |text: &String| blake3::Hash::from_hex(text).map(Hash::from);
        let peaks = peaks.iter().map(hex).collect::<std::result::Result<Vec<_>, _>>();
        match peaks {
            // One more leaf must still be counted.
            Ok(peaks) if peaks.len() == len.count_ones() as usize && len < u64::MAX => {
                Ok(Self { len, peaks })
            }
            Ok(peaks) => Err(Error::corrupt("a Merkle log does not fit its length")
                .detail(format!("{len} leaves do not make {} perfect trees", peaks.len()))),
            Err(error) => {
                Err(Error::corrupt("a Merkle log has no hashes").detail(error.to_string()))
            }
        }
    }
}

/// The hash that stands for `data` in the tree.
pub fn leaf_hash(data: &[u8]) -> Hash {
    hash(&[&[LEAF], data])
}

/// What shows that the leaf at `index` is in the tree of `leaves`: the hashes beside its way to the
/// root, from below. Empty if there is no such leaf. Computes all of the tree.
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Vec<Hash> {
    let mut proof = Vec::new();
    if index >= leaves.len() {
        return proof;
    }
    let (mut inside, mut index) = (leaves, index);
    while inside.len() > 1 {
        let (left, right) = inside.split_at(left_len(inside.len()));
        let beside;
        if index < left.len() {
            (inside, beside) = (left, right);
        } else {
            index -= left.len();
            (inside, beside) = (right, left);
        }
        let mut tree = MerkleLog::new();
        tree.extend(beside.iter().copied());
        proof.push(tree.root());
    }
    proof.reverse();
    proof
}

/// Whether `proof` shows that `leaf` is the leaf at `index` of the tree of `len` leaves that has
/// this root (RFC 9162, 2.1.3.2).
pub fn verify_inclusion(leaf: Hash, index: u64, len: u64, proof: &[Hash], root: Hash) -> bool {
    if index >= len {
        return false;
    }
    // Where the node is on its level, and where that level ends.
    let (mut at, mut last) = (index, len - 1);
    let mut node = leaf;
    for beside in proof {
        if last == 0 {
            return false;
        }
        if at % 2 == 1 || at == last {
            node = node_hash(beside, &node);
            // A last node without a sibling is moved up as it is.
            while at != 0 && at.is_multiple_of(2) {
                (at, last) = (at / 2, last / 2);
            }
        } else {
            node = node_hash(&node, beside);
        }
        (at, last) = (at / 2, last / 2);
    }
    last == 0 && node == root
}

/// What shows that the tree of `leaves` begins with the tree of the first `len` of them (RFC 9162, 2.1.4.1).
/// Empty if these are all, or none, or more than there are. Computes all of the tree.
pub fn consistency_proof(leaves: &[Hash], len: usize) -> Vec<Hash> {
    let mut proof = Vec::new();
    if len == 0 || len >= leaves.len() {
        return proof;
    }
    let root_of = |leaves: &[Hash]| {
        let mut tree = MerkleLog::new();
        tree.extend(leaves.iter().copied());
        tree.root()
    };
    let (mut inside, mut len) = (leaves, len);
    // Whether the part is the beginning of the whole tree, whose root the verifier has.
    let mut is_start = true;
    while len < inside.len() {
        let (left, right) = inside.split_at(left_len(inside.len()));
        let beside;
        if len <= left.len() {
            (inside, beside) = (left, right);
        } else {
            len -= left.len();
            (inside, beside, is_start) = (right, left, false);
        }
        proof.push(root_of(beside));
    }
    if !is_start {
        proof.push(root_of(inside));
    }
    proof.reverse();
    proof
}

/// Whether `proof` shows that the tree of `second_len` leaves with the root `second` begins with that of
/// `first_len` leaves with the root `first` (RFC 9162, 2.1.4.2). Of no leaves nothing is shown.
pub fn verify_consistency(
    (first_len, first): (u64, Hash),
    (second_len, second): (u64, Hash),
    proof: &[Hash],
) -> bool {
    if first_len == 0 || first_len > second_len {
        return false;
    }
    if first_len == second_len {
        return proof.is_empty() && first == second;
    }
    let mut rest = proof.iter();
    // A perfect tree is a node of the second one, and its root known.
    let start = if first_len.is_power_of_two() { Some(&first) } else { rest.next() };
    let Some(start) = start else { return false };
    // Where the node is on its level, and where that level ends.
    let (mut at, mut last) = (first_len - 1, second_len - 1);
    while at % 2 == 1 {
        (at, last) = (at / 2, last / 2);
    }
    let (mut of_first, mut of_second) = (*start, *start);
    for beside in rest {
        if last == 0 {
            return false;
        }
        if at % 2 == 1 || at == last {
            of_first = node_hash(beside, &of_first);
            of_second = node_hash(beside, &of_second);
            // A last node without a sibling is moved up as it is.
            while at != 0 && at.is_multiple_of(2) {
                (at, last) = (at / 2, last / 2);
            }
        } else {
            of_second = node_hash(&of_second, beside);
        }
        (at, last) = (at / 2, last / 2);
    }
    last == 0 && of_first == first && of_second == second
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    hash(&[&[NODE], left, right])
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The largest power of two below `len`, which is 2 or more.
fn left_len(len: usize) -> usize {
    1 << (len - 1).ilog2()
}

#[cfg(test)]
mod tests;
