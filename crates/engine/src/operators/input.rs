//! Where a table's rows enter the circuit: late rows are turned away, keys are resolved.

use arrow::array::{Array, Int64Array, UInt32Array};
use hashbrown::HashMap;
use syncline_change::row::{self, RowCodec};
use syncline_change::source::RejectClass;
use syncline_change::{Batch, Error, Result, json};

use super::groups::unreadable;
use super::map::rejected;
use super::settle::micros;
use super::{Change, Epoch, Operator, heap_bytes, table_bytes};
use crate::state::{
    Cells, KeyLog, Loader, Saver, Unloaded, put_flag, put_option, take_flag, take_i64, take_option,
};
use crate::table::TableDef;

/// Turns what a source says into changes of its table.
///
/// Rows are looked at one by one in the order of the journal, so what becomes of a row does not
/// depend on where epochs were cut.
pub(crate) struct Input {
    table: TableDef,
    codec: RowCodec,
    content: Content,
    /// Bytes that the encoded rows in it take.
    heap: usize,
    /// The newest event time so far, in microseconds; the watermark is that less the lateness.
    newest_us: Option<i64>,
    /// The time of the last epoch that had rows, or else of the first one.
    active_us: Option<i64>,
    is_idle: bool,
    finished: bool,
    /// Keys, or rows, whose content was touched since it was last saved.
    unsaved: KeyLog,
    /// The same from a checkpoint, as far as it was not needed yet.
    unloaded: Option<Unloaded>,
}

/// What must be remembered to make changes of rows.
enum Content {
    /// Rows are only ever added.
    Appended,
    /// By encoded key, the encoded row that is there.
    Keyed { keys: RowCodec, columns: Vec<usize>, rows: HashMap<Box<[u8]>, Box<[u8]>> },
    /// How often each encoded row is there.
    Counted(HashMap<Box<[u8]>, i64>),
}

impl Input {
    pub(crate) fn new(table: TableDef) -> Result<Self> {
        let codec = RowCodec::new(table.schema.clone())?;
        let content = match (&table.primary_key, table.deletes) {
            (Some(columns), _) => Content::Keyed {
                keys: RowCodec::new(std::sync::Arc::new(table.schema.project(columns)?))?,
                columns: columns.clone(),
                rows: HashMap::new(),
            },
            (None, true) => Content::Counted(HashMap::new()),
            (None, false) => Content::Appended,
        };
        Ok(Self {
            table,
            codec,
            content,
            heap: 0,
            newest_us: None,
            active_us: None,
            is_idle: false,
            finished: false,
            unsaved: KeyLog::default(),
            unloaded: None,
        })
    }

    /// Whether rows of this table are never taken away again.
    pub(crate) fn is_append_only(&self) -> bool {
        matches!(self.content, Content::Appended)
    }

    pub(crate) fn has_event_time(&self) -> bool {
        self.table.event_time.is_some()
    }

    /// No more rows will come.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }

    /// Whether no row has come for so long that nothing should wait for one.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// For how long no row may come, if that matters.
    fn idle_us(&self) -> Option<i64> {
        self.table.event_time?.idle_us.filter(|_| !self.finished)
    }

    /// Rows older than this will not be taken any more; microseconds since 1970.
    pub(crate) fn watermark(&self) -> i64 {
        if self.finished { i64::MAX } else { self.passed() }
    }

    /// Rows older than this are turned away, even those that come when the table has ended: mended
    /// ones. Microseconds since 1970.
    pub(crate) fn passed(&self) -> i64 {
        match (&self.table.event_time, self.newest_us) {
            (Some(time), Some(newest)) => newest.saturating_sub(time.lateness_us),
            _ => i64::MIN,
        }
    }

    /// Which rows are late: each is measured against the rows before it.
    fn drop_late(&mut self, epoch: &mut Epoch<'_>, batch: &Batch) -> Result<Batch> {
        let Some(time) = self.table.event_time else { return Ok(batch.clone()) };
        let times = micros(batch.rows().column(time.column))?;
        let mut late = Vec::new();
        for row in 0..batch.num_rows() {
            // A deletion by key may know the key alone.
            if times.is_null(row) || batch.weight(row) < 0 {
                continue;
            }
            let at = times.value(row);
            match self.newest_us {
                Some(newest) if at < newest.saturating_sub(time.lateness_us) => late.push(row),
                Some(newest) if at <= newest => {}
                _ => self.newest_us = Some(at),
            }
        }
        if late.is_empty() {
            return Ok(batch.clone());
        }
        let newest = self.newest_us.unwrap_or(i64::MIN);
        for &row in &late {
            let error = Error::input(format!(
                "late: its `{}` is {}, but the newest was {} and rows may be at most {} behind",
                self.table.schema.field(time.column).name(),
                instant(times.value(row)),
                instant(newest),
                syncline_change::units::Duration(std::time::Duration::from_micros(
                    time.lateness_us.unsigned_abs()
                )),
            ));
            self.reject(epoch, batch, row, RejectClass::Late, &error)?;
        }
        let mut late = late.into_iter().peekable();
        let keep = (0..batch.num_rows()).filter(|row| late.next_if_eq(row).is_none());
        batch.take(&UInt32Array::from_iter_values(keep.map(|row| row as u32)))
    }

    fn reject(
        &self,
        epoch: &mut Epoch<'_>,
        batch: &Batch,
        row: usize,
        class: RejectClass,
        error: &Error,
    ) -> Result<()> {
        let rejected = rejected(epoch.number, &batch.slice(row, 1), class, error)?;
        epoch.rejected.push((self.table.name.clone(), rejected));
        Ok(())
    }

    /// A row replaces the one with its key; a deletion takes that away.
    fn resolve_keys(&mut self, batch: &Batch) -> Result<Batch> {
        let Content::Keyed { keys, columns, rows } = &mut self.content else {
            return Ok(batch.clone());
        };
        let key_columns: Vec<_> =
            columns.iter().map(|&column| batch.rows().column(column).clone()).collect();
        let encoded_keys = keys.encode(&key_columns)?;
        let encoded = self.codec.encode_batch(batch.rows())?;
        let (mut changed, mut weights): (Vec<Box<[u8]>>, Vec<i64>) = (Vec::new(), Vec::new());
        let mut change = |row: Box<[u8]>, weight| {
            changed.push(row);
            weights.push(weight);
        };
        for i in 0..batch.num_rows() {
            let (key, row) = (encoded_keys.row(i), encoded.row(i));
            self.unsaved.note(&[key.data()]);
            if let Some(unloaded) = &mut self.unloaded
                && !rows.contains_key(key.as_ref())
            {
                unloaded.take(row::hash(key.data()), key.data(), |row| {
                    self.heap += heap_bytes(key.data().len()) + heap_bytes(row.len());
                    rows.insert(key.data().into(), row.into());
                });
            }
            if batch.weight(i) < 0 {
                if let Some(old) = rows.remove(key.as_ref()) {
                    self.heap -= heap_bytes(key.data().len()) + heap_bytes(old.len());
                    change(old, -1);
                }
                continue;
            }
            match rows.get_mut(key.as_ref()) {
                Some(old) if **old == *row.as_ref() => {}
                Some(old) => {
                    self.heap += heap_bytes(row.data().len());
                    self.heap -= heap_bytes(old.len());
                    change(std::mem::replace(old, row.data().into()), -1);
                    change(row.data().into(), 1);
                }
                None => {
                    self.heap += heap_bytes(key.data().len()) + heap_bytes(row.data().len());
                    rows.insert(key.data().into(), row.data().into());
                    change(row.data().into(), 1);
                }
            }
        }
        let rows = self.codec.decode_batch(changed.iter().map(|row| &**row))?;
        Batch::new(rows, Int64Array::from(weights))
    }

    /// A deletion takes away a row that is there, or is turned away itself.
    fn drop_unknown(&mut self, epoch: &mut Epoch<'_>, batch: &Batch) -> Result<Batch> {
        let Content::Counted(counts) = &mut self.content else { return Ok(batch.clone()) };
        let encoded = self.codec.encode_batch(batch.rows())?;
        let (mut keep, mut unknown) = (Vec::new(), Vec::new());
        for i in 0..batch.num_rows() {
            let (row, weight) = (encoded.row(i), batch.weight(i));
            self.unsaved.note(&[row.data()]);
            if let Some(unloaded) = &mut self.unloaded
                && !counts.contains_key(row.as_ref())
            {
                let read = unloaded.take(row::hash(row.data()), row.data(), |mut count| {
                    self.heap += heap_bytes(row.data().len());
                    counts.insert(row.data().into(), take_i64(&mut count)?);
                    Some(())
                });
                if read == Some(None) {
                    return Err(unreadable());
                }
            }
            let count = counts.get(row.as_ref()).copied().unwrap_or(0);
            match count + weight {
                ..0 => {
                    unknown.push(i);
                    continue;
                }
                0 => {
                    if counts.remove(row.as_ref()).is_some() {
                        self.heap -= heap_bytes(row.data().len());
                    }
                }
                now => match counts.get_mut(row.as_ref()) {
                    Some(have) => *have = now,
                    None => {
                        self.heap += heap_bytes(row.data().len());
                        counts.insert(row.data().into(), now);
                    }
                },
            }
            keep.push(i as u32);
        }
        let error = Error::input("it deletes a row that is not there").detail(
            "the source deletes a row that is not there: it was never added, or is deleted twice",
        );
        for row in unknown {
            self.reject(epoch, batch, row, RejectClass::UnknownRow, &error)?;
        }
        batch.take(&UInt32Array::from(keep))
    }
}

impl Input {
    fn unloaded_rows(&self) -> usize {
        self.unloaded.as_ref().map_or(0, Unloaded::left)
    }

    /// Takes some more rows from the checkpoint, if there are any left there.
    fn load_some(&mut self, count: usize) -> Result<()> {
        let Some(unloaded) = &mut self.unloaded else { return Ok(()) };
        let (content, heap) = (&mut self.content, &mut self.heap);
        let more = unloaded.rest(count, |_, key, mut value| {
            *heap += heap_bytes(key.len());
            match content {
                Content::Appended => return None,
                Content::Keyed { rows, .. } => {
                    *heap += heap_bytes(value.len());
                    rows.insert(key.into(), value.into());
                }
                Content::Counted(counts) => {
                    counts.insert(key.into(), take_i64(&mut value)?);
                }
            }
            Some(())
        });
        if !more.ok_or_else(unreadable)? {
            self.unloaded = None;
        }
        Ok(())
    }
}

/// Microseconds since 1970 as people read them.
fn instant(micros: i64) -> String {
    json::timestamp(micros, arrow::datatypes::TimeUnit::Microsecond)
        .map_or_else(|| micros.to_string(), json::rfc3339)
}

impl Operator for Input {
    fn is_due(&self, epoch: &Epoch<'_>) -> bool {
        let begins = self.active_us.is_none() && self.idle_us().is_some();
        begins || self.due_at().is_some_and(|due_us| due_us <= epoch.time_us)
    }

    /// When it becomes idle.
    fn due_at(&self) -> Option<i64> {
        let due_us = self.active_us?.saturating_add(self.idle_us()?);
        (!self.is_idle).then_some(due_us)
    }

    fn step(&mut self, epoch: &mut Epoch<'_>, inputs: &[Change<'_>]) -> Result<Vec<Batch>> {
        let has_rows = !inputs[0].batches.is_empty();
        let is_due = self.due_at().is_some_and(|due_us| due_us <= epoch.time_us);
        self.is_idle = !has_rows && (self.is_idle || is_due);
        if has_rows || self.active_us.is_none() {
            self.active_us = Some(epoch.time_us);
        }
        let mut output = Vec::with_capacity(inputs[0].batches.len());
        self.load_some(inputs[0].batches.iter().map(Batch::num_rows).sum())?;
        for batch in inputs[0].batches {
            let batch = self.drop_late(epoch, batch)?;
            let batch = self.resolve_keys(&batch)?;
            let batch = self.drop_unknown(epoch, &batch)?;
            if !batch.is_empty() {
                output.push(batch);
            }
        }
        Ok(output)
    }

    fn begin_saving(&mut self) {
        self.unsaved.begin();
    }

    fn unsaved(&self) -> usize {
        self.unsaved.bytes()
    }

    fn save(&mut self, to: &mut Saver<'_>) -> Result<()> {
        let cells = match &self.content {
            Content::Appended => Cells::default(),
            Content::Counted(counts) => self.unsaved.take_counts(|row| counts.get(row).copied()),
            Content::Keyed { rows, .. } => {
                let mut cells = Cells::default();
                for key in self.unsaved.take().keys() {
                    let row = rows.get(key);
                    cells.set(key, row.map(|row| move |bytes: &mut Vec<u8>| bytes.extend(row)));
                }
                cells
            }
        };
        to.cells("rows", cells);
        to.value("time", |bytes| {
            put_option(bytes, self.newest_us);
            put_option(bytes, self.active_us);
            put_flag(bytes, self.is_idle);
            put_flag(bytes, self.finished);
        });
        Ok(())
    }

    fn load(&mut self, from: &Loader<'_>) -> Result<()> {
        self.unloaded = Unloaded::new(from, "rows")?;
        let read = |bytes: &mut &[u8]| {
            let times = (take_option(bytes)?, take_option(bytes)?);
            Some((times, (take_flag(bytes)?, take_flag(bytes)?)))
        };
        let (times, flags) = from.value("time", read)?;
        (self.newest_us, self.active_us) = times;
        (self.is_idle, self.finished) = flags;
        Ok(())
    }

    fn state_rows(&self) -> usize {
        match &self.content {
            Content::Appended => 0,
            Content::Keyed { rows, .. } => rows.len() + self.unloaded_rows(),
            Content::Counted(counts) => counts.len() + self.unloaded_rows(),
        }
    }

    fn state_bytes(&self) -> usize {
        let table = match &self.content {
            Content::Appended => 0,
            Content::Keyed { rows, .. } => table_bytes::<(Box<[u8]>, Box<[u8]>)>(rows.capacity()),
            Content::Counted(counts) => table_bytes::<(Box<[u8]>, i64)>(counts.capacity()),
        };
        table + self.heap
    }
}
