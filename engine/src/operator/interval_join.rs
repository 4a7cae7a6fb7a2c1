//! Joins rows with equal keys whose event times lie within an interval of each other.
//!
//! Each side keeps its rows by key until the other side's watermark rules a partner out.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use hashbrown::HashMap;
use tidemill_plans::node::{IntervalJoinNode, JoinSide};
use tidemill_plans::time::{EventTime, Watermark, event_times};

use super::Operator;
use super::held_rows::{HeldRows, Place};
use crate::error::Result;
use crate::rows::{JoinKeys, KeyRows};
use crate::task::{OperatorContext, PortWatermarks};

const LEFT: usize = 0;

/// See [`IntervalJoinNode`].
pub(super) struct IntervalJoin {
    sides: [Side; 2],
    filter: Option<Arc<dyn PhysicalExpr>>,
    output_time: JoinSide,
    output: SchemaRef,
}

/// A row by its event time and where it is held.
type HeldRow = (i64, Place);

/// One side's rows.
struct Side {
    keys: JoinKeys,
    time: usize,
    /// A row at time t matches the other side's rows in `[t + reach.0, t + reach.1]`.
    reach: (i64, i64),
    watermark: Watermark,
    held: HeldRows,
    by_key: HashMap<Box<[u8]>, Vec<HeldRow>>,
}

impl IntervalJoin {
    pub(super) fn new(node: &IntervalJoinNode, left: &SchemaRef, right: &SchemaRef, output: SchemaRef) -> Result<Self> {
        let left = Side::new(left, &node.left_keys, node.left_time, (node.lower, node.upper))?;
        let right = Side::new(right, &node.right_keys, node.right_time, (-node.upper, -node.lower))?;
        let filter = node.filter.as_ref().map(|filter| filter.to_physical(&output)).transpose()?;
        Ok(Self { sides: [left, right], filter, output_time: node.output_time, output })
    }

    /// The pairs of a new batch on `port` with what the other side holds.
    fn pairs(&self, port: usize, batch: &RecordBatch, keys: &KeyRows, times: &[i64]) -> Result<RecordBatch> {
        let (own, other) = (&self.sides[port], &self.sides[1 - port]);
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        for (row, time) in times.iter().enumerate() {
            let Some(held) = keys.get(row).and_then(|key| other.by_key.get(key)) else { continue };
            let range = time.saturating_add(own.reach.0)..=time.saturating_add(own.reach.1);
            for (_, place) in held.iter().filter(|(time, _)| range.contains(time)) {
                mine.push(row as u32);
                theirs.push(*place);
            }
        }
        if mine.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.output)));
        }
        let mine = take_record_batch(batch, &UInt32Array::from(mine))?;
        let theirs = other.held.gather(&theirs)?;
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
    fn new(schema: &SchemaRef, keys: &[usize], time: usize, reach: (i64, i64)) -> Result<Self> {
        Ok(Self {
            keys: JoinKeys::new(schema, keys)?,
            time,
            reach,
            watermark: Watermark::MIN,
            held: HeldRows::new(Arc::clone(schema)),
            by_key: HashMap::new(),
        })
    }

    fn hold(&mut self, batch: RecordBatch, keys: &KeyRows, times: &[i64]) {
        // Rows without a key can never match, but their batch is held as long as its other rows.
        let number = self.held.push(batch);
        for (row, time) in times.iter().enumerate() {
            if let Some(key) = keys.get(row) {
                self.by_key.entry_ref(key).or_default().push((*time, (number, row as u32)));
            }
        }
    }

    /// Drops the rows that no later row of the other side can match.
    fn clean_up(&mut self, other: Watermark) -> Result<()> {
        if !self.held.wants_clean_up() && !other.is_end() {
            return Ok(());
        }
        let reach = self.reach.1;
        let alive = |time: i64| !other.passed(EventTime(time).plus(reach));
        let mut live: Vec<Place> = Vec::new();
        self.by_key.retain(|_, rows| {
            rows.retain(|(time, _)| alive(*time));
            for (_, place) in rows.iter_mut() {
                live.push(*place);
                *place = (0, live.len() as u32 - 1);
            }
            !rows.is_empty()
        });
        self.held.keep(&live)
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
        if batch.num_rows() > 0 {
            self.sides[port].hold(batch, &keys, times.values());
        }
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
        self.sides.iter().map(|side| side.held.bytes() + side.held.rows() * size_of::<HeldRow>()).sum()
    }
}

#[cfg(test)]
mod tests;
