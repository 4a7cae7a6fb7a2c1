//! Rows that come in any number, and are given out so many at a time: where the cuts are depends on nothing but the rows.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::task::batch_bytes;

/// See the [module](self).
pub(crate) struct EvenChunks {
    schema: SchemaRef,
    /// Rows that do not fill a chunk yet.
    partial: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl EvenChunks {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self { schema, partial: Vec::new(), rows: 0, bytes: 0 }
    }

    /// Adds rows, behind those that are there.
    pub(crate) fn push(&mut self, rows: RecordBatch) {
        self.rows += rows.num_rows();
        self.bytes += batch_bytes(&rows);
        self.partial.push(rows);
    }

    /// Takes the chunks of so many rows out that are full.
    pub(crate) fn take_full(&mut self, chunk_rows: usize) -> Result<Vec<RecordBatch>> {
        if self.rows < chunk_rows {
            return Ok(Vec::new());
        }
        let rows = concat_batches(&self.schema, &std::mem::take(&mut self.partial))?;
        let full = rows.num_rows() / chunk_rows * chunk_rows;
        (self.rows, self.bytes) = (0, 0);
        if full < rows.num_rows() {
            self.push(rows.slice(full, rows.num_rows() - full));
        }
        Ok((0..full).step_by(chunk_rows).map(|start| rows.slice(start, chunk_rows)).collect())
    }

    /// Takes the rows out that are left.
    pub(crate) fn take_rest(&mut self) -> Result<Option<RecordBatch>> {
        if self.rows == 0 {
            return Ok(None);
        }
        (self.rows, self.bytes) = (0, 0);
        Ok(Some(concat_batches(&self.schema, &std::mem::take(&mut self.partial))?))
    }

    /// The rows that are there.
    pub(crate) fn partial(&self) -> &[RecordBatch] {
        &self.partial
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
