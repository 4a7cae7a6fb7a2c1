//! Runs a SQL script: the coordinator compiles it, the cluster runs its job, the results are printed.

use std::path::PathBuf;

use tidemill_coordinator::{CoordinatorError, JobHandle, JobStatus, Output, ResultColumns};
use tidemill_plans::explain::analyze::explain_analyze;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::protocol::StopMode;
use tidemill_plans::settings::Settings;
use tokio::signal::unix::SignalKind;

use crate::cluster::{LocalCluster, Workers};
use crate::error::{Result, TidemillError};
use crate::interrupts::Interrupts;
use crate::output::{self, Format};
use crate::progress::{Progress, REFRESH};
use crate::results::Results;

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
    /// Where the metadata are kept; without it they are gone with the process.
    pub data_dir: Option<PathBuf>,
    /// How results are printed.
    pub format: Format,
}

/// How a script ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything was done.
    Finished,
    /// Somebody interrupted it, with this signal; what was written is complete.
    Interrupted(SignalKind),
}

/// Runs a script, within an actix system.
pub async fn run(script: Script) -> Result<End> {
    // Before anything is started that an interrupt would have to stop.
    let mut interrupts = Interrupts::listen()?;
    let mut cluster = LocalCluster::start(script.data_dir.clone())?;
    let outcome = run_on(&mut cluster, &script, &mut interrupts).await;
    cluster.shut_down().await;
    let Outcome { end, outputs, results } = outcome?;
    print(script.format, outputs, results)?;
    Ok(end)
}

/// What a run leaves to print.
struct Outcome {
    end: End,
    outputs: Vec<Output>,
    results: Results,
}

async fn run_on(cluster: &mut LocalCluster, script: &Script, interrupts: &mut Interrupts) -> Result<Outcome> {
    let compiled = cluster.coordinator.compile(script.text.clone(), script.settings.clone()).await;
    let compiled = compiled.map_err(|error| match error {
        CoordinatorError::Sql(source) => TidemillError::Sql { path: script.path.clone(), source },
        other => other.into(),
    })?;
    for (position, warning) in &compiled.warnings {
        warn(&format!("{}: {position}{warning}", script.path.display()));
    }
    let mut outputs = compiled.outputs;
    let Some(graph) = compiled.graph else {
        return Ok(Outcome { end: End::Finished, outputs, results: Results::new(script.format, []) });
    };
    let mut results = results_of(script, &outputs, &graph);
    tokio::select! {
        started = cluster.start_workers(script.workers) => started?,
        signal = interrupts.next() => {
            return Ok(Outcome { end: End::Interrupted(signal), outputs: Vec::new(), results });
        }
    }
    let mut progress = Progress::new(&graph);
    let analyzed = outputs.iter().any(|output| matches!(output, Output::Analysis { .. }));
    let explained = analyzed.then(|| graph.clone());
    let mut job = cluster.coordinator.submit(graph, compiled.settings).await?;
    let end = watch(&mut job, cluster, &mut progress, interrupts, &mut results).await?;
    if let Some(graph) = &explained {
        explain(&mut outputs, graph, &job)?;
    }
    Ok(Outcome { end, outputs, results })
}

/// The results of a job; rows of those that are analysed are not wanted.
fn results_of(script: &Script, outputs: &[Output], graph: &DataflowGraph) -> Results {
    let columns: Vec<ResultColumns> = outputs.iter().filter_map(result_of).cloned().collect();
    let mut results = Results::of_job(script.format, columns, graph);
    for output in outputs {
        if let Output::Analysis { result: Some(result), .. } = output {
            results.do_without(result);
        }
    }
    results
}

fn result_of(output: &Output) -> Option<&ResultColumns> {
    match output {
        Output::Result(result) => Some(result),
        Output::Rows(_) | Output::Analysis { .. } => None,
    }
}

/// Puts what the operators did in the place of what is to be analysed.
fn explain(outputs: &mut [Output], graph: &DataflowGraph, job: &JobHandle) -> Result<()> {
    for output in outputs {
        if let Output::Analysis { sinks, .. } = output {
            *output = Output::Rows(output::plan(&explain_analyze(graph, sinks, &job.metrics.borrow()))?);
        }
    }
    Ok(())
}

/// Follows a job to its end: collects or prints results, shows progress, passes interrupts on.
async fn watch(
    job: &mut JobHandle,
    cluster: &mut LocalCluster,
    progress: &mut Progress,
    interrupts: &mut Interrupts,
    results: &mut Results,
) -> Result<End> {
    progress.suspended(|| results.begin())?;
    let mut refresh = tokio::time::interval(REFRESH);
    let mut interrupted: Option<SignalKind> = None;
    let mut open = true;
    let mut status = job.status.clone();
    while open {
        tokio::select! {
            rows = job.results.recv() => match rows {
                Some(rows) => {
                    progress.suspended(|| results.take(rows))?;
                    if results.are_complete() {
                        job.stop(results.stop_mode()).await?;
                    }
                }
                None => open = false,
            },
            _ = refresh.tick() => progress.show(&job.metrics.borrow()),
            signal = interrupts.next() => {
                // The first lets what was read be written; the second does not wait for it.
                let mode = if interrupted.is_some() { StopMode::Cancel } else { StopMode::Drain };
                interrupted.get_or_insert(signal);
                job.stop(mode).await?;
            }
            error = cluster.worker_ended(), if interrupted.is_none() => match job.recovers {
                true => cluster.replace_ended_workers()?,
                false => return Err(error),
            },
            Ok(()) = status.changed() => {
                if let JobStatus::Restarting { message, attempt } = &*status.borrow_and_update() {
                    progress.suspended(|| warn(&format!("restart {attempt} of the job: {message}")));
                }
            }
        }
    }
    let status = job.wait().await;
    // A job that failed before it read anything has nothing to sum up.
    let failed = matches!(status, JobStatus::Failed { .. });
    if !failed || job.metrics.borrow().iter().any(|operator| operator.rows_in > 0) {
        progress.finish(&job.metrics.borrow());
    }
    match status {
        JobStatus::Failed { message, .. } => Err(TidemillError::JobFailed(message)),
        JobStatus::Stopped if results.are_complete() => Ok(End::Finished),
        JobStatus::Stopped => Ok(End::Interrupted(interrupted.unwrap_or(SignalKind::interrupt()))),
        _ => Ok(End::Finished),
    }
}

fn print(format: Format, outputs: Vec<Output>, mut results: Results) -> Result<()> {
    for part in outputs {
        match part {
            Output::Rows(rows) => output::print(format, &rows.schema(), &[rows])?,
            Output::Result(result) => results.print(&result)?,
            // What did not run did nothing.
            Output::Analysis { .. } => {}
        }
    }
    Ok(())
}

/// Tells the person at the terminal what may go wrong later.
#[expect(clippy::print_stderr, reason = "the one place where a script warns")]
fn warn(message: &str) {
    eprintln!("warning: {message}");
}
