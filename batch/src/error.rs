//! What can go wrong while a query runs as a whole, and who can do something about it.

use std::error::Error;
use std::path::PathBuf;

use arrow::error::ArrowError;
use ballista_core::error::BallistaError;
use datafusion::error::DataFusionError;
use thiserror::Error;
use tidemill_plans::ErrorDomain;
use tidemill_plans::bucket::StoreError;
use tidemill_plans::error::chain;

use crate::cluster::Lost;
use crate::memory::Room;

/// The result of everything in this crate.
pub type Result<T, E = BatchError> = std::result::Result<T, E>;

/// What the text of a system's error has on a disk that is full (ENOSPC).
const NO_SPACE: &str = "(os error 28)";

/// An error that ends a query.
#[derive(Debug, Error)]
pub enum BatchError {
    /// The query, or a row where rows cannot be left out, or a file.
    #[error("{message}")]
    Query {
        /// Who must act.
        domain: ErrorDomain,
        /// What is wrong, with its causes.
        message: String,
    },
    /// It needs more memory than it may have, and cannot do with less.
    #[error(
        "the query needs more memory than it may have{}: {message}; raise query_memory (SHOW query_memory), or ask for \
         less at a time", shown_limit(*limit)
    )]
    Memory {
        /// Bytes; nothing if it is the machine's.
        limit: Option<u64>,
        /// What asked for more.
        message: String,
    },
    /// What has no room in memory has none on disk either.
    #[error(
        "no room is left in {}, where goes what a query has no room for in memory; make room there, name another folder \
         in TIDEMILL_SCRATCH, or raise query_memory", folder.display()
    )]
    ScratchFull {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder for that cannot be made.
    #[error("cannot make a folder for queries in {}; TIDEMILL_SCRATCH names another place", folder.display())]
    Scratch {
        /// Where.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The thread pool of queries could not be started.
    #[error("cannot start the threads of queries")]
    Threads(#[source] std::io::Error),
    /// The query has ended without a word: a bug.
    #[error("the query's task has ended before its rows had; this is a bug")]
    Lost,
}

fn shown_limit(limit: Option<u64>) -> String {
    limit.map(|bytes| format!(" ({bytes} bytes)")).unwrap_or_default()
}

impl BatchError {
    /// What DataFusion says of a query that has this room.
    pub(crate) fn of(error: DataFusionError, room: &Room) -> Self {
        if let Some(said) = StoreError::among(&error).filter(|_| !is_of_connector(&error)) {
            let message = format!("{}: {}", said.url, said.reason);
            return Self::Query { domain: ErrorDomain::External, message };
        }
        match innermost(&error) {
            // Rows that a statement writes go through writers of their own, whose errors are External.
            inner if is_full(inner) => Self::ScratchFull { folder: room.scratch.clone() },
            DataFusionError::ResourcesExhausted(message) => {
                Self::Memory { limit: room.memory, message: first_line(message) }
            }
            DataFusionError::External(inner) => {
                let message = chain(inner.as_ref());
                Self::Query { domain: domain_of(inner.as_ref()), message }
            }
            inner => Self::Query { domain: domain(inner), message: first_line(&inner.message()) },
        }
    }

    /// Who must act on it.
    #[must_use]
    pub fn domain(&self) -> ErrorDomain {
        match self {
            Self::Query { domain, .. } => *domain,
            Self::Memory { .. } => ErrorDomain::User,
            Self::Threads(_) | Self::Scratch { .. } | Self::ScratchFull { .. } => ErrorDomain::External,
            Self::Lost => ErrorDomain::Internal,
        }
    }
}

/// The error itself, without what says where DataFusion was.
pub(crate) fn innermost(error: &DataFusionError) -> &DataFusionError {
    match error {
        // Ballista's does not say what its cause is.
        DataFusionError::External(inner) => match inner.downcast_ref() {
            Some(BallistaError::DataFusionError(inner)) => innermost(inner),
            _ => error,
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => innermost(inner),
        DataFusionError::Shared(inner) => innermost(inner),
        DataFusionError::Collection(errors) => errors.first().map_or(error, innermost),
        other => other,
    }
}

/// Whether spill files have no room: those are written by DataFusion itself, which wraps the system's error in texts.
fn is_full(error: &DataFusionError) -> bool {
    let is_of_files = match error {
        DataFusionError::IoError(_) => true,
        DataFusionError::ArrowError(error, _) => matches!(error.as_ref(), ArrowError::IoError(..)),
        _ => false,
    };
    is_of_files && error.to_string().contains(NO_SPACE)
}

/// Whether an error has been told by a connector, which has said what it is about.
fn is_of_connector(error: &DataFusionError) -> bool {
    matches!(innermost(error), DataFusionError::External(_))
}

fn domain(error: &DataFusionError) -> ErrorDomain {
    match error {
        DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) => ErrorDomain::External,
        DataFusionError::Internal(_) => ErrorDomain::Internal,
        _ => ErrorDomain::User,
    }
}

/// What another process says of an error there.
#[derive(Debug, Error)]
#[error("{message}")]
pub(crate) struct Told {
    pub(crate) domain: ErrorDomain,
    pub(crate) message: String,
}

/// A system's error is somebody else's; all others of files and rows are the user's.
fn domain_of(error: &(dyn Error + 'static)) -> ErrorDomain {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(told) = error.downcast_ref::<Told>() {
            return told.domain;
        }
        let is_io = error.is::<std::io::Error>() || matches!(error.downcast_ref(), Some(BallistaError::IoError(_)));
        if is_io || error.is::<Lost>() {
            return ErrorDomain::External;
        }
        cause = error.source();
    }
    ErrorDomain::User
}

/// Behind the first line DataFusion explains itself, to its developers.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.split(" with top memory consumers").next().unwrap_or_default().trim_end_matches('.').to_owned()
}
