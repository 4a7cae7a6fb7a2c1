//! What the coordinator's actor is told and asked.

use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use tidemill_plans::checkpoint::Manifest;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::{Epoch, JobId, OperatorId, RunId, WorkerId};
use tidemill_plans::protocol::{OperatorMetrics, StopMode, WorkerLink};
use tidemill_plans::settings::Settings;
use tokio::sync::{mpsc, oneshot, watch};

use crate::actor::lane::Outcome;
use crate::cluster::{Origin, WorkerInfo};
use crate::error::Result;
use crate::handle::{JobInfo, ObservedJob, ResultBatches};
use crate::job::checkpoint_log::CheckpointInfo;
use crate::job::{Event, JobStatus, RequestKind};
use crate::queries::QueryPlace;
use crate::savepoints::Target;

macro_rules! message {
    ($name:ty => $result:ty) => {
        impl Message for $name {
            type Result = $result;
        }
    };
}

/// A worker offers its slots.
pub(crate) struct AddWorker {
    /// The id that it gets.
    pub id: WorkerId,
    pub data_address: String,
    pub slots: u32,
    pub link: Arc<dyn WorkerLink>,
    /// Whether an earlier worker at this address is gone because of it.
    pub origin: Origin,
}
message!(AddWorker => ());

/// A worker is to end: what it runs is to go on elsewhere. Answered with whether it is registered.
pub(crate) struct LeaveWorker(pub WorkerId);
message!(LeaveWorker => bool);

/// The coordinator is to end, and another one to go on with its jobs. Answered with how each of them is from now on.
pub(crate) struct KeepJobs;
message!(KeepJobs => Vec<watch::Receiver<JobStatus>>);

/// Waits until it is noted how the jobs have ended that are over, so that nobody goes on with them.
pub(crate) struct EndsNoted;
message!(EndsNoted => ());

/// Asks who is there.
pub(crate) struct ListWorkers;
message!(ListWorkers => Vec<WorkerInfo>);

/// Runs a graph.
pub(crate) struct Submit {
    pub run: RunId,
    /// The user whose job it is.
    pub owner: Option<String>,
    pub graph: DataflowGraph,
    pub settings: Settings,
    /// The folder or URL of the checkpoints, if there are to be any.
    pub checkpoints: Option<String>,
    /// The checkpoint to go on from, if the job has any: a new one's is its beginning.
    pub restore: Option<Manifest>,
}
message!(Submit => Result<JobChannels>);

/// A job's ends for the session.
pub(crate) struct JobChannels {
    pub status: watch::Receiver<JobStatus>,
    pub metrics: watch::Receiver<Vec<OperatorMetrics>>,
    pub epoch: watch::Receiver<Option<Epoch>>,
    pub results: mpsc::Receiver<ResultBatches>,
    pub recovers: bool,
}

/// A query is to run as a whole, for this user. Answered with its place among those that do, if there is room.
pub(crate) struct BeginQuery {
    pub id: JobId,
    pub owner: Option<String>,
}
message!(BeginQuery => Result<QueryPlace>);

/// Asks where the instances of an operator of a job are, by the addresses of their workers.
pub(crate) struct AddressesOf(pub JobId, pub OperatorId);
message!(AddressesOf => Result<Vec<String>>);

/// Something happened to an attempt at a job.
pub(crate) struct JobEvent(pub RunId, pub Event);
message!(JobEvent => ());

/// The inputs of a task have waited for so long for each other's barriers.
pub(crate) struct NoteAlignment {
    pub run: RunId,
    pub epoch: Epoch,
    pub alignment: Duration,
}
message!(NoteAlignment => ());

/// Asks for everything that is known of all jobs.
pub(crate) struct Observe;
message!(Observe => Vec<ObservedJob>);

/// Asks how all jobs are.
pub(crate) struct ListJobs;
message!(ListJobs => Vec<JobInfo>);

/// Asks for the newest checkpoints of a job; when each began is told as how long ago that is.
pub(crate) struct ListCheckpoints(pub JobId);
message!(ListCheckpoints => Result<Vec<CheckpointInfo>>);

/// Somebody wants a job to have another parallelism. Answered with its new graph, when it has been decided that it
/// will.
pub(crate) struct Rescale {
    pub job: JobId,
    pub parallelism: u32,
}
message!(Rescale => Result<DataflowGraph>);

/// Somebody wants a savepoint of a job, which may end with it. Answered with what is told when it is written.
pub(crate) struct TakeSavepoint {
    pub job: JobId,
    pub target: Target,
    pub stops: bool,
}
message!(TakeSavepoint => Result<oneshot::Receiver<Result<()>>>);

/// A savepoint is written, or is not.
pub(crate) struct SavepointWritten {
    pub run: RunId,
    pub written: Result<()>,
}
message!(SavepointWritten => ());

/// Somebody wants a job to end.
pub(crate) struct StopJob(pub JobId, pub StopMode);
message!(StopJob => ());

/// Somebody wants the process of a job to end.
pub(crate) struct InterruptJob(pub JobId, pub StopMode);
message!(InterruptJob => ());

/// Asks how many instances hold each materialized view.
pub(crate) struct CountViewInstances;
message!(CountViewInstances => Vec<(JobId, OperatorId, u32)>);

/// Nobody will read the views of a job any more.
pub(crate) struct ForgetViews(pub JobId);
message!(ForgetViews => ());

/// A worker lives; answered with whether it is registered.
pub(crate) struct Heartbeat {
    pub worker: WorkerId,
    pub metrics: Vec<OperatorMetrics>,
}
message!(Heartbeat => bool);

/// Asks where a result's rows go; nowhere once the job has ended.
pub(crate) struct ResultQueue(pub JobId);
message!(ResultQueue => Option<mpsc::Sender<ResultBatches>>);

/// A lane has got an answer, or given up.
pub(crate) struct RequestEnded {
    pub run: RunId,
    pub worker: WorkerId,
    pub kind: RequestKind,
    pub outcome: Outcome,
}
message!(RequestEnded => ());

/// A job that has failed is to be tried again, by the attempt that has claimed this checkpoint.
pub(crate) struct Redeploy {
    pub job: JobId,
    pub claimed: Result<Manifest>,
}
message!(Redeploy => ());

/// Some names of models may mean other versions.
pub(crate) struct ModelsMoved;
message!(ModelsMoved => ());

/// Ends all jobs and tells all workers to end; answered when they have answered.
pub(crate) struct ShutdownWorkers;
message!(ShutdownWorkers => ());

/// Ends the actor and its thread.
pub(crate) struct Terminate;
message!(Terminate => ());
