//! A job over all its attempts: what comes when one of them has ended.
//!
//! Plain state, which the actor drives: an attempt ends, then no worker knows of it any more, then the next one
//! begins, if there is to be one.

use std::time::Duration;

use tidemill_plans::ErrorDomain;
use tidemill_plans::checkpoint::Manifest;
use tidemill_plans::ids::RunId;

use crate::job::{JobStatus, Recovery};

/// See the [module](self).
#[derive(Debug)]
pub struct Attempts {
    /// Whether a failure is followed by another attempt; nothing without checkpoints.
    recovery: Option<Recovery>,
    next: Next,
    wish: Wish,
    damaged: Vec<Manifest>,
}

/// What somebody wants of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// Nothing but that it goes on.
    GoOn,
    /// That it is kept for another coordinator.
    Keep,
    /// That it ends.
    Stop,
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
        Self { recovery, next: Next::Nothing, wish: Wish::GoOn, damaged: Vec::new() }
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
        match status {
            JobStatus::Stopped if self.next != Next::Nothing => match self.wish {
                // It is not known yet what comes.
                Wish::GoOn if matches!(self.next, Next::Held(_)) => JobStatus::Stopping,
                Wish::GoOn => restarting(run, "its parallelism changes"),
                Wish::Keep => self.end(JobStatus::Suspended),
                Wish::Stop => self.end(JobStatus::Stopped),
            },
            JobStatus::Suspended if self.wish == Wish::GoOn => {
                self.next = Next::Attempt(Duration::ZERO);
                restarting(run, "a worker that it runs on leaves")
            }
            JobStatus::Failed { domain, message } => self.settle_failure(run, domain, message, now),
            status if status.is_terminal() => self.end(status),
            status => status,
        }
    }

    fn settle_failure(&mut self, run: RunId, domain: ErrorDomain, message: String, now: Duration) -> JobStatus {
        // What was cut off has been shown, and no checkpoint knows of it.
        let recovery = self.recovery.as_mut().filter(|_| self.wish != Wish::Stop);
        match recovery.and_then(|recovery| recovery.delay_after(domain, now)) {
            Some(_) if self.wish == Wish::Keep => self.end(JobStatus::Suspended),
            Some(delay) => {
                self.next = Next::Attempt(delay);
                restarting(run, &message)
            }
            None => self.end(JobStatus::Failed { domain, message }),
        }
    }

    /// No attempt follows.
    fn end(&mut self, status: JobStatus) -> JobStatus {
        self.next = Next::Nothing;
        status
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
        self.wish = Wish::Stop;
        std::mem::replace(&mut self.next, Next::Nothing) == Next::Nothing
    }

    /// The job is to be kept for another coordinator. Whether there is an attempt that has to be told.
    #[must_use]
    pub fn keep(&mut self) -> bool {
        if self.wish == Wish::GoOn {
            self.wish = Wish::Keep;
        }
        self.next == Next::Nothing
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

fn restarting(run: RunId, message: &str) -> JobStatus {
    JobStatus::Restarting { message: message.to_owned(), attempt: run.attempt + 1 }
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

    #[test]
    fn a_job_that_leaves_off_goes_on_elsewhere_unless_it_is_kept() {
        let mut attempts = recovering();
        let status = attempts.settle(RUN, JobStatus::Suspended, Duration::ZERO);
        assert!(matches!(status, JobStatus::Restarting { attempt: 1, .. }), "{status:?}");
        assert_eq!(attempts.when_over(), Over::TryAgain(Duration::ZERO));
        assert!(!attempts.keep(), "there is no attempt to be told");
        assert_eq!(attempts.settle(RUN, JobStatus::Suspended, Duration::ZERO), JobStatus::Suspended);
        assert_eq!(attempts.when_over(), Over::Forget);
    }

    #[test]
    fn a_job_that_is_kept_is_so_whatever_it_ends_with_but_not_if_it_was_to_end() {
        for (status, expected) in [
            (JobStatus::Finished, JobStatus::Finished),
            (JobStatus::Suspended, JobStatus::Suspended),
            (failed(), JobStatus::Suspended),
        ] {
            let mut attempts = recovering();
            assert!(attempts.keep());
            assert_eq!(attempts.settle(RUN, status, Duration::ZERO), expected);
            assert_eq!(attempts.when_over(), Over::Forget);
        }
        let mut rescaled = recovering();
        rescaled.begin_anew();
        assert!(!rescaled.keep());
        assert_eq!(rescaled.settle(RUN, JobStatus::Stopped, Duration::ZERO), JobStatus::Suspended);
        let mut stopped = recovering();
        assert!(stopped.stop());
        assert!(stopped.keep());
        assert_eq!(stopped.settle(RUN, failed(), Duration::ZERO), failed());
    }
}
