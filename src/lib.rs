//! Tidemill: one engine for SQL over streams and tables, and for the models that learn from them.
//!
//! The facade and the wiring. [`cluster::LocalCluster`] starts a coordinator with workers, in this
//! process or as processes of their own; [`script::run`] takes a SQL script through it. The command
//! line in [`cli`] is a thin layer over both. What a job is made of is in the crates below:
//! `tidemill-sql` plans it, `tidemill-coordinator` places it, `tidemill-workers` and
//! `tidemill-engine` run it, and all of them speak the vocabulary of `tidemill-plans`.

pub mod cli;
pub mod cluster;
pub mod config;
pub mod coordinator;
pub mod dataflow;
pub mod device;
pub mod error;
pub mod follow;
pub mod functions;
pub mod interrupts;
pub mod jwt_file;
pub mod output;
pub mod progress;
pub mod remote;
pub mod results;
pub mod resume;
mod say;
pub mod script;
pub mod shell;
mod table;
pub mod worker;

pub use error::{Result, TidemillError};
