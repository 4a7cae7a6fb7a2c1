//! Rows held back until event time has passed them, and given out in one canonical order.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use tidemill_plans::time::EventTime;

use super::canonical_order;
use super::queue::RowQueue;
use crate::error::Result;
use crate::state::spill::Part;
use crate::state::{Belongs, RowKeys, StateMemory, StateReader, StateWriter};

/// Rows by event time. Those that have no room in memory wait on disk.
pub(crate) struct EventTimeBuffer {
    rows: RowQueue,
    /// Whether state has been written that changes can go on from; the rows in it from before `passed` are gone.
    has_written: bool,
    passed: EventTime,
}

impl EventTimeBuffer {
    /// An empty buffer for rows of `schema` with event time in column `time`, and so much memory.
    pub(crate) fn new(schema: SchemaRef, time: usize, memory: &StateMemory) -> Self {
        Self { rows: RowQueue::new(schema, time, memory), has_written: false, passed: EventTime::MIN }
    }

    /// Holds a batch. Its event times must not be NULL: sources route such rows away.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows.push(batch, Part::Unwritten)
    }

    /// Takes all rows before `bound` out, in canonical order; `None` if there are none.
    pub(crate) fn take_before(&mut self, bound: EventTime) -> Result<Option<RecordBatch>> {
        self.note_passed(bound);
        let ready = self.rows.take_before(bound.0)?;
        self.whole(ready.iter().map(|batch| &batch.rows))
    }

    /// Takes the oldest rows before `bound` out, some ten thousands of them, in canonical order; `None` if there are
    /// none. Rows of equal time are never parted, so the chunks of a bound are the whole in order.
    pub(crate) fn take_chunk_before(&mut self, bound: EventTime) -> Result<Option<RecordBatch>> {
        self.take_stretch_before(bound, |time| time)
    }

    /// The same for rows of which some belong together: `last` says of a time which is the last that
    /// belongs with it.
    pub(crate) fn take_stretch_before(
        &mut self,
        bound: EventTime,
        last: impl Fn(i64) -> i64,
    ) -> Result<Option<RecordBatch>> {
        let end = self.rows.stretch_end(bound.0, last)?;
        self.take_before(EventTime(end))
    }

    /// The rows of some times, which stay, in canonical order.
    pub(crate) fn rows_at(&self, times: Range<i64>) -> Result<Option<RecordBatch>> {
        self.whole(&self.rows.rows_at(times)?)
    }

    /// Lets the rows before `bound` go.
    pub(crate) fn drop_before(&mut self, bound: EventTime) -> Result<()> {
        self.note_passed(bound);
        self.rows.drop_before(bound.0)
    }

    /// At the end of time nothing is left to write.
    fn note_passed(&mut self, bound: EventTime) {
        self.has_written &= bound != EventTime::MAX;
        self.passed = self.passed.max(bound);
    }

    fn whole<'a>(&self, batches: impl IntoIterator<Item = &'a RecordBatch>) -> Result<Option<RecordBatch>> {
        let rows = concat_batches(self.rows.schema(), batches)?;
        if rows.num_rows() == 0 {
            return Ok(None);
        }
        Ok(Some(canonical_order(&rows, Some(self.rows.column()))?))
    }

    /// Takes all rows out, to be held by somebody else: batches, and whether state has them. They have not gone.
    pub(crate) fn take_held(&mut self) -> impl Iterator<Item = (RecordBatch, Part)> + use<> {
        self.rows.take_held().into_iter().map(|held| (held.rows, held.part))
    }

    /// Writes the rows that have come, and until when they have gone, or all; they belong to the same instances as the
    /// input's. If most have come there is little that need not be written: with all of them, nothing is read of those
    /// that have gone.
    pub(crate) fn snapshot(&mut self, belongs: Belongs, state: &mut StateWriter<'_>) -> Result<()> {
        let memory = self.rows.memory().clone();
        self.snapshot_beside(belongs, &memory, state, [0, 0]).map(drop)
    }

    /// The same where somebody else looks after the memory, and has so many rows beside, of which so many have come;
    /// whether all that is written is what has come.
    pub(crate) fn snapshot_beside(
        &mut self,
        belongs: Belongs,
        memory: &StateMemory,
        state: &mut StateWriter<'_>,
        [beside, new_beside]: [usize; 2],
    ) -> Result<bool> {
        let [all, new] = self.rows.counts();
        let is_little = 2 * (new + new_beside) <= all + beside;
        let are_changes = self.has_written && state.takes_changes() && is_little;
        let only = are_changes.then_some(Part::Unwritten);
        if are_changes {
            let keys = RowKeys::Passing { time: self.rows.column(), from: self.passed.0 };
            state.changes("rows", belongs.clone(), keys, [], []);
        }
        let held = self.rows.held(only).map(|rows| Ok(rows.clone()));
        state.behind("rows", belongs.clone(), memory, held)?;
        if let Some(away) = self.rows.view_away(only) {
            state.later("rows", belongs, Arc::new(away));
        }
        self.note_written();
        Ok(are_changes)
    }

    /// State has all rows that are held.
    pub(crate) fn note_written(&mut self) {
        (self.has_written, self.passed) = (true, EventTime::MIN);
        self.rows.note_written();
    }

    /// Takes up rows that were written.
    pub(crate) fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        for batch in state.batches("rows")? {
            self.rows.push(batch?, Part::Written)?;
        }
        self.note_written();
        Ok(())
    }

    /// What rows look like.
    pub(crate) fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    /// The event-time column.
    pub(crate) fn time(&self) -> usize {
        self.rows.column()
    }

    /// Bytes held in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    /// Bytes on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.rows.disk_bytes()
    }
}

#[cfg(test)]
mod tests;
