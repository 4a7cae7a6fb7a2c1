//! Something failed: the other tasks are cancelled, and the first cause is kept.

use tidemill_plans::ids::{TaskId, WorkerId};
use tidemill_plans::protocol::StopMode;

use crate::job::progress::Progress;
use crate::job::state::stopping::stop_all;
use crate::job::state::{Ended, State, Transition};
use crate::job::{Event, JobFailure, JobPlan, RequestKind};

/// Waits for the rest to end. What fails after the first cause usually fails because of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    cause: JobFailure,
    progress: Progress,
}

impl Failing {
    pub(super) fn enter(plan: &JobPlan, progress: Progress, cause: JobFailure) -> Transition {
        if progress.all_ended(plan) {
            return Ended::enter(plan, cause.into());
        }
        (State::Failing(Self { cause, progress }), stop_all(plan, StopMode::Cancel))
    }

    pub(super) fn enter_for_task(
        plan: &JobPlan,
        mut progress: Progress,
        task: TaskId,
        cause: JobFailure,
    ) -> Transition {
        progress.end_task(plan, task);
        Self::enter(plan, progress, cause)
    }

    pub(super) fn enter_for_worker(
        plan: &JobPlan,
        mut progress: Progress,
        worker: WorkerId,
        reason: &str,
    ) -> Transition {
        progress.end_worker(plan, worker);
        Self::enter(plan, progress, plan.lost(worker, reason))
    }

    pub(super) fn on(mut self, plan: &JobPlan, event: Event) -> Transition {
        match event {
            Event::TaskFinished { task, .. } | Event::TaskFailed { task, .. } => self.progress.end_task(plan, task),
            Event::WorkerLost { worker, .. } | Event::WorkerAnswered { worker, kind: RequestKind::Cancel, .. } => {
                self.progress.end_worker(plan, worker);
            }
            Event::StopTimedOut(StopMode::Cancel) => return Ended::enter(plan, self.cause.into()),
            _ => {}
        }
        if self.progress.all_ended(plan) {
            return Ended::enter(plan, self.cause.into());
        }
        (State::Failing(self), Vec::new())
    }
}
