//! Which rows have come or gone since an operator's state was written, where a row has no key but all of itself.
//!
//! They are kept as they come: only when state is written somebody asks which of them are there.

use arrow::array::RecordBatch;

use crate::task::batch_bytes;

/// So many changes are noted, however few rows there are.
const CHANGES_MIN: usize = if cfg!(test) { 8 } else { 4096 };

/// Nothing is noted before state has been written that changes could go on from.
#[derive(Default)]
pub(super) struct ChangedRows {
    is_noting: bool,
    batches: Vec<RecordBatch>,
    /// Rows of which it is known that they are gone.
    gone: Vec<RecordBatch>,
    rows: usize,
}

impl ChangedRows {
    /// Rows come or go, while so many are there. Once there are half as many changes, all rows are written instead.
    pub(super) fn note(&mut self, rows: &RecordBatch, there: usize) {
        if !self.is_noting {
            return;
        }
        self.batches.push(rows.clone());
        self.count(rows.num_rows(), there);
    }

    /// Rows are gone, as they are written then, while so many are there. They are noted apart from the others.
    pub(super) fn note_gone(&mut self, rows: RecordBatch, there: usize) {
        if !self.is_noting {
            return;
        }
        let count = rows.num_rows();
        self.gone.push(rows);
        self.count(count, there);
    }

    fn count(&mut self, rows: usize, there: usize) {
        self.rows += rows;
        if 2 * self.rows > there.max(CHANGES_MIN) {
            *self = Self::default();
        }
    }

    /// What is noted of rows that come or go.
    pub(super) fn noted(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// The same in other words.
    pub(super) fn set_noted(&mut self, batches: Vec<RecordBatch>) {
        if self.is_noting {
            self.rows = batches.iter().chain(&self.gone).map(RecordBatch::num_rows).sum();
            self.batches = batches;
        }
    }

    /// What was noted by [`Self::note_gone`], to be asked for before [`Self::take`] says whether it matters.
    pub(super) fn take_gone(&mut self) -> Vec<RecordBatch> {
        std::mem::take(&mut self.gone)
    }

    /// What has come or gone since state was written, or restored, last; none if all of it has to be written, as it has
    /// where nobody asks for `changes`. It is written now.
    pub(super) fn take(&mut self, changes: bool) -> Option<Vec<RecordBatch>> {
        let Self { is_noting, batches, .. } = std::mem::take(self);
        self.is_noting = true;
        (is_noting && changes).then_some(batches)
    }

    /// State has been restored: changes from now on may go on from it.
    pub(super) fn begin(&mut self) {
        *self = Self { is_noting: true, ..Self::default() };
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.batches.iter().chain(&self.gone).map(batch_bytes).sum()
    }
}
