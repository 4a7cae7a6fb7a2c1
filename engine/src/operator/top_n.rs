//! Keeps the first rows of each partition in an order, and emits how they change.
//!
//! How rows are kept depends on what may still come. Of new rows alone a partition needs its best
//! ([`best_rows`]); of rows that may be taken away it needs all, for the next one takes their place
//! ([`all_rows`]). Where event time says that a partition is complete ([`windows`]) or that no earlier
//! row can come ([`first_rows`]), nothing is emitted that would have to be taken back.

mod all_rows;
mod best_rows;
mod first_rows;
mod row_store;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::SchemaRef;
use tidemill_plans::change::{ChangeOp, change_array, change_column_index};
use tidemill_plans::node::{TopNEmit, TopNNode};
use tidemill_plans::time::Watermark;

use self::all_rows::AllRows;
use self::best_rows::BestRows;
use self::first_rows::FirstRows;
use self::windows::WindowTopN;
use super::Operator;
use crate::error::Result;
use crate::state::{StateMemory, StateReader, StateWriter};
use crate::task::{EndReason, OperatorContext, PortWatermarks};

/// Rows that are put together at a time.
const OUTPUT_ROWS: usize = 1 << 13;

/// Rows of a final result that are emitted at a time. Tests want to see some.
const SLICE_ROWS: usize = if cfg!(test) { 4 } else { OUTPUT_ROWS };

/// The operator of a node.
pub(super) fn build(
    node: &TopNNode,
    input: SchemaRef,
    output: SchemaRef,
    memory: &StateMemory,
) -> Result<Box<dyn Operator>> {
    let at_end = node.emit == TopNEmit::AtEnd;
    Ok(match node.emit {
        TopNEmit::OnUpdate | TopNEmit::AtEnd => {
            let rows: Box<dyn KeptRows> = match change_column_index(&input) {
                Some(_) => Box::new(AllRows::new(node, &input, memory)?),
                None => Box::new(BestRows::new(node, input, memory)?),
            };
            let gathers_for = node.gather_ms.map(Duration::from_millis);
            let output = Output { rank: node.rank, schema: output };
            Box::new(UpdatingTopN { rows, at_end, ending: None, gathers_for, output })
        }
        TopNEmit::OnClose { time } => Box::new(WindowTopN::new(node, time, input, output, memory)),
        TopNEmit::InOrder { time } => Box::new(FirstRows::new(node, time, input, output, memory)?),
    })
}

/// The rows that an updating operator keeps.
trait KeptRows: Send {
    /// Takes rows in, and marks the partitions whose first rows they may change.
    fn apply(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Whether partitions are marked.
    fn has_changes(&self) -> bool;

    /// How the first rows of the marked partitions differ from what they were at the last call.
    fn changes(&mut self) -> Result<Changes>;

    /// Forgets the marks, where nobody asks for changes.
    fn forget_changes(&mut self) -> Result<()>;

    /// The first rows of some partitions, from this one on, which becomes the one behind them; nothing behind the last.
    fn slice(&self, from: &mut usize) -> Result<Option<Changes>>;

    /// Whether it is time to call [`Self::drop_old`].
    fn wants_clean_up(&mut self, watermark: Watermark) -> bool;

    /// Forgets the partitions that no row has touched for long enough. None may be marked.
    fn drop_old(&mut self) -> Result<()>;

    /// Whether there is no room for all partitions.
    fn lacks_room(&self) -> bool;

    /// Has partitions go then. None may be marked.
    fn spill(&mut self) -> Result<()>;

    /// Has some of the partitions that have gone in the place of those in memory, for [`Self::slice`] to give their rows,
    /// until it was called with all of them; whether there were any.
    fn next_spilled(&mut self) -> Result<bool>;

    /// Writes the rows. No partition is marked.
    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()>;

    /// Takes up rows that were written; downstream knows the first of them.
    fn restore(&mut self, state: &StateReader<'_>) -> Result<()>;

    /// Bytes held.
    fn bytes(&self) -> usize;

    /// Bytes on disk.
    fn disk_bytes(&self) -> u64;
}

/// Rows to emit, without a changelog column of their own.
struct Changes {
    rows: RecordBatch,
    ops: Vec<ChangeOp>,
    /// Each row's rank; empty if there are no rows.
    ranks: Vec<u64>,
}

/// Changes of rows that are still named by a handle.
struct Named<H> {
    rows: Vec<H>,
    ops: Vec<ChangeOp>,
    ranks: Vec<u64>,
}

impl<H: Clone + PartialEq> Named<H> {
    fn new() -> Self {
        Self { rows: Vec::new(), ops: Vec::new(), ranks: Vec::new() }
    }

    fn push(&mut self, row: &H, op: ChangeOp, rank: usize) {
        self.rows.push(row.clone());
        self.ops.push(op);
        self.ranks.push(rank as u64);
    }

    /// Rank by rank what was and what is there.
    fn by_rank(&mut self, before: &[H], after: &[H]) {
        for rank in 0..before.len().max(after.len()) {
            match (before.get(rank), after.get(rank)) {
                (Some(before), Some(after)) if before == after => {}
                (Some(before), Some(after)) => {
                    self.push(before, ChangeOp::UpdateBefore, rank + 1);
                    self.push(after, ChangeOp::UpdateAfter, rank + 1);
                }
                (None, Some(after)) => self.push(after, ChangeOp::Insert, rank + 1),
                (Some(before), None) => self.push(before, ChangeOp::Delete, rank + 1),
                (None, None) => {}
            }
        }
    }

    /// The rows of a partition of which nothing is known downstream.
    fn insert_all(&mut self, rows: &[H]) {
        self.by_rank(&[], rows);
    }

    fn with_rows(self, rows: RecordBatch) -> Changes {
        debug_assert_eq!(rows.num_rows(), self.ops.len());
        Changes { rows, ops: self.ops, ranks: self.ranks }
    }
}

/// What is put behind the input's columns.
struct Output {
    rank: bool,
    schema: SchemaRef,
}

impl Output {
    /// Rows of an output without changes.
    fn rows(&self, rows: RecordBatch, ranks: Vec<u64>) -> Result<RecordBatch> {
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), self.with_rank(&rows, ranks))?)
    }

    fn changes(&self, changes: Changes) -> Result<RecordBatch> {
        let mut columns = self.with_rank(&changes.rows, changes.ranks);
        columns.push(change_array(&changes.ops));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn with_rank(&self, rows: &RecordBatch, ranks: Vec<u64>) -> Vec<ArrayRef> {
        let mut columns = rows.columns().to_vec();
        if self.rank {
            columns.push(Arc::new(UInt64Array::from(ranks)));
        }
        columns
    }
}

/// Emits a changelog of the first rows of each partition.
struct UpdatingTopN {
    rows: Box<dyn KeptRows>,
    at_end: bool,
    /// The first of the partitions in memory that are still to be emitted, since all rows have come.
    ending: Option<usize>,
    /// For how long changes are gathered, if this was said.
    gathers_for: Option<Duration>,
    output: Output,
}

impl UpdatingTopN {
    /// Emits how the changed partitions differ from what downstream knows.
    fn flush(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        let changes = self.rows.changes()?;
        if !changes.ops.is_empty() {
            ctx.emit(self.output.changes(changes)?);
        }
        Ok(())
    }
}

impl Operator for UpdatingTopN {
    fn on_batch(&mut self, _port: usize, batch: RecordBatch, ctx: &mut OperatorContext) -> Result<()> {
        self.rows.apply(&batch)?;
        if self.at_end {
            self.rows.forget_changes()?;
        } else if self.rows.lacks_room() {
            self.flush(ctx)?;
        } else {
            return Ok(());
        }
        self.rows.spill()
    }

    fn on_watermark(&mut self, watermarks: &PortWatermarks, ctx: &mut OperatorContext) -> Result<()> {
        if !self.at_end && self.rows.wants_clean_up(watermarks.min()) {
            // Downstream is not told of what is dropped: it keeps its rows for as long as it wants.
            self.flush(ctx)?;
            self.rows.drop_old()?;
        }
        ctx.emit_watermark(watermarks.min());
        Ok(())
    }

    fn has_gathered(&self) -> bool {
        !self.at_end && self.rows.has_changes()
    }

    fn gathers_for(&self) -> Option<Duration> {
        self.gathers_for
    }

    fn on_pause(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        if self.at_end {
            return Ok(());
        }
        self.flush(ctx)?;
        self.rows.spill()
    }

    fn on_end(&mut self, reason: EndReason, ctx: &mut OperatorContext) -> Result<()> {
        if reason != EndReason::Finished {
            return Ok(());
        }
        if !self.at_end {
            return self.flush(ctx);
        }
        self.ending = Some(0);
        self.on_more(ctx)
    }

    fn has_more(&self) -> bool {
        self.ending.is_some()
    }

    fn on_more(&mut self, ctx: &mut OperatorContext) -> Result<()> {
        let Some(mut from) = self.ending.take() else { return Ok(()) };
        self.ending = match self.rows.slice(&mut from)? {
            Some(changes) => {
                ctx.emit(self.output.changes(changes)?);
                Some(from)
            }
            None => self.rows.next_spilled()?.then_some(0),
        };
        Ok(())
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        self.rows.snapshot(state)
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        self.rows.restore(state)
    }

    fn state_bytes(&self) -> usize {
        self.rows.bytes()
    }

    fn spilled_bytes(&self) -> u64 {
        self.rows.disk_bytes()
    }
}

#[cfg(test)]
mod tests;
