//! Takes the result of a SELECT to the session that asked.
//!
//! Rows that come in event-time order go at once. A stream without event time, an updating one, or one
//! with an ORDER BY is held to its end: then changes are merged, rows ordered and cut to the limit. So
//! the same rows are printed in the same order however many tasks made them. What is held is condensed
//! each time that it has doubled, which costs a constant per row. Of a stream that may have no end, rows
//! and changes go as they come: those are sent again if a job goes back to a checkpoint. Rows of a stream that has an
//! end, whose order nobody asked for, go as they come too, some at a time.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use tidemill_plans::change::{change_column_index, show_changes};
use tidemill_plans::ids::OperatorId;
use tidemill_plans::node::SinkNode;
use tidemill_plans::result_ticket::GATHERS_OPTION;

use super::{Sink, changes, option};
use crate::clock::monotonic_ns;
use crate::error::Result;
use crate::rows::canonical_order;
use crate::state::{Belongs, StateReader, StateWriter};
use crate::task::{ResultPort, TaskEnv, batch_bytes};

/// Rows that are held before it is worth a look at which of them are needed.
const CONDENSE_ROWS_MIN: usize = 4096;

/// Bytes of rows that go together, where nobody waits for single ones: the way to the session costs as much for few.
const GATHERED_BYTES: usize = 1 << 20;

/// How old rows may be when they go, if others come behind them.
const GATHERED_FOR: Duration = Duration::from_millis(100);

/// The sink.
pub(super) struct ResultSink {
    node: SinkNode,
    operator: OperatorId,
    port: Arc<dyn ResultPort>,
    schema: SchemaRef,
    held: Held,
    sent: u64,
    /// Since when rows are gathered, if there are any: those of a result that has an end, and go as they come.
    gathered: Option<u64>,
}

/// Rows that wait for the end.
#[derive(Default)]
struct Held {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    /// How many rows were left when they were last condensed.
    rows_condensed: usize,
}

impl Held {
    fn push(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        self.bytes += batch_bytes(&batch);
        self.batches.push(batch);
    }

    fn has_doubled(&self) -> bool {
        self.rows >= CONDENSE_ROWS_MIN.max(2 * self.rows_condensed)
    }

    fn take(&mut self, schema: &SchemaRef) -> Result<RecordBatch> {
        Ok(concat_batches(schema, &std::mem::take(self).batches)?)
    }
}

impl ResultSink {
    pub(super) fn new(node: &SinkNode, operator: OperatorId, env: &TaskEnv, schema: SchemaRef) -> Self {
        let port = Arc::clone(&env.results);
        Self { node: node.clone(), operator, port, schema, held: Held::default(), sent: 0, gathered: None }
    }

    fn is_updating(&self) -> bool {
        change_column_index(&self.schema).is_some()
    }

    fn is_held(&self) -> bool {
        !self.node.live && (self.is_updating() || self.node.time.is_none() || !self.node.order_by.is_empty())
    }

    /// Lets go of held rows that can have no part in the result.
    fn condense(&mut self) -> Result<()> {
        let limit = self.node.limit.and_then(|limit| usize::try_from(limit).ok());
        if !self.is_updating() && limit.is_none() {
            return Ok(());
        }
        let rows = self.held.take(&self.schema)?;
        let rows = match limit {
            Some(limit) if !self.is_updating() => self.ordered(&rows)?.slice(0, limit.min(rows.num_rows())),
            // A change that is still to come may take any row away.
            _ => changes::merge(&rows, &self.node.upsert_keys)?,
        };
        self.held.rows_condensed = rows.num_rows();
        self.held.push(rows);
        Ok(())
    }

    /// By ORDER BY, and by all columns where that does not tell rows apart.
    fn ordered(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let batch = canonical_order(batch, None)?;
        if self.node.order_by.is_empty() {
            return Ok(batch);
        }
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for sort in &self.node.order_by {
            let column = Arc::clone(batch.column(sort.column));
            let options = SortOptions { descending: sort.descending, nulls_first: sort.nulls_first };
            fields.push(SortField::new_with_options(column.data_type().clone(), options));
            columns.push(column);
        }
        let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
        let mut order: Vec<u32> = (0..batch.num_rows() as u32).collect();
        // Stable, unlike Arrow's sort: rows that compare equal keep the order that they came in.
        order.sort_by(|a, b| rows.row(*a as usize).cmp(&rows.row(*b as usize)));
        Ok(take_record_batch(&batch, &UInt32Array::from(order))?)
    }

    /// Whether rows that go as they come may wait for others.
    fn gathers(&self) -> bool {
        option(&self.node.options, GATHERS_OPTION).is_some()
    }

    fn gather(&mut self, batch: &RecordBatch) -> Result<()> {
        self.held.push(batch.clone());
        let since = *self.gathered.get_or_insert_with(monotonic_ns);
        let gathered = Duration::from_nanos(monotonic_ns().saturating_sub(since));
        let is_complete = self.node.limit.is_some_and(|limit| self.sent + self.held.rows as u64 >= limit);
        if is_complete || self.held.bytes >= GATHERED_BYTES || gathered >= GATHERED_FOR {
            return self.send_gathered();
        }
        Ok(())
    }

    fn send_gathered(&mut self) -> Result<()> {
        self.gathered = None;
        let rows = self.held.take(&self.schema)?;
        self.send(&rows)
    }

    fn send(&mut self, batch: &RecordBatch) -> Result<()> {
        let left = self.node.limit.map_or(u64::MAX, |limit| limit - self.sent.min(limit));
        let rows = usize::try_from(left).unwrap_or(usize::MAX).min(batch.num_rows());
        if rows == 0 {
            return Ok(());
        }
        self.sent += rows as u64;
        self.port.send(self.operator, &show_changes(&batch.slice(0, rows))?)
    }
}

impl Sink for ResultSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if !self.is_held() {
            return if self.gathers() { self.gather(batch) } else { self.send(batch) };
        }
        self.held.push(batch.clone());
        if self.held.has_doubled() { self.condense() } else { Ok(()) }
    }

    fn snapshot(&mut self, state: &mut StateWriter<'_>) -> Result<()> {
        state.rows("held", Belongs::to_first(0), self.held.batches.iter().cloned());
        state.value("rows_condensed", &(self.held.rows_condensed as u64))?;
        state.value("sent", &self.sent)
    }

    fn restore(&mut self, state: &StateReader<'_>) -> Result<()> {
        state.rows("held")?.into_iter().for_each(|rows| self.held.push(rows));
        self.held.rows_condensed = state.value::<u64>("rows_condensed")?.unwrap_or_default() as usize;
        self.sent = state.value("sent")?.unwrap_or_default();
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if !self.is_held() {
            return self.send_gathered();
        }
        let rows = self.held.take(&self.schema)?;
        let rows = changes::finish(&changes::merge(&rows, &self.node.upsert_keys)?)?;
        let rows = self.ordered(&rows)?;
        self.send(&rows)
    }

    fn state_bytes(&self) -> usize {
        self.held.bytes
    }
}

#[cfg(test)]
mod tests;
