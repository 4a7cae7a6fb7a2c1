//! Panes that have no room in memory: those that no row has touched lately go to disk, and of those the latest first,
//! for they are needed last.
//!
//! Partial aggregates can be merged, so nothing has to come back for a row: it goes into a new piece of its pane, in
//! memory, and the pieces meet when their window closes. So a key that rows touch again and again is on disk as often
//! as its pane went there.

use std::cmp::Reverse;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;

use super::snapshot::PieceRows;
use super::{Open, Panes, Piece, Place};
use crate::error::Result;
use crate::operator::groups::{PartialGroups, named};
use crate::state::StateMemory;
use crate::state::spill::{BatchesView, Layout, Part, SpilledBatches};

/// Groups that are written, and read as state, at a time: they are in memory twice until they have gone.
const SPILLED_GROUPS: usize = if cfg!(test) { 4 } else { 1 << 15 };

/// Where pieces go: as state has them, in the order of their panes, then of the hashes of their keys.
pub(super) struct Spilling {
    memory: StateMemory,
    pieces: SpilledBatches,
    /// Rows that go together: those that state has as they are, and others. None wait when a call has returned.
    going: [(Part, PieceRows); 2],
}

impl Spilling {
    pub(super) fn new(memory: &StateMemory, keys: usize) -> Self {
        // Without keys a pane has one group, which is no more than what is known of it.
        let memory = memory.limited_if(keys > 0);
        let going = [Part::Written, Part::Unwritten].map(|part| (part, PieceRows::new(keys)));
        Self { pieces: SpilledBatches::new(memory.scratch.clone(), Layout::ByStamp, keys), memory, going }
    }

    /// The memory of all panes.
    pub(super) fn memory(&self) -> &StateMemory {
        &self.memory
    }

    /// Whether panes may have to go.
    pub(super) fn is_limited(&self) -> bool {
        self.memory.is_limited()
    }

    /// How many rows there are on disk.
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.pieces.memory_bytes()
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.pieces.disk_bytes()
    }

    /// The pieces that are here, or one part of them.
    pub(super) fn view(&self, only: Option<Part>) -> Option<BatchesView> {
        self.pieces.view(only, SPILLED_GROUPS)
    }

    /// A snapshot has all of them.
    pub(super) fn note_written(&mut self) {
        self.pieces.note_written();
    }

    pub(super) fn drop_pane(&mut self, start: i64) -> Result<()> {
        self.pieces.drop_at(start..start.saturating_add(1))
    }

    /// Adds a piece to those that go.
    fn add(&mut self, place: Place, is_written: bool, groups: &PartialGroups) -> Result<()> {
        for chunk in groups.chunks(SPILLED_GROUPS) {
            let (part, rows) = &mut self.going[usize::from(!is_written)];
            rows.add(place, &chunk)?;
            put(&mut self.pieces, *part, rows.take_full())?;
        }
        Ok(())
    }

    /// What goes is on disk then.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.going.iter_mut().try_for_each(|(part, rows)| put(&mut self.pieces, *part, rows.take()?))
    }
}

fn put(pieces: &mut SpilledBatches, part: Part, batches: Vec<RecordBatch>) -> Result<()> {
    for batch in batches {
        pieces.put(part, &batch, named(&batch, "pane")?.as_primitive::<Int64Type>().values())?;
    }
    Ok(())
}

impl Panes {
    /// Has panes go, if there is no room for all of them.
    pub(in crate::operator) fn make_room(&mut self) -> Result<()> {
        let (bytes, beside) = (self.memory_bytes(), self.spilling.memory_bytes());
        let Some(excess) = self.spilling.memory.excess(bytes, beside) else { return Ok(()) };
        let held = self.panes.iter().filter(|(_, pane)| pane.bytes > 0);
        let mut coldest: Vec<_> = held.map(|(start, pane)| (pane.touched, Reverse(*start), pane.bytes)).collect();
        coldest.sort_unstable();
        let mut freed = 0;
        for (_, Reverse(start), bytes) in coldest {
            if freed >= excess {
                break;
            }
            freed += bytes;
            self.put_away(start)?;
        }
        self.spilling.flush()?;
        self.panes.values_mut().for_each(|pane| pane.touched = false);
        self.clean_up()
    }

    /// Has what a pane has in memory go, with the next flush.
    pub(super) fn put_away(&mut self, start: i64) -> Result<()> {
        let Some(pane) = self.panes.get_mut(&start) else { return Ok(()) };
        self.bytes = self.bytes.saturating_sub(std::mem::take(&mut pane.bytes));
        let (pieces, open) = (std::mem::take(&mut pane.pieces), pane.open.take());
        self.rows -= pieces.iter().map(|piece| piece.partial.groups.rows()).sum::<usize>();
        for Piece { number, partial, is_written } in pieces {
            self.put_piece((start, number), is_written, &partial.groups)?;
        }
        if let Some(Open { number, mut groups, is_written }) = open {
            self.put_piece((start, number), is_written, &groups.take_partial()?)?;
        }
        Ok(())
    }

    /// Has a piece go, with the next flush.
    pub(super) fn put_piece(&mut self, place: Place, is_written: bool, groups: &PartialGroups) -> Result<()> {
        if groups.rows() > 0 {
            let pane = self.panes.entry(place.0).or_default();
            if !pane.away.contains(&place.1) {
                pane.away.push(place.1);
            }
            pane.away_rows += groups.rows();
        }
        self.spilling.add(place, is_written, groups)
    }
}
