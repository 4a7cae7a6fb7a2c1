//! Reads one split after another.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::listing::Listing;
use crate::connector::{Source, SourceEvent};
use crate::error::Result;

/// A part of the files that is read from its beginning to its end. It holds nothing open before its
/// first batch and behind its last.
pub(super) trait Split: Send {
    /// The next rows, out of so many lines as a batch has rows at most: empty if none of them is a
    /// row. `None` at the end.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>>;
}

/// The splits of a source.
#[derive(Default)]
pub(super) struct Splits {
    /// What this subtask reads, in order.
    pub(super) own: Vec<Box<dyn Split>>,
    /// How many splits all subtasks read together.
    pub(super) all: usize,
}

/// Rows that came together and are passed on bit by bit.
#[derive(Default)]
pub(super) struct Held {
    batch: Option<RecordBatch>,
    passed_on: usize,
}

impl Held {
    pub(super) fn new(batch: RecordBatch) -> Self {
        Self { batch: Some(batch), passed_on: 0 }
    }

    /// How many they were.
    pub(super) fn rows(&self) -> usize {
        self.batch.as_ref().map_or(0, RecordBatch::num_rows)
    }

    /// Whether all have been passed on.
    pub(super) fn is_empty(&self) -> bool {
        self.passed_on == self.rows()
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

/// The files source.
pub(super) struct FilesSource {
    /// Splits still to read, the next one last.
    splits: Vec<Box<dyn Split>>,
    /// What must still be there when the first row is read.
    unchecked: Option<Listing>,
}

impl FilesSource {
    pub(super) fn new(mut splits: Vec<Box<dyn Split>>, unchecked: Option<Listing>) -> Self {
        splits.reverse();
        Self { splits, unchecked }
    }

    fn read(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(split) = self.splits.last_mut() {
            if let Some(batch) = split.next_batch()? {
                return Ok(Some(batch));
            }
            self.splits.pop();
        }
        Ok(None)
    }
}

impl Source for FilesSource {
    fn next_event(&mut self) -> Result<SourceEvent> {
        if let Some(listing) = self.unchecked.take() {
            listing.check_unchanged()?;
        }
        Ok(match self.read()? {
            None => SourceEvent::End,
            // Only bad rows: a command may have come while they were read.
            Some(batch) if batch.num_rows() == 0 => SourceEvent::Idle,
            Some(batch) => SourceEvent::Batch(batch),
        })
    }
}
