//! Rows as operators write them into their state: some at a time, and behind their columns what is noted
//! of each.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{Field, Schema};
use tidemill_plans::time::Watermark;

use crate::error::{EngineError, Result};
use crate::state::StateReader;

/// Rows that are written in one batch. Tests want to see several.
pub(super) const STATE_ROWS: usize = if cfg!(test) { 3 } else { 1 << 15 };

/// The rows with a column of notes behind theirs.
pub(super) fn with_note(rows: &RecordBatch, name: &str, note: impl Array + 'static) -> Result<RecordBatch> {
    let field = Arc::new(Field::new(name, note.data_type().clone(), false));
    let fields = rows.schema_ref().fields().iter().cloned().chain([field]);
    let schema = Schema::new(fields.collect::<Vec<_>>());
    let note: ArrayRef = Arc::new(note);
    let columns = rows.columns().iter().cloned().chain([note]).collect();
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

/// Parts rows from the last column of notes.
pub(super) fn take_note<A: Array + Clone + 'static>(rows: &RecordBatch) -> Result<(RecordBatch, A)> {
    let Some(last) = rows.num_columns().checked_sub(1) else { return Err(other_columns()) };
    let note = rows.column(last).as_any().downcast_ref::<A>().ok_or_else(other_columns)?.clone();
    Ok((rows.project(&(0..last).collect::<Vec<_>>())?, note))
}

/// Parts rows from their last column, their ids.
pub(super) fn take_ids(rows: &RecordBatch) -> Result<(RecordBatch, UInt64Array)> {
    take_note::<UInt64Array>(rows).or_else(|_| {
        // In state of the first format.
        let (rows, ids) = take_note::<UInt32Array>(rows)?;
        Ok((rows, ids.unary(u64::from)))
    })
}

/// Parts of rows with their keys, which follow each other: a key's rows are in one part.
pub(super) fn some_keys(mut rows: &[(u32, u32)]) -> Vec<&[(u32, u32)]> {
    let mut parts = Vec::new();
    while !rows.is_empty() {
        let last = rows[rows.len().min(STATE_ROWS) - 1].0;
        let (part, rest) = rows.split_at(rows.partition_point(|(key, _)| *key <= last));
        parts.push(part);
        rows = rest;
    }
    parts
}

/// Rows in the order of their last column, which are ids. They are not in it where some were written again.
pub(super) fn in_order_of_ids(batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    let mut places: Vec<(u64, u32, u32)> = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    for (batch, number) in batches.iter().zip(0u32..) {
        let (_, ids) = take_ids(batch)?;
        places.extend(ids.values().iter().zip(0u32..).map(|(id, row)| (*id, number, row)));
    }
    if places.is_sorted() {
        return Ok(batches);
    }
    places.sort_unstable();
    let whole: Vec<&RecordBatch> = batches.iter().collect();
    let chunk = |places: &[(u64, u32, u32)]| {
        let places: Vec<_> = places.iter().map(|(_, batch, row)| (*batch as usize, *row as usize)).collect();
        Ok(interleave_record_batch(&whole, &places)?)
    };
    places.chunks(STATE_ROWS).map(chunk).collect()
}

/// The least of the watermarks that instances wrote under this name.
pub(super) fn least_watermark(state: &StateReader<'_>, name: &str) -> Result<Watermark> {
    Ok(state.values(name)?.into_iter().min().unwrap_or(Watermark::MIN))
}

/// What is said of rows that an operator does not know as its own.
pub(super) fn other_columns() -> EngineError {
    EngineError::State(String::from("its rows have other columns than expected"))
}
