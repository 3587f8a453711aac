//! Dead letters: input that could not be taken, rows that came too late, output that a target
//! refused. Each keeps the original bytes, can be looked at, mended and tried again, or dropped.
//!
//! A log for each stage, and one for what became of them. In the order of a letter's life: `id`, `log`
//! (its body), `retry` (somebody wants it tried again), `resolved`.
//!
//! After a crash a letter of an epoch that is not there any more goes with it, because it will be
//! met again: source letters with epochs that are not in the journal, view letters with epochs that
//! are not in the epoch log.

mod id;
mod log;
mod resolved;
mod retry;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use syncline_change::source::{RejectClass, Rejected};
use syncline_change::{Error, Result};

use crate::DataDir;
use crate::disk::Disk;
use crate::frame::{Cut, FrameWriter};
use id::Id;
use log::{Entry, SourceNames, StageLog};
use resolved::Resolutions;

pub use retry::{RetryRequest, request_retry};

/// Where on its way a row became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It could not be decoded, or not be applied to its source.
    Source,
    /// A view could not use it: it is late.
    View,
    /// A target did not take it.
    Sink,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Source, Self::View, Self::Sink];

    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::View => "view",
            Self::Sink => "sink",
        }
    }
}

/// What became of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing yet.
    Open,
    /// It was tried again, and whatever it then became is somewhere else.
    Retried,
    /// Somebody gave it up.
    Dropped,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Short and unique in its data directory: `s17`, `v3`, `k2`.
    pub id: String,
    /// The source's name; at the sink stage the sink's.
    pub source: String,
    pub stage: Stage,
    pub rejected: Rejected,
    /// The epoch it would have been a part of.
    pub epoch: u64,
    /// When it was rejected, in microseconds since 1970 (UTC).
    pub at_us: i64,
    pub state: State,
}

impl DeadLetter {
    /// Whether it can be read again by its source.
    ///
    /// # Errors
    /// `Conflict` with what to do instead, if it cannot.
    pub fn check_retry(&self) -> Result<()> {
        let Self { id, source, .. } = self;
        match (self.stage, self.rejected.class) {
            // Its source has taken the row; it is the view that cannot use it.
            (Stage::View, RejectClass::Expression) => Err(Error::conflict(format!(
                "dead letter {id} is a row that view `{source}` cannot compute with"
            ))
            .hint(
                "mend the view's SQL (`TRY_CAST`, `NULLIF`) or the row at its source, then drop it",
            )),
            (Stage::Sink, _) => Err(Error::conflict(format!(
                "dead letter {id} was given up by sink `{source}` and cannot be retried"
            ))
            .hint("`syncline dlq show ID --raw` writes what was to be delivered; then drop it")),
            (Stage::Source | Stage::View, _) => Ok(()),
        }
    }
}

/// Which letters to list; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub source: Option<String>,
    pub class: Option<RejectClass>,
    pub stage: Option<Stage>,
    pub state: Option<State>,
}

/// How many letters there are of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// In any state.
    pub total: u64,
    /// Neither retried nor dropped.
    pub open: u64,
}

/// The dead letters of a data directory. Shared by reference: calls wait for each other.
#[derive(Debug)]
pub struct DeadLetters {
    disk: Arc<dyn Disk>,
    retries: PathBuf,
    /// View letters up to this epoch are in the log already.
    recorded_epoch: u64,
    letters: Mutex<Letters>,
}

#[derive(Debug)]
struct Letters {
    names: SourceNames,
    /// In the order of [`Stage::ALL`].
    logs: [StageLog; 3],
    /// `None` if opened for reading.
    resolved: Option<FrameWriter>,
}

impl DeadLetters {
    /// Opens the dead letters for a pipeline that goes on after `journal_epoch` (the last epoch in
    /// the journal) and `recorded_epoch` (the last one in the epoch log), and drops those of later
    /// epochs, which will be met again. `u64::MAX` drops none. Also returns what was torn.
    ///
    /// # Errors
    /// `Corrupt` if a log is damaged where a crash cannot have done it.
    pub fn open(
        dir: &DataDir,
        journal_epoch: u64,
        recorded_epoch: u64,
    ) -> Result<(Self, Vec<Cut>)> {
        dir.require_lock()?;
        let (mut letters, resolutions, cuts) = Letters::read(dir, journal_epoch, recorded_epoch)?;
        cuts.iter().for_each(|cut| tracing::warn!(%cut, "an unfinished write was taken back"));
        let mut resolved = resolutions.open_writer(&**dir.disk())?;
        // Letters that will be dropped below, or that a crash took: others will have their ids, and
        // nothing has become of those yet.
        for (id, (_, at_us)) in &resolutions.states {
            if letters.entry(*id).is_none() {
                resolved::stage(&mut resolved, *id, State::Open, *at_us)?;
            }
        }
        resolved.write_durably()?;
        for log in &mut letters.logs {
            log.open_writer(&**dir.disk())?;
        }
        letters.resolved = Some(resolved);
        Ok((Self::new(dir, recorded_epoch, letters), cuts))
    }

    /// The dead letters as they are now, for reading; also while a process adds to them.
    pub fn open_read(dir: &DataDir) -> Result<Self> {
        let (letters, ..) = Letters::read(dir, u64::MAX, u64::MAX)?;
        Ok(Self::new(dir, u64::MAX, letters))
    }

    fn new(dir: &DataDir, recorded_epoch: u64, letters: Letters) -> Self {
        let (disk, retries) = (dir.disk().clone(), dir.retries());
        Self { disk, retries, recorded_epoch, letters: Mutex::new(letters) }
    }

    /// Adds letters of `source` (or sink) and returns their ids; durable on return.
    ///
    /// Source letters come before their epoch is appended to the journal, view letters before its
    /// record is appended to the epoch log. View letters of an epoch that was recorded when the
    /// letters were opened are there already, because a replay meets them again: nothing is added
    /// and no id returned.
    ///
    /// # Errors
    /// `Storage` if the disk refuses: none of them was added, and they can be added again.
    pub fn append(
        &self,
        stage: Stage,
        source: &str,
        epoch: u64,
        at_us: i64,
        rejected: Vec<Rejected>,
    ) -> Result<Vec<String>> {
        let is_known = stage == Stage::View && epoch <= self.recorded_epoch;
        if rejected.is_empty() || is_known {
            return Ok(Vec::new());
        }
        let mut letters = self.lock();
        let Letters { names, logs, .. } = &mut *letters;
        let log = &mut logs[stage as usize];
        let first = log.append(source, epoch, at_us, rejected, names)?;
        Ok((first..log.entries.len()).map(|index| Id::at(stage, index).to_string()).collect())
    }

    /// Notes what became of a letter, at `at_us` (microseconds since 1970, UTC); durable on return.
    ///
    /// # Errors
    /// `Input` if there is no such letter.
    pub fn resolve(&self, id: &str, state: State, at_us: i64) -> Result<()> {
        let id: Id = id.parse()?;
        let mut letters = self.lock();
        let entry = letters.entry(id).ok_or_else(|| {
            Error::input(format!("there is no dead letter {id}"))
                .hint("`syncline dlq ls` lists those that there are")
        })?;
        if entry.state == state {
            return Ok(());
        }
        let log = letters.resolved.as_mut().ok_or_else(read_only)?;
        resolved::stage(log, id, state, at_us)?;
        log.write_durably()?;
        if let Some(entry) = letters.entry_mut(id) {
            entry.state = state;
        }
        Ok(())
    }

    /// A letter by its id; `None`: there is none.
    ///
    /// # Errors
    /// `Input` if the id cannot be one, `Corrupt` if the letter is not what was written.
    pub fn get(&self, id: &str) -> Result<Option<DeadLetter>> {
        let id: Id = id.parse()?;
        let letters = self.lock();
        let Some(entry) = letters.entry(id) else { return Ok(None) };
        letters.logs[id.stage as usize].bodies()?.read(entry).map(Some)
    }

    /// How many letters pass `filter`, and of those, newest first, `limit` from `offset` on.
    ///
    /// # Errors
    /// `Corrupt` if one of them is not what was written.
    pub fn list(
        &self,
        filter: &Filter,
        offset: usize,
        limit: usize,
    ) -> Result<(u64, Vec<DeadLetter>)> {
        let letters = self.lock();
        let mut total = 0;
        let mut page = Vec::new();
        for (stage, entry) in letters.newest_first(filter) {
            if total >= offset && page.len() < limit {
                page.push((stage, entry));
            }
            total += 1;
        }
        let mut bodies = [None, None, None];
        let mut items = Vec::with_capacity(page.len());
        for (stage, entry) in page {
            let bodies = match &mut bodies[stage as usize] {
                Some(bodies) => bodies,
                none => none.insert(letters.logs[stage as usize].bodies()?),
            };
            items.push(bodies.read(entry)?);
        }
        Ok((total as u64, items))
    }

    /// How many letters there are by source (or sink) and class.
    pub fn counts(&self) -> BTreeMap<(String, RejectClass), Count> {
        let letters = self.lock();
        let mut counts: BTreeMap<_, Count> = BTreeMap::new();
        for (_, entry) in letters.newest_first(&Filter::default()) {
            let name = letters.names.name(entry.source);
            let count = counts.entry((name, entry.class)).or_default();
            count.total += 1;
            count.open += u64::from(entry.state == State::Open);
        }
        counts.into_iter().map(|((name, class), n)| ((name.to_owned(), class), n)).collect()
    }

    /// The letters that somebody wants to be tried again (see [`request_retry`]), by stage and
    /// number. They stay until [`DeadLetters::finish_retry`].
    pub fn take_retries(&self) -> Result<Vec<RetryRequest>> {
        retry::take(&*self.disk, &self.retries)
    }

    /// Removes a request, after what it led to is durable.
    pub fn finish_retry(&self, id: &str) -> Result<()> {
        retry::finish(&*self.disk, &self.retries, id)
    }

    fn lock(&self) -> MutexGuard<'_, Letters> {
        // What a panic interrupted is either in log and index or in neither.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Letters {
    fn read(
        dir: &DataDir,
        journal_epoch: u64,
        recorded_epoch: u64,
    ) -> Result<(Self, Resolutions, Vec<Cut>)> {
        let folder = dir.dead_letters();
        let mut names = SourceNames::default();
        let mut cuts = Vec::new();
        let mut read = |stage, last_epoch| {
            let (log, cut) = StageLog::read(&folder, stage, last_epoch, &mut names)?;
            cuts.extend(cut);
            Ok::<_, Error>(log)
        };
        let logs = [
            read(Stage::Source, journal_epoch)?,
            read(Stage::View, recorded_epoch)?,
            // What a sink gave up it will not be given again.
            read(Stage::Sink, u64::MAX)?,
        ];
        let (resolutions, cut) = Resolutions::read(&folder)?;
        cuts.extend(cut);
        let mut letters = Self { names, logs, resolved: None };
        for (id, (state, _)) in &resolutions.states {
            if let Some(entry) = letters.entry_mut(*id) {
                entry.state = *state;
            }
        }
        Ok((letters, resolutions, cuts))
    }

    fn entry(&self, id: Id) -> Option<&Entry> {
        self.logs[id.stage as usize].entries.get(id.index()?)
    }

    fn entry_mut(&mut self, id: Id) -> Option<&mut Entry> {
        self.logs[id.stage as usize].entries.get_mut(id.index()?)
    }

    /// Merges the stages by time, each of which is in order.
    fn newest_first<'a>(
        &'a self,
        filter: &'a Filter,
    ) -> impl Iterator<Item = (Stage, &'a Entry)> + 'a {
        let mut rest = Stage::ALL.map(|stage| {
            let is_wanted = filter.stage.is_none_or(|wanted| wanted == stage);
            let entries = &self.logs[stage as usize].entries;
            if is_wanted { entries.as_slice() } else { &[] }
        });
        let merged = std::iter::from_fn(move || {
            let at_us = |stage: &Stage| Some(rest[*stage as usize].last()?.at_us);
            let newest = Stage::ALL.into_iter().max_by_key(at_us)?;
            let (entry, older) = rest[newest as usize].split_last()?;
            rest[newest as usize] = older;
            Some((newest, entry))
        });
        let source = filter.source.as_ref().map(|name| self.names.id(name));
        merged.filter(move |(_, entry)| {
            source.is_none_or(|source| source == Some(entry.source))
                && filter.class.is_none_or(|class| class == entry.class)
                && filter.state.is_none_or(|state| state == entry.state)
        })
    }
}

fn read_only() -> Error {
    Error::bug("dead letters were opened for reading and are written to")
}

#[cfg(test)]
mod tests;
