//! Rows of keys that have no room in memory: the rows of a key on both sides go to disk, and come back, in their order,
//! when a row with that key comes on either. They are there as state has them, with their ids.

use super::Join;
use super::side::Side;
use crate::error::Result;
use crate::operator::recency::Recency;
use crate::operator::state_rows::{STATE_ROWS, some_keys};
use crate::state::StateMemory;
use crate::state::spill::{Layout, Part, SpilledBatches, TakenRows, with_keys};

/// Where rows go.
pub(super) struct Spilling {
    pub(super) memory: StateMemory,
    recency: Recency,
    /// Bytes of it that something else takes meanwhile.
    pub(super) beside: usize,
    /// Those of each side, with all of their key's.
    pub(super) sides: [SpilledBatches; 2],
}

impl Spilling {
    pub(super) fn new(memory: &StateMemory, keys: &[usize]) -> Self {
        // Without keys all rows are of one, which is always needed.
        let memory = memory.limited_if(!keys.is_empty());
        let sides = [0, 1].map(|_| SpilledBatches::new(memory.scratch.clone(), Layout::OneRun, keys.len()));
        Self { memory, recency: Recency::default(), beside: 0, sides }
    }

    /// Whether rows may have to go.
    pub(super) fn is_limited(&self) -> bool {
        self.memory.is_limited()
    }

    /// Only these keys are in memory: the i-th has the number i now.
    pub(super) fn keep(&mut self, live: &[u32]) {
        self.recency.keep(live);
    }

    pub(super) fn bytes(&self) -> usize {
        self.sides.iter().map(SpilledBatches::memory_bytes).sum::<usize>() + self.recency.bytes()
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.sides.iter().map(SpilledBatches::disk_bytes).sum()
    }
}

impl Join {
    /// Takes the rows of keys back that are new in memory, whose numbers begin at `known`.
    pub(super) fn take_back(&mut self, known: usize) -> Result<()> {
        let new: Vec<u32> = (known as u32..self.keys.len() as u32).collect();
        if new.is_empty() || self.spilling.sides.iter().all(|rows| rows.len() == 0) {
            return Ok(());
        }
        let keys = self.keys.keys(&new)?;
        for (side, on_disk) in self.sides.iter_mut().zip(&mut self.spilling.sides) {
            let Some(TakenRows { rows, places, parts }) = on_disk.take(&keys)? else { continue };
            side.take_back(&rows, &places.iter().map(|place| known + place).collect::<Vec<_>>(), &parts)?;
        }
        Ok(())
    }

    /// Rows have these keys.
    pub(super) fn note_recent(&mut self, keys: &[usize]) {
        if self.spilling.is_limited() {
            keys.iter().for_each(|key| self.spilling.recency.note(*key));
        }
    }

    /// How many rows are joined at a time, of so many: each may bring all that is of its key back.
    pub(super) fn rows_at_once(&self, rows: usize) -> usize {
        self.spilling.memory.rows_at_once(rows, self.held_bytes() / self.keys.len().max(1))
    }

    /// Bytes of what could be on disk.
    fn held_bytes(&self) -> usize {
        self.keys.bytes() + self.sides.iter().map(Side::bytes).sum::<usize>()
    }

    /// How many keys there is room for, if it is not for all.
    fn room(&self) -> Option<usize> {
        let bytes = self.held_bytes();
        self.spilling.memory.room(self.keys.len(), bytes, self.spilling.bytes() + self.spilling.beside)
    }

    /// Has the rows of some keys go, if there is no room for all of them.
    pub(super) fn spill(&mut self) -> Result<()> {
        if self.room().is_none() {
            return Ok(());
        }
        self.compact()?;
        let Some(room) = self.room() else { return Ok(()) };
        let cold = self.spilling.recency.take_cold(self.keys.len(), room);
        for side in 0..self.sides.len() {
            let rows = self.sides[side].rows_of(&cold);
            let (written, unwritten): (Vec<_>, Vec<_>) =
                rows.chunk_by(|a, b| a.0 == b.0).partition(|rows| self.sides[side].part(rows) == Part::Written);
            let at_once = self.spilling.memory.rows_at_once(STATE_ROWS, self.sides[side].row_bytes());
            for (part, rows) in [(Part::Written, written.concat()), (Part::Unwritten, unwritten.concat())] {
                some_keys(&rows, at_once).into_iter().try_for_each(|rows| self.put_away(side, part, rows))?;
            }
            self.sides[side].let_go(&rows);
        }
        self.compact()
    }

    fn put_away(&mut self, side: usize, part: Part, rows: &[(u32, u32)]) -> Result<()> {
        let (keys, numbers): (Vec<u32>, Vec<u32>) = rows.iter().copied().unzip();
        let (rows, times) = (self.sides[side].write(&numbers)?, self.sides[side].times(&numbers));
        let rows = with_keys(self.keys.schema(), &self.keys.keys(&keys)?, &rows)?;
        self.spilling.sides[side].put(part, &rows, &times)
    }
}
