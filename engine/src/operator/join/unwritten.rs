//! Which rows of a side have come, changed or gone since its state was written.
//!
//! In state rows are called by their ids: a later row has a larger one. A row's id is its number when everything was
//! written; numbers change with every clean-up and ids do not.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};

use crate::error::Result;
use crate::operator::changed_keys::{Changed, ChangedKeys};
use crate::state::StateWriter;

/// See the [module](self). Nothing is noted before state has been written that changes could go on from.
#[derive(Default)]
pub(super) struct Unwritten {
    /// The rows that were written and have another number of partners since.
    changed: ChangedKeys,
    /// The ids of rows that were written and are gone.
    gone: Vec<u32>,
    /// Rows from this number on have come since.
    first_new: u32,
    /// The ids of the first rows; those of the others follow from `next` on.
    ids: Vec<u32>,
    next: u32,
}

/// What has to be written.
pub(super) struct ToWrite {
    /// The numbers of rows, in order; some may be gone.
    pub(super) rows: Vec<u32>,
    /// The ids of rows that are gone.
    pub(super) gone: RecordBatch,
}

impl Unwritten {
    /// A row has a partner more or less.
    pub(super) fn note_partner(&mut self, row: u32) {
        if row < self.first_new {
            self.changed.note(row as usize);
        }
    }

    /// A row is gone.
    pub(super) fn note_gone(&mut self, row: u32) {
        if row < self.first_new && self.changed.is_noting() {
            self.gone.push(self.id(row));
        }
    }

    /// The id of a row.
    pub(super) fn id(&self, row: u32) -> u32 {
        let known = self.ids.get(row as usize).copied();
        known.unwrap_or_else(|| self.next + (row - self.ids.len() as u32))
    }

    /// Of so many rows these are left: the i-th has the number i now.
    pub(super) fn keep(&mut self, live: &[u32], all: u32) {
        if !self.changed.is_noting() {
            return;
        }
        self.changed.keep(live);
        self.first_new = live.partition_point(|row| *row < self.first_new) as u32;
        let ids = live.iter().map(|row| self.id(*row)).collect();
        (self.next, self.ids) = (self.id(all), ids);
    }

    /// What has to be written of so many rows, and is written now; none if that is everything.
    pub(super) fn take(&mut self, all: u32, state: &StateWriter<'_>) -> Result<Option<ToWrite>> {
        let changed = self.changed.take(state);
        let gone = UInt32Array::from(std::mem::take(&mut self.gone));
        let new = std::mem::replace(&mut self.first_new, all)..all;
        // Ids have to be of another size some day: before they come to their end, they begin anew.
        let is_far = u64::from(self.next) + u64::from(all) > u64::from(u32::MAX) / 2;
        let Some(Changed { mut numbers, .. }) = changed.filter(|_| !is_far) else {
            (self.ids, self.next) = (Vec::new(), 0);
            return Ok(None);
        };
        numbers.extend(new);
        let gone = RecordBatch::try_from_iter([("id", Arc::new(gone) as _)])?;
        Ok(Some(ToWrite { rows: numbers, gone }))
    }

    /// Rows with these ids were read, behind those that had been.
    pub(super) fn take_up(&mut self, ids: &UInt32Array) {
        self.ids.extend(ids.values());
    }

    /// Everything was read.
    pub(super) fn begin(&mut self) {
        self.changed.begin();
        self.first_new = self.ids.len() as u32;
        self.next = self.ids.iter().max().map_or(0, |last| last + 1);
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.changed.bytes() + (self.gone.capacity() + self.ids.capacity()) * size_of::<u32>()
    }
}
