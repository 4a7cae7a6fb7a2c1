//! The job runs on until a checkpoint is sealed that has begun since it was told to leave off; then its tasks are
//! dropped, and whoever goes on with it begins there.
//!
//! A checkpoint that does not come about is tried again at the next barrier, for as long as there is time. Without
//! one nothing is lost either: what has been done since the newest is done again.

use tidemill_plans::ids::Epoch;
use tidemill_plans::protocol::StopMode;

use crate::job::state::{Running, State, Then, Transition};
use crate::job::{Effect, Event, JobPlan, SUSPEND_LIMIT};

/// A job that runs, for a last while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspending {
    running: Running,
    /// The newest epoch that had begun before.
    after: Epoch,
}

impl Suspending {
    pub(super) fn enter(plan: &JobPlan, mut running: Running) -> Transition {
        let after = running.want_checkpoint(plan);
        let mut effects = running.begin_epoch(plan);
        effects.push(Effect::After(SUSPEND_LIMIT, Event::SuspendTimedOut));
        (State::Suspending(Self { running, after }), effects)
    }

    pub(super) fn on(self, plan: &JobPlan, event: Event) -> Transition {
        let Self { running, after } = self;
        let is_over = match &event {
            Event::Sealed { epoch, result: Ok(()) } => *epoch > after,
            Event::SuspendTimedOut => true,
            _ => false,
        };
        let is_missed = match &event {
            Event::Sealed { result, .. } => result.is_err(),
            Event::CheckpointFailed { .. } => true,
            _ => false,
        };
        let (state, mut effects) = match event {
            Event::SuspendRequested => (State::Running(running), Vec::new()),
            event => running.on(plan, event),
        };
        let State::Running(mut running) = state else { return (state, effects) };
        if is_over {
            let (state, stop) = running.stop(plan, StopMode::Cancel, Then::GoOn);
            effects.extend(stop);
            return (state, effects);
        }
        if is_missed {
            running.want_checkpoint(plan);
        }
        (State::Suspending(Self { running, after }), effects)
    }
}
