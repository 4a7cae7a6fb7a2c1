//! What lies between stages: pieces, files on the disks of workers, and the node that reads them. Ballista writes them and
//! says where they are; they are read here, from the own disk or from another worker.

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::BatchCoalescer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use ballista_core::JobId;
use ballista_core::execution_plans::create_shuffle_path;
use ballista_core::execution_plans::sort_shuffle::{get_index_path, stream_sort_shuffle_partition};
use ballista_core::serde::scheduler::PartitionLocation;
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::{RecordBatchReceiverStreamBuilder, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};

use super::fetch::Fetcher;
use super::properties;
use crate::engine::BATCHES_MAX;
use crate::output::on_disk;

/// A part of a file of a worker: what one task has for one of those that come next.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub(crate) struct Piece {
    query: String,
    stage: u64,
    partition: u64,
    file: Option<u64>,
    /// Whether the file has all partitions, one behind the other.
    is_shared: bool,
}

impl Piece {
    fn of(location: &PartitionLocation) -> Self {
        Self {
            query: location.partition_id.job_id.to_string(),
            stage: location.partition_id.stage_id as u64,
            partition: location.partition_id.partition_id as u64,
            file: location.file_id,
            is_shared: location.is_sort_shuffle,
        }
    }

    /// Its rows, from this folder. Waits for the disk.
    pub(crate) fn open(&self, folder: &Path) -> Result<SendableRecordBatchStream> {
        // Whoever names a piece must not name another file.
        if !self.query.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-') {
            return internal_err!("'{}' is no query", self.query);
        }
        let partition = self.partition as usize;
        let query = JobId::from(self.query.as_str());
        let path = create_shuffle_path(folder, &query, self.stage as usize, partition, self.file, self.is_shared)?;
        if self.is_shared {
            let rows = stream_sort_shuffle_partition(&path, &get_index_path(&path), partition);
            return rows.map_err(|error| DataFusionError::External(Box::new(error)));
        }
        let file = StreamReader::try_new(BufReader::new(File::open(&path)?), None)?;
        let mut stream = RecordBatchReceiverStreamBuilder::new(file.schema(), BATCHES_MAX);
        let rows = stream.tx();
        stream.spawn_blocking(move || {
            for batch in file {
                if rows.blocking_send(Ok(batch?)).is_err() {
                    break;
                }
            }
            Ok(())
        });
        Ok(stream.build())
    }
}

/// A piece and who has it.
#[derive(Debug, Clone)]
struct Place {
    piece: Piece,
    worker: String,
    address: String,
}

/// Whose own pieces are in which folder.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    /// The worker, as the scheduler calls it.
    pub(crate) worker: String,
    pub(crate) folder: PathBuf,
}

/// Reads pieces: what a stage gets from those before it.
#[derive(Debug)]
pub(crate) struct ReadPieces {
    stage: usize,
    partitions: Vec<Vec<Place>>,
    /// Nothing where no pieces are.
    own: Option<Own>,
    fetcher: Arc<Fetcher>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl ReadPieces {
    /// Reads the pieces of each partition.
    pub(crate) fn new(
        stage: usize,
        partitions: &[Vec<PartitionLocation>],
        partitioning: Partitioning,
        schema: SchemaRef,
        own: Option<Own>,
        fetcher: Arc<Fetcher>,
    ) -> Self {
        let place = |location: &PartitionLocation| Place {
            piece: Piece::of(location),
            worker: location.executor_meta.id.clone(),
            address: location.executor_meta.host.clone(),
        };
        let partitions = partitions.iter().map(|locations| locations.iter().map(place).collect()).collect();
        let properties = properties(&schema, partitioning);
        let metrics = ExecutionPlanMetricsSet::new();
        Self { stage, partitions, own, fetcher, schema, properties, metrics }
    }
}

impl DisplayAs for ReadPieces {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "ReadPieces: stage={}, partitioning={}", self.stage, self.properties.partitioning)
    }
}

impl ExecutionPlan for ReadPieces {
    fn name(&self) -> &str {
        "ReadPieces"
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("pieces come from no other node") }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let places = self.partitions.get(partition).cloned().unwrap_or_default();
        let (own, fetcher, schema) = (self.own.clone(), Arc::clone(&self.fetcher), Arc::clone(&self.schema));
        let pieces = stream::iter(places).then(move |place| {
            let (own, fetcher) = (own.clone(), Arc::clone(&fetcher));
            async move { open(place, own, &fetcher).await }
        });
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let rows = pieces.try_flatten().map(move |batch| with_schema(&batch?, &schema));
        let size = context.session_config().batch_size();
        let rows = coalesced(Arc::clone(&self.schema), size, rows.boxed()).inspect(move |batch| {
            if let Ok(batch) = batch {
                metrics.record_output(batch.num_rows());
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

async fn open(place: Place, own: Option<Own>, fetcher: &Fetcher) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    match own.filter(|own| own.worker == place.worker) {
        Some(Own { folder, .. }) => Ok(on_disk(move || place.piece.open(&folder)).await?.boxed()),
        None => fetcher.fetch(&place.worker, &place.address, &place.piece).await,
    }
}

/// Rows as their plan has them: metadata may be lost on the way.
fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options)?)
}

/// The same rows in batches of this size: many tasks have a few rows each for one.
fn coalesced(
    schema: SchemaRef,
    size: usize,
    rows: BoxStream<'static, Result<RecordBatch>>,
) -> impl Stream<Item = Result<RecordBatch>> {
    let state = (Some(rows), BatchCoalescer::new(schema, size));
    stream::try_unfold(state, async |(mut rows, mut coalescer)| {
        loop {
            if let Some(batch) = coalescer.next_completed_batch() {
                return Ok(Some((batch, (rows, coalescer))));
            }
            let Some(left) = &mut rows else { return Ok(None) };
            match left.try_next().await? {
                Some(batch) => coalescer.push_batch(batch)?,
                None => {
                    rows = None;
                    coalescer.finish_buffered_batch()?;
                }
            }
        }
    })
}
