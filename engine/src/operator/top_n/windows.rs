//! The best rows of partitions that event time completes: emitted once, when it has passed them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{sort_to_indices, take_record_batch};
use arrow::datatypes::SchemaRef;
use tidemill_plans::node::TopNNode;
use tidemill_plans::time::{EventTime, Watermark, event_times};

use super::best_rows::BestRows;
use super::{KeptRows, Output};
use crate::error::Result;
use crate::operator::Operator;
use crate::operator::changed_keys::{Changed, ChangedKeys};
use crate::operator::state_rows::least_watermark;
use crate::state::{Belongs, RowKeys, StateMemory, StateReader, StateWriter};
use crate::task::{OperatorContext, PortWatermarks};

/// See the [module](self). The partitions of one time are kept together: they end together.
pub(super) struct WindowTopN {
    node: TopNNode,
    /// Windows that are open stay in memory.
    memory: StateMemory,
    /// The event-time column among those of the partitions.
    time: usize,
    input: SchemaRef,
    output: Output,
    open: BTreeMap<i64, BestRows>,
    /// Whether the watermark is still to be passed on, behind what it completes.
    passes: bool,
    /// The partitions of one time that are being emitted, and the next of them.
    closing: Option<(BestRows, usize)>,
    /// The keys of partitions that were written and have been emitted since.
    closed: ChangedKeys,
    bytes: usize,
    watermark: Watermark,
}

impl WindowTopN {
    pub(super) fn new(node: &TopNNode, time: usize, input: SchemaRef, output: SchemaRef, memory: &StateMemory) -> Self {
        let memory = memory.limited_if(false);
        let output = Output { rank: node.rank, schema: output };
        let (open, closed) = (BTreeMap::new(), ChangedKeys::default());
        let (passes, closing, watermark) = (false, None, Watermark::MIN);
        Self { node: node.clone(), memory, time, input, output, open, passes, closing, closed, bytes: 0, watermark }
    }

    /// Takes in rows; those of times that have passed are left out, and counted.
    fn take_in(&mut self, batch: RecordBatch) -> Result<usize> {
        let mut batch = batch;
        let mut times = event_times(batch.column(self.time))?;
        if !times.values().is_sorted() {
            let order: UInt32Array = sort_to_indices(&times, None, None)?;
            batch = take_record_batch(&batch, &order)?;
            times = event_times(batch.column(self.time))?;
        }
        let (mut start, mut late) = (0, 0);
        for same in times.values().chunk_by(|a, b| a == b) {
            if self.watermark.passed(EventTime(same[0])) {
                late += same.len();
            } else {
                self.apply(same[0], &batch.slice(start, same.len()))?;
            }
            start += same.len();
        }
        Ok(late)
    }

    /// Takes in rows of one time.
    fn apply(&mut self, time: i64, batch: &RecordBatch) -> Result<()> {
        let before = self.open.get(&time).map_or(0, KeptRows::bytes);
        let rows = match self.open.entry(time) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                new.insert(BestRows::new(&self.node, Arc::clone(&self.input), &self.memory)?)
            }
        };
        rows.apply(batch)?;
        rows.forget_changes()?;
        self.bytes = self.bytes + rows.bytes() - before;
        Ok(())
    }

    /// The partitions of the next time that the watermark has passed.
    fn take_complete(&mut self) -> Result<Option<BestRows>> {
        let Some(open) = self.open.first_entry().filter(|open| self.watermark.passed(EventTime(*open.key()))) else {
            return Ok(None);
        };
        let open = open.remove();
        self.note_closed(&open)?;
        Ok(Some(open))
    }

    /// Notes that partitions are gone. The others are guessed to be as many for each time that is open.
    fn note_closed(&mut self, closed: &BestRows) -> Result<()> {
        if self.open.is_empty() {
            // It is written that there is nothing, instead of all that has gone.
            self.closed = ChangedKeys::default();
        } else if self.closed.is_noting() {
            let keys = closed.best_of_each()?.project(&self.node.partition)?;
            let left = keys.num_rows() * self.open.len();
            self.closed.note_gone(keys, left);
        }
        Ok(())
    }

    /// Counts what is held anew: what was noted of changes has been written.
    fn count_bytes(&mut self) {
        self.bytes = self.open.values().map(KeptRows::bytes).sum();
    }
}

impl Operator for WindowTopN {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        let late = self.take_in(batch)?;
        ctx.count_late(late);
        Ok(())
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        (self.watermark, self.passes) = (watermarks.min(), true);
        self.on_more(ctx)
    }

    fn has_more(&self) -> bool {
        self.passes
    }

    fn on_more(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        let closing = match self.closing.take() {
            Some(closing) => Some(closing),
            None => self.take_complete()?.map(|complete| (complete, 0)),
        };
        let Some((rows, mut next)) = closing else {
            self.passes = false;
            ctx.emit_watermark(self.watermark);
            return Ok(());
        };
        match rows.slice(&mut next)? {
            Some(changes) => {
                ctx.emit(self.output.rows(changes.rows, changes.ranks)?);
                self.closing = Some((rows, next));
            }
            None => self.bytes -= rows.bytes(),
        }
        Ok(())
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        state.value("watermark", &self.watermark)?;
        let (closed, belongs) = (self.closed.take(state), Belongs::ToKeys(self.node.partition.clone()));
        let rows = self.open.values_mut().map(|open| open.take_rows(closed.is_none(), state));
        let rows = rows.collect::<Result<Vec<_>>>()?.into_iter().flatten();
        match closed {
            Some(Changed { gone, .. }) => {
                state.changes("rows", belongs, RowKeys::Grouped(self.node.partition.clone()), rows, gone);
            }
            None => state.rows("rows", belongs, rows),
        }
        self.count_bytes();
        Ok(())
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.watermark = least_watermark(state, "watermark")?;
        for batch in state.rows("rows")? {
            let late = self.take_in(batch)?;
            debug_assert_eq!(late, 0, "windows that have closed are not in state");
        }
        self.open.values_mut().for_each(BestRows::begin);
        self.closed.begin();
        self.count_bytes();
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.bytes + self.closed.bytes()
    }
}
