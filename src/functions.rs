//! Functions written in Rust: registered before a script runs, called in its SQL like any other.
//!
//! They are DataFusion's `ScalarUDF` and `AggregateUDF`; a table function is a `ScalarUDF` that returns a list,
//! whose elements become rows. A process knows what it has registered itself. So a
//! program that registers its functions first and calls [`crate::cli::main`] then is the `tidemill` command
//! with these functions in it, and in its worker processes too, for they are the same program. A worker that
//! lacks a function refuses the job and names it.

pub use tidemill_plans::functions::{register_aggregate, register_scalar, register_table};
