//! Joins rows with equal keys for as long as both are there: the regular, updating join.

use crate::expr::{StreamExpr, StreamSchema};
use crate::node::JoinKind;

/// A join without bounds on time. Either input may be a changelog. Output: the left columns, then the
/// right ones (for semi and anti joins those of one side), and the changelog column unless rows only
/// come and never go.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct JoinNode {
    /// What happens to rows with and without a partner.
    pub kind: JoinKind,
    /// Key columns of the left input.
    pub left_keys: Vec<usize>,
    /// Key columns of the right input, pairwise equal to the left ones.
    pub right_keys: Vec<usize>,
    /// Event-time columns of the inputs, where they have one: from when a row's time to live counts.
    pub times: [Option<usize>; 2],
    /// The columns of a pair: left, then right, under unique names.
    pub pairs: StreamSchema,
    /// A further condition, over a pair.
    pub filter: Option<StreamExpr>,
    /// How long a row of each side is kept, in microseconds of event time.
    pub ttl: [Option<i64>; 2],
}
