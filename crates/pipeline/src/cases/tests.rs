#![allow(clippy::unwrap_used)]
use std::path::Path;

use serde_json::json;

use super::*;
use crate::file::Pipeline;
use crate::vars::Vars;

/// A source that needs no data, and views of several types.
const PIPELINE: &str = "
name: orders
sources:
  orders:
    type: http
    columns: {id: BIGINT, customer: TEXT, amount: 'DECIMAL(10, 2)', weight: DOUBLE, at: TIMESTAMP}
    primary_key: [id]
  notes: {type: http, columns: {text: TEXT}}
views:
  totals: SELECT customer, count(*) AS orders, sum(amount) AS total FROM orders GROUP BY customer
  weights: SELECT weight, at FROM orders
  texts: SELECT text FROM notes
  daily:
    sql: |
      SELECT window_start, count(*) AS orders
      FROM tumble(orders, at, INTERVAL '1 day') GROUP BY window_start, window_end
tests:
";

fn prepared(tests: &str) -> Prepared {
    let text = format!("{PIPELINE}{tests}");
    let pipeline = Pipeline::parse(&text, Path::new("nowhere"), &Vars::default());
    Prepared::new(pipeline.unwrap()).unwrap()
}

/// The only case's outcome.
fn outcome(given: serde_json::Value, expect: serde_json::Value) -> Outcome {
    let case = json!([{"name": "it", "given": given, "expect": expect}]);
    let mut outcomes = run(&prepared(&format!("  {case}"))).unwrap();
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

fn diff(outcome: &Outcome) -> &ViewDiff {
    match outcome.failures.as_slice() {
        [CaseFailure::Differs(diff)] => diff,
        other => panic!("one difference expected: {other:?}"),
    }
}

#[test]
fn values_are_compared_by_their_column_s_type() {
    let given = json!({"orders": [
        {"id": 1, "customer": "ann", "amount": "1.50", "weight": 15, "at": "2026-01-01 00:00:00"},
        {"id": 2, "customer": "ann", "amount": 2.5, "weight": null, "at": "2026-01-01T01:00:00Z"},
    ]});
    let expect = json!({
        "totals": [{"customer": "ann", "orders": 2, "total": "4.00"}],
        "weights": [
            {"weight": null, "at": "2026-01-01T01:00:00.000Z"},
            {"weight": 15.0, "at": "2026-01-01T00:00:00Z"},
        ],
        "daily": [{"window_start": "2026-01-01", "orders": 2}],
        "texts": [],
    });
    let outcome = outcome(given, expect);
    assert!(outcome.passed(), "{:?}", outcome.failures);
}

#[test]
fn only_named_columns_are_compared_and_repeated_rows_count() {
    let given = json!({"notes": [{"text": "a"}, {"text": "a"}, {"text": "b"}]});
    let all = json!({"texts": [{"text": "a"}, {"text": "b"}, {"text": "a"}]});
    assert!(outcome(given.clone(), all).passed());

    let one_short = outcome(given.clone(), json!({"texts": [{"text": "a"}, {"text": "b"}]}));
    assert_eq!(diff(&one_short).unexpected, [[json!("a")]]);
    assert_eq!((diff(&one_short).missing.len(), diff(&one_short).matching), (0, 2));

    let none = outcome(given, json!({"texts": []}));
    assert_eq!(diff(&none).unexpected.len(), 3);

    let given = json!({"orders": [{"id": 1, "customer": "ann", "amount": 1}]});
    assert!(outcome(given, json!({"totals": [{"orders": 1}]})).passed());
}

#[test]
fn missing_rows_show_what_they_name() {
    let given = json!({"orders": [{"id": 1, "customer": "ann", "amount": 1}]});
    let expect = json!({"totals": [{"customer": "bob"}, {"customer": "ann", "total": 1}]});
    let outcome = outcome(given, expect);
    let diff = diff(&outcome);
    let columns: Vec<_> = diff.columns.iter().map(|field| field.name().as_str()).collect();
    assert_eq!(columns, ["customer", "total"]);
    assert_eq!(diff.missing, [[Some(json!("bob")), None]]);
    assert_eq!((diff.unexpected.len(), diff.matching), (0, 1));
}

#[test]
fn rows_that_name_different_columns_are_paired_as_well_as_can_be() {
    let given = json!({"orders": [
        {"id": 1, "customer": "ann", "amount": 1},
        {"id": 2, "customer": "bob", "amount": 2},
        {"id": 3, "customer": "cem", "amount": 3},
    ]});
    // Each vague row fits the row that only the next one fits, and must make way for it.
    let expect = json!({"totals": [
        {"orders": 1}, {"orders": 1, "customer": "ann"}, {"customer": "bob"},
    ]});
    let outcome = outcome(given, expect);
    assert!(outcome.passed(), "{:?}", outcome.failures);
}

#[test]
fn a_key_that_is_given_twice_is_an_update() {
    let given = json!({"orders": [
        {"id": 1, "customer": "ann", "amount": 1}, {"id": 1, "customer": "ann", "amount": 5},
    ]});
    assert!(outcome(given, json!({"totals": [{"orders": 1, "total": 5}]})).passed());
}

#[test]
fn rows_that_do_not_fit_say_which_and_why() {
    for (given, expect, parts) in [
        (
            json!({"orders": [{"id": 1}, {"id": 2, "amount": "much"}]}),
            json!({"totals": []}),
            ["given source `orders`: row 2", "column `amount`"],
        ),
        (
            json!({"orders": [{"customer": "ann"}]}),
            json!({"totals": []}),
            ["given source `orders`: row 1", "`id`"],
        ),
        (
            json!({}),
            json!({"totals": [{"orders": "two"}]}),
            ["expected view `totals`: row 1", "column `orders`"],
        ),
    ] {
        let outcome = outcome(given, expect);
        let [CaseFailure::Broken(message)] = outcome.failures.as_slice() else {
            panic!("{:?}", outcome.failures);
        };
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn columns_that_are_not_there_are_problems_of_the_file() {
    let tests = "
  - name: misspelt
    given:
      orders: [{id: 1, custmer: ann}]
    expect:
      totals: [{totl: 3}]
";
    let report = run(&prepared(tests)).unwrap_err().to_string();
    assert!(report.contains("`orders` has no column `custmer`"), "{report}");
    assert!(report.contains("did you mean `customer`?"), "{report}");
    assert!(report.contains("`totals` has no column `totl`"), "{report}");
}
