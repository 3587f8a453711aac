//! WITH RECURSIVE, iteration by iteration.
//!
//! The rows of iteration 0 are those of the static term; those of iteration i + 1 are what the
//! recursive term makes of the rows of iteration i alone; the result is all of them. So every
//! iteration has a copy of the recursive term's operators, made when rows first reach it, and a change
//! of one iteration's rows becomes a change of the next one's. What the recursive term reads beside
//! the recursion is arranged once, outside, and looked up by all copies.
//!
//! With UNION, a row belongs to the first iteration that derives it and to no later one (`first`).

mod first;
mod part;

use arrow::array::Int64Array;
use arrow::datatypes::SchemaRef;
use syncline_change::row::RowCodec;
use syncline_change::source::Rejected;
use syncline_change::{Batch, Result};

pub(crate) use self::part::{Origin, Part, PartNode};

use self::first::{FirstDerived, Pass};
use super::accumulate::{change_count, put_counts, take_counts};
use super::map::rejected_as_a_whole;
use super::recompute::{Rows, count_changes, rows_bytes};
use super::settle::Consolidate;
use super::{Change, Epoch, Operator, negative, relabel};
use crate::state::{Loader, Saver, put_flag, put_i64, take_flag, take_i64};

/// How many iterations there are at the most, so that a recursion without an end comes to one.
pub(crate) const ITERATIONS_MAX: usize = 10_000;
/// How many rows the iterations so far may have for there to be another. Paths in a graph with
/// circles become twice as many with every step, say.
pub(crate) const ITERATION_ROWS_MAX: u64 = 10_000_000;

/// Makes the operators of one iteration.
pub(crate) type MakePart = Box<dyn Fn() -> Result<Part> + Send>;

pub(crate) struct Recursion {
    make: MakePart,
    iterations: Vec<Iteration>,
    /// Which iteration every row belongs to, where equal rows are shown once.
    first: Option<FirstDerived>,
    /// Of the inputs behind the static term, what those have that are not arranged: iterations that
    /// are made later have not seen their changes.
    outside: Vec<Option<Outside>>,
    codec: RowCodec,
    /// What the recursive term reads the rows as.
    relation: SchemaRef,
    sums: Consolidate,
    name: String,
    is_saving: bool,
    /// No two parts have the same number, so that one that is made anew is not taken for the one before.
    next_part: u64,
    /// Whose rows these are, for reports.
    view: String,
}

/// The rows of an iteration, and what makes the next one's of them.
#[derive(Default)]
struct Iteration {
    rows: Rows,
    copies: u64,
    part: Option<Part>,
    /// The number of the part.
    number: u64,
    /// Whether another iteration may follow.
    is_open: bool,
}

struct Outside {
    codec: RowCodec,
    rows: Rows,
}

impl Recursion {
    /// The inputs are the static term, then what the parts read beside the recursion: `outside` says
    /// of each whether it is arranged (`None`), or else its schema.
    pub(crate) fn new(
        (name, view): (String, String),
        make: MakePart,
        is_distinct: bool,
        outside: Vec<Option<SchemaRef>>,
        (schema, relation): (SchemaRef, SchemaRef),
    ) -> Result<Self> {
        let outside = outside.into_iter().map(|schema| match schema {
            None => Ok(None),
            Some(schema) => Ok(Some(Outside { codec: RowCodec::new(schema)?, rows: Rows::new() })),
        });
        Ok(Self {
            make,
            iterations: Vec::new(),
            is_saving: false,
            next_part: 0,
            first: is_distinct.then(|| FirstDerived::new(name.clone())),
            outside: outside.collect::<Result<_>>()?,
            codec: RowCodec::new(schema.clone())?,
            relation,
            sums: Consolidate::new(schema, false)?,
            name,
            view,
        })
    }

    /// Takes the rows that iteration `number` gains and loses, and returns what the next one does.
    fn iterate(
        &mut self,
        epoch: &mut Epoch<'_>,
        number: usize,
        change: &Rows,
        may_go_on: impl Fn(u64) -> bool,
        inputs: &[Change<'_>],
    ) -> Result<Rows> {
        let iteration = &mut self.iterations[number];
        let gained: i64 = change.values().sum();
        let copies = iteration.copies.checked_add_signed(gained);
        iteration.copies = copies.ok_or_else(|| negative(&self.name, "a row"))?;
        let is_open = may_go_on(iteration.copies);
        let was_open = std::mem::replace(&mut iteration.is_open, is_open);
        let opposite =
            |rows: &Rows| rows.iter().map(|(row, n)| (row.clone(), -n)).collect::<Rows>();
        let was_empty = iteration.rows.is_empty();
        let closed = (was_open && !is_open).then(|| opposite(&iteration.rows));
        for (row, weight) in change {
            change_count(&mut iteration.rows, row, *weight);
            if iteration.rows.get(row).is_some_and(|&count| count < 0) {
                return Err(negative(&self.name, "a row"));
            }
        }
        let fed = match (was_open, is_open) {
            (true, true) => change.clone(),
            (false, true) => iteration.rows.clone(),
            (_, false) => closed.unwrap_or_default(),
        };
        if !is_open && !iteration.rows.is_empty() && (was_open || was_empty) {
            epoch.rejected.push((self.view.clone(), endless(epoch.number, number)));
        }
        let has_news = inputs.iter().any(|input| !input.batches.is_empty());
        if fed.is_empty() && !(has_news && iteration.part.is_some()) {
            return Ok(Rows::new());
        }
        self.advance(epoch, number, &fed, inputs)
    }

    /// What the recursive term makes of the change of an iteration's rows and of what is outside.
    fn advance(
        &mut self,
        epoch: &mut Epoch<'_>,
        number: usize,
        fed: &Rows,
        inputs: &[Change<'_>],
    ) -> Result<Rows> {
        let fed: Vec<Batch> = match fed.is_empty() {
            true => vec![],
            false => vec![relabel(&batch(&self.codec, fed)?, &self.relation)?],
        };
        let mut whole: Vec<Vec<Batch>> = vec![vec![]; inputs.len()];
        let mut outside = inputs.to_vec();
        let Iteration { part, number: of_part, .. } = &mut self.iterations[number];
        let part = match part {
            Some(part) => part,
            none => {
                for (whole, kept) in whole.iter_mut().zip(&self.outside) {
                    if let Some(kept) = kept.as_ref().filter(|kept| !kept.rows.is_empty()) {
                        whole.push(batch(&kept.codec, &kept.rows)?);
                    }
                }
                for ((change, whole), kept) in outside.iter_mut().zip(&whole).zip(&self.outside) {
                    if kept.is_some() {
                        change.batches = whole.as_slice();
                    }
                }
                let part = none.insert((self.make)()?);
                *of_part = self.next_part;
                self.next_part += 1;
                if self.is_saving {
                    part.begin_saving();
                }
                part
            }
        };
        let made = part.step(epoch, &fed, &outside)?;
        let mut derived = Rows::new();
        count_changes(&self.codec, &made, &mut derived)?;
        Ok(derived)
    }
}

impl Operator for Recursion {
    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        for (kept, input) in self.outside.iter_mut().zip(&inputs[1..]) {
            if let Some(kept) = kept {
                count_changes(&kept.codec, input.batches, &mut kept.rows)?;
            }
        }
        let mut derived = Rows::new();
        count_changes(&self.codec, inputs[0].batches, &mut derived)?;
        let (mut pass, mut output) = (Pass::default(), Rows::new());
        let mut rows_before: u64 = 0;
        for number in 0..ITERATIONS_MAX {
            if number == self.iterations.len() {
                if derived.is_empty() && pass.is_done() {
                    break;
                }
                self.iterations.push(Iteration::default());
            }
            let change = match &mut self.first {
                None => derived,
                Some(first) => first.enter(&mut pass, number, derived)?,
            };
            for (row, weight) in &change {
                change_count(&mut output, row, *weight);
            }
            let may_go_on = |copies: u64| {
                number + 1 < ITERATIONS_MAX
                    && rows_before.saturating_add(copies) <= ITERATION_ROWS_MAX
            };
            derived = self.iterate(epoch, number, &change, may_go_on, &inputs[1..])?;
            rows_before = rows_before.saturating_add(self.iterations[number].copies);
        }
        while self.iterations.last().is_some_and(|last| last.rows.is_empty()) {
            self.iterations.pop();
        }
        match output.is_empty() {
            true => Ok(vec![]),
            false => self.sums.add_up(epoch, &batch(&self.codec, &output)?),
        }
    }

    fn begin_saving(&mut self) {
        self.is_saving = true;
        let parts = self.iterations.iter_mut().filter_map(|iteration| iteration.part.as_mut());
        parts.for_each(Part::begin_saving);
    }

    fn unsaved(&self) -> usize {
        let parts = self.iterations.iter().filter_map(|iteration| iteration.part.as_ref());
        parts.map(Part::unsaved).sum()
    }

    /// What the operators of iterations hold as any others do; the rows of iterations as a whole.
    fn save(&mut self, to: &mut Saver<'_>) -> Result<()> {
        for iteration in &mut self.iterations {
            if let Some(part) = &mut iteration.part {
                part.save(&mut to.within(iteration.number))?;
            }
        }
        to.value("rows", |bytes| {
            put_i64(bytes, self.next_part.cast_signed());
            put_i64(bytes, self.iterations.len() as i64);
            for iteration in &self.iterations {
                put_counts(bytes, &iteration.rows);
                put_i64(bytes, iteration.copies.cast_signed());
                put_i64(bytes, iteration.number.cast_signed());
                put_flag(bytes, iteration.is_open);
                put_flag(bytes, iteration.part.is_some());
            }
            self.outside.iter().flatten().for_each(|outside| put_counts(bytes, &outside.rows));
            if let Some(first) = &self.first {
                first.write(bytes);
            }
        });
        Ok(())
    }

    fn load(&mut self, from: &Loader<'_>) -> Result<()> {
        let (outside, first) = (&mut self.outside, &mut self.first);
        let (next_part, iterations) = from.value("rows", |bytes| {
            let next_part = take_i64(bytes)?.cast_unsigned();
            let mut iterations = Vec::new();
            for _ in 0..take_i64(bytes)? {
                let rows = take_counts(bytes)?;
                let copies = take_i64(bytes)?.cast_unsigned();
                let number = take_i64(bytes)?.cast_unsigned();
                let is_open = take_flag(bytes)?;
                iterations.push((
                    Iteration { rows, copies, part: None, number, is_open },
                    take_flag(bytes)?,
                ));
            }
            for outside in outside.iter_mut().flatten() {
                outside.rows = take_counts(bytes)?;
            }
            if let Some(first) = first {
                first.read(bytes)?;
            }
            Some((next_part, iterations))
        })?;
        self.next_part = next_part;
        for (mut iteration, has_part) in iterations {
            if has_part {
                let mut part = (self.make)()?;
                if self.is_saving {
                    part.begin_saving();
                }
                part.load(&from.within(iteration.number))?;
                iteration.part = Some(part);
            }
            self.iterations.push(iteration);
        }
        Ok(())
    }

    fn state_rows(&self) -> usize {
        self.iterations.iter().map(|iteration| iteration.rows.len()).sum()
    }

    fn state_bytes(&self) -> usize {
        let iteration = |iteration: &Iteration| {
            let part = iteration.part.as_ref().map_or(0, Part::state_bytes);
            size_of::<Iteration>() + rows_bytes(&iteration.rows) + part
        };
        let outside = self.outside.iter().flatten().map(|outside| rows_bytes(&outside.rows));
        self.iterations.iter().map(iteration).sum::<usize>()
            + outside.sum::<usize>()
            + self.first.as_ref().map_or(0, FirstDerived::bytes)
    }
}

fn batch(codec: &RowCodec, rows: &Rows) -> Result<Batch> {
    let weights = Int64Array::from_iter_values(rows.values().copied());
    Batch::new(codec.decode_batch(rows.keys().map(|row| &**row))?, weights)
}

fn endless(epoch: u64, iteration: usize) -> Rejected {
    let message = format!(
        "the recursion is cut off after {} iterations: it may have {ITERATIONS_MAX}, and \
         {ITERATION_ROWS_MAX} rows in all of them",
        iteration + 1
    );
    rejected_as_a_whole(epoch, message)
}
