//! How long state is kept that no row touches.

/// A time to live of state, by event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct TimeToLive {
    /// How long, in microseconds.
    pub micros: i64,
    /// The event-time column of the input, from which it counts; else it counts from the watermark at which
    /// a row came.
    pub time: Option<usize>,
}
