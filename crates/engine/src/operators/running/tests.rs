#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use arrow::array::Int64Array;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::PhysicalExpr;

use super::*;
use crate::operators::{Arrange, Arrangement, Function, SortTerm, Workers};
use crate::state::Memory;

/// Sums of `b` by `g`, running in the order of `a`.
struct Sums {
    arrange: Arrange,
    running: Running,
    epochs: u64,
}

/// What an epoch made of changes.
#[derive(Debug, PartialEq, Eq)]
struct Done {
    /// Rows that were looked at.
    touched: usize,
    /// Rows that were put out.
    shown: usize,
}

impl Sums {
    fn new(by_rows: bool) -> Self {
        let field = |name: &str| Field::new(name, DataType::Int64, true);
        let schema = Arc::new(Schema::new(["g", "a", "b"].map(field).to_vec()));
        let column = |i: usize| -> Arc<dyn PhysicalExpr> {
            Arc::new(Column::new(schema.field(i).name(), i))
        };
        let terms: &[usize] = if by_rows { &[1, 0, 2] } else { &[1] };
        let term = |&i: &usize| SortTerm {
            expr: column(i),
            data_type: DataType::Int64,
            options: Default::default(),
        };
        let by = Arrangement {
            order: terms.iter().map(term).collect(),
            ..Arrangement::by(vec![(column(0), DataType::Int64)])
        };
        let call = AggregateCall {
            function: Function::Sum,
            distinct: false,
            arguments: vec![column(2)],
            argument_types: vec![DataType::Int64],
            result: DataType::Int64,
            filter: None,
        };
        let shown = Arc::new(Schema::new(["g", "a", "b", "sum"].map(field).to_vec()));
        let frames = Frames { calls: vec![call], by_rows, schema: shown, name: "sums".to_owned() };
        let name = ("rows".to_owned(), "view".to_owned());
        let arrange = Arrange::new(name, by, schema, &Arc::new(Memory::default())).unwrap();
        Self { arrange, running: Running::new(frames).unwrap(), epochs: 0 }
    }

    /// Rows of `g`, `a` and `b`, and how often each comes or goes.
    fn change(&mut self, rows: &[([i64; 3], i64)]) -> Done {
        self.epochs += 1;
        let columns = (0..3).map(|i| {
            let values = rows.iter().map(|(row, _)| row[i]);
            Arc::new(Int64Array::from_iter_values(values)) as ArrayRef
        });
        let schema = self.running.frames.schema.project(&[0, 1, 2]).unwrap();
        let batch = RecordBatch::try_new(Arc::new(schema), columns.collect()).unwrap();
        let weights = Int64Array::from_iter_values(rows.iter().map(|(_, weight)| *weight));
        let changes = [Batch::new(batch, weights).unwrap()];
        let mut epoch = Epoch {
            number: self.epochs,
            time_us: 0,
            watermarks: &[],
            idle: &[],
            passed: &[],
            workers: &Workers::new(None),
            rejected: &mut vec![],
        };
        let change = Change { batches: &changes, arranged: None };
        let changes = self.arrange.step(&mut epoch, &[change]).unwrap();
        let arranged = self.arrange.arranged().unwrap();
        let mut touched = 0;
        for partition in 0..PARTITIONS {
            let Some(delta) = arranged.delta(self.epochs, partition) else { continue };
            let mut found = Touched::default();
            for group in 0..delta.run.groups() {
                let (hash, key) = (delta.run.hash(group), delta.run.key(group));
                let before = arranged.before(self.epochs, partition, hash, key);
                let by_rows = self.running.frames.by_rows;
                found.add(by_rows, arranged.codec(), 0, (delta, group), before).unwrap();
            }
            touched += found.entries.len();
        }
        let change = Change { batches: &changes, arranged: Some(arranged) };
        let shown = self.running.step(&mut epoch, &[change]).unwrap();
        Done { touched, shown: shown.iter().map(Batch::num_rows).sum() }
    }
}

#[test]
fn appended_rows_touch_no_others() {
    for by_rows in [true, false] {
        let mut sums = Sums::new(by_rows);
        let many: Vec<([i64; 3], i64)> = (0..5_000).map(|i| ([i % 2, i, 1], 1)).collect();
        assert_eq!(sums.change(&many), Done { touched: 5_000, shown: 5_000 });
        assert_eq!(sums.change(&[([0, 9_000, 1], 1)]), Done { touched: 1, shown: 1 });
        assert_eq!(sums.change(&[([1, 9_000, 1], 1)]), Done { touched: 1, shown: 1 });
        // The last row goes, and comes again as another.
        let again = [([1, 9_000, 1], -1), ([1, 9_001, 3], 1)];
        assert_eq!(sums.change(&again), Done { touched: 2, shown: 2 });
        // In front of ten others, each with another sum then.
        let expect = Done { touched: 11, shown: 21 };
        assert_eq!(sums.change(&[([1, 4_982, 1], 1)]), expect);
        // What makes no difference to those behind it.
        assert_eq!(sums.change(&[([1, 4_980, 0], 1)]).shown, 1);
        assert_eq!(sums.running.state_rows(), 2);
    }
}

#[test]
fn a_partition_without_rows_is_forgotten() {
    for by_rows in [true, false] {
        let mut sums = Sums::new(by_rows);
        let rows: Vec<([i64; 3], i64)> = (0..40).map(|i| ([i % 4, i, 1], 2)).collect();
        sums.change(&rows);
        assert_eq!(sums.running.state_rows(), 4);
        let gone: Vec<([i64; 3], i64)> = rows.iter().map(|(row, _)| (*row, -2)).collect();
        let shown = if by_rows { 80 } else { 40 };
        assert_eq!(sums.change(&gone).shown, shown);
        assert_eq!(sums.running.state_rows(), 0);
    }
}

/// Of rows that tie with the first that changes only those are touched that change, and the others are
/// put out if their result is another.
#[test]
fn peers_that_stay_are_not_computed() {
    let mut sums = Sums::new(false);
    let many: Vec<([i64; 3], i64)> = (0..3_000).map(|i| ([0, 7, i], 1)).collect();
    assert_eq!(sums.change(&many), Done { touched: 3_000, shown: 3_000 });
    assert_eq!(sums.change(&[([0, 7, 5_000], 1)]), Done { touched: 1, shown: 6_001 });
    assert_eq!(sums.change(&[([0, 7, 0], 1)]), Done { touched: 1, shown: 1 });
}
