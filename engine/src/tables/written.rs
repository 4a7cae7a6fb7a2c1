//! A connector's sink that a query as a whole writes to. There are no checkpoints: it shows nothing before its end, and
//! nothing at all if that does not come.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::Result as DataFusionResult;
use tidemill_plans::batch::RowSink;

use super::external;
use crate::connector::Sink;
use crate::error::Result;
use crate::rows::EvenChunks;

/// The sink.
pub(super) struct Written {
    sink: Box<dyn Sink>,
    /// Rows that do not fill a chunk yet: how they came in batches must not show.
    partial: EvenChunks,
}

impl Written {
    pub(super) fn new(sink: Box<dyn Sink>, columns: SchemaRef) -> Self {
        Self { sink, partial: EvenChunks::new(columns) }
    }

    fn write_rows(&mut self, rows: RecordBatch) -> Result<()> {
        let Some(chunk_rows) = self.sink.chunk_rows() else { return self.sink.write(&rows) };
        self.partial.push(rows);
        self.partial.take_full(chunk_rows.get())?.iter().try_for_each(|chunk| self.sink.write(chunk))
    }

    fn complete(&mut self) -> Result<()> {
        if let Some(rest) = self.partial.take_rest()? {
            self.sink.write(&rest)?;
        }
        self.sink.finish()
    }
}

impl RowSink for Written {
    fn write(&mut self, rows: RecordBatch) -> DataFusionResult<()> {
        self.write_rows(rows).map_err(external)
    }

    fn finish(mut self: Box<Self>) -> DataFusionResult<()> {
        self.complete().map_err(external)
    }
}
