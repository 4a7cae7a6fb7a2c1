//! Jobs from their submission over all their attempts: what the actor does when one begins and when one is over.
//!
//! An attempt that has failed is cleared away on every worker before the next one begins, so that no two of them
//! have the same files open. Then the newest sealed checkpoint is looked for on the storage, not in memory: it may
//! have been sealed by a coordinator that believes to own the job, too. From then on it is this attempt's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, Handler, MessageResult, ResponseFuture};
use tidemill_plans::ErrorDomain;
use tidemill_plans::checkpoint::Manifest;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::{Epoch, JobId, RunId};
use tidemill_plans::protocol::{Deployment, StopMode};
use tidemill_plans::rescale::rescaled;
use tidemill_plans::settings::Settings;
use tidemill_plans::storage::Storage;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use super::feeds::Feeds;
use super::messages::{BeginQuery, EndsNoted, JobChannels, JobEvent, Redeploy, Rescale, Submit};
use super::{Coordinator, Job, RESULT_MESSAGES_MAX};
use crate::checkpoints;
use crate::error::{CoordinatorError, Result};
use crate::job::checkpoint_log::CheckpointLog;
use crate::job::state::State;
use crate::job::{Attempts, Event, JobFailure, JobMachine, JobPlan, JobStatus, Over, Recovery};
use crate::metadata::MetadataHandle;
use crate::queries::QueryPlace;
use crate::scheduler::{Offer, SlotWait};

/// How long the storage may take to seal a checkpoint, or to find one.
const STORAGE_LIMIT: Duration = Duration::from_secs(60);

/// How long a coordinator that ends waits until it is noted how its jobs have ended.
const NOTING_LIMIT: Duration = Duration::from_secs(10);

/// What a job's next attempt needs.
pub(super) struct Restarts {
    /// The graph and settings as they were submitted.
    graph: DataflowGraph,
    settings: Settings,
    /// Where the checkpoints are, if the job has any; without them it is not tried again.
    place: Option<Place>,
    pub(super) attempts: Attempts,
    /// Whether the graph differs from the one that the metadata have.
    is_changed: bool,
    /// The graph that the job is to have once a checkpoint is sealed that has begun since that was decided.
    rescale: Option<(DataflowGraph, Epoch)>,
}

#[derive(Clone)]
struct Place {
    url: String,
    storage: Storage,
}

impl Restarts {
    fn new(graph: DataflowGraph, settings: Settings, url: Option<String>) -> Result<Self> {
        let place = url.map(|url| Ok::<_, tidemill_plans::PlanError>(Place { storage: Storage::open(&url)?, url }));
        let place = place.transpose()?;
        let attempts = Attempts::new(place.as_ref().map(|_| Recovery::new(&settings)));
        Ok(Self { graph, settings, place, attempts, is_changed: false, rescale: None })
    }

    /// Whether the job has checkpoints.
    pub(super) fn has_checkpoints(&self) -> bool {
        self.place.is_some()
    }

    /// Where its checkpoints are, if it has any.
    pub(super) fn storage(&self) -> Option<Storage> {
        self.place.as_ref().map(|place| place.storage.clone())
    }

    /// The job is to be kept for another coordinator. Whether there is an attempt that has to be told.
    pub(super) fn keep(&mut self) -> bool {
        self.rescale = None;
        self.attempts.keep()
    }
}

impl Job {
    pub(super) fn run(&self) -> RunId {
        self.machine.plan().run()
    }

    /// The checkpoint that this attempt was to go on from is damaged.
    pub(super) fn note_damaged(&mut self) {
        let checkpoint = self.machine.plan().deployment().restore.clone();
        checkpoint.into_iter().for_each(|checkpoint| self.restarts.attempts.note_damaged(checkpoint));
    }
}

impl Coordinator {
    /// Begins a job, or has it wait for a worker if it has checkpoints: then nobody waits for its rows.
    pub(super) fn submit(&mut self, message: Submit, ctx: &mut Context<Self>) -> Result<JobChannels> {
        let Submit { run, owner, graph, settings, checkpoints, restore } = message;
        if self.is_leaving {
            return Err(CoordinatorError::ShutDown);
        }
        if self.jobs.contains_key(&run.job) {
            return Err(CoordinatorError::AlreadyRuns { job: run.job });
        }
        // Those that an earlier coordinator has left were there before.
        if run == RunId::first(run.job) {
            self.check_room(owner.as_deref())?;
        }
        let restarts = Restarts::new(graph, settings, checkpoints)?;
        let plan = self.plan_or_wait(run, &restarts, restore)?;
        let recovers = plan.has_checkpoints();
        let (status_sender, status) = watch::channel(JobStatus::Scheduling);
        let (metrics_sender, metrics) = watch::channel(Vec::new());
        let (epoch_sender, epoch) = watch::channel(None);
        let (result_sender, results) = mpsc::channel(RESULT_MESSAGES_MAX);
        let job = Job {
            lanes: self.open_lanes(&plan, ctx),
            slots: slots_wanted(&plan),
            feeds: Feeds::of(plan.deployment()),
            machine: JobMachine::new(plan),
            owner,
            restarts,
            log: CheckpointLog::default(),
            status: status_sender,
            metrics: metrics_sender,
            epoch: epoch_sender,
            newest_metrics: BTreeMap::new(),
            results: Some(result_sender),
            deployed: BTreeSet::new(),
            savepoint: None,
        };
        self.jobs.insert(run.job, job);
        self.drive(run, Event::Submitted, ctx);
        Ok(JobChannels { status, metrics, epoch, results, recovers })
    }

    /// An error if there is no room for a job or a query of a user beside those that run.
    fn check_room(&self, user: Option<&str>) -> Result<()> {
        let queries = self.queries.owners();
        let jobs = self.jobs.values().filter(|job| !job.status.borrow().is_terminal());
        let owners = jobs.map(|job| job.owner.as_deref());
        self.room.check(user, owners.chain(queries.iter().map(Option::as_deref)))
    }

    /// Takes a query in that is to run as a whole.
    fn begin_query(&self, BeginQuery { id, owner }: BeginQuery) -> Result<QueryPlace> {
        if self.is_leaving {
            return Err(CoordinatorError::ShutDown);
        }
        self.check_room(owner.as_deref())?;
        Ok(self.queries.take(id, owner))
    }

    /// Places an attempt at a job, or has it wait if there is no worker and it can.
    fn plan_or_wait(&mut self, run: RunId, restarts: &Restarts, restore: Option<Manifest>) -> Result<JobPlan> {
        let deployment = Deployment {
            run,
            graph: restarts.graph.clone(),
            tasks: Vec::new(),
            workers: Vec::new(),
            settings: restarts.settings.clone(),
            checkpoints: restarts.place.as_ref().map(|place| place.url.clone()),
            restore,
            // They are put in on the way.
            secrets: Vec::new(),
        };
        match self.deployment(deployment.clone()) {
            Ok(deployment) => {
                self.views.note_job(&deployment)?;
                Ok(JobPlan::new(deployment))
            }
            Err(CoordinatorError::NoWorkers) if deployment.checkpoints.is_some() => {
                // Whoever reads its views is told that there is no epoch yet.
                self.views.note_job(&deployment)?;
                Ok(JobPlan::unplaced(deployment))
            }
            Err(error) => Err(error),
        }
    }

    /// Begins the jobs that have waited for the slots that there are now.
    pub(super) fn offer_slots(&mut self, ctx: &mut Context<Self>) {
        let (slots, now) = (self.members.slots(), self.clock.now());
        let mut begun = Vec::new();
        for (id, job) in self.jobs.iter_mut().filter(|(_, job)| job.machine.is_waiting()) {
            match job.slots.offer(slots, now) {
                Offer::Begin => begun.push(*id),
                Offer::AskAgain(delay) => {
                    ctx.run_later(delay, Self::offer_slots);
                }
                Offer::Wait => {}
            }
        }
        for id in begun {
            let Some(job) = self.jobs.remove(&id) else { continue };
            let Deployment { run, restore, .. } = job.machine.plan().deployment().clone();
            self.begin_attempt(job, run, restore, ctx);
        }
    }

    /// Tells whoever watches a job how it is. One that has failed and is going to be tried again has not ended.
    pub(super) fn publish(&mut self, id: JobId, status: JobStatus) {
        let now = self.clock.now();
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let run = job.run();
        let status = job.restarts.attempts.settle(run, status, now);
        if let JobStatus::Restarting { message, .. } | JobStatus::Failed { message, .. } = &status {
            job.log.fail_unfinished(message);
        }
        let is_over = status.is_terminal() || matches!(status, JobStatus::Restarting { .. });
        if let Some(wanted) = job.savepoint.take_if(|_| is_over) {
            let reason = format!("the job is {}", status.name());
            wanted.refuse(id, reason);
        }
        match &status {
            // Whoever submitted the job is told; that its query or its data are wrong concerns nobody else.
            JobStatus::Failed { domain: ErrorDomain::User, message } => info!(job = %id, message, "job failed"),
            JobStatus::Failed { domain, message } => warn!(job = %id, ?domain, message, "job failed"),
            JobStatus::Restarting { message, attempt } => warn!(job = %id, attempt, message, "job restarts"),
            status => info!(job = %id, ?status, "job"),
        }
        self.views.note_status(id, &status);
        if status.is_terminal() {
            assert!(!job.status.borrow().is_terminal(), "{id} ends once");
            job.results = None;
        }
        if let Some(Place { storage, .. }) = job.restarts.place.clone().filter(|_| status.is_terminal()) {
            self.ends.spawn(note_end(self.metadata.clone(), storage, id, status.clone()));
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            job.status.send_replace(status);
        }
    }

    /// Once no worker knows of an attempt that has ended, goes on to the next or forgets the job.
    pub(super) fn go_on_if_over(&mut self, id: JobId, ctx: &mut Context<Self>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if !job.machine.has_ended() || !job.deployed.is_empty() {
            return;
        }
        match job.restarts.attempts.when_over() {
            Over::Forget => {
                self.jobs.remove(&id);
            }
            Over::WriteSavepoint => self.write_savepoint(id, ctx),
            Over::TryAgain(delay) => {
                let run = job.run();
                ctx.run_later(delay, move |actor, ctx| actor.look_for_checkpoint(run, ctx));
            }
            Over::Wait => {}
        }
    }

    /// Looks for the checkpoint that the attempt after `run` goes on from.
    fn look_for_checkpoint(&mut self, run: RunId, ctx: &mut Context<Self>) {
        let Some(job) = self.jobs.get(&run.job).filter(|job| job.run() == run) else { return };
        let Some(Place { storage, .. }) = job.restarts.place.clone() else { return };
        let known = job.machine.plan().deployment().restore.as_ref().map_or(0, |manifest| manifest.number);
        let (id, damaged) = (run.job, job.restarts.attempts.damaged().to_vec());
        let changed = job.restarts.is_changed.then(|| job.restarts.graph.clone());
        let (coordinator, metadata) = (ctx.address(), self.metadata.clone());
        self.tasks.spawn(async move {
            let claimed = async {
                if let Some(graph) = changed {
                    metadata.change_graph(id, graph).await?;
                }
                let record = metadata.next_attempt(id).await?.ok_or(CoordinatorError::NoSuchJob { job: id })?;
                let claimed = timeout(STORAGE_LIMIT, checkpoints::claim(&storage, record.run, known, &damaged)).await;
                claimed.unwrap_or(Err(CoordinatorError::Lost { part: "checkpoint storage" }))
            };
            let claimed = claimed.await;
            // Without an actor there is no job.
            let _ = coordinator.send(Redeploy { job: id, claimed }).await;
        });
    }

    fn redeploy(&mut self, id: JobId, claimed: Result<Manifest>, ctx: &mut Context<Self>) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        job.restarts.attempts.begin();
        job.restarts.is_changed = false;
        match claimed {
            Ok(claimed) => self.begin_attempt(job, claimed.run, Some(claimed), ctx),
            Err(error) => self.fail(job, &error, ctx),
        }
    }

    /// Begins an attempt at a job, or has it wait.
    fn begin_attempt(&mut self, mut job: Job, run: RunId, restore: Option<Manifest>, ctx: &mut Context<Self>) {
        match self.plan_or_wait(run, &job.restarts, restore) {
            Ok(plan) => {
                let from = plan.restored_epoch().unwrap_or_default();
                info!(%run, %from, tasks = plan.task_count(), "attempt begins");
                job.lanes = self.open_lanes(&plan, ctx);
                job.slots = slots_wanted(&plan);
                job.feeds = Feeds::of(plan.deployment());
                job.machine = JobMachine::new(plan);
                job.newest_metrics.clear();
                self.jobs.insert(run.job, job);
                self.drive(run, Event::Submitted, ctx);
            }
            Err(error) => self.fail(job, &error, ctx),
        }
    }

    /// Fails an attempt that could not begin.
    fn fail(&mut self, job: Job, error: &CoordinatorError, ctx: &mut Context<Self>) {
        let id = job.run().job;
        self.jobs.insert(id, job);
        self.publish(id, JobStatus::Failed { domain: error.domain(), message: error.chain() });
        self.go_on_if_over(id, ctx);
    }

    /// A checkpoint is sealed. A job that waits for one to change its parallelism ends this attempt, unless it is
    /// over but for the last commit.
    pub(super) fn note_sealed(&mut self, run: RunId, epoch: Epoch, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        let Some(job) = self.jobs.get_mut(&run.job) else { return };
        job.log.seal(epoch, now);
        let is_over = !matches!(job.machine.state(), State::Running(_));
        let Some((graph, _)) = job.restarts.rescale.take_if(|(_, after)| epoch > *after && !is_over) else { return };
        job.restarts.graph = graph;
        job.restarts.is_changed = true;
        job.restarts.attempts.begin_anew();
        // What comes behind the checkpoint is dropped: the next attempt reads it again.
        self.drive(run, Event::StopRequested(StopMode::Cancel), ctx);
    }

    /// Has a job take a checkpoint and go on from it with another parallelism.
    fn rescale(&mut self, id: JobId, parallelism: u32, ctx: &mut Context<Self>) -> Result<DataflowGraph> {
        let job = self.jobs.get_mut(&id).ok_or(CoordinatorError::NotRunning { job: id })?;
        if job.restarts.place.is_none() {
            return Err(CoordinatorError::NoCheckpoints { job: id, what: "another parallelism" });
        }
        if *job.status.borrow() != JobStatus::Running {
            return Err(CoordinatorError::NotRunning { job: id });
        }
        let graph = rescaled(&job.restarts.graph, parallelism)?;
        let begun = job.log.iter().map(|info| info.epoch).max().unwrap_or_default();
        job.restarts.rescale = Some((graph.clone(), begun));
        let run = job.run();
        self.drive(run, Event::CheckpointRequested, ctx);
        Ok(graph)
    }

    /// Somebody wants a job to end, which may be between two attempts.
    pub(super) fn stop_job(&mut self, id: JobId, mode: StopMode, ctx: &mut Context<Self>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.restarts.rescale = None;
        // An attempt that ends to begin anew is told that it is the last.
        let is_told = job.restarts.attempts.stop();
        self.end_job(id, is_told, Event::StopRequested(mode), JobStatus::Stopped, ctx);
    }

    /// Has a job end by an event if there is an attempt that has to be told, or that has not ended; else it has this
    /// status now.
    pub(super) fn end_job(
        &mut self,
        id: JobId,
        is_told: bool,
        event: Event,
        status: JobStatus,
        ctx: &mut Context<Self>,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if is_told || !job.machine.has_ended() {
            let run = job.run();
            return self.drive(run, event, ctx);
        }
        self.publish(id, status);
        self.go_on_if_over(id, ctx);
    }

    /// Has a job forgotten, so that nobody goes on with it.
    pub(super) fn give_up(&mut self, run: RunId, ctx: &Context<Self>) {
        let (coordinator, metadata) = (ctx.address(), self.metadata.clone());
        self.tasks.spawn(async move {
            let forgotten = metadata.forget_job(run.job).await;
            let result = forgotten.map_err(|error| JobFailure { domain: error.domain(), message: error.chain() });
            // Without an actor there is no job.
            let _ = coordinator.send(JobEvent(run, Event::GivenUp(result))).await;
        });
    }

    /// Has a manifest written.
    pub(super) fn seal(&mut self, manifest: Manifest, ctx: &Context<Self>) {
        let run = manifest.run;
        let Some(job) = self.jobs.get_mut(&run.job) else { return };
        job.log.note_bytes(manifest.epoch, manifest.bytes(), manifest.total_bytes());
        let Some(Place { storage, .. }) = job.restarts.place.clone() else { return };
        let (coordinator, pushed) = (ctx.address(), Arc::clone(&self.pushed));
        self.tasks.spawn(async move {
            let (epoch, bytes, total_bytes) = (manifest.epoch, manifest.bytes(), manifest.total_bytes());
            let sealed = timeout(STORAGE_LIMIT, checkpoints::seal(&storage, &manifest)).await;
            let failed = |text: String| Event::Sealed { epoch, result: Err(JobFailure::external(text)) };
            let event = match sealed {
                Ok(Ok(())) => Event::Sealed { epoch, result: Ok(()) },
                Ok(Err(error @ CoordinatorError::Sealed { .. })) => {
                    Event::Superseded(JobFailure::external(error.chain()))
                }
                Ok(Err(error)) => failed(error.chain()),
                Err(_) => failed(format!("no answer of the storage within {STORAGE_LIMIT:?}")),
            };
            let is_sealed = matches!(event, Event::Sealed { result: Ok(()), .. });
            info!(%run, %epoch, bytes, total_bytes, is_sealed, "checkpoint");
            // Without an actor there is no job.
            let _ = coordinator.send(JobEvent(run, event)).await;
            if is_sealed {
                match checkpoints::collect_garbage(&storage, &manifest).await {
                    Ok(oldest) => pushed.keep_for(run.job, oldest).await,
                    Err(error) => warn!(%run, error = error.chain(), "checkpoints that nobody needs are left"),
                }
            }
        });
    }
}

impl Handler<Rescale> for Coordinator {
    type Result = MessageResult<Rescale>;

    fn handle(&mut self, Rescale { job, parallelism }: Rescale, ctx: &mut Context<Self>) -> Self::Result {
        MessageResult(self.rescale(job, parallelism, ctx))
    }
}

impl Handler<Redeploy> for Coordinator {
    type Result = MessageResult<Redeploy>;

    fn handle(&mut self, message: Redeploy, ctx: &mut Context<Self>) -> Self::Result {
        let Redeploy { job, claimed } = message;
        if self.jobs.get(&job).is_some_and(|job| job.restarts.attempts.is_waiting()) {
            self.redeploy(job, claimed, ctx);
        }
        MessageResult(())
    }
}

/// What a job waits for while there is no worker: a slot for each instance of its operators.
fn slots_wanted(plan: &JobPlan) -> SlotWait {
    let instances = plan.deployment().graph.nodes.iter().map(|node| node.parallelism);
    SlotWait::new(instances.max().unwrap_or(1))
}

/// Notes the end of a job that has checkpoints. No coordinator goes on by itself with one that has ended; one that has
/// left off is as it was.
async fn note_end(metadata: MetadataHandle, storage: Storage, job: JobId, status: JobStatus) {
    let noted = async {
        match status {
            JobStatus::Suspended => Ok(()),
            JobStatus::Failed { message, .. } => metadata.fail_job(job, message).await,
            JobStatus::Finished => {
                metadata.forget_job(job).await?;
                checkpoints::clear(&storage, job).await
            }
            _ => metadata.forget_job(job).await,
        }
    };
    if let Err(error) = noted.await {
        warn!(%job, error = error.chain(), "the end of a job is not noted");
    }
}

impl Handler<EndsNoted> for Coordinator {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: EndsNoted, _: &mut Context<Self>) -> Self::Result {
        let mut ends = std::mem::take(&mut self.ends);
        Box::pin(async move {
            if timeout(NOTING_LIMIT, async { while ends.join_next().await.is_some() {} }).await.is_err() {
                warn!("how some jobs have ended is not noted: the storage does not answer");
            }
        })
    }
}

impl Handler<BeginQuery> for Coordinator {
    type Result = MessageResult<BeginQuery>;

    fn handle(&mut self, message: BeginQuery, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.begin_query(message))
    }
}
