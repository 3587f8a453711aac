//! State on disk that waits for room, because a circuit cannot go back to before a step.

use std::fmt;
use std::sync::Arc;

use arrow::buffer::Buffer;
use syncline_change::Result;
use syncline_change::spill::{Spill, SpillWriter};

use super::state::Shared;

/// What this waits for, for people.
const WHAT: &str = "state that memory has no room for";

/// Writes to another [`Spill`], and tries again for as long as that refuses.
pub(super) struct PatientSpill<S> {
    to: S,
    shared: Arc<Shared>,
}

impl<S> PatientSpill<S> {
    pub(super) fn new(to: S, shared: Arc<Shared>) -> Self {
        Self { to, shared }
    }
}

impl<S: Spill> Spill for PatientSpill<S> {
    fn begin(&self, sizes: &[usize]) -> Result<Box<dyn SpillWriter>> {
        let to = self.shared.stubbornly(WHAT, || self.to.begin(sizes))?;
        Ok(Box::new(PatientWriter { to, shared: self.shared.clone() }))
    }
}

struct PatientWriter {
    to: Box<dyn SpillWriter>,
    shared: Arc<Shared>,
}

impl SpillWriter for PatientWriter {
    fn append(&mut self, part: usize, bytes: &[u8]) -> Result<()> {
        let to = &mut self.to;
        self.shared.stubbornly(WHAT, || to.append(part, bytes))
    }

    fn finish(self: Box<Self>) -> Result<Vec<Buffer>> {
        self.to.finish()
    }
}

impl fmt::Debug for PatientWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to.fmt(f)
    }
}
