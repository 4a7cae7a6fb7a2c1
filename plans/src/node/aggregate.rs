//! Groups by key without a window: each group's result is updated as rows come.

use crate::expr::StreamExpr;

/// An updating aggregation. Output: the keys, the aggregates, the changelog column.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct AggregateNode {
    /// Indexes of the key columns in the input; none means one group for everything.
    pub keys: Vec<usize>,
    /// Index of the input's event-time column, if it has one: rows are then taken in its order, so
    /// that sums of floats do not depend on how batches interleaved.
    pub time: Option<usize>,
    /// Aggregate function calls over the input's fields.
    pub aggregates: Vec<StreamExpr>,
    /// When changes are emitted.
    pub emit: AggregateEmit,
}

/// When an updating aggregation emits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, bincode::Encode, bincode::Decode)]
pub enum AggregateEmit {
    /// Whenever event time moves: each group that has changed.
    #[default]
    OnUpdate,
    /// Once, when a bounded input has ended: all that a final result needs.
    AtEnd,
}
