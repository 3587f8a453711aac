//! What each sink is given, epoch by epoch: the changes of what it reads, as far as that always meant
//! the same. After an edit the changes up to then are those of the old meaning, computed again beside
//! the new one while the journal is replayed; then comes, as one epoch, the difference between the
//! two contents. So what a sink is given for an epoch stays the same, however often it is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use syncline_change::spill::Spill;
use syncline_change::{Batch, Error, Result};
use syncline_engine::{Content, StepOutput};
use syncline_store::journal::EpochInput;
use tokio::sync::mpsc;

use super::sinks::Job;
use crate::meaning::Meant;
use crate::prepare::Relation;

/// Circuits of what sources and views meant before an edit, by the hash of the meaning, each with
/// the last epoch that it is needed for.
#[derive(Default)]
pub(super) struct Pasts {
    by_hash: BTreeMap<String, (Meant, u64)>,
}

impl Pasts {
    /// The past meaning `hash` is needed up to the epoch `through`; `make` makes it if it is new.
    pub(super) fn need(
        &mut self,
        hash: &str,
        through: u64,
        make: impl FnOnce() -> Result<Meant>,
    ) -> Result<&Meant> {
        if !self.by_hash.contains_key(hash) {
            self.by_hash.insert(hash.to_owned(), (make()?, 0));
        }
        let past = self.by_hash.get_mut(hash);
        let (meant, last) = past.ok_or_else(|| Error::bug("a past meaning was not kept"))?;
        *last = through.max(*last);
        Ok(meant)
    }

    pub(super) fn len(&self) -> usize {
        self.by_hash.len()
    }

    pub(super) fn limit_memory(&self, bytes: usize, spill: &Arc<dyn Spill>) {
        let pasts = self.by_hash.values();
        pasts.for_each(|(meant, _)| meant.circuit().limit_memory(bytes, spill.clone()));
    }

    /// Computes an epoch. What is not needed any more is let go.
    fn step(&mut self, input: &EpochInput) -> Result<BTreeMap<String, Vec<Batch>>> {
        self.by_hash.retain(|_, (_, through)| input.epoch <= *through);
        let stepped = self.by_hash.iter_mut().map(|(hash, (meant, _))| {
            let output = meant.step(input)?;
            Ok((hash.clone(), changes_of(&output, meant.relation()).to_vec()))
        });
        stepped.collect()
    }
}

/// Whose changes a sink is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// What it reads now.
    Now,
    /// What it read before, by the hash of the meaning.
    Past(String),
}

/// The ends of the queues to all sinks.
pub(super) struct Feeds {
    feeds: Vec<Feed>,
    pasts: Pasts,
}

impl Feeds {
    pub(super) fn new(feeds: Vec<Feed>, pasts: Pasts) -> Self {
        Self { feeds, pasts }
    }

    /// Blocks while the queue of a sink is full. A sink that has failed takes nothing.
    ///
    /// # Errors
    /// `Conflict` and others if what was meant before cannot be computed.
    pub(super) fn send(
        &mut self,
        input: &EpochInput,
        output: &StepOutput,
        read_at_nanos: Option<u64>,
    ) -> Result<()> {
        let pasts = self.pasts.step(input)?;
        for feed in &mut self.feeds {
            feed.send(input.epoch, output, &pasts, read_at_nanos)?;
        }
        Ok(())
    }

    /// The epochs up to this one are given to nobody again: who has the changes has them already, and
    /// who shows whole contents is told to.
    pub(super) fn go_on(&mut self, epoch: u64) {
        for feed in self.feeds.iter().filter(|feed| feed.durable < epoch) {
            let _ = feed.to.blocking_send(Job { epoch, changes: vec![], read_at_nanos: None });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.feeds.is_empty()
    }

    /// Sinks finish when they have written what they were given.
    pub(super) fn close(&mut self) {
        self.feeds.clear();
    }
}

/// The circuit's end of the queue to a sink.
pub(super) struct Feed {
    relation: Relation,
    schema: SchemaRef,
    /// Epochs up to this one are in the target already.
    durable: u64,
    /// From which epoch on whose changes are given; in order, the first from the start.
    origins: Vec<(u64, Origin)>,
    turns: Vec<Turn>,
    to: mpsc::Sender<Job>,
}

/// Where one origin follows upon another, with their contents so far.
struct Turn {
    /// The first epoch of the new one.
    epoch: u64,
    old: (Origin, Content),
    new: (Origin, Content),
}

impl Feed {
    /// # Errors
    /// `Unsupported` if there are turns, and a column of `schema` cannot be compared.
    pub(super) fn new(
        relation: Relation,
        schema: SchemaRef,
        durable: u64,
        origins: Vec<(u64, Origin)>,
        to: mpsc::Sender<Job>,
    ) -> Result<Self> {
        let content = || Content::new(schema.clone(), vec![]);
        let turns = origins.windows(2).map(|pair| {
            let [(_, old), (epoch, new)] = pair else {
                return Err(Error::bug("a pair has two parts"));
            };
            let (old, new) = ((old.clone(), content()?), (new.clone(), content()?));
            Ok(Turn { epoch: *epoch, old, new })
        });
        let turns = turns.collect::<Result<_>>()?;
        Ok(Self { relation, schema, durable, origins, turns, to })
    }

    fn send(
        &mut self,
        epoch: u64,
        output: &StepOutput,
        pasts: &BTreeMap<String, Vec<Batch>>,
        read_at_nanos: Option<u64>,
    ) -> Result<()> {
        let of = |origin: &Origin| -> Result<Vec<Batch>> {
            let changes = match origin {
                Origin::Now => changes_of(output, self.relation),
                Origin::Past(hash) => pasts.get(hash).map_or(&[][..], Vec::as_slice),
            };
            changes.iter().map(|batch| as_rows_of(&self.schema, batch)).collect()
        };
        let mut difference = None;
        for turn in &mut self.turns {
            if epoch < turn.epoch {
                of(&turn.old.0)?.iter().try_for_each(|change| turn.old.1.apply(change))?;
            }
            if epoch <= turn.epoch {
                of(&turn.new.0)?.iter().try_for_each(|change| turn.new.1.apply(change))?;
            }
            if epoch == turn.epoch {
                difference = Some(turn.difference()?);
            }
        }
        let changes = match difference {
            Some(changes) => changes,
            None => {
                let current = self.origins.iter().rev().find(|(since, _)| *since <= epoch);
                of(current.map_or(&Origin::Now, |(_, origin)| origin))?
            }
        };
        self.turns.retain(|turn| epoch < turn.epoch);
        if epoch > self.durable {
            let _ = self.to.blocking_send(Job { epoch, changes, read_at_nanos });
        }
        Ok(())
    }
}

impl Turn {
    /// What makes the new content of the old one.
    fn difference(&self) -> Result<Vec<Batch>> {
        let (old, new) = (&self.old.1, &self.new.1);
        let (gone, count) = old.only_here(new, usize::MAX)?;
        let (come, _) = new.only_here(old, usize::MAX)?;
        let gone = Batch::new(gone, Int64Array::from_value(-1, count))?;
        let both = [gone, Batch::inserts(come)];
        Ok(both.into_iter().filter(|batch| !batch.is_empty()).collect())
    }
}

/// The same rows as those of `schema`, which differs at most in where NULLs may be.
fn as_rows_of(schema: &SchemaRef, batch: &Batch) -> Result<Batch> {
    if batch.schema() == *schema {
        return Ok(batch.clone());
    }
    let columns = batch.rows().columns().to_vec();
    Ok(batch.with_rows(RecordBatch::try_new(schema.clone(), columns)?))
}

/// The changes of one relation in an epoch.
pub(super) fn changes_of(output: &StepOutput, relation: Relation) -> &[Batch] {
    match relation {
        Relation::Table(table) => &output.tables[table],
        Relation::View(view) => &output.views[view],
    }
}
