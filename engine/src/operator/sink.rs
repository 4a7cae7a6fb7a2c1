//! Hands rows to a sink's writer in event-time order.
//!
//! Rows of a stream with event time are held until the watermark has passed them and written in
//! canonical order, in chunks of a fixed size where the sink asks for it: so a file is the same, byte
//! for byte, in every run.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use tidemill_plans::ids::Epoch;
use tidemill_plans::node::SinkNode;
use tidemill_plans::time::EventTime;

use super::Operator;
use crate::connector::Sink;
use crate::error::Result;
use crate::rows::EventTimeBuffer;
use crate::task::{EndReason, OperatorContext, PortWatermarks, batch_bytes};

/// See [`SinkNode`].
pub(super) struct SinkOperator {
    writer: Box<dyn Sink>,
    waiting: Option<EventTimeBuffer>,
    /// Rows in order that do not fill a chunk yet.
    partial: Vec<RecordBatch>,
    partial_rows: usize,
    partial_bytes: usize,
    input: SchemaRef,
}

impl SinkOperator {
    pub(super) fn new(node: &SinkNode, input: SchemaRef, writer: Box<dyn Sink>) -> Self {
        let time = node.time.filter(|_| !writer.takes_any_order());
        let waiting = time.map(|time| EventTimeBuffer::new(Arc::clone(&input), time));
        Self { writer, waiting, partial: Vec::new(), partial_rows: 0, partial_bytes: 0, input }
    }

    fn write_before(&mut self, bound: EventTime) -> Result<()> {
        let Some(rows) = self.waiting.as_mut().map(|waiting| waiting.take_before(bound)).transpose()?.flatten() else {
            return Ok(());
        };
        let Some(chunk_rows) = self.writer.chunk_rows() else { return self.writer.write(&rows) };
        self.partial_rows += rows.num_rows();
        self.partial_bytes += batch_bytes(&rows);
        self.partial.push(rows);
        if self.partial_rows >= chunk_rows.get() { self.write_chunks(chunk_rows.get()) } else { Ok(()) }
    }

    fn note_checksum(&self, ctx: &OperatorContext) {
        if let Some(checksum) = self.writer.checksum() {
            ctx.stats().set_checksum(checksum);
        }
    }

    fn write_chunks(&mut self, chunk_rows: usize) -> Result<()> {
        let rows = concat_batches(&self.input, &std::mem::take(&mut self.partial))?;
        let mut start = 0;
        while rows.num_rows() - start >= chunk_rows {
            self.writer.write(&rows.slice(start, chunk_rows))?;
            start += chunk_rows;
        }
        self.partial_rows = rows.num_rows() - start;
        let rest = rows.slice(start, self.partial_rows);
        self.partial_bytes = batch_bytes(&rest);
        self.partial.push(rest);
        Ok(())
    }
}

impl Operator for SinkOperator {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        match &mut self.waiting {
            Some(waiting) => waiting.push(batch)?,
            None => self.writer.write(&batch)?,
        }
        self.note_checksum(ctx);
        Ok(())
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        self.write_before(watermarks.min().0)?;
        ctx.emit_watermark(watermarks.min());
        Ok(())
    }

    fn on_barrier(&mut self, epoch: Epoch, _ctx: &mut OperatorContext) -> Result<()> {
        self.writer.seal(epoch)
    }

    fn on_end(&mut self, _reason: EndReason, ctx: &mut OperatorContext) -> Result<()> {
        // After a stop, rows ahead of the watermark are as final as the others: only windows that
        // were not complete are left out.
        self.write_before(EventTime::MAX)?;
        if self.partial_rows > 0 {
            let rest = concat_batches(&self.input, &std::mem::take(&mut self.partial))?;
            (self.partial_rows, self.partial_bytes) = (0, 0);
            self.writer.write(&rest)?;
        }
        self.note_checksum(ctx);
        self.writer.finish()
    }

    fn state_bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, EventTimeBuffer::bytes) + self.partial_bytes + self.writer.state_bytes()
    }

    fn is_io(&self) -> bool {
        self.writer.is_io()
    }
}

#[cfg(test)]
mod tests {
    use tidemill_plans::connector::RESULT_CONNECTOR;
    use tidemill_plans::node::NodeKind;

    use super::*;
    use crate::testing::graph::{harness, schema};

    #[test]
    fn rows_that_the_writer_holds_count_as_state() {
        let rows = schema("k:text t:time");
        let node = |time| SinkNode {
            table: String::from("result"),
            connector: String::from(RESULT_CONNECTOR),
            options: vec![],
            time,
            upsert_keys: vec![],
            order_by: vec![],
            limit: None,
            live: false,
        };
        for time in [None, Some(1)] {
            let mut sink = harness(NodeKind::Sink(node(time)), &[&rows], Arc::clone(&rows));
            assert_eq!(sink.state_bytes(), 0);
            sink.push(0, "a @1\nb @2").unwrap();
            assert!(sink.state_bytes() > 0, "{time:?}");
            sink.finish().unwrap();
            assert_eq!(sink.state_bytes(), 0, "{time:?}");
        }
    }
}
