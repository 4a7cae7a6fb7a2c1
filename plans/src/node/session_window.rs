//! Groups by key and session: rows of a key that follow each other within a gap.

use crate::expr::StreamExpr;

/// An aggregation within sessions. A session of a key starts with its first row and ends one gap after
/// its last; a row at that very moment still belongs to it, as in Flink. Output: the keys,
/// `window_start`, `window_end`, `window_time` (the end less a microsecond), then the aggregates.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct SessionWindowNode {
    /// Indexes of the key columns in the input; none means one session at a time.
    pub keys: Vec<usize>,
    /// Index of the event-time column in the input.
    pub time: usize,
    /// The longest pause within a session, in microseconds.
    pub gap: i64,
    /// Aggregate function calls over the input's fields.
    pub aggregates: Vec<StreamExpr>,
}
