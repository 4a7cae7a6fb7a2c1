//! Groups by key and session; emits a session's row once the watermark has passed its end.
//!
//! A session's rows are aggregated when it closes, all at once: so a sum of floats does not show where
//! watermarks cut the stream.

use std::iter::repeat_n;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use tidemill_plans::node::{SessionAssignNode, SessionWindowNode};

use super::Operator;
use super::groups::{AggregateCall, Groups, key_schema, numbered_key_schema};
use super::sessions::{Session, Sessions};
use super::window_aggregate::finish_windows;
use super::window_assign::window_columns;
use crate::error::Result;
use crate::rows::canonical_key;
use crate::state::{StateMemory, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks};

/// See [`SessionWindowNode`].
pub(super) struct SessionWindow {
    keys: Vec<usize>,
    calls: Vec<AggregateCall>,
    output: SchemaRef,
    sessions: Sessions,
    closing: Groups,
}

/// See [`SessionAssignNode`].
pub(super) struct SessionAssign {
    output: SchemaRef,
    sessions: Sessions,
}

impl SessionWindow {
    pub(super) fn new(
        node: &SessionWindowNode,
        input: SchemaRef,
        output: SchemaRef,
        memory: &StateMemory,
    ) -> Result<Self> {
        let calls: Result<Vec<_>> = node.aggregates.iter().map(|call| AggregateCall::new(call, &input)).collect();
        let calls = calls?;
        Ok(Self {
            keys: node.keys.clone(),
            output,
            closing: Groups::new(&numbered_key_schema(&key_schema(&input, &node.keys)), &calls)?,
            calls,
            sessions: Sessions::new(input, &node.keys, node.time, node.gap, memory)?,
        })
    }

    /// One row a session.
    fn aggregate(&mut self, sessions: &[Session]) -> Result<RecordBatch> {
        let rows = self.sessions.close(sessions)?;
        let numbers = sessions.iter().enumerate().flat_map(|(at, session)| repeat_n(at as i64, session.len()));
        let mut keys: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(numbers))];
        keys.extend(self.keys.iter().map(|key| canonical_key(rows.column(*key))));
        self.closing.update(&keys, &self.calls, &rows)?;
        finish_windows(&mut self.closing, |at| self.sessions.window(&sessions[at as usize]), &self.output)
    }
}

impl Operator for SessionWindow {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        self.sessions.push(batch, ctx)
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        self.sessions.advance(watermarks.min())?;
        self.on_more(ctx)
    }

    fn has_more(&self) -> bool {
        self.sessions.has_closed()
    }

    fn on_more(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        let part = self.sessions.take_closed();
        if !part.is_empty() {
            ctx.emit(self.aggregate(&part)?);
        }
        end_closing(&mut self.sessions, ctx)
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        self.sessions.snapshot(state)
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.sessions.restore(state)
    }

    fn spilled_bytes(&self) -> u64 {
        self.sessions.disk_bytes()
    }

    fn state_bytes(&self) -> usize {
        self.sessions.bytes()
    }
}

impl SessionAssign {
    pub(super) fn new(
        node: &SessionAssignNode,
        input: SchemaRef,
        output: SchemaRef,
        memory: &StateMemory,
    ) -> Result<Self> {
        let sessions = Sessions::new(input, &node.keys, node.time, node.gap, memory)?;
        Ok(Self { output, sessions })
    }
}

impl Operator for SessionAssign {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        self.sessions.push(batch, ctx)
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        self.sessions.advance(watermarks.min())?;
        self.on_more(ctx)
    }

    fn has_more(&self) -> bool {
        self.sessions.has_closed()
    }

    fn on_more(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        let part = self.sessions.take_closed();
        if !part.is_empty() {
            let mut columns = self.sessions.close(&part)?.columns().to_vec();
            let windows = part.iter().flat_map(|one| repeat_n(self.sessions.window(one), one.len()));
            columns.extend(window_columns(windows));
            ctx.emit(RecordBatch::try_new(Arc::clone(&self.output), columns)?);
        }
        end_closing(&mut self.sessions, ctx)
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        self.sessions.snapshot(state)
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.sessions.restore(state)
    }

    fn spilled_bytes(&self) -> u64 {
        self.sessions.disk_bytes()
    }

    fn state_bytes(&self) -> usize {
        self.sessions.bytes()
    }
}

/// Passes time on, if all sessions have been emitted that it has closed.
fn end_closing(sessions: &mut Sessions, ctx: &mut OperatorContext) -> Result<()> {
    if sessions.has_closed() {
        return Ok(());
    }
    sessions.clean_up()?;
    ctx.emit_watermark(sessions.output_watermark());
    Ok(())
}

#[cfg(test)]
mod tests;
