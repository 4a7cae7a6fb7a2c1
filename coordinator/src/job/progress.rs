//! Which tasks of a job have ended, and which workers no longer run any of it.

use std::collections::BTreeSet;

use tidemill_plans::ids::{TaskId, WorkerId};

use crate::job::JobPlan;

/// The tasks that have ended. Tasks that the plan does not know are refused, so that a stray event
/// cannot end a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    ended: BTreeSet<TaskId>,
}

impl Progress {
    /// Notes the end of a task.
    pub(crate) fn end_task(&mut self, plan: &JobPlan, task: TaskId) {
        if plan.worker_of(task).is_some() {
            self.ended.insert(task);
        }
    }

    /// Notes the end of all tasks of a worker.
    pub(crate) fn end_worker(&mut self, plan: &JobPlan, worker: WorkerId) {
        self.ended.extend(plan.tasks_of(worker));
    }

    /// Whether a task has ended.
    #[must_use]
    pub(crate) fn has_ended(&self, task: TaskId) -> bool {
        self.ended.contains(&task)
    }

    /// Whether every task has ended.
    #[must_use]
    pub(crate) fn all_ended(&self, plan: &JobPlan) -> bool {
        debug_assert!(self.ended.len() <= plan.task_count(), "only known tasks end");
        self.ended.len() == plan.task_count()
    }
}
