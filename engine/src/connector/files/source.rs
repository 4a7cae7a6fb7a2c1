//! Reads one split after another, at a pace if one is set.

use std::time::Duration;

use arrow::array::RecordBatch;

use super::listing::Listing;
use super::pace::Pace;
use crate::connector::{Source, SourceEvent};
use crate::error::Result;

/// How long the source sleeps at most before it looks at the clock again.
const PACE_SLEEP: Duration = Duration::from_millis(20);

/// A part of the files that is read from its beginning to its end. It holds nothing open before its
/// first batch and behind its last.
pub(super) trait Split: Send {
    /// The next rows, out of so many lines as a batch has rows at most: empty if none of them is a
    /// row. `None` at the end.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>>;
}

/// The files source.
pub(super) struct FilesSource {
    /// Splits still to read, the next one last.
    splits: Vec<Box<dyn Split>>,
    pace: Option<Pace>,
    /// What must still be there when the first row is read.
    unchecked: Option<Listing>,
}

impl FilesSource {
    pub(super) fn new(mut splits: Vec<Box<dyn Split>>, pace: Option<Pace>, unchecked: Option<Listing>) -> Self {
        splits.reverse();
        Self { splits, pace, unchecked }
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
        if self.pace.as_ref().is_none_or(Pace::is_empty) {
            match (self.read()?, &mut self.pace) {
                (None, _) => return Ok(SourceEvent::End),
                // Only bad rows: a command may have come while they were read.
                (Some(batch), _) if batch.num_rows() == 0 => return Ok(SourceEvent::Idle),
                (Some(batch), None) => return Ok(SourceEvent::Batch(batch)),
                (Some(batch), Some(pace)) => pace.hold(batch),
            }
        }
        match self.pace.as_mut().and_then(Pace::take_due) {
            Some(batch) => Ok(SourceEvent::Batch(batch)),
            None => {
                std::thread::sleep(PACE_SLEEP);
                Ok(SourceEvent::Idle)
            }
        }
    }
}
