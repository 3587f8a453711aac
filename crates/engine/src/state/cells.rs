//! Cells while they are gathered, the keys of those that change, and what their values are made of.

use syncline_change::{Error, Result, row};

use super::{Run, RunBuilder};

/// Bytes of keys, and of values, that one run of cells may have: offsets are 32 bits wide.
const RUN_BYTES_MAX: usize = if cfg!(test) { 1 << 10 } else { u32::MAX as usize };

/// The weights of a cell that is there, and of one that is there no more.
pub(super) const THERE: i64 = 1;
pub(super) const GONE: i64 = -1;

/// Cells of one table while they are gathered.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    bytes: Vec<u8>,
    cells: Vec<Cell>,
}

#[derive(Debug)]
struct Cell {
    /// Where key and value begin in `bytes`, and where the value ends.
    starts: [usize; 2],
    end: usize,
    is_there: bool,
}

impl Cells {
    /// A cell that is new, or has another value than before; the last one for a key counts.
    pub(crate) fn put(&mut self, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let middle = self.bytes.len();
        write(&mut self.bytes);
        let end = self.bytes.len();
        self.cells.push(Cell { starts: [start, middle], end, is_there: true });
    }

    /// A cell that is there no more.
    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.put(key, |_| {});
        if let Some(cell) = self.cells.last_mut() {
            cell.is_there = false;
        }
    }

    /// The cell with what is there of it now, if anything is.
    pub(crate) fn set(&mut self, key: &[u8], value: Option<impl FnOnce(&mut Vec<u8>)>) {
        match value {
            Some(write) => self.put(key, write),
            None => self.remove(key),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity() + self.cells.capacity() * size_of::<Cell>()
    }

    /// Runs that have each key once; more than one only where one cannot have all of them.
    ///
    /// # Errors
    /// `Unsupported` if a key or a value has more than 4 GiB.
    pub(super) fn finish(self) -> Result<Vec<Run>> {
        let bytes = &self.bytes;
        let key = |cell: &Cell| &bytes[cell.starts[0]..cell.starts[1]];
        let mut cells: Vec<(u64, &Cell)> =
            self.cells.iter().map(|cell| (row::hash(key(cell)), cell)).collect();
        cells.sort_by(|(a_hash, a), (b_hash, b)| {
            a_hash.cmp(b_hash).then_with(|| key(a).cmp(key(b)))
        });
        let (mut runs, mut builder, mut used) = (Vec::new(), RunBuilder::default(), [0, 0]);
        for same in cells.chunk_by(|(a_hash, a), (b_hash, b)| a_hash == b_hash && key(a) == key(b))
        {
            let Some(&(hash, cell)) = same.last() else { continue };
            let (key, value) = (key(cell), &bytes[cell.starts[1]..cell.end]);
            if key.len().max(value.len()) > RUN_BYTES_MAX {
                return Err(Error::unsupported("one value of the state has more than 4 GiB")
                    .detail(format!("{} bytes by a key of {}", value.len(), key.len())));
            }
            if (used[0] + key.len()).max(used[1] + value.len()) > RUN_BYTES_MAX {
                runs.push(std::mem::take(&mut builder).finish()?);
                used = [0, 0];
            }
            used = [used[0] + key.len(), used[1] + value.len()];
            builder.open_group(hash, key);
            builder.push(value, if cell.is_there { THERE } else { GONE });
        }
        let last = builder.finish()?;
        if last.len() > 0 || runs.is_empty() {
            runs.push(last);
        }
        Ok(runs)
    }
}

/// Keys of what was touched since it was last saved, in the order in which it was, repeated or not. Nothing is
/// noted until somebody asks.
#[derive(Debug, Default)]
pub(crate) struct KeyLog {
    is_on: bool,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl KeyLog {
    /// From now on takes note.
    pub(crate) fn begin(&mut self) {
        self.is_on = true;
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// A key that is made of parts.
    pub(crate) fn note(&mut self, parts: &[&[u8]]) {
        if self.is_on {
            parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
            self.ends.push(self.bytes.len());
        }
    }

    /// All keys; there are none afterwards.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self { is_on: self.is_on, ..Self::default() })
    }

    /// How often what was touched is there now, if it is.
    pub(crate) fn take_counts(&mut self, count_of: impl Fn(&[u8]) -> Option<i64>) -> Cells {
        let mut cells = Cells::default();
        for key in self.take().keys() {
            let count = count_of(key);
            cells.set(key, count.map(|count| move |bytes: &mut Vec<u8>| put_i64(bytes, count)));
        }
        cells
    }

    /// Every key once, in order.
    pub(crate) fn keys(&self) -> Vec<&[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let keys = starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end]);
        let mut keys: Vec<&[u8]> = keys.collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<usize>()
    }
}

/// Numbers and bytes as parts of a value.
pub(crate) fn put_i64(bytes: &mut Vec<u8>, value: i64) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_bytes(bytes: &mut Vec<u8>, value: &[u8]) {
    put_i64(bytes, value.len() as i64);
    bytes.extend_from_slice(value);
}

/// What [`put_i64`] put, taken from the front.
pub(crate) fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    Some(i64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?))
}

/// What [`put_bytes`] put, taken from the front.
pub(crate) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_i64(bytes)?).ok()?;
    bytes.split_off(..length)
}

/// A number that is there or not.
pub(crate) fn put_option(bytes: &mut Vec<u8>, value: Option<i64>) {
    bytes.push(u8::from(value.is_some()));
    put_i64(bytes, value.unwrap_or(0));
}

pub(crate) fn take_option(bytes: &mut &[u8]) -> Option<Option<i64>> {
    let is_some = take_flag(bytes)?;
    let value = take_i64(bytes)?;
    Some(is_some.then_some(value))
}

pub(crate) fn put_flag(bytes: &mut Vec<u8>, value: bool) {
    bytes.push(u8::from(value));
}

pub(crate) fn take_flag(bytes: &mut &[u8]) -> Option<bool> {
    match bytes.split_off_first()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}
