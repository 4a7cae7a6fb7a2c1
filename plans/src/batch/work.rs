//! What workers and the coordinator say to each other about queries that workers run as a whole.
//!
//! A worker asks for work, and says at once what has become of the work that it had. It repeats a request until it is
//! answered, under the same number, and whoever answers takes each number once: what a worker has done counts once, and no
//! work is given to nobody.

use crate::batch::ReadCounts;
use crate::error::ErrorDomain;
use crate::settings::Settings;

/// One attempt at a query. No two have the same while the coordinator lives. Letters, digits and dashes: it is the name of
/// a folder.
pub type QueryId = String;

/// A worker asks for work.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct WorkRequest {
    /// Its number, from 1 on. A request that is repeated has the same.
    pub number: u64,
    /// How many more tasks it can run.
    pub free: u32,
    /// Whether tasks run there: then it wants to know at once that there is nothing to do.
    pub is_busy: bool,
    /// What has become of tasks: messages of the scheduler's own.
    pub statuses: Vec<Vec<u8>>,
    /// Queries of which a task has failed, and why.
    pub failures: Vec<(QueryId, WorkFailure)>,
    /// What it has read for each query by now.
    pub counts: Vec<(QueryId, ReadCounts)>,
}

/// What a worker is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct WorkAnswer {
    /// New tasks: messages of the scheduler's own.
    pub tasks: Vec<Vec<u8>>,
    /// The queries that are going on. What the worker has of others, it ends and removes.
    pub queries: Vec<WorkQuery>,
}

/// A query that workers run.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct WorkQuery {
    /// Its id.
    pub id: QueryId,
    /// The settings of its statement.
    pub settings: Settings,
}

/// Why a task has failed.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum WorkFailure {
    /// Rows that another worker had for it are not there: another attempt may do better.
    Lost(String),
    /// It needs more memory than it may have.
    Memory(String),
    /// The query, or a row, or a file.
    Query {
        /// Who must act.
        domain: ErrorDomain,
        /// The whole chain of causes.
        message: String,
    },
}
