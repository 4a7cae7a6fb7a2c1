//! Plans written by hand, of the parts that peers do not send.

use prost::Message;

use super::messages::*;

/// The functions of these plans: each one's number is its place.
const FUNCTIONS: [&str; 11] =
    ["add:i64_i64", "no_such", "and:bool", "__as_of", "count", "gt", "rank", "sum", "is_null", "equal", "not"];

/// A plan of one relation.
pub(super) fn plan(kind: RelKind) -> Vec<u8> {
    named(kind, &[])
}

/// The same, whose result has these names.
pub(super) fn named(kind: RelKind, names: &[&str]) -> Vec<u8> {
    message(root(kind, names)).encode_to_vec()
}

pub(super) fn root(kind: RelKind, names: &[&str]) -> RelRoot {
    RelRoot { input: Some(rel(kind)), names: texts(names) }
}

pub(super) fn message(root: RelRoot) -> Plan {
    let declared = FUNCTIONS.iter().zip(0..).map(|(name, anchor)| {
        let function = Named { anchor, name: (*name).to_owned() };
        Declaration { declared: Some(Declared::Function(function)) }
    });
    let relation = PlanRel { kind: Some(PlanRelKind::Root(root)) };
    Plan { extensions: declared.collect(), relations: vec![relation], ..Plan::default() }
}

pub(super) fn rel(kind: RelKind) -> Rel {
    Rel { kind: Some(kind) }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn of_type(kind: TypeKind) -> Type {
    Type { kind: Some(kind) }
}

pub(super) fn int64() -> Type {
    of_type(TypeKind::I64(Plain::default()))
}

pub(super) fn text() -> Type {
    of_type(TypeKind::String(Plain::default()))
}

/// A table with these columns.
pub(super) fn read_of(table: &[&str], columns: &[(&str, Type)]) -> RelKind {
    let names = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let types = columns.iter().map(|(_, of)| of.clone()).collect();
    RelKind::Read(Box::new(ReadRel {
        base_schema: Some(NamedStruct { names, columns: Some(StructType { types }) }),
        kind: Some(ReadKind::Named(TableName { names: texts(table) })),
        ..ReadRel::default()
    }))
}

/// Two columns of the bids: 0 is `auction`, 1 is `bidder`.
pub(super) fn bids() -> RelKind {
    read_of(&["bids"], &[("auction", int64()), ("bidder", text())])
}

pub(super) fn expression(kind: ExpressionKind) -> Expression {
    Expression { kind: Some(kind) }
}

pub(super) fn field(field: i32) -> Expression {
    field_of(ReferenceRoot::Row(Unread {}), field)
}

/// A column of the row around so many subqueries.
pub(super) fn outer(steps_out: u32, field: i32) -> Expression {
    field_of(ReferenceRoot::Outer(OuterReference { steps_out }), field)
}

fn field_of(root: ReferenceRoot, field: i32) -> Expression {
    let segment = Segment { kind: Some(SegmentKind::Field(StructField { field, child: None })) };
    let kind = Some(ReferenceKind::Direct(segment));
    expression(ExpressionKind::Selection(Box::new(FieldReference { kind, root: Some(root) })))
}

pub(super) fn subquery(kind: SubqueryKind) -> Expression {
    expression(ExpressionKind::Subquery(Box::new(Subquery { kind: Some(kind) })))
}

pub(super) fn exists(tuples: RelKind) -> Expression {
    subquery(SubqueryKind::Set(SetPredicate { operation: EXISTS, tuples: Some(rel(tuples)) }))
}

pub(super) fn value(kind: LiteralKind) -> Literal {
    Literal { kind: Some(kind), variation: 0 }
}

pub(super) fn literal(kind: LiteralKind) -> Expression {
    expression(ExpressionKind::Literal(Box::new(value(kind))))
}

pub(super) fn arguments(values: Vec<Expression>) -> Vec<Argument> {
    values.into_iter().map(|value| Argument { kind: Some(ArgumentKind::Value(value)) }).collect()
}

/// A call of the function of this number.
pub(super) fn call(function: u32, values: Vec<Expression>) -> Expression {
    let call = ScalarFunction { function, arguments: arguments(values), ..ScalarFunction::default() };
    expression(ExpressionKind::Scalar(Box::new(call)))
}

/// Its input's columns, and these behind them.
pub(super) fn project(input: RelKind, expressions: Vec<Expression>) -> RelKind {
    RelKind::Project(Box::new(ProjectRel { input: Some(rel(input)), expressions, ..ProjectRel::default() }))
}

/// The same relation, of whose columns these come out.
pub(super) fn chosen(mut kind: RelKind, mapping: Vec<i32>) -> RelKind {
    let common = Some(Common { emit: Some(EmitKind::Mapped(Emit { mapping })), advanced: None });
    match &mut kind {
        RelKind::Project(project) => project.common = common,
        RelKind::Filter(filter) => filter.common = common,
        RelKind::Read(read) => read.common = common,
        _ => panic!("a choice of {}", kind.name()),
    }
    kind
}

pub(super) fn filter(input: RelKind, condition: Expression) -> RelKind {
    let condition = Some(condition);
    RelKind::Filter(Box::new(FilterRel { input: Some(rel(input)), condition, ..FilterRel::default() }))
}

pub(super) fn join(left: RelKind, right: RelKind, join_type: i32, condition: Expression) -> RelKind {
    RelKind::Join(Box::new(JoinRel {
        left: Some(rel(left)),
        right: Some(rel(right)),
        condition: Some(condition),
        join_type,
        ..JoinRel::default()
    }))
}

pub(super) fn fetch(input: RelKind, offset: i64, count: i64) -> RelKind {
    RelKind::Fetch(Box::new(FetchRel {
        input: Some(rel(input)),
        offset: Some(FetchOffset::Rows(offset)),
        count: Some(FetchCount::Rows(count)),
        ..FetchRel::default()
    }))
}

pub(super) fn sort(input: RelKind, by: Expression, direction: i32) -> RelKind {
    let sorts = vec![SortField { expr: Some(by), direction }];
    RelKind::Sort(Box::new(SortRel { input: Some(rel(input)), sorts, ..SortRel::default() }))
}

pub(super) fn set(inputs: Vec<RelKind>, operation: i32) -> RelKind {
    RelKind::Set(Box::new(SetRel { inputs: inputs.into_iter().map(rel).collect(), operation, ..SetRel::default() }))
}

/// Rows into a sink.
pub(super) fn write(input: RelKind, sink: &str, columns: &[&str]) -> RelKind {
    RelKind::Write(Box::new(WriteRel {
        target: Some(WriteTarget::Named(TableName { names: texts(&["public", sink]) })),
        table_schema: Some(NamedStruct { names: texts(columns), columns: None }),
        operation: INSERT,
        input: Some(rel(input)),
        output: 0,
    }))
}
