//! DataFusion in this process, on threads of its own.
//!
//! Its context is made when the first query comes: a process that has none pays nothing for it.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use tidemill_plans::batch::{BatchQuery, BoundedTable, Destination, ReadCounts, TableReader, TableReaders, Wanted};
use tidemill_plans::settings::Settings;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::arithmetic::CheckArithmetic;
use crate::bad_rows::{GuardProjections, guard_filters};
use crate::copy::{Unfinished, written};
use crate::engine::{BATCHES_MAX, BatchEngine, BatchRun, Progress, Step};
use crate::error::{BatchError, Result};
use crate::groups::Groups;
use crate::output::{Output, on_disk};
use crate::scratch::Scratch;
use crate::table::Texts;
use crate::{memory, shown, table, views};

/// Bytes of a thread's stack: plans are trees, and expressions in them are deep. Only what is used is mapped.
const STACK_BYTES: usize = 32 << 20;

/// Bytes without which another part of a query costs more than it brings: each part holds batches that it merges.
const PART_BYTES: u64 = 8 << 20;

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Threads that compute, and parts that a query is cut into if it has memory for so many.
    pub threads: usize,
    /// Bytes that all queries may hold together.
    pub memory: usize,
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
        let context = self.context()?;
        let limits = [settings.query_memory, settings.state_memory].into_iter();
        let limit = limits.filter(|bytes| *bytes > 0).min();
        let runtime = RuntimeEnvBuilder::from_runtime_env(&context.runtime);
        let runtime = runtime.with_memory_pool(memory::of_query(limit, &context.pool)).build_arc();
        let reader = self.tables.begin(settings);
        let scratch = self.config.scratch.clone();
        let failed = |error| BatchError::of(error, limit);
        let (runtime, reader) = (runtime.map_err(failed)?, reader.map_err(failed)?);
        let progress = Arc::new(Tracked { reader: Arc::clone(&reader), plan: Mutex::default() });
        let (rows, receiver) = mpsc::channel(BATCHES_MAX);
        let parts = parts(self.config.threads, limit);
        let state = state(parts, runtime, &reader);
        let running = Running { query, state, reader, parts, progress: Arc::clone(&progress) };
        let mut task = JoinSet::new();
        let run = async move {
            let end = match running.complete(&rows).await {
                Ok(()) => Step::End,
                Err(error) => Step::Failed(BatchError::of(error, limit).with_scratch(&scratch)),
            };
            // Whoever is gone does not want to know.
            let _ = rows.send(end).await;
        };
        if let Some(threads) = &context.threads {
            task.spawn_on(run, threads.handle());
        }
        Ok(BatchRun::new(receiver, progress, task))
    }

    fn columns(&self, options: &[(String, String)]) -> Result<SchemaRef> {
        self.tables.columns(options).map_err(|error| BatchError::of(error, None))
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
        let pool = memory::shared(config.memory);
        let scratch = Scratch::open(&config.scratch)
            .map_err(|source| BatchError::Scratch { folder: config.scratch.clone(), source })?;
        let folders = vec![scratch.folder().to_path_buf()];
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(folders));
        let runtime = RuntimeEnvBuilder::new().with_disk_manager_builder(disk).with_memory_pool(Arc::clone(&pool));
        let runtime = runtime.build_arc().map_err(|error| BatchError::of(error, None))?;
        Ok(Self { threads: Some(threads), pool, runtime, _scratch: scratch })
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

/// How a query is planned that is cut into so many parts.
fn state(parts: usize, runtime: Arc<RuntimeEnv>, reader: &Arc<dyn TableReader>) -> SessionState {
    // The pool keeps room for merges.
    let config = SessionConfig::new().with_target_partitions(parts).with_sort_spill_reservation_bytes(0);
    let mut rules = PhysicalOptimizer::new().rules;
    // Behind those that put rows in order, and in front of what puts projections into scans.
    let place = rules.iter().position(|rule| rule.name() == "ProjectionPushdown").unwrap_or_default();
    rules.insert(place, Arc::new(GuardProjections(Arc::clone(reader))));
    rules.insert(place, Arc::new(CheckArithmetic));
    let state = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime);
    state.with_physical_optimizer_rules(rules).build()
}

/// A query on the engine's threads.
struct Running {
    query: BatchQuery,
    state: SessionState,
    reader: Arc<dyn TableReader>,
    parts: usize,
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
    async fn run(self, steps: &mpsc::Sender<Step>, files: &mut Vec<PathBuf>) -> DataFusionResult<()> {
        let schema = self.query.schema();
        if self.query.wanted == Wanted::Plan {
            let plan = self.plan(None, files).await?;
            return send(steps, shown::plan(schema, plan.as_ref(), &self.query.destination, self.parts)?).await;
        }
        // Gone with whatever it has written, unless all of that is there.
        let (query, reader) = (self.query.clone(), Arc::clone(&self.reader));
        let mut output = on_disk(move || Output::begin(&query, reader.as_ref())).await?;
        let plan = self.plan(output.files(), files).await?;
        self.progress.follow(&plan);
        let asker = Some(steps).filter(|_| self.query.wanted == Wanted::Rows);
        let mut rows = execute_stream(Arc::clone(&plan), self.state.task_ctx())?;
        while let Some(batch) = rows.next().await {
            if let (Some(batch), Some(steps)) = (output.take(&batch?).await?, asker) {
                send(steps, batch).await?;
            }
        }
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

    async fn plan(
        &self,
        output: Option<&Unfinished>,
        files: &mut Vec<PathBuf>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let (plan, reader) = (self.query.plan.clone(), Arc::clone(&self.reader));
        // It looks at files.
        let (plan, found) = on_disk(move || with_providers(plan, &reader)).await?;
        *files = found;
        let plan = match &self.query.destination {
            Destination::Files(target) => {
                let path = output.map_or_else(|| PathBuf::from(&target.path), Unfinished::path);
                written(views::as_promised(plan, &self.query.columns)?, target, &path)?
            }
            Destination::Asker | Destination::Sink(_) => plan,
        };
        guard_filters(self.state.create_physical_plan(&plan).await?, &self.reader)
    }
}

/// A plan whose tables are what reads them, the same wherever a table is named; and the files that DataFusion reads.
fn with_providers(plan: LogicalPlan, reader: &Arc<dyn TableReader>) -> DataFusionResult<(LogicalPlan, Vec<PathBuf>)> {
    let mut files = Vec::new();
    let mut known: Vec<Groups> = Vec::new();
    let texts = if views::fit(&plan)? { Texts::Views } else { Texts::AsDeclared };
    let provided = plan.transform_up_with_subqueries(|plan| {
        let LogicalPlan::TableScan(scan) = plan else {
            return match texts {
                Texts::AsDeclared => Ok(Transformed::no(plan)),
                Texts::Views => plan.recompute_schema().map(Transformed::yes),
            };
        };
        let Some(table) = scan.source.downcast_ref::<BoundedTable>().cloned() else {
            return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
        };
        if !known.iter().any(|groups| groups.is_of(&table)) {
            known.push(Groups::of(&table, texts, reader, &mut files)?);
        }
        let groups = known.iter().find(|groups| groups.is_of(&table));
        let groups = groups.ok_or_else(|| DataFusionError::Internal(String::from("a table without files")))?;
        groups.in_place_of(scan).map(Transformed::yes)
    });
    Ok((provided?.data, files))
}

async fn send(steps: &mpsc::Sender<Step>, rows: RecordBatch) -> DataFusionResult<()> {
    let gone = |_| DataFusionError::Execution(String::from("nobody takes the rows any more"));
    steps.send(Step::Rows(rows)).await.map_err(gone)
}

/// Says how far a query has come.
#[derive(Debug)]
struct Tracked {
    reader: Arc<dyn TableReader>,
    /// What runs, once it is known.
    plan: Mutex<Option<Arc<dyn ExecutionPlan>>>,
}

impl Tracked {
    fn follow(&self, plan: &Arc<dyn ExecutionPlan>) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(plan));
    }
}

impl Progress for Tracked {
    fn counts(&self) -> ReadCounts {
        let counts = self.reader.counts();
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let scanned = plan.map(|plan| rows_scanned(plan.as_ref())).unwrap_or_default();
        ReadCounts { rows: counts.rows + scanned, ..counts }
    }
}

/// Rows that DataFusion has read of files. A plan's depth has a bound.
fn rows_scanned(plan: &dyn ExecutionPlan) -> u64 {
    if plan.is::<DataSourceExec>() {
        return plan.metrics().and_then(|metrics| metrics.output_rows()).unwrap_or_default() as u64;
    }
    plan.children().into_iter().map(|child| rows_scanned(child.as_ref())).sum()
}

#[cfg(test)]
mod tests;
