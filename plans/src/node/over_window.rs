//! Appends the values of window functions: calls with OVER.

use super::{SortColumn, TimeToLive};
use crate::expr::StreamExpr;

/// Window functions of one PARTITION BY and ORDER BY. Output: the input's columns, a column for each
/// function, the changelog column if later rows may change what was emitted.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct OverWindowNode {
    /// Indexes of the PARTITION BY columns in the input; none means one partition for everything.
    pub partition: Vec<usize>,
    /// ORDER BY. Rows that it does not tell apart are in the order of all their columns.
    pub order_by: Vec<SortColumn>,
    /// Window function calls over the input's fields, with ORDER BY and frame, without PARTITION BY.
    pub functions: Vec<StreamExpr>,
    /// When rows are emitted.
    pub emit: OverEmit,
    /// For how long changes are gathered before they are emitted, in milliseconds; as long as the setting
    /// `update_interval` says if `None`.
    pub gather_ms: Option<u64>,
    /// How long a partition is kept that no row touches; for ever if `None`.
    pub ttl: Option<TimeToLive>,
}

/// When an [`OverWindowNode`] emits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum OverEmit {
    /// Whenever the rows of a partition change: a changelog.
    OnUpdate,
    /// Once, when a bounded input has ended, as a changelog of inserts: all that a final result needs.
    AtEnd,
    /// Each row once, when all rows that its frames can reach have come: for new rows, and an ORDER BY
    /// that begins with event time.
    InOrder {
        /// The event-time column.
        time: usize,
        /// How many rows behind a row its frames reach.
        rows_ahead: u64,
        /// How far behind a row's time its frames reach, in microseconds.
        micros_ahead: i64,
    },
}
