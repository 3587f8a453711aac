//! From the reading thread to the source: chunks with their positions, when they are due.

use syncline_change::source::{Chunk, FileRange};
use syncline_change::{Batch, Error, Result};
use tokio::sync::mpsc;

use super::position::{Mark, Marks, Place};
use super::replay::Pacer;
use crate::decode::Decoded;

/// What the reading thread says. It always says something last, so that a thread that died is not
/// taken for the end of the input.
#[derive(Debug)]
pub(super) enum Message {
    Chunk(Box<Chunk>),
    End,
    Failed(Error),
}

/// Why reading stops before the end.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nobody receives any more.
    Dropped,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Sends chunks and keeps the marks that go with them.
pub(super) struct Outlet {
    to: mpsc::Sender<Message>,
    marks: Marks,
    pacer: Option<Pacer>,
    /// For chunks that only move the position.
    nothing: Batch,
    /// The size of the file that is read, if its rows are to be referred to.
    pub(super) referred: Option<u64>,
}

impl Outlet {
    pub(super) fn new(
        to: mpsc::Sender<Message>,
        marks: Marks,
        pacer: Option<Pacer>,
        nothing: Batch,
    ) -> Self {
        Self { to, marks, pacer, nothing, referred: None }
    }

    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    pub(super) fn mark_mut(&mut self, file: &str, or_else: impl FnOnce() -> Mark) -> &mut Mark {
        self.marks.files.entry(file.to_owned()).or_insert_with(or_else)
    }

    /// Gives the mark of `file` to the name `now`.
    pub(super) fn rename(&mut self, file: &str, now: &str) {
        if let Some(mark) = self.marks.files.shift_remove(file) {
            self.marks.files.insert(now.to_owned(), mark);
        }
    }

    /// Whether the source is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.to.is_closed()
    }

    /// Hands `decoded` over, read from `file` where its mark is. `text` is what it was made from, if
    /// it was text: its lines are counted where a chunk is cut.
    pub(super) fn send(
        &mut self,
        file: &str,
        decoded: Decoded,
        text: Option<&[u8]>,
    ) -> Result<(), Stop> {
        let Some(mut pacer) = self.pacer.take() else {
            return self.send_piece(file, decoded);
        };
        let sent = self.send_paced(file, decoded, text, &mut pacer);
        self.pacer = Some(pacer);
        sent
    }

    fn send_paced(
        &mut self,
        file: &str,
        mut decoded: Decoded,
        text: Option<&[u8]>,
        pacer: &mut Pacer,
    ) -> Result<(), Stop> {
        let times = pacer.event_times(&decoded.rows)?;
        let mut sent_rows = 0;
        let mut sent_bytes = 0;
        while sent_rows < times.len() {
            let to = self.to.clone();
            let due = pacer.wait(&times[sent_rows..], &|| to.is_closed()).ok_or(Stop::Dropped)?;
            let mut end_row = sent_rows + due;
            // Rows of one record go together: there is no place between them.
            while end_row < times.len()
                && decoded.row_ends[end_row] == decoded.row_ends[end_row - 1]
            {
                end_row += 1;
            }
            let is_last = end_row == times.len();
            let end = if is_last { decoded.bytes } else { decoded.row_ends[end_row - 1] };
            let rejects = match is_last {
                true => decoded.rejected.len(),
                false => decoded.rejected_ends.iter().filter(|&&at| at <= end).count(),
            };
            decoded.rejected_ends.drain(..rejects);
            let piece = Decoded {
                rows: decoded.rows.slice(sent_rows, end_row - sent_rows),
                rejected: decoded.rejected.drain(..rejects).collect(),
                bytes: end - sent_bytes,
                lines: text.map_or(0, |text| count_lines(&text[sent_bytes..end])),
                row_ends: Vec::new(),
                rejected_ends: Vec::new(),
                hash: None,
            };
            self.send_piece(file, piece)?;
            (sent_rows, sent_bytes) = (end_row, end);
        }
        if times.is_empty() { self.send_piece(file, decoded) } else { Ok(()) }
    }

    fn send_piece(&mut self, file: &str, decoded: Decoded) -> Result<(), Stop> {
        let bytes = decoded.bytes as u64;
        let mut origin = None;
        if let Some(mark) = self.marks.files.get_mut(file) {
            if let (Some(size), Some(hash), Place::Text { offset, .. }) =
                (self.referred, &decoded.hash, mark.place)
            {
                origin = Some(FileRange {
                    file: file.to_owned(),
                    size,
                    offset,
                    length: bytes,
                    hash: hash.to_hex().to_string(),
                    rows: decoded.rows.num_rows() as u64,
                });
            }
            mark.place.advance(bytes, decoded.lines);
        }
        let Decoded { rows, rejected, .. } = decoded;
        let position = self.marks.to_position()?;
        self.send_chunk(Chunk { rows, rejected, position, bytes, origin })
    }

    /// Hands over that the marks have changed.
    pub(super) fn send_position(&mut self) -> Result<(), Stop> {
        let position = self.marks.to_position()?;
        let rows = self.nothing.clone();
        self.send_chunk(Chunk { rows, rejected: Vec::new(), position, bytes: 0, origin: None })
    }

    fn send_chunk(&self, chunk: Chunk) -> Result<(), Stop> {
        self.to.blocking_send(Message::Chunk(Box::new(chunk))).map_err(|_| Stop::Dropped)
    }
}

pub(super) fn count_lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}
