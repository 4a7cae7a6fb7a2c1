//! Where materialized views are, and at which epoch they can be read.

use std::collections::{BTreeMap, BTreeSet};

use tidemill_plans::connector::{VIEW_CONNECTOR, option};
use tidemill_plans::graph::DataflowGraph;
use tidemill_plans::ids::{Epoch, JobId, OperatorId, TaskId, WorkerId};
use tidemill_plans::node::{NodeKind, SourceNode};
use tidemill_plans::protocol::Deployment;
use tidemill_plans::stage::Stages;

use crate::error::{CoordinatorError, Result};
use crate::job::JobStatus;
use crate::scheduler::Places;

/// The views of all jobs, from their deployment until somebody forgets them.
#[derive(Debug, Default)]
pub(crate) struct Views {
    jobs: BTreeMap<JobId, ViewJob>,
}

/// The views of one job.
#[derive(Debug)]
struct ViewJob {
    /// The workers of each view's sink, by subtask.
    places: BTreeMap<OperatorId, Vec<WorkerId>>,
    /// The newest epoch that is complete.
    newest: Option<Epoch>,
    failure: Option<String>,
}

impl Views {
    /// Notes where the views of a job are going to be.
    pub(crate) fn note_job(&mut self, deployment: &Deployment) -> Result<()> {
        let workers: BTreeMap<TaskId, WorkerId> = deployment.tasks.iter().copied().collect();
        let stages = Stages::of(&deployment.graph)?;
        let mut places = BTreeMap::new();
        for node in deployment.graph.nodes.iter().filter(|node| node.is_view()) {
            let stage = stages.stage_of(node.id)?;
            let tasks = (0..node.parallelism).map(|subtask| TaskId { stage, subtask });
            places.insert(node.id, tasks.filter_map(|task| workers.get(&task).copied()).collect());
        }
        if !places.is_empty() {
            self.jobs.insert(deployment.run.job, ViewJob { places, newest: None, failure: None });
        }
        Ok(())
    }

    /// Notes that every task of a job has passed a barrier.
    pub(crate) fn note_epoch(&mut self, job: JobId, epoch: Epoch) {
        if let Some(views) = self.jobs.get_mut(&job) {
            views.newest = Some(epoch);
        }
    }

    /// Notes how a job is: of one that has finished, everything can be read.
    pub(crate) fn note_status(&mut self, job: JobId, status: &JobStatus) {
        let Some(views) = self.jobs.get_mut(&job) else { return };
        match status {
            JobStatus::Finished => views.newest = Some(Epoch::END),
            JobStatus::Failed { message, .. } => views.failure = Some(message.clone()),
            _ => {}
        }
    }

    /// How many instances hold each view, by its job and operator.
    pub(crate) fn instances(&self) -> impl Iterator<Item = (JobId, OperatorId, u32)> {
        let of_job = |(job, views): (&JobId, &ViewJob)| {
            let job = *job;
            let count = move |(operator, workers): (&OperatorId, &Vec<WorkerId>)| {
                (job, *operator, u32::try_from(workers.len()).unwrap_or(u32::MAX))
            };
            views.places.iter().map(count).collect::<Vec<_>>()
        };
        self.jobs.iter().flat_map(of_job)
    }

    /// Forgets the views of a job; those workers held parts of them.
    pub(crate) fn forget(&mut self, job: JobId) -> BTreeSet<WorkerId> {
        self.jobs.remove(&job).into_iter().flat_map(|views| views.places.into_values().flatten()).collect()
    }

    /// Sees to the sources of a graph that read views: each gets the newest epoch, and its stage the places of the
    /// view. `is_there` tells which workers there are.
    pub(crate) fn resolve(
        &self,
        graph: &mut DataflowGraph,
        stages: &Stages,
        is_there: impl Fn(WorkerId) -> bool,
    ) -> Result<Places> {
        let mut places = Places::new();
        for node in &mut graph.nodes {
            let NodeKind::Source(source) = &mut node.kind else { continue };
            if source.connector != VIEW_CONNECTOR {
                continue;
            }
            let (epoch, workers) = self.find(source)?;
            if !workers.iter().all(|worker| is_there(*worker)) {
                return Err(refuse(source, "a worker that held a part of it is gone"));
            }
            if workers.len() != node.parallelism as usize {
                return Err(refuse(source, "it is read by more or fewer tasks than hold it"));
            }
            source.options.push((String::from("epoch"), epoch.0.to_string()));
            places.insert(stages.stage_of(node.id)?, workers.to_vec());
        }
        Ok(places)
    }

    /// The newest epoch of the view that a source reads, and the view's workers.
    fn find(&self, source: &SourceNode) -> Result<(Epoch, &[WorkerId])> {
        let number = |name: &str| option(&source.options, name).and_then(|value| value.parse::<u64>().ok());
        let gone = || refuse(source, "it has been dropped, or its job has ended, and what it held is gone");
        let job = number("job").map(JobId).ok_or_else(gone)?;
        let operator = number("operator").and_then(|id| u32::try_from(id).ok()).map(OperatorId).ok_or_else(gone)?;
        let views = self.jobs.get(&job).ok_or_else(gone)?;
        if let Some(failure) = &views.failure {
            return Err(refuse(source, &format!("its job failed: {failure}")));
        }
        let epoch = views.newest.ok_or_else(|| refuse(source, "it has no complete epoch yet; ask again"))?;
        let workers = views.places.get(&operator).ok_or_else(gone)?;
        Ok((epoch, workers))
    }
}

fn refuse(source: &SourceNode, reason: &str) -> CoordinatorError {
    CoordinatorError::View { view: source.table.clone(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
    use tidemill_plans::ErrorDomain;
    use tidemill_plans::expr::StreamSchema;
    use tidemill_plans::graph::Partitioning;
    use tidemill_plans::ids::RunId;
    use tidemill_plans::node::SinkNode;
    use tidemill_plans::settings::Settings;

    use super::*;

    const JOB: JobId = JobId(3);

    fn columns() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]))
    }

    fn source(connector: &str, options: &[(&str, &str)]) -> NodeKind {
        NodeKind::Source(SourceNode {
            table: String::from("v"),
            connector: connector.to_owned(),
            options: options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            declared: vec![],
            columns: StreamSchema(columns()),
            projection: vec![],
            event_time: None,
            upsert_key: Vec::new(),
        })
    }

    fn sink(connector: &str) -> NodeKind {
        NodeKind::Sink(SinkNode {
            table: String::from("v"),
            connector: connector.to_owned(),
            options: vec![],
            time: None,
            upsert_keys: vec![],
            order_by: vec![],
            limit: None,
            live: false,
        })
    }

    /// A source with two instances and a sink with as many.
    fn graph(source: NodeKind, sink: NodeKind) -> DataflowGraph {
        let mut graph = DataflowGraph::default();
        let from = graph.add_node(source, 2, columns());
        let to = graph.add_node(sink, 2, columns());
        graph.add_edge(from, to, 0, Partitioning::Forward);
        graph
    }

    /// Views of which one job has one, on workers 1 and 2.
    fn views() -> Views {
        let graph = graph(source("nexmark", &[]), sink(VIEW_CONNECTOR));
        let stages = Stages::of(&graph).unwrap();
        let tasks = stages.tasks().map(|task| (task, WorkerId(task.subtask + 1))).collect();
        let settings = Settings::default();
        let mut views = Views::default();
        views
            .note_job(&Deployment {
                run: RunId::first(JOB),
                graph,
                tasks,
                workers: vec![],
                settings,
                checkpoints: None,
                restore: None,
                secrets: Vec::new(),
            })
            .unwrap();
        views
    }

    /// The epoch and the places that a reader gets, or why it gets none.
    fn read(views: &Views, workers: &[u32]) -> String {
        let options = [("job", "3"), ("operator", "1")];
        let mut graph = graph(source(VIEW_CONNECTOR, &options), sink("blackhole"));
        let stages = Stages::of(&graph).unwrap();
        match views.resolve(&mut graph, &stages, |worker| workers.contains(&worker.0)) {
            Err(error) => error.to_string(),
            Ok(places) => {
                let NodeKind::Source(source) = &graph.nodes[0].kind else { panic!("the source comes first") };
                let workers: Vec<u32> = places.values().flatten().map(|worker| worker.0).collect();
                format!("{} = {} on {workers:?}", source.options[2].0, source.options[2].1)
            }
        }
    }

    #[test]
    fn a_reader_gets_the_newest_epoch_and_runs_where_the_view_is() {
        let mut views = views();
        assert_eq!(read(&views, &[1, 2]), "view 'v' cannot be read: it has no complete epoch yet; ask again");
        views.note_epoch(JOB, Epoch(4));
        assert_eq!(read(&views, &[1, 2, 3]), "epoch = 4 on [1, 2]");
        assert_eq!(read(&views, &[2]), "view 'v' cannot be read: a worker that held a part of it is gone");
        views.note_status(JOB, &JobStatus::Running);
        views.note_status(JOB, &JobStatus::Finished);
        assert_eq!(read(&views, &[1, 2]), format!("epoch = {} on [1, 2]", u64::MAX));
    }

    #[test]
    fn what_failed_or_was_forgotten_is_not_read() {
        let mut views = views();
        views.note_epoch(JOB, Epoch(4));
        views.note_status(JOB, &JobStatus::Failed { domain: ErrorDomain::User, message: String::from("no file") });
        assert_eq!(read(&views, &[1, 2]), "view 'v' cannot be read: its job failed: no file");
        assert_eq!(views.forget(JOB), BTreeSet::from([WorkerId(1), WorkerId(2)]));
        let gone = "it has been dropped, or its job has ended, and what it held is gone";
        assert_eq!(read(&views, &[1, 2]), format!("view 'v' cannot be read: {gone}"));
        assert!(views.forget(JOB).is_empty());
    }
}
