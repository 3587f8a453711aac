//! Tables with random columns, and the rows that come and go in them.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use syncline_change::Batch;
use syncline_engine::TableDef;

use crate::random::Random;

/// What the queries need to know of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int {
        bits: u8,
        signed: bool,
    },
    Float {
        bits: u8,
    },
    Decimal {
        precision: u8,
    },
    Text,
    Bool,
    Date,
    Time,
    /// Lists, intervals and what else is only handed on.
    Other,
}

pub(super) const BIGINT: Kind = Kind::Int { bits: 64, signed: true };
pub(super) const DOUBLE: Kind = Kind::Float { bits: 64 };
/// Every decimal has two digits behind the point.
pub(super) const SCALE: i8 = 2;

const KINDS: [(usize, Kind); 16] = [
    (4, BIGINT),
    (2, Kind::Int { bits: 32, signed: true }),
    (1, Kind::Int { bits: 16, signed: true }),
    (1, Kind::Int { bits: 8, signed: true }),
    (1, Kind::Int { bits: 64, signed: false }),
    (1, Kind::Int { bits: 32, signed: false }),
    (1, Kind::Int { bits: 16, signed: false }),
    (1, Kind::Int { bits: 8, signed: false }),
    (4, DOUBLE),
    (1, Kind::Float { bits: 32 }),
    (2, Kind::Decimal { precision: 10 }),
    (1, Kind::Decimal { precision: 30 }),
    (4, Kind::Text),
    (2, Kind::Bool),
    (1, Kind::Date),
    (2, Kind::Time),
];

/// 2026-01-01, as a day and in microseconds.
const FIRST_DAY: i64 = 20_454;
const FIRST_TIME: i64 = FIRST_DAY * 86_400_000_000;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    /// Integers, decimals without their point, days, microseconds.
    Number(i128),
    Float(f64),
    Text(&'static str),
    Bool(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => write!(f, "NULL"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Float(float) => write!(f, "{float:?}"),
            Self::Text(text) => write!(f, "'{text}'"),
            Self::Bool(truth) => write!(f, "{truth}"),
        }
    }
}

pub(super) type Row = Vec<Value>;

/// A row that comes (`weight` above zero) or goes, so often.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) table: usize,
    pub(super) row: Row,
    pub(super) weight: i64,
}

/// What happens, epoch by epoch.
pub(super) type Story = Vec<Vec<Event>>;

#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) nullable: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    pub(super) key: Option<Vec<usize>>,
    pub(super) deletes: bool,
}

impl Kind {
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::Int { bits: 8, signed: true } => DataType::Int8,
            Self::Int { bits: 16, signed: true } => DataType::Int16,
            Self::Int { bits: 32, signed: true } => DataType::Int32,
            Self::Int { signed: true, .. } => DataType::Int64,
            Self::Int { bits: 8, .. } => DataType::UInt8,
            Self::Int { bits: 16, .. } => DataType::UInt16,
            Self::Int { bits: 32, .. } => DataType::UInt32,
            Self::Int { .. } => DataType::UInt64,
            Self::Float { bits: 32 } => DataType::Float32,
            Self::Float { .. } => DataType::Float64,
            Self::Decimal { precision } => DataType::Decimal128(precision, SCALE),
            Self::Text => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Other => DataType::Null,
        }
    }

    /// A value from a small domain, now and then one from the edge of the type.
    pub(super) fn value(self, random: &mut Random, wide: bool) -> Value {
        let spread = if wide { 400 } else { 4 };
        match self {
            Self::Int { bits, signed } => Value::Number(integer(random, bits, signed, spread)),
            Self::Float { bits } => Value::Float(float(random, bits)),
            Self::Decimal { .. } => {
                let edge = *random.pick(&[99_999_999, -99_999_999, 1]);
                let small = random.between(-spread, spread) * 25;
                Value::Number(i128::from(if random.chance(8) { edge } else { small }))
            }
            Self::Text => {
                let texts = ["a", "b", "ab", "", "B", "ä", "7", "-1"];
                Value::Text(texts[random.below(texts.len())])
            }
            Self::Bool => Value::Bool(random.chance(50)),
            Self::Date => Value::Number(i128::from(FIRST_DAY + random.between(0, 3))),
            Self::Time => {
                let at = FIRST_TIME + random.between(0, 12) * 25_000_001;
                Value::Number(i128::from(at))
            }
            Self::Other => Value::Null,
        }
    }

    fn array(self, values: &[&Value]) -> ArrayRef {
        let numbers = || values.iter().map(|value| number(value));
        let floats = || {
            values.iter().map(|value| match value {
                Value::Float(float) => Some(*float),
                _ => None,
            })
        };
        macro_rules! integers {
            ($array:ty, $native:ty) => {
                Arc::new(numbers().map(|n| n.map(|n| n as $native)).collect::<$array>())
            };
        }
        match self.data_type() {
            DataType::Int8 => integers!(Int8Array, i8),
            DataType::Int16 => integers!(Int16Array, i16),
            DataType::Int32 => integers!(Int32Array, i32),
            DataType::Int64 => integers!(Int64Array, i64),
            DataType::UInt8 => integers!(UInt8Array, u8),
            DataType::UInt16 => integers!(UInt16Array, u16),
            DataType::UInt32 => integers!(UInt32Array, u32),
            DataType::UInt64 => integers!(UInt64Array, u64),
            DataType::Float32 => {
                Arc::new(floats().map(|v| v.map(|v| v as f32)).collect::<Float32Array>())
            }
            DataType::Float64 => Arc::new(floats().collect::<Float64Array>()),
            DataType::Decimal128(precision, scale) => {
                let plain: Decimal128Array = numbers().collect();
                Arc::new(plain.with_precision_and_scale(precision, scale).unwrap())
            }
            DataType::Boolean => {
                Arc::new(BooleanArray::from_iter(values.iter().map(|v| match v {
                    Value::Bool(truth) => Some(*truth),
                    _ => None,
                })))
            }
            DataType::Date32 => integers!(Date32Array, i32),
            DataType::Timestamp(_, _) => integers!(TimestampMicrosecondArray, i64),
            _ => Arc::new(StringArray::from_iter(values.iter().map(|value| match value {
                Value::Text(text) => Some(*text),
                _ => None,
            }))),
        }
    }
}

fn number(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

fn integer(random: &mut Random, bits: u8, signed: bool, spread: i64) -> i128 {
    let (min, max) = match signed {
        true => (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1),
        false => (0, (1_i128 << bits) - 1),
    };
    match random.below(12) {
        0 => *random.pick(&[min, max, max - 1]),
        _ => i128::from(random.between(-spread, spread)).clamp(min, max),
    }
}

fn float(random: &mut Random, bits: u8) -> f64 {
    let value = match random.below(10) {
        0 => *random.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY]),
        1 => *random.pick(&[0.1, 1e300, -1e300, 5e-324, f64::MAX, 1e16]),
        _ => random.between(-6, 6) as f64 / 4.0,
    };
    if bits == 32 { f64::from(value as f32) } else { value }
}

impl Table {
    pub(super) fn new(random: &mut Random, name: &str) -> Self {
        let count = 2 + random.below(4);
        let columns: Vec<Column> = (0..count)
            .map(|i| {
                let kind = if i == 0 { BIGINT } else { random.weighted(&KINDS) };
                let nullable = random.chance(80);
                Column { name: format!("{name}{i}"), kind, nullable }
            })
            .collect();
        let key = random.chance(20).then(|| vec![0]);
        let deletes = random.chance(75);
        Self { name: name.to_owned(), columns, key, deletes }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        let field = |c: &Column| Field::new(&c.name, c.kind.data_type(), c.nullable);
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }

    pub(super) fn def(&self) -> TableDef {
        TableDef {
            name: self.name.clone(),
            schema: self.schema(),
            primary_key: self.key.clone(),
            event_time: None,
            deletes: self.deletes,
        }
    }

    fn row(&self, random: &mut Random, wide: bool) -> Row {
        let value = |column: &Column| match column.nullable && random.chance(12) {
            true => Value::Null,
            false => column.kind.value(random, wide),
        };
        self.columns.iter().map(value).collect()
    }

    /// The changes of an epoch that concern table number `table`.
    pub(super) fn changes(&self, table: usize, epoch: &[Event]) -> Batch {
        let events: Vec<&Event> = epoch.iter().filter(|event| event.table == table).collect();
        let columns = self.columns.iter().enumerate().map(|(i, column)| {
            let values: Vec<&Value> = events.iter().map(|event| &event.row[i]).collect();
            column.kind.array(&values)
        });
        let rows = RecordBatch::try_new(self.schema(), columns.collect()).unwrap();
        Batch::new(rows, events.iter().map(|event| event.weight).collect()).unwrap()
    }
}

/// Rows that come and go: new ones, repeated ones, corrected ones, ones that come back, and tables
/// that are emptied.
pub(super) fn story(
    random: &mut Random,
    tables: &[Table],
    (epochs, events): (usize, usize),
    wide: bool,
) -> Story {
    let mut there: Vec<Vec<Row>> = vec![vec![]; tables.len()];
    let mut gone: Vec<Vec<Row>> = vec![vec![]; tables.len()];
    let mut story = Vec::new();
    for _ in 0..=random.below(epochs) {
        let mut epoch = Vec::new();
        for _ in 0..random.below(events + 1) {
            let table = random.below(tables.len());
            let (there, gone) = (&mut there[table], &mut gone[table]);
            happen(random, (table, &tables[table]), wide, (there, gone), &mut epoch);
        }
        story.push(epoch);
    }
    story
}

/// One thing that happens to a table.
fn happen(
    random: &mut Random,
    (number, table): (usize, &Table),
    wide: bool,
    (there, gone): (&mut Vec<Row>, &mut Vec<Row>),
    epoch: &mut Vec<Event>,
) {
    let mut change = |row: Row, weight| epoch.push(Event { table: number, row, weight });
    let add = |there: &mut Vec<Row>, row: &Row| {
        if let Some(key) = &table.key {
            there.retain(|have| key.iter().any(|&i| have[i] != row[i]));
        }
        there.push(row.clone());
    };
    let may_delete = table.deletes && !there.is_empty();
    match random.below(100) {
        0..10 if !there.is_empty() => {
            let row = random.pick(there).clone();
            add(there, &row);
            change(row, 1);
        }
        10..16 if !gone.is_empty() => {
            let row = random.pick(gone).clone();
            add(there, &row);
            change(row, 1);
        }
        16..40 if may_delete => {
            let row = there.swap_remove(random.below(there.len()));
            gone.push(row.clone());
            change(row, -1);
        }
        40..50 if may_delete => {
            let old = there.swap_remove(random.below(there.len()));
            let mut new = old.clone();
            let column = random.below(new.len());
            new[column] = table.row(random, wide)[column].clone();
            change(old, -1);
            add(there, &new);
            change(new, 1);
        }
        50..53 if may_delete && !wide => {
            for row in there.drain(..) {
                change(row.clone(), -1);
                gone.push(row);
            }
        }
        _ => {
            let row = table.row(random, wide);
            add(there, &row);
            change(row, 1);
        }
    }
}
