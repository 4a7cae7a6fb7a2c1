//! Runs a SQL script: statements one after another, then everything that has to run as one job.

use std::collections::HashMap;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidemill_coordinator::{JobHandle, JobStatus};
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::OperatorId;
use tidemill_plans::protocol::StopMode;
use tidemill_plans::settings::Settings;
use tidemill_sql::{JobBuilder, JobStatement, Outcome, Session, SqlError, parse_script};
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::{LocalCluster, Workers};
use crate::error::{Result, TidemillError};
use crate::output::{self, Format};
use crate::progress::{Progress, REFRESH};

/// A script and how to run it.
pub struct Script {
    /// Where it was read from, for messages.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// The settings before its first statement.
    pub settings: Settings,
    /// Where the work is done.
    pub workers: Workers,
    /// How results are printed.
    pub format: Format,
}

/// How a script ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything was done.
    Finished,
    /// Somebody interrupted it; what was written is complete.
    Interrupted,
}

/// What a statement prints.
enum Printed {
    Rows(RecordBatch),
    /// The rows of a job's result.
    Result {
        operator: OperatorId,
        schema: SchemaRef,
    },
}

/// Rows by the result that they belong to.
type Results = HashMap<OperatorId, Vec<RecordBatch>>;

/// Runs a script, within an actix system.
pub async fn run(script: Script) -> Result<End> {
    let (graph, settings, printed) = plan(&script)?;
    let (end, mut results) = match graph {
        Some(graph) => run_job(graph, settings, script.workers).await?,
        None => (End::Finished, Results::new()),
    };
    for part in printed {
        match part {
            Printed::Rows(rows) => output::print(script.format, &rows.schema(), &[rows])?,
            Printed::Result { operator, schema } => {
                let rows = results.remove(&operator).unwrap_or_default();
                output::print(script.format, &schema, &rows)?;
            }
        }
    }
    Ok(end)
}

/// Executes every statement; those that have to run become one graph.
fn plan(script: &Script) -> Result<(Option<DataflowGraph>, Settings, Vec<Printed>)> {
    let wrong = |error: SqlError| TidemillError::Sql { path: script.path.clone(), source: Box::new(error) };
    let mut session = Session { settings: script.settings.clone(), ..Session::default() };
    let mut printed = Vec::new();
    let mut jobs: Vec<(JobStatement, usize)> = Vec::new();
    for statement in parse_script(&script.text).map_err(wrong)? {
        match session.execute(&statement).map_err(wrong)? {
            Outcome::Done(_) => {}
            Outcome::Rows(rows) => printed.push(Printed::Rows(rows)),
            Outcome::Job(job) => jobs.push((job, printed.len())),
        }
    }
    if jobs.is_empty() {
        return Ok((None, session.settings, printed));
    }
    let mut builder = JobBuilder::new(&session);
    // From the last statement to the first, so that inserting does not move the places still to come.
    let mut results = Vec::new();
    for (job, place) in &jobs {
        if let Some(result) = builder.add(&session, job).map_err(wrong)?.result {
            results.push((*place, Printed::Result { operator: result.operator, schema: result.schema }));
        }
    }
    for (place, result) in results.into_iter().rev() {
        printed.insert(place, result);
    }
    Ok((Some(builder.finish().map_err(wrong)?), session.settings, printed))
}

async fn run_job(graph: DataflowGraph, settings: Settings, workers: Workers) -> Result<(End, Results)> {
    let mut cluster = LocalCluster::start(workers).await?;
    let mut progress = Progress::new(&graph);
    let job = cluster.coordinator.submit(graph, settings).await?;
    let outcome = watch(job, &mut cluster, &mut progress).await;
    cluster.shut_down().await;
    outcome
}

/// Follows a job to its end: collects results, shows progress, passes interrupts on.
async fn watch(mut job: JobHandle, cluster: &mut LocalCluster, progress: &mut Progress) -> Result<(End, Results)> {
    let mut results = Results::new();
    let mut refresh = tokio::time::interval(REFRESH);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut stopping = false;
    let mut open = true;
    while open {
        tokio::select! {
            rows = job.results.recv() => match rows {
                Some(rows) => results.entry(rows.operator).or_default().extend(rows.batches),
                None => open = false,
            },
            _ = refresh.tick() => progress.show(&job.metrics.borrow()),
            _ = interrupt.recv() => stop(&job, &mut stopping).await?,
            _ = terminate.recv() => stop(&job, &mut stopping).await?,
            error = cluster.worker_ended(), if !stopping => return Err(error),
        }
    }
    let status = job.wait().await;
    progress.finish(&job.metrics.borrow());
    match status {
        JobStatus::Failed { message, .. } => Err(TidemillError::JobFailed(message)),
        JobStatus::Stopped => Ok((End::Interrupted, results)),
        _ => Ok((End::Finished, results)),
    }
}

/// The first interrupt lets what was read be written; the second does not wait for it.
async fn stop(job: &JobHandle, stopping: &mut bool) -> Result<()> {
    let mode = if *stopping { StopMode::Cancel } else { StopMode::Drain };
    *stopping = true;
    Ok(job.stop(mode).await?)
}
