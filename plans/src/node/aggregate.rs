//! Groups by key without a window: each group's result is updated as rows come, and as they go where
//! the input is a changelog.

use datafusion::logical_expr::Expr;

use crate::expr::StreamExpr;
use crate::functions::ORDER_FREE;

/// An updating aggregation. Output: the keys, the aggregates, the changelog column.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct AggregateNode {
    /// Indexes of the key columns in the input; none means one group for everything.
    pub keys: Vec<usize>,
    /// Index of the input's event-time column, if it has one: functions for which the order of rows
    /// matters take them in its order, and a group's time to live counts from it.
    pub time: Option<usize>,
    /// Aggregate function calls over the input's fields.
    pub aggregates: Vec<StreamExpr>,
    /// When changes are emitted.
    pub emit: AggregateEmit,
    /// For how long changes are gathered before they are emitted, in milliseconds; as long as the setting
    /// `update_interval` says if `None`.
    pub gather_ms: Option<u64>,
    /// How long a group is kept that no row changes, in microseconds of event time; for ever if `None`.
    pub ttl: Option<i64>,
}

impl AggregateNode {
    /// Whether rows may have to wait for event time to pass them.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        self.time.is_some() && may_need_order(&self.aggregates)
    }

    /// Whether equal arguments of a function count once, so that a group has as many values as come.
    #[must_use]
    pub fn has_distinct(&self) -> bool {
        self.aggregates.iter().any(|call| matches!(&call.0, Expr::AggregateFunction(call) if call.params.distinct))
    }
}

/// Whether the order of rows may make a difference to one of these calls: it may be of floats.
pub(crate) fn may_need_order(aggregates: &[StreamExpr]) -> bool {
    aggregates
        .iter()
        .any(|call| !matches!(&call.0, Expr::AggregateFunction(call) if ORDER_FREE.contains(&call.func.name())))
}

/// When an updating aggregation emits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, bincode::Encode, bincode::Decode)]
pub enum AggregateEmit {
    /// As rows come, gathered over a short time: each group that has changed.
    #[default]
    OnUpdate,
    /// Once, when a bounded input has ended: all that a final result needs.
    AtEnd,
}
