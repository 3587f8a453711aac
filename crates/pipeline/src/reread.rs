//! Input that the journal only refers to, read again from where it came.

use std::collections::HashMap;
use std::sync::Arc;

use syncline_change::Result;
use syncline_change::source::Decode;
use syncline_connect::config::SourceConfig;
use syncline_connect::file::ReplayClock;
use syncline_connect::{SourceEnv, open_source};
use syncline_store::journal::{EpochInput, SourceInput};

use crate::prepare::Prepared;

/// Epochs of a journal, with all of their rows.
pub struct Reread<I> {
    inputs: I,
    /// By source. Of one that is no longer in the pipeline no rows are needed.
    decoders: HashMap<String, Arc<dyn Decode>>,
}

impl<I: Iterator<Item = Result<EpochInput>>> Reread<I> {
    pub(crate) fn new(inputs: I, decoders: HashMap<String, Arc<dyn Decode>>) -> Self {
        Self { inputs, decoders }
    }

    /// The epochs that `inputs` gives, of a journal that `prepared` wrote.
    ///
    /// # Errors
    /// `Config` if a source's settings cannot be meant.
    pub fn of(prepared: &Prepared, inputs: I) -> Result<Self> {
        let env = SourceEnv {
            base_dir: prepared.pipeline.base_dir.clone(),
            replay: Arc::new(ReplayClock::new()),
            chunk_rows_max: prepared.pipeline.spec.run.epoch.max_rows,
            decode_threads: 1,
        };
        let sources = prepared.pipeline.spec.sources.iter().zip(&prepared.tables);
        let files = sources.filter(|((_, config), _)| matches!(config, SourceConfig::File(_)));
        let decoders = files.map(|((name, config), table)| {
            let opened = open_source(name, config, table.schema.clone(), None, &env)?;
            Ok((name.clone(), opened.decode))
        });
        Ok(Self::new(inputs, decoders.collect::<Result<_>>()?))
    }

    fn complete(&self, part: &mut SourceInput) -> Result<()> {
        let Some(decode) = self.decoders.get(&part.source) else { return Ok(()) };
        if part.origin.is_empty() {
            return Ok(());
        }
        let rows = part.origin.iter().map(|range| decode.read_again(range));
        let rows = rows.collect::<Result<_>>();
        part.rows = rows.map_err(|error| error.within(format!("source `{}`", part.source)))?;
        Ok(())
    }
}

impl<I: Iterator<Item = Result<EpochInput>>> Iterator for Reread<I> {
    type Item = Result<EpochInput>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut input = match self.inputs.next()? {
            Ok(input) => input,
            error => return Some(error),
        };
        let completed = input.inputs.iter_mut().try_for_each(|part| self.complete(part));
        Some(completed.map(|()| input))
    }
}
