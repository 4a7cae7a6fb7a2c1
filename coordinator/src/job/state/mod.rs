//! The states of a job, one file each, in the order of its life.

mod committing;
mod ended;
mod failing;
mod running;
mod scheduling;
mod starting;
mod stopping;
mod suspending;
mod waiting;

pub use committing::Committing;
pub use ended::Ended;
pub use failing::Failing;
pub use running::Running;
pub use scheduling::Scheduling;
pub use starting::Starting;
pub use stopping::{Stopping, Then};
pub use suspending::Suspending;
pub use waiting::Waiting;

use crate::job::{Effect, Event, JobPlan};

/// A state and what is to be done on the way into it.
pub type Transition = (State, Vec<Effect>);

/// Where a job is.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// No worker is there.
    Waiting(Waiting),
    /// Workers create its tasks.
    Scheduling(Scheduling),
    /// Workers are told to run them.
    Starting(Starting),
    /// Tasks run.
    Running(Running),
    /// Tasks run until their next checkpoint.
    Suspending(Suspending),
    /// Tasks end on request.
    Stopping(Stopping),
    /// Tasks end because one of them failed.
    Failing(Failing),
    /// All tasks have ended, and sinks show what is left.
    Committing(Committing),
    /// All is over; the status has been published.
    Ended(Ended),
}

impl State {
    /// Before [`Event::Submitted`].
    #[must_use]
    pub fn initial(plan: &JobPlan) -> Self {
        if Waiting::is_for(plan) { Self::Waiting(Waiting) } else { Self::default() }
    }

    /// Takes an event.
    #[must_use]
    pub fn on(self, plan: &JobPlan, event: Event) -> Transition {
        match self {
            Self::Waiting(state) => state.on(event),
            Self::Scheduling(state) => state.on(plan, event),
            Self::Starting(state) => state.on(plan, event),
            Self::Running(state) => state.on(plan, event),
            Self::Suspending(state) => state.on(plan, event),
            Self::Stopping(state) => state.on(plan, event),
            Self::Failing(state) => state.on(plan, event),
            Self::Committing(state) => state.on(plan, event),
            Self::Ended(state) => (Self::Ended(state), Vec::new()),
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Scheduling(Scheduling::default())
    }
}
