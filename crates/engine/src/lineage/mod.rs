//! The input rows behind a row of a view, and the proof: the row computed again from them alone.

mod joins;
mod rows;
mod trace;

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use arrow::compute::{concat_batches, filter_record_batch};
use syncline_change::row::RowCodec;
use syncline_change::{Error, ErrorKind, Result};

pub(crate) use self::rows::Keys;
use self::rows::distinct;
pub(crate) use self::trace::relation;
use self::trace::{Trace, relations};
use crate::batch::{BatchEngine, TableContent};
use crate::content::Content;

/// Which rows of a view are asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub view: &'a str,
    /// One row with some of the view's columns, by name: what the asked rows have in these. Without
    /// columns, all rows are asked for.
    pub condition: &'a RecordBatch,
    /// Of the different rows that fit, the first so many are explained.
    pub rows_max: usize,
}

/// What rows of a view come from.
#[derive(Debug)]
pub struct Explained {
    /// The rows that are explained, in the view's order, each as often as it is there.
    pub rows: RecordBatch,
    /// How many different rows fit beside these.
    pub more: usize,
    /// For every table that the view reads, in the order in which tables were given.
    pub sources: Vec<SourceRows>,
    /// The rows that the inputs alone give in place of those that are explained: where these are equal
    /// to them bit for bit, the explanation is right.
    pub recomputed: RecordBatch,
    pub verified: bool,
}

/// The rows of a table that have a part in the explained rows.
#[derive(Debug)]
pub struct SourceRows {
    pub name: String,
    /// Each as often as the table has it.
    pub rows: RecordBatch,
    /// Why these are all rows of the table, if not because all have a part.
    pub not_narrowed: Option<String>,
}

/// Tables of which everything may matter, and why.
type Whole = BTreeMap<String, String>;

impl BatchEngine {
    /// Finds the rows of tables from which the asked rows of a view can be computed alone.
    /// `contents`, `time_us` and `watermark_us` are those of [`BatchEngine::compute`].
    ///
    /// # Errors
    /// `Config` if there is no such view or column; `Input` if a view cannot be computed.
    pub fn explain(
        &self,
        contents: &[TableContent],
        time_us: i64,
        watermark_us: impl Fn(&str) -> i64,
        asked: Asked<'_>,
    ) -> Result<Explained> {
        let inputs = Inputs { contents, time_us, watermark_us: &watermark_us };
        let explained = self.explain_filled(&inputs, asked);
        self.clear()?;
        explained
    }

    fn explain_filled(&self, inputs: &Inputs<'_>, asked: Asked<'_>) -> Result<Explained> {
        let needed = self.needed(asked.view)?;
        let content = self.recompute(inputs, asked.view, &needed)?;
        let fitting = fitting(&content.all()?, asked.condition)?;
        let all = distinct(&fitting.schema(), std::slice::from_ref(&fitting))?;
        let wanted = all.slice(0, asked.rows_max.min(all.num_rows()));
        let is_wanted = Keys::of(&wanted, &fitting.schema())?.which(&fitting)?;
        let rows = filter_record_batch(&fitting, &is_wanted)?;
        let mut made = Explained {
            more: all.num_rows() - wanted.num_rows(),
            recomputed: rows.slice(0, 0),
            rows,
            sources: vec![],
            verified: false,
        };
        if made.rows.num_rows() == 0 {
            return Ok(made);
        }
        let (found, whole) = match self.behind(inputs, asked.view, wanted.clone()) {
            Ok(traced) => traced,
            // It has not become wrong: it is only not known what does not matter.
            Err(error) => (BTreeMap::new(), all_whole(inputs, &needed, &error.to_string())),
        };
        for whole in widened(inputs, &needed, whole) {
            made.sources = self.sources(inputs, &needed, (&found, &whole))?;
            let alone: Vec<TableContent> =
                made.sources.iter().map(|s| (s.name.clone(), vec![s.rows.clone()])).collect();
            let alone = Inputs { contents: &alone, ..*inputs };
            let content = match self.recompute(&alone, asked.view, &needed) {
                // Some rows alone may divide by zero where all do not.
                Err(error) if error.kind() == ErrorKind::Input => continue,
                content => content?.all()?,
            };
            // Other rows may come out too: they say nothing of these.
            let is_wanted = Keys::of(&wanted, &content.schema())?.which(&content)?;
            made.recomputed = filter_record_batch(&content, &is_wanted)?;
            made.verified = same_bits(&made.recomputed, &made.rows)?;
            if made.verified {
                break;
            }
        }
        Ok(made)
    }

    /// The view and all that it reads, by way of others too.
    fn needed(&self, view: &str) -> Result<BTreeSet<String>> {
        let mut needed = BTreeSet::from([view.to_owned()]);
        for view in self.views.iter().rev() {
            if needed.contains(&view.def.name) {
                needed.extend(relations(&view.plan)?);
            }
        }
        Ok(needed)
    }

    /// The content of a view, whose tables and views stay filled.
    fn recompute(
        &self,
        inputs: &Inputs<'_>,
        view: &str,
        needed: &BTreeSet<String>,
    ) -> Result<Content> {
        let (contents, time_us) = (inputs.contents, inputs.time_us);
        let is_needed = |name: &str| needed.contains(name);
        let computed = self.compute_some(contents, time_us, inputs.watermark_us, is_needed)?;
        let found = computed.into_iter().find(|(name, _)| name == view);
        let missing = || Error::config(format!("there is no view `{view}`"));
        Ok(found.ok_or_else(missing)?.1)
    }

    /// The rows of tables behind `wanted` rows of a view, through the views that it reads.
    fn behind(
        &self,
        inputs: &Inputs<'_>,
        view: &str,
        wanted: RecordBatch,
    ) -> Result<(BTreeMap<String, Keys>, Whole)> {
        let mut trace = Trace::new(self, inputs.time_us);
        trace.found.insert(view.to_owned(), Keys::of(&wanted, &wanted.schema())?);
        for view in self.views.iter().rev() {
            let Some(found) = trace.found.remove(&view.def.name) else { continue };
            let (schema, batches) = self.content(&view.def.name)?;
            let rows = found.select(&batches)?;
            trace.trace(&self.optimized(view)?, distinct(&schema, &rows)?)?;
        }
        Ok((trace.found, trace.whole))
    }

    /// The rows that were `found`, table by table, and all of those that are to be taken whole.
    fn sources(
        &self,
        inputs: &Inputs<'_>,
        needed: &BTreeSet<String>,
        (found, whole): (&BTreeMap<String, Keys>, &Whole),
    ) -> Result<Vec<SourceRows>> {
        let read = inputs.contents.iter().filter(|(name, _)| needed.contains(name));
        let sources = read.map(|(name, batches)| {
            let not_narrowed = whole.get(name).cloned();
            let rows = match (&not_narrowed, found.get(name)) {
                (Some(_), _) => batches.clone(),
                (None, Some(found)) => found.select(batches)?,
                (None, None) => vec![],
            };
            let (schema, _) = self.content(name)?;
            let rows = concat_batches(&schema, &rows)?;
            Ok(SourceRows { name: name.clone(), rows, not_narrowed })
        });
        sources.collect()
    }
}

/// What views are computed from.
struct Inputs<'a> {
    contents: &'a [TableContent],
    time_us: i64,
    watermark_us: &'a dyn Fn(&str) -> i64,
}

fn all_whole(inputs: &Inputs<'_>, needed: &BTreeSet<String>, why: &str) -> Whole {
    let names = inputs.contents.iter().map(|(name, _)| name);
    names.filter(|name| needed.contains(*name)).map(|name| (name.clone(), why.to_owned())).collect()
}

/// What to try one after another: the rows as they were traced, then with all rows of one table more,
/// then with all rows of all tables.
fn widened(inputs: &Inputs<'_>, needed: &BTreeSet<String>, traced: Whole) -> Vec<Whole> {
    let mut all = all_whole(inputs, needed, "the traced rows alone do not give the row");
    let mut tries = vec![traced.clone()];
    for (name, why) in all.iter().filter(|(name, _)| !traced.contains_key(*name)) {
        let mut one = traced.clone();
        one.insert(name.clone(), why.clone());
        tries.push(one);
    }
    all.extend(traced);
    tries.push(all);
    tries.dedup();
    tries
}

/// The rows that have the condition's values in its columns.
fn fitting(rows: &RecordBatch, condition: &RecordBatch) -> Result<RecordBatch> {
    let schema = rows.schema();
    let place = |name: &String| {
        schema.index_of(name).map_err(|_| Error::config(format!("there is no column `{name}`")))
    };
    let fields = condition.schema_ref().fields().iter();
    let asked = fields.map(|field| place(field.name())).collect::<Result<Vec<_>>>()?;
    if asked.is_empty() {
        return Ok(rows.clone());
    }
    let asked = rows.project(&asked)?;
    let is_asked = Keys::of(condition, &asked.schema())?.which(&asked)?;
    Ok(filter_record_batch(rows, &is_asked)?)
}

/// Whether two batches have the same rows equally often, in any order.
fn same_bits(a: &RecordBatch, b: &RecordBatch) -> Result<bool> {
    let codec = RowCodec::new(a.schema())?;
    let sorted = |rows: &RecordBatch| -> Result<Vec<Box<[u8]>>> {
        let encoded = codec.encode_batch(rows)?;
        let mut rows: Vec<Box<[u8]>> = encoded.iter().map(|row| row.data().into()).collect();
        rows.sort_unstable();
        Ok(rows)
    };
    Ok(sorted(a)? == sorted(b)?)
}
