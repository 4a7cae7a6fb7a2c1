//! A task of a stage, at the worker that runs it: its plan is read, told where its pieces are, and written to disk.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{UInt32Type, UInt64Type};
use ballista_core::JobId;
use ballista_core::execution_plans::{ShuffleReaderExec, ShuffleWriterExec, SortShuffleWriterExec};
use ballista_core::extension::SessionConfigHelperExt;
use ballista_core::serde::protobuf::failed_task::FailedReason;
use ballista_core::serde::protobuf::task_status::Status;
use ballista_core::serde::protobuf::{
    ExecutionError, FailedTask, OperatorMetricsSet, ShuffleWritePartition, SuccessfulTask, TaskDefinition, TaskStatus,
};
use ballista_core::utils::collect_plan_metrics;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{internal_datafusion_err, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::TryStreamExt;
use tidemill_plans::batch::work::WorkFailure;
use tidemill_plans::batch::{ReadCounts, TableReader};
use tidemill_plans::functions;
use tokio::task::JoinSet;

use super::codec::Codec;
use super::fetch::{Fetcher, is_lost};
use super::pieces::{Own, ReadPieces};
use crate::arithmetic::CheckArithmetic;
use crate::error::{BatchError, innermost};
use crate::memory::Room;
use crate::output::on_disk;
use crate::reading::done_by;
use crate::table;

type Plan = Arc<dyn ExecutionPlan>;

/// What all tasks of a query share on a worker.
pub(crate) struct QueryHere {
    pub(crate) reader: Arc<dyn TableReader>,
    pub(crate) runtime: Arc<RuntimeEnv>,
    /// What the query has room in here.
    pub(crate) room: Room,
    pub(crate) own: Own,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) done: Mutex<Done>,
}

/// What tasks have done, but for what is read by the connectors' readers.
#[derive(Default)]
pub(crate) struct Done {
    by_those_that_ended: ReadCounts,
    running: Vec<Weak<dyn ExecutionPlan>>,
}

impl QueryHere {
    /// What has been read here by now.
    pub(crate) fn counts(&self) -> ReadCounts {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = self.reader.counts();
        counts += done.by_those_that_ended;
        done.running.iter().filter_map(Weak::upgrade).for_each(|plan| counts += done_by(plan.as_ref()));
        counts
    }

    fn begin(&self, plan: &Plan) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.running.push(Arc::downgrade(plan));
    }

    fn end(&self, plan: &Plan) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.by_those_that_ended += done_by(plan.as_ref());
        done.running.retain(|running| !std::ptr::addr_eq(running.as_ptr(), Arc::as_ptr(plan)));
    }
}

/// Runs a task to its end: what the scheduler is to know of it, and why it has failed, if it has.
pub(crate) async fn run(task: TaskDefinition, query: &QueryHere) -> (TaskStatus, Option<WorkFailure>) {
    match write(&task, query).await {
        Ok((partitions, metrics)) => {
            let done = SuccessfulTask {
                executor_id: query.own.worker.clone(),
                partitions,
                runtime_stats: Vec::new(),
                window_state: Vec::new(),
                task_column_stats: Vec::new(),
            };
            (TaskStatus { metrics, ..status(&task, Status::Successful(done)) }, None)
        }
        Err(error) => {
            let failure = failure_of(error, &query.room);
            (failed(&task), Some(failure))
        }
    }
}

/// That a task has failed. The scheduler does not try it again: what has become of the first try is not known.
pub(crate) fn failed(task: &TaskDefinition) -> TaskStatus {
    let failed = FailedTask {
        error: String::from("a task has failed"),
        retryable: false,
        count_to_failures: false,
        failed_reason: Some(FailedReason::ExecutionError(ExecutionError {})),
    };
    status(task, Status::Failed(failed))
}

fn status(task: &TaskDefinition, status: Status) -> TaskStatus {
    TaskStatus {
        task_id: task.task_id,
        job_id: task.job_id.clone(),
        stage_id: task.stage_id,
        stage_attempt_num: task.stage_attempt_num,
        launch_time: task.launch_time,
        start_exec_time: task.launch_time,
        end_exec_time: task.launch_time,
        metrics: Vec::new(),
        status: Some(status),
    }
}

fn failure_of(error: DataFusionError, room: &Room) -> WorkFailure {
    if is_lost(&error) {
        return WorkFailure::Lost(BatchError::of(error, room).to_string());
    }
    match BatchError::of(error, room) {
        BatchError::Memory { message, .. } => WorkFailure::Memory(message),
        error => WorkFailure::Query { domain: error.domain(), message: tidemill_plans::error::chain(&error) },
    }
}

/// The pieces that a task has written, and what its operators have done.
async fn write(
    task: &TaskDefinition,
    query: &QueryHere,
) -> Result<(Vec<ShuffleWritePartition>, Vec<OperatorMetricsSet>)> {
    let context = Arc::new(context(task, query));
    let plan = plan(task, query, &context)?;
    query.begin(&plan);
    let written = execute(&plan, &context).await;
    query.end(&plan);
    let partitions = match written {
        Err(error) if table::is_of_parquet(innermost(&error)) => {
            let files = files_of(&plan)?;
            return on_disk(move || Err(table::naming_file(error, &files))).await;
        }
        written => written?,
    };
    let metrics = collect_plan_metrics(plan.as_ref()).into_iter().map(TryInto::try_into).collect::<Result<_, _>>();
    // They are for EXPLAIN alone, and not all kinds of them can be sent.
    Ok((partitions, metrics.unwrap_or_default()))
}

fn context(task: &TaskDefinition, query: &QueryHere) -> TaskContext {
    let known = functions::task_context();
    let config = super::config().update_from_key_value_pair(&task.props);
    TaskContext::new(
        Some(format!("{}/{}/{}", task.job_id, task.stage_id, task.task_id)),
        task.session_id.clone(),
        config,
        known.scalar_functions().clone(),
        known.higher_order_functions().clone(),
        known.aggregate_functions().clone(),
        known.window_functions().clone(),
        Arc::clone(&query.runtime),
    )
}

/// The plan of a task: its root writes, its leaves know where they are.
fn plan(task: &TaskDefinition, query: &QueryHere, context: &TaskContext) -> Result<Plan> {
    let codec = Codec::reading(Arc::clone(&query.reader));
    let plan = PhysicalPlanNode::try_decode(&task.plan)?.try_into_physical_plan(context, &codec)?;
    // Whether arithmetic is checked is not sent.
    let plan = CheckArithmetic.optimize(plan, &ConfigOptions::default())?;
    let plan = plan.transform_up(|plan| match plan.downcast_ref::<ShuffleReaderExec>() {
        Some(reader) => {
            let pieces = ReadPieces::new(
                reader.stage_id,
                &reader.partition,
                reader.properties().output_partitioning().clone(),
                reader.schema(),
                Some(query.own.clone()),
                Arc::clone(&query.fetcher),
            );
            Ok(Transformed::yes(Arc::new(pieces) as Plan))
        }
        None => Ok(Transformed::no(plan)),
    });
    writer(plan?.data, task, query)
}

/// The root of a task's plan, for this task and this disk.
fn writer(plan: Plan, task: &TaskDefinition, query: &QueryHere) -> Result<Plan> {
    let (job, stage, number) = (JobId::from(task.job_id.as_str()), task.stage_id as usize, task.task_id as usize);
    let folder = query.own.folder.to_string_lossy().into_owned();
    let partitions = task.global_output_partition_ids.iter().map(|partition| *partition as usize).collect();
    let Some(input) = plan.children().first().map(|input| Arc::clone(input)) else {
        return internal_err!("a task that writes nothing: {}", plan.name());
    };
    if plan.is::<ShuffleWriterExec>() {
        let writer = ShuffleWriterExec::try_new(job, stage, input, folder)?;
        return Ok(Arc::new(writer.with_task_id(number).with_global_output_partition_ids(partitions)));
    }
    let Some(sorting) = plan.downcast_ref::<SortShuffleWriterExec>() else {
        return internal_err!("tasks of {} cannot be run", plan.name());
    };
    let (by, config) = (sorting.shuffle_output_partitioning().clone(), sorting.config().clone());
    let writer = SortShuffleWriterExec::try_new(job, stage, input, folder, by, config)?;
    Ok(Arc::new(writer.with_task_id(number).with_global_output_partition_ids(partitions)))
}

/// Has all partitions written at once: none may wait for another.
async fn execute(plan: &Plan, context: &Arc<TaskContext>) -> Result<Vec<ShuffleWritePartition>> {
    let is_shared = plan.is::<SortShuffleWriterExec>();
    let mut tasks = JoinSet::new();
    for partition in 0..plan.properties().output_partitioning().partition_count() {
        let (plan, context) = (Arc::clone(plan), Arc::clone(context));
        tasks.spawn(async move { plan.execute(partition, context)?.try_collect::<Vec<_>>().await });
    }
    let mut written = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        let batches = ended.map_err(|error| internal_datafusion_err!("a task has panicked: {error}"))??;
        for batch in &batches {
            written.extend(pieces_in(batch, is_shared)?);
        }
    }
    // What has no bytes has no file.
    written.retain(|piece| piece.num_bytes > 0);
    Ok(written)
}

/// The pieces that a writer says that it has written, a row each.
fn pieces_in(batch: &RecordBatch, is_sort_shuffle: bool) -> Result<Vec<ShuffleWritePartition>> {
    let unknown = || internal_datafusion_err!("a writer of pieces says what is not known: {}", batch.schema());
    let column = |place: usize| batch.columns().get(place).ok_or_else(unknown);
    let partitions = column(0)?.as_primitive_opt::<UInt32Type>().ok_or_else(unknown)?;
    let files = column(2)?.as_primitive_opt::<UInt64Type>().ok_or_else(unknown)?;
    let statistics: &StructArray = column(3)?.as_struct_opt().ok_or_else(unknown)?;
    let number = |name: &str| {
        let numbers = statistics.column_by_name(name).and_then(|column| column.as_primitive_opt::<UInt64Type>());
        numbers.ok_or_else(unknown)
    };
    let (rows, batches, bytes) = (number("num_rows")?, number("num_batches")?, number("num_bytes")?);
    let piece = |row: usize| ShuffleWritePartition {
        partition_id: u64::from(partitions.value(row)),
        num_batches: batches.value(row),
        num_rows: rows.value(row),
        num_bytes: bytes.value(row),
        file_id: files.is_valid(row).then(|| files.value(row)),
        is_sort_shuffle,
    };
    Ok((0..batch.num_rows()).map(piece).collect())
}

/// The files that DataFusion reads for a plan.
fn files_of(plan: &Plan) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    plan.apply(|node| {
        let source = node.downcast_ref::<DataSourceExec>().map(DataSourceExec::data_source);
        if let Some(scan) = source.and_then(|source| source.downcast_ref::<FileScanConfig>()) {
            let of_groups = scan.file_groups.iter().flat_map(|group| group.iter());
            files.extend(of_groups.map(|file| PathBuf::from(format!("/{}", file.object_meta.location))));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(files)
}
