//! DataFusion in this process, on threads of its own.
//!
//! Its context is made when the first query comes: a process that has none pays nothing for it.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::cache::cache_manager::CacheManagerConfig;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::object_store::DefaultObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use tidemill_plans::batch::{BatchQuery, TableReaders, Wanted};
use tidemill_plans::held::StreamsHeld;
use tidemill_plans::node::SourceNode;
use tidemill_plans::settings::{BatchEngineChoice, Settings};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;

use crate::cluster::{Cluster, Run};
use crate::engine::{BATCHES_MAX, BatchEngine, BatchRun, Step};
use crate::error::{BatchError, Result};
use crate::memory::Room;
use crate::objects::{Leftovers, QueryObjects};
use crate::output::{Output, on_disk};
use crate::planning::Planner;
use crate::reading::Reading;
use crate::scratch::Scratch;
use crate::table::{Files, Site};
use crate::tracked::Tracked;
use crate::{memory, shown, size, table};

/// Bytes of a thread's stack: plans are trees, and expressions in them are deep. Only what is used is mapped.
pub(crate) const STACK_BYTES: usize = 32 << 20;

/// Bytes without which another part of a query costs more than it brings: each part holds batches that it merges.
const PART_BYTES: u64 = 8 << 20;

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Threads that compute, and parts that a query is cut into if it has memory for so many.
    pub threads: usize,
    /// Bytes that all queries may hold together, with streams.
    pub memory: usize,
    /// What streams of this process hold.
    pub streams: StreamsHeld,
    /// Where goes what has no room in memory.
    pub scratch: PathBuf,
}

/// The engine.
pub struct EmbeddedEngine {
    config: EmbeddedConfig,
    tables: Arc<dyn TableReaders>,
    context: OnceLock<Context>,
}

/// What all queries share.
struct Context {
    /// Gone once this is dropped.
    threads: Option<Runtime>,
    pool: Arc<dyn MemoryPool>,
    runtime: Arc<RuntimeEnv>,
    leftovers: Leftovers,
    /// Behind the threads, which may still write.
    _scratch: Scratch,
}

impl fmt::Debug for EmbeddedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedEngine").field("config", &self.config).finish_non_exhaustive()
    }
}

impl EmbeddedEngine {
    /// An engine that has not begun yet; `tables` read what DataFusion does not.
    #[must_use]
    pub fn new(config: EmbeddedConfig, tables: Arc<dyn TableReaders>) -> Self {
        Self { config, tables, context: OnceLock::new() }
    }

    fn context(&self) -> Result<&Context> {
        if let Some(context) = self.context.get() {
            return Ok(context);
        }
        // Of two that begin at once one is dropped.
        let context = Context::new(&self.config)?;
        Ok(self.context.get_or_init(|| context))
    }
}

impl BatchEngine for EmbeddedEngine {
    fn run(&self, query: BatchQuery, settings: &Settings) -> Result<BatchRun> {
        self.begin(query, settings, None)
    }

    fn columns(&self, options: &[(String, String)]) -> Result<SchemaRef> {
        self.tables.columns(options).map_err(|error| BatchError::of(error, &Room::of_engine(&self.config.scratch)))
    }
}

impl EmbeddedEngine {
    /// Its threads.
    pub(crate) fn threads(&self) -> Result<Handle> {
        let threads = self.context()?.threads.as_ref().ok_or(BatchError::Lost)?;
        Ok(threads.handle().clone())
    }

    /// Begins to run a query; it has these workers run it, if it is for them.
    pub(crate) fn begin(&self, query: BatchQuery, settings: &Settings, cluster: Option<Cluster>) -> Result<BatchRun> {
        let context = self.context()?;
        let room = Room::of_query(settings, &self.config.scratch);
        let objects = QueryObjects::new(context.leftovers.clone());
        let mut runtime = RuntimeEnvBuilder::from_runtime_env(&context.runtime)
            .with_memory_pool(memory::of_query(room.memory, &context.pool))
            .with_object_store_registry(Arc::new(DefaultObjectStoreRegistry::new()));
        if reads_urls(&query) {
            // What is known of files is looked up by their location, size and time, to the second: two objects may have the
            // same.
            runtime = runtime.with_cache_manager(CacheManagerConfig::default());
        }
        let runtime = runtime.build_arc().and_then(|runtime| {
            runtime.register_object_store(QueryObjects::store_url()?.as_ref(), Arc::new(objects.clone()));
            Ok(runtime)
        });
        let reader = self.tables.begin(settings);
        let failed = |error| BatchError::of(error, &room);
        let (runtime, reader) = (runtime.map_err(failed)?, reader.map_err(failed)?);
        let reading: Arc<Reading> = Arc::default();
        let progress = Arc::new(Tracked::new(Arc::clone(&reader), Arc::clone(&reading)));
        let (rows, receiver) = mpsc::channel(BATCHES_MAX);
        let parts = parts(self.config.threads, room.memory);
        let (settings, followed) = (settings.clone(), Arc::clone(&progress));
        let files = Files { reader, objects, reading, site: Site::Here };
        let running = Running { query, settings, runtime, files, parts, cluster, progress: followed };
        let mut task = JoinSet::new();
        let run = async move {
            let end = match running.complete(&rows).await {
                Ok(()) => Step::End,
                Err(error) => Step::Failed(BatchError::of(error, &room)),
            };
            // Whoever is gone does not want to know.
            let _ = rows.send(end).await;
        };
        if let Some(threads) = &context.threads {
            task.spawn_on(run, threads.handle());
        }
        Ok(BatchRun::new(receiver, progress, task))
    }
}

impl Context {
    fn new(config: &EmbeddedConfig) -> Result<Self> {
        let threads = Builder::new_multi_thread()
            .worker_threads(config.threads)
            .thread_name("batch")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(BatchError::Threads)?;
        let pool = memory::shared(config.memory, config.streams.clone());
        let scratch = Scratch::open(&config.scratch)?;
        let runtime =
            RuntimeEnvBuilder::new().with_disk_manager_builder(scratch.disk()).with_memory_pool(Arc::clone(&pool));
        let runtime = runtime.build_arc().map_err(|error| BatchError::of(error, &Room::of_engine(&config.scratch)))?;
        Ok(Self { threads: Some(threads), pool, runtime, leftovers: Leftovers::default(), _scratch: scratch })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // Without waiting for its threads: whoever drops this may be on a thread that must not wait.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// The parts that a query is cut into.
fn parts(threads: usize, limit: Option<u64>) -> usize {
    let worth = limit.map_or(usize::MAX, |limit| usize::try_from(limit / PART_BYTES).unwrap_or(usize::MAX));
    threads.min(worth).max(1)
}

/// A query on the engine's threads.
struct Running {
    query: BatchQuery,
    settings: Settings,
    runtime: Arc<RuntimeEnv>,
    files: Files,
    /// The parts that it is cut into here.
    parts: usize,
    /// Who may run it elsewhere.
    cluster: Option<Cluster>,
    progress: Arc<Tracked>,
}

impl Running {
    async fn complete(self, steps: &mpsc::Sender<Step>) -> DataFusionResult<()> {
        let mut files = Vec::new();
        match self.run(steps, &mut files).await {
            Err(error) if table::is_of_parquet(&error) => on_disk(move || Err(table::naming_file(error, &files))).await,
            ended => ended,
        }
    }

    /// Runs it; `files` gets those that DataFusion reads.
    async fn run(&self, steps: &mpsc::Sender<Step>, files: &mut Vec<PathBuf>) -> DataFusionResult<()> {
        let Some(cluster) = self.chosen_cluster().await? else { return self.run_here(steps, files).await };
        let parts = cluster.workers.slots().max(1) as usize;
        let run = Run {
            cluster,
            planner: Planner::new(
                Files { site: Site::Workers, ..self.files.clone() },
                parts,
                Arc::clone(&self.runtime),
            ),
            query: &self.query,
            settings: &self.settings,
            progress: &self.progress,
        };
        match run.complete(steps, files).await {
            Err(failed) if failed.may_run_elsewhere && self.settings.batch_engine == BatchEngineChoice::Inferred => {
                warn!(error = %failed.error, "workers have not run a query; it runs here");
                self.run_here(steps, files).await
            }
            ended => ended.map_err(|failed| failed.error),
        }
    }

    /// The workers that are to run it, if any are.
    async fn chosen_cluster(&self) -> DataFusionResult<Option<&Cluster>> {
        let cluster = self.cluster.as_ref().filter(|cluster| cluster.workers.slots() > 0);
        match (self.settings.batch_engine, cluster) {
            (BatchEngineChoice::Embedded, _) | (BatchEngineChoice::Inferred, None) => Ok(None),
            (BatchEngineChoice::Cluster, Some(cluster)) => Ok(Some(cluster)),
            (BatchEngineChoice::Cluster, None) => Err(DataFusionError::Plan(String::from(
                "batch.engine is 'cluster', and there is no worker in a process of its own: start some (tidemill worker), or \
                 SET batch.engine = 'inferred'",
            ))),
            (BatchEngineChoice::Inferred, Some(cluster)) => {
                let (query, reader) = (self.query.clone(), Arc::clone(&self.files.reader));
                let is_worth_it = on_disk(move || size::is_worth_workers(&query, reader.as_ref())).await?;
                Ok(Some(cluster).filter(|_| is_worth_it))
            }
        }
    }

    async fn run_here(&self, steps: &mpsc::Sender<Step>, files: &mut Vec<PathBuf>) -> DataFusionResult<()> {
        let planner = Planner::new(self.files.clone(), self.parts, Arc::clone(&self.runtime));
        let schema = self.query.schema();
        if self.query.wanted == Wanted::Plan {
            let plan = planner.plan(&self.query, None, files).await?;
            return send(steps, shown::plan(schema, plan.as_ref(), &self.query.destination, self.parts)?).await;
        }
        // Gone with whatever it has written, unless all of that is there.
        let mut output = planner.output(&self.query).await?;
        let asker = Some(steps).filter(|_| self.query.wanted == Wanted::Rows);
        let plan = match self.fill(&planner, &mut output, asker, files).await {
            Ok(plan) => plan,
            Err(error) => {
                output.give_up().await;
                return Err(error);
            }
        };
        for batch in output.finish().await? {
            if let Some(steps) = asker {
                send(steps, batch).await?;
            }
        }
        match asker {
            Some(_) => Ok(()),
            None => send(steps, shown::analysis(schema, plan.as_ref(), &self.query.destination, self.parts)?).await,
        }
    }

    /// Has all rows go where they are to go. Returns what has run.
    async fn fill(
        &self,
        planner: &Planner,
        output: &mut Output,
        asker: Option<&mpsc::Sender<Step>>,
        files: &mut Vec<PathBuf>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let plan = planner.plan(&self.query, output.path(), files).await?;
        self.progress.follow(&plan);
        let mut rows = execute_stream(Arc::clone(&plan), planner.state.task_ctx())?;
        while let Some(batch) = rows.next().await {
            if let (Some(batch), Some(steps)) = (output.take(&batch?).await?, asker) {
                send(steps, batch).await?;
            }
        }
        Ok(plan)
    }
}

/// Whether a query reads anything whose path is a URL.
fn reads_urls(query: &BatchQuery) -> bool {
    query.tables().is_ok_and(|tables| tables.iter().any(SourceNode::is_in_bucket))
}

/// Hands rows to whoever asks.
pub(crate) async fn send(steps: &mpsc::Sender<Step>, rows: RecordBatch) -> DataFusionResult<()> {
    let gone = |_| DataFusionError::Execution(String::from("nobody takes the rows any more"));
    steps.send(Step::Rows(rows)).await.map_err(gone)
}

#[cfg(test)]
mod tests;
