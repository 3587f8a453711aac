//! What an edit of the pipeline file does on a data directory that there is: which views are made anew,
//! and how the targets of sinks get from what they hold to what is meant now.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Schema;
use syncline_change::sink::Delivery;
use syncline_change::{Error, ErrorKind, Result};
use syncline_connect::open_sink;
use syncline_engine::Circuit;
use syncline_store::progress::{self, SinkProgress, Span};
use syncline_store::{DataDir, meanings};

use crate::meaning::{Meanings, Meant, columns};
use crate::past::Past;
use crate::prepare::{Prepared, Relation};
use crate::runtime::Recorded;

/// What a sink is given the changes of, from where it has got on.
///
/// `now` is the hash of what it reads, and `next` the epoch that comes after those in the journal.
/// `has_changed` is believed of a sink that older versions wrote to, which noted no meaning; `None`:
/// nobody knows what its target holds.
pub(crate) fn spans(
    stored: Option<&SinkProgress>,
    delivery: Delivery,
    now: &str,
    next: u64,
    has_changed: bool,
) -> Option<Vec<Span>> {
    let span = |since| Span { since, meaning: now.to_owned() };
    let Some(stored) = stored else { return Some(vec![span(1)]) };
    let mut spans = stored.spans.clone();
    if spans.is_empty() && !has_changed {
        return Some(vec![span(1)]);
    }
    // What was to come with an epoch that never came is of no account.
    spans.retain(|span| span.since < next);
    if spans.last().is_none_or(|last| last.meaning != now) {
        if spans.is_empty() && delivery == Delivery::Changes {
            return None;
        }
        spans.push(span(next));
    }
    match delivery {
        Delivery::Changes => leave_behind(&mut spans, stored.progress.epoch),
        // It is replaced as a whole.
        Delivery::Snapshot => drop(spans.drain(..spans.len() - 1)),
    }
    Some(spans)
}

/// Drops the spans that a sink is through with when it has got to `epoch`.
pub(crate) fn leave_behind(spans: &mut Vec<Span>, epoch: u64) {
    let through = spans.iter().skip(1).take_while(|span| span.since <= epoch).count();
    spans.drain(..through);
}

/// The circuit for the meaning `hash`.
///
/// # Errors
/// `Conflict` if it was not kept or cannot be computed any more.
pub(crate) fn meant(
    dir: &DataDir,
    hash: &str,
    prepared: &Prepared,
    pool: Option<Arc<rayon::ThreadPool>>,
) -> Result<Meant> {
    let meaning = meanings::read(dir, hash)?
        .ok_or_else(|| Error::conflict("what it meant then was not kept"))?;
    Meant::new(&meaning, prepared, pool)
}

/// Whether the rows of `meant` can be taken out of where those of `schema` go.
///
/// # Errors
/// `Conflict` if they have other columns.
pub(crate) fn check_same_columns(meant: &Meant, schema: &Schema) -> Result<()> {
    let (old, new) = (columns(meant.schema()), columns(schema));
    if old == new {
        return Ok(());
    }
    let list = |columns: &[(String, String)]| {
        columns.iter().map(|(name, of)| format!("{name} {of}")).collect::<Vec<_>>().join(", ")
    };
    Err(Error::conflict(format!("it had the columns {} and has {}", list(&old), list(&new))))
}

/// The error that a sink's target cannot be brought to what `from` means now, because of the conflict
/// `why`; any other error stays as it is.
pub(crate) fn refused(sink: &str, from: &str, why: Error) -> Error {
    if why.kind() != ErrorKind::Conflict {
        return why;
    }
    let why = match why.detail_text() {
        Some(detail) => format!("{}: {detail}", why.message()),
        None => why.message().to_owned(),
    };
    Error::conflict(format!("sink `{sink}` holds changes of another `{from}`")).detail(why).hint(
        "put back what it read; or give the sink another name and path, and it starts a new \
         changelog with the whole content",
    )
}

/// What nobody knows of a target that an older version wrote to.
pub(crate) fn unknown() -> Error {
    Error::conflict("an older version of Syncline wrote it, and did not note what it meant then")
}

/// What the next run does because of an edit.
pub struct Edit {
    /// How many epochs were recorded, from which views are made anew.
    pub epochs: u64,
    /// In the order of the file; then those that are gone.
    pub views: Vec<(String, ViewEdit)>,
    pub sinks: Vec<(String, SinkEdit)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewEdit {
    Unchanged,
    New,
    Changed,
    Gone,
}

pub enum SinkEdit {
    /// It goes on.
    Unchanged,
    /// Nothing of it is noted: it begins with the first epoch.
    New,
    /// Its changelog gets the difference between what was meant, after the epoch `old`, and what is
    /// meant now.
    Difference { old: u64 },
    /// Its target is written anew.
    Replaced,
    /// The next run refuses to start.
    Refused(Error),
}

impl Edit {
    /// Compares a pipeline, of which `circuit` was made, with what is recorded in `data_dir`. Computes
    /// no rows; `None`: there is nothing recorded.
    ///
    /// # Errors
    /// `Corrupt` if the data directory is damaged.
    pub fn of(prepared: &Prepared, circuit: &Circuit, data_dir: &Path) -> Result<Option<Self>> {
        if !DataDir::is_at(data_dir)? {
            return Ok(None);
        }
        let past = Past::open(prepared, data_dir)?;
        let epochs = past.recorded();
        if epochs == 0 {
            return Ok(None);
        }
        let (meanings, recorded) = (Meanings::of(prepared, circuit)?, Recorded::read(past.dir())?);
        let mut views = Vec::new();
        for view in circuit.views() {
            let meaning = &meanings.get(&view.name)?.hash;
            let edit = match recorded.is_unchanged(&view.name, &view.fingerprint, meaning) {
                None => ViewEdit::New,
                Some(true) => ViewEdit::Unchanged,
                Some(false) => ViewEdit::Changed,
            };
            views.push((view.name.clone(), edit));
        }
        let is_there = |name: &str| circuit.views().iter().any(|view| view.name == name);
        let gone = recorded.views().filter(|name| !is_there(name));
        let gone: Vec<_> = gone.map(|name| (name.to_owned(), ViewEdit::Gone)).collect();
        views.extend(gone);
        let mut sinks = Vec::new();
        for name in prepared.pipeline.spec.sinks.keys() {
            let edit = sink_edit(name, prepared, circuit, &meanings, &past, &views)?;
            sinks.push((name.clone(), edit));
        }
        Ok(Some(Self { epochs, views, sinks }))
    }
}

fn sink_edit(
    name: &str,
    prepared: &Prepared,
    circuit: &Circuit,
    meanings: &Meanings,
    past: &Past<'_>,
    views: &[(String, ViewEdit)],
) -> Result<SinkEdit> {
    let config = &prepared.pipeline.spec.sinks[name];
    let from = &config.common().from;
    let Some(stored) = progress::read(past.dir(), name)? else { return Ok(SinkEdit::New) };
    let sink = open_sink(name, config, &prepared.pipeline.base_dir, &prepared.pipeline.spec.name)?;
    let (now, next) = (&meanings.get(from)?.hash, past.recorded() + 1);
    let has_changed = views.iter().any(|(view, edit)| view == from && *edit == ViewEdit::Changed);
    let Some(spans) = spans(Some(&stored), sink.delivery(), now, next, has_changed) else {
        return Ok(SinkEdit::Refused(refused(name, from, unknown())));
    };
    let since = spans.last().map_or(1, |span| span.since);
    if since <= stored.progress.epoch || since == 1 {
        return Ok(SinkEdit::Unchanged);
    }
    if sink.delivery() == Delivery::Snapshot {
        return Ok(SinkEdit::Replaced);
    }
    let schema = match prepared.existing_relation(from)? {
        Relation::View(view) => &circuit.views()[view].schema,
        Relation::Table(table) => &prepared.tables[table].schema,
    };
    for span in spans.iter().filter(|span| span.meaning != *now) {
        let meant = meant(past.dir(), &span.meaning, prepared, None);
        if let Err(why) = meant.and_then(|meant| check_same_columns(&meant, schema)) {
            return Ok(SinkEdit::Refused(refused(name, from, why)));
        }
    }
    Ok(SinkEdit::Difference { old: since - 1 })
}
