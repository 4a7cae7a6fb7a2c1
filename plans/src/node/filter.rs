//! Keeps the rows for which a predicate is true (not NULL, not false).

use crate::expr::StreamExpr;

/// A filter.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct FilterNode {
    /// A boolean expression over the input's fields.
    pub predicate: StreamExpr,
}
