//! Sockets between processes: who listens, who connects, and what TLS has to do with it.
//!
//! The coordinator and its workers listen and connect alike, so what both need is here: [`Listener`] takes connections,
//! as many as there is room for, and none that does not begin to speak; [`Connector`] makes them; [`tls`] has the
//! certificates of both, which [`Renewal`] has read again when their files change. What is said over a connection is no business
//! of this crate.

mod address;
mod connection;
mod connector;
mod gathered;
mod listener;
mod renewal;
mod stream;
pub mod tls;

pub use address::Address;
pub use connection::{Connection, Peer, admit};
pub use connector::{Connector, reason};
pub use listener::{Door, Incoming, Listener, Protocol, REQUESTS_MAX};
pub use renewal::{Renewable, Renewal};
pub use tls::{Tls, TlsError, TlsFiles};
