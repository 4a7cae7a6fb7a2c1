//! Calls of functions: scalar ones, aggregates, and those with OVER.

use prost::{Message, Oneof};

use super::{Expression, Type, Unread};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ScalarFunction {
    #[prost(uint32, tag = "1")]
    pub(crate) function: u32,
    /// The arguments as they were before they had kinds.
    #[prost(message, repeated, tag = "2")]
    pub(crate) old_arguments: Vec<Unread>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) arguments: Vec<Argument>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) options: Vec<FunctionOption>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Argument {
    #[prost(oneof = "ArgumentKind", tags = "1, 2, 3")]
    pub(crate) kind: Option<ArgumentKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum ArgumentKind {
    #[prost(string, tag = "1")]
    Enum(String),
    #[prost(message, tag = "2")]
    Type(Type),
    #[prost(message, tag = "3")]
    Value(Expression),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FunctionOption {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AggregateFunction {
    #[prost(uint32, tag = "1")]
    pub(crate) function: u32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) old_arguments: Vec<Unread>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) sorts: Vec<SortField>,
    #[prost(int32, tag = "4")]
    pub(crate) phase: i32,
    #[prost(int32, tag = "6")]
    pub(crate) invocation: i32,
    #[prost(message, repeated, tag = "7")]
    pub(crate) arguments: Vec<Argument>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) options: Vec<FunctionOption>,
}

/// An aggregate of each value once.
pub(crate) const DISTINCT: i32 = 2;

/// An aggregate of rows, and not of what others have begun; nothing is mostly said of it.
pub(crate) const WHOLE_PHASES: [i32; 2] = [0, 3];

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WindowFunction {
    #[prost(uint32, tag = "1")]
    pub(crate) function: u32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) partitions: Vec<Expression>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) sorts: Vec<SortField>,
    #[prost(message, optional, tag = "4")]
    pub(crate) upper: Option<Bound>,
    #[prost(message, optional, tag = "5")]
    pub(crate) lower: Option<Bound>,
    #[prost(int32, tag = "6")]
    pub(crate) phase: i32,
    #[prost(message, repeated, tag = "8")]
    pub(crate) old_arguments: Vec<Unread>,
    #[prost(message, repeated, tag = "9")]
    pub(crate) arguments: Vec<Argument>,
    #[prost(int32, tag = "10")]
    pub(crate) invocation: i32,
    #[prost(message, repeated, tag = "11")]
    pub(crate) options: Vec<FunctionOption>,
    #[prost(int32, tag = "12")]
    pub(crate) bounds: i32,
}

/// The frame is of rows.
pub(crate) const ROWS: i32 = 1;

/// The frame is of values.
pub(crate) const RANGE: i32 = 2;

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Bound {
    #[prost(oneof = "BoundKind", tags = "1, 2, 3, 4")]
    pub(crate) kind: Option<BoundKind>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(crate) enum BoundKind {
    #[prost(message, tag = "1")]
    Preceding(Offset),
    #[prost(message, tag = "2")]
    Following(Offset),
    #[prost(message, tag = "3")]
    CurrentRow(Nothing),
    #[prost(message, tag = "4")]
    Unbounded(Nothing),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Offset {
    #[prost(int64, tag = "1")]
    pub(crate) offset: i64,
}

/// A message without fields.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Nothing {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SortField {
    #[prost(message, optional, tag = "1")]
    pub(crate) expr: Option<Expression>,
    /// The first four are: ascending with NULLs first or last, descending with NULLs first or last.
    #[prost(int32, tag = "2")]
    pub(crate) direction: i32,
}
