//! All tasks have ended: the last checkpoint, which covers everything, is sealed, and sinks show what is left.
//!
//! A job without checkpoints has nothing left to show. If something fails here, the next attempt goes on from
//! that last checkpoint, if it is sealed: its tasks have ended, and sinks commit again.

use std::collections::BTreeSet;

use tidemill_plans::ids::{Epoch, WorkerId};
use tidemill_plans::protocol::{StopMode, WorkerRequest};

use crate::job::epochs::Epochs;
use crate::job::progress::Progress;
use crate::job::state::{Ended, Failing, State, Transition};
use crate::job::{COMMIT_LIMIT, Effect, Event, JobFailure, JobPlan, JobStatus, RequestKind};

/// Waits for the manifest, then for the workers' answers to the last commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committing {
    /// How the job will have ended.
    status: JobStatus,
    progress: Progress,
    /// The workers that have not answered, once the manifest is sealed.
    waiting: Option<BTreeSet<WorkerId>>,
}

impl Committing {
    pub(super) fn enter(plan: &JobPlan, progress: Progress, epochs: &Epochs, status: JobStatus) -> Transition {
        if !plan.has_checkpoints() {
            return Ended::enter(plan, status);
        }
        let mut state = Self { status, progress, waiting: None };
        let mut effects = match plan.restored_epoch() {
            // The attempt before has sealed it.
            Some(Epoch::END) => state.commit(plan),
            _ => vec![Effect::Seal(epochs.last_manifest(plan))],
        };
        effects.push(Effect::After(COMMIT_LIMIT, Event::CommitTimedOut));
        (State::Committing(state), effects)
    }

    pub(super) fn on(mut self, plan: &JobPlan, event: Event) -> Transition {
        let effects = match event {
            Event::Sealed { epoch: Epoch::END, result: Ok(()) } if self.waiting.is_none() => self.commit(plan),
            Event::Sealed { epoch: Epoch::END, result: Err(cause) } if self.waiting.is_none() => {
                return Failing::enter(plan, self.progress, cause);
            }
            Event::WorkerAnswered { worker, kind: RequestKind::Commit(Epoch::END), result: Ok(()) } => {
                return self.committed(plan, worker);
            }
            Event::WorkerAnswered { kind: RequestKind::Commit(_), result: Err(cause), .. }
            | Event::TaskFailed { cause, .. }
            | Event::Superseded(cause) => return Failing::enter(plan, self.progress, cause),
            Event::WorkerLost { worker, reason } if plan.uses(worker) => {
                return Failing::enter(plan, self.progress, plan.lost(worker, &reason));
            }
            Event::CommitTimedOut => {
                let cause = JobFailure::external(format!("sinks did not commit within {COMMIT_LIMIT:?}"));
                return Failing::enter(plan, self.progress, cause);
            }
            Event::StopRequested(StopMode::Cancel) => return Ended::enter(plan, JobStatus::Stopped),
            Event::Interrupted(StopMode::Cancel) => return Ended::enter(plan, JobStatus::Suspended),
            _ => Vec::new(),
        };
        (State::Committing(self), effects)
    }

    fn commit(&mut self, plan: &JobPlan) -> Vec<Effect> {
        self.waiting = Some(plan.workers().collect());
        plan.send_all(&WorkerRequest::Commit(plan.run(), Epoch::END))
    }

    fn committed(mut self, plan: &JobPlan, worker: WorkerId) -> Transition {
        let is_last = self.waiting.as_mut().is_some_and(|waiting| waiting.remove(&worker) && waiting.is_empty());
        if is_last { Ended::enter(plan, self.status) } else { (State::Committing(self), Vec::new()) }
    }
}
