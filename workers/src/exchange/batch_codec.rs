//! Batches as Arrow IPC record-batch messages, without their schema: the receiver has it from the plan.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::root_as_message;
use arrow::ipc::writer::{DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_flight::FlightData;
use bytes::Bytes;
use tidemill_engine::task::batch_bytes;
use tidemill_plans::ids::ChannelId;

use crate::error::{Result, WorkersError};
use crate::exchange::frame::{FRAME_BYTES_AIM, MESSAGE_BYTES_MAX};

/// Room that a message's other parts take, in bytes.
const OVERHEAD_BYTES: usize = 1 << 20;

/// Checks that a channel's columns can be sent without dictionaries.
pub(crate) fn check_schema(channel: ChannelId, schema: &Schema) -> Result<()> {
    let is_dictionary = |data_type: &DataType| matches!(data_type, DataType::Dictionary(_, _));
    match schema.flattened_fields().into_iter().find(|field| is_dictionary(field.data_type())) {
        None => Ok(()),
        Some(field) => {
            let reason = format!("column '{}' is a dictionary, which channels do not carry", field.name());
            Err(WorkersError::Schema { channel, reason })
        }
    }
}

/// Cuts a batch by rows until each part fits a frame. Rows differ in size, so each half is measured anew.
pub(crate) fn split(batch: &RecordBatch) -> Vec<RecordBatch> {
    let mut parts = Vec::new();
    let mut waiting = vec![batch.clone()];
    while let Some(part) = waiting.pop() {
        let rows = part.num_rows();
        if rows < 2 || fits_frame(&part) {
            parts.push(part);
        } else {
            waiting.push(part.slice(rows / 2, rows - rows / 2));
            waiting.push(part.slice(0, rows / 2));
        }
    }
    parts
}

/// Measures what is sent where the rows' bytes in memory do not tell: a slice of lists has them all.
fn fits_frame(batch: &RecordBatch) -> bool {
    batch_bytes(batch) <= FRAME_BYTES_AIM
        || BatchEncoder::default()
            .write(batch)
            .is_ok_and(|encoded| encoded.ipc_message.len() + encoded.arrow_data.len() <= FRAME_BYTES_AIM)
}

/// Writes batches; keeps its buffers from one to the next.
#[derive(Default)]
pub(crate) struct BatchEncoder {
    options: IpcWriteOptions,
    context: IpcWriteContext,
}

impl BatchEncoder {
    /// The header and the body of a batch that must have the columns of `schema`.
    pub(crate) fn encode(
        &mut self,
        channel: ChannelId,
        schema: &Schema,
        batch: &RecordBatch,
    ) -> Result<(Bytes, Bytes)> {
        check_columns(channel, schema, batch)?;
        let encoded = self.write(batch).map_err(|source| WorkersError::Batch { channel, action: "encoded", source })?;
        let bytes = encoded.ipc_message.len() + encoded.arrow_data.len();
        let limit = MESSAGE_BYTES_MAX - OVERHEAD_BYTES;
        if bytes > limit {
            return Err(WorkersError::RowTooLarge { channel, rows: batch.num_rows(), bytes, limit });
        }
        Ok((Bytes::from(encoded.ipc_message), Bytes::from(encoded.arrow_data)))
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<EncodedData, ArrowError> {
        let mut dictionaries = DictionaryTracker::new(true);
        let (_, encoded) = IpcDataGenerator {}.encode(batch, &mut dictionaries, &self.options, &mut self.context)?;
        Ok(encoded)
    }
}

fn check_columns(channel: ChannelId, schema: &Schema, batch: &RecordBatch) -> Result<()> {
    let expected = schema.fields().iter().map(|field| field.data_type());
    let found = batch.columns().iter().map(|column| column.data_type());
    if expected.clone().eq(found.clone()) {
        return Ok(());
    }
    let list = |types: &mut dyn Iterator<Item = &DataType>| {
        types.map(|data_type| data_type.to_string()).collect::<Vec<_>>().join(", ")
    };
    let (expected, found) = (list(&mut expected.into_iter()), list(&mut found.into_iter()));
    Err(WorkersError::Schema { channel, reason: format!("a batch of ({found}) where the plan says ({expected})") })
}

/// Reads a batch of `schema` from a frame.
pub(crate) fn decode(channel: ChannelId, schema: &SchemaRef, frame: FlightData) -> Result<RecordBatch> {
    let body = Buffer::from(frame.data_body);
    // Arrow asserts some of what it reads: a frame that lies about its lengths must not end the thread.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode_message(schema, &frame.data_header, &body)))
        .unwrap_or_else(|_| Err(ArrowError::IpcError(String::from("lengths do not fit the body"))));
    decoded.map_err(|source| WorkersError::Batch { channel, action: "decoded", source })
}

fn decode_message(schema: &SchemaRef, header: &[u8], body: &Buffer) -> Result<RecordBatch, ArrowError> {
    let message = root_as_message(header).map_err(|error| ArrowError::IpcError(error.to_string()))?;
    let Some(batch) = message.header_as_record_batch() else {
        return Err(ArrowError::IpcError(String::from("not a record batch")));
    };
    // A schema with other columns would leave some of these over, or run out of them.
    let nodes = schema.flattened_fields().len();
    if batch.nodes().is_none_or(|found| found.len() != nodes) {
        return Err(ArrowError::IpcError(format!("not a batch of {nodes} columns")));
    }
    read_record_batch(body, batch, SchemaRef::clone(schema), &HashMap::new(), None, &message.version())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, ListBuilder, StringArray, StringBuilder};
    use arrow::compute::concat_batches;
    use arrow::datatypes::Field;
    use tidemill_plans::ids::{JobId, RunId};

    use super::*;

    fn id() -> ChannelId {
        ChannelId { run: RunId::first(JobId(1)), edge: 0, from: 0, to: 0 }
    }

    fn batch(rows: usize) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter((0..rows as i64).map(|i| (i % 3 > 0).then_some(i))));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|i| format!("row {i}"))));
        RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap()
    }

    fn frame(batch: &RecordBatch) -> FlightData {
        let (data_header, data_body) = BatchEncoder::default().encode(id(), &batch.schema(), batch).unwrap();
        FlightData { data_header, data_body, ..FlightData::default() }
    }

    #[test]
    fn broken_frames_are_errors_and_not_panics() {
        let good = batch(100);
        let schema = good.schema();
        assert_eq!(decode(id(), &schema, frame(&good)).unwrap(), good);
        let mut short = frame(&good);
        short.data_body = short.data_body.slice(..short.data_body.len() / 2);
        assert!(matches!(decode(id(), &schema, short), Err(WorkersError::Batch { .. })));
        let headless = FlightData { data_header: Bytes::from_static(b"nonsense"), ..frame(&good) };
        assert!(matches!(decode(id(), &schema, headless), Err(WorkersError::Batch { .. })));
        let other = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        assert!(matches!(decode(id(), &other, frame(&good)), Err(WorkersError::Batch { .. })));
        let swapped = Arc::new(schema.project(&[1, 0]).unwrap());
        assert!(matches!(decode(id(), &swapped, frame(&good)), Err(WorkersError::Batch { .. })));
    }

    #[test]
    fn a_batch_of_other_columns_is_not_sent() {
        let other = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
        let refused = BatchEncoder::default().encode(id(), &other, &batch(1)).unwrap_err();
        assert!(refused.to_string().contains("(Int64, Utf8) where the plan says (Int64)"), "{refused}");
        let key = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let dictionary = Schema::new(vec![Field::new("d", key, true)]);
        assert!(check_schema(id(), &dictionary).is_err());
    }

    /// Cuts a batch, checks that nothing is lost and that every part can be sent; returns the parts' rows.
    fn cut(batch: &RecordBatch) -> Vec<usize> {
        let parts = split(batch);
        assert_eq!(concat_batches(batch.schema_ref(), &parts).unwrap(), *batch);
        for part in &parts {
            BatchEncoder::default().encode(id(), batch.schema_ref(), part).unwrap();
        }
        parts.iter().map(RecordBatch::num_rows).collect()
    }

    fn texts(lengths: impl Iterator<Item = usize>) -> RecordBatch {
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(lengths.map(|length| "x".repeat(length))));
        RecordBatch::try_from_iter([("t", texts)]).unwrap()
    }

    #[test]
    fn large_batches_are_cut_and_lose_nothing() {
        assert!(cut(&texts((0..50).map(|_| 1 << 20))).len() >= 4);
        assert_eq!(cut(&batch(10)), [10]);
        assert_eq!(cut(&batch(10).slice(0, 0)), [0]);
    }

    #[test]
    fn large_rows_side_by_side_among_small_ones_are_parted() {
        let rows = cut(&texts((0..10_000).map(|row| if (5000..5010).contains(&row) { 8 << 20 } else { 1 })));
        assert!((6..60).contains(&rows.len()), "{rows:?}");
    }

    #[test]
    fn lists_are_cut_by_what_is_sent_of_them() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        for _ in 0..64 {
            lists.append_value([Some("x".repeat(1 << 20))]);
        }
        let lists: ArrayRef = Arc::new(lists.finish());
        let rows = cut(&RecordBatch::try_from_iter([("l", lists)]).unwrap());
        assert!((4..16).contains(&rows.len()), "{rows:?}");
    }

    #[test]
    fn a_row_that_no_cut_makes_small_enough_is_refused_with_its_size() {
        let huge = texts(std::iter::once(64 << 20));
        let refused = BatchEncoder::default().encode(id(), &huge.schema(), &split(&huge)[0]).unwrap_err();
        assert!(refused.to_string().contains("a batch of 1 row(s) takes 671"), "{refused}");
    }
}
