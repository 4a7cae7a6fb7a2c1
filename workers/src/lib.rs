//! Actors that host tasks, and the Flight exchange between processes.
//!
//! Reading order: [`worker`] answers the coordinator's requests with the tables in `jobs` and `slots`
//! behind it; `deploy` turns a deployment into tasks and channels; `task_actor` and `io_thread` run
//! them, `checkpoint_writer` keeps their state; [`exchange`] carries channels between processes; `events` and `results` go back to the
//! coordinator. [`process`] is a worker as a process of its own.

pub mod coordinator_link;
pub mod error;
pub mod exchange;
pub mod process;
pub mod worker;

mod checkpoint_writer;
mod deploy;
mod events;
mod fetched;
mod io_thread;
mod jobs;
mod pools;
mod restored;
mod result_parts;
mod results;
mod runner;
mod running;
mod slots;
mod state_chain;
mod task_actor;
mod teams;

pub use coordinator_link::FlightCoordinatorLink;
pub use error::{Result, WorkersError};
pub use exchange::{Exchange, ExchangeFailures};
pub use process::{ProcessConfig, WithoutCoordinator, run_worker};
pub use worker::{StopCause, WorkerConfig, WorkerHandle};
