//! Which pieces of state are in which pack.

use std::collections::{BTreeMap, BTreeSet};

use arrow::buffer::Buffer;
use syncline_change::{Error, Result};
use syncline_engine::{PIECE_PARTS, Piece, SavedState};
use syncline_store::DataDir;
use syncline_store::checkpoints;
use syncline_store::state::{self, PackWriter, Packs, Stored, Tables};

/// Checkpoints whose state is kept, so that a start can go on from them.
const STATES_KEPT: usize = 3;

#[derive(Default)]
pub(crate) struct Pieces {
    packs: Packs,
    /// By the numbers that pieces have as their places: where they are, and the piece there.
    stored: BTreeMap<u64, (Stored, Piece)>,
    last_number: u64,
}

impl Pieces {
    /// Reads the state that a pack has the index of; `None`: there is no such pack. `check` looks whether
    /// pieces are what was written.
    ///
    /// # Errors
    /// `Corrupt` if it is not what was written.
    pub(super) fn read(
        dir: &DataDir,
        pack: &str,
        check: impl Fn(&[(Stored, Vec<Buffer>)]) -> Result<()>,
    ) -> Result<Option<(SavedState, Self)>> {
        let mut made = Self::default();
        let Some(tables) = made.packs.index(dir, pack)? else { return Ok(None) };
        let (mut found, mut read) = (BTreeMap::new(), Vec::new());
        for (table, stored) in tables {
            let mut pieces = Vec::with_capacity(stored.len());
            for stored in stored {
                let parts = made.packs.read(dir, &stored)?;
                read.push((stored.clone(), parts.clone()));
                pieces.push(made.place(piece(parts)?, stored));
            }
            found.insert(table, pieces);
        }
        check(&read)?;
        Ok(Some((SavedState::of_tables(found), made)))
    }

    /// Notes where a piece is.
    fn place(&mut self, piece: Piece, stored: Stored) -> Piece {
        self.last_number += 1;
        piece.set_place(self.last_number);
        self.stored.insert(self.last_number, (stored, piece.clone()));
        piece
    }

    /// Writes the pieces of a state that are in no pack yet, or in one that is mostly of no use any
    /// more, and the index of all. Returns the name of its pack. The pieces are those on disk then.
    ///
    /// # Errors
    /// `Storage` if the disk refuses: nothing has changed.
    pub(super) fn write(&mut self, dir: &DataDir, state: &mut SavedState) -> Result<String> {
        let stored = |piece: &Piece| Some(&self.stored.get(&piece.place()?)?.0);
        let mut used: BTreeMap<&str, u64> = BTreeMap::new();
        for stored in state.tables().values().flatten().filter_map(stored) {
            *used.entry(stored.pack()).or_default() += stored.bytes();
        }
        let sizes = state::sizes(dir)?;
        let is_worth_it = |stored: &&Stored| {
            let used = used.get(stored.pack()).copied().unwrap_or(0);
            sizes.get(stored.pack()).is_some_and(|size| used * 2 >= *size)
        };
        let mut pack = PackWriter::begin(dir)?;
        let mut tables = Tables::new();
        for (table, pieces) in state.tables() {
            let mut of = Vec::with_capacity(pieces.len());
            for piece in pieces {
                of.push(match stored(piece).filter(is_worth_it) {
                    Some(stored) => stored.clone(),
                    None => pack.add(&piece.parts())?,
                });
            }
            tables.insert(table.clone(), of);
        }
        let (name, tables) = pack.finish(tables)?;
        self.take_places(dir, state, tables)?;
        Ok(name)
    }

    /// Puts what is on disk in the place of pieces in memory.
    fn take_places(&mut self, dir: &DataDir, state: &mut SavedState, tables: Tables) -> Result<()> {
        let mut before = std::mem::take(&mut self.stored);
        let mut placed = BTreeMap::new();
        for (table, stored) in tables {
            let pieces = state.tables().get(&table).map_or(&[][..], Vec::as_slice);
            let mut of = Vec::with_capacity(stored.len());
            for (piece, stored) in pieces.iter().zip(stored) {
                let known = piece.place().and_then(|place| before.remove_entry(&place));
                if let Some((place, (at, known))) = known.filter(|(_, (at, _))| *at == stored) {
                    of.push(known.clone());
                    self.stored.insert(place, (at, known));
                    continue;
                }
                let found = self::piece(self.packs.read(dir, &stored)?)?;
                of.push(self.place(found, stored));
                // Whoever has the piece in memory hands that over again.
                piece.set_place(self.last_number);
            }
            placed.insert(table, of);
        }
        *state = SavedState::of_tables(placed);
        let names = self.stored.values().map(|(stored, _)| stored.pack().to_owned());
        self.packs.retain(&names.collect());
        Ok(())
    }

    /// Removes the packs that neither the newest checkpoints nor those of the epochs `pinned` need.
    ///
    /// # Errors
    /// `Storage` if the disk refuses.
    pub(super) fn retain(&self, dir: &DataDir, pinned: &BTreeSet<u64>) -> Result<()> {
        let mut needed: BTreeSet<String> = BTreeSet::new();
        let mut packs = Packs::default();
        let epochs = checkpoints::list(dir)?.into_iter().rev().enumerate();
        let kept = epochs.filter(|(age, epoch)| *age < STATES_KEPT || pinned.contains(epoch));
        for (_, epoch) in kept {
            // What cannot be read is of no use to anybody.
            let Ok(Some(checkpoint)) = checkpoints::read(dir, epoch) else { continue };
            let Some(of) = checkpoint.state else { continue };
            if let Ok(Some(tables)) = packs.index(dir, &of.pack) {
                needed.extend(tables.values().flatten().map(|stored| stored.pack().to_owned()));
                needed.insert(of.pack);
            }
        }
        state::retain(dir, &needed)
    }
}

/// The epochs and times of the checkpoints whose state is there, the oldest first.
///
/// # Errors
/// `Storage` if the disk refuses.
pub(super) fn with_state(dir: &DataDir) -> Result<Vec<(u64, i64)>> {
    let sizes = state::sizes(dir)?;
    let mut found = Vec::new();
    for epoch in checkpoints::list(dir)? {
        let Ok(Some(checkpoint)) = checkpoints::read(dir, epoch) else { continue };
        let Some(of) = checkpoint.state.filter(|of| sizes.contains_key(&of.pack)) else { continue };
        let Ok(Some(tables)) = Packs::default().index(dir, &of.pack) else { continue };
        if tables.values().flatten().all(|stored| sizes.contains_key(stored.pack())) {
            found.push((epoch, checkpoint.time_us));
        }
    }
    Ok(found)
}

fn piece(parts: Vec<Buffer>) -> Result<Piece> {
    let parts: Result<[Buffer; PIECE_PARTS], _> = parts.try_into();
    Piece::of_parts(parts.map_err(|_| Error::corrupt("a piece of state has other parts"))?)
}
