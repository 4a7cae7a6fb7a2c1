//! How many bytes rows take.

use arrow::array::{Array, RecordBatch};

/// Bytes of the rows of a batch: of a slice only its own part.
#[must_use]
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter();
    // A type without a known slice size counts with its whole buffers, which is never too little.
    64 + columns
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size()))
        .sum::<usize>()
}
