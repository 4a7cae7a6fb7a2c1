//! A query that workers run, from its plan to its rows: cut, given to workers, fetched, and begun anew if a worker is lost
//! before any row has been seen, or if its joins have no room.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use ballista_core::serde::scheduler::PartitionLocation;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{internal_datafusion_err, internal_err};
use datafusion::datasource::sink::DataSinkExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, Partitioning, ReplaceChildrenOptions, execute_stream,
};
use datafusion::prelude::SessionContext;
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::StreamExt;
use thiserror::Error;
use tidemill_plans::ErrorDomain;
use tidemill_plans::batch::work::WorkFailure;
use tidemill_plans::batch::{BatchQuery, Wanted};
use tidemill_plans::settings::Settings;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::warn;

use super::codec::Codec;
use super::dispatcher::Submission;
use super::engine::Cluster;
use super::fetch::is_lost;
use super::pieces::ReadPieces;
use super::stages;
use crate::embedded::send;
use crate::engine::Step;
use crate::error::Told;
use crate::output::Output;
use crate::planning::Planner;
use crate::shown;
use crate::tracked::Tracked;

/// How often a query is begun. Each time a worker has been lost: a cluster that loses more than that has other worries.
const ATTEMPTS_MAX: u32 = 5;

/// Between two attempts, so that what is about to be noticed is.
const PAUSE: Duration = Duration::from_millis(500);

type Plan = Arc<dyn ExecutionPlan>;

/// A query that workers are to run.
pub(crate) struct Run<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) planner: Planner,
    pub(crate) query: &'a BatchQuery,
    pub(crate) settings: &'a Settings,
    pub(crate) progress: &'a Tracked,
}

/// Why a query has not been run by workers.
#[derive(Debug)]
pub(crate) struct NotRun {
    pub(crate) error: DataFusionError,
    /// Whether nobody has seen anything of it, and it is not the query's own fault: it may run elsewhere.
    pub(crate) may_run_elsewhere: bool,
}

/// A plan that cannot leave the process.
#[derive(Debug, Error)]
#[error("workers cannot run this query: {0}; SET batch.engine = 'embedded' has the coordinator run it")]
pub(crate) struct Stays(pub(crate) String);

/// All attempts have lost a worker.
#[derive(Debug, Error)]
#[error("the query has been begun {ATTEMPTS_MAX} times, and each time a worker was lost: {0}")]
struct LostOften(String);

impl Run<'_> {
    /// Runs it; `files` gets those that DataFusion reads.
    pub(crate) async fn complete(&self, steps: &mpsc::Sender<Step>, files: &mut Vec<PathBuf>) -> Result<(), NotRun> {
        let mut is_seen = false;
        let run = self.run(steps, files, &mut is_seen).await;
        run.map_err(|error| NotRun { may_run_elsewhere: !is_seen && is_of_cluster(&error), error })
    }

    async fn run(&self, steps: &mpsc::Sender<Step>, files: &mut Vec<PathBuf>, is_seen: &mut bool) -> Result<()> {
        if self.query.wanted == Wanted::Plan {
            let (_, rows) = cut(self.planner.plan(self.query, None, files).await?)?;
            check(&rows)?;
            let text = stages::planned(rows, self.planner.state.config_options())?;
            return send(steps, self.shown(&text)?).await;
        }
        let mut output = self.planner.output(self.query).await?;
        let analysis = match self.fill(&mut output, steps, files, is_seen).await {
            Ok(analysis) => analysis,
            Err(error) => {
                output.give_up().await;
                return Err(error);
            }
        };
        for batch in output.finish().await? {
            if self.query.wanted == Wanted::Rows {
                send(steps, batch).await?;
            }
        }
        match analysis {
            Some(text) => send(steps, self.shown(&text)?).await,
            None => Ok(()),
        }
    }

    /// Has all rows go where they are to go. If what is joined has no room in memory, joins sort it on disk.
    async fn fill(
        &self,
        output: &mut Output,
        steps: &mpsc::Sender<Step>,
        files: &mut Vec<PathBuf>,
        is_seen: &mut bool,
    ) -> Result<Option<(String, usize)>> {
        let plan = self.planner.plan(self.query, output.path(), files).await?;
        let may_sort = hashes(&plan)?;
        match self.fill_by(&self.planner, plan, output, steps, is_seen).await {
            Err(error)
                if may_sort && !*is_seen && matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)) =>
            {
                warn!(%error, "a query is begun anew, with joins that sort");
                self.progress.account().begin_anew();
                let planner = self.planner.with_sorted_joins();
                let plan = planner.plan(self.query, output.path(), files).await?;
                self.fill_by(&planner, plan, output, steps, is_seen).await
            }
            ended => ended,
        }
    }

    /// The same by one plan, in as many attempts as it takes.
    async fn fill_by(
        &self,
        planner: &Planner,
        plan: Plan,
        output: &mut Output,
        steps: &mpsc::Sender<Step>,
        is_seen: &mut bool,
    ) -> Result<Option<(String, usize)>> {
        let (writer, rows) = cut(plan)?;
        check(&rows)?;
        self.progress.expect(&rows);
        let mut begun = 0;
        loop {
            begun += 1;
            match self.attempt(planner, &rows, writer.as_ref(), output, steps, is_seen).await {
                Err(error) if is_lost(&error) && !*is_seen && begun < ATTEMPTS_MAX => {
                    warn!(%error, begun, "a query is begun anew");
                    self.progress.account().begin_anew();
                    sleep(PAUSE).await;
                }
                Err(error) if is_lost(&error) && !*is_seen => {
                    return Err(DataFusionError::External(Box::new(LostOften(error.to_string()))));
                }
                ended => return ended,
            }
        }
    }

    /// Has workers run the plan, and fetches its rows. Returns what its stages have done, if that is wanted.
    async fn attempt(
        &self,
        planner: &Planner,
        rows: &Plan,
        writer: Option<&Plan>,
        output: &mut Output,
        steps: &mpsc::Sender<Step>,
        is_seen: &mut bool,
    ) -> Result<Option<(String, usize)>> {
        let Cluster { workers, runtime, fetcher } = self.cluster;
        let submission = Submission {
            plan: Arc::clone(rows),
            context: Arc::new(SessionContext::new_with_state(planner.state.clone())),
            settings: self.settings.clone(),
            account: Arc::clone(self.progress.account()),
        };
        submission.account.begin(stages::tasks(Arc::clone(rows), planner.state.config_options()));
        let submitted = workers.submit(submission, runtime).await;
        let mut attempt = submitted.map_err(|reason| internal_datafusion_err!("{reason}"))?;
        let pieces = attempt.finished().await.map_err(error_of)?;
        let (stage, partitions) = by_partition(pieces);
        let partitioning = Partitioning::UnknownPartitioning(partitions.len());
        let pieces = ReadPieces::new(stage, &partitions, partitioning, rows.schema(), None, Arc::clone(fetcher));
        let plan: Plan = match writer {
            Some(writer) => {
                *is_seen = true;
                let pieces = Arc::new(CoalescePartitionsExec::new(Arc::new(pieces)));
                let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
                Arc::clone(writer).replace_children(vec![pieces], options)?
            }
            None => Arc::new(pieces),
        };
        let mut rows = execute_stream(plan, planner.state.task_ctx())?;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            *is_seen = true;
            if let Some(batch) = output.take(&batch).await?
                && self.query.wanted == Wanted::Rows
            {
                send(steps, batch).await?;
            }
        }
        if self.query.wanted != Wanted::Analysis {
            return Ok(None);
        }
        match workers.graph(attempt.id.clone(), runtime).await {
            Some(graph) => Ok(Some(stages::analyzed(&graph))),
            None => internal_err!("the scheduler does not know what it has done"),
        }
    }

    fn shown(&self, (text, stages): &(String, usize)) -> Result<RecordBatch> {
        let (workers, parts) = (self.cluster.workers.count(), self.planner.parts);
        let engine = format!("Batch, by Ballista on {workers} workers, in {stages} stages of up to {parts} partitions");
        shown::lines(self.query.schema(), engine, text, &self.query.destination)
    }
}

/// What writes rows here, if anything does, and what makes them elsewhere.
fn cut(plan: Plan) -> Result<(Option<Plan>, Plan)> {
    if !plan.is::<DataSinkExec>() {
        return Ok((None, plan));
    }
    match plan.children().as_slice() {
        [rows] => {
            let rows = Arc::clone(rows);
            Ok((Some(plan), rows))
        }
        _ => internal_err!("what writes rows has other inputs than those"),
    }
}

/// Whether joins of a plan hash rows.
fn hashes(plan: &Plan) -> Result<bool> {
    let mut hashes = false;
    plan.apply(|node| {
        hashes |= node.is::<HashJoinExec>();
        Ok(if hashes { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(hashes)
}

/// An error if a plan cannot leave the process.
fn check(plan: &Plan) -> Result<()> {
    let stays = |why: String| Err(DataFusionError::External(Box::new(Stays(why))));
    let mut is_recursive = false;
    plan.apply(|node| {
        is_recursive |= node.is::<RecursiveQueryExec>();
        Ok(TreeNodeRecursion::Continue)
    })?;
    if is_recursive {
        return stays(String::from("it is recursive, and each step needs the rows of the one before"));
    }
    match PhysicalPlanNode::try_from_physical_plan(Arc::clone(plan), &Codec::writing()) {
        Ok(_) => Ok(()),
        Err(error) => stays(error.message().lines().next().unwrap_or_default().to_owned()),
    }
}

/// The pieces of a result by its partitions, and the stage that has written them.
fn by_partition(pieces: Vec<PartitionLocation>) -> (usize, Vec<Vec<PartitionLocation>>) {
    let stage = pieces.first().map_or(0, |piece| piece.partition_id.stage_id);
    let mut partitions: BTreeMap<usize, Vec<PartitionLocation>> = BTreeMap::new();
    for piece in pieces {
        partitions.entry(piece.partition_id.partition_id).or_default().push(piece);
    }
    (stage, partitions.into_values().collect())
}

/// What a worker has said, as an error here.
fn error_of(failure: WorkFailure) -> DataFusionError {
    match failure {
        WorkFailure::Lost(reason) => super::fetch::lost(reason),
        WorkFailure::Memory(message) => DataFusionError::ResourcesExhausted(message),
        WorkFailure::Query { domain, message } => DataFusionError::External(Box::new(Told { domain, message })),
    }
}

/// Whether an error may be one of the cluster, and not of the query.
fn is_of_cluster(error: &DataFusionError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<Stays>() || error.is::<LostOften>() {
            return true;
        }
        if let Some(told) = error.downcast_ref::<Told>() {
            return told.domain != ErrorDomain::User;
        }
        cause = error.source();
    }
    matches!(error.find_root(), DataFusionError::Internal(_))
}
