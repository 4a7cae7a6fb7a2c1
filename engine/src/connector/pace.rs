//! Replays rows at a pace that the subtasks of a source keep together.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use tidemill_plans::ids::Epoch;
use tidemill_plans::node::SourceNode;
use tidemill_plans::pushed::LogNeed;

use super::share::Share;
use super::{Source, SourceEvent};
use crate::clock;
use crate::error::{EngineError, Result};
use crate::state::{Belongs, Snapshot, StateReader};

/// How long a source sleeps at most before it looks at the clock again.
const PACE_SLEEP: Duration = Duration::from_millis(20);

/// A source that may be held to a pace. Its position is the same with one and without, so that it may change.
pub(super) struct Paced<S> {
    source: S,
    pace: Option<Pace>,
    /// The columns of its rows.
    columns: SchemaRef,
    ahead: Option<Ahead>,
    /// Rows that come next and have been given out.
    skip: usize,
}

/// What was read and is not due yet.
struct Ahead {
    rows: RecordBatch,
    /// Where the source was before it read them, and those that have been given out by now.
    before: Vec<u8>,
    given_out: usize,
}

impl<S: Source> Paced<S> {
    pub(super) fn new(source: S, pace: Option<Pace>, node: &SourceNode) -> Self {
        Self { source, pace, columns: node.connector_schema(), ahead: None, skip: 0 }
    }

    /// The rows behind those that are skipped; nothing if there are none.
    fn behind_skipped(&mut self, batch: RecordBatch) -> RecordBatch {
        let skipped = self.skip.min(batch.num_rows());
        self.skip -= skipped;
        batch.slice(skipped, batch.num_rows() - skipped)
    }
}

impl<S: Source> Source for Paced<S> {
    fn next_event(&mut self) -> Result<SourceEvent> {
        let Some(pace) = &mut self.pace else {
            if let Some(ahead) = self.ahead.take() {
                return Ok(SourceEvent::Batch(ahead.rows));
            }
            return Ok(match self.source.next_event()? {
                SourceEvent::Batch(batch) => SourceEvent::Batch(self.behind_skipped(batch)),
                other => other,
            });
        };
        let Some(ahead) = &mut self.ahead else {
            let before = self.source.position()?;
            return match self.source.next_event()? {
                SourceEvent::Batch(batch) => {
                    let read = batch.num_rows();
                    let rows = self.behind_skipped(batch);
                    self.ahead = Some(Ahead { before, given_out: read - rows.num_rows(), rows });
                    self.next_event()
                }
                other => Ok(other),
            };
        };
        let due = pace.due().min(ahead.rows.num_rows());
        let batch = ahead.rows.slice(0, due);
        pace.rows += due as u64;
        ahead.given_out += due;
        ahead.rows = ahead.rows.slice(due, ahead.rows.num_rows() - due);
        if ahead.rows.num_rows() == 0 {
            self.ahead = None;
        }
        if due == 0 && self.ahead.is_some() {
            std::thread::sleep(PACE_SLEEP);
            return Ok(SourceEvent::Idle);
        }
        Ok(SourceEvent::Batch(batch))
    }

    /// That of the source, and the rows of it that are held back: read again, bad ones between them would be counted
    /// again.
    fn position(&self) -> Result<Vec<u8>> {
        let mut position = Snapshot::default();
        let mut state = position.writer(Epoch::default());
        state.value("source", &self.source.position()?)?;
        state.value("skip", &self.skip)?;
        if let Some(Ahead { rows, before, given_out }) = &self.ahead {
            state.value("before", before)?;
            state.value("given_out", given_out)?;
            state.rows("ahead", Belongs::Anywhere, [rows.clone()]);
        }
        position.to_bytes()
    }

    fn seek(&mut self, position: &[u8]) -> Result<()> {
        let position = [Snapshot::from_bytes(position)?];
        let state = StateReader::new(&position, 0, 1);
        let source: Option<Vec<u8>> = state.value("source")?;
        let before: Option<Vec<u8>> = state.value("before")?;
        let given_out = state.value("given_out")?.unwrap_or(0);
        match (state.rows("ahead")?.into_iter().next(), before) {
            // Other columns of them are read now.
            (Some(rows), Some(before)) if !is_alike(&rows.schema(), &self.columns) => {
                self.skip = given_out;
                return self.source.seek(&before);
            }
            (Some(rows), Some(before)) => self.ahead = Some(Ahead { rows, before, given_out }),
            _ => self.skip = state.value("skip")?.unwrap_or(0),
        }
        self.source.seek(&source.ok_or_else(|| EngineError::State(String::from("no position of the source")))?)
    }

    fn is_backfilling(&self) -> bool {
        self.source.is_backfilling()
    }

    fn needs(&self) -> Option<LogNeed> {
        self.source.needs()
    }
}

fn is_alike(had: &Schema, has: &Schema) -> bool {
    let columns = |schema: &Schema| -> Vec<_> {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    columns(had) == columns(has)
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
    started_ns: i64,
    /// Rows given out so far.
    rows: u64,
}

impl Pace {
    /// A subtask's part of `rows_per_second`. What is read comes in parts that are dealt out in turn, so
    /// with fewer of them than subtasks the first ones have one each, and those behind them nothing.
    pub(super) fn new(rows_per_second: u64, share: Share, parts: u64) -> Self {
        Self {
            rows_per_second,
            sharers: u64::from(share.parallelism).min(parts).max(1),
            place: u64::from(share.subtask),
            started_ns: now_ns(),
            rows: 0,
        }
    }

    /// How many rows more are due.
    fn due(&self) -> usize {
        let elapsed = u64::try_from(now_ns().saturating_sub(self.started_ns)).unwrap_or(0);
        usize::try_from(self.due_after(elapsed).saturating_sub(self.rows)).unwrap_or(usize::MAX)
    }

    /// Rows that may have been given out after so long. The rows of all are dealt out in turn, so that
    /// together the sharers keep the pace to the row, even one of less than a row a second each.
    fn due_after(&self, elapsed_ns: u64) -> u64 {
        let all = u128::from(elapsed_ns) * u128::from(self.rows_per_second) / 1_000_000_000;
        let (sharers, place) = (u128::from(self.sharers), u128::from(self.place));
        u64::try_from((all + sharers).saturating_sub(place + 1) / sharers).unwrap_or(u64::MAX)
    }
}

fn now_ns() -> i64 {
    i64::try_from(clock::monotonic_ns()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tidemill_plans::expr::StreamSchema;

    use super::*;
    use crate::testing::graph::schema;
    use crate::testing::{parse_rows, show_rows};

    /// Batches, of which the position says how many are left.
    struct Batches(VecDeque<RecordBatch>);

    fn node(columns: &str) -> SourceNode {
        SourceNode {
            table: String::from("t"),
            connector: String::from("files"),
            options: Vec::new(),
            declared: Vec::new(),
            columns: StreamSchema(schema(columns)),
            projection: Vec::new(),
            event_time: None,
            upsert_key: Vec::new(),
        }
    }

    fn paced(rows_per_second: Option<u64>, columns: &str) -> Paced<Batches> {
        let batches = ["0\n1\n2", "3\n4"].map(|rows| parse_rows(&schema("v:int"), rows).unwrap());
        let share = Share { subtask: 0, parallelism: 1 };
        Paced::new(Batches(batches.into()), rows_per_second.map(|rate| Pace::new(rate, share, 1)), &node(columns))
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
            for columns in ["v:int", "v:int w:int"] {
                check_position(rows, columns);
            }
        }
    }

    /// Goes on behind so many rows, at once, and then once more, with a pace or without one.
    fn check_position(rows: u64, columns: &str) {
        for pace in [Some(u64::MAX), None] {
            let mut first = paced(Some(1), "v:int");
            // As if it had begun so many seconds ago.
            first.pace.as_mut().unwrap().started_ns = now_ns() - rows as i64 * 1_000_000_000;
            let mut read = String::new();
            while read.lines().count() < rows as usize {
                let SourceEvent::Batch(batch) = first.next_event().unwrap() else { panic!("no rows") };
                read.push_str(&show_rows(&batch).unwrap());
            }
            let mut between = paced(None, columns);
            between.seek(&first.position().unwrap()).unwrap();
            let mut second = paced(pace, columns);
            second.seek(&between.position().unwrap()).unwrap();
            second.pace.iter_mut().for_each(|pace| pace.started_ns = 0);
            while let SourceEvent::Batch(batch) = second.next_event().unwrap() {
                read.push_str(&show_rows(&batch).unwrap());
            }
            assert_eq!(read, "0\n1\n2\n3\n4\n", "{rows} before, {columns}");
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
