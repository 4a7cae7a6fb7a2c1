//! The integration tests: one binary, which runs the real `tidemill` on SQL in a temporary folder.
//!
//! `command.rs` starts the program and never waits for it without a limit; each other file is a
//! subject. What operators and the planner do in every corner is tested beside them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests panic rather than return errors")]

mod algorithms;
mod analyze;
mod answers;
mod backfill;
mod bad_input;
mod bank;
mod batch;
mod batch_workers;
mod catalog;
mod certificates;
mod chains;
mod clickbench;
mod cluster;
mod command;
mod documents;
mod endpoints;
mod equivalence;
mod faults;
mod fitted;
mod flight_sql;
mod flights;
mod formats;
mod functions;
mod generated;
mod help;
mod interactive;
mod job_control;
mod joins;
mod kept;
mod killed;
mod learning;
mod limits;
mod logic;
mod lookup;
mod metrics;
mod moto;
mod namespaces;
mod network;
mod nexmark;
mod oracle;
mod outputs;
mod over;
mod polling;
mod postgres;
mod postgres_server;
mod predicting;
mod pushed;
mod replaced;
mod rest;
mod savepoint_formats;
mod savepoints;
mod shell;
mod slt;
mod state;
mod stop;
mod storage;
mod stores;
mod subscriptions;
mod substrait;
mod terminal;
mod tidy;
mod time;
mod tls;
mod tpch;
mod training_rows;
mod transformed;
mod tuned;
mod unnest;
mod users;
mod versions;
mod windows_and_joins;
