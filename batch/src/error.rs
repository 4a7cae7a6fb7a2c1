//! What can go wrong while a query runs as a whole, and who can do something about it.

use std::error::Error;

use datafusion::error::DataFusionError;
use thiserror::Error;
use tidemill_plans::ErrorDomain;
use tidemill_plans::error::chain;

/// The result of everything in this crate.
pub type Result<T, E = BatchError> = std::result::Result<T, E>;

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
    /// What DataFusion says of a query that may hold so many bytes.
    pub(crate) fn of(error: DataFusionError, limit: Option<u64>) -> Self {
        match innermost(&error) {
            DataFusionError::ResourcesExhausted(message) => Self::Memory { limit, message: first_line(message) },
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
            Self::Threads(_) => ErrorDomain::External,
            Self::Lost => ErrorDomain::Internal,
        }
    }
}

/// The error itself, without what says where DataFusion was.
fn innermost(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => innermost(inner),
        DataFusionError::Shared(inner) => innermost(inner),
        DataFusionError::Collection(errors) => errors.first().map_or(error, innermost),
        other => other,
    }
}

fn domain(error: &DataFusionError) -> ErrorDomain {
    match error {
        DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) => ErrorDomain::External,
        DataFusionError::Internal(_) => ErrorDomain::Internal,
        _ => ErrorDomain::User,
    }
}

/// A system's error is somebody else's; all others of files and rows are the user's.
fn domain_of(error: &(dyn Error + 'static)) -> ErrorDomain {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<std::io::Error>() {
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
