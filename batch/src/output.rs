//! Where a query's rows go: to whoever asks, into files, or into a sink. What is written shows at the end.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::error::{DataFusionError, Result};
use tidemill_plans::batch::{BatchQuery, Destination, RowSink, TableReader, count_column};

use crate::copy::Unfinished;

/// Where rows go.
pub(crate) struct Output {
    /// The columns with which they get there.
    columns: SchemaRef,
    kind: Kind,
}

enum Kind {
    Asker,
    /// DataFusion writes them, and says how many there were once it has.
    Files(Unfinished, Vec<RecordBatch>),
    /// It is taken out while it waits for the outside.
    Sink(Option<Box<dyn RowSink>>, i64),
}

impl Output {
    /// Makes room for a query's rows. Waits for the disk.
    pub(crate) fn begin(query: &BatchQuery, reader: &dyn TableReader) -> Result<Self> {
        let columns = Arc::clone(&query.columns);
        Ok(match &query.destination {
            Destination::Asker => Self { columns, kind: Kind::Asker },
            Destination::Files(target) => {
                Self { columns: count_column(), kind: Kind::Files(Unfinished::begin(target)?, Vec::new()) }
            }
            Destination::Sink(sink) => {
                let sink = reader.writer(sink, Arc::clone(&columns))?;
                Self { columns, kind: Kind::Sink(Some(sink), 0) }
            }
        })
    }

    /// The files that DataFusion writes.
    pub(crate) fn files(&self) -> Option<&Unfinished> {
        match &self.kind {
            Kind::Files(files, _) => Some(files),
            Kind::Asker | Kind::Sink(..) => None,
        }
    }

    /// Takes rows; returns those for whoever asks.
    pub(crate) async fn take(&mut self, rows: &RecordBatch) -> Result<Option<RecordBatch>> {
        let rows = conform(rows, &self.columns)?;
        match &mut self.kind {
            Kind::Asker => return Ok(Some(rows)),
            Kind::Files(_, counts) => counts.push(rows),
            Kind::Sink(sink, written) => {
                *written += rows.num_rows() as i64;
                let Some(mut taken) = sink.take() else { return Ok(None) };
                *sink = Some(on_disk(move || taken.write(rows).map(|()| taken)).await?);
            }
        }
        Ok(None)
    }

    /// All rows have come, and what is written shows. Returns what is left for whoever asks: how many rows there are.
    pub(crate) async fn finish(self) -> Result<Vec<RecordBatch>> {
        match self.kind {
            Kind::Asker => Ok(Vec::new()),
            Kind::Files(files, counts) => {
                on_disk(move || files.finish()).await?;
                Ok(counts)
            }
            Kind::Sink(sink, written) => {
                if let Some(sink) = sink {
                    on_disk(move || sink.finish()).await?;
                }
                let count: ArrayRef = Arc::new(Int64Array::from(vec![written]));
                Ok(vec![RecordBatch::try_new(count_column(), vec![count])?])
            }
        }
    }
}

/// Does what waits for the disk, on a thread that may.
pub(crate) async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| DataFusionError::Internal(format!("what waits for the disk has ended: {error}")))?
}

/// Rows with the schema that was promised. Which columns may be NULL, rules of DataFusion know better.
fn conform(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |(column, field): (&ArrayRef, &FieldRef)| match column.data_type() {
        same if same == field.data_type() => Ok(Arc::clone(column)),
        _ => cast(column, field.data_type()),
    };
    let columns = rows.columns().iter().zip(schema.fields()).map(column).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
