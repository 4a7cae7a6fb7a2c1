//! Joins rows with equal keys whose event times lie within an interval of each other.
//!
//! Each side keeps its rows by key until the other side's watermark rules a partner out.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use tidemill_plans::node::{IntervalJoinNode, JoinSide};
use tidemill_plans::time::{EventTime, Watermark, event_times};

use super::Operator;
use crate::error::Result;
use crate::rows::JoinKeys;
use crate::task::{OperatorContext, PortWatermarks, batch_bytes};

const LEFT: usize = 0;

/// Fewer rows than twice this are not worth a clean-up. Tests want to see some.
const CLEAN_UP_ROWS: usize = if cfg!(test) { 2 } else { 1024 };

/// See [`IntervalJoinNode`].
pub(super) struct IntervalJoin {
    sides: [Side; 2],
    filter: Option<Arc<dyn PhysicalExpr>>,
    output_time: JoinSide,
    output: SchemaRef,
}

/// Where a row is held: its event time, its batch, its row there.
type HeldRow = (i64, u32, u32);

/// One side's rows.
struct Side {
    keys: JoinKeys,
    time: usize,
    /// A row at time t matches the other side's rows in `[t + reach.0, t + reach.1]`.
    reach: (i64, i64),
    watermark: Watermark,
    batches: Vec<RecordBatch>,
    /// Rows by key: time, batch, row.
    rows: HashMap<Box<[u8]>, Vec<HeldRow>>,
    /// How many rows the batches hold, and how many were left by the last clean-up.
    held: usize,
    kept: usize,
    bytes: usize,
}

impl IntervalJoin {
    pub(super) fn new(node: &IntervalJoinNode, left: &SchemaRef, right: &SchemaRef, output: SchemaRef) -> Result<Self> {
        let left = Side::new(JoinKeys::new(left, &node.left_keys)?, node.left_time, (node.lower, node.upper));
        let right = Side::new(JoinKeys::new(right, &node.right_keys)?, node.right_time, (-node.upper, -node.lower));
        let filter = node.filter.as_ref().map(|filter| filter.to_physical(&output)).transpose()?;
        Ok(Self { sides: [left, right], filter, output_time: node.output_time, output })
    }

    /// The pairs of a new batch on `port` with what the other side holds.
    fn pairs(
        &self,
        port: usize,
        batch: &RecordBatch,
        keys: &[Option<Box<[u8]>>],
        times: &[i64],
    ) -> Result<RecordBatch> {
        let (own, other) = (&self.sides[port], &self.sides[1 - port]);
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        for (row, (key, time)) in keys.iter().zip(times).enumerate() {
            let Some(held) = key.as_ref().and_then(|key| other.rows.get(key)) else { continue };
            let range = time.saturating_add(own.reach.0)..=time.saturating_add(own.reach.1);
            for (_, held_batch, held_row) in held.iter().filter(|(time, ..)| range.contains(time)) {
                mine.push(row as u32);
                theirs.push((*held_batch as usize, *held_row as usize));
            }
        }
        if mine.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.output)));
        }
        let mine = take_record_batch(batch, &UInt32Array::from(mine))?;
        let held: Vec<&RecordBatch> = other.batches.iter().collect();
        let theirs = interleave_record_batch(&held, &theirs)?;
        let (left, right) = if port == LEFT { (mine, theirs) } else { (theirs, mine) };
        let columns = left.columns().iter().chain(right.columns()).map(Arc::clone).collect();
        Ok(RecordBatch::try_new(Arc::clone(&self.output), columns)?)
    }

    /// The output's watermark: a later pair has a new row on one side, and its partner within reach.
    fn output_watermark(&self) -> Watermark {
        let (time, partner) = match self.output_time {
            JoinSide::Left => (&self.sides[0], &self.sides[1]),
            JoinSide::Right => (&self.sides[1], &self.sides[0]),
        };
        time.watermark.min(Watermark(partner.watermark.0.plus(partner.reach.0)))
    }
}

impl Side {
    fn new(keys: JoinKeys, time: usize, reach: (i64, i64)) -> Self {
        Self {
            keys,
            time,
            reach,
            watermark: Watermark::MIN,
            batches: Vec::new(),
            rows: HashMap::new(),
            held: 0,
            kept: 0,
            bytes: 0,
        }
    }

    fn hold(&mut self, batch: RecordBatch, keys: Vec<Option<Box<[u8]>>>, times: &[i64]) {
        let index = self.batches.len() as u32;
        for (row, (key, time)) in keys.into_iter().zip(times).enumerate() {
            if let Some(key) = key {
                self.rows.entry(key).or_default().push((*time, index, row as u32));
            }
        }
        // Rows without a key can never match, but their batch is held as long as its other rows.
        self.held += batch.num_rows();
        self.bytes += batch_bytes(&batch);
        self.batches.push(batch);
    }

    /// Drops the rows that no later row of the other side can match. Costs a pass over all rows, so
    /// it waits until there are twice as many as it left the last time.
    fn clean_up(&mut self, other: Watermark) -> Result<()> {
        if self.held < 2 * self.kept.max(CLEAN_UP_ROWS) && !other.is_end() {
            return Ok(());
        }
        let reach = self.reach.1;
        let alive = |time: i64| !other.passed(EventTime(time).plus(reach));
        let mut live: Vec<(usize, usize)> = Vec::new();
        for rows in self.rows.values_mut() {
            rows.retain(|(time, ..)| alive(*time));
            for (_, batch, row) in rows.iter_mut() {
                live.push((*batch as usize, *row as usize));
                (*batch, *row) = (0, live.len() as u32 - 1);
            }
        }
        self.rows.retain(|_, rows| !rows.is_empty());
        let held: Vec<&RecordBatch> = self.batches.iter().collect();
        self.batches = if live.is_empty() { Vec::new() } else { vec![interleave_record_batch(&held, &live)?] };
        self.bytes = self.batches.iter().map(batch_bytes).sum();
        self.held = live.len();
        self.kept = live.len();
        Ok(())
    }
}

impl Operator for IntervalJoin {
    fn on_batch(&mut self, port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let times = event_times(batch.column(self.sides[port].time))?;
        let watermark = self.sides[port].watermark;
        let late = times.values().iter().filter(|time| EventTime(**time) < watermark.0).count();
        if late > 0 {
            // A late row's partners may be gone or not: dropping it always keeps results repeatable.
            ctx.count_late(late);
            let on_time = times.values().iter().map(|time| Some(EventTime(*time) >= watermark.0)).collect();
            let batch = filter_record_batch(&batch, &on_time)?;
            return self.on_batch(port, batch, ctx);
        }
        let keys = self.sides[port].keys.of(&batch)?;
        let mut pairs = self.pairs(port, &batch, &keys, times.values())?;
        if let Some(filter) = &self.filter {
            let keep = filter.evaluate(&pairs)?.into_array(pairs.num_rows())?;
            pairs = filter_record_batch(&pairs, keep.as_boolean())?;
        }
        ctx.emit(pairs);
        let times = times.values().to_vec();
        self.sides[port].hold(batch, keys, &times);
        Ok(())
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        for (port, side) in self.sides.iter_mut().enumerate() {
            side.watermark = watermarks.port(port);
            side.clean_up(watermarks.port(1 - port))?;
        }
        ctx.emit_watermark(self.output_watermark());
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.sides.iter().map(|side| side.bytes + side.held * size_of::<HeldRow>()).sum()
    }
}

#[cfg(test)]
mod tests;
