//! The shared vocabulary of Tidemill: what the planner, the coordinator and the workers say to each other.
//!
//! Nothing here runs. A [`graph::DataflowGraph`] is made by `tidemill-sql`, placed by
//! `tidemill-coordinator`, executed by `tidemill-workers` with the operators of `tidemill-engine`;
//! those crates never see each other's types, only these. Everything that crosses a process goes
//! through [`codec`].

pub mod algorithm;
pub mod bad_rows;
pub mod batch;
pub mod bucket;
pub mod catalog;
pub mod change;
pub mod checkpoint;
pub mod checksum;
pub mod cluster_secret;
pub mod codec;
pub mod connector;
pub mod device;
pub mod error;
pub mod explain;
pub mod expr;
pub mod flat;
pub mod functions;
pub mod graph;
pub mod growing_state;
pub mod held;
pub mod ids;
pub mod ipc;
pub mod key_group;
pub mod model_reference;
pub mod node;
pub mod overflow;
pub mod partitions;
pub mod prediction;
pub mod protocol;
pub mod pushed;
pub mod redaction;
pub mod rescale;
pub mod result_ticket;
pub mod savepoint;
pub mod settings;
pub mod size;
pub mod spread;
pub mod stage;
pub mod storage;
pub mod time;
pub mod transform;
pub mod values;

pub use error::{ErrorDomain, PlanError, Result};
