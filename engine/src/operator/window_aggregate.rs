//! Groups by key and window; emits a window's rows once the watermark has passed its end.
//!
//! Time is cut into panes, whose length divides both the window's size and its slide, so a row is
//! aggregated once however many windows it is in; a window merges the partial aggregates of its
//! panes (Li et al., "No pane, no gain", SIGMOD Record 2005). Where the order of rows can change a
//! result (sums of floats, ARRAY_AGG), rows wait until their pane is complete and are aggregated in
//! canonical order; else they are aggregated as they come.
//!
//! A watermark often completes many small panes and windows. They are grouped together, so that the cost
//! is that of the rows and not of the windows. Windows that grow from one start keep a running partial.

mod closing;
mod late_updates;
mod waiting;

use std::iter::repeat_n;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, min};
use arrow::datatypes::{Int64Type, SchemaRef};
use tidemill_plans::change::ChangeOp;
use tidemill_plans::node::{TimeWindow, WindowAggregateNode, WindowSpec};
use tidemill_plans::time::{EventTime, Watermark, event_times};

use self::closing::Closing;
use self::late_updates::with_ops;
use self::waiting::WaitingRows;
use super::Operator;
use super::groups::{AggregateCall, Groups};
use super::panes::{PaneGrid, Panes, WindowGroups, WindowParts};
use super::window_assign::window_columns;
use crate::error::Result;
use crate::rows::EventTimeBuffer;
use crate::state::{StateMemory, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks};

/// See [`WindowAggregateNode`].
pub(super) struct WindowAggregate {
    time: usize,
    window: WindowSpec,
    output: SchemaRef,
    /// The output without its changelog column.
    rows: SchemaRef,
    /// For how long late rows change windows that have closed, in microseconds.
    updates_within: i64,
    grid: PaneGrid,
    /// Rows of panes that are not complete; `None` where their order does not matter.
    waiting: Option<WaitingRows>,
    /// The rows of complete panes, where late rows can come among them and order matters.
    kept: Option<EventTimeBuffer>,
    panes: Panes,
    /// End of the last window that has closed, whether it had rows or not.
    closed: Option<i64>,
    closing: Closing,
    watermark: Watermark,
}

impl WindowAggregate {
    pub(super) fn new(
        node: &WindowAggregateNode,
        input: SchemaRef,
        output: SchemaRef,
        memory: &StateMemory,
    ) -> Result<Self> {
        let calls: Result<Vec<_>> = node.aggregates.iter().map(|call| AggregateCall::new(call, &input)).collect();
        let calls = calls?;
        let order_matters = calls.iter().any(|call| call.order_matters);
        let window = node.window;
        let grid = PaneGrid { length: gcd(window.size(), window.period()), offset: window.offset() };
        // A window of one pane meets no key twice.
        let shares_keys = grid.length < window.size() || node.updates_within > 0;
        let columns = output.fields().len() - usize::from(node.updates_within > 0);
        let has_late = order_matters && node.updates_within > 0;
        // Panes, rows that wait and those that late ones come among have each their share.
        let memory = memory.shared_by(1 + usize::from(order_matters) + usize::from(has_late));
        // Late rows come among all of a pane.
        let slices = (&node.keys[..], !has_late);
        let waiting = |input| WaitingRows::new(input, slices, node.time, grid, &memory);
        Ok(Self {
            time: node.time,
            window,
            rows: Arc::new(output.project(&(0..columns).collect::<Vec<_>>())?),
            output,
            updates_within: node.updates_within,
            grid,
            panes: Panes::new(&input, &node.keys, calls, grid, shares_keys, &memory)?,
            kept: has_late.then(|| EventTimeBuffer::new(Arc::clone(&input), node.time, &memory)),
            waiting: order_matters.then(|| waiting(input)),
            closed: None,
            closing: Closing::None,
            watermark: Watermark::MIN,
        })
    }

    /// The rows that are in a window that is still open, or whose result they may still change.
    fn rows_in_open_windows(&self, batch: RecordBatch, ctx: &OperatorContext) -> Result<RecordBatch> {
        let times = event_times(batch.column(self.time))?;
        let is_closed = |end: i64| self.watermark.closes(EventTime(end));
        // The last window of a later row does not end before that of an earlier one.
        let first = min(&times).and_then(|first| self.window.last_end(EventTime(first)));
        if !self.window.leaves_gaps() && !first.is_some_and(is_closed) {
            return Ok(batch);
        }
        let (mut keep, mut late) = (Vec::with_capacity(times.len()), 0);
        for time in times.values() {
            // With a slide longer than the size, a row may be in no window: that is not being late.
            let end = self.window.last_end(EventTime(*time));
            let closed = end.is_some_and(is_closed);
            late += usize::from(closed);
            keep.push(end.is_some_and(|end| !is_closed(end.saturating_add(self.updates_within))));
        }
        ctx.count_late(late);
        if keep.contains(&false) { Ok(filter_record_batch(&batch, &BooleanArray::from(keep))?) } else { Ok(batch) }
    }

    /// Aggregates the rows that have waited for their panes to be complete.
    fn seal_complete_panes(&mut self) -> Result<()> {
        let Some(mut waiting) = self.waiting.take() else { return Ok(()) };
        let (grid, watermark) = (self.grid, self.watermark.0);
        let bound = if watermark == EventTime::MAX { watermark } else { EventTime(grid.start(watermark.0)) };
        // A pane is aggregated at once, or sums of floats would show where it was cut.
        while let Some(rows) = waiting.take_before(bound)? {
            let times = event_times(rows.column(self.time))?;
            self.panes.add_in_order(&rows, &times)?;
            self.panes.make_room()?;
            if let Some(kept) = &mut self.kept {
                kept.push(rows)?;
            }
        }
        self.waiting = Some(waiting);
        Ok(())
    }

    fn emit_windows(&mut self, windows: &[WindowParts], ctx: &mut OperatorContext) -> Result<()> {
        let groups = self.panes.merge(windows)?;
        let rows = self.rows_of(groups)?;
        ctx.emit(if self.updates_within > 0 {
            with_ops(&rows, &vec![ChangeOp::Insert; rows.num_rows()], &self.output)?
        } else {
            rows
        });
        Ok(())
    }

    fn rows_of(&self, groups: WindowGroups) -> Result<RecordBatch> {
        let WindowGroups { windows, keys, results, .. } = groups;
        let mut columns = keys;
        columns.extend(window_columns(windows.iter().flat_map(|(window, rows)| repeat_n(*window, *rows))));
        columns.extend(results);
        conform(columns, &self.rows)
    }

    /// Drops the panes that no window holds that ends after `closed`, nor one that late rows may change.
    fn drop_used_panes(&mut self, closed: i64) -> Result<()> {
        let closed = EventTime(closed).min(self.watermark.0.plus(-self.updates_within)).0;
        let mut last = None;
        loop {
            let first = self.panes.starts(i64::MIN).next();
            let Some(pane) = first else { break };
            if self.window.last_end(EventTime(pane)).is_some_and(|end| end > closed) {
                break;
            }
            self.panes.drop_pane(pane)?;
            last = Some(pane);
        }
        let (Some(kept), Some(last)) = (&mut self.kept, last) else { return Ok(()) };
        kept.drop_before(EventTime(self.grid.last(last).saturating_add(1)))
    }
}

impl Operator for WindowAggregate {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let batch = self.rows_in_open_windows(batch, ctx)?;
        if self.updates_within > 0 {
            return self.add_with_updates(batch, ctx);
        }
        match &mut self.waiting {
            Some(waiting) => waiting.push(batch),
            None => {
                self.panes.add(&batch, &event_times(batch.column(self.time))?)?;
                self.panes.make_room()
            }
        }
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        self.watermark = watermarks.min();
        self.seal_complete_panes()?;
        self.closing = Closing::Next;
        self.close_next(ctx)
    }

    fn has_more(&self) -> bool {
        !matches!(self.closing, Closing::None)
    }

    fn on_more(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        self.close_next(ctx)
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("watermark", &self.watermark)?;
        state.value("closed", &self.closed)?;
        self.panes.snapshot(&mut state.part("panes"))?;
        if let Some(waiting) = &mut self.waiting {
            waiting.snapshot(&self.panes.belongs(), &mut state.part("waiting"))?;
        }
        if let Some(kept) = &mut self.kept {
            kept.snapshot(self.panes.belongs(), &mut state.part("kept"))?;
        }
        Ok(())
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        if let Some(least) = state.values("watermark")?.into_iter().min() {
            self.watermark = least;
        }
        // At a barrier all instances have seen the same watermarks, and closed the same windows. Only at the
        // end of time does it depend on the rows which one was the last.
        self.closed = state.values("closed")?.into_iter().max().flatten();
        self.panes.restore(&state.part("panes"))?;
        if let Some(waiting) = &mut self.waiting {
            waiting.restore(&state.part("waiting"))?;
        }
        if let Some(kept) = &mut self.kept {
            kept.restore(&state.part("kept"))?;
        }
        Ok(())
    }

    fn spilled_bytes(&self) -> u64 {
        self.panes.disk_bytes()
            + self.waiting.as_ref().map_or(0, WaitingRows::disk_bytes)
            + self.kept.as_ref().map_or(0, EventTimeBuffer::disk_bytes)
    }

    fn state_bytes(&self) -> usize {
        self.panes.bytes()
            + self.waiting.as_ref().map_or(0, WaitingRows::bytes)
            + self.kept.as_ref().map_or(0, EventTimeBuffer::bytes)
    }
}

/// The rows of groups that are numbered by window: keys, window columns, results.
pub(super) fn finish_windows(
    groups: &mut Groups,
    window: impl Fn(i64) -> TimeWindow,
    output: &SchemaRef,
) -> Result<RecordBatch> {
    let (mut columns, results) = groups.finish()?;
    let numbers = columns.remove(0);
    let numbers = numbers.as_primitive::<Int64Type>().values().iter();
    columns.extend(window_columns(numbers.map(|number| window(*number))));
    columns.extend(results);
    conform(columns, output)
}

/// A batch of columns whose types may differ from the plan's in nullability and metadata only.
pub(super) fn conform(columns: Vec<ArrayRef>, output: &SchemaRef) -> Result<RecordBatch> {
    let mut conformed = Vec::with_capacity(columns.len());
    for (column, field) in columns.into_iter().zip(output.fields()) {
        let same = column.data_type() == field.data_type();
        conformed.push(if same { column } else { arrow::compute::cast(&column, field.data_type())? });
    }
    Ok(RecordBatch::try_new(Arc::clone(output), conformed)?)
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod throughput;
