//! Expressions, and the subqueries in them.

use prost::{Message, Oneof};

use super::{Literal, Rel, ScalarFunction, Type, Unread, WindowFunction};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Expression {
    #[prost(oneof = "ExpressionKind", tags = "1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16")]
    pub(crate) kind: Option<ExpressionKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum ExpressionKind {
    #[prost(message, tag = "1")]
    Literal(Box<Literal>),
    #[prost(message, tag = "2")]
    Selection(Box<FieldReference>),
    #[prost(message, tag = "3")]
    Scalar(Box<ScalarFunction>),
    #[prost(message, tag = "5")]
    Window(Box<WindowFunction>),
    #[prost(message, tag = "6")]
    IfThen(Box<IfThen>),
    #[prost(message, tag = "7")]
    Switch(Box<Switch>),
    #[prost(message, tag = "8")]
    SingularOrList(Box<SingularOrList>),
    #[prost(message, tag = "9")]
    MultiOrList(Unread),
    #[prost(message, tag = "10")]
    Enum(Unread),
    #[prost(message, tag = "11")]
    Cast(Box<Cast>),
    #[prost(message, tag = "12")]
    Subquery(Box<Subquery>),
    #[prost(message, tag = "13")]
    Nested(Unread),
    #[prost(message, tag = "14")]
    Parameter(Unread),
    #[prost(message, tag = "15")]
    Lambda(Unread),
    #[prost(message, tag = "16")]
    LambdaInvocation(Unread),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FieldReference {
    #[prost(oneof = "ReferenceKind", tags = "1, 2")]
    pub(crate) kind: Option<ReferenceKind>,
    #[prost(oneof = "ReferenceRoot", tags = "3, 4, 5, 6")]
    pub(crate) root: Option<ReferenceRoot>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum ReferenceKind {
    #[prost(message, tag = "1")]
    Direct(Segment),
    #[prost(message, tag = "2")]
    Masked(Unread),
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum ReferenceRoot {
    #[prost(message, tag = "3")]
    Expression(Unread),
    #[prost(message, tag = "4")]
    Row(Unread),
    #[prost(message, tag = "5")]
    Outer(OuterReference),
    #[prost(message, tag = "6")]
    Lambda(Unread),
}

/// The row of a relation around a subquery.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct OuterReference {
    /// How many subqueries are between: 1 is the row right outside.
    #[prost(uint32, tag = "1")]
    pub(crate) steps_out: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Segment {
    #[prost(oneof = "SegmentKind", tags = "1, 2, 3")]
    pub(crate) kind: Option<SegmentKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum SegmentKind {
    #[prost(message, tag = "1")]
    MapKey(Unread),
    #[prost(message, tag = "2")]
    Field(StructField),
    #[prost(message, tag = "3")]
    ListElement(Unread),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StructField {
    #[prost(int32, tag = "1")]
    pub(crate) field: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) child: Option<Unread>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct IfThen {
    #[prost(message, repeated, tag = "1")]
    pub(crate) ifs: Vec<IfClause>,
    #[prost(message, optional, tag = "2")]
    pub(crate) otherwise: Option<Expression>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct IfClause {
    #[prost(message, optional, tag = "1")]
    pub(crate) condition: Option<Expression>,
    #[prost(message, optional, tag = "2")]
    pub(crate) then: Option<Expression>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Switch {
    #[prost(message, repeated, tag = "1")]
    pub(crate) ifs: Vec<IfValue>,
    #[prost(message, optional, tag = "2")]
    pub(crate) otherwise: Option<Expression>,
    #[prost(message, optional, tag = "3")]
    pub(crate) matched: Option<Expression>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct IfValue {
    #[prost(message, optional, tag = "1")]
    pub(crate) value: Option<Literal>,
    #[prost(message, optional, tag = "2")]
    pub(crate) then: Option<Expression>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SingularOrList {
    #[prost(message, optional, tag = "1")]
    pub(crate) value: Option<Expression>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) options: Vec<Expression>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Cast {
    #[prost(message, optional, tag = "1")]
    pub(crate) wanted: Option<Type>,
    #[prost(message, optional, tag = "2")]
    pub(crate) input: Option<Expression>,
    #[prost(int32, tag = "3")]
    pub(crate) on_failure: i32,
}

/// What cannot be cast is NULL.
pub(crate) const RETURN_NULL: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Subquery {
    #[prost(oneof = "SubqueryKind", tags = "1, 2, 3, 4")]
    pub(crate) kind: Option<SubqueryKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum SubqueryKind {
    #[prost(message, tag = "1")]
    Scalar(ScalarSubquery),
    #[prost(message, tag = "2")]
    In(InPredicate),
    #[prost(message, tag = "3")]
    Set(SetPredicate),
    #[prost(message, tag = "4")]
    Comparison(Box<SetComparison>),
}

/// The one value of a relation.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ScalarSubquery {
    #[prost(message, optional, tag = "1")]
    pub(crate) input: Option<Rel>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct InPredicate {
    #[prost(message, repeated, tag = "1")]
    pub(crate) needles: Vec<Expression>,
    #[prost(message, optional, tag = "2")]
    pub(crate) haystack: Option<Rel>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SetPredicate {
    #[prost(int32, tag = "1")]
    pub(crate) operation: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) tuples: Option<Rel>,
}

/// There is a row.
pub(crate) const EXISTS: i32 = 1;

/// Some value of the relation compares.
pub(crate) const ANY: i32 = 1;

/// All of them do.
pub(crate) const ALL: i32 = 2;

/// A comparison with any or all values of a relation.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SetComparison {
    #[prost(int32, tag = "1")]
    pub(crate) quantifier: i32,
    #[prost(int32, tag = "2")]
    pub(crate) operator: i32,
    #[prost(message, optional, tag = "3")]
    pub(crate) left: Option<Expression>,
    #[prost(message, optional, tag = "4")]
    pub(crate) right: Option<Rel>,
}
