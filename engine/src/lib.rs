//! Operators, the task loop that runs them, and the connectors that feed and drain them.
//!
//! Reading order: [`operator`] has the trait and the list of operators; [`task`] chains them, feeds
//! them from bounded channels and aligns watermarks and barriers; [`connector`] brings rows in and
//! out; [`state`] is what operators keep beyond their process; [`tables`] reads
//! for queries that run as a whole; [`testing`] has the harness that tests one operator without a runtime. Nothing here knows
//! actix, Flight or tokio: `tidemill-workers` decides on which thread a task is polled.

pub mod clock;
pub mod connector;
pub mod error;
pub mod metrics;
pub mod operator;
pub mod state;
pub mod tables;
pub mod task;
pub mod testing;

mod rows;

pub use error::{EngineError, Result};
