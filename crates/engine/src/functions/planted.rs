//! A check that never fails checks nothing: functions that do not repeat are planted, and the rig that
//! compares every view with the batch engine has to notice.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{Array, ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::prelude::SessionContext;

#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "the integration tests' own")]
#[path = "../../tests/it/rig.rs"]
mod rig;

thread_local! {
    static PLANTED: RefCell<Option<ScalarUDF>> = const { RefCell::new(None) };
}

/// Registers what the running test has planted, if anything.
pub(crate) fn register(context: &SessionContext) {
    PLANTED.with_borrow(|planted| planted.iter().for_each(|f| context.register_udf(f.clone())));
}

/// `planted(k)`, computed by `function` of how many rows were computed before, and of the argument.
fn plant(function: fn(i64, i64) -> i64) {
    static ROWS: AtomicI64 = AtomicI64::new(0);
    let compute = move |arguments: &[ColumnarValue]| {
        let arguments = ColumnarValue::values_to_arrays(arguments)?;
        let values = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(
            arguments[0].as_ref() as &dyn Array,
        );
        let next = |value: Option<i64>| {
            Some(function(ROWS.fetch_add(1, Ordering::Relaxed), value.unwrap_or(-1)))
        };
        let result: ArrayRef = Arc::new(values.iter().map(next).collect::<Int64Array>());
        Ok(ColumnarValue::Array(result))
    };
    let (int, volatility) = (DataType::Int64, Volatility::Immutable);
    let made = create_udf("planted", vec![int.clone()], int, volatility, Arc::new(compute));
    PLANTED.set(Some(made));
}

/// What the rig says of `sql`, if it says anything.
fn complaint(sql: &str) -> Option<String> {
    let run = AssertUnwindSafe(|| rig::check_with(rig::Setting::APPENDS, sql, &[]));
    let panic = catch_unwind(run).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
}

#[test]
fn the_rig_notices_what_does_not_repeat() {
    let queries = [
        "SELECT k, planted(k) AS p FROM t",
        "SELECT g, sum(planted(k)) AS s FROM t GROUP BY g",
        "SELECT k FROM t ORDER BY planted(k) DESC LIMIT 2",
    ];
    plant(|rows, _| rows);
    for sql in queries {
        let complaint = complaint(sql).unwrap_or_default();
        assert!(complaint.contains("after epoch"), "{sql}: {complaint:?}");
    }
    // What only the argument decides passes the same queries: it is not the function as such.
    plant(|_, value| value * 3);
    for sql in queries {
        assert_eq!(complaint(sql), None, "{sql}");
    }
}
