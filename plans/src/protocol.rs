//! What the coordinator and the workers say to each other.
//!
//! A job starts in two steps: `Deploy` makes every worker create its tasks' channels and answer, then
//! `Start` lets the tasks run. So no task sends to a channel that does not exist yet.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use thiserror::Error;

use crate::batch::progress::BatchProgress;
use crate::batch::work::{WorkAnswer, WorkRequest};
use crate::catalog::ModelWeights;
use crate::checkpoint::{Manifest, TaskState};
use crate::error::{ErrorDomain, chain};
use crate::graph::DataflowGraph;
use crate::ids::{Barrier, Epoch, JobId, OperatorId, RunId, TaskId, WorkerId};
use crate::ipc;
use crate::pushed::LogNeed;
use crate::settings::Settings;

/// Everything a worker needs to know to run its part of a job.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct Deployment {
    /// The attempt at a job.
    pub run: RunId,
    /// The whole graph: each worker cuts it into stages the same way.
    pub graph: DataflowGraph,
    /// Where each task runs.
    pub tasks: Vec<(TaskId, WorkerId)>,
    /// The data address (`http://host:port`) of each worker that takes part.
    pub workers: Vec<(WorkerId, String)>,
    /// The settings that the job was started with.
    pub settings: Settings,
    /// Where the job's checkpoints are, if it has any: a folder or a URL, see [`crate::storage`].
    pub checkpoints: Option<String>,
    /// The checkpoint that the tasks go on from, if the job has any: the first attempt's is its beginning.
    pub restore: Option<Manifest>,
    /// Values in the graph that nobody is to read in what the worker writes.
    pub secrets: Vec<String>,
}

/// How a job ends on request, the gentlest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, bincode::Encode, bincode::Decode)]
pub enum StopMode {
    /// Sources stop, what has been read is processed, sinks finish their files. Windows that are
    /// still open are not emitted: they are not complete.
    Drain,
    /// Sinks finish their files with what they have written; what is on the way to them is lost. For a
    /// job that does not drain in time. Answered when the files are complete; then the other tasks can
    /// be dropped without a sink mistaking the loss of its input for a failure.
    Cut,
    /// Tasks are dropped where they are; files without a footer are removed.
    Cancel,
}

/// From the coordinator to a worker. Every request is answered.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub enum WorkerRequest {
    /// Create the tasks that are placed on this worker, and their channels. The id is the worker's own:
    /// a deployment may overtake the answer to its registration.
    Deploy(WorkerId, Box<Deployment>),
    /// Run them.
    Start(RunId),
    /// End them.
    Stop(RunId, StopMode),
    /// Sources emit this barrier.
    Barrier(RunId, Barrier),
    /// The run's sources of this model have a version that its name means from now on.
    Model {
        /// The run.
        run: RunId,
        /// The name, as queries write it: see [`crate::model_reference`].
        reference: String,
        /// The version.
        weights: Arc<ModelWeights>,
    },
    /// The checkpoint of this epoch is sealed: sinks show what it covers. Answered when they have.
    Commit(RunId, Epoch),
    /// Forget the run, but for what its materialized views hold.
    Release(RunId),
    /// Let go of what the job's materialized views hold.
    ForgetViews(JobId),
    /// End the process, or the embedded worker.
    Shutdown,
}

/// A worker's answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum WorkerResponse {
    /// Done.
    Done,
    /// The state that a deployment is to go on from is damaged.
    Damaged {
        /// The whole chain of causes.
        message: String,
    },
    /// Refused.
    Failed {
        /// Who must act.
        domain: ErrorDomain,
        /// The whole chain of causes.
        message: String,
    },
}

/// From a worker to the coordinator.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub enum WorkerEvent {
    /// A worker process offers its slots; the answer gives it its id.
    Register {
        /// Where other workers reach its exchange.
        data_address: String,
        /// How many tasks may compute at the same time.
        slots: u32,
        /// The cluster that it is a worker of and stays one of, if it has been in one: an address may be another's by
        /// now.
        cluster: Option<String>,
    },
    /// The worker lives, and this is how its operators do. Sent every 200 ms, with metrics while jobs
    /// run, and without by a way of its own that no other event can hold up.
    Heartbeat {
        /// The worker.
        worker: WorkerId,
        /// Metrics of each of its operators' subtasks.
        metrics: Vec<OperatorMetrics>,
        /// Model versions published since the last heartbeat.
        models: Vec<(JobId, crate::catalog::ModelVersion)>,
    },
    /// Models that the worker's trainers have published since the last time, each in its newest version.
    Models {
        /// The worker.
        worker: WorkerId,
        /// The models.
        models: Vec<ModelWeights>,
    },
    /// What a worker process computes with, and what that has done; told when it has changed.
    Devices {
        /// The worker.
        worker: WorkerId,
        /// The devices.
        devices: Vec<crate::device::DeviceReport>,
    },
    /// The worker is to end: it takes no more tasks, and what it runs is to go on elsewhere. When nothing is left, it
    /// is told to.
    Leaving {
        /// The worker.
        worker: WorkerId,
    },
    /// A task has read and written everything.
    TaskFinished {
        /// The run.
        run: RunId,
        /// The task.
        task: TaskId,
        /// The state that it has ended with, if the job has checkpoints.
        state: Option<TaskState>,
    },
    /// A task has failed; the job must end.
    TaskFailed {
        /// The run.
        run: RunId,
        /// The task.
        task: TaskId,
        /// Who must act.
        domain: ErrorDomain,
        /// The whole chain of causes.
        message: String,
    },
    /// A barrier has passed through a task, and the state for it is written.
    BarrierPassed {
        /// The run.
        run: RunId,
        /// The task.
        task: TaskId,
        /// The barrier's epoch.
        epoch: Epoch,
        /// The task's state, if the barrier was a checkpoint's.
        state: Option<TaskState>,
        /// For how many microseconds its inputs have waited for each other's barriers.
        alignment_us: u64,
        /// From where on the state needs a log of pushed rows, if its source reads one.
        needs: Option<LogNeed>,
    },
    /// A task's state could not be written: the checkpoint will not be complete.
    CheckpointFailed {
        /// The run.
        run: RunId,
        /// The task.
        task: TaskId,
        /// The checkpoint's epoch.
        epoch: Epoch,
        /// The whole chain of causes.
        message: String,
    },
    /// Rows of a SELECT's result; answered when the session has taken them.
    ResultRows {
        /// The job.
        job: JobId,
        /// The result's sink.
        operator: OperatorId,
        /// An Arrow IPC stream.
        ipc: Vec<u8>,
    },
    /// The worker asks for a part of queries that run as a whole. Answered when there is something to do, or after a while.
    BatchWork {
        /// The worker.
        worker: WorkerId,
        /// What it has done and can do.
        request: WorkRequest,
    },
}

/// The coordinator's answer to an event.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum EventResponse {
    /// Taken.
    Done,
    /// A worker that registered is taken in.
    Registered {
        /// Its id, which no worker of this cluster has had before.
        worker: WorkerId,
        /// For how long what it runs is its own from each sign of life on that is answered: then it is given to
        /// others.
        lease: Duration,
        /// The name of the cluster.
        cluster: String,
    },
    /// What there is to do of queries that run as a whole.
    BatchWork(WorkAnswer),
    /// Not taken, and repeating it would change nothing; the whole chain of causes.
    Refused(String),
    /// Not taken yet: there is no room for these rows, for their reader takes its time. To be sent again.
    Busy,
}

/// Counters and gauges of one operator's subtask, since the job's start.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct OperatorMetrics {
    /// The job.
    pub job: JobId,
    /// The operator.
    pub operator: OperatorId,
    /// Which instance.
    pub subtask: u32,
    /// Rows received.
    pub rows_in: u64,
    /// Rows emitted.
    pub rows_out: u64,
    /// Bytes of Arrow buffers received.
    pub bytes_in: u64,
    /// Rows left out because all their windows had closed.
    pub late_rows: u64,
    /// Rows that could not be used.
    pub dead_letter_rows: u64,
    /// Rows that the source was told to leave out.
    pub skipped_rows: u64,
    /// Nanoseconds spent in the operator's code, and for a source in reading.
    pub busy_ns: u64,
    /// Nanoseconds in which the task waited for room downstream.
    pub blocked_ns: u64,
    /// Bytes of state held in memory.
    pub state_bytes: u64,
    /// Bytes of state held in memory at most.
    pub state_bytes_max: u64,
    /// Bytes of state on local disk.
    pub spilled_bytes: u64,
    /// Greatest event time seen, in microseconds; `i64::MIN` before the first row.
    pub event_time: i64,
    /// The watermark emitted, in microseconds.
    pub watermark: i64,
    /// Whether no input has rows for the time being, so that nobody waits for its watermark.
    pub idle: bool,
    /// Whether a source still reads what was there when its job began.
    pub backfilling: bool,
    /// A quality measure that the operator keeps, such as a trainer's prequential AUC.
    pub quality: Option<f64>,
    /// A sum over the hashes of a sink's rows, if it was asked for; those of subtasks are added, wrapping.
    pub checksum: Option<u64>,
}

impl OperatorMetrics {
    /// Those of a subtask that has done nothing yet.
    #[must_use]
    pub fn new(job: JobId, operator: OperatorId, subtask: u32) -> Self {
        Self {
            job,
            operator,
            subtask,
            rows_in: 0,
            rows_out: 0,
            bytes_in: 0,
            late_rows: 0,
            dead_letter_rows: 0,
            skipped_rows: 0,
            busy_ns: 0,
            blocked_ns: 0,
            state_bytes: 0,
            state_bytes_max: 0,
            spilled_bytes: 0,
            event_time: i64::MIN,
            watermark: i64::MIN,
            idle: false,
            backfilling: false,
            quality: None,
            checksum: None,
        }
    }
}

/// The Flight action that carries a [`WorkerRequest`] to a worker; its result is a [`WorkerResponse`].
pub const WORKER_ACTION: &str = "tidemill.worker";

/// The Flight action that carries a [`WorkerEvent`] to the coordinator; its result is an [`EventResponse`].
pub const COORDINATOR_ACTION: &str = "tidemill.coordinator";

/// The Flight action that has the coordinator run a plan, a JSON document in its body; its one result is JSON, with the
/// number of the `job` and `warnings`.
pub const SUBMIT_PLAN_ACTION: &str = "tidemill.submit_plan";

/// The Flight action that has the coordinator execute SQL, its body; its results are [`ExecutePart`]s.
pub const EXECUTE_ACTION: &str = "tidemill.execute";

/// What a request to execute SQL has among its headers if it wants to hear of the progress of queries.
pub const PROGRESS_HEADER: &str = "tidemill-progress";

/// What executing SQL comes to, piece by piece, in the order of the statements.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum ExecutePart {
    /// What a statement has done, such as `CREATE SINK kept`, or a warning.
    Message(String),
    /// The rows of a statement begin.
    Begin {
        /// An Arrow IPC stream with their schema and no rows.
        ipc: Vec<u8>,
        /// Whether there may be no last one, so that they are shown as they come.
        is_live: bool,
    },
    /// Rows, as an Arrow IPC stream.
    Rows(Vec<u8>),
    /// There are no more rows of this statement.
    End,
    /// How far a query as a whole has come, for who wants to know ([`PROGRESS_HEADER`]).
    Progress(BatchProgress),
}

/// The other side could not be reached, or did not answer in time.
#[derive(Debug, Error)]
#[error("{peer} cannot be reached: {reason}")]
pub struct LinkError {
    /// Who was called.
    pub peer: String,
    /// What happened.
    pub reason: String,
}

/// An answer that is on its way.
pub type Reply<T> = Pin<Box<dyn Future<Output = Result<T, LinkError>> + Send>>;

/// How the coordinator speaks to one worker, in this process or another.
pub trait WorkerLink: Send + Sync {
    /// Sends a request. The reply fails if the worker cannot be reached.
    fn request(&self, request: WorkerRequest) -> Reply<WorkerResponse>;
}

/// How a worker speaks to its coordinator, in this process or another.
pub trait CoordinatorLink: Send + Sync {
    /// Sends an event. The reply fails if the coordinator cannot be reached; an event that it does not
    /// take is [`EventResponse::Refused`].
    fn send(&self, event: WorkerEvent) -> Reply<EventResponse>;

    /// Sends rows of a SELECT's result, as [`WorkerEvent::ResultRows`] does. In one process they need not be written.
    fn send_rows(&self, job: JobId, operator: OperatorId, rows: &RecordBatch) -> Reply<EventResponse> {
        match ipc::of_batch(rows) {
            Ok(ipc) => self.send(WorkerEvent::ResultRows { job, operator, ipc }),
            Err(error) => {
                let failure = LinkError { peer: String::from("coordinator"), reason: chain(&error) };
                Box::pin(std::future::ready(Err(failure)))
            }
        }
    }
}
