//! Batches as Arrow IPC streams, in whole buffers: <https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format>.

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;

use crate::error::{PlanError, Result};

/// A stream of one batch.
pub fn of_batch(rows: &RecordBatch) -> Result<Vec<u8>> {
    behind(Vec::new(), rows)
}

/// A stream of one batch, behind bytes that are there already.
pub fn behind(bytes: Vec<u8>, rows: &RecordBatch) -> Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(bytes, rows.schema_ref())?;
    writer.write(rows)?;
    Ok(writer.into_inner()?)
}

/// A stream of no batch, which tells the columns.
pub fn of_schema(schema: &SchemaRef) -> Result<Vec<u8>> {
    Ok(StreamWriter::try_new(Vec::new(), schema)?.into_inner()?)
}

/// What a stream has.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The columns.
    pub schema: SchemaRef,
    /// The batches, in order. Their columns lie in the stream's own bytes, which are not copied.
    pub batches: Vec<RecordBatch>,
}

/// Reads a whole stream.
pub fn decode(bytes: Vec<u8>) -> Result<Decoded> {
    let (mut decoder, mut bytes) = (StreamDecoder::new(), Buffer::from_vec(bytes));
    let mut batches = Vec::new();
    while let Some(batch) = decoder.decode(&mut bytes)? {
        batches.push(batch);
    }
    decoder.finish()?;
    let none = || PlanError::from(arrow::error::ArrowError::IpcError(String::from("a stream without a schema")));
    Ok(Decoded { schema: decoder.schema().ok_or_else(none)?, batches })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, ArrayRef, Int64Array, StringArray};

    use super::*;

    fn rows() -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
        let names: ArrayRef = Arc::new(StringArray::from(vec!["a", "", "longer than a few bytes"]));
        RecordBatch::try_from_iter_with_nullable([("n", numbers, true), ("name", names, false)]).unwrap()
    }

    #[test]
    fn batches_are_read_where_they_lie() {
        let bytes = of_batch(&rows()).unwrap();
        let lies = bytes.as_ptr_range();
        let decoded = decode(bytes).unwrap();
        assert_eq!(decoded, Decoded { schema: rows().schema(), batches: vec![rows()] });
        let column = decoded.batches[0].column(0).to_data();
        assert!(lies.contains(&column.buffers()[0].as_ptr()));
    }

    #[test]
    fn rows_without_columns_and_columns_without_rows_are_streams_too() {
        let nothing = rows().project(&[]).unwrap();
        assert_eq!(decode(of_batch(&nothing).unwrap()).unwrap().batches, [nothing]);
        let none = rows().slice(0, 0);
        assert_eq!(decode(of_batch(&none).unwrap()).unwrap().batches, [none]);
        let columns = decode(of_schema(&rows().schema()).unwrap()).unwrap();
        assert_eq!(columns, Decoded { schema: rows().schema(), batches: Vec::new() });
    }

    #[test]
    fn bytes_that_are_no_stream_are_an_error() {
        let whole = of_batch(&rows()).unwrap();
        for cut in [0, 3, 9, 100, whole.len() - 20] {
            assert!(decode(whole[..cut].to_vec()).is_err(), "cut at {cut}");
        }
        assert!(decode(b"something else, and some more of it".to_vec()).is_err());
    }
}
