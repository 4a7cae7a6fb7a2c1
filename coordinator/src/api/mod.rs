//! What the coordinator offers over the network, and how another process asks for it.

mod client;
mod execute;
mod flight;
mod flight_sql;
mod follow;
mod http;
mod plans;
mod prometheus;

pub use client::{Answer, Answers, Login, SqlClient};
pub use flight::{Listener, ServerGuard, serve, serve_sql};
pub use http::serve_http;
pub use plans::SubmittedPlan;
#[cfg(test)]
pub(crate) use plans::submit;
