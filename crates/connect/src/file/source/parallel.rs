//! Decoding of large files by several threads.
//!
//! The reading thread cuts text into blocks of whole lines, just where it would have to read on if
//! it decoded itself, and gives them to decoders by turns. It takes what they make in the same
//! turns, so that chunks, their order and their positions are those of a single thread.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, Scope};

use syncline_change::{Error, Result};

use super::super::config::Format;
use super::listing::Found;
use super::outlet::{Stop, count_lines};
use super::reader::Reader;
use super::text::TextBuffer;
use crate::decode::{Decoded, Input, RowDecoder};

/// Blocks beyond one a decoder: one that is being read, and one that is being handed over.
const SPARE_BLOCKS: usize = 2;

/// Text that is under way to decoders and back at most. Where rows may be so long that this is less
/// than two blocks, the reading thread decodes alone.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// Whole lines of a file.
pub(super) struct Block {
    /// What else was in the buffer is behind the lines.
    pub(super) buffer: Vec<u8>,
    pub(super) length: usize,
}

impl Block {
    pub(super) fn text(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// What a decoder made of a block.
struct DecodedBlock {
    block: Block,
    pieces: Vec<Decoded>,
}

impl Reader {
    /// Decodes what is in `buffer`, and what follows, by several threads, if it is worth that: until
    /// the end of the text is in the buffer, or what is there cannot be cut safely. Returns whether
    /// anything was read.
    pub(super) fn read_in_parallel<R: Read>(
        &mut self,
        buffer: &mut TextBuffer<R>,
        found: &Found,
    ) -> Result<bool, Stop> {
        let threads = self.job.decode_threads;
        let blocks_max = (threads + SPARE_BLOCKS).min(TEXT_BYTES_MAX / buffer.capacity());
        if threads < 2 || blocks_max < 2 || !self.can_be_cut(buffer) {
            return Ok(false);
        }
        let (_, mut line) = self.text_place(found)?;
        std::thread::scope(|scope| {
            let hashes = self.outlet.referred.is_some();
            let rows_max = self.job.chunk_rows_max;
            let mut decoders = Decoders::new(scope, &found.name, rows_max, hashes);
            let mut filled = Ok(());
            loop {
                while filled.is_ok() && decoders.under_way() < blocks_max && self.can_be_cut(buffer)
                {
                    let Some(block) = buffer.take_lines(decoders.spare_buffer()) else { break };
                    let first_line = line + 1;
                    line += count_lines(block.text());
                    if decoders.lanes.len() < threads {
                        decoders.start_one(self.decoder.fork())?;
                    }
                    decoders.give(block, first_line)?;
                    filled = buffer.fill();
                }
                let Some(decoded) = decoders.take()? else { break };
                self.hand_over(found, &mut decoders, decoded)?;
            }
            // An error in reading on comes after what was read before it.
            filled.map(|()| true).map_err(Stop::from)
        })
    }

    /// Whether the buffer is full of text that is not the last, and each of its newlines ends a row.
    fn can_be_cut<R: Read>(&self, buffer: &TextBuffer<R>) -> bool {
        let is_quoted = || {
            self.job.config.format == Format::Csv && memchr::memchr(b'"', buffer.unread()).is_some()
        };
        buffer.is_full()
            && !buffer.is_at_end()
            && memchr::memrchr(b'\n', buffer.unread()).is_some()
            && !is_quoted()
    }

    fn hand_over(
        &mut self,
        found: &Found,
        decoders: &mut Decoders<'_, '_>,
        decoded: DecodedBlock,
    ) -> Result<(), Stop> {
        let DecodedBlock { block, pieces } = decoded;
        let mut start = 0;
        for piece in pieces {
            let end = start + piece.bytes;
            self.outlet.send(&found.name, piece, Some(&block.text()[start..end]))?;
            start = end;
        }
        decoders.spare_buffers.push(block.buffer);
        Ok(())
    }
}

/// Threads that decode, started as there are blocks for them. They end when this is dropped.
struct Decoders<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    label: &'env str,
    rows_max: usize,
    /// Whether what is decoded is hashed.
    hashes: bool,
    lanes: Vec<Lane>,
    /// The lanes that have a block, in the order of the blocks.
    turns: VecDeque<usize>,
    next_turn: usize,
    spare_buffers: Vec<Vec<u8>>,
}

/// To and from one thread. What is in the channels is bounded by who gives and takes.
struct Lane {
    to: Sender<(Block, u64)>,
    from: Receiver<Result<DecodedBlock>>,
}

impl<'scope, 'env> Decoders<'scope, 'env> {
    fn new(
        scope: &'scope Scope<'scope, 'env>,
        label: &'env str,
        rows_max: usize,
        hashes: bool,
    ) -> Self {
        Self {
            scope,
            label,
            rows_max,
            hashes,
            lanes: Vec::new(),
            turns: VecDeque::new(),
            next_turn: 0,
            spare_buffers: Vec::new(),
        }
    }

    fn under_way(&self) -> usize {
        self.turns.len()
    }

    fn spare_buffer(&mut self) -> Vec<u8> {
        self.spare_buffers.pop().unwrap_or_default()
    }

    fn start_one(&mut self, mut decoder: Box<dyn RowDecoder>) -> Result<()> {
        let (to, blocks) = channel::<(Block, u64)>();
        let (results, from) = channel();
        let (label, rows_max, hashes) = (self.label, self.rows_max, self.hashes);
        let decode = move || {
            for (block, first_line) in blocks {
                let pieces = decode_block(&mut *decoder, block.text(), first_line, label, rows_max);
                let decoded = pieces.map(|mut pieces| {
                    if hashes {
                        hash_pieces(&mut pieces, block.text());
                    }
                    DecodedBlock { block, pieces }
                });
                if results.send(decoded).is_err() {
                    // Nobody waits for it any more.
                    return;
                }
            }
        };
        Builder::new().name("decode".to_owned()).spawn_scoped(self.scope, decode).map_err(
            |error| Error::unavailable("no thread can be started").detail(error.to_string()),
        )?;
        // It is its turn at once: until now all others have had theirs.
        self.next_turn = self.lanes.len();
        self.lanes.push(Lane { to, from });
        Ok(())
    }

    fn give(&mut self, block: Block, first_line: u64) -> Result<()> {
        let turn = self.next_turn;
        let lane = self.lanes.get(turn).ok_or_else(died)?;
        lane.to.send((block, first_line)).map_err(|_| died())?;
        self.turns.push_back(turn);
        self.next_turn = (turn + 1) % self.lanes.len();
        Ok(())
    }

    /// What became of the oldest block that is under way; waits for it. `None`: there is none.
    fn take(&mut self) -> Result<Option<DecodedBlock>> {
        let Some(turn) = self.turns.pop_front() else { return Ok(None) };
        let lane = self.lanes.get(turn).ok_or_else(died)?;
        lane.from.recv().map_err(|_| died())?.map(Some)
    }
}

fn died() -> Error {
    Error::bug("a thread that decodes died")
}

/// Notes of each of the pieces of `text` the hash of what it was made from.
fn hash_pieces(pieces: &mut [Decoded], mut text: &[u8]) {
    for piece in pieces {
        let (of, rest) = text.split_at(piece.bytes);
        piece.hash = Some(blake3::hash(of));
        text = rest;
    }
}

/// Everything in `text`, whole lines, of which the first is number `first_line`.
fn decode_block(
    decoder: &mut dyn RowDecoder,
    text: &[u8],
    first_line: u64,
    label: &str,
    rows_max: usize,
) -> Result<Vec<Decoded>> {
    let (mut start, mut line) = (0, first_line);
    let mut pieces = Vec::new();
    while start < text.len() {
        let bytes = &text[start..];
        let input = Input { bytes, first_line: line, label, at_end: false, rows_max };
        let decoded = decoder.decode_front(&input)?;
        if decoded.bytes == 0 {
            return Err(Error::bug(format!("a block of {label} does not end where a row ends")));
        }
        start += decoded.bytes;
        line += decoded.lines;
        pieces.push(decoded);
    }
    Ok(pieces)
}
