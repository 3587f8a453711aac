//! What two runs, or one run under two pipeline files, differ in: rows, and why.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;
use syncline_change::{Result, json};
use syncline_engine::Content;
use syncline_store::epochs;

use crate::file::LoadError;
use crate::past::{Keep, Past, Replayed};
use crate::prepare::{Prepared, alert_of};

/// One of the two.
pub struct Side<'a> {
    pub prepared: &'a Prepared,
    pub past: Past<'a>,
    /// The end of this epoch; `None`: of the last one.
    pub at: Option<u64>,
}

/// What differs between a first and a second run.
#[derive(Clone, Debug, Serialize)]
pub struct Diff {
    /// The epochs that were compared.
    pub epochs: [u64; 2],
    pub views: Vec<ViewDiff>,
    pub causes: Vec<Cause>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ViewDiff {
    pub view: String,
    /// Which of the two have it.
    pub is_in: [bool; 2],
    /// The columns differ, so that rows cannot be compared.
    pub has_other_columns: bool,
    /// How many rows are only in the first, and only in the second, and the first of them.
    pub removed: u64,
    pub added: u64,
    pub removed_rows: Vec<Value>,
    pub added_rows: Vec<Value>,
}

/// Why views may differ.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase", tag = "cause")]
pub enum Cause {
    /// The journals differ, from an epoch on.
    Input { epoch: u64, detail: String },
    /// The pipeline files or locks mean different things.
    Code { detail: Vec<String> },
    /// Other versions of Syncline, which compute other things of the same.
    Engine { detail: String },
}

impl Diff {
    /// Whether the views hold the same rows.
    pub fn is_same(&self) -> bool {
        self.views.iter().all(ViewDiff::is_same)
    }
}

impl ViewDiff {
    pub fn is_same(&self) -> bool {
        self.is_in == [true, true]
            && !self.has_other_columns
            && self.removed == 0
            && self.added == 0
    }
}

/// Compares the views of two runs, showing at most `rows_max` rows of each difference.
///
/// # Errors
/// What keeps either from being computed.
pub fn diff(a: &Side<'_>, b: &Side<'_>, rows_max: usize) -> Result<Diff, LoadError> {
    let (first, second) = (a.replayed()?, b.replayed()?);
    let names = |side: &Side<'_>| -> Vec<String> {
        let views = side.prepared.views.iter().map(|view| view.name.clone());
        views.filter(|name| alert_of(name).is_none()).collect()
    };
    let mut seen = BTreeSet::new();
    let mut views = Vec::new();
    for name in names(a).into_iter().chain(names(b)) {
        if seen.insert(name.clone()) {
            let contents = [first.content(&name), second.content(&name)];
            views.push(view_diff(&name, contents, rows_max)?);
        }
    }
    let causes = causes(a, b, &first, &second)?;
    Ok(Diff { epochs: [first.epoch, second.epoch], views, causes })
}

impl Side<'_> {
    fn replayed(&self) -> Result<Replayed, LoadError> {
        let mut state = Replayed::new(self.prepared, &self.prepared.views, None, |_| Keep::Rows)?;
        for input in self.past.inputs(self.at)? {
            state.step(self.prepared, input?)?;
        }
        Ok(state)
    }

    /// What was recorded of each epoch's input up to the one that is compared.
    fn inputs(&self, through: u64) -> Result<Vec<Option<String>>> {
        let records = epochs::records(self.past.dir())?.into_iter().flatten();
        let inputs = records.map(|record| Ok(record?.record.input));
        inputs.take(usize::try_from(through).unwrap_or(usize::MAX)).collect()
    }
}

fn view_diff(view: &str, contents: [Option<&Content>; 2], rows_max: usize) -> Result<ViewDiff> {
    let mut diff = ViewDiff {
        view: view.to_owned(),
        is_in: contents.map(|content| content.is_some()),
        has_other_columns: false,
        removed: 0,
        added: 0,
        removed_rows: vec![],
        added_rows: vec![],
    };
    let [Some(first), Some(second)] = contents else { return Ok(diff) };
    let columns = |content: &Content| -> Vec<_> {
        let fields = content.schema().fields().iter();
        fields.map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    if columns(first) != columns(second) {
        diff.has_other_columns = true;
        return Ok(diff);
    }
    let only = |here: &Content, there: &Content| -> Result<(u64, Vec<Value>)> {
        let (rows, total) = here.only_here(there, rows_max)?;
        Ok((total as u64, json::objects(&rows)?))
    };
    (diff.removed, diff.removed_rows) = only(first, second)?;
    (diff.added, diff.added_rows) = only(second, first)?;
    Ok(diff)
}

fn causes(a: &Side<'_>, b: &Side<'_>, first: &Replayed, second: &Replayed) -> Result<Vec<Cause>> {
    let mut causes = Vec::new();
    let (inputs, others) = (a.inputs(first.epoch)?, b.inputs(second.epoch)?);
    let part = inputs.iter().zip(&others).position(|(one, other)| one != other);
    let shorter = inputs.len().min(others.len());
    if let Some(at) = part {
        let detail = "the journals have other input from there on".to_owned();
        causes.push(Cause::Input { epoch: at as u64 + 1, detail });
    } else if inputs.len() != others.len() {
        let (less, more) = if inputs.len() == shorter { ("second", 1) } else { ("first", 0) };
        let more = [inputs.len(), others.len()][more] - shorter;
        let detail = format!("the {less} has {more} more epochs");
        causes.push(Cause::Input { epoch: shorter as u64 + 1, detail });
    }
    let (lock, other) = (&a.prepared.lock, &b.prepared.lock);
    let differences: Vec<String> = lock.diff(other);
    if !differences.is_empty() {
        causes.push(Cause::Code { detail: differences });
    }
    if let (Some(one), Some(other)) = (&a.prepared.found_lock, &b.prepared.found_lock)
        && one.semantics != other.semantics
    {
        let detail = format!(
            "the first was run with semantics version {}, the second with {}",
            one.semantics, other.semantics
        );
        causes.push(Cause::Engine { detail });
    }
    Ok(causes)
}
