//! Reads one split after another, at a pace if one is set.

use std::time::Duration;

use arrow::array::RecordBatch;

use crate::clock;
use crate::connector::{Source, SourceEvent};
use crate::error::Result;

/// How long the source sleeps at most before it looks at the clock again.
const PACE_SLEEP: Duration = Duration::from_millis(20);

/// A part of the files that is read from its beginning to its end.
pub(super) trait Split: Send {
    /// The next rows; `None` at the end.
    fn next_batch(&mut self) -> Result<Option<RecordBatch>>;
}

/// The files source.
pub(super) struct FilesSource {
    /// Splits still to read, the next one last.
    splits: Vec<Box<dyn Split>>,
    pace: Option<Pace>,
}

struct Pace {
    rows_per_second: u64,
    started_ns: u64,
    rows: u64,
    /// What was read and is not due yet.
    ahead: Option<RecordBatch>,
}

impl FilesSource {
    pub(super) fn new(mut splits: Vec<Box<dyn Split>>, rows_per_second: Option<u64>) -> Self {
        splits.reverse();
        let pace = rows_per_second.map(|rows_per_second| Pace {
            rows_per_second,
            started_ns: clock::monotonic_ns(),
            rows: 0,
            ahead: None,
        });
        Self { splits, pace }
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

impl Pace {
    /// Rows that may have been emitted by now.
    fn due(&self) -> u64 {
        let elapsed = clock::monotonic_ns().saturating_sub(self.started_ns);
        (u128::from(elapsed) * u128::from(self.rows_per_second) / 1_000_000_000) as u64
    }

    /// As much of what was read as is due.
    fn take_due(&mut self) -> Option<RecordBatch> {
        let allowed = self.due().saturating_sub(self.rows) as usize;
        let batch = self.ahead.take()?;
        let rows = allowed.min(batch.num_rows());
        if rows < batch.num_rows() {
            self.ahead = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        self.rows += rows as u64;
        (rows > 0).then(|| batch.slice(0, rows))
    }
}

impl Source for FilesSource {
    fn next_event(&mut self) -> Result<SourceEvent> {
        if self.pace.as_ref().is_none_or(|pace| pace.ahead.is_none()) {
            let Some(batch) = self.read()? else { return Ok(SourceEvent::End) };
            match &mut self.pace {
                None => return Ok(SourceEvent::Batch(batch)),
                Some(pace) => pace.ahead = Some(batch),
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
