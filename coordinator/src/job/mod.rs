//! The life of a job as a pure state machine: events in, effects out.
//!
//! Nothing here waits, reads a clock or touches a network: the actor in `crate::actor` carries the
//! effects out and brings their results back as events. So the simulation in `simulation.rs` can
//! deliver events in any order, twice or never, and check what must hold.

mod attempts;
pub mod checkpoint_log;
mod epochs;
mod machine;
mod progress;
pub mod record;
mod recovery;
pub mod state;
mod status;

pub use attempts::{Attempts, Over};
pub use machine::{
    CANCEL_LIMIT, COMMIT_LIMIT, CUT_LIMIT, DRAIN_LIMIT, Effect, Event, JobMachine, JobPlan, RequestKind, SUSPEND_LIMIT,
};
pub use recovery::Recovery;
pub use status::{JobFailure, JobStatus};

#[cfg(test)]
mod recovery_simulation;
#[cfg(test)]
mod simulation;
