//! Rows as operators write them into their state: some at a time, and behind their columns what is noted
//! of each.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, UInt64Array};
use arrow::datatypes::{Field, Schema};
use tidemill_plans::time::Watermark;

use crate::error::{EngineError, Result};
use crate::rows::RowQueue;
use crate::state::spill::Part;
use crate::state::{StateMemory, StateReader};

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

/// Parts of rows with their keys, which follow each other, of so many rows more or less: a key's rows are in one part.
pub(super) fn some_keys(mut rows: &[(u32, u32)], at_once: usize) -> Vec<&[(u32, u32)]> {
    let mut parts = Vec::new();
    while !rows.is_empty() {
        let last = rows[rows.len().min(at_once) - 1].0;
        let (part, rest) = rows.split_at(rows.partition_point(|(key, _)| *key <= last));
        parts.push(part);
        rows = rest;
    }
    parts
}

/// Rows in the order of their last column, which are ids. They are not in it where some were written again, or come
/// from disk. With little memory they wait on disk until all have been read.
pub(super) fn in_order_of_ids(
    batches: impl Iterator<Item = Result<RecordBatch>>,
    memory: &StateMemory,
) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
    let mut queue: Option<RowQueue> = None;
    for batch in batches {
        let (rows, ids) = take_ids(&batch?)?;
        let rows = with_note(&rows, "id", ids)?;
        let new = || RowQueue::new(rows.schema(), rows.num_columns() - 1, memory);
        queue.get_or_insert_with(new).push(rows, Part::Written)?;
    }
    Ok(queue.into_iter().flat_map(|queue| queue.into_batches(STATE_ROWS)))
}

/// The least of the watermarks that instances wrote under this name.
pub(super) fn least_watermark(state: &StateReader<'_>, name: &str) -> Result<Watermark> {
    Ok(state.values(name)?.into_iter().min().unwrap_or(Watermark::MIN))
}

/// What is said of rows that an operator does not know as its own.
pub(super) fn other_columns() -> EngineError {
    EngineError::State(String::from("its rows have other columns than expected"))
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::UInt64Type;

    use super::*;
    use crate::state::ScratchFolder;

    #[test]
    fn rows_are_put_in_order_of_their_ids_with_little_memory_too() {
        let batch = |ids: Vec<u64>| {
            let values: ArrayRef = Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| -(*id as i64))));
            with_note(&RecordBatch::try_from_iter([("v", values)])?, "id", UInt64Array::from(ids))
        };
        for bytes_max in [None, Some(1), Some(2_000)] {
            let memory = StateMemory { bytes_max, scratch: ScratchFolder::new(std::env::temp_dir()) };
            // The first were written again behind the others.
            let batches = (0..50).rev().map(|part| batch((part * 7..part * 7 + 7).collect()));
            let mut ids = Vec::new();
            for rows in in_order_of_ids(batches, &memory).unwrap() {
                let rows = rows.unwrap();
                assert!(rows.num_rows() <= STATE_ROWS);
                ids.extend_from_slice(rows.column(1).as_primitive::<UInt64Type>().values());
            }
            assert_eq!(ids, (0..350).collect::<Vec<_>>());
            let none = in_order_of_ids(std::iter::empty(), &memory).unwrap();
            assert_eq!(none.count(), 0);
        }
    }
}
