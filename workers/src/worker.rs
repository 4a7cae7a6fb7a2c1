//! A worker: runs its part of jobs as the coordinator requests, and reports how they do.
//!
//! The actor is a thin shell on a thread of its own. What it knows is in the job and slot tables; what
//! takes time (building tasks, reaching other workers, waiting for threads) happens on the I/O runtime
//! and comes back as a message.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::{ready, wrap_future};
use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, Arbiter, AsyncContext, Context, Handler, Message, ResponseActFuture,
    StreamHandler, System,
};
use tidemill_batch::{BatchWorker, BatchWorkerConfig};
use tidemill_engine::EngineError;
use tidemill_engine::connector::Views;
use tidemill_engine::state::ScratchFolder;
use tidemill_engine::tables::ConnectorTables;
use tidemill_engine::task::DriverCommand;
use tidemill_net::{Address, Connector, Tls};
use tidemill_plans::catalog::ModelWeights;
use tidemill_plans::cluster_secret::ClusterSecret;
use tidemill_plans::device::{DeviceReport, own_devices};
use tidemill_plans::held::StreamsHeld;
use tidemill_plans::ids::{Epoch, RunId, WorkerId};
use tidemill_plans::protocol::{
    CoordinatorLink, Deployment, LinkError, Reply, StopMode, WorkerEvent, WorkerLink, WorkerRequest, WorkerResponse,
};
use tidemill_plans::redaction;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tracing::{error, info};

use crate::deploy::{DeployedJob, Site};
use crate::error::{Result, WorkersError};
use crate::events::{EventQueue, TIMING};
use crate::exchange::Exchange;
use crate::jobs::{Effect, JobTable};
use crate::pools::{ComputePool, IoRuntime, start_arbiter};
use crate::runner::{Failure, Notice, Notices};
use crate::running::JobResources;
use crate::slots::SlotTable;

/// Time between reports of metrics and models.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(200);

/// What a worker is started with.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Compute threads, and so the tasks that compute at the same time.
    pub slots: u32,
    /// The address for data from other workers; port 0 takes a free one. A worker that is alone in its
    /// cluster needs none.
    pub bind: Option<SocketAddr>,
    /// TLS there, and towards other workers.
    pub tls: Option<Tls>,
    /// The folder for state that has no room in memory.
    pub scratch: PathBuf,
    /// What the coordinator and other workers show, and are shown; without it nobody has to show anything.
    pub secret: Option<ClusterSecret>,
    /// Bytes that queries as a whole may hold here, if it runs parts of such.
    pub batch_memory: Option<u64>,
    /// Where what streams hold is added up.
    pub streams: StreamsHeld,
}

/// Why a worker has stopped taking jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// The coordinator asked for it.
    Shutdown,
    /// The coordinator was out of reach for too long.
    CoordinatorLost,
}

/// A worker in this process. Clones are the same worker; it ends, with all its jobs, when the last is
/// dropped.
#[derive(Clone)]
pub struct WorkerHandle {
    shared: Arc<Shared>,
}

struct Shared {
    address: Addr<WorkerActor>,
    data_address: Option<SocketAddr>,
    has_tls: bool,
    stopped: watch::Receiver<Option<StopCause>>,
    /// Dropped with the last handle, which ends the actor.
    _alive: oneshot::Sender<()>,
}

impl WorkerHandle {
    /// Starts a worker that reports to `coordinator`. Must be called inside an actix system.
    pub async fn start(config: WorkerConfig, coordinator: Arc<dyn CoordinatorLink>) -> Result<Self> {
        if System::try_current().is_none() {
            return Err(WorkersError::NoSystem);
        }
        let io = IoRuntime::start()?;
        let (sender, queued) = mpsc::unbounded_channel();
        let notices = Notices(sender);
        let exchange = Exchange::start(
            io.handle().clone(),
            config.bind,
            config.tls.clone(),
            config.secret.clone(),
            Arc::new(notices.clone()),
        );
        let exchange = exchange.await?;
        let batches = batches(&config);
        if let Some(batches) = &batches {
            exchange.serve_pieces(Arc::clone(batches));
        }
        let compute = ComputePool::start(config.slots as usize)?;
        let arbiter = start_arbiter("worker")?;
        let events = EventQueue::start(io.handle(), Arc::clone(&coordinator), TIMING);
        let (stopping, stopped) = watch::channel(None);
        let (alive, dropped) = oneshot::channel();
        let (data_address, has_tls) = (exchange.address(), config.tls.is_some());
        let actor = WorkerActor {
            id: None,
            devices: None,
            slots: SlotTable::new(config.slots as usize),
            jobs: JobTable::default(),
            compute,
            exchange: exchange.clone(),
            events,
            coordinator,
            notices,
            views: Arc::default(),
            scratch: ScratchFolder::new(config.scratch),
            streams: config.streams,
            tearing: watch::Sender::new(0),
            stopping,
            queued: Some(queued),
            dropped: Some(dropped),
            batches,
            asking: None,
            io,
        };
        let address = WorkerActor::start_in_arbiter(&arbiter.handle(), move |_| actor);
        exchange.serve_requests(Arc::new(ActorLink(address.clone())));
        Ok(Self { shared: Arc::new(Shared { address, data_address, has_tls, stopped, _alive: alive }) })
    }

    /// Where other workers reach this one, as `http://host:port` or `https://host:port`; empty if they cannot.
    #[must_use]
    pub fn data_address(&self) -> String {
        self.shared.data_address.map(|address| self.data_url(address.to_string())).unwrap_or_default()
    }

    /// As URL, where others reach this worker's data address.
    pub(crate) fn data_url(&self, authority: String) -> String {
        Address { has_tls: self.shared.has_tls, authority }.to_string()
    }

    /// The socket that other workers' data comes in on, if there is one.
    #[must_use]
    pub fn bound_address(&self) -> Option<SocketAddr> {
        self.shared.data_address
    }

    /// Tells the worker the id that the coordinator of its own process gave it; heartbeats begin.
    pub fn set_id(&self, id: WorkerId) {
        self.register(SetId { id, lease: None });
    }

    /// Tells the worker the id that a coordinator gave it, and how long it may run what it is given without an
    /// answer; heartbeats begin. A deployment may come first, and brings the id along.
    pub fn set_registered(&self, id: WorkerId, lease: Duration) {
        self.register(SetId { id, lease: Some(lease) });
    }

    fn register(&self, registered: SetId) {
        let worker = registered.id;
        if self.shared.address.try_send(registered).is_err() {
            error!(%worker, "the worker has ended before it was registered");
        }
    }

    /// Ready when the worker was told to stop, or had to.
    pub async fn stopped(&self) -> StopCause {
        let mut stopped = self.shared.stopped.clone();
        let cause = stopped.wait_for(Option::is_some).await.ok().and_then(|cause| *cause);
        cause.unwrap_or(StopCause::Shutdown)
    }
}

impl WorkerLink for WorkerHandle {
    fn request(&self, request: WorkerRequest) -> Reply<WorkerResponse> {
        ActorLink(self.shared.address.clone()).request(request)
    }
}

/// The worker's actor as a link.
struct ActorLink(Addr<WorkerActor>);

impl WorkerLink for ActorLink {
    fn request(&self, request: WorkerRequest) -> Reply<WorkerResponse> {
        let answer = self.0.send(Request(request));
        Box::pin(async move {
            answer.await.map_err(|error| LinkError { peer: String::from("the worker"), reason: error.to_string() })
        })
    }
}

struct WorkerActor {
    id: Option<WorkerId>,
    /// What was told last of the devices of this process, if it is not the coordinator's.
    devices: Option<Vec<DeviceReport>>,
    slots: SlotTable,
    jobs: JobTable<JobResources>,
    compute: ComputePool,
    exchange: Exchange,
    events: EventQueue,
    coordinator: Arc<dyn CoordinatorLink>,
    notices: Notices,
    /// What materialized views hold.
    views: Arc<Views>,
    scratch: ScratchFolder,
    streams: StreamsHeld,
    /// How many jobs are being torn down.
    tearing: watch::Sender<usize>,
    stopping: watch::Sender<Option<StopCause>>,
    /// What tasks say; taken when the actor starts.
    queued: Option<mpsc::UnboundedReceiver<Notice>>,
    /// Ready when the last handle is gone; taken when the actor starts.
    dropped: Option<oneshot::Receiver<()>>,
    /// Its part in queries that run as a whole, if it has one.
    batches: Option<Arc<BatchWorker>>,
    /// Asks for work for that, once it is registered.
    asking: Option<AbortHandle>,
    /// Last, because the others end connections on it.
    io: IoRuntime,
}

/// A request of the coordinator.
struct Request(WorkerRequest);

impl Message for Request {
    type Result = WorkerResponse;
}

/// The id that the coordinator gave.
struct SetId {
    id: WorkerId,
    lease: Option<Duration>,
}

impl Message for SetId {
    type Result = ();
}

type Answer = ResponseActFuture<WorkerActor, WorkerResponse>;

impl Actor for WorkerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(queued) = self.queued.take() {
            ctx.add_stream(UnboundedReceiverStream::new(queued));
        }
        if let Some(dropped) = self.dropped.take() {
            ctx.spawn(
                wrap_future(dropped).then(|_, actor: &mut Self, _| {
                    actor.tear_down_all().map(|(), _, ctx: &mut Context<Self>| ctx.stop())
                }),
            );
        }
        ctx.spawn(wrap_future(self.events.lost()).then(|(), actor: &mut Self, _| {
            error!("stopping all jobs: the coordinator cannot be reached");
            actor.tear_down_all().map(|(), actor, _| actor.stop(StopCause::CoordinatorLost))
        }));
        ctx.run_interval(HEARTBEAT_INTERVAL, |actor, _| {
            if !actor.events.has_heartbeat() {
                actor.heartbeat();
            }
        });
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        // The arbiter was started for this actor alone.
        if let Some(arbiter) = Arbiter::try_current() {
            arbiter.stop();
        }
    }
}

impl Handler<SetId> for WorkerActor {
    type Result = ();

    fn handle(&mut self, SetId { id, lease }: SetId, ctx: &mut Self::Context) {
        let identified = self.identify(id, lease);
        if lease.is_some() && identified.is_ok() {
            self.devices = Some(Vec::new());
            self.ask_for_batches(id);
        }
        if let Err(error) = identified {
            // Whoever deployed here first meant another: a worker that was at this address before.
            error!(error = error.chain(), "the worker has to register again");
            ctx.spawn(self.tear_down_all().map(|(), actor, _| actor.stop(StopCause::CoordinatorLost)));
        }
    }
}

impl Handler<Request> for WorkerActor {
    type Result = Answer;

    fn handle(&mut self, Request(request): Request, _: &mut Self::Context) -> Answer {
        match request {
            WorkerRequest::Deploy(worker, deployment) => self.deploy(worker, *deployment),
            WorkerRequest::Start(run) => self.start_job(run),
            WorkerRequest::Barrier(run, barrier) => done(self.command(run, DriverCommand::Barrier(barrier))),
            WorkerRequest::Model { run, reference, weights } => done(self.serve(run, reference, weights)),
            WorkerRequest::Commit(run, epoch) => self.commit(run, epoch),
            // A job that is not here has stopped.
            WorkerRequest::Stop(run, StopMode::Drain) => done(self.command(run, DriverCommand::Stop).or(Ok(()))),
            WorkerRequest::Stop(run, StopMode::Cut) => self.cut(run),
            WorkerRequest::Stop(run, StopMode::Cancel) => {
                let held = self.jobs.cancel(run);
                self.tear_down(run, held)
            }
            WorkerRequest::Release(run) => {
                let held = self.jobs.release(run);
                self.tear_down(run, held)
            }
            WorkerRequest::ForgetViews(job) => {
                self.views.forget(job);
                done(Ok(()))
            }
            WorkerRequest::Shutdown => Box::pin(self.tear_down_all().map(|(), actor: &mut Self, _| {
                actor.stop(StopCause::Shutdown);
                WorkerResponse::Done
            })),
        }
    }
}

impl StreamHandler<Notice> for WorkerActor {
    fn handle(&mut self, notice: Notice, _: &mut Self::Context) {
        for effect in self.jobs.notice(notice) {
            match effect {
                Effect::Heartbeat => self.heartbeat(),
                Effect::Models(run) => self.report_models(run),
                Effect::Report(event) => self.events.push(event),
                Effect::Write(run, task, passed) => {
                    if let Some(held) = self.jobs.resources(run) {
                        held.write(task, passed);
                    }
                }
            }
        }
    }
}

impl WorkerActor {
    /// Notes the worker's id, and begins to give signs of life.
    fn identify(&mut self, worker: WorkerId, lease: Option<Duration>) -> Result<()> {
        match *self.id.get_or_insert(worker) {
            id if id == worker => {
                self.events.begin_signs_of_life(worker, lease);
                Ok(())
            }
            id => Err(WorkersError::OtherWorker { addressed: worker, here: id }),
        }
    }

    /// Begins to ask for parts of queries that run as a whole.
    fn ask_for_batches(&mut self, worker: WorkerId) {
        let Some(batches) = self.batches.clone().filter(|_| self.asking.is_none()) else { return };
        let asking = self.io.handle().spawn(batches.run(worker, Arc::clone(&self.coordinator)));
        self.asking = Some(asking.abort_handle());
    }

    fn deploy(&mut self, worker: WorkerId, deployment: Deployment) -> Answer {
        let run = deployment.run;
        redaction::learn(deployment.secrets.iter().map(String::as_str));
        if let Err(error) = self.identify(worker, None).and_then(|()| self.jobs.begin(run)) {
            return done(Err(error));
        }
        let site = Site {
            worker,
            exchange: self.exchange.clone(),
            coordinator: Arc::clone(&self.coordinator),
            runtime: self.io.handle().clone(),
            views: Arc::clone(&self.views),
            events: self.events.sender(),
            scratch: self.scratch.clone(),
            streams: self.streams.clone(),
        };
        let building = self.io.handle().spawn(site.deploy(deployment));
        Box::pin(wrap_future(building).then(move |built, actor: &mut Self, _| {
            let panicked = |error: tokio::task::JoinError| EngineError::Panicked(error.to_string());
            let built = built.map_err(|error| WorkersError::Engine(panicked(error))).and_then(|built| built);
            actor.deployed(run, built)
        }))
    }

    fn deployed(&mut self, run: RunId, built: Result<DeployedJob>) -> Answer {
        match built {
            Ok(DeployedJob { tasks, resources }) => match self.jobs.deployed(run, &tasks, resources) {
                Ok(()) => {
                    info!(%run, tasks = tasks.len(), "job deployed");
                    done(Ok(()))
                }
                Err(held) => {
                    let gone = self.tear_down(run, Some(held));
                    Box::pin(gone.map(move |_, _: &mut Self, _| respond(Err(WorkersError::Abandoned(run)))))
                }
            },
            Err(error) => {
                self.jobs.release(run);
                done(Err(error))
            }
        }
    }

    fn start_job(&mut self, run: RunId) -> Answer {
        if let Err(error) = self.jobs.start(run) {
            return done(Err(error));
        }
        let exchange = self.exchange.clone();
        let opening = async move { exchange.open(run).await };
        Box::pin(
            wrap_future(opening).map(move |opened, actor: &mut Self, _| respond(opened.and_then(|()| actor.run(run)))),
        )
    }

    fn run(&mut self, run: RunId) -> Result<()> {
        let held = self.jobs.resources(run).ok_or(WorkersError::NotDeployed(run))?;
        held.run(run, &mut self.slots, &self.compute, &self.notices)
    }

    fn command(&mut self, run: RunId, command: DriverCommand) -> Result<()> {
        self.jobs.resources(run).ok_or(WorkersError::NotDeployed(run))?.command(command);
        Ok(())
    }

    /// Has a job's sources of a model give out what its name means from now on.
    fn serve(&mut self, run: RunId, reference: String, weights: Arc<ModelWeights>) -> Result<()> {
        self.jobs.resources(run).ok_or(WorkersError::NotDeployed(run))?.serve(reference, weights);
        Ok(())
    }

    /// Has a job's sinks show what a sealed checkpoint covers. Answered when they have.
    fn commit(&mut self, run: RunId, epoch: Epoch) -> Answer {
        match self.jobs.resources(run) {
            Some(held) => Box::pin(wrap_future(held.commit(epoch)).map(|outcome, _: &mut Self, _| answer(outcome))),
            None => done(Err(WorkersError::NotDeployed(run))),
        }
    }

    /// Lets a job's sinks complete what they have. Answered when they have.
    fn cut(&mut self, run: RunId) -> Answer {
        // A job that is not here has stopped.
        let Some(held) = self.jobs.cut(run) else { return done(Ok(())) };
        Box::pin(wrap_future(held.cut()).map(|outcome, _: &mut Self, _| answer(outcome)))
    }

    /// Drops what a job held. Answered when nothing of it is left.
    fn tear_down(&mut self, run: RunId, held: Option<JobResources>) -> Answer {
        let Some(held) = held else { return done(Ok(())) };
        let exchange = self.exchange.clone();
        let count = Counted::new(&self.tearing);
        let tearing = self.io.handle().spawn(async move {
            let places = held.tear_down(run).await;
            exchange.release(run).await;
            drop(count);
            places
        });
        Box::pin(wrap_future(tearing).map(move |places, actor: &mut Self, _| {
            for slot in places.unwrap_or_default() {
                actor.slots.free(slot);
            }
            WorkerResponse::Done
        }))
    }

    /// Ends all jobs. Ready when nothing is left of them, nor of those that were already being torn down:
    /// a process that ended before could end in the middle of a file.
    fn tear_down_all(&mut self) -> ResponseActFuture<Self, ()> {
        if let Some(asking) = &self.asking {
            asking.abort();
        }
        for run in self.jobs.ids() {
            let held = self.jobs.release(run);
            // The work is done on the I/O runtime; the places that it frees are of no more use.
            drop(self.tear_down(run, held));
        }
        let mut tearing = self.tearing.subscribe();
        Box::pin(wrap_future(async move {
            // An error means that the actor, which counts, is gone.
            let _ = tearing.wait_for(|count| *count == 0).await;
        }))
    }

    /// The worker has ended: the coordinator expects no more of it, nor is there one to expect anything.
    fn stop(&mut self, cause: StopCause) {
        self.events.close();
        self.stopping.send_if_modified(|stopped| {
            let first = stopped.is_none();
            stopped.get_or_insert(cause);
            first
        });
    }

    /// Queues the new models of a job, if there are any.
    fn report_models(&mut self, run: RunId) {
        let models = self.jobs.resources(run).map(|held| held.take_models()).unwrap_or_default();
        let Some(worker) = self.id.filter(|_| !models.versions.is_empty()) else { return };
        self.push_weights(worker, models.newest);
        let models = models.versions.into_iter().map(|model| (run.job, model)).collect();
        self.events.push(WorkerEvent::Heartbeat { worker, metrics: Vec::new(), models });
    }

    /// Queues what the newest versions of models predict with, each by itself: they may be large.
    fn push_weights(&self, worker: WorkerId, newest: BTreeMap<String, ModelWeights>) {
        for weights in newest.into_values() {
            self.events.push(WorkerEvent::Models { worker, models: vec![weights] });
        }
    }

    /// Queues what this process computes with, if that has done something since it was told.
    fn report_devices(&mut self, worker: WorkerId) {
        let Some(told) = &mut self.devices else { return };
        let devices = own_devices();
        if *told != devices {
            told.clone_from(&devices);
            self.events.push(WorkerEvent::Devices { worker, devices });
        }
    }

    /// Queues the metrics and new models of all jobs, if there are any.
    fn heartbeat(&mut self) {
        let Some(worker) = self.id else { return };
        let mut metrics = Vec::new();
        let (mut models, mut newest) = (Vec::new(), Vec::new());
        for (run, held) in self.jobs.all_resources() {
            metrics.extend(held.metrics());
            let published = held.take_models();
            models.extend(published.versions.into_iter().map(|model| (run.job, model)));
            newest.push(published.newest);
        }
        newest.into_iter().for_each(|newest| self.push_weights(worker, newest));
        self.report_devices(worker);
        if !metrics.is_empty() || !models.is_empty() {
            self.events.push(WorkerEvent::Heartbeat { worker, metrics, models });
        }
    }
}

/// A worker's part in queries that run as a whole: it needs an address at which others fetch what it has written.
fn batches(config: &WorkerConfig) -> Option<Arc<BatchWorker>> {
    let memory = config.batch_memory.filter(|_| config.bind.is_some())?;
    Some(Arc::new(BatchWorker::new(BatchWorkerConfig {
        slots: config.slots,
        memory: usize::try_from(memory).unwrap_or(usize::MAX),
        streams: config.streams.clone(),
        scratch: config.scratch.clone(),
        tables: Arc::new(ConnectorTables),
        connector: Connector::new(config.tls.clone()),
        secret: config.secret.clone(),
    })))
}

/// One more in a count, for as long as it lives.
struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// An answer that needs no waiting.
fn done(result: Result<()>) -> Answer {
    Box::pin(ready(respond(result)))
}

fn answer(outcome: Result<(), Failure>) -> WorkerResponse {
    match outcome {
        Ok(()) => WorkerResponse::Done,
        Err(Failure { domain, message, .. }) => WorkerResponse::Failed { domain, message },
    }
}

fn respond(result: Result<()>) -> WorkerResponse {
    match result {
        Ok(()) => WorkerResponse::Done,
        Err(error @ WorkersError::Restore { .. }) => WorkerResponse::Damaged { message: error.chain() },
        Err(error) => WorkerResponse::Failed { domain: error.domain(), message: error.chain() },
    }
}

#[cfg(test)]
mod tests;
