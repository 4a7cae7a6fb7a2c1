//! Tells the rows that come too late for their windows from the others, for whom they are kept.
//!
//! Whether a row is late is decided as the windowed operator behind it would: of windows of the clock by
//! the watermark alone; of sessions by what sessions are open, so they are kept here, too, without what
//! only the aggregation needs.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, min, not};
use arrow::datatypes::SchemaRef;
use tidemill_plans::node::{LateSplitNode, LateWindows, WindowSpec};
use tidemill_plans::time::{EventTime, Watermark, event_times};

use super::Operator;
use super::sessions::Sessions;
use crate::error::Result;
use crate::state::{StateMemory, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks};

/// See [`LateSplitNode`].
pub(super) struct LateSplit {
    time: usize,
    windows: Windows,
    output: SchemaRef,
}

enum Windows {
    Fixed(WindowSpec, Watermark),
    Session {
        /// Indexes of the columns that decide: keys, then the time.
        columns: Vec<usize>,
        sessions: Box<Sessions>,
    },
}

impl LateSplit {
    pub(super) fn new(
        node: &LateSplitNode,
        input: &SchemaRef,
        output: SchemaRef,
        memory: &StateMemory,
    ) -> Result<Self> {
        let windows = match &node.windows {
            LateWindows::Fixed(window) => Windows::Fixed(*window, Watermark::MIN),
            LateWindows::Session { keys, gap } => {
                let columns: Vec<usize> = keys.iter().copied().chain([node.time]).collect();
                let own: Vec<usize> = (0..keys.len()).collect();
                let sessions = Sessions::new(Arc::new(input.project(&columns)?), &own, keys.len(), *gap, memory)?;
                Windows::Session { columns, sessions: Box::new(sessions) }
            }
        };
        Ok(Self { time: node.time, windows, output })
    }

    /// Which rows are late.
    fn late(&mut self, batch: &RecordBatch) -> Result<BooleanArray> {
        match &mut self.windows {
            Windows::Fixed(window, watermark) => {
                let times = event_times(batch.column(self.time))?;
                let closed =
                    |time: i64| window.last_end(EventTime(time)).is_some_and(|end| watermark.closes(EventTime(end)));
                // The last window of a later row does not end before that of an earlier one.
                if !window.leaves_gaps() && !min(&times).is_some_and(closed) {
                    return Ok(BooleanArray::from(vec![false; batch.num_rows()]));
                }
                Ok(times.values().iter().map(|time| Some(closed(*time))).collect())
            }
            Windows::Session { columns, sessions } => {
                let deciding = batch.project(columns)?;
                let Some(on_time) = sessions.on_time(&deciding)? else {
                    sessions.push_on_time(deciding)?;
                    return Ok(BooleanArray::from(vec![false; batch.num_rows()]));
                };
                sessions.push_on_time(filter_record_batch(&deciding, &on_time)?)?;
                Ok(not(&on_time)?)
            }
        }
    }
}

impl Operator for LateSplit {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let late = self.late(&batch)?;
        ctx.count_late(late.true_count());
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(late) as ArrayRef);
        ctx.emit(RecordBatch::try_new(Arc::clone(&self.output), columns)?);
        Ok(())
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        match &mut self.windows {
            Windows::Fixed(_, watermark) => *watermark = watermarks.min(),
            Windows::Session { sessions, .. } => {
                sessions.advance(watermarks.min())?;
                while sessions.has_closed() {
                    let closed = sessions.take_closed();
                    sessions.close(&closed)?;
                }
                sessions.clean_up()?;
            }
        }
        ctx.emit_watermark(watermarks.min());
        Ok(())
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        match &mut self.windows {
            Windows::Fixed(_, watermark) => state.value("watermark", watermark),
            Windows::Session { sessions, .. } => sessions.snapshot(&mut state.part("sessions")),
        }
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        match &mut self.windows {
            Windows::Fixed(_, watermark) => {
                *watermark = state.values("watermark")?.into_iter().min().unwrap_or(*watermark);
                Ok(())
            }
            Windows::Session { sessions, .. } => sessions.restore(&state.part("sessions")),
        }
    }

    fn spilled_bytes(&self) -> u64 {
        match &self.windows {
            Windows::Fixed(..) => 0,
            Windows::Session { sessions, .. } => sessions.disk_bytes(),
        }
    }

    fn state_bytes(&self) -> usize {
        match &self.windows {
            Windows::Fixed(..) => 0,
            Windows::Session { sessions, .. } => sessions.bytes(),
        }
    }
}

#[cfg(test)]
mod tests;
