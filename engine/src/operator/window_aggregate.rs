//! Groups by key and window; emits a window's rows once the watermark has passed its end.
//!
//! Time is cut into panes, whose length divides both the window's size and its slide, so a row is
//! aggregated once however many windows it is in; a window merges the partial aggregates of its
//! panes (Li et al., "No pane, no gain", SIGMOD Record 2005). Where the order of rows can change a
//! result (sums of floats, ARRAY_AGG), rows wait until their pane is complete and are aggregated in
//! canonical order; else they are aggregated as they come.
//!
//! A watermark often completes many small panes and windows. They are grouped together, with the pane
//! or window as one more key, so that the cost is that of the rows and not of the windows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef};
use tidemill_plans::node::{TimeWindow, WindowAggregateNode, WindowSpec};
use tidemill_plans::time::{EventTime, Watermark, event_times};

use super::Operator;
use super::groups::{AggregateCall, Groups, PartialGroups, key_schema, numbered_key_schema};
use super::window_assign::window_columns;
use crate::error::Result;
use crate::rows::EventTimeBuffer;
use crate::task::{OperatorContext, PortWatermarks};

/// Partial aggregates that are put together to windows at a time, but for those of one window.
const CLOSE_ROWS: usize = 1 << 15;

/// See [`WindowAggregateNode`].
pub(super) struct WindowAggregate {
    keys: Vec<usize>,
    time: usize,
    window: WindowSpec,
    calls: Vec<AggregateCall>,
    key_schema: SchemaRef,
    output: SchemaRef,
    grid: PaneGrid,
    /// Rows of panes that are not complete; `None` where their order does not matter.
    waiting: Option<EventTimeBuffer>,
    /// Panes by start.
    panes: BTreeMap<i64, Pane>,
    /// Bytes that the panes hold.
    bytes: usize,
    /// Where rows are grouped by pane and key, and partial aggregates by window and key.
    sealing: Groups,
    closing: Groups,
    /// End of the last window that has closed, whether it had rows or not.
    closed: Option<i64>,
    watermark: Watermark,
}

/// Which pane a time is in: panes have this length, in microseconds, and one starts at the offset.
#[derive(Debug, Clone, Copy)]
struct PaneGrid {
    length: i64,
    offset: i64,
}

/// What is known of a stretch of time.
#[derive(Default)]
struct Pane {
    /// Groups of the rows that came since the last window, where their order does not matter.
    groups: Option<Groups>,
    partials: Vec<PartialGroups>,
    bytes: usize,
}

impl WindowAggregate {
    pub(super) fn new(node: &WindowAggregateNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let calls: Result<Vec<_>> = node.aggregates.iter().map(|call| AggregateCall::new(call, &input)).collect();
        let calls = calls?;
        let key_schema = key_schema(&input, &node.keys);
        let numbered = numbered_key_schema(&key_schema);
        let order_matters = calls.iter().any(|call| call.order_matters);
        Ok(Self {
            keys: node.keys.clone(),
            time: node.time,
            window: node.window,
            sealing: Groups::new(&numbered, &calls)?,
            closing: Groups::new(&numbered, &calls)?,
            calls,
            key_schema,
            output,
            grid: PaneGrid { length: gcd(node.window.size(), node.window.period()), offset: node.window.offset() },
            waiting: order_matters.then(|| EventTimeBuffer::new(input, node.time)),
            panes: BTreeMap::new(),
            bytes: 0,
            closed: None,
            watermark: Watermark::MIN,
        })
    }

    fn key_columns(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        self.keys.iter().map(|key| Arc::clone(batch.column(*key))).collect()
    }

    /// The rows that are in a window that is still open.
    fn rows_in_open_windows(&self, batch: RecordBatch, ctx: &OperatorContext) -> Result<RecordBatch> {
        let times = event_times(batch.column(self.time))?;
        let (mut keep, mut late) = (Vec::with_capacity(times.len()), 0);
        for time in times.values() {
            // With a slide longer than the size, a row may be in no window: that is not being late.
            let end = self.window.last_end(EventTime(*time));
            let closed = end.is_some_and(|end| self.watermark.closes(EventTime(end)));
            late += usize::from(closed);
            keep.push(end.is_some() && !closed);
        }
        ctx.count_late(late);
        if keep.contains(&false) { Ok(filter_record_batch(&batch, &BooleanArray::from(keep))?) } else { Ok(batch) }
    }

    /// Adds rows whose order does not matter.
    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let times = event_times(batch.column(self.time))?;
        let mut by_pane: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for (row, time) in times.values().iter().enumerate() {
            by_pane.entry(self.grid.start(*time)).or_default().push(row as u32);
        }
        if let (1, Some(start)) = (by_pane.len(), by_pane.keys().next()) {
            return self.add_to_pane(*start, batch);
        }
        for (start, rows) in by_pane {
            self.add_to_pane(start, &take_record_batch(batch, &UInt32Array::from(rows))?)?;
        }
        Ok(())
    }

    fn add_to_pane(&mut self, start: i64, rows: &RecordBatch) -> Result<()> {
        let keys = self.key_columns(rows);
        let pane = self.panes.entry(start).or_default();
        let groups = match &mut pane.groups {
            Some(groups) => groups,
            none => none.insert(Groups::new(&self.key_schema, &self.calls)?),
        };
        let known = groups.bytes();
        groups.update(&keys, &self.calls, rows)?;
        let grown = groups.bytes();
        pane.bytes = (pane.bytes + grown).saturating_sub(known);
        self.bytes = (self.bytes + grown).saturating_sub(known);
        Ok(())
    }

    /// Aggregates the rows that have waited for their panes to be complete.
    fn seal_complete_panes(&mut self) -> Result<()> {
        let Some(mut waiting) = self.waiting.take() else { return Ok(()) };
        let (grid, watermark) = (self.grid, self.watermark.0);
        let bound = if watermark == EventTime::MAX { watermark } else { EventTime(grid.start(watermark.0)) };
        // A pane is aggregated at once, or sums of floats would show where it was cut.
        while let Some(rows) = waiting.take_stretch_before(bound, |time| grid.last(time))? {
            let times = event_times(rows.column(self.time))?;
            let panes = Int64Array::from_iter_values(times.values().iter().map(|time| grid.start(*time)));
            let mut keys = self.key_columns(&rows);
            keys.insert(0, Arc::new(panes));
            self.sealing.update(&keys, &self.calls, &rows)?;
            for (start, partial) in self.sealing.take_partial()?.split_by_first_key() {
                let pane = self.panes.entry(start).or_default();
                let bytes = partial.bytes();
                pane.bytes += bytes;
                self.bytes += bytes;
                pane.partials.push(partial);
            }
        }
        self.waiting = Some(waiting);
        Ok(())
    }

    /// Turns what has come since the last window into partials, in the panes of one window.
    fn seal_groups(&mut self, window: TimeWindow) -> Result<()> {
        for pane in self.panes.range_mut(window.start..window.end).map(|(_, pane)| pane) {
            let Some(mut groups) = pane.groups.take() else { continue };
            let before = pane.bytes;
            pane.partials.push(groups.take_partial()?);
            pane.bytes = pane.partials.iter().map(PartialGroups::bytes).sum();
            self.bytes = (self.bytes + pane.bytes).saturating_sub(before);
        }
        Ok(())
    }

    /// The first window to end that has rows and has not closed.
    fn next_window(&self) -> Option<TimeWindow> {
        let next = self.closed.map(|end| end.saturating_add(self.window.period()));
        // Panes that only closed windows hold may still be there: they are before this one's start.
        let from = next.map_or(i64::MIN, |end| self.window.ending_at(end).start);
        for pane in self.panes.range(from..).map(|(pane, _)| *pane) {
            let Some(first) = self.window.windows(EventTime(pane)).next() else { continue };
            let window = self.window.ending_at(next.map_or(first.end, |end| first.end.max(end)));
            if window.start <= pane {
                return Some(window);
            }
        }
        None
    }

    /// Emits the windows that the watermark has passed.
    fn close_windows(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        loop {
            let windows = self.take_complete_windows()?;
            let Some(last) = windows.last() else { break };
            ctx.emit(self.close(&windows)?);
            self.drop_used_panes(last.end);
        }
        self.close_empty_windows();
        Ok(())
    }

    /// The next windows to close, as many as are worth closing together.
    fn take_complete_windows(&mut self) -> Result<Vec<TimeWindow>> {
        let (mut windows, mut rows) = (Vec::new(), 0);
        while rows < CLOSE_ROWS
            && let Some(window) = self.next_window()
        {
            if !self.watermark.closes(EventTime(window.end)) {
                break;
            }
            self.seal_groups(window)?;
            let partials = self.panes.range(window.start..window.end).flat_map(|(_, pane)| &pane.partials);
            rows += partials.map(PartialGroups::rows).sum::<usize>();
            windows.push(window);
            self.closed = Some(window.end);
        }
        Ok(windows)
    }

    /// The rows of these windows, whose panes are sealed.
    fn close(&mut self, windows: &[TimeWindow]) -> Result<RecordBatch> {
        let (mut ends, mut partials) = (Vec::new(), Vec::new());
        for window in windows {
            let panes = self.panes.range(window.start..window.end);
            partials.extend(panes.flat_map(|(_, pane)| &pane.partials));
            ends.resize(partials.len(), window.end);
        }
        self.closing.merge(&ends, &partials)?;
        finish_windows(&mut self.closing, |end| self.window.ending_at(end), &self.output)
    }

    /// A window that closed without rows is closed too: a late row must not open it again.
    fn close_empty_windows(&mut self) {
        let watermark = self.watermark.0;
        if watermark != EventTime::MIN && watermark != EventTime::MAX {
            self.closed = self.closed.max(Some(self.window.last_end_until(watermark)));
        }
    }

    /// Drops the panes that no window holds that ends after `closed`.
    fn drop_used_panes(&mut self, closed: i64) {
        while let Some((pane, _)) = self.panes.first_key_value() {
            if self.window.last_end(EventTime(*pane)).is_some_and(|end| end > closed) {
                break;
            }
            if let Some((_, pane)) = self.panes.pop_first() {
                self.bytes = self.bytes.saturating_sub(pane.bytes);
            }
        }
    }
}

impl PaneGrid {
    fn start(self, time: i64) -> i64 {
        time.saturating_sub(time.saturating_sub(self.offset).rem_euclid(self.length))
    }

    /// The last time of the pane that `time` is in.
    fn last(self, time: i64) -> i64 {
        self.start(time).saturating_add(self.length - 1)
    }
}

impl Operator for WindowAggregate {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let batch = self.rows_in_open_windows(batch, ctx)?;
        match &mut self.waiting {
            Some(waiting) => waiting.push(batch),
            None => self.add(&batch),
        }
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        self.watermark = watermarks.min();
        self.seal_complete_panes()?;
        self.close_windows(ctx)?;
        ctx.emit_watermark(self.watermark);
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.bytes + self.waiting.as_ref().map_or(0, EventTimeBuffer::bytes)
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
    let windows: Vec<TimeWindow> = numbers.map(|number| window(*number)).collect();
    columns.extend(window_columns(&windows));
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
