//! Appends each row's windows, one output row a window.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use tidemill_plans::node::{TimeWindow, WindowAssignNode};
use tidemill_plans::time::{EventTime, event_times};

use super::Operator;
use crate::error::Result;
use crate::task::OperatorContext;

/// See [`WindowAssignNode`].
pub(super) struct WindowAssign {
    node: WindowAssignNode,
    output: SchemaRef,
}

impl WindowAssign {
    pub(super) fn new(node: &WindowAssignNode, output: SchemaRef) -> Self {
        Self { node: node.clone(), output }
    }
}

impl Operator for WindowAssign {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let times = event_times(batch.column(self.node.time))?;
        let (mut rows, mut windows) = (Vec::new(), Vec::new());
        for (row, time) in times.values().iter().enumerate() {
            for window in self.node.window.windows(EventTime(*time)) {
                rows.push(row as u32);
                windows.push(window);
            }
        }
        let expanded = take_record_batch(&batch, &UInt32Array::from(rows))?;
        let mut columns = expanded.columns().to_vec();
        columns.extend(window_columns(windows.into_iter()));
        ctx.emit(RecordBatch::try_new(Arc::clone(&self.output), columns)?);
        Ok(())
    }
}

/// `window_start`, `window_end` and `window_time`, the last microsecond, of these windows.
pub(super) fn window_columns(windows: impl Iterator<Item = TimeWindow>) -> [ArrayRef; 3] {
    let (starts, ends): (Vec<i64>, Vec<i64>) = windows.map(|window| (window.start, window.end)).unzip();
    let last = ends.iter().map(|end| end - 1).collect();
    [starts, ends, last].map(|times: Vec<i64>| Arc::new(TimestampMicrosecondArray::from(times)) as ArrayRef)
}

#[cfg(test)]
mod tests;
