//! `(State, Event) -> (State, Vec<Effect>)`, and the vocabulary of events and effects.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill_plans::checkpoint::{Manifest, TaskState};
use tidemill_plans::graph::Node;
use tidemill_plans::ids::{Epoch, RunId, TaskId, WorkerId};
use tidemill_plans::protocol::{Deployment, StopMode, WorkerRequest};

use crate::job::state::State;
use crate::job::{JobFailure, JobStatus};

/// How long a job may drain before its sinks complete what they have. An interrupted job is to end
/// within 2 s, and completing the files and ending the processes takes some of them.
pub const DRAIN_LIMIT: Duration = Duration::from_millis(800);

/// How long the sinks may take for that before the job counts as failed.
pub const CUT_LIMIT: Duration = Duration::from_secs(4);

/// How long a cancelled job may take before it counts as ended whatever its workers say.
pub const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// How long a job that leaves off may take for its last checkpoint. Without one it goes on from the newest there is.
pub const SUSPEND_LIMIT: Duration = Duration::from_secs(20);

/// How long the last checkpoint may take to be written and committed.
pub const COMMIT_LIMIT: Duration = Duration::from_secs(120);

/// What happened to a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The job was accepted and placed.
    Submitted,
    /// A worker answered a request, or it is clear that it will not.
    WorkerAnswered {
        /// The worker.
        worker: WorkerId,
        /// Which request.
        kind: RequestKind,
        /// Done, or why not.
        result: Result<(), JobFailure>,
    },
    /// A task has read and written everything.
    TaskFinished {
        /// The task.
        task: TaskId,
        /// The state that it has ended with, if the job has checkpoints.
        state: Option<TaskState>,
    },
    /// A task has failed.
    TaskFailed {
        /// The task.
        task: TaskId,
        /// Why.
        cause: JobFailure,
    },
    /// A worker is gone; `reason` says how that was noticed.
    WorkerLost {
        /// The worker.
        worker: WorkerId,
        /// Such as `no heartbeat for 5s`.
        reason: String,
    },
    /// Somebody wants the job to end.
    StopRequested(StopMode),
    /// Somebody wants its process to end: what cannot be done by then is done by a later one, if there are
    /// checkpoints.
    Interrupted(StopMode),
    /// The job is to leave off with a checkpoint, and to go on elsewhere.
    SuspendRequested,
    /// The time for that checkpoint is over.
    SuspendTimedOut,
    /// It is time for a barrier.
    BarrierDue,
    /// Somebody wants a checkpoint as soon as can be.
    CheckpointRequested,
    /// Somebody wants a checkpoint as soon as can be, and nothing behind it to be shown before
    /// [`Event::SavepointTaken`].
    SavepointRequested,
    /// What that checkpoint was for is done, or will not be.
    SavepointTaken,
    /// A barrier has passed through a task.
    BarrierPassed {
        /// The task.
        task: TaskId,
        /// The barrier's epoch.
        epoch: Epoch,
        /// The task's state, if the barrier was a checkpoint's.
        state: Option<TaskState>,
    },
    /// A task's state could not be written.
    CheckpointFailed {
        /// The checkpoint's epoch; [`Epoch::END`] for the state that the task has ended with.
        epoch: Epoch,
        /// Why.
        cause: JobFailure,
    },
    /// A manifest was written, or could not be.
    Sealed {
        /// Its epoch.
        epoch: Epoch,
        /// Whether it is sealed.
        result: Result<(), JobFailure>,
    },
    /// Somebody else has sealed the epoch: another coordinator, which believes to own the job. What this attempt
    /// has done since belongs to no checkpoint.
    Superseded(JobFailure),
    /// The job was given up, or could not be.
    GivenUp(Result<(), JobFailure>),
    /// The time for the last commit is over.
    CommitTimedOut,
    /// The time for ending in this mode is over. A job enters each mode at most once, so the mode
    /// tells a timer that still matters from one that does not.
    StopTimedOut(StopMode),
}

/// Which request an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestKind {
    /// [`WorkerRequest::Deploy`].
    Deploy,
    /// [`WorkerRequest::Start`].
    Start,
    /// [`WorkerRequest::Stop`] with [`StopMode::Drain`].
    Drain,
    /// [`WorkerRequest::Stop`] with [`StopMode::Cut`].
    Cut,
    /// [`WorkerRequest::Stop`] with [`StopMode::Cancel`].
    Cancel,
    /// [`WorkerRequest::Barrier`].
    Barrier,
    /// [`WorkerRequest::Model`].
    Model,
    /// [`WorkerRequest::Commit`] of an epoch.
    Commit(Epoch),
    /// [`WorkerRequest::Release`].
    Release,
    /// [`WorkerRequest::ForgetViews`].
    ForgetViews,
    /// [`WorkerRequest::Shutdown`].
    Shutdown,
}

impl RequestKind {
    /// The kind of a request.
    #[must_use]
    pub fn of(request: &WorkerRequest) -> Self {
        match request {
            WorkerRequest::Deploy(..) => Self::Deploy,
            WorkerRequest::Start(_) => Self::Start,
            WorkerRequest::Stop(_, StopMode::Drain) => Self::Drain,
            WorkerRequest::Stop(_, StopMode::Cut) => Self::Cut,
            WorkerRequest::Stop(_, StopMode::Cancel) => Self::Cancel,
            WorkerRequest::Barrier(..) => Self::Barrier,
            WorkerRequest::Model { .. } => Self::Model,
            WorkerRequest::Commit(_, epoch) => Self::Commit(*epoch),
            WorkerRequest::Release(_) => Self::Release,
            WorkerRequest::ForgetViews(_) => Self::ForgetViews,
            WorkerRequest::Shutdown => Self::Shutdown,
        }
    }
}

/// What the shell must do. It sends a worker's requests for one job one after the other, each after
/// the answer to the one before: a `Release` never overtakes the `Deploy` that it undoes.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send a request, and bring the answer back as [`Event::WorkerAnswered`].
    Send(WorkerId, WorkerRequest),
    /// Tell whoever watches the job.
    Publish(JobStatus),
    /// Bring this event back after a while.
    After(Duration, Event),
    /// Every task has passed the epoch's barrier.
    EpochCompleted(Epoch),
    /// The barrier of a checkpoint is on its way.
    CheckpointBegun(Epoch),
    /// Write a manifest, and bring back as [`Event::Sealed`] what became of it.
    Seal(Manifest),
    /// The checkpoint that was asked for as a savepoint is sealed, and sinks show what it covers.
    SavepointReady(Manifest),
    /// See to it that no coordinator ever goes on with the job, and bring back as [`Event::GivenUp`] what became
    /// of it.
    GiveUp,
    /// The epoch will not complete.
    EpochAbandoned(Epoch, JobFailure),
}

/// What stays the same over a job's life: the deployment, indexed.
#[derive(Debug, Clone)]
pub struct JobPlan {
    deployment: Deployment,
    worker_of: BTreeMap<TaskId, WorkerId>,
}

impl JobPlan {
    /// Indexes a deployment.
    #[must_use]
    pub fn new(deployment: Deployment) -> Self {
        assert!(!deployment.tasks.is_empty(), "a job has tasks");
        Self::index(deployment)
    }

    /// A deployment that has to wait until its tasks can be placed.
    #[must_use]
    pub fn unplaced(deployment: Deployment) -> Self {
        assert!(deployment.tasks.is_empty(), "no task is placed");
        Self::index(deployment)
    }

    fn index(deployment: Deployment) -> Self {
        let worker_of: BTreeMap<TaskId, WorkerId> = deployment.tasks.iter().copied().collect();
        assert!(
            worker_of.values().all(|worker| deployment.workers.iter().any(|(id, _)| id == worker)),
            "every task is on a worker that takes part"
        );
        Self { deployment, worker_of }
    }

    /// The attempt at a job.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.deployment.run
    }

    /// Whether the job has checkpoints.
    #[must_use]
    pub fn has_checkpoints(&self) -> bool {
        self.deployment.checkpoints.is_some()
    }

    /// The epoch of the checkpoint that this attempt goes on from.
    #[must_use]
    pub fn restored_epoch(&self) -> Option<Epoch> {
        self.deployment.restore.as_ref().map(|manifest| manifest.epoch)
    }

    /// Of so many barriers, one is a checkpoint's; none if there are no checkpoints.
    #[must_use]
    pub fn barriers_per_checkpoint(&self) -> Option<u32> {
        let interval = self.barrier_interval()?.as_millis().max(1);
        let checkpoint = u128::from(self.deployment.settings.checkpoint_interval_ms);
        let barriers = checkpoint.div_ceil(interval);
        (self.has_checkpoints() && barriers > 0).then(|| u32::try_from(barriers).unwrap_or(u32::MAX))
    }

    /// The deployment as workers get it.
    #[must_use]
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The workers that take part.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> {
        self.deployment.workers.iter().map(|(worker, _)| *worker)
    }

    /// The tasks.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.worker_of.keys().copied()
    }

    /// How many tasks there are.
    #[must_use]
    pub fn task_count(&self) -> usize {
        self.worker_of.len()
    }

    /// Where a task runs; nothing for a task of another job.
    #[must_use]
    pub fn worker_of(&self, task: TaskId) -> Option<WorkerId> {
        self.worker_of.get(&task).copied()
    }

    /// The tasks of a worker.
    pub fn tasks_of(&self, worker: WorkerId) -> impl Iterator<Item = TaskId> {
        self.worker_of.iter().filter(move |(_, on)| **on == worker).map(|(task, _)| *task)
    }

    /// Whether a worker takes part.
    #[must_use]
    pub fn uses(&self, worker: WorkerId) -> bool {
        self.workers().any(|id| id == worker)
    }

    /// The time between barriers, if there are any: a job with materialized views has them more often.
    #[must_use]
    pub fn barrier_interval(&self) -> Option<Duration> {
        let settings = &self.deployment.settings;
        let of_views = self.has_views().then_some(settings.view_interval_ms);
        let ms = of_views.into_iter().chain([settings.checkpoint_interval_ms]).filter(|ms| *ms > 0).min();
        ms.map(Duration::from_millis)
    }

    /// Whether the job has a materialized view that can be read.
    #[must_use]
    pub fn has_views(&self) -> bool {
        self.deployment.graph.nodes.iter().any(Node::is_view)
    }

    /// The same request to every worker.
    pub(crate) fn send_all(&self, request: &WorkerRequest) -> Vec<Effect> {
        self.workers().map(|worker| Effect::Send(worker, request.clone())).collect()
    }

    /// Why a job cannot go on without `worker`.
    pub(crate) fn lost(&self, worker: WorkerId, reason: &str) -> JobFailure {
        let address = self.deployment.workers.iter().find(|(id, _)| *id == worker).map_or("", |(_, a)| a.as_str());
        let place = if address.is_empty() { worker.to_string() } else { format!("{worker} at {address}") };
        JobFailure::external(format!("{place} was lost: {reason}"))
    }
}

/// A job: its plan and where it is in its life.
#[derive(Debug, Clone)]
pub struct JobMachine {
    plan: JobPlan,
    state: State,
}

impl JobMachine {
    /// A job that has not begun; the first event is [`Event::Submitted`].
    #[must_use]
    pub fn new(plan: JobPlan) -> Self {
        let state = State::initial(&plan);
        Self { plan, state }
    }

    /// What stays the same.
    #[must_use]
    pub fn plan(&self) -> &JobPlan {
        &self.plan
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether it waits to be placed.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }

    /// Whether the job has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// Takes an event; any event is legal at any time, and one that no longer matters changes nothing.
    #[must_use = "effects that are not carried out leave workers waiting"]
    pub fn on(&mut self, event: Event) -> Vec<Effect> {
        let (state, effects) = std::mem::take(&mut self.state).on(&self.plan, event);
        self.state = state;
        effects
    }
}
