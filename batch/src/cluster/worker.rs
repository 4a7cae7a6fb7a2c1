//! A worker's part in queries that run as a whole: it asks the coordinator for tasks, runs them, says what has become of them,
//! and hands the pieces out that they leave.
//!
//! Each query has threads of its own here, which end with it: so what has been begun for it ends, too, whoever began it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arrow_flight::FlightData;
use ballista_core::serde::protobuf::{TaskDefinition, TaskStatus};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use futures::stream::BoxStream;
use prost::Message;
use tidemill_net::Connector;
use tidemill_plans::ErrorDomain;
use tidemill_plans::batch::TableReaders;
use tidemill_plans::batch::work::{QueryId, WorkAnswer, WorkFailure, WorkQuery, WorkRequest};
use tidemill_plans::cluster_secret::ClusterSecret;
use tidemill_plans::held::StreamsHeld;
use tidemill_plans::ids::WorkerId;
use tidemill_plans::protocol::{CoordinatorLink, EventResponse, WorkerEvent};
use tidemill_plans::settings::Settings;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::Status;
use tracing::{debug, warn};

use super::fetch::{Fetcher, piece_of, serve};
use super::pieces::Own;
use super::task::{self, QueryHere};
use crate::embedded::STACK_BYTES;
use crate::error::BatchError;
use crate::memory::{self, Room};
use crate::scratch::Scratch;

/// How long a worker with tasks waits for one of them to end before it says how far they are.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Between two attempts to reach the coordinator.
const BACK_OFF: Duration = Duration::from_millis(200);

/// How a worker's part is set up.
#[derive(Clone)]
pub struct BatchWorkerConfig {
    /// Tasks that it runs at a time.
    pub slots: u32,
    /// Bytes that all queries may hold together, with streams.
    pub memory: usize,
    /// What streams of this process hold.
    pub streams: StreamsHeld,
    /// Where pieces are, and what has no room in memory.
    pub scratch: PathBuf,
    /// Reads what DataFusion does not.
    pub tables: Arc<dyn TableReaders>,
    /// How other workers are reached, and what they are shown.
    pub connector: Connector,
    /// What they are shown.
    pub secret: Option<ClusterSecret>,
}

/// A worker's part. What it has is gone with it.
pub struct BatchWorker {
    config: BatchWorkerConfig,
    fetcher: Arc<Fetcher>,
    begun: OnceLock<Begun>,
}

/// What there is once there is a query.
struct Begun {
    pool: Arc<dyn MemoryPool>,
    runtime: Arc<RuntimeEnv>,
    /// Where pieces are, and what has no room in memory.
    scratch: Scratch,
}

impl fmt::Debug for BatchWorkerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchWorkerConfig").field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl fmt::Debug for BatchWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchWorker").field("config", &self.config).finish_non_exhaustive()
    }
}

impl BatchWorker {
    /// A part that has nothing to do yet.
    #[must_use]
    pub fn new(config: BatchWorkerConfig) -> Self {
        let fetcher = Arc::new(Fetcher::new(config.connector.clone(), config.secret.clone()));
        Self { config, fetcher, begun: OnceLock::new() }
    }

    /// Asks the coordinator for tasks and runs them, until it does without this worker. Dropping it ends all of them.
    pub async fn run(self: Arc<Self>, worker: WorkerId, coordinator: Arc<dyn CoordinatorLink>) {
        self.fetcher.live_on(Handle::current());
        let (ended, ends) = mpsc::channel(self.config.slots.max(1) as usize);
        let mut asking = Asking {
            part: self,
            worker,
            coordinator,
            number: 0,
            running: 0,
            queries: BTreeMap::new(),
            statuses: Vec::new(),
            failures: Vec::new(),
            ended,
            ends,
        };
        while asking.go_on().await {}
    }

    /// A piece for whoever has its ticket; nothing if it is no ticket for one, or there is no piece yet.
    pub fn piece(
        &self,
        ticket: &[u8],
    ) -> Option<impl Future<Output = Result<BoxStream<'static, Result<FlightData, Status>>, Status>> + use<>> {
        Some(serve(piece_of(ticket)?, self.begun.get()?.scratch.folder().to_path_buf()))
    }

    fn begun(&self) -> Result<&Begun, BatchError> {
        if let Some(begun) = self.begun.get() {
            return Ok(begun);
        }
        // Of two that begin at once one is dropped.
        let begun = self.begin()?;
        Ok(self.begun.get_or_init(|| begun))
    }

    fn begin(&self) -> Result<Begun, BatchError> {
        let scratch = Scratch::open(&self.config.scratch)?;
        let pool = memory::shared(self.config.memory, self.config.streams.clone());
        let runtime = RuntimeEnvBuilder::new().with_disk_manager_builder(scratch.disk());
        let runtime = runtime.with_memory_pool(Arc::clone(&pool)).build_arc();
        Ok(Begun {
            pool,
            runtime: runtime.map_err(|error| BatchError::of(error, &Room::of_engine(&self.config.scratch)))?,
            scratch,
        })
    }

    /// What tasks of a query share.
    fn query(&self, worker: WorkerId, settings: &Settings) -> Result<QueryHere, BatchError> {
        let begun = self.begun()?;
        let room = Room::of_query(settings, &self.config.scratch);
        let runtime = RuntimeEnvBuilder::from_runtime_env(&begun.runtime);
        let runtime = runtime.with_memory_pool(memory::of_query(room.memory, &begun.pool)).build_arc();
        let reader = self.config.tables.begin(settings);
        let failed = |error| BatchError::of(error, &room);
        Ok(QueryHere {
            reader: reader.map_err(failed)?,
            runtime: runtime.map_err(failed)?,
            room,
            own: Own { worker: worker.to_string(), folder: begun.scratch.folder().to_path_buf() },
            fetcher: Arc::clone(&self.fetcher),
            done: Mutex::default(),
        })
    }
}

/// A query's threads here. They end with this, wherever it is dropped.
struct Threads {
    shared: Arc<QueryHere>,
    runtime: Option<Runtime>,
    folder: PathBuf,
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        // What is written behind this goes with the worker's own folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The end of a task.
struct End {
    status: TaskStatus,
    failure: Option<WorkFailure>,
}

/// A worker that asks for work.
struct Asking {
    part: Arc<BatchWorker>,
    worker: WorkerId,
    coordinator: Arc<dyn CoordinatorLink>,
    number: u64,
    running: u32,
    queries: BTreeMap<QueryId, Threads>,
    /// What the coordinator has not been told yet.
    statuses: Vec<Vec<u8>>,
    failures: Vec<(QueryId, WorkFailure)>,
    ended: mpsc::Sender<End>,
    ends: mpsc::Receiver<End>,
}

impl Asking {
    /// Asks once, and begins with what there is to do. Whether there may be more.
    async fn go_on(&mut self) -> bool {
        self.number += 1;
        let counts = self.queries.iter().map(|(id, threads)| (id.clone(), threads.shared.counts())).collect();
        let request = WorkRequest {
            number: self.number,
            free: self.part.config.slots.max(1).saturating_sub(self.running),
            is_busy: self.running > 0,
            statuses: std::mem::take(&mut self.statuses),
            failures: std::mem::take(&mut self.failures),
            counts,
        };
        let Some(answer) = self.ask(request).await else { return false };
        let has_begun = !answer.tasks.is_empty();
        self.take(answer).await;
        if self.running > 0 && !(has_begun && self.running < self.part.config.slots) {
            self.wait_for_end().await;
        }
        true
    }

    /// Asks until there is an answer; nothing if this worker is not one of the coordinator's.
    async fn ask(&self, request: WorkRequest) -> Option<WorkAnswer> {
        loop {
            let event = WorkerEvent::BatchWork { worker: self.worker, request: request.clone() };
            match self.coordinator.send(event).await {
                Ok(EventResponse::BatchWork(answer)) => return Some(answer),
                Ok(other) => {
                    debug!(worker = %self.worker, ?other, "no work for this worker");
                    return None;
                }
                Err(failure) => debug!(%failure, "asking for work again"),
            }
            sleep(BACK_OFF).await;
        }
    }

    async fn take(&mut self, answer: WorkAnswer) {
        let WorkAnswer { tasks, queries } = answer;
        self.queries.retain(|id, _| queries.iter().any(|query| query.id == *id));
        for task in tasks {
            match TaskDefinition::decode(task.as_slice()) {
                Ok(task) => self.begin(task, &queries),
                Err(failure) => warn!(%failure, "a task cannot be understood"),
            }
        }
    }

    fn begin(&mut self, task: TaskDefinition, queries: &[WorkQuery]) {
        let settings = queries.iter().find(|query| query.id == task.job_id).map(|query| &query.settings);
        let Some(settings) = settings else { return debug!(query = task.job_id, "a task of a query that is over") };
        let ended = self.ended.clone();
        let threads = match self.threads(&task.job_id, settings) {
            Ok(threads) => threads,
            Err(error) => {
                let message = tidemill_plans::error::chain(&error);
                self.failures.push((task.job_id.clone(), WorkFailure::Query { domain: error.domain(), message }));
                self.statuses.push(task::failed(&task).encode_to_vec());
                return;
            }
        };
        let Some(runtime) = &threads.runtime else { return };
        let query = Arc::clone(&threads.shared);
        let mut unended = Unended { end: Some(panicked(&task)), ended };
        runtime.spawn(async move {
            let (status, failure) = task::run(task, &query).await;
            unended.end = Some(End { status, failure });
            unended.say().await;
        });
        self.running += 1;
    }

    fn threads(&mut self, id: &QueryId, settings: &Settings) -> Result<&Threads, BatchError> {
        if !self.queries.contains_key(id) {
            let shared = Arc::new(self.part.query(self.worker, settings)?);
            let runtime = Builder::new_multi_thread()
                .worker_threads(self.part.config.slots.max(1) as usize)
                .thread_name("batch-task")
                .thread_stack_size(STACK_BYTES)
                .enable_all()
                .build()
                .map_err(BatchError::Threads)?;
            let folder = shared.own.folder.join(id);
            self.queries.insert(id.clone(), Threads { shared, runtime: Some(runtime), folder });
        }
        self.queries.get(id).ok_or(BatchError::Lost)
    }

    /// Waits for a moment until a task ends, and takes all that have.
    async fn wait_for_end(&mut self) {
        if let Ok(Some(end)) = timeout(PROGRESS_EVERY, self.ends.recv()).await {
            self.note(end);
        }
        while let Ok(end) = self.ends.try_recv() {
            self.note(end);
        }
    }

    fn note(&mut self, end: End) {
        self.running = self.running.saturating_sub(1);
        if let Some(failure) = end.failure {
            self.failures.push((end.status.job_id.clone(), failure));
        }
        self.statuses.push(end.status.encode_to_vec());
    }
}

/// Says how a task has ended, even if it panics.
struct Unended {
    end: Option<End>,
    ended: mpsc::Sender<End>,
}

impl Unended {
    async fn say(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = self.ended.send(end).await;
        }
    }
}

impl Drop for Unended {
    fn drop(&mut self) {
        // There is a place for each task that runs.
        if let Some(end) = self.end.take() {
            let _ = self.ended.try_send(end);
        }
    }
}

fn panicked(task: &TaskDefinition) -> End {
    let message = String::from("a task has ended without a word; this is a bug");
    End { status: task::failed(task), failure: Some(WorkFailure::Query { domain: ErrorDomain::Internal, message }) }
}
