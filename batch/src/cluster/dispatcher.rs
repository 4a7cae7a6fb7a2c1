//! Who does what: the one task that speaks with the scheduler. Workers' requests, new queries, and the ends of both reach it
//! in turn, so a request counts once however often it is sent, and nothing is half done when somebody stops waiting.
//!
//! A worker that has nothing to do is answered when there is something, or after a while.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::serde::protobuf::job_status::Status as JobState;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpc;
use ballista_core::serde::protobuf::task_status::Status as TaskState;
use ballista_core::serde::protobuf::{
    ExecutorRegistration, ExecutorStoppedParams, JobStatus, PollWorkParams, TaskDefinition, TaskStatus,
};
use ballista_core::serde::scheduler::{ExecutorOperatingSystemSpecification, ExecutorSpecification, PartitionLocation};
use ballista_core::{BALLISTA_PROTOCOL_VERSION, JobId};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::create_scheduler;
use ballista_scheduler::scheduler_server::{JobIdGenerator, SchedulerServer};
use ballista_scheduler::state::execution_graph::ExecutionGraphBox;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use prost::Message;
use tidemill_plans::ErrorDomain;
use tidemill_plans::batch::work::{QueryId, WorkAnswer, WorkFailure, WorkQuery, WorkRequest};
use tidemill_plans::ids::WorkerId;
use tidemill_plans::settings::Settings;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::Request;
use tracing::{debug, error, warn};

use super::account::Account;
use super::codec::Codec;

/// What waits for the dispatcher.
const COMMANDS_MAX: usize = 1024;

/// Changes of a query's state that nobody has looked at yet: a few a stage.
const STATUSES_MAX: usize = 4096;

/// How long a worker waits for something to do. Half of what it waits for an answer.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// How often it is looked whether there is something to do, should nobody have said so.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The scheduler must not notice by itself that a worker is gone: it would repeat its tasks, and read both.
const NEVER_SECONDS: u64 = 10 * 365 * 24 * 3600;

/// How long the scheduler remembers a query that is over.
const REMEMBERED_SECONDS: u64 = 60;

type Scheduler = SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

/// The workers that can run queries, and the way to the dispatcher.
pub(crate) struct Workers {
    shared: Arc<Shared>,
    commands: OnceLock<mpsc::Sender<Command>>,
    task: Mutex<JoinSet<()>>,
}

/// What the dispatcher shares with those who tell it something.
#[derive(Debug, Default)]
struct Shared {
    members: Mutex<BTreeMap<WorkerId, Member>>,
    /// Something has changed.
    wake: Notify,
}

/// A worker.
#[derive(Debug, Clone)]
struct Member {
    /// Where it is reached, as URL.
    address: String,
    slots: u32,
}

/// A plan that is to run.
pub(crate) struct Submission {
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    pub(crate) context: Arc<SessionContext>,
    pub(crate) settings: Settings,
    pub(crate) account: Arc<Account>,
}

/// A plan that runs. Dropping it ends it, and what workers have of it goes.
pub(crate) struct Attempt {
    pub(crate) id: QueryId,
    statuses: mpsc::Receiver<JobStatus>,
    failed: oneshot::Receiver<WorkFailure>,
    alive: Option<Arc<()>>,
    shared: Arc<Shared>,
}

enum Command {
    Work { worker: WorkerId, request: WorkRequest, answer: oneshot::Sender<WorkAnswer> },
    Submit { submission: Submission, attempt: oneshot::Sender<Result<Attempt, String>> },
    Graph { id: QueryId, graph: oneshot::Sender<Option<ExecutionGraphBox>> },
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("members", &self.shared.members()).finish_non_exhaustive()
    }
}

impl Shared {
    fn members(&self) -> MutexGuard<'_, BTreeMap<WorkerId, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Workers {
    pub(crate) fn new() -> Self {
        Self { shared: Arc::default(), commands: OnceLock::new(), task: Mutex::default() }
    }

    /// A worker is there.
    pub(crate) fn join(&self, worker: WorkerId, address: String, slots: u32) {
        self.shared.members().insert(worker, Member { address, slots });
    }

    /// A worker is gone.
    pub(crate) fn lose(&self, worker: WorkerId) {
        self.shared.members().remove(&worker);
        self.shared.wake.notify_one();
    }

    /// How many tasks workers can run at a time; 0 if there are none.
    pub(crate) fn slots(&self) -> u32 {
        self.shared.members().values().map(|member| member.slots.max(1)).sum()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.shared.members().len()
    }

    /// What a worker is to do; nothing if it is not one of these.
    pub(crate) async fn work(&self, worker: WorkerId, request: WorkRequest, runtime: &Handle) -> Option<WorkAnswer> {
        let (answer, answered) = oneshot::channel();
        self.tell(Command::Work { worker, request, answer }, runtime).await?;
        answered.await.ok()
    }

    /// Begins to run a plan.
    pub(crate) async fn submit(&self, submission: Submission, runtime: &Handle) -> Result<Attempt, String> {
        let ended = || String::from("the scheduler of queries has ended; restart the coordinator");
        let (attempt, attempted) = oneshot::channel();
        self.tell(Command::Submit { submission, attempt }, runtime).await.ok_or_else(ended)?;
        attempted.await.map_err(|_| ended())?
    }

    /// The stages of an attempt, and what they have done.
    pub(crate) async fn graph(&self, id: QueryId, runtime: &Handle) -> Option<ExecutionGraphBox> {
        let (graph, found) = oneshot::channel();
        self.tell(Command::Graph { id, graph }, runtime).await?;
        found.await.ok()?
    }

    async fn tell(&self, command: Command, runtime: &Handle) -> Option<()> {
        let commands = self.commands.get_or_init(|| {
            let (commands, received) = mpsc::channel(COMMANDS_MAX);
            let shared = Arc::clone(&self.shared);
            let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
            task.spawn_on(dispatch(shared, received), runtime);
            commands
        });
        commands.send(command).await.ok()
    }
}

impl Attempt {
    /// Waits until the plan's rows are on the disks of workers.
    pub(crate) async fn finished(&mut self) -> Result<Vec<PartitionLocation>, WorkFailure> {
        let internal = |message: String| WorkFailure::Query { domain: ErrorDomain::Internal, message };
        loop {
            let status = tokio::select! {
                // It says more than that the query has failed.
                biased;
                failure = &mut self.failed => {
                    return Err(failure.unwrap_or_else(|_| internal(String::from("the scheduler has ended"))));
                }
                status = self.statuses.recv() => status,
            };
            match status.map(|status| status.status) {
                Some(Some(JobState::Successful(done))) => {
                    let locations = done.partition_location.into_iter().map(TryInto::<PartitionLocation>::try_into);
                    return locations.collect::<Result<_, _>>().map_err(|error| internal(error.to_string()));
                }
                Some(Some(JobState::Failed(failed))) => return Err(internal(failed.error)),
                Some(_) => {}
                None => return Err(internal(String::from("the scheduler does not know of the query any more"))),
            }
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.alive = None;
        self.shared.wake.notify_one();
    }
}

/// The ids of attempts, in turn.
struct Ids(AtomicU64);

#[async_trait]
impl JobIdGenerator for Ids {
    async fn next_id(&self) -> String {
        format!("q-{}", self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Dispatches until nobody can say anything any more.
async fn dispatch(shared: Arc<Shared>, mut commands: mpsc::Receiver<Command>) {
    let mut dispatcher = match Dispatcher::start(shared).await {
        Ok(dispatcher) => dispatcher,
        Err(failure) => return error!(%failure, "queries cannot be run by workers: no scheduler"),
    };
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let shared = Arc::clone(&dispatcher.shared);
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => {
                    // Nobody is to get tasks of a query that is over.
                    dispatcher.end_queries().await;
                    dispatcher.take(command).await;
                }
                None => return,
            },
            () = shared.wake.notified() => {}
            _ = look.tick() => {}
        }
        dispatcher.look().await;
    }
}

struct Dispatcher {
    shared: Arc<Shared>,
    scheduler: Scheduler,
    cluster: BallistaCluster,
    queries: BTreeMap<QueryId, Query>,
    asking: BTreeMap<WorkerId, Asking>,
    /// Grows when queries begin or end.
    version: u64,
}

/// An attempt that goes on.
struct Query {
    settings: Settings,
    alive: Weak<()>,
    failed: Option<oneshot::Sender<WorkFailure>>,
    /// Those that have got tasks of it, and so have pieces of it.
    workers: BTreeSet<WorkerId>,
    account: Arc<Account>,
}

/// What is known of a worker's requests.
#[derive(Default)]
struct Asking {
    /// The number of the newest.
    number: u64,
    /// What it was answered.
    answered: Option<WorkAnswer>,
    /// Who waits for the answer.
    waiting: Option<Waiting>,
    /// The version of the queries that it knows.
    told: u64,
}

struct Waiting {
    free: u32,
    since: Instant,
    answer: oneshot::Sender<WorkAnswer>,
}

impl Dispatcher {
    async fn start(shared: Arc<Shared>) -> Result<Self, ballista_core::error::BallistaError> {
        let woken = Arc::clone(&shared);
        let config = Arc::new(SchedulerConfig {
            scheduling_policy: TaskSchedulingPolicy::PullStaged,
            executor_timeout_seconds: NEVER_SECONDS,
            no_executors_grace_period_seconds: NEVER_SECONDS,
            expire_dead_executor_interval_seconds: REMEMBERED_SECONDS,
            finished_job_data_clean_up_interval_seconds: REMEMBERED_SECONDS,
            finished_job_state_clean_up_interval_seconds: REMEMBERED_SECONDS,
            task_max_failures: 1,
            stage_max_failures: 1,
            override_config_producer: Some(Arc::new(super::config)),
            override_physical_codec: Some(Arc::new(Codec::writing())),
            job_id_generator: Some(Arc::new(Ids(AtomicU64::new(1)))),
            on_work_available: Some(Arc::new(move |_| woken.wake.notify_one())),
            ..SchedulerConfig::default()
        });
        let cluster = BallistaCluster::new_from_config(&config).await?;
        let scheduler = create_scheduler(cluster.clone(), config).await?;
        let (queries, asking) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { shared, scheduler, cluster, queries, asking, version: 1 })
    }

    async fn take(&mut self, command: Command) {
        match command {
            Command::Work { worker, request, answer } => self.take_request(worker, request, answer).await,
            Command::Submit { submission, attempt } => {
                // Whoever is gone drops it, which ends it.
                let _ = attempt.send(self.submit(submission).await);
            }
            Command::Graph { id, graph } => {
                let found = self.cluster.job_state().get_execution_graph(&JobId::from(id)).await;
                let _ = graph.send(found.ok().flatten());
            }
        }
    }

    async fn submit(&mut self, submission: Submission) -> Result<Attempt, String> {
        let Submission { plan, context, settings, account } = submission;
        let (subscriber, statuses) = mpsc::channel(STATUSES_MAX);
        let submitted = self.scheduler.submit_physical_plan("query", context, plan, Some(subscriber)).await;
        let id = submitted.map_err(|error| error.to_string())?.into_inner();
        let (failed, failure) = oneshot::channel();
        let alive = Arc::new(());
        let query =
            Query { settings, alive: Arc::downgrade(&alive), failed: Some(failed), workers: BTreeSet::new(), account };
        self.queries.insert(id.clone(), query);
        self.version += 1;
        Ok(Attempt { id, statuses, failed: failure, alive: Some(alive), shared: Arc::clone(&self.shared) })
    }

    async fn take_request(&mut self, worker: WorkerId, request: WorkRequest, answer: oneshot::Sender<WorkAnswer>) {
        let Some(member) = self.shared.members().get(&worker).cloned() else { return };
        let asking = self.asking.entry(worker).or_default();
        let waiting = Waiting { free: request.free, since: Instant::now(), answer };
        if request.number <= asking.number {
            // What it says has been taken. If it is not answered yet, it is by this way.
            match asking.answered.clone().filter(|_| request.number == asking.number) {
                Some(answered) => drop(waiting.answer.send(answered)),
                None if request.number == asking.number => asking.waiting = Some(waiting),
                None => debug!(%worker, number = request.number, "an old request"),
            }
            return;
        }
        *asking = Asking { number: request.number, answered: None, waiting: Some(waiting), told: asking.told };
        for (id, failure) in request.failures {
            self.fail(&id, failure);
        }
        for (id, counts) in request.counts {
            if let Some(query) = self.queries.get(&id) {
                query.account.note_read(worker, counts);
            }
        }
        let statuses = request.statuses.iter().map(|status| TaskStatus::decode(status.as_slice()));
        let statuses = match statuses.collect::<Result<Vec<_>, _>>() {
            Ok(statuses) => statuses,
            Err(failure) => return error!(%worker, %failure, "a worker's tasks cannot be understood"),
        };
        self.note_ended(&statuses);
        let tasks = self.tasks_for(worker, &member, statuses, request.free).await;
        if !tasks.is_empty() || request.is_busy {
            self.answer(worker, tasks);
        }
    }

    /// Counts the tasks that have ended well.
    fn note_ended(&self, statuses: &[TaskStatus]) {
        for status in statuses.iter().filter(|status| matches!(status.status, Some(TaskState::Successful(_)))) {
            if let Some(query) = self.queries.get(&status.job_id) {
                query.account.end_task(status.stage_id);
            }
        }
    }

    /// Tells the scheduler what has become of a worker's tasks, and takes new ones for it.
    async fn tasks_for(
        &mut self,
        worker: WorkerId,
        member: &Member,
        statuses: Vec<TaskStatus>,
        free: u32,
    ) -> Vec<TaskDefinition> {
        let poll = PollWorkParams {
            metadata: Some(registration(worker, member)),
            num_free_vcores: free,
            task_status: statuses,
        };
        match self.scheduler.poll_work(Request::new(poll)).await {
            Ok(work) => {
                let mut tasks = work.into_inner().tasks;
                // The scheduler takes its time to cancel a query, and nobody is to get tasks of one that is over.
                tasks.retain(|task| match self.queries.get_mut(&task.job_id) {
                    Some(query) => {
                        query.workers.insert(worker);
                        true
                    }
                    None => false,
                });
                tasks
            }
            Err(status) => {
                // What tasks have done is lost with it: nobody may wait for them.
                error!(%worker, %status, "the scheduler of queries does not work");
                let ids: Vec<QueryId> = self.queries.keys().cloned().collect();
                for id in ids {
                    let message = format!("the scheduler of queries has failed: {status}");
                    self.fail(&id, WorkFailure::Query { domain: ErrorDomain::Internal, message });
                }
                Vec::new()
            }
        }
    }

    fn answer(&mut self, worker: WorkerId, tasks: Vec<TaskDefinition>) {
        let query = |(id, query): (&QueryId, &Query)| WorkQuery { id: id.clone(), settings: query.settings.clone() };
        let queries = self.queries.iter().map(query).collect();
        let tasks = tasks.iter().map(Message::encode_to_vec).collect();
        let Some(asking) = self.asking.get_mut(&worker) else { return };
        let Some(waiting) = asking.waiting.take() else { return };
        let answer = WorkAnswer { tasks, queries };
        asking.told = self.version;
        asking.answered = Some(answer.clone());
        // Whoever does not wait any more asks again under the same number.
        let _ = waiting.answer.send(answer);
    }

    fn fail(&mut self, id: &QueryId, failure: WorkFailure) {
        if let Some(failed) = self.queries.get_mut(id).and_then(|query| query.failed.take()) {
            let _ = failed.send(failure);
        }
    }

    /// Sees who is gone, what has ended, and whether there is something for those who wait.
    async fn look(&mut self) {
        self.end_queries().await;
        self.lose_workers().await;
        let waiting = self.asking.iter().filter_map(|(worker, asking)| {
            let waiting = asking.waiting.as_ref().filter(|waiting| !waiting.answer.is_closed())?;
            Some((*worker, waiting.free, waiting.since.elapsed() > WAIT_MAX || asking.told != self.version))
        });
        for (worker, free, is_enough) in waiting.collect::<Vec<_>>() {
            let member = self.shared.members().get(&worker).cloned();
            let tasks = match member.filter(|_| !self.queries.is_empty()) {
                Some(member) => self.tasks_for(worker, &member, Vec::new(), free).await,
                None => Vec::new(),
            };
            if is_enough || !tasks.is_empty() {
                self.answer(worker, tasks);
            }
        }
    }

    async fn end_queries(&mut self) {
        let ended: Vec<QueryId> = self
            .queries
            .iter()
            .filter(|(_, query)| query.alive.strong_count() == 0)
            .map(|(id, _)| id.clone())
            .collect();
        for id in ended {
            self.queries.remove(&id);
            self.version += 1;
            self.cancel(id).await;
        }
    }

    async fn lose_workers(&mut self) {
        let members: BTreeSet<WorkerId> = self.shared.members().keys().copied().collect();
        let lost: Vec<WorkerId> = self.asking.keys().filter(|worker| !members.contains(worker)).copied().collect();
        for worker in lost {
            self.asking.remove(&worker);
            let had = self.queries.iter().filter(|(_, query)| query.workers.contains(&worker));
            for id in had.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
                self.fail(&id, WorkFailure::Lost(format!("{worker} is gone")));
                // Before the scheduler hears of the worker: nothing of the attempt is to be repeated.
                self.cancel(id).await;
            }
            let stopped = ExecutorStoppedParams { executor_id: worker.to_string(), reason: String::from("it is gone") };
            if let Err(status) = self.scheduler.executor_stopped(Request::new(stopped)).await {
                warn!(%worker, %status, "the scheduler keeps a worker that is gone");
            }
        }
    }

    async fn cancel(&self, id: QueryId) {
        if let Err(failure) = self.scheduler.cancel_job(JobId::from(id.clone())).await {
            warn!(query = id, %failure, "a query is not cancelled");
        }
    }
}

fn registration(worker: WorkerId, member: &Member) -> ExecutorRegistration {
    ExecutorRegistration {
        id: worker.to_string(),
        // It comes back with the places of pieces, and nobody else reads it.
        host: Some(member.address.clone()),
        port: 0,
        grpc_port: 0,
        specification: Some(ExecutorSpecification::default().with_vcores(member.slots.max(1)).into()),
        os_info: Some(ExecutorOperatingSystemSpecification::default().into()),
        ballista_protocol_version: BALLISTA_PROTOCOL_VERSION,
    }
}

#[cfg(test)]
mod tests;
