//! Jobs, scheduling, the metadata store and the model registry.
//!
//! [`CoordinatorHandle`] is the way in: it compiles scripts and runs jobs. Behind it, pure parts decide —
//! [`job`] (the life of a job), [`scheduler`] (who runs what), [`cluster::Membership`] (who is there) —
//! and the actor in `actor.rs` carries out what they say. [`meta`] is the durable store; [`catalog`] and [`registry`] are what is
//! kept in it. [`access`] says who may do what. [`api`] is the network endpoint.

pub mod access;
mod actor;
pub mod api;
mod batch;
pub mod catalog;
mod checkpoints;
mod clock;
pub mod cluster;
mod compile;
mod devices;
mod error;
mod file_name;
mod follow;
mod handle;
mod inserts;
pub mod job;
mod limits;
pub mod meta;
mod metadata;
mod model_files;
mod pushed;
mod queries;
pub mod registry;
mod savepoints;
pub mod scheduler;
mod serving;
pub mod session;
mod tables;
#[cfg(test)]
mod testing;
mod views;

pub use clock::{Clock, SystemClock};
pub use cluster::WorkerInfo;
pub use compile::{Compiled, Output, compile};
pub use error::{CoordinatorError, Result};
pub use handle::{
    BatchJob, CoordinatorConfig, CoordinatorHandle, JobHandle, JobInfo, LeftJob, ObservedJob, ResultBatches,
};
pub use job::JobStatus;
pub use limits::Limits;
pub use tidemill_batch::{BatchEngine, BatchError, BatchWorkers};
pub use tidemill_sql::ResultColumns;
