//! The job ends on request: it drains; if that takes too long it is cut, so that its files are complete.
//!
//! Whoever wants it to end may at any time ask for a harder way, and by cancelling give the files up.
//!
//! What is cut off is shown, and no checkpoint covers it: whoever went on from one would write it again. So a job
//! that has checkpoints is given up before it is cut. One that somebody goes on with is not cut but dropped: it is as
//! its newest checkpoint has it.

use tidemill_plans::ids::{TaskId, WorkerId};
use tidemill_plans::protocol::{StopMode, WorkerRequest};

use crate::job::epochs::Epochs;
use crate::job::progress::Progress;
use crate::job::state::{Committing, Ended, Failing, State, Transition};
use crate::job::{CANCEL_LIMIT, CUT_LIMIT, DRAIN_LIMIT, Effect, Event, JobFailure, JobPlan, JobStatus, RequestKind};

/// What becomes of a job that has been stopped before it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nobody goes on with it.
    Forget,
    /// It goes on from its newest checkpoint, sooner or later.
    GoOn,
}

impl Then {
    /// What becomes of a job whose process is to end.
    pub(super) fn after_interrupt(plan: &JobPlan) -> Self {
        if plan.has_checkpoints() { Self::GoOn } else { Self::Forget }
    }

    fn status(self) -> JobStatus {
        match self {
            Self::Forget => JobStatus::Stopped,
            Self::GoOn => JobStatus::Suspended,
        }
    }

    /// How a job is stopped that was to be in this mode.
    fn harder(self, mode: StopMode) -> StopMode {
        match (self, mode) {
            (Self::GoOn, StopMode::Cut) => StopMode::Cancel,
            (_, mode) => mode,
        }
    }
}

/// Waits for tasks to end, in the mode that was asked for or has become necessary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopping {
    mode: StopMode,
    then: Then,
    /// Whether it is to be cut once nobody can go on with it any more.
    gives_up: bool,
    progress: Progress,
    epochs: Epochs,
}

impl Stopping {
    pub(super) fn enter(plan: &JobPlan, progress: Progress, epochs: Epochs, mode: StopMode, then: Then) -> Transition {
        let mode = then.harder(mode);
        let mut effects = vec![Effect::Publish(JobStatus::Stopping)];
        let gives_up = must_give_up(plan, mode);
        effects.extend(begin(plan, mode));
        (State::Stopping(Self { mode, then, gives_up, progress, epochs }), effects)
    }

    pub(super) fn on(mut self, plan: &JobPlan, event: Event) -> Transition {
        match event {
            Event::TaskFinished { task, state } => {
                self.epochs.end_task(task, state);
                self.end_task(plan, task)
            }
            Event::StopTimedOut(mode) if mode == self.mode => self.on_time_out(plan),
            Event::StopRequested(mode) => {
                // Whoever wants it to end wants nobody to go on with it.
                self.then = Then::Forget;
                self.harden(plan, mode)
            }
            Event::Interrupted(mode) => self.harden(plan, mode),
            event => match self.mode {
                StopMode::Drain => self.on_while_draining(plan, event),
                StopMode::Cut => self.on_while_cutting(plan, event),
                StopMode::Cancel => self.on_while_cancelling(plan, event),
            },
        }
    }

    fn on_time_out(self, plan: &JobPlan) -> Transition {
        match self.mode {
            StopMode::Drain => self.escalate(plan, StopMode::Cut),
            StopMode::Cut => {
                let cause = JobFailure::external(format!("sinks did not complete what they had within {CUT_LIMIT:?}"));
                Failing::enter(plan, self.progress, cause)
            }
            StopMode::Cancel => Ended::enter(plan, self.then.status()),
        }
    }

    fn harden(self, plan: &JobPlan, mode: StopMode) -> Transition {
        if mode > self.mode { self.escalate(plan, mode) } else { (State::Stopping(self), Vec::new()) }
    }

    /// A job that drains still owes its results: what fails now is an error.
    fn on_while_draining(self, plan: &JobPlan, event: Event) -> Transition {
        match event {
            Event::WorkerAnswered { kind: RequestKind::Drain, result: Err(_), .. } => {
                self.escalate(plan, StopMode::Cut)
            }
            Event::WorkerAnswered { kind: RequestKind::Start, result: Err(cause), .. } => {
                Failing::enter(plan, self.progress, cause)
            }
            Event::TaskFailed { task, cause } => Failing::enter_for_task(plan, self.progress, task, cause),
            Event::Superseded(cause) => Failing::enter(plan, self.progress, cause),
            Event::WorkerLost { worker, reason } if plan.uses(worker) => {
                Failing::enter_for_worker(plan, self.progress, worker, &reason)
            }
            _ => (State::Stopping(self), Vec::new()),
        }
    }

    /// A job that is cut owes complete files, for which its workers' answers stand. What a task complains
    /// of is no news: its sink is gone.
    fn on_while_cutting(mut self, plan: &JobPlan, event: Event) -> Transition {
        match event {
            Event::GivenUp(Ok(())) if std::mem::take(&mut self.gives_up) => {
                let effects = plan.send_all(&WorkerRequest::Stop(plan.run(), StopMode::Cut));
                (State::Stopping(self), effects)
            }
            Event::GivenUp(Err(cause)) | Event::Superseded(cause) if self.gives_up => {
                Failing::enter(plan, self.progress, cause)
            }
            Event::WorkerAnswered { worker, kind: RequestKind::Cut, result: Ok(()) } => self.end_worker(plan, worker),
            Event::WorkerAnswered { kind: RequestKind::Cut | RequestKind::Start, result: Err(cause), .. } => {
                Failing::enter(plan, self.progress, cause)
            }
            Event::WorkerLost { worker, reason } if plan.uses(worker) => {
                Failing::enter_for_worker(plan, self.progress, worker, &reason)
            }
            _ => (State::Stopping(self), Vec::new()),
        }
    }

    /// A job that is cancelled owes nothing: a task or worker that is gone, however, has ended.
    fn on_while_cancelling(self, plan: &JobPlan, event: Event) -> Transition {
        match event {
            Event::TaskFailed { task, .. } => self.end_task(plan, task),
            Event::WorkerLost { worker, .. } | Event::WorkerAnswered { worker, kind: RequestKind::Cancel, .. } => {
                self.end_worker(plan, worker)
            }
            _ => (State::Stopping(self), Vec::new()),
        }
    }

    fn escalate(self, plan: &JobPlan, mode: StopMode) -> Transition {
        debug_assert!(mode > self.mode, "a job's end only becomes harder");
        let mode = self.then.harder(mode);
        let gives_up = must_give_up(plan, mode);
        (State::Stopping(Self { mode, gives_up, ..self }), begin(plan, mode))
    }

    fn end_task(mut self, plan: &JobPlan, task: TaskId) -> Transition {
        self.progress.end_task(plan, task);
        self.end_if_all_ended(plan)
    }

    fn end_worker(mut self, plan: &JobPlan, worker: WorkerId) -> Transition {
        self.progress.end_worker(plan, worker);
        self.end_if_all_ended(plan)
    }

    fn end_if_all_ended(self, plan: &JobPlan) -> Transition {
        if !self.progress.all_ended(plan) {
            return (State::Stopping(self), Vec::new());
        }
        match self.mode {
            // Everything that was read has been written, so the sinks show it.
            StopMode::Drain => Committing::enter(plan, self.progress, &self.epochs, JobStatus::Stopped),
            // Drained after all, before anything was cut off.
            StopMode::Cut if self.gives_up => Committing::enter(plan, self.progress, &self.epochs, JobStatus::Stopped),
            StopMode::Cut => Ended::enter(plan, JobStatus::Stopped),
            StopMode::Cancel => Ended::enter(plan, self.then.status()),
        }
    }
}

/// Whether a job has to be given up before it is stopped in this mode.
fn must_give_up(plan: &JobPlan, mode: StopMode) -> bool {
    mode == StopMode::Cut && plan.has_checkpoints()
}

/// Begins to stop in a mode.
fn begin(plan: &JobPlan, mode: StopMode) -> Vec<Effect> {
    if must_give_up(plan, mode) { vec![Effect::GiveUp, time_out(mode)] } else { stop_all(plan, mode) }
}

/// Tells every worker to stop, and limits the time that it takes.
pub(super) fn stop_all(plan: &JobPlan, mode: StopMode) -> Vec<Effect> {
    let mut effects = plan.send_all(&WorkerRequest::Stop(plan.run(), mode));
    effects.push(time_out(mode));
    effects
}

fn time_out(mode: StopMode) -> Effect {
    let limit = match mode {
        StopMode::Drain => DRAIN_LIMIT,
        StopMode::Cut => CUT_LIMIT,
        StopMode::Cancel => CANCEL_LIMIT,
    };
    Effect::After(limit, Event::StopTimedOut(mode))
}
