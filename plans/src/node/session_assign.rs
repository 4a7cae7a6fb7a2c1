//! Appends the bounds of its session to each row, once the session has closed.

/// Sessions without an aggregation. Output: the input's columns, then `window_start`, `window_end` and
/// `window_time`, as [`super::SessionWindowNode`] has them.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct SessionAssignNode {
    /// Indexes of the key columns in the input; none means one session at a time.
    pub keys: Vec<usize>,
    /// Index of the event-time column in the input.
    pub time: usize,
    /// The longest pause within a session, in microseconds.
    pub gap: i64,
}
