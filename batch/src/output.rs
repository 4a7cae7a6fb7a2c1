//! Where a query's rows go: to whoever asks, into files, or into a sink. What is written shows at the end.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::error::{DataFusionError, Result};
use tidemill_plans::batch::{BatchQuery, CopyTarget, Destination, RowSink, TableReader, count_column};

use crate::copy::Unfinished;
use crate::copy_objects::UnfinishedObjects;
use crate::objects::QueryObjects;

/// Where rows go.
pub(crate) struct Output {
    /// The columns with which they get there.
    columns: SchemaRef,
    kind: Kind,
}

enum Kind {
    Asker,
    /// DataFusion writes them, and says how many there were once it has.
    Files(Files, Vec<RecordBatch>),
    /// It is taken out while it waits for the outside.
    Sink(Option<Box<dyn RowSink>>, i64),
}

/// Files that DataFusion writes.
enum Files {
    OnDisk(Unfinished),
    Objects(UnfinishedObjects),
}

impl Files {
    async fn begin(target: &CopyTarget, objects: &QueryObjects) -> Result<Self> {
        if let Some(objects) = UnfinishedObjects::begin(objects, target).await? {
            return Ok(Self::Objects(objects));
        }
        let target = target.clone();
        on_disk(move || Unfinished::begin(&target)).await.map(Self::OnDisk)
    }
}

/// Where DataFusion would write rows that go to this target.
pub(crate) fn planned_path(target: &CopyTarget, objects: &QueryObjects) -> Result<String> {
    Ok(UnfinishedObjects::planned(objects, target)?.unwrap_or_else(|| target.path.clone()))
}

impl Output {
    /// Makes room for a query's rows.
    pub(crate) async fn begin(
        query: &BatchQuery,
        reader: &Arc<dyn TableReader>,
        objects: &QueryObjects,
    ) -> Result<Self> {
        let columns = Arc::clone(&query.columns);
        Ok(match &query.destination {
            Destination::Asker => Self { columns, kind: Kind::Asker },
            Destination::Files(target) => {
                let files = Files::begin(target, objects).await?;
                Self { columns: count_column(), kind: Kind::Files(files, Vec::new()) }
            }
            Destination::Sink(sink) => {
                let (sink, reader, schema) = (sink.clone(), Arc::clone(reader), Arc::clone(&columns));
                let sink = on_disk(move || reader.writer(&sink, schema)).await?;
                Self { columns, kind: Kind::Sink(Some(sink), 0) }
            }
        })
    }

    /// Where DataFusion writes rows, if it does.
    pub(crate) fn path(&self) -> Option<String> {
        match &self.kind {
            Kind::Files(Files::OnDisk(files), _) => Some(files.path().to_string_lossy().into_owned()),
            Kind::Files(Files::Objects(objects), _) => Some(objects.url().to_owned()),
            Kind::Asker | Kind::Sink(..) => None,
        }
    }

    /// Not all rows have come, and none of them shows.
    pub(crate) async fn give_up(self) {
        if let Kind::Files(Files::Objects(objects), _) = self.kind {
            objects.give_up().await;
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
                match files {
                    Files::OnDisk(files) => on_disk(move || files.finish()).await?,
                    Files::Objects(objects) => objects.finish().await?,
                }
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
