//! The coordinator's actor: carries out what the pure parts decide, and owns nothing they do not.
//!
//! Handlers only decide and return. Calls to workers run in lanes, commits in the metadata task,
//! results in the task of whoever delivers them; all come back as messages.

mod feeds;
mod lane;
mod leaving;
pub(crate) mod messages;
pub(crate) mod observe;
mod restart;
pub(crate) mod savepoint;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, Arbiter, AsyncContext, Context, Handler, MessageResult, ResponseFuture};
use futures::future::join_all;
use tidemill_batch::BatchEngine;
use tidemill_plans::ids::{Epoch, JobId, OperatorId, RunId, WorkerId};
use tidemill_plans::protocol::{Deployment, OperatorMetrics, StopMode, WorkerLink, WorkerRequest};
use tidemill_plans::stage::Stages;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use self::feeds::{Feeds, follow_models};
use self::lane::{LANE_REQUESTS_MAX, Outcome, ask, run_lane};
use self::messages::{
    AddWorker, ForgetViews, Heartbeat, JobEvent, ListWorkers, RequestEnded, ResultQueue, ShutdownWorkers, StopJob,
    Submit, Terminate,
};
use self::restart::Restarts;
use self::savepoint::WantedSavepoint;
use crate::clock::Clock;
use crate::cluster::{Membership, Origin, WorkerInfo};
use crate::error::Result;
use crate::handle::ResultBatches;
use crate::job::checkpoint_log::CheckpointLog;
use crate::job::{Effect, Event, JobFailure, JobMachine, JobPlan, JobStatus, RequestKind};
use crate::limits::JobRoom;
use crate::metadata::MetadataHandle;
use crate::pushed::PushedLogs;
use crate::queries::Queries;
use crate::scheduler::{SlotWait, place};
use crate::serving::ServedModels;
use crate::views::Views;

/// How often silent workers are looked for, at least; and how often in the time that they may be silent.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(500);
const EXPIRY_CHECKS: u32 = 5;

/// Result messages that a session may leave lying before its workers wait.
const RESULT_MESSAGES_MAX: usize = 16;

/// The actor.
pub(crate) struct Coordinator {
    clock: Arc<dyn Clock>,
    members: Membership,
    links: BTreeMap<WorkerId, Arc<dyn WorkerLink>>,
    /// How many workers there are, for those who wait for some.
    member_count: watch::Sender<usize>,
    jobs: BTreeMap<JobId, Job>,
    /// How many jobs there may be.
    room: JobRoom,
    /// The queries that run as a whole, which count as jobs.
    queries: Arc<Queries>,
    /// Whether it is about to end, and takes no more jobs.
    is_leaving: bool,
    /// Where materialized views are, those of jobs that are over too.
    views: Views,
    /// The metadata task and the lanes; aborted when the actor ends.
    tasks: JoinSet<()>,
    /// Tasks that note how jobs have ended.
    ends: JoinSet<()>,
    metadata: MetadataHandle,
    /// What checkpoints need of them is told.
    pushed: Arc<PushedLogs>,
    /// What is told which workers there are.
    batch: Option<Arc<dyn BatchEngine>>,
    /// What names of models mean.
    serving: Arc<ServedModels>,
}

/// A job that some worker may still know of, or that is going to be tried again.
struct Job {
    machine: JobMachine,
    /// The user whose it is.
    owner: Option<String>,
    restarts: Restarts,
    log: CheckpointLog,
    status: watch::Sender<JobStatus>,
    metrics: watch::Sender<Vec<OperatorMetrics>>,
    /// The newest epoch that is complete.
    epoch: watch::Sender<Option<Epoch>>,
    newest_metrics: BTreeMap<(OperatorId, u32), OperatorMetrics>,
    /// Gone when the job has ended, so that the session's receiver ends behind the last rows.
    results: Option<mpsc::Sender<ResultBatches>>,
    lanes: BTreeMap<WorkerId, mpsc::Sender<WorkerRequest>>,
    /// Workers that got a `Deploy` whose `Release` is not answered.
    deployed: BTreeSet<WorkerId>,
    /// The savepoint that is being taken of it.
    savepoint: Option<WantedSavepoint>,
    /// For how many slots it waits, while it does.
    slots: SlotWait,
    /// What its streams have been told of the models that they ask.
    feeds: Feeds,
}

impl Coordinator {
    /// An actor without workers; `tasks` holds the metadata task.
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        members: Membership,
        member_count: watch::Sender<usize>,
        tasks: JoinSet<()>,
        metadata: MetadataHandle,
        pushed: Arc<PushedLogs>,
        room: JobRoom,
    ) -> Self {
        Self {
            clock,
            members,
            links: BTreeMap::new(),
            member_count,
            jobs: BTreeMap::new(),
            room,
            queries: Arc::default(),
            is_leaving: false,
            views: Views::default(),
            tasks,
            ends: JoinSet::new(),
            metadata,
            pushed,
            batch: None,
            serving: Arc::default(),
        }
    }

    /// Has streams ask the models that are served.
    pub(crate) fn serving(self, serving: Arc<ServedModels>) -> Self {
        Self { serving, ..self }
    }

    /// Tells an engine of queries which workers there are, and counts these queries.
    pub(crate) fn telling(self, batch: Option<Arc<dyn BatchEngine>>, queries: Arc<Queries>) -> Self {
        Self { batch, queries, ..self }
    }

    /// The engine's queries do without a worker from now on.
    fn take_from_batches(&self, worker: WorkerId) {
        if let Some(batches) = self.batch.as_ref().and_then(|batch| batch.workers()) {
            batches.lose(worker);
        }
    }

    /// Places the tasks of a deployment.
    fn deployment(&self, mut deployment: Deployment) -> Result<Deployment> {
        let slots: Vec<(WorkerId, u32)> = self.members.available().map(|worker| (worker.id, worker.slots)).collect();
        let stages = Stages::of(&deployment.graph)?;
        let is_there = |id| self.members.get(id).is_some();
        let fixed = self.views.resolve(&mut deployment.graph, &stages, is_there)?;
        deployment.tasks = place(&stages, &slots, &fixed)?;
        let used: BTreeSet<WorkerId> = deployment.tasks.iter().map(|(_, worker)| *worker).collect();
        let workers = self.members.workers().filter(|worker| used.contains(&worker.id));
        deployment.workers = workers.map(|worker| (worker.id, worker.data_address.clone())).collect();
        Ok(deployment)
    }

    fn open_lanes(&mut self, plan: &JobPlan, ctx: &Context<Self>) -> BTreeMap<WorkerId, mpsc::Sender<WorkerRequest>> {
        let mut lanes = BTreeMap::new();
        for worker in plan.workers() {
            let Some(link) = self.links.get(&worker) else { continue };
            let (lane, requests) = mpsc::channel(LANE_REQUESTS_MAX);
            self.tasks.spawn(run_lane(plan.run(), worker, Arc::clone(link), requests, ctx.address()));
            lanes.insert(worker, lane);
        }
        lanes
    }

    /// Brings an event to the run that it belongs to and carries out what follows.
    fn drive(&mut self, run: RunId, event: Event, ctx: &mut Context<Self>) {
        let Some(job) = self.jobs.get_mut(&run.job).filter(|job| job.run() == run) else {
            debug!(%run, ?event, "event of a run that is over");
            return;
        };
        let sealed = match &event {
            Event::Sealed { epoch, result: Ok(()) } => Some(*epoch),
            _ => None,
        };
        for effect in job.machine.on(event) {
            self.carry_out(run, effect, ctx);
        }
        if let Some(epoch) = sealed {
            self.note_sealed(run, epoch, ctx);
        }
        self.tell_versions(run, ctx);
        self.go_on_if_over(run.job, ctx);
    }

    fn carry_out(&mut self, run: RunId, effect: Effect, ctx: &mut Context<Self>) {
        let id = run.job;
        match effect {
            Effect::Send(worker, request) => self.request(run, worker, request, ctx),
            Effect::Publish(status) => self.publish(id, status),
            Effect::After(delay, event) => {
                ctx.run_later(delay, move |actor, ctx| actor.drive(run, event, ctx));
            }
            Effect::EpochCompleted(epoch) => {
                debug!(%run, %epoch, "barrier passed");
                self.views.note_epoch(id, epoch);
                if let Some(job) = self.jobs.get(&id) {
                    job.epoch.send_replace(Some(epoch));
                }
            }
            Effect::CheckpointBegun(epoch) => {
                let now = self.clock.now();
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.log.begin(epoch, now);
                }
            }
            Effect::Seal(manifest) => self.seal(manifest, ctx),
            Effect::SavepointReady(manifest) => self.savepoint_ready(manifest, ctx),
            Effect::GiveUp => self.give_up(run, ctx),
            Effect::EpochAbandoned(epoch, cause) => {
                warn!(%run, %epoch, cause = cause.message, "barrier given up");
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.log.fail(epoch, cause.message);
                }
            }
        }
    }

    fn request(&mut self, run: RunId, worker: WorkerId, request: WorkerRequest, ctx: &mut Context<Self>) {
        let Some(job) = self.jobs.get_mut(&run.job) else { return };
        let kind = RequestKind::of(&request);
        if kind == RequestKind::Deploy {
            job.deployed.insert(worker);
            self.members.begin_job(worker, self.clock.now());
        }
        if job.lanes.get(&worker).is_none_or(|lane| lane.try_send(request).is_err()) {
            let outcome = Outcome::Unreachable(String::from("its queue of requests is closed or full"));
            ctx.notify(RequestEnded { run, worker, kind, outcome });
        }
    }

    fn take_metrics(&mut self, metrics: Vec<OperatorMetrics>) {
        let mut touched = BTreeSet::new();
        for newest in metrics {
            if let Some(job) = self.jobs.get_mut(&newest.job) {
                touched.insert(newest.job);
                job.newest_metrics.insert((newest.operator, newest.subtask), newest);
            }
        }
        for id in touched {
            if let Some(job) = self.jobs.get(&id) {
                job.metrics.send_replace(job.newest_metrics.values().cloned().collect());
            }
        }
    }

    fn lose(&mut self, worker: WorkerId, reason: &str, ctx: &mut Context<Self>) {
        if let Some(info) = self.members.remove(worker) {
            self.mourn(&info, reason, ctx);
        }
    }

    /// Fails the jobs of a worker that has been removed.
    fn mourn(&mut self, lost: &WorkerInfo, reason: &str, ctx: &mut Context<Self>) {
        warn!(worker = %lost.id, address = lost.data_address, reason, "worker lost");
        self.links.remove(&lost.id);
        self.take_from_batches(lost.id);
        self.member_count.send_replace(self.members.len());
        for job in self.jobs.values_mut() {
            // Nobody waits for what it would have answered.
            job.deployed.remove(&lost.id);
        }
        for run in self.runs() {
            self.drive(run, Event::WorkerLost { worker: lost.id, reason: reason.to_owned() }, ctx);
        }
    }

    /// The runs that are going on, or were the last of their jobs.
    fn runs(&self) -> Vec<RunId> {
        self.jobs.values().map(Job::run).collect()
    }

    fn expire(&mut self, ctx: &mut Context<Self>) {
        // Lanes of jobs that are over have ended by themselves.
        while self.tasks.try_join_next().is_some() {}
        while self.ends.try_join_next().is_some() {}
        let reason = format!("no heartbeat for {:?}", self.members.limit());
        for lost in self.members.expire(self.clock.now()) {
            self.mourn(&lost, &reason, ctx);
        }
    }
}

impl Actor for Coordinator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(EXPIRY_INTERVAL.min(self.members.limit() / EXPIRY_CHECKS), Self::expire);
        self.tasks.spawn(follow_models(self.serving.follow(), ctx.address()));
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        // The thread was made for this actor.
        Arbiter::current().stop();
    }
}

impl Handler<AddWorker> for Coordinator {
    type Result = MessageResult<AddWorker>;

    fn handle(&mut self, message: AddWorker, ctx: &mut Context<Self>) -> Self::Result {
        if message.origin == Origin::Remote
            && let Some(before) = self.members.find(&message.data_address)
        {
            self.lose(before, "its process registered again", ctx);
        }
        let AddWorker { id, data_address, slots, link, origin } = message;
        info!(worker = %id, address = data_address, slots, "worker registered");
        if origin == Origin::Remote
            && let Some(batches) = self.batch.as_ref().and_then(|batch| batch.workers())
        {
            batches.join(id, data_address.clone(), slots);
        }
        self.members.register(id, data_address, slots, origin, self.clock.now());
        self.links.insert(id, link);
        self.member_count.send_replace(self.members.len());
        self.offer_slots(ctx);
        MessageResult(())
    }
}

impl Handler<ListWorkers> for Coordinator {
    type Result = MessageResult<ListWorkers>;

    fn handle(&mut self, _: ListWorkers, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.members.workers().cloned().collect())
    }
}

impl Handler<Submit> for Coordinator {
    type Result = MessageResult<Submit>;

    fn handle(&mut self, message: Submit, ctx: &mut Context<Self>) -> Self::Result {
        MessageResult(self.submit(message, ctx))
    }
}

impl Handler<JobEvent> for Coordinator {
    type Result = MessageResult<JobEvent>;

    fn handle(&mut self, JobEvent(run, event): JobEvent, ctx: &mut Context<Self>) -> Self::Result {
        self.drive(run, event, ctx);
        MessageResult(())
    }
}

impl Handler<StopJob> for Coordinator {
    type Result = MessageResult<StopJob>;

    fn handle(&mut self, StopJob(job, mode): StopJob, ctx: &mut Context<Self>) -> Self::Result {
        self.stop_job(job, mode, ctx);
        MessageResult(())
    }
}

impl Handler<ForgetViews> for Coordinator {
    type Result = MessageResult<ForgetViews>;

    fn handle(&mut self, ForgetViews(job): ForgetViews, _: &mut Context<Self>) -> Self::Result {
        for worker in self.views.forget(job) {
            let Some(link) = self.links.get(&worker).cloned() else { continue };
            self.tasks.spawn(async move {
                // A worker that does not listen is lost, and what it holds with it.
                let outcome = ask(worker, link.as_ref(), WorkerRequest::ForgetViews(job)).await;
                debug!(%job, %worker, ?outcome, "views forgotten");
            });
        }
        MessageResult(())
    }
}

impl Handler<Heartbeat> for Coordinator {
    type Result = MessageResult<Heartbeat>;

    fn handle(&mut self, message: Heartbeat, _: &mut Context<Self>) -> Self::Result {
        let known = self.members.heartbeat(message.worker, self.clock.now());
        self.take_metrics(message.metrics);
        MessageResult(known)
    }
}

impl Handler<ResultQueue> for Coordinator {
    type Result = MessageResult<ResultQueue>;

    fn handle(&mut self, ResultQueue(job): ResultQueue, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.jobs.get(&job).and_then(|job| job.results.clone()))
    }
}

impl Handler<RequestEnded> for Coordinator {
    type Result = MessageResult<RequestEnded>;

    fn handle(&mut self, message: RequestEnded, ctx: &mut Context<Self>) -> Self::Result {
        let RequestEnded { run, worker, kind, outcome } = message;
        let job = self.jobs.get_mut(&run.job).filter(|job| job.run() == run);
        if let Some(job) = job {
            if kind == RequestKind::Release && job.deployed.remove(&worker) {
                self.members.end_job(worker);
            }
            if kind == RequestKind::Model {
                job.feeds.note_answer();
            }
            if let Outcome::Damaged(_) = outcome {
                job.note_damaged();
            }
        }
        self.let_go_if_idle(worker);
        let result = match outcome {
            Outcome::Done => Ok(()),
            Outcome::Failed(cause) | Outcome::Damaged(cause) => Err(cause),
            Outcome::Unreachable(reason) => {
                // First the loss, which names the worker, then the answer, which is then no news.
                self.lose(worker, &reason, ctx);
                Err(JobFailure::external(format!("{worker} cannot be reached: {reason}")))
            }
        };
        self.drive(run, Event::WorkerAnswered { worker, kind, result }, ctx);
        MessageResult(())
    }
}

impl Handler<ShutdownWorkers> for Coordinator {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: ShutdownWorkers, ctx: &mut Context<Self>) -> Self::Result {
        for run in self.runs() {
            // Workers are about to end, so nobody waits for their tasks.
            self.interrupt_job(run.job, StopMode::Cancel, ctx);
            self.drive(run, Event::StopTimedOut(StopMode::Cancel), ctx);
        }
        let links = std::mem::take(&mut self.links);
        let requests = links.into_iter().map(|(worker, link)| async move {
            match ask(worker, link.as_ref(), WorkerRequest::Shutdown).await {
                Outcome::Done => {}
                outcome => warn!(%worker, ?outcome, "worker did not confirm its shutdown"),
            }
        });
        Box::pin(async move {
            join_all(requests).await;
        })
    }
}

impl Handler<Terminate> for Coordinator {
    type Result = MessageResult<Terminate>;

    fn handle(&mut self, _: Terminate, ctx: &mut Context<Self>) -> Self::Result {
        self.tasks.abort_all();
        ctx.stop();
        MessageResult(())
    }
}

#[cfg(test)]
mod tests;
