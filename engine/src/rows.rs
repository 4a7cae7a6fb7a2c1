//! Rows held back until event time has passed them, and given out in one canonical order.
//!
//! Batches from several channels interleave differently in every run. An operator whose result
//! depends on order (a sum of floats, a model, a file) takes its rows from here: by event time, then
//! by all columns, so the same rows always come in the same order.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use tidemill_plans::time::{EventTime, event_times};

use crate::error::Result;
use crate::task::batch_bytes;

/// Rows by event time.
pub(crate) struct EventTimeBuffer {
    schema: SchemaRef,
    time: usize,
    batches: Vec<RecordBatch>,
    /// Least event time held; nothing to do before a watermark reaches it.
    oldest: EventTime,
    bytes: usize,
}

impl EventTimeBuffer {
    /// An empty buffer for rows of `schema` with event time in column `time`.
    pub(crate) fn new(schema: SchemaRef, time: usize) -> Self {
        Self { schema, time, batches: Vec::new(), oldest: EventTime::MAX, bytes: 0 }
    }

    /// Holds a batch. Its event times must not be NULL: sources route such rows away.
    pub(crate) fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let times = event_times(batch.column(self.time))?;
        if let Some(oldest) = arrow::compute::min(&times) {
            self.oldest = self.oldest.min(EventTime(oldest));
        }
        self.bytes += batch_bytes(&batch);
        self.batches.push(batch);
        Ok(())
    }

    /// Takes the rows before `bound` out, in canonical order; `None` if there are none.
    pub(crate) fn take_before(&mut self, bound: EventTime) -> Result<Option<RecordBatch>> {
        if self.oldest >= bound && bound != EventTime::MAX {
            return Ok(None);
        }
        let mut ready = Vec::new();
        let mut later = Vec::new();
        self.oldest = EventTime::MAX;
        self.bytes = 0;
        for batch in std::mem::take(&mut self.batches) {
            let times = event_times(batch.column(self.time))?;
            let before = |time: i64| bound == EventTime::MAX || time < bound.0;
            let mask: BooleanArray = times.values().iter().map(|time| Some(before(*time))).collect();
            if mask.true_count() == batch.num_rows() {
                ready.push(batch);
                continue;
            }
            if mask.has_true() {
                ready.push(filter_record_batch(&batch, &mask)?);
                later.push(filter_record_batch(&batch, &arrow::compute::not(&mask)?)?);
            } else {
                later.push(batch);
            }
        }
        for batch in later {
            self.push(batch)?;
        }
        if ready.is_empty() {
            return Ok(None);
        }
        let rows = concat_batches(&self.schema, &ready)?;
        Ok(Some(canonical_order(&rows, Some(self.time))?))
    }

    /// The event-time column.
    pub(crate) fn time(&self) -> usize {
        self.time
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The rows of a batch by column `first`, if given, and then by all columns.
pub(crate) fn canonical_order(batch: &RecordBatch, first: Option<usize>) -> Result<RecordBatch> {
    if batch.num_rows() < 2 {
        return Ok(batch.clone());
    }
    let others = (0..batch.num_columns()).filter(|column| Some(*column) != first);
    let columns: Vec<ArrayRef> = first.into_iter().chain(others).map(|c| Arc::clone(batch.column(c))).collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
    let mut order: Vec<u32> = (0..batch.num_rows() as u32).collect();
    order.sort_unstable_by(|a, b| rows.row(*a as usize).cmp(&rows.row(*b as usize)));
    Ok(take_record_batch(batch, &UInt32Array::from(order))?)
}

/// Turns key columns into bytes that are equal exactly when the keys are; `None` where a key is NULL,
/// because NULL equals nothing in a join.
pub(crate) struct JoinKeys {
    converter: RowConverter,
    columns: Vec<usize>,
}

impl JoinKeys {
    /// Keys from these columns of `schema`.
    pub(crate) fn new(schema: &SchemaRef, columns: &[usize]) -> Result<Self> {
        let fields = columns.iter().map(|c| SortField::new(schema.field(*c).data_type().clone())).collect();
        Ok(Self { converter: RowConverter::new(fields)?, columns: columns.to_vec() })
    }

    /// The key of every row.
    pub(crate) fn of(&self, batch: &RecordBatch) -> Result<Vec<Option<Box<[u8]>>>> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|c| Arc::clone(batch.column(*c))).collect();
        let rows = self.converter.convert_columns(&columns)?;
        let has_null = |row: usize| columns.iter().any(|column| column.is_null(row));
        Ok((0..batch.num_rows()).map(|row| (!has_null(row)).then(|| Box::from(rows.row(row).as_ref()))).collect())
    }
}

/// A column that counts, for tests and generated ids.
#[cfg(test)]
pub(crate) fn int64(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(arrow::array::PrimitiveArray::<arrow::datatypes::Int64Type>::from_iter_values(values))
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::compute::cast;
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use tidemill_plans::time::event_time_type;

    use super::*;

    fn batch(times: &[i64], values: &[i64]) -> RecordBatch {
        let schema =
            Schema::new(vec![Field::new("v", DataType::Int64, true), Field::new("t", event_time_type(), true)]);
        let times = cast(&int64(times.iter().copied()), &event_time_type()).unwrap();
        RecordBatch::try_new(Arc::new(schema), vec![int64(values.iter().copied()), times]).unwrap()
    }

    fn values(batch: &RecordBatch) -> Vec<i64> {
        batch.column(0).as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn rows_come_out_by_time_then_by_value_however_they_went_in() {
        let mut buffer = EventTimeBuffer::new(batch(&[], &[]).schema(), 1);
        buffer.push(batch(&[5, 3], &[1, 9])).unwrap();
        buffer.push(batch(&[3, 7], &[2, 4])).unwrap();
        assert!(buffer.take_before(EventTime(3)).unwrap().is_none());
        assert_eq!(values(&buffer.take_before(EventTime(6)).unwrap().unwrap()), [2, 9, 1]);
        assert_eq!(values(&buffer.take_before(EventTime::MAX).unwrap().unwrap()), [4]);
        assert_eq!(buffer.bytes(), 0);
    }
}
