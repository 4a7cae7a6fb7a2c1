//! Graphs as documents.

use arrow::datatypes::{DataType, Schema, SchemaRef};
use tidemill_plans::change::CHANGE_COLUMN;
use tidemill_plans::expr::StreamExpr;
use tidemill_plans::graph::{DataflowGraph, Edge, Node, Partitioning};
use tidemill_plans::node::{
    AggregateEmit, JoinKind, LateWindows, ModelFreshness, NodeKind, NullEventTime, OverEmit, PredictNode, SortColumn,
    SourceNode, TemporalJoinKind, TimeToLive, TopNEmit, UnnestColumn, VersionBound, WindowSpec,
};
use tidemill_plans::prediction::Question;

use super::columns::{ColumnDocument, name_of, names_of};
use super::expression::ExprDocument;
use super::operator::*;
use super::{InputDocument, NodeDocument, PartitioningDocument};
use crate::error::{Result, SqlError};

/// A node of a graph, whose nodes have names of their own.
pub(super) fn node(graph: &DataflowGraph, node: &Node) -> Result<NodeDocument> {
    let inputs = graph.input_schemas(node.id).map_err(SqlError::Graph)?;
    let edges = graph.inputs(node.id).map(|(_, edge)| input(graph, edge));
    Ok(NodeDocument {
        name: node.name.clone(),
        inputs: edges.collect::<Result<_>>()?,
        operator: operator(&node.kind, &inputs, &node.schema),
        parallelism: Some(node.parallelism),
        columns: Some(ColumnDocument::of_all(&without_changes(&node.schema))),
    })
}

fn input(graph: &DataflowGraph, edge: &Edge) -> Result<InputDocument> {
    let from = graph.node(edge.from).map_err(SqlError::Graph)?;
    let partitioning = match &edge.partitioning {
        Partitioning::Forward => PartitioningDocument::Forward,
        Partitioning::Rebalance => PartitioningDocument::Rebalance,
        Partitioning::Broadcast => PartitioningDocument::Broadcast,
        Partitioning::First => PartitioningDocument::First,
        Partitioning::Hash(keys) => PartitioningDocument::Hash(names_of(&from.schema, keys)),
    };
    Ok(InputDocument { from: from.name.clone(), port: edge.port, partitioning: Some(partitioning) })
}

fn without_changes(schema: &Schema) -> Schema {
    let own = schema.fields().iter().filter(|field| field.name() != CHANGE_COLUMN);
    Schema::new(own.cloned().collect::<Vec<_>>())
}

fn operator(kind: &NodeKind, inputs: &[SchemaRef], output: &Schema) -> OperatorDocument {
    // An operator without inputs asks for none.
    let none = SchemaRef::new(Schema::empty());
    let port = |port: usize| inputs.get(port).unwrap_or(&none);
    let (first, second) = (port(0), port(1));
    let name = |place: usize| name_of(first, place);
    let names = |places: &[usize]| names_of(first, places);
    match kind {
        NodeKind::Source(node) => OperatorDocument::Source(source(node, output)),
        NodeKind::Normalize(node) => {
            OperatorDocument::Normalize(NormalizeDocument { keys: names(&node.keys), ttl: ttl(node.ttl, first) })
        }
        NodeKind::Project(node) => OperatorDocument::Project(ProjectDocument {
            columns: node.columns.iter().map(|column| named(&column.name, &column.expr, first)).collect(),
        }),
        NodeKind::Filter(node) => {
            OperatorDocument::Filter(FilterDocument { predicate: ExprDocument::of(&node.predicate, first) })
        }
        NodeKind::WindowAssign(node) => {
            OperatorDocument::WindowAssign(WindowAssignDocument { time: name(node.time), window: window(node.window) })
        }
        NodeKind::SessionAssign(node) => OperatorDocument::SessionAssign(SessionDocument {
            keys: names(&node.keys),
            time: name(node.time),
            gap: node.gap,
        }),
        NodeKind::LateSplit(node) => OperatorDocument::LateSplit(LateSplitDocument {
            time: name(node.time),
            windows: match &node.windows {
                LateWindows::Fixed(fixed) => LateWindowsDocument::Fixed(window(*fixed)),
                LateWindows::Session { keys, gap } => LateWindowsDocument::Session { keys: names(keys), gap: *gap },
            },
        }),
        NodeKind::WindowAggregate(node) => OperatorDocument::WindowAggregate(WindowAggregateDocument {
            keys: names(&node.keys),
            time: name(node.time),
            window: window(node.window),
            aggregates: calls(&node.aggregates, first),
            updates_within: node.updates_within,
        }),
        NodeKind::SessionWindow(node) => OperatorDocument::SessionWindow(SessionWindowDocument {
            keys: names(&node.keys),
            time: name(node.time),
            gap: node.gap,
            aggregates: calls(&node.aggregates, first),
        }),
        NodeKind::Aggregate(node) => OperatorDocument::Aggregate(AggregateDocument {
            keys: names(&node.keys),
            time: node.time.map(name),
            aggregates: calls(&node.aggregates, first),
            emit: match node.emit {
                AggregateEmit::OnUpdate => ChangesDocument::OnUpdate,
                AggregateEmit::AtEnd => ChangesDocument::AtEnd,
            },
            gather_ms: node.gather_ms,
            ttl: node.ttl,
        }),
        NodeKind::Join(node) => OperatorDocument::Join(JoinDocument {
            kind: join_kind(node.kind),
            left_keys: names(&node.left_keys),
            right_keys: names_of(second, &node.right_keys),
            left_time: node.times[0].map(name),
            right_time: node.times[1].map(|time| name_of(second, time)),
            pairs: Some(field_names(&node.pairs)),
            filter: node.filter.as_ref().map(|filter| ExprDocument::of(filter, &node.pairs)),
            left_ttl: node.ttl[0],
            right_ttl: node.ttl[1],
        }),
        NodeKind::IntervalJoin(node) => OperatorDocument::IntervalJoin(IntervalJoinDocument {
            kind: join_kind(node.kind),
            left_keys: names(&node.left_keys),
            right_keys: names_of(second, &node.right_keys),
            left_time: name(node.left_time),
            right_time: name_of(second, node.right_time),
            lower: node.lower,
            upper: node.upper,
            pairs: Some(field_names(&node.pairs)),
            filter: node.filter.as_ref().map(|filter| ExprDocument::of(filter, &node.pairs)),
        }),
        NodeKind::TemporalJoin(node) => OperatorDocument::TemporalJoin(TemporalJoinDocument {
            left_keys: names(&node.left_keys),
            right_keys: names_of(second, &node.right_keys),
            left_time: name(node.left_time),
            right_time: name_of(second, node.right_time),
            strictly_before: node.bound == VersionBound::Before,
            keeps_unmatched: node.kind == TemporalJoinKind::Left,
            ttl: node.ttl,
        }),
        NodeKind::LookupJoin(node) => OperatorDocument::LookupJoin(LookupJoinDocument {
            table: node.table.name.clone(),
            connector: node.table.connector.clone(),
            options: node.table.options.iter().cloned().collect(),
            fetches: ColumnDocument::of_all(&node.table.columns),
            declared: Some(node.table.declared.clone()),
            table_keys: names_of(&node.table.columns, &node.table.keys),
            input_keys: names(&node.input_keys),
            keeps_unmatched: node.keeps_unmatched,
            cache_rows: node.table.cache_rows,
            cache_ttl: node.table.cache_ttl,
        }),
        NodeKind::TopN(node) => OperatorDocument::TopN(TopNDocument {
            partition: names(&node.partition),
            order_by: sorts(&node.order_by, first),
            limit: node.limit,
            rank: node.rank.then(|| name_of(output, without_changes(first).fields().len())),
            emit: match node.emit {
                TopNEmit::OnUpdate => TopNEmitDocument::OnUpdate,
                TopNEmit::AtEnd => TopNEmitDocument::AtEnd,
                TopNEmit::OnClose { time } => TopNEmitDocument::OnClose { time: name(time) },
                TopNEmit::InOrder { time } => TopNEmitDocument::InOrder { time: name(time) },
            },
            gather_ms: node.gather_ms,
            ttl: ttl(node.ttl, first),
        }),
        NodeKind::OverWindow(node) => OperatorDocument::OverWindow(OverWindowDocument {
            partition: names(&node.partition),
            order_by: sorts(&node.order_by, first),
            functions: calls(&node.functions, first),
            emit: match node.emit {
                OverEmit::OnUpdate => OverEmitDocument::OnUpdate,
                OverEmit::AtEnd => OverEmitDocument::AtEnd,
                OverEmit::InOrder { time, rows_ahead, micros_ahead } => {
                    OverEmitDocument::InOrder { time: name(time), rows_ahead, micros_ahead }
                }
            },
            gather_ms: node.gather_ms,
            ttl: ttl(node.ttl, first),
        }),
        NodeKind::Train(node) => OperatorDocument::Train(TrainDocument {
            model: node.model.clone(),
            model_type: node.model_type.clone(),
            options: node.options.iter().cloned().collect(),
            label: node.label.map(name),
            time: name(node.time),
            features: names(&node.features),
            publish_every: node.publish_every,
        }),
        NodeKind::Fit(node) => OperatorDocument::Fit(FitDocument {
            model: node.model.clone(),
            version: node.version,
            model_type: node.model_type.clone(),
            options: node.options.iter().cloned().collect(),
            label: node.label.map(name),
            features: names(&node.features),
            transform: node.transform.as_ref().map(TransformDocument::of),
        }),
        NodeKind::Predict(node) => OperatorDocument::Predict(PredictDocument {
            model: node.model.clone(),
            label: (!node.label.is_empty()).then(|| node.label.clone()),
            label_type: label_type(node, first, output),
            outputs: match node.question {
                Question::Features => output.fields().iter().map(|field| ColumnDocument::of(field)).collect(),
                _ if node.label.is_empty() => said(first, output),
                _ => Vec::new(),
            },
            features: names(&node.features),
            time: node.time.map(name),
            freshness: match node.freshness {
                ModelFreshness::Consistent => FreshnessDocument::Consistent,
                ModelFreshness::Latest => FreshnessDocument::Latest,
                ModelFreshness::Live => FreshnessDocument::Live,
            },
            question: QuestionDocument::of(node.question),
        }),
        NodeKind::Union(_) => OperatorDocument::Union(UnionDocument {}),
        NodeKind::Unnest(node) => OperatorDocument::Unnest(UnnestDocument {
            columns: node
                .columns
                .iter()
                .zip(output.fields())
                .map(|(from, field)| UnnestColumnDocument {
                    name: Some(field.name().clone()),
                    from: unnest_from(*from, first),
                })
                .collect(),
            keeps_empty: node.keeps_empty,
        }),
        NodeKind::Sink(node) => OperatorDocument::Sink(SinkDocument {
            table: Some(node.table.clone()),
            connector: node.connector.clone(),
            options: node.options.iter().cloned().collect(),
            time: node.time.map(name),
            upsert_keys: names(&node.upsert_keys),
            order_by: sorts(&node.order_by, first),
            limit: node.limit,
            live: node.live,
        }),
    }
}

fn source(node: &SourceNode, output: &Schema) -> SourceDocument {
    let read = node.read_schema();
    SourceDocument {
        table: Some(node.table.clone()),
        connector: node.connector.clone(),
        options: node.options.iter().cloned().collect(),
        reads: ColumnDocument::of_all(&without_changes(&node.columns)),
        declared: Some(node.declared.clone()),
        projection: Some(node.projection.iter().map(|column| named(&column.name, &column.expr, &read)).collect()),
        event_time: node.event_time.as_ref().map(|time| EventTimeDocument {
            column: name_of(output, time.column),
            watermark: ExprDocument::of(&time.watermark, output),
            on_null: match time.on_null {
                NullEventTime::DeadLetter => OnNull::DeadLetter,
                NullEventTime::Skip => OnNull::Skip,
            },
        }),
        upsert_key: node.upsert_key.clone(),
    }
}

fn named(name: &str, expr: &StreamExpr, input: &Schema) -> NamedExpr {
    NamedExpr { name: name.to_owned(), expr: ExprDocument::of(expr, input) }
}

/// Their columns' names are the node's.
fn calls(calls: &[StreamExpr], input: &Schema) -> Vec<Call> {
    calls.iter().map(|call| Call { name: None, call: ExprDocument::of(call, input) }).collect()
}

fn field_names(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

fn sorts(order_by: &[SortColumn], input: &Schema) -> Vec<SortDocument> {
    let sort = |sort: &SortColumn| SortDocument {
        column: name_of(input, sort.column),
        descending: sort.descending,
        nulls_first: sort.nulls_first,
    };
    order_by.iter().map(sort).collect()
}

fn ttl(ttl: Option<TimeToLive>, input: &Schema) -> Option<TtlDocument> {
    ttl.map(|ttl| TtlDocument { micros: ttl.micros, time: ttl.time.map(|time| name_of(input, time)) })
}

fn window(window: WindowSpec) -> WindowDocument {
    match window {
        WindowSpec::Tumble { size, offset } => WindowDocument::Tumble { size, offset },
        WindowSpec::Hop { slide, size, offset } => WindowDocument::Hop { slide, size, offset },
        WindowSpec::Cumulate { step, size, offset } => WindowDocument::Cumulate { step, size, offset },
    }
}

fn join_kind(kind: JoinKind) -> JoinKindDocument {
    match kind {
        JoinKind::Inner => JoinKindDocument::Inner,
        JoinKind::Left => JoinKindDocument::Left,
        JoinKind::Right => JoinKindDocument::Right,
        JoinKind::Full => JoinKindDocument::Full,
        JoinKind::LeftSemi => JoinKindDocument::LeftSemi,
        JoinKind::LeftAnti => JoinKindDocument::LeftAnti,
        JoinKind::RightSemi => JoinKindDocument::RightSemi,
        JoinKind::RightAnti => JoinKindDocument::RightAnti,
    }
}

fn unnest_from(from: UnnestColumn, input: &Schema) -> UnnestFrom {
    match from {
        UnnestColumn::Passed(column) => UnnestFrom::Passed(name_of(input, column)),
        UnnestColumn::Elements(column) => UnnestFrom::Elements(name_of(input, column)),
        UnnestColumn::Field { column, field } => {
            let name = match input.fields().get(column).map(|found| found.data_type()) {
                Some(DataType::Struct(fields)) => fields.get(field).map(|found| found.name().clone()),
                _ => None,
            };
            UnnestFrom::Field { column: name_of(input, column), field: name.unwrap_or_default() }
        }
    }
}

/// What a model says between the columns of the rows and those of its version.
fn said(input: &Schema, output: &Schema) -> Vec<ColumnDocument> {
    let added = output.fields().iter().filter(|field| input.index_of(field.name()).is_err());
    let is_known = |name: &str| matches!(name, "model_version" | "model_event_time");
    added.filter(|field| !is_known(field.name())).map(|field| ColumnDocument::of(field)).collect()
}

/// The type of what a prediction says, unless it is a boolean: the first column behind those of the rows, which may have been
/// given another name.
fn label_type(node: &PredictNode, input: &Schema, output: &Schema) -> Option<String> {
    let has_label = node.question.is_of_a_version() && !node.label.is_empty();
    let predicted = output.fields().get(input.fields().len()).filter(|_| has_label)?.data_type();
    (predicted != &DataType::Boolean).then(|| predicted.to_string())
}
