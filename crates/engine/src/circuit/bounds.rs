//! What is known of the columns of a node's later changes, and so which of its state no later change
//! can reach.
//!
//! A table with event time turns away rows from before its watermark. If rows are never taken away
//! from it, every later change has at least that time in the column of event time; and so it goes on
//! through whatever neither falls behind nor brings old rows back.

use std::sync::Arc;

use arrow::array::{Array, AsArray, ListArray};
use arrow::datatypes::{DataType, Field, IntervalMonthDayNanoType, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator as Operation;
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use datafusion::physical_plan::PhysicalExpr;
use syncline_change::Result;

use super::node::{Node, Work};
use crate::state::{Floor, FloorPart, Place, Release, Term, Timed};

/// An expression that rows are grouped by, and its type.
pub(super) type Key = (Arc<dyn PhysicalExpr>, DataType);

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// What is known of a column of a node's output.
#[derive(Clone, Debug, Default)]
pub(crate) enum Known {
    #[default]
    Nothing,
    /// Later changes have no time below the floor in it.
    Timed(Floor),
    /// It is an interval, one of some constants, of which this is the longest.
    AtMost(ScalarValue),
    /// It is a list of such constants.
    ListOf(ScalarValue),
}

impl Known {
    pub(crate) fn floor(&self) -> Option<&Floor> {
        match self {
            Self::Timed(floor) => Some(floor),
            _ => None,
        }
    }
}

/// The columns of a table whose event time is in the column `time` and whose rows are only ever added.
pub(super) fn of_table(table: usize, schema: &SchemaRef, time: usize) -> Vec<Known> {
    of_closed(&[table], schema, time)
}

/// The columns of rows that come out when the watermarks of `tables` have passed their time in the
/// column `time`.
pub(super) fn of_closed(tables: &[usize], schema: &SchemaRef, time: usize) -> Vec<Known> {
    let time_type = schema.field(time).data_type();
    let parts = tables.iter().map(|&table| event_time(table, time_type)).collect();
    let mut known = vec![Known::Nothing; schema.fields().len()];
    known[time] = Known::Timed(Floor { parts });
    known
}

fn event_time(table: usize, time: &DataType) -> FloorPart {
    FloorPart { table, time: time.clone(), expr: Arc::new(Column::new("time", 0)) }
}

/// What is known of an expression over columns.
pub(super) fn of_expr(expr: &Arc<dyn PhysicalExpr>, known: &[Known]) -> Known {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return known.get(column.index()).cloned().unwrap_or_default();
    }
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        return match literal.value() {
            ScalarValue::List(list) => longest(list).map_or(Known::Nothing, Known::ListOf),
            _ => Known::Nothing,
        };
    }
    floor_of(expr, known).map_or(Known::Nothing, Known::Timed)
}

/// The longest of a constant list of intervals that do not depend on the month.
fn longest(list: &ListArray) -> Option<ScalarValue> {
    let values = list.values();
    let intervals = values.as_primitive_opt::<IntervalMonthDayNanoType>()?;
    if intervals.null_count() > 0 {
        return None;
    }
    let nanos = intervals.values().iter().map(|interval| {
        let days = NANOS_PER_DAY.checked_mul(i64::from(interval.days))?;
        (interval.months == 0).then(|| days.checked_add(interval.nanoseconds))?
    });
    let longest = nanos.collect::<Option<Vec<i64>>>()?.into_iter().max()?;
    Some(ScalarValue::new_interval_mdn(0, 0, longest))
}

/// The floor of an expression that never falls as a column that has one rises.
fn floor_of(expr: &Arc<dyn PhysicalExpr>, known: &[Known]) -> Option<Floor> {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return known.get(column.index())?.floor().cloned();
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let floor = floor_of(cast.expr(), known)?;
        let from = type_of(&floor)?;
        return keeps_order(&from, cast.cast_type()).then(|| over(expr, 0, vec![], &floor))?;
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let (left, right) = (binary.left(), binary.right());
        let (time, span, at) = match binary.op() {
            Operation::Plus if is_interval(left) => (right, left.clone(), 1),
            Operation::Plus if is_interval(right) => (left, right.clone(), 0),
            Operation::Minus => (left, longest_span(right, known)?, 0),
            _ => return None,
        };
        let floor = floor_of(time, known)?;
        if !is_plain(&type_of(&floor)?) || has_months(&span) && !is_of_days(&floor) {
            return None;
        }
        return over(expr, at, vec![span], &floor);
    }
    let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
    let rises = matches!(call.name(), "date_bin" | "date_trunc");
    let [size, time, rest @ ..] = call.args() else { return None };
    let is_constant = |expr: &Arc<dyn PhysicalExpr>| expr.downcast_ref::<Literal>().is_some();
    if !rises || !is_constant(size) || !rest.iter().all(is_constant) {
        return None;
    }
    let floor = floor_of(time, known)?;
    if !is_plain(&type_of(&floor)?) {
        return None;
    }
    let others = [size].into_iter().chain(rest).cloned().collect();
    over(expr, 1, others, &floor)
}

/// `expr` with the floor in place of its child number `at`, and `others` in place of its others.
fn over(
    expr: &Arc<dyn PhysicalExpr>,
    at: usize,
    others: Vec<Arc<dyn PhysicalExpr>>,
    floor: &Floor,
) -> Option<Floor> {
    let part = |part: &FloorPart| {
        let mut children = others.clone();
        children.insert(at, part.expr.clone());
        let expr = expr.clone().with_new_children(children).ok()?;
        Some(FloorPart { expr, ..part.clone() })
    };
    Some(Floor { parts: floor.parts.iter().map(part).collect::<Option<_>>()? })
}

/// The type of what a floor is of.
fn type_of(floor: &Floor) -> Option<DataType> {
    let part = floor.parts.first()?;
    let field = Field::new("time", part.time.clone(), true);
    part.expr.data_type(&Schema::new(vec![field])).ok()
}

fn is_interval(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<Literal>().is_some_and(|literal| {
        let of = literal.value().data_type();
        matches!(of, DataType::Interval(_) | DataType::Duration(_)) && !literal.value().is_null()
    })
}

/// Whether the length of a constant interval depends on the month.
fn has_months(span: &Arc<dyn PhysicalExpr>) -> bool {
    match span.downcast_ref::<Literal>().map(Literal::value) {
        Some(ScalarValue::IntervalMonthDayNano(Some(span))) => span.months != 0,
        Some(ScalarValue::IntervalYearMonth(_)) => true,
        _ => false,
    }
}

/// Whether what a floor is of is always the beginning of a day. Months that are added to other times
/// do not keep their order: January 29th at 13:00 becomes February 28th at 13:00, and the 30th at
/// 12:00 the 28th at 12:00.
fn is_of_days(floor: &Floor) -> bool {
    type_of(floor) == Some(DataType::Date32)
        || floor.parts.iter().all(|part| begins_a_day(&part.expr))
}

fn begins_a_day(expr: &Arc<dyn PhysicalExpr>) -> bool {
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        return *cast.cast_type() == DataType::Date32 || begins_a_day(cast.expr());
    }
    let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() else { return false };
    let [size, _] = call.args() else { return false };
    match (call.name(), size.downcast_ref::<Literal>().map(Literal::value)) {
        ("date_bin", Some(ScalarValue::IntervalMonthDayNano(Some(size)))) => {
            size.nanoseconds % NANOS_PER_DAY == 0
        }
        ("date_trunc", Some(size)) => {
            let is_long = |size: &str| {
                let long = ["day", "week", "month", "quarter", "year"];
                long.iter().any(|long| long.eq_ignore_ascii_case(size))
            };
            size.try_as_str().flatten().is_some_and(is_long)
        }
        _ => false,
    }
}

/// What is taken away from a time at most: a constant, or the longest of some.
fn longest_span(expr: &Arc<dyn PhysicalExpr>, known: &[Known]) -> Option<Arc<dyn PhysicalExpr>> {
    if is_interval(expr) {
        return Some(expr.clone());
    }
    let column = expr.downcast_ref::<Column>()?;
    match known.get(column.index())? {
        Known::AtMost(span) => Some(Arc::new(Literal::new(span.clone()))),
        _ => None,
    }
}

/// Whether a day has 24 hours in it: local times may go back when a clock is put back.
fn is_plain(of: &DataType) -> bool {
    match of {
        DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64 => true,
        DataType::Timestamp(_, Some(zone)) => matches!(zone.as_ref(), "UTC" | "+00:00" | "Z"),
        _ => false,
    }
}

fn keeps_order(from: &DataType, to: &DataType) -> bool {
    is_plain(from) && (is_plain(to) || *to == DataType::Int64)
}

/// Of columns that are computed by `columns`, or are the same without.
pub(super) fn mapped(columns: Option<&[Arc<dyn PhysicalExpr>]>, known: &[Known]) -> Vec<Known> {
    match columns {
        None => known.to_vec(),
        Some(columns) => columns.iter().map(|column| of_expr(column, known)).collect(),
    }
}

/// Of a union: what is known of all inputs.
pub(super) fn united(inputs: &[&[Known]]) -> Vec<Known> {
    let Some((first, rest)) = inputs.split_first() else { return vec![] };
    let column = |(i, known): (usize, &Known)| {
        let mut parts = known.floor()?.parts.clone();
        for other in rest {
            parts.extend(other.get(i)?.floor()?.parts.iter().cloned());
        }
        Some(Known::Timed(Floor { parts }))
    };
    first.iter().enumerate().map(|of| column(of).unwrap_or_default()).collect()
}

/// Of an operator that looks at a group as a whole when one of its rows changes: by what it will not
/// look at a group of its input again, and what is known of its rows' columns.
pub(super) fn by_group(keys: &[Key], known: &[Known]) -> (Option<Term>, Vec<Known>) {
    (term(keys, known), grouped(keys, known))
}

/// Old rows of a group may come back, but only with the times that tell the group apart.
fn grouped(keys: &[Key], known: &[Known]) -> Vec<Known> {
    let is_key = |i: usize| {
        let mut columns = keys.iter().filter_map(|(key, _)| key.downcast_ref::<Column>());
        columns.any(|key| key.index() == i)
    };
    let column = |(i, known): (usize, &Known)| match known {
        Known::Timed(_) if is_key(i) => known.clone(),
        _ => Known::Nothing,
    };
    known.iter().enumerate().map(column).collect()
}

/// The first key by which groups of an input can be let go, as a term over encoded keys.
pub(super) fn term(keys: &[Key], known: &[Known]) -> Option<Term> {
    let types: Vec<DataType> = keys.iter().map(|(_, of)| of.clone()).collect();
    keys.iter().enumerate().find_map(|(i, (key, of))| {
        let floor = floor_of(key, known)?;
        (type_of(&floor)? == *of).then_some(())?;
        Some(Term { floor, of: Timed::Keys(Place::new(&types, i)?), data_type: of.clone() })
    })
}

/// Sessions of a gap that no later row belongs to, of rows whose times are `known`.
pub(super) fn of_sessions(known: &Known, gap: i64, data_type: &DataType) -> Option<Term> {
    let floor = known.floor()?.clone();
    let is_fit = type_of(&floor)? == *data_type;
    is_fit.then(|| Term { floor, of: Timed::Sessions { gap }, data_type: data_type.clone() })
}

/// What a time has at least in later changes of its side of a join, and in those of the other side
/// that match it because it is not before their `earlier` time.
pub(super) fn of_order(
    (later, known): (&Arc<dyn PhysicalExpr>, &[Known]),
    (earlier, others): (&Arc<dyn PhysicalExpr>, &[Known]),
    data_type: &DataType,
) -> Option<Floor> {
    let (own, other) = (floor_of(later, known)?, floor_of(earlier, others)?);
    let is_fit = type_of(&own)? == *data_type && type_of(&other)? == *data_type;
    is_fit.then(|| least(&own, &other))
}

/// The least of two floors, and so what a value has at least that comes from either side.
fn least(a: &Floor, b: &Floor) -> Floor {
    Floor { parts: a.parts.iter().chain(&b.parts).cloned().collect() }
}

/// The two sides of a join: the keys that are equal, and what is known of the columns.
pub(super) struct Sides<'a> {
    pub(super) keys: [&'a [Key]; 2],
    pub(super) known: [&'a [Known]; 2],
}

impl Sides<'_> {
    /// The floor of a key that has one on both sides: a later change of either has at least that much
    /// in it, and what it is paired with has the same.
    fn floor(&self, key: usize) -> Option<Floor> {
        let [left, right] = [0, 1].map(|side| floor_of(&self.keys[side][key].0, self.known[side]));
        Some(least(&left?, &right?))
    }

    /// By which key rows of both sides can be let go. An old row of either would need a later one of
    /// the same key, on this side or the other, to matter again.
    pub(super) fn term(&self) -> Option<Term> {
        let types: Vec<DataType> = self.keys[0].iter().map(|(_, of)| of.clone()).collect();
        (0..types.len()).find_map(|i| {
            let (floor, data_type) = (self.floor(i)?, types[i].clone());
            (type_of(&floor)? == data_type).then_some(())?;
            Some(Term { floor, of: Timed::Keys(Place::new(&types, i)?), data_type })
        })
    }

    /// What is known of the columns of one side in the output: a pair brings old rows back, but only
    /// with times that the later row has too.
    pub(super) fn output(&self, side: usize) -> Vec<Known> {
        let mut known = vec![Known::Nothing; self.known[side].len()];
        for (i, (key, _)) in self.keys[side].iter().enumerate() {
            if let (Some(column), Some(floor)) = (key.downcast_ref::<Column>(), self.floor(i)) {
                known[column.index()] = Known::Timed(floor);
            }
        }
        known
    }
}

/// Has every arrangement let go of what none of its readers will look at again.
pub(super) fn release_arrangements(nodes: &mut [Node]) -> Result<()> {
    for arrangement in 0..nodes.len() {
        if nodes[arrangement].arranged().is_none() {
            continue;
        }
        let readers = nodes.iter().flat_map(|node| {
            let inputs = node.inputs.iter().enumerate().filter(|(_, input)| **input == arrangement);
            inputs.map(|(place, _)| node.claims.get(place).cloned().flatten())
        });
        let Some(terms) = readers.collect::<Option<Vec<Term>>>() else { continue };
        if !terms.is_empty() {
            nodes[arrangement].let_go(terms)?;
        }
    }
    Ok(())
}

impl Node {
    /// Has the node let go of the state that is below the floors of all of `terms`.
    pub(super) fn let_go(&mut self, terms: Vec<Term>) -> Result<()> {
        let tables = terms.iter().flat_map(|term| term.floor.tables()).collect();
        let Some(release) = Release::new(terms)? else { return Ok(()) };
        self.released_by = tables;
        if let Work::Operator(operator) = &mut self.work {
            operator.let_go(release);
        }
        Ok(())
    }
}
