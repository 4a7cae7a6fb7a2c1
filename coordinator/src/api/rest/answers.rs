//! What requests are answered with, and what they say: the document describes these types.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidemill_plans::batch::progress::{BatchProgress, Fraction};
use tidemill_plans::catalog::{CatalogEntry, ModelVersion, ObjectKind};
use tidemill_plans::ids::OperatorId;
use tidemill_plans::protocol::{OperatorMetrics, StopMode};

use crate::cluster::WorkerInfo;
use crate::handle::{JobInfo, ObservedJob};
use crate::job::JobStatus;
use crate::job::checkpoint_log::{CheckpointInfo, CheckpointOutcome};

/// Jobs, by number.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Jobs {
    pub(super) jobs: Vec<Job>,
}

/// A job that has not ended, or has failed and can be tried again.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Job {
    /// Its number.
    job: u64,
    status: State,
    /// The sinks and views that it writes and the models that it trains.
    makes: Vec<String>,
    /// How many tasks it has.
    tasks: u64,
    /// How often it has begun again.
    restarts: u32,
    /// Whether it has checkpoints, and so savepoints and another parallelism.
    has_checkpoints: bool,
    /// Its newest checkpoint.
    checkpoint: Option<NewestCheckpoint>,
    /// Why it has failed, or begins again.
    cause: Option<String>,
    /// Whether it is a stream, or a query that runs as a whole.
    kind: Execution,
    /// How far a query as a whole is.
    progress: Option<Progress>,
}

/// How a job runs.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Execution {
    Streaming,
    Batch,
}

/// How far a query as a whole is.
#[derive(Debug, Serialize, JsonSchema)]
struct Progress {
    /// How much of all is done, from 0 to 1, if that is known. It never goes back.
    fraction: Option<f64>,
    stages_done: u32,
    stages: u32,
    tasks_done: u32,
    tasks: u32,
    /// Rows of tables that have been read.
    rows: u64,
    /// How many there are, if that is known.
    rows_total: Option<u64>,
    /// Bytes of files that have been read.
    bytes: u64,
    /// How many there are, if that is known.
    bytes_total: Option<u64>,
    spilled_bytes: u64,
}

impl From<BatchProgress> for Progress {
    fn from(progress: BatchProgress) -> Self {
        Self {
            fraction: progress.fraction.map(Fraction::value),
            stages_done: progress.stages.done,
            stages: progress.stages.all,
            tasks_done: progress.tasks.done,
            tasks: progress.tasks.all,
            rows: progress.rows,
            rows_total: progress.rows_all,
            bytes: progress.bytes,
            bytes_total: progress.bytes_all,
            spilled_bytes: progress.spilled_bytes,
        }
    }
}

/// Where a job is in its life.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum State {
    /// No worker has room for it yet.
    Waiting,
    Scheduling,
    Running,
    /// It has failed, and begins again from its newest checkpoint.
    Restarting,
    /// It was asked to end.
    Stopping,
    Finished,
    Stopped,
    /// It has left off at a checkpoint, for another coordinator to go on with.
    Suspended,
    Failed,
}

/// The newest checkpoint of a job.
#[derive(Debug, Serialize, JsonSchema)]
struct NewestCheckpoint {
    epoch: u64,
    /// How long ago it began.
    age_seconds: f64,
}

impl From<JobInfo> for Job {
    fn from(info: JobInfo) -> Self {
        let kind = if info.progress.is_some() { Execution::Batch } else { Execution::Streaming };
        let (status, cause) = state(info.status);
        Self {
            job: info.id.0,
            status,
            makes: info.makes,
            tasks: info.tasks as u64,
            restarts: info.restarts,
            has_checkpoints: info.has_checkpoints,
            checkpoint: info
                .newest_checkpoint
                .map(|(epoch, age)| NewestCheckpoint { epoch: epoch.0, age_seconds: age.as_secs_f64() }),
            cause,
            kind,
            progress: info.progress.map(Progress::from),
        }
    }
}

fn state(status: JobStatus) -> (State, Option<String>) {
    match status {
        JobStatus::Waiting => (State::Waiting, None),
        JobStatus::Scheduling => (State::Scheduling, None),
        JobStatus::Running => (State::Running, None),
        JobStatus::Restarting { message, .. } => (State::Restarting, Some(message)),
        JobStatus::Stopping => (State::Stopping, None),
        JobStatus::Finished => (State::Finished, None),
        JobStatus::Stopped => (State::Stopped, None),
        JobStatus::Suspended => (State::Suspended, None),
        JobStatus::Failed { message, .. } => (State::Failed, Some(message)),
    }
}

/// How a job is to end.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StopRequest {
    #[serde(default)]
    mode: Mode,
}

/// What becomes of rows that are on their way.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// What has been read is written, as STOP JOB does.
    #[default]
    Drain,
    /// Nothing more is written.
    Cancel,
}

impl StopRequest {
    pub(super) fn mode(&self) -> StopMode {
        match self.mode {
            Mode::Drain => StopMode::Drain,
            Mode::Cancel => StopMode::Cancel,
        }
    }
}

/// Where a savepoint is to be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SavepointRequest {
    /// A folder or URL; below the checkpoints of the job if nothing is said.
    pub(super) url: Option<String>,
    /// Whether the job ends with it.
    #[serde(default)]
    pub(super) stop: bool,
}

/// A savepoint that has been written.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Savepoint {
    /// Where it is.
    pub(super) url: String,
}

/// Another parallelism.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RescaleRequest {
    /// Instances of each operator that can be spread.
    pub(super) parallelism: NonZeroU32,
}

/// The newest checkpoints of a job, oldest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Checkpoints {
    pub(super) checkpoints: Vec<Checkpoint>,
}

/// A checkpoint.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Checkpoint {
    epoch: u64,
    status: CheckpointState,
    /// How long ago it began.
    age_seconds: f64,
    /// From its barrier to its manifest, once it is sealed.
    duration_seconds: Option<f64>,
    /// For how long inputs waited for each other's barriers, at most.
    alignment_seconds: f64,
    /// Bytes that were written for it.
    bytes: u64,
    /// Bytes that are read to restore it.
    total_bytes: u64,
    /// Why it was given up.
    cause: Option<String>,
}

/// How a checkpoint stands.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum CheckpointState {
    InProgress,
    Sealed,
    Failed,
}

impl From<CheckpointInfo> for Checkpoint {
    fn from(info: CheckpointInfo) -> Self {
        let (status, duration_seconds, cause) = match info.outcome {
            CheckpointOutcome::InProgress => (CheckpointState::InProgress, None, None),
            CheckpointOutcome::Sealed { took } => (CheckpointState::Sealed, Some(took.as_secs_f64()), None),
            CheckpointOutcome::Failed { cause } => (CheckpointState::Failed, None, Some(cause)),
        };
        Self {
            epoch: info.epoch.0,
            status,
            age_seconds: info.begun.as_secs_f64(),
            duration_seconds,
            alignment_seconds: info.alignment.as_secs_f64(),
            bytes: info.bytes,
            total_bytes: info.total_bytes,
            cause,
        }
    }
}

/// What the operators of a job do.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Operators {
    operators: Vec<Operator>,
}

/// An operator.
#[derive(Debug, Serialize, JsonSchema)]
struct Operator {
    /// Its number in the job.
    operator: u32,
    /// What it is, as in EXPLAIN.
    kind: String,
    /// The source, sink or model that it belongs to.
    object: Option<String>,
    /// Its instances, as far as they have told anything.
    subtasks: Vec<Subtask>,
}

/// What an instance of an operator has done so far.
#[derive(Debug, Serialize, JsonSchema)]
struct Subtask {
    subtask: u32,
    rows_in: u64,
    rows_out: u64,
    bytes_in: u64,
    /// Rows that came after all their windows had closed.
    late_rows: u64,
    /// Rows that could not be used.
    dead_letter_rows: u64,
    /// Rows that the source was told to leave out.
    skipped_rows: u64,
    /// Time in the operator's code.
    busy_seconds: f64,
    /// Time without room downstream.
    blocked_seconds: f64,
    /// State held in memory.
    state_bytes: u64,
    /// State held in memory, at most.
    state_bytes_max: u64,
    /// State on local disk.
    spilled_bytes: u64,
    /// The greatest event time seen, in microseconds since 1970.
    event_time_us: Option<i64>,
    /// The watermark, in microseconds since 1970.
    watermark_us: Option<i64>,
    /// Whether no input has rows for the time being.
    is_idle: bool,
    /// Whether a source still reads what was there when its job began.
    is_backfilling: bool,
    /// A quality measure that the operator keeps, such as a trainer's AUC.
    quality: Option<f64>,
}

impl From<ObservedJob> for Operators {
    fn from(job: ObservedJob) -> Self {
        let subtasks = |id: OperatorId| job.metrics.iter().filter(move |metrics| metrics.operator == id);
        let operator = |(id, (kind, object)): (u32, &(&'static str, String))| Operator {
            operator: id,
            kind: (*kind).to_owned(),
            object: Some(object.clone()).filter(|object| !object.is_empty()),
            subtasks: subtasks(OperatorId(id)).map(Subtask::from).collect(),
        };
        Self { operators: (0..).zip(&job.operators).map(operator).collect() }
    }
}

impl From<&OperatorMetrics> for Subtask {
    fn from(metrics: &OperatorMetrics) -> Self {
        Self {
            subtask: metrics.subtask,
            rows_in: metrics.rows_in,
            rows_out: metrics.rows_out,
            bytes_in: metrics.bytes_in,
            late_rows: metrics.late_rows,
            dead_letter_rows: metrics.dead_letter_rows,
            skipped_rows: metrics.skipped_rows,
            busy_seconds: Duration::from_nanos(metrics.busy_ns).as_secs_f64(),
            blocked_seconds: Duration::from_nanos(metrics.blocked_ns).as_secs_f64(),
            state_bytes: metrics.state_bytes,
            state_bytes_max: metrics.state_bytes_max,
            spilled_bytes: metrics.spilled_bytes,
            event_time_us: time(metrics.event_time),
            watermark_us: time(metrics.watermark),
            is_idle: metrics.idle,
            is_backfilling: metrics.backfilling,
            quality: metrics.quality.filter(|quality| quality.is_finite()),
        }
    }
}

/// Before the first row and behind the last one there is no time.
fn time(micros: i64) -> Option<i64> {
    Some(micros).filter(|micros| *micros != i64::MIN && *micros != i64::MAX)
}

/// Versions of models.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Versions {
    pub(super) versions: Vec<Version>,
}

/// A version of a model.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Version {
    model: String,
    /// Counts from 1.
    version: i64,
    /// The event time up to which it has learnt, in microseconds since 1970.
    learnt_to_us: Option<i64>,
    rows_learnt: i64,
    /// Quality measures by name; null where they are undefined.
    metrics: BTreeMap<String, Option<f64>>,
}

impl From<ModelVersion> for Version {
    fn from(version: ModelVersion) -> Self {
        let metrics = version.metrics.into_iter();
        Self {
            model: version.model,
            version: version.version,
            learnt_to_us: time(version.learnt_to),
            rows_learnt: version.rows_learnt,
            metrics: metrics.map(|(name, value)| (name, Some(value).filter(|value| value.is_finite()))).collect(),
        }
    }
}

/// The objects of the catalog, in the order in which they were created.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Catalog {
    pub(super) objects: Vec<Object>,
}

/// An object of the catalog.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Object {
    name: String,
    kind: Kind,
    /// The statement that has created it, for its owner.
    definition: Option<String>,
}

/// What an object is.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Source,
    Sink,
    View,
    MaterializedView,
    Model,
    Function,
}

impl Object {
    pub(super) fn new(entry: CatalogEntry, is_owner: bool) -> Self {
        let kind = match entry.kind {
            ObjectKind::Source => Kind::Source,
            ObjectKind::Sink => Kind::Sink,
            ObjectKind::View => Kind::View,
            ObjectKind::MaterializedView => Kind::MaterializedView,
            ObjectKind::Model => Kind::Model,
            ObjectKind::Function => Kind::Function,
        };
        Self { name: entry.name, kind, definition: is_owner.then_some(entry.definition) }
    }
}

/// The coordinator and its workers.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Cluster {
    /// The name of the cluster, which its workers come back to.
    pub(super) name: String,
    /// The release of the coordinator.
    pub(super) version: String,
    pub(super) workers: Vec<Worker>,
}

/// A worker.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Worker {
    worker: u32,
    /// Where other workers reach it.
    data_address: String,
    /// How many of its tasks compute at the same time.
    slots: u32,
    /// How many jobs run on it.
    jobs: u32,
    /// Whether it is to end, and takes no more tasks.
    is_leaving: bool,
}

impl From<WorkerInfo> for Worker {
    fn from(info: WorkerInfo) -> Self {
        let WorkerInfo { id, data_address, slots, jobs, is_leaving } = info;
        Self { worker: id.0, data_address, slots, jobs, is_leaving }
    }
}
