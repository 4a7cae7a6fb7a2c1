//! Rows that an operator keeps, called by their number: the order in which they were added.
//!
//! Batches of similar size are put together as they come, like the carries of a binary counter. So
//! there are few of them however small the input's batches are, and a row is copied a number of times
//! that is logarithmic in what came behind it.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{concat_batches, interleave_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::error::Result;
use crate::task::batch_bytes;

/// Batches of this many rows are left as they are. Tests want to see several.
const BATCH_ROWS_MAX: usize = if cfg!(test) { 4 } else { 1 << 15 };

/// Bytes that such a batch should not have more of.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Stands for no row: all of its columns are NULL.
pub(super) const NO_ROW: u32 = u32::MAX;

/// See the [module](self).
pub(super) struct NumberedRows {
    batches: Vec<RecordBatch>,
    /// The number of each batch's first row.
    starts: Vec<u32>,
    rows: usize,
    bytes: usize,
    /// A row of NULLs; its schema, in which every column is nullable, is that of what is gathered.
    no_row: RecordBatch,
}

impl NumberedRows {
    /// Room for rows of `schema`.
    pub(super) fn new(schema: &SchemaRef) -> Result<Self> {
        let nullable = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let schema = Arc::new(Schema::new(nullable.collect::<Vec<Field>>()));
        let columns = schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
        let one = RecordBatchOptions::new().with_row_count(Some(1));
        let no_row = RecordBatch::try_new_with_options(schema, columns, &one)?;
        Ok(Self { batches: Vec::new(), starts: Vec::new(), rows: 0, bytes: 0, no_row })
    }

    /// Adds rows; the first gets the number [`Self::len`] had before.
    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = RecordBatch::try_new(self.no_row.schema(), batch.columns().to_vec())?;
        self.starts.push(self.rows as u32);
        self.rows += batch.num_rows();
        self.bytes += batch_bytes(&batch);
        self.batches.push(batch);
        self.carry()
    }

    /// Puts the last batches together as long as one is not much larger than what is behind it.
    fn carry(&mut self) -> Result<()> {
        let (mut first, rows_max) = (self.batches.len() - 1, self.rows_at_once());
        let mut rows = self.batches[first].num_rows();
        while first > 0 {
            let before = self.batches[first - 1].num_rows();
            if before > 2 * rows || before + rows > rows_max {
                break;
            }
            rows += before;
            first -= 1;
        }
        if first + 1 == self.batches.len() {
            return Ok(());
        }
        let last = self.batches.split_off(first);
        self.bytes -= last.iter().map(batch_bytes).sum::<usize>();
        let whole = concat_batches(&self.no_row.schema(), &last)?;
        self.bytes += batch_bytes(&whole);
        self.batches.push(whole);
        self.starts.truncate(first + 1);
        Ok(())
    }

    /// The rows of these numbers, in their order; [`NO_ROW`] gives NULLs.
    pub(super) fn gather(&self, numbers: &[u32]) -> Result<RecordBatch> {
        if numbers.is_empty() {
            return Ok(RecordBatch::new_empty(self.no_row.schema()));
        }
        // Only the batches that are named take part: a gather of few rows does not look at all of them.
        let mut places = vec![u32::MAX; self.batches.len()];
        let mut named: Vec<&RecordBatch> = vec![&self.no_row];
        let mut picks = Vec::with_capacity(numbers.len());
        for number in numbers {
            if *number == NO_ROW {
                picks.push((0, 0));
                continue;
            }
            let batch = self.starts.partition_point(|start| start <= number) - 1;
            if places[batch] == u32::MAX {
                places[batch] = named.len() as u32;
                named.push(&self.batches[batch]);
            }
            picks.push((places[batch] as usize, (number - self.starts[batch]) as usize));
        }
        Ok(interleave_record_batch(&named, &picks)?)
    }

    /// The batch that a row is in, and its place there.
    pub(super) fn place(&self, number: u32) -> (&RecordBatch, usize) {
        let batch = self.starts.partition_point(|start| *start <= number) - 1;
        (&self.batches[batch], (number - self.starts[batch]) as usize)
    }

    /// Keeps these rows only: the i-th is now number i.
    pub(super) fn keep(&mut self, live: &[u32]) -> Result<()> {
        let (mut kept, is_in_order) = (Vec::new(), live.is_sorted());
        for part in live.chunks(self.rows_at_once()) {
            kept.push(self.gather(part)?);
            // There may be no room for a copy of all.
            if let Some(last) = part.last().filter(|_| is_in_order) {
                self.let_go_before(*last);
            }
        }
        (self.starts, self.rows, self.bytes) = (Vec::new(), 0, 0);
        for batch in &kept {
            self.starts.push(self.rows as u32);
            self.rows += batch.num_rows();
            self.bytes += batch_bytes(batch);
        }
        self.batches = kept;
        Ok(())
    }

    /// So many rows are in a batch, unless they are wide.
    fn rows_at_once(&self) -> usize {
        (BATCH_BYTES_MAX / (self.bytes / self.rows.max(1)).max(1)).clamp(1, BATCH_ROWS_MAX)
    }

    /// Forgets the batches whose rows are all before this one; nobody asks for them any more.
    fn let_go_before(&mut self, row: u32) {
        let gone = self.starts.partition_point(|start| *start <= row).saturating_sub(1);
        let let_go = self.batches[..gone].iter_mut().rev().take_while(|batch| batch.num_rows() > 0);
        let_go.for_each(|batch| *batch = RecordBatch::new_empty(self.no_row.schema()));
    }

    /// The schema of what is gathered.
    pub(super) fn schema(&self) -> SchemaRef {
        self.no_row.schema()
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::testing::graph::schema;
    use crate::testing::parse_rows;

    fn values(batch: &RecordBatch) -> Vec<Option<i64>> {
        batch.column(0).as_primitive::<Int64Type>().iter().collect()
    }

    #[test]
    fn rows_that_are_kept_are_not_there_twice() {
        let schema = schema("v:int!");
        let mut rows = NumberedRows::new(&schema).unwrap();
        (0..10).for_each(|n| rows.push(&parse_rows(&schema, &format!("{n}\n{}", -n)).unwrap()).unwrap());
        rows.let_go_before(9);
        let held = |rows: &NumberedRows| rows.batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        assert_eq!((held(&rows), values(&rows.gather(&[9, 19]).unwrap())), (12, vec![Some(-4), Some(-9)]));
        rows.let_go_before(16);
        assert_eq!((held(&rows), values(&rows.gather(&[16, 18]).unwrap())), (4, vec![Some(8), Some(9)]));
    }

    #[test]
    fn rows_are_found_by_number_however_they_were_batched() {
        let schema = schema("v:int!");
        let mut rows = NumberedRows::new(&schema).unwrap();
        for batch in ["0", "1\n2", "", "3", "4", "5", "6\n7\n8\n9\n10", "11"] {
            rows.push(&parse_rows(&schema, batch).unwrap()).unwrap();
        }
        assert_eq!(rows.len(), 12);
        let numbers = [11, 0, NO_ROW, 7, 3, 3];
        assert_eq!(values(&rows.gather(&numbers).unwrap()), [Some(11), Some(0), None, Some(7), Some(3), Some(3)]);
        assert!(rows.batches.len() < 6, "{} batches", rows.batches.len());
        rows.keep(&[2, 11, 4, 5, 6]).unwrap();
        rows.push(&parse_rows(&schema, "20").unwrap()).unwrap();
        assert_eq!(values(&rows.gather(&[0, 1, 4, 5]).unwrap()), [Some(2), Some(11), Some(6), Some(20)]);
        rows.keep(&[0, 3, 4, 5]).unwrap();
        assert_eq!(values(&rows.gather(&[0, 1, 2, 3]).unwrap()), [Some(2), Some(5), Some(6), Some(20)]);
        rows.keep(&[]).unwrap();
        assert_eq!((rows.len(), rows.bytes()), (0, 0));
        assert_eq!(rows.gather(&[]).unwrap().num_rows(), 0);
    }
}
