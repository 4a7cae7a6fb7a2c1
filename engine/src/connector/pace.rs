//! Replays rows at a pace that the subtasks of a source keep together.

use std::time::Duration;

use arrow::array::RecordBatch;
use tidemill_plans::ids::Epoch;

use super::share::Share;
use super::{Source, SourceEvent};
use crate::clock;
use crate::error::{EngineError, Result};
use crate::state::{Belongs, Snapshot, StateReader};

/// How long a source sleeps at most before it looks at the clock again.
const PACE_SLEEP: Duration = Duration::from_millis(20);

/// A source that is held to a pace.
pub(super) struct Paced<S> {
    source: S,
    pace: Pace,
}

impl<S: Source> Paced<S> {
    pub(super) fn new(source: S, pace: Pace) -> Self {
        Self { source, pace }
    }
}

impl<S: Source> Source for Paced<S> {
    fn next_event(&mut self) -> Result<SourceEvent> {
        if self.pace.is_empty() {
            match self.source.next_event()? {
                SourceEvent::Batch(batch) => self.pace.hold(batch),
                other => return Ok(other),
            }
        }
        match self.pace.take_due() {
            Some(batch) => Ok(SourceEvent::Batch(batch)),
            None => {
                std::thread::sleep(PACE_SLEEP);
                Ok(SourceEvent::Idle)
            }
        }
    }

    /// That of the source, and the rows of it that are held back: read again, they would be counted again.
    fn position(&self) -> Result<Vec<u8>> {
        let mut position = Snapshot::default();
        let mut state = position.writer(Epoch::default());
        state.value("source", &self.source.position()?)?;
        state.rows("ahead", Belongs::Anywhere, self.pace.ahead.clone());
        position.to_bytes()
    }

    fn seek(&mut self, position: &[u8]) -> Result<()> {
        let position = [Snapshot::from_bytes(position)?];
        let state = StateReader::new(&position, 0, 1);
        let source: Option<Vec<u8>> = state.value("source")?;
        self.source.seek(&source.ok_or_else(|| EngineError::State(String::from("no position of the source")))?)?;
        self.pace.ahead = state.rows("ahead")?.into_iter().next();
        Ok(())
    }
}

/// Holds back what is not due yet.
pub(super) struct Pace {
    /// Rows a second of all subtasks together.
    rows_per_second: u64,
    /// How many subtasks have something to read.
    sharers: u64,
    /// Which of them this is, from 0 on.
    place: u64,
    /// When it began.
    started_ns: u64,
    /// Rows given out so far.
    rows: u64,
    /// What was read and is not due yet.
    ahead: Option<RecordBatch>,
}

impl Pace {
    /// A subtask's part of `rows_per_second`. What is read comes in parts that are dealt out in turn, so
    /// with fewer of them than subtasks the first ones have one each, and those behind them nothing.
    pub(super) fn new(rows_per_second: u64, share: Share, parts: u64) -> Self {
        Self {
            rows_per_second,
            sharers: u64::from(share.parallelism).min(parts).max(1),
            place: u64::from(share.subtask),
            started_ns: clock::monotonic_ns(),
            rows: 0,
            ahead: None,
        }
    }

    /// Whether there is nothing to give out before more has been read.
    pub(super) fn is_empty(&self) -> bool {
        self.ahead.is_none()
    }

    /// Takes what was read.
    pub(super) fn hold(&mut self, batch: RecordBatch) {
        self.ahead = Some(batch);
    }

    /// As much of what was read as is due.
    pub(super) fn take_due(&mut self) -> Option<RecordBatch> {
        let elapsed = clock::monotonic_ns().saturating_sub(self.started_ns);
        let allowed = self.due_after(elapsed).saturating_sub(self.rows) as usize;
        let batch = self.ahead.take()?;
        let rows = allowed.min(batch.num_rows());
        if rows < batch.num_rows() {
            self.ahead = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        self.rows += rows as u64;
        (rows > 0).then(|| batch.slice(0, rows))
    }

    /// Rows that may have been given out after so long. The rows of all are dealt out in turn, so that
    /// together the sharers keep the pace to the row, even one of less than a row a second each.
    fn due_after(&self, elapsed_ns: u64) -> u64 {
        let all = u128::from(elapsed_ns) * u128::from(self.rows_per_second) / 1_000_000_000;
        let (sharers, place) = (u128::from(self.sharers), u128::from(self.place));
        u64::try_from((all + sharers).saturating_sub(place + 1) / sharers).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::testing::graph::schema;
    use crate::testing::{parse_rows, show_rows};

    /// Batches, of which the position says how many are left.
    struct Batches(VecDeque<RecordBatch>);

    fn paced(rows_per_second: u64) -> Paced<Batches> {
        let batches = ["0\n1\n2", "3\n4"].map(|rows| parse_rows(&schema("v:int"), rows).unwrap());
        let share = Share { subtask: 0, parallelism: 1 };
        Paced::new(Batches(batches.into()), Pace::new(rows_per_second, share, 1))
    }

    impl Source for Batches {
        fn next_event(&mut self) -> Result<SourceEvent> {
            Ok(self.0.pop_front().map_or(SourceEvent::End, SourceEvent::Batch))
        }

        fn position(&self) -> Result<Vec<u8>> {
            Ok(vec![self.0.len() as u8])
        }

        fn seek(&mut self, position: &[u8]) -> Result<()> {
            self.0.drain(..self.0.len() - usize::from(position[0]));
            Ok(())
        }
    }

    #[test]
    fn what_is_held_back_is_neither_lost_nor_given_out_twice() {
        for rows in 0..=5 {
            let mut first = paced(1);
            // As if it had begun so many seconds ago.
            first.pace.started_ns = clock::monotonic_ns().saturating_sub(rows * 1_000_000_000);
            let mut read = String::new();
            while read.lines().count() < rows as usize {
                let SourceEvent::Batch(batch) = first.next_event().unwrap() else { panic!("no rows") };
                read.push_str(&show_rows(&batch).unwrap());
            }
            let mut second = paced(u64::MAX);
            second.seek(&first.position().unwrap()).unwrap();
            second.pace.started_ns = 0;
            while let SourceEvent::Batch(batch) = second.next_event().unwrap() {
                read.push_str(&show_rows(&batch).unwrap());
            }
            assert_eq!(read, "0\n1\n2\n3\n4\n", "{rows} before");
        }
    }

    /// Rows due to each subtask after so many milliseconds.
    fn due(rows_per_second: u64, parallelism: u32, parts: u64, elapsed_ms: u64) -> Vec<u64> {
        let with_parts = (0..parallelism).take(parts as usize);
        let paces = with_parts.map(|subtask| Pace::new(rows_per_second, Share { subtask, parallelism }, parts));
        paces.map(|pace| pace.due_after(elapsed_ms * 1_000_000)).collect()
    }

    #[test]
    fn subtasks_with_something_to_read_share_the_pace_to_the_row() {
        assert_eq!(due(100, 4, 100, 1000), [25, 25, 25, 25]);
        assert_eq!(due(103, 4, 100, 1000), [26, 26, 26, 25]);
        assert_eq!(due(100, 4, 1, 1000), [100]);
        assert_eq!(due(101, 8, 2, 1000), [51, 50]);
        assert_eq!(due(2, 4, 4, 1000), [1, 1, 0, 0]);
        assert_eq!(due(2, 4, 4, 3000), [2, 2, 1, 1]);
        assert_eq!(due(1000, 3, 9, 0), [0, 0, 0]);
    }
}
