//! What can be wrong with a plan, and who can do something about it.

use datafusion::error::DataFusionError;
use thiserror::Error;

/// The result of everything in this crate.
pub type Result<T, E = PlanError> = std::result::Result<T, E>;

/// Who must act on an error: it decides between restart, back-off and stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum ErrorDomain {
    /// The query, its options or its data: trying again gives the same error.
    User,
    /// A file, broker, network or peer: trying again may help.
    External,
    /// A bug in Tidemill.
    Internal,
}

/// An error in the vocabulary itself: a plan that cannot be encoded, decoded, or run as it stands.
#[derive(Debug, Error)]
pub enum PlanError {
    /// A message was written by another version of Tidemill.
    #[error("message has format version {found}, this build reads version {expected}")]
    Version {
        /// The version byte that was read.
        found: u8,
        /// The version byte that this build writes.
        expected: u8,
    },
    /// A message is larger than the decoder accepts.
    #[error("message of {size} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Size of the message in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A message could not be encoded.
    #[error("cannot encode message")]
    Encode(#[from] bincode::error::EncodeError),
    /// A message could not be decoded.
    #[error("cannot decode message")]
    Decode(#[from] bincode::error::DecodeError),
    /// A message was followed by bytes that belong to nothing.
    #[error("{0} bytes follow the message")]
    TrailingBytes(usize),
    /// A graph breaks one of its rules; the text names the node.
    #[error("invalid graph: {0}")]
    InvalidGraph(String),
    /// A setting or option that does not exist, or a value that it does not take.
    #[error("{0}")]
    InvalidOption(String),
    /// An expression, schema or function that DataFusion refuses.
    #[error(transparent)]
    DataFusion(#[from] DataFusionError),
    /// An Arrow error while handling a schema or a batch.
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
}
