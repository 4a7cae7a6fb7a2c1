//! What can be wrong with a plan, and who can do something about it; and how any error is told.

use std::error::Error;

use datafusion::error::DataFusionError;

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
#[derive(Debug, thiserror::Error)]
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
    /// A graph of more levels than can be gone through.
    #[error(
        "the job has {levels} operators one behind the other, and {max} are possible; cut it with a sink and a source"
    )]
    TooDeep {
        /// How many there are.
        levels: usize,
        /// How many there may be.
        max: usize,
    },
    /// A setting or option that does not exist, or a value that it does not take.
    #[error("{0}")]
    InvalidOption(String),
    /// The same of an option that was given, which whoever read it can find again.
    #[error("{message}")]
    GivenOption {
        /// Its key.
        option: String,
        /// What is wrong and what would work.
        message: String,
    },
    /// A part of a checkpoint is damaged.
    #[error("checkpoint {path} cannot be read: {reason}")]
    Checkpoint {
        /// The part.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A job cannot begin from a savepoint, or none can be written.
    #[error("savepoint '{url}': {reason}")]
    Savepoint {
        /// Where it is.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The storage of checkpoints cannot be used.
    #[error("checkpoint storage '{url}': {reason}")]
    Storage {
        /// The storage.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The storage of checkpoints refuses something.
    #[error("the checkpoint storage cannot {action} {path}")]
    Object {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// The object.
        path: String,
        /// What the storage said.
        #[source]
        source: Box<object_store::Error>,
    },
    /// A function that cannot be registered.
    #[error("{0}")]
    Function(String),
    /// An expression, schema or function that DataFusion refuses.
    #[error(transparent)]
    DataFusion(#[from] DataFusionError),
    /// An Arrow error while handling a schema or a batch.
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
}

impl PlanError {
    /// Something is wrong with an option that was given.
    #[must_use]
    pub fn given_option(option: impl Into<String>, message: impl Into<String>) -> Self {
        Self::GivenOption { option: option.into(), message: message.into() }
    }
}

/// An error and all its causes on one line, outermost first. A cause that the text before it ends with is
/// left out: many errors quote their source.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    fn link(text: &'static str, source: Option<Link>) -> Link {
        Link { text, source: source.map(Box::new) }
    }

    #[test]
    fn causes_follow_their_error_and_are_not_told_twice() {
        assert_eq!(chain(&link("alone", None)), "alone");
        let quoting = link("cannot open x: denied", Some(link("denied", Some(link("os error 13", None)))));
        assert_eq!(chain(&link("job failed", Some(quoting))), "job failed: cannot open x: denied: os error 13");
    }
}
