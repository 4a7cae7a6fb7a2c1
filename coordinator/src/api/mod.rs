//! What the coordinator offers over the network, and how another process asks for it.

mod client;
mod execute;
mod flight;
mod flight_sql;
mod http;
mod http_server;
mod jobs;
mod mlflow;
mod plans;
mod prometheus;
mod remote_session;
mod rest;

pub use client::{Answer, Answers, Login, SqlClient};
pub use flight::{ServerGuard, bind, serve, serve_sql};
pub use http::serve_http;
pub use plans::SubmittedPlan;
#[cfg(test)]
pub(crate) use plans::submit;
pub use remote_session::{RemoteRows, RemoteSession};
#[cfg(test)]
pub(crate) use rest::{Rest, router as rest_router};
