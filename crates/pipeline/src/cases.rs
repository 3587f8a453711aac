//! The tests of a pipeline file: after the given rows, do views hold what is expected?
//!
//! Each case has a circuit of its own, which takes all given rows in one epoch and then sees every
//! source at its end. Nothing is read from the sources themselves and nothing is written.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::row::Rows;
use indexmap::IndexMap;
use serde_json::Value;
use syncline_change::row::RowCodec;
use syncline_change::source::Decode;
use syncline_change::{Batch, Error, Result, json};
use syncline_connect::decode::json::JsonDecode;
use syncline_engine::{Content, TableInput};

use crate::file::spec::{Row, TestCase};
use crate::file::tree::child;
use crate::file::{LoadError, Problem, nearest};
use crate::prepare::Prepared;

/// The epoch of a case, and what `now()` is in it: a test gives the same result on every day.
const EPOCH: u64 = 1;
const TIME_US: i64 = 0;

/// What became of a case.
#[derive(Debug)]
pub struct Outcome {
    pub name: String,
    /// Why it failed; empty if it passed.
    pub failures: Vec<CaseFailure>,
    /// Given rows that were turned away, as late ones are, a sentence each.
    pub rejected: Vec<String>,
}

impl Outcome {
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

#[derive(Debug)]
pub enum CaseFailure {
    /// A given or expected row does not fit its source or view, or the views cannot be computed.
    Broken(String),
    Differs(ViewDiff),
}

/// How a view differs from what is expected of it.
#[derive(Debug)]
pub struct ViewDiff {
    pub view: String,
    /// The columns that were compared: those that expected rows name, in the view's order.
    pub columns: Vec<FieldRef>,
    /// Expected rows that are not there; `None` where a row does not name the column.
    pub missing: Vec<Vec<Option<Value>>>,
    /// Rows that are there and not expected.
    pub unexpected: Vec<Vec<Value>>,
    /// How many rows are as expected.
    pub matching: usize,
}

/// Runs all cases of the pipeline file.
///
/// # Errors
/// Columns that sources or views do not have, with their places in the file.
pub fn run(prepared: &Prepared) -> Result<Vec<Outcome>, LoadError> {
    check_columns(prepared)?;
    prepared.pipeline.spec.tests.iter().map(|case| run_case(prepared, case)).collect()
}

fn run_case(prepared: &Prepared, case: &TestCase) -> Result<Outcome, LoadError> {
    let mut outcome =
        Outcome { name: case.name.clone(), failures: Vec::new(), rejected: Vec::new() };
    let broken = |error: Error| CaseFailure::Broken(error.to_string());
    let input = match given(prepared, case) {
        Ok(input) => input,
        Err(error) => {
            outcome.failures.push(broken(error));
            return Ok(outcome);
        }
    };
    let mut circuit = prepared.circuit(None)?;
    let output = match circuit.step(EPOCH, TIME_US, input) {
        Ok(output) => output,
        Err(error) => {
            outcome.failures.push(broken(error));
            return Ok(outcome);
        }
    };
    let rejected = output.rejected.iter();
    outcome.rejected = rejected.map(|(name, r)| format!("`{name}`: {}", r.message)).collect();
    for (info, changes) in circuit.views().iter().zip(&output.views) {
        let Some(expected) = case.expect.get(&info.name) else { continue };
        let mut content = Content::new(info.schema.clone(), info.order.clone())?;
        let applied = changes.iter().try_for_each(|change| content.apply(change));
        let compared = applied.and_then(|()| compare(&info.name, expected, &content.all()?));
        match compared {
            Ok(diff) if diff.missing.is_empty() && diff.unexpected.is_empty() => {}
            Ok(diff) => outcome.failures.push(CaseFailure::Differs(diff)),
            Err(error) => outcome.failures.push(broken(error)),
        }
    }
    Ok(outcome)
}

/// The given rows of every source, which is at its end after them.
fn given(prepared: &Prepared, case: &TestCase) -> Result<Vec<TableInput>> {
    let sources = &prepared.pipeline.spec.sources;
    let tables = prepared.tables.iter().enumerate().map(|(number, table)| {
        let rows = case.given.get(&table.name).map_or(&[][..], Vec::as_slice);
        let key = sources.get(&table.name).map_or(&[][..], |s| s.common().primary_key.as_slice());
        let rows = decode(rows, &table.schema, key)
            .map_err(|error| error.within(format!("given source `{}`", table.name)))?;
        Ok(TableInput { table: number, rows: vec![rows], finished: true })
    });
    tables.collect()
}

/// Rows of a test as rows of `schema`: columns that a row does not name are null.
///
/// # Errors
/// `Input` with the number of the first row that does not fit, and its column.
fn decode(rows: &[Row], schema: &SchemaRef, primary_key: &[String]) -> Result<Batch> {
    let decoder = JsonDecode::new(schema.clone(), primary_key)?;
    let mut batches = vec![Batch::empty(schema.clone())];
    for (i, row) in rows.iter().enumerate() {
        let text = serde_json::to_vec(row)
            .map_err(|error| Error::bug("a row of a test has no JSON form").source(error))?;
        let (batch, rejected) = decoder.decode(&text, None)?;
        if let Some(rejected) = rejected.first() {
            return Err(Error::input(format!("row {}", i + 1)).detail(rejected.message.clone()));
        }
        batches.push(batch);
    }
    Batch::concat(schema, &batches)
}

/// Compares the content of a view with the rows that are expected of it, as multisets.
fn compare(view: &str, expected: &[Row], content: &RecordBatch) -> Result<ViewDiff> {
    let named =
        |name: &String| expected.is_empty() || expected.iter().any(|r| r.contains_key(name));
    let schema = content.schema();
    let columns: Vec<usize> =
        (0..schema.fields().len()).filter(|&i| named(schema.field(i).name())).collect();
    let content = content.project(&columns)?;
    let fields: Vec<FieldRef> = content.schema().fields().iter().cloned().collect();
    let nullable = fields.iter().map(|f| f.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
    let wanted = decode(expected, &schema, &[])
        .map_err(|error| error.within(format!("expected view `{view}`")))?;
    let wanted = wanted.rows();

    let codecs = encode_columns(wanted, &content)?;
    let fits = |want: usize, have: usize| {
        fields.iter().zip(&codecs).all(|(field, (wanted, there))| {
            !expected[want].contains_key(field.name()) || wanted.row(want) == there.row(have)
        })
    };
    let Matching { of_wanted, of_there } = match_rows(wanted.num_rows(), content.num_rows(), fits);
    let lone = |matches: &[Option<usize>]| -> Vec<usize> {
        (0..matches.len()).filter(|&i| matches[i].is_none()).collect()
    };
    let (missing, unexpected) = (lone(&of_wanted), lone(&of_there));
    let missing = pick(wanted, &missing)?.into_iter().zip(missing).map(|(values, row)| {
        let cells = values.into_iter().zip(&fields);
        cells.map(|(v, field)| expected[row].contains_key(field.name()).then_some(v)).collect()
    });
    Ok(ViewDiff {
        view: view.to_owned(),
        missing: missing.collect(),
        unexpected: pick(&content, &unexpected)?,
        matching: of_there.iter().flatten().count(),
        columns: fields,
    })
}

/// Each column of both batches as comparable bytes.
fn encode_columns(wanted: &RecordBatch, there: &RecordBatch) -> Result<Vec<(Rows, Rows)>> {
    let encoded = wanted.columns().iter().zip(there.columns()).enumerate().map(|(i, pair)| {
        let codec = RowCodec::new(Arc::new(wanted.schema().project(&[i])?))?;
        let encode = |column: &ArrayRef| codec.encode(std::slice::from_ref(column));
        Ok((encode(pair.0)?, encode(pair.1)?))
    });
    encoded.collect()
}

/// Values of the numbered rows.
fn pick(rows: &RecordBatch, numbers: &[usize]) -> Result<Vec<Vec<Value>>> {
    let all = json::arrays(rows)?;
    let picked = numbers.iter().map(|&row| match all.get(row) {
        Some(Value::Array(values)) => values.clone(),
        _ => Vec::new(),
    });
    Ok(picked.collect())
}

/// Which wanted row goes with which row that is there.
struct Matching {
    of_wanted: Vec<Option<usize>>,
    of_there: Vec<Option<usize>>,
}

/// As many pairs of rows that fit as there can be. Rows that name different columns can fit several
/// others, so an earlier choice is changed where that makes room: augmenting paths (Berge 1957),
/// searched breadth first.
fn match_rows(wanted: usize, there: usize, fits: impl Fn(usize, usize) -> bool) -> Matching {
    let mut matching = Matching { of_wanted: vec![None; wanted], of_there: vec![None; there] };
    for start in 0..wanted {
        let mut reached_from = vec![None; there];
        let mut queue = VecDeque::from([start]);
        'search: while let Some(want) = queue.pop_front() {
            for have in 0..there {
                if reached_from[have].is_some() || !fits(want, have) {
                    continue;
                }
                reached_from[have] = Some(want);
                match matching.of_there[have] {
                    Some(rival) => queue.push_back(rival),
                    None => {
                        matching.flip(have, &reached_from);
                        break 'search;
                    }
                }
            }
        }
    }
    matching
}

impl Matching {
    /// Pairs `free` with the wanted row that reached it, and gives what that row had to the one that
    /// reached it there, and so on to the start of the path.
    fn flip(&mut self, free: usize, reached_from: &[Option<usize>]) {
        let mut next = Some(free);
        while let Some(have) = next {
            let Some(want) = reached_from[have] else { return };
            next = self.of_wanted[want].replace(have);
            self.of_there[have] = Some(want);
        }
    }
}

/// Names of columns that no source or view has.
fn check_columns(prepared: &Prepared) -> Result<(), LoadError> {
    let circuit = prepared.circuit(None)?;
    let sources: Vec<_> = prepared.tables.iter().map(|t| (t.name.as_str(), &t.schema)).collect();
    let views: Vec<_> = circuit.views().iter().map(|v| (v.name.as_str(), &v.schema)).collect();
    let mut problems = Vec::new();
    for (i, case) in prepared.pipeline.spec.tests.iter().enumerate() {
        let path = format!("tests[{i}]");
        let parts = [("given", &case.given, &sources), ("expect", &case.expect, &views)];
        for (part, rows, schemas) in parts {
            unknown_columns(prepared, &child(&path, part), rows, schemas, &mut problems);
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(prepared.pipeline.report(problems)) }
}

fn unknown_columns(
    prepared: &Prepared,
    path: &str,
    rows: &IndexMap<String, Vec<Row>>,
    schemas: &[(&str, &SchemaRef)],
    problems: &mut Vec<Problem>,
) {
    for (name, rows) in rows {
        let Some((_, schema)) = schemas.iter().find(|(known, _)| known == name) else { continue };
        let known: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        for (i, row) in rows.iter().enumerate() {
            for column in row.keys().filter(|column| !known.contains(&column.as_str())) {
                let path = child(&format!("{}[{i}]", child(path, name)), column);
                let message = format!("`{name}` has no column `{column}`");
                let mut problem = prepared.pipeline.problem(&path, None, message);
                if let Some(meant) = nearest(column, known.iter().copied()) {
                    problem = problem.label(format!("did you mean `{meant}`?"));
                }
                problems.push(problem.hint(format!("columns: {}", known.join(", "))));
            }
        }
    }
}

#[cfg(test)]
mod tests;
