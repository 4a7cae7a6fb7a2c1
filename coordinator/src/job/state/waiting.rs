//! There is no worker to place the job on: it waits until one comes. No attempt is used up meanwhile.
//!
//! Once there are slots, a machine with a plan takes the place of this one.

use crate::job::state::{Ended, State, Transition};
use crate::job::{Effect, Event, JobPlan, JobStatus};

/// Waits for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting;

impl Waiting {
    pub(super) fn on(self, event: Event) -> Transition {
        match event {
            Event::Submitted => (State::Waiting(self), vec![Effect::Publish(JobStatus::Waiting)]),
            Event::StopRequested(_) => Ended::enter_undeployed(JobStatus::Stopped),
            Event::Interrupted(_) | Event::SuspendRequested => Ended::enter_undeployed(JobStatus::Suspended),
            _ => (State::Waiting(self), Vec::new()),
        }
    }

    /// Whether a plan has to wait.
    pub(in crate::job) fn is_for(plan: &JobPlan) -> bool {
        plan.task_count() == 0
    }
}
