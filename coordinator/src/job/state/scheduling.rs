//! Every worker gets the deployment and creates its tasks and channels.
//!
//! Nothing runs yet, so whatever goes wrong here ends the job at once.

use std::collections::BTreeSet;

use tidemill_plans::ids::WorkerId;
use tidemill_plans::protocol::WorkerRequest;

use crate::job::state::{Ended, Starting, State, Transition};
use crate::job::{Effect, Event, JobPlan, JobStatus, RequestKind};

/// Waits for the answers to `Deploy`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// The workers that have not answered; nothing before the job was submitted.
    waiting: Option<BTreeSet<WorkerId>>,
}

impl Scheduling {
    pub(super) fn on(mut self, plan: &JobPlan, event: Event) -> Transition {
        match event {
            Event::Submitted if self.waiting.is_none() => Self::deploy(plan),
            Event::WorkerAnswered { worker, kind: RequestKind::Deploy, result } => match (result, &mut self.waiting) {
                (Ok(()), Some(waiting)) => {
                    // A second answer of one worker must not stand for another's first.
                    let is_last = waiting.remove(&worker) && waiting.is_empty();
                    if is_last { Starting::enter(plan) } else { (State::Scheduling(self), Vec::new()) }
                }
                (Err(cause), Some(_)) => Ended::enter(plan, cause.into()),
                (_, None) => (State::Scheduling(self), Vec::new()),
            },
            Event::TaskFailed { cause, .. } => self.end(plan, cause.into()),
            Event::WorkerLost { worker, reason } if plan.uses(worker) => {
                self.end(plan, plan.lost(worker, &reason).into())
            }
            Event::Interrupted(_) | Event::SuspendRequested if plan.has_checkpoints() => {
                self.end(plan, JobStatus::Suspended)
            }
            Event::StopRequested(_) | Event::Interrupted(_) => self.end(plan, JobStatus::Stopped),
            _ => (State::Scheduling(self), Vec::new()),
        }
    }

    fn deploy(plan: &JobPlan) -> Transition {
        let mut effects = vec![Effect::Publish(JobStatus::Scheduling)];
        let deploy = |worker| WorkerRequest::Deploy(worker, Box::new(plan.deployment().clone()));
        effects.extend(plan.workers().map(|worker| Effect::Send(worker, deploy(worker))));
        (State::Scheduling(Self { waiting: Some(plan.workers().collect()) }), effects)
    }

    fn end(self, plan: &JobPlan, status: JobStatus) -> Transition {
        match self.waiting {
            Some(_) => Ended::enter(plan, status),
            None => Ended::enter_undeployed(status),
        }
    }
}
