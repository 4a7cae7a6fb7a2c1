//! The exchange: channels between tasks of different worker processes, over Arrow Flight.
//!
//! Each ordered pair of workers has one connection with one `DoExchange` call, which carries all their
//! channels. To its tasks a remote channel is the same queue as a local one; `outgoing` empties it on
//! one side, `incoming` fills it on the other, and `credit` bounds what is under way per channel. A
//! channel is registered at the receiver ([`Exchange::incoming`]) before its sender opens it
//! ([`Exchange::open`]): that is what the two steps of a job's start are for.
//!
//! Reading order: `endpoint` is a worker's end of it all, `connection` reaches one other worker and
//! `flight_server` is reached; `outgoing` and `incoming` are the two ends of a connection.

mod batch_codec;
mod connection;
mod credit;
mod endpoint;
mod flight_server;
mod frame;
mod incoming;
mod outgoing;

pub(crate) use batch_codec::split;
pub(crate) use connection::{ask, flight_client, flight_endpoint};
pub use endpoint::{Exchange, ExchangeFailures};

#[cfg(test)]
mod tests;
