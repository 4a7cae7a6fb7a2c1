//! What people see of jobs: SHOW JOBS and SHOW CHECKPOINTS.

use std::time::Duration;

use actix::{Context, Handler, MessageResult};
use tidemill_plans::graph::{DataflowGraph, Node};
use tidemill_plans::ids::{OperatorId, TaskId};
use tidemill_plans::node::NodeKind;
use tidemill_plans::stage::Stages;

use super::messages::{AddressesOf, CountViewInstances, ListCheckpoints, ListJobs, NoteAlignment, Observe};
use super::{Coordinator, Job};
use crate::error::{CoordinatorError, Result};
use crate::handle::{JobInfo, ObservedJob};
use crate::job::JobPlan;
use crate::job::checkpoint_log::CheckpointInfo;

impl Job {
    fn info(&self, now: Duration) -> JobInfo {
        let plan = self.machine.plan();
        let newest = self.log.newest_sealed();
        JobInfo {
            id: plan.run().job,
            status: self.status.borrow().clone(),
            restarts: plan.run().attempt,
            makes: makes(&plan.deployment().graph),
            tasks: plan.task_count(),
            has_checkpoints: plan.has_checkpoints(),
            newest_checkpoint: newest.map(|info| (info.epoch, now.saturating_sub(info.begun))),
            is_query: plan.deployment().graph.nodes.iter().any(Node::is_result),
            progress: None,
            owner: None,
        }
    }
}

/// The sinks that a job writes and the models that it trains, by name.
pub(crate) fn makes(graph: &DataflowGraph) -> Vec<String> {
    let made = graph.nodes.iter().filter_map(|node| match &node.kind {
        NodeKind::Sink(sink) => Some(sink.table.clone()),
        NodeKind::Train(train) => Some(train.model.clone()),
        NodeKind::Fit(fit) => Some(fit.model.clone()),
        _ => None,
    });
    made.collect()
}

impl Handler<Observe> for Coordinator {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Context<Self>) -> Self::Result {
        let now = self.clock.now();
        let observed = |job: &Job| ObservedJob {
            info: job.info(now),
            operators: job.machine.plan().deployment().graph.nodes.iter().map(named).collect(),
            metrics: job.newest_metrics.values().cloned().collect(),
            checkpoints: job.log.clone(),
        };
        MessageResult(self.jobs.values().map(observed).collect())
    }
}

/// An operator's kind and, if it has one, the name of the object that it belongs to.
pub(crate) fn named(node: &Node) -> (&'static str, String) {
    let object = match &node.kind {
        NodeKind::Source(source) => source.table.clone(),
        NodeKind::Sink(sink) => sink.table.clone(),
        NodeKind::Train(train) => train.model.clone(),
        NodeKind::Fit(fit) => fit.model.clone(),
        NodeKind::Predict(predict) => predict.model.clone(),
        _ => String::new(),
    };
    (node.kind.name(), object)
}

impl Handler<ListJobs> for Coordinator {
    type Result = MessageResult<ListJobs>;

    fn handle(&mut self, _: ListJobs, _: &mut Context<Self>) -> Self::Result {
        let now = self.clock.now();
        MessageResult(self.jobs.values().map(|job| job.info(now)).collect())
    }
}

impl Handler<AddressesOf> for Coordinator {
    type Result = MessageResult<AddressesOf>;

    fn handle(&mut self, AddressesOf(job, operator): AddressesOf, _: &mut Context<Self>) -> Self::Result {
        let found = self.jobs.get(&job).ok_or(CoordinatorError::NotRunning { job });
        MessageResult(found.and_then(|job| addresses(job.machine.plan(), operator)))
    }
}

fn addresses(plan: &JobPlan, operator: OperatorId) -> Result<Vec<String>> {
    let deployment = plan.deployment();
    let stage = Stages::of(&deployment.graph)?.stage_of(operator)?;
    let address = |task: TaskId| {
        let worker = plan.worker_of(task)?;
        deployment.workers.iter().find(|(id, _)| *id == worker).map(|(_, address)| address.clone())
    };
    let parts = 0..deployment.graph.node(operator)?.parallelism;
    let addresses: Option<Vec<String>> = parts.map(|subtask| address(TaskId { stage, subtask })).collect();
    addresses.ok_or(CoordinatorError::NotRunning { job: plan.run().job })
}

impl Handler<CountViewInstances> for Coordinator {
    type Result = MessageResult<CountViewInstances>;

    fn handle(&mut self, _: CountViewInstances, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.views.instances().collect())
    }
}

impl Handler<ListCheckpoints> for Coordinator {
    type Result = MessageResult<ListCheckpoints>;

    fn handle(&mut self, ListCheckpoints(job): ListCheckpoints, _: &mut Context<Self>) -> Self::Result {
        let found: Result<_> = self.jobs.get(&job).ok_or(CoordinatorError::NotRunning { job });
        let now = self.clock.now();
        let told = |info: &CheckpointInfo| CheckpointInfo { begun: now.saturating_sub(info.begun), ..info.clone() };
        MessageResult(found.map(|job| job.log.iter().map(told).collect()))
    }
}

impl Handler<NoteAlignment> for Coordinator {
    type Result = MessageResult<NoteAlignment>;

    fn handle(&mut self, message: NoteAlignment, _: &mut Context<Self>) -> Self::Result {
        let NoteAlignment { run, epoch, alignment } = message;
        if let Some(job) = self.jobs.get_mut(&run.job).filter(|job| job.run() == run) {
            job.log.note_alignment(epoch, alignment);
        }
        MessageResult(())
    }
}
