//! What the coordinator offers over the network.

mod flight;
mod http;
mod prometheus;

pub use flight::{ServerGuard, serve};
pub use http::serve_http;
