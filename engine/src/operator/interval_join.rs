//! Joins rows with equal keys whose event times lie within an interval of each other.
//!
//! Each side keeps its rows by key until the other side's watermark rules a partner out. Rows that the
//! join keeps without a partner are emitted then, before the output's watermark passes them: a row at
//! t waits while the other side's watermark is not past t + reach, and the output's watermark stays
//! that much behind it.

mod rest;
mod side;
mod spilling;
mod timed_keys;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use tidemill_plans::node::{IntervalJoinNode, JoinKind, JoinSide};
use tidemill_plans::time::{Watermark, event_times};

use self::rest::Rest;
use self::side::{Arrival, Side};
use super::Operator;
use super::filter::holds;
use super::held_rows::Place;
use super::late_rows::without_late;
use super::state_rows::least_watermark;
use crate::error::Result;
use crate::state::{StateMemory, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks};

const LEFT: usize = 0;

/// What the sides are called in state.
const NAMES: [&str; 2] = ["left", "right"];

/// Pairs, or rows without a partner, that are put together at a time, but for the pairs of one row. Tests want to see some.
const CHUNK_ROWS: usize = if cfg!(test) { 4 } else { 1 << 16 };

/// See [`IntervalJoinNode`].
pub(super) struct IntervalJoin {
    kind: JoinKind,
    sides: [Side; 2],
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// Left columns, then right ones.
    pairs: SchemaRef,
    output_time: Option<JoinSide>,
    output: SchemaRef,
    /// What the rows of both sides may take.
    memory: StateMemory,
    rest: Rest,
}

/// Rows that came just now, each beside a held row of the other side.
#[derive(Default)]
struct Candidates {
    mine: Vec<u32>,
    theirs: Vec<Place>,
}

impl IntervalJoin {
    pub(super) fn new(
        node: &IntervalJoinNode,
        left: &SchemaRef,
        right: &SchemaRef,
        output: SchemaRef,
        memory: &StateMemory,
    ) -> Result<Self> {
        // Without keys each row asks for all of the other side.
        let (kind, memory) = (node.kind, memory.limited_if(!node.left_keys.is_empty()));
        let (reach, is_left) = ((node.lower, node.upper), (kind, JoinSide::Left));
        let left = Side::new(left, &node.left_keys, node.left_time, reach, is_left, &memory)?;
        let (reach, is_right) = ((-node.upper, -node.lower), (kind, JoinSide::Right));
        let right = Side::new(right, &node.right_keys, node.right_time, reach, is_right, &memory)?;
        let pairs = Arc::clone(&node.pairs.0);
        let filter = node.filter.as_ref().map(|filter| filter.to_physical(&pairs)).transpose()?;
        let (output_time, rest) = (node.output_time, Rest::Nothing);
        Ok(Self { kind, sides: [left, right], filter, pairs, output_time, output, memory, rest })
    }

    /// Finds the partners that the other side holds of some rows, from `next` on.
    fn probe(&mut self, port: usize, arrival: &mut Arrival, next: &mut usize, ctx: &mut OperatorContext) -> Result<()> {
        // Where only whether there is a partner matters, one is enough.
        let first_counts = self.filter.is_none() && self.sides[port].leaves_at_match();
        let mut found = Candidates::default();
        while *next < arrival.batch.num_rows() && found.mine.len() < CHUNK_ROWS {
            let row = *next;
            *next += 1;
            let (own, other) = (&self.sides[port], &self.sides[1 - port]);
            let Some(key) = arrival.keys.get(row) else { continue };
            let partners = other.partners(key, own.reach_of(arrival.times.value(row)));
            let partners = partners.take(if first_counts { 1 } else { usize::MAX });
            found.theirs.extend(partners);
            found.mine.resize(found.theirs.len(), row as u32);
        }
        self.match_up(port, arrival, found, ctx)
    }

    /// Takes the candidates that pass the filter for partners.
    fn match_up(
        &mut self,
        port: usize,
        arrival: &mut Arrival,
        mut found: Candidates,
        ctx: &mut OperatorContext,
    ) -> Result<()> {
        if found.mine.is_empty() {
            return Ok(());
        }
        if self.filter.is_some() || self.kind.pairs() {
            let mut pairs = self.pair_up(port, &arrival.batch, &found)?;
            if let Some(filter) = &self.filter {
                let keep = holds(filter.as_ref(), &pairs)?;
                pairs = filter_record_batch(&pairs, &keep)?;
                found = found.filtered(&keep);
            }
            if self.kind.pairs() {
                ctx.emit(pairs);
            }
        }
        for row in &found.mine {
            arrival.matched[*row as usize] = true;
        }
        let other = &mut self.sides[1 - port];
        let first = other.mark(&found.theirs);
        if other.is_emitted_at_match() {
            let rows = other.gather(&first)?;
            ctx.emit(RecordBatch::try_new(Arc::clone(&self.output), rows.columns().to_vec())?);
        }
        Ok(())
    }

    fn pair_up(&self, port: usize, batch: &RecordBatch, found: &Candidates) -> Result<RecordBatch> {
        let mine = take_record_batch(batch, &UInt32Array::from(found.mine.clone()))?;
        let theirs = self.sides[1 - port].gather(&found.theirs)?;
        let (left, right) = if port == LEFT { (mine, theirs) } else { (theirs, mine) };
        let columns = left.columns().iter().chain(right.columns()).map(Arc::clone).collect();
        Ok(RecordBatch::try_new(Arc::clone(&self.pairs), columns)?)
    }

    /// Emits what is known of the new rows by now, and holds those that may still find a partner.
    fn settle(&mut self, port: usize, arrival: Arrival, ctx: &mut OperatorContext) -> Result<()> {
        let other = self.sides[1 - port].watermark;
        let fate = self.sides[port].fate(&arrival, other);
        if self.sides[port].is_emitted_at_match() {
            let matched = BooleanArray::from(arrival.matched.clone());
            let rows = filter_record_batch(&arrival.batch, &matched)?;
            ctx.emit(RecordBatch::try_new(Arc::clone(&self.output), rows.columns().to_vec())?);
        }
        if !fate.alone.is_empty() {
            let rows = take_record_batch(&arrival.batch, &UInt32Array::from(fate.alone))?;
            ctx.emit(self.without_partner(port, &rows)?);
        }
        self.sides[port].hold(&arrival, &fate.held)
    }

    /// Rows of a side as the output has them where they have no partner.
    fn without_partner(&self, port: usize, rows: &RecordBatch) -> Result<RecordBatch> {
        let own = rows.columns().iter().map(Arc::clone);
        let columns: Vec<ArrayRef> = if self.kind.pairs() {
            let width = rows.num_columns();
            let (before, behind) = if port == LEFT {
                (0..0, width..self.pairs.fields().len())
            } else {
                let other = self.pairs.fields().len() - width;
                (0..other, 0..0)
            };
            let nulls = |field: usize| new_null_array(self.pairs.field(field).data_type(), rows.num_rows());
            before.map(nulls).chain(own).chain(behind.map(nulls)).collect()
        } else {
            own.collect()
        };
        Ok(RecordBatch::try_new(Arc::clone(&self.output), columns)?)
    }

    /// The output's watermark. A later pair has a new row on one side, and its partner within reach; a
    /// row that waits to be emitted alone is within reach of a new row, or it would have been emitted.
    /// A full join's rows have no time that is always there, so nobody asks.
    fn output_watermark(&self) -> Watermark {
        let (time, partner) = match self.output_time {
            Some(JoinSide::Left) => (&self.sides[0], &self.sides[1]),
            Some(JoinSide::Right) => (&self.sides[1], &self.sides[0]),
            None => return self.sides[0].watermark.min(self.sides[1].watermark),
        };
        time.watermark.min(Watermark(partner.watermark.0.plus(partner.reach.0)))
    }
}

impl Candidates {
    fn filtered(self, keep: &BooleanArray) -> Self {
        let kept = |row: &usize| keep.value(*row);
        Self {
            mine: (0..self.mine.len()).filter(kept).map(|row| self.mine[row]).collect(),
            theirs: (0..self.theirs.len()).filter(kept).map(|row| self.theirs[row]).collect(),
        }
    }
}

impl Operator for IntervalJoin {
    fn on_batch(&mut self, port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let side = &self.sides[port];
        // A late row's partners may be gone or not: dropping it always keeps results repeatable.
        let batch = without_late(batch, side.time, side.watermark.0, ctx)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let times = event_times(batch.column(side.time))?;
        let arrival = Box::new(side.arrival(batch, times)?);
        self.take_back(port, &arrival)?;
        self.rest = Rest::Arrival { port, arrival, next: 0 };
        self.on_more(ctx)
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        for (port, side) in self.sides.iter_mut().enumerate() {
            side.watermark = watermarks.port(port);
        }
        self.rest = self.ruled_out(LEFT)?;
        self.on_more(ctx)
    }

    fn has_more(&self) -> bool {
        !matches!(self.rest, Rest::Nothing)
    }

    fn on_more(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        self.go_on(ctx)
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        for (port, name) in NAMES.iter().enumerate() {
            let other = self.sides[1 - port].watermark;
            self.sides[port].snapshot(&self.memory, other, &mut state.part(name))?;
        }
        Ok(())
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        for (side, name) in self.sides.iter_mut().zip(NAMES) {
            side.watermark = least_watermark(&state.part(name), "watermark")?;
        }
        (0..self.sides.len()).try_for_each(|port| self.restore_side(port, state))
    }

    fn state_bytes(&self) -> usize {
        self.bytes_in_memory() + self.bytes_beside() + self.rest.bytes()
    }

    fn spilled_bytes(&self) -> u64 {
        self.sides.iter().map(|side| side.on_disk.disk_bytes()).sum()
    }
}

#[cfg(test)]
mod tests;
