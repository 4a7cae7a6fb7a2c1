//! Partitions that have no room in memory, and what has to be written of those that may go.
//!
//! A row that changes in a partition which is on disk before state is written could not be looked for there. So where
//! memory is limited it is noted which partitions have changed, and all of their rows are written.

use std::collections::BTreeMap;

use arrow::array::{Int64Array, RecordBatch};

use super::{Encoded, SortedRows};
use crate::error::Result;
use crate::operator::changed_keys::{Changed, ChangedKeys, Dropped};
use crate::operator::changed_rows::ChangedRows;
use crate::operator::spilled_partitions::{Back, Table};
use crate::operator::state_rows::{STATE_ROWS, take_note};
use crate::state::spill::Part;
use crate::state::{RowKeys, StateMemory, StateWriter};

/// What has changed since state was written.
pub(super) enum Unwritten {
    Rows(ChangedRows),
    /// Which partitions.
    Partitions(ChangedKeys),
}

impl Unwritten {
    pub(super) fn new(is_limited: bool) -> Self {
        if is_limited { Self::Partitions(ChangedKeys::default()) } else { Self::Rows(ChangedRows::default()) }
    }

    /// Rows of these partitions come or go, while so many are there.
    pub(super) fn note(&mut self, rows: &RecordBatch, partitions: &[usize], there: usize) {
        match self {
            Self::Rows(changed) => changed.note(rows, there),
            Self::Partitions(changed) => partitions.iter().for_each(|partition| changed.note(*partition)),
        }
    }

    /// Partitions were dropped. Nobody knows all of their rows, so where those are noted the others are written anew.
    pub(super) fn note_dropped(&mut self, dropped: &Dropped) {
        match self {
            Self::Rows(changed) => *changed = ChangedRows::default(),
            Self::Partitions(changed) => changed.note_dropped(dropped),
        }
    }

    /// Everything has been read.
    pub(super) fn begin(&mut self) {
        match self {
            Self::Rows(changed) => changed.begin(),
            Self::Partitions(changed) => changed.begin(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Rows(changed) => changed.bytes(),
            Self::Partitions(changed) => changed.bytes(),
        }
    }
}

impl SortedRows {
    /// Whether there is no room for all partitions, if they have so many bytes with what their owner knows.
    pub(in crate::operator) fn lacks_room(&self, bytes: usize) -> bool {
        self.partitions.lacks_room(bytes, 0)
    }

    /// Which partitions have to go then; none if there is room.
    pub(in crate::operator) fn take_cold(&mut self, bytes: usize) -> Option<Vec<u32>> {
        self.partitions.take_cold(bytes, 0)
    }

    /// Has partitions go, if there is no room for all, and nothing else is known of them.
    pub(in crate::operator) fn spill(&mut self) -> Result<()> {
        let Some(cold) = self.take_cold(self.bytes()) else { return Ok(()) };
        self.put_away(&cold)?;
        self.let_go(&cold).map(drop)
    }

    /// Puts the rows of partitions on disk. None of them may have changed since the last [`Self::take_changed`].
    pub(in crate::operator) fn put_away(&mut self, cold: &[u32]) -> Result<()> {
        debug_assert!(self.changed.is_empty(), "changes are taken before partitions go");
        let Unwritten::Partitions(unwritten) = &mut self.unwritten else { return Ok(()) };
        let parts = unwritten.parts(cold);
        // Those without rows leave nothing behind that would say so.
        let gone: Vec<u32> = parts[0].1.iter().copied().filter(|of| self.rows[*of as usize].is_empty()).collect();
        if !gone.is_empty() {
            unwritten.note_gone(self.partitions.keys(&gone)?, self.rows.len());
        }
        for (part, partitions) in parts {
            let (mut rows, mut counts, mut of) = (Vec::new(), Vec::new(), Vec::new());
            for (index, partition) in partitions.iter().enumerate() {
                for (row, count) in &self.rows[*partition as usize] {
                    rows.push(Encoded::clone(row));
                    counts.push(*count);
                }
                of.resize(rows.len(), *partition);
                if rows.len() >= STATE_ROWS || index + 1 == partitions.len() {
                    let batch = self.counted(&std::mem::take(&mut rows), std::mem::take(&mut counts))?;
                    self.partitions.put(Table::Rows, part, &batch, &std::mem::take(&mut of))?;
                }
            }
        }
        Ok(())
    }

    /// Lets partitions go of which everything is on disk. Returns the others: the i-th has the number i now.
    pub(in crate::operator) fn let_go(&mut self, cold: &[u32]) -> Result<Vec<u32>> {
        let live = self.partitions.let_go(cold)?;
        if let Unwritten::Partitions(unwritten) = &mut self.unwritten {
            unwritten.keep(&live);
        }
        self.keep(&live);
        Ok(live)
    }

    /// Makes room for partitions that are new in memory, with the rows of those that come back.
    pub(super) fn take_back(&mut self) -> Result<()> {
        self.rows.resize_with(self.partitions.len(), BTreeMap::new);
        self.marked.resize(self.partitions.len(), false);
        let Some(Back { numbers, rows }) = self.partitions.take_back(Table::Rows)? else { return Ok(()) };
        let (rows, counts) = take_note::<Int64Array>(&rows)?;
        // The next snapshot may lack what the store held.
        self.unwritten.note(&rows, &numbers, self.entries);
        self.insert(&rows, &counts, &numbers)
    }

    /// What the owner of the rows had put away besides, of the partitions that have come back last.
    pub(in crate::operator) fn take_known_back(&mut self) -> Result<Option<Back>> {
        self.partitions.take_back(Table::Known)
    }

    /// Puts what else is known of partitions that go on disk: rows, and the partition of each.
    pub(in crate::operator) fn put_known(&mut self, part: Part, rows: &RecordBatch, partitions: &[u32]) -> Result<()> {
        self.partitions.put(Table::Known, part, rows, partitions)
    }

    /// Writes what is on disk besides the rows.
    pub(in crate::operator) fn write_known(&mut self, name: &str, only: Option<Part>, state: &mut StateWriter<'_>) {
        self.partitions.write_spilled(Table::Known, name, self.partitions.belongs(), only, state);
    }

    /// Has some of the partitions on disk in the place of those in memory, until all of them were there; whether there
    /// were any.
    pub(in crate::operator) fn next_spilled(&mut self) -> Result<bool> {
        if !self.partitions.next_spilled()? {
            return Ok(false);
        }
        self.keep(&[]);
        self.take_back()?;
        Ok(true)
    }

    /// Bytes on disk.
    pub(in crate::operator) fn disk_bytes(&self) -> u64 {
        self.partitions.disk_bytes()
    }

    /// Writes the rows of the partitions that have changed, or all.
    pub(super) fn write_partitions(&mut self, changed: Option<Changed>, state: &mut StateWriter<'_>) -> Result<()> {
        let (belongs, changed) = (self.partitions.belongs(), changed.zip(self.row_keys()));
        let only = changed.as_ref().map(|_| Part::Unwritten);
        let numbers = match changed {
            Some((Changed { numbers, mut gone }, keys)) => {
                // Some of them have no rows any more.
                gone.push(self.partitions.keys(&numbers)?);
                state.changes("rows", belongs.clone(), keys, [], gone);
                numbers
            }
            None => (0..self.rows.len() as u32).collect(),
        };
        let rows = numbers.iter().flat_map(|partition| &self.rows[*partition as usize]);
        state.behind("rows", belongs.clone(), self.partitions.memory(), self.write(rows))?;
        self.partitions.write_spilled(Table::Rows, "rows", belongs, only, state);
        Ok(())
    }

    /// Writes the rows that have come and gone, or all.
    pub(super) fn write_rows(&mut self, changed: Option<Vec<RecordBatch>>, state: &mut StateWriter<'_>) -> Result<()> {
        let belongs = self.partitions.belongs();
        let Some(changes) = changed else {
            return state.behind("rows", belongs, self.partitions.memory(), self.write(self.rows.iter().flatten()));
        };
        let (mut there, mut gone) = (BTreeMap::new(), Vec::new());
        for rows in changes {
            gone.push(self.note_changed(&rows, &mut there)?);
        }
        let all = RowKeys::Exact((0..self.schema.fields().len()).collect());
        state.changes("rows", belongs.clone(), all, [], gone);
        state.behind("rows", belongs, self.partitions.memory(), self.write(there.iter()))
    }

    /// The memory of all rows.
    pub(in crate::operator) fn memory(&self) -> &StateMemory {
        self.partitions.memory()
    }
}
