//! Runs a SQL script: the coordinator compiles it, the cluster runs its job, the results are printed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;

use tidemill_coordinator::{BatchJob, CoordinatorError, JobHandle, JobStatus, Output, ResultColumns};
use tidemill_plans::batch::Wanted;
use tidemill_plans::explain::analyze::explain_analyze;
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::settings::Settings;
use tidemill_sql::JobStatement;

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
    let Outcome { end, outputs, results, mut batches } = outcome?;
    print(script.format, outputs, results, &mut batches)?;
    Ok(end)
}

/// What a run leaves to print.
struct Outcome {
    end: End,
    outputs: Vec<Output>,
    results: Results,
    /// Those of queries that ran as a whole.
    batches: VecDeque<(Results, ResultColumns)>,
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
    cluster.serve_http(script.http).await?;
    // All statements begin at once, so none sees what another writes; and a job may have no end.
    let mut batches = Batches { format: script.format, prints: compiled.graph.is_none(), held: VecDeque::new() };
    let mut outputs = compiled.outputs;
    let end = batches.run(&mut outputs, cluster, interrupts).await?;
    let graph = match (compiled.graph, end) {
        (Some(graph), End::Finished) => graph,
        (_, end) => {
            let results = Results::new(script.format, []);
            return Ok(Outcome { end, outputs, results, batches: batches.held });
        }
    };
    let mut results = results_of(script, &outputs, &graph);
    tokio::select! {
        started = cluster.start_workers(script.workers) => started?,
        signal = interrupts.next() => {
            let (end, outputs, batches) = (End::Interrupted(signal), Vec::new(), VecDeque::new());
            return Ok(Outcome { end, outputs, results, batches });
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
    Ok(Outcome { end, outputs, results, batches: batches.held })
}

/// The queries of a script that run as a whole.
struct Batches {
    format: Format,
    /// Whether rows are printed as soon as a query has ended: nothing else prints.
    prints: bool,
    /// What is to be printed, in the order of the statements.
    held: VecDeque<(Results, ResultColumns)>,
}

impl Batches {
    /// Runs them one after the other. What has been printed is taken out of the outputs.
    async fn run(
        &mut self,
        outputs: &mut Vec<Output>,
        cluster: &mut LocalCluster,
        interrupts: &mut Interrupts,
    ) -> Result<End> {
        for output in std::mem::take(outputs) {
            let (end, has_rows) = match &output {
                Output::Batch(statement) => {
                    (self.run_one(statement, cluster, interrupts).await?, !statement.writes_whole())
                }
                _ => (End::Finished, true),
            };
            if !has_rows {
                // Nobody asks how many rows were written.
                self.held.pop_back();
            } else if !self.prints {
                outputs.push(output);
            } else if end == End::Finished {
                print(self.format, vec![output], Results::new(self.format, []), &mut self.held)?;
            }
            if end != End::Finished {
                return Ok(end);
            }
        }
        Ok(End::Finished)
    }

    async fn run_one(
        &mut self,
        statement: &JobStatement,
        cluster: &mut LocalCluster,
        interrupts: &mut Interrupts,
    ) -> Result<End> {
        let Some(query) = statement.batch() else { return Ok(End::Finished) };
        let BatchJob { mut job, graph, result } = cluster.coordinator.run_batch(statement, query, None).await?;
        let mut results = Results::of_job(self.format, [result.clone()], &graph);
        let end = match &query.wanted {
            Wanted::Rows => {
                let mut progress = Progress::new(&graph).of(&job);
                follow(&mut job, cluster, &mut progress, interrupts, &mut results).await?
            }
            // Nobody asks how fast a plan was made.
            Wanted::Plan | Wanted::Analysis => collect(&mut job, interrupts, &mut results).await?,
        };
        self.held.push_back((results, result));
        Ok(end)
    }
}

/// Takes a job's rows to its end, or to an interrupt, and tells nobody how it goes.
async fn collect(job: &mut JobHandle, interrupts: &mut Interrupts, results: &mut Results) -> Result<End> {
    loop {
        tokio::select! {
            rows = job.results.recv() => match rows {
                Some(rows) => results.take(rows)?,
                None => break,
            },
            signal = interrupts.next() => return Ok(End::Interrupted(signal)),
        }
    }
    match job.wait().await {
        JobStatus::Failed { message, .. } => Err(TidemillError::JobFailed(message)),
        _ => Ok(End::Finished),
    }
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
        Output::Rows(_) | Output::Batch(_) | Output::Analysis { .. } => None,
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

fn print(
    format: Format,
    outputs: Vec<Output>,
    mut results: Results,
    batches: &mut VecDeque<(Results, ResultColumns)>,
) -> Result<()> {
    for part in outputs {
        match part {
            Output::Rows(rows) => output::print(format, &rows.schema(), &[rows])?,
            Output::Result(result) => results.print(&result)?,
            Output::Batch(_) => {
                if let Some((mut results, result)) = batches.pop_front() {
                    results.print(&result)?;
                }
            }
            // What did not run did nothing.
            Output::Analysis { .. } => {}
        }
    }
    Ok(())
}
