//! A job over all its attempts: what comes when one of them has ended.
//!
//! Plain state, which the actor drives: an attempt ends, then no worker knows of it any more, then the next one
//! begins, if there is to be one.

use std::time::Duration;

use tidemill_plans::checkpoint::Manifest;
use tidemill_plans::ids::RunId;

use crate::job::{JobStatus, Recovery};

/// See the [module](self).
#[derive(Debug)]
pub struct Attempts {
    /// Whether a failure is followed by another attempt; nothing without checkpoints.
    recovery: Option<Recovery>,
    next: Next,
    /// Whether somebody wants the job to end.
    is_stopping: bool,
    damaged: Vec<Manifest>,
}

/// What comes when the attempt is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Nothing,
    /// Another attempt, after a while.
    Attempt(Duration),
    /// It is being waited for.
    Waiting,
    /// It is not known yet: a savepoint is written first. Whether the attempt is over.
    Held(bool),
}

/// What to do now that no worker knows of an attempt which has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Let go of the job.
    Forget,
    /// Look for the checkpoint that the next attempt goes on from, after a while.
    TryAgain(Duration),
    /// Write the savepoint that the job has ended for.
    WriteSavepoint,
    /// Nothing: that is under way.
    Wait,
}

impl Attempts {
    /// A job whose first attempt begins.
    #[must_use]
    pub fn new(recovery: Option<Recovery>) -> Self {
        Self { recovery, next: Next::Nothing, is_stopping: false, damaged: Vec::new() }
    }

    /// The attempt is to end at once, and another one to begin, with another graph.
    pub fn begin_anew(&mut self) {
        self.next = Next::Attempt(Duration::ZERO);
    }

    /// The attempt is to end at once. What comes then is known when a savepoint has been written, or has not.
    pub fn hold(&mut self) {
        self.next = Next::Held(false);
    }

    /// How the job is when its attempt `run` is so: one that is going to be tried again has not failed.
    pub fn settle(&mut self, run: RunId, status: JobStatus, now: Duration) -> JobStatus {
        let goes_on = status == JobStatus::Stopped && self.next != Next::Nothing && !self.is_stopping;
        if goes_on && matches!(self.next, Next::Held(_)) {
            return JobStatus::Stopping;
        }
        if goes_on {
            let message = String::from("its parallelism changes");
            return JobStatus::Restarting { message, attempt: run.attempt + 1 };
        }
        let JobStatus::Failed { domain, message } = status else { return status };
        // What was cut off has been shown, and no checkpoint knows of it.
        let recovery = self.recovery.as_mut().filter(|_| !self.is_stopping);
        match recovery.and_then(|recovery| recovery.delay_after(domain, now)) {
            Some(delay) => {
                self.next = Next::Attempt(delay);
                JobStatus::Restarting { message, attempt: run.attempt + 1 }
            }
            None => {
                self.next = Next::Nothing;
                JobStatus::Failed { domain, message }
            }
        }
    }

    /// The attempt has ended, and no worker knows of it any more.
    pub fn when_over(&mut self) -> Over {
        match self.next {
            Next::Nothing => Over::Forget,
            Next::Attempt(delay) => {
                self.next = Next::Waiting;
                Over::TryAgain(delay)
            }
            Next::Held(false) => {
                self.next = Next::Held(true);
                Over::WriteSavepoint
            }
            Next::Waiting | Next::Held(true) => Over::Wait,
        }
    }

    /// Somebody wants the job to end. Whether there is an attempt that has to be told; if not, it has ended.
    #[must_use]
    pub fn stop(&mut self) -> bool {
        self.is_stopping = true;
        std::mem::replace(&mut self.next, Next::Nothing) == Next::Nothing
    }

    /// Whether the next attempt is being waited for.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.next == Next::Waiting
    }

    /// The next attempt begins.
    pub fn begin(&mut self) {
        debug_assert!(self.is_waiting(), "an attempt begins when the one before is over");
        self.next = Next::Nothing;
    }

    /// A checkpoint could not be restored.
    pub fn note_damaged(&mut self, checkpoint: Manifest) {
        self.damaged.push(checkpoint);
    }

    /// The checkpoints that could not be.
    #[must_use]
    pub fn damaged(&self) -> &[Manifest] {
        &self.damaged
    }
}

#[cfg(test)]
mod tests {
    use tidemill_plans::ids::JobId;
    use tidemill_plans::settings::Settings;

    use super::*;
    use crate::job::JobFailure;

    const RUN: RunId = RunId::first(JobId(1));

    fn failed() -> JobStatus {
        JobFailure::external(String::from("a worker is gone")).into()
    }

    fn recovering() -> Attempts {
        Attempts::new(Some(Recovery::new(&Settings::default())))
    }

    #[test]
    fn a_failure_is_followed_by_another_attempt_when_its_own_is_over() {
        let mut attempts = recovering();
        let status = attempts.settle(RUN, failed(), Duration::ZERO);
        assert!(matches!(status, JobStatus::Restarting { attempt: 1, .. }), "{status:?}");
        assert!(matches!(attempts.when_over(), Over::TryAgain(_)));
        assert_eq!(attempts.when_over(), Over::Wait);
        attempts.begin();
        assert_eq!(attempts.settle(RUN.next(), JobStatus::Finished, Duration::ZERO), JobStatus::Finished);
        assert_eq!(attempts.when_over(), Over::Forget);
    }

    #[test]
    fn a_job_that_is_held_ends_or_begins_anew() {
        let mut attempts = recovering();
        attempts.hold();
        assert_eq!(attempts.settle(RUN, JobStatus::Stopped, Duration::ZERO), JobStatus::Stopping);
        assert_eq!([attempts.when_over(), attempts.when_over()], [Over::WriteSavepoint, Over::Wait]);
        assert!(!attempts.stop(), "there is no attempt to be told");
        assert_eq!(attempts.when_over(), Over::Forget);
        attempts.hold();
        assert_eq!(attempts.when_over(), Over::WriteSavepoint);
        attempts.begin_anew();
        assert_eq!(attempts.when_over(), Over::TryAgain(Duration::ZERO));
    }

    #[test]
    fn a_job_without_checkpoints_fails_at_once() {
        assert_eq!(Attempts::new(None).settle(RUN, failed(), Duration::ZERO), failed());
    }

    #[test]
    fn a_job_that_was_to_end_is_not_tried_again() {
        let mut attempts = recovering();
        assert!(attempts.stop());
        assert_eq!(attempts.settle(RUN, failed(), Duration::ZERO), failed());
        let mut attempts = recovering();
        attempts.settle(RUN, failed(), Duration::ZERO);
        assert!(!attempts.stop(), "there is no attempt to be told");
        assert_eq!(attempts.when_over(), Over::Forget);
    }
}
