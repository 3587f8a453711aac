//! What sinks' targets hold, against what the same sinks write anew into a folder of our own.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use syncline_change::sink::{Delivery, EpochChanges, Sink, Snapshot};
use syncline_change::{Error, ErrorKind, Result};
use syncline_connect::config::{Mode, SinkConfig};
use syncline_connect::file::{self, Lines};
use syncline_connect::open_sink;
use syncline_engine::{Circuit, Content, StepOutput};
use syncline_store::progress::{self, SinkProgress};
use tokio::runtime::Runtime;

use super::report::{Mismatch, Report, SinkCheck};
use crate::past::{Past, Replayed};
use crate::prepare::{Prepared, Relation};

/// Lines that are shown of each kind.
const SHOWN_MAX: usize = 5;

/// All sinks whose targets can be read.
pub(super) struct Sinks<'a> {
    prepared: &'a Prepared,
    sinks: Vec<Again>,
    folder: PathBuf,
    /// Sinks write from a thread of its own.
    runtime: Runtime,
}

/// A sink that is written again.
struct Again {
    name: String,
    /// As in the pipeline file.
    config: file::SinkConfig,
    /// With a path in our folder.
    copy: file::SinkConfig,
    sink: Box<dyn Sink>,
    relation: Relation,
    /// Of a table, if its content is wanted.
    table: Option<Content>,
    /// The last epoch that the target has.
    epoch: u64,
    is_done: bool,
}

impl<'a> Sinks<'a> {
    pub(super) fn new(
        prepared: &'a Prepared,
        past: &Past<'_>,
        circuit: &Circuit,
        report: &mut Report,
    ) -> Result<Self> {
        let name = format!("syncline-verify-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| Error::bug("cannot start what sinks run in").source(error))?;
        let mut sinks = Vec::new();
        for (number, (name, config)) in prepared.pipeline.spec.sinks.iter().enumerate() {
            let SinkConfig::File(config) = config else {
                report.unchecked.push(format!("sink {name}: its target cannot be read back"));
                continue;
            };
            let Some(stored) = progress::read(past.dir(), name)? else {
                report.unchecked.push(format!("sink {name}: it has written nothing yet"));
                continue;
            };
            if let Some(unchecked) = edited(name, config, &stored) {
                report.unchecked.push(unchecked);
                continue;
            }
            let progress = stored.progress;
            if progress.epoch > past.recorded() {
                return Err(Error::corrupt(format!(
                    "sink `{name}` has epoch {}, which was not recorded",
                    progress.epoch
                )));
            }
            let relation = prepared.existing_relation(&config.common.from)?;
            let mut copy = config.clone();
            copy.path = folder.join(number.to_string()).to_string_lossy().into_owned();
            let base_dir = &prepared.pipeline.base_dir;
            let as_config = SinkConfig::File(copy.clone());
            let mut sink = open_sink(name, &as_config, base_dir, &prepared.pipeline.spec.name)?;
            runtime.block_on(sink.open(&prepared.shape(circuit, relation), None))?;
            let table = match (relation, sink.delivery()) {
                (Relation::Table(table), Delivery::Snapshot) => {
                    Some(Content::new(prepared.tables[table].schema.clone(), vec![])?)
                }
                _ => None,
            };
            let (name, config, epoch) = (name.clone(), config.clone(), progress.epoch);
            sinks.push(Again { name, config, copy, sink, relation, table, epoch, is_done: false });
        }
        Ok(Self { prepared, sinks, folder, runtime })
    }

    /// Whether some sink's target has `epoch`.
    pub(super) fn want(&self, epoch: u64) -> bool {
        self.sinks.iter().any(|sink| epoch <= sink.epoch)
    }

    /// Writes what an epoch gives each sink.
    pub(super) fn take(&mut self, epoch: u64, output: &StepOutput, state: &Replayed) -> Result<()> {
        let mut contents: BTreeMap<&str, &Content> = BTreeMap::new();
        contents.extend(state.contents());
        for sink in self.sinks.iter_mut().filter(|sink| epoch <= sink.epoch) {
            let changes = match sink.relation {
                Relation::Table(table) => &output.tables[table],
                Relation::View(view) => &output.views[view],
            };
            if let Some(table) = &mut sink.table {
                changes.iter().try_for_each(|change| table.apply(change))?;
            }
            match sink.sink.delivery() {
                Delivery::Changes => {
                    let changes = EpochChanges { epoch, changes: changes.clone() };
                    self.runtime.block_on(sink.sink.write(&[changes]))?;
                }
                Delivery::Snapshot if epoch == sink.epoch => {
                    let content = match &sink.table {
                        Some(table) => Some(table),
                        None => contents.get(sink.config.common.from.as_str()).copied(),
                    };
                    let content = content.ok_or_else(|| Error::bug("a view was not replayed"))?;
                    let snapshot = Snapshot { epoch, rows: content.batches()? };
                    self.runtime.block_on(sink.sink.replace(&snapshot))?;
                }
                Delivery::Snapshot => {}
            }
            sink.is_done |= epoch == sink.epoch;
        }
        Ok(())
    }

    /// Compares what was written again with the targets.
    pub(super) fn finish(self, past: &Past<'_>, report: &mut Report) -> Result<()> {
        for sink in &self.sinks {
            if !sink.is_done {
                report.unchecked.push(format!("sink {}", sink.name));
                continue;
            }
            let compared = self.compare(sink)?;
            let progress = progress::read(past.dir(), &sink.name)?;
            let has_moved = progress.is_none_or(|stored| stored.progress.epoch != sink.epoch);
            match compared {
                Ok(check) => report.sinks.push(check),
                Err(_) if has_moved => report.unchecked.push(format!(
                    "sink {}: the pipeline wrote to it while it was read (stop it first)",
                    sink.name
                )),
                Err(mismatch) => report.mismatches.push(mismatch),
            }
        }
        Ok(())
    }

    fn compare(&self, sink: &Again) -> Result<std::result::Result<SinkCheck, Mismatch>> {
        let base_dir = &self.prepared.pipeline.base_dir;
        let what = format!("sink {}", sink.name);
        let target = match file::lines(&sink.config, base_dir) {
            Err(error) if error.kind() != ErrorKind::Bug => {
                return Ok(Err(Mismatch::of_error(&what, Some(sink.epoch), &error)));
            }
            target => target?,
        };
        let expected = file::lines(&sink.copy, base_dir)?;
        let (mut lines, mut differ) = (0_u64, Differences::default());
        if let Err(error) = differ.of(expected, target, &mut lines) {
            return Ok(Err(Mismatch::of_error(&what, Some(sink.epoch), &error)));
        }
        if !differ.any {
            let (sink, epoch) = (sink.name.clone(), sink.epoch);
            return Ok(Ok(SinkCheck { sink, epoch, lines }));
        }
        let message = format!(
            "{} does not hold what the view says at epoch {}",
            sink.config.path, sink.epoch
        );
        let mut mismatch = Mismatch::new(&what, Some(sink.epoch), message);
        mismatch.rows = differ.shown();
        Ok(Err(mismatch))
    }
}

impl Drop for Sinks<'_> {
    fn drop(&mut self) {
        // Only tidiness.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Lines that are in one of two files more often than in the other.
#[derive(Default)]
struct Differences {
    any: bool,
    /// How often each is expected more than it is there.
    lines: HashMap<String, i64>,
    /// In the order in which they came up.
    order: Vec<String>,
}

impl Differences {
    fn of(&mut self, expected: Lines, found: Lines, lines: &mut u64) -> Result<()> {
        let (mut expected, mut found) = (expected, found);
        loop {
            let (left, right) = (expected.next().transpose()?, found.next().transpose()?);
            if left.is_none() && right.is_none() {
                return Ok(());
            }
            if left == right {
                *lines += 1;
                continue;
            }
            self.any = true;
            for (line, by) in [(left, 1), (right, -1)] {
                let Some(line) = line else { continue };
                match self.lines.get_mut(&line) {
                    Some(count) => *count += by,
                    None => {
                        self.lines.insert(line.clone(), by);
                        self.order.push(line);
                    }
                }
            }
        }
    }

    fn shown(&self) -> Vec<String> {
        let mut shown = Vec::new();
        let kinds = [("missing", 1), ("not the view's", -1)];
        for (word, sign) in kinds {
            let count = |line: &&String| self.lines[*line] * sign > 0;
            let total = self.order.iter().filter(count).count();
            for line in self.order.iter().filter(count).take(SHOWN_MAX) {
                shown.push(format!("{word}: {line}"));
            }
            if total > SHOWN_MAX {
                shown.push(format!("and {} more {word}", total - SHOWN_MAX));
            }
        }
        if shown.is_empty() {
            shown.push("the same lines are in another order".to_owned());
        }
        shown
    }
}

/// What to say of a target that also has what its sink read before an edit.
fn edited(name: &str, config: &file::SinkConfig, stored: &SinkProgress) -> Option<String> {
    let since = stored.spans.last().map_or(1, |span| span.since);
    let is_of_now = match config.mode {
        Mode::Changes => since == 1,
        Mode::Snapshot => since <= stored.progress.epoch,
    };
    let from = &config.common.from;
    let says =
        || format!("sink {name}: `{from}` was edited in epoch {since}, and its target has more");
    (!is_of_now).then(says)
}
