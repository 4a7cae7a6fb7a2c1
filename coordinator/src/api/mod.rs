//! What the coordinator offers over the network, and how another process asks for it.

mod client;
mod execute;
mod flight;
mod flight_sql;
mod follow;
mod http;
mod http_server;
mod plans;
mod prometheus;

pub use client::{Answer, Answers, SqlClient};
pub use flight::{ServerGuard, bind, serve, serve_sql};
pub use http::serve_http;
pub use plans::SubmittedPlan;
