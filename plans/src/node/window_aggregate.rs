//! Groups by key and window, and emits each window's rows once the watermark has passed its end.

use crate::expr::StreamExpr;
use crate::node::WindowSpec;

/// An aggregation within windows. Output: the keys, `window_start`, `window_end`, `window_time`
/// (the end less a microsecond), then the aggregates.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct WindowAggregateNode {
    /// Indexes of the key columns in the input; none means one group a window.
    pub keys: Vec<usize>,
    /// Index of the event-time column in the input.
    pub time: usize,
    /// The windows.
    pub window: WindowSpec,
    /// Aggregate function calls over the input's fields.
    pub aggregates: Vec<StreamExpr>,
    /// For how long after a window's end late rows still change its result, in microseconds. The output
    /// is then a changelog: a window's rows are inserted at its end and updated from then on. With zero,
    /// late rows are left out.
    pub updates_within: i64,
}
