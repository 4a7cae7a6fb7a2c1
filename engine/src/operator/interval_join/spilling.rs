//! Rows of an interval join that have no room in memory: the oldest go to disk, and come back when a row of the other
//! side has their key.
//!
//! Rows that are emitted when they are ruled out come back a while before they are, for in memory it is known in which
//! order they will be. So those that are due soon go last, and the disk is not read at each watermark.

use arrow::array::RecordBatch;
use tidemill_plans::time::{EventTime, Watermark};

use super::side::{Arrival, Side};
use super::{IntervalJoin, NAMES};
use crate::error::Result;
use crate::operator::state_rows::STATE_ROWS;
use crate::state::StateReader;

/// Rows come back, or are dropped, for so many-th of the time that those on disk have left.
const PARTS_OF_TIME: i64 = 8;

impl IntervalJoin {
    /// Takes the rows back from disk that are held by the other side under the keys of rows that have just come.
    pub(super) fn take_back(&mut self, port: usize, arrival: &Arrival) -> Result<()> {
        if self.sides[1 - port].on_disk.len() == 0 {
            return Ok(());
        }
        let keys = self.sides[port].keys_of(arrival)?;
        let other = &mut self.sides[1 - port];
        let Some(taken) = other.on_disk.take(&keys)? else { return Ok(()) };
        other.hold_again(&taken.rows, Some(&taken.parts))
    }

    /// Has rows go to disk, if there is no room for all of them.
    pub(super) fn spill(&mut self) -> Result<()> {
        let rows = self.sides.iter().map(Side::rows).sum::<usize>();
        let (bytes, beside) = (self.bytes_in_memory(), self.bytes_beside());
        let Some(room) = self.memory.room(rows, bytes, beside) else { return Ok(()) };
        let watermarks = self.sides.each_ref().map(|side| side.watermark);
        for (port, side) in self.sides.iter_mut().enumerate() {
            // Each side keeps the same part of its rows.
            let kept = side.rows() as u128 * room as u128 / rows.max(1) as u128;
            side.spill(kept as usize, watermarks[1 - port])?;
        }
        Ok(())
    }

    pub(super) fn bytes_in_memory(&self) -> usize {
        self.sides.iter().map(Side::bytes).sum()
    }

    pub(super) fn bytes_beside(&self) -> usize {
        self.sides.iter().map(|side| side.on_disk.memory_bytes()).sum()
    }

    pub(super) fn restore_side(&mut self, port: usize, state: &StateReader<'_>) -> Result<()> {
        let (state, other) = (state.part(NAMES[port]), self.sides[1 - port].watermark);
        self.sides[port].begin();
        for rows in state.batches("rows")? {
            self.sides[port].take_up(&rows?, state.epoch().is_none(), other)?;
            self.spill()?;
        }
        self.sides[port].end();
        Ok(())
    }
}

impl Side {
    /// Has all held rows go to disk but so many.
    fn spill(&mut self, kept: usize, other: Watermark) -> Result<()> {
        self.drop_ruled_out(other)?;
        let excess = self.rows().saturating_sub(kept);
        if excess == 0 {
            return Ok(());
        }
        let mut rows = self.by_time();
        if self.role.keeps_unmatched {
            let soon = self.soon(self.last_time, other);
            let due = rows.partition_point(|(time, _)| *time < soon);
            rows[..due].reverse();
            rows.rotate_left(due);
        }
        rows.truncate(excess);
        rows.sort_unstable_by_key(|(_, row)| *row);
        self.put_away(&rows)
    }

    /// Rows from before this time are ruled out.
    fn ruled_out_before(&self, other: Watermark) -> EventTime {
        other.0.plus(-self.reach.1)
    }

    /// Rows from before this time are due soon, if the last of all has this one.
    fn soon(&self, last: i64, other: Watermark) -> i64 {
        let now = self.ruled_out_before(other).0;
        now.saturating_add(last.saturating_sub(now).max(0) / PARTS_OF_TIME)
    }

    /// Takes the rows on disk that are ruled out, and those that soon will be. The latter are held, the former are
    /// returned if the join emits them.
    pub(super) fn take_due(&mut self, other: Watermark) -> Result<Vec<RecordBatch>> {
        let (Some((oldest, last)), now) = (self.on_disk.stamps(), self.ruled_out_before(other).0) else {
            return Ok(Vec::new());
        };
        let mut due = Vec::new();
        if !self.role.keeps_unmatched {
            if self.soon(last, other).saturating_sub(now) <= now.saturating_sub(oldest) {
                self.on_disk.drop_before(now, false)?;
            }
        } else if oldest < now {
            self.on_disk.take_before(self.soon(last, other), STATE_ROWS, |rows| {
                due.push(rows);
                Ok(())
            })?;
        }
        let mut alone = Vec::new();
        for rows in due {
            let [ruled_out, waiting] = self.part_ruled_out(&rows, other)?;
            alone.push(ruled_out);
            self.hold_again(&waiting, None)?;
        }
        alone.retain(|rows| rows.num_rows() > 0);
        Ok(alone)
    }
}
