//! Runs a SQL script: the coordinator compiles it, the cluster runs its job, the results are printed.

use std::net::SocketAddr;
use std::path::PathBuf;

use tidemill_coordinator::{CoordinatorError, JobHandle, Output, ResultColumns};
use tidemill_plans::explain::analyze::explain_analyze;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::settings::Settings;

use crate::cluster::{LocalCluster, Workers};
use crate::error::{Result, TidemillError};
use crate::follow::{End, follow};
use crate::interrupts::Interrupts;
use crate::output::{self, Format};
use crate::progress::Progress;
use crate::results::Results;
use crate::say::warn;

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
    /// Where metrics are served, if they are to be.
    pub http: Option<SocketAddr>,
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
    cluster.serve_http(script.http).await?;
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
    let end = follow(&mut job, cluster, &mut progress, interrupts, &mut results).await?;
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
