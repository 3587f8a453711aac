#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};

use super::*;

/// Batches of rows `(id, name)` with weights.
fn batches(rows: &[&[(i64, &str, i64)]]) -> Vec<Batch> {
    let batch = |rows: &&[(i64, &str, i64)]| {
        let ids = Int64Array::from_iter_values(rows.iter().map(|r| r.0));
        let names = StringArray::from_iter_values(rows.iter().map(|r| r.1));
        let columns = [("id", Arc::new(ids) as _), ("name", Arc::new(names) as _)];
        let weights = Int64Array::from_iter_values(rows.iter().map(|r| r.2));
        Batch::new(RecordBatch::try_from_iter(columns).unwrap(), weights).unwrap()
    };
    rows.iter().map(batch).collect()
}

/// What an epoch of `rows` is written as: `+name`, `-name`, `before>after`.
fn written(key: Option<Vec<usize>>, rows: &[&[(i64, &str, i64)]]) -> String {
    let batches = batches(rows);
    let schema = self::batches(&[&[]])[0].schema();
    let order = ChangeOrder::new(&Shape { schema, key }).unwrap();
    let name = |at: At| {
        use arrow::array::AsArray;
        batches[at.batch].rows().column(1).as_string::<i32>().value(at.row).to_owned()
    };
    let mut lines = Vec::new();
    order
        .visit(&batches, |change| {
            lines.push(match change {
                Change::Create(after) => format!("+{}", name(after)),
                Change::Delete(before) => format!("-{}", name(before)),
                Change::Update { before, after } => format!("{}>{}", name(before), name(after)),
            });
            Ok(())
        })
        .unwrap();
    lines.join(" ")
}

#[test]
fn without_a_key_rows_are_written_as_given_and_as_often_as_they_count() {
    for (rows, expect) in [
        (&[&[(1, "a", 1), (2, "b", 1)][..]][..], "+a +b"),
        (&[&[(1, "a", 3)]], "+a +a +a"),
        (&[&[(1, "a", 2), (2, "b", -2)]], "+a +a -b -b"),
        (&[&[(1, "new", 1)], &[(1, "old", -1)]], "+new -old"),
        (&[&[]], ""),
        (&[], ""),
    ] {
        assert_eq!(written(None, rows), expect);
        if !expect.contains('-') {
            assert_eq!(written(Some(vec![0]), rows), expect, "a key changes nothing for inserts");
        }
    }
}

#[test]
fn a_key_pairs_deletions_with_insertions() {
    for (rows, expect) in [
        // A pair in either order, side by side, apart, and in different batches.
        (&[&[(1, "a", -1), (1, "b", 1)][..]][..], "a>b"),
        (&[&[(1, "b", 1), (1, "a", -1)]], "a>b"),
        (&[&[(1, "a", -1), (2, "x", 1), (1, "b", 1)]], "a>b +x"),
        (&[&[(1, "a", -1), (2, "x", -1)], &[(2, "y", 1), (1, "b", 1)]], "a>b x>y"),
        // No partner.
        (&[&[(1, "a", -1), (2, "b", 1)]], "-a +b"),
        // Steps in between cancel: only the first and the last content remain.
        (&[&[(1, "a", -1), (1, "b", 1), (1, "b", -1), (1, "c", 1)]], "a>c"),
        (&[&[(1, "b", 1), (1, "b", -1), (1, "b", 1)]], "+b"),
        (&[&[(1, "a", -1), (1, "a", 1), (1, "a", -1)]], "-a"),
        // More than one of a kind stays visible, deletions first.
        (&[&[(1, "c", 1), (1, "a", -1), (1, "b", -1)]], "-b a>c"),
        (&[&[(1, "a", -1), (1, "b", 2)]], "a>b +b"),
    ] {
        assert_eq!(written(Some(vec![0]), rows), expect);
    }
}

#[test]
fn an_empty_key_is_no_key() {
    assert_eq!(written(Some(vec![]), &[&[(1, "a", -1), (1, "b", 1)]]), "-a +b");
}
