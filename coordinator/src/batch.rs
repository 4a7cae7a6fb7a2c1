//! Queries that run as a whole, in the shape of jobs: whoever reads results of jobs reads theirs.

use std::sync::Arc;
use std::time::Duration;

use tidemill_batch::{BatchError, BatchRun};
use tidemill_plans::PlanError;
use tidemill_plans::batch::progress::BatchProgress;
use tidemill_plans::batch::{BatchQuery, Destination, ReadCounts, Wanted};
use tidemill_plans::connector::RESULT_CONNECTOR;
use tidemill_plans::graph::{DataflowGraph, Partitioning};
use tidemill_plans::ids::{JobId, OperatorId};
use tidemill_plans::node::{NodeKind, SinkNode};
use tidemill_plans::protocol::OperatorMetrics;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::access::Access;
use crate::error::Result;
use crate::handle::{Control, JobHandle, ResultBatches};
use crate::job::JobStatus;
use crate::queries::{Listed, QueryPlace};

/// Results that wait for the session before the query does.
const RESULTS_MAX: usize = 4;

/// How often a query's progress is looked at.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// A query that is being followed. Dropping it ends the query.
#[derive(Debug)]
pub(crate) struct Running {
    stop: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Running {
    /// Ends the query.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// What a query reads and makes, as a graph: its metrics are of that. The result is the last operator.
pub(crate) fn graph(query: &BatchQuery) -> Result<DataflowGraph> {
    let mut graph = DataflowGraph::default();
    let tables = if query.wanted == Wanted::Plan { Vec::new() } else { query.tables().map_err(PlanError::from)? };
    let sources: Vec<OperatorId> = tables
        .into_iter()
        .map(|table| {
            let schema = table.connector_schema();
            graph.add_node(NodeKind::Source(table), 1, schema)
        })
        .collect();
    let sink = SinkNode::new("result", RESULT_CONNECTOR);
    let sink = graph.add_node(NodeKind::Sink(sink), 1, query.schema());
    for source in sources {
        graph.add_edge(source, sink, 0, Partitioning::Forward);
    }
    Ok(graph)
}

/// The operator that stands for a query's result.
pub(crate) fn result_of(graph: &DataflowGraph) -> OperatorId {
    graph.nodes.last().map_or(OperatorId(0), |node| node.id)
}

/// What a query makes, by name: a result, as those of streams are called, a sink, or files.
pub(crate) fn makes(query: &BatchQuery) -> Vec<String> {
    vec![match &query.destination {
        Destination::Asker => String::from("select_1"),
        Destination::Files(target) => target.path.clone(),
        Destination::Sink(sink) => sink.table.clone(),
    }]
}

/// A query that begins to run.
pub(crate) struct Begun {
    pub(crate) run: BatchRun,
    /// What it reads and makes.
    pub(crate) graph: DataflowGraph,
    /// What it makes, by name.
    pub(crate) makes: Vec<String>,
    /// Whether it is there for its rows.
    pub(crate) is_query: bool,
    /// Its place among all queries, if it is to be seen there.
    pub(crate) place: Option<QueryPlace>,
}

/// Follows a query; its handle is as that of a job whose result is of the graph's last operator.
pub(crate) fn follow(id: JobId, begun: Begun, access: Arc<Access>) -> JobHandle {
    let Begun { run, graph, makes, is_query, place } = begun;
    let result = result_of(&graph);
    let (status, status_of) = watch::channel(JobStatus::Running);
    let (metrics, metrics_of) = watch::channel(Vec::new());
    // A query has no epochs, and nobody waits for one.
    let (_, epoch) = watch::channel(None);
    let (rows, results) = mpsc::channel(RESULTS_MAX);
    let (stop, stopped) = watch::channel(false);
    let (progress, progress_of) = watch::channel(BatchProgress::default());
    if let Some(place) = &place {
        let (status, metrics, progress) = (status_of.clone(), metrics_of.clone(), progress_of.clone());
        place.list(Listed { makes, is_query, graph, status, metrics, progress, stop: stop.clone() });
    }
    let follower = Follower { id, run, result, rows, metrics, progress, stopped, access };
    let mut task = JoinSet::new();
    task.spawn(async move {
        let end = follower.complete().await;
        drop(place);
        // The results end behind this, with the follower's own end of the queue.
        status.send_replace(end);
    });
    let control = Control::Batch(Running { stop, _task: task });
    let (status, metrics, progress) = (status_of, metrics_of, Some(progress_of));
    JobHandle { id, status, metrics, progress, epoch, results, recovers: false, control }
}

/// Carries a query's rows to the session.
struct Follower {
    id: JobId,
    run: BatchRun,
    result: OperatorId,
    rows: mpsc::Sender<ResultBatches>,
    metrics: watch::Sender<Vec<OperatorMetrics>>,
    progress: watch::Sender<BatchProgress>,
    stopped: watch::Receiver<bool>,
    /// What must not be told.
    access: Arc<Access>,
}

impl Follower {
    async fn complete(mut self) -> JobStatus {
        let mut look = interval(PROGRESS_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            tokio::select! {
                next = self.run.next() => match next {
                    Some(Ok(batch)) => {
                        let rows = ResultBatches { operator: self.result, batches: vec![batch] };
                        if !self.deliver(rows).await {
                            break JobStatus::Stopped;
                        }
                    }
                    Some(Err(error)) => break self.failed(&error),
                    None => break JobStatus::Finished,
                },
                () = is_stopped(&mut self.stopped) => break JobStatus::Stopped,
                _ = look.tick() => self.look(),
            }
        };
        self.look();
        end
    }

    fn failed(&self, error: &BatchError) -> JobStatus {
        let message = self.access.redact(&tidemill_plans::error::chain(error));
        JobStatus::Failed { domain: error.domain(), message }
    }

    /// Hands rows on; whether the session still wants them.
    async fn deliver(&mut self, rows: ResultBatches) -> bool {
        tokio::select! {
            sent = self.rows.send(rows) => sent.is_ok(),
            () = is_stopped(&mut self.stopped) => false,
        }
    }

    /// Says how far the query has come: the first table stands for all.
    fn look(&mut self) {
        let ReadCounts { rows, bad_rows, spilled_bytes, .. } = self.run.counts();
        let none = OperatorMetrics::new(self.id, OperatorId(0), 0);
        let metrics =
            OperatorMetrics { rows_in: rows, rows_out: rows, dead_letter_rows: bad_rows, spilled_bytes, ..none };
        self.metrics.send_replace(vec![metrics]);
        let progress = self.run.progress();
        self.progress.send_if_modified(|told| std::mem::replace(told, progress) != progress);
    }
}

/// Returns once somebody wants the query to end, which goes on as long as its handle is there.
async fn is_stopped(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
