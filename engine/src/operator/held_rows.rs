//! Rows that a join or a session holds, by the batches that they came in.
//!
//! A row is named by its batch and its place there. What a probe finds is gathered from the batches
//! that it names alone, so many small batches cost a probe nothing; a clean-up puts what is left into
//! one batch.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use hashbrown::HashMap;

use crate::error::Result;
use crate::task::batch_bytes;

/// Fewer rows than twice this are not worth a clean-up. Tests want to see some.
const CLEAN_UP_ROWS: usize = if cfg!(test) { 2 } else { 1024 };

/// Where a row is held: its batch, its row there.
pub(super) type Place = (u32, u32);

/// See the [module](self).
pub(super) struct HeldRows {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    /// The number of each batch's first row.
    starts: Vec<u32>,
    /// How many rows the batches hold, and how many were left by the last clean-up.
    rows: usize,
    kept: usize,
    bytes: usize,
}

impl HeldRows {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, batches: Vec::new(), starts: Vec::new(), rows: 0, kept: 0, bytes: 0 }
    }

    /// Holds a batch that is not empty; returns its number.
    pub(super) fn push(&mut self, batch: RecordBatch) -> u32 {
        debug_assert!(batch.num_rows() > 0, "an empty batch would never be cleaned up");
        self.starts.push(self.rows as u32);
        self.rows += batch.num_rows();
        self.bytes += batch_bytes(&batch);
        self.batches.push(batch);
        (self.batches.len() - 1) as u32
    }

    /// Lets the batch go that was pushed last.
    pub(super) fn drop_last(&mut self) {
        if let Some(batch) = self.batches.pop() {
            self.starts.pop();
            self.rows -= batch.num_rows();
            self.bytes -= batch_bytes(&batch);
        }
    }

    /// The number of a row: how many have been pushed before it, of those that are held.
    pub(super) fn number(&self, (batch, row): Place) -> u32 {
        self.starts[batch as usize] + row
    }

    /// The place of a row by its number.
    pub(super) fn place(&self, number: u32) -> Place {
        let batch = self.starts.partition_point(|start| *start <= number) - 1;
        (batch as u32, number - self.starts[batch])
    }

    /// The columns of the rows.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows in these places, in their order.
    pub(super) fn gather(&self, places: &[Place]) -> Result<RecordBatch> {
        if places.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        gather(places, |batch| &self.batches[batch as usize])
    }

    /// Whether enough has come since the last clean-up that the next one, a pass over all rows, is
    /// paid for.
    pub(super) fn wants_clean_up(&self) -> bool {
        self.rows >= 2 * self.kept.max(CLEAN_UP_ROWS)
    }

    /// Keeps these rows only: the i-th is now in place (0, i).
    pub(super) fn keep(&mut self, live: &[Place]) -> Result<()> {
        self.batches = if live.is_empty() { Vec::new() } else { vec![self.gather(live)?] };
        self.starts = vec![0; self.batches.len()];
        self.bytes = self.batches.iter().map(batch_bytes).sum();
        self.rows = live.len();
        self.kept = live.len();
        Ok(())
    }

    /// Takes what has been pushed for what a clean-up has left.
    pub(super) fn note_clean(&mut self) {
        self.kept = self.rows;
    }

    /// The batch that has this number.
    pub(super) fn batch(&self, number: u32) -> &RecordBatch {
        &self.batches[number as usize]
    }

    /// Of rows that are in one batch, as they are after a clean-up, so many from this number on.
    pub(super) fn slice(&self, first: u32, rows: usize) -> RecordBatch {
        debug_assert!(self.batches.len() == 1, "there has been a clean-up");
        self.batches[0].slice(first as usize, rows)
    }

    /// How many rows are held.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The rows in these places, of which there are some, in their order. Only the batches that are named take
/// part.
pub(super) fn gather<'a>(places: &[Place], batch_of: impl Fn(u32) -> &'a RecordBatch) -> Result<RecordBatch> {
    let mut named: Vec<&RecordBatch> = Vec::new();
    let mut numbers: HashMap<u32, usize> = HashMap::new();
    let mut picks = Vec::with_capacity(places.len());
    // Neighbours are often of one batch.
    let mut last = None;
    for (batch, row) in places {
        let number = match last {
            Some((same, number)) if same == *batch => number,
            _ => *numbers.entry(*batch).or_insert_with(|| {
                named.push(batch_of(*batch));
                named.len() - 1
            }),
        };
        last = Some((*batch, number));
        picks.push((number, *row as usize));
    }
    Ok(interleave_record_batch(&named, &picks)?)
}
