//! What a pipeline was: its journal read again, and its tables and views made anew from it.

mod ahead;
mod copy;
mod slice;

use std::path::Path;
use std::sync::Arc;

pub(crate) use ahead::Ahead;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
pub use copy::Copied;
use syncline_change::{Batch, Error, Result, types};
use syncline_engine::{Account, Circuit, Content, StepOutput, TableInput, ViewDef, in_parallel};
use syncline_store::checkpoints::Checkpoint;
use syncline_store::epochs::Records;
use syncline_store::journal::{self, EpochInput};
use syncline_store::slices::{self, Slice};
use syncline_store::{DataDir, MerkleLog, SourceInput, epochs};

use crate::file::LoadError;
use crate::prepare::Prepared;
use crate::reread::Reread;
use crate::runtime;

/// The data directory of a pipeline, to be read; the pipeline may be running.
pub struct Past<'a> {
    prepared: &'a Prepared,
    dir: DataDir,
    /// The last epoch in the epoch log; 0: none.
    recorded: u64,
    /// It has not all epochs: what stands for those before.
    slice: Option<(Slice, DataDir)>,
    /// It has not all epochs: the oldest checkpoint whose state there is to go on from.
    oldest: Option<Checkpoint>,
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
        let oldest = match journal::first(&dir)? {
            1 => None,
            first => runtime::oldest_state(&dir, first)?,
        };
        Ok(Self { prepared, dir, recorded, slice: None, oldest })
    }

    /// The slice of a past in `folder`: the epochs before its first are one, which has what tables held.
    ///
    /// # Errors
    /// `Corrupt` if it is damaged, or not one.
    pub fn open_slice(prepared: &'a Prepared, folder: &Path) -> Result<Self> {
        let slice = Slice::read(folder)?;
        let dir = DataDir::open_read(slices::data(folder))?;
        let base = DataDir::open_read(slices::base(folder))?;
        let recorded = slice.to;
        Ok(Self { prepared, dir, recorded, slice: Some((slice, base)), oldest: None })
    }

    pub fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// The last epoch in the epoch log, or of the slice; 0: none.
    pub fn recorded(&self) -> u64 {
        self.recorded
    }

    pub fn slice(&self) -> Option<&Slice> {
        self.slice.as_ref().map(|(slice, _)| slice)
    }

    /// Whether nothing can be said of a view.
    pub fn is_left_out(&self, view: &str) -> bool {
        self.slice().is_some_and(|slice| slice.left_out.contains_key(view))
    }

    /// The last epoch that it does not have by itself; 0: it has all.
    pub fn before(&self) -> u64 {
        let oldest = self.oldest.as_ref().map_or(0, |oldest| oldest.epoch);
        self.slice().map_or(oldest, Slice::before)
    }

    /// The checkpoint to go on from, where the journal does not have all epochs any more.
    pub fn oldest(&self) -> Option<&Checkpoint> {
        self.oldest.as_ref()
    }

    /// The epochs of the journal that it does not have.
    pub fn input_before(&self) -> MerkleLog {
        let oldest = self.oldest.as_ref().map(|oldest| oldest.input.clone());
        let slice = self.slice().map(|slice| slice.input_before.clone());
        slice.or(oldest).unwrap_or_default()
    }

    /// The records of the epochs that it has; `None`: no epoch was ever recorded.
    pub fn records(&self) -> Result<Option<Records>> {
        match self.slice() {
            Some(slice) => epochs::records_after(&self.dir, slice.before(), slice.head_before()?),
            None => {
                let mut records = epochs::records(&self.dir)?;
                for record in records.iter_mut().flat_map(|of| of.take_while_before(self.before()))
                {
                    record?;
                }
                Ok(records)
            }
        }
    }

    /// The epochs of the journal with all of their rows, up to `through` or to its end. That it ends
    /// before what is recorded, or before `through` if that is recorded, is an error.
    ///
    /// # Errors
    /// `Config` if the journal does not have all of them any more.
    pub fn inputs(
        &self,
        through: Option<u64>,
    ) -> Result<impl Iterator<Item = Result<EpochInput>> + use<>> {
        let before = self.slice().map_or(0, Slice::before);
        self.inputs_after(before, through)
    }

    /// The same after the epoch `before`, whose state there must be.
    pub(crate) fn inputs_after(
        &self,
        before: u64,
        through: Option<u64>,
    ) -> Result<impl Iterator<Item = Result<EpochInput>> + use<>> {
        let owed = through.unwrap_or(self.recorded).min(self.recorded);
        let mut inputs = journal::replay(&self.dir, before + 1)?;
        if owed > before {
            inputs = inputs.at_least(owed);
        }
        // Epochs are numbered without gaps.
        let count = through.map(|through| through.saturating_sub(before));
        let count = count.and_then(|count| usize::try_from(count).ok());
        let inputs = Reread::of(self.prepared, inputs)?.take(count.unwrap_or(usize::MAX));
        let is_wanted =
            self.slice.is_some() && before > 0 && through.is_none_or(|through| through >= before);
        let base = if is_wanted { Some(self.base()?) } else { None };
        Ok(base.into_iter().map(Ok).chain(inputs))
    }
}

/// A circuit that is led through the past, with the content of what it makes.
pub struct Replayed {
    /// The last epoch taken in; 0: none yet.
    pub epoch: u64,
    pub time_us: i64,
    circuit: Circuit,
    /// Of the views that were asked for, by their numbers in the circuit.
    views: Vec<(usize, Account)>,
    pool: Option<Arc<rayon::ThreadPool>>,
}

/// What of a view's content is known while it is led through the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Nothing,
    /// A sum over its rows, to compare it by.
    Sum,
    Rows,
}

impl Keep {
    pub fn rows_if(is_wanted: bool) -> Self {
        if is_wanted { Self::Rows } else { Self::Nothing }
    }
}

impl Replayed {
    /// Before the first epoch: `views`, of whose contents is kept what `keep` says.
    ///
    /// # Errors
    /// What is wrong with the views' SQL.
    pub fn new(
        prepared: &Prepared,
        views: &[ViewDef],
        pool: Option<Arc<rayon::ThreadPool>>,
        keep: impl Fn(&str) -> Keep,
    ) -> Result<Self, LoadError> {
        let circuit = prepared.circuit_of(views, pool.clone())?;
        let mut views = Vec::new();
        for (number, view) in circuit.views().iter().enumerate() {
            let is_sum = match keep(&view.name) {
                Keep::Nothing => continue,
                Keep::Sum => true,
                Keep::Rows => false,
            };
            views.push((number, Account::new(view.schema.clone(), view.order.clone(), is_sum)?));
        }
        Ok(Self { epoch: 0, time_us: 0, circuit, views, pool })
    }

    /// Goes on from a checkpoint. `false`: its state is not that of a pipeline like this one. Contents that
    /// are not among it are not kept any more.
    ///
    /// # Errors
    /// `Corrupt` if it is not what was written.
    pub fn go_on(&mut self, prepared: &Prepared, dir: &DataDir, from: &Checkpoint) -> Result<bool> {
        let Some(state) = runtime::read_state(prepared, dir, from, &self.circuit)? else {
            return Ok(false);
        };
        self.circuit.load(&state)?;
        (self.epoch, self.time_us) = (from.epoch, from.time_us);
        let infos = self.circuit.views();
        let rows_of = |number: usize| from.views.get(&infos[number].name)?.rows;
        self.views.retain(|(number, _)| rows_of(*number).is_some());
        for (number, account) in &mut self.views {
            let Account::Rows(content) = account else {
                return Err(Error::bug("the sum over a view's rows is not in a checkpoint"));
            };
            let rows = usize::try_from(rows_of(*number).unwrap_or(0)).unwrap_or(usize::MAX);
            content.load(&state, &runtime::view_held(&infos[*number].name), rows)?;
            while content.is_loading() {
                content.load_some(usize::MAX)?;
            }
        }
        Ok(true)
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
        in_parallel(self.pool.as_ref(), &mut self.views, |(number, account)| {
            output.views[*number].iter().try_for_each(|change| account.apply(change))
        })?;
        Ok(output)
    }

    /// Whether an epoch that is yet to come has rows of a source that had ended.
    pub fn has_ended_for(&self, prepared: &Prepared, input: &EpochInput) -> bool {
        let mut with_rows = input.inputs.iter().filter(|part| part.row_count() > 0);
        with_rows.any(|part| {
            let table = prepared.tables.iter().position(|table| table.name == part.source);
            table.and_then(|table| self.circuit.watermark(table)) == Some(i64::MAX)
        })
    }

    /// What is known of views, by name.
    pub fn accounts(&self) -> impl Iterator<Item = (&str, &Account)> {
        let views = self.views.iter();
        views.map(|(number, account)| (self.circuit.views()[*number].name.as_str(), account))
    }

    /// The contents that are kept, by name.
    pub fn contents(&self) -> impl Iterator<Item = (&str, &Content)> {
        self.accounts().filter_map(|(name, account)| Some((name, account.rows()?)))
    }

    /// The content of a view, if it is kept.
    pub fn content(&self, view: &str) -> Option<&Content> {
        self.contents().find(|(name, _)| *name == view).map(|(_, content)| content)
    }

    /// The content of a view, if it is kept, without the circuit.
    pub fn into_content(self, view: &str) -> Option<Content> {
        let is_it = |number: &usize| self.circuit.views()[*number].name == view;
        let (_, account) = self.views.into_iter().find(|(number, _)| is_it(number))?;
        account.into_rows()
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
    Counted(Box<Content>),
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

    /// Whether no row of a table was ever taken away: its rows are in the order in which they came.
    fn is_appended(&self, table: usize) -> bool {
        matches!(self.tables.get(table), Some((_, _, Table::Appended(_))))
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
                *self = Self::Counted(Box::new(content));
                Ok(())
            }
        }
    }
}
