//! Groups by key without a window, and emits how each group's result changes.
//!
//! Where the input has event time, rows are taken in its order once the watermark has passed them,
//! so that sums of floats come out the same in every run. Changes are emitted then too: at most one
//! a group and watermark.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{filter, take};
use arrow::datatypes::SchemaRef;
use arrow::row::{OwnedRow, Row, RowConverter, SortField};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Accumulator;
use hashbrown::HashMap;
use tidemill_plans::change::{ChangeOp, change_array};
use tidemill_plans::node::{AggregateEmit, AggregateNode};
use tidemill_plans::time::{Watermark, event_times};

use super::Operator;
use super::groups::AggregateCall;
use super::window_aggregate::conform;
use crate::error::Result;
use crate::rows::{EventTimeBuffer, canonical_key};
use crate::task::{EndReason, OperatorContext, PortWatermarks};

/// See [`AggregateNode`].
pub(super) struct Aggregate {
    keys: Vec<usize>,
    calls: Vec<AggregateCall>,
    emit: AggregateEmit,
    output: SchemaRef,
    /// Rows whose time has not passed; `None` if the input has no event time.
    waiting: Option<EventTimeBuffer>,
    converter: RowConverter,
    /// The places in `state` by key.
    groups: HashMap<Box<[u8]>, usize>,
    state: Vec<Group>,
    /// Bytes that the groups hold.
    bytes: usize,
    /// Groups that have changed since their last emission.
    changed: BTreeSet<usize>,
}

struct Group {
    key: OwnedRow,
    accumulators: Vec<Box<dyn Accumulator>>,
    /// What downstream knows.
    emitted: Option<Vec<ScalarValue>>,
}

impl Group {
    /// Bytes of its accumulators.
    fn bytes(&self) -> usize {
        self.accumulators.iter().map(|accumulator| accumulator.size()).sum()
    }
}

impl Aggregate {
    pub(super) fn new(node: &AggregateNode, input: SchemaRef, output: SchemaRef) -> Result<Self> {
        let calls: Result<Vec<_>> = node.aggregates.iter().map(|call| AggregateCall::new(call, &input)).collect();
        let fields = node.keys.iter().map(|k| SortField::new(input.field(*k).data_type().clone())).collect();
        let mut aggregate = Self {
            keys: node.keys.clone(),
            calls: calls?,
            emit: node.emit,
            output,
            waiting: node.time.map(|time| EventTimeBuffer::new(Arc::clone(&input), time)),
            converter: RowConverter::new(fields)?,
            groups: HashMap::new(),
            state: Vec::new(),
            bytes: 0,
            changed: BTreeSet::new(),
        };
        if node.keys.is_empty() {
            // Without keys there is one group from the start: a count of nothing is 0, not nothing.
            aggregate.global_group()?;
        }
        Ok(aggregate)
    }

    fn global_group(&mut self) -> Result<()> {
        // A row of no columns cannot be converted; any fixed row stands for it.
        let converter = RowConverter::new(vec![SortField::new(arrow::datatypes::DataType::Boolean)])?;
        let rows = converter.convert_columns(&[Arc::new(BooleanArray::from(vec![true])) as ArrayRef])?;
        self.group(rows.row(0))?;
        Ok(())
    }

    fn group(&mut self, key: Row<'_>) -> Result<usize> {
        if let Some(index) = self.groups.get(key.data()) {
            return Ok(*index);
        }
        let accumulators: Result<Vec<_>> = self.calls.iter().map(AggregateCall::single).collect();
        let group = Group { key: key.owned(), accumulators: accumulators?, emitted: None };
        let index = self.state.len();
        // The key is held twice: here, and to be turned into columns again.
        self.bytes += group.bytes() + 2 * key.data().len();
        self.state.push(group);
        self.groups.insert(Box::from(key.data()), index);
        self.changed.insert(index);
        Ok(index)
    }

    /// The rows of each group in a batch, groups in the order of their first row.
    fn rows_by_group(&mut self, batch: &RecordBatch) -> Result<Vec<(usize, Vec<u32>)>> {
        if self.keys.is_empty() {
            return Ok(vec![(0, (0..batch.num_rows() as u32).collect())]);
        }
        let columns: Vec<ArrayRef> = self.keys.iter().map(|key| canonical_key(batch.column(*key))).collect();
        let rows = self.converter.convert_columns(&columns)?;
        let mut by_group: Vec<(usize, Vec<u32>)> = Vec::new();
        let mut places: HashMap<usize, usize> = HashMap::new();
        for row in 0..batch.num_rows() {
            let group = self.group(rows.row(row))?;
            let place = *places.entry(group).or_insert(by_group.len());
            if place == by_group.len() {
                by_group.push((group, Vec::new()));
            }
            by_group[place].1.push(row as u32);
        }
        Ok(by_group)
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let by_group = self.rows_by_group(batch)?;
        let before: usize = by_group.iter().map(|(group, _)| self.state[*group].bytes()).sum();
        for (index, call) in self.calls.iter().enumerate() {
            let (arguments, keep) = call.evaluate(batch)?;
            for (group, rows) in &by_group {
                let values = select(&arguments, keep.as_ref(), rows)?;
                self.state[*group].accumulators[index].update_batch(&values)?;
            }
        }
        let after: usize = by_group.iter().map(|(group, _)| self.state[*group].bytes()).sum();
        self.bytes = (self.bytes + after).saturating_sub(before);
        self.changed.extend(by_group.iter().map(|(group, _)| *group));
        Ok(())
    }

    /// Adds the rows that event time has passed.
    ///
    /// An accumulator sums a batch in lanes, so where one batch ends and the next begins shows in the
    /// last bits of a float. Where that matters, the cuts must not depend on when watermarks came: a
    /// final result takes everything at once, an updated one a point of event time after another.
    fn take_passed(&mut self, watermark: Watermark) -> Result<()> {
        let Some(waiting) = &mut self.waiting else { return Ok(()) };
        let order_matters = self.calls.iter().any(|call| call.order_matters);
        if order_matters && self.emit == AggregateEmit::AtEnd && !watermark.is_end() {
            return Ok(());
        }
        let time = waiting.time();
        let Some(batch) = waiting.take_before(watermark.0)? else { return Ok(()) };
        if !order_matters || self.emit == AggregateEmit::AtEnd {
            return self.add(&batch);
        }
        let times = event_times(batch.column(time))?;
        let mut start = 0;
        for same in times.values().chunk_by(|a, b| a == b) {
            self.add(&batch.slice(start, same.len()))?;
            start += same.len();
        }
        Ok(())
    }

    /// Emits how the changed groups differ from what downstream knows.
    fn flush(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        let (mut keys, mut rows, mut ops) = (Vec::new(), Vec::new(), Vec::new());
        for index in std::mem::take(&mut self.changed) {
            let now = self.evaluate(index)?;
            let group = &mut self.state[index];
            match group.emitted.replace(now.clone()) {
                Some(before) if before == now => continue,
                Some(before) => {
                    keys.push(index);
                    rows.push(before);
                    ops.push(ChangeOp::UpdateBefore);
                    ops.push(ChangeOp::UpdateAfter);
                }
                None => ops.push(ChangeOp::Insert),
            }
            keys.push(index);
            rows.push(now);
        }
        if ops.is_empty() {
            return Ok(());
        }
        let mut columns = self.key_columns(&keys)?;
        for column in 0..self.calls.len() {
            columns.push(ScalarValue::iter_to_array(rows.iter().map(|row| row[column].clone()))?);
        }
        columns.push(change_array(&ops));
        ctx.emit(conform(columns, &self.output)?);
        Ok(())
    }

    fn key_columns(&self, groups: &[usize]) -> Result<Vec<ArrayRef>> {
        if self.keys.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.converter.convert_rows(groups.iter().map(|group| self.state[*group].key.row()))?)
    }

    /// A group's results. DataFusion lets an accumulator be asked again and again (window frames do),
    /// so nothing is copied or merged, and how often it is asked leaves no trace in sums of floats.
    fn evaluate(&mut self, group: usize) -> Result<Vec<ScalarValue>> {
        let accumulators = self.state[group].accumulators.iter_mut();
        let values: datafusion::error::Result<_> = accumulators.map(|accumulator| accumulator.evaluate()).collect();
        Ok(values?)
    }
}

/// The rows of one group that an aggregate's FILTER lets through.
fn select(arguments: &[ArrayRef], keep: Option<&BooleanArray>, rows: &[u32]) -> Result<Vec<ArrayRef>> {
    let rows = UInt32Array::from(rows.to_vec());
    let mask = keep.map(|keep| take(keep, &rows, None)).transpose()?;
    let mut values = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let taken = take(argument, &rows, None)?;
        values.push(match &mask {
            Some(mask) => filter(&taken, mask.as_boolean())?,
            None => taken,
        });
    }
    Ok(values)
}

impl Operator for Aggregate {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        match &mut self.waiting {
            Some(waiting) => waiting.push(batch),
            None => {
                self.add(&batch)?;
                if self.emit == AggregateEmit::OnUpdate { self.flush(ctx) } else { Ok(()) }
            }
        }
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        self.take_passed(watermarks.min())?;
        if self.emit == AggregateEmit::OnUpdate {
            self.flush(ctx)?;
        }
        ctx.emit_watermark(watermarks.min());
        Ok(())
    }

    fn on_end(&mut self, reason: EndReason, ctx: &mut OperatorContext) -> Result<()> {
        if reason == EndReason::Finished { self.flush(ctx) } else { Ok(()) }
    }

    fn state_bytes(&self) -> usize {
        self.bytes + self.waiting.as_ref().map_or(0, EventTimeBuffer::bytes)
    }
}

#[cfg(test)]
mod tests;
