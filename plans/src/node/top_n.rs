//! Keeps the first rows of each partition in an order.

use super::{SortColumn, TimeToLive};

/// A query for the rows whose ROW_NUMBER() is small enough. Output: the input's columns, the rank if it
/// is read, the changelog column if later rows may change what was emitted.
#[derive(Debug, Clone, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct TopNNode {
    /// Indexes of the PARTITION BY columns in the input; none means one partition for everything.
    pub partition: Vec<usize>,
    /// ORDER BY. Rows that it does not tell apart are in the order of all their columns.
    pub order_by: Vec<SortColumn>,
    /// How many rows of each partition are kept, at least one.
    pub limit: u64,
    /// Whether the rank, counted from 1, is a column of the output.
    pub rank: bool,
    /// When rows are emitted.
    pub emit: TopNEmit,
    /// For how long changes are gathered before they are emitted, in milliseconds; as long as the setting
    /// `update_interval` says if `None`.
    pub gather_ms: Option<u64>,
    /// How long a partition is kept that no row touches; for ever if `None`, and where event time says when
    /// it is complete.
    pub ttl: Option<TimeToLive>,
}

/// When a [`TopNNode`] emits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum TopNEmit {
    /// Whenever the rows of a partition change: a changelog.
    OnUpdate,
    /// Once, when a bounded input has ended, as a changelog of inserts: all that a final result needs.
    AtEnd,
    /// Once for each partition, when event time has passed this PARTITION BY column.
    OnClose {
        /// An event-time column.
        time: usize,
    },
    /// Row by row as event time passes, for an ORDER BY that begins with this column, oldest first: of
    /// what has passed the ranks are final.
    InOrder {
        /// The event-time column.
        time: usize,
    },
}
