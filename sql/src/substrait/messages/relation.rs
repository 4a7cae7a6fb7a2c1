//! Relations: what makes rows of rows.

use prost::{Message, Oneof};

use super::{Advanced, AggregateFunction, Expression, LiteralRow, NamedStruct, SortField, Unread, WindowFunction};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Rel {
    #[prost(oneof = "RelKind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22")]
    pub(crate) kind: Option<RelKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum RelKind {
    #[prost(message, tag = "1")]
    Read(Box<ReadRel>),
    #[prost(message, tag = "2")]
    Filter(Box<FilterRel>),
    #[prost(message, tag = "3")]
    Fetch(Box<FetchRel>),
    #[prost(message, tag = "4")]
    Aggregate(Box<AggregateRel>),
    #[prost(message, tag = "5")]
    Sort(Box<SortRel>),
    #[prost(message, tag = "6")]
    Join(Box<JoinRel>),
    #[prost(message, tag = "7")]
    Project(Box<ProjectRel>),
    #[prost(message, tag = "8")]
    Set(Box<SetRel>),
    #[prost(message, tag = "9")]
    ExtensionSingle(Unread),
    #[prost(message, tag = "10")]
    ExtensionMulti(Unread),
    #[prost(message, tag = "11")]
    ExtensionLeaf(Unread),
    #[prost(message, tag = "12")]
    Cross(Box<CrossRel>),
    #[prost(message, tag = "13")]
    HashJoin(Unread),
    #[prost(message, tag = "14")]
    MergeJoin(Unread),
    #[prost(message, tag = "15")]
    Exchange(Unread),
    #[prost(message, tag = "16")]
    Expand(Unread),
    #[prost(message, tag = "17")]
    Window(Box<WindowRel>),
    #[prost(message, tag = "18")]
    NestedLoopJoin(Unread),
    #[prost(message, tag = "19")]
    Write(Box<WriteRel>),
    #[prost(message, tag = "20")]
    Ddl(Unread),
    #[prost(message, tag = "21")]
    Reference(Unread),
    #[prost(message, tag = "22")]
    Update(Unread),
}

impl RelKind {
    /// Its name, as paths have it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Read(_) => "read",
            Self::Filter(_) => "filter",
            Self::Fetch(_) => "fetch",
            Self::Aggregate(_) => "aggregate",
            Self::Sort(_) => "sort",
            Self::Join(_) => "join",
            Self::Project(_) => "project",
            Self::Set(_) => "set",
            Self::ExtensionSingle(_) => "extension_single",
            Self::ExtensionMulti(_) => "extension_multi",
            Self::ExtensionLeaf(_) => "extension_leaf",
            Self::Cross(_) => "cross",
            Self::HashJoin(_) => "hash_join",
            Self::MergeJoin(_) => "merge_join",
            Self::Exchange(_) => "exchange",
            Self::Expand(_) => "expand",
            Self::Window(_) => "window",
            Self::NestedLoopJoin(_) => "nested_loop_join",
            Self::Write(_) => "write",
            Self::Ddl(_) => "ddl",
            Self::Reference(_) => "reference",
            Self::Update(_) => "update",
        }
    }

    /// The relations whose rows it takes, but for those of subqueries.
    pub(crate) fn inputs(&self) -> Vec<&Rel> {
        match self {
            Self::Filter(filter) => filter.input.iter().collect(),
            Self::Fetch(fetch) => fetch.input.iter().collect(),
            Self::Aggregate(aggregate) => aggregate.input.iter().collect(),
            Self::Sort(sort) => sort.input.iter().collect(),
            Self::Join(join) => join.left.iter().chain(&join.right).collect(),
            Self::Project(project) => project.input.iter().collect(),
            Self::Set(set) => set.inputs.iter().collect(),
            Self::Cross(cross) => cross.left.iter().chain(&cross.right).collect(),
            Self::Window(window) => window.input.iter().collect(),
            Self::Write(write) => write.input.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// What all relations have.
    pub(crate) fn common(&self) -> (Option<&Common>, Option<&Advanced>) {
        let (common, advanced) = match self {
            Self::Read(read) => (&read.common, &read.advanced),
            Self::Filter(filter) => (&filter.common, &filter.advanced),
            Self::Fetch(fetch) => (&fetch.common, &fetch.advanced),
            Self::Aggregate(aggregate) => (&aggregate.common, &aggregate.advanced),
            Self::Sort(sort) => (&sort.common, &sort.advanced),
            Self::Join(join) => (&join.common, &join.advanced),
            Self::Project(project) => (&project.common, &project.advanced),
            Self::Set(set) => (&set.common, &set.advanced),
            Self::Cross(cross) => (&cross.common, &cross.advanced),
            Self::Window(window) => (&window.common, &window.advanced),
            _ => return (None, None),
        };
        (common.as_ref(), advanced.as_ref())
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Common {
    #[prost(oneof = "EmitKind", tags = "1, 2")]
    pub(crate) emit: Option<EmitKind>,
    #[prost(message, optional, tag = "4")]
    pub(crate) advanced: Option<Advanced>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum EmitKind {
    #[prost(message, tag = "1")]
    Direct(Unread),
    #[prost(message, tag = "2")]
    Mapped(Emit),
}

/// Which of a relation's columns come out, and in which order.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Emit {
    #[prost(int32, repeated, tag = "1")]
    pub(crate) mapping: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReadRel {
    #[prost(message, optional, tag = "1")]
    pub(crate) common: Option<Common>,
    #[prost(message, optional, tag = "2")]
    pub(crate) base_schema: Option<NamedStruct>,
    #[prost(message, optional, tag = "3")]
    pub(crate) filter: Option<Expression>,
    #[prost(message, optional, tag = "4")]
    pub(crate) projection: Option<Mask>,
    #[prost(oneof = "ReadKind", tags = "5, 6, 7, 8, 9")]
    pub(crate) kind: Option<ReadKind>,
    #[prost(message, optional, tag = "10")]
    pub(crate) advanced: Option<Advanced>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum ReadKind {
    #[prost(message, tag = "5")]
    Virtual(VirtualTable),
    #[prost(message, tag = "6")]
    Files(Unread),
    #[prost(message, tag = "7")]
    Named(TableName),
    #[prost(message, tag = "8")]
    Extension(Unread),
    #[prost(message, tag = "9")]
    Iceberg(Unread),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TableName {
    #[prost(string, repeated, tag = "1")]
    pub(crate) names: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct VirtualTable {
    /// Rows as they were before they had expressions.
    #[prost(message, repeated, tag = "1")]
    pub(crate) values: Vec<LiteralRow>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) expressions: Vec<ExpressionRow>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExpressionRow {
    #[prost(message, repeated, tag = "1")]
    pub(crate) fields: Vec<Expression>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Mask {
    #[prost(message, optional, tag = "1")]
    pub(crate) select: Option<MaskFields>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MaskFields {
    #[prost(message, repeated, tag = "1")]
    pub(crate) items: Vec<MaskField>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MaskField {
    #[prost(int32, tag = "1")]
    pub(crate) field: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) child: Option<Unread>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProjectRel {
    #[prost(message, optional, tag = "1")]
    pub(crate) common: Option<Common>,
    #[prost(message, optional, tag = "2")]
    pub(crate) input: Option<Rel>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) expressions: Vec<Expression>,
    #[prost(message, optional, tag = "10")]
    pub(crate) advanced: Option<Advanced>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FilterRel {
    #[prost(message, optional, tag = "1")]
    pub(crate) common: Option<Common>,
    #[prost(message, optional, tag = "2")]
    pub(crate) input: Option<Rel>,
    #[prost(message, optional, tag = "3")]
    pub(crate) condition: Option<Expression>,
    #[prost(message, optional, tag = "10")]
    pub(crate) advanced: Option<Advanced>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct JoinRel {
    #[prost(message, optional, tag = "1")]
    pub(crate) common: Option<Common>,
    #[prost(message, optional, tag = "2")]
    pub(crate) left: Option<Rel>,
    #[prost(message, optional, tag = "3")]
    pub(crate) right: Option<Rel>,
    #[prost(message, optional, tag = "4")]
    pub(crate) condition: Option<Expression>,
    #[prost(message, optional, tag = "5")]
    pub(crate) filter_above: Option<Expression>,
    #[prost(int32, tag = "6")]
    pub(crate) join_type: i32,
    #[prost(message, optional, tag = "10")]
    pub(crate) advanced: Option<Advanced>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CrossRel {
    #[prost(message, optional, tag = "1")]
    pub(crate) common: Option<Common>,
    #[prost(message, optional, tag = "2")]
    pub(crate) left: Option<Rel>,
    #[prost(message, optional, tag = "3")]
    pub(crate) right: Option<Rel>,
    #[prost(message, optional, tag = "10")]
    pub(crate) advanced: Option<Advanced>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FetchRel {
    #[prost(message, optional, tag = "1")]
    pub(crate) common: Option<Common>,
    #[prost(message, optional, tag = "2")]
    pub(crate) input: Option<Rel>,
    #[prost(oneof = "FetchOffset", tags = "3, 5")]
    pub(crate) offset: Option<FetchOffset>,
    #[prost(oneof = "FetchCount", tags = "4, 6")]
    pub(crate) count: Option<FetchCount>,
    #[prost(message, optional, tag = "10")]
    pub(crate) advanced: Option<Advanced>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum FetchOffset {
    #[prost(int64, tag = "3")]
    Rows(i64),
    #[prost(message, tag = "5")]
    Expression(Expression),
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum FetchCount {
    #[prost(int64, tag = "4")]
    Rows(i64),
    #[prost(message, tag = "6")]
    Expression(Expression),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AggregateRel {
    #[prost(message, optional, tag = "1")]
    pub(crate) common: Option<Common>,
    #[prost(message, optional, tag = "2")]
    pub(crate) input: Option<Rel>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) groupings: Vec<Grouping>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) measures: Vec<Measure>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) grouping_expressions: Vec<Expression>,
    #[prost(message, optional, tag = "10")]
    pub(crate) advanced: Option<Advanced>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Grouping {
    /// The older form.
    #[prost(message, repeated, tag = "1")]
    pub(crate) expressions: Vec<Expression>,
    #[prost(uint32, repeated, tag = "2")]
    pub(crate) references: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Measure {
    #[prost(message, optional, tag = "1")]
    pub(crate) function: Option<AggregateFunction>,
    #[prost(message, optional, tag = "2")]
    pub(crate) filter: Option<Expression>,
}

/// Functions over one PARTITION BY and ORDER BY.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WindowRel {
    #[prost(message, optional, tag = "1")]
    pub(crate) common: Option<Common>,
    #[prost(message, optional, tag = "2")]
    pub(crate) input: Option<Rel>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) functions: Vec<WindowFunction>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) partitions: Vec<Expression>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) sorts: Vec<SortField>,
    #[prost(message, optional, tag = "10")]
    pub(crate) advanced: Option<Advanced>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SortRel {
    #[prost(message, optional, tag = "1")]
    pub(crate) common: Option<Common>,
    #[prost(message, optional, tag = "2")]
    pub(crate) input: Option<Rel>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) sorts: Vec<SortField>,
    #[prost(message, optional, tag = "10")]
    pub(crate) advanced: Option<Advanced>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SetRel {
    #[prost(message, optional, tag = "1")]
    pub(crate) common: Option<Common>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) inputs: Vec<Rel>,
    #[prost(int32, tag = "3")]
    pub(crate) operation: i32,
    #[prost(message, optional, tag = "10")]
    pub(crate) advanced: Option<Advanced>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WriteRel {
    #[prost(oneof = "WriteTarget", tags = "1, 2")]
    pub(crate) target: Option<WriteTarget>,
    #[prost(message, optional, tag = "3")]
    pub(crate) table_schema: Option<NamedStruct>,
    #[prost(int32, tag = "4")]
    pub(crate) operation: i32,
    #[prost(message, optional, tag = "5")]
    pub(crate) input: Option<Rel>,
    #[prost(int32, tag = "6")]
    pub(crate) output: i32,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum WriteTarget {
    #[prost(message, tag = "1")]
    Named(TableName),
    #[prost(message, tag = "2")]
    Extension(Unread),
}

/// Rows are added.
pub(crate) const INSERT: i32 = 1;

/// The rows that were written are to come out.
pub(crate) const MODIFIED_RECORDS: i32 = 2;
