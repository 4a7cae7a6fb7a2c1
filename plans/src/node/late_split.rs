//! Tells the rows that come too late for their windows from the others.

use crate::node::WindowSpec;

/// Output: the input's columns and a boolean that is true where every window that holds the row has closed.
/// It stands in the task of the windowed operator, in front of it, so both see the same watermarks.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct LateSplitNode {
    /// Index of the event-time column in the input.
    pub time: usize,
    /// The windows that rows come too late for.
    pub windows: LateWindows,
}

/// What makes the windows.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub enum LateWindows {
    /// The clock.
    Fixed(WindowSpec),
    /// The rows of each key.
    Session {
        /// Indexes of the key columns in the input.
        keys: Vec<usize>,
        /// The longest pause within a session, in microseconds.
        gap: i64,
    },
}
