//! Finds out where each sink's target stands, and how it gets to what the pipeline means now.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use syncline_change::Result;
use syncline_change::sink::Sink;
use syncline_connect::config::SinkConfig;
use syncline_engine::Circuit;
use syncline_store::progress::{self, SinkProgress, Span};
use syncline_store::{DataDir, meanings};

use super::feeds::{Origin, Pasts};
use super::plans::Plans;
use super::sinks::OpenSink;
use crate::edit;
use crate::meaning::Meanings;
use crate::prepare::Prepared;

/// Makes a sink from its name and settings.
pub(super) type Connect<'a> = &'a dyn Fn(&str, &SinkConfig) -> Result<Box<dyn Sink>>;

/// What sinks are opened with.
pub(super) struct Targets<'a> {
    pub(super) dir: &'a DataDir,
    pub(super) prepared: &'a Prepared,
    pub(super) circuit: &'a Circuit,
    pub(super) meanings: &'a Meanings,
    pub(super) plans: &'a Plans,
    pub(super) pool: Option<Arc<rayon::ThreadPool>>,
    /// The last epoch in the journal.
    pub(super) last_epoch: u64,
}

/// All sinks, ready to be opened.
pub(super) struct Opened {
    pub(super) sinks: Vec<OpenSink>,
    pub(super) pasts: Pasts,
    /// Up to which epoch there must be any, so that every target gets to what is meant now.
    pub(super) at_least: u64,
}

impl Targets<'_> {
    /// # Errors
    /// `Conflict` if a target cannot be brought to what its sink reads now.
    pub(super) fn open(&self, connect: Connect<'_>) -> Result<Opened> {
        let mut opened = Opened { sinks: vec![], pasts: Pasts::default(), at_least: 0 };
        for (name, config) in &self.prepared.pipeline.spec.sinks {
            let sink = connect(name, config)?;
            let sink = self.open_one(name, config, sink, &mut opened.pasts)?;
            let since = sink.spans.last().map_or(0, |span| span.since);
            opened.at_least = opened.at_least.max(since);
            opened.sinks.push(sink);
        }
        self.forget(&opened.sinks)?;
        Ok(opened)
    }

    fn open_one(
        &self,
        name: &str,
        config: &SinkConfig,
        sink: Box<dyn Sink>,
        pasts: &mut Pasts,
    ) -> Result<OpenSink> {
        let from = &config.common().from;
        let meaning = self.meanings.get(from)?;
        let stored = progress::read(self.dir, name)?;
        let spans = edit::spans(
            stored.as_ref(),
            sink.delivery(),
            &meaning.hash,
            self.last_epoch + 1,
            self.plans.changed().contains(from),
        );
        let spans = spans.ok_or_else(|| edit::refused(name, from, edit::unknown()))?;
        let relation = self.prepared.existing_relation(from)?;
        let mut shape = self.prepared.shape(self.circuit, relation);
        let origins = self
            .origins(&spans, &meaning.hash, &shape.schema, pasts)
            .map_err(|error| edit::refused(name, from, error))?;
        if origins.len() > 1 {
            shape.schema = nullable(&shape.schema);
        }
        meanings::write(self.dir, meaning)?;
        let progress = stored.as_ref().map(|stored| stored.progress.clone());
        if let Some(stored) = stored.filter(|stored| stored.spans != spans) {
            if stored.spans.last().is_some_and(|last| last.meaning != meaning.hash) {
                tracing::info!("sink `{name}` gets what `{from}` means now with the next epoch");
            }
            progress::write(self.dir, name, &SinkProgress { spans: spans.clone(), ..stored })?;
        }
        let (name, retry) = (name.to_owned(), config.retry().cloned());
        Ok(OpenSink { name, sink, relation, shape, progress, spans, origins, retry })
    }

    /// Where the changes of each span come from; `now` is what the sink's relation means.
    fn origins(
        &self,
        spans: &[Span],
        now: &str,
        schema: &SchemaRef,
        pasts: &mut Pasts,
    ) -> Result<Vec<(u64, Origin)>> {
        let mut origins = Vec::new();
        for (number, span) in spans.iter().enumerate() {
            if span.meaning == now {
                origins.push((span.since, Origin::Now));
                continue;
            }
            // The last one is what is meant now.
            let through = spans.get(number + 1).map_or(0, |next| next.since - 1);
            let hash = &span.meaning;
            let make = || edit::meant(self.dir, hash, self.prepared, self.pool.clone());
            edit::check_same_columns(pasts.need(hash, through, make)?, schema)?;
            origins.push((span.since, Origin::Past(hash.clone())));
        }
        Ok(origins)
    }

    /// Removes what is kept of meanings that no target has any more.
    fn forget(&self, sinks: &[OpenSink]) -> Result<()> {
        let spans = sinks.iter().flat_map(|sink| &sink.spans);
        let mut needed: BTreeSet<String> = spans.map(|span| span.meaning.clone()).collect();
        for name in progress::list(self.dir)? {
            // A sink that was taken out of the file may be put back.
            let Ok(Some(stored)) = progress::read(self.dir, &name) else { return Ok(()) };
            needed.extend(stored.spans.into_iter().map(|span| span.meaning));
        }
        meanings::retain(self.dir, &needed)
    }
}

/// What a view meant before may have had NULLs where it has none now.
fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    Arc::new(Schema::new(
        fields.map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>(),
    ))
}
