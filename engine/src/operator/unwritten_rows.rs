//! Which rows of an operator have come, changed or gone since its state was written.
//!
//! In state rows are called by their ids: a later row has a larger one. A row's id is its number when everything was
//! written; numbers change with every clean-up and ids do not. Rows that are on disk keep theirs, and as long as there
//! are such rows ids do not begin anew.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};

use super::changed_keys::{Changed, ChangedKeys, GONE_MIN};
use crate::error::Result;
use crate::state::StateWriter;
use crate::state::spill::Part;

/// See the [module](self).
#[derive(Default)]
pub(super) struct UnwrittenRows {
    /// The rows that were written and have changed since.
    changed: ChangedKeys,
    /// The ids of rows that were written and are gone.
    gone: Vec<u64>,
    /// Rows with smaller ids were written: none before there is state that changes could go on from.
    written: u64,
    /// Rows with smaller numbers were.
    first_new: u32,
    /// The ids of the first rows; those of the others follow from `next` on.
    ids: Vec<u64>,
    next: u64,
}

/// What has to be written.
pub(super) struct ToWrite {
    /// The numbers of rows; some may be gone.
    pub(super) rows: Vec<u32>,
    /// The ids of rows that are gone.
    pub(super) gone: RecordBatch,
}

impl UnwrittenRows {
    /// Whether there is state that changes could go on from.
    pub(super) fn is_noting(&self) -> bool {
        self.written > 0
    }

    /// A row has changed.
    pub(super) fn note_changed(&mut self, row: u32) {
        if self.id(row) < self.written {
            self.changed.note(row as usize);
        }
    }

    /// A row is gone.
    pub(super) fn note_gone(&mut self, row: u32) {
        self.note_id_gone(self.id(row));
    }

    /// The row of an id is gone.
    pub(super) fn note_id_gone(&mut self, id: u64) {
        if id < self.written {
            self.gone.push(id);
        }
    }

    /// So many rows are there. If that is less than what is gone, it is not worth while to know what has changed: all
    /// that is left is written.
    pub(super) fn forget_if_most_is_gone(&mut self, there: usize) {
        if self.gone.len() > there.max(GONE_MIN) {
            (self.changed, self.gone, self.written, self.first_new) = Default::default();
        }
    }

    /// The id of a row.
    pub(super) fn id(&self, row: u32) -> u64 {
        let known = self.ids.get(row as usize).copied();
        known.unwrap_or_else(|| self.next + (u64::from(row) - self.ids.len() as u64))
    }

    /// Where a row goes that has no room in memory.
    pub(super) fn part(&self, row: u32) -> Part {
        let is_written = self.id(row) < self.written && !self.changed.has(row);
        if is_written { Part::Written } else { Part::Unwritten }
    }

    /// Some of so many rows have gone to disk.
    pub(super) fn note_on_disk(&mut self, all: u32) {
        self.fix(all);
    }

    /// Rows with these ids came behind those that are there, of which there are so many: from disk, or from state.
    pub(super) fn take_up(&mut self, all: u32, ids: &UInt64Array) {
        self.fix(all);
        self.ids.extend(ids.values());
        let last = ids.values().iter().max();
        self.next = self.next.max(last.map_or(0, |last| last + 1));
    }

    /// Gives so many rows the ids that they have for good.
    fn fix(&mut self, all: u32) {
        let until = self.id(all);
        self.ids.extend(self.next..until);
        self.next = until;
    }

    /// Of so many rows these are left: the i-th has the number i now.
    pub(super) fn keep(&mut self, live: &[u32], all: u32) {
        if self.written == 0 && self.next == 0 {
            return;
        }
        self.changed.keep(live);
        self.first_new = live.partition_point(|row| *row < self.first_new) as u32;
        let ids = live.iter().map(|row| self.id(*row)).collect();
        (self.next, self.ids) = (self.id(all), ids);
    }

    /// What has to be written of so many rows, and is written now; none if that is everything. There may be others on
    /// disk.
    pub(super) fn take(&mut self, all: u32, on_disk: usize, state: &StateWriter<'_>) -> Result<Option<ToWrite>> {
        let (gone, end) = (std::mem::take(&mut self.gone), self.id(all));
        let first_new = std::mem::replace(&mut self.first_new, all);
        let written = std::mem::replace(&mut self.written, end);
        let Some(Changed { numbers: mut rows, .. }) = self.changed.take(state) else {
            if on_disk == 0 {
                (self.ids, self.next, self.written) = (Vec::new(), 0, u64::from(all));
            }
            return Ok(None);
        };
        rows.extend((first_new..all).filter(|row| self.id(*row) >= written));
        let gone = RecordBatch::try_from_iter([("id", Arc::new(UInt64Array::from(gone)) as _)])?;
        Ok(Some(ToWrite { rows, gone }))
    }

    /// Ids for so many rows that have none, behind all others.
    pub(super) fn new_ids(&self, rows: usize) -> UInt64Array {
        UInt64Array::from_iter_values((self.next..).take(rows))
    }

    /// What is taken up from now on was written.
    pub(super) fn begin(&mut self) {
        self.changed.begin();
        self.written = u64::MAX;
    }

    /// Everything that was written has been taken up; there are so many rows in memory.
    pub(super) fn end(&mut self, all: u32) {
        (self.first_new, self.written) = (all, self.next);
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.changed.bytes() + (self.gone.capacity() + self.ids.capacity()) * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use tidemill_plans::ids::Epoch;

    use super::*;
    use crate::state::Snapshot;

    /// The numbers of the rows to be written, of so many, and how many ids are gone; none if all are to be written.
    fn take(rows: &mut UnwrittenRows, all: u32, on_disk: usize) -> Option<(Vec<u32>, usize)> {
        let mut snapshot = Snapshot::default();
        let written = rows.take(all, on_disk, &snapshot.writer_of_changes(Epoch(2), Epoch(1))).unwrap();
        written.map(|written| (written.rows, written.gone.num_rows()))
    }

    #[test]
    fn rows_keep_their_ids_while_some_are_on_disk() {
        let mut rows = UnwrittenRows::default();
        assert_eq!(take(&mut rows, 3, 0), None, "nothing was written");
        rows.note_changed(1);
        rows.note_on_disk(4);
        assert_eq!([1, 2, 3].map(|row| rows.part(row)), [Part::Unwritten, Part::Written, Part::Unwritten]);
        rows.keep(&[2], 4);
        assert_eq!((rows.id(0), rows.id(1)), (2, 4));
        rows.take_up(2, &UInt64Array::from(vec![0, 3]));
        rows.note_gone(2);
        assert_eq!(take(&mut rows, 4, 1), Some((vec![1, 3], 1)));
        assert_eq!([0, 1, 2, 3, 4].map(|row| rows.id(row)), [2, 4, 0, 3, 5]);
    }

    #[test]
    fn all_is_written_when_more_is_gone_than_there() {
        let mut rows = UnwrittenRows::default();
        take(&mut rows, 10, 0);
        (0..6).for_each(|row| rows.note_gone(row));
        rows.forget_if_most_is_gone(6);
        assert_eq!(take(&mut rows, 10, 0), Some((vec![], 6)));
        (0..7).for_each(|row| rows.note_gone(row));
        rows.forget_if_most_is_gone(6);
        assert_eq!(take(&mut rows, 10, 0), None);
    }
}
