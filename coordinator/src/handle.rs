//! The coordinator as others hold it: sessions submit jobs, workers deliver events.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, Handler, Message, System};
use arrow::array::RecordBatch;
use futures::future::join_all;
use tidemill_batch::BatchEngine;
use tidemill_net::Connector;
use tidemill_plans::ErrorDomain;
use tidemill_plans::batch::progress::BatchProgress;
use tidemill_plans::batch::work::{WorkFailure, WorkRequest};
use tidemill_plans::batch::{BatchQuery, Destination, Wanted};
use tidemill_plans::catalog::{CatalogEntry, ModelVersion, ObjectKind};
use tidemill_plans::checkpoint::Manifest;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::{Epoch, JobId, OperatorId, RunId, WorkerId};
use tidemill_plans::ipc;
use tidemill_plans::model_reference::ModelReference;
use tidemill_plans::protocol::{
    CoordinatorLink, EventResponse, LinkError, OperatorMetrics, Reply, StopMode, WorkerEvent, WorkerLink,
};
use tidemill_plans::savepoint::Migration;
use tidemill_plans::settings::Settings;
use tidemill_plans::storage::Storage;
use tidemill_sql::{ExportCommand, JobStatement, ParsedStatement, Position, ResultColumns, SqlError};
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

use crate::access::{Access, AccessConfig, SecretLink, Who};
use crate::actor::Coordinator;
use crate::actor::messages::{
    AddWorker, AddressesOf, BeginQuery, CountViewInstances, EndsNoted, ForgetViews, Heartbeat, InterruptJob,
    JobChannels, JobEvent, KeepJobs, LeaveWorker, ListCheckpoints, ListJobs, ListWorkers, NoteAlignment, Observe,
    Rescale, ResultQueue, ShutdownWorkers, StopJob, Submit, TakeSavepoint, Terminate,
};
use crate::actor::observe::makes;
use crate::actor::savepoint::ANSWER_LIMIT;
use crate::batch;
use crate::checkpoints::{self, CheckpointPlace, can_be_restored};
use crate::clock::{Clock, SystemClock};
use crate::cluster::{FlightWorkerLink, HEARTBEAT_LIMIT, Membership, Origin, WorkerInfo};
use crate::compile::{Compiled, Whole, compile_whole, completed};
use crate::devices::Devices;
use crate::error::{CoordinatorError, Result};
use crate::inserts::Inserts;
use crate::job::checkpoint_log::{CheckpointInfo, CheckpointLog};
use crate::job::record::JobRecord;
use crate::job::{CANCEL_LIMIT, Event, JobFailure, JobStatus, SUSPEND_LIMIT};
use crate::limits::{JobRoom, Limits};
use crate::meta::JournalStore;
use crate::metadata::MetadataHandle;
use crate::model_files;
use crate::pushed::PushedLogs;
use crate::queries::Queries;
use crate::savepoints::{self, Beginning, Target};
use crate::serving::ServedModels;
use crate::tables::TableFolders;

/// How long jobs may take to leave off: for a last checkpoint, and to be told that it was the last.
const LEAVE_LIMIT: Duration = SUSPEND_LIMIT.saturating_add(CANCEL_LIMIT);

/// How long somebody who wants to know where a job runs waits until it does.
const PLACE_WAIT: Duration = Duration::from_secs(10);

/// How long rows wait for room in a session's queue until their worker is told that it takes longer.
const ROOM_WAIT: Duration = Duration::from_secs(20);

/// How a coordinator is set up.
#[derive(Debug, Clone)]
pub struct CoordinatorConfig {
    /// The folder of the metadata; without one it is gone with the process.
    pub data_dir: Option<PathBuf>,
    /// What tells workers that are silent from workers that are not.
    pub clock: Arc<dyn Clock>,
    /// How long a worker may be silent. Its lease is as long.
    pub heartbeat_limit: Duration,
    /// How workers in other processes are reached.
    pub connector: Connector,
    /// How much it takes on.
    pub limits: Limits,
    /// How users are told apart, if there are any.
    pub access: AccessConfig,
    /// What runs queries of tables that end as a whole; without it, they are streams.
    pub batch: Option<Arc<dyn BatchEngine>>,
    /// Where tables are that last as long as the process; without it, those have to say where they are.
    pub scratch: Option<PathBuf>,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            data_dir: None,
            clock: SystemClock::shared(),
            heartbeat_limit: HEARTBEAT_LIMIT,
            connector: Connector::default(),
            limits: Limits::default(),
            access: AccessConfig::default(),
            batch: None,
            scratch: None,
        }
    }
}

/// The way to a running coordinator.
#[derive(Clone)]
pub struct CoordinatorHandle {
    actor: Addr<Coordinator>,
    metadata: MetadataHandle,
    member_count: watch::Receiver<usize>,
    checkpoints: CheckpointPlace,
    pushed: Arc<PushedLogs>,
    serving: Arc<ServedModels>,
    devices: Arc<Devices>,
    heartbeat_limit: Duration,
    connector: Connector,
    limits: Limits,
    access: Arc<Access>,
    batch: Option<Arc<dyn BatchEngine>>,
    inserts: Arc<Inserts>,
    /// Those that it runs.
    queries: Arc<Queries>,
    tables: Arc<TableFolders>,
    /// Of scripts, whose objects are not kept.
    script_tables: Arc<TableFolders>,
}

impl CoordinatorHandle {
    /// Starts a coordinator on a thread of its own, so that no query holds its heartbeats up. Must be
    /// called within a running actix system; returns when the metadata have been read.
    pub fn start(config: CoordinatorConfig) -> Result<Self> {
        System::try_current().ok_or(CoordinatorError::NoSystem)?;
        let arbiter = Arbiter::new();
        let (opened, wait) = std::sync::mpsc::sync_channel(1);
        arbiter.spawn(async move {
            // Whoever called waits below, so the send fails only if that thread died.
            drop(opened.send(Self::open(config).await));
        });
        let started = wait.recv().unwrap_or(Err(CoordinatorError::Lost { part: "thread" }));
        if started.is_err() {
            arbiter.stop();
        }
        started
    }

    async fn open(config: CoordinatorConfig) -> Result<Self> {
        let store = match &config.data_dir {
            Some(folder) => JournalStore::in_folder(folder).await?,
            None => JournalStore::in_memory().await?,
        };
        let (metadata, metadata_task) = MetadataHandle::new(Box::new(store));
        let mut tasks = JoinSet::new();
        tasks.spawn(metadata_task);
        let access =
            Access::open(config.access, config.data_dir.as_deref(), metadata.clone(), Arc::clone(&config.clock));
        let access = Arc::new(access.await?);
        let pushed_folder = config.data_dir.as_ref().map(|folder| folder.join("pushed"));
        let pushed = PushedLogs::new(pushed_folder, metadata.clone(), Arc::clone(&config.clock));
        let serving = served_models(config.data_dir.as_deref(), &metadata).await?;
        tasks.spawn(Arc::clone(&serving).keep());
        let place = CheckpointPlace {
            default: config.data_dir.as_ref().map(|folder| folder.join("checkpoints")),
            cluster: metadata.cluster().await?,
        };
        let script_tables = Arc::new(TableFolders::scratch(config.scratch.as_deref()));
        let tables = config.data_dir.as_ref().map(|folder| Arc::new(TableFolders::kept(folder.join("tables"))));
        let tables = tables.unwrap_or_else(|| Arc::clone(&script_tables));
        let (count, member_count) = watch::channel(0);
        let members = Membership::new(config.heartbeat_limit);
        let inserts = Arc::new(Inserts::new(Arc::clone(&config.clock)));
        let CoordinatorConfig { clock, heartbeat_limit, connector, limits, batch, .. } = config;
        let room = JobRoom { jobs_max: limits.jobs_max, access: Arc::clone(&access) };
        let actor = Coordinator::new(clock, members, count, tasks, metadata.clone(), Arc::clone(&pushed), room);
        let queries: Arc<Queries> = Arc::default();
        let actor = actor.telling(batch.clone(), Arc::clone(&queries)).serving(Arc::clone(&serving)).start();
        Ok(Self {
            actor,
            metadata,
            member_count,
            checkpoints: place,
            pushed,
            serving,
            devices: Arc::default(),
            heartbeat_limit,
            connector,
            limits,
            access,
            batch,
            inserts,
            queries,
            tables,
            script_tables,
        })
    }

    /// How much it takes on.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// What numbers INSERTs.
    pub(crate) fn inserts(&self) -> &Inserts {
        &self.inserts
    }

    /// The users, and what they may do.
    #[must_use]
    pub fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// Takes in a worker of this process.
    pub async fn add_worker(&self, data_address: String, slots: u32, link: Arc<dyn WorkerLink>) -> Result<WorkerId> {
        let id = self.metadata.next_worker().await?;
        let link = Arc::new(SecretLink::new(Arc::clone(&self.access), link));
        self.ask(AddWorker { id, data_address, slots, link, origin: Origin::Embedded }).await?;
        Ok(id)
    }

    /// The name of the cluster, which its workers come back to.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        &self.checkpoints.cluster
    }

    /// An error if another coordinator has taken over.
    pub async fn check_leads(&self) -> Result<()> {
        self.metadata.check_leads().await
    }

    /// The registered workers.
    pub async fn workers(&self) -> Result<Vec<WorkerInfo>> {
        self.ask(ListWorkers).await
    }

    /// What the nodes of the cluster compute with, as SHOW DEVICES has it.
    pub(crate) async fn devices(&self) -> Result<RecordBatch> {
        let workers: Vec<WorkerId> = self.workers().await?.iter().map(|worker| worker.id).collect();
        Ok(self.devices.rows(&workers)?)
    }

    /// Waits until there are at least `n` workers.
    pub async fn wait_for_workers(&self, n: usize, limit: Duration) -> Result<()> {
        let mut count = self.member_count.clone();
        match timeout(limit, count.wait_for(|count| *count >= n)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(CoordinatorError::ShutDown),
            Err(_) => {
                let found = *self.member_count.borrow();
                Err(CoordinatorError::WorkersMissing { wanted: n, found, timeout: limit })
            }
        }
    }

    /// Compiles a script; `settings` are those before its first statement.
    pub async fn compile(&self, script: String, settings: Settings) -> Result<Compiled> {
        let models = self.models().await?;
        let (batch, tables, access) = (self.batch.clone(), Arc::clone(&self.script_tables), Arc::clone(&self.access));
        planned(move || {
            let whole = batch.as_deref().map(|engine| Whole { engine, tables: &tables, access: Some(&access) });
            compile_whole(&script, settings, models, whole)
        })
        .await
    }

    /// Whether there is what runs queries as a whole.
    pub(crate) fn runs_batches(&self) -> bool {
        self.batch.is_some()
    }

    /// Where tables are to which nobody gives a place.
    pub(crate) fn tables(&self) -> &Arc<TableFolders> {
        &self.tables
    }

    /// Statements with what they leave to others: the columns of their files, and the places of new tables.
    pub(crate) async fn completed(&self, statements: Vec<ParsedStatement>) -> Result<Vec<ParsedStatement>> {
        let leaves_none = |one: &ParsedStatement| {
            one.wants_columns_of().is_none() && one.wants_place_for().is_none() && one.wants_model().is_none()
        };
        if statements.iter().all(leaves_none) {
            return Ok(statements);
        }
        let (batch, tables, access) = (self.batch.clone(), Arc::clone(&self.tables), Arc::clone(&self.access));
        let look = move |statement| {
            let whole = batch.as_deref().map(|engine| Whole { engine, tables: &tables, access: Some(&access) });
            completed(statement, whole)
        };
        planned(move || statements.into_iter().map(look).collect()).await
    }

    /// Writes a version of a model to a file.
    pub(crate) async fn export_model(&self, command: ExportCommand) -> Result<()> {
        let reference = ModelReference::parse(&command.model);
        let reference = reference.map_err(|message| CoordinatorError::Statement { message })?;
        let served = self.serving.version(&reference)?;
        planned(move || {
            model_files::write(&command.path, command.format.as_deref(), &served)
                .map_err(|told| SqlError::of_files(Position::UNKNOWN, told))
        })
        .await
    }

    /// Runs a query as a whole, with no worker, for a user. What is wrong with it is a status.
    pub async fn run_batch(
        &self,
        statement: &JobStatement,
        query: &BatchQuery,
        owner: Option<String>,
    ) -> Result<BatchJob> {
        let Some(engine) = &self.batch else { return Err(CoordinatorError::Lost { part: "batch engine" }) };
        let settings = statement.settings();
        let query_memory = self.limits.memory_of_query(settings.query_memory);
        let (graph, filled) = (batch::graph(query)?, self.with_secrets(query)?);
        let id = self.metadata.next_job().await?;
        // Nobody waits for a plan.
        let place = match query.wanted {
            Wanted::Plan => None,
            Wanted::Rows | Wanted::Analysis => Some(self.ask(BeginQuery { id, owner }).await??),
        };
        let run = engine.run(filled, &Settings { query_memory, ..settings.clone() })?;
        let result = statement.batch_columns(query, batch::result_of(&graph));
        let is_query = query.destination == Destination::Asker;
        let makes = statement.new_table().map_or_else(|| batch::makes(query), |table| vec![table.to_owned()]);
        let begun = batch::Begun { run, graph: graph.clone(), makes, is_query, place };
        let job = batch::follow(id, begun, Arc::clone(&self.access));
        Ok(BatchJob { job, graph, result })
    }

    /// A query with what its secrets stand for: it runs in this process.
    fn with_secrets(&self, query: &BatchQuery) -> Result<BatchQuery> {
        let filled = query.clone().with_options(|options| self.access.fill_options(options, "a table of the query"));
        filled.map_err(|message| CoordinatorError::Statement { message })
    }

    /// Runs a graph. The error tells that it could not be placed; what goes wrong later is a status.
    pub async fn submit(&self, graph: DataflowGraph, settings: Settings) -> Result<JobHandle> {
        self.submit_for(graph, settings, None, None).await
    }

    /// Runs a graph for a user, which may work for objects of the catalog. Those that are created with it are recorded
    /// with the job, in one commit, and taken back with it if it cannot be started.
    pub(crate) async fn submit_for(
        &self,
        mut graph: DataflowGraph,
        settings: Settings,
        owner: Option<String>,
        objects: Option<JobObjects>,
    ) -> Result<JobHandle> {
        self.pushed.resolve(&mut graph).await?;
        let query_memory = self.limits.query_memory(&graph, settings.query_memory);
        let settings = Settings { query_memory, ..settings };
        let run = RunId::first(self.metadata.next_job().await?);
        let checkpoints = self.checkpoints.of(&settings).filter(|_| can_be_restored(&graph));
        if checkpoints.is_none() && !settings.from_savepoint.is_empty() {
            return Err(CoordinatorError::NoCheckpoints { job: run.job, what: "beginning from a savepoint" });
        }
        let (mut restore, mut record) = (None, None);
        let (names, created) = objects.map_or((None, Vec::new()), |JobObjects { all, created }| (Some(all), created));
        if let Some(checkpoints) = checkpoints.clone() {
            let storage = Storage::open(&checkpoints)?;
            let mut beginning = Manifest::beginning(run);
            if !settings.from_savepoint.is_empty() {
                let found = Beginning::find(&graph, &settings).await?;
                graph = found.graph.clone();
                beginning = found.take_up(&storage, run).await?;
            }
            // Before anybody can hear of the job, and go on with it.
            restore = Some(checkpoints::begin(&storage, beginning).await?);
            let (graph, settings, owner) = (graph.clone(), settings.clone(), owner.clone());
            record = Some(JobRecord { run, graph, settings, checkpoints, objects: names, owner, failure: None });
        }
        let new: Vec<String> = created.iter().map(|entry| entry.name.clone()).collect();
        let is_recorded = record.is_some() || !created.is_empty();
        if is_recorded {
            self.metadata.create(record, created, owner.clone()).await?;
            self.access.reload().await?;
        }
        let submit = Submit { run, owner, graph, settings, checkpoints: checkpoints.clone(), restore };
        let started = self.start_job(submit).await;
        if started.is_err() && is_recorded {
            self.metadata.take_back(run.job, new).await?;
            self.access.reload().await?;
            if let Some(checkpoints) = checkpoints {
                checkpoints::clear(&Storage::open(&checkpoints)?, run.job).await?;
            }
        }
        started
    }

    async fn start_job(&self, submit: Submit) -> Result<JobHandle> {
        let id = submit.run.job;
        let JobChannels { status, metrics, epoch, results, recovers } = self.ask(submit).await??;
        let control = Control::Job(self.actor.clone());
        Ok(JobHandle { id, status, metrics, progress: None, epoch, results, recovers, control })
    }

    /// The jobs that have not ended, those of which workers still hold something, and those that have failed and could
    /// be tried again; and the queries that run as a whole.
    pub async fn jobs(&self) -> Result<Vec<JobInfo>> {
        let mut jobs = self.ask(ListJobs).await?;
        jobs.extend(self.queries.jobs());
        for LeftJob { id, makes, failure, restarts, .. } in self.left_jobs().await? {
            let Some(message) = failure.filter(|_| jobs.iter().all(|job| job.id != id)) else { continue };
            jobs.push(JobInfo {
                id,
                status: JobStatus::Failed { domain: ErrorDomain::External, message },
                restarts,
                makes,
                tasks: 0,
                has_checkpoints: true,
                newest_checkpoint: None,
                is_query: false,
                progress: None,
                owner: None,
            });
        }
        jobs.sort_by_key(|job| job.id);
        Ok(jobs)
    }

    /// The newest job that makes an object of this name and has not ended; without one, the newest that has failed.
    pub async fn job_of(&self, object: &str) -> Result<JobId> {
        let mut jobs = self.jobs().await?;
        jobs.retain(|job| job.makes.iter().any(|made| made == object));
        let found = jobs.iter().max_by_key(|job| (!job.status.is_terminal(), job.id));
        found.map(|job| job.id).ok_or_else(|| CoordinatorError::UnknownObject { name: object.to_owned() })
    }

    /// How many instances hold each materialized view, by its job and operator.
    pub(crate) async fn view_instances(&self) -> Result<Vec<(JobId, OperatorId, u32)>> {
        self.ask(CountViewInstances).await
    }

    /// Whether clients could fetch from all workers: those of this process have no address.
    pub(crate) async fn can_hand_out(&self) -> Result<bool> {
        Ok(self.workers().await?.iter().all(|worker| !worker.data_address.is_empty()))
    }

    /// Where the instances of an operator of a job are, once it runs: the addresses of their workers.
    pub(crate) async fn addresses_of(&self, job: &JobHandle, operator: OperatorId) -> Result<Vec<String>> {
        let mut status = job.status.clone();
        let runs = status.wait_for(|status| *status == JobStatus::Running || status.is_terminal());
        if !matches!(timeout(PLACE_WAIT, runs).await, Ok(Ok(_))) {
            return Err(CoordinatorError::NotRunning { job: job.id });
        }
        self.ask(AddressesOf(job.id, operator)).await?
    }

    /// Everything that is known of the jobs, for metrics.
    pub async fn observe(&self) -> Result<Vec<ObservedJob>> {
        let mut observed = self.ask(Observe).await?;
        observed.extend(self.queries.observe());
        Ok(observed)
    }

    /// The newest checkpoints of a job, oldest first; `begun` is how long ago each began.
    pub async fn checkpoints(&self, job: JobId) -> Result<Vec<CheckpointInfo>> {
        if self.queries.have(job) {
            return Ok(Vec::new());
        }
        self.ask(ListCheckpoints(job)).await?
    }

    /// Ends a job: what it has read is written. A query as a whole has no part of its rows that would be worth it: it is
    /// cancelled.
    pub async fn stop(&self, job: JobId, mode: StopMode) -> Result<()> {
        if self.queries.stop(job) {
            return Ok(());
        }
        self.ask(StopJob(job, mode)).await
    }

    /// Gives a job another parallelism: it takes a checkpoint and goes on from there. Returns its new graph.
    pub async fn rescale(&self, job: JobId, parallelism: u32) -> Result<DataflowGraph> {
        self.check_streams(job, "another parallelism")?;
        self.ask(Rescale { job, parallelism }).await?
    }

    /// Writes a savepoint of a job to a folder or URL, or if none is given below the job's checkpoints; the job may
    /// end with it. Returns where it is.
    pub async fn savepoint(&self, job: JobId, url: Option<String>, stops: bool) -> Result<String> {
        self.check_streams(job, "a savepoint")?;
        let url = match url {
            Some(url) => url,
            None => {
                let record = self.metadata.job(job).await?;
                let no_checkpoints = CoordinatorError::NoCheckpoints { job, what: "a savepoint" };
                Target::below(&record.ok_or(no_checkpoints)?.checkpoints, job).await?
            }
        };
        let target = Target::at(url.clone()).await?;
        let written = self.ask(TakeSavepoint { job, target, stops }).await??;
        match timeout(ANSWER_LIMIT, written).await {
            Ok(Ok(written)) => written.map(|()| url),
            _ => Err(CoordinatorError::ShutDown),
        }
    }

    /// Whether a job is a query as a whole that is somebody's.
    pub(crate) fn owns_query(&self, job: JobId, who: &Who) -> bool {
        self.access.is_any_of(self.queries.owner(job).as_deref(), who)
    }

    /// An error if a job is a query as a whole, which has no checkpoints.
    fn check_streams(&self, job: JobId, what: &'static str) -> Result<()> {
        if self.queries.have(job) { Err(CoordinatorError::NoCheckpoints { job, what }) } else { Ok(()) }
    }

    /// What a graph would keep of the savepoint that its settings name.
    pub async fn migration(&self, graph: &DataflowGraph, settings: &Settings) -> Result<Migration> {
        let mut graph = graph.clone();
        self.pushed.resolve(&mut graph).await?;
        savepoints::migration(&settings.from_savepoint, &graph).await
    }

    /// The logs of what clients push.
    pub(crate) fn pushed(&self) -> &Arc<PushedLogs> {
        &self.pushed
    }

    /// The models that clients are answered with.
    pub(crate) fn serving(&self) -> &Arc<ServedModels> {
        &self.serving
    }

    /// The jobs that have checkpoints and have not ended, and those that have failed.
    pub async fn left_jobs(&self) -> Result<Vec<LeftJob>> {
        let records = self.metadata.jobs().await?;
        let left = |JobRecord { run, graph, objects, failure, .. }| LeftJob {
            id: run.job,
            makes: makes(&graph),
            graph,
            objects,
            failure,
            restarts: run.attempt,
        };
        Ok(records.into_iter().map(left).collect())
    }

    /// Goes on with a job that an earlier coordinator has left, from its newest checkpoint.
    pub async fn resume(&self, job: JobId) -> Result<JobHandle> {
        // Before the next attempt is claimed, which would end the one that runs.
        if self.ask(ListJobs).await?.iter().any(|running| running.id == job) {
            return Err(CoordinatorError::AlreadyRuns { job });
        }
        let JobRecord { run, mut graph, settings, checkpoints, owner, .. } =
            self.metadata.next_attempt(job).await?.ok_or(CoordinatorError::NoSuchJob { job })?;
        // The folder may be another one by now.
        self.pushed.resolve(&mut graph).await?;
        let storage = Storage::open(&checkpoints)?;
        let restore = Some(checkpoints::claim(&storage, run, 0, &[]).await?);
        self.start_job(Submit { run, owner, graph, settings, checkpoints: Some(checkpoints), restore }).await
    }

    /// Forgets a job that an earlier coordinator has left, and its checkpoints.
    pub(crate) async fn forget(&self, job: JobId) -> Result<()> {
        let Some(JobRecord { checkpoints, .. }) = self.metadata.job(job).await? else { return Ok(()) };
        self.metadata.forget_job(job).await?;
        checkpoints::clear(&Storage::open(&checkpoints)?, job).await
    }

    /// Lets go of what a job's materialized views hold, when the job has ended.
    pub async fn forget_views(&self, job: JobId) -> Result<()> {
        self.ask(ForgetViews(job)).await
    }

    /// Records a created object and its owner, instead of one with the same name.
    pub async fn record_object(&self, entry: CatalogEntry, owner: Option<String>) -> Result<()> {
        self.metadata.create(None, vec![entry], owner).await?;
        self.access.reload().await
    }

    /// Removes an object; says whether there was one. Its jobs do not work for it any more, and nobody owns it.
    pub async fn remove_object(&self, name: &str) -> Result<bool> {
        let was_there = self.metadata.remove_object(name.to_owned()).await?;
        self.access.reload().await?;
        Ok(was_there)
    }

    /// The objects in the order in which they were created.
    pub async fn objects(&self) -> Result<Vec<CatalogEntry>> {
        self.metadata.objects().await
    }

    /// Forgets all versions of a model that is gone, whose jobs have ended.
    pub(crate) async fn forget_model(&self, model: &str) -> Result<()> {
        self.serving.remove(model);
        self.metadata.forget_versions(model.to_owned()).await
    }

    /// The newest version of each model, by name.
    pub async fn models(&self) -> Result<Vec<ModelVersion>> {
        self.metadata.models().await
    }

    /// The versions of a model's newest run, latest first.
    pub async fn model_versions(&self, model: &str) -> Result<Vec<ModelVersion>> {
        self.metadata.versions(model.to_owned()).await
    }

    /// The versions of all runs of a model, by number.
    pub(crate) async fn versions_by_number(&self, model: &str) -> Result<Vec<ModelVersion>> {
        self.metadata.versions_by_number(model.to_owned()).await
    }

    /// One version of a model's newest run.
    pub async fn model_version(&self, model: &str, version: i64) -> Result<Option<ModelVersion>> {
        self.metadata.version(model.to_owned(), version).await
    }

    /// Ends the coordinator and neither its jobs, which another one goes on with, nor its workers, which wait for that.
    /// Each job takes a last checkpoint, if it does in time.
    pub async fn leave(&self) -> Result<()> {
        let statuses = self.ask(KeepJobs).await?;
        let ends = statuses.into_iter().map(|mut status| async move {
            let ended = timeout(LEAVE_LIMIT, async { status.wait_for(JobStatus::is_terminal).await.is_ok() }).await;
            if ended != Ok(true) {
                warn!("a job has not left off in time; it goes on from an earlier checkpoint");
            }
        });
        join_all(ends).await;
        self.ask(EndsNoted).await?;
        if let Err(error) = self.serving.write().await {
            warn!(error = error.chain(), "what is known of models is not kept");
        }
        self.metadata.close().await?;
        self.ask(Terminate).await
    }

    /// Ends all jobs, all workers, and the coordinator. Shutting down twice is one shutdown.
    pub async fn shutdown(&self) {
        // Each step fails only if an earlier shutdown has done it.
        let _ = self.ask(ShutdownWorkers).await;
        let _ = self.ask(EndsNoted).await;
        let _ = self.metadata.close().await;
        let _ = self.ask(Terminate).await;
    }

    /// Answers a worker's event. That it cannot be taken is an answer too; only a coordinator that has
    /// ended gives none.
    pub(crate) async fn answer(&self, event: WorkerEvent) -> Result<EventResponse> {
        match self.take(event).await {
            Ok(response) => Ok(response),
            Err(CoordinatorError::ShutDown) => Err(CoordinatorError::ShutDown),
            Err(error) => Ok(EventResponse::Refused(error.chain())),
        }
    }

    async fn take(&self, event: WorkerEvent) -> Result<EventResponse> {
        match event {
            WorkerEvent::Register { data_address, slots, cluster } => {
                if let Some(wanted) = cluster.filter(|cluster| *cluster != self.checkpoints.cluster) {
                    return Err(CoordinatorError::OtherCluster { wanted, here: self.checkpoints.cluster.clone() });
                }
                return self.register(data_address, slots).await;
            }
            WorkerEvent::Heartbeat { worker, metrics, models } => {
                let known = self.ask(Heartbeat { worker, metrics }).await?;
                self.metadata.append_versions(models).await?;
                if !known {
                    return Err(CoordinatorError::NotRegistered { worker });
                }
            }
            WorkerEvent::Devices { worker, devices } => self.devices.note(worker, devices),
            WorkerEvent::Models { models, .. } => models.into_iter().for_each(|weights| self.serving.put(weights)),
            WorkerEvent::Leaving { worker } => {
                if !self.ask(LeaveWorker(worker)).await? {
                    return Err(CoordinatorError::NotRegistered { worker });
                }
            }
            WorkerEvent::TaskFinished { run, task, state } => {
                self.ask(JobEvent(run, Event::TaskFinished { task, state })).await?;
            }
            WorkerEvent::TaskFailed { run, task, domain, message } => {
                let cause = JobFailure { domain, message: self.access.redact(&message) };
                self.ask(JobEvent(run, Event::TaskFailed { task, cause })).await?;
            }
            WorkerEvent::BarrierPassed { run, task, epoch, state, alignment_us, needs } => {
                needs.into_iter().for_each(|need| self.pushed.note_need(run.job, epoch, need));
                let alignment = Duration::from_micros(alignment_us);
                self.ask(NoteAlignment { run, epoch, alignment }).await?;
                self.ask(JobEvent(run, Event::BarrierPassed { task, epoch, state })).await?;
            }
            WorkerEvent::CheckpointFailed { run, task, epoch, message } => {
                let cause = JobFailure::external(format!("{task}: {}", self.access.redact(&message)));
                self.ask(JobEvent(run, Event::CheckpointFailed { epoch, cause })).await?;
            }
            WorkerEvent::ResultRows { job, operator, ipc } => {
                return self.deliver(job, operator, ipc::decode(ipc)?.batches).await;
            }
            WorkerEvent::BatchWork { worker, request } => return self.batch_work(worker, request).await,
        }
        Ok(EventResponse::Done)
    }

    /// What a worker is to do for queries that run as a whole.
    async fn batch_work(&self, worker: WorkerId, mut request: WorkRequest) -> Result<EventResponse> {
        for (_, failure) in &mut request.failures {
            let (WorkFailure::Lost(message) | WorkFailure::Memory(message) | WorkFailure::Query { message, .. }) =
                failure;
            *message = self.access.redact(message);
        }
        let answer = match self.batch.as_deref().and_then(|batch| batch.workers()) {
            Some(workers) => workers.work(worker, request).await?,
            None => None,
        };
        answer.map(EventResponse::BatchWork).ok_or(CoordinatorError::NotRegistered { worker })
    }

    async fn register(&self, data_address: String, slots: u32) -> Result<EventResponse> {
        let secret = self.access.cluster_secret();
        let link = Arc::new(FlightWorkerLink::connect(&data_address, &self.connector, secret).await?);
        let link = Arc::new(SecretLink::new(Arc::clone(&self.access), link));
        let worker = self.metadata.next_worker().await?;
        self.ask(AddWorker { id: worker, data_address, slots, link, origin: Origin::Remote }).await?;
        let cluster = self.checkpoints.cluster.clone();
        Ok(EventResponse::Registered { worker, lease: self.heartbeat_limit, cluster })
    }

    /// Waits for room in the session's queue: this is how a slow reader slows the job down. It is the
    /// worker's call that waits here, not the actor.
    async fn deliver(&self, job: JobId, operator: OperatorId, batches: Vec<RecordBatch>) -> Result<EventResponse> {
        if let Some(queue) = self.ask(ResultQueue(job)).await? {
            let sent = queue.send_timeout(ResultBatches { operator, batches }, ROOM_WAIT).await;
            if matches!(sent, Err(SendTimeoutError::Timeout(_))) {
                return Ok(EventResponse::Busy);
            }
            // A session that has dropped its end does not want the rows.
        }
        Ok(EventResponse::Done)
    }

    async fn ask<M>(&self, message: M) -> Result<M::Result>
    where
        M: Message<Result: Send> + Send + 'static,
        Coordinator: Handler<M>,
    {
        self.actor.send(message).await.map_err(|_| CoordinatorError::ShutDown)
    }
}

impl CoordinatorLink for CoordinatorHandle {
    fn send(&self, event: WorkerEvent) -> Reply<EventResponse> {
        let coordinator = self.clone();
        reply(async move { coordinator.answer(event).await })
    }

    fn send_rows(&self, job: JobId, operator: OperatorId, rows: &RecordBatch) -> Reply<EventResponse> {
        let (coordinator, batches) = (self.clone(), vec![rows.clone()]);
        reply(async move { coordinator.deliver(job, operator, batches).await })
    }
}

/// Plans, which takes milliseconds and more: not on a thread that others wait for.
async fn planned<T: Send + 'static>(plan: impl FnOnce() -> Result<T, SqlError> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(plan).await {
        Ok(planned) => planned.map_err(|error| CoordinatorError::Sql(Box::new(error))),
        Err(_) => Err(CoordinatorError::Lost { part: "planner" }),
    }
}

fn reply(answer: impl Future<Output = Result<EventResponse>> + Send + 'static) -> Reply<EventResponse> {
    let failed = |error: CoordinatorError| LinkError { peer: String::from("coordinator"), reason: error.chain() };
    Box::pin(async move { answer.await.map_err(failed) })
}

/// The objects of the catalog that a job works for.
#[derive(Debug, Default)]
pub(crate) struct JobObjects {
    /// All of them.
    pub(crate) all: BTreeSet<String>,
    /// Those that are created with it, and others that are made of them, in this order.
    pub(crate) created: Vec<CatalogEntry>,
}

/// A job that the metadata have.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftJob {
    /// The job.
    pub id: JobId,
    /// The sinks that it writes and the models that it trains, by name.
    pub makes: Vec<String>,
    /// What it runs.
    pub graph: DataflowGraph,
    /// The objects of the catalog that it works for; none for a job that is nobody's.
    pub objects: Option<BTreeSet<String>>,
    /// Why it has failed, if it has.
    pub failure: Option<String>,
    /// How often it has begun again.
    pub restarts: u32,
}

/// How a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobInfo {
    /// The job.
    pub id: JobId,
    /// Where it is in its life.
    pub status: JobStatus,
    /// How often it has begun again.
    pub restarts: u32,
    /// The sinks that it writes and the models that it trains, by name.
    pub makes: Vec<String>,
    /// How many tasks it has.
    pub tasks: usize,
    /// Whether it has checkpoints.
    pub has_checkpoints: bool,
    /// Its newest checkpoint, and how long ago that began.
    pub newest_checkpoint: Option<(Epoch, Duration)>,
    /// Whether it is there for the rows of a SELECT.
    pub is_query: bool,
    /// How far it is, if it runs as a whole.
    pub progress: Option<BatchProgress>,
    /// Whose it is, if it runs as a whole and somebody is asked who they are.
    pub owner: Option<String>,
}

impl JobInfo {
    /// How it runs, in the words of the setting `execution`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        if self.progress.is_some() { "batch" } else { "streaming" }
    }
}

/// A job with its metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedJob {
    /// How it is.
    pub info: JobInfo,
    /// The kind of each operator and the object that it belongs to, by its id; empty for none.
    pub operators: Vec<(&'static str, String)>,
    /// The newest metrics of each operator's subtask.
    pub metrics: Vec<OperatorMetrics>,
    /// Its checkpoints.
    pub checkpoints: CheckpointLog,
}

/// Rows of a SELECT's result.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultBatches {
    /// The sink that they come from.
    pub operator: OperatorId,
    /// The rows.
    pub batches: Vec<RecordBatch>,
}

/// A query that runs as a whole, as its session holds it.
#[derive(Debug)]
pub struct BatchJob {
    /// What runs.
    pub job: JobHandle,
    /// The tables that it reads and its result, to tell what its metrics are of.
    pub graph: DataflowGraph,
    /// Its columns, and the operator that stands for its result.
    pub result: ResultColumns,
}

/// What ends a job.
#[derive(Debug)]
pub(crate) enum Control {
    /// Its coordinator.
    Job(Addr<Coordinator>),
    /// A query that runs as a whole: whoever holds its handle.
    Batch(batch::Running),
}

/// A submitted job, as its session holds it. Dropping it does not end the job, unless it is a query that runs as a whole.
#[derive(Debug)]
pub struct JobHandle {
    /// The job.
    pub id: JobId,
    /// Where the job is in its life.
    pub status: watch::Receiver<JobStatus>,
    /// The newest metrics of each operator's subtask.
    pub metrics: watch::Receiver<Vec<OperatorMetrics>>,
    /// How far it is, if it is a query that runs as a whole.
    pub progress: Option<watch::Receiver<BatchProgress>>,
    /// The newest epoch that is complete: its materialized views can be read at it.
    pub epoch: watch::Receiver<Option<Epoch>>,
    /// The rows of its SELECTs. Ends behind the last of them, after the job has ended.
    pub results: mpsc::Receiver<ResultBatches>,
    /// Whether it has checkpoints, so that it goes on when a worker is lost.
    pub recovers: bool,
    pub(crate) control: Control,
}

impl JobHandle {
    /// Asks the job to end; [`Self::wait`] tells when it has.
    pub async fn stop(&self, mode: StopMode) -> Result<()> {
        match &self.control {
            Control::Job(actor) => actor.send(StopJob(self.id, mode)).await.map_err(|_| CoordinatorError::ShutDown),
            Control::Batch(running) => {
                running.stop();
                Ok(())
            }
        }
    }

    /// Asks the job to end because its process is to: what it does not get done is done by a later one, if it has
    /// checkpoints.
    pub async fn interrupt(&self, mode: StopMode) -> Result<()> {
        match &self.control {
            Control::Job(actor) => {
                actor.send(InterruptJob(self.id, mode)).await.map_err(|_| CoordinatorError::ShutDown)
            }
            Control::Batch(running) => {
                running.stop();
                Ok(())
            }
        }
    }

    /// Waits for the job's end. Results must be read meanwhile, or the job cannot end.
    pub async fn wait(&self) -> JobStatus {
        let mut status = self.status.clone();
        match status.wait_for(JobStatus::is_terminal).await {
            Ok(status) => status.clone(),
            Err(_) => {
                let message = CoordinatorError::ShutDown.to_string();
                JobStatus::Failed { domain: ErrorDomain::External, message }
            }
        }
    }
}

/// The models of the catalog that an earlier coordinator has kept.
async fn served_models(folder: Option<&Path>, metadata: &MetadataHandle) -> Result<Arc<ServedModels>> {
    let objects = metadata.objects().await?.into_iter();
    let names = objects.filter(|entry| entry.kind == ObjectKind::Model).map(|entry| entry.name).collect();
    Ok(Arc::new(ServedModels::open(folder, &names).await?))
}
