//! Batches as Arrow IPC record-batch messages, without their schema: the receiver has it from the plan.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::root_as_message;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
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

/// Cuts a batch into parts by rows so that each fits a frame.
pub(crate) fn split(batch: &RecordBatch) -> Vec<RecordBatch> {
    let parts = batch_bytes(batch).div_ceil(FRAME_BYTES_AIM).clamp(1, batch.num_rows().max(1));
    let rows = batch.num_rows().div_ceil(parts).max(1);
    if parts == 1 {
        return vec![batch.clone()];
    }
    let starts = (0..batch.num_rows()).step_by(rows);
    starts.map(|start| batch.slice(start, rows.min(batch.num_rows() - start))).collect()
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
        let mut dictionaries = DictionaryTracker::new(true);
        let (_, encoded) = IpcDataGenerator {}
            .encode(batch, &mut dictionaries, &self.options, &mut self.context)
            .map_err(|source| WorkersError::Batch { channel, action: "encoded", source })?;
        let bytes = encoded.ipc_message.len() + encoded.arrow_data.len();
        let limit = MESSAGE_BYTES_MAX - OVERHEAD_BYTES;
        if bytes > limit {
            return Err(WorkersError::RowTooLarge { channel, bytes, limit });
        }
        Ok((Bytes::from(encoded.ipc_message), Bytes::from(encoded.arrow_data)))
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

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::datatypes::Field;
    use tidemill_plans::ids::JobId;

    use super::*;

    fn id() -> ChannelId {
        ChannelId { job: JobId(1), edge: 0, from: 0, to: 0 }
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

    #[test]
    fn large_batches_are_cut_and_lose_nothing() {
        let wide: ArrayRef = Arc::new(StringArray::from_iter_values((0..50).map(|_| "x".repeat(1 << 20))));
        let wide = RecordBatch::try_from_iter([("t", wide)]).unwrap();
        let parts = split(&wide);
        assert!(parts.len() >= 4, "{}", parts.len());
        assert_eq!(parts.iter().map(RecordBatch::num_rows).sum::<usize>(), 50);
        assert_eq!(split(&batch(10)).len(), 1);
        assert_eq!(split(&batch(10).slice(0, 0)).len(), 1);
    }
}
