//! Groups by key and window; emits a window's rows once the watermark has passed its end.
//!
//! Time is cut into panes, whose length divides both the window's size and its slide, so a row is
//! aggregated once however many windows it is in; a window merges the partial aggregates of its
//! panes (Li et al., "No pane, no gain", SIGMOD Record 2005). Where the order of rows can change a
//! result (sums of floats, ARRAY_AGG), a pane keeps its rows and aggregates them in canonical order
//! once it is complete; else it aggregates as they come.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use tidemill_plans::node::{WindowAggregateNode, WindowSpec};
use tidemill_plans::time::{EventTime, Watermark, event_times};

use super::Operator;
use super::groups::{AggregateCall, Groups, PartialGroups, key_schema};
use super::window_assign::window_columns;
use crate::error::Result;
use crate::rows::canonical_order;
use crate::task::{OperatorContext, PortWatermarks, batch_bytes};

/// Rows of closed windows that are emitted together.
const EMIT_ROWS: usize = 4096;

/// See [`WindowAggregateNode`].
pub(super) struct WindowAggregate {
    keys: Vec<usize>,
    time: usize,
    window: WindowSpec,
    calls: Vec<AggregateCall>,
    order_matters: bool,
    input: SchemaRef,
    key_schema: SchemaRef,
    output: SchemaRef,
    /// Length of a pane in microseconds.
    pane: i64,
    /// Panes by start.
    panes: BTreeMap<i64, Pane>,
    /// Bytes that the panes hold.
    bytes: usize,
    /// Where the groups of the window that closes are put together.
    closing: Groups,
    /// Start of the last window that has closed, whether it had rows or not.
    closed: Option<i64>,
    watermark: Watermark,
}

/// What is known of a stretch of time.
#[derive(Default)]
struct Pane {
    /// Rows since the last partial, kept where their order matters.
    rows: Vec<RecordBatch>,
    /// Groups since the last partial, where it does not.
    groups: Option<Groups>,
    /// What earlier windows have already used.
    partials: Vec<PartialGroups>,
    bytes: usize,
}

impl WindowAggregate {
    pub(super) fn new(node: &WindowAggregateNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let calls: Result<Vec<_>> = node.aggregates.iter().map(|call| AggregateCall::new(call, &input)).collect();
        let calls = calls?;
        let key_schema = key_schema(&input, &node.keys);
        Ok(Self {
            closing: Groups::new(&key_schema, &calls)?,
            keys: node.keys.clone(),
            time: node.time,
            window: node.window,
            order_matters: calls.iter().any(|call| call.order_matters),
            calls,
            key_schema,
            input,
            output,
            pane: gcd(node.window.size(), node.window.slide()),
            panes: BTreeMap::new(),
            bytes: 0,
            closed: None,
            watermark: Watermark::MIN,
        })
    }

    fn pane_start(&self, time: i64) -> i64 {
        time - (time - self.window.offset()).rem_euclid(self.pane)
    }

    /// The rows that are in a window that is still open.
    fn rows_in_open_windows(&self, batch: RecordBatch, ctx: &OperatorContext) -> Result<RecordBatch> {
        let times = event_times(batch.column(self.time))?;
        let (mut keep, mut late) = (Vec::with_capacity(times.len()), 0);
        for time in times.values() {
            let last_end = self.window.last_start(EventTime(*time)).saturating_add(self.window.size());
            // With a slide longer than the size, a row may be in no window: that is not being late.
            let in_window = last_end > *time;
            let closed = self.watermark.closes(EventTime(last_end));
            late += usize::from(in_window && closed);
            keep.push(in_window && !closed);
        }
        ctx.count_late(late);
        if keep.contains(&false) { Ok(filter_record_batch(&batch, &BooleanArray::from(keep))?) } else { Ok(batch) }
    }

    /// Adds the rows of one pane.
    fn add(&mut self, start: i64, rows: RecordBatch) -> Result<()> {
        let pane = self.panes.entry(start).or_default();
        let before = pane.bytes;
        if self.order_matters {
            pane.bytes += batch_bytes(&rows);
            pane.rows.push(rows);
        } else {
            let groups = match &mut pane.groups {
                Some(groups) => groups,
                none => none.insert(Groups::new(&self.key_schema, &self.calls)?),
            };
            let known = groups.bytes();
            groups.update(&self.keys, &self.calls, &rows)?;
            pane.bytes = (pane.bytes + groups.bytes()).saturating_sub(known);
        }
        self.bytes = (self.bytes + pane.bytes).saturating_sub(before);
        Ok(())
    }

    /// Start of the earliest window that has rows and has not closed.
    fn next_window(&self) -> Option<i64> {
        let slide = self.window.slide();
        let after = self.closed.map(|start| start.saturating_add(slide));
        for pane in self.panes.keys() {
            // The earliest window that holds the pane ends just behind it.
            let earliest = self.window.starts(EventTime(*pane)).last();
            let Some(earliest) = earliest else { continue };
            let start = after.map_or(earliest, |after| earliest.max(after));
            if start <= *pane {
                return Some(start);
            }
        }
        None
    }

    fn close_windows(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        // A watermark often closes many small windows: downstream gets them as few batches.
        let (mut closed, mut rows) = (Vec::new(), 0);
        while let Some(start) = self.next_window() {
            if !self.watermark.closes(EventTime(start.saturating_add(self.window.size()))) {
                break;
            }
            let batch = self.close(start)?;
            rows += batch.num_rows();
            closed.push(batch);
            if rows >= EMIT_ROWS {
                ctx.emit(concat_batches(&self.output, &std::mem::take(&mut closed))?);
                rows = 0;
            }
            self.closed = Some(start);
            self.drop_used_panes(start);
        }
        ctx.emit(concat_batches(&self.output, &closed)?);
        self.close_empty_windows();
        Ok(())
    }

    /// A window that closed without rows is closed too: a late row must not open it again.
    fn close_empty_windows(&mut self) {
        let last_end = self.watermark.0;
        if last_end != EventTime::MIN && last_end != EventTime::MAX {
            let last = self.window.last_start(last_end.plus(-self.window.size()));
            self.closed = self.closed.max(Some(last));
        }
    }

    /// Drops the panes that no window after the one from `closed` holds.
    fn drop_used_panes(&mut self, closed: i64) {
        while let Some((pane, _)) = self.panes.first_key_value() {
            if self.window.last_start(EventTime(*pane)) > closed {
                break;
            }
            if let Some((_, pane)) = self.panes.pop_first() {
                self.bytes = self.bytes.saturating_sub(pane.bytes);
            }
        }
    }

    /// The rows of one window.
    fn close(&mut self, start: i64) -> Result<RecordBatch> {
        let end = start.saturating_add(self.window.size());
        for pane in self.panes.range_mut(start..end).map(|(_, pane)| pane).filter(|pane| !pane.is_sealed()) {
            let before = pane.bytes;
            pane.seal(&self.key_schema, &self.keys, &self.calls, &self.input, self.time)?;
            self.bytes = (self.bytes + pane.bytes).saturating_sub(before);
        }
        let partials: Vec<&PartialGroups> = self.panes.range(start..end).flat_map(|(_, pane)| &pane.partials).collect();
        self.closing.merge(&partials)?;
        let (mut columns, results) = self.closing.finish()?;
        // Without keys and aggregates the window itself is the row.
        let rows = columns.first().or_else(|| results.first()).map_or(1, |column| column.len());
        columns.extend(window_columns(&vec![start; rows], self.window.size()));
        columns.extend(results);
        conform(columns, &self.output)
    }
}

impl Pane {
    /// Whether nothing has come since the last window.
    fn is_sealed(&self) -> bool {
        self.rows.is_empty() && self.groups.is_none()
    }

    /// Turns what has come since the last window into a partial. Rows whose order matters are
    /// aggregated by event time, then by all columns.
    fn seal(
        &mut self,
        key_schema: &SchemaRef,
        keys: &[usize],
        calls: &[AggregateCall],
        input: &SchemaRef,
        time: usize,
    ) -> Result<()> {
        if !self.rows.is_empty() {
            let rows = concat_batches(input, &std::mem::take(&mut self.rows))?;
            let mut groups = Groups::new(key_schema, calls)?;
            groups.update(keys, calls, &canonical_order(&rows, Some(time))?)?;
            self.partials.push(groups.into_partial()?);
        }
        if let Some(groups) = self.groups.take() {
            self.partials.push(groups.into_partial()?);
        }
        self.bytes = self.partials.iter().map(PartialGroups::bytes).sum();
        Ok(())
    }
}

impl Operator for WindowAggregate {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let batch = self.rows_in_open_windows(batch, ctx)?;
        let times = event_times(batch.column(self.time))?;
        let mut by_pane: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for (row, time) in times.values().iter().enumerate() {
            by_pane.entry(self.pane_start(*time)).or_default().push(row as u32);
        }
        if let (1, Some(start)) = (by_pane.len(), by_pane.keys().next()) {
            return self.add(*start, batch);
        }
        for (start, rows) in by_pane {
            self.add(start, take_record_batch(&batch, &UInt32Array::from(rows))?)?;
        }
        Ok(())
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        self.watermark = watermarks.min();
        self.close_windows(ctx)?;
        ctx.emit_watermark(self.watermark);
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.bytes
    }
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
