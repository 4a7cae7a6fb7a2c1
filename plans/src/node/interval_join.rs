//! Joins rows with equal keys whose event times lie within an interval of each other.

use crate::expr::{StreamExpr, StreamSchema};
use crate::node::{JoinKind, JoinSide};

/// An interval join: rows are partners if their keys are equal, `lower <= right_time - left_time <=
/// upper`, and the filter holds. A row that waits for a partner leaves the state once the other
/// side's watermark rules one out. Output: the left columns, then the right ones; for semi and anti
/// joins one side's alone.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct IntervalJoinNode {
    /// What becomes of rows with and without a partner.
    pub kind: JoinKind,
    /// Key columns of the left input; none if any two rows may be partners.
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
    /// A further condition over the fields of `pairs`.
    pub filter: Option<StreamExpr>,
    /// The left columns, then the right ones, under the names that the filter knows them by.
    pub pairs: StreamSchema,
    /// Which side's event time the output has; a full join has none.
    pub output_time: Option<JoinSide>,
}

impl IntervalJoinNode {
    /// The side whose event time the output's watermark speaks of. It must be there in every row, also in those
    /// without a partner.
    #[must_use]
    pub fn output_time_of(kind: JoinKind, lower: i64) -> Option<JoinSide> {
        match kind {
            // The later of the two: it holds the watermark back least.
            JoinKind::Inner => Some(if lower >= 0 { JoinSide::Right } else { JoinSide::Left }),
            JoinKind::Left | JoinKind::LeftSemi | JoinKind::LeftAnti => Some(JoinSide::Left),
            JoinKind::Right | JoinKind::RightSemi | JoinKind::RightAnti => Some(JoinSide::Right),
            JoinKind::Full => None,
        }
    }
}
