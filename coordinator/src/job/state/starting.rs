//! All tasks exist; every worker is told to run its own.
//!
//! A short job can finish here: tasks that already run report before the last worker has answered.

use std::collections::BTreeSet;

use tidemill_plans::ids::WorkerId;
use tidemill_plans::protocol::{StopMode, WorkerRequest};

use crate::job::epochs::Epochs;
use crate::job::progress::Progress;
use crate::job::state::{Committing, Failing, Running, State, Stopping, Then, Transition};
use crate::job::{Event, JobPlan, JobStatus, RequestKind};

/// Waits for the answers to `Start`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starting {
    waiting: BTreeSet<WorkerId>,
    progress: Progress,
    epochs: Epochs,
}

impl Starting {
    pub(super) fn enter(plan: &JobPlan) -> Transition {
        let state =
            Self { waiting: plan.workers().collect(), progress: Progress::default(), epochs: Epochs::new(plan) };
        (State::Starting(state), plan.send_all(&WorkerRequest::Start(plan.run())))
    }

    pub(super) fn on(mut self, plan: &JobPlan, event: Event) -> Transition {
        match event {
            Event::WorkerAnswered { worker, kind: RequestKind::Start, result: Ok(()) } => {
                self.waiting.remove(&worker);
                if self.waiting.is_empty() {
                    return Running::enter(plan, self.progress, self.epochs);
                }
            }
            Event::WorkerAnswered { kind: RequestKind::Start, result: Err(cause), .. } => {
                return Failing::enter(plan, self.progress, cause);
            }
            Event::TaskFinished { task, state } => {
                self.progress.end_task(plan, task);
                self.epochs.end_task(task, state);
                if self.progress.all_ended(plan) {
                    return Committing::enter(plan, self.progress, &self.epochs, JobStatus::Finished);
                }
            }
            Event::CheckpointFailed { cause, .. } => return Failing::enter(plan, self.progress, cause),
            Event::TaskFailed { task, cause } => return Failing::enter_for_task(plan, self.progress, task, cause),
            Event::WorkerLost { worker, reason } if plan.uses(worker) => {
                return Failing::enter_for_worker(plan, self.progress, worker, &reason);
            }
            Event::StopRequested(mode) => return Stopping::enter(plan, self.progress, self.epochs, mode, Then::Forget),
            Event::Interrupted(mode) => {
                return Stopping::enter(plan, self.progress, self.epochs, mode, Then::after_interrupt(plan));
            }
            // Nothing has been read that the checkpoint which it began with does not have.
            Event::SuspendRequested if plan.has_checkpoints() => {
                return Stopping::enter(plan, self.progress, self.epochs, StopMode::Cancel, Then::GoOn);
            }
            _ => {}
        }
        (State::Starting(self), Vec::new())
    }
}
