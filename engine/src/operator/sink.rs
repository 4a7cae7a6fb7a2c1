//! Hands rows to a sink's writer in event-time order.
//!
//! Rows of a stream with event time are held until the watermark has passed them and written in
//! canonical order, in chunks of a fixed size where the sink asks for it: so a file is the same, byte
//! for byte, in every run.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_plans::change::change_column_index;
use tidemill_plans::ids::Epoch;
use tidemill_plans::node::SinkNode;
use tidemill_plans::time::EventTime;

use super::Operator;
use crate::connector::Sink;
use crate::error::Result;
use crate::rows::{EvenChunks, EventTimeBuffer};
use crate::state::{Belongs, StateMemory, StateReader, StateWriter};
use crate::task::{EndReason, OperatorContext, PortWatermarks};

/// See [`SinkNode`].
pub(super) struct SinkOperator {
    writer: Box<dyn Sink>,
    waiting: Option<EventTimeBuffer>,
    /// Rows in order that do not fill a chunk yet.
    partial: EvenChunks,
    /// Which instance writes rows that are held.
    belongs: Belongs,
}

impl SinkOperator {
    /// A sink whose input is spread by these columns, if it is spread by any.
    pub(super) fn new(
        node: &SinkNode,
        input: SchemaRef,
        mut writer: Box<dyn Sink>,
        spread_by: Option<Vec<usize>>,
        memory: &StateMemory,
    ) -> Self {
        // A change must not overtake one of its key; else whichever instance has a row writes it.
        let is_keyed = change_column_index(&input).is_some() && !node.upsert_keys.is_empty();
        let keys = || spread_by.unwrap_or_else(|| node.upsert_keys.clone());
        let belongs = if is_keyed { Belongs::ToKeys(keys()) } else { Belongs::Anywhere };
        writer.hold_where(&belongs);
        let waiting = node.waits_by().map(|time| EventTimeBuffer::new(Arc::clone(&input), time, memory));
        Self { writer, waiting, partial: EvenChunks::new(input), belongs }
    }

    fn write_before(&mut self, bound: EventTime) -> Result<()> {
        while let Some(waiting) = &mut self.waiting
            && let Some(rows) = waiting.take_chunk_before(bound)?
        {
            self.write(rows)?;
        }
        Ok(())
    }

    /// Writes rows in order, where they fill a chunk.
    fn write(&mut self, rows: RecordBatch) -> Result<()> {
        let Some(chunk_rows) = self.writer.chunk_rows() else { return self.writer.write(&rows) };
        self.partial.push(rows);
        self.partial.take_full(chunk_rows.get())?.iter().try_for_each(|chunk| self.writer.write(chunk))
    }

    /// Writes rows in order though they do not fill a chunk.
    fn write_partial(&mut self) -> Result<()> {
        self.partial.take_rest()?.map_or(Ok(()), |rest| self.writer.write(&rest))
    }
}

impl Operator for SinkOperator {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, _ctx: &mut OperatorContext) -> Result<()> {
        match &mut self.waiting {
            Some(waiting) => waiting.push(batch),
            None => self.writer.write(&batch),
        }
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        self.write_before(watermarks.min().0)?;
        ctx.emit_watermark(watermarks.min());
        Ok(())
    }

    fn on_barrier(&mut self, epoch: Epoch, _ctx: &mut OperatorContext) -> Result<()> {
        self.writer.seal(epoch)
    }

    fn on_end(&mut self, _reason: EndReason, _ctx: &mut OperatorContext) -> Result<()> {
        // After a stop, rows ahead of the watermark are as final as the others: only windows that
        // were not complete are left out.
        self.write_before(EventTime::MAX)?;
        self.write_partial()?;
        self.writer.finish()
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        if self.writer.commits() {
            // What is complete by now is to be seen with this checkpoint. Where a part ends depends on the
            // checkpoints anyway.
            self.write_partial()?;
        }
        if let Some(waiting) = &mut self.waiting {
            waiting.snapshot(self.belongs.clone(), &mut state.part("waiting"))?;
        }
        state.rows("partial", self.belongs.clone(), self.partial.partial().iter().cloned());
        self.writer.snapshot(&mut state.part("writer"))
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        if let Some(waiting) = &mut self.waiting {
            waiting.restore(&state.part("waiting"))?;
        }
        state.rows("partial")?.into_iter().for_each(|rows| self.partial.push(rows));
        self.writer.restore(&state.part("writer"))
    }

    fn is_sink(&self) -> bool {
        true
    }

    fn checksum(&self) -> Option<u64> {
        self.writer.checksum()
    }

    fn commits(&self) -> bool {
        self.writer.commits()
    }

    fn commit(&mut self, epoch: Epoch) -> Result<()> {
        self.writer.commit(epoch)
    }

    fn state_bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, EventTimeBuffer::bytes) + self.partial.bytes() + self.writer.state_bytes()
    }

    fn spilled_bytes(&self) -> u64 {
        self.waiting.as_ref().map_or(0, EventTimeBuffer::disk_bytes)
    }

    fn is_io(&self) -> bool {
        self.writer.is_io()
    }
}

#[cfg(test)]
mod tests;
