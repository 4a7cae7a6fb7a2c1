//! Rows that a format's library gives out together, passed on bit by bit.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

/// Rows that came together and are passed on bit by bit.
#[derive(Default)]
pub(super) struct Held {
    batch: Option<RecordBatch>,
    passed_on: usize,
}

impl Held {
    /// Rows of which some have been passed on.
    pub(super) fn behind(batch: RecordBatch, passed_on: usize) -> Self {
        Self { batch: Some(batch), passed_on }
    }

    /// How many they were.
    pub(super) fn rows(&self) -> usize {
        self.batch.as_ref().map_or(0, RecordBatch::num_rows)
    }

    /// Whether all have been passed on.
    pub(super) fn is_empty(&self) -> bool {
        self.passed_on == self.rows()
    }

    /// How many have been passed on.
    pub(super) fn passed_on(&self) -> usize {
        self.passed_on
    }

    /// So many of those that are left, and the number of the first of them.
    pub(super) fn take(&mut self, rows: usize) -> (usize, RecordBatch) {
        let first = self.passed_on;
        let rows = rows.min(self.rows() - first);
        self.passed_on += rows;
        let taken = self.batch.as_ref().map(|batch| batch.slice(first, rows));
        (first, taken.unwrap_or_else(|| RecordBatch::new_empty(Arc::new(Schema::empty()))))
    }
}
