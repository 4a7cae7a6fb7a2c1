//! The workers: who is there, and how to reach them.

mod flight_link;
mod membership;

pub use flight_link::FlightWorkerLink;
pub use membership::{HEARTBEAT_LIMIT, Membership, Origin, WorkerInfo};
