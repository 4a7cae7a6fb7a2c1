//! Reads one split after another.

use arrow::array::RecordBatch;

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
