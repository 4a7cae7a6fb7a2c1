//! Joins rows with equal keys whose event times lie within an interval of each other.

use crate::expr::StreamExpr;
use crate::node::JoinSide;

/// An inner interval join: `lower <= right_time - left_time <= upper`. Output: the left columns, then
/// the right ones. Rows leave the state once the watermark rules out a partner.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct IntervalJoinNode {
    /// Key columns of the left input.
    pub left_keys: Vec<usize>,
    /// Key columns of the right input, pairwise equal to the left ones.
    pub right_keys: Vec<usize>,
    /// Event-time column of the left input.
    pub left_time: usize,
    /// Event-time column of the right input.
    pub right_time: usize,
    /// Least value of `right_time - left_time` in microseconds.
    pub lower: i64,
    /// Greatest value of `right_time - left_time` in microseconds.
    pub upper: i64,
    /// A further condition over the output's fields.
    pub filter: Option<StreamExpr>,
    /// Which side's event time the output has.
    pub output_time: JoinSide,
}
