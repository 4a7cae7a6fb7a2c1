//! Reads rows from a connector, computes generated columns, and says how far event time has come.

use crate::expr::{StreamExpr, StreamSchema};
use crate::node::Projection;

/// A source of a job's graph.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct SourceNode {
    /// The name it was created under.
    pub table: String,
    /// The connector's name, such as `files`.
    pub connector: String,
    /// The connector's options as the user wrote them, already checked.
    pub options: Vec<(String, String)>,
    /// The names of all columns that it declares but does not generate, in the order in which they stand
    /// in data without names.
    pub declared: Vec<String>,
    /// The columns that the connector must deliver, by name: those of them that somebody reads.
    pub columns: StreamSchema,
    /// The columns of the stream, over `columns`: those themselves and generated ones.
    pub projection: Vec<Projection>,
    /// Event time, if the source has a WATERMARK clause.
    pub event_time: Option<EventTimeSpec>,
}

/// The event time of a source and how its watermark follows.
#[derive(Debug, Clone, PartialEq, bincode::Encode, bincode::Decode)]
pub struct EventTimeSpec {
    /// Index of the event-time column in the source's output.
    pub column: usize,
    /// The watermark after a row, an expression over the output's columns; its maximum so far counts.
    pub watermark: StreamExpr,
    /// What happens to rows whose event time is NULL.
    pub on_null: NullEventTime,
}

/// What happens to rows whose event time is NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub enum NullEventTime {
    /// They go to the dead letters.
    DeadLetter,
    /// They are counted and left out: the source says that they are expected.
    Skip,
}
