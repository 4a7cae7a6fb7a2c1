//! What the coordinator offers over the network.

mod flight;

pub use flight::{ServerGuard, serve};
