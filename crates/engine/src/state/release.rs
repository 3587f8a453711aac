//! Which state no later change can reach, told from how far event time has come.
//!
//! What is let go is never put out and never looked up again, so whether and when it goes cannot be
//! seen in a view. It is therefore done where it costs least: while runs are merged, and by sweeps
//! over groups that are made when enough of them can go.

use std::iter::Sum;
use std::mem::discriminant;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::row::{RowConverter, SortField};
use datafusion::common::ScalarValue;
use datafusion::physical_plan::PhysicalExpr;
use syncline_change::{Error, Result};

use super::times;

/// What every later change has in a column at least, unless it is NULL: the least of functions of
/// event time that never fall.
#[derive(Clone, Debug)]
pub(crate) struct Floor {
    pub(crate) parts: Vec<FloorPart>,
}

/// A function of the event time of one table.
#[derive(Clone, Debug)]
pub(crate) struct FloorPart {
    pub(crate) table: usize,
    /// The type of the time, which is the only column that `expr` is over.
    pub(crate) time: DataType,
    pub(crate) expr: Arc<dyn PhysicalExpr>,
}

impl Floor {
    /// The tables whose event time it follows.
    pub(crate) fn tables(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(|part| part.table)
    }

    /// The floor as it is encoded in keys, when of each table all rows from before `passed` are
    /// turned away; `None` while there is none.
    fn encoded(&self, converter: &RowConverter, passed: &[i64]) -> Option<Box<[u8]>> {
        let mut least: Option<Box<[u8]>> = None;
        for part in &self.parts {
            let value = part.value(*passed.get(part.table)?)?;
            let rows = converter.convert_columns(&[value]).ok()?;
            let encoded: Box<[u8]> = rows.row(0).data().into();
            least = Some(least.map_or_else(|| encoded.clone(), |least| least.min(encoded.clone())));
        }
        least
    }
}

impl FloorPart {
    /// The value when all rows from before `passed_us` are turned away; `None` if there is no such
    /// time yet, and where the function fails.
    fn value(&self, passed_us: i64) -> Option<ArrayRef> {
        if passed_us == i64::MIN {
            return None;
        }
        let time = instant(passed_us, &self.time)?.to_array().ok()?;
        let schema = Arc::new(Schema::new(vec![Field::new("time", self.time.clone(), true)]));
        let rows = RecordBatch::try_new(schema, vec![time]).ok()?;
        let value = self.expr.evaluate(&rows).ok()?.into_array(1).ok()?;
        (value.len() == 1 && value.logical_null_count() == 0).then_some(value)
    }
}

/// A time that no row from `us` on, which is in microseconds, is before.
fn instant(us: i64, of: &DataType) -> Option<ScalarValue> {
    let DataType::Timestamp(unit, zone) = of else { return None };
    let zone = zone.clone();
    Some(match unit {
        TimeUnit::Second => ScalarValue::TimestampSecond(Some(us.div_euclid(1_000_000)), zone),
        TimeUnit::Millisecond => {
            ScalarValue::TimestampMillisecond(Some(us.div_euclid(1_000)), zone)
        }
        TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(Some(us), zone),
        // Before 1970 less than a microsecond is cut off towards it.
        TimeUnit::Nanosecond => {
            let nanos = us.saturating_mul(1_000).saturating_sub(999);
            ScalarValue::TimestampNanosecond(Some(nanos), zone)
        }
    })
}

/// Where in an encoded key (`arrow::row`, nulls first, ascending) a column stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    before: Vec<Width>,
    width: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Width {
    Fixed(usize),
    /// Text and bytes: blocks, each with a byte behind it that says whether another follows.
    Blocks,
}

/// Blocks of text: the first four are short.
const SHORT_BLOCKS: usize = 4;
const SHORT_BLOCK: usize = 8;
const BLOCK: usize = 32;
const BLOCK_FOLLOWS: u8 = 0xff;
const IS_TEXT: u8 = 2;
const IS_THERE: u8 = 1;

impl Place {
    /// `None` if the column has no fixed width, or one before it cannot be skipped.
    pub(crate) fn new(types: &[DataType], column: usize) -> Option<Self> {
        let before = types.get(..column)?.iter().map(width).collect::<Option<_>>()?;
        match width(types.get(column)?)? {
            Width::Fixed(width) => Some(Self { before, width }),
            Width::Blocks => None,
        }
    }

    /// The encoded value, which is not NULL.
    fn find<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        let mut rest = key;
        for width in &self.before {
            rest = rest.get(width.of(rest)?..)?;
        }
        let value = rest.get(..self.width)?;
        (value.first() == Some(&IS_THERE)).then_some(value)
    }
}

impl Width {
    fn of(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Fixed(width) => return Some(width),
            Self::Blocks if *bytes.first()? != IS_TEXT => return Some(1),
            Self::Blocks => {}
        }
        let mut at = 1;
        for number in 0.. {
            at += if number < SHORT_BLOCKS { SHORT_BLOCK } else { BLOCK } + 1;
            if *bytes.get(at - 1)? != BLOCK_FOLLOWS {
                return Some(at);
            }
        }
        None
    }
}

fn width(of: &DataType) -> Option<Width> {
    Some(match of {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => {
            Width::Blocks
        }
        DataType::Boolean => Width::Fixed(2),
        of if of.is_floating() || of.is_integer() || of.is_temporal() || of.is_decimal() => {
            Width::Fixed(1 + of.primitive_width()?)
        }
        _ => return None,
    })
}

/// State whose time is below a floor.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(crate) floor: Floor,
    pub(crate) of: Timed,
    pub(crate) data_type: DataType,
}

/// What has a time.
#[derive(Clone, Debug)]
pub(crate) enum Timed {
    /// Groups, in their keys.
    Keys(Place),
    /// Rows, which are in the order of their times.
    Rows,
    /// Sessions, of rows that are only ever added and are in the order of their times: one ends a gap
    /// after its last row.
    Sessions { gap: i64 },
}

/// State that no later change can reach: what is below the floors of all terms.
#[derive(Debug)]
pub(crate) struct Release {
    terms: Vec<(Term, RowConverter)>,
    /// Of the tables of the terms, how far event time was when it was last asked for.
    seen: Vec<i64>,
    cut: Option<Cut>,
}

/// What a [`Release`] lets go as of an epoch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cut {
    /// Groups whose keys have times below all of these.
    Keys(Vec<(Place, Box<[u8]>)>),
    /// Rows from before this time.
    Rows { from: i64 },
    /// Rows of sessions that end at this time or before.
    Sessions { end: i64, gap: i64 },
}

impl Cut {
    /// Whether a group goes as a whole, as its key alone says.
    pub(crate) fn is_past(&self, key: &[u8]) -> bool {
        let is_below = |(place, floor): &(Place, Box<[u8]>)| {
            place.find(key).is_some_and(|time| time < &**floor)
        };
        matches!(self, Self::Keys(terms) if terms.iter().all(is_below))
    }
}

impl Release {
    /// `terms` are one at least. `None`: what goes by one of them need not go by another.
    ///
    /// # Errors
    /// `Bug` if times cannot be encoded.
    pub(crate) fn new(terms: Vec<Term>) -> Result<Option<Self>> {
        let Some(first) = terms.first().map(|term| discriminant(&term.of)) else {
            return Err(Error::bug("state would be let go without a reason"));
        };
        if terms.iter().any(|term| discriminant(&term.of) != first) {
            return Ok(None);
        }
        let converter = |term: Term| {
            let converter = RowConverter::new(vec![SortField::new(term.data_type.clone())])?;
            Ok((term, converter))
        };
        let terms = terms.into_iter().map(converter).collect::<Result<_>>()?;
        Ok(Some(Self { terms, seen: Vec::new(), cut: None }))
    }

    /// Takes note of how far event time has come, and says whether more may go than before.
    pub(crate) fn advance(&mut self, passed: &[i64]) -> bool {
        let tables = self.terms.iter().flat_map(|(term, _)| term.floor.tables());
        let now: Vec<i64> =
            tables.map(|table| passed.get(table).copied().unwrap_or(i64::MIN)).collect();
        if now == self.seen {
            return false;
        }
        self.seen = now;
        let Some(cut) = self.cut_at(passed) else { return false };
        let moved = self.cut.as_ref() != Some(&cut);
        self.cut = Some(cut);
        moved
    }

    /// `None` while there is no floor of one of the terms.
    fn cut_at(&self, passed: &[i64]) -> Option<Cut> {
        let mut floors = Vec::with_capacity(self.terms.len());
        for (term, converter) in &self.terms {
            floors.push((&term.of, term.floor.encoded(converter, passed)?));
        }
        let least = || floors.iter().map(|(_, floor)| times::time(floor)).min().flatten();
        let gap = |of: &Timed| if let Timed::Sessions { gap } = of { *gap } else { 0 };
        Some(match floors.first()? {
            (Timed::Keys(_), _) => {
                Cut::Keys(floors.into_iter().filter_map(key_and_floor).collect())
            }
            (Timed::Rows, _) => Cut::Rows { from: least()? },
            // What ended by the one may go on by a longer gap.
            (Timed::Sessions { .. }, _) => {
                Cut::Sessions { end: least()?, gap: floors.iter().map(|(of, _)| gap(of)).max()? }
            }
        })
    }

    pub(crate) fn cut(&self) -> Option<&Cut> {
        self.cut.as_ref()
    }
}

/// One part in so many must be able to go for a look at all to be worth it: then each part pays for
/// a fixed number of looks.
const SWEPT_SHARE: usize = 8;

/// How much there is to be looked through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Groups, and what is kept of each and looked through with it.
    pub(crate) kept: usize,
    /// Places that are looked at though they are empty.
    pub(crate) empty: usize,
}

/// When to look through groups that are kept in tables.
#[derive(Debug)]
pub(crate) struct Sweep {
    release: Release,
    /// When the floor has passed this time, enough of the groups that were there can go; `None` if
    /// time alone will not make it enough.
    due: Option<Box<[u8]>>,
    /// What there was to look through the last time, when all that was past had gone.
    left: Extent,
}

impl Sweep {
    /// For keys in which the only term of `release` finds a time.
    pub(crate) fn new(release: Release) -> Self {
        Self { release, due: None, left: Extent { kept: 0, empty: 0 } }
    }

    /// The keys to let go, if it is time to look through all groups.
    pub(crate) fn start(&mut self, passed: &[i64], extent: Extent) -> Option<Cut> {
        let moved = self.release.advance(passed);
        let cut = self.release.cut()?;
        let (_, floor) = only_key(cut)?;
        let is_due = self.due.as_ref().is_some_and(|due| due < floor);
        let has_grown = extent.kept > (2 * self.left.kept).max(self.left.share());
        (moved && (is_due || has_grown)).then(|| cut.clone())
    }

    /// To be called when all groups have been looked through, with the keys of those that are kept and
    /// how much is kept of each.
    pub(crate) fn finish<'a>(
        &mut self,
        cut: &Cut,
        extent: Extent,
        kept: impl Iterator<Item = (&'a [u8], usize)>,
    ) {
        let Some((place, _)) = only_key(cut) else { return };
        let mut times: Vec<(&[u8], usize)> =
            kept.filter_map(|(key, size)| Some((place.find(key)?, size))).collect();
        self.left = extent;
        times.sort_unstable();
        let mut going = 0;
        let due = times.iter().find(|(_, size)| {
            going += size;
            going > extent.share()
        });
        self.due = due.map(|(time, _)| (*time).into());
    }
}

fn key_and_floor((of, floor): (&Timed, Box<[u8]>)) -> Option<(Place, Box<[u8]>)> {
    match of {
        Timed::Keys(place) => Some((place.clone(), floor)),
        Timed::Rows | Timed::Sessions { .. } => None,
    }
}

fn only_key(cut: &Cut) -> Option<&(Place, Box<[u8]>)> {
    match cut {
        Cut::Keys(terms) => terms.first().filter(|_| terms.len() == 1),
        Cut::Rows { .. } | Cut::Sessions { .. } => None,
    }
}

impl Sum for Extent {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self { kept: 0, empty: 0 }, |all, part| Self {
            kept: all.kept + part.kept,
            empty: all.empty + part.empty,
        })
    }
}

impl Extent {
    /// What of it must be able to go for a look to be worth it.
    fn share(self) -> usize {
        (self.kept + self.empty) / SWEPT_SHARE
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{
        Array, BooleanArray, Decimal128Array, Float64Array, Int32Array, StringArray,
        TimestampMillisecondArray,
    };
    use datafusion::physical_expr::expressions::Column;

    use super::super::{Group, RunBuilder, Spine};
    use super::*;
    use crate::operators::PARTITION_BITS;

    fn times(times: Vec<Option<i64>>) -> ArrayRef {
        Arc::new(TimestampMillisecondArray::from(times))
    }

    #[test]
    fn times_are_found_behind_other_columns() {
        let texts = ["", "a", "12345678", "123456789", &"x".repeat(32), &"y".repeat(33)];
        let long = "z".repeat(200);
        let texts = texts.iter().map(|text| Some(*text)).chain([Some(long.as_str()), None]);
        let texts: StringArray = texts.collect();
        let rows = texts.len();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(texts),
            Arc::new((0..rows).map(|i| (i > 0).then_some(i as f64)).collect::<Float64Array>()),
            Arc::new((0..rows).map(|i| (i > 1).then_some(i == 2)).collect::<BooleanArray>()),
            Arc::new((0..rows).map(|i| Some(i as i128)).collect::<Decimal128Array>()),
            Arc::new((0..rows).map(|i| Some(i as i32)).collect::<Int32Array>()),
            times((0..rows).map(|i| (i != 3).then_some(i as i64 * 1000 - 2500)).collect()),
        ];
        let types: Vec<DataType> = columns.iter().map(|c| c.data_type().clone()).collect();
        let fields = types.iter().map(|of| SortField::new(of.clone())).collect();
        let encoded = RowConverter::new(fields).unwrap().convert_columns(&columns).unwrap();
        let alone = RowConverter::new(vec![SortField::new(types[5].clone())]).unwrap();
        let alone = alone.convert_columns(&columns[5..]).unwrap();
        let place = Place::new(&types, 5).unwrap();
        for row in 0..rows {
            let expect = (row != 3).then(|| alone.row(row).data());
            assert_eq!(place.find(encoded.row(row).data()), expect, "row {row}");
        }
        assert!(Place::new(&types, 0).is_none());
        assert_eq!(place.find(&[IS_TEXT, 1, 2]), None);
    }

    fn identity(table: usize) -> FloorPart {
        let time = DataType::Timestamp(TimeUnit::Millisecond, None);
        FloorPart { table, time, expr: Arc::new(Column::new("time", 0)) }
    }

    fn encode(time: ArrayRef) -> Vec<Box<[u8]>> {
        let converter = RowConverter::new(vec![SortField::new(time.data_type().clone())]).unwrap();
        let rows = converter.convert_columns(&[time]).unwrap();
        rows.iter().map(|row| row.data().into()).collect()
    }

    fn release(parts: Vec<FloorPart>) -> Release {
        let data_type = DataType::Timestamp(TimeUnit::Millisecond, None);
        let place = Place::new(std::slice::from_ref(&data_type), 0).unwrap();
        let of = Timed::Keys(place);
        Release::new(vec![Term { floor: Floor { parts }, of, data_type }]).unwrap().unwrap()
    }

    #[test]
    fn the_slowest_table_decides() {
        let mut release = release(vec![identity(0), identity(2)]);
        let keys = encode(times(vec![Some(-1), Some(0), Some(4), Some(5), None]));
        let mut gone = |passed: [i64; 3]| -> Vec<bool> {
            release.advance(&passed);
            let past = |key| release.cut().is_some_and(|cut| cut.is_past(key));
            keys.iter().map(|key| past(key)).collect()
        };
        assert_eq!(gone([i64::MIN, 0, 9_000]), [false; 5]);
        assert_eq!(gone([9_000, 0, i64::MIN]), [false; 5]);
        assert_eq!(gone([9_000, 0, 4_999]), [true, true, false, false, false]);
        assert_eq!(gone([5_000, 0, 90_000]), [true, true, true, false, false]);
    }

    #[test]
    fn groups_are_looked_through_when_an_eighth_can_go() {
        let mut sweep = Sweep::new(release(vec![identity(0)]));
        let mut groups = encode(times((0..800).map(Some).collect()));
        let mut looks = 0;
        for now in 0..900 {
            let extent = Extent { kept: groups.len(), empty: 0 };
            let Some(cut) = sweep.start(&[now * 1_000], extent) else { continue };
            looks += 1;
            groups.retain(|key| !cut.is_past(key));
            let extent = Extent { kept: groups.len(), empty: 0 };
            sweep.finish(&cut, extent, groups.iter().map(|key| (&**key, 1)));
            assert!(groups.len() as i64 <= 800 - now);
        }
        assert!(groups.is_empty());
        assert!((10..60).contains(&looks), "{looks}");
    }

    /// Groups that come and go beside much that stays: what stays, groups without a time or places
    /// of groups that have gone, is not looked through for their sake.
    #[test]
    fn what_stays_is_not_looked_through_again_and_again() {
        let without_time = encode(times(vec![None])).remove(0);
        for (staying, empty) in [(8_000, 0), (0, 8_000), (500, 4_000)] {
            let mut sweep = Sweep::new(release(vec![identity(0)]));
            let keys = encode(times((0..20_000).map(Some).collect()));
            let mut groups = vec![without_time.clone(); staying];
            let (mut looked, mut most) = (0, 0);
            for (now, new) in keys.chunks(20).enumerate() {
                groups.extend_from_slice(new);
                most = most.max(groups.len());
                let extent = Extent { kept: groups.len(), empty };
                let Some(cut) = sweep.start(&[now as i64 * 20_000], extent) else { continue };
                looked += groups.len() + empty;
                groups.retain(|key| !cut.is_past(key));
                let extent = Extent { kept: groups.len(), empty };
                sweep.finish(&cut, extent, groups.iter().map(|key| (&**key, 1)));
            }
            assert!(looked <= 10 * (20_000 + staying + empty), "{looked} of {staying}, {empty}");
            assert!(most <= 2 * staying + empty / 8 + 500, "{most} of {staying}, {empty}");
        }
    }

    /// A merge that waits for rows that do not come is dropped with the runs that it is of.
    #[test]
    fn merges_let_go_of_what_is_past() {
        let (mut spine, mut release) = (Spine::default(), release(vec![identity(0)]));
        let keys = encode(times((0..3_200).map(Some).collect()));
        let hash = |key: &[u8]| syncline_change::row::hash(key) >> PARTITION_BITS;
        // What the last one is merged with is too long for the next merge to be done at once.
        for part in [&keys[..2_000], &keys[2_000..2_800], &keys[2_800..]] {
            let mut part: Vec<&[u8]> = part.iter().map(|key| &**key).collect();
            part.sort_unstable_by_key(|key| (hash(key), *key));
            let mut builder = RunBuilder::default();
            for key in part {
                builder.open_group(hash(key), key);
                builder.push(b"row", 1);
            }
            spine.insert(builder.finish().unwrap(), release.cut()).unwrap();
        }
        release.advance(&[3_199_000]);
        spine.forget(release.cut().unwrap(), None);
        assert_eq!((spine.runs().count(), spine.len()), (2, 3_200));
        release.advance(&[3_200_000]);
        spine.forget(release.cut().unwrap(), None);
        assert_eq!((spine.len(), spine.bytes()), (0, 0));
    }

    /// Rows of each time come for a while; then they are in no run any more, merged or not.
    #[test]
    fn runs_let_go_of_what_is_past() {
        let (mut spine, mut release) = (Spine::default(), release(vec![identity(0)]));
        let keys = encode(times((0..400).map(Some).collect()));
        // All of one partition.
        let hash = |key: &[u8]| syncline_change::row::hash(key) >> PARTITION_BITS;
        let mut most = 0;
        for now in 0..390 {
            let mut here: Vec<&[u8]> = keys[now..now + 10].iter().map(|key| &**key).collect();
            here.sort_unstable_by_key(|key| (hash(key), *key));
            let mut builder = RunBuilder::default();
            for key in here {
                builder.open_group(hash(key), key);
                builder.push(&now.to_be_bytes(), 1);
            }
            spine.insert(builder.finish().unwrap(), release.cut()).unwrap();
            release.advance(&[now as i64 * 1_000]);
            spine.forget(release.cut().unwrap(), None);
            most = most.max(spine.len());
            for (i, key) in keys.iter().enumerate().skip(now).take(10) {
                let mut group = Group::default();
                spine.add_to(&mut group, hash(key), key);
                let expect = now - i.saturating_sub(9).min(now) + 1;
                assert_eq!(group.map(|(_, count)| count).sum::<i64>(), expect as i64);
            }
        }
        assert!(most <= 300, "{most}");
        release.advance(&[i64::MAX]);
        spine.forget(release.cut().unwrap(), None);
        assert_eq!((spine.len(), spine.bytes()), (0, 0));
    }

    #[test]
    fn nanoseconds_before_1970_are_not_let_go_too_early() {
        let of = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let floor = instant(-1, &of).unwrap();
        assert_eq!(floor, ScalarValue::TimestampNanosecond(Some(-1_999), None));
        assert_eq!(instant(0, &DataType::Int64), None);
    }
}
