//! Runs queries as a whole over tables that end: a resolved plan in, rows out.
//!
//! [`BatchEngine`] is the seam: the coordinator has a plan run, and does not know by whom. [`EmbeddedEngine`] is
//! DataFusion in this process; [`ClusterEngine`] is that, and workers that Ballista gives the tasks of large queries to. Tables of Parquet files are read by DataFusion, with its pushdown and statistics; all
//! others, and files that are not as they were declared, by the connectors that streams are read with ([`table`]). So
//! a row that is bad in a stream is bad here. So is one on which an expression fails ([`bad_rows`]).
//!
//! Reading order: `engine` (the seam), `embedded` (running), `planning`, `groups`, `table`, `objects`, `rows`, `bad_rows`,
//! `probe_pieces`, `output`, `reading` and `tracked` (how far it is), `cluster`.

mod arithmetic;
mod bad_rows;
mod cluster;
mod copy;
mod copy_objects;
mod embedded;
mod engine;
mod error;
mod groups;
mod memory;
mod objects;
mod output;
mod planning;
mod probe_pieces;
mod reading;
mod rows;
mod scratch;
mod semi_join;
mod shares;
mod shown;
mod size;
mod table;
mod tracked;
mod views;

pub use cluster::{BatchWorker, BatchWorkerConfig, ClusterConfig, ClusterEngine};
pub use embedded::{EmbeddedConfig, EmbeddedEngine};
pub use engine::{BatchEngine, BatchRun, BatchWorkers};
pub use error::{BatchError, Result};
pub use scratch::remove_scratch;
