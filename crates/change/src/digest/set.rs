//! A hash of a multiset of rows that does not depend on their order.
//!
//! LtHash with 1,024 lanes of 16 bits (Bellare and Micciancio 1997; Lewi, Kim, Maykov, Weis: "Securing
//! Update Propagation with Homomorphic Hashing", 2019), over BLAKE3's extendable output. An element
//! is a row together with how often it is there, so that no multiple of a row vanishes in a lane.

use std::fmt;

const LANES: usize = 1024;
const LANE_BYTES: usize = 2;

/// What elements are hashed as; another definition of their bytes needs another context.
const CONTEXT: &str = "syncline 1 row of a set";

/// The hash of what a table or view holds; of nothing to begin with.
#[derive(Clone)]
pub struct SetDigest {
    /// Has the context and the name of the relation.
    named: blake3::Hasher,
    lanes: Box<[u16; LANES]>,
}

impl SetDigest {
    /// Of the relation `name`: rows of another have other hashes.
    pub fn new(name: &str) -> Self {
        let mut named = blake3::Hasher::new_derive_key(CONTEXT);
        named.update(&(name.len() as u64).to_le_bytes());
        named.update(name.as_bytes());
        Self { named, lanes: Box::new([0; LANES]) }
    }

    /// A row, of which there was none, is there `count` times; of 0 nothing is said.
    pub fn add(&mut self, row: &[u8], count: u64) {
        self.each_lane(row, count, |lane, value| *lane = lane.wrapping_add(value));
    }

    /// A row that was there `count` times is gone.
    pub fn remove(&mut self, row: &[u8], count: u64) {
        self.each_lane(row, count, |lane, value| *lane = lane.wrapping_sub(value));
    }

    /// What both hold, if no row is in both.
    pub fn merge(&mut self, other: &Self) {
        for (lane, value) in self.lanes.iter_mut().zip(other.lanes.iter()) {
            *lane = lane.wrapping_add(*value);
        }
    }

    fn each_lane(&mut self, row: &[u8], count: u64, combine: impl Fn(&mut u16, u16)) {
        if count == 0 {
            return;
        }
        let mut hasher = self.named.clone();
        hasher.update(row).update(&count.to_le_bytes());
        let mut bytes = [0; LANES * LANE_BYTES];
        hasher.finalize_xof().fill(&mut bytes);
        let (values, _) = bytes.as_chunks::<LANE_BYTES>();
        for (lane, value) in self.lanes.iter_mut().zip(values) {
            combine(lane, u16::from_le_bytes(*value));
        }
    }

    /// All that it knows, for [`set_lanes`](Self::set_lanes).
    pub fn lanes(&self) -> Vec<u8> {
        self.lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect()
    }

    /// Takes what another digest of the relation knew; `None` if it is not that.
    pub fn set_lanes(&mut self, bytes: &[u8]) -> Option<()> {
        let (lanes, rest) = bytes.as_chunks::<LANE_BYTES>();
        if lanes.len() != LANES || !rest.is_empty() {
            return None;
        }
        for (lane, bytes) in self.lanes.iter_mut().zip(lanes) {
            *lane = u16::from_le_bytes(*bytes);
        }
        Some(())
    }

    /// In hex: BLAKE3 of the lanes.
    pub fn hex(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        self.lanes.iter().for_each(|lane| {
            hasher.update(&lane.to_le_bytes());
        });
        hasher.finalize().to_hex().to_string()
    }
}

impl fmt::Debug for SetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SetDigest").field(&self.hex()).finish()
    }
}

impl PartialEq for SetDigest {
    fn eq(&self, other: &Self) -> bool {
        self.lanes == other.lanes
    }
}

impl Eq for SetDigest {}
