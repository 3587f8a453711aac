//! Checkpoints: what a pipeline was at the end of an epoch, `checkpoints/<epoch>.json`.
//!
//! A checkpoint is a fact that was written down, to be compared with what is computed again. Each file
//! is whole or not there; old ones go by a rule ([`retain`]) that keeps fewer the older they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use syncline_change::Result;

use crate::journal::Standing;
use crate::merkle::MerkleLog;
use crate::sealed::Sealed;
use crate::{DataDir, fs};

const FILE: Sealed = Sealed {
    name: "checkpoint",
    format: 1,
    hint: "remove the file: nothing is lost but the evidence that was in it",
};

/// The newest checkpoints are all kept.
const NEWEST_KEPT: usize = 8;
/// Of older ones, the last of each of the last hours and days.
const HOURS_KEPT: usize = 24;
const DAYS_KEPT: usize = 30;
const HOUR_US: i64 = 3_600_000_000;

/// What a pipeline was at the end of an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub epoch: u64,
    /// The epoch's time, in microseconds since 1970 (UTC).
    pub time_us: i64,
    /// The hash of the epoch's record, in hex.
    pub chain: String,
    /// The epochs of the journal up to this one.
    pub input: MerkleLog,
    /// Where each source stood.
    pub sources: BTreeMap<String, Standing>,
    /// The last epoch that was durable in each sink when the checkpoint was written.
    pub sinks: BTreeMap<String, u64>,
    pub views: BTreeMap<String, ViewState>,
    /// The state to go on from; older versions noted none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
}

/// Where the state is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The pack with the index of its pieces: see [`crate::state`].
    pub pack: String,
    /// Which circuits can take it.
    pub layout: String,
}

/// What a view held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewState {
    /// Rows and the state digest, in hex; of a view whose content is not kept nobody knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The digest of all of its changes so far: see [`chained`].
    pub changes: String,
    /// What the view's SQL meant.
    pub plan: String,
}

/// The digest of a view's changes up to an epoch, in which they have the digest `of_epoch` (in hex),
/// from that of all before it; before the first there are zeros.
pub fn chained(before: &blake3::Hash, epoch: u64, of_epoch: &str) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("syncline 1 all changes of a view");
    hasher.update(before.as_bytes()).update(&epoch.to_le_bytes()).update(of_epoch.as_bytes());
    hasher.finalize()
}

/// Writes a checkpoint; durable on return.
pub fn write(dir: &DataDir, checkpoint: &Checkpoint) -> Result<()> {
    dir.require_lock()?;
    fs::create_dir(dir.disk().as_ref(), &dir.checkpoints())?;
    FILE.write(dir.disk().as_ref(), &path(dir, checkpoint.epoch), checkpoint)
}

/// The checkpoint at the end of `epoch`; `None`: there is none.
///
/// # Errors
/// `Corrupt` if the file is not what was written, `Unsupported` if a newer version wrote it.
pub fn read(dir: &DataDir, epoch: u64) -> Result<Option<Checkpoint>> {
    let path = path(dir, epoch);
    let read: Option<Checkpoint> = FILE.read(&path)?;
    match read {
        Some(other) if other.epoch != epoch => {
            Err(FILE.damaged(&path, format!("it is of epoch {}", other.epoch)))
        }
        read => Ok(read),
    }
}

/// The epochs that there are checkpoints of, oldest first.
pub fn list(dir: &DataDir) -> Result<Vec<u64>> {
    let files = fs::list(&dir.checkpoints())?;
    let epoch = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(".json")?;
        name.parse().ok()
    };
    let mut epochs: Vec<u64> = files.iter().filter_map(epoch).collect();
    epochs.sort_unstable();
    Ok(epochs)
}

/// Removes the checkpoints that are not worth keeping any more: all but the newest few, and the last
/// of each hour and day for a while; and those of the epochs `pinned`.
pub fn retain(dir: &DataDir, pinned: &BTreeSet<u64>) -> Result<()> {
    dir.require_lock()?;
    let mut times = Vec::new();
    for epoch in list(dir)? {
        // What cannot be read is left to whoever looks into it.
        if let Ok(Some(checkpoint)) = read(dir, epoch) {
            times.push((epoch, checkpoint.time_us));
        }
    }
    let kept = kept(&times);
    for (epoch, _) in times {
        if !kept.contains(&epoch) && !pinned.contains(&epoch) {
            fs::remove(dir.disk().as_ref(), &path(dir, epoch))?;
        }
    }
    Ok(())
}

/// Which of some epochs, given with their times and oldest first, are kept.
fn kept(times: &[(u64, i64)]) -> BTreeSet<u64> {
    let mut kept: BTreeSet<u64> =
        times.iter().rev().take(NEWEST_KEPT).map(|(epoch, _)| *epoch).collect();
    for (span, count) in [(HOUR_US, HOURS_KEPT), (24 * HOUR_US, DAYS_KEPT)] {
        let last_of_each: BTreeMap<i64, u64> =
            times.iter().map(|(epoch, time)| (time.div_euclid(span), *epoch)).collect();
        kept.extend(last_of_each.values().rev().take(count));
    }
    kept
}

fn path(dir: &DataDir, epoch: u64) -> PathBuf {
    dir.checkpoints().join(format!("{epoch}.json"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use syncline_change::ErrorKind;

    use super::*;

    fn checkpoint(epoch: u64) -> Checkpoint {
        let mut input = MerkleLog::new();
        (0..epoch).for_each(|leaf| input.push(crate::merkle::leaf_hash(&leaf.to_le_bytes())));
        let standing = Standing { position: Some(serde_json::json!({"byte": 7})), finished: false };
        let view = ViewState {
            rows: Some(3),
            digest: Some("ab".repeat(32)),
            changes: "ef".repeat(32),
            plan: "2-cd".to_owned(),
        };
        Checkpoint {
            epoch,
            time_us: epoch as i64 * HOUR_US / 4,
            chain: "cd".repeat(32),
            input,
            sources: BTreeMap::from([("flights".to_owned(), standing)]),
            sinks: BTreeMap::from([("out".to_owned(), epoch - 1)]),
            views: BTreeMap::from([("delays".to_owned(), view)]),
            state: Some(State { pack: "12".repeat(32), layout: "34".repeat(32) }),
        }
    }

    #[test]
    fn a_checkpoint_reads_back_and_altered_bytes_are_noticed() {
        let dir = crate::scratch::dir();
        let data = DataDir::open(dir.path()).unwrap();
        assert!(list(&data).unwrap().is_empty());
        for epoch in [7, 12, 100] {
            write(&data, &checkpoint(epoch)).unwrap();
            assert_eq!(read(&data, epoch).unwrap(), Some(checkpoint(epoch)));
        }
        assert_eq!(list(&data).unwrap(), [7, 12, 100]);
        assert_eq!(read(&data, 8).unwrap(), None);
        let file = path(&data, 7);
        let bytes = std::fs::read(&file).unwrap();
        let start = bytes.iter().position(|&byte| byte == b',').unwrap();
        for at in start..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            std::fs::write(&file, &bytes).unwrap();
            assert_eq!(read(&data, 7).unwrap_err().kind(), ErrorKind::Corrupt, "{at}");
        }
        let newer = String::from_utf8(bytes).unwrap().replace("\"format\":1", "\"format\":9");
        std::fs::write(&file, newer).unwrap();
        assert_eq!(read(&data, 7).unwrap_err().kind(), ErrorKind::Unsupported);
        std::fs::rename(path(&data, 12), &file).unwrap();
        assert_eq!(read(&data, 7).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn fewer_are_kept_the_older_they_are() {
        let dir = crate::scratch::dir();
        let data = DataDir::open(dir.path()).unwrap();
        for epoch in 1..=400 {
            write(&data, &checkpoint(epoch)).unwrap();
        }
        retain(&data, &BTreeSet::from([5])).unwrap();
        // Four an hour: 8 newest, the last of each hour for a day, the last of each of five days.
        let kept = list(&data).unwrap();
        let newest: Vec<u64> = (393..=400).collect();
        assert!(newest.iter().all(|epoch| kept.contains(epoch)));
        let hours: Vec<u64> = (311..=391).filter(|epoch| epoch % 4 == 3).collect();
        assert!(hours.iter().all(|epoch| kept.contains(epoch)), "{kept:?}");
        assert!([95, 191, 287].iter().all(|epoch| kept.contains(epoch)), "{kept:?}");
        assert_eq!(kept.len(), 1 + 8 + 21 + 3, "{kept:?}");
        retain(&data, &BTreeSet::new()).unwrap();
        assert_eq!(list(&data).unwrap(), kept[1..], "5 is not pinned any more");
    }
}
