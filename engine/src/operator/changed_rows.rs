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
    rows: usize,
}

impl ChangedRows {
    /// Rows come or go, while so many are there. Once there are half as many changes, all rows are written instead.
    pub(super) fn note(&mut self, rows: &RecordBatch, there: usize) {
        if !self.is_noting {
            return;
        }
        self.rows += rows.num_rows();
        self.batches.push(rows.clone());
        if 2 * self.rows > there.max(CHANGES_MIN) {
            *self = Self::default();
        }
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
        self.batches.iter().map(batch_bytes).sum()
    }
}
