//! Rows held in the order in which they have come.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use tidemill_plans::time::{EventTime, event_time_type};

use super::EventTimeBuffer;
use crate::error::Result;
use crate::state::{Belongs, StateMemory, StateReader, StateWriter};

/// The column that a row has in front while it waits: how many have come before it.
const NUMBER: &str = "tidemill_row_number";

/// Rows by their numbers, which are to [`EventTimeBuffer`] what times are: so those without room in memory wait on disk,
/// and state is written in increments.
pub(crate) struct ArrivalBuffer {
    rows: EventTimeBuffer,
    numbered: SchemaRef,
    next: i64,
}

impl ArrivalBuffer {
    /// An empty buffer for rows of `schema`, and so much memory.
    pub(crate) fn new(schema: &Schema, memory: &StateMemory) -> Self {
        let number = Arc::new(Field::new(NUMBER, event_time_type(), false));
        let fields = std::iter::once(number).chain(schema.fields().iter().cloned());
        let numbered = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { rows: EventTimeBuffer::new(Arc::clone(&numbered), 0, memory), numbered, next: 0 }
    }

    /// Holds a batch behind those that are held.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let end = self.next.saturating_add(batch.num_rows() as i64);
        let numbers: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(self.next..end));
        let columns = std::iter::once(numbers).chain(batch.columns().iter().cloned());
        self.rows.push(RecordBatch::try_new(Arc::clone(&self.numbered), columns.collect())?)?;
        self.next = end;
        Ok(())
    }

    /// Takes the first rows out, some ten thousands of them; `None` if there are none.
    pub(crate) fn take_chunk(&mut self) -> Result<Option<RecordBatch>> {
        let columns: Vec<usize> = (1..self.numbered.fields().len()).collect();
        let chunk = self.rows.take_chunk_before(EventTime::MAX)?;
        Ok(chunk.map(|rows| rows.project(&columns)).transpose()?)
    }

    /// Writes the rows that have come, or all.
    pub(crate) fn snapshot(&mut self, belongs: Belongs, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("next", &self.next)?;
        self.rows.snapshot(belongs, state)
    }

    /// Takes up rows that were written; of several instances they come in turns.
    pub(crate) fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.next = state.values::<i64>("next")?.into_iter().max().unwrap_or_default();
        self.rows.restore(state)
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
