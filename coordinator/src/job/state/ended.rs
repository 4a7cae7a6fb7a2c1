//! The job is over: workers forget it, watchers know, and no event changes anything.

use tidemill_plans::protocol::WorkerRequest;

use crate::job::state::{State, Transition};
use crate::job::{Effect, JobPlan, JobStatus};

/// How the job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    status: JobStatus,
}

impl Ended {
    /// Releases every worker, then publishes.
    pub(super) fn enter(plan: &JobPlan, status: JobStatus) -> Transition {
        let mut effects = plan.send_all(&WorkerRequest::Release(plan.run()));
        let (state, publish) = Self::enter_undeployed(status);
        effects.extend(publish);
        (state, effects)
    }

    /// Publishes; no worker has heard of the job.
    pub(super) fn enter_undeployed(status: JobStatus) -> Transition {
        assert!(status.is_terminal(), "a job ends with a terminal status");
        (State::Ended(Self { status: status.clone() }), vec![Effect::Publish(status)])
    }

    /// How the job ended.
    #[must_use]
    pub fn status(&self) -> &JobStatus {
        &self.status
    }
}
