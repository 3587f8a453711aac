//! How much memory state may take, and where the rest goes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use syncline_change::spill::Spill;

/// Runs below this stay in memory: there are few of them, and they are merged soon.
const SPILLED_BYTES_MIN: usize = if cfg!(test) { 64 } else { 1 << 16 };

/// The memory that the runs of a circuit take, shared by all of its operators.
#[derive(Default)]
pub(crate) struct Memory {
    used: AtomicUsize,
    limit: OnceLock<Limit>,
}

struct Limit {
    bytes: usize,
    spill: Arc<dyn Spill>,
}

impl Memory {
    /// From now on, what is merged while runs take more than `bytes` goes to `spill`.
    pub(crate) fn limit(&self, bytes: usize, spill: Arc<dyn Spill>) {
        // A second limit would be the owner's mistake, and the first one holds.
        let _ = self.limit.set(Limit { bytes, spill });
    }

    /// Where a run of `bytes` should be built; `None`: in memory.
    pub(crate) fn spill_for(&self, bytes: usize) -> Option<&dyn Spill> {
        let limit = self.limit.get()?;
        let is_over = self.used().saturating_add(bytes) > limit.bytes;
        (is_over && bytes >= SPILLED_BYTES_MIN).then_some(limit.spill.as_ref())
    }

    /// Bytes that are taken now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes note that what took `before` bytes takes `after` now.
    pub(crate) fn change(&self, before: usize, after: usize) {
        if after >= before {
            self.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.used.fetch_sub(before - after, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let limit = self.limit.get().map(|limit| limit.bytes);
        f.debug_struct("Memory").field("used", &self.used).field("limit", &limit).finish()
    }
}
