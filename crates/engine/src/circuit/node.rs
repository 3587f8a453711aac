//! What the circuit is made of.

use std::collections::BTreeSet;

use arrow::datatypes::SchemaRef;

use super::bounds::Known;
use crate::operators::{Arranged, Input, Operator};
use crate::state::Term;

/// One node: work, where its input comes from, and what is known about its output.
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    /// What it does in a word or two, and of what.
    pub(crate) label: String,
    pub(crate) detail: String,
    /// The source or view that it is, if it is one.
    pub(crate) name: Option<String>,
    /// Why its result is computed anew at every change; `None` if it is kept up to date.
    pub(crate) recompute: Option<String>,
    pub(crate) work: Work,
    pub(crate) inputs: Vec<usize>,
    pub(crate) schema: SchemaRef,
    /// Columns that are unique in its content, if any are known.
    pub(crate) key: Option<Vec<usize>>,
    /// Whether rows that it has put out are never taken away again.
    pub(crate) append_only: bool,
    /// Whether no row stands twice among what it puts out in an epoch.
    pub(crate) consolidated: bool,
    /// The tables that its content depends on.
    pub(crate) tables: BTreeSet<usize>,
    /// What is known of its columns; of those behind the end of the list, nothing.
    pub(crate) known: Vec<Known>,
    /// Of each input that is an arrangement, what of it the node will not look at again; nothing for
    /// those behind the end of the list.
    pub(crate) claims: Vec<Option<Term>>,
    pub(crate) keeps: Keeps,
    /// What its content grows with.
    pub(crate) growth: Growth,
    /// The tables whose event time says which of its state goes; empty if none does.
    pub(crate) released_by: BTreeSet<usize>,
    pub(crate) stats: NodeStats,
}

impl Node {
    /// The rows that it keeps by key, if it does.
    pub(crate) fn arranged(&self) -> Option<&Arranged> {
        match &self.work {
            Work::Input(_) => None,
            Work::Operator(operator) => operator.arranged(),
        }
    }

    /// Whether it is a table that has event time.
    pub(crate) fn has_event_time(&self) -> bool {
        matches!(&self.work, Work::Input(input) if input.has_event_time())
    }
}

/// What a node remembers between epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    Nothing,
    /// The newest row of each key of a table.
    Keys,
    /// Its input's rows.
    Rows,
    /// One row of results.
    OneRow,
    /// A row of results for each group.
    Groups,
    /// So many first rows of each group.
    First(usize),
    /// How many matches rows have.
    Matches,
    /// Rows that come or go at a time that is yet to come.
    Ahead,
    /// Rows of windows that are not closed yet.
    Waiting,
    /// All of its inputs, and its result.
    Content,
    /// The rows of every iteration.
    Iterations,
}

/// What the number of rows grows with, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Growth {
    /// Nothing, or only what time lets go again.
    Nothing,
    /// Different keys or groups.
    Groups,
    /// Every row of its tables.
    Rows,
}

/// What kind of node it is, as plans and the page show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    Source,
    Operator,
    View,
}

pub(crate) enum Work {
    /// The input of the table with this number.
    Input(Box<Input>),
    Operator(Box<dyn Operator>),
}

impl Work {
    pub(crate) fn operator(&self) -> &dyn Operator {
        match self {
            Self::Input(input) => input.as_ref(),
            Self::Operator(operator) => operator.as_ref(),
        }
    }

    pub(crate) fn operator_mut(&mut self) -> &mut dyn Operator {
        match self {
            Self::Input(input) => input.as_mut(),
            Self::Operator(operator) => operator.as_mut(),
        }
    }
}

/// What a node has done since the circuit was made.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeStats {
    pub rows_in: u64,
    pub rows_out: u64,
    /// Time spent in it, by the clock that the circuit was given.
    pub busy_nanos: u64,
    /// Rows or groups that it keeps.
    pub state_rows: u64,
    /// Bytes of memory that these take, as of some time in the last few rows.
    pub state_bytes: u64,
    /// How many rows had come and gone when that was counted.
    counted_at: u64,
}

impl NodeStats {
    /// Counts the state of `operator` if so many rows have come and gone since the last time that it may
    /// be another by now. To count may mean to go through all of it, which must not be done for a few.
    pub(super) fn count_state(&mut self, operator: &dyn Operator) {
        let rows = self.rows_in + self.rows_out;
        if rows - self.counted_at >= self.state_rows / 32 {
            self.state_rows = operator.state_rows() as u64;
            self.state_bytes = operator.state_bytes() as u64;
            self.counted_at = rows;
        }
    }
}
