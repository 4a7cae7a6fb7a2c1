//! A table that is read row by row, by the connectors that streams are read with.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use tidemill_plans::batch::{BoundedTable, Part, TableReader};
use tokio::sync::mpsc;

use crate::cluster::ReadParts;
use crate::engine::BATCHES_MAX;
use crate::reading::Reading;
use crate::table::Site;

/// Bytes of files that are worth a part of their own.
const PART_BYTES: u64 = 4 << 20;

/// The table.
#[derive(Debug)]
pub(crate) struct RowTable {
    pub(crate) table: Arc<BoundedTable>,
    pub(crate) reader: Arc<dyn TableReader>,
    /// How far all such tables of the query are.
    pub(crate) reading: Arc<Reading>,
    /// Bytes of its files.
    pub(crate) bytes: u64,
    /// Where it is read.
    pub(crate) site: Site,
}

#[async_trait]
impl TableProvider for RowTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.table.columns)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.table.columns.fields().len()).collect());
        let of = self.parts(state.config().target_partitions());
        self.reading.expect(self.bytes);
        if self.site == Site::Workers {
            return Ok(Arc::new(ReadParts::new(&self.table, &self.reader, columns, of)?));
        }
        let schema = Arc::new(self.table.columns.project(&columns)?);
        let part = |part| -> Arc<dyn PartitionStream> {
            let (table, reader) = (Arc::clone(&self.table), Arc::clone(&self.reader));
            let (reading, schema) = (Arc::clone(&self.reading), Arc::clone(&schema));
            Arc::new(TablePart { table, reader, reading, columns: columns.clone(), schema, part })
        };
        let parts = (0..of).map(|number| part(Part { number, of })).collect();
        Ok(Arc::new(StreamingTableExec::try_new(Arc::clone(&schema), parts, None, None, false, limit)?))
    }
}

impl RowTable {
    /// How many parts are worth it, with so many threads.
    fn parts(&self, threads: usize) -> u32 {
        let worth = u32::try_from(self.bytes.div_ceil(PART_BYTES)).unwrap_or(u32::MAX);
        worth.clamp(1, u32::try_from(threads).unwrap_or(u32::MAX).max(1))
    }
}

/// A part of a table, which a thread reads.
#[derive(Debug)]
struct TablePart {
    table: Arc<BoundedTable>,
    reader: Arc<dyn TableReader>,
    reading: Arc<Reading>,
    columns: Vec<usize>,
    schema: SchemaRef,
    part: Part,
}

impl PartitionStream for TablePart {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), BATCHES_MAX);
        let rows = stream.tx();
        let (table, reader) = (Arc::clone(&self.table), Arc::clone(&self.reader));
        let (columns, part, reading) = (self.columns.clone(), self.part, Arc::clone(&self.reading));
        stream.spawn_blocking(move || read(reader.as_ref(), &table, &columns, part, &rows).map(|_| reading.end_part()));
        stream.build()
    }
}

/// Reads a part of a table, on a thread that may wait for the disk. Whether anybody still takes its rows.
pub(crate) fn read(
    reader: &dyn TableReader,
    table: &BoundedTable,
    columns: &[usize],
    part: Part,
    rows: &mpsc::Sender<Result<RecordBatch>>,
) -> Result<bool> {
    let mut part = reader.open(table, columns, part)?;
    while let Some(batch) = part.next_rows()? {
        if rows.blocking_send(Ok(batch)).is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}
