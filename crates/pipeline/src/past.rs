//! What a pipeline was: its journal read again, and its tables and views made anew from it.

mod copy;

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
pub use copy::Copied;
use syncline_change::{Batch, Error, Result, types};
use syncline_engine::{Circuit, Content, StepOutput, TableInput, ViewDef};
use syncline_store::journal::{self, EpochInput};
use syncline_store::{DataDir, SourceInput, epochs};

use crate::file::LoadError;
use crate::prepare::Prepared;
use crate::reread::Reread;

/// The data directory of a pipeline, to be read; the pipeline may be running.
pub struct Past<'a> {
    prepared: &'a Prepared,
    dir: DataDir,
    /// The last epoch in the epoch log; 0: none.
    recorded: u64,
}

impl<'a> Past<'a> {
    /// # Errors
    /// `Config` if `data_dir` is none, `Corrupt` if its epoch log is damaged.
    pub fn open(prepared: &'a Prepared, data_dir: &Path) -> Result<Self> {
        let dir = DataDir::open_read(data_dir)?;
        let mut recorded = 0;
        for record in epochs::records(&dir)?.into_iter().flatten() {
            recorded = record?.record.epoch;
        }
        Ok(Self { prepared, dir, recorded })
    }

    pub fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// The last epoch in the epoch log; 0: none.
    pub fn recorded(&self) -> u64 {
        self.recorded
    }

    /// The epochs of the journal with all of their rows, up to `through` or to its end. That it ends
    /// before what is recorded, or before `through` if that is recorded, is an error.
    pub fn inputs(
        &self,
        through: Option<u64>,
    ) -> Result<impl Iterator<Item = Result<EpochInput>> + use<>> {
        let owed = through.unwrap_or(self.recorded).min(self.recorded);
        let mut inputs = journal::replay(&self.dir, 1)?;
        if owed > 0 {
            inputs = inputs.at_least(owed);
        }
        // Epochs are numbered from 1, without gaps.
        let count = through.and_then(|through| usize::try_from(through).ok());
        Ok(Reread::of(self.prepared, inputs)?.take(count.unwrap_or(usize::MAX)))
    }
}

/// A circuit that is led through the past, with the content of what it makes.
pub struct Replayed {
    /// The last epoch taken in; 0: none yet.
    pub epoch: u64,
    pub time_us: i64,
    circuit: Circuit,
    /// Of the views that were asked for, by their numbers in the circuit.
    views: Vec<(usize, Content)>,
}

impl Replayed {
    /// Before the first epoch: `views`, of which the contents of those are kept that `is_kept` says.
    ///
    /// # Errors
    /// What is wrong with the views' SQL.
    pub fn new(
        prepared: &Prepared,
        views: &[ViewDef],
        pool: Option<Arc<rayon::ThreadPool>>,
        is_kept: impl Fn(&str) -> bool,
    ) -> Result<Self, LoadError> {
        let circuit = prepared.circuit_of(views, pool)?;
        let infos = circuit.views().iter().enumerate();
        let kept = infos.filter(|(_, view)| is_kept(&view.name));
        let kept = kept.map(|(number, view)| {
            Ok((number, Content::new(view.schema.clone(), view.order.clone())?))
        });
        let views = kept.collect::<Result<_>>()?;
        Ok(Self { epoch: 0, time_us: 0, circuit, views })
    }

    pub fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    /// Takes in an epoch of the journal.
    ///
    /// # Errors
    /// `Conflict` if a source had other columns then.
    pub fn step(&mut self, prepared: &Prepared, input: EpochInput) -> Result<StepOutput> {
        (self.epoch, self.time_us) = (input.epoch, input.time_us);
        let tables = table_inputs(prepared, input)?;
        let output = self.circuit.step(self.epoch, self.time_us, tables)?;
        for (number, content) in &mut self.views {
            output.views[*number].iter().try_for_each(|change| content.apply(change))?;
        }
        Ok(output)
    }

    /// The contents that are kept, by name.
    pub fn contents(&self) -> impl Iterator<Item = (&str, &Content)> {
        let views = self.views.iter();
        views.map(|(number, content)| (self.circuit.views()[*number].name.as_str(), content))
    }

    /// The content of a view, if it is kept.
    pub fn content(&self, view: &str) -> Option<&Content> {
        self.contents().find(|(name, _)| *name == view).map(|(_, content)| content)
    }

    /// The content of a view, if it is kept, without the circuit.
    pub fn into_content(self, view: &str) -> Option<Content> {
        let is_it = |number: &usize| self.circuit.views()[*number].name == view;
        self.views.into_iter().find(|(number, _)| is_it(number)).map(|(_, content)| content)
    }
}

/// An epoch of the journal as a circuit takes it in.
///
/// # Errors
/// `Conflict` if a source had other columns then.
pub fn table_inputs(prepared: &Prepared, input: EpochInput) -> Result<Vec<TableInput>> {
    let mut tables = Vec::new();
    for part in input.inputs {
        let number = prepared.tables.iter().position(|table| table.name == part.source);
        // What was journalled of a source that is no longer there means nothing to the views.
        let Some(table) = number else { continue };
        check_columns(&prepared.tables[table].schema, &part)?;
        tables.push(TableInput { table, rows: part.rows, finished: part.finished });
    }
    Ok(tables)
}

pub(crate) fn check_columns(schema: &SchemaRef, part: &SourceInput) -> Result<()> {
    let Some(rows) = part.rows.first() else { return Ok(()) };
    let journalled = rows.schema();
    let named = |schema: &SchemaRef| -> Vec<(String, String)> {
        let fields = schema.fields().iter();
        fields.map(|f| (f.name().clone(), types::name(f.data_type()))).collect()
    };
    if named(schema) == named(&journalled) {
        return Ok(());
    }
    Err(Error::conflict(format!("source `{}` had other columns when it ran", part.source))
        .detail("the pipeline file or its lock has changed since")
        .hint("put them back, or run the pipeline with another --data-dir"))
}

/// What the tables of a pipeline hold, made from their changes.
pub struct Tables {
    tables: Vec<(String, SchemaRef, Table)>,
}

/// Rows are counted only where any is ever taken away.
enum Table {
    Appended(Vec<RecordBatch>),
    Counted(Content),
}

impl Tables {
    /// All of them empty.
    pub fn new(prepared: &Prepared) -> Self {
        let empty = || Table::Appended(vec![]);
        let tables = prepared.tables.iter();
        Self { tables: tables.map(|t| (t.name.clone(), t.schema.clone(), empty())).collect() }
    }

    /// Takes in what an epoch changed.
    pub fn apply(&mut self, output: &StepOutput) -> Result<()> {
        for ((_, schema, table), changes) in self.tables.iter_mut().zip(&output.tables) {
            changes.iter().try_for_each(|change| table.apply(schema, change))?;
        }
        Ok(())
    }

    /// The rows of every table, by name.
    pub fn contents(&self) -> Result<Vec<(String, Vec<RecordBatch>)>> {
        let contents = self.tables.iter().map(|(name, _, table)| {
            let rows = match table {
                Table::Appended(rows) => rows.clone(),
                Table::Counted(content) => content.batches()?,
            };
            Ok((name.clone(), rows))
        });
        contents.collect()
    }
}

impl Table {
    fn apply(&mut self, schema: &SchemaRef, change: &Batch) -> Result<()> {
        match self {
            Self::Counted(content) => content.apply(change),
            Self::Appended(rows) if change.is_append_only() => {
                rows.push(change.rows().clone());
                Ok(())
            }
            Self::Appended(rows) => {
                let mut content = Content::new(schema.clone(), vec![])?;
                for rows in std::mem::take(rows) {
                    content.apply(&Batch::inserts(rows))?;
                }
                content.apply(change)?;
                *self = Self::Counted(content);
                Ok(())
            }
        }
    }
}
